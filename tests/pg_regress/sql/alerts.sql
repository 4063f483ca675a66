-- Events of the balance: low, recovered, depleted. One event per crossing, in the order of the
-- crossings.
CREATE FUNCTION regress.events(of_wallet text) RETURNS TABLE (n bigint, event text, threshold numeric)
LANGUAGE sql AS $$ SELECT row_number() OVER (ORDER BY id), event, threshold FROM wallet.events WHERE wallet = of_wallet $$;
SELECT wallet FROM wallet.create_wallet('al', low_balance => '{20,50}');
-- A new wallet is not low until it has been at or above the threshold once.
SELECT balance FROM wallet.fund('al', 30);
SELECT balance FROM wallet.charge('al', amount => 5);
SELECT * FROM regress.events('al');
-- 50 was never reached, 20 was. At exactly 20 the wallet is not low. One digit below it is, once.
SELECT balance FROM wallet.charge('al', amount => 5);
SELECT * FROM regress.events('al');
SELECT balance FROM wallet.charge('al', amount => 0.000000000001);
SELECT balance FROM wallet.charge('al', amount => 1);
SELECT * FROM regress.events('al');
-- Recovered at exactly 20, not below.
SELECT balance FROM wallet.fund('al', 0.999999999999);
SELECT * FROM regress.events('al');
SELECT balance FROM wallet.fund('al', 0.000000000002);
SELECT * FROM regress.events('al');
SELECT balance FROM wallet.fund('al', 40);
-- One charge through all thresholds to zero: every event, the highest threshold first.
SELECT balance FROM wallet.charge('al', amount => 60);
SELECT * FROM regress.events('al');
-- A refused charge writes no event. Depletion is reported once.
CALL regress.fails($$ SELECT wallet.charge('al', amount => 1) $$);
SELECT cost FROM wallet.charge('al', amount => 0);
SELECT count(*) FROM wallet.events WHERE wallet = 'al';
-- Back up through all thresholds.
SELECT balance FROM wallet.fund('al', 100);
SELECT * FROM regress.events('al');
-- And depleted again.
SELECT balance FROM wallet.charge('al', amount => 100);
SELECT event, count(*) FROM wallet.events WHERE wallet = 'al' GROUP BY 1 ORDER BY 1;

-- The columns. The payload never contains a balance.
SELECT id IS NOT NULL AS has_id, wallet, event, threshold, payload, created_at <= clock_timestamp() AS created, claimed_at, done_at, attempts
  FROM wallet.events WHERE wallet = 'al' ORDER BY id LIMIT 1;
-- An event is written with the change that caused it, or not at all.
SELECT balance FROM wallet.fund('al', 60);
SELECT count(*) AS before FROM wallet.events WHERE wallet = 'al' \gset
BEGIN;
SELECT balance FROM wallet.charge('al', amount => 15);
SELECT count(*) - :before AS new FROM wallet.events WHERE wallet = 'al';
ROLLBACK;
SELECT count(*) - :before AS new FROM wallet.events WHERE wallet = 'al';
SELECT balance FROM wallet.charge('al', amount => 15);
SELECT count(*) - :before AS new FROM wallet.events WHERE wallet = 'al';

-- Down and up again in one transaction: two events.
SELECT wallet FROM wallet.create_wallet('al_swing', low_balance => '{10}');
SELECT balance FROM wallet.fund('al_swing', 15);
BEGIN;
SELECT balance FROM wallet.charge('al_swing', amount => 6);
SELECT balance FROM wallet.fund('al_swing', 6);
SELECT balance FROM wallet.charge('al_swing', amount => 6);
COMMIT;
SELECT * FROM regress.events('al_swing');

-- With a credit limit: thresholds compare the balance without the credit, depletion is the end of
-- the credit.
SELECT wallet FROM wallet.create_wallet('al_credit', credit_limit => 10, low_balance => '{5,0}');
SELECT balance FROM wallet.fund('al_credit', 8);
SELECT balance FROM wallet.charge('al_credit', amount => 4);
SELECT balance FROM wallet.charge('al_credit', amount => 4);
SELECT * FROM regress.events('al_credit');
SELECT balance FROM wallet.charge('al_credit', amount => 1);
SELECT * FROM regress.events('al_credit');
SELECT balance FROM wallet.charge('al_credit', amount => 9);
SELECT * FROM regress.events('al_credit');
SELECT balance FROM wallet.fund('al_credit', 10);
SELECT balance FROM wallet.fund('al_credit', 5);
SELECT * FROM regress.events('al_credit');

-- Changed thresholds: a threshold that remains keeps its state, and a new one must first be
-- reached.
SELECT wallet FROM wallet.create_wallet('al_change', low_balance => '{10}');
SELECT balance FROM wallet.fund('al_change', 12);
SELECT balance FROM wallet.charge('al_change', amount => 4);
SELECT low_balance FROM wallet.update_wallet('al_change', low_balance => '{10,100,6}');
SELECT * FROM regress.events('al_change');
SELECT balance FROM wallet.charge('al_change', amount => 3);
SELECT * FROM regress.events('al_change');
SELECT low_balance FROM wallet.update_wallet('al_change', low_balance => '{}');
SELECT balance FROM wallet.fund('al_change', 200);
SELECT balance FROM wallet.charge('al_change', amount => 199);
SELECT * FROM regress.events('al_change');

SELECT * FROM regress.broken('al') UNION ALL SELECT * FROM regress.broken('al_swing')
UNION ALL SELECT * FROM regress.broken('al_credit') UNION ALL SELECT * FROM regress.broken('al_change');
