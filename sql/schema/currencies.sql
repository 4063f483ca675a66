-- The figures of reports in another currency. The functions are written in Rust.

-- On a large ledger, JIT compilation takes longer than execution.
ALTER FUNCTION wallet.balances_in(text, timestamptz) SET jit = off;
ALTER FUNCTION wallet.balances_at(timestamptz, text[]) SET jit = off;
COMMENT ON FUNCTION wallet.balances_at IS 'Returns the balances of wallets at a given time, with their paid and promotional parts. Errors: 22023, 42501, WL003.';
COMMENT ON FUNCTION wallet.exchange_rates IS 'Returns the currency in which a wallet''s figures are reported, and the rates at the given times, in their order. The rate is NULL in the wallet''s own currency and for a NULL time. Errors: 22023, 42501, WL003, WL015.';
COMMENT ON FUNCTION wallet.exchanged IS 'Converts an amount at a rate, optionally divided by a number, and rounds once, half to even, to 12 decimals. Errors: WL012.';
COMMENT ON FUNCTION wallet.balances_in IS 'Returns the balances of all wallets that the caller may read, converted to one currency at the rates of a given time. Errors: 22023, 42501, WL015, WL012.';
