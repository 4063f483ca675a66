-- Default limits: they apply to every wallet that has no limit of the same scope, subject, period
-- and metric. All of them are dropped at the end, because the files share one database.
CREATE FUNCTION regress.limits_of(of_wallet text)
RETURNS TABLE (scope text, subject text, period text, max numeric, used numeric, remaining numeric, is_default boolean) LANGUAGE sql AS $$
    SELECT s.scope, s.subject, s.period, s.max, s.used, s.remaining, s.is_default
      FROM wallet.limits_status s WHERE s.wallet = of_wallet ORDER BY s.scope, s.period, s.subject
$$;
SELECT w.wallet, f.balance FROM unnest('{df_a,df_b,df_c}'::text[]) n,
       LATERAL wallet.create_wallet(n) w, LATERAL wallet.fund(n, 1000) f;

-- A default counts from now on. What was used before does not count.
SELECT cost FROM wallet.charge('df_a', amount => 7);
SELECT wallet.set_limit('*', 10, 'lifetime') AS spend \gset
SELECT * FROM regress.limits_of('df_a');
SELECT cost FROM wallet.charge('df_a', amount => 4);
SELECT * FROM regress.limits_of('df_a');
SELECT * FROM regress.limits_of('df_b');
CALL regress.fails($$ SELECT wallet.charge('df_a', amount => 6.01) $$);
SELECT scope, max, used, remaining, allowed, reason FROM wallet.check_limits('df_a', amount => 6.01) ORDER BY scope;
SELECT cost FROM wallet.charge('df_b', amount => 9);
SELECT event, threshold, payload ->> 'limit_id' = :'spend' AS of_default, payload ->> 'used' AS used FROM wallet.events WHERE wallet = 'df_b' AND event LIKE 'limit%' ORDER BY id;
-- A wallet that is created later has it too.
SELECT wallet FROM wallet.create_wallet('df_new');
SELECT balance FROM wallet.fund('df_new', 100);
CALL regress.fails($$ SELECT wallet.charge('df_new', amount => 10.01) $$);
-- The same id again, for all.
SELECT wallet.set_limit('*', 12, 'lifetime') = :'spend' AS same;
SELECT * FROM regress.limits_of('df_a');
-- 9 of 12 is below the level of 80 % again, which is reached once more.
SELECT cost FROM wallet.charge('df_b', amount => 0.7);
SELECT event, threshold, payload ->> 'used' AS used FROM wallet.events WHERE wallet = 'df_b' AND event LIKE 'limit%' ORDER BY id;
-- A maximum below the usage refuses at once.
SELECT wallet.set_limit('*', 5, 'lifetime') = :'spend' AS same;
CALL regress.fails($$ SELECT wallet.charge('df_b', amount => 0.01) $$);
SELECT cost FROM wallet.charge('df_a', amount => 1);

-- An own limit of the same names takes its place, and counts what the ledger has.
SELECT wallet.set_limit('df_a', 100, 'lifetime') AS own \gset
SELECT * FROM regress.limits_of('df_a');
SELECT cost FROM wallet.charge('df_a', amount => 50);
-- Also while it is paused.
SELECT wallet.set_limit('df_a', 100, 'lifetime', paused => true) = :'own' AS same;
SELECT cost FROM wallet.charge('df_a', amount => 60);
SELECT * FROM regress.limits_of('df_a');
-- Once it is dropped, the default counts all that was used since it was set: 4 + 1 + 50 + 60.
SELECT wallet.drop_limit('df_a', :'own');
SELECT * FROM regress.limits_of('df_a');
CALL regress.fails($$ SELECT wallet.charge('df_a', amount => 0.01) $$);
SELECT "check", ok, detail FROM wallet.verify('df_a') WHERE "check" = 'limits';

