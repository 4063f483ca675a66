-- List prices in USD, from LiteLLM's public price feed (August 2026) and the providers' price
-- pages, in the units in which they are quoted. Run it in psql: \i examples/prices.sql
SELECT count(wallet.set_price(
           model, meter, unit_price, per, provider => provider, service => service,
           conditions => conditions, effective_from => '2026-01-01', actor => 'examples/prices.sql'
       )) AS prices
  FROM (VALUES
    -- text, per million tokens
    ('gpt-4o',                 'input_tokens',      2.50,  1000000, 'openai',    'text',        '{}'::jsonb),
    ('gpt-4o',                 'cache_read_tokens', 1.25,  1000000, 'openai',    'text',        '{}'),
    ('gpt-4o',                 'output_tokens',     10.00, 1000000, 'openai',    'text',        '{}'),
    ('gpt-4o-mini',            'input_tokens',      0.15,  1000000, 'openai',    'text',        '{}'),
    ('gpt-4o-mini',            'cache_read_tokens', 0.075, 1000000, 'openai',    'text',        '{}'),
    ('gpt-4o-mini',            'output_tokens',     0.60,  1000000, 'openai',    'text',        '{}'),
    ('claude-3-haiku',         'input_tokens',      0.25,  1000000, 'anthropic', 'text',        '{}'),
    ('claude-3-haiku',         'cache_read_tokens', 0.03,  1000000, 'anthropic', 'text',        '{}'),
    ('claude-3-haiku',         'cache_write_tokens', 0.30, 1000000, 'anthropic', 'text',        '{}'),
    ('claude-3-haiku',         'output_tokens',     1.25,  1000000, 'anthropic', 'text',        '{}'),
    -- text, per million tokens, and a fee per request
    ('pplx-70b-online',        'input_tokens',      0,     1000000, 'perplexity', 'text',       '{}'),
    ('pplx-70b-online',        'output_tokens',     2.80,  1000000, 'perplexity', 'text',       '{}'),
    ('pplx-70b-online',        'requests',          5.00,  1000,    'perplexity', 'text',       '{}'),
    -- embeddings, per million tokens; an older price per thousand
    ('text-embedding-3-small', 'input_tokens',      0.02,  1000000, 'openai',    'embedding',   '{}'),
    ('text-embedding-ada-002', 'input_tokens',      0.0001, 1000,   'openai',    'embedding',   '{}'),
    -- images, per image, by size and quality
    ('dall-e-3',               'images',            0.04,  1,       'openai',    'image',       '{"size": "1024x1024"}'),
    ('dall-e-3',               'images',            0.08,  1,       'openai',    'image',       '{"size": "1024x1024", "quality": "hd"}'),
    ('dall-e-3',               'images',            0.08,  1,       'openai',    'image',       '{"size": "1792x1024"}'),
    ('dall-e-3',               'images',            0.12,  1,       'openai',    'image',       '{"size": "1792x1024", "quality": "hd"}'),
    -- speech to text, per minute of audio; per hour, with a minimum of ten seconds
    ('whisper-1',              'audio_seconds',     0.006, 60,      'openai',    'speech',      '{}'),
    ('whisper-large-v3',       'audio_seconds',     0.111, 3600,    'groq',      'speech',      '{"minimum": 10}'),
    -- text to speech, per million characters
    ('tts-1',                  'input_characters',  15.00, 1000000, 'openai',    'speech',      '{}'),
    -- video, per second
    ('sora-2',                 'video_seconds',     0.10,  1,       'openai',    'video',       '{}'),
    -- documents, per thousand pages
    ('mistral-ocr-latest',     'pages',             4.00,  1000,    'mistral',   'ocr',         '{}'),
    -- search, per thousand queries
    ('tavily-search',          'queries',           8.00,  1000,    'tavily',    'search',      '{}'),
    -- fine-tuning, per hour of GPU time: a price of your own
    ('ft:gpt-4o',              'gpu_seconds',       3.00,  3600,    'openai',    'fine-tuning', '{}')
  ) AS p (model, meter, unit_price, per, provider, service, conditions);
