-- Shared by all scenes: helpers, prices, and the wallets w, peer and third with money.
CREATE SCHEMA growth;

-- Runs a statement many times, with a commit after every 20. $1 is the number of the run.
CREATE PROCEDURE growth.repeat(sql text, times integer) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. times LOOP
        EXECUTE sql USING i;
        IF i % 20 = 0 THEN
            COMMIT;
        END IF;
    END LOOP;
END
$$;

-- Runs a call that must be refused with this SQLSTATE.
CREATE FUNCTION growth.refused(sql text, state text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE sql;
    RAISE EXCEPTION 'not refused: %', sql;
EXCEPTION WHEN OTHERS THEN
    IF SQLSTATE <> state THEN
        RAISE;
    END IF;
END
$$;

-- An id of a given time, in the form that the extension generates.
CREATE FUNCTION growth.id(at timestamptz, n bigint) RETURNS uuid LANGUAGE sql AS $$
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8' || lpad(to_hex(n), 15, '0'))::uuid
$$;

SELECT wallet.set_price('m', meter, price, per => 1000000, effective_from => '2020-01-01Z')
  FROM (VALUES ('input_tokens', 2.5), ('output_tokens', 10)) AS p (meter, price);
SELECT wallet.create_wallet(name) FROM unnest('{w,peer,third}'::text[]) name;
SELECT wallet.fund(name, 1000000, reference => 'first') FROM unnest('{w,peer,third}'::text[]) name;

-- No automatic ANALYZE: statistics are old until a scene is measured with fresh ones.
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'wallet'::regnamespace AND relkind = 'r' LOOP
        EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = false)', name);
    END LOOP;
END
$$;
ANALYZE;
