-- Which price applies, and that no digit is lost.
SET datestyle = ISO;
SELECT wallet FROM wallet.create_wallet('pr');
SELECT balance FROM wallet.fund('pr', 1000);
-- price_usage books nothing and shows which prices it found.
SELECT wallet.set_price('pr-a', 'input_tokens', 3, 1000000, effective_from => '2025-01-01') IS NOT NULL AS set;
SELECT cost, currency, model, total_tokens, jsonb_array_length(lines) AS lines
  FROM wallet.price_usage('{"model":"pr-a","input_tokens":1000}');
SELECT l->>'meter' AS meter, l->'quantity' AS quantity, l->'unit_price' AS unit_price, l->'per' AS per, l->'amount' AS amount,
       (SELECT p.model FROM wallet.prices p WHERE p.price_id = (l->>'price_id')::uuid) AS price_of
  FROM wallet.price_usage('{"model":"pr-a","input_tokens":1000}', wallet => 'pr') p, jsonb_array_elements(p.lines) l;
SELECT balance FROM wallet.balances WHERE wallet = 'pr';

-- Exact digits. The reference is PostgreSQL's numeric arithmetic.
CREATE FUNCTION regress.price(model text, usage jsonb) RETURNS numeric LANGUAGE sql AS
    $$ SELECT cost FROM wallet.price_usage(usage, model => model) $$;
SELECT count(wallet.set_price(m, 'input_tokens', price, per, effective_from => '2025-01-01'))
  FROM (VALUES ('pr-exact', 0.0000000375, 1), ('pr-k', 0.0015, 1000), ('pr-m', 0.15, 1000000),
               ('pr-min', 0.006, 60), ('pr-h', 2.80, 3600), ('pr-third', 1, 3), ('pr-digits', 2.99999123456789, 1)) AS p (m, price, per);
SELECT regress.price('pr-exact', '{"input_tokens":123456789}') AS cost, 0.0000000375 * 123456789 AS expected;
SELECT regress.price('pr-k', '{"input_tokens":1}') AS per_thousand, regress.price('pr-m', '{"input_tokens":1}') AS per_million,
       regress.price('pr-min', '{"input_tokens":1}') AS per_minute, regress.price('pr-h', '{"input_tokens":1}') AS per_hour;
SELECT regress.price('pr-digits', '{"input_tokens":999}') AS cost, 2.99999123456789 * 999 AS unrounded;
-- Half-even at the twelfth decimal, once per line. 2.8 / 3600 = 0.000777…; 1/3, 2/3.
SELECT regress.price('pr-third', '{"input_tokens":1}') AS third, regress.price('pr-third', '{"input_tokens":2}') AS two_thirds;
SELECT count(wallet.set_price('pr-half', m, price, 1, effective_from => '2025-01-01'))
  FROM (VALUES ('input_tokens', 0.0000000000005), ('output_tokens', 0.0000000000015), ('pages', 0.00000000000050001)) AS p (m, price);
SELECT l->>'meter' AS meter, l->'unit_price' AS unit_price, l->'amount' AS amount
  FROM wallet.price_usage('{"model":"pr-half","input_tokens":1,"output_tokens":1,"pages":1}') p, jsonb_array_elements(p.lines) l ORDER BY 1;
-- Every quantity from 1 to 2000 against numeric arithmetic.
SELECT count(*) AS wrong
  FROM generate_series(1, 2000) n, wallet.price_usage(jsonb_build_object('model', 'pr-m', 'input_tokens', n)) p
 WHERE p.cost <> round(0.15 * n / 1000000, 12);
-- The largest number of digits that a price and a quantity may have.
SELECT wallet.set_price('pr-most', 'input_tokens', 0.999999999999999) IS NOT NULL AS set;
SELECT regress.price('pr-most', '{"input_tokens":999999999999}') AS cost, round(0.999999999999999 * 999999999999, 12) AS expected;
CALL regress.fails($$ SELECT wallet.set_price('pr-most', 'input_tokens', 0.9999999999999999) $$);
SELECT regress.outcome($$ SELECT wallet.price_usage('{"model":"pr-most","input_tokens":1000000000000}') $$);
SELECT wallet.set_price('pr-huge', 'input_tokens', 99999) IS NOT NULL AS set;
CALL regress.fails($$ SELECT wallet.price_usage('{"model":"pr-huge","input_tokens":999999999999}') $$);

