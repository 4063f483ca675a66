-- Where events are delivered to, and which deliveries are still to be made.
--
-- A delivery is written in the transaction that causes its event, so an event reaches the
-- destinations that were set when it happened, even if they are changed before it is delivered.
CREATE TABLE wallet.destinations (
    wallet_id          text NOT NULL,
    name               text NOT NULL,
    kind               text NOT NULL CHECK (kind IN ('webhook', 'slack', 'teams', 'email')),
    address            text NOT NULL,
    events             text[],
    target_secret      text NOT NULL,
    signing_secret     text,
    previous_secret    text,
    previous_until     timestamptz,
    created_at         timestamptz NOT NULL,
    changed_at         timestamptz NOT NULL,
    actor              text,
    metadata           jsonb,
    usage_cursor       jsonb,
    usage_event_id     uuid,
    PRIMARY KEY (wallet_id, name),
    CONSTRAINT destination_is_signed CHECK ((kind = 'webhook') = (signing_secret IS NOT NULL))
);
-- A claim looks for new charges only here. Wallets that did not ask for usage_charged cost nothing.
CREATE INDEX destinations_usage ON wallet.destinations (wallet_id) WHERE usage_cursor IS NOT NULL;
COMMENT ON TABLE wallet.destinations IS 'Where the events of a wallet or, with *, of all wallets are delivered to.';
COMMENT ON COLUMN wallet.destinations.address IS 'The part of the target that is no secret: the server of a URL, or the e-mail address.';
COMMENT ON COLUMN wallet.destinations.events IS 'The names of the events to deliver; NULL: all.';
COMMENT ON COLUMN wallet.destinations.target_secret IS 'The URL or e-mail address. The URL of a chat service is a password, so nobody reads it except through claim_deliveries().';
COMMENT ON COLUMN wallet.destinations.signing_secret IS 'Signs the requests to a webhook.';
COMMENT ON COLUMN wallet.destinations.previous_secret IS 'Signs the requests too, until previous_until.';
COMMENT ON COLUMN wallet.destinations.usage_cursor IS 'The cursor of changes() after the last charge of an event usage_charged; NULL: the destination has no such events.';
COMMENT ON COLUMN wallet.destinations.usage_event_id IS 'The last event usage_charged. The next one is made when its delivery has ended.';

CREATE TABLE wallet.deliveries (
    wallet_id       text NOT NULL,
    delivery_id     uuid NOT NULL,
    event_id        uuid NOT NULL,
    set_for         text NOT NULL,
    destination     text NOT NULL,
    created_at      timestamptz NOT NULL,
    available_at    timestamptz NOT NULL,
    claimed_at      timestamptz,
    attempts        integer NOT NULL DEFAULT 0,
    delivered_at    timestamptz,
    dead_at         timestamptz,
    last_error      text,
    PRIMARY KEY (wallet_id, delivery_id)
);
-- A queue is the deliveries of one wallet to one destination, in the order of their events.
CREATE INDEX deliveries_waiting ON wallet.deliveries (set_for, destination, wallet_id, event_id)
    WHERE delivered_at IS NULL AND dead_at IS NULL;
-- Those that a worker has, or had when its lease ran out.
CREATE INDEX deliveries_claimed ON wallet.deliveries (set_for, destination, wallet_id, claimed_at)
 WHERE claimed_at IS NOT NULL AND delivered_at IS NULL AND dead_at IS NULL;
COMMENT ON TABLE wallet.deliveries IS 'One row per event and destination. The view delivery_list shows them.';
COMMENT ON COLUMN wallet.deliveries.set_for IS 'The wallet_id of the destination: the wallet, or *.';
COMMENT ON COLUMN wallet.deliveries.available_at IS 'When a worker may claim the delivery, if it is the first of its queue.';
COMMENT ON COLUMN wallet.deliveries.attempts IS 'Number of failed attempts.';
COMMENT ON COLUMN wallet.deliveries.dead_at IS 'When the last attempt failed, or the destination was dropped. No further attempt is made.';

CREATE VIEW wallet.destination_list WITH (security_invoker = true) AS
SELECT d.wallet_id AS wallet, d.name, d.kind, d.address, d.events, d.created_at, d.changed_at,
       CASE WHEN d.previous_until > statement_timestamp() THEN d.previous_until END AS previous_until,
       d.actor, d.metadata
  FROM wallet.destinations d;
COMMENT ON VIEW wallet.destination_list IS 'Where events are delivered to, without the secrets. wallet * means all wallets.';
COMMENT ON COLUMN wallet.destination_list.address IS 'The server of a URL, or the e-mail address.';
COMMENT ON COLUMN wallet.destination_list.events IS 'The names of the events that are delivered; NULL: all.';
COMMENT ON COLUMN wallet.destination_list.previous_until IS 'Until when requests are signed with the previous secret too; NULL: with the current one alone.';

CREATE VIEW wallet.delivery_list WITH (security_invoker = true) AS
SELECT d.wallet_id AS wallet, d.delivery_id, d.event_id, o.event, d.set_for, d.destination,
       CASE WHEN d.delivered_at IS NOT NULL THEN 'delivered' WHEN d.dead_at IS NOT NULL THEN 'dead' ELSE 'waiting' END AS status,
       d.attempts, d.created_at,
       CASE WHEN d.delivered_at IS NULL AND d.dead_at IS NULL THEN d.available_at END AS next_at,
       d.delivered_at, d.dead_at, d.last_error
  FROM wallet.deliveries d
  LEFT JOIN wallet.outbox o ON o.wallet_id = d.wallet_id AND o.event_id = d.event_id;
COMMENT ON VIEW wallet.delivery_list IS 'The deliveries of events. Those with status dead were given up: resend_delivery() makes them wait again.';
COMMENT ON COLUMN wallet.delivery_list.set_for IS 'Whose destination it is: the wallet''s own, or that of all wallets (*).';
COMMENT ON COLUMN wallet.delivery_list.status IS 'waiting, delivered or dead.';
COMMENT ON COLUMN wallet.delivery_list.attempts IS 'Number of failed attempts.';
COMMENT ON COLUMN wallet.delivery_list.next_at IS 'When the next attempt is due, unless earlier events of the same wallet still wait for the same destination.';
