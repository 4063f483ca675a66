-- Usage objects as the providers' APIs return them: their meters, and their cost.
\pset format unaligned
\pset tuples_only on
SELECT balance FROM wallet.create_wallet('us');
SELECT balance FROM wallet.fund('us', 100);
SELECT count(wallet.set_price(model, meter, price, 1000000, effective_from => '2025-01-01'))
  FROM (VALUES ('us-gpt', 'input_tokens', 2.5), ('us-gpt', 'cache_read_tokens', 1.25), ('us-gpt', 'output_tokens', 10),
               ('us-claude', 'input_tokens', 3), ('us-claude', 'cache_read_tokens', 0.3), ('us-claude', 'cache_write_tokens', 3.75),
               ('us-claude', 'cache_write_1h_tokens', 6), ('us-claude', 'output_tokens', 15), ('us-claude', 'queries', 10000),
               ('us-gemini', 'input_tokens', 1.25), ('us-gemini', 'output_tokens', 10)) AS p (model, meter, price);
SELECT wallet.set_price('us-gpt', 'input_tokens', 5, 1000000, service_tier => 'priority', effective_from => '2025-01-01') IS NOT NULL;
CREATE TABLE regress.body (name text PRIMARY KEY, usage jsonb, flat jsonb);
INSERT INTO regress.body VALUES
('openai chat',
 '{"id": "chatcmpl-1", "object": "chat.completion", "created": 1741570283, "model": "us-gpt",
   "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
   "usage": {"prompt_tokens": 1117, "completion_tokens": 46, "total_tokens": 1163,
             "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
             "completion_tokens_details": {"reasoning_tokens": 6, "audio_tokens": 0}},
   "service_tier": "default"}',
 '{"model": "us-gpt", "input_tokens": 93, "cache_read_tokens": 1024, "output_tokens": 40, "reasoning_tokens": 6}'),
('openai responses',
 '{"object": "response", "model": "us-gpt", "output": [], "service_tier": "priority",
   "usage": {"input_tokens": 36, "input_tokens_details": {"cached_tokens": 30}, "output_tokens": 87,
             "output_tokens_details": {"reasoning_tokens": 64}, "total_tokens": 123}}',
 '{"model": "us-gpt", "input_tokens": 6, "cache_read_tokens": 30, "output_tokens": 23, "reasoning_tokens": 64, "service_tier": "priority"}'),
('openai embeddings',
 '{"object": "list", "data": [{"embedding": [0.1]}], "model": "us-gpt", "usage": {"prompt_tokens": 8, "total_tokens": 8}}',
 '{"model": "us-gpt", "input_tokens": 8}'),
('anthropic',
 '{"type": "message", "role": "assistant", "model": "us-claude", "content": [],
   "usage": {"input_tokens": 2095, "cache_read_input_tokens": 503, "cache_creation_input_tokens": 2051,
             "cache_creation": {"ephemeral_5m_input_tokens": 51, "ephemeral_1h_input_tokens": 2000},
             "output_tokens": 17, "server_tool_use": {"web_search_requests": 3}, "service_tier": "standard"}}',
 '{"model": "us-claude", "input_tokens": 2095, "cache_read_tokens": 503, "cache_write_tokens": 51, "cache_write_1h_tokens": 2000,
   "output_tokens": 17, "queries": 3}'),
('gemini',
 '{"candidates": [], "modelVersion": "us-gemini",
   "usageMetadata": {"promptTokenCount": 100, "cachedContentTokenCount": 60, "candidatesTokenCount": 20, "thoughtsTokenCount": 300,
                     "toolUsePromptTokenCount": 7, "totalTokenCount": 427}}',
 '{"model": "us-gemini", "input_tokens": 47, "cache_read_tokens": 60, "output_tokens": 20, "reasoning_tokens": 300}'),
