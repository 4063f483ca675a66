//! Rows found by an index, and their columns.

use std::ptr;

use pgrx::pg_sys;

use crate::error::Result;
use crate::storage::direct::fields::words_of;
use crate::storage::direct::roots::Root;
use crate::storage::direct::table::Table;
use crate::storage::raw;
use crate::storage::varlena::length_word;

/// The value that a column of an index must have. Keys are given in the order of the index's leading columns.
pub(super) struct Key {
    collation: pg_sys::Oid,
    equal: u32,
    value: Value,
}

/// What a key looks for.
enum Value {
    /// The datum itself.
    Plain(pg_sys::Datum),
    /// What the datum points to; aligned as PostgreSQL has it.
    Kept(Vec<u64>),
}

impl Value {
    /// Good for as long as the key is.
    fn datum(&self) -> pg_sys::Datum {
        match self {
            Value::Plain(datum) => *datum,
            Value::Kept(words) => pg_sys::Datum::from(words.as_ptr()),
        }
    }
}

/// Keys that a scan has at most.
const MAX_KEYS: usize = 3;

pub(super) fn text_key(value: &str) -> Key {
    let head = length_word(size_of::<u32>() + value.len());
    Key {
        collation: pg_sys::DEFAULT_COLLATION_OID,
        equal: pg_sys::F_TEXTEQ,
        value: Value::Kept(words_of(&head, value.as_bytes())),
    }
}

pub(super) fn uuid_key(value: [u8; 16]) -> Key {
    Key {
        collation: pg_sys::InvalidOid,
        equal: pg_sys::F_UUID_EQ,
        value: Value::Kept(words_of(&[], &value)),
    }
}

pub(super) fn int2_key(value: i16) -> Key {
    Key {
        collation: pg_sys::InvalidOid,
        equal: pg_sys::F_INT2EQ,
        value: Value::Plain(pg_sys::Datum::from(value)),
    }
}

pub(super) fn char_key(value: u8) -> Key {
    Key {
        collation: pg_sys::InvalidOid,
        equal: pg_sys::F_CHAREQ,
        value: Value::Plain(pg_sys::Datum::from(value)),
    }
}

/// Calls `each` with the rows that the keys find, and with the line pointers to which the index led,
/// until it says stop.
pub(super) fn scan(
    table: &Table,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    keys: &[Key],
    each: impl FnMut(pg_sys::HeapTuple, Root) -> Result<bool>,
) -> Result<()> {
    scan_under(Some(snapshot), table, index, keys, each)
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
    scan_under(None, table, table.indexes[index], keys, each)
}

