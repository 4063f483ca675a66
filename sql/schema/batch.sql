-- Many charges in one call.
COMMENT ON FUNCTION wallet.charge_batch(text, jsonb, text, text, text, jsonb) IS 'Charges for each item of an array; all or nothing, or on_error skip. Errors: 22023, and those of charge().';
COMMENT ON FUNCTION wallet.charge_batch(jsonb, jsonb, text, text, text) IS 'Charges for each item of an array, each of which names its wallet. Errors: 22023, and those of charge().';
