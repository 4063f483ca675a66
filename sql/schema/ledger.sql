-- Fixed-width columns come first and codes take one byte, because tuple headers and alignment
-- padding dominate the size of an entry.
CREATE TABLE wallet.ledger (
    entry_id          uuid NOT NULL,
    created_at        timestamptz NOT NULL,
    event_at          timestamptz,
    seq               bigint NOT NULL,
    fingerprint       uuid,
    related_id        uuid,
    key_id            uuid,
    lane              smallint NOT NULL,
    kind              "char" NOT NULL,
    call              "char" NOT NULL,
    wallet_id         text NOT NULL,
    amount            numeric(28,12) NOT NULL CHECK (amount <> 'NaN'),
    lane_balance      numeric(28,12) NOT NULL,
    balance           numeric(28,12),
    hash              bytea NOT NULL,
    idempotency_key   text,
    user_id           text,
    team              text,
    provider          text,
    model             text,
    service           text,
    region            text,
    service_tier      text,
    lines             bytea,
    usage             jsonb,
    tags              jsonb,
    contra            text,
    reference         text,
    reason            text,
    actor             text,
    metadata          jsonb,
    person_proof      bytea,
    payload_proof     bytea,
    used_at           timestamptz,
    CONSTRAINT ledger_idempotency UNIQUE (wallet_id, idempotency_key, call)
);
-- Created after the other index: if both seem to cost the same, for example because the table was
-- small when it was analyzed, the planner chooses the newer index. With the other one it would read
-- all entries of a wallet to find a single entry.
ALTER TABLE wallet.ledger ADD PRIMARY KEY (wallet_id, entry_id);
COMMENT ON TABLE wallet.ledger IS 'The ledger behind the view entries: one immutable row per entry. Never updated; deleted only by archive(), which moves it.';
COMMENT ON COLUMN wallet.ledger.used_at IS 'Only if the time of use was in a closed period: that time. Reports then count the entry from event_at or, if it is NULL, from created_at.';
COMMENT ON COLUMN wallet.ledger.entry_id IS 'UUIDv7, ordered by the time of booking.';
COMMENT ON COLUMN wallet.ledger.event_at IS 'The time of use, if the caller gave one. NULL means created_at.';
COMMENT ON COLUMN wallet.ledger.seq IS 'Position in the lane''s chain, starting at 1 without gaps.';
COMMENT ON COLUMN wallet.ledger.fingerprint IS 'Half of a SHA-256 of the request''s arguments. It distinguishes a replay from a different request.';
COMMENT ON COLUMN wallet.ledger.related_id IS 'The entry to which this one refers, such as the refunded charge. For a settlement, the hold_id.';
COMMENT ON COLUMN wallet.ledger.kind IS 'f funding, c charge, r refund, a adjustment, x expiry, t transfer, b chargeback.';
COMMENT ON COLUMN wallet.ledger.call IS 'The call that booked the entry and used its idempotency key: f fund, c charge, p price_unpriced, b reverse_funding, x the end of a grant, g void_grant or set_recurring_grant, s settle, r refund, a adjust, t transfer, d money that a child draws from its parent, l money lent to a child for a charge, m for a settlement, n for a late price, u lent money that a refund returns.';
COMMENT ON COLUMN wallet.ledger.amount IS 'Signed: positive if money enters the wallet.';
COMMENT ON COLUMN wallet.ledger.lane_balance IS 'Running total of the lane''s entries, including this one.';
COMMENT ON COLUMN wallet.ledger.balance IS 'The wallet''s balance that the call returned; NULL if equal to lane_balance.';
COMMENT ON COLUMN wallet.ledger.hash IS 'SHA-256 of the lane''s previous hash and this row in form 1 (docs/ledger.md).';
COMMENT ON COLUMN wallet.ledger.lines IS 'Price lines in a compact form (docs/ledger.md). entry_lines() expands them.';
COMMENT ON COLUMN wallet.ledger.usage IS 'The usage object as received; NULL if model and lines contain all of it. For a funding in another currency: the amount paid, its currency, the rate and the rounding.';
COMMENT ON COLUMN wallet.ledger.person_proof IS 'The salt of the digest of user_id, actor and fingerprint that the hash covers (16 bytes) or, once they were erased, the digest (32 bytes).';
COMMENT ON COLUMN wallet.ledger.payload_proof IS 'The salt of the digest of usage, tags, metadata, reference and reason that the hash covers (16 bytes) or, once one of them was erased or dropped, the digest (32 bytes).';
COMMENT ON COLUMN wallet.ledger.contra IS 'The contra account of the entry. NULL for usage, whose contra account follows from provider and model.';

