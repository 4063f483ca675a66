-- Price feeds of other projects.
\pset null '-'
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TEMP TABLE feed (name text PRIMARY KEY, prices jsonb);
INSERT INTO feed VALUES ('first', '{
  "sample_spec": {"input_cost_per_token": 0.0, "litellm_provider": "one of ..."},
  "imp-gpt": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05,
              "cache_read_input_token_cost": 1.25e-06, "input_cost_per_token_priority": 4.25e-06,
              "input_cost_per_token_batches": 1.25e-06, "max_tokens": 16384},
  "imp-noise": {"litellm_provider": "x", "mode": "chat", "input_cost_per_token": 2.9999900000000002e-06, "input_cost_per_thought": 1},
  "imp-long": {"litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 3e-06, "input_cost_per_token_above_200k_tokens": 6e-06},
  "imp-search": {"litellm_provider": "x", "mode": "search", "tiered_pricing": [{"input_cost_per_query": 0.005, "max_results_range": [0, 25]}]},
  "imp-ranges": {"litellm_provider": "x", "mode": "chat", "tiered_pricing": [{"range": [0, 32000.0], "input_cost_per_token": 1e-06}, {"range": [32000.0, 128000.0], "input_cost_per_token": 2e-06}]},
  "imp-image": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_image": 0.04},
  "imp-speech": {"litellm_provider": "openai", "mode": "audio_transcription", "input_cost_per_second": 0.0001, "output_cost_per_second": 0.0001},
  "imp-free": {"litellm_provider": "x", "mode": "chat", "input_cost_per_token": 0, "input_dbu_cost_per_token": 7e-05}
}');
-- A dry run shows what an import would do, and changes nothing.
SELECT * FROM wallet.import_prices('litellm', (SELECT prices FROM feed WHERE name = 'first'), 'imp', '2026-01-01 00:00+00', dry_run => true);
SELECT count(*) FROM wallet.prices WHERE price_list = 'imp';
SELECT action, count(*) FROM wallet.import_prices('litellm', (SELECT prices FROM feed WHERE name = 'first'), 'imp', '2026-01-01 00:00+00', actor => 'ana') GROUP BY 1 ORDER BY 1;
SELECT action, count(*) FROM wallet.import_prices('litellm', (SELECT prices FROM feed WHERE name = 'first'), 'imp', '2026-01-02 00:00+00') GROUP BY 1 ORDER BY 1;
SELECT action, subject, actor, after FROM wallet.audit WHERE action = 'import_prices' AND subject = 'imp';
-- The prices are in use.
SELECT wallet FROM wallet.create_wallet('imp_w');
SELECT wallet FROM wallet.use_price_list('imp_w', 'imp');
SELECT cost FROM wallet.price_usage('{"model":"imp-gpt","input_tokens":1000,"output_tokens":450,"cache_read_tokens":200}', 'imp_w');
SELECT cost FROM wallet.price_usage('{"model":"imp-gpt","input_tokens":1000}', 'imp_w', service_tier => 'batch');
SELECT cost FROM wallet.price_usage('{"model":"imp-long","input_tokens":300000}', 'imp_w');
SELECT cost FROM wallet.price_usage('{"model":"imp-speech","audio_seconds":61.5}', 'imp_w');
-- A changed feed adds dated prices, changes no old one, and ends what disappeared.
INSERT INTO feed SELECT 'second', jsonb_set(prices - 'imp-noise', '{imp-gpt,input_cost_per_token}', '2e-06') FROM feed;
SELECT action, model, meter, old_price, new_price, note FROM wallet.import_prices('litellm', (SELECT prices FROM feed WHERE name = 'second'), 'imp', '2026-02-01 00:00+00') WHERE action NOT IN ('unchanged', 'skipped');
SELECT meter, service_tier, unit_price, per, effective_from FROM wallet.prices WHERE price_list = 'imp' AND model IN ('imp-gpt', 'imp-noise') AND meter = 'input_tokens' ORDER BY model, service_tier NULLS FIRST, effective_from;
SELECT cost FROM wallet.price_usage('{"model":"imp-gpt","input_tokens":1000}', 'imp_w', at => '2026-01-15');
SELECT regress.outcome($$ SELECT * FROM wallet.price_usage('{"model":"imp-noise","input_tokens":1000}', 'imp_w') $$);
-- A suspicious feed changes nothing, unless the caller accepts it.
CALL regress.fails($$ SELECT * FROM wallet.import_prices('litellm', (SELECT jsonb_set(prices, '{imp-gpt,output_cost_per_token}', '"0.1"') FROM feed WHERE name = 'second'), 'imp') $$);
CALL regress.fails($$ SELECT * FROM wallet.import_prices('litellm', (SELECT jsonb_set(prices, '{imp-gpt,output_cost_per_token}', '0.01') FROM feed WHERE name = 'second'), 'imp') $$);
CALL regress.fails($$ SELECT * FROM wallet.import_prices('litellm', (SELECT jsonb_set(prices, '{imp-gpt,output_cost_per_token}', '-1') FROM feed WHERE name = 'second'), 'imp') $$);
CALL regress.fails($$ SELECT * FROM wallet.import_prices('litellm', '[]', 'imp') $$);
CALL regress.fails($$ SELECT * FROM wallet.import_prices('litellm', '{', 'imp') $$);
CALL regress.fails($$ SELECT * FROM wallet.import_prices('litelm', '{}', 'imp') $$);
CALL regress.fails($$ SELECT * FROM wallet.import_prices('litellm', NULL) $$);
SELECT max(effective_from) FROM wallet.prices WHERE price_list = 'imp';
SELECT action, model, meter, old_price, new_price FROM wallet.import_prices('litellm', (SELECT jsonb_set(prices, '{imp-gpt,output_cost_per_token}', '0.01') FROM feed WHERE name = 'second'), 'imp', '2026-03-01 00:00+00', force => true) WHERE action NOT IN ('unchanged', 'skipped');
-- genai-prices: prices with dates and tiers.
INSERT INTO feed VALUES ('genai', '[{"id": "acme", "name": "Acme", "models": [
  {"id": "gen-a", "match": {"equals": "gen-a"}, "prices": {"input_mtok": {"base": 1.25, "tiers": [{"start": 200000, "price": 2.5}]}, "output_mtok": 10, "requests_kcount": 5}},
  {"id": "gen-b", "prices": [{"prices": {"input_mtok": 3}}, {"constraint": {"start_date": "2026-02-01"}, "prices": {"input_mtok": 2}},
                             {"constraint": {"start_time": "00:30:00Z", "end_time": "16:30:00Z"}, "prices": {"input_mtok": 1}}]},
  {"id": "gen-c", "prices": {"input_furlongs": 1}}]}]');
