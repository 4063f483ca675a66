//! Rows written, as the executor does it underneath.

use std::ptr;

use pgrx::pg_sys;

use crate::error::{Code, Error, Result};
use crate::pg::clock::one_snapshot_for_all;
use crate::pg::raw;
use crate::storage::direct::fields::Fields;
use crate::storage::direct::table::Table;
use crate::storage::session;

/// Block (high and low half) and offset of a row version.
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

/// The other way round.
pub(super) fn tid_of(place: Tid) -> pg_sys::ItemPointerData {
    pg_sys::ItemPointerData {
        ip_blkid: pg_sys::BlockIdData {
            bi_hi: place.0,
            bi_lo: place.1,
        },
        ip_posid: place.2,
    }
}

/// Replaces a row; false when another transaction changed it since it was read.
pub(super) fn replace(table: &Table, place: Tid, row: pg_sys::HeapTuple) -> Result<bool> {
    replace_in_indexes(table, place, row, None, true)
}

/// The same for a table whose last index has some of the rows only: whether it has this one. The
/// fields, if they are still good, are those that the row was formed of.
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
    // SAFETY: `old` was read under a snapshot that is not older than the statement's own active
    // one, which keeps the version from being pruned and its place from being used again. The new
    // row has the table's columns. heap_update waits for a transaction that is changing the row.
    let (result, is_done) = unsafe {
        raw::guarded(|| {
            let result = heap_update(table.relation, &mut old, row, &mut failure, &mut mode);
            // Most rows stay on their page, and no index hears of it.
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
            Err(Error::new(
                Code::SerializationFailure,
                "could not serialize access due to concurrent update",
            )
            .hint("Run the transaction again."))
        }
        pg_sys::TM_Result::TM_Updated | pg_sys::TM_Result::TM_Deleted => Ok(false),
        other => Err(Error::internal(format!(
            "unexpected answer {other} of heap_update"
        ))),
    }
}

/// Adds a row that has moved to the indexes. Its keys are those of the version before it, so that indexes may
/// clear up versions that nobody sees any more.
///
/// # Safety
/// heap_update has written the row, with the keys of the one before it; it was formed of the fields.
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

/// `heap_update` over the versions of PostgreSQL, as a part of the running command.
///
/// # Safety
/// As for `heap_update`; behind a jump point.
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
    // SAFETY: the caller's guarantee. Which indexes need an entry is read off the row.
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

/// Adds the row to an index; false when a partial check found a possible conflict.
///
/// # Safety
/// The row stands in the table and was formed of the fields; the index is one of the table's without
/// expressions or predicate. Behind a jump point.
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

/// Columns that an index has at most.
const KEY_COLUMNS: usize = pg_sys::INDEX_MAX_KEYS as usize;

/// As [`insert_into_index`], with what is known of the index from row to row; `unchanged` says that the
/// row's version before this one has the same keys.
///
/// # Safety
/// As there; `info` is that of the index.
pub(super) unsafe fn insert_with(
    table: &Table,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    row: pg_sys::HeapTuple,
    fields: &Fields,
    check: pg_sys::IndexUniqueCheck::Type,
    unchanged: bool,
) -> bool {
    // SAFETY: key columns are plain attributes of the table, as `judge` found; the arrays have
    // room for every key column.
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

/// 40001, in PostgreSQL's own words.
pub(super) fn changed_meanwhile() -> Error {
    Error::new(
        Code::SerializationFailure,
        "could not serialize access due to concurrent update",
    )
    .hint("Run the transaction again.")
}