-- A small table outside of the hot path; an index on the ledger would slow down every charge.
-- Entries are never deleted, so no foreign key is needed.
CREATE TABLE wallet.unpriced_charges (
    wallet_id         text NOT NULL,
    entry_id          uuid NOT NULL,
    priced_id         uuid,
    most              numeric(28,12) CHECK (most >= 0 AND most <> 'NaN'),
    PRIMARY KEY (wallet_id, entry_id)
);
CREATE INDEX unpriced_pending ON wallet.unpriced_charges (wallet_id) WHERE priced_id IS NULL;
COMMENT ON TABLE wallet.unpriced_charges IS 'Charges that were booked at zero because their model had no price. The view unpriced shows the ones that still have none.';
COMMENT ON COLUMN wallet.unpriced_charges.most IS 'Upper bound of the price, for a settlement that could not exceed its hold: the amount held. NULL: no upper bound.';
COMMENT ON COLUMN wallet.unpriced_charges.priced_id IS 'The entry that booked the cost of the charge; NULL if it is not priced yet.';

-- Written once, by the first charge with the path; the number of occurrences is counted from the
-- ledger. The key is a hash, because paths may be long.
CREATE TABLE wallet.unread_paths (
    wallet_id     text NOT NULL,
    path_id       uuid NOT NULL,
    entry_id      uuid NOT NULL,
    first_seen    timestamptz NOT NULL,
    provider      text,
    mapping       text,
    model         text,
    path          text NOT NULL,
    jsonpath      jsonpath NOT NULL,
    example       jsonb NOT NULL,
    PRIMARY KEY (wallet_id, path_id)
);
COMMENT ON TABLE wallet.unread_paths IS 'Places in usage objects with numbers that nothing read, one row per place. The view unread_usage shows them.';
COMMENT ON COLUMN wallet.unread_paths.path_id IS 'Half of a SHA-256 of provider, mapping, model and jsonpath.';
COMMENT ON COLUMN wallet.unread_paths.entry_id IS 'The first charge with a number at this place.';
COMMENT ON COLUMN wallet.unread_paths.mapping IS 'The mapping that read the rest of the object; NULL for the flat form.';
COMMENT ON COLUMN wallet.unread_paths.jsonpath IS 'Selects the place''s nonzero numbers in a usage object.';

