-- CREATE EXTENSION sets exactly this path. The script sets it again to make visible that no foreign
-- operator, function or type can take precedence over PostgreSQL's own.
SET LOCAL search_path TO pg_catalog, pg_temp;

-- Without IF NOT EXISTS: a schema prepared by somebody else could contain functions and operators
-- that would take precedence over those of the extension.
CREATE SCHEMA wallet;
COMMENT ON SCHEMA wallet IS 'Prepaid wallet for AI usage: functions write, views read.';
REVOKE ALL ON SCHEMA wallet FROM PUBLIC;

DO $$
BEGIN
    IF pg_catalog.current_setting('server_encoding') OPERATOR(pg_catalog.<>) 'UTF8' THEN
        RAISE EXCEPTION 'extension "wallet" needs a database in UTF8'
            USING ERRCODE = 'feature_not_supported',
                  DETAIL = pg_catalog.format('This database is in %s.', pg_catalog.current_setting('server_encoding')),
                  HINT = 'Create the database with ENCODING ''UTF8''.';
    END IF;
END
$$;
