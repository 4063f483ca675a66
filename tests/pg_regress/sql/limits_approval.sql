-- Limits above which a hold waits for approval.
SELECT wallet FROM wallet.create_wallet('ap');
SELECT balance FROM wallet.fund('ap', 1000);
SELECT wallet.set_limit('ap', 50, 'request', mode => 'approve') IS NOT NULL AS set;
SELECT wallet.set_limit('ap', 60, 'lifetime', scope => 'user', mode => 'approve') IS NOT NULL AS set;
SELECT wallet.set_limit('ap', 500, 'lifetime') IS NOT NULL AS set;
SELECT wallet.set_member('ap', 'boss', role => 'billing'), wallet.set_member('ap', 'ann', role => 'member');
CALL regress.fails($$ SELECT wallet.set_limit('ap', 50, 'day', mode => 'ask') $$);
CREATE VIEW regress.ap_holds AS
SELECT amount, settled, held, status, on_expiry, user_id, reason FROM wallet.holds WHERE wallet = 'ap' ORDER BY created_at;
CREATE VIEW regress.ap_limits AS
SELECT scope, subject, period, mode, max, used, held, remaining FROM wallet.limits_status WHERE wallet = 'ap' ORDER BY scope, period;
CREATE FUNCTION regress.ap_events() RETURNS TABLE (event text, payload jsonb) LANGUAGE sql AS $$
    SELECT event, payload - '{hold_id,expires_at,limit_id,entry_id}'::text[] FROM wallet.events WHERE wallet = 'ap' AND event ~ 'approv|hold_' ORDER BY id
$$;

