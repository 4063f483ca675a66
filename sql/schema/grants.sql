-- Lots of credit, one per funding. remaining is the amount that was left when spending was last
-- allocated to lots; later spending is subtracted from the lots in burn order: priority, expiry,
-- promotional before paid, age. Charges write this table only for lots with a scope, whose
-- remaining is always current.
CREATE TABLE wallet.grant_lots (
    wallet_id     text NOT NULL REFERENCES wallet.wallets,
    grant_id      uuid NOT NULL,
    amount        numeric(28,12) NOT NULL CHECK (amount > 0 AND amount <> 'NaN'),
    remaining     numeric(28,12) NOT NULL,
    expires_at    timestamptz,
    warn_at       timestamptz,
    priority      integer NOT NULL DEFAULT 100,
    promotional   boolean NOT NULL DEFAULT false,
    recurring     text,
    scope         jsonb,
    status        text NOT NULL DEFAULT 'active'
                  CHECK (status IN ('active', 'depleted', 'expired', 'voided', 'reversed')),
    created_at    timestamptz NOT NULL,
    ended_id      uuid,
    held          numeric(28,12) NOT NULL DEFAULT 0,
    PRIMARY KEY (wallet_id, grant_id),
    CONSTRAINT grant_not_overdrawn CHECK (remaining BETWEEN 0 AND amount AND held BETWEEN 0 AND remaining)
);
-- Ordered by burn order.
CREATE INDEX grant_lots_active ON wallet.grant_lots (wallet_id, priority, expires_at, promotional DESC, created_at, grant_id)
 WHERE status = 'active';
COMMENT ON TABLE wallet.grant_lots IS 'Lots of credit, one per funding. The view grants shows the remaining amount of each.';
COMMENT ON COLUMN wallet.grant_lots.remaining IS 'The remaining amount when spending was last allocated to the wallet''s lots. For a lot with a scope, the current remaining amount.';
COMMENT ON COLUMN wallet.grant_lots.warn_at IS 'When grant_expiring is due; NULL if it was emitted.';
COMMENT ON COLUMN wallet.grant_lots.recurring IS 'The name of the recurring grant that made the lot; NULL for any other lot.';
COMMENT ON COLUMN wallet.grant_lots.scope IS 'The models and services that may use the lot; NULL means all.';
COMMENT ON COLUMN wallet.grant_lots.held IS 'Lots with a scope only: the amount that open holds reserve.';
COMMENT ON COLUMN wallet.grant_lots.ended_id IS 'The entry that took back the remaining amount because the lot expired, was voided or was reversed.';

-- A hold that is older than the end of a grant can still be settled with it. An ended grant
-- therefore keeps the amount that such holds reserve, until they release it.
CREATE TABLE wallet.kept_credit (
    wallet_id     text NOT NULL REFERENCES wallet.wallets,
    grant_id      uuid NOT NULL,
    ended_at      timestamptz NOT NULL,
    amount        numeric(28,12) NOT NULL CHECK (amount > 0 AND amount <> 'NaN'),
    PRIMARY KEY (wallet_id, grant_id, ended_at)
);
COMMENT ON TABLE wallet.kept_credit IS 'Credit of grants that have ended, kept for holds that are older than the end. It counts in the balance and in held.';
COMMENT ON COLUMN wallet.kept_credit.ended_at IS 'When the grant, or its part that could not be carried over, ended. Only holds created before may use the credit.';

