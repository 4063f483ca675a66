-- Lanes: the balance divided into shares is the same balance, to the last digit.
SELECT wallet FROM wallet.create_wallet('ln', low_balance => '{5}');
SELECT balance FROM wallet.fund('ln', 10.000000000001);
SELECT balance FROM wallet.charge('ln', amount => 0.000000000002);
-- 1 → 16 → 4 → 1, with an amount that no number of lanes divides.
CREATE FUNCTION regress.lanes(of_wallet text) RETURNS TABLE (lanes int, active bigint, balance numeric, smallest numeric, largest numeric, elsewhere numeric)
LANGUAGE sql AS $$
    SELECT w.lanes, count(*) FILTER (WHERE mine), sum(room), min(room) FILTER (WHERE mine), max(room) FILTER (WHERE mine), coalesce(sum(room) FILTER (WHERE NOT mine), 0)
      FROM wallet.wallets w
     CROSS JOIN LATERAL (SELECT allotted - spent - held AS room,
                                CASE w.lanes WHEN 1 THEN lane = 0 ELSE lane BETWEEN 1 AND w.lanes END AS mine
                           FROM wallet.allowances a WHERE a.wallet_id = w.wallet_id AND limit_id IS NULL) l
     WHERE w.wallet_id = of_wallet GROUP BY 1
$$;
SELECT * FROM regress.lanes('ln');
SELECT lanes, balance FROM wallet.set_lanes('ln', 16);
SELECT * FROM regress.lanes('ln');
SELECT lanes, balance FROM wallet.set_lanes('ln', 4);
SELECT * FROM regress.lanes('ln');
SELECT lanes, balance FROM wallet.set_lanes('ln', 1);
SELECT * FROM regress.lanes('ln');
SELECT lanes, balance FROM wallet.set_lanes('ln', 7);
SELECT lanes, balance FROM wallet.set_lanes('ln', 3);
SELECT * FROM regress.lanes('ln');
SELECT * FROM regress.broken('ln');
-- More lanes than units.
SELECT wallet FROM wallet.create_wallet('ln_few', lanes => 256);
SELECT balance FROM wallet.fund('ln_few', 0.000000000100);
SELECT sum(c.cost) AS cost, min(c.balance) AS least FROM generate_series(1, 100) n, wallet.charge('ln_few', amount => 0.000000000001 + 0 * n) c;
CALL regress.fails($$ SELECT wallet.charge('ln_few', amount => 0.000000000001) $$);
SELECT * FROM regress.broken('ln_few');

-- A charge larger than one lane's share, one that leaves a single unit, and one that takes
-- everything.
SELECT wallet FROM wallet.create_wallet('ln_big', lanes => 16);
SELECT balance FROM wallet.fund('ln_big', 16);
SELECT cost, balance FROM wallet.charge('ln_big', amount => 1.5);
SELECT cost, balance FROM wallet.charge('ln_big', amount => 14.499999999999);
CALL regress.fails($$ SELECT wallet.charge('ln_big', amount => 0.000000000002) $$);
SELECT cost, balance FROM wallet.charge('ln_big', amount => 0.000000000001);
CALL regress.fails($$ SELECT wallet.charge('ln_big', amount => 0.000000000001) $$);
SELECT event, threshold FROM wallet.events WHERE wallet = 'ln_big' ORDER BY id;
SELECT * FROM regress.broken('ln_big');
-- Many small charges use up every lane. Nothing is left over or spent twice.
SELECT wallet FROM wallet.create_wallet('ln_many', lanes => 8);
SELECT balance FROM wallet.fund('ln_many', 100);
DO $$
BEGIN
    FOR n IN 1..1000 LOOP
        PERFORM wallet.charge('ln_many', amount => 0.1);
    END LOOP;
END
$$;
SELECT balance FROM wallet.balances WHERE wallet = 'ln_many';
CALL regress.fails($$ SELECT wallet.charge('ln_many', amount => 0.000000000001) $$);
SELECT count(*), sum(amount) FROM wallet.entries WHERE wallet = 'ln_many' AND kind = 'charge';
SELECT * FROM regress.broken('ln_many');

