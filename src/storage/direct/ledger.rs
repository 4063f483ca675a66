//! Entries: `wallet.ledger`, and those that were moved to `wallet.ledger_archive`.

use pgrx::datum::IntoDatum;
use pgrx::pg_sys;

use crate::error::Result;
use crate::pg::document::Document;
use crate::pg::raw;
use crate::storage::direct::fields::Fields;
use crate::storage::direct::scan::{char_key, scan, text_key};
use crate::storage::direct::table::{Table, Which};
use crate::storage::direct::unique_insert;
use crate::storage::direct::write::{UNIQUE_PARTIAL, UNIQUE_YES, insert_with};
use crate::storage::rows::{Call, Entry, Link};
use crate::storage::session;

/// Columns of `wallet.ledger`, by position.
mod column {
    pub const ENTRY_ID: i16 = 1;
    pub const CREATED_AT: i16 = 2;
    pub const EVENT_AT: i16 = 3;
    pub const SEQ: i16 = 4;
    pub const FINGERPRINT: i16 = 5;
    pub const RELATED_ID: i16 = 6;
    pub const KEY_ID: i16 = 7;
    pub const LANE: i16 = 8;
    pub const KIND: i16 = 9;
    pub const CALL: i16 = 10;
    pub const WALLET: i16 = 11;
    pub const AMOUNT: i16 = 12;
    pub const LANE_BALANCE: i16 = 13;
    pub const BALANCE: i16 = 14;
    pub const HASH: i16 = 15;
    pub const KEY: i16 = 16;
    pub const USER_ID: i16 = 17;
    pub const TEAM: i16 = 18;
    pub const PROVIDER: i16 = 19;
    pub const MODEL: i16 = 20;
    pub const SERVICE: i16 = 21;
    pub const REGION: i16 = 22;
    pub const SERVICE_TIER: i16 = 23;
    pub const LINES: i16 = 24;
    pub const USAGE: i16 = 25;
    pub const TAGS: i16 = 26;
    pub const CONTRA: i16 = 27;
    pub const REFERENCE: i16 = 28;
    pub const REASON: i16 = 29;
    pub const ACTOR: i16 = 30;
    pub const METADATA: i16 = 31;
    pub const PERSON_PROOF: i16 = 32;
    pub const PAYLOAD_PROOF: i16 = 33;
    pub const USED_AT: i16 = 34;
}

/// Writes the entry. Returns false if its idempotency key is taken. Waits for a transaction that is
/// using the same key.
pub fn append(table: &Table, entry: &Entry<'_>, link: &Link) -> Result<bool> {
    let mut fields = entry_fields(entry, link);
    let row = fields.form(table);
    let Some(name) = entry.key else {
        // SAFETY: the row has the table's columns.
        unsafe { unique_insert::insert(table, row, &fields, UNIQUE_YES) };
        return Ok(true);
    };
    let keys = || {
        let call = char_key(entry.call as u8);
        vec![text_key(entry.wallet), text_key(name), call]
    };
    // Charges on the single lane have already written the lane's row, and fundings hold the lock on
    // the wallet's row. So no other transaction can be using a key of theirs now.
    let uncontended = link.lane == 0
        || matches!(
            entry.call,
            Call::Fund | Call::Reverse | Call::Expire | Call::Grant
        );
    // SAFETY: the row has the table's columns, and the keys are those of the row.
    unsafe { unique_insert::append(table, row, &fields, &keys, uncontended) }
}

/// Returns the indexes of those keys that already have an entry in the table, committed or written
/// by this transaction.
pub fn taken_keys(
    table: &Table,
    which: Which,
    wallet: &str,
    keys: &[&str],
    call: Call,
) -> Result<Vec<usize>> {
    let index = table.indexes[usize::from(which != Which::Archive)];
    // SAFETY: registered for as long as the scans run; an error leaves it to the abort.
    let snapshot = unsafe { pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot()) };
    // Roughly in the order of the index, because neighbours share its pages.
    let mut sorted: Vec<(usize, &str)> = keys.iter().copied().enumerate().collect();
    sorted.sort_unstable_by_key(|(_, name)| *name);
    let mut taken = Vec::new();
    for (place, name) in sorted {
        let keys = [text_key(wallet), text_key(name), char_key(call as u8)];
        scan(table, index, snapshot, &keys, |_, _| {
            taken.push(place);
            Ok(false)
        })?;
    }
    // SAFETY: registered above.
    unsafe { pg_sys::UnregisterSnapshot(snapshot) };
    Ok(taken)
}

