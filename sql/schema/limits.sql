-- Without a foreign key to wallets, because the rows of the wallet * are the default limits.
CREATE TABLE wallet.limits (
    wallet_id    text NOT NULL,
    limit_id     uuid NOT NULL,
    scope        text NOT NULL,
    subject      text NOT NULL,
    period       text NOT NULL,
    metric       text NOT NULL,
    mode         text NOT NULL CHECK (mode IN ('hard', 'soft', 'approve')),
    max          numeric(28,12) NOT NULL CHECK (max >= 0 AND max <> 'NaN'),
    time_zone    text,
    anchor       smallint,
    warn_at      numeric[] NOT NULL DEFAULT '{}',
    paused       boolean NOT NULL DEFAULT false,
    raised_by    numeric[] NOT NULL DEFAULT '{}',
    raised_until timestamptz[] NOT NULL DEFAULT '{}',
    anchor_time  time CHECK (anchor_time < '24:00'),
    rollover_max numeric(28,12) CHECK (rollover_max >= 0 AND rollover_max <> 'NaN'),
    weights      jsonb,
    carry_from   timestamptz CHECK ((carry_from IS NULL) = (rollover_max IS NULL)),
    created_at   timestamptz NOT NULL,
    counts_since timestamptz,
    revision     integer NOT NULL DEFAULT 0,
    dropped_at   timestamptz,
    PRIMARY KEY (wallet_id, limit_id),
    CONSTRAINT limit_subject UNIQUE (wallet_id, scope, subject, period, metric),
    CONSTRAINT limit_of_all CHECK (
        CASE wallet_id WHEN '*' THEN counts_since IS NOT NULL
                       ELSE time_zone IS NOT NULL AND num_nonnulls(counts_since, dropped_at) = 0 END)
);
COMMENT ON TABLE wallet.limits IS 'Spending limits: scope x period x metric x maximum. The usage is in the table allowances, one row per window. wallet_id * means a default limit, which applies to every wallet without a limit of the same scope, subject, period and metric.';
COMMENT ON COLUMN wallet.limits.scope IS 'The dimensions of the limit, divided by +, in the order user, team, key, model, service, tags. A + in the name of a tag is written twice.';
COMMENT ON COLUMN wallet.limits.subject IS 'The subject of the limit; * means each subject separately. For several dimensions, a JSON array with a string for each of them.';
COMMENT ON COLUMN wallet.limits.time_zone IS 'Time zone in which days and months begin. NULL in a default limit means the time zone of each wallet.';
COMMENT ON COLUMN wallet.limits.anchor IS 'First day of the week (1 Monday to 7 Sunday) or of the month (1 to 31; a shorter month begins on its last day); NULL means the first.';
COMMENT ON COLUMN wallet.limits.warn_at IS 'Fractions of the maximum at which limit_near is emitted, in ascending order.';
COMMENT ON COLUMN wallet.limits.paused IS 'While true, the limit neither counts usage nor refuses requests.';
COMMENT ON COLUMN wallet.limits.raised_by IS 'Amounts by which the maximum is raised, each until the time at the same array position of raised_until.';
COMMENT ON COLUMN wallet.limits.raised_until IS 'When each raise ends.';
COMMENT ON COLUMN wallet.limits.anchor_time IS 'The time of day at which windows begin, in the time zone of the limit. NULL means midnight.';
COMMENT ON COLUMN wallet.limits.rollover_max IS 'The most that is carried from a window into the next one. NULL means nothing.';
COMMENT ON COLUMN wallet.limits.carry_from IS 'The window that contains this time is the first one that carries: the limit got its rollover_max then, or its windows moved. NULL without rollover_max.';
COMMENT ON COLUMN wallet.limits.weights IS 'The weight of each meter, if the metric is a weighted sum of meters.';
COMMENT ON COLUMN wallet.limits.counts_since IS 'Default limits only: the limit counts usage from this time on. The window that contains it begins then.';
COMMENT ON COLUMN wallet.limits.revision IS 'Default limits only: number of changes of the maximum and the warning levels. A window that was last written under another revision computes its reported levels again.';
COMMENT ON COLUMN wallet.limits.dropped_at IS 'Default limits only: when the limit was dropped. The row stays, so that verify() knows which windows it may have replaced and prune_windows() which to remove.';