-- Raises.
SELECT wallet.raise_limit('*', :'spend', 7);
SELECT * FROM regress.limits_of('df_b');
SELECT wallet.raise_limit('*', :'spend', 8, until => now() + interval '1 hour');
SELECT max FROM wallet.default_limits;
SELECT cost FROM wallet.charge('df_b', amount => 10.3);
CALL regress.fails($$ SELECT wallet.charge('df_b', amount => 0.01) $$);
CALL regress.fails(format($$ SELECT wallet.raise_limit('df_b', %L, 7) $$, :'spend'));
CALL regress.fails(format($$ SELECT wallet.drop_limit('df_b', %L) $$, :'spend'));
CALL regress.fails($$ SELECT wallet.raise_limit('*', '01890a5d-ac96-774b-bcce-b302099a8057', 7) $$);

-- Paused, it neither counts nor refuses. Resumed, it begins to count again.
SELECT wallet.set_limit('*', 20, 'lifetime', paused => true) = :'spend' AS same;
SELECT cost FROM wallet.charge('df_b', amount => 30);
SELECT * FROM regress.limits_of('df_b');
SELECT wallet.set_limit('*', 20, 'lifetime', paused => false) = :'spend' AS same;
SELECT * FROM regress.limits_of('df_b');
SELECT cost FROM wallet.charge('df_b', amount => 19);
SELECT * FROM regress.limits_of('df_b');
CALL regress.fails($$ SELECT wallet.charge('df_b', amount => 1.01) $$);

-- A hold reserves in it, and its settlement counts there.
SELECT hold_id FROM wallet.hold('df_b', amount => 1) \gset
CALL regress.fails($$ SELECT wallet.charge('df_b', amount => 0.01) $$);
SELECT cost FROM wallet.settle('df_b', :'hold_id', amount => 0.5);
SELECT * FROM regress.limits_of('df_b');
SELECT "check", ok, detail FROM wallet.verify('df_b') WHERE "check" = 'limits';
-- A refund gives back only what it has surely counted: the 30 came before, the 0.5 soon after.
SELECT count(*) FROM (SELECT wallet.refund('df_b', entry_id) FROM wallet.entries WHERE wallet = 'df_b' AND amount IN (-30, -0.5)) r;
SELECT * FROM regress.limits_of('df_b');
SELECT wallet.drop_limit('*', :'spend');
SELECT * FROM regress.limits_of('df_b');
SELECT cost FROM wallet.charge('df_b', amount => 25);
-- Its windows go with the next upkeep. The others stay.
SELECT count(*) FROM wallet.allowances WHERE limit_id = :'spend';
SELECT wallet.prune_windows() >= 3 AS pruned;
SELECT count(*) FROM wallet.allowances WHERE limit_id = :'spend';
CALL regress.fails(format($$ SELECT wallet.drop_limit('*', %L) $$, :'spend'));
-- Set again, it has its id and counts from now on.
SELECT wallet.set_limit('*', 20, 'lifetime') = :'spend' AS same;
SELECT * FROM regress.limits_of('df_b');
SELECT wallet.drop_limit('*', :'spend');

