-- Grants: burn order, expiry, voiding, recurrence; and which grant paid which charge.
SELECT wallet FROM wallet.create_wallet('lots');
CREATE VIEW regress.lots AS
SELECT g.wallet, e.metadata->>'n' AS n, g.amount, g.remaining, g.expires_at IS NOT NULL AS ends, g.priority, g.promotional, g.status
  FROM wallet.grants g LEFT JOIN wallet.entries e ON e.wallet = g.wallet AND e.entry_id = g.grant_id;

-- Priority, then expiry, then promotional before paid, then age.
SELECT balance FROM wallet.fund('lots', 10, metadata => '{"n": "paid"}');
SELECT balance FROM wallet.fund('lots', 10, priority => 200, metadata => '{"n": "last"}');
SELECT balance FROM wallet.fund('lots', 10, expires_at => now() + interval '2 days', metadata => '{"n": "two days"}');
SELECT balance FROM wallet.fund('lots', 10, promotional => true, metadata => '{"n": "gift"}');
SELECT balance FROM wallet.fund('lots', 10, expires_at => now() + interval '1 day', promotional => true, metadata => '{"n": "one day"}');
SELECT balance FROM wallet.fund('lots', 10, priority => 1, metadata => '{"n": "first"}');
SELECT balance FROM wallet.fund('lots', 10, metadata => '{"n": "younger"}');
SELECT balance FROM wallet.charge('lots', amount => 15, user_id => 'a');
SELECT n, amount, remaining, ends, priority, promotional, status FROM regress.lots WHERE wallet = 'lots' ORDER BY n;
SELECT balance FROM wallet.charge('lots', amount => 12, user_id => 'b');
SELECT balance FROM wallet.charge('lots', amount => 30, user_id => 'c');
SELECT n, remaining, status FROM regress.lots WHERE wallet = 'lots' ORDER BY n;
SELECT e.user_id, f.metadata->>'n' AS n, p.amount
  FROM wallet.grant_payments p
  JOIN wallet.entries e ON e.wallet = p.wallet AND e.entry_id = p.entry_id
  JOIN wallet.entries f ON f.wallet = p.wallet AND f.entry_id = p.grant_id
 WHERE p.wallet = 'lots' ORDER BY e.created_at, n;
SELECT (SELECT sum(remaining) FROM wallet.grants WHERE wallet = 'lots') = (SELECT balance FROM wallet.balances WHERE wallet = 'lots') AS agree;

-- The rest of a grant can be voided, once.
SELECT grant_id AS last FROM wallet.grants WHERE wallet = 'lots' AND priority = 200 \gset
SELECT entry_id IS NOT NULL AS entry, amount, balance, replayed FROM wallet.void_grant('lots', :'last', 'a mistake', idempotency_key => 'v');
SELECT entry_id IS NOT NULL AS entry, amount, balance, replayed FROM wallet.void_grant('lots', :'last', 'a mistake', idempotency_key => 'v');
SELECT entry_id IS NOT NULL AS entry, amount, balance, replayed FROM wallet.void_grant('lots', :'last');
SELECT kind, amount, contra, reason, related_id = :'last' AS of_last FROM wallet.entries WHERE wallet = 'lots' AND kind = 'expiry';
SELECT n, remaining, status FROM regress.lots WHERE wallet = 'lots' AND n = 'last';
CALL regress.fails($$ SELECT wallet.void_grant('lots', gen_random_uuid()) $$);
CALL regress.fails($$ SELECT wallet.void_grant('lots', NULL) $$);
CALL regress.fails($$ SELECT wallet.fund('lots', 1, expires_at => now() - interval '1 second') $$);
CALL regress.fails($$ SELECT wallet.fund('lots', 1, expires_at => 'infinity') $$);
SELECT * FROM regress.broken('lots');

-- Expiry: the views apply it immediately, the next call books it. The paid money remains.
SELECT wallet FROM wallet.create_wallet('brief', low_balance => '{12}');
SELECT balance FROM wallet.fund('brief', 10, metadata => '{"n": "paid"}');
SELECT balance FROM wallet.fund('brief', 5, expires_at => clock_timestamp() + interval '0.4 seconds', promotional => true, metadata => '{"n": "gift"}');
SELECT balance FROM wallet.charge('brief', amount => 2);
SELECT pg_sleep(0.5);
SELECT balance, available FROM wallet.balances WHERE wallet = 'brief';
SELECT n, amount, remaining, status FROM regress.lots WHERE wallet = 'brief' ORDER BY n;
SELECT count(*) FROM wallet.entries WHERE wallet = 'brief' AND kind = 'expiry';
CALL regress.fails($$ SELECT wallet.charge('brief', amount => 11) $$);
SELECT balance FROM wallet.charge('brief', amount => 1);
SELECT kind, amount, contra, seq FROM wallet.entries WHERE wallet = 'brief' ORDER BY seq;
SELECT n, amount, remaining, status FROM regress.lots WHERE wallet = 'brief' ORDER BY n;
SELECT event, threshold, payload->'amount' AS amount FROM wallet.events WHERE wallet = 'brief' ORDER BY id;
SELECT * FROM regress.broken('brief');
SELECT grant_id AS gift FROM wallet.grants WHERE wallet = 'brief' AND promotional \gset
CALL regress.fails(format($$ SELECT wallet.void_grant('brief', %L) $$, :'gift'));

