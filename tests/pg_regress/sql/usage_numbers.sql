-- Every number of a usage object is accounted for: how it was used, whether it is refused, and what
-- is passed in addition.
\pset format unaligned
\pset tuples_only on
SELECT balance FROM wallet.create_wallet('un');
SELECT balance FROM wallet.fund('un', 100);
SELECT count(wallet.set_price(model, meter, price, per, service_tier => tier, effective_from => '2025-01-01'))
  FROM (VALUES ('un-gpt', 'input_tokens', 2, 1000000, NULL), ('un-gpt', 'cache_read_tokens', 0.5, 1000000, NULL),
               ('un-gpt', 'output_tokens', 8, 1000000, NULL), ('un-gpt', 'input_tokens', 1, 1000000, 'batch'),
               ('un-gpt', 'output_tokens', 4, 1000000, 'batch'), ('un-gpt', 'queries', 10, 1000, NULL),
               ('un-gpt', 'gpu_seconds', 0.01, 1, NULL), ('un-gemini', 'queries', 14, 1000, NULL),
               ('un-gemini', 'input_tokens', 1, 1000000, NULL), ('un-gemini', 'output_tokens', 1, 1000000, NULL))
    AS p (model, meter, price, per, tier);

-- What became of each number.
\pset tuples_only off
SELECT * FROM wallet.explain_usage('{"model": "un-gpt", "extra": {"gpu_seconds": 1.5},
  "output": [{"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "a"}}, {"type": "message"}],
  "usage": {"input_tokens": 1000, "input_tokens_details": {"cached_tokens": 400, "new_tokens": 3}, "output_tokens": 90,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 1090}}');
SELECT * FROM wallet.explain_usage('{"model": "un-gpt", "input_tokens": 5, "total_tokens": 5, "cost": 0.1, "gadgets": 3, "more": {"of": [1, 2]}}');
\pset tuples_only on
CALL regress.fails($$SELECT wallet.explain_usage(NULL)$$);
SELECT regress.outcome($$SELECT wallet.explain_usage('{"usage": {"prompt_tokens": 5, "total_tokens": 6}}')$$);

-- A number that only another mapping knows at that place: the object has the form of no single
-- provider.
CALL regress.fails($$SELECT wallet.normalize_usage('{"usage": {"prompt_tokens": 5, "completion_tokens": 1, "num_search_queries": 2, "promptTokenCount": 5}}')$$);
CALL regress.fails($$SELECT wallet.normalize_usage('{"usage": {"prompt_tokens": 5, "images": 2}}')$$);
-- The closest shapes, and what is missing.
CALL regress.fails($$SELECT wallet.normalize_usage('{"usage": {"total_tokens": 12, "completion_tokens": 5}}')$$);
-- Two keys for the same number with different values.
CALL regress.fails($$SELECT wallet.normalize_usage('{"usage": {"prompt_tokens": 50, "prompt_tokens_details": {"cached_tokens": 8}, "prompt_cache_hit_tokens": 9}}')$$);
-- Two custom mappings that read the same object differently.
SELECT wallet.set_usage_mapping('un-one', '{"providers": ["one"], "shapes": [{"at": "un_bill", "all": ["n"]}], "meters": [{"path": "n", "meter": "input_tokens"}]}');
SELECT wallet.set_usage_mapping('un-two', '{"providers": ["two"], "shapes": [{"at": "un_bill", "all": ["n"]}], "meters": [{"path": "n", "meter": "output_tokens"}]}');
CALL regress.fails($$SELECT wallet.normalize_usage('{"un_bill": {"n": 5}}')$$);
SELECT * FROM wallet.normalize_usage('{"un_bill": {"n": 5}}', 'two');
SELECT wallet.set_usage_mapping('un-one', NULL), wallet.set_usage_mapping('un-two', NULL);

-- Tools: two searches of OpenAI, 2 x 0.01 + 100 x 2 / 1000000 + 20 x 8 / 1000000 = 0.02036. A
-- repeated query counts once.
SELECT cost FROM wallet.price_usage('{"object": "response", "model": "un-gpt",
  "output": [{"type": "web_search_call", "action": {"type": "search"}}, {"type": "web_search_call", "action": {"type": "search"}}, {"type": "message"}],
  "usage": {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 120}}');
SELECT * FROM wallet.normalize_usage('{"modelVersion": "un-gemini", "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 10, "totalTokenCount": 20},
  "candidates": [{"groundingMetadata": {"webSearchQueries": ["a", "b", "a"]}}]}');

-- Meters in addition to an object, in one call: 5 x 0.01 + 100 x 2 / 1000000 = 0.0502.
SELECT cost FROM wallet.charge('un', '{"model": "un-gpt", "usage": {"prompt_tokens": 100, "total_tokens": 100}, "extra": {"gpu_seconds": 5}}');
SELECT * FROM wallet.normalize_usage('{"model": "un-gpt", "input_tokens": 7, "extra": {"input_tokens": 3, "gpu_seconds": 5}}');
CALL regress.fails($$SELECT wallet.price_usage('{"model": "un-gpt", "usage": {"prompt_tokens": 5}, "gpu_seconds": 2}')$$);
CALL regress.fails($$SELECT wallet.normalize_usage('{"usage": {"prompt_tokens": 5}, "extra": {"gpu_seconds": 2, "note": "x"}}')$$);
SELECT regress.outcome($$SELECT wallet.price_usage('{"model": "un-gpt", "usage": {"prompt_tokens": 5}, "extra": {"un_gadgets": 2}}')$$);
CALL regress.fails($$SELECT wallet.price_usage('{"model": "un-gpt", "usage": {"prompt_tokens": 5, "cost": 1}, "extra": {"gpu_seconds": 2}}', cost_from => 'provider')$$);

-- Streams: the last usage counts. Anthropic's is spread over two events.
SELECT cost FROM wallet.charge('un', '[{"id": "c1", "model": "un-gpt", "choices": [{"delta": {"content": "Hi"}}], "usage": null},
  {"id": "c1", "model": "un-gpt", "choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}}, "[DONE]"]');
SELECT * FROM wallet.normalize_usage('[{"event": "message_start", "data": {"type": "message_start", "message": {"id": "m1", "model": "un-claude",
    "usage": {"input_tokens": 25, "cache_read_input_tokens": 7, "output_tokens": 1}}}},
  {"event": "message_delta", "data": {"type": "message_delta", "usage": {"output_tokens": 15}}}]');
CALL regress.fails($$SELECT wallet.normalize_usage('[{"id": "a", "usage": {"prompt_tokens": 5}}, {"id": "b", "usage": {"prompt_tokens": 6}}]')$$);
CALL regress.fails($$SELECT wallet.normalize_usage('[{"usage": {"prompt_tokens": 5}}, {"usage": {"prompt_tokens": 4}}]')$$);
CALL regress.fails($$SELECT wallet.normalize_usage('[{"id": "a", "choices": []}]')$$);
CALL regress.fails($$SELECT wallet.normalize_usage('[5]')$$);
-- A line of a batch: 1000 x 1 / 1000000 + 100 x 4 / 1000000 = 0.0014. Each line is a request.
SELECT cost FROM wallet.charge('un', '{"custom_id": "1", "error": null, "response": {"status_code": 200, "body": {"model": "un-gpt", "service_tier": "default",
  "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}}}}');
SELECT service_tier, model FROM wallet.entries WHERE wallet = 'un' AND service_tier IS NOT NULL;
CALL regress.fails($$SELECT wallet.normalize_usage('[{"custom_id": "1", "response": {"body": {"usage": {"prompt_tokens": 1}}}}, {"custom_id": "2", "response": {"body": {"usage": {"prompt_tokens": 1}}}}]')$$);

-- Costs that a provider reports: ticks, and what a custom key at OpenRouter costs in addition. A
-- part alone is refused.
SELECT cost FROM wallet.price_usage('{"model": "un-gpt", "usage": {"prompt_tokens": 198, "completion_tokens": 90, "total_tokens": 288, "cost_in_usd_ticks": 2709000}}', cost_from => 'provider');
SELECT cost FROM wallet.price_usage('{"model": "un-gpt", "usage": {"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10, "cost": 0.0005, "is_byok": true,
  "cost_details": {"upstream_inference_cost": 0.01}}}', cost_from => 'provider');
CALL regress.fails($$SELECT wallet.price_usage('{"model": "un-gpt", "usage": {"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10, "cost": 0.0005, "is_byok": true}}', cost_from => 'provider')$$);
SELECT * FROM regress.broken('un');
