//! Rows found by an index, and their columns.

use std::ptr;

use pgrx::datum::IntoDatum;
use pgrx::pg_sys;

use crate::error::Result;
use crate::storage::direct::roots::Root;
use crate::storage::direct::table::Table;

/// The value that a column of an index must have. Keys are given in the order of the index's leading columns.
pub(super) struct Key {
    collation: pg_sys::Oid,
    equal: u32,
    value: pg_sys::Datum,
}

/// Keys that a scan has at most.
const MAX_KEYS: usize = 3;

pub(super) fn text_key(value: &str) -> Key {
    Key {
        collation: pg_sys::DEFAULT_COLLATION_OID,
        equal: pg_sys::F_TEXTEQ,
        value: value.into_datum().unwrap_or(pg_sys::Datum::null()),
    }
}

pub(super) fn uuid_key(value: [u8; 16]) -> Key {
    let value = pgrx::Uuid::from_bytes(value)
        .into_datum()
        .unwrap_or(pg_sys::Datum::null());
    Key {
        collation: pg_sys::InvalidOid,
        equal: pg_sys::F_UUID_EQ,
        value,
    }
}

pub(super) fn int2_key(value: i16) -> Key {
    Key {
        collation: pg_sys::InvalidOid,
        equal: pg_sys::F_INT2EQ,
        value: pg_sys::Datum::from(value),
    }
}

pub(super) fn char_key(value: u8) -> Key {
    Key {
        collation: pg_sys::InvalidOid,
        equal: pg_sys::F_CHAREQ,
        value: pg_sys::Datum::from(value),
    }
}

/// Calls `each` with the rows that the keys find, and with the line pointers to which the index led,
/// until it says stop.
pub(super) fn scan(
    table: &Table,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    keys: &[Key],
    mut each: impl FnMut(pg_sys::HeapTuple, Root) -> Result<bool>,
) -> Result<()> {
    let mut entries = [pg_sys::ScanKeyData::default(); MAX_KEYS];
    // SAFETY: the keys are those of the index's leading columns with the types' own equality; the
    // scan is ended before the entries go. A PostgreSQL error leaves scan, pin and lock to the abort.
    unsafe {
        for (place, (entry, key)) in entries.iter_mut().zip(keys).enumerate() {
            pg_sys::ScanKeyEntryInitialize(
                entry,
                0,
                place as i16 + 1,
                pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
                pg_sys::InvalidOid,
                key.collation,
                pg_sys::Oid::from(key.equal),
                key.value,
            );
        }
        let count = keys.len().min(MAX_KEYS) as i32;
        let scan = begin(table, index, snapshot, count);
        pg_sys::index_rescan(scan, entries.as_mut_ptr(), count, ptr::null_mut(), 0);
        let mut buffer = pg_sys::InvalidBuffer as pg_sys::Buffer;
        let mut result = Ok(true);
        while matches!(result, Ok(true)) {
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            let tid = pg_sys::index_getnext_tid(scan, forward);
            if tid.is_null() {
                break;
            }
            let mut all_dead = false;
            result = versions(table, snapshot, &mut buffer, *tid, &mut all_dead, &mut each);
            // So that the index forgets rows that nobody can see any more, as the executor has it.
            (*scan).kill_prior_tuple = all_dead && !(*scan).xactStartedInRecovery;
        }
        if buffer != pg_sys::InvalidBuffer as pg_sys::Buffer {
            pg_sys::ReleaseBuffer(buffer);
        }
        pg_sys::index_endscan(scan);
        result.map(drop)
    }
}

/// Calls `each` with the visible versions of one row: one at most under a snapshot of a moment, two
/// under one that shows what is not committed. The page stays pinned for the next row.
///
/// # Safety
/// The index led to `tid`; the buffer is invalid or pinned by the caller.
unsafe fn versions(
    table: &Table,
    snapshot: pg_sys::Snapshot,
    buffer: &mut pg_sys::Buffer,
    mut tid: pg_sys::ItemPointerData,
    all_dead: &mut bool,
    each: &mut impl FnMut(pg_sys::HeapTuple, Root) -> Result<bool>,
) -> Result<bool> {
    let root = Root::of(tid);
    let mut tuple = pg_sys::HeapTupleData::default();
    let mut first = true;
    // SAFETY: the table is locked, so that no page that its index names goes. Tuples are used while
    // their page is pinned.
    unsafe {
        let before = *buffer;
        *buffer = pg_sys::ReleaseAndReadBuffer(before, table.relation, root.block);
        if *buffer != before {
            pg_sys::heap_page_prune_opt(table.relation, *buffer);
        }
        loop {
            pg_sys::LockBuffer(*buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let found = pg_sys::heap_hot_search_buffer(
                &mut tid,
                table.relation,
                *buffer,
                snapshot,
                &mut tuple,
                all_dead,
                first,
            );
            pg_sys::LockBuffer(*buffer, pg_sys::BUFFER_LOCK_UNLOCK as i32);
            if !found {
                return Ok(true);
            }
            tuple.t_self = tid;
            if !each(&mut tuple, root)? {
                return Ok(false);
            }
            if (*snapshot).snapshot_type == pg_sys::SnapshotType::SNAPSHOT_MVCC {
                return Ok(true);
            }
            first = false;
        }
    }
}

/// `index_beginscan` over the versions of PostgreSQL.
///
/// # Safety
/// As for `index_beginscan`.
unsafe fn begin(
    table: &Table,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    keys: i32,
) -> pg_sys::IndexScanDesc {
    #[cfg(not(feature = "pg18"))]
    // SAFETY: the caller's guarantee.
    unsafe {
        pg_sys::index_beginscan(table.relation, index, snapshot, keys, 0)
    }
    #[cfg(feature = "pg18")]
    // SAFETY: the caller's guarantee; nobody counts the searches.
    unsafe {
        pg_sys::index_beginscan(table.relation, index, snapshot, ptr::null_mut(), keys, 0)
    }
}

/// Scans with what is committed now (under READ COMMITTED), one's own changes included.
pub(super) fn scan_now(
    table: &Table,
    keys: &[Key],
    each: impl FnMut(pg_sys::HeapTuple, Root) -> Result<bool>,
) -> Result<()> {
    scan_by(table, 0, keys, each)
}

/// The same by another of the table's indexes.
pub(super) fn scan_by(
    table: &Table,
    index: usize,
    keys: &[Key],
    each: impl FnMut(pg_sys::HeapTuple, Root) -> Result<bool>,
) -> Result<()> {
    // SAFETY: registered for as long as the scan runs; an error leaves it to the abort.
    unsafe {
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot());
        let result = scan(table, table.indexes[index], snapshot, keys, each);
        pg_sys::UnregisterSnapshot(snapshot);
        result
    }
}