-- The amounts taken from each lot, in order. Together with the charges in their order, they show
-- which lot paid which charge. A row without entry_id is general use by all charges; a row with
-- entry_id was paid for that entry alone. A negative row is an amount that a refund returned. A row
-- without grant_id is an amount that no grant paid: a debt of that entry or, for a refund, an
-- amount that was owed or paid on credit.
CREATE TABLE wallet.grant_burns (
    wallet_id     text NOT NULL REFERENCES wallet.wallets,
    burn_id       uuid NOT NULL,
    grant_id      uuid,
    amount        numeric(28,12) NOT NULL CHECK (amount <> 0 AND amount <> 'NaN'),
    entry_id      uuid,
    related_id    uuid,
    given_to      uuid,
    upto          numeric,
    PRIMARY KEY (wallet_id, burn_id),
    CONSTRAINT grant_burn_is_whole CHECK (
        CASE WHEN entry_id IS NULL THEN amount > 0 AND grant_id IS NOT NULL AND upto IS NOT NULL
             WHEN amount > 0 THEN related_id IS NULL AND given_to IS NULL AND upto IS NULL
             ELSE related_id IS NOT NULL AND (given_to IS NULL) = (upto IS NOT NULL)
        END)
);
CREATE INDEX grant_burns_use ON wallet.grant_burns (wallet_id, upto) WHERE entry_id IS NULL;
CREATE INDEX grant_burns_entry ON wallet.grant_burns (wallet_id, entry_id) WHERE entry_id IS NOT NULL;
CREATE INDEX grant_burns_related ON wallet.grant_burns (wallet_id, related_id) WHERE related_id IS NOT NULL;
CREATE INDEX grant_burns_of_none ON wallet.grant_burns (wallet_id, upto) INCLUDE (amount) WHERE grant_id IS NULL;
COMMENT ON TABLE wallet.grant_burns IS 'The amounts taken from each lot whenever spending was allocated to lots, in order of upto, and the amounts that refunds returned. burn_id is a UUIDv7.';
COMMENT ON COLUMN wallet.grant_burns.grant_id IS 'The lot. NULL for an unpaid debt, and for a refunded amount that no lot had paid.';
COMMENT ON COLUMN wallet.grant_burns.amount IS 'The amount taken from the lot; negative if a refund returned it.';
COMMENT ON COLUMN wallet.grant_burns.entry_id IS 'The one entry to which the amount belongs: an expiry, a void, a chargeback, a charge that a grant with a scope paid or that left a debt, or the refund that returned it. NULL for general use.';
COMMENT ON COLUMN wallet.grant_burns.related_id IS 'Refunds only: the refunded charge.';
COMMENT ON COLUMN wallet.grant_burns.given_to IS 'Refunds only: the lot that now has the money; NULL if the charge had been paid on credit.';
COMMENT ON COLUMN wallet.grant_burns.upto IS 'General use: the total taken up to and including this row. Refunds of an amount paid on credit: the total spending up to the refunded charge.';

-- Lets a refund find the position of its charge without adding up the ledger.
CREATE TABLE wallet.grant_marks (
    wallet_id     text NOT NULL REFERENCES wallet.wallets,
    at            timestamptz NOT NULL,
    upto          numeric NOT NULL CHECK (upto >= 0 AND upto <> 'NaN'),
    PRIMARY KEY (wallet_id, at)
);
COMMENT ON TABLE wallet.grant_marks IS 'The total spending of a wallet up to a given time, stored by refunds. It excludes amounts paid for one entry alone; it includes amounts that were refunded.';
COMMENT ON COLUMN wallet.grant_marks.at IS 'All entries up to this time were booked when the mark was made.';

CREATE TABLE wallet.recurring_grants (
    wallet_id       text NOT NULL REFERENCES wallet.wallets,
    name            text NOT NULL,
    amount          numeric(28,12) NOT NULL CHECK (amount > 0 AND amount <> 'NaN'),
    period          interval NOT NULL,
    expires_after   interval,
    rollover_max    numeric(28,12) CHECK (rollover_max >= 0 AND rollover_max <> 'NaN'),
    started_at      timestamptz NOT NULL,
    turn            bigint NOT NULL DEFAULT 0,
    next_at         timestamptz NOT NULL,
    actor           text,
    metadata        jsonb,
    scope           jsonb,
    PRIMARY KEY (wallet_id, name)
);
COMMENT ON TABLE wallet.recurring_grants IS 'Credit that a wallet receives in every period, one row per name. The first call after next_at grants it; no job is needed.';
COMMENT ON COLUMN wallet.recurring_grants.started_at IS 'The time from which periods are counted: when it was set, or the beginning of its first day in the wallet''s time zone.';
COMMENT ON COLUMN wallet.recurring_grants.turn IS 'The number of periods since started_at; -1 until the first day has come.';