-- Each price applies from its date until the next one begins.
SELECT count(wallet.set_price('pr-date', 'input_tokens', price, 1, effective_from => since))
  FROM (VALUES (1, '2025-01-01Z'::timestamptz), (2, '2025-02-01Z'), (NULL, '2025-03-01Z'), (4, '2025-04-01Z'), (5, '2999-01-01Z')) AS p (price, since);
SELECT at AT TIME ZONE 'UTC' AS at, regress.outcome(format('SELECT wallet.price_usage(%L, at => %L)', '{"model":"pr-date","input_tokens":1}', at)) AS outcome,
       CASE WHEN at NOT BETWEEN '2025-03-01Z' AND '2025-03-31Z' AND at >= '2025-01-01Z'
            THEN (SELECT cost FROM wallet.price_usage('{"model":"pr-date","input_tokens":1}', at => at)) END AS cost
  FROM (VALUES ('2024-12-31 23:59:59.999999Z'::timestamptz), ('2025-01-01Z'), ('2025-01-31 23:59:59.999999Z'), ('2025-02-01Z'),
               ('2025-03-01Z'), ('2025-03-31Z'), ('2025-04-01Z'), ('2026-01-01Z')) AS t (at);
CALL regress.fails($$ SELECT wallet.price_usage('{"model":"pr-date","input_tokens":1}', at => '2024-12-31Z') $$);
CALL regress.fails($$ SELECT wallet.price_usage('{"model":"pr-date","input_tokens":1}', at => '2025-03-15Z') $$);
-- The same price again adds no row. A correction for the same date does, and applies.
SELECT wallet.set_price('pr-date', 'input_tokens', 2.0, 1, effective_from => '2025-02-01Z')
     = wallet.set_price('pr-date', 'input_tokens', 2, 1, effective_from => '2025-02-01Z') AS same_id;
SELECT count(*) FROM wallet.prices WHERE model = 'pr-date';
SELECT wallet.set_price('pr-date', 'input_tokens', 2.5, 1, effective_from => '2025-02-01Z') IS NOT NULL AS corrected;
SELECT cost FROM wallet.price_usage('{"model":"pr-date","input_tokens":1}', at => '2025-02-02Z');
-- A price applies immediately in the transaction that sets it, and no longer after a rollback.
BEGIN;
SELECT wallet.set_price('pr-date', 'input_tokens', 9, 1, effective_from => '2025-02-01Z') IS NOT NULL AS set;
SELECT cost FROM wallet.price_usage('{"model":"pr-date","input_tokens":1}', at => '2025-02-02Z');
ROLLBACK;
SELECT cost FROM wallet.price_usage('{"model":"pr-date","input_tokens":1}', at => '2025-02-02Z');

-- Conditions: the price with most of them, then region, service tier, conditions, threshold.
SELECT count(wallet.set_price('pr-cond', 'input_tokens', price, 1, region => region, service_tier => tier,
                              above_input_tokens => above, conditions => cond, effective_from => '2025-01-01'))
  FROM (VALUES (1, NULL, NULL, NULL::bigint, '{}'::jsonb),
               (2, NULL, NULL, 200000, '{}'),
               (3, NULL, NULL, NULL, '{"mode":"fast"}'),
               (4, NULL, 'batch', NULL, '{}'),
               (5, 'eu', NULL, NULL, '{}'),
               (6, NULL, 'batch', 200000, '{}'),
               (7, 'eu', 'batch', NULL, '{}'),
               (8, NULL, NULL, NULL, '{"mode":"fast","voice":true}'),
               (9, NULL, NULL, 272000, '{}')) AS p (price, region, tier, above, cond);
