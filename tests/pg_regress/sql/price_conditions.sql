-- Which price applies: each service once, then each step of the order of precedence.
\i examples/prices.sql
-- One request of each service. The line keeps the unit of the quote.
SELECT u.service, l->>'meter' AS meter, l->>'quantity' AS quantity, l->>'unit_price' AS unit_price, l->>'per' AS per, l->>'amount' AS amount
  FROM (VALUES
    (1, 'text',           '{"model":"gpt-4o","input_tokens":1000,"cache_read_tokens":200,"output_tokens":450}'::jsonb),
    (2, 'request fee',    '{"model":"pplx-70b-online","input_tokens":100,"output_tokens":1000}'),
    (3, 'embedding',      '{"model":"text-embedding-3-small","input_tokens":1000}'),
    (4, 'embedding, 1K',  '{"model":"text-embedding-ada-002","input_tokens":1234}'),
    (5, 'image',          '{"model":"dall-e-3","images":2,"size":"1024x1024","quality":"hd"}'),
    (6, 'image',          '{"model":"dall-e-3","images":2,"size":"1024x1024","quality":"standard"}'),
    (7, 'speech to text', '{"model":"whisper-1","audio_seconds":61.5}'),
    (8, 'text to speech', '{"model":"tts-1","input_characters":4096}'),
    (9, 'video',          '{"model":"sora-2","video_seconds":8}'),
    (10, 'OCR',           '{"model":"mistral-ocr-latest","pages":3}'),
    (11, 'search',        '{"model":"tavily-search","queries":2}'),
    (12, 'fine-tuning',   '{"model":"ft:gpt-4o","gpu_seconds":5400}')
  ) AS u (n, service, usage), wallet.price_usage(u.usage) p, jsonb_array_elements(p.lines) WITH ORDINALITY AS l (l, line)
 ORDER BY n, line;
-- A fee per request: one request if the usage does not count them, otherwise the count.
SELECT usage, cost
  FROM (VALUES ('{"output_tokens":1000}'::jsonb), ('{"output_tokens":1000,"requests":3}'), ('{"output_tokens":1000,"requests":0}'), ('{"requests":2}'), ('{"output_tokens":0}')) AS u (usage),
       wallet.price_usage(usage, model => 'pplx-70b-online');
-- The fee does not turn an object without usage into usage.
CALL regress.fails($$ SELECT wallet.price_usage('{"model":"pplx-70b-online","output_tokns":1000}') $$);
-- At least ten seconds are billed, and the line says so. Zero usage costs nothing.
SELECT seconds, cost, lines->0->>'quantity' AS billed
  FROM (VALUES (0::numeric), (0.1), (9.99), (10), (10.5), (3600)) AS s (seconds),
       wallet.price_usage(jsonb_build_object('model', 'whisper-large-v3', 'audio_seconds', seconds));

-- Each of these prices takes precedence over all above it if its conditions hold.
SELECT count(wallet.set_price('cd', 'input_tokens', price, above_input_tokens => above, conditions => cond, service_tier => tier, region => region, effective_from => '2025-01-01'))
  FROM (VALUES
    (1,  NULL::bigint, '{}'::jsonb, NULL, NULL),
    (2,  200000, '{}', NULL, NULL),
    (3,  272000, '{}', NULL, NULL),
    (4,  NULL, '{"hours":"22:00-06:00"}', NULL, NULL),
    (5,  NULL, '{}', 'flex', NULL),
    (6,  NULL, '{}', NULL, 'eu'),
    (7,  200000, '{"hours":"22:00-06:00"}', NULL, NULL),
    (8,  200000, '{}', 'flex', NULL),
    (9,  NULL, '{"hours":"22:00-06:00"}', 'flex', NULL),
    (10, 200000, '{}', NULL, 'eu'),
    (11, NULL, '{"hours":"22:00-06:00"}', NULL, 'eu'),
    (12, NULL, '{}', 'flex', 'eu'),
    (13, NULL, '{"hours":"22:00-06:00"}', 'flex', 'eu'),
    (14, 200000, '{"hours":"22:00-06:00","speed":"fast"}', 'flex', 'eu')
  ) AS p (price, above, cond, tier, region);
