-- Limits on weighted sums of meters: what a metric is, what charges and holds count, what a limit
-- counts that is made or changed later, and what is refused.
SELECT wallet FROM wallet.create_wallet('lw');
SELECT balance FROM wallet.fund('lw', 1000000);
SELECT wallet.set_price('lw-model', meter, 0.01, effective_from => '2025-01-01Z') IS NOT NULL AS set
  FROM unnest(ARRAY['input_tokens', 'output_tokens', 'cache_read_tokens', 'images']) meter;
CREATE FUNCTION regress.weighed(of_wallet text)
RETURNS TABLE (metric text, subject text, max numeric, used numeric, held numeric, remaining numeric)
LANGUAGE sql AS $$
    SELECT metric, subject, max, used, held, remaining FROM wallet.limits_status
     WHERE wallet = of_wallet ORDER BY metric, subject, max
$$;

-- One metric is built in. Others are set by an administrator.
SELECT name, created_at, meter, weight FROM wallet.metrics, jsonb_each(weights) w (meter, weight) ORDER BY weight, meter;
SELECT wallet.set_metric('credits', '{"input_tokens": 1, "output_tokens": 4, "images": 1000}', idempotency_key => 'lw-1', actor => 'ann');
SELECT wallet.set_metric('credits', '{"input_tokens": 1, "output_tokens": 4, "images": 1000}', idempotency_key => 'lw-1', actor => 'ann');
SELECT wallet.set_metric('credits', '{"images": 1e3, "input_tokens": 1.0, "output_tokens": 4}');
SELECT wallet.set_metric('lw-calls', '{"requests": 10, "tokens": 0.001}', metadata => '{"why": "a fee per call"}');
SELECT name, weights, created_at IS NOT NULL AS set, actor, metadata FROM wallet.metrics WHERE name IN ('credits', 'lw-calls') ORDER BY 1;

-- A charge counts weight times quantity of each meter; a meter without a weight counts nothing.
SELECT wallet.set_limit('lw', 5000, 'lifetime', metric => 'credits', warn_at => '{0.5}') IS NOT NULL AS set;
SELECT wallet.set_limit('lw', 8000, 'lifetime', scope => 'user', metric => 'weighted_tokens') IS NOT NULL AS set;
SELECT wallet.set_limit('lw', 35, 'day', metric => 'lw-calls') IS NOT NULL AS set;
SELECT l.metric, l.weights = m.weights AS of_the_metric FROM wallet.limits l LEFT JOIN wallet.metrics m ON m.name = l.metric WHERE l.wallet_id = 'lw' ORDER BY 1;
SELECT cost FROM wallet.charge('lw', '{"model": "lw-model", "input_tokens": 700, "output_tokens": 200, "cache_read_tokens": 50, "images": 1}', user_id => 'ann');
SELECT * FROM regress.weighed('lw');
-- The event names the metric.
SELECT event, payload ->> 'metric' AS metric, payload ->> 'used' AS used, payload ->> 'max' AS max FROM wallet.events WHERE wallet = 'lw' AND event LIKE 'limit%';

-- check_limits counts the same, and the refusal names the metric.
SELECT metric, used, remaining, allowed, reason FROM wallet.check_limits('lw', user_id => 'ann', usage => '{"model": "lw-model", "images": 2, "output_tokens": 125}') WHERE limit_id IS NOT NULL;
SELECT metric, used, remaining, allowed, reason FROM wallet.check_limits('lw', user_id => 'ann', usage => '{"model": "lw-model", "images": 2, "output_tokens": 126}') WHERE limit_id IS NOT NULL;
CALL regress.fails($$ SELECT wallet.charge('lw', '{"model": "lw-model", "images": 2, "output_tokens": 126}', user_id => 'ann') $$);
SELECT cost FROM wallet.charge('lw', '{"model": "lw-model", "images": 2, "output_tokens": 125}', user_id => 'ann');
SELECT * FROM regress.weighed('lw');