SELECT usage, l->'unit_price' AS unit_price
  FROM (VALUES ('{"input_tokens":1}'::jsonb), ('{"input_tokens":200000}'), ('{"input_tokens":200001}'), ('{"input_tokens":300000}'),
               ('{"input_tokens":1,"mode":"fast"}'), ('{"input_tokens":1,"mode":"slow"}'), ('{"input_tokens":1,"mode":"fast","voice":true}'),
               ('{"input_tokens":1,"mode":"fast","voice":"true"}'),
               ('{"input_tokens":1,"service_tier":"batch"}'), ('{"input_tokens":1,"service_tier":"batch","mode":"fast"}'),
               ('{"input_tokens":1,"region":"eu","service_tier":"flex"}'), ('{"input_tokens":1,"region":"eu","service_tier":"batch"}'),
               ('{"input_tokens":300000,"service_tier":"batch"}'), ('{"input_tokens":300000,"region":"eu"}')) AS u (usage),
       wallet.price_usage(usage, model => 'pr-cond') p, jsonb_array_elements(p.lines) l;
-- Region and tier can be arguments, which must not contradict the usage.
SELECT cost FROM wallet.price_usage('{"input_tokens":1}', model => 'pr-cond', region => 'eu', service_tier => 'batch');
CALL regress.fails($$ SELECT wallet.price_usage('{"input_tokens":1,"region":"us"}', model => 'pr-cond', region => 'eu') $$);
CALL regress.fails($$ SELECT wallet.price_usage('{"input_tokens":1,"model":"x"}', model => 'pr-cond') $$);

-- A threshold changes the price of the whole request, output included, and counts cached input.
SELECT count(wallet.set_price('pr-long', meter, price, 1, above_input_tokens => above, effective_from => '2025-01-01'))
  FROM (VALUES ('input_tokens', 1, NULL::bigint), ('output_tokens', 10, NULL), ('input_tokens', 2, 1000), ('output_tokens', 15, 1000)) AS p (meter, price, above);
SELECT usage, cost
  FROM (VALUES ('{"input_tokens":1000,"output_tokens":1}'::jsonb), ('{"input_tokens":1001,"output_tokens":1}'),
               ('{"input_tokens":600,"cache_read_tokens":401,"output_tokens":1}'), ('{"input_tokens":600,"output_tokens":5000}')) AS u (usage),
       wallet.price_usage(usage, model => 'pr-long');

-- Fallbacks: reasoning and output_* as output, cache_* and input_* as input, unless they have a
-- price. A kind of cached input falls back to cached input first.
SELECT usage, cost
  FROM (VALUES ('{"reasoning_tokens":1}'::jsonb), ('{"output_audio_tokens":1}'), ('{"cache_read_tokens":1}'), ('{"cache_write_1h_tokens":1}'), ('{"input_image_tokens":1}')) AS u (usage),
       wallet.price_usage(usage, model => 'pr-long');
SELECT wallet.set_price('pr-long', 'cache_read_tokens', 0.1, effective_from => '2025-01-01') IS NOT NULL AS set;
SELECT cost, total_tokens FROM wallet.price_usage('{"model":"pr-long","input_tokens":1,"cache_read_tokens":1,"reasoning_tokens":1}');
SELECT count(wallet.set_price('pr-cached', meter, price, 1, service_tier => tier, effective_from => '2025-01-01'))
  FROM (VALUES ('input_tokens', 100, NULL), ('input_audio_tokens', 500, NULL), ('cache_read_tokens', 10, NULL), ('cache_read_tokens', 5, 'batch'), ('cache_write_tokens', 125, NULL)) AS p (meter, price, tier);
SELECT usage, cost
  FROM (VALUES ('{"cache_read_audio_tokens":1}'::jsonb), ('{"cache_read_audio_tokens":1,"service_tier":"batch"}'), ('{"cache_write_1h_tokens":1}'),
               ('{"cache_write_audio_tokens":1}'), ('{"input_image_tokens":1}'), ('{"input_audio_tokens":1}')) AS u (usage),
       wallet.price_usage(usage, model => 'pr-cached');
