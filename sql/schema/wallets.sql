-- A row of limits as a charge needs it, in the order of the columns there. A type of its own, so that a version that
-- gives limits a column reads what an older one has dumped.
CREATE TYPE wallet.known_limit AS (
    limit_id     uuid,
    scope        text,
    subject      text,
    period       text,
    metric       text,
    mode         text,
    max          numeric(28,12),
    time_zone    text,
    anchor       smallint,
    warn_at      numeric[],
    paused       boolean,
    raised_by    numeric[],
    raised_until timestamptz[]
);
COMMENT ON TYPE wallet.known_limit IS 'A limit as it stands beside its wallet; the columns are those of limits.';

CREATE TABLE wallet.wallets (
    wallet_id              text PRIMARY KEY,
    currency               text NOT NULL,
    credit_limit           numeric(28,12) NOT NULL CHECK (credit_limit >= 0 AND credit_limit <> 'NaN'),
    low_balance            numeric[] NOT NULL DEFAULT '{}',
    debt                   numeric(28,12) NOT NULL DEFAULT 0 CHECK (debt >= 0 AND debt <> 'NaN'),
    status                 text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'frozen', 'closed')),
    status_reason          text,
    time_zone              text NOT NULL,
    lanes                  smallint NOT NULL CHECK (lanes BETWEEN 1 AND 256),
    price_list             text NOT NULL DEFAULT 'default',
    unknown_price          text NOT NULL DEFAULT 'reject',
    unread_usage           text NOT NULL DEFAULT 'note' CHECK (unread_usage IN ('note', 'reject')),
    members_only           boolean NOT NULL DEFAULT false,
    freeze_on_chargeback   boolean NOT NULL DEFAULT false,
    funding_min            numeric(28,12),
    funding_max            numeric(28,12),
    metadata               jsonb NOT NULL DEFAULT '{}',
    created_at             timestamptz NOT NULL,
    attention              bigint NOT NULL DEFAULT 0,
    grants_due             timestamptz,
    guarded                boolean NOT NULL DEFAULT false,
    scoped                 boolean NOT NULL DEFAULT false,
    archived               boolean NOT NULL DEFAULT false,
    keeps                  boolean NOT NULL DEFAULT false,
    -- Without a default, so that a row that comes from elsewhere has its limits read.
    known_limits           wallet.known_limit[]
);
COMMENT ON TABLE wallet.wallets IS 'One row a wallet: its currency and its rules. Charges never write it; fundings of one wallet queue on it.';
COMMENT ON COLUMN wallet.wallets.wallet_id IS 'The key that the application chose.';
COMMENT ON COLUMN wallet.wallets.credit_limit IS 'How far the balance may go below zero.';
COMMENT ON COLUMN wallet.wallets.debt IS 'What a late failure of a funding left unpaid; it stands beside the balance.';
COMMENT ON COLUMN wallet.wallets.unread_usage IS 'What becomes of usage with numbers that nothing reads: it is charged and the paths are noted, or it is refused.';
COMMENT ON COLUMN wallet.wallets.attention IS 'Counts fundings that could not look at all lanes; the next charge does, and notes the count in the lanes.';
COMMENT ON COLUMN wallet.wallets.grants_due IS 'When a grant expires next or is granted again; infinity: never; NULL: the wallet has none but plain fundings. The first call after it does what is due.';
COMMENT ON COLUMN wallet.wallets.guarded IS 'Whether it has members, keys, or rules on who may spend; a charge reads them only then.';
COMMENT ON COLUMN wallet.wallets.scoped IS 'Whether it has money that only some models or services may use; a charge looks at that only then.';
COMMENT ON COLUMN wallet.wallets.archived IS 'Whether entries of it stand in the archive; a charge looks for its key there only then.';
COMMENT ON COLUMN wallet.wallets.keeps IS 'Whether holds keep credit that has ended; a settlement looks at that only then.';
COMMENT ON COLUMN wallet.wallets.known_limits IS 'The wallet''s limits, where there are few, so that a charge finds them beside the wallet; NULL: it reads the table.';
COMMENT ON COLUMN wallet.wallets.lanes IS 'Into how many lanes the balance is cut, so that as many transactions can spend at once.';

