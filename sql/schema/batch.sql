-- Many charges in one call.
COMMENT ON FUNCTION wallet.charge_batch(text, jsonb, text, text, text, jsonb) IS 'Charges for each item of an array; all or nothing, or on_error skip. Errors: 22023, and those of charge().';

-- metadata comes second, so that two literals are always a wallet and its charges.
CREATE FUNCTION wallet.charge_batch(
    charges jsonb,
    metadata jsonb DEFAULT NULL,
    on_error text DEFAULT 'fail',
    idempotency_key text DEFAULT NULL,
    actor text DEFAULT NULL,
    OUT item integer,
    OUT entry_id uuid,
    OUT cost numeric,
    OUT sqlstate text,
    OUT message text,
    OUT replayed boolean
) RETURNS SETOF record
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, wallet, pg_temp
AS $$
    SELECT * FROM wallet.charge_batch(NULL::text, charges, on_error, idempotency_key, actor, metadata)
$$;
COMMENT ON FUNCTION wallet.charge_batch(jsonb, jsonb, text, text, text) IS 'Charges for each item of an array, each of which names its wallet. Errors: 22023, and those of charge().';
