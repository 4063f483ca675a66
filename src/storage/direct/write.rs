//! Writes rows as the executor does.

use std::ptr;

use pgrx::pg_sys;

use crate::error::{Code, Error, Result};
use crate::pg::clock::one_snapshot_for_all;
use crate::pg::raw;
use crate::storage::direct::fields::Fields;
use crate::storage::direct::table::Table;
use crate::storage::session;

/// A TID: block number (high and low half) and offset of a row version.
pub type Tid = (u16, u16, u16);

/// A row that this transaction has read: a copy of it, and its place.
pub struct RowAsRead {
    /// The copy, which PostgreSQL has allocated.
    pub(super) tuple: pg_sys::HeapTuple,
    /// Where the row is.
    pub(super) place: Tid,
}

/// # Safety
/// The tuple was read from a table.
pub(super) unsafe fn place_of(tuple: pg_sys::HeapTuple) -> Tid {
    // SAFETY: t_self is set for tuples that were read.
    let tid = unsafe { (*tuple).t_self };
    (tid.ip_blkid.bi_hi, tid.ip_blkid.bi_lo, tid.ip_posid)
}

/// The reverse of `place_of`.
pub(super) fn tid_of(place: Tid) -> pg_sys::ItemPointerData {
    pg_sys::ItemPointerData {
        ip_blkid: pg_sys::BlockIdData {
            bi_hi: place.0,
            bi_lo: place.1,
        },
        ip_posid: place.2,
    }
}

/// Replaces a row. Returns false if another transaction changed it since it was read.
pub(super) fn replace(table: &Table, place: Tid, row: pg_sys::HeapTuple) -> Result<bool> {
    replace_in_indexes(table, place, row, None, true)
}

/// Like `replace`, for a table whose last index is partial. `in_last`: whether the row belongs in
/// that index. The fields, if they are still valid, are those from which the row was formed.
pub(super) fn replace_in_indexes(
    table: &Table,
    place: Tid,
    row: pg_sys::HeapTuple,
    fields: Option<&Fields>,
    in_last: bool,
) -> Result<bool> {
    session::note_lock();
    let mut old = tid_of(place);
    let mut failure = pg_sys::TM_FailureData::default();
    let mut mode = pg_sys::LockTupleMode::LockTupleNoKeyExclusive;
    // SAFETY: `old` was read under a snapshot that is not older than the statement's active one.
    // That snapshot keeps the version from being pruned and its line pointer from being reused. The
    // new row has the table's columns. heap_update waits for a transaction that is changing the
    // row.
    let (result, is_done) = unsafe {
        raw::guarded(|| {
            let result = heap_update(table.relation, &mut old, row, &mut failure, &mut mode);
            // Most updates are HOT and need no new index entries.
            let is_done = result == pg_sys::TM_Result::TM_Ok && is_heap_only(row);
            if is_done {
                raw::CommandCounterIncrement();
            }
            (result, is_done)
        })
    };
    match result {
        pg_sys::TM_Result::TM_Ok if is_done => Ok(true),
        pg_sys::TM_Result::TM_Ok => {
            // SAFETY: heap_update has set t_self; the row's key columns are those of the old one.
            unsafe {
                match fields {
                    Some(fields) => insert_anew(table, row, fields, in_last),
                    None => insert_anew(table, row, &Fields::of(table, row), in_last),
                }
            }
            Ok(true)
        }
        pg_sys::TM_Result::TM_Updated | pg_sys::TM_Result::TM_Deleted if one_snapshot_for_all() => {
            Err(changed_meanwhile())
        }
        pg_sys::TM_Result::TM_Updated | pg_sys::TM_Result::TM_Deleted => Ok(false),
        other => Err(Error::internal(format!(
            "unexpected answer {other} of heap_update"
        ))),
    }
}

/// Adds index entries for a row version that is not heap-only. Its keys are those of the previous
/// version, so indexes may remove entries of dead versions.
///
/// # Safety
/// heap_update has written the row, with the keys of the previous version; it was formed from the
/// fields.
unsafe fn insert_anew(table: &Table, row: pg_sys::HeapTuple, fields: &Fields, in_last: bool) {
    let [primary, once, last] = table.indexes;
    let last = if in_last { last } else { ptr::null_mut() };
    let indexes = [(primary, UNIQUE_YES), (once, UNIQUE_YES), (last, UNIQUE_NO)];
    // SAFETY: the caller's guarantee; the info is that of the index.
    unsafe {
        raw::guarded(|| {
            for (index, check) in &indexes {
                if !index.is_null() {
                    let info = raw::BuildIndexInfo(*index);
                    insert_with(table, *index, info, row, fields, *check, true);
                }
            }
            raw::CommandCounterIncrement();
        });
    }
}