('openrouter',
 '{"id": "gen-1", "provider": "OpenAI", "model": "us-gpt",
   "usage": {"prompt_tokens": 194, "completion_tokens": 2, "total_tokens": 196, "cost": 0.000512345678901234,
             "prompt_tokens_details": {"cached_tokens": 94}}}',
 '{"model": "us-gpt", "input_tokens": 100, "cache_read_tokens": 94, "output_tokens": 2}'),
('opentelemetry',
 '{"gen_ai.request.model": "us-gpt", "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 50,
   "gen_ai.usage.cache_read.input_tokens": 200}',
 '{"model": "us-gpt", "input_tokens": 800, "cache_read_tokens": 200, "output_tokens": 50}');

-- The meters of each object. The raw body costs the same as the flat form.
SELECT b.name, string_agg(n.meter || ' ' || n.quantity, ', ') FROM regress.body b, wallet.normalize_usage(b.usage) n GROUP BY 1 ORDER BY 1;
SELECT name, r.cost, r.cost = f.cost AS as_flat, r.total_tokens = f.total_tokens AS tokens_too
  FROM regress.body, wallet.price_usage(usage) r, wallet.price_usage(flat) f ORDER BY name;
SELECT name, c.cost = f.cost AS as_flat, c.model FROM regress.body, wallet.charge('us', usage) c, wallet.price_usage(flat) f ORDER BY name;
-- The entry stores the body unchanged.
SELECT count(*) FROM wallet.entries e JOIN regress.body b ON e.usage = b.usage WHERE e.wallet = 'us';
SELECT b.name, bool_and(allowed) FROM regress.body b, wallet.check_limits('us', usage => b.usage) GROUP BY 1 ORDER BY 1;

-- litellm issue 9812: tokens written to the cache were also charged as prompt tokens, 0.091311
-- instead of 0.054399.
SELECT cost FROM wallet.price_usage('{"input_tokens":3,"cache_creation_input_tokens":12304,"cache_read_input_tokens":0,"output_tokens":550}', model => 'us-claude');
-- Gemini counts thoughts separately from candidates.
SELECT cost, total_tokens FROM wallet.price_usage('{"promptTokenCount":100,"candidatesTokenCount":20,"thoughtsTokenCount":300,"totalTokenCount":420}', model => 'us-gemini');
-- Anthropic's input excludes what was read from the cache.
SELECT cost, total_tokens FROM wallet.price_usage('{"usage":{"input_tokens":50,"cache_read_input_tokens":100000,"output_tokens":10}}', model => 'us-claude');