-- The wallet's lots with the remaining amount of each: the stored amount minus later spending.
CREATE FUNCTION wallet.lots_now(
    of_wallet text,
    OUT grant_id uuid, OUT amount numeric, OUT settled numeric, OUT remaining numeric, OUT expires_at timestamptz,
    OUT priority integer, OUT promotional boolean, OUT scope jsonb, OUT status text, OUT created_at timestamptz,
    OUT place bigint)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, wallet, pg_temp
AS $$
    -- Read as a scalar subquery: with a join, a plan for few lots would compute the sum again for
    -- each lot.
    WITH balance AS MATERIALIZED (
        SELECT coalesce(sum(a.allotted - a.spent), 0)
               - (SELECT w.credit_limit FROM wallet.wallets w WHERE w.wallet_id = of_wallet)
               - (SELECT coalesce(sum(k.amount), 0) FROM wallet.kept_credit k WHERE k.wallet_id = of_wallet) AS balance
          FROM wallet.allowances a
         WHERE a.wallet_id = of_wallet
           AND a.allowance_id = '00000000-0000-0000-0000-000000000000' AND a.lane >= 0
    )
    SELECT l.grant_id, l.amount, l.remaining,
           l.remaining - least(l.remaining, greatest(greatest(l.total - greatest((SELECT b.balance FROM balance b), 0), 0) - l.before, 0)),
           l.expires_at, l.priority, l.promotional, l.scope, l.status, l.created_at, l.place
      FROM (SELECT g.*,
                   sum(g.remaining) OVER () AS total,
                   sum(g.remaining) OVER burn_order - g.remaining AS before,
                   row_number() OVER burn_order AS place
              FROM wallet.grant_lots g
             WHERE g.wallet_id = of_wallet AND g.status = 'active' AND g.scope IS NULL
            WINDOW burn_order AS (ORDER BY g.priority, g.expires_at NULLS LAST, g.promotional DESC,
                                           g.created_at, g.grant_id ROWS UNBOUNDED PRECEDING)) l
    UNION ALL
    SELECT g.grant_id, g.amount, g.remaining, g.remaining, g.expires_at, g.priority, g.promotional, g.scope, g.status,
           g.created_at, NULL
      FROM wallet.grant_lots g
     WHERE g.wallet_id = of_wallet AND g.status = 'active' AND g.scope IS NOT NULL
    UNION ALL
    SELECT g.grant_id, g.amount, 0, 0, g.expires_at, g.priority, g.promotional, g.scope, g.status, g.created_at, NULL
      FROM wallet.grant_lots g
     WHERE g.wallet_id = of_wallet AND g.status <> 'active'
$$;
COMMENT ON FUNCTION wallet.lots_now IS 'Returns the lots of a wallet with the remaining amount of each, in burn order, followed by lots with a scope. The views grants and balances call it.';

-- Charges in their order and burns in theirs cover the same range of cumulative spending. The end
-- points of both divide the range into pieces. Each piece belongs to one charge and one grant,
-- those with the next end point. This takes one sort, whatever the size of the ledger. Refunds are
-- recorded separately; the range is that of the original charges, without amounts paid on credit
-- and refunded.
CREATE FUNCTION wallet.payments_of(
    of_wallet text,
    OUT entry_id uuid, OUT grant_id uuid, OUT amount numeric, OUT created_at timestamptz, OUT refund_of uuid,
    OUT returned_to uuid)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, wallet, pg_temp
