-- Charging by amount and by usage: text, embeddings, images, speech, fine-tuning; what the call
-- returns and what it writes.
SET datestyle = ISO;
SELECT wallet FROM wallet.create_wallet('ch');
SELECT balance FROM wallet.fund('ch', 100);
-- Prices in the units that the providers quote.
SELECT count(wallet.set_price(model, meter, price, per, provider => 'openai', conditions => conditions::jsonb, effective_from => '2024-01-01Z'))
  FROM (VALUES
        ('ch-gpt-4o', 'input_tokens', 2.5, 1000000, '{}'),
        ('ch-gpt-4o', 'output_tokens', 10, 1000000, '{}'),
        ('ch-gpt-4o', 'cache_read_tokens', 1.25, 1000000, '{}'),
        ('ch-embed', 'input_tokens', 0.00002, 1000, '{}'),
        ('ch-dall-e', 'images', 0.04, 1, '{"size":"1024x1024","quality":"standard"}'),
        ('ch-dall-e', 'images', 0.08, 1, '{"size":"1024x1024","quality":"hd"}'),
        ('ch-dall-e', 'images', 0.12, 1, '{"size":"1792x1024","quality":"hd"}'),
        ('ch-whisper', 'audio_seconds', 0.006, 60, '{}'),
        ('ch-tuned', 'gpu_seconds', 2.8, 3600, '{}')) AS p (model, meter, price, per, conditions);
-- Lines without the ids of their prices, which differ from run to run.
CREATE FUNCTION regress.lines(lines jsonb) RETURNS SETOF jsonb LANGUAGE sql AS $$
    SELECT l - 'price_id' FROM jsonb_array_elements(lines) l
$$;

-- By amount.
SELECT entry_id IS NOT NULL AS has_id, cost, currency, balance, model, total_tokens, lines, replayed
  FROM wallet.charge('ch', amount => 0.25);
SELECT cost, balance, model FROM wallet.charge('ch', amount => 0.000000000001, model => 'ch-other', service => 'search');
SELECT cost, balance FROM wallet.charge('ch', amount => 0);

-- Text: 1000 × 2.5 / 10^6 + 450 × 10 / 10^6 + 200 × 1.25 / 10^6 = 0.00725.
SELECT entry_id IS NOT NULL AS has_id, cost, currency, balance, model, total_tokens, replayed
  FROM wallet.charge('ch', '{"model":"ch-gpt-4o","input_tokens":1000,"output_tokens":450,"cache_read_tokens":200}');
SELECT l FROM wallet.charge('ch', '{"model":"ch-gpt-4o","input_tokens":1000,"output_tokens":450,"cache_read_tokens":200}') c,
              regress.lines(c.lines) l;
-- The model as an argument, and attributes of the call.
SELECT cost, model, total_tokens
  FROM wallet.charge('ch', '{"input_tokens":1000}', model => 'ch-gpt-4o', user_id => 'ann', team => 'core',
                     service => 'chat', region => 'eu', service_tier => 'batch', tags => '{"project":"x"}', actor => 'api');
-- Embedding: 7 × 0.00002 / 1000.
SELECT cost, total_tokens FROM wallet.charge('ch', '{"model":"ch-embed","input_tokens":7}');
-- Images by size and quality.
SELECT cost, total_tokens FROM wallet.charge('ch', '{"model":"ch-dall-e","images":2,"size":"1024x1024","quality":"standard"}');
SELECT cost FROM wallet.charge('ch', '{"model":"ch-dall-e","images":2,"size":"1024x1024","quality":"hd"}');
SELECT cost FROM wallet.charge('ch', '{"model":"ch-dall-e","images":1,"size":"1792x1024","quality":"hd"}');
CALL regress.fails($$ SELECT wallet.charge('ch', '{"model":"ch-dall-e","images":1,"size":"512x512"}') $$);
-- Speech: 61.5 seconds at 0.006 per minute. Fine-tuning: 5400 GPU seconds at 2.80 per hour.
SELECT cost, total_tokens FROM wallet.charge('ch', '{"model":"ch-whisper","audio_seconds":61.5}');
SELECT cost FROM wallet.charge('ch', '{"model":"ch-tuned","gpu_seconds":5400}');
-- Zero usage costs nothing, and is booked.
SELECT cost, total_tokens, lines FROM wallet.charge('ch', '{"model":"ch-gpt-4o","input_tokens":0}');
-- Keys that are not meters are stored and never priced.
SELECT cost FROM wallet.charge('ch', '{"model":"ch-gpt-4o","input_tokens":4,"temperature":0.7,"stop":["\n"],"nested":{"a":null}}', idempotency_key => 'kept');

-- The rows that are written.
SELECT seq, kind, amount, CASE WHEN amount <> 0 THEN contra END AS contra, model, service, user_id, team, region, service_tier, tags, actor, lane_balance
  FROM wallet.entries WHERE wallet = 'ch' ORDER BY seq;
SELECT seq, usage FROM wallet.entries WHERE wallet = 'ch' AND kind = 'charge' ORDER BY seq;
SELECT e.seq, l FROM wallet.entries e, regress.lines(e.lines) l WHERE wallet = 'ch' ORDER BY e.seq, l->>'meter';
SELECT balance, (SELECT sum(amount) FROM wallet.entries WHERE wallet = 'ch') FROM wallet.balances WHERE wallet = 'ch';