-- Named subjects override *, whoever set which.
SELECT wallet.set_limit('*', 10, 'lifetime', scope => 'user') AS each \gset
SELECT wallet.set_limit('*', 30, 'lifetime', scope => 'user', subject => 'bot') AS bot \gset
SELECT wallet.set_limit('df_c', 5, 'lifetime', scope => 'user') AS own_each \gset
SELECT wallet.set_limit('df_a', 15, 'lifetime', scope => 'user', subject => 'ann') AS own_ann \gset
SELECT w, u, max, used FROM unnest('{df_a,df_b,df_c}'::text[]) w, unnest('{ann,bot,cid}'::text[]) u, wallet.check_limits(w, user_id => u) WHERE scope = 'user' ORDER BY 1, 2;
SELECT cost FROM wallet.charge('df_a', amount => 12, user_id => 'ann');
SELECT cost FROM wallet.charge('df_a', amount => 3, user_id => 'cid');
SELECT cost FROM wallet.charge('df_c', amount => 28, user_id => 'bot');
CALL regress.fails($$ SELECT wallet.charge('df_c', amount => 6, user_id => 'ann') $$);
SELECT * FROM regress.limits_of('df_a');
SELECT * FROM regress.limits_of('df_c');
-- Without the limit on ann, the default for each user counts her usage.
SELECT wallet.drop_limit('df_a', :'own_ann');
SELECT * FROM regress.limits_of('df_a');
CALL regress.fails($$ SELECT wallet.charge('df_a', amount => 0.01, user_id => 'ann') $$);
-- Without the default for the bot, each wallet's limit on each user counts it from now on.
SELECT wallet.drop_limit('*', :'bot');
SELECT cost FROM wallet.charge('df_c', amount => 4, user_id => 'bot');
CALL regress.fails($$ SELECT wallet.charge('df_c', amount => 2, user_id => 'bot') $$);
SELECT "check", ok FROM unnest('{df_a,df_c}'::text[]) w, wallet.verify(w) WHERE "check" = 'limits';
-- A refund returns nothing to the limit on each user that only the dropped limit has counted.
SELECT r.amount FROM wallet.entries e, LATERAL wallet.refund('df_c', e.entry_id) r WHERE e.wallet = 'df_c' AND e.user_id = 'bot' AND e.amount = -28;
SELECT * FROM regress.limits_of('df_c');
CALL regress.fails($$ SELECT wallet.charge('df_c', amount => 2, user_id => 'bot') $$);
-- Nor what a paused limit may have counted. Another user's charge does return.
SELECT wallet.set_limit('*', 30, 'lifetime', scope => 'user', subject => 'cat') AS cat \gset
SELECT cost FROM wallet.charge('df_c', amount => 9, user_id => 'cat');
SELECT cost FROM wallet.charge('df_c', amount => 5, user_id => 'dog');
SELECT wallet.set_limit('*', 30, 'lifetime', scope => 'user', subject => 'cat', paused => true) = :'cat' AS same;
SELECT cost FROM wallet.charge('df_c', amount => 3, user_id => 'cat');
SELECT e.user_id, r.amount FROM wallet.entries e, LATERAL wallet.refund('df_c', e.entry_id) r WHERE e.wallet = 'df_c' AND (e.user_id, e.amount) IN (('cat', -9), ('dog', -5)) ORDER BY 1;
SELECT * FROM regress.limits_of('df_c');
SELECT "check", ok FROM unnest('{df_a,df_c}'::text[]) w, wallet.verify(w) WHERE "check" = 'limits';
SELECT wallet.drop_limit('*', :'cat');
SELECT wallet.drop_limit('*', :'each');

-- On its first day, a default limit may not have counted a charge that was in progress. A refund
-- of such a charge is not returned to its windows. From the second day on, refunds are.
SELECT wallet FROM wallet.create_wallet('df_back');
SELECT balance FROM wallet.fund('df_back', 100);
SELECT wallet.set_limit('*', 20, 'lifetime') AS spend \gset
SELECT entry_id FROM wallet.charge('df_back', amount => 8) \gset
SELECT amount FROM wallet.refund('df_back', :'entry_id', 3);
SELECT * FROM regress.limits_of('df_back');
SELECT "check", ok, detail FROM wallet.verify('df_back') WHERE "check" = 'limits';
UPDATE wallet.limits SET counts_since = counts_since - interval '25 hours' WHERE limit_id = :'spend';
SELECT wallet FROM wallet.create_wallet('df_next');
SELECT balance FROM wallet.fund('df_next', 100);
SELECT entry_id FROM wallet.charge('df_next', amount => 8) \gset
SELECT amount FROM wallet.refund('df_next', :'entry_id', 3);
SELECT * FROM regress.limits_of('df_next');
SELECT "check", ok, detail FROM wallet.verify('df_next') WHERE "check" = 'limits';
SELECT wallet.drop_limit('*', :'spend');
-- If the change commits after the next window has begun, that window may lack charges, too.
SELECT cost FROM wallet.charge('df_next', amount => 5);
SELECT wallet.set_limit('*', 20, 'minute') AS minute \gset
UPDATE wallet.limits SET counts_since = counts_since - interval '10 minutes' WHERE limit_id = :'minute';
SELECT cost FROM wallet.charge('df_next', amount => 1);
SELECT "check", ok FROM wallet.verify('df_next') WHERE "check" = 'limits';
SELECT wallet.drop_limit('*', :'minute');

