-- CREATE EXTENSION sets just this path. It is said here so that the script shows by itself that nobody
-- else's operator, function or type comes before PostgreSQL's own.
SET LOCAL search_path TO pg_catalog, pg_temp;

-- Created plainly, never IF NOT EXISTS: a schema that somebody else prepared could hold functions
-- and operators that our own would then find first.
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
