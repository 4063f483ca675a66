-- In every table with a wallet_id, a database role sees the rows of the wallets that were granted
-- to it. The sub-selects are evaluated once per query. Two tables are used only by the functions,
-- which act as the owner; no role sees their rows.
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
-- Negotiated prices: a role sees the price lists that its wallets use.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['prices', 'markups'] LOOP
        EXECUTE format('ALTER TABLE wallet.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE wallet.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY visible_lists ON wallet.%I FOR SELECT
             USING (price_list = ANY ((SELECT wallet.readable_price_lists())::text[]) OR (SELECT ''*'' = ANY (wallet.readable_price_lists())))', name);
    END LOOP;
END
$$;
-- The destinations of all wallets are the operator's own.
CREATE POLICY own_destination ON wallet.deliveries AS RESTRICTIVE FOR SELECT
    USING (set_for <> '*' OR (SELECT '*' = ANY (wallet.readable_wallets())));
-- A role sees the plans of the wallets that it sees.
ALTER TABLE wallet.plan_versions ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.plan_versions FORCE ROW LEVEL SECURITY;
CREATE POLICY used_plans ON wallet.plan_versions FOR SELECT
    USING (plan IN (SELECT w.plan FROM wallet.wallets w UNION SELECT w.next_plan FROM wallet.wallets w)
           OR (SELECT '*' = ANY (wallet.readable_wallets())));
-- A voucher can be redeemed by any wallet, so it concerns all wallets.
ALTER TABLE wallet.vouchers ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.vouchers FORCE ROW LEVEL SECURITY;
CREATE POLICY all_wallets ON wallet.vouchers FOR SELECT
    USING ((SELECT '*' = ANY (wallet.readable_wallets())));
-- Bonuses, limits and closings for all wallets apply to every wallet, so every reader sees them,
-- like prices.
CREATE POLICY limit_of_all ON wallet.limits FOR SELECT USING (wallet_id = '*');
CREATE POLICY bonus_of_all ON wallet.bonus_rules FOR SELECT USING (wallet_id = '*');
CREATE POLICY period_of_all ON wallet.closed_periods FOR SELECT USING (wallet_id = '*');
