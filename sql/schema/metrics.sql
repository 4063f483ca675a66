-- Metrics of limits that are weighted sums of meters.
CREATE TABLE wallet.metric_weights (
    name         text PRIMARY KEY,
    weights      jsonb NOT NULL,
    created_at   timestamptz NOT NULL,
    actor        text,
    metadata     jsonb
);
COMMENT ON TABLE wallet.metric_weights IS 'The metrics that set_metric() has set. A row replaces the built-in metric of the same name.';
COMMENT ON COLUMN wallet.metric_weights.weights IS 'Object with one number per meter: the weight of one unit of it.';

-- The built-in metric is a constant of the view, not a row: the rows of a restored dump would meet
-- those of the installation.
CREATE VIEW wallet.metrics WITH (security_invoker = true) AS
SELECT m.name,
       m.weights,
       m.created_at,
       m.actor,
       m.metadata
  FROM wallet.metric_weights m
 UNION ALL
SELECT b.name,
       b.weights,
       NULL,
       NULL,
       NULL
  FROM (VALUES ('weighted_tokens',
                '{"input_tokens": 1, "output_tokens": 4, "reasoning_tokens": 4,
                  "cache_read_tokens": 0.1, "cache_write_tokens": 1.25, "cache_write_1h_tokens": 2,
                  "input_audio_tokens": 1, "output_audio_tokens": 4,
                  "cache_read_audio_tokens": 0.1, "cache_write_audio_tokens": 1.25,
                  "input_image_tokens": 1, "output_image_tokens": 4,
                  "input_video_tokens": 1, "output_video_tokens": 4,
                  "citation_tokens": 1}'::jsonb)) b (name, weights)
 WHERE NOT EXISTS (SELECT FROM wallet.metric_weights m WHERE m.name = b.name);
COMMENT ON VIEW wallet.metrics IS 'Metrics of limits that are weighted sums of meters, built-in ones included.';
COMMENT ON COLUMN wallet.metrics.weights IS 'The weight of one unit of each meter. A limit keeps the weights that its metric had when the limit was set.';
COMMENT ON COLUMN wallet.metrics.created_at IS 'When set_metric() set the weights; NULL for a built-in metric.';
