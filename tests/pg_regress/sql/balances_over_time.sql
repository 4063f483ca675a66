-- Balances over time: credit that grants add and lose by themselves counts from its due time,
-- whether or not a call has booked it.
SELECT wallet FROM wallet.create_wallet('ot', time_zone => 'America/New_York');
SELECT balance FROM wallet.fund('ot', 100, reference => 'inv');
SELECT cost FROM wallet.charge('ot', amount => 1.5, model => 'm');
SELECT balance FROM wallet.fund('ot', 5, 'grant', expires_at => clock_timestamp() + interval '0.9 seconds', priority => 200);
SELECT balance, next_at - interval '1 second' AS start FROM wallet.set_recurring_grant('ot', 2, '1 second', expires_after => '1.5 seconds') \gset
SELECT :'start'::timestamptz + interval '0.05 seconds' AS before, :'start'::timestamptz + interval '1.2 seconds' AS middle,
       :'start'::timestamptz + interval '2.8 seconds' AS after \gset
SELECT :'balance';
SELECT pg_sleep(extract(epoch FROM :'after'::timestamptz - clock_timestamp()) + 0.01);
-- Every report, at moments before and after: nothing of it is booked yet.
SELECT count(*) AS booked FROM wallet.entries WHERE wallet = 'ot';
CREATE FUNCTION regress.over_time(moments timestamptz[]) RETURNS TABLE (what text, said text) LANGUAGE sql AS $$
    SELECT 'balance_at ' || m, wallet.balance_at('ot', m)::text FROM unnest(moments) m
    UNION ALL
    SELECT format('statement %s %s %s', a, b, s.line), s::text FROM unnest(moments) a, unnest(moments) b, wallet.statement('ot', a, b) s WHERE a < b
    UNION ALL
    -- Booked entries have an id, future ones do not.
    SELECT format('%s %s %s', f, a, b), regexp_replace(wallet.journal('ot', a, b, f), '\([0-9a-f-]{36}\) |  entry: "[0-9a-f-]{36}"\n', '', 'g')
      FROM unnest(moments) a, unnest(moments) b, unnest('{hledger,beancount}'::text[]) f WHERE a < b
    UNION ALL
    SELECT 'usage ' || u.value, u::text FROM wallet.usage_by('ot', 'model') u
    UNION ALL
    SELECT 'total', (SELECT sum(amount)::text FROM wallet.statement('ot', NULL, moments[4]) WHERE amount IS NOT NULL)
$$;
CREATE TEMP TABLE unbooked AS SELECT * FROM regress.over_time(ARRAY['2020-01-01Z', :'before', :'middle', :'after']::timestamptz[]);
SELECT kind, description, amount, balance FROM wallet.statement('ot', NULL, :'after');
SELECT bool_and(balance = wallet.balance_at('ot', at)) AS balances_of_their_time, bool_and(at < :'after') AS in_time FROM wallet.statement('ot', NULL, :'after');
-- Booked, rolled up and archived: the same figures to the last digit.
SELECT task FROM wallet.maintain() WHERE task LIKE 'wallets%' AND done > 0;
SELECT count(*) > 2 AS booked FROM wallet.entries WHERE wallet = 'ot' AND kind = 'expiry';
CREATE PROCEDURE regress.same_over_time(moments timestamptz[]) LANGUAGE plpgsql AS $$
DECLARE
    said text;
BEGIN
    FOR said IN SELECT concat_ws(E'\n', u.what, u.said, n.said) FROM unbooked u FULL JOIN regress.over_time(moments) n USING (what)
                 WHERE u.said IS DISTINCT FROM n.said LOOP
        RAISE WARNING '%', said;
    END LOOP;
    RAISE NOTICE '% answers', CASE WHEN (SELECT count(*) FROM unbooked) > 40 THEN 'many' END;