-- A part greater than its whole, a total that is not the sum: the error names both numbers.
CALL regress.fails($$SELECT wallet.price_usage('{"model":"us-gpt","usage":{"prompt_tokens":10,"prompt_tokens_details":{"cached_tokens":11}}}')$$);
CALL regress.fails($$SELECT wallet.normalize_usage('{"prompt_tokens":10,"completion_tokens":2,"completion_tokens_details":{"reasoning_tokens":3}}')$$);
CALL regress.fails($$SELECT wallet.normalize_usage('{"usageMetadata":{"promptTokenCount":10,"cachedContentTokenCount":30}}')$$);
CALL regress.fails($$SELECT wallet.charge('us', '{"model":"us-gpt","usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":13}}')$$);
CALL regress.fails($$SELECT wallet.normalize_usage('{"usage":{"prompt_tokens":"10"}}')$$);
CALL regress.fails($$SELECT wallet.normalize_usage('{"usage":{"prompt_tokens":-1}}')$$);
-- Unknown shapes, and mixtures of shapes.
CALL regress.fails($$SELECT wallet.normalize_usage('{"model":"m","usage":{"units":5}}')$$);
CALL regress.fails($$SELECT wallet.normalize_usage('{}')$$);
CALL regress.fails($$SELECT wallet.normalize_usage('{"model":"us-gpt","widgets_of_usage":5}')$$);
CALL regress.fails($$SELECT wallet.price_usage('{"model":"us-gpt","usage":{"prompt_tokens":5},"images":2}')$$);
CALL regress.fails($$SELECT wallet.normalize_usage(NULL)$$);
SELECT regress.outcome($$SELECT wallet.normalize_usage('[]')$$);
-- Unknown keys are stored and cost nothing. A key that has a price is a meter of the flat form.
SELECT cost FROM wallet.price_usage('{"model":"us-gpt","usage":{"prompt_tokens":1000,"new_tokens":7},"x":1}');
SELECT wallet.set_price('us-own', 'widgets_of_usage', 1) IS NOT NULL;
SELECT * FROM wallet.normalize_usage('{"model":"us-own","widgets_of_usage":1.5,"gadgets":3}');
-- A response names the version that answered, and an argument the model to price it as. A tier must
-- not be contradicted.
SELECT cost, model FROM wallet.price_usage('{"model":"us-gpt-2025-08-06","usage":{"prompt_tokens":1000}}', model => 'us-gpt');
SELECT cost FROM wallet.price_usage('{"model":"us-gpt","service_tier":"default","usage":{"prompt_tokens":1000}}', service_tier => 'priority');
SELECT regress.outcome($$SELECT wallet.price_usage('{"model":"us-gpt","service_tier":"flex","usage":{"prompt_tokens":1000}}', service_tier => 'priority')$$);
-- The provider decides if two shapes match.
SELECT regress.outcome($$SELECT wallet.normalize_usage('{"prompt_tokens":10,"completion_tokens":45,"total_tokens":800}')$$);
SELECT * FROM wallet.normalize_usage('{"prompt_tokens":10,"completion_tokens":45,"total_tokens":800}', 'gemini');

-- The cost that the provider reports, compared with our own figure.
SELECT p.cost, p.total_tokens, (SELECT sum((l->>'amount')::numeric) FROM jsonb_array_elements(p.lines) l) AS ours
  FROM regress.body, wallet.price_usage(usage, cost_from => 'provider') p WHERE name = 'openrouter';
SELECT c.cost, c.balance, c.replayed FROM regress.body, wallet.charge('us', usage, idempotency_key => 'r', cost_from => 'provider') c WHERE name = 'openrouter';
SELECT c.cost, c.balance, c.replayed FROM regress.body, wallet.charge('us', usage, idempotency_key => 'r', cost_from => 'provider') c WHERE name = 'openrouter';
SELECT regress.outcome($$SELECT wallet.charge('us', (SELECT usage FROM regress.body WHERE name = 'openrouter'), idempotency_key => 'r')$$);
SELECT amount, reason, contra, usage = (SELECT usage FROM regress.body WHERE name = 'openrouter'), jsonb_array_length(lines)
  FROM wallet.entries WHERE wallet = 'us' AND reason IS NOT NULL;
SELECT cost, total_tokens, lines FROM wallet.charge('us', '{"model":"us-unknown","usage":{"prompt_tokens":5,"cost":0.25}}', cost_from => 'provider');
SELECT amount, lines, reason FROM wallet.entries WHERE wallet = 'us' AND model = 'us-unknown';
SELECT cost FROM wallet.price_usage('{"model":"us-gpt","input_tokens":5,"cost":0.5}', cost_from => 'provider');
CALL regress.fails($$SELECT wallet.charge('us', '{"model":"us-gpt","usage":{"prompt_tokens":5}}', cost_from => 'provider')$$);
CALL regress.fails($$SELECT wallet.price_usage('{"model":"us-gpt","usage":{"prompt_tokens":5,"cost":-1}}', cost_from => 'provider')$$);
CALL regress.fails($$SELECT wallet.charge('us', amount => 1, cost_from => 'provider')$$);
CALL regress.fails($$SELECT wallet.charge('us', '{"model":"us-gpt","input_tokens":5}', cost_from => 'guess')$$);
SELECT regress.outcome($$SELECT wallet.charge('us', '{"model":"us-gpt","input_tokens":5}', cost_from => NULL)$$);
SELECT wallet FROM wallet.create_wallet('us_eur', 'EUR');
CALL regress.fails($$SELECT wallet.charge('us_eur', '{"model":"us-gpt","usage":{"prompt_tokens":5,"cost":0.5}}', cost_from => 'provider')$$);
SELECT * FROM regress.broken('us');

