//! The event `usage_charged`: charges of a wallet in batches, for webhooks that name it.
//!
//! A charge writes nothing for it. The ledger is the outbox: a worker that claims deliveries first
//! reads the charges after each webhook's cursor and writes them as one event with its delivery.
//! From then on the batch is a delivery like any other, with its lease, attempts and end.
//!
//! - **A charge commits late.** The cursor is one of `changes()`, which counts the entries of each
//!   lane. They commit in the order of their numbers, so none is passed over.
//! - **A worker ends in between.** The cursor, the event and the delivery are one transaction. If
//!   it rolls back, the next claim reads the same charges.
//! - **Two workers claim at once.** The row of the destination is locked, and a claim skips a
//!   locked one.
//! - **Order.** A batch is made when the delivery of the one before it has ended. So the charges of
//!   a destination that cannot be reached wait in the ledger, and the queue has one batch of them.
//! - **A person is erased meanwhile.** The erasure holds the lock of the archive. A batch is not
//!   made while somebody has it, so none has a name that the erasure did not see.

use crate::error::Result;
use crate::outbox::{self, Name};
use crate::pg::clock::Timestamp;
use crate::storage::lock;
use crate::storage::plan::{Run, Value, statement};

/// The name of the event.
pub const EVENT: &str = Name::UsageCharged.as_str();

/// The most entries that a batch is made of.
const BATCH: i32 = 250;

/// The most bytes of a batch with more than one entry. Receivers refuse requests of some megabytes.
const BYTES: i32 = 512 * 1024;

/// The most pages without a charge that one claim passes over. The ledger of a parent that pays for
/// others is full of them.
const PAGES: usize = 20;

/// The most destinations that one claim makes batches for, so that it soon returns some.
const DESTINATIONS: i64 = 20;

statement!(
    /// The destinations with new entries whose last batch has ended. Those that are furthest
    /// behind come first, so that each gets its turn. The lanes say whether there are new
    /// entries, so the ledger is not read.
    DUE,
    [TEXTARRAYOID, INT8OID],
    "SELECT d.wallet_id, d.name
       FROM wallet.destinations d
      WHERE d.usage_cursor IS NOT NULL AND ($1 IS NULL OR d.wallet_id = ANY ($1))
        AND EXISTS (
            SELECT FROM wallet.allowances a
             WHERE a.wallet_id = d.wallet_id AND a.allowance_id = '00000000-0000-0000-0000-000000000000'
               AND a.seq > coalesce((d.usage_cursor -> 'wallets' -> d.wallet_id ->> (a.lane + 2))::bigint, 0))
        AND NOT EXISTS (
            SELECT FROM wallet.deliveries w
             WHERE w.set_for = d.wallet_id AND w.destination = d.name AND w.wallet_id = d.wallet_id
               AND w.event_id = d.usage_event_id AND w.delivered_at IS NULL AND w.dead_at IS NULL)
      ORDER BY (d.usage_cursor -> 'wallets' -> d.wallet_id ->> 0) COLLATE \"C\", d.wallet_id, d.name
      LIMIT $2"
);

statement!(
    LOCK,
    [TEXTOID, TEXTOID],
    "SELECT FROM wallet.destinations
      WHERE wallet_id = $1 AND name = $2 AND usage_cursor IS NOT NULL
        FOR NO KEY UPDATE SKIP LOCKED"
);