SELECT * FROM wallet.import_prices('genai-prices', (SELECT prices FROM feed WHERE name = 'genai'), 'gen', '2026-01-01 00:00+00');
SELECT action, count(*) FROM wallet.import_prices('genai-prices', (SELECT jsonb_build_object('providers', prices) FROM feed WHERE name = 'genai'), 'gen', '2026-01-01 00:00+00') GROUP BY 1 ORDER BY 1;
SELECT model, meter, above_input_tokens AS above, unit_price, per, conditions, effective_from FROM wallet.prices WHERE price_list = 'gen' ORDER BY model, meter, 3 NULLS FIRST, effective_from;
CALL regress.fails($$ SELECT * FROM wallet.import_prices('genai-prices', '{"a":1}', 'gen') $$);
-- A later set of prices ends those that it no longer has. Another processing mode is a service
-- tier.
INSERT INTO feed VALUES ('later', '[{"id": "acme", "models": [{"id": "gen-d",
  "prices": [{"prices": {"input_mtok": {"base": 3, "tiers": [{"start": 200000, "price": 6}]}, "cache_read_mtok": 1}},
             {"constraint": {"start_date": "2026-03-13"}, "prices": {"input_mtok": 3}}],
  "price_variants": [{"when": {"processing": "batch"}, "prices": {"input_mtok": 1.5}}, {"when": {"route": "eu"}, "prices": {"input_mtok": 4}}]}]}]');
