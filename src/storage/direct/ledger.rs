//! Entries: `wallet.ledger`.

use std::ptr;

use pgrx::datum::IntoDatum;
use pgrx::pg_sys;

use crate::error::Result;
use crate::storage::clock::one_snapshot_for_all;
use crate::storage::direct::scan::{Fields, Key, char_key, scan, text_key};
use crate::storage::direct::table::Table;
use crate::storage::direct::write::{
    Place, UNIQUE_PARTIAL, UNIQUE_YES, changed_meanwhile, insert_into_index, insert_with, place_of,
};
use crate::storage::numeric::fixed_datum;
use crate::storage::rows::{Call, Entry, Link};

/// Columns of `wallet.ledger` that are keys, by position.
mod key {
    pub const CALL: i16 = 10;
    pub const WALLET: i16 = 11;
    pub const KEY: i16 = 16;
}

/// Writes the entry; false when its idempotency key is taken. Waits for a transaction that is
/// using the same key.
///
/// Nobody looks for the key before: nearly every key is new, and the index finds out about the
/// others when the row goes into it. Then the row is taken out again.
pub fn append(table: &Table, entry: &Entry<'_>, link: &Link) -> Result<bool> {
    let row = entry_row(table, entry, link);
    let Some(name) = entry.key else {
        // SAFETY: the row has the table's columns.
        unsafe { insert(table, row, UNIQUE_YES) };
        return Ok(true);
    };
    let keys = [
        text_key(key::WALLET, entry.wallet),
        text_key(key::KEY, name),
        char_key(key::CALL, entry.call as u8),
    ];
    // Charges on the single lane have written its row, and fundings hold the wallet's: nobody
    // else can be using a key of theirs now.
    let alone = link.lane == 0
        || matches!(
            entry.call,
            Call::Fund | Call::Reverse | Call::Expire | Call::Grant
        );
    if alone {
        append_alone(table, row, &keys)
    } else {
        append_speculatively(table, row, &keys)
    }
}

/// Puts the row into the table and its indexes; false when the key may be taken.
///
/// # Safety
/// The row has the table's columns.
unsafe fn insert(
    table: &Table,
    row: pg_sys::HeapTuple,
    check: pg_sys::IndexUniqueCheck::Type,
) -> bool {
    // SAFETY: the caller's guarantee; the row stands in the table when it goes into the indexes.
    unsafe {
        pg_sys::simple_heap_insert(table.relation, row);
        insert_into_index(table, table.indexes[0], row, UNIQUE_YES);
        let unique = insert_into_index(table, table.indexes[1], row, check);
        pg_sys::CommandCounterIncrement();
        unique
    }
}

/// Appends where nobody else can be using the key.
fn append_alone(table: &Table, row: pg_sys::HeapTuple, keys: &[Key]) -> Result<bool> {
    // SAFETY: the row has the table's columns; it is this transaction's own when it is deleted.
    unsafe {
        let unique = insert(table, row, UNIQUE_PARTIAL);
        if unique || key_state(table, keys, Some(place_of(row)))?.0 == KeyState::Free {
            return Ok(true);
        }
        pg_sys::simple_heap_delete(table.relation, &mut (*row).t_self);
        pg_sys::CommandCounterIncrement();
    }
    match wait_for_key(table, keys)? {
        KeyState::Taken => taken(table, keys),
        _ => append_speculatively(table, row, keys),
    }
}

/// Which of the keys have made an entry that is committed or this transaction's own.
pub fn taken_keys(table: &Table, wallet: &str, keys: &[&str], call: Call) -> Result<Vec<usize>> {
    // SAFETY: registered for as long as the scans run; an error leaves it to the abort.
    let snapshot = unsafe { pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot()) };
    // In the index's order, more or less: neighbours share its pages.
    let mut sorted: Vec<(usize, &str)> = keys.iter().copied().enumerate().collect();
    sorted.sort_unstable_by_key(|(_, name)| *name);
    let mut taken = Vec::new();
    for (place, name) in sorted {
        let keys = [
            text_key(key::WALLET, wallet),
            text_key(key::KEY, name),
            char_key(key::CALL, call as u8),
        ];
        scan(table, table.indexes[1], snapshot, &keys, |_| {
            taken.push(place);
            Ok(false)
        })?;
    }
    // SAFETY: registered above.
    unsafe { pg_sys::UnregisterSnapshot(snapshot) };
    Ok(taken)
}

