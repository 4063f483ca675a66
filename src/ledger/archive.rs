//! `archive`: moves old entries out of the table that charges write. The results of all reads stay
//! the same.
//!
//! The moved entries are the beginning of each lane's chain. Entry numbers of a lane have no gaps
//! and commit in their order, because a transaction that books in a lane holds it until commit. So
//! no later entry can have a number among the moved ones. Possible conflicts, and how they are
//! prevented:
//!
//! - *The key of a moved entry is used again.* The ledger's index no longer contains it. A booking
//!   holds a lane or the wallet's row until commit, and so does the end of this call. So a booking
//!   sees either the whole move or none of it. After the move, the wallet's row says that there is
//!   an archive, and the new epoch in every lane makes charges read the rules again;
//!   `store::append` then searches the archive. In a transaction with one snapshot, the lane has
//!   changed since, and writing it fails with 40001.
//! - *A key is looked up during the move.* Lookups (`replay::by_key`, `store::taken_keys`) search
//!   the ledger before the archive. An entry that is no longer in the ledger is already in the
//!   archive.
//! - *Charges wait for a long move.* The rows are copied before anything is locked. Entries never
//!   change, so the copy is always right. Wallet and lanes are locked only for the deletion.
//! - *Two moves run at once.* They queue on a lock of their own.
//! - *A row is deleted that was not copied.* A trigger compares each row
//!   (`sql/schema/triggers.sql`).

use crate::access::audit::{Act, note_down};
use crate::error::{Error, Result};
use crate::idempotency::call::IdempotentCall;
use crate::ledger::wallets::change::move_epoch;
use crate::ledger::wallets::config;
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::storage::lock;
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::uuid_text;
use crate::storage::wallet_row::lock_wallet;

// The beginning of each lane's chain up to the first entry booked at or after the given time. With
// a maximum, entries are taken in the order of their numbers across all lanes, so the result is
// again a beginning of each chain. Only the entries with the first ids are then read, which are
// roughly those that were booked first.
statement!(
    CARRY,
    [
        TEXTOID,
        TIMESTAMPTZOID,
        INT8OID,
        UUIDOID,
        TIMESTAMPTZOID,
        TEXTOID,
        INT8OID
    ],
    "WITH carried AS MATERIALIZED (
         SELECT f.lane, max(f.seq) AS seq FROM wallet.carried_forward f WHERE f.wallet_id = $1 GROUP BY f.lane
     ), seen AS MATERIALIZED (
         SELECT l.entry_id, l.lane, l.seq, l.created_at
           FROM wallet.ledger l WHERE l.wallet_id = $1 ORDER BY l.entry_id LIMIT $7
     ), chained AS (
         SELECT s.entry_id, s.lane, s.seq,
                s.seq - coalesce(c.seq, 0) = row_number() OVER chain AND NOT bool_or(s.created_at >= $2) OVER chain AS movable
           FROM seen s LEFT JOIN carried c ON c.lane = s.lane
         WINDOW chain AS (PARTITION BY s.lane ORDER BY s.seq ROWS UNBOUNDED PRECEDING)
     ), movable AS MATERIALIZED (
         SELECT c.entry_id, c.lane, c.seq, row_number() OVER (ORDER BY c.seq, c.lane) AS place
           FROM chained c WHERE c.movable
     ), moving AS MATERIALIZED (
         SELECT m.* FROM movable m WHERE $3 IS NULL OR m.place <= $3
     ), noted AS (
         INSERT INTO wallet.carried_forward (wallet_id, archive_id, lane, seq, amount, hash, archived_at, actor)
         SELECT $1, $4, l.lane, l.seq, l.lane_balance, l.hash, $5, $6
           FROM (SELECT DISTINCT ON (m.lane) m.entry_id FROM moving m ORDER BY m.lane, m.seq DESC) m
           JOIN wallet.ledger l ON l.wallet_id = $1 AND l.entry_id = m.entry_id
     )
     SELECT count(*),
            (SELECT m.entry_id FROM moving m ORDER BY m.entry_id LIMIT 1),
            (SELECT m.entry_id FROM moving m ORDER BY m.entry_id DESC LIMIT 1),
            (SELECT count(*) FROM seen) < $7 IS NOT FALSE AND count(*) = (SELECT count(*) FROM movable)
       FROM moving"
);

statement!(
    COPY,
    [TEXTOID, UUIDOID, UUIDOID, UUIDOID],
    "INSERT INTO wallet.ledger_archive
     SELECT l.*
       FROM wallet.carried_forward c
       JOIN wallet.ledger l ON l.wallet_id = c.wallet_id AND l.lane = c.lane AND l.seq <= c.seq
      WHERE c.wallet_id = $1 AND c.archive_id = $2 AND l.entry_id BETWEEN $3 AND $4
      ORDER BY l.entry_id
         ON CONFLICT DO NOTHING"
);

statement!(
    MARK,
    [TEXTOID],
    "UPDATE wallet.wallets SET archived = true WHERE wallet_id = $1 AND NOT archived"
);

statement!(
    TAKE_OUT,
    [TEXTOID, UUIDOID, UUIDOID, UUIDOID],
    "DELETE FROM wallet.ledger l
      USING wallet.carried_forward c
      WHERE c.wallet_id = $1 AND c.archive_id = $2 AND l.entry_id BETWEEN $3 AND $4
        AND l.wallet_id = c.wallet_id AND l.lane = c.lane AND l.seq <= c.seq"
);

