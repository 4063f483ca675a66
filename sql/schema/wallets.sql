-- A row of the table limits as a charge needs it, with its columns in the same order. It is a type
-- of its own, so that a version that adds a column to limits can still read the dump of an older
-- version.
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
    raised_until timestamptz[],
    anchor_time  time,
    rollover_max numeric(28,12),
    weights      jsonb,
    carry_from   timestamptz
);
COMMENT ON TYPE wallet.known_limit IS 'A limit as cached in the wallet''s row. Its columns are those of the table limits.';

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
    recheck_requested              bigint NOT NULL DEFAULT 0,
    grants_due             timestamptz,
    guarded                boolean NOT NULL DEFAULT false,
    scoped                 boolean NOT NULL DEFAULT false,
    archived               boolean NOT NULL DEFAULT false,
    keeps                  boolean NOT NULL DEFAULT false,
    defaults_from          timestamptz NOT NULL,
    parent                 text,
    share                  text,
    plan                   text,
    plan_version           bigint,
    next_plan_at           timestamptz,
    next_plan              text,
    closed_until           timestamptz,
    -- The last column. Without a default, so that a charge reads the table limits for a row that
    -- was loaded from elsewhere.
    known_limits           wallet.known_limit[],
    CONSTRAINT wallet_with_parent CHECK (
        num_nulls(parent, share) IN (0, 2) AND share IN ('pool', 'own') AND parent <> wallet_id)
);
CREATE INDEX wallets_parent ON wallet.wallets (parent) WHERE parent IS NOT NULL;
COMMENT ON TABLE wallet.wallets IS 'One row per wallet with its currency and settings. Charges never write it; fundings of one wallet queue on it.';
COMMENT ON COLUMN wallet.wallets.wallet_id IS 'The name that the application chose.';
COMMENT ON COLUMN wallet.wallets.credit_limit IS 'How far the balance may fall below zero.';
COMMENT ON COLUMN wallet.wallets.debt IS 'The unpaid part of reversed fundings and of settlements that exceeded the balance. It is not part of the balance.';
COMMENT ON COLUMN wallet.wallets.unread_usage IS 'The treatment of usage with numbers that nothing reads. note: it is charged and the paths are recorded; reject: it is refused.';
COMMENT ON COLUMN wallet.wallets.recheck_requested IS 'Recheck counter: counts fundings that could not acquire all lanes. The next charge takes the slow path and stores the count in the lanes (recheck_done).';
COMMENT ON COLUMN wallet.wallets.grants_due IS 'When the next grant expires or is renewed. infinity: never. NULL: the wallet has only plain fundings. The first call after this time books what is due.';
COMMENT ON COLUMN wallet.wallets.guarded IS 'Whether the wallet has members, keys, or rules on who may spend. A charge reads them only if true.';
COMMENT ON COLUMN wallet.wallets.scoped IS 'Whether the wallet has credit for some models or services only. A charge looks for such credit only if true.';
COMMENT ON COLUMN wallet.wallets.archived IS 'Whether the wallet has archived entries. A charge looks for its idempotency key in the archive only if true.';
COMMENT ON COLUMN wallet.wallets.keeps IS 'Whether open holds keep credit of grants that have ended. A settlement checks for such credit only if true.';
COMMENT ON COLUMN wallet.wallets.known_limits IS 'The wallet''s limits, if there are few, so that a charge reads them with the wallet''s row. NULL: a charge reads the table limits.';
COMMENT ON COLUMN wallet.wallets.defaults_from IS 'No default limit carries anything into a window of the wallet from a window that ended before this time: when the wallet was created, or when a limit was dropped that had taken the place of a default limit with rollover_max.';
COMMENT ON COLUMN wallet.wallets.parent IS 'The wallet above this one in a tree; NULL if there is none.';
COMMENT ON COLUMN wallet.wallets.share IS 'pool: the parent pays for the use of this wallet, which has no money of its own; own: it has its own money. NULL without a parent.';
COMMENT ON COLUMN wallet.wallets.plan IS 'The plan of the wallet; NULL means none.';
COMMENT ON COLUMN wallet.wallets.plan_version IS 'The version of the plan that the wallet has taken over. If another version is in force, the next call takes that one over.';
COMMENT ON COLUMN wallet.wallets.next_plan_at IS 'When next_plan takes the place of plan; NULL means that no change is planned.';
COMMENT ON COLUMN wallet.wallets.closed_until IS 'Usage before this time is booked into the open period; NULL: no period is closed. It is a copy of closed_periods.until, so that a charge reads it with the wallet''s row. That of * applies too.';
COMMENT ON COLUMN wallet.wallets.next_plan IS 'The plan from next_plan_at on; NULL means none.';
COMMENT ON COLUMN wallet.wallets.lanes IS 'The number of lanes of the balance, which is the number of transactions that can spend at the same time.';