END
$$;
CALL regress.same_over_time(ARRAY['2020-01-01Z', :'before', :'middle', :'after']::timestamptz[]);
SELECT wallet.roll_up(now()) > 0 AS rolled_up;
SELECT bool_or(dated_ids IS NOT NULL) AS kept_apart FROM wallet.rollup_chunks WHERE wallet_id = 'ot';
CALL regress.same_over_time(ARRAY['2020-01-01Z', :'before', :'middle', :'after']::timestamptz[]);
SELECT archived > 0 AS archived FROM wallet.archive('ot', now());
CALL regress.same_over_time(ARRAY['2020-01-01Z', :'before', :'middle', :'after']::timestamptz[]);
SELECT wallet.balance_at('ot', 'infinity') = balance AS as_balances FROM wallet.balances WHERE wallet = 'ot';
-- The figures can be added up in SQL.
SELECT bool_and(wallet.balance_at('ot', m) = (SELECT sum(amount) FROM wallet.entries WHERE wallet = 'ot' AND effective_at <= m)) AS as_the_entries
  FROM unnest(ARRAY[:'before', :'middle', :'after']::timestamptz[]) m;
SELECT amount FROM wallet.set_recurring_grant('ot', 0);

-- A moment has one balance: the one after all entries of that moment. Charges between two other
-- movements are lines of one moment.
-- Only a test can give two entries the same time.
SELECT wallet FROM wallet.create_wallet('ot_ties', time_zone => 'Europe/Berlin');
SELECT count(wallet.fund('ot_ties', 10, reference => 'r' || n)) FROM generate_series(1, 3) n;
SELECT count(wallet.charge('ot_ties', amount => n, model => 'm' || n % 2)) FROM generate_series(1, 7) n;
SELECT count(wallet.refund('ot_ties', entry_id, 0.25)) FROM (SELECT entry_id FROM wallet.entries WHERE wallet = 'ot_ties' AND kind = 'charge' AND amount < -5 ORDER BY amount DESC, entry_id) c;
SET session_replication_role = replica;
UPDATE wallet.ledger l SET created_at = t.at::timestamptz
  FROM (VALUES (1, '2026-03-01 10:00Z'), (2, '2026-03-01 10:00Z'), (3, '2026-03-28 23:00Z'), (4, '2026-03-01 10:00Z'), (5, '2026-03-28 22:59:59.999999Z'),
               (6, '2026-03-28 23:00Z'), (7, '2026-03-28 23:30Z'), (8, '2026-03-28 23:45Z'), (9, '2026-03-29 22:00Z'), (10, '2026-03-29 22:00:00.000001Z'),
               (11, '2026-03-28 23:40Z'), (12, '2026-03-29 22:00Z')) AS t(seq, at)
 WHERE l.wallet_id = 'ot_ties' AND l.seq = t.seq;
RESET session_replication_role;
SELECT line, at AT TIME ZONE 'Europe/Berlin' AS at, kind, description, amount, balance FROM wallet.statement('ot_ties', '2026-03-01 10:00Z', '2026-03-30 10:00Z');
SELECT bool_and(balance = wallet.balance_at('ot_ties', at)) AS balances_of_their_time FROM wallet.statement('ot_ties', '2026-03-01 10:00Z', '2026-03-30 10:00Z');

-- Days and hours are in the wallet's time zone, not the session's.
SELECT wallet FROM wallet.create_wallet('ot_zone', time_zone => 'America/New_York');
SELECT balance FROM wallet.fund('ot_zone', 100, reference => 'z');
SELECT count(wallet.charge('ot_zone', amount => 1, model => 'm' || n % 3, team => CASE n % 2 WHEN 1 THEN 'red' END,
                           event_at => '2026-11-01 03:15Z'::timestamptz + n * interval '30 minutes')) FROM generate_series(0, 9) n;
SELECT value, requests, cost, share FROM wallet.usage_by('ot_zone', 'hour') ORDER BY value;
SELECT value, requests FROM wallet.usage_by('ot_zone', 'day') ORDER BY value;
-- Days are in the wallet's time zone. In Havana the first hour of this day occurs twice, in Beirut
-- never.
SELECT d, z, wallet.day_begins(d::date, z) AT TIME ZONE 'UTC' AS begins FROM (VALUES ('2026-11-01', 'America/Havana'), ('2026-11-02', 'America/Havana'), ('2026-03-29', 'Asia/Beirut'),
    ('2026-10-25', 'Europe/Berlin'), ('2017-10-15', 'America/Sao_Paulo'), ('2017-02-19', 'America/Sao_Paulo'), ('2017-02-18', 'America/Sao_Paulo'), ('infinity', 'UTC')) t(d, z);
