-- Forecasts by the time of use, and alerts based on them. The functions are written in Rust.

CREATE TABLE wallet.run_out_alerts (
    wallet_id    text PRIMARY KEY REFERENCES wallet.wallets,
    days         integer NOT NULL CHECK (days > 0),
    near         boolean NOT NULL DEFAULT false,
    changed_at   timestamptz NOT NULL
);
COMMENT ON TABLE wallet.run_out_alerts IS 'Wallets that want to be told when their money lasts only so many days.';
COMMENT ON COLUMN wallet.run_out_alerts.near IS 'Whether it was told and has not recovered.';

-- On a large ledger compiling takes longer than running.
ALTER FUNCTION wallet.forecast(text, integer) SET jit = off;
ALTER FUNCTION wallet.announce_run_outs(text, integer) SET jit = off;
COMMENT ON FUNCTION wallet.forecast IS 'How long the money of a wallet lasts that its use may spend, by the use of the last eight weeks, and what would make it last so many days. Errors: 22023, 42501, WL003.';
