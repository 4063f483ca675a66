-- Random calls that are committed. sqlsmith rolls back its statements, few of which are calls that
-- do something. These call every function that writes, also with fewer arguments. Wallets, amounts,
-- ids and keys have their own types, so that most calls name existing ones.
\set ON_ERROR_STOP 1
CREATE SCHEMA calls;
CREATE DOMAIN calls.wallet_name AS text;
CREATE DOMAIN calls.person AS text;
CREATE DOMAIN calls.word AS text;
CREATE DOMAIN calls.model_name AS text;
CREATE DOMAIN calls.key_text AS text;
CREATE DOMAIN calls.money AS numeric;
CREATE DOMAIN calls.hold AS uuid;
CREATE DOMAIN calls.entry AS uuid;
CREATE DOMAIN calls.grant_lot AS uuid;
CREATE DOMAIN calls.limit_rule AS uuid;
CREATE DOMAIN calls.used AS jsonb;
DO $$
DECLARE f record;
BEGIN
    FOR f IN
        SELECT p.proname, n,
               (SELECT string_agg(coalesce('calls.' || k.kind, format_type(p.proargtypes[i - 1], NULL)), ', ' ORDER BY i)
                  FROM generate_series(1, n) i
                  LEFT JOIN (VALUES ('wallet', 'wallet_name'), ('from_wallet', 'wallet_name'), ('to_wallet', 'wallet_name'),
                                    ('user_id', 'person'), ('actor', 'person'), ('team', 'word'), ('reason', 'word'), ('service', 'word'),
                                    ('reference', 'word'), ('model', 'model_name'), ('idempotency_key', 'key_text'), ('amount', 'money'),
                                    ('hold_id', 'hold'), ('entry_id', 'entry'), ('grant_id', 'grant_lot'), ('limit_id', 'limit_rule'),
                                    ('usage', 'used')) AS k (name, kind)
                    ON k.name = p.proargnames[i]) AS types
          FROM pg_catalog.pg_proc p, generate_series(greatest(p.pronargs - p.pronargdefaults, 1), p.pronargs) n
         WHERE p.pronamespace = 'wallet'::regnamespace AND p.prokind = 'f' AND p.provolatile = 'v' AND p.prorettype <> 'trigger'::regtype
           AND p.proname <> 'apply_privileges'
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION calls.%I(%s) RETURNS text LANGUAGE sql VOLATILE SET search_path = calls, pg_catalog AS %L', f.proname, f.types,
                           format('SELECT string_agg(t::text, '','') FROM wallet.%I(%s) t', f.proname,
                                  (SELECT string_agg('$' || i, ', ') FROM generate_series(1, f.n) i)));
        EXCEPTION WHEN duplicate_function THEN NULL; -- of another form of that name
        END;
    END LOOP;
END
$$;
-- A literal of a type: mostly an existing value, sometimes NULL or nonsense.
CREATE FUNCTION calls.literal(of_type regtype) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    words text[] := CASE of_type::text
        WHEN 'calls.wallet_name' THEN ARRAY['acme', 'hot', 'peer', 'acme', 'hot', 'nobody']
        WHEN 'calls.person' THEN ARRAY['ann', 'bob', 'eve', NULL]
        WHEN 'calls.word' THEN ARRAY['red', 'card', 'p' || trunc(random() * 9), NULL]
        WHEN 'calls.model_name' THEN ARRAY['m', 'x', NULL]
        WHEN 'calls.key_text' THEN ARRAY['k' || trunc(random() * 40), NULL]
        WHEN 'calls.money' THEN ARRAY['1', '0.5', '0.000000000001', '7.25', '0', '-1', 'NaN', '40']
        WHEN 'calls.used' THEN ARRAY['{"model":"m","input_tokens":5}', '{"model":"m","input_tokens":900}', '{"model":"x"}', NULL]
        WHEN 'calls.hold' THEN (SELECT array_agg(hold_id::text) FROM (SELECT hold_id FROM wallet.holds ORDER BY created_at DESC LIMIT 20) h)
        WHEN 'calls.entry' THEN (SELECT array_agg(entry_id::text) FROM (SELECT entry_id FROM wallet.entries ORDER BY created_at DESC LIMIT 50) e)
        WHEN 'calls.grant_lot' THEN (SELECT array_agg(grant_id::text) FROM wallet.grants)
        WHEN 'calls.limit_rule' THEN (SELECT array_agg(limit_id::text) FROM wallet.limits_status)
        WHEN 'numeric' THEN ARRAY['1', '0.25', '100', NULL]
        WHEN 'integer' THEN ARRAY['1', '2', '3', '-1', NULL]
        WHEN 'bigint' THEN ARRAY['1', '1000', NULL]
        WHEN 'boolean' THEN ARRAY['t', 'f', NULL]
        WHEN 'timestamp with time zone' THEN ARRAY['tomorrow', '2020-01-01', 'now', NULL]
        WHEN 'interval' THEN ARRAY['1 day', '1 second', '0', NULL]
        WHEN 'text' THEN ARRAY['day', 'month', 'wallet', 'user', 'USD', 'm', 'charge', NULL]
        WHEN 'jsonb' THEN ARRAY['{}', '{"a":1}', '[{"amount":1},{"amount":0.5}]', '{"threshold":5,"amount":10}', NULL]
        ELSE ARRAY[NULL::text]
    END;
BEGIN
    RETURN format('%L::%s', words[1 + trunc(random() * cardinality(words))::int], of_type);
END
$$;
-- This many calls, as statements.
CREATE FUNCTION calls.some(how_many integer) RETURNS SETOF text LANGUAGE sql VOLATILE AS $$
    SELECT format('SELECT %s(%s);', f.oid::regproc, (SELECT string_agg(calls.literal(t::regtype), ', ' ORDER BY i)
                                                      FROM unnest(f.proargtypes) WITH ORDINALITY a (t, i)))
      FROM generate_series(1, how_many) n,
           LATERAL (SELECT p.oid, p.proargtypes FROM pg_catalog.pg_proc p
                     WHERE p.pronamespace = 'calls'::regnamespace AND p.proname NOT IN ('literal', 'some', 'close_wallet', 'grant_access', 'revoke_access')
                       AND n > 0
                     ORDER BY random() LIMIT 1) f
$$;
