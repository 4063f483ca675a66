-- The promotional part of balances in the past.
--
-- A grant is an account of its own. It receives its amount and returned refunds. It loses payments,
-- and amounts that expired or were taken back. Each of them counts from the time of its entry.
-- Amounts that are due and not booked yet count from their due time. A grant also pays what was
-- used on credit or owed before it had the money. Such a payment counts when the money arrives: a
-- grant has at least zero at any time.

CREATE FUNCTION wallet.promotional_at(wallet text, at timestamptz) RETURNS numeric
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    PERFORM wallet.readable_wallet(promotional_at.wallet);
    RETURN (
        WITH lots AS MATERIALIZED (
            SELECT g.grant_id, g.amount, l.effective_at
              FROM wallet.grant_lots g
              JOIN wallet.ledger_all l ON l.wallet_id = g.wallet_id AND l.entry_id = g.grant_id
             WHERE g.wallet_id = promotional_at.wallet AND g.promotional
        ), changes AS (
            SELECT l.grant_id, l.effective_at AS at, l.amount FROM lots l
             UNION ALL
            SELECT p.grant_id, p.created_at, -p.amount
              FROM wallet.payments_of(promotional_at.wallet) p
              JOIN lots l ON l.grant_id = p.grant_id
             WHERE p.refund_of IS NULL OR p.returned_to = p.grant_id
             UNION ALL
            SELECT u.grant_id, e.effective_at, -u.amount
              FROM wallet.grant_burns u
              JOIN lots l ON l.grant_id = u.grant_id
              JOIN wallet.ledger_all e ON e.wallet_id = u.wallet_id AND e.entry_id = u.entry_id AND e.kind <> 'c'
             WHERE u.wallet_id = promotional_at.wallet AND u.related_id IS NULL
             UNION ALL
            -- Recurring grants are promotional. They pay what was used on credit before.
            SELECT d.grant_id, d.at, d.amount - d.repaid
              FROM wallet.due_entries(promotional_at.wallet, statement_timestamp()) d
             WHERE d.kind = 'funding' OR NOT EXISTS (SELECT FROM wallet.grant_lots g
                                                      WHERE g.wallet_id = promotional_at.wallet AND g.grant_id = d.grant_id AND NOT g.promotional)
        )
        SELECT coalesce(sum(g.amount), 0)
          FROM (SELECT greatest(sum(c.amount), 0) AS amount
                  FROM changes c
                 WHERE c.at <= promotional_at.at
                 GROUP BY c.grant_id) g);
END
$$;
COMMENT ON FUNCTION wallet.promotional_at IS 'Returns the promotional part of a wallet''s balance at a given time. balances_at() calls it. Errors: 22023, 42501, WL003.';
