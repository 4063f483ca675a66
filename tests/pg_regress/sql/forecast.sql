-- A forecast counts the money that the predicted usage may spend. Unless stated otherwise, 1 per
-- day was spent for twenty days.
CREATE FUNCTION regress.spend(wallet text, days integer, amount numeric DEFAULT 1, model text DEFAULT NULL) RETURNS bigint
LANGUAGE sql AS $$
    SELECT count(wallet.charge(spend.wallet, amount => spend.amount, model => spend.model, event_at => now() - n * interval '24 hours'))
      FROM generate_series(1, spend.days) n
$$;
SELECT wallet.create_wallet(w, credit_limit => c)
  FROM (VALUES ('fc_plain', 0), ('fc_ends', 0), ('fc_scope', 0), ('fc_credit', 100), ('fc_both', 0), ('fc_again', 0), ('fc_held', 0)) v(w, c) \g /dev/null
SELECT balance FROM wallet.fund('fc_plain', 120);
SELECT regress.spend('fc_plain', 20);
SELECT daily_burn, days_left, suggested_topup, basis FROM wallet.forecast('fc_plain', 130);
-- 100, of which 0 is left in three days.
SELECT balance FROM wallet.fund('fc_ends', 120, expires_at => now() + interval '3 days');
SELECT regress.spend('fc_ends', 20);
SELECT daily_burn, days_left, runs_out_at BETWEEN now() + interval '2 days 23 hours 50 minutes' AND now() + interval '3 days' AS in_three_days, suggested_topup FROM wallet.forecast('fc_ends');
-- Some money expires, some does not.
SELECT balance FROM wallet.fund('fc_ends', 5);
SELECT days_left, suggested_topup FROM wallet.forecast('fc_ends');
-- 1 for all models, and 90 for another model.
SELECT balance FROM wallet.fund('fc_scope', 21);
SELECT balance FROM wallet.fund('fc_scope', 90, scope => '{"models": ["other"]}');
SELECT regress.spend('fc_scope', 20, model => 'ours');
SELECT days_left, suggested_topup FROM wallet.forecast('fc_scope');
-- A credit limit does not count as money, and credit that is used is repaid first.
SELECT balance FROM wallet.fund('fc_credit', 30);
SELECT regress.spend('fc_credit', 20);
SELECT days_left, suggested_topup FROM wallet.forecast('fc_credit');
SELECT balance FROM wallet.adjust('fc_credit', -15);
SELECT days_left, suggested_topup FROM wallet.forecast('fc_credit');
-- Half of the usage may spend money scoped to one model, so that the other money lasts twice as
-- long. More usage ends it sooner.
SELECT balance FROM wallet.fund('fc_both', 60);
SELECT balance FROM wallet.fund('fc_both', 100, scope => '{"models": ["openai/fc-*"]}', priority => 50);
SELECT wallet.set_price('fc-gpt', 'input_tokens', 1, effective_from => '2020-01-01Z') \g /dev/null
SELECT count(wallet.charge('fc_both', jsonb_build_object('model', 'fc-gpt', 'provider', p, 'input_tokens', 1), event_at => now() - n * interval '24 hours'))
  FROM generate_series(1, 20) n, unnest('{azure,openai}'::text[]) p;
SELECT available, scoped FROM wallet.balances WHERE wallet = 'fc_both';
SELECT daily_burn, days_left FROM wallet.forecast('fc_both');
SELECT wallet.roll_up(now()) > 0 AS rolled;
SELECT daily_burn, days_left FROM wallet.forecast('fc_both');
-- Recurring credit: enough, too little, and enough that expires too early.
SELECT balance FROM wallet.fund('fc_again', 22);
SELECT regress.spend('fc_again', 20);
SELECT days_left FROM wallet.forecast('fc_again');
SELECT amount FROM wallet.set_recurring_grant('fc_again', 7, 'week');
SELECT daily_burn, days_left, suggested_topup FROM wallet.forecast('fc_again', 365);
SELECT amount FROM wallet.set_recurring_grant('fc_again', 3, 'week');
SELECT days_left, suggested_topup FROM wallet.forecast('fc_again', 30);
SELECT amount FROM wallet.set_recurring_grant('fc_again', 7, 'week', expires_after => '5 days');
SELECT wallet.void_grant('fc_again', grant_id) FROM wallet.grants WHERE wallet = 'fc_again' AND status = 'active' AND expires_at IS NULL \g /dev/null
SELECT available FROM wallet.balances WHERE wallet = 'fc_again';
SELECT days_left FROM wallet.forecast('fc_again');
-- Held money counts as spent until its hold expires.
SELECT balance FROM wallet.fund('fc_held', 30);
SELECT regress.spend('fc_held', 20);
SELECT amount FROM wallet.hold('fc_held', amount => 4);
SELECT days_left FROM wallet.forecast('fc_held');
SELECT amount FROM wallet.hold('fc_held', amount => 2, ttl => '1 second');
SELECT days_left FROM wallet.forecast('fc_held');
SELECT pg_sleep(1.1);
SELECT days_left FROM wallet.forecast('fc_held');
-- Refunded usage was not spent, whenever the refund was booked and whether or not days are rolled
-- up.
SELECT wallet.create_wallet('fc_back') \g /dev/null
SELECT balance FROM wallet.fund('fc_back', 1030);
SELECT regress.spend('fc_back', 20);
SELECT entry_id FROM wallet.charge('fc_back', amount => 1000, event_at => now() - interval '120 hours') \gset
SELECT daily_burn > 20 AS burns_more FROM wallet.forecast('fc_back');
SELECT wallet.roll_up(now()) > 0 AS rolled;
SELECT amount FROM wallet.refund('fc_back', :'entry_id');
SELECT daily_burn, days_left FROM wallet.forecast('fc_back');
SELECT wallet.roll_up(now()) > 0 AS rolled;
SELECT daily_burn, days_left FROM wallet.forecast('fc_back');
-- Spend that doubles every week: the next week costs twice the last one. By hand: 16 per day, and
-- each day 2^(1/7) times the day before, which is 355 in twelve days.
SELECT wallet.create_wallet('fc_grows', credit_limit => 10000) \g /dev/null
SELECT count(wallet.charge('fc_grows', amount => round(power(2, (28 - n) / 7.0)::numeric, 6), event_at => now() - n * interval '24 hours')) FROM generate_series(1, 28) n;
SELECT balance < 0 AS on_credit FROM wallet.balances WHERE wallet = 'fc_grows';
SELECT balance > 0 AS paid FROM wallet.fund('fc_grows', 500);
SELECT f.basis, round(f.daily_burn / l.day, 2) AS times_the_last_week, round(b.available / l.day, 0) AS flat, f.days_left BETWEEN 11 AND 12.5 AS in_twelve_days
  FROM wallet.forecast('fc_grows') f, wallet.balances b,
       (SELECT sum(cost) / 7 AS day FROM wallet.usage_daily WHERE wallet = 'fc_grows' AND day >= (now() AT TIME ZONE 'UTC')::date - 7) l
 WHERE b.wallet = 'fc_grows';
