-- There is no foreign key on purpose: it would lock the wallet's row at every hold.
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
    PRIMARY KEY (wallet_id, hold_id),
    -- One CHECK: PostgreSQL parses each of them again for every statement.
    CONSTRAINT hold_in_order CHECK (
        status IN ('open', 'settled', 'voided', 'expired')
        AND amount >= 0 AND held >= 0 AND settled >= 0
        AND 'NaN' NOT IN (amount, held, settled)
    )
-- A settlement writes its hold anew, on the same page where it can.
) WITH (fillfactor = 80);
CREATE INDEX reservations_open ON wallet.reservations (wallet_id, expires_at) WHERE status = 'open';
COMMENT ON TABLE wallet.reservations IS 'Holds: money set aside until the actual use is known. The view holds shows them.';
COMMENT ON COLUMN wallet.reservations.hold_id IS 'A hash of wallet and idempotency key, so that the primary key lets each key make one hold; without a key a UUIDv7.';
COMMENT ON COLUMN wallet.reservations.held IS 'What is still set aside; zero once the hold is closed.';
COMMENT ON COLUMN wallet.reservations.settled IS 'What was booked of it so far.';
COMMENT ON COLUMN wallet.reservations.lane IS 'The lane of the balance in which it is held.';
COMMENT ON COLUMN wallet.reservations.balance IS 'The balance that the call returned.';
COMMENT ON COLUMN wallet.reservations.window_ids IS 'The limits'' windows in which it is held as well.';
COMMENT ON COLUMN wallet.reservations.window_amounts IS 'How much of what the limit counts is held in the window at the same place.';

COMMENT ON COLUMN wallet.reservations.usage IS 'The estimate. A settlement takes from it what the price needs and its own usage leaves out.';
COMMENT ON COLUMN wallet.reservations.provider IS 'The provider that the estimate names.';
COMMENT ON COLUMN wallet.reservations.priced_as IS 'The argument model, where it was given: a settlement by a provider''s response is priced as that model.';
COMMENT ON COLUMN wallet.reservations.event_at IS 'When the use happens, if the caller said so.';
COMMENT ON COLUMN wallet.reservations.scoped_ids IS 'The grants for some models or services in which a part of it is held; the lane holds the rest.';
COMMENT ON COLUMN wallet.reservations.scoped_amounts IS 'How much is held in the grant at the same place.';

-- What was given back of each charge, so that the whole is never more than what was charged.
CREATE TABLE wallet.refunds (
    wallet_id    text NOT NULL,
    entry_id     uuid NOT NULL,
    refunded     numeric(28,12) NOT NULL CHECK (refunded >= 0 AND refunded <> 'NaN'),
    PRIMARY KEY (wallet_id, entry_id)
);
COMMENT ON TABLE wallet.refunds IS 'How much of each charge was refunded; charges without a refund have no row.';