SELECT value, requests FROM wallet.usage_by('ot_zone', 'hour', from_day => '2026-11-01', to_day => '2026-11-02') ORDER BY value LIMIT 1;
SELECT sum(requests) FROM wallet.usage_by('ot_zone', 'day', to_day => '2026-11-01');
SELECT at AT TIME ZONE 'America/New_York' AS at, kind FROM wallet.statement('ot_zone', from_day => '2026-02-01', to_day => '2026-03-01');
SELECT wallet.journal('ot_zone', from_day => '2026-02-01', to_day => '2026-03-01') LIKE '%2026-02-28 * balance%' AS ends_with_february;
CALL regress.fails($$ SELECT * FROM wallet.usage_by('ot_zone', 'day', "from" => '2026-11-01', from_day => '2026-11-01') $$);
CALL regress.fails($$ SELECT * FROM wallet.usage_by('ot_zone', 'day', from_day => '2026-11-02', to_day => '2026-11-01') $$);
CALL regress.fails($$ SELECT wallet.journal('ot_zone', "to" => '2026-11-01', to_day => '2026-11-01') $$);
-- A recurring grant also lasts a number of months in the wallet's time zone.
SELECT wallet FROM wallet.create_wallet('ot_lives', time_zone => 'America/New_York');
SET TimeZone = 'UTC';
SELECT amount FROM wallet.set_recurring_grant('ot_lives', 1, 'month', expires_after => '6 months');
SELECT (expires_at AT TIME ZONE 'America/New_York' - interval '6 months')::time(0) = (created_at AT TIME ZONE 'America/New_York')::time(0) AS months_of_the_wallet FROM wallet.grants WHERE wallet = 'ot_lives';
RESET TimeZone;
CREATE FUNCTION regress.as_text() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT regexp_replace(wallet.report('ot_zone', 366), '\d\d:\d\d', '') UNION ALL
    SELECT wallet.statement_html('ot_zone', '2026-11-15') UNION ALL
    SELECT wallet.journal('ot_zone', from_day => '2026-01-01', format => f) FROM unnest('{hledger,beancount}'::text[]) f UNION ALL
    SELECT u::text FROM unnest('{hour,day,user,team,model}'::text[]) d, wallet.usage_by('ot_zone', d, from_day => '2026-11-01') u UNION ALL
    SELECT c::text FROM wallet.chargeback('ot_zone', '2026-11-15') c
$$;
CREATE TEMP TABLE in_new_york AS SELECT * FROM regress.as_text() t(said) WHERE false;
SET TimeZone = 'America/New_York';
INSERT INTO in_new_york SELECT regress.as_text();
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'SQL, DMY';
SELECT count(*) > 30 AS many, count(*) FILTER (WHERE i.said IS DISTINCT FROM t.said) AS different FROM in_new_york i FULL JOIN regress.as_text() t(said) USING (said);
RESET TimeZone;
RESET DateStyle;

-- Shares add up to one despite rounded thirds, and so do the percentages that are shown.
SELECT bool_and(total = 1) AS add_up FROM (SELECT sum(u.share) AS total FROM unnest('{hour,day,user,team,model}'::text[]) d, wallet.usage_by('ot_zone', d) u GROUP BY d) s;
SELECT trim_scale(sum(share)) AS add_up FROM wallet.chargeback('ot_zone', '2026-11-15');
SELECT count(wallet.charge('ot_zone', amount => 1, model => 'one of ' || n)) FROM generate_series(1, 7) n;
SELECT line FROM wallet.report('ot_zone', 366) line WHERE line ~ 'one of|more\)|^  m\d';