/// Writes entries whose keys nobody else can be using.
pub fn append_free(table: &Table, entries: &[(Entry<'_>, Link)]) {
    let [primary, once] = table.indexes;
    let mut rows = Vec::with_capacity(entries.len());
    // SAFETY: both indexes are open; the rows have the table's columns, and no other entry can have
    // their keys.
    unsafe {
        let info = pg_sys::BuildIndexInfo(primary);
        for (entry, link) in entries {
            let row = entry_row(table, entry, link);
            pg_sys::simple_heap_insert(table.relation, row);
            insert_with(table, primary, info, row, UNIQUE_YES);
            rows.push((entry.key, row));
        }
        // In the index's order, more or less: neighbours share its pages.
        rows.sort_unstable_by_key(|(key, _)| *key);
        let info = pg_sys::BuildIndexInfo(once);
        for (_, row) in rows {
            insert_with(table, once, info, row, UNIQUE_YES);
            pg_sys::heap_freetuple(row);
        }
    }
    // SAFETY: makes the rows visible to what comes after.
    unsafe { pg_sys::CommandCounterIncrement() };
}

/// Appends where others may be using the key at this moment, as INSERT … ON CONFLICT DO NOTHING does
/// it: nobody waits for a row that may yet be taken out again.
fn append_speculatively(table: &Table, row: pg_sys::HeapTuple, keys: &[Key]) -> Result<bool> {
    loop {
        // SAFETY: the token is set before the insertion and the insertion is finished or taken
        // back before the lock is released, as the executor does it.
        let lost = unsafe {
            let xid = pg_sys::GetCurrentTransactionId();
            let token = pg_sys::SpeculativeInsertionLockAcquire(xid);
            set_speculative_token(row, token);
            pg_sys::heap_insert(
                table.relation,
                row,
                pg_sys::GetCurrentCommandId(true),
                pg_sys::HEAP_INSERT_SPECULATIVE as i32,
                ptr::null_mut(),
            );
            insert_into_index(table, table.indexes[0], row, UNIQUE_YES);
            let unique = insert_into_index(table, table.indexes[1], row, UNIQUE_PARTIAL);
            let state = if unique {
                KeyState::Free
            } else {
                key_state(table, keys, Some(place_of(row)))?.0
            };
            if state == KeyState::Free {
                pg_sys::heap_finish_speculative(table.relation, &mut (*row).t_self);
            } else {
                pg_sys::heap_abort_speculative(table.relation, &mut (*row).t_self);
            }
            pg_sys::SpeculativeInsertionLockRelease(xid);
            pg_sys::CommandCounterIncrement();
            state != KeyState::Free
        };
        if !lost {
            return Ok(true);
        }
        if wait_for_key(table, keys)? == KeyState::Taken {
            return self::taken(table, keys);
        }
    }
}

/// # Safety
/// The row is not in the table yet.
unsafe fn set_speculative_token(row: pg_sys::HeapTuple, token: u32) {
    // SAFETY: a speculative tuple carries its token in t_ctid: the block number is the token, the
    // offset SpecTokenOffsetNumber.
    unsafe {
        let ctid = &mut (*(*row).t_data).t_ctid;
        ctid.ip_blkid.bi_hi = (token >> 16) as u16;
        ctid.ip_blkid.bi_lo = (token & 0xffff) as u16;
        ctid.ip_posid = SPEC_TOKEN_OFFSET;
    }
}

/// `SpecTokenOffsetNumber` of `htup_details.h`.
const SPEC_TOKEN_OFFSET: u16 = 0xfffe;

/// Who has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyState {
    /// Nobody.
    Free,
    /// An entry that is committed or this transaction's own.
    Taken,
    /// Another transaction had it, and has ended meanwhile.
    Waited,
}

/// Looks for an entry with the key, committed or not, and for whom to wait.
fn key_state(
    table: &Table,
    keys: &[Key],
    own: Option<Place>,
) -> Result<(KeyState, pg_sys::TransactionId, u32)> {
    let mut snapshot = pg_sys::SnapshotData {
        snapshot_type: pg_sys::SnapshotType::SNAPSHOT_DIRTY,
        ..Default::default()
    };
    let mut state = (KeyState::Free, pg_sys::InvalidTransactionId, 0);
    let dirty: pg_sys::Snapshot = &mut snapshot;
    scan(table, table.indexes[1], dirty, keys, |tuple| {
        // SAFETY: the scan's tuple; a dirty snapshot tells who is inserting it.
        unsafe {
            if own == Some(place_of(tuple)) {
                return Ok(true);
            }
            state = (KeyState::Taken, (*dirty).xmin, (*dirty).speculativeToken);
        }
        Ok(false)
    })?;
    Ok(state)
}

/// As [`key_state`], waiting for the transaction that is using the key.
fn wait_for_key(table: &Table, keys: &[Key]) -> Result<KeyState> {
    let (state, xid, token) = key_state(table, keys, None)?;
    if state == KeyState::Taken && xid != pg_sys::InvalidTransactionId {
        // SAFETY: waits for another transaction, or for its speculative insertion, to end.
        unsafe {
            if token != 0 {
                pg_sys::SpeculativeInsertionWait(xid, token);
            } else {
                let why = pg_sys::XLTW_Oper::XLTW_InsertIndex;
                pg_sys::XactLockTableWait(xid, table.relation, ptr::null_mut(), why);
            }
        }
        return Ok(KeyState::Waited);
    }
    Ok(state)
}

/// A taken key: under one snapshot for the whole transaction the entry may be invisible, and the
/// transaction must be run again.
fn taken(table: &Table, keys: &[Key]) -> Result<bool> {
    if one_snapshot_for_all() {
        let mut visible = false;
        // SAFETY: registered for as long as the scan runs.
        unsafe {
            let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot());
            let result = scan(table, table.indexes[1], snapshot, keys, |_| {
                visible = true;
                Ok(false)
            });
            pg_sys::UnregisterSnapshot(snapshot);
            result?;
        }
        if !visible {
            return Err(changed_meanwhile());
        }
    }
    Ok(false)
}

