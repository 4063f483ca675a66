-- Reports: usage, chargeback, statement, forecast, savings, a page for psql, FOCUS. Their figures
-- are the ledger's.
SELECT wallet FROM wallet.create_wallet('rep', low_balance => '{20}', time_zone => 'Europe/Berlin');
SELECT balance FROM wallet.fund('rep', 100, reference => 'inv-1');
SELECT wallet.set_price('rep-big', 'input_tokens', 10, per => 1000, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT wallet.set_price('rep-big', 'cache_read_tokens', 1, per => 1000, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT wallet.set_price('rep-big', 'output_tokens', 40, per => 1000, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT wallet.set_price('rep-big', 'input_tokens', 5, per => 1000, service_tier => 'batch', effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT wallet.set_price('rep-small', 'input_tokens', 1, per => 1000, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT wallet.set_price('rep-small', 'output_tokens', 2, per => 1000, effective_from => '2025-01-01Z') IS NOT NULL AS set;
-- Five charges in two months and three teams, one at the end of a day in Berlin, one refund.
SELECT cost FROM wallet.charge('rep', '{"model":"rep-big","input_tokens":1000,"cache_read_tokens":500,"output_tokens":100}', user_id => 'ann', team => 'red', event_at => '2026-03-10T12:00Z', tags => '{"project":"moon"}');
SELECT cost FROM wallet.charge('rep', '{"model":"rep-big","input_tokens":500}', user_id => 'ann', team => 'red', event_at => '2026-03-10T22:59:59Z');
SELECT cost FROM wallet.charge('rep', '{"model":"rep-small","input_tokens":2000,"output_tokens":500}', user_id => 'ben', team => 'blue', event_at => '2026-03-10T23:00Z', service => 'chat', region => 'eu');
SELECT entry_id FROM wallet.charge('rep', amount => 7, user_id => 'cy', event_at => '2026-03-31T23:00Z') \gset
SELECT cost FROM wallet.charge('rep', amount => 3, event_at => '2026-03-20T10:00Z');
SELECT amount FROM wallet.refund('rep', :'entry_id', 2);
SELECT * FROM wallet.usage_daily WHERE wallet = 'rep' AND cost <> 0 ORDER BY day, team, model;
SELECT sum(cost) = (SELECT -sum(amount) FROM wallet.entries WHERE wallet = 'rep' AND kind = 'charge') AS cost_is_the_ledgers,
       sum(refunded) = (SELECT sum(amount) FROM wallet.entries WHERE wallet = 'rep' AND kind = 'refund') AS refunds_are_the_ledgers
  FROM wallet.usage_daily WHERE wallet = 'rep';
SELECT * FROM wallet.usage_by('rep', 'user');
SELECT * FROM wallet.usage_by('rep', 'team', '2026-03-01Z', '2026-04-01Z');
SELECT * FROM wallet.usage_by('rep', 'model', '2026-03-01Z', '2026-04-01Z');
SELECT value, cost FROM wallet.usage_by('rep', 'day', "to" => '2026-05-01Z') ORDER BY value;
SELECT value, cost FROM wallet.usage_by('rep', 'hour', "to" => '2026-03-12Z') ORDER BY value;
SELECT value, cost FROM wallet.usage_by('rep', 'tag:project', "to" => '2026-05-01Z') ORDER BY value;
SELECT value, cost FROM wallet.usage_by('rep', 'region', "to" => '2026-05-01Z') ORDER BY value;
-- The month is Berlin's: the last charge of March in UTC belongs to April. Usage without a team is
-- shown, or split.
SELECT * FROM wallet.chargeback('rep', '2026-03-15');
SELECT * FROM wallet.chargeback('rep', '2026-04-01');
SELECT wallet.set_chargeback_rule('rep', 'even');
SELECT * FROM wallet.chargeback('rep', '2026-03-15');
SELECT wallet.set_chargeback_rule('rep', 'use');
SELECT * FROM wallet.chargeback('rep', '2026-03-15');
SELECT wallet.set_chargeback_rule('rep', 'fixed', '{"red": 0.5, "green": 0.25}');
SELECT * FROM wallet.chargeback('rep', '2026-03-15');
SELECT sum(total_cost) = (SELECT sum(cost) FROM wallet.usage_by('rep', 'day') WHERE value LIKE '2026-03%') AS adds_up FROM wallet.chargeback('rep', '2026-03-15');
-- A user who moves to another team takes no usage along.
SELECT wallet FROM wallet.create_wallet('rep_move');
SELECT balance FROM wallet.fund('rep_move', 10);
SELECT wallet.set_member('rep_move', 'dora', team => 'red');
SELECT cost FROM wallet.charge('rep_move', amount => 1, user_id => 'dora', event_at => '2026-03-05Z');
SELECT wallet.set_member('rep_move', 'dora', team => 'blue');
SELECT cost FROM wallet.charge('rep_move', amount => 2, user_id => 'dora', event_at => '2026-03-06Z');
SELECT team, direct_cost FROM wallet.chargeback('rep_move', '2026-03-01');
-- A statement adds up.
SELECT line, kind, regexp_replace(description, '^.*opening', 'opening') AS description, amount, balance FROM wallet.statement('rep');
SELECT balance = wallet.balance_at('rep', now() + interval '1 minute') AS as_balance_at, balance = (SELECT balance FROM wallet.balances WHERE wallet = 'rep') AS as_balances
  FROM wallet.statement('rep') WHERE kind = 'closing';
SELECT wallet.balance_at('rep', '2020-01-01Z');
-- Savings.
SELECT * FROM wallet.savings('rep', models => '{rep-small}');
-- A forecast needs several days.
SELECT * FROM wallet.forecast('rep');
SELECT wallet FROM wallet.create_wallet('rep_even');
SELECT balance FROM wallet.fund('rep_even', 200);
SELECT count(wallet.charge('rep_even', amount => 10, event_at => now() - n * interval '24 hours')) FROM generate_series(1, 10) n;
SELECT daily_burn, days_left, runs_out_at::date - current_date BETWEEN 9 AND 10 AS in_ten_days, earliest <= runs_out_at AS earliest, latest >= runs_out_at AS latest, suggested_topup, basis FROM wallet.forecast('rep_even');
SELECT wallet FROM wallet.create_wallet('rep_week');
SELECT balance FROM wallet.fund('rep_week', 1000);
-- Two days of each week have no usage. Which ones depends on today, so that the first of the 35
-- days is not one of them.
SELECT count(wallet.charge('rep_week', amount => 10, event_at => now() - n * interval '24 hours')) FROM generate_series(1, 35) n WHERE n % 7 NOT IN (2, 3);
SELECT basis, days_left BETWEEN 90 AND 120 AS about_fifteen_weeks FROM wallet.forecast('rep_week');
-- By hand: ten on five days of the week and zero on the others, from now on.
WITH today AS (
    SELECT extract(epoch FROM (now() AT TIME ZONE 'UTC')::time) / 86400 AS gone
), ahead AS (
    SELECT i, CASE WHEN i % 7 NOT IN (4, 5) THEN 10 ELSE 0 END * CASE i WHEN 0 THEN 1 - gone ELSE 1 END AS spent, greatest(i - gone, 0) AS begun
      FROM today, generate_series(0, 400) i
), upto AS (
    SELECT begun, spent, sum(spent) OVER (ORDER BY i) AS upto FROM ahead
), ends AS (
    SELECT begun + (750 - (upto - spent)) / 10 AS days FROM upto WHERE upto >= 750 AND spent > 0 ORDER BY begun LIMIT 1
)
SELECT f.daily_burn = round(50 / 7.0, 6) AS burn_by_hand, abs(f.days_left - e.days) < 0.051 AS days_by_hand,
       abs(extract(epoch FROM f.runs_out_at - now()) / 86400 - f.days_left) < 0.051 AS time_is_the_days, f.suggested_topup = 0 AS topup_by_hand
  FROM wallet.forecast('rep_week') f, ends e;
-- Money for ages: once four weeks are known, and if the number of days does not fit a timestamp.
SELECT balance FROM wallet.fund('rep_week', 100000);
SELECT daily_burn > 0 AS burns, days_left BETWEEN 10000 AND 20000 AS in_decades FROM wallet.forecast('rep_week');
SELECT balance FROM wallet.fund('rep_week', 900000000000);
SELECT daily_burn > 0 AS burns, days_left, runs_out_at, earliest, latest FROM wallet.forecast('rep_week');
SELECT line FROM wallet.report('rep_week', 1) line WHERE line LIKE '%hundred years%' AND line LIKE 'forecast%' \gset
SELECT :'line' LIKE 'forecast % a day, lasts for more than a hundred years (weighted mean of % days, with the pattern of the week)' AS says_so;
-- Announced on request: below a number of days, once, and again after recovery or after a change of
-- the number.
SELECT wallet.set_run_out_alert('rep_even', 10), wallet.set_run_out_alert('rep_week', 10), wallet.set_run_out_alert('rep', 10);
SELECT wallet.announce_run_outs();
SELECT wallet.set_run_out_alert('rep_even', 11);
SELECT done FROM wallet.maintain() WHERE task = 'alerts that money runs out';
SELECT wallet.announce_run_outs();
SELECT wallet, event, threshold, payload ->> 'days_left' AS days_left, payload ->> 'daily_burn' AS daily_burn, (payload ->> 'runs_out_at')::timestamptz > created_at AS has_a_time
  FROM wallet.events WHERE event = 'wallet_run_out_near';
SELECT balance FROM wallet.fund('rep_even', 15);
SELECT wallet.announce_run_outs();
SELECT entry_id FROM wallet.fund('rep_even', 10, reference => 'bounces') \gset
SELECT wallet.announce_run_outs();
SELECT balance FROM wallet.reverse_funding('rep_even', :'entry_id', 'bounced');
SELECT balance FROM wallet.adjust('rep_even', -20);
SELECT wallet.announce_run_outs();
SELECT wallet.set_run_out_alert('rep_even', 12);
SELECT wallet.announce_run_outs();
SELECT wallet.set_run_out_alert('rep_even', NULL);
SELECT wallet.announce_run_outs();
SELECT count(*) FROM wallet.events WHERE event = 'wallet_run_out_near';
SELECT action, before ->> 'days' AS before, after ->> 'days' AS after FROM wallet.audit WHERE wallet = 'rep_even' AND action = 'set_run_out_alert' ORDER BY at;
CALL regress.fails($$ SELECT wallet.set_run_out_alert('rep', 0) $$);
CALL regress.fails($$ SELECT wallet.set_run_out_alert('rep_none', 7) $$);
SELECT balance FROM wallet.adjust('rep_even', 5);
-- The page.
SELECT regexp_replace(line, '\d{4}-\d\d-\d\d( \d\d:\d\d)?', '<time>', 'g') AS line FROM wallet.report('rep_even', 12) line;
-- The page of a month: the figures of the statement, and names as text, never as elements.
SELECT wallet FROM wallet.create_wallet('rep_html');
SELECT balance FROM wallet.fund('rep_html', 50, reference => '<b>&"inv"</b>');
SELECT cost FROM wallet.charge('rep_html', amount => 12.5, model => '<script>alert(1)</script>', user_id => 'ann & ben', team => 'r<d');
CREATE TEMP TABLE page AS SELECT wallet.statement_html('rep_html', (now() AT TIME ZONE 'UTC')::date) AS html;
SELECT html LIKE '<!DOCTYPE html>%' AS is_a_page, html LIKE '%<script%' AS has_script, html LIKE '%&lt;script&gt;alert(1)&lt;/script&gt;%' AS shows_the_name,
       html LIKE '%&lt;b&gt;%' AS shows_the_reference, html ~ 'src=|href=|url\(|@import' AS loads_anything
  FROM page;
SELECT bool_and(html LIKE '%>' || s.balance || '<%') AS balances_are_there, bool_and(s.amount IS NULL OR html LIKE '%>' || s.amount || '<%') AS amounts_are_there
  FROM page, wallet.statement('rep_html', date_trunc('month', now(), 'UTC')) s;
SELECT count(*) = extract(day FROM date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month - 1 day') AS every_day FROM page, regexp_matches(html, '<rect', 'g');
CALL regress.fails($$ SELECT wallet.statement_html('rep_none', now()::date) $$);
CALL regress.fails($$ SELECT wallet.statement_html('rep', NULL) $$);
-- FOCUS: bought and billed, used at zero.
SELECT "ChargeCategory", "ChargeDescription", "BilledCost", "EffectiveCost", "BillingCurrency", "ConsumedQuantity", "SubAccountId", "ChargeFrequency", "InvoiceId" FROM wallet.focus WHERE "BillingAccountId" = 'rep' ORDER BY "x_EntryId", "SkuMeter";
-- OpenTelemetry's names, which normalize_usage reads back.
SELECT cost, model, jsonb_pretty(attributes) AS attributes FROM wallet.usage_entries WHERE wallet = 'rep' AND cost <> 0 ORDER BY entry_id LIMIT 3;
SELECT jsonb_pretty(wallet.usage_attributes('[{"meter":"input_tokens","quantity":10},{"meter":"cache_read_tokens","quantity":5},{"meter":"cache_write_tokens","quantity":3},
    {"meter":"cache_write_1h_tokens","quantity":2},{"meter":"input_audio_tokens","quantity":4},{"meter":"output_tokens","quantity":7},{"meter":"reasoning_tokens","quantity":6},
    {"meter":"images","quantity":1},{"meter":"audio_seconds","quantity":61.50},{"meter":"markup","quantity":9}]', 'm', 'vertex_ai', 'flex'));
SELECT n.meter, n.quantity FROM wallet.usage_entries u, wallet.normalize_usage(u.attributes) n WHERE u.wallet = 'rep' AND u.model = 'rep-big' AND u.output_tokens > 0 ORDER BY n.meter;
-- A charge that is priced later has its tokens then, and counts as one request.
SELECT wallet FROM wallet.create_wallet('rep_late');
SELECT wallet FROM wallet.update_wallet('rep_late', unknown_price => 'unpriced');
SELECT balance FROM wallet.fund('rep_late', 10);
SELECT cost FROM wallet.charge('rep_late', '{"model":"rep-late","input_tokens":1000,"output_tokens":10}', event_at => '2026-03-10T12:00Z');
SELECT requests, tokens, cost FROM wallet.usage_daily WHERE wallet = 'rep_late';
SELECT wallet.set_price('rep-late', 'input_tokens', 1, per => 1000, effective_from => '2025-01-01Z') IS NOT NULL AS set, wallet.set_price('rep-late', 'output_tokens', 1, per => 1000, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT cost FROM wallet.price_unpriced('rep_late');
SELECT requests, tokens, cost FROM wallet.usage_daily WHERE wallet = 'rep_late';
-- Files for other programs.
COPY (SELECT * FROM wallet.usage_daily WHERE wallet = 'rep' AND day < '2026-04-01' ORDER BY day, team, model) TO STDOUT (FORMAT csv, HEADER);
COPY (SELECT "BilledCost", "EffectiveCost", "ChargeCategory", "ChargeDescription", "Tags" FROM wallet.focus WHERE "BillingAccountId" = 'rep' ORDER BY "x_EntryId", "SkuMeter") TO STDOUT (FORMAT csv, HEADER);
SELECT task, done >= 0 AS done FROM wallet.maintain();
-- Arguments that are refused.
CALL regress.fails($$ SELECT * FROM wallet.usage_by('rep', 'planet') $$);
CALL regress.fails($$ SELECT * FROM wallet.usage_by('rep_none', 'user') $$);
CALL regress.fails($$ SELECT * FROM wallet.chargeback('rep', NULL) $$);
CALL regress.fails($$ SELECT * FROM wallet.statement('rep_none') $$);
CALL regress.fails($$ SELECT wallet.balance_at('rep_none', now()) $$);
CALL regress.fails($$ SELECT * FROM wallet.report('rep', 0) $$);
CALL regress.fails($$ SELECT wallet.set_chargeback_rule('rep', 'fixed', '{"red": 1.5}') $$);
CALL regress.fails($$ SELECT wallet.set_chargeback_rule('rep', 'sometimes') $$);

-- Maintenance books expiries, also without any call.
SELECT wallet FROM wallet.create_wallet('rep_swept');
SELECT balance FROM wallet.fund('rep_swept', 10);
SELECT balance FROM wallet.fund('rep_swept', 5, 'grant', expires_at => clock_timestamp() + interval '0.3 seconds');
SELECT amount FROM wallet.hold('rep_swept', 4, ttl => '0.3 seconds');
SELECT pg_sleep(0.5);
SELECT done >= 1 AS swept FROM wallet.maintain() WHERE task LIKE 'wallets%';
SELECT kind, amount FROM wallet.entries WHERE wallet = 'rep_swept' ORDER BY created_at, kind;
SELECT status FROM wallet.holds WHERE wallet = 'rep_swept';
SELECT event, count(*) FROM wallet.events WHERE wallet = 'rep_swept' AND event IN ('hold_expired', 'grant_expired') GROUP BY 1 ORDER BY 1;
-- Months that no report has.
DO $$
DECLARE
    call text;
BEGIN
    FOR call IN SELECT format(c, m) FROM unnest('{chargeback,statement_html}'::text[]) f, unnest('{infinity,-infinity,294276-12-01}'::text[]) m,
                                     LATERAL (SELECT 'SELECT wallet.' || f || '(''rep'', ''%s'')' AS c) x LOOP
        CALL regress.fails(call);
    END LOOP;
END
$$;