-- A new provider needs no release: its mapping is data, and applies immediately.
SELECT regress.outcome($$SELECT wallet.normalize_usage('{"bill":{"in":5}}')$$);
BEGIN;
SELECT wallet.set_usage_mapping('us-acme', '{"shapes":[{"at":"bill","all":["in"]}],"meters":[{"path":"in","meter":"input_tokens","parts":[{"path":"old","meter":"cache_read_tokens"}]}]}');
SELECT * FROM wallet.normalize_usage('{"bill":{"in":5,"old":2}}');
ROLLBACK;
SELECT regress.outcome($$SELECT wallet.normalize_usage('{"bill":{"in":5}}')$$);
SELECT wallet.set_usage_mapping('us-acme', '{"shapes":[{"at":"bill","all":["in"]}],"meters":[{"path":"in","meter":"us_pieces"}]}', actor => 'ann');
SELECT wallet.set_usage_mapping('us-acme', '{"meters":[{"meter":"us_pieces","path":"in"}],"shapes":[{"all":["in"],"at":"bill"}]}');
SELECT name, actor FROM wallet.usage_mappings;
-- A name in a mapping is a meter, and is refused without a price.
CALL regress.fails($$SELECT wallet.price_usage('{"model":"us-gpt","bill":{"in":5}}')$$);
SELECT wallet.set_usage_mapping('us-acme', '{"shapes":[{"at":"bill","all":["in"]}],"meters":[{"path":"in","meter":"input_tokens"}]}');
SELECT cost FROM wallet.price_usage('{"model":"us-gpt","bill":{"in":5}}');
SELECT cost FROM wallet.charge('us', '{"model":"us-gpt","bill":{"in":5}}', idempotency_key => 'acme');
SELECT cost, new_cost, difference FROM wallet.reprice('us', NULL, NULL) WHERE entry_id = (SELECT entry_id FROM wallet.ledger WHERE idempotency_key = 'acme');
SELECT wallet.set_usage_mapping('us-acme', NULL);
-- A charge by a mapping that is gone stays unchanged. It can be shown, but not priced again.
SELECT name, value FROM wallet.ledger l, wallet.usage_headers('us', l.entry_id) WHERE l.idempotency_key = 'acme' AND name IN ('X-Usage-Cost', 'X-Total-Tokens');
SELECT cost, new_cost, difference FROM wallet.reprice('us', NULL, NULL) WHERE entry_id = (SELECT entry_id FROM wallet.ledger WHERE idempotency_key = 'acme');
SELECT wallet.set_usage_mapping('us-acme', NULL);
SELECT regress.outcome($$SELECT wallet.normalize_usage('{"bill":{"in":5}}')$$);
CALL regress.fails($$SELECT wallet.set_usage_mapping('us-acme', '{"shapes":[{"at":"bill","all":["in"]}],"meters":[{"path":"a..b","meter":"m"}]}')$$);
CALL regress.fails($$SELECT wallet.set_usage_mapping('us-acme', '{"shape":[]}')$$);
CALL regress.fails($$SELECT wallet.set_usage_mapping(NULL, '{}')$$);
SELECT regress.outcome($$SELECT wallet.set_usage_mapping('us-acme', '[]')$$);

-- Who may change mappings.
CREATE ROLE regress_usage;
SELECT wallet.grant_access('regress_usage', 'reader', 'us');
SET ROLE regress_usage;
SELECT * FROM wallet.normalize_usage('{"usage":{"prompt_tokens":5}}');
SELECT regress.outcome($$SELECT wallet.set_usage_mapping('x', NULL)$$);
RESET ROLE;
SELECT wallet.revoke_access('regress_usage', 'reader', 'us');
DROP ROLE regress_usage;