/// The entry as a row of the ledger, columns in the order of the table.
fn entry_row(table: &Table, entry: &Entry<'_>, link: &Link) -> pg_sys::HeapTuple {
    let uuid = |bytes: [u8; 16]| pgrx::Uuid::from_bytes(bytes).into_datum();
    let text = |value: Option<&str>| value.and_then(IntoDatum::into_datum);
    let json = |value: &Option<crate::storage::rows::Document>| {
        value
            .as_ref()
            .and_then(|document| document.value.into_datum())
    };
    let balance = (link.balance != link.lane_balance).then(|| fixed_datum(link.balance));
    let values = [
        uuid(entry.entry_id),
        Some(pg_sys::Datum::from(entry.created_at.0)),
        entry.event_at.map(|at| pg_sys::Datum::from(at.0)),
        link.seq.into_datum(),
        entry.fingerprint.and_then(uuid),
        entry.related_id.and_then(uuid),
        entry.key_id.and_then(uuid),
        link.lane.into_datum(),
        Some(pg_sys::Datum::from(entry.kind as u8)),
        Some(pg_sys::Datum::from(entry.call as u8)),
        text(Some(entry.wallet)),
        Some(fixed_datum(entry.amount)),
        Some(fixed_datum(link.lane_balance)),
        balance,
        link.hash.as_slice().into_datum(),
        text(entry.key),
        text(entry.user_id),
        text(entry.team),
        text(entry.provider),
        text(entry.model),
        text(entry.service),
        text(entry.region),
        text(entry.service_tier),
        entry.lines.and_then(IntoDatum::into_datum),
        json(&entry.usage),
        json(&entry.tags),
        text(entry.contra),
        text(entry.reference),
        text(entry.reason),
        text(entry.actor),
        json(&entry.metadata),
    ];
    let mut fields = Fields::empty();
    for (column, value) in (1..).zip(values) {
        fields.set(column, value);
    }
    fields.form(table)
}