statement!(
    SUMMARY,
    [TEXTOID, INT8OID, BOOLOID, TIMESTAMPTZOID],
    "SELECT s.amount,
            jsonb_build_object('archived', $2, 'carried_forward', s.amount, 'complete', $3, 'before', $4)
       FROM (SELECT coalesce(sum(c.amount), 0) AS amount
               FROM (SELECT DISTINCT ON (f.lane) f.amount
                       FROM wallet.carried_forward f
                      WHERE f.wallet_id = $1
                      ORDER BY f.lane, f.seq DESC) c) s"
);

statement!(
    ANSWER,
    [JSONBOID],
    "SELECT ($1 ->> 'archived')::bigint, ($1 ->> 'carried_forward')::numeric, ($1 ->> 'complete')::boolean"
);

/// By how many entries the order of ids may differ from the order of booking, if a maximum is
/// given. Calls at the same time differ in this way.
const SLACK: i64 = 1000;

/// The arguments of `archive`.
pub struct Archiving<'a> {
    /// Entries that were booked before this time are moved.
    pub before: Timestamp,
    /// The maximum number of entries to move. `None` for no maximum.
    pub max_entries: Option<i64>,
    /// The call, for the audit trail.
    pub act: Act<'a>,
}

/// The result of `archive`.
pub struct Archived {
    /// The number of moved entries.
    pub archived: i64,
    /// The sum of all entries in the archive.
    pub carried_forward: Amount,
    /// True if no entry is left to move.
    pub complete: bool,
    /// True if an earlier call moved the entries.
    pub replayed: bool,
}

/// Moves entries to the archive, or returns the first result of the key.
pub fn archive(archiving: &Archiving<'_>, call: IdempotentCall<'_>) -> Result<Archived> {
    let wallet = call.wallet;
    config::read(wallet)?;
    // This lock comes before the wallet's row and its lanes, which other calls need.
    lock::wait(wallet, lock::ARCHIVE);
    if let Some(answer) = call.answered()? {
        let lost = || Error::internal("an answer was not kept");
        let answer = ANSWER.run(&[Value::Jsonb(answer.result().ok_or_else(lost)?)])?;
        return Ok(Archived {
            archived: answer.need(0, 0)?,
            carried_forward: answer.amount(0, 1)?,
            complete: answer.need(0, 2)?,
            replayed: true,
        });
    }
    let id = uuid::Uuid::now_v7().into_bytes();
    let carry = |limit| {
        CARRY.run(&[
            Value::Text(wallet),
            Value::Time(archiving.before),
            Value::OptInt8(archiving.max_entries),
            Value::Uuid(id),
            Value::Time(clock::now()),
            Value::OptText(archiving.act.actor),
            Value::OptInt8(limit),
        ])
    };
    let limit = archiving.max_entries.map(|most| most.saturating_add(SLACK));
    let mut carried = carry(limit)?;
    if carried.need::<i64>(0, 0)? == 0 && !carried.need::<bool>(0, 3)? {
        // Old ids precede the next ones, for example those of fundings that were pending.
        carried = carry(None)?;
    }
    let (archived, complete): (i64, bool) = (carried.need(0, 0)?, carried.need(0, 3)?);
    if archived > 0 {
        let bounds = [carried.need(0, 1)?, carried.need(0, 2)?];
        move_entries(wallet, id, bounds, archived)?;
    }
    let summary = SUMMARY.run(&[
        Value::Text(wallet),
        Value::Int8(archived),
        Value::Bool(complete),
        Value::Time(archiving.before),
    ])?;
    let answer = summary.datum(0, 1).map(Jsonb);
    if let (true, Some(answer)) = (archived > 0, answer) {
        note_down(&archiving.act, &uuid_text(id), answer)?;
    }
    call.remember(answer)?;
    Ok(Archived {
        archived,
        carried_forward: summary.amount(0, 0)?,
        complete,
        replayed: false,
    })
}

/// Moves the entries that this call has carried forward. Their ids are within the bounds.
fn move_entries(
    wallet: &str,
    id: [u8; 16],
    [first, last]: [[u8; 16]; 2],
    count: i64,
) -> Result<()> {
    let these = [
        Value::Text(wallet),
        Value::Uuid(id),
        Value::Uuid(first),
        Value::Uuid(last),
    ];
    all_of(wallet, count, &COPY.run(&these)?)?;
    lock_wallet(wallet)?;
    config::lock_to_change(wallet)?;
    MARK.run(&[Value::Text(wallet)])?;
    all_of(wallet, count, &TAKE_OUT.run(&these)?)?;
    // Charges with the old rules find another epoch in their lane, and read the rules again.
    move_epoch(wallet)
}

/// Each entry is in one of the two tables, unless another program wrote to them.
fn all_of(wallet: &str, count: i64, moved: &Rows) -> Result<()> {
    if usize::try_from(count) == Ok(moved.len()) {
        return Ok(());
    }
    Err(Error::internal(format!(
        "{} of {count} entries of wallet {wallet:?} can be moved: some are in its archive already",
        moved.len()
    )))
}
