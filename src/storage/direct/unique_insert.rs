//! Rows with an idempotency key: each key is written once, even if other transactions write it
//! concurrently.
//!
//! The second index of such a table is unique over the key, or the primary key is derived from it.
//! The key is not looked up before the insert, because nearly every key is new. The index detects a
//! duplicate when the row is added to it. Then the row is deleted again.

use std::ptr;

use pgrx::pg_sys;

use crate::error::Result;
use crate::pg::clock::one_snapshot_for_all;
use crate::pg::raw;
use crate::storage::direct::fields::Fields;
use crate::storage::direct::scan::{Key, scan};
use crate::storage::direct::table::Table;
use crate::storage::direct::write::{
    UNIQUE_NO, UNIQUE_PARTIAL, UNIQUE_YES, changed_meanwhile, insert_into_index,
};
use crate::storage::session;

/// Writes the row. Returns false if its key is taken. Waits for a transaction that is using the
/// same key. `uncontended`: no other transaction can be using the key, because the caller holds a
/// lock that excludes it.
///
/// # Safety
/// The row has the table's columns and was formed from the fields. The keys are those of the unique
/// index over the idempotency key.
pub(super) unsafe fn append(
    table: &Table,
    row: pg_sys::HeapTuple,
    fields: &Fields,
    keys: &dyn Fn() -> Vec<Key>,
    uncontended: bool,
) -> Result<bool> {
    session::note_lock();
    if uncontended {
        append_uncontended(table, row, fields, keys)
    } else {
        append_speculatively(table, row, fields, keys)
    }
}

/// Adds the row to the table and its indexes. Returns false if the key may be taken.
///
/// # Safety
/// The row has the table's columns and was formed from the fields.
pub(super) unsafe fn insert(
    table: &Table,
    row: pg_sys::HeapTuple,
    fields: &Fields,
    check: pg_sys::IndexUniqueCheck::Type,
) -> bool {
    // SAFETY: the caller's guarantee; the row is in the table when it is added to the indexes.
    unsafe {
        raw::guarded(|| {
            raw::simple_heap_insert(table.relation, row);
            let unique = insert_into_unique(table, row, fields, check);
            insert_into_last(table, row, fields);
            raw::CommandCounterIncrement();
            unique
        })
    }
}

/// The unique index over the idempotency key.
fn key_index(table: &Table) -> pg_sys::Relation {
    let [primary, once, _] = table.indexes;
    if once.is_null() { primary } else { once }
}

/// Adds the row to the unique indexes. Returns false if a partial check found that the key may be
/// taken.
///
/// # Safety
/// The row is in the table and was formed from the fields. Called inside a `sigsetjmp` guard.
unsafe fn insert_into_unique(
    table: &Table,
    row: pg_sys::HeapTuple,
    fields: &Fields,
    check: pg_sys::IndexUniqueCheck::Type,
) -> bool {
    let [primary, once, _] = table.indexes;
    // SAFETY: the caller's guarantee.
    unsafe {
        if once.is_null() {
            return insert_into_index(table, primary, row, fields, check);
        }
        insert_into_index(table, primary, row, fields, UNIQUE_YES);
        insert_into_index(table, once, row, fields, check)
    }
}

/// Adds the row to the index that is not unique, if the table has one.
///
/// # Safety
/// The row is in the table and was formed from the fields. Called inside a `sigsetjmp` guard.
unsafe fn insert_into_last(table: &Table, row: pg_sys::HeapTuple, fields: &Fields) {
    let last = table.indexes[2];
    if !last.is_null() {
        // SAFETY: the caller's guarantee.
        unsafe { insert_into_index(table, last, row, fields, UNIQUE_NO) };
    }
}

