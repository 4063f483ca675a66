-- A database role sees of every table of wallets the rows of those that were granted to it. The sub-selects are
-- asked once a query. Two tables are for the functions alone, which act as the owner: there nobody sees a row.
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT c.relname
          FROM pg_catalog.pg_class c
          JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = 'wallet_id' AND NOT a.attisdropped
         WHERE c.relnamespace = 'wallet'::regnamespace AND c.relkind = 'r'
    LOOP
        EXECUTE format('ALTER TABLE wallet.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE wallet.%I FORCE ROW LEVEL SECURITY', name);
        CONTINUE WHEN name IN ('requests', 'thresholds');
        EXECUTE format(
            'CREATE POLICY granted_wallets ON wallet.%I FOR SELECT
             USING (wallet_id = ANY ((SELECT wallet.readable_wallets())::text[]) OR (SELECT ''*'' = ANY (wallet.readable_wallets())))', name);
    END LOOP;
END
$$;
-- What holds for all wallets holds for every wallet: whoever may read one sees it, as prices are seen.
CREATE POLICY bonus_of_all ON wallet.bonus_rules FOR SELECT USING (wallet_id = '*');
