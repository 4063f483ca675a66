-- Limits of every scope, period and metric. Soft limits. Raises, pauses, drops.
SELECT wallet FROM wallet.create_wallet('rules');
SELECT balance FROM wallet.fund('rules', 1000);
SELECT wallet.set_price('rules-gpt-4o', 'input_tokens', 1, per => 1000, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT wallet.set_price('rules-gpt-4o', 'output_tokens', 2, per => 1000, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT wallet.set_price('rules-draw', 'images', 0.5, effective_from => '2025-01-01Z') IS NOT NULL AS set;

-- Every scope: one subject, '*' for each subject, a pattern for all matching subjects together.
SELECT wallet.set_limit('rules', 5, 'day', scope => 'team') IS NOT NULL AS set;
SELECT wallet.set_limit('rules', 3, 'day', scope => 'model', subject => 'rules-gpt-4*') IS NOT NULL AS set;
SELECT wallet.set_limit('rules', 2, 'day', scope => 'service', subject => 'chat') IS NOT NULL AS set;
SELECT wallet.set_limit('rules', 1, 'day', scope => 'tag:project') IS NOT NULL AS set;
SELECT cost FROM wallet.charge('rules', amount => 5, team => 'red');
CALL regress.fails($$ SELECT wallet.charge('rules', amount => 0.01, team => 'red') $$);
SELECT cost FROM wallet.charge('rules', amount => 1, team => 'blue');
SELECT cost FROM wallet.charge('rules', '{"model": "rules-gpt-4o", "input_tokens": 2000}');
CALL regress.fails($$ SELECT wallet.charge('rules', '{"model": "rules-gpt-4.1", "input_tokens": 1001}') $$);
SELECT cost FROM wallet.charge('rules', amount => 1, model => 'rules-gpt-4.1');
CALL regress.fails($$ SELECT wallet.charge('rules', '{"model": "rules-gpt-4o", "input_tokens": 1}') $$);
CALL regress.fails($$ SELECT wallet.charge('rules', amount => 3, service => 'chat') $$);
SELECT cost FROM wallet.charge('rules', amount => 1, tags => '{"project": "moon"}');
CALL regress.fails($$ SELECT wallet.charge('rules', amount => 1, tags => '{"project": "moon"}') $$);
SELECT cost FROM wallet.charge('rules', amount => 1, tags => '{"project": "7"}');
CALL regress.fails($$ SELECT wallet.charge('rules', amount => 1, tags => '{"project": "7"}') $$);
SELECT scope, subject, used, remaining, allowed, reason
  FROM wallet.check_limits('rules', team => 'red', model => 'rules-gpt-4o', service => 'chat', tags => '{"project":"moon"}', amount => 1);

-- Metrics: requests, tokens, a meter. Free usage can be limited, too.
SELECT wallet FROM wallet.create_wallet('counts');
SELECT balance FROM wallet.fund('counts', 1000);
SELECT wallet.set_limit('counts', 3, 'day', scope => 'user', metric => 'requests') IS NOT NULL AS set;
SELECT wallet.set_limit('counts', 1000, 'day', metric => 'tokens') IS NOT NULL AS set;
SELECT wallet.set_limit('counts', 4, 'day', metric => 'images') IS NOT NULL AS set;
SELECT wallet.set_limit('counts', 300, 'day', metric => 'output_tokens', scope => 'user') IS NOT NULL AS set;
SELECT cost FROM wallet.charge('counts', '{"model": "rules-gpt-4o", "input_tokens": 400, "output_tokens": 300}', user_id => 'ann');
CALL regress.fails($$ SELECT wallet.charge('counts', '{"model": "rules-gpt-4o", "input_tokens": 1, "output_tokens": 1}', user_id => 'ann') $$);
CALL regress.fails($$ SELECT wallet.charge('counts', '{"model": "rules-gpt-4o", "input_tokens": 301}', user_id => 'ben') $$);
SELECT cost FROM wallet.charge('counts', amount => 0, user_id => 'ann');
SELECT cost FROM wallet.charge('counts', amount => 1, user_id => 'ann');
CALL regress.fails($$ SELECT wallet.charge('counts', amount => 0, user_id => 'ann') $$);
SELECT cost FROM wallet.charge('counts', '{"model": "rules-draw", "images": 4}', user_id => 'ben');
CALL regress.fails($$ SELECT wallet.charge('counts', '{"model": "rules-draw", "images": 1}') $$);
SELECT scope, subject, period, metric, mode, max, used, held, remaining, percent FROM wallet.limits_status WHERE wallet = 'counts' ORDER BY metric, subject;
-- A new limit counts past usage of its metric.
SELECT wallet.set_limit('counts', 5, 'month', metric => 'requests') IS NOT NULL AS set;
SELECT wallet.set_limit('counts', 800, 'month', metric => 'tokens', scope => 'user') IS NOT NULL AS set;
SELECT wallet.set_limit('counts', 450, 'rolling 2 days', metric => 'input_tokens') IS NOT NULL AS set;
SELECT scope, subject, period, metric, used, remaining FROM wallet.limits_status WHERE wallet = 'counts' AND period <> 'day' ORDER BY metric, subject;
CALL regress.fails($$ SELECT wallet.charge('counts', '{"model": "rules-gpt-4o", "input_tokens": 51}', user_id => 'cy') $$);

-- Every period has a window that contains the current moment.
SELECT wallet FROM wallet.create_wallet('periods', time_zone => 'America/New_York');
SELECT balance FROM wallet.fund('periods', 1000);
SELECT period, wallet.set_limit('periods', 10, period) IS NOT NULL AS set
  FROM unnest(ARRAY['minute', 'hour', 'day', 'week', 'month', 'quarter', 'year', 'lifetime', 'rolling 5 hours', 'rolling 90 seconds']) period;
SELECT wallet.set_limit('periods', 10, 'week', scope => 'user', anchor => 7) IS NOT NULL AS set;
SELECT wallet.set_limit('periods', 10, 'month', scope => 'user', anchor => 28) IS NOT NULL AS set;
SELECT cost FROM wallet.charge('periods', amount => 4, user_id => 'ann');
SET TimeZone = 'America/New_York';
SELECT scope, period, CASE WHEN period <> 'minute' THEN used END AS used,
       resets_at > now() AS resets_later,
       CASE WHEN period IN ('minute', 'hour', 'day', 'quarter', 'year') OR scope = 'wallet' AND period IN ('week', 'month')
            THEN resets_at = date_trunc(period, clock_timestamp(), 'America/New_York')
                             + CASE period WHEN 'quarter' THEN interval '3 months' ELSE ('1 ' || period)::interval END
       END AS as_date_trunc_says
  FROM wallet.check_limits('periods', user_id => 'ann') WHERE scope <> 'balance' ORDER BY 1, 2;
RESET TimeZone;
SELECT extract(isodow FROM resets_at AT TIME ZONE 'America/New_York') AS sunday FROM wallet.check_limits('periods', user_id => 'ann') WHERE scope = 'user' AND period = 'week';
SELECT extract(day FROM resets_at AT TIME ZONE 'America/New_York') AS day FROM wallet.check_limits('periods', user_id => 'ann') WHERE scope = 'user' AND period = 'month';
-- One limit for one duration, however it is written.
SELECT wallet.set_limit('periods', 9, 'rolling 300 minutes') = (SELECT limit_id FROM wallet.limits WHERE wallet_id = 'periods' AND period = 'rolling 5 hours') AS same;

-- A rolling limit frees its usage piece by piece.
SELECT wallet FROM wallet.create_wallet('rolls');
SELECT balance FROM wallet.fund('rolls', 1000);
SELECT wallet.set_limit('rolls', 10, 'rolling 2 seconds') IS NOT NULL AS set;
SELECT cost FROM wallet.charge('rolls', amount => 6);
SELECT pg_sleep(1);
SELECT cost FROM wallet.charge('rolls', amount => 4);
SELECT regress.outcome($$ SELECT wallet.charge('rolls', amount => 1) $$);
SELECT pg_sleep(1.1);
SELECT used, remaining FROM wallet.limits_status WHERE wallet = 'rolls';
SELECT cost FROM wallet.charge('rolls', amount => 6);
SELECT regress.outcome($$ SELECT wallet.charge('rolls', amount => 1) $$);
SELECT regress.outcome($$ SELECT wallet.charge('rolls', amount => 11) $$);

-- Warnings: each level once per window, and the maximum when it is filled exactly.
SELECT wallet FROM wallet.create_wallet('warns');
SELECT balance FROM wallet.fund('warns', 1000);
SELECT wallet.set_limit('warns', 10, 'day', warn_at => '{0.9, 0.5, 0.5}') IS NOT NULL AS set;
SELECT wallet.set_limit('warns', 4, 'day', mode => 'soft', scope => 'user') IS NOT NULL AS set;
SELECT cost FROM wallet.charge('warns', amount => 4.99);
SELECT cost FROM wallet.charge('warns', amount => 0.01);
SELECT cost FROM wallet.charge('warns', amount => 1);
SELECT cost FROM wallet.charge('warns', amount => 4, user_id => 'ann');
SELECT event, threshold, payload ->> 'scope' AS scope, payload ->> 'subject' AS subject, payload -> 'max' AS max, payload -> 'used' AS used
  FROM wallet.events WHERE wallet = 'warns' ORDER BY scope, threshold;
-- A soft limit refuses nothing and warns only once when it is reached.
SELECT wallet.set_limit('warns', 100, 'day') IS NOT NULL AS set;
SELECT cost FROM wallet.charge('warns', amount => 7, user_id => 'ann');
SELECT scope, mode, max, used, remaining, allowed FROM wallet.check_limits('warns', user_id => 'ann', amount => 50) WHERE scope = 'user';
SELECT count(*) FROM wallet.events WHERE wallet = 'warns';
-- Nor does a refused charge.
SELECT regress.outcome($$ SELECT wallet.charge('warns', amount => 90) $$);
SELECT count(*) FROM wallet.events WHERE wallet = 'warns';

-- A raise lasts until its time. Without a time it is permanent.
SELECT limit_id FROM wallet.limits WHERE wallet_id = 'warns' AND scope = 'wallet' \gset
SELECT wallet.set_limit('warns', 17, 'day') = :'limit_id' AS same;
CALL regress.fails($$ SELECT wallet.charge('warns', amount => 2) $$);
SELECT wallet.raise_limit('warns', :'limit_id', 2, until => now() + interval '1 second', idempotency_key => 'r');
SELECT wallet.raise_limit('warns', :'limit_id', 2, until => now() + interval '1 hour');
SELECT max, remaining FROM wallet.limits_status WHERE wallet = 'warns' AND scope = 'wallet';
SELECT cost FROM wallet.charge('warns', amount => 2);
SELECT pg_sleep(1.1);
SELECT max, remaining FROM wallet.limits_status WHERE wallet = 'warns' AND scope = 'wallet';
CALL regress.fails($$ SELECT wallet.charge('warns', amount => 1.01) $$);
SELECT wallet.raise_limit('warns', :'limit_id', 1);
SELECT cost FROM wallet.charge('warns', amount => 1);
-- Setting the limit ends its raises.
SELECT wallet.set_limit('warns', 18, 'day') = :'limit_id' AS same;
SELECT max, remaining FROM wallet.limits_status WHERE wallet = 'warns' AND scope = 'wallet';

-- A paused limit counts nothing. When it resumes, it counts the usage of the meantime.
SELECT wallet.set_limit('warns', 18, 'day', paused => true) = :'limit_id' AS same;
SELECT cost FROM wallet.charge('warns', amount => 5);
SELECT count(*) FROM wallet.check_limits('warns') WHERE scope = 'wallet';
SELECT paused, used FROM wallet.limits_status WHERE wallet = 'warns' AND scope = 'wallet';
SELECT wallet.set_limit('warns', 30, 'day', paused => false) = :'limit_id' AS same;
SELECT max, used, remaining, percent FROM wallet.limits_status WHERE wallet = 'warns' AND scope = 'wallet';
-- A dropped limit is deleted with its counts.
SELECT wallet.drop_limit('warns', :'limit_id', idempotency_key => 'd');
SELECT wallet.drop_limit('warns', :'limit_id', idempotency_key => 'd');
SELECT count(*) FROM wallet.limits_status WHERE wallet = 'warns' AND scope = 'wallet';
SELECT cost FROM wallet.charge('warns', amount => 100);

-- Arguments that are refused.
CALL regress.fails($$ SELECT wallet.set_limit('warns', 1, 'rolling 1 month') $$);
CALL regress.fails($$ SELECT wallet.set_limit('warns', 1, 'rolling 10 ms') $$);
CALL regress.fails($$ SELECT wallet.set_limit('warns', 1, 'week', anchor => 8) $$);
CALL regress.fails($$ SELECT wallet.set_limit('warns', 1, 'day', warn_at => '{80}') $$);
CALL regress.fails($$ SELECT wallet.set_limit('warns', 1, 'day', scope => 'tag:') $$);
CALL regress.fails(format($$ SELECT wallet.drop_limit('warns', %L) $$, '00000000-0000-7000-8000-000000000000'));
CALL regress.fails($$ SELECT wallet.drop_limit('warns', NULL) $$);
CALL regress.fails(format($$ SELECT wallet.raise_limit('warns', %L, 1) $$, '00000000-0000-7000-8000-000000000000'));
SELECT limit_id FROM wallet.limits WHERE wallet_id = 'warns' \gset
CALL regress.fails(format($$ SELECT wallet.raise_limit('warns', %L, 0) $$, :'limit_id'));
CALL regress.fails(format($$ SELECT wallet.raise_limit('warns', %L, 1, until => '2020-01-01Z') $$, :'limit_id'));
SELECT * FROM regress.broken('rules');
SELECT * FROM regress.broken('warns');