CREATE TABLE wallet.funding_requests (
    wallet_id           text NOT NULL REFERENCES wallet.wallets,
    entry_id            uuid NOT NULL,
    amount              numeric(28,12) NOT NULL CHECK (amount > 0 AND amount <> 'NaN'),
    method              text NOT NULL,
    reference           text,
    status              text NOT NULL CHECK (status IN ('pending', 'settled', 'failed', 'reversed')),
    created_at          timestamptz NOT NULL,
    original_amount     numeric(28,12) CHECK (original_amount > 0 AND original_amount <> 'NaN'),
    original_currency   text,
    rate                numeric CHECK (rate > 0 AND rate <> 'NaN'),
    rounding            numeric,
    expires_at          timestamptz,
    priority            integer NOT NULL DEFAULT 100,
    promotional         boolean NOT NULL DEFAULT false,
    scope               jsonb,
    finished_at         timestamptz,
    reversal_id         uuid,
    reason              text,
    actor               text,
    metadata            jsonb,
    reversed            numeric(28,12) NOT NULL DEFAULT 0,
    reversed_original   numeric(28,12) NOT NULL DEFAULT 0,
    bonus               numeric(28,12) CHECK (bonus > 0 AND bonus <> 'NaN'),
    bonus_percent       numeric CHECK (bonus_percent > 0 AND bonus_percent <> 'NaN'),
    bonus_id            uuid,
    bonus_reversed      numeric(28,12) NOT NULL DEFAULT 0,
    inverse             boolean NOT NULL DEFAULT false,
    PRIMARY KEY (wallet_id, entry_id),
    CONSTRAINT funding_bonus_is_whole CHECK (
        num_nulls(bonus, bonus_percent, bonus_id) IN (0, 3) AND bonus_reversed BETWEEN 0 AND coalesce(bonus, 0)),
    CONSTRAINT funding_reversed_once CHECK (
        reversed BETWEEN 0 AND amount AND reversed_original BETWEEN 0 AND coalesce(original_amount, 0))
);
-- A failed payment may be retried with the same reference.
CREATE UNIQUE INDEX funding_reference ON wallet.funding_requests (wallet_id, method, reference)
    WHERE status <> 'failed';
COMMENT ON TABLE wallet.funding_requests IS 'Fundings by method and the payment provider''s reference, so that no payment is credited twice.';
COMMENT ON COLUMN wallet.funding_requests.entry_id IS 'The entry that credits the funding. A pending funding has no such entry yet.';
COMMENT ON COLUMN wallet.funding_requests.amount IS 'The credited amount, in the wallet''s currency.';
COMMENT ON COLUMN wallet.funding_requests.original_amount IS 'The amount paid, if it was in another currency.';
COMMENT ON COLUMN wallet.funding_requests.rate IS 'The exchange rate between the original currency and the wallet''s currency; see inverse.';
COMMENT ON COLUMN wallet.funding_requests.rounding IS 'The amount that rounding to 12 decimals added to the conversion of original_amount.';
COMMENT ON COLUMN wallet.funding_requests.inverse IS 'True if the rate was recorded for the opposite pair: original_amount is divided by the rate.';
COMMENT ON COLUMN wallet.funding_requests.reversal_id IS 'The last entry that took back all or part of the funding.';
COMMENT ON COLUMN wallet.funding_requests.reversed IS 'How much of amount reverse_funding() has taken back so far.';
COMMENT ON COLUMN wallet.funding_requests.reversed_original IS 'How much of original_amount has been taken back so far; zero if there is no original_amount.';
COMMENT ON COLUMN wallet.funding_requests.bonus IS 'The promotional credit added to the payment; NULL if there is no bonus.';
COMMENT ON COLUMN wallet.funding_requests.bonus_percent IS 'The bonus in percent of the payment. A reversal takes back the same percentage.';
COMMENT ON COLUMN wallet.funding_requests.bonus_id IS 'The entry that credits the bonus.';
COMMENT ON COLUMN wallet.funding_requests.bonus_reversed IS 'How much of the bonus reverse_funding() has taken back so far.';

-- A wallet has at most one rule, in its own currency. * has at most one rule per currency.
CREATE TABLE wallet.bonus_rules (
    wallet_id     text NOT NULL,
    currency      text NOT NULL,
    tiers         jsonb NOT NULL,
    expires_in    interval,
    created_at    timestamptz NOT NULL,
    actor         text,
    metadata      jsonb,
    PRIMARY KEY (wallet_id, currency)
);
COMMENT ON TABLE wallet.bonus_rules IS 'Bonuses on payments: for one wallet or, with *, for all wallets in a currency that have no bonus of their own.';
COMMENT ON COLUMN wallet.bonus_rules.tiers IS 'Array of {from, percent}, as given. The tier with the highest from that a payment reaches applies to all of the payment.';
COMMENT ON COLUMN wallet.bonus_rules.expires_in IS 'How long a bonus lives after it was booked; NULL: it does not expire.';

