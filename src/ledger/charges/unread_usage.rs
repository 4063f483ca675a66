//! Numbers of usage objects that nothing has read are noted: each place once, with an event.
//!
//! Charges of a wallet come with the same places again and again, many at once, and none may wait for another because
//! of a note. So a place is written by the first charge with it and never again; how often it came is counted from the
//! ledger. Who notes a place takes a lock for it until the commit and never waits for one: where somebody else has it,
//! that one notes the place, and if it rolls back a later charge does. With the lock in hand nobody else is writing
//! the row, and what others have committed is seen whatever the transaction's snapshot is
//! (`storage::direct::unread`): the row meets no other.

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

/// Places that a transaction notes at most: each takes a lock. What it leaves out the next one notes.
const MAX_NOTED: u32 = 64;

/// Places that a backend knows; beyond, it starts anew.
const MAX_KNOWN: usize = 20_000;

// A wallet has so many places at most, so that keys made of data fill no table.
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
    /// Places of which a charge has nothing more to say: committed, or of a wallet that has as many as it may.
    static KNOWN: RefCell<Known> = RefCell::default();
    /// The transaction that noted places last, and how many.
    static NOTED: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

/// Notes the numbers of a charge that nothing has read, where they stand at places that are new. The entry is written.
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

/// True when the place was not noted before, and is now.
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
        // What this transaction wrote may yet be undone.
        if noted == 0 {
            know(id);
        }
        return Ok(false);
    }
    if noted >= MAX_NOTED || lock::attempt_note(id) == Attempt::Busy {
        return Ok(false);
    }
    // Whoever had the lock before may have committed since the first look.
    if store::is_noted(entry.wallet, id)? {
        return Ok(false);
    }
    let written = NOTE.run(&[
        Value::Text(entry.wallet),
        Value::Uuid(id),
        Value::Uuid(entry.entry_id),
        Value::Time(entry.created_at),
        Value::OptText(entry.provider),
        Value::OptText(mapping),
        Value::OptText(entry.model),
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

/// One event a place.
fn announce(entry: &Entry<'_>, mapping: Option<&str>, new: &[&Unread]) -> Result<()> {
    let mut payloads = Vec::with_capacity(new.len());
    for unread in new {
        payloads.push([
            ("provider", Field::OptText(entry.provider)),
            ("mapping", Field::OptText(mapping)),
            ("path", Field::Text(&unread.path)),
            ("model", Field::OptText(entry.model)),
            ("example", Field::Number(&unread.value)),
            ("entry_id", Field::Id(entry.entry_id)),
        ]);
    }
    emit_all(entry.wallet, Name::UsageUnread, None, &payloads)
}

/// The place's id: half of a SHA-256.
fn place(entry: &Entry<'_>, mapping: Option<&str>, unread: &Unread) -> [u8; 16] {
    let mut place = Fingerprint::new(0);
    place.field("wallet", Some(entry.wallet));
    place.field("provider", entry.provider);
    place.field("mapping", mapping);
    place.field("model", entry.model);
    place.field("jsonpath", Some(&unread.jsonpath));
    place.finish()
}

fn is_known(id: [u8; 16]) -> bool {
    let tables = invalidation::tables();
    KNOWN.with_borrow_mut(|known| {
        // The table may be another one.
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