/// `heap_update` in the supported versions of PostgreSQL, as a part of the running command.
///
/// # Safety
/// As for `heap_update`. Called inside a `sigsetjmp` guard.
unsafe fn heap_update(
    relation: pg_sys::Relation,
    old: &mut pg_sys::ItemPointerData,
    row: pg_sys::HeapTuple,
    failure: &mut pg_sys::TM_FailureData,
    mode: &mut pg_sys::LockTupleMode::Type,
) -> pg_sys::TM_Result::Type {
    #[cfg(feature = "pg15")]
    // SAFETY: the caller's guarantee.
    unsafe {
        raw::heap_update(
            relation,
            old,
            row,
            raw::GetCurrentCommandId(true),
            ptr::null_mut(),
            true,
            failure,
            mode,
        )
    }
    #[cfg(not(feature = "pg15"))]
    // SAFETY: the caller's guarantee. Whether indexes need new entries is read from the row's
    // header.
    unsafe {
        let mut indexes = pg_sys::TU_UpdateIndexes::TU_None;
        raw::heap_update(
            relation,
            old,
            row,
            raw::GetCurrentCommandId(true),
            ptr::null_mut(),
            true,
            failure,
            mode,
            &mut indexes,
        )
    }
}

/// # Safety
/// The tuple was written by heap_update.
unsafe fn is_heap_only(row: pg_sys::HeapTuple) -> bool {
    // SAFETY: t_data is the tuple's header.
    unsafe { u32::from((*(*row).t_data).t_infomask2) & pg_sys::HEAP_ONLY_TUPLE != 0 }
}

pub(super) const UNIQUE_NO: pg_sys::IndexUniqueCheck::Type =
    pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO;
pub(super) const UNIQUE_YES: pg_sys::IndexUniqueCheck::Type =
    pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES;
pub(super) const UNIQUE_PARTIAL: pg_sys::IndexUniqueCheck::Type =
    pg_sys::IndexUniqueCheck::UNIQUE_CHECK_PARTIAL;

/// Adds the row to an index. Returns false if a partial check found a possible conflict.
///
/// # Safety
/// The row is in the table and was formed from the fields. The index belongs to the table and has
/// no expressions and no predicate. Called inside a `sigsetjmp` guard.
pub(super) unsafe fn insert_into_index(
    table: &Table,
    index: pg_sys::Relation,
    row: pg_sys::HeapTuple,
    fields: &Fields,
    check: pg_sys::IndexUniqueCheck::Type,
) -> bool {
    // SAFETY: the caller's guarantee; the info is that of the index.
    unsafe {
        let info = raw::BuildIndexInfo(index);
        insert_with(table, index, info, row, fields, check, false)
    }
}

/// The maximum number of columns of an index.
const KEY_COLUMNS: usize = pg_sys::INDEX_MAX_KEYS as usize;

/// Like [`insert_into_index`], with an `IndexInfo` that is reused for several rows. `unchanged`:
/// the previous version of the row has the same keys.
///
/// # Safety
/// As for [`insert_into_index`]; `info` is that of the index.
pub(super) unsafe fn insert_with(
    table: &Table,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    row: pg_sys::HeapTuple,
    fields: &Fields,
    check: pg_sys::IndexUniqueCheck::Type,
    unchanged: bool,
) -> bool {
    // SAFETY: the key columns are plain attributes of the table, as `judge` checked; the arrays
    // have an element for every key column.
    unsafe {
        let mut values = [pg_sys::Datum::null(); KEY_COLUMNS];
        let mut nulls = [false; KEY_COLUMNS];
        let columns = &(*info).ii_IndexAttrNumbers;
        let count = usize::try_from((*info).ii_NumIndexAttrs).unwrap_or(0);
        for ((value, null), column) in values.iter_mut().zip(&mut nulls).zip(columns).take(count) {
            (*value, *null) = fields.key(*column);
        }
        raw::index_insert(
            index,
            values.as_mut_ptr(),
            nulls.as_mut_ptr(),
            &mut (*row).t_self,
            table.relation,
            check,
            unchanged,
            info,
        )
    }
}

/// The error 40001, in PostgreSQL's own words.
pub(super) fn changed_meanwhile() -> Error {
    Error::new(
        Code::SerializationFailure,
        "could not serialize access due to concurrent update",
    )
    .detail("Another transaction changed a row after the snapshot of this one was taken.")
    .hint("Run the transaction again.")
}
