-- Many charges in one call.
COMMENT ON FUNCTION wallet.charge_batch(text, jsonb, text, text, text, jsonb) IS 'Books one charge per item of an array, either all or none, or, with on_error skip, every item that succeeds. Errors: 22023, and those of charge().';
COMMENT ON FUNCTION wallet.charge_batch(jsonb, jsonb, text, text, text) IS 'Books one charge per item of an array. Each item names its wallet. Errors: 22023, and those of charge().';
