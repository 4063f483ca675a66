CREATE TABLE wallet.limits (
    wallet_id    text NOT NULL REFERENCES wallet.wallets,
    limit_id     uuid NOT NULL,
    scope        text NOT NULL,
    subject      text NOT NULL,
    period       text NOT NULL,
    metric       text NOT NULL,
    mode         text NOT NULL CHECK (mode IN ('hard')),
    max          numeric(28,12) NOT NULL CHECK (max >= 0 AND max <> 'NaN'),
    time_zone    text NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (wallet_id, limit_id),
    CONSTRAINT limit_subject UNIQUE (wallet_id, scope, subject, period, metric)
);
COMMENT ON TABLE wallet.limits IS 'Spending limits: scope x period x metric x maximum. What was used is in allowances, one row a window.';
COMMENT ON COLUMN wallet.limits.subject IS 'Whom it holds for; * is each one separately.';
COMMENT ON COLUMN wallet.limits.time_zone IS 'Time zone in which days and months begin.';
