-- Forecasts by the time of use, and alerts based on them. The functions are written in Rust.

CREATE TABLE wallet.run_out_alerts (
    wallet_id    text PRIMARY KEY REFERENCES wallet.wallets,
    days         integer NOT NULL CHECK (days > 0),
    near         boolean NOT NULL DEFAULT false,
    changed_at   timestamptz NOT NULL
);
COMMENT ON TABLE wallet.run_out_alerts IS 'Wallets that requested an alert for when their money lasts fewer than a given number of days.';
COMMENT ON COLUMN wallet.run_out_alerts.near IS 'Whether the alert was emitted and the forecast has not recovered since.';

-- On a large ledger, JIT compilation takes longer than execution.
ALTER FUNCTION wallet.forecast(text, integer) SET jit = off;
ALTER FUNCTION wallet.announce_run_outs(text, integer) SET jit = off;
COMMENT ON FUNCTION wallet.forecast IS 'Forecasts how long the money of a wallet lasts, from the usage of the last eight weeks, and the top-up that makes it last a given number of days. Errors: 22023, 42501, WL003.';