-- Thresholds apply to the sum of the lanes: each crossing once, whichever lane pays.
SELECT wallet FROM wallet.create_wallet('ln_low', lanes => 4, low_balance => '{50,20}');
SELECT balance FROM wallet.fund('ln_low', 100);
-- In steps, each its own transaction: the balance at which an event appears.
CREATE PROCEDURE regress.spend(of_wallet text, step numeric, times int) LANGUAGE plpgsql AS $$
DECLARE seen bigint := (SELECT count(*) FROM wallet.events WHERE wallet = of_wallet); left_over numeric; e record;
BEGIN
    FOR n IN 1..times LOOP
        left_over := (SELECT balance FROM wallet.charge(of_wallet, amount => step));
        FOR e IN SELECT event, threshold FROM wallet.events WHERE wallet = of_wallet ORDER BY id OFFSET seen LOOP
            RAISE NOTICE '% % at a balance of %', e.event, e.threshold, left_over;
            seen := seen + 1;
        END LOOP;
        COMMIT;
    END LOOP;
END
$$;
CALL regress.spend('ln_low', 0.7, 142);
SELECT balance FROM wallet.charge('ln_low', amount => 0.6);
SELECT balance FROM wallet.fund('ln_low', 60);
CALL regress.spend('ln_low', 7, 8);
SELECT event, threshold FROM wallet.events WHERE wallet = 'ln_low' ORDER BY id;
SELECT * FROM regress.broken('ln_low');
-- The lanes are rebalanced with thresholds half-way: none fires because of it, and none is lost.
SELECT wallet FROM wallet.create_wallet('ln_cut', low_balance => '{10}');
SELECT balance FROM wallet.fund('ln_cut', 12);
SELECT balance FROM wallet.set_lanes('ln_cut', 5);
SELECT balance FROM wallet.charge('ln_cut', amount => 1.9);
SELECT count(*) FROM wallet.events WHERE wallet = 'ln_cut';
SELECT balance FROM wallet.charge('ln_cut', amount => 0.2);
SELECT balance FROM wallet.set_lanes('ln_cut', 1);
SELECT balance FROM wallet.set_lanes('ln_cut', 2);
SELECT balance FROM wallet.fund('ln_cut', 0.1);
SELECT event, threshold FROM wallet.events WHERE wallet = 'ln_cut' ORDER BY id;

-- With a credit limit on several lanes. set_lanes replays, and invalid numbers are refused.
SELECT wallet FROM wallet.create_wallet('ln_credit', credit_limit => 10, lanes => 3);
SELECT balance FROM wallet.charge('ln_credit', amount => 9.999999999999);
SELECT balance, available FROM wallet.set_lanes('ln_credit', 2, idempotency_key => 's');
SELECT lanes FROM wallet.set_lanes('ln_credit', 4);
SELECT lanes FROM wallet.set_lanes('ln_credit', 2, idempotency_key => 's');
SELECT lanes FROM wallet.balances WHERE wallet = 'ln_credit';
CALL regress.fails($$ SELECT wallet.set_lanes('ln_credit', 3, idempotency_key => 's') $$);
SELECT balance FROM wallet.charge('ln_credit', amount => 0.000000000001);
CALL regress.fails($$ SELECT wallet.charge('ln_credit', amount => 0.000000000001) $$);
CALL regress.fails($$ SELECT wallet.set_lanes('ln', 0) $$);
CALL regress.fails($$ SELECT wallet.set_lanes('ln', NULL) $$);
CALL regress.fails($$ SELECT wallet.set_lanes('ln', 257) $$);
CALL regress.fails($$ SELECT wallet.set_lanes('ln_nobody', 2) $$);
-- Limits apply to all lanes together.
SELECT wallet FROM wallet.create_wallet('ln_limit', lanes => 4);
SELECT balance FROM wallet.fund('ln_limit', 100);
SELECT wallet.set_limit('ln_limit', 10, 'day') IS NOT NULL AS set;
SELECT cost FROM wallet.charge('ln_limit', amount => 9);
CALL regress.fails($$ SELECT wallet.charge('ln_limit', amount => 1.01) $$);
SELECT cost FROM wallet.charge('ln_limit', amount => 1);
SELECT * FROM regress.broken('ln_credit') UNION ALL SELECT * FROM regress.broken('ln_cut') UNION ALL SELECT * FROM regress.broken('ln_limit');

-- A transaction never waits for a lane that it has locked itself.
SELECT wallet FROM wallet.create_wallet('own_lanes', lanes => 4, low_balance => '{1000}');
BEGIN;
SELECT balance FROM wallet.fund('own_lanes', 100);
SELECT cost, balance FROM wallet.charge('own_lanes', amount => 1);
SELECT cost, balance FROM wallet.charge('own_lanes', amount => 1);
COMMIT;
SELECT wallet, waits FROM wallet.lane_waits WHERE wallet = 'own_lanes';