-- Not tied to a wallet, like prices. Rows never change: a rate applies until a later one begins.
CREATE TABLE wallet.fx_rates (
    rate_id          uuid PRIMARY KEY,
    from_currency    text NOT NULL,
    to_currency      text NOT NULL,
    rate             numeric CHECK (rate > 0 AND rate <> 'NaN'),
    effective_from   timestamptz NOT NULL,
    created_at       timestamptz NOT NULL,
    actor            text,
    metadata         jsonb,
    source           text
);
CREATE INDEX fx_rates_pair ON wallet.fx_rates (from_currency, to_currency, effective_from, created_at, rate_id);
COMMENT ON TABLE wallet.fx_rates IS 'Exchange rates, each valid from a date on. Of several rows for the same pair and date, the one recorded last applies.';
COMMENT ON COLUMN wallet.fx_rates.source IS 'The origin of the rate, such as ECB.';
COMMENT ON COLUMN wallet.fx_rates.rate IS 'The value of one unit of from_currency in to_currency; NULL ends the pair''s rate.';

-- A code is worth money. Only its hash is stored, so that neither a reader nor a dump can spend it.
CREATE TABLE wallet.vouchers (
    code_hash         bytea PRIMARY KEY,
    voucher_id        uuid NOT NULL UNIQUE,
    amount            numeric(28,12) NOT NULL CHECK (amount > 0 AND amount <> 'NaN'),
    currency          text NOT NULL,
    expires_at        timestamptz,
    max_redemptions   integer NOT NULL CHECK (max_redemptions > 0),
    redemptions       integer NOT NULL DEFAULT 0,
    created_at        timestamptz NOT NULL,
    actor             text,
    metadata          jsonb,
    scope             jsonb,
    CONSTRAINT voucher_not_overdrawn CHECK (redemptions BETWEEN 0 AND max_redemptions)
);
COMMENT ON TABLE wallet.vouchers IS 'Voucher codes by their SHA-256, with the number of redemptions. The redemptions themselves are fundings.';

CREATE TABLE wallet.outbox (
    wallet_id    text NOT NULL,
    event_id     uuid NOT NULL,
    event        text NOT NULL,
    threshold    numeric,
    payload      jsonb NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL,
    claimed_at   timestamptz,
    done_at      timestamptz,
    attempts     integer NOT NULL DEFAULT 0,
    available_at timestamptz NOT NULL,
    last_error   text,
    PRIMARY KEY (wallet_id, event_id)
);
CREATE INDEX outbox_event ON wallet.outbox (event_id);
-- Events that no worker has claimed yet and events that were claimed have separate indexes, so that
-- a search for one kind does not scan the other. Claimed events that can be claimed again are found
-- by available_at or, if there are many, by event_id. A new event is only in the first index.
CREATE INDEX outbox_untouched ON wallet.outbox (event_id) WHERE done_at IS NULL AND available_at <= created_at;
CREATE INDEX outbox_coming_free ON wallet.outbox (available_at) WHERE done_at IS NULL AND available_at > created_at;
CREATE INDEX outbox_given_out ON wallet.outbox (event_id) WHERE done_at IS NULL AND available_at > created_at;
COMMENT ON TABLE wallet.outbox IS 'Events, written in the transaction that caused them. The view events shows them.';
COMMENT ON COLUMN wallet.outbox.event_id IS 'UUIDv7 with a resolution below one microsecond, in the order of the events.';
COMMENT ON COLUMN wallet.outbox.available_at IS 'When a worker may claim the event: at once, after the current lease, or after the pause that retry_event() requested.';
