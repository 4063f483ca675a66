-- archive() moves old entries here, so that the table that charges write stays small. Rows are
-- moved unchanged, including the hash: the chain of a lane continues from its last entry here to
-- its first entry in the ledger.
CREATE TABLE wallet.ledger_archive (LIKE wallet.ledger INCLUDING COMMENTS INCLUDING CONSTRAINTS);
ALTER TABLE wallet.ledger_archive ADD PRIMARY KEY (wallet_id, entry_id);
-- Archived calls keep their idempotency keys permanently.
CREATE UNIQUE INDEX ledger_archive_key ON wallet.ledger_archive (wallet_id, idempotency_key, call)
    WHERE idempotency_key IS NOT NULL;
COMMENT ON TABLE wallet.ledger_archive IS 'Entries that archive() moved out of the ledger, unchanged. Never updated, never deleted.';

CREATE TABLE wallet.carried_forward (
    wallet_id     text NOT NULL,
    archive_id    uuid NOT NULL,
    lane          smallint NOT NULL,
    seq           bigint NOT NULL CHECK (seq > 0),
    amount        numeric(28,12) NOT NULL CHECK (amount <> 'NaN'),
    hash          bytea NOT NULL,
    archived_at   timestamptz NOT NULL,
    actor         text,
    PRIMARY KEY (wallet_id, archive_id, lane)
);
COMMENT ON TABLE wallet.carried_forward IS 'The state that each call of archive() carried forward, one row per lane. The lane''s entries in the ledger begin after the latest row. Never updated, never deleted.';
COMMENT ON COLUMN wallet.carried_forward.archive_id IS 'Identifies the call of archive(), a UUIDv7. It is the same for all lanes of the call.';
COMMENT ON COLUMN wallet.carried_forward.seq IS 'The last archived entry of the lane.';
COMMENT ON COLUMN wallet.carried_forward.amount IS 'The sum of the lane''s entries up to seq, equal to the lane_balance of that entry.';
COMMENT ON COLUMN wallet.carried_forward.hash IS 'The hash of that entry, which is the previous hash of the lane''s first entry in the ledger.';

-- Everything that reads entries reads this view, so that archiving changes no result. The end of a
-- grant and the renewal of a recurring grant count in balances from their due time, no matter when
-- they were booked.
CREATE VIEW wallet.ledger_all WITH (security_invoker = true) AS
SELECT l.*, CASE WHEN l.call IN ('x', 'g') THEN coalesce(l.event_at, l.created_at) ELSE l.created_at END AS effective_at
  FROM wallet.ledger l
 UNION ALL
SELECT l.*, CASE WHEN l.call IN ('x', 'g') THEN coalesce(l.event_at, l.created_at) ELSE l.created_at END
  FROM wallet.ledger_archive l;
COMMENT ON VIEW wallet.ledger_all IS 'Every entry, in the ledger or in its archive.';
COMMENT ON COLUMN wallet.ledger_all.effective_at IS 'When the entry begins to count in a balance: the time of booking or, for the end of a grant and the renewal of a recurring grant, the due time.';
