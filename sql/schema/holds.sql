-- Without a foreign key, because it would lock the wallet's row at every hold.
CREATE TABLE wallet.reservations (
    wallet_id           text NOT NULL,
    hold_id             uuid NOT NULL,
    status              text NOT NULL,
    amount              numeric(28,12) NOT NULL,
    held                numeric(28,12) NOT NULL,
    settled             numeric(28,12) NOT NULL DEFAULT 0,
    lane                smallint NOT NULL,
    balance             numeric(28,12) NOT NULL,
    affordable_tokens   bigint,
    created_at          timestamptz NOT NULL,
    expires_at          timestamptz NOT NULL,
    closed_at           timestamptz,
    window_ids          uuid[] NOT NULL,
    window_amounts      numeric[] NOT NULL,
    idempotency_key     text,
    fingerprint         uuid,
    key_id              uuid,
    user_id             text,
    team                text,
    model               text,
    service             text,
    region              text,
    service_tier        text,
    tags                jsonb,
    usage               jsonb,
    reason              text,
    actor               text,
    metadata            jsonb,
    scoped_ids          uuid[] NOT NULL DEFAULT '{}',
    scoped_amounts      numeric[] NOT NULL DEFAULT '{}',
    provider            text,
    priced_as           text,
    event_at            timestamptz,
    charge_on_expiry    boolean NOT NULL DEFAULT false,
    expiry_entry_id     uuid,
    approval            "char",
    spender             text,
    PRIMARY KEY (wallet_id, hold_id),
    -- A single CHECK, because PostgreSQL parses every CHECK again for each statement.
    CONSTRAINT hold_in_order CHECK (
        status IN ('open', 'settled', 'voided', 'expired')
        AND amount >= 0 AND held >= 0 AND settled >= 0
        AND 'NaN' NOT IN (amount, held, settled)
        AND approval IN ('w', 'c', 'a')
    )
-- A settlement writes a new version of its hold, on the same page if there is room.
) WITH (fillfactor = 80);
-- Holds that are charged when they expire are separate, so that neither kind is read for the other.
CREATE INDEX reservations_open ON wallet.reservations (wallet_id, charge_on_expiry, expires_at) WHERE status = 'open';
COMMENT ON TABLE wallet.reservations IS 'Holds: money reserved until the actual usage is known. The view holds shows them.';
COMMENT ON COLUMN wallet.reservations.hold_id IS 'A hash of the wallet and the idempotency key, so that the primary key allows one hold per key. Without a key, a UUIDv7.';
COMMENT ON COLUMN wallet.reservations.held IS 'The amount that is still reserved; zero once the hold is closed.';
COMMENT ON COLUMN wallet.reservations.settled IS 'The amount booked so far.';
COMMENT ON COLUMN wallet.reservations.lane IS 'The lane of the balance in which the amount is held.';
COMMENT ON COLUMN wallet.reservations.balance IS 'The balance that the call returned.';
COMMENT ON COLUMN wallet.reservations.window_ids IS 'The windows of limits in which the hold also reserves an amount.';
COMMENT ON COLUMN wallet.reservations.window_amounts IS 'The reserved amount, in the limit''s metric, in the window at the same array position.';

COMMENT ON COLUMN wallet.reservations.usage IS 'The estimate. A settlement takes from it the attributes that the price needs and the settlement''s own usage omits.';
COMMENT ON COLUMN wallet.reservations.provider IS 'The provider that the estimate names.';
COMMENT ON COLUMN wallet.reservations.priced_as IS 'The argument model, if given. A settlement with a provider''s response is priced as this model.';
COMMENT ON COLUMN wallet.reservations.event_at IS 'The time of use, if the caller gave one.';
COMMENT ON COLUMN wallet.reservations.charge_on_expiry IS 'True if the amount is charged when the hold expires (on_expiry => ''charge''). It stays reserved until the charge is booked.';
COMMENT ON COLUMN wallet.reservations.expiry_entry_id IS 'The charge that booked the amount after the hold had expired.';
COMMENT ON COLUMN wallet.reservations.approval IS 'w: waits for approval; c: waits, and is charged when it expires once approved; a: approved. NULL: needs no approval.';
COMMENT ON COLUMN wallet.reservations.spender IS 'The child whose hold this is. The child has a row with the same hold_id. NULL for a hold of the wallet itself.';
COMMENT ON COLUMN wallet.reservations.scoped_ids IS 'The grants for some models or services in which part of the amount is held. The lane holds the rest. ffffffff-ffff-ffff-ffff-ffffffffffff: the part that the parent holds.';
COMMENT ON COLUMN wallet.reservations.scoped_amounts IS 'The amount held in the grant at the same array position.';

-- The refunded amount of each charge, so that refunds never exceed the charge.
CREATE TABLE wallet.refunds (
    wallet_id    text NOT NULL,
    entry_id     uuid NOT NULL,
    refunded     numeric(28,12) NOT NULL CHECK (refunded >= 0 AND refunded <> 'NaN'),
    PRIMARY KEY (wallet_id, entry_id)
);
COMMENT ON TABLE wallet.refunds IS 'The refunded amount of each charge. Charges without a refund have no row.';