-- A limit that is made later counts what its running window has used: the same figures.
SELECT (wallet.create_wallet('lw-late')).wallet IS NOT NULL AS made, wallet.fund('lw-late', 1000000) IS NOT NULL AS funded;
SELECT wallet.set_limit('lw-late', 100000, 'lifetime', scope => 'user', metric => metric) IS NOT NULL AS before
  FROM unnest(ARRAY['credits', 'weighted_tokens', 'lw-calls']) metric;
SELECT cost FROM wallet.charge('lw-late', '{"model": "lw-model", "input_tokens": 3, "output_tokens": 5}', user_id => 'ann');
SELECT cost FROM wallet.charge('lw-late', '{"model": "lw-model", "cache_read_tokens": 7, "images": 2}', user_id => 'ben');
SELECT cost FROM wallet.charge('lw-late', amount => 2, user_id => 'ben');
SELECT refunded.amount FROM wallet.entries e, wallet.refund('lw-late', e.entry_id, 0.02) refunded WHERE e.wallet = 'lw-late' AND e.kind = 'charge' AND e.user_id = 'ann';
-- One hold is settled in two parts, one is open, one was charged when it expired.
SELECT hold_id AS parts FROM wallet.hold('lw-late', usage => '{"model": "lw-model", "input_tokens": 100, "output_tokens": 10}', user_id => 'cleo') \gset
SELECT cost FROM wallet.settle('lw-late', :'parts', usage => '{"model": "lw-model", "input_tokens": 40}', final => false);
SELECT * FROM regress.weighed('lw-late') WHERE subject = 'cleo';
SELECT cost FROM wallet.settle('lw-late', :'parts', usage => '{"model": "lw-model", "input_tokens": 20, "output_tokens": 1}');
SELECT amount FROM wallet.hold('lw-late', usage => '{"model": "lw-model", "input_tokens": 9}', user_id => 'dan');
SELECT hold_id AS late FROM wallet.hold('lw-late', usage => '{"model": "lw-model", "output_tokens": 6}', user_id => 'eve', ttl => '1 millisecond', on_expiry => 'charge') \gset
SELECT pg_sleep(0.01);
SELECT count(*) > 0 AS maintained FROM wallet.maintain();
SELECT cost FROM wallet.charge('lw-late', amount => 1, user_id => 'eve');
SELECT * FROM regress.weighed('lw-late');
SELECT wallet.set_limit('lw-late', 100000, 'year', scope => 'user', metric => metric) IS NOT NULL AS after
  FROM unnest(ARRAY['credits', 'weighted_tokens', 'lw-calls']) metric;
-- What a hold reserved is known only to the limits that were there: an expired one counts there as
-- one request. Everything else is equal.
SELECT l.metric, l.subject, l.used AS before, y.used AS after
  FROM wallet.limits_status l LEFT JOIN wallet.limits_status y
    ON y.wallet = l.wallet AND y.metric = l.metric AND y.subject = l.subject AND y.period = 'year'
 WHERE l.wallet = 'lw-late' AND l.period = 'lifetime' AND l.used IS DISTINCT FROM y.used;

-- Its settlement counts the usage in place of what it reserved.
SELECT cost FROM wallet.settle('lw-late', :'late', usage => '{"model": "lw-model", "output_tokens": 2}');
SELECT metric, period, used, held FROM wallet.limits_status WHERE wallet = 'lw-late' AND subject = 'eve' ORDER BY 1, 2;
SELECT wallet.set_limit('lw-late', 100000, 'quarter', scope => 'user', metric => 'lw-calls') IS NOT NULL AS set;
SELECT metric, period, used, held FROM wallet.limits_status WHERE wallet = 'lw-late' AND subject = 'eve' AND period = 'quarter';

-- Rounded up at the twelfth decimal, once per request.
SELECT wallet.set_metric('lw-fine', '{"gpu_seconds": 0.5, "audio_seconds": 0.5}');
SELECT wallet.set_price('lw-model', meter, 1, effective_from => '2025-01-01Z') IS NOT NULL AS set FROM unnest(ARRAY['gpu_seconds', 'audio_seconds']) meter;
SELECT wallet.set_limit('lw-late', 1, 'lifetime', metric => 'lw-fine') IS NOT NULL AS set;
SELECT cost FROM wallet.charge('lw-late', '{"model": "lw-model", "gpu_seconds": 0.000000000001, "audio_seconds": 0.000000000002}');
SELECT wallet.set_limit('lw-late', 1, 'year', metric => 'lw-fine') IS NOT NULL AS set;
SELECT period, used FROM wallet.limits_status WHERE wallet = 'lw-late' AND metric = 'lw-fine' ORDER BY 1;