SELECT action, model, meter, new_price, note FROM wallet.import_prices('genai-prices', (SELECT prices FROM feed WHERE name = 'later'), 'later', '2026-01-01 00:00+00') ORDER BY 1, 3, 4, 5;
SELECT action, count(*) FROM wallet.import_prices('genai-prices', (SELECT prices FROM feed WHERE name = 'later'), 'later', '2026-01-01 00:00+00') GROUP BY 1 ORDER BY 1;
SELECT wallet FROM wallet.create_wallet('later_w');
SELECT (wallet.use_price_list('later_w', 'later')).wallet IS NOT NULL AS used;
SELECT u.at, u.tier, p.cost
  FROM (VALUES ('2026-03-12 12:00+00'::timestamptz, NULL), ('2026-03-13 12:00+00', NULL), ('2026-03-13 12:00+00', 'batch')) AS u (at, tier),
       LATERAL wallet.price_usage('{"model":"gen-d","input_tokens":1000000}', 'later_w', service_tier => u.tier, at => u.at) p
 ORDER BY 1, 2 NULLS FIRST;
-- The names of a model: patterns and names of the provider that makes it, and of other providers
-- with the provider as a prefix.
INSERT INTO feed VALUES ('names', '[
  {"id": "acme", "model_match": {"starts_with": "match-"}, "models": [
    {"id": "match-4o", "match": {"or": [{"equals": "match-4o"}, {"equals": "match-4o-latest"}, {"starts_with": "match-4o-2"}, {"regex": "^match-4o@\\d+$"}]}, "prices": {"input_mtok": 1}},
    {"id": "match-4o-mini", "match": {"starts_with": "match-4o-mini"}, "prices": {"input_mtok": {"base": 2, "tiers": [{"start": 10, "price": 20}]}}}]},
  {"id": "reseller", "models": [
    {"id": "match-4o", "match": {"or": [{"starts_with": "match-4o"}, {"ends_with": "/match-4o"}, {"and": [{"contains": "a"}, {"contains": "b"}]}]}, "prices": {"input_mtok": 4}}]}]');
SELECT action, model, meter, new_price, note FROM wallet.import_prices('genai-prices', (SELECT prices FROM feed WHERE name = 'names'), 'names', '2026-01-01 00:00+00');
SELECT action, count(*) FROM wallet.import_prices('genai-prices', (SELECT prices FROM feed WHERE name = 'names'), 'names', '2026-01-01 00:00+00') GROUP BY 1 ORDER BY 1;
SELECT wallet FROM wallet.create_wallet('names_w');
SELECT (wallet.use_price_list('names_w', 'names')).wallet IS NOT NULL AS used;
SELECT u.model, u.provider, regress.outcome(format('SELECT cost FROM wallet.price_usage(%L, ''names_w'')', jsonb_strip_nulls(jsonb_build_object('model', u.model, 'provider', u.provider, 'input_tokens', 1000000)))) AS outcome,
       CASE WHEN u.model <> 'match-4o@1' THEN (SELECT cost FROM wallet.price_usage(jsonb_strip_nulls(jsonb_build_object('model', u.model, 'provider', u.provider, 'input_tokens', 1000000)), 'names_w')) END AS cost
  FROM (VALUES ('match-4o-latest', NULL), ('match-4o-2024-08-06', NULL), ('match-4o-2024-08-06', 'acme'), ('match-4o-mini-2024', 'acme'),
               ('match-4o-2024-08-06', 'reseller'), ('x/match-4o', 'reseller'), ('match-4o', 'reseller'), ('match-4o', 'acme'), ('match-4o@1', 'acme')) AS u (model, provider);
-- A model's prices under its other names end with the rule, and are kept if the model's prices are
-- wrong.
SELECT action, model, new_price FROM wallet.import_prices('genai-prices', (SELECT jsonb_set(prices, '{0,models,1,match}', '{"equals": "match-4o-mini"}') FROM feed WHERE name = 'names'), 'names', '2026-02-01 00:00+00') WHERE action NOT IN ('unchanged', 'skipped');
SELECT action, model, meter, note FROM wallet.import_prices('genai-prices', (SELECT jsonb_set(prices, '{0,models,0,prices,input_mtok}', '"1"') FROM feed WHERE name = 'names'), 'names', '2026-01-15 00:00+00', force => true) WHERE action <> 'unchanged';
