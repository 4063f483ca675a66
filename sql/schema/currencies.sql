-- The figures of reports in another currency. The functions are written in Rust.

-- On a large ledger compiling takes longer than running.
ALTER FUNCTION wallet.balances_in(text, timestamptz) SET jit = off;
COMMENT ON FUNCTION wallet.exchange_rates IS 'The currency in which figures of a wallet are read, and the rates of some times, in their order: none where it is the wallet''s own, nor for a time that is NULL. Errors: 22023, 42501, WL003, WL015.';
COMMENT ON FUNCTION wallet.exchanged IS 'An amount, or its part of so many, at a rate: rounded once, half to even, at the twelfth decimal. Errors: WL012.';
COMMENT ON FUNCTION wallet.balances_in IS 'The balances of all wallets that the caller may read, in one currency, at the rate of a time. Errors: 22023, 42501, WL015, WL012.';