-- JIT compilation takes longer than execution.
SET jit = off
-- The query reads all rows of the wallet. A nested loop planned for few rows would scan all charges
-- or burns for each row of the other side.
SET enable_nestloop = off
AS $$
    -- Amounts that were paid for one charge alone, or are a debt of it, cover part of the charge.
    WITH noted AS MATERIALIZED (
        SELECT u.entry_id, u.grant_id, u.amount, c.created_at
          FROM wallet.grant_burns u
          JOIN wallet.ledger_all c ON c.wallet_id = of_wallet AND c.entry_id = u.entry_id
           AND (c.kind = 'c' OR c.call IN ('l', 'm', 'n'))
         WHERE u.wallet_id = of_wallet
    ), apart AS (
        SELECT a.entry_id, sum(a.amount) AS amount
          FROM (SELECT n.entry_id, n.amount FROM noted n
                UNION ALL
                SELECT u.related_id, -u.amount
                  FROM wallet.grant_burns u
                 WHERE u.wallet_id = of_wallet AND u.grant_id IS NULL AND u.upto IS NOT NULL) a
         GROUP BY 1
    ), debits AS MATERIALIZED (
        SELECT l.entry_id, l.created_at,
               sum(-l.amount) OVER in_order AS upto,
               count(*) OVER () + 1 - row_number() OVER in_order AS from_last
          FROM (SELECT e.entry_id, e.created_at, e.lane, e.seq, e.amount + coalesce(a.amount, 0) AS amount
                  FROM wallet.ledger_all e
                  LEFT JOIN apart a USING (entry_id)
                 WHERE e.wallet_id = of_wallet AND e.amount < 0 AND e.kind IN ('c', 'a', 't') AND e.call <> 'u'
                   -- A use whose money was drawn from a parent is paid by no grant.
                   AND NOT EXISTS (SELECT FROM wallet.ledger_all d
                                    WHERE d.wallet_id = of_wallet AND d.call = 'd' AND d.related_id = e.entry_id)) l
         WHERE l.amount < 0
        WINDOW in_order AS (ORDER BY l.created_at, l.lane, l.seq ROWS UNBOUNDED PRECEDING)
    ), burns AS MATERIALIZED (
        SELECT b.grant_id,
               sum(b.amount) OVER in_order AS upto,
               count(*) OVER () + 1 - row_number() OVER in_order AS from_last
          FROM (SELECT u.grant_id, u.amount, u.upto, 0 AS place
                  FROM wallet.grant_burns u
                 WHERE u.wallet_id = of_wallet AND u.entry_id IS NULL
                UNION ALL
                -- Spending since spending was last allocated to lots.
                SELECT n.grant_id, n.settled - n.remaining, NULL, n.place
                  FROM wallet.lots_now(of_wallet) n
                 WHERE n.settled > n.remaining) b
        WINDOW in_order AS (ORDER BY b.upto NULLS LAST, b.place ROWS UNBOUNDED PRECEDING)
    ), pieces AS (
        SELECT e.upto - lead(e.upto, 1, 0) OVER from_end AS amount,
               count(e.debit) OVER from_end AS debit,
               count(e.burn) OVER from_end AS burn
          FROM (SELECT upto, 1 AS debit, NULL::integer AS burn FROM debits
                UNION ALL
                SELECT upto, NULL, 1 FROM burns) e
        WINDOW from_end AS (ORDER BY e.upto DESC)
    )
    SELECT d.entry_id, b.grant_id, p.amount, d.created_at, NULL::uuid, NULL::uuid
      FROM pieces p
      JOIN debits d ON d.from_last = p.debit
      JOIN burns b ON b.from_last = p.burn
     WHERE p.amount > 0
    UNION ALL
    SELECT n.entry_id, n.grant_id, n.amount, n.created_at, NULL, NULL FROM noted n WHERE n.grant_id IS NOT NULL
    UNION ALL
    SELECT u.entry_id, u.grant_id, u.amount, r.created_at, u.related_id, u.given_to
      FROM wallet.grant_burns u
      JOIN wallet.ledger_all r ON r.wallet_id = of_wallet AND r.entry_id = u.entry_id
     WHERE u.wallet_id = of_wallet AND u.related_id IS NOT NULL AND u.grant_id IS NOT NULL
$$;
COMMENT ON FUNCTION wallet.payments_of IS 'Returns which grant of a wallet paid how much of which charge, and what refunds returned. The view grant_payments calls it.';