/// Appends a row whose key no other transaction can be using.
fn append_uncontended(
    table: &Table,
    row: pg_sys::HeapTuple,
    fields: &Fields,
    keys: &dyn Fn() -> Vec<Key>,
) -> Result<bool> {
    // SAFETY: the row has the table's columns; it is this transaction's own when it is deleted.
    unsafe {
        // The first answer of the index is final. A second look-up could miss a row that is updated
        // in the meantime.
        if insert(table, row, fields, UNIQUE_PARTIAL) {
            return Ok(true);
        }
        pg_sys::simple_heap_delete(table.relation, &mut (*row).t_self);
        pg_sys::CommandCounterIncrement();
    }
    match is_taken(table, &keys())? {
        true => taken(table, &keys()),
        false => append_speculatively(table, row, fields, keys),
    }
}

/// Appends a row whose key other transactions may be using at this moment, in the same way as
/// INSERT … ON CONFLICT DO NOTHING: no transaction waits for a row that may still be deleted again.
fn append_speculatively(
    table: &Table,
    row: pg_sys::HeapTuple,
    fields: &Fields,
    keys: &dyn Fn() -> Vec<Key>,
) -> Result<bool> {
    loop {
        // SAFETY: the token is set before the insertion. The insertion is completed or aborted
        // before the lock is released, as in the executor.
        let is_new = unsafe {
            raw::guarded(|| {
                let xid = raw::GetCurrentTransactionId();
                let token = raw::SpeculativeInsertionLockAcquire(xid);
                set_speculative_token(row, token);
                raw::heap_insert(
                    table.relation,
                    row,
                    raw::GetCurrentCommandId(true),
                    pg_sys::HEAP_INSERT_SPECULATIVE as i32,
                    ptr::null_mut(),
                );
                let is_new = insert_into_unique(table, row, fields, UNIQUE_PARTIAL);
                if is_new {
                    insert_into_last(table, row, fields);
                    raw::heap_finish_speculative(table.relation, &mut (*row).t_self);
                } else {
                    raw::heap_abort_speculative(table.relation, &mut (*row).t_self);
                }
                raw::SpeculativeInsertionLockRelease(xid);
                raw::CommandCounterIncrement();
                is_new
            })
        };
        if is_new {
            return Ok(true);
        }
        if is_taken(table, &keys())? {
            return self::taken(table, &keys());
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

/// Whether an entry with the key is committed or this transaction's own. If another transaction is
/// using the key, waits for it to end and returns false; the caller then tries again.
fn is_taken(table: &Table, keys: &[Key]) -> Result<bool> {
    let mut snapshot = pg_sys::SnapshotData {
        snapshot_type: pg_sys::SnapshotType::SNAPSHOT_DIRTY,
        ..Default::default()
    };
    let mut user = None;
    let dirty: pg_sys::Snapshot = &mut snapshot;
    scan(table, key_index(table), dirty, keys, |_, _| {
        // SAFETY: a dirty snapshot tells who is inserting the row.
        user = Some(unsafe { ((*dirty).xmin, (*dirty).speculativeToken) });
        Ok(false)
    })?;
    let Some((xid, token)) = user else {
        return Ok(false);
    };
    if xid == pg_sys::InvalidTransactionId {
        return Ok(true);
    }
    // SAFETY: waits for another transaction, or for its speculative insertion, to end.
    unsafe {
        if token != 0 {
            pg_sys::SpeculativeInsertionWait(xid, token);
        } else {
            let why = pg_sys::XLTW_Oper::XLTW_InsertIndex;
            pg_sys::XactLockTableWait(xid, table.relation, ptr::null_mut(), why);
        }
    }
    Ok(false)
}

/// Answers for a taken key. In a transaction with a single snapshot the entry may be invisible, and
/// the transaction must be retried.
fn taken(table: &Table, keys: &[Key]) -> Result<bool> {
    if one_snapshot_for_all() {
        let mut visible = false;
        // SAFETY: registered for as long as the scan runs.
        unsafe {
            let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot());
            let result = scan(table, key_index(table), snapshot, keys, |_, _| {
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
