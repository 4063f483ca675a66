-- A database role sees the wallets that were granted to it. The sub-selects are asked once a query.
ALTER TABLE wallet.wallets ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.allowances ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.thresholds ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.ledger ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.unpriced_charges ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.funding_requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.grant_lots ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.grant_burns ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.recurring_grants ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.topup_rules ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.topup_requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.limits ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.access_grants ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.wallets FORCE ROW LEVEL SECURITY;
ALTER TABLE wallet.allowances FORCE ROW LEVEL SECURITY;
ALTER TABLE wallet.thresholds FORCE ROW LEVEL SECURITY;
ALTER TABLE wallet.requests FORCE ROW LEVEL SECURITY;
ALTER TABLE wallet.ledger FORCE ROW LEVEL SECURITY;
ALTER TABLE wallet.unpriced_charges FORCE ROW LEVEL SECURITY;
ALTER TABLE wallet.funding_requests FORCE ROW LEVEL SECURITY;
ALTER TABLE wallet.grant_lots FORCE ROW LEVEL SECURITY;
ALTER TABLE wallet.grant_burns FORCE ROW LEVEL SECURITY;
ALTER TABLE wallet.recurring_grants FORCE ROW LEVEL SECURITY;
ALTER TABLE wallet.outbox FORCE ROW LEVEL SECURITY;
ALTER TABLE wallet.topup_rules FORCE ROW LEVEL SECURITY;
ALTER TABLE wallet.topup_requests FORCE ROW LEVEL SECURITY;
ALTER TABLE wallet.limits FORCE ROW LEVEL SECURITY;
ALTER TABLE wallet.access_grants FORCE ROW LEVEL SECURITY;

CREATE POLICY granted_wallets ON wallet.wallets FOR SELECT
    USING (wallet_id = ANY ((SELECT wallet.readable_wallets())::text[]) OR (SELECT '*' = ANY (wallet.readable_wallets())));
CREATE POLICY granted_wallets ON wallet.allowances FOR SELECT
    USING (wallet_id = ANY ((SELECT wallet.readable_wallets())::text[]) OR (SELECT '*' = ANY (wallet.readable_wallets())));
CREATE POLICY granted_wallets ON wallet.ledger FOR SELECT
    USING (wallet_id = ANY ((SELECT wallet.readable_wallets())::text[]) OR (SELECT '*' = ANY (wallet.readable_wallets())));
CREATE POLICY granted_wallets ON wallet.unpriced_charges FOR SELECT
    USING (wallet_id = ANY ((SELECT wallet.readable_wallets())::text[]) OR (SELECT '*' = ANY (wallet.readable_wallets())));
CREATE POLICY granted_wallets ON wallet.funding_requests FOR SELECT
    USING (wallet_id = ANY ((SELECT wallet.readable_wallets())::text[]) OR (SELECT '*' = ANY (wallet.readable_wallets())));
CREATE POLICY granted_wallets ON wallet.grant_lots FOR SELECT
    USING (wallet_id = ANY ((SELECT wallet.readable_wallets())::text[]) OR (SELECT '*' = ANY (wallet.readable_wallets())));
CREATE POLICY granted_wallets ON wallet.grant_burns FOR SELECT
    USING (wallet_id = ANY ((SELECT wallet.readable_wallets())::text[]) OR (SELECT '*' = ANY (wallet.readable_wallets())));
CREATE POLICY granted_wallets ON wallet.recurring_grants FOR SELECT
    USING (wallet_id = ANY ((SELECT wallet.readable_wallets())::text[]) OR (SELECT '*' = ANY (wallet.readable_wallets())));
CREATE POLICY granted_wallets ON wallet.outbox FOR SELECT
    USING (wallet_id = ANY ((SELECT wallet.readable_wallets())::text[]) OR (SELECT '*' = ANY (wallet.readable_wallets())));
CREATE POLICY granted_wallets ON wallet.topup_rules FOR SELECT
    USING (wallet_id = ANY ((SELECT wallet.readable_wallets())::text[]) OR (SELECT '*' = ANY (wallet.readable_wallets())));
CREATE POLICY granted_wallets ON wallet.topup_requests FOR SELECT
    USING (wallet_id = ANY ((SELECT wallet.readable_wallets())::text[]) OR (SELECT '*' = ANY (wallet.readable_wallets())));
CREATE POLICY granted_wallets ON wallet.limits FOR SELECT
    USING (wallet_id = ANY ((SELECT wallet.readable_wallets())::text[]) OR (SELECT '*' = ANY (wallet.readable_wallets())));
CREATE POLICY granted_wallets ON wallet.access_grants FOR SELECT
    USING (wallet_id = ANY ((SELECT wallet.readable_wallets())::text[]) OR (SELECT '*' = ANY (wallet.readable_wallets())));

ALTER TABLE wallet.reservations ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.reservations FORCE ROW LEVEL SECURITY;
ALTER TABLE wallet.refunds ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.refunds FORCE ROW LEVEL SECURITY;
CREATE POLICY granted_wallets ON wallet.reservations FOR SELECT
    USING (wallet_id = ANY ((SELECT wallet.readable_wallets())::text[]) OR (SELECT '*' = ANY (wallet.readable_wallets())));
CREATE POLICY granted_wallets ON wallet.refunds FOR SELECT
    USING (wallet_id = ANY ((SELECT wallet.readable_wallets())::text[]) OR (SELECT '*' = ANY (wallet.readable_wallets())));

ALTER TABLE wallet.ledger_archive ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.ledger_archive FORCE ROW LEVEL SECURITY;
ALTER TABLE wallet.carried_forward ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet.carried_forward FORCE ROW LEVEL SECURITY;
CREATE POLICY granted_wallets ON wallet.ledger_archive FOR SELECT
    USING (wallet_id = ANY ((SELECT wallet.readable_wallets())::text[]) OR (SELECT '*' = ANY (wallet.readable_wallets())));
CREATE POLICY granted_wallets ON wallet.carried_forward FOR SELECT
    USING (wallet_id = ANY ((SELECT wallet.readable_wallets())::text[]) OR (SELECT '*' = ANY (wallet.readable_wallets())));