-- Usage that has stopped.
SELECT wallet.create_wallet('fc_stops') \g /dev/null
SELECT balance FROM wallet.fund('fc_stops', 100);
SELECT count(wallet.charge('fc_stops', amount => 1, event_at => now() - n * interval '24 hours')) FROM generate_series(8, 40) n;
SELECT daily_burn, days_left, runs_out_at, suggested_topup, basis FROM wallet.forecast('fc_stops');
SELECT line FROM wallet.report('fc_stops', 1) line WHERE line LIKE 'forecast%';
-- The same whether or not due entries are booked: credit that expires in a second, and credit that
-- recurs every second.
SELECT wallet.create_wallet('fc_time') \g /dev/null
SELECT balance FROM wallet.fund('fc_time', 30);
SELECT regress.spend('fc_time', 20);
SELECT balance FROM wallet.fund('fc_time', 50, expires_at => now() + interval '1 second', priority => 200);
SELECT days_left FROM wallet.forecast('fc_time');
SELECT amount FROM wallet.set_recurring_grant('fc_time', 2, '1 day');
SELECT pg_sleep(1.1);
UPDATE wallet.recurring_grants SET started_at = started_at - interval '1 day', next_at = next_at - interval '1 day' WHERE wallet_id = 'fc_time';
UPDATE wallet.wallets SET grants_due = now() WHERE wallet_id = 'fc_time';
-- 10, and 2 from each of two turns. The third turn is tomorrow, and so on: twice what is spent.
SELECT days_left, suggested_topup FROM wallet.forecast('fc_time', 365);
CREATE TEMPORARY TABLE before AS SELECT w, f.daily_burn, f.days_left, f.suggested_topup, f.basis FROM (SELECT w.wallet_id AS w FROM wallet.wallets w WHERE w.wallet_id LIKE 'fc%') w, wallet.forecast(w, 400) f;
SELECT task, done > 0 AS done FROM wallet.maintain() WHERE task LIKE 'wallets%';
SELECT b.w FROM before b, wallet.forecast(b.w, 400) f
 WHERE (b.daily_burn, b.basis) IS DISTINCT FROM (f.daily_burn, f.basis) OR (b.days_left IS NULL) <> (f.days_left IS NULL)
       -- Time passes between them.
    OR abs(b.days_left - f.days_left) > 0.1 OR abs(b.suggested_topup - f.suggested_topup) > 0.01 + 0.001 * f.suggested_topup;
-- The ledger is read once: no more rows than exist, whether or not days are rolled up.
DELETE FROM wallet.usage_rollups;
DELETE FROM wallet.rollup_chunks;
DELETE FROM wallet.rollup_states;
BEGIN;
CREATE TEMPORARY VIEW read AS SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) AS rows FROM pg_stat_xact_user_tables WHERE schemaname = 'wallet' AND relname LIKE 'ledger%';
SELECT rows AS rows_before FROM read \gset
SELECT days_left FROM wallet.forecast('fc_plain');
SELECT rows - :rows_before <= (SELECT count(*) FROM wallet.entries WHERE wallet = 'fc_plain') AS once FROM read;
COMMIT;
-- Arguments that are refused.
CALL regress.fails($$ SELECT wallet.forecast(NULL) $$);
CALL regress.fails($$ SELECT wallet.forecast('fc_none') $$);
CALL regress.fails($$ SELECT wallet.forecast('fc_plain', 0) $$);
CALL regress.fails($$ SELECT wallet.forecast('fc_plain', 36501) $$);
CALL regress.fails($$ SELECT wallet.forecast('fc_plain', NULL) $$);