SELECT step, l->>'unit_price' AS unit_price
  FROM (VALUES
    (1,  1,      '12:00', '{}'::jsonb),
    (1,  200000, '12:00', '{}'),
    (2,  200001, '12:00', '{}'),
    (3,  272001, '12:00', '{}'),
    (4,  1,      '22:00', '{}'),
    (4,  1,      '05:59', '{}'),
    (5,  1,      '12:00', '{"service_tier":"flex"}'),
    (6,  1,      '12:00', '{"region":"eu"}'),
    (7,  200001, '22:00', '{}'),
    (8,  200001, '12:00', '{"service_tier":"flex"}'),
    (9,  1,      '22:00', '{"service_tier":"flex"}'),
    (10, 200001, '12:00', '{"region":"eu"}'),
    (11, 1,      '22:00', '{"region":"eu"}'),
    (12, 1,      '12:00', '{"region":"eu","service_tier":"flex"}'),
    (13, 1,      '22:00', '{"region":"eu","service_tier":"flex"}'),
    (14, 200001, '22:00', '{"region":"eu","service_tier":"flex","speed":"fast"}'),
    (13, 200001, '22:00', '{"region":"eu","service_tier":"flex","speed":"slow"}')
  ) AS u (step, tokens, clock, rest),
       wallet.price_usage(rest || jsonb_build_object('input_tokens', tokens), model => 'cd', at => ('2026-07-01 ' || clock || 'Z')::timestamptz) p,
       jsonb_array_elements(p.lines) l;

-- A window: hours of certain weekdays in a time zone, also across clock changes.
SELECT wallet.set_price('cd-day', 'input_tokens', 1, effective_from => '2025-01-01') IS NOT NULL AS day,
       wallet.set_price('cd-day', 'input_tokens', 0.5, conditions => '{"hours":["00:00-07:00","20:00-24:00"],"weekdays":[1,2,3,4,5],"time_zone":"Europe/Berlin"}', effective_from => '2025-01-01') IS NOT NULL AS night,
       wallet.set_price('cd-day', 'input_tokens', 0.25, conditions => '{"weekdays":[6,7],"time_zone":"Europe/Berlin"}', effective_from => '2025-01-01') IS NOT NULL AS weekend;
SELECT at AT TIME ZONE 'Europe/Berlin' AS berlin, to_char(at AT TIME ZONE 'Europe/Berlin', 'Dy') AS day, cost
  FROM (VALUES ('2026-01-05 05:59:59Z'::timestamptz), ('2026-01-05 06:00Z'), ('2026-07-06 04:59:59Z'), ('2026-07-06 05:00Z'),
               ('2026-07-03 18:00Z'), ('2026-07-03 21:59:59Z'), ('2026-07-03 22:00Z'), ('2026-07-05 21:59:59Z'), ('2026-07-05 22:00Z')) AS t (at),
       wallet.price_usage('{"model":"cd-day","input_tokens":1}', at => at);
-- A minimum is not a condition: a later price without one replaces it.
SELECT wallet.set_price('cd-min', 'audio_seconds', 1, conditions => '{"minimum":10}', effective_from => '2025-01-01') IS NOT NULL AS set,
       wallet.set_price('cd-min', 'audio_seconds', 1, effective_from => '2025-02-01') IS NOT NULL AS set;
SELECT at, cost FROM (VALUES ('2025-01-15Z'::timestamptz), ('2025-02-15Z')) AS t (at), wallet.price_usage('{"model":"cd-min","audio_seconds":3}', at => at);
-- Nor is a provider: the price that began last applies, whichever provider is named.
SELECT wallet.set_price('cd-prov', 'input_tokens', 1, provider => 'openai', effective_from => '2025-01-01') IS NOT NULL AS set,
       wallet.set_price('cd-prov', 'input_tokens', 2, effective_from => '2025-02-01') IS NOT NULL AS set;
SELECT provider, at, cost
  FROM (VALUES ('openai', '2025-01-15Z'::timestamptz), ('openai', '2025-02-15Z'), (NULL, '2025-02-15Z')) AS t (provider, at),
       wallet.price_usage(jsonb_strip_nulls(jsonb_build_object('model', 'cd-prov', 'input_tokens', 1, 'provider', provider)), at => at);

-- Reserved keys must have a valid meaning.
CALL regress.fails($$ SELECT wallet.set_price('cd', 'input_tokens', 1, conditions => '{"hours":"9-17"}') $$);
CALL regress.fails($$ SELECT wallet.set_price('cd', 'input_tokens', 1, conditions => '{"hours":[]}') $$);
CALL regress.fails($$ SELECT wallet.set_price('cd', 'input_tokens', 1, conditions => '{"weekdays":[0]}') $$);
CALL regress.fails($$ SELECT wallet.set_price('cd', 'input_tokens', 1, conditions => '{"weekdays":"Monday"}') $$);
CALL regress.fails($$ SELECT wallet.set_price('cd', 'input_tokens', 1, conditions => '{"hours":"09:00-17:00","time_zone":"Mars/Olympus"}') $$);
CALL regress.fails($$ SELECT wallet.set_price('cd', 'input_tokens', 1, conditions => '{"time_zone":"UTC"}') $$);
CALL regress.fails($$ SELECT wallet.set_price('cd', 'audio_seconds', 1, conditions => '{"minimum":0}') $$);
CALL regress.fails($$ SELECT wallet.set_price('cd', 'audio_seconds', 1, conditions => '{"minimum":"10"}') $$);
