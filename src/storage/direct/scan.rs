//! Finds rows by an index.

use std::ptr;

use pgrx::pg_sys;

use crate::error::Result;
use crate::pg::clock::Timestamp;
use crate::pg::raw;
use crate::pg::varlena::length_word;
use crate::storage::direct::fields::words_of;
use crate::storage::direct::table::Table;
use crate::storage::direct::tid_cache::{CachedTid, is_crowded};

/// The value that a column of an index must have, or its bound. Keys are listed in the order of the
/// index's leading columns. Only the last key may be a bound.
pub(super) struct Key {
    collation: pg_sys::Oid,
    strategy: u32,
    function: u32,
    value: Value,
}

impl Key {
    fn equal(collation: pg_sys::Oid, function: u32, value: Value) -> Key {
        Key {
            collation,
            strategy: pg_sys::BTEqualStrategyNumber,
            function,
            value,
        }
    }
}

/// On which side of a time the rows are.
pub(super) enum Bound {
    /// At that time or before.
    AtMost,
    /// After that time.
    After,
}

/// The value of a key.
enum Value {
    /// The datum itself.
    Plain(pg_sys::Datum),
    /// The words to which the datum points, with PostgreSQL's alignment.
    Kept(Vec<u64>),
}

impl Value {
    /// The datum, valid as long as the key.
    fn datum(&self) -> pg_sys::Datum {
        match self {
            Value::Plain(datum) => *datum,
            Value::Kept(words) => pg_sys::Datum::from(words.as_ptr()),
        }
    }
}

/// The maximum number of keys of a scan.
const MAX_KEYS: usize = 3;

pub(super) fn text_key(value: &str) -> Key {
    let head = length_word(size_of::<u32>() + value.len());
    let value = Value::Kept(words_of(&head, value.as_bytes()));
    Key::equal(pg_sys::DEFAULT_COLLATION_OID, pg_sys::F_TEXTEQ, value)
}

pub(super) fn uuid_key(value: [u8; 16]) -> Key {
    let value = Value::Kept(words_of(&[], &value));
    Key::equal(pg_sys::InvalidOid, pg_sys::F_UUID_EQ, value)
}

pub(super) fn int2_key(value: i16) -> Key {
    let value = Value::Plain(pg_sys::Datum::from(value));
    Key::equal(pg_sys::InvalidOid, pg_sys::F_INT2EQ, value)
}

pub(super) fn char_key(value: u8) -> Key {
    let value = Value::Plain(pg_sys::Datum::from(value));
    Key::equal(pg_sys::InvalidOid, pg_sys::F_CHAREQ, value)
}

pub(super) fn time_key(bound: Bound, at: Timestamp) -> Key {
    let (strategy, function) = match bound {
        Bound::AtMost => (pg_sys::BTLessEqualStrategyNumber, pg_sys::F_TIMESTAMPTZ_LE),
        Bound::After => (pg_sys::BTGreaterStrategyNumber, pg_sys::F_TIMESTAMPTZ_GT),
    };
    Key {
        collation: pg_sys::InvalidOid,
        strategy,
        function,
        value: Value::Plain(pg_sys::Datum::from(at.0)),
    }
}

/// Calls `each` with the rows that match the keys, and with the root line pointers that the index
/// entries name, until `each` asks to stop.
pub(super) fn scan(
    table: &Table,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    keys: &[Key],
    each: impl FnMut(pg_sys::HeapTuple, CachedTid) -> Result<bool>,
) -> Result<()> {
    scan_under(Some(snapshot), table, index, keys, FORWARD, each)
}

/// Scans with a snapshot of what is committed now (under READ COMMITTED), including this
/// transaction's own changes.
pub(super) fn scan_now(
    table: &Table,
    keys: &[Key],
    each: impl FnMut(pg_sys::HeapTuple, CachedTid) -> Result<bool>,
) -> Result<()> {
    scan_by(table, 0, keys, each)
}

/// Like `scan_now`, by another of the table's indexes.
pub(super) fn scan_by(
    table: &Table,
    index: usize,
    keys: &[Key],
    each: impl FnMut(pg_sys::HeapTuple, CachedTid) -> Result<bool>,
) -> Result<()> {
    scan_under(None, table, table.indexes[index], keys, FORWARD, each)
}