/// Scans under a snapshot that the caller keeps, or under one of its own.
fn scan_under(
    snapshot: Option<pg_sys::Snapshot>,
    table: &Table,
    index: pg_sys::Relation,
    keys: &[Key],
    mut each: impl FnMut(pg_sys::HeapTuple, Root) -> Result<bool>,
) -> Result<()> {
    let mut entries = [pg_sys::ScanKeyData::default(); MAX_KEYS];
    let mut wanted = [(
        pg_sys::InvalidOid,
        pg_sys::InvalidOid,
        pg_sys::Datum::null(),
    ); MAX_KEYS];
    for (wanted, key) in wanted.iter_mut().zip(keys) {
        *wanted = (
            key.collation,
            pg_sys::Oid::from(key.equal),
            key.value.datum(),
        );
    }
    let wanted = &wanted[..keys.len().min(MAX_KEYS)];
    // SAFETY: the keys are those of the index's leading columns with the types' own equality, and live
    // longer than the scan. A PostgreSQL error leaves scan, snapshot, pin and lock to the abort.
    unsafe {
        let (mut scan, mut found) = raw::guarded(|| {
            let mut scan = Scan::begin(table.relation, index, snapshot, &mut entries, wanted);
            let found = scan.step();
            (scan, found)
        });
        let mut result = Ok(());
        while found {
            match each(&mut scan.tuple, scan.root) {
                Ok(true) => found = raw::guarded(|| scan.step()),
                Ok(false) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        raw::guarded(|| scan.end());
        result
    }
}

/// A scan that is under way: the page that was looked at last stays pinned for the next row.
#[derive(Clone, Copy)]
struct Scan {
    table: pg_sys::Relation,
    scan: pg_sys::IndexScanDesc,
    snapshot: pg_sys::Snapshot,
    /// Whether the snapshot was taken for this scan.
    is_own: bool,
    buffer: pg_sys::Buffer,
    /// The version found last.
    tuple: pg_sys::HeapTupleData,
    /// Where the index led for it.
    root: Root,
    /// Whether another version of the same row may be visible: two are at most, under a snapshot
    /// that shows what is not committed.
    in_chain: bool,
}

const NO_BUFFER: pg_sys::Buffer = pg_sys::InvalidBuffer as pg_sys::Buffer;

impl Scan {
    /// # Safety
    /// Called behind a jump point, as are the others; the relations are open, and what is wanted are values
    /// of the index's leading columns.
    unsafe fn begin(
        table: pg_sys::Relation,
        index: pg_sys::Relation,
        snapshot: Option<pg_sys::Snapshot>,
        entries: &mut [pg_sys::ScanKeyData; MAX_KEYS],
        wanted: &[(pg_sys::Oid, pg_sys::Oid, pg_sys::Datum)],
    ) -> Scan {
        // SAFETY: the caller's guarantee.
        unsafe {
            let mut count = 0;
            for (entry, (collation, equal, value)) in entries.iter_mut().zip(wanted) {
                count += 1;
                raw::ScanKeyEntryInitialize(
                    entry,
                    0,
                    count,
                    pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
                    pg_sys::InvalidOid,
                    *collation,
                    *equal,
                    *value,
                );
            }
            let (snapshot, is_own) = match snapshot {
                Some(snapshot) => (snapshot, false),
                None => (raw::RegisterSnapshot(raw::GetTransactionSnapshot()), true),
            };
            let count = i32::from(count);
            let scan = begin(table, index, snapshot, count);
            raw::index_rescan(scan, entries.as_mut_ptr(), count, ptr::null_mut(), 0);
            Scan {
                table,
                scan,
                snapshot,
                is_own,
                buffer: NO_BUFFER,
                tuple: pg_sys::HeapTupleData::default(),
                root: Root::NONE,
                in_chain: false,
            }
        }
    }

    /// Goes to the next visible version: one of a row at most under a snapshot of a moment. False when there
    /// is none.
    ///
    /// # Safety
    /// The scan has not ended. The tuple is good while its page is pinned, which is until the next step.
    unsafe fn step(&mut self) -> bool {
        // SAFETY: the table is locked, so that no page that its index names goes.
        unsafe {
            loop {
                let is_first = !self.in_chain;
                let mut all_dead = false;
                if is_first {
                    let forward = pg_sys::ScanDirection::ForwardScanDirection;
                    let tid = raw::index_getnext_tid(self.scan, forward);
                    if tid.is_null() {
                        return false;
                    }
                    self.root = Root::of(*tid);
                    self.tuple.t_self = *tid;
                    let before = self.buffer;
                    self.buffer = raw::ReleaseAndReadBuffer(before, self.table, self.root.block);
                    if self.buffer != before {
                        raw::heap_page_prune_opt(self.table, self.buffer);
                    }
                }
                let mut tid = self.tuple.t_self;
                raw::LockBuffer(self.buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
                let found = raw::heap_hot_search_buffer(
                    &mut tid,
                    self.table,
                    self.buffer,
                    self.snapshot,
                    &mut self.tuple,
                    &mut all_dead,
                    is_first,
                );
                raw::LockBuffer(self.buffer, pg_sys::BUFFER_LOCK_UNLOCK as i32);
                self.tuple.t_self = tid;
                let is_of_a_moment =
                    (*self.snapshot).snapshot_type == pg_sys::SnapshotType::SNAPSHOT_MVCC;
                self.in_chain = found && !is_of_a_moment;
                if found {
                    return true;
                }
                // So that the index forgets rows that nobody can see any more, as the executor has it.
                (*self.scan).kill_prior_tuple = all_dead && !(*self.scan).xactStartedInRecovery;
            }
        }
    }

    /// # Safety
    /// Called once.
    unsafe fn end(&self) {
        // SAFETY: releases what `begin` and `step` have taken.
        unsafe {
            if self.buffer != NO_BUFFER {
                raw::ReleaseBuffer(self.buffer);
            }
            raw::index_endscan(self.scan);
            if self.is_own {
                raw::UnregisterSnapshot(self.snapshot);
            }
        }
    }
}

/// `index_beginscan` over the versions of PostgreSQL.
///
/// # Safety
/// As for `index_beginscan`.
unsafe fn begin(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    keys: i32,
) -> pg_sys::IndexScanDesc {
    #[cfg(not(feature = "pg18"))]
    // SAFETY: the caller's guarantee.
    unsafe {
        raw::index_beginscan(table, index, snapshot, keys, 0)
    }
    #[cfg(feature = "pg18")]
    // SAFETY: the caller's guarantee; nobody counts the searches.
    unsafe {
        raw::index_beginscan(table, index, snapshot, ptr::null_mut(), keys, 0)
    }
}
