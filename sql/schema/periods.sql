-- Closed periods. A charge reads the closing of its wallet with the wallet's row, and that of *
-- from a cache; docs/internals.md explains why no charge can miss one.
CREATE TABLE wallet.closed_periods (
    wallet_id    text PRIMARY KEY,
    until        timestamptz NOT NULL CHECK (isfinite(until)),
    closed_at    timestamptz NOT NULL,
    actor        text,
    metadata     jsonb
);
COMMENT ON TABLE wallet.closed_periods IS 'Until when periods are closed: for one wallet or, with *, for all of them. The view periods shows them.';
COMMENT ON COLUMN wallet.closed_periods.until IS 'The first moment of the open period.';
COMMENT ON COLUMN wallet.closed_periods.closed_at IS 'When close_period() or reopen_period() last changed it.';

CREATE TRIGGER announce_closing
    AFTER INSERT OR UPDATE ON wallet.closed_periods
    FOR EACH ROW WHEN (NEW.wallet_id = '*')
    EXECUTE FUNCTION wallet.announce_change();
CREATE TRIGGER announce_reopening
    AFTER DELETE ON wallet.closed_periods
    FOR EACH ROW WHEN (OLD.wallet_id = '*')
    EXECUTE FUNCTION wallet.announce_change();
ALTER TABLE wallet.closed_periods ENABLE ALWAYS TRIGGER announce_closing;
ALTER TABLE wallet.closed_periods ENABLE ALWAYS TRIGGER announce_reopening;
COMMENT ON TRIGGER announce_closing ON wallet.closed_periods IS 'Makes every backend read the closing of all wallets again when the change commits.';
COMMENT ON TRIGGER announce_reopening ON wallet.closed_periods IS 'Makes every backend read the closing of all wallets again when the change commits.';

CREATE VIEW wallet.periods WITH (security_invoker = true) AS
SELECT w.wallet_id AS wallet, p.until AS closed_until, p.wallet_id AS closed_for, p.closed_at, p.actor AS closed_by, p.metadata
  FROM wallet.wallets w
  LEFT JOIN LATERAL (
        SELECT c.* FROM wallet.closed_periods c
         WHERE c.wallet_id IN (w.wallet_id, '*')
         ORDER BY c.until DESC, c.wallet_id = '*'
         LIMIT 1) p ON true;
COMMENT ON VIEW wallet.periods IS 'Until when the periods of each wallet are closed, and by whom.';
COMMENT ON COLUMN wallet.periods.closed_until IS 'The first moment of the open period: the later one of the wallet''s own closing and that of *. NULL: no period is closed.';
COMMENT ON COLUMN wallet.periods.closed_for IS 'Whose closing it is: the wallet''s own, or that of * for all wallets.';
COMMENT ON COLUMN wallet.periods.closed_at IS 'When the closing was last changed.';
COMMENT ON COLUMN wallet.periods.closed_by IS 'The actor of that call.';