-- The usage may be earlier than the call: the price is the one of its time, and the ledger stores
-- both times.
SELECT wallet.set_price('ch-embed', 'input_tokens', 0.00001, 1000, provider => 'openai', effective_from => '2025-07-01Z') IS NOT NULL AS set;
SELECT cost FROM wallet.charge('ch', '{"model":"ch-embed","input_tokens":1000}', event_at => '2025-06-30 23:59:59.999999+00', idempotency_key => 'old');
SELECT cost FROM wallet.charge('ch', '{"model":"ch-embed","input_tokens":1000}', event_at => '2025-07-01 00:00:00+00');
CALL regress.fails($$ SELECT wallet.charge('ch', '{"model":"ch-embed","input_tokens":1000}', event_at => '2023-12-31 23:59:59+00') $$);
CALL regress.fails($$ SELECT wallet.charge('ch', amount => 1, event_at => 'infinity') $$);
SELECT event_at AT TIME ZONE 'UTC' AS event_at, created_at > event_at + interval '1 month' AS booked_later
  FROM wallet.entries WHERE wallet = 'ch' AND idempotency_key = 'old';

-- Exactly once. Key order and 1.5 = 1.50 make no difference. Any difference in money or attribution
-- is a conflict.
SELECT cost, balance, replayed FROM wallet.charge('ch', amount => 1.5, user_id => 'ann', idempotency_key => 'a');
SELECT cost, balance, replayed FROM wallet.charge('ch', amount => 1.50, user_id => 'ann', idempotency_key => 'a', actor => 'retry', metadata => '{"n":2}');
SELECT cost, model, total_tokens, jsonb_array_length(lines) AS lines, balance, replayed
  FROM wallet.charge('ch', '{"model":"ch-gpt-4o","input_tokens":10,"output_tokens":5}', tags => '{"b":"1","a":"2"}', idempotency_key => 'u');
SELECT cost, model, total_tokens, jsonb_array_length(lines) AS lines, balance, replayed
  FROM wallet.charge('ch', '{"output_tokens":5,"input_tokens":10,"model":"ch-gpt-4o"}', tags => '{"a":"2","b":"1"}', idempotency_key => 'u');
CALL regress.fails($$ SELECT wallet.charge('ch', amount => 1.6, user_id => 'ann', idempotency_key => 'a') $$);
CALL regress.fails($$ SELECT wallet.charge('ch', amount => 1.5, user_id => 'bob', idempotency_key => 'a') $$);
CALL regress.fails($$ SELECT wallet.charge('ch', amount => 1.5, user_id => 'ann', team => 't', idempotency_key => 'a') $$);
CALL regress.fails($$ SELECT wallet.charge('ch', amount => 1.5, user_id => 'ann', model => 'm', idempotency_key => 'a') $$);
CALL regress.fails($$ SELECT wallet.charge('ch', amount => 1.5, user_id => 'ann', service => 's', idempotency_key => 'a') $$);
CALL regress.fails($$ SELECT wallet.charge('ch', amount => 1.5, user_id => 'ann', region => 'r', idempotency_key => 'a') $$);
CALL regress.fails($$ SELECT wallet.charge('ch', amount => 1.5, user_id => 'ann', service_tier => 'x', idempotency_key => 'a') $$);
CALL regress.fails($$ SELECT wallet.charge('ch', amount => 1.5, user_id => 'ann', tags => '{"a":"1"}', idempotency_key => 'a') $$);
CALL regress.fails($$ SELECT wallet.charge('ch', amount => 1.5, user_id => 'ann', event_at => '2025-01-01', idempotency_key => 'a') $$);
CALL regress.fails($$ SELECT wallet.charge('ch', '{"model":"ch-gpt-4o","input_tokens":10}', idempotency_key => 'a') $$);
CALL regress.fails($$ SELECT wallet.charge('ch', '{"model":"ch-gpt-4o","input_tokens":11,"output_tokens":5}', tags => '{"a":"2","b":"1"}', idempotency_key => 'u') $$);
-- A replay needs no money, no price and no active wallet.
SELECT wallet.set_price('ch-once', 'requests', 1) IS NOT NULL AS set;
SELECT wallet FROM wallet.create_wallet('ch_once');
SELECT balance FROM wallet.fund('ch_once', 1);
SELECT cost, balance, replayed FROM wallet.charge('ch_once', '{"model":"ch-once","requests":1}', idempotency_key => 'last');
SELECT wallet.set_price('ch-once', 'requests', NULL) IS NOT NULL AS ended;
SELECT status FROM wallet.freeze_wallet('ch_once');
SELECT cost, balance, replayed FROM wallet.charge('ch_once', '{"model":"ch-once","requests":1}', idempotency_key => 'last');
SELECT count(*) FROM wallet.entries WHERE wallet = 'ch_once';

-- A refused charge leaves no row and its key is free. Several charges commit or roll back together.
SELECT balance AS before FROM wallet.balances WHERE wallet = 'ch' \gset
CALL regress.fails($$ SELECT wallet.charge('ch', amount => 1000, idempotency_key => 'big') $$);
SELECT replayed FROM wallet.charge('ch', amount => 0, idempotency_key => 'big');
BEGIN;
SELECT cost FROM wallet.charge('ch', amount => 2);
SELECT cost FROM wallet.charge('ch', amount => 3);
SAVEPOINT s;
SELECT cost FROM wallet.charge('ch', amount => 4);
ROLLBACK TO s;
SELECT balance - :before AS spent FROM wallet.balances WHERE wallet = 'ch';
ROLLBACK;
SELECT balance - :before AS spent FROM wallet.balances WHERE wallet = 'ch';
-- In the FROM clause of a query, once per row.
SELECT sum(c.cost) FROM generate_series(1, 3) n, wallet.charge('ch', amount => n) c;
SELECT balance - :before AS spent FROM wallet.balances WHERE wallet = 'ch';
SELECT * FROM regress.broken('ch');