-- Each wallet's own time zone decides, unless the limit has one.
SELECT wallet FROM wallet.create_wallet('df_tokyo', time_zone => 'Asia/Tokyo');
SELECT balance FROM wallet.fund('df_tokyo', 100);
SELECT wallet.set_limit('*', 10, 'day') AS daily \gset
SELECT wallet, time_zone, resets_at = wallet.period_end('day', NULL, time_zone, now()) AS at_midnight FROM wallet.limits_status WHERE wallet IN ('df_b', 'df_tokyo') ORDER BY 1;
SELECT time_zone FROM wallet.default_limits;
SELECT cost FROM wallet.charge('df_tokyo', amount => 4);
SELECT used FROM regress.limits_of('df_tokyo');
SELECT (wallet.update_wallet('df_tokyo', time_zone => 'America/Lima')).wallet;
-- The windows of the new zone count what was used in them.
SELECT time_zone, used > 0 AS counted FROM wallet.limits_status WHERE wallet = 'df_tokyo';
-- A zone of the limit begins to count again.
SELECT wallet.set_limit('*', 10, 'day', time_zone => 'UTC') = :'daily' AS same;
SELECT wallet, time_zone, used, resets_at = wallet.period_end('day', NULL, 'UTC', now()) AS at_midnight FROM wallet.limits_status WHERE wallet IN ('df_b', 'df_tokyo') ORDER BY 1;
SELECT wallet.drop_limit('*', :'daily');

-- A zone moves only windows that the clock decides on, and weights change nothing that a hold has
-- reserved. Other limits go on with what they have counted.
SELECT wallet.set_metric('df_sum', '{"requests": 1}');
CREATE FUNCTION regress.set_df_zones(zone text) RETURNS TABLE (period text, same boolean) LANGUAGE sql AS $$
    SELECT l.period, wallet.set_limit('*', 50, l.period, metric => l.metric, time_zone => zone) IS NOT NULL
      FROM (VALUES ('day', 'amount'), ('lifetime', 'amount'), ('rolling 5 hours', 'amount'), ('request', 'amount'), ('open', 'df_sum')) l (period, metric)
$$;
CREATE TABLE regress.df_since (period text, since timestamptz);
SELECT count(*) FROM regress.set_df_zones('UTC');
INSERT INTO regress.df_since SELECT period, counts_since FROM wallet.limits WHERE wallet_id = '*' AND dropped_at IS NULL;
SELECT cost FROM wallet.charge('df_tokyo', amount => 4);
SELECT hold_id FROM wallet.hold('df_tokyo', amount => 1) \gset
SELECT wallet.set_metric('df_sum', '{"requests": 2}');
SELECT count(*) FROM regress.set_df_zones('Asia/Kolkata');
SELECT period, counts_since = since AS goes_on FROM wallet.limits JOIN regress.df_since USING (period) WHERE wallet_id = '*' AND dropped_at IS NULL ORDER BY 1;
SELECT period, used, held FROM wallet.limits_status WHERE wallet = 'df_tokyo' ORDER BY 1;
SELECT cost FROM wallet.settle('df_tokyo', :'hold_id', amount => 1);
SELECT wallet.drop_limit('*', limit_id) FROM wallet.default_limits;
SELECT wallet.drop_metric('df_sum');

-- Windows that begin at another time, and what is carried from one into the next: a wallet carries
-- from its first window on. Here, years pass by making everything older.
CREATE PROCEDURE regress.pass_for_all(of_wallet text, years int) LANGUAGE plpgsql AS $$
DECLARE
    w record; past interval := make_interval(years => years); new_id uuid;