SELECT wallet.set_price('pr-cached', 'cache_read_audio_tokens', 40, effective_from => '2025-01-01') IS NOT NULL AS set;
SELECT cost FROM wallet.price_usage('{"model":"pr-cached","cache_read_audio_tokens":1,"cache_read_tokens":1}');
CALL regress.fails($$ SELECT wallet.price_usage('{"model":"pr-long","images":1}') $$);
CALL regress.fails($$ SELECT wallet.price_usage('{"model":"pr-long","citation_tokens":1}') $$);
-- A price of zero is a price.
SELECT wallet.set_price('pr-long', 'citation_tokens', 0, effective_from => '2025-01-01') IS NOT NULL AS set;
SELECT cost, jsonb_array_length(lines) AS lines FROM wallet.price_usage('{"model":"pr-long","citation_tokens":5}');
-- A custom meter is one that has a price.
SELECT wallet.set_price('pr-own', 'widgets', 0.5, effective_from => '2025-01-01') IS NOT NULL AS set;
SELECT cost, total_tokens FROM wallet.price_usage('{"model":"pr-own","widgets":1.5,"gadgets":7}');

-- The exact model takes precedence over provider/model, and that over patterns, the longest pattern
-- first.
SELECT count(wallet.set_price(m, 'requests', price, effective_from => '2025-01-01'))
  FROM (VALUES ('pr-x-*', 1), ('pr-x-4*', 2), ('prov/pr-x-4o', 3), ('pr-x-4o-exact', 4), ('*pr-x-4o-mini*', 5)) AS p (m, price);
SELECT model, provider, cost
  FROM (VALUES ('pr-x-3', NULL), ('pr-x-4o', NULL), ('pr-x-4o', 'prov'), ('pr-x-4o', 'else'), ('pr-x-4o-exact', 'prov'), ('pr-x-4o-mini-2025', NULL), ('pr-x-', NULL)) AS m (model, provider),
       LATERAL (SELECT cost FROM wallet.price_usage(jsonb_strip_nulls(jsonb_build_object('model', model, 'provider', provider, 'requests', 1)))) p;
SELECT regress.outcome($$ SELECT wallet.price_usage('{"model":"pr-y","requests":1}') $$);
-- A row of a provider applies to requests of that provider, or without one.
SELECT count(wallet.set_price('pr-prov', 'requests', price, provider => prov, effective_from => '2025-01-01'))
  FROM (VALUES (1, NULL), (2, 'azure')) AS p (price, prov);
SELECT cost FROM wallet.price_usage('{"model":"pr-prov","provider":"azure","requests":1}');
SELECT cost FROM wallet.price_usage('{"model":"pr-prov","provider":"aws","requests":1}');

-- A wallet's own list takes precedence over the default list.
SELECT count(wallet.set_price(m, meter, price, price_list => list, effective_from => '2025-01-01'))
  FROM (VALUES ('pr-list', 'requests', 10, 'default'), ('pr-list', 'requests', 8, 'gold'), ('pr-list2', 'requests', 20, 'default'), ('pr-list*', 'pages', 7, 'gold')) AS p (m, meter, price, list);
UPDATE wallet.wallets SET price_list = 'gold' WHERE wallet_id = 'pr';
SELECT cost FROM wallet.price_usage('{"model":"pr-list","requests":1}');
SELECT cost FROM wallet.price_usage('{"model":"pr-list","requests":1}', wallet => 'pr');
SELECT cost FROM wallet.price_usage('{"model":"pr-list2","requests":1}', wallet => 'pr');
UPDATE wallet.wallets SET price_list = 'default' WHERE wallet_id = 'pr';