-- A charge is refused, and told to make a hold.
CALL regress.fails($$ SELECT wallet.charge('ap', amount => 50.01, user_id => 'ann') $$);
-- Below the limits a hold is open at once.
SELECT hold_id AS small, status FROM wallet.hold('ap', amount => 30, user_id => 'ann') \gset
SELECT :'status' AS status;
SELECT cost FROM wallet.settle('ap', :'small', amount => 30);
-- Above one, it waits. Money and limits are set aside.
SELECT period, allowed, reason FROM wallet.check_limits('ap', 'ann', amount => 55, for_hold => true);
SELECT period, allowed, reason FROM wallet.check_limits('ap', 'ann', amount => 55);
SELECT hold_id AS one, status, replayed FROM wallet.hold('ap', amount => 55, user_id => 'ann', team => 'red', model => 'm', on_expiry => 'charge', idempotency_key => 'one') \gset
SELECT :'status' AS status, :'replayed' AS replayed;
SELECT * FROM regress.ap_holds;
SELECT * FROM regress.ap_limits;
SELECT balance, held, available FROM wallet.balances WHERE wallet = 'ap';
SELECT status, replayed FROM wallet.hold('ap', amount => 55, user_id => 'ann', team => 'red', model => 'm', on_expiry => 'charge', idempotency_key => 'one');
CALL regress.fails($$ SELECT wallet.hold('ap', amount => 55, user_id => 'ann', team => 'red', model => 'm', idempotency_key => 'one') $$);
CALL regress.fails(format($$ SELECT wallet.settle('ap', %L, amount => 55) $$, :'one'));
CALL regress.fails(format($$ SELECT wallet.settle('ap', %L, amount => 1, final => false) $$, :'one'));
-- Nobody else may spend what is set aside for it.
CALL regress.fails($$ SELECT wallet.charge('ap', amount => 0.01, user_id => 'ann') $$);
-- A member approves only with the right role. Others need the level billing.
CALL regress.fails(format($$ SELECT wallet.approve_hold('ap', %L, actor => 'ann') $$, :'one'));
SELECT amount, balance, replayed, status FROM wallet.approve_hold('ap', :'one', actor => 'boss');
SELECT amount, balance, replayed, status FROM wallet.approve_hold('ap', :'one', actor => 'boss');
CALL regress.fails(format($$ SELECT wallet.deny_hold('ap', %L, actor => 'boss') $$, :'one'));
SELECT status FROM wallet.hold('ap', amount => 55, user_id => 'ann', team => 'red', model => 'm', on_expiry => 'charge', idempotency_key => 'one');
SELECT * FROM regress.ap_holds;
-- The settlement takes what was approved. Above it, the limits refuse.
CALL regress.fails(format($$ SELECT wallet.settle('ap', %L, amount => 55.01) $$, :'one'));
SELECT cost FROM wallet.settle('ap', :'one', amount => 55);
SELECT * FROM regress.ap_limits;
CALL regress.fails(format($$ SELECT wallet.approve_hold('ap', %L) $$, gen_random_uuid()));
-- Denied, voided, or expired: nothing is held any more, and nothing was charged.
SELECT hold_id AS two, status FROM wallet.hold('ap', amount => 1, user_id => 'ann') \gset
SELECT :'status' AS status;
SELECT amount, balance, replayed, status FROM wallet.deny_hold('ap', :'two', actor => 'boss', reason => 'not this month', idempotency_key => 'no');
SELECT amount, replayed, status FROM wallet.deny_hold('ap', :'two', actor => 'boss', reason => 'not this month', idempotency_key => 'no');
CALL regress.fails(format($$ SELECT wallet.settle('ap', %L, amount => 1) $$, :'two'));
CALL regress.fails(format($$ SELECT wallet.approve_hold('ap', %L) $$, :'two'));
SELECT hold_id AS three FROM wallet.hold('ap', amount => 2, user_id => 'ann') \gset
SELECT amount, status FROM wallet.void('ap', :'three');
SELECT hold_id AS four FROM wallet.hold('ap', amount => 3, user_id => 'ann', ttl => '0.2 s', on_expiry => 'charge') \gset
SELECT status FROM wallet.extend_hold('ap', :'four', '0.3 s');
SELECT pg_sleep(0.4);
CALL regress.fails(format($$ SELECT wallet.approve_hold('ap', %L) $$, :'four'));
CALL regress.fails(format($$ SELECT wallet.settle('ap', %L, amount => 3) $$, :'four'));
SELECT count(*) > 0 AS maintained FROM wallet.maintain();
CALL regress.fails(format($$ SELECT wallet.settle('ap', %L, amount => 3) $$, :'four'));
-- One that was approved in time is charged when it expires.
SELECT hold_id AS five FROM wallet.hold('ap', amount => 4, user_id => 'ann', ttl => '0.3 s', on_expiry => 'charge') \gset
SELECT status FROM wallet.approve_hold('ap', :'five');
SELECT pg_sleep(0.4);
SELECT count(*) > 0 AS maintained FROM wallet.maintain();
SELECT * FROM regress.ap_holds;
SELECT * FROM regress.ap_limits;
SELECT * FROM regress.ap_events();
SELECT action, actor, before ->> 'approval' AS was, after ->> 'approval' AS is, after ->> 'status' AS status FROM wallet.audit WHERE wallet = 'ap' AND action ~ 'hold' ORDER BY at;
-- Approved tokens can be settled, too.
SELECT wallet FROM wallet.create_wallet('apt');
SELECT balance FROM wallet.fund('apt', 1000);
SELECT wallet.set_price('ap-model', 'output_tokens', 1, per => 1000, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT wallet.set_limit('apt', 100, 'request', metric => 'output_tokens', mode => 'approve') IS NOT NULL AS set;
SELECT hold_id AS tokens, status FROM wallet.hold('apt', usage => '{"model": "ap-model", "output_tokens": 500}') \gset
SELECT :'status' AS status;
SELECT status FROM wallet.approve_hold('apt', :'tokens');
CALL regress.fails(format($$ SELECT wallet.settle('apt', %L, '{"output_tokens": 501}') $$, :'tokens'));
SELECT cost FROM wallet.settle('apt', :'tokens', '{"output_tokens": 500}');
-- A hard limit refuses the hold, whatever could be approved.
CALL regress.fails($$ SELECT wallet.hold('ap', amount => 412, user_id => 'bob') $$);
-- Several lanes.
SELECT wallet FROM wallet.create_wallet('ap4', lanes => 4);
SELECT balance FROM wallet.fund('ap4', 1000);
SELECT wallet.set_limit('ap4', 100, 'day', mode => 'approve') IS NOT NULL AS set;
SELECT status FROM wallet.hold('ap4', amount => 60);
SELECT hold_id AS six, status FROM wallet.hold('ap4', amount => 60) \gset
SELECT :'status' AS status;
CALL regress.fails($$ SELECT wallet.charge('ap4', amount => 1) $$);
SELECT status FROM wallet.deny_hold('ap4', :'six');
SELECT cost FROM wallet.charge('ap4', amount => 40);
CALL regress.fails($$ SELECT wallet.charge('ap4', amount => 0.01) $$);
SELECT w.wallet, count(*) FILTER (WHERE NOT v.ok) AS broken FROM unnest('{ap,ap4}'::text[]) w(wallet), wallet.verify(w.wallet) v GROUP BY 1 ORDER BY 1;
