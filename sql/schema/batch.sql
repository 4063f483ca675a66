-- Many charges in one call. Items are booked by wallet, so that two batches over the same wallets
-- never wait for each other in a circle; the rows come in the order of the items.
CREATE FUNCTION wallet.charge_batch(
    wallet text,
    charges jsonb,
    on_error text DEFAULT 'fail',
    idempotency_key text DEFAULT NULL,
    actor text DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    OUT item integer,
    OUT entry_id uuid,
    OUT cost numeric,
    OUT sqlstate text,
    OUT message text,
    OUT replayed boolean
) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, wallet, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    known CONSTANT text[] := '{wallet,usage,amount,user_id,team,model,service,region,service_tier,tags,event_at,key,client_ip,device,idempotency_key,actor,metadata,cost_from}';
    one record;
    booked wallet.charge_result;
    answers jsonb[] := '{}';
    answer jsonb;
    unknown text;
BEGIN
    IF charges IS NULL OR jsonb_typeof(charges) <> 'array' THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'charges is not a JSON array',
            DETAIL = 'The argument charges must be an array of objects with the arguments of charge().',
            HINT = 'Pass an array such as [{"usage": {"model": "gpt-4o", "input_tokens": 1000}, "user_id": "alice"}].';
    END IF;
    IF on_error IS NULL OR on_error NOT IN ('fail', 'skip') THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('on_error %s is not known', coalesce('"' || on_error || '"', 'NULL')),
            DETAIL = 'Known are: fail, skip.',
            HINT = 'fail books all or nothing; skip returns the error of each item that was not booked.';
    END IF;
    SELECT format('item %s: ', c.n) || CASE
               WHEN jsonb_typeof(c.o) <> 'object' THEN 'it is not an object'
               WHEN k.key IS NOT NULL THEN format('"%s" is no argument of charge()', k.key)
               WHEN charge_batch.wallet IS NOT NULL AND c.o ->> 'wallet' <> charge_batch.wallet THEN 'it names another wallet'
               ELSE 'it names no wallet' END
      INTO unknown
      FROM jsonb_array_elements(charges) WITH ORDINALITY AS c(o, n)
      LEFT JOIN LATERAL (
            SELECT key FROM jsonb_object_keys(CASE jsonb_typeof(c.o) WHEN 'object' THEN c.o ELSE '{}' END) key
             WHERE key <> ALL (known) LIMIT 1) k ON true
     WHERE jsonb_typeof(c.o) <> 'object' OR k.key IS NOT NULL
        OR charge_batch.wallet IS NOT NULL AND c.o ->> 'wallet' <> charge_batch.wallet
        OR charge_batch.wallet IS NULL AND c.o ->> 'wallet' IS NULL
     ORDER BY c.n LIMIT 1;
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'charges has an item that cannot be read',
            DETAIL = format('Of %s.', unknown),
            HINT = 'An item is an object with the arguments of charge(), and with its wallet where the call names none.';
    END IF;
    FOR one IN
        SELECT c.n::integer AS n, coalesce(charge_batch.wallet, c.o ->> 'wallet') AS w, c.o,
               coalesce(c.o ->> 'idempotency_key', charge_batch.idempotency_key || '#' || c.n) AS k
          FROM jsonb_array_elements(charges) WITH ORDINALITY AS c(o, n)
         ORDER BY 2, 1
    LOOP
        IF on_error = 'skip' THEN
            BEGIN
                booked := wallet.charge_item(one.w, one.o, one.k, charge_batch.actor, charge_batch.metadata);
                answer := jsonb_build_object('item', one.n, 'entry_id', booked.entry_id, 'cost', booked.cost, 'replayed', booked.replayed);
            EXCEPTION WHEN OTHERS THEN
                answer := jsonb_build_object('item', one.n, 'sqlstate', SQLSTATE, 'message', SQLERRM, 'replayed', false);
            END;
        ELSE
            booked := wallet.charge_item(one.w, one.o, one.k, charge_batch.actor, charge_batch.metadata);
            answer := jsonb_build_object('item', one.n, 'entry_id', booked.entry_id, 'cost', booked.cost, 'replayed', booked.replayed);
        END IF;
        answers := answers || answer;
    END LOOP;
    RETURN QUERY
        SELECT (a ->> 'item')::integer, (a ->> 'entry_id')::uuid, (a ->> 'cost')::numeric,
               a ->> 'sqlstate', a ->> 'message', (a ->> 'replayed')::boolean
          FROM unnest(answers) a
         ORDER BY 1;
END
$$;
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

CREATE FUNCTION wallet.charge_item(wallet text, item jsonb, item_key text, actor text, metadata jsonb)
RETURNS wallet.charge_result
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, wallet, pg_temp
AS $$
    SELECT wallet.charge(
        wallet,
        usage => CASE jsonb_typeof(item -> 'usage') WHEN 'null' THEN NULL ELSE item -> 'usage' END,
        amount => (item ->> 'amount')::numeric,
        user_id => item ->> 'user_id',
        team => item ->> 'team',
        model => item ->> 'model',
        service => item ->> 'service',
        region => item ->> 'region',
        service_tier => item ->> 'service_tier',
        tags => CASE jsonb_typeof(item -> 'tags') WHEN 'null' THEN NULL ELSE item -> 'tags' END,
        event_at => (item ->> 'event_at')::timestamptz,
        key => item ->> 'key',
        client_ip => (item ->> 'client_ip')::inet,
        device => item ->> 'device',
        idempotency_key => item_key,
        actor => coalesce(item ->> 'actor', charge_item.actor),
        metadata => coalesce(CASE jsonb_typeof(item -> 'metadata') WHEN 'null' THEN NULL ELSE item -> 'metadata' END, charge_item.metadata),
        cost_from => coalesce(item ->> 'cost_from', 'prices'))
$$;
COMMENT ON FUNCTION wallet.charge_item IS 'One item of charge_batch().';