-- A limit keeps its weights. Setting it again takes the new ones and counts its window again.
SELECT wallet.set_metric('credits', '{"input_tokens": 2, "output_tokens": 8}');
SELECT cost FROM wallet.charge('lw-late', '{"model": "lw-model", "input_tokens": 1}', user_id => 'ann');
SELECT metric, subject, period, used FROM wallet.limits_status WHERE wallet = 'lw-late' AND subject = 'ann' AND metric = 'credits' ORDER BY 3;
SELECT wallet.set_limit('lw-late', 100000, 'year', scope => 'user', metric => 'credits') IS NOT NULL AS again;
SELECT metric, subject, period, used, held FROM wallet.limits_status WHERE wallet = 'lw-late' AND metric = 'credits' ORDER BY 3, 2;
-- The open hold is settled with the weights of each limit.
SELECT cost FROM wallet.holds h, wallet.settle('lw-late', h.hold_id, usage => '{"model": "lw-model", "input_tokens": 5}') WHERE h.wallet = 'lw-late' AND h.status = 'open';
SELECT metric, period, used, held FROM wallet.limits_status WHERE wallet = 'lw-late' AND subject = 'dan' AND metric = 'credits' ORDER BY 2;

-- The built-in metric can have other weights.
SELECT wallet.set_metric('weighted_tokens', '{"output_tokens": 1}');
SELECT name, weights FROM wallet.metrics WHERE name = 'weighted_tokens';
SELECT wallet.drop_metric('weighted_tokens', idempotency_key => 'lw-2');
SELECT wallet.drop_metric('weighted_tokens', idempotency_key => 'lw-2');
SELECT weights ->> 'output_tokens' AS of_output FROM wallet.metrics WHERE name = 'weighted_tokens';
CALL regress.fails($$ SELECT wallet.drop_metric('weighted_tokens') $$);

-- Limits on a dropped metric go on; no new one can be set, not even by the same arguments.
SELECT wallet.drop_metric('lw-calls');
SELECT wallet.raise_limit('lw', limit_id, 10) FROM wallet.limits_status WHERE wallet = 'lw' AND metric = 'lw-calls';
SELECT cost FROM wallet.charge('lw', amount => 1);
SELECT * FROM regress.weighed('lw') WHERE metric = 'lw-calls';
CALL regress.fails($$ SELECT wallet.set_limit('lw', 35, 'day', metric => 'lw-calls') $$);
-- credits is a meter again. The limit of that name counts the meter from then on.
SELECT wallet.drop_metric('credits');
SELECT wallet.set_limit('lw', 5000, 'lifetime', metric => 'credits') IS NOT NULL AS set;
SELECT metric, weights FROM wallet.limits WHERE wallet_id = 'lw' AND metric = 'credits';
SELECT * FROM regress.weighed('lw') WHERE metric = 'credits';

-- A named subject overrides * also if the weights differ.
SELECT wallet.set_metric('lw-steps', '{"input_tokens": 1}');
SELECT wallet.set_limit('lw', 1, 'month', scope => 'team', metric => 'lw-steps') IS NOT NULL AS each_team;
SELECT wallet.set_metric('lw-steps', '{"input_tokens": 2}');
SELECT wallet.set_limit('lw', 100, 'month', scope => 'team', subject => 'red', metric => 'lw-steps') IS NOT NULL AS red;
SELECT cost FROM wallet.charge('lw', '{"model": "lw-model", "input_tokens": 50}', team => 'red');
SELECT * FROM regress.weighed('lw') WHERE metric = 'lw-steps';

-- On a single request, and on open holds: a part of a settlement frees its usage, not the request.
SELECT (wallet.create_wallet('lw-open')).wallet IS NOT NULL AS made, (wallet.fund('lw-open', 100)).balance;
SELECT wallet.set_metric('lw-both', '{"input_tokens": 2, "requests": 100}');
SELECT wallet.set_limit('lw-open', 130, 'request', metric => 'lw-both') IS NOT NULL AS each_request,
       wallet.set_limit('lw-open', 250, 'open', metric => 'lw-both') IS NOT NULL AS open_holds;