BEGIN
    UPDATE wallet.limits SET carry_from = carry_from - past, counts_since = counts_since - past WHERE wallet_id = '*' AND dropped_at IS NULL;
    UPDATE wallet.wallets SET defaults_from = defaults_from - past WHERE wallet_id = of_wallet;
    FOR w IN SELECT a.* FROM wallet.allowances a WHERE wallet_id = of_wallet AND limit_id IS NOT NULL ORDER BY window_start LOOP
        new_id := regress.window_id(w.limit_id, w.window_start - past, w.subject);
        UPDATE wallet.allowances SET allowance_id = new_id, window_start = window_start - past, window_end = window_end - past
         WHERE wallet_id = of_wallet AND allowance_id = w.allowance_id;
    END LOOP;
END
$$;
SELECT wallet.set_limit('*', 10, 'year', rollover_max => 15, anchor_time => '00:30', time_zone => 'UTC') AS yearly \gset
SELECT wallet FROM wallet.create_wallet('df_carry');
SELECT balance FROM wallet.fund('df_carry', 1000);
SELECT cost FROM wallet.charge('df_carry', amount => 4);
SELECT max, carried, used, anchor_time FROM wallet.limits_status WHERE wallet = 'df_carry';
CALL regress.pass_for_all('df_carry', 1);
SELECT max, carried, used FROM wallet.limits_status WHERE wallet = 'df_carry';
SELECT max, used, remaining FROM wallet.check_limits('df_carry') WHERE scope = 'wallet';
CALL regress.fails($$ SELECT wallet.charge('df_carry', amount => 16.01) $$);
SELECT cost FROM wallet.charge('df_carry', amount => 16);
CALL regress.pass_for_all('df_carry', 3);
SELECT max, carried, used FROM wallet.limits_status WHERE wallet = 'df_carry';
-- A new wallet has nothing to carry, although the limit is years old.
SELECT wallet FROM wallet.create_wallet('df_young');
SELECT max, carried, used FROM wallet.limits_status WHERE wallet = 'df_young';
-- Nor has one whose own limit has just been dropped: the windows before counted nothing.
SELECT wallet.set_limit('df_carry', 99, 'year') AS own_year \gset
SELECT wallet.drop_limit('df_carry', :'own_year');
SELECT max, carried, used FROM wallet.limits_status WHERE wallet = 'df_carry';
-- Without rollover_max, and with it again: the limit begins again.
SELECT wallet.set_limit('*', 10, 'year', anchor_time => '00:30') = :'yearly' AS same;
SELECT max, carried, used FROM wallet.limits_status WHERE wallet = 'df_carry';
SELECT wallet.set_limit('*', 10, 'year', anchor_time => '00:30', rollover_max => 5) = :'yearly' AS same;
SELECT max, carried, used FROM wallet.limits_status WHERE wallet = 'df_carry';
SELECT wallet.drop_limit('*', :'yearly');

-- Limits without a window, other metrics and modes.
SELECT wallet.set_limit('*', 3, 'request') AS per_request \gset
SELECT wallet.set_limit('*', 1, 'open', metric => 'requests') AS parallel \gset
SELECT wallet.set_limit('*', 4, 'rolling 5 hours', scope => 'team', mode => 'approve') AS approve \gset
SELECT wallet.set_limit('*', 1, 'month', metric => 'requests', mode => 'soft', scope => 'model') AS soft \gset
CALL regress.fails($$ SELECT wallet.charge('df_new', amount => 3.01) $$);
SELECT hold_id FROM wallet.hold('df_new', amount => 2, model => 'gpt') \gset
CALL regress.fails($$ SELECT wallet.hold('df_new', amount => 2) $$);
SELECT cost FROM wallet.settle('df_new', :'hold_id', amount => 1);
SELECT status FROM wallet.hold('df_new', amount => 3, team => 'red');
SELECT status FROM wallet.hold('df_a', amount => 3, team => 'red');
SELECT cost FROM wallet.charge('df_new', amount => 1, model => 'gpt');
SELECT event, payload ->> 'scope' AS scope, payload ->> 'used' AS used FROM wallet.events WHERE wallet = 'df_new' AND event LIKE 'limit%' ORDER BY scope, event;
SELECT * FROM regress.limits_of('df_new');
SELECT max_per_request FROM wallet.check_limits('df_new') WHERE scope = 'balance';
SELECT wallet.drop_limit('*', limit_id) FROM wallet.default_limits;