/// Like `scan_by`, from the end of the index.
pub(super) fn scan_back(
    table: &Table,
    index: usize,
    keys: &[Key],
    each: impl FnMut(pg_sys::HeapTuple, CachedTid) -> Result<bool>,
) -> Result<()> {
    let backward = pg_sys::ScanDirection::BackwardScanDirection;
    scan_under(None, table, table.indexes[index], keys, backward, each)
}

/// Scans under a snapshot of the caller, or under one of its own.
fn scan_under(
    snapshot: Option<pg_sys::Snapshot>,
    table: &Table,
    index: pg_sys::Relation,
    keys: &[Key],
    direction: pg_sys::ScanDirection::Type,
    mut each: impl FnMut(pg_sys::HeapTuple, CachedTid) -> Result<bool>,
) -> Result<()> {
    let mut entries = [pg_sys::ScanKeyData::default(); MAX_KEYS];
    let wanted = wanted(keys);
    let wanted = &wanted[..keys.len().min(MAX_KEYS)];
    // SAFETY: the keys are those of the index's leading columns, with the types' own comparisons,
    // and live longer than the scan. A PostgreSQL error leaves scan, snapshot, pin and lock to the
    // abort.
    unsafe {
        let (mut scan, mut found) = raw::guarded(|| {
            let mut scan = Scan::begin(
                table.relation,
                index,
                snapshot,
                &mut entries,
                wanted,
                direction,
                Find::Rows,
            );
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

/// Calls `each` with the values and the root line pointers of the first `most` index entries that
/// match the keys, also with those of rows that are not visible. Reads no row. By-reference values
/// are valid during the call.
pub(super) fn entries<const COLUMNS: usize>(
    table: &Table,
    index: pg_sys::Relation,
    keys: &[Key],
    most: usize,
    mut each: impl FnMut(&[pg_sys::Datum; COLUMNS], CachedTid),
) {
    let mut slots = [pg_sys::ScanKeyData::default(); MAX_KEYS];
    let wanted = wanted(keys);
    let wanted = &wanted[..keys.len().min(MAX_KEYS)];
    let table = table.relation;
    // SAFETY: as in `scan_under`. The index has as many columns as the array has elements.
    unsafe {
        if usize::try_from((*(*index).rd_att).natts) != Ok(COLUMNS) {
            return;
        }
        let mut scan = raw::guarded(|| {
            Scan::begin(
                table,
                index,
                None,
                &mut slots,
                wanted,
                FORWARD,
                Find::Entries,
            )
        });
        let mut values = [pg_sys::Datum::null(); COLUMNS];
        let mut nulls = [false; COLUMNS];
        for _ in 0..most {
            if !raw::guarded(|| scan.next_entry(values.as_mut_ptr(), nulls.as_mut_ptr())) {
                break;
            }
            each(&values, scan.root);
        }
        raw::guarded(|| scan.end());
    }
}

/// The kind of result of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Find {
    /// Rows of the table.
    Rows,
    /// Entries of the index.
    Entries,
}

/// The keys in the form that a scan needs.
fn wanted(keys: &[Key]) -> [Wanted; MAX_KEYS] {
    let mut wanted = [Wanted::default(); MAX_KEYS];
    for (wanted, key) in wanted.iter_mut().zip(keys) {
        *wanted = Wanted {
            collation: key.collation,
            strategy: key.strategy as pg_sys::StrategyNumber,
            function: pg_sys::Oid::from(key.function),
            value: key.value.datum(),
        };
    }
    wanted
}

/// A key in the form that a scan needs.
#[derive(Clone, Copy)]
struct Wanted {
    collation: pg_sys::Oid,
    strategy: pg_sys::StrategyNumber,
    function: pg_sys::Oid,
    value: pg_sys::Datum,
}

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted {
            collation: pg_sys::InvalidOid,
            strategy: 0,
            function: pg_sys::InvalidOid,
            value: pg_sys::Datum::null(),
        }
    }
}

const FORWARD: pg_sys::ScanDirection::Type = pg_sys::ScanDirection::ForwardScanDirection;

/// A scan that is in progress. The page that was read last stays pinned for the next row.
#[derive(Clone, Copy)]
struct Scan {
    table: pg_sys::Relation,
    scan: pg_sys::IndexScanDesc,
    direction: pg_sys::ScanDirection::Type,
    snapshot: pg_sys::Snapshot,
    /// Whether the snapshot was taken for this scan.
    is_own: bool,
    buffer: pg_sys::Buffer,
    /// The row version that was found last.
    tuple: pg_sys::HeapTupleData,
    /// The root line pointer that the index entry of that version names.
    root: CachedTid,
    /// Whether another version of the same row may be visible. A snapshot that shows uncommitted
    /// changes can see two versions.
    in_chain: bool,
}

const NO_BUFFER: pg_sys::Buffer = pg_sys::InvalidBuffer as pg_sys::Buffer;

impl Scan {
    /// # Safety
    /// Called inside a `sigsetjmp` guard, as are the other methods. The relations are open, and the
    /// keys are values of the index's leading columns.
    unsafe fn begin(
        table: pg_sys::Relation,
        index: pg_sys::Relation,
        snapshot: Option<pg_sys::Snapshot>,
        entries: &mut [pg_sys::ScanKeyData; MAX_KEYS],
        wanted: &[Wanted],
        direction: pg_sys::ScanDirection::Type,
        find: Find,
    ) -> Scan {
        // SAFETY: the caller's guarantee.
        unsafe {
            let mut count = 0;
            for (entry, wanted) in entries.iter_mut().zip(wanted) {
                count += 1;
                raw::ScanKeyEntryInitialize(
                    entry,
                    0,
                    count,
                    wanted.strategy,
                    pg_sys::InvalidOid,
                    wanted.collation,
                    wanted.function,
                    wanted.value,
                );
            }
            let (snapshot, is_own) = match snapshot {
                Some(snapshot) => (snapshot, false),
                None => (raw::RegisterSnapshot(raw::GetTransactionSnapshot()), true),
            };
            let count = i32::from(count);
            let scan = begin(table, index, snapshot, count);
            (*scan).xs_want_itup = find == Find::Entries;
            raw::index_rescan(scan, entries.as_mut_ptr(), count, ptr::null_mut(), 0);
            Scan {
                table,
                scan,
                direction,
                snapshot,
                is_own,
                buffer: NO_BUFFER,
                tuple: pg_sys::HeapTupleData::default(),
                root: CachedTid::NONE,
                in_chain: false,
            }
        }
    }

    /// Advances to the next entry of the index, and takes its values apart. Returns false at the
    /// end.
    ///
    /// # Safety
    /// The scan was begun for entries, and has not ended. There is an element for each column of
    /// the index.
    unsafe fn next_entry(&mut self, values: *mut pg_sys::Datum, nulls: *mut bool) -> bool {
        // SAFETY: the caller's guarantee. A B-tree returns the entry with its line pointer.
        unsafe {
            let tid = raw::index_getnext_tid(self.scan, self.direction);
            if tid.is_null() || (*self.scan).xs_itup.is_null() {
                return false;
            }
            self.root = CachedTid::of(*tid);
            let columns = (*self.scan).xs_itupdesc;
            raw::index_deform_tuple((*self.scan).xs_itup, columns, values, nulls);
            true
        }
    }

    /// Advances to the next visible version. An MVCC snapshot sees at most one version per row.
    /// Returns false at the end.
    ///
    /// # Safety
    /// The scan has not ended. The tuple is valid while its page is pinned, which is until the next
    /// step.
    unsafe fn step(&mut self) -> bool {
        // SAFETY: the table is locked, so no page that its index names can be removed.
        unsafe {
            loop {
                let is_first = !self.in_chain;
                let mut all_dead = false;
                if is_first {
                    let tid = raw::index_getnext_tid(self.scan, self.direction);
                    if tid.is_null() {
                        return false;
                    }
                    self.root = CachedTid::of(*tid);
                    self.tuple.t_self = *tid;
                    let before = self.buffer;
                    self.buffer = raw::ReleaseAndReadBuffer(before, self.table, self.root.block);
                    if self.buffer != before && is_crowded(self.buffer) {
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
                // Lets the index drop entries of rows that are dead to all transactions, as the
                // executor does.
                (*self.scan).kill_prior_tuple = all_dead && !(*self.scan).xactStartedInRecovery;
            }
        }
    }

    /// # Safety
    /// Called once.
    unsafe fn end(&self) {
        // SAFETY: releases what `begin` and `step` have acquired.
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

/// `index_beginscan` in the supported versions of PostgreSQL.
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
    // SAFETY: the caller's guarantee; the number of index searches is not counted.
    unsafe {
        raw::index_beginscan(table, index, snapshot, ptr::null_mut(), keys, 0)
    }
}