-- Arguments that price_usage and set_price refuse.
CALL regress.fails($$ SELECT wallet.price_usage(NULL) $$);
SELECT regress.outcome($$ SELECT wallet.price_usage('[]') $$);
SELECT regress.outcome($$ SELECT wallet.price_usage('{}') $$);
CALL regress.fails($$ SELECT wallet.price_usage('{"model":"pr-a"}') $$);
CALL regress.fails($$ SELECT wallet.price_usage('{"model":"pr-none","input_tokens":1}') $$);
CALL regress.fails($$ SELECT wallet.price_usage('{"model":"pr-a","input_tokens":-1}') $$);
CALL regress.fails($$ SELECT wallet.price_usage('{"model":"pr-a","input_tokens":1.5}') $$);
CALL regress.fails($$ SELECT wallet.price_usage('{"model":"pr-a","input_tokens":"7"}') $$);
CALL regress.fails($$ SELECT wallet.price_usage('{"model":"pr-a","input_tokens":true}') $$);
SELECT regress.outcome($$ SELECT wallet.price_usage('{"model":"pr-a","input_tokens":1e400}') $$);
CALL regress.fails($$ SELECT wallet.price_usage('{"model":"pr-a","input_tokens":1}', wallet => 'pr_nobody') $$);
CALL regress.fails($$ SELECT wallet.price_usage('{"model":"pr-a","input_tokens":1}', at => 'infinity') $$);
CALL regress.fails($$ SELECT wallet.set_price(NULL, 'requests', 1) $$);
CALL regress.fails($$ SELECT wallet.set_price('pr-a', NULL, 1) $$);
CALL regress.fails($$ SELECT wallet.set_price('pr-a', 'requests', -1) $$);
CALL regress.fails($$ SELECT wallet.set_price('pr-a', 'requests', 'NaN') $$);
CALL regress.fails($$ SELECT wallet.set_price('pr-a', 'requests', 1, per => 0) $$);
CALL regress.fails($$ SELECT wallet.set_price('pr-a', 'requests', 1, per => NULL) $$);
CALL regress.fails($$ SELECT wallet.set_price('pr-a', 'requests', 1, above_input_tokens => -1) $$);
CALL regress.fails($$ SELECT wallet.set_price('pr-a', 'requests', 1, conditions => '[]') $$);
CALL regress.fails($$ SELECT wallet.set_price('pr-a', 'requests', 1, effective_from => NULL) $$);
CALL regress.fails($$ SELECT wallet.set_price('pr-a', 'requests', 1, effective_from => '-infinity') $$);

-- Both ways to read the price book give the same result: this backend reads without the executor,
-- another one with statements.
SELECT wallet.set_usage_mapping('pr_mapping', '{"shapes": [{"all": ["pr_used"]}], "meters": [{"path": "pr_used", "meter": "input_tokens"}]}') IS NOT NULL AS set;
SELECT wallet.set_markup('gold', percent => 10) IS NOT NULL AS set;
UPDATE wallet.wallets SET price_list = 'gold' WHERE wallet_id = 'pr';
CREATE FUNCTION regress.price_or_error(usage jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN to_jsonb(wallet.price_usage(usage, 'pr', at => '2031-01-01Z'));
EXCEPTION WHEN OTHERS THEN
    RETURN to_jsonb(SQLSTATE);
END $$;
CREATE TABLE regress.asked AS
    SELECT jsonb_build_object('model', replace(model, '*', 'x'), meter, 7) AS usage FROM wallet.prices WHERE model LIKE '%pr-%' GROUP BY model, meter
    UNION ALL SELECT '{"model":"pr-a","pr_used":7}';
CREATE TABLE regress.answered AS SELECT usage, regress.price_or_error(usage) AS answer FROM regress.asked;
\c -
SET wallet.storage = 'spi';
SELECT count(*) > 30 AS many, count(*) FILTER (WHERE jsonb_typeof(answer) = 'object') > 25 AS priced,
       count(*) FILTER (WHERE answer IS DISTINCT FROM regress.price_or_error(usage)) AS different
  FROM regress.answered;
SELECT wallet.set_usage_mapping('pr_mapping', NULL) IS NOT NULL AS removed;
UPDATE wallet.wallets SET price_list = 'default' WHERE wallet_id = 'pr';
DROP TABLE regress.asked, regress.answered;
DROP FUNCTION regress.price_or_error;