-- The one mechanism behind balance and limits: a bounded counter in lanes.
--
-- The balance has the nil uuid as its id. With one lane it is lane 0, locked as a row; with n it
-- is lanes 1..n, each locked by a lock of its own; all other lanes are spares without room, where
-- a funding may put money while every active lane is busy. Lane -1 is what only some models or services may use:
-- it counts in the balance, pays for nothing else, and is written by those who hold all other lanes.
--
-- A limit's window has a row of its own, whose id is computed from the limit, the subject and the
-- start of the window.
--
-- There is no foreign key on purpose: it would lock the wallet's row at every charge.
CREATE TABLE wallet.allowances (
    wallet_id      text NOT NULL,
    allowance_id   uuid NOT NULL,
    lane           smallint NOT NULL,
    version        bigint,
    epoch          bigint,
    seq            bigint,
    allotted       numeric(28,12),
    spent          numeric(28,12) NOT NULL DEFAULT 0,
    held           numeric(28,12) NOT NULL DEFAULT 0,
    watermark      numeric(28,12) NOT NULL DEFAULT 0,
    booked         numeric(28,12),
    hash           bytea,
    limit_id       uuid,
    subject        text,
    window_start   timestamptz,
    window_end     timestamptz,
    attended       bigint NOT NULL DEFAULT 0,
    slices         bytea,
    look_at        timestamptz,
    waits          bigint,
    armed          boolean,
    PRIMARY KEY (wallet_id, allowance_id, lane),
    -- One CHECK: PostgreSQL parses each of them again for every statement. What only the lanes of a balance
    -- have takes no room in the rows of windows, of which there are many more.
    CONSTRAINT allowance_not_overdrawn CHECK (
        (allotted IS NULL OR allotted <> 'NaN' AND spent + held <= allotted)
        AND spent >= 0 AND held >= 0
        AND (limit_id IS NOT NULL OR num_nulls(version, epoch, seq, booked, hash, waits) = 0)
    )
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
COMMENT ON TABLE wallet.allowances IS 'Bounded counters: the balance and every limit, in lanes. spent + held never exceeds allotted.';
COMMENT ON COLUMN wallet.allowances.allowance_id IS 'Nil for the balance; for a limit''s window computed from limit, subject and start.';
COMMENT ON COLUMN wallet.allowances.version IS 'Of the balance: counts changes, so that a write can see that the lane is what was read.';
COMMENT ON COLUMN wallet.allowances.epoch IS 'Of the balance: version of the wallet''s rules; a charge that knows another version reads them again.';
COMMENT ON COLUMN wallet.allowances.attended IS 'Of the balance: the wallet''s count of attention when all its lanes were looked at last. Of a limit''s window: how many of the limit''s levels were come to.';
COMMENT ON COLUMN wallet.allowances.slices IS 'What was used by slices of time, of a rolling window; spent is their sum as of the last change.';
COMMENT ON COLUMN wallet.allowances.look_at IS 'From then on a charge must look at all lanes, because a top-up rule may ask for money.';
COMMENT ON COLUMN wallet.allowances.waits IS 'Of the balance: how many charges and holds found no free lane and waited for this one, since the wallet''s lanes were set.';
COMMENT ON COLUMN wallet.allowances.armed IS 'Of the balance: whether every alert threshold was armed when all lanes were looked at last: money that comes back has none to arm.';
COMMENT ON COLUMN wallet.allowances.seq IS 'Of the balance: number of the last entry of the lane.';
COMMENT ON COLUMN wallet.allowances.allotted IS 'What may be spent in all; NULL is unlimited.';
COMMENT ON COLUMN wallet.allowances.watermark IS 'Below this remainder a charge must look at all lanes; the lanes'' watermarks add up to the next alert threshold. Of a limit''s window in a lane of its own: the use that a charge may not reach without looking at all.';
COMMENT ON COLUMN wallet.allowances.booked IS 'Of the balance: running total of the lane''s entries; the lanes'' totals add up to balance minus debt.';
COMMENT ON COLUMN wallet.allowances.hash IS 'Of the balance: hash of the lane''s last entry: the head of its chain.';

-- Alert thresholds and whether each is armed. Written only under a lock on an active lane.
CREATE TABLE wallet.thresholds (
    wallet_id   text NOT NULL REFERENCES wallet.wallets,
    kind        text NOT NULL CHECK (kind IN ('low', 'depleted', 'topup')),
    threshold   numeric(28,12) NOT NULL CHECK (threshold <> 'NaN'),
    state       text NOT NULL CHECK (state IN ('new', 'armed', 'fired')),
    PRIMARY KEY (wallet_id, kind, threshold)
);
COMMENT ON TABLE wallet.thresholds IS 'Alert thresholds of a wallet. new: never reached; armed: available is at or above; fired: it fell below and has not recovered.';

-- First answers of the calls that write no ledger entry, for their replay.
CREATE TABLE wallet.requests (
    wallet_id         text NOT NULL,
    call              text NOT NULL,
    idempotency_key   text NOT NULL,
    fingerprint       uuid NOT NULL,
    result            jsonb,
    created_at        timestamptz NOT NULL,
    PRIMARY KEY (wallet_id, call, idempotency_key)
);
COMMENT ON TABLE wallet.requests IS 'Idempotency keys of calls that write no ledger entry. An empty wallet_id stands for calls on no wallet.';
