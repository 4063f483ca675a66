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

use crate::error::Result;
use crate::outbox::{self, Name};
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Run, Value, statement};

/// The name of the event.
pub const EVENT: &str = Name::UsageCharged.as_str();

/// The most entries that a batch is made of. A request stays far below a megabyte.
const BATCH: i32 = 250;

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
    /// a charge only moves the cursor. The event is done for `claim_events`, because it is for one
    /// destination.
    EMIT,
    [TEXTOID, TEXTOID, UUIDOID, TIMESTAMPTZOID, TEXTOID, INT4OID],
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
                    'entry_id', (p.entry).entry_id,
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
     ), moved AS (
         UPDATE wallet.destinations d
            SET usage_cursor = p.cursor,
                usage_event_id = CASE WHEN EXISTS (SELECT FROM batch) THEN $3 ELSE d.usage_event_id END
           FROM page p
          WHERE p.cursor IS NOT NULL AND d.wallet_id = $1 AND d.name = $2
     ), event AS (
         INSERT INTO wallet.outbox (wallet_id, event_id, event, payload, created_at, available_at, done_at)
         SELECT $1, $3, $5, jsonb_build_object('charges', b.charges, 'balance', w.balance::text, 'currency', w.currency), $4, $4, $4
           FROM batch b
          CROSS JOIN wallet.balances w
          WHERE w.wallet = $1
         RETURNING event_id
     )
     INSERT INTO wallet.deliveries
         (wallet_id, delivery_id, event_id, set_for, destination, created_at, available_at)
     SELECT $1, gen_random_uuid(), e.event_id, $1, $2, $4, $4
       FROM event e"
);

/// Writes the events of up to `max` destinations that have new charges. `reach` has the wallets of
/// the caller; `None` means all.
pub fn emit(reach: Option<&[String]>, now: Timestamp, max: i64) -> Result<()> {
    let due = DUE.run(&[Value::OptTexts(reach), Value::Int8(max)])?;
    for row in 0..due.len() {
        let (wallet, name): (String, String) = (due.need(row, 0)?, due.need(row, 1)?);
        let (wallet, name) = (Value::Text(&wallet), Value::Text(&name));
        // The next statement has a snapshot of its own, in which the last batch is known.
        if LOCK.run(&[wallet, name])?.is_empty() {
            continue;
        }
        EMIT.run(&[
            wallet,
            name,
            Value::Uuid(outbox::next_id()),
            Value::Time(now),
            Value::Text(EVENT),
            Value::Int4(BATCH),
        ])?;
    }
    Ok(())
}
