-- The roles of walletd. Run this as a superuser in the database that has the extension, for
-- example: walletd setup-sql | psql -v ON_ERROR_STOP=1 DATABASE
--
-- walletd_tenants serves the requests of tenants. Its only grant is keyed: it reaches the wallet of
-- the key in a request, and no wallet without one. It can charge and read, but not fund, nor change
-- rules.
-- walletd_page serves the page for people. Its only grant is keyed, too. It is of level admin, so
-- that owners can manage members, keys and limits. The page lets a person do so only if the key in
-- the session belongs to an owner or an admin of the wallet.
-- walletd_worker carries out top-ups, delivers events and reads the figures for monitoring.
--
-- The roles have no password. Set one with \password, or let pg_hba.conf identify them.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['walletd_tenants', 'walletd_page', 'walletd_worker'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = name) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I LOGIN', name);
        END IF;
    END LOOP;
END
$$;
SELECT wallet.grant_access('walletd_tenants', 'charger', keyed => true);
SELECT wallet.grant_access('walletd_page', 'admin', keyed => true);
SELECT wallet.grant_access('walletd_worker', 'worker');
SELECT wallet.grant_access('walletd_worker', 'billing');