/// Writes entries whose keys no other transaction can be using. Returns false and writes nothing if
/// one of the keys already has an entry.
pub fn append_free(table: &Table, entries: &[(Entry<'_>, Link)]) -> bool {
    session::note_lock();
    let [primary, once, _] = table.indexes;
    let mut fields: Vec<Fields> = entries
        .iter()
        .map(|(entry, link)| entry_fields(entry, link))
        .collect();
    // SAFETY: both indexes are open. The rows have the table's columns and were formed from the
    // fields. When they are deleted, they are this transaction's own.
    unsafe {
        let rows = Rows::insert(table, &mut fields);
        let in_turn: Vec<_> = rows.tuples.iter().copied().zip(&fields).collect();
        // Roughly in the order of the index, because neighbours share its pages.
        let mut by_key: Vec<usize> = (0..entries.len()).collect();
        by_key.sort_unstable_by_key(|place| entries[*place].0.key);
        let by_key: Vec<_> = by_key.into_iter().map(|place| in_turn[place]).collect();
        let are_new = raw::guarded(|| {
            let info = raw::BuildIndexInfo(primary);
            for (row, fields) in &in_turn {
                insert_with(table, primary, info, *row, fields, UNIQUE_YES, false);
            }
            let info = raw::BuildIndexInfo(once);
            let are_new = by_key.iter().all(|(row, fields)| {
                insert_with(table, once, info, *row, fields, UNIQUE_PARTIAL, false)
            });
            raw::CommandCounterIncrement();
            are_new
        });
        if !are_new {
            for row in &rows.tuples {
                pg_sys::simple_heap_delete(table.relation, &mut (**row).t_self);
            }
            pg_sys::CommandCounterIncrement();
        }
        rows.free();
        are_new
    }
}

/// Rows that were written together.
struct Rows {
    tuples: Vec<pg_sys::HeapTuple>,
    slots: Vec<*mut pg_sys::TupleTableSlot>,
}

impl Rows {
    /// Forms the rows and writes them into consecutive pages of the table.
    ///
    /// # Safety
    /// The fields have the table's columns.
    unsafe fn insert(table: &Table, fields: &mut [Fields]) -> Rows {
        // SAFETY: each slot owns its tuple, so the tuple that is written is the slot's own. The
        // insertion sets its TID.
        unsafe {
            let columns = (*table.relation).rd_att;
            let tuples: Vec<_> = fields.iter_mut().map(|row| row.form(table)).collect();
            let mut slots: Vec<_> = tuples
                .iter()
                .map(|tuple| {
                    let slot = pg_sys::MakeSingleTupleTableSlot(columns, &pg_sys::TTSOpsHeapTuple);
                    pg_sys::ExecStoreHeapTuple(*tuple, slot, true)
                })
                .collect();
            pg_sys::heap_multi_insert(
                table.relation,
                slots.as_mut_ptr(),
                slots.len() as i32,
                pg_sys::GetCurrentCommandId(true),
                0,
                std::ptr::null_mut(),
            );
            for (tuple, slot) in tuples.iter().zip(&slots) {
                (**tuple).t_self = (**slot).tts_tid;
            }
            Rows { tuples, slots }
        }
    }

    /// Frees the slots and their tuples. After an error, the abort frees them.
    fn free(self) {
        for slot in self.slots {
            // SAFETY: made by `insert`, and freed once.
            unsafe { pg_sys::ExecDropSingleTupleTableSlot(slot) };
        }
    }
}

/// The entry as a row of the ledger.
fn entry_fields(entry: &Entry<'_>, link: &Link) -> Fields {
    use column::*;
    let json = |value: Option<&Document>| value.and_then(|document| document.value.into_datum());
    let balance = (link.balance != link.lane_balance).then_some(link.balance);
    let mut fields = Fields::empty();
    fields.set_uuid(ENTRY_ID, Some(entry.entry_id));
    fields.set(CREATED_AT, Some(pg_sys::Datum::from(entry.created_at.0)));
    fields.set(EVENT_AT, entry.event_at.map(|at| pg_sys::Datum::from(at.0)));
    fields.set(SEQ, link.seq.into_datum());
    fields.set_uuid(FINGERPRINT, entry.fingerprint);
    fields.set_uuid(RELATED_ID, entry.related_id);
    fields.set_uuid(KEY_ID, entry.attribution.key_id);
    fields.set(LANE, link.lane.into_datum());
    fields.set(KIND, Some(pg_sys::Datum::from(entry.kind as u8)));
    fields.set(CALL, Some(pg_sys::Datum::from(entry.call as u8)));
    fields.set_text(WALLET, Some(entry.wallet));
    fields.set_amount(AMOUNT, Some(entry.amount));
    fields.set_amount(LANE_BALANCE, Some(link.lane_balance));
    fields.set_amount(BALANCE, balance);
    fields.set_bytes(HASH, Some(&link.hash));
    fields.set_text(KEY, entry.key);
    fields.set_text(USER_ID, entry.attribution.user_id);
    fields.set_text(TEAM, entry.attribution.team);
    fields.set_text(PROVIDER, entry.context.provider);
    fields.set_text(MODEL, entry.context.model);
    fields.set_text(SERVICE, entry.context.service);
    fields.set_text(REGION, entry.context.region);
    fields.set_text(SERVICE_TIER, entry.context.service_tier);
    fields.set_bytes(LINES, entry.lines);
    fields.set(USAGE, json(entry.usage.as_ref()));
    fields.set(TAGS, json(entry.context.tags));
    fields.set_text(CONTRA, entry.contra);
    fields.set_text(REFERENCE, entry.reference);
    fields.set_text(REASON, entry.reason);
    fields.set_text(ACTOR, entry.actor);
    fields.set(METADATA, json(entry.metadata.as_ref()));
    fields.set_bytes(PERSON_PROOF, link.person_proof.bytes());
    fields.set_bytes(PAYLOAD_PROOF, link.payload_proof.bytes());
    fields.set(USED_AT, entry.used_at.map(|at| pg_sys::Datum::from(at.0)));
    fields
}