statement!(
    /// Writes the next batch of a destination that is locked, and moves its cursor. A page without
    /// a charge only moves the cursor, and one with too many bytes does nothing. The event is done
    /// for `claim_events`, because it is for one destination. Returns whether a batch was made,
    /// whether the cursor moved, and whether the page was too large.
    EMIT,
    [TEXTOID, TEXTOID, UUIDOID, TIMESTAMPTZOID, TEXTOID, INT4OID, INT4OID],
    "WITH mine AS MATERIALIZED (
         SELECT d.usage_cursor
           FROM wallet.destinations d
          WHERE d.wallet_id = $1 AND d.name = $2
            AND NOT EXISTS (
                SELECT FROM wallet.deliveries w
                 WHERE w.set_for = d.wallet_id AND w.destination = d.name AND w.wallet_id = d.wallet_id
                   AND w.event_id = d.usage_event_id AND w.delivered_at IS NULL AND w.dead_at IS NULL)
     ), page AS MATERIALIZED (
         SELECT c.entry, c.cursor, c.place
           FROM mine m
          CROSS JOIN LATERAL wallet.changes(m.usage_cursor, $6, ARRAY[$1]) WITH ORDINALITY AS c(entry, cursor, place)
     ), batch AS MATERIALIZED (
         SELECT jsonb_agg(jsonb_build_object(
                    'entry_id', (p.entry).entry_id, 'related_id', (p.entry).related_id,
                    'at', to_char((p.entry).created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
                    'used_at', to_char(coalesce((p.entry).used_at, (p.entry).event_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
                    'cost', (-(p.entry).amount)::text,
                    'user_id', (p.entry).user_id, 'team', (p.entry).team, 'key_id', (p.entry).key_id,
                    'provider', (p.entry).provider, 'model', (p.entry).model, 'service', (p.entry).service,
                    'region', (p.entry).region, 'service_tier', (p.entry).service_tier,
                    'input_tokens', u.used -> 'gen_ai.usage.input_tokens',
                    'output_tokens', u.used -> 'gen_ai.usage.output_tokens',
                    'lines', (p.entry).lines, 'tags', (p.entry).tags,
                    'reference', (p.entry).reference, 'idempotency_key', (p.entry).idempotency_key)
                    ORDER BY p.place) AS charges
           FROM page p
          CROSS JOIN LATERAL wallet.usage_attributes(coalesce((p.entry).lines, '[]'), NULL) AS u(used)
          WHERE (p.entry).kind = 'charge'
         HAVING count(*) > 0
     ), large AS MATERIALIZED (
         SELECT FROM batch b WHERE $6 > 1 AND octet_length(b.charges::text) > $7
     ), moved AS (
         UPDATE wallet.destinations d
            SET usage_cursor = p.cursor,
                usage_event_id = CASE WHEN EXISTS (SELECT FROM batch) THEN $3 ELSE d.usage_event_id END
           FROM page p
          WHERE p.cursor IS NOT NULL AND d.wallet_id = $1 AND d.name = $2
            AND NOT EXISTS (SELECT FROM large)
         RETURNING d.name
     ), event AS (
         INSERT INTO wallet.outbox (wallet_id, event_id, event, payload, created_at, available_at, done_at)
         SELECT $1, $3, $5, jsonb_build_object('charges', b.charges, 'balance', w.balance::text, 'currency', w.currency), $4, $4, $4
           FROM batch b
          CROSS JOIN wallet.balances w
          WHERE w.wallet = $1 AND NOT EXISTS (SELECT FROM large)
         RETURNING event_id
     ), made AS (
         INSERT INTO wallet.deliveries
             (wallet_id, delivery_id, event_id, set_for, destination, created_at, available_at)
         SELECT $1, gen_random_uuid(), e.event_id, $1, $2, $4, $4
           FROM event e
         RETURNING delivery_id
     )
     SELECT EXISTS (SELECT FROM made), EXISTS (SELECT FROM moved), EXISTS (SELECT FROM large)"
);

/// Writes the events of up to `max` destinations that have new charges. `reach` has the wallets of
/// the caller; `None` means all.
pub fn emit(reach: Option<&[String]>, now: Timestamp, max: i64) -> Result<()> {
    let due = DUE.run(&[Value::OptTexts(reach), Value::Int8(max.min(DESTINATIONS))])?;
    for row in 0..due.len() {
        let (wallet, name): (String, String) = (due.need(row, 0)?, due.need(row, 1)?);
        // The next statement has a snapshot of its own, in which the last batch is known.
        let locked = LOCK.run(&[Value::Text(&wallet), Value::Text(&name)])?;
        if locked.is_empty() || lock::attempt(&wallet, lock::ARCHIVE) == lock::Attempt::Busy {
            continue;
        }
        emit_next(&wallet, &name, now)?;
    }
    Ok(())
}

/// Writes the next batch of a destination that is locked.
fn emit_next(wallet: &str, name: &str, now: Timestamp) -> Result<()> {
    let mut entries = BATCH;
    for _ in 0..PAGES {
        let rows = EMIT.run(&[
            Value::Text(wallet),
            Value::Text(name),
            Value::Uuid(outbox::next_id()),
            Value::Time(now),
            Value::Text(EVENT),
            Value::Int4(entries),
            Value::Int4(BYTES),
        ])?;
        let (made, moved, large): (bool, bool, bool) =
            (rows.need(0, 0)?, rows.need(0, 1)?, rows.need(0, 2)?);
        if large {
            entries = (entries / 4).max(1);
        } else if made || !moved {
            break;
        }
    }
    Ok(())
}
