-- psql's \df+ is the first manual.
COMMENT ON FUNCTION wallet.create_wallet IS 'Makes a wallet with an empty balance. Errors: 22023, WL012, 42501, WL006, 23505.';
COMMENT ON FUNCTION wallet.update_wallet IS 'Changes what is given of a wallet; waits for charges under way. Errors: 22023, WL012, 42501, WL006, WL003, WL001.';
COMMENT ON FUNCTION wallet.freeze_wallet IS 'Stops charges on a wallet; funding stays allowed. Once it returns no charge is under way. Errors: 22023, 42501, WL003, WL004.';
COMMENT ON FUNCTION wallet.unfreeze_wallet IS 'Allows charges again. Errors: 22023, 42501, WL003, WL004.';
COMMENT ON FUNCTION wallet.close_wallet IS 'Closes a wallet whose balance is zero, for good. Errors: 22023, 42501, WL003, WL004.';
COMMENT ON FUNCTION wallet.set_lanes IS 'Cuts the balance into lanes, so that as many transactions can spend from it at once. Errors: 22023, 42501, WL003.';
COMMENT ON FUNCTION wallet.fund IS 'Credits a wallet; never waits for a charge. Errors: 22023, WL012, 42501, WL003, WL006, WL004.';
COMMENT ON FUNCTION wallet.charge IS 'Takes the cost of a usage, or an amount, from a wallet. Errors in order of precedence: 22023, WL012, WL007, WL009, 42501, WL003, WL006, WL004, WL005, WL001, WL002.';
COMMENT ON FUNCTION wallet.usage_headers IS 'What an HTTP response can say about a charge: one row a header. Errors: 22023, 42501, WL003, 42704.';
COMMENT ON FUNCTION wallet.entry_lines IS 'Spells out the price lines of an entry from their compact form.';
COMMENT ON FUNCTION wallet.entry_usage IS 'The usage object of an entry that did not store it, from its model and lines.';
COMMENT ON FUNCTION wallet.set_price IS 'Adds a price from a date on and returns its id; a NULL unit_price ends the price. Errors: 22023, WL012, 42501.';
COMMENT ON FUNCTION wallet.price_usage IS 'Prices a usage object and books nothing. Errors: 22023, WL007, 42501, WL003, WL005, WL012.';
COMMENT ON FUNCTION wallet.set_markup IS 'Says from a date on what a price list adds to the prices of the default list, and returns the markup''s id; both NULL takes it back. Errors: 22023, WL012, 42501.';
COMMENT ON FUNCTION wallet.use_price_list IS 'Has a wallet pay by a price list, over the default list; waits for charges under way. Errors: 22023, 42501, WL003, WL006, WL004.';
COMMENT ON FUNCTION wallet.compare_models IS 'What the same usage would cost with each of several models, the cheapest first; books nothing. Errors: 22023, WL007, 42501, WL003, WL012.';
COMMENT ON FUNCTION wallet.reprice IS 'What the charges of a time would have cost with a price list; books nothing. Errors: 22023, 42501, WL003.';
COMMENT ON FUNCTION wallet.price_unpriced IS 'Books what charges without a price cost, as far as there is a price by now: all or none. Errors: 22023, 42501, WL003, WL006, WL004, WL001, WL002.';
COMMENT ON FUNCTION wallet.set_limit IS 'Sets a limit, or changes the one on the same scope, subject, period and metric, and returns its id; waits for charges under way. Errors: 22023, WL012, 42501, WL006, WL003, WL004.';
COMMENT ON FUNCTION wallet.check_limits IS 'What the balance and every limit that applies would say to a request; books nothing. Errors: 22023, WL012, WL007, 42501, WL003, WL005.';
COMMENT ON FUNCTION wallet.grant_access IS 'Gives a database role a level (reader, charger, billing, admin) on a wallet, or on all. Errors: 22023, 42501, 42704, WL003.';
COMMENT ON FUNCTION wallet.revoke_access IS 'Takes a level on a wallet, or on all, back from a database role. Errors: 22023, 42501, 42704.';
COMMENT ON FUNCTION wallet.error_codes IS 'Every SQLSTATE that the extension raises, with its name and meaning.';
COMMENT ON FUNCTION wallet.readable_wallets IS 'Wallets that the current role may read; * is all. Row-level security asks it once a query.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA wallet FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA wallet FROM PUBLIC;
REVOKE ALL ON TYPE wallet.charge_result, wallet.fund_result, wallet.price_result FROM PUBLIC;