-- Used credit is repaid first.
SELECT wallet FROM wallet.create_wallet('oncredit', credit_limit => 20);
SELECT balance FROM wallet.charge('oncredit', amount => 8, user_id => 'early');
SELECT balance FROM wallet.fund('oncredit', 10, promotional => true, expires_at => now() + interval '1 day');
SELECT balance FROM wallet.fund('oncredit', 3);
SELECT balance FROM wallet.charge('oncredit', amount => 4, user_id => 'late');
SELECT amount, remaining, promotional, status FROM wallet.grants WHERE wallet = 'oncredit' ORDER BY created_at;
SELECT e.user_id, p.amount, g.promotional FROM wallet.grant_payments p JOIN wallet.entries e USING (wallet, entry_id) JOIN wallet.grants g USING (wallet, grant_id)
 WHERE p.wallet = 'oncredit' ORDER BY e.created_at, g.created_at;
SELECT * FROM regress.broken('oncredit');

-- A chargeback takes money from its own lot first.
SELECT wallet FROM wallet.create_wallet('disputed');
SELECT entry_id AS d1 FROM wallet.fund('disputed', 10, metadata => '{"n": "one"}') \gset
SELECT entry_id AS d2 FROM wallet.fund('disputed', 10, metadata => '{"n": "two"}') \gset
SELECT balance FROM wallet.charge('disputed', amount => 4);
SELECT balance, taken, debt FROM wallet.reverse_funding('disputed', :'d2');
SELECT n, remaining, status FROM regress.lots WHERE wallet = 'disputed' ORDER BY n;
SELECT balance, taken, debt FROM wallet.reverse_funding('disputed', :'d1');
SELECT n, remaining, status FROM regress.lots WHERE wallet = 'disputed' ORDER BY n;
SELECT balance FROM wallet.fund('disputed', 10);
SELECT amount, remaining FROM wallet.grants WHERE wallet = 'disputed' AND status = 'active';
SELECT * FROM regress.broken('disputed');

-- Recurring credit, with a cap on what is carried over.
SELECT wallet FROM wallet.create_wallet('monthly');
SELECT grant_id IS NOT NULL AS granted, amount, balance, next_at > now() + interval '27 days' AS in_a_month, replayed
  FROM wallet.set_recurring_grant('monthly', 10, 'month', expires_after => '1 month', rollover_max => 4, idempotency_key => 'r');
SELECT amount, remaining, promotional, expires_at > now() + interval '27 days' AS for_a_month FROM wallet.grants WHERE wallet = 'monthly';
SELECT amount, balance, replayed FROM wallet.set_recurring_grant('monthly', 10, 'month', expires_after => '1 month', rollover_max => 4, idempotency_key => 'r');
CALL regress.fails($$ SELECT wallet.set_recurring_grant('monthly', 11, 'month', idempotency_key => 'r') $$);
CALL regress.fails($$ SELECT wallet.set_recurring_grant('monthly', 10, 'fortnight') $$);
CALL regress.fails($$ SELECT wallet.set_recurring_grant('monthly', 10, 'month', expires_after => '-1 day') $$);
SELECT wallet FROM wallet.create_wallet('often');
SELECT balance FROM wallet.set_recurring_grant('often', 10, '2 seconds', rollover_max => 4);
SELECT pg_sleep(2.1);
SELECT balance FROM wallet.charge('often', amount => 3);
SELECT kind, amount, contra FROM wallet.entries WHERE wallet = 'often' ORDER BY seq;
SELECT amount, balance, next_at FROM wallet.set_recurring_grant('often', 0);
SELECT count(*) FROM wallet.recurring_grants WHERE wallet_id = 'often';
SELECT * FROM regress.broken('often');
SELECT * FROM regress.broken('monthly');
DROP VIEW regress.lots;

-- The end of a grant is announced when a quarter of its time is left, once, by the first call after
-- that. Then it expires.
SELECT wallet FROM wallet.create_wallet('announced');
SELECT balance FROM wallet.fund('announced', 3, promotional => true, expires_at => clock_timestamp() + interval '2 seconds');
SELECT balance FROM wallet.charge('announced', amount => 1);
SELECT count(*) FROM wallet.events WHERE wallet = 'announced';
SELECT pg_sleep(1.6);
SELECT balance FROM wallet.charge('announced', amount => 0.5);
SELECT balance FROM wallet.charge('announced', amount => 0.25);
SELECT event, payload->>'amount' AS amount, (payload->>'expires_at')::timestamptz > created_at AS to_come FROM wallet.events WHERE wallet = 'announced' ORDER BY id;
SELECT pg_sleep(0.5);
-- check_limits agrees with the next charge, whether or not a call has booked the expiry.
SELECT remaining, allowed, reason FROM wallet.check_limits('announced', amount => 1) WHERE scope = 'balance';
CALL regress.fails($$ SELECT wallet.charge('announced', amount => 1) $$);
SELECT balance FROM wallet.fund('announced', 1);
SELECT event, payload->>'amount' AS amount FROM wallet.events WHERE wallet = 'announced' AND event LIKE 'grant%' ORDER BY id;
-- A duration that no calendar has.
CALL regress.fails($$ SELECT wallet.set_recurring_grant('grants', 1, expires_after => '170000000 years') $$);
