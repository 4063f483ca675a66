-- A database for sqlsmith: wallets with data, and a role of each level in addition to the
-- superuser. sqlsmith calls no function that returns rows, and picks any of the others. So each
-- function of the extension has a twin here that returns text, and the catalog that sqlsmith reads
-- contains only these twins and functions of PostgreSQL that read.
\set ON_ERROR_STOP 1
CREATE EXTENSION wallet;
\ir ../upgrade/fill.sql
CREATE SCHEMA twins;
GRANT USAGE ON SCHEMA twins TO PUBLIC;
DO $$
DECLARE f record;
BEGIN
    FOR f IN
        SELECT p.oid::regprocedure, p.proname, p.pronargs, p.provolatile,
               (SELECT string_agg(format_type(t, NULL), ', ' ORDER BY n) FROM unnest(p.proargtypes) WITH ORDINALITY a (t, n)) AS types,
               (SELECT string_agg('$' || n, ', ') FROM generate_series(1, p.pronargs) n) AS arguments
          FROM pg_proc p
         WHERE p.pronamespace = 'wallet'::regnamespace AND p.prokind = 'f' AND p.prorettype <> 'trigger'::regtype
    LOOP
        EXECUTE format('CREATE FUNCTION twins.%I(%s) RETURNS text LANGUAGE sql VOLATILE AS %L', f.proname, f.types,
                       format('SELECT pg_catalog.string_agg(t::pg_catalog.text, '','') FROM wallet.%I(%s) t', f.proname, f.arguments));
    END LOOP;
END
$$;
CREATE VIEW twins.pg_proc AS
    SELECT * FROM pg_catalog.pg_proc
     WHERE pronamespace IN ('twins'::regnamespace, 'wallet'::regnamespace)
        -- Of PostgreSQL's functions, those that only compute, with types that a statement can use.
        OR pronamespace = 'pg_catalog'::regnamespace AND provolatile <> 'v'
           AND NOT EXISTS (SELECT FROM pg_type t WHERE t.oid = ANY (proargtypes::oid[] || prorettype) AND t.typtype = 'p')
           AND proname !~ '^(pg_|inet_|ts_|has_|to_reg|row_security|current_|query_to|table_to|schema_to|database_to|cursor_to)';
GRANT SELECT ON twins.pg_proc TO PUBLIC;
CREATE TABLE twins.words AS
    SELECT w AS wallet, u AS user_id, k AS key FROM unnest(ARRAY['acme', 'hot', 'peer', 'nobody']) w, unnest(ARRAY['ann', NULL]) u, unnest(ARRAY['k1', 'new']) k;
CREATE TABLE twins.usages AS
    SELECT u::jsonb AS usage FROM unnest(ARRAY['{"model":"m","input_tokens":5}', '{"model":"m"}', '[]', 'null', '{"usage":{"prompt_tokens":3,"total_tokens":2}}']) u;
CREATE TABLE twins.amounts AS SELECT a::numeric AS amount FROM unnest(ARRAY['1', '0', '-1', '0.000000000001', 'NaN', 'Infinity', '1e30']) a;
CREATE TABLE twins.times AS SELECT t::timestamptz AS at, i::interval AS span FROM unnest(ARRAY['now', '2020-01-01', 'infinity', '4000-01-01']) t, unnest(ARRAY['1 day', '-1 s', '0']) i;
GRANT SELECT ON ALL TABLES IN SCHEMA twins TO PUBLIC;
ALTER DATABASE :"database" SET search_path = twins, pg_catalog, public;