-- The refunded part of a shared cost is not charged to departments. Refunds go where the cost went.
SELECT wallet FROM wallet.create_wallet('ot_shared');
SELECT balance FROM wallet.fund('ot_shared', 1000);
SELECT wallet.set_chargeback_rule('ot_shared', 'use');
SELECT cost FROM wallet.charge('ot_shared', amount => 30, team => 'red', event_at => '2026-01-10Z');
SELECT cost FROM wallet.charge('ot_shared', amount => 10, team => 'blue', event_at => '2026-01-11Z');
SELECT entry_id FROM wallet.charge('ot_shared', amount => 20, event_at => '2026-01-12Z') \gset
SELECT * FROM wallet.chargeback('ot_shared', '2026-01-01');
-- This month: only red used something. Of its shared 6, 2 are refunded, and 12 of January's 20.
SELECT cost FROM wallet.charge('ot_shared', amount => 5, team => 'red');
SELECT entry_id AS own FROM wallet.charge('ot_shared', amount => 1, team => 'red') \gset
SELECT entry_id AS shared FROM wallet.charge('ot_shared', amount => 6) \gset
SELECT amount FROM wallet.refund('ot_shared', :'shared', 2);
SELECT amount FROM wallet.refund('ot_shared', :'own', 0.5);
SELECT team, direct_cost, shared_cost, total_cost, share, refunded FROM wallet.chargeback('ot_shared', (now() AT TIME ZONE 'UTC')::date);
SELECT amount FROM wallet.refund('ot_shared', :'entry_id', 12);
SELECT team, direct_cost, shared_cost, total_cost, share, refunded FROM wallet.chargeback('ot_shared', (now() AT TIME ZONE 'UTC')::date);
SELECT sum(total_cost) AS cost, sum(refunded) AS refunded, sum(shared_cost) AS shared, trim_scale(sum(share)) AS share FROM wallet.chargeback('ot_shared', (now() AT TIME ZONE 'UTC')::date);
-- In both months together, each team bears its part of the shared 26 - 14: red 3/4 of 8 and 4, blue
-- 1/4 of 8.
SELECT team, sum(shared_cost) AS shared, sum(total_cost - refunded) AS borne
  FROM (SELECT * FROM wallet.chargeback('ot_shared', '2026-01-01') UNION ALL SELECT * FROM wallet.chargeback('ot_shared', (now() AT TIME ZONE 'UTC')::date)) c GROUP BY 1 ORDER BY 1;
-- The parts add up to the last digit.
SELECT cost FROM wallet.charge('ot_shared', amount => 100.000000000007);
SELECT cost FROM wallet.charge('ot_shared', amount => 3, team => 'green');
SELECT cost FROM wallet.charge('ot_shared', amount => 1, team => 'blue');
SELECT wallet.set_chargeback_rule('ot_shared', 'even');
SELECT team, shared_cost, total_cost, share FROM wallet.chargeback('ot_shared', (now() AT TIME ZONE 'UTC')::date);
SELECT wallet.set_chargeback_rule('ot_shared', 'fixed', '{"red": 0.5, "blue": 0.25}');
SELECT team, shared_cost, total_cost, share FROM wallet.chargeback('ot_shared', (now() AT TIME ZONE 'UTC')::date);

-- No entry is dated in the future, and no period ends before it begins.
SELECT bool_and(at <= statement_timestamp()) AS past FROM wallet.statement('ot', NULL, now() + interval '1 month');
SELECT bool_and(at <= statement_timestamp()), count(*) FROM wallet.statement('ot', now() + interval '1 month', now() + interval '2 months');
SELECT wallet.journal('ot', NULL, now() + interval '2 years') ~ to_char((now() + interval '2 years') AT TIME ZONE 'America/New_York', 'YYYY') AS in_the_future;
CALL regress.fails($$ SELECT * FROM wallet.statement('ot', '2026-02-01', '2026-01-01') $$);
CALL regress.fails($$ SELECT * FROM wallet.journal('ot', '2026-02-01', '2026-01-01') $$);
CALL regress.fails($$ SELECT wallet.balance_at('ot', NULL) $$);
-- Reports are planned for the wallet in question, not for the average wallet.
SELECT p.oid::regproc AS planned_for_the_average FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
 WHERE pronamespace = 'wallet'::regnamespace AND lanname = 'plpgsql' AND provolatile = 's' AND prosrc ~ 'ledger_all|rollup_|usage_days|usage_entries|rolled_|counted_entries'
   AND NOT coalesce('plan_cache_mode=force_custom_plan' = ANY (proconfig), false) AND proname NOT IN ('forecast', 'verify');
