-- Limits on the holds that are open at a time.
SELECT wallet FROM wallet.create_wallet('lo');
SELECT balance FROM wallet.fund('lo', 1000);
SELECT wallet.set_price('lo-model', 'output_tokens', 1, per => 1000, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT wallet.set_limit('lo', 2, 'open', scope => 'user', metric => 'requests') IS NOT NULL AS set;
SELECT wallet.set_limit('lo', 20, 'open') AS money \gset
CALL regress.fails($$ SELECT wallet.set_limit('lo', 5, 'open', anchor => 1) $$);
CREATE VIEW regress.lo_limits AS
SELECT scope, subject, metric, max, used, held, remaining, percent, resets_at FROM wallet.limits_status WHERE wallet = 'lo' ORDER BY scope, subject;
CREATE FUNCTION regress.lo_check(amount numeric, for_hold boolean DEFAULT true) RETURNS TABLE (scope text, period text, metric text, max numeric, used numeric, held numeric, remaining numeric, allowed boolean, reason text) LANGUAGE sql AS $$
    SELECT scope, period, metric, max, used, held, remaining, allowed, reason FROM wallet.check_limits('lo', 'ann', amount => $1, for_hold => $2)
$$;

SELECT hold_id AS one FROM wallet.hold('lo', amount => 10, user_id => 'ann') \gset
SELECT hold_id AS two FROM wallet.hold('lo', amount => 4, user_id => 'ann', idempotency_key => 'two') \gset
SELECT * FROM regress.lo_limits;
-- A third call of this user waits; a call of another user has room for 6.
CALL regress.fails($$ SELECT wallet.hold('lo', amount => 1, user_id => 'ann', ttl => '1 day') $$);
CALL regress.fails($$ SELECT wallet.hold('lo', amount => 6.01, user_id => 'bob') $$);
SELECT * FROM regress.lo_check(7);
-- A charge is over at once: these limits do not refuse it.
SELECT * FROM regress.lo_check(7, for_hold => false);
SELECT cost FROM wallet.charge('lo', amount => 30, user_id => 'ann');
-- A replay counts once.
SELECT replayed FROM wallet.hold('lo', amount => 4, user_id => 'ann', idempotency_key => 'two');
SELECT * FROM regress.lo_limits;
-- A partial settlement frees the money that it books. The request is open until the last one.
SELECT cost FROM wallet.settle('lo', :'one', amount => 7, final => false);
SELECT * FROM regress.lo_limits;
SELECT cost FROM wallet.settle('lo', :'one', amount => 9);
SELECT * FROM regress.lo_limits;
SELECT status FROM wallet.void('lo', :'two');
SELECT * FROM regress.lo_limits;
-- A hold that expires frees it, whether its amount is released or charged, and without a sweep.
SELECT count(*) AS made FROM wallet.hold('lo', amount => 5, user_id => 'ann', ttl => '0.3 s') UNION ALL
SELECT count(*) FROM wallet.hold('lo', amount => 5, user_id => 'ann', ttl => '0.3 s', on_expiry => 'charge');
SELECT allowed FROM regress.lo_check(1) WHERE metric = 'requests';
SELECT pg_sleep(0.4);
SELECT * FROM regress.lo_limits;
SELECT * FROM regress.lo_check(20);
SELECT hold_id AS "all" FROM wallet.hold('lo', amount => 20, user_id => 'ann') \gset
SELECT * FROM regress.lo_limits;
SELECT kind, amount, reason FROM wallet.entries WHERE wallet = 'lo' AND reason IS NOT NULL;
SELECT status FROM wallet.void('lo', :'all');
-- A hold may shrink to the money that is left.
SELECT hold_id AS part, amount FROM wallet.hold('lo', amount => 100, user_id => 'bob', allow_partial => true) \gset
SELECT :amount AS amount;
SELECT status FROM wallet.void('lo', :'part');
-- A hold that never fits.
CALL regress.fails($$ SELECT wallet.hold('lo', amount => 20.01) $$);
-- A raise and a pause.
SELECT wallet.raise_limit('lo', :'money', 5);
SELECT hold_id AS big FROM wallet.hold('lo', amount => 25) \gset
CALL regress.fails($$ SELECT wallet.hold('lo', amount => 0.01) $$);
SELECT wallet.set_limit('lo', 25, 'open', paused => true) = :'money' AS paused;
SELECT amount FROM wallet.hold('lo', amount => 5);
SELECT wallet.set_limit('lo', 25, 'open', paused => false) = :'money' AS resumed;
-- The hold that was made during the pause does not count.
SELECT held FROM regress.lo_limits WHERE scope = 'wallet';
SELECT cost FROM wallet.settle('lo', :'big', amount => 25);
SELECT held FROM regress.lo_limits WHERE scope = 'wallet';
-- A soft limit warns each time that a level is reached.
SELECT wallet.set_limit('lo', 10, 'open', mode => 'soft', warn_at => '{0.5}') = :'money' AS changed;
SELECT hold_id AS a FROM wallet.hold('lo', amount => 4) \gset
SELECT hold_id AS b FROM wallet.hold('lo', amount => 2) \gset
SELECT status FROM wallet.void('lo', :'b');
SELECT hold_id AS b FROM wallet.hold('lo', amount => 7) \gset
SELECT event, payload ->> 'used' AS used, threshold FROM wallet.events WHERE wallet = 'lo' AND event LIKE 'limit%' AND payload ->> 'metric' = 'amount' ORDER BY id;
SELECT count(*) FILTER (WHERE NOT ok) AS broken FROM wallet.verify('lo');
-- On a wallet with several lanes.
SELECT wallet FROM wallet.create_wallet('lo4', lanes => 4);
SELECT balance FROM wallet.fund('lo4', 1000);
SELECT wallet.set_limit('lo4', 3, 'open', metric => 'requests') IS NOT NULL AS set;
SELECT count((wallet.hold('lo4', amount => 1, idempotency_key => 'h' || n)).hold_id) AS made FROM generate_series(1, 3) n;
CALL regress.fails($$ SELECT wallet.hold('lo4', amount => 1) $$);
SELECT count(wallet.settle('lo4', hold_id, amount => 1)) AS settled FROM wallet.holds WHERE wallet = 'lo4';
SELECT held, remaining FROM wallet.limits_status WHERE wallet = 'lo4';
DROP FUNCTION regress.lo_check;
