//! Notes unread numbers of usage objects: each place once, with an event.
//!
//! The charges of a wallet repeat the same places, many at once, and no charge may wait for another
//! because of a note. So only the first charge with a place writes it. How often the place occurred
//! is counted from the ledger.
//!
//! The charge that notes a place holds a lock on it until commit, and never waits for that lock. If
//! another transaction has the lock, that transaction notes the place. If it rolls back, a later
//! charge notes the place. With the lock, no other transaction is writing the row, and all
//! committed rows are visible whatever the transaction's snapshot is (`storage::direct::unread`).
//! So the insert cannot meet a duplicate.

use std::cell::{Cell, RefCell};

use foldhash::HashSet;

use crate::error::Result;
use crate::idempotency::fingerprint::Fingerprint;
use crate::outbox::{Field, Name, emit_all};
use crate::pg::{clock, invalidation};
use crate::pricing::rate::Priced;
use crate::pricing::unread::unread;
use crate::pricing::usage::{Unread, Usage};
use crate::storage::lock::{self, Attempt};
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::Entry;
use crate::storage::store;

/// Most places that one transaction notes, because each takes a lock. A later one notes the rest.
const MAX_NOTED: u32 = 64;

/// Most places that a backend remembers. Beyond that it clears its memory.
const MAX_KNOWN: usize = 20_000;

// A wallet may have 1000 places, so that JSON keys built from data cannot fill the table.
statement!(
    NOTE,
    [
        TEXTOID,
        UUIDOID,
        UUIDOID,
        TIMESTAMPTZOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID
    ],
    "INSERT INTO wallet.unread_paths
        (wallet_id, path_id, entry_id, first_seen, provider, mapping, model, path, jsonpath, example)
     SELECT $1, $2, $3, $4, $5, $6, $7, $8, ($9 || ' ? (@.type() == \"number\" && @ != 0)')::jsonpath, $10::jsonb
      WHERE (SELECT count(*) FROM (SELECT FROM wallet.unread_paths u WHERE u.wallet_id = $1 LIMIT 1000) u) < 1000
     ON CONFLICT DO NOTHING"
);

#[derive(Default)]
struct Known {
    tables: u64,
    places: HashSet<[u8; 16]>,
}

thread_local! {
    /// Places that need no further note: committed ones, and those of a wallet that has reached its
    /// maximum.
    static KNOWN: RefCell<Known> = RefCell::default();
    /// The last transaction that noted places, and the number of them.
    static NOTED: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

/// Notes the unread numbers of a charge that are at new places. The entry is already written.
pub fn note(entry: &Entry<'_>, usage: &Usage, priced: &Priced) -> Result<()> {
    let unread = unread(usage, priced);
    if unread.is_empty() {
        return Ok(());
    }
    let mut new = Vec::new();
    for one in unread.iter() {
        if is_new(entry, usage.mapping.as_deref(), one)? {
            new.push(one);
        }
    }
    announce(entry, usage.mapping.as_deref(), &new)
}

/// Notes a place. False if the place was noted before, or cannot be noted now.
fn is_new(entry: &Entry<'_>, mapping: Option<&str>, unread: &Unread) -> Result<bool> {
    let id = place(entry, mapping, unread);
    if is_known(id) {
        return Ok(false);
    }
    let transaction = clock::transaction();
    let noted = match NOTED.get() {
        (last, noted) if last == transaction => noted,
        _ => 0,
    };
    if store::is_noted(entry.wallet, id)? {
        // A note of this transaction may still be rolled back.
        if noted == 0 {
            know(id);
        }
        return Ok(false);
    }
    if noted >= MAX_NOTED || lock::attempt_note(id) == Attempt::Busy {
        return Ok(false);
    }
    // The previous holder of the lock may have committed since the first look.
    if store::is_noted(entry.wallet, id)? {
        return Ok(false);
    }
    let written = NOTE.run(&[
        Value::Text(entry.wallet),
        Value::Uuid(id),
        Value::Uuid(entry.entry_id),
        Value::Time(entry.created_at),
        Value::OptText(entry.context.provider),
        Value::OptText(mapping),
        Value::OptText(entry.context.model),
        Value::Text(&unread.path),
        Value::Text(&unread.jsonpath),
        Value::Text(&unread.value),
    ])?;
    if written.is_empty() {
        know(id);
        return Ok(false);
    }
    NOTED.set((transaction, noted + 1));
    Ok(true)
}

/// Writes one event per place.
fn announce(entry: &Entry<'_>, mapping: Option<&str>, new: &[&Unread]) -> Result<()> {
    let mut payloads = Vec::with_capacity(new.len());
    for unread in new {
        payloads.push([
            ("provider", Field::OptText(entry.context.provider)),
            ("mapping", Field::OptText(mapping)),
            ("path", Field::Text(&unread.path)),
            ("model", Field::OptText(entry.context.model)),
            ("example", Field::Number(&unread.value)),
            ("entry_id", Field::Id(entry.entry_id)),
        ]);
    }
    emit_all(entry.wallet, Name::UsageUnread, None, &payloads)
}

/// The id of a place: half of a SHA-256.
fn place(entry: &Entry<'_>, mapping: Option<&str>, unread: &Unread) -> [u8; 16] {
    let mut place = Fingerprint::new(0);
    place.field("wallet", Some(entry.wallet));
    place.field("provider", entry.context.provider);
    place.field("mapping", mapping);
    place.field("model", entry.context.model);
    place.field("jsonpath", Some(&unread.jsonpath));
    place.finish()
}

fn is_known(id: [u8; 16]) -> bool {
    let tables = invalidation::tables();
    KNOWN.with_borrow_mut(|known| {
        // After an invalidation, the table may be another one.
        if known.tables != tables || known.places.len() > MAX_KNOWN {
            *known = Known {
                tables,
                ..Known::default()
            };
        }
        known.places.contains(&id)
    })
}

fn know(id: [u8; 16]) {
    KNOWN.with_borrow_mut(|known| known.places.insert(id));
}