-- The audit trail, idempotency, and what is refused.
SELECT action, actor, after ->> 'max' AS max, after ->> 'dropped_at' IS NOT NULL AS dropped FROM wallet.audit WHERE wallet = '*' AND subject = :'yearly' ORDER BY at;
SELECT wallet.set_limit('*', 10, 'week', idempotency_key => 'df-1', actor => 'eve') AS weekly \gset
SELECT wallet.set_limit('*', 10, 'week', idempotency_key => 'df-1', actor => 'eve') = :'weekly' AS replayed;
CALL regress.fails($$ SELECT wallet.set_limit('*', 11, 'week', idempotency_key => 'df-1') $$);
SELECT wallet.drop_limit('*', :'weekly', idempotency_key => 'df-2');
SELECT wallet.drop_limit('*', :'weekly', idempotency_key => 'df-2');
CALL regress.fails($$ SELECT wallet.create_wallet('*') $$);
CALL regress.fails($$ SELECT wallet.set_limit('*', 10, 'week', time_zone => 'Mars/Base') $$);
CALL regress.fails($$ SELECT wallet.set_limit('*', -1, 'week') $$);
CALL regress.fails($$ SELECT wallet.set_limits('*', '[{"max": 1, "period": "week"}]') $$);
CALL regress.fails($$ INSERT INTO wallet.limits (wallet_id, limit_id, scope, subject, period, metric, mode, max, created_at)
                      VALUES ('df_a', gen_random_uuid(), 'wallet', '*', 'year', 'amount', 'hard', 1, '2026-01-01Z') $$);
-- Everybody who may read a wallet sees the defaults; only an administrator of all wallets sets them.
CREATE ROLE regress_df_reader;
CREATE ROLE regress_df_admin;
GRANT USAGE ON SCHEMA regress TO regress_df_reader, regress_df_admin;
SELECT wallet.grant_access('regress_df_reader', 'reader', 'df_a'), wallet.grant_access('regress_df_admin', 'admin', 'df_a');
SELECT wallet.set_limit('*', 10, 'week') = :'weekly' AS same;
SET ROLE regress_df_reader;
SELECT period, max FROM wallet.default_limits;
SELECT wallet, period, is_default FROM wallet.limits_status;
CALL regress.fails($$ SELECT wallet.set_limit('*', 10, 'week') $$);
SET ROLE regress_df_admin;
CALL regress.fails($$ SELECT wallet.set_limit('*', 10, 'week') $$);
CALL regress.fails(format($$ SELECT wallet.raise_limit('*', %L, 7) $$, :'weekly'));
CALL regress.fails(format($$ SELECT wallet.drop_limit('*', %L) $$, :'weekly'));
RESET ROLE;
SELECT wallet.drop_limit('*', limit_id) FROM wallet.default_limits;
SELECT wallet.revoke_access('regress_df_reader', 'reader', 'df_a'), wallet.revoke_access('regress_df_admin', 'admin', 'df_a');
DROP OWNED BY regress_df_reader, regress_df_admin;
DROP ROLE regress_df_reader, regress_df_admin;
SELECT w, "check", detail FROM unnest('{df_a,df_b,df_c,df_new,df_next,df_tokyo,df_carry}'::text[]) w, wallet.verify(w) WHERE NOT ok;
SELECT * FROM unnest('{df_a,df_b,df_c,df_new,df_tokyo}'::text[]) w, regress.broken(w);