CALL regress.fails($$ SELECT wallet.charge('lw-open', '{"model": "lw-model", "input_tokens": 16}') $$);
SELECT hold_id AS open FROM wallet.hold('lw-open', usage => '{"model": "lw-model", "input_tokens": 15}') \gset
CALL regress.fails($$ SELECT wallet.hold('lw-open', usage => '{"model": "lw-model", "input_tokens": 11}') $$);
SELECT cost FROM wallet.settle('lw-open', :'open', usage => '{"model": "lw-model", "input_tokens": 5}', final => false);
SELECT * FROM regress.weighed('lw-open');
SELECT amount FROM wallet.hold('lw-open', usage => '{"model": "lw-model", "input_tokens": 15}');
SELECT cost FROM wallet.settle('lw-open', :'open', usage => '{"model": "lw-model", "input_tokens": 5}');
SELECT * FROM regress.weighed('lw-open');

-- The audit trail has the weights before and after.
SELECT action, subject, actor, before -> 'weights' AS before, after -> 'weights' AS after FROM wallet.audit
 WHERE wallet = '*' AND subject IN ('credits', 'weighted_tokens') ORDER BY at;
SELECT "check", ok FROM wallet.verify('lw') WHERE NOT ok;
SELECT "check", ok FROM wallet.verify('lw-late') WHERE NOT ok;

-- What is refused.
CALL regress.fails($$ SELECT wallet.set_metric(NULL, '{"images": 1}') $$);
CALL regress.fails($$ SELECT wallet.set_metric('', '{"images": 1}') $$);
CALL regress.fails($$ SELECT wallet.set_metric(' lw', '{"images": 1}') $$);
CALL regress.fails($$ SELECT wallet.set_metric(repeat('x', 65), '{"images": 1}') $$);
CALL regress.fails($$ SELECT wallet.set_metric('tokens', '{"images": 1}') $$);
CALL regress.fails($$ SELECT wallet.set_metric('images', '{"images": 1}') $$);
CALL regress.fails($$ SELECT wallet.set_metric('lw', NULL) $$);
CALL regress.fails($$ SELECT wallet.set_metric('lw', '[1]') $$);
CALL regress.fails($$ SELECT wallet.set_metric('lw', '{}') $$);
CALL regress.fails($$ SELECT wallet.set_metric('lw', (SELECT jsonb_object_agg('m' || n, 1) FROM generate_series(1, 33) n)) $$);
CALL regress.fails($$ SELECT wallet.set_metric('lw', '{"images": "1"}') $$);
CALL regress.fails($$ SELECT wallet.set_metric('lw', '{"images": 0}') $$);
CALL regress.fails($$ SELECT wallet.set_metric('lw', '{"images": -1}') $$);
CALL regress.fails($$ SELECT wallet.set_metric('lw', '{"images": 1000000000}') $$);
CALL regress.fails($$ SELECT wallet.set_metric('lw', '{"images": 0.0000000000001}') $$);
CALL regress.fails($$ SELECT wallet.set_metric('lw', '{"amount": 1}') $$);
CALL regress.fails($$ SELECT wallet.set_metric('lw', '{"lw-steps": 1}') $$);
CALL regress.fails($$ SELECT wallet.set_metric('lw-steps', '{"images": 1}', idempotency_key => 'lw-1') $$);
CALL regress.fails($$ SELECT wallet.drop_metric('lw-none') $$);
-- More than a limit can count.
SELECT wallet.set_metric('lw-much', '{"input_tokens": 999999999}');
SELECT wallet.set_limit('lw', 1, 'day', metric => 'lw-much', mode => 'soft') IS NOT NULL AS set;
CALL regress.fails($$ SELECT wallet.charge('lw', '{"model": "lw-model", "input_tokens": 99999999}') $$);
SELECT * FROM regress.broken('lw') UNION ALL SELECT * FROM regress.broken('lw-late');