-- The mechanism behind balances and limits: a bounded counter in lanes.
--
-- The balance has the nil UUID. A balance with one lane uses lane 0, which is locked as a row. A
-- balance with n lanes uses lanes 1 to n, each with a lock of its own. All other lanes are empty
-- spares, into which a funding puts money while every active lane is busy. Lane -1 contains the
-- credit that only some models or services may use. It is part of the balance, but pays for nothing
-- else. It is written only by calls that hold all other lanes.
--
-- Each window of a limit has a row. Its id is computed from the limit, the subject and the start of
-- the window.
--
-- Without a foreign key, because it would lock the wallet's row at every charge.
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
    recheck_done       bigint NOT NULL DEFAULT 0,
    slices         bytea,
    evaluate_at        timestamptz,
    waits          bigint,
    armed          boolean,
    PRIMARY KEY (wallet_id, allowance_id, lane),
    -- A single CHECK, because PostgreSQL parses every CHECK again for each statement. The columns
    -- used only by lanes of a balance are NULL in the rows of windows, of which there are many
    -- more, and take no room there.
    CONSTRAINT allowance_not_overdrawn CHECK (
        (allotted IS NULL OR allotted <> 'NaN' AND spent + held <= allotted)
        AND spent >= 0 AND held >= 0
        AND (limit_id IS NOT NULL OR num_nulls(version, epoch, seq, booked, hash, waits) = 0)
    )
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
COMMENT ON TABLE wallet.allowances IS 'Bounded counters, divided into lanes: the balance and every limit. spent + held never exceeds allotted.';
COMMENT ON COLUMN wallet.allowances.allowance_id IS 'Nil for a balance. For a window of a limit, computed from the limit, the subject and the start of the window.';
COMMENT ON COLUMN wallet.allowances.version IS 'Balance rows only: number of changes. A write checks that the lane still has the version that was read.';
COMMENT ON COLUMN wallet.allowances.epoch IS 'Balance rows only: version of the wallet''s settings. A charge that has cached another version reads them again.';
COMMENT ON COLUMN wallet.allowances.recheck_done IS 'Balance rows: the wallet''s recheck counter (recheck_requested) at the last full check of all lanes. Window rows: the number of the limit''s levels that have been reported.';
COMMENT ON COLUMN wallet.allowances.slices IS 'Rolling windows only: usage per slice of time. spent is the sum of the slices at the last change.';
COMMENT ON COLUMN wallet.allowances.evaluate_at IS 'From this time on, a charge must take the slow path, because a top-up rule may be due.';
COMMENT ON COLUMN wallet.allowances.waits IS 'Balance rows only: number of charges and holds that found no free lane and waited for this one since set_lanes() last changed the lanes.';
COMMENT ON COLUMN wallet.allowances.armed IS 'Balance rows only: whether every alert threshold was armed at the last full check of all lanes. If so, released money need not arm any.';
COMMENT ON COLUMN wallet.allowances.seq IS 'Balance rows only: number of the lane''s last entry.';
COMMENT ON COLUMN wallet.allowances.allotted IS 'The total that may be spent; NULL means unlimited.';
COMMENT ON COLUMN wallet.allowances.watermark IS 'Balance rows: a charge that would leave less than this in the lane takes the slow path; the lanes'' watermarks add up to the next alert threshold. Rows of a spread limit window: a charge whose usage would reach this value acquires all lanes. Row of lane 0 of a window of a limit with rollover_max: the amount carried into the window minus the amount carried on.';
COMMENT ON COLUMN wallet.allowances.booked IS 'Balance rows only: running total of the lane''s entries. The totals of all lanes add up to balance minus debt.';
COMMENT ON COLUMN wallet.allowances.hash IS 'Balance rows only: hash of the lane''s last entry, which is the head of its chain.';

-- Alert thresholds and their state. Written only under the lock of an active lane.
CREATE TABLE wallet.thresholds (
    wallet_id   text NOT NULL REFERENCES wallet.wallets,
    kind        text NOT NULL CHECK (kind IN ('low', 'depleted', 'topup', 'covered')),
    threshold   numeric(28,12) NOT NULL CHECK (threshold <> 'NaN'),
    state       text NOT NULL CHECK (state IN ('new', 'armed', 'fired')),
    PRIMARY KEY (wallet_id, kind, threshold)
);
COMMENT ON TABLE wallet.thresholds IS 'Alert thresholds of a wallet. new: never reached; armed: available is at or above it; fired: available fell below it and has not recovered.';
COMMENT ON COLUMN wallet.thresholds.kind IS 'low and depleted: the event; topup: the threshold of a top-up rule; covered: below it, the open top-ups are no longer enough for a rule whose threshold has fired.';

-- First results of calls that write no ledger entry, for replays.
CREATE TABLE wallet.requests (
    wallet_id         text NOT NULL,
    call              text NOT NULL,
    idempotency_key   text NOT NULL,
    fingerprint       uuid,
    result            jsonb,
    created_at        timestamptz NOT NULL,
    PRIMARY KEY (wallet_id, call, idempotency_key)
);
COMMENT ON COLUMN wallet.requests.fingerprint IS 'Half of a SHA-256 of the arguments. NULL once an erasure removed it: a replay is then not compared.';
COMMENT ON TABLE wallet.requests IS 'Idempotency keys of calls that write no ledger entry. wallet_id * means a call that concerns all wallets or none.';
