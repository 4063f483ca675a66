//! Rows found by an index, and their columns.

use std::ptr;

use pgrx::pg_sys;

use crate::error::Result;
use crate::pg::clock::Timestamp;
use crate::pg::raw;
use crate::pg::varlena::length_word;
use crate::storage::direct::fields::words_of;
use crate::storage::direct::table::Table;
use crate::storage::direct::tid_cache::CachedTid;

/// The value that a column of an index must have, or its bound. Keys are given in the order of the index's leading
/// columns; only the last may be a bound.
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
    /// After it.
    After,
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

/// Calls `each` with the rows that the keys find, and with the line pointers to which the index led,
/// until it says stop.
pub(super) fn scan(
    table: &Table,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    keys: &[Key],
    each: impl FnMut(pg_sys::HeapTuple, CachedTid) -> Result<bool>,
) -> Result<()> {
    scan_under(Some(snapshot), table, index, keys, FORWARD, each)
}

/// Scans with what is committed now (under READ COMMITTED), one's own changes included.
pub(super) fn scan_now(
    table: &Table,
    keys: &[Key],
    each: impl FnMut(pg_sys::HeapTuple, CachedTid) -> Result<bool>,
) -> Result<()> {
    scan_by(table, 0, keys, each)
}

/// The same by another of the table's indexes.
pub(super) fn scan_by(
    table: &Table,
    index: usize,
    keys: &[Key],
    each: impl FnMut(pg_sys::HeapTuple, CachedTid) -> Result<bool>,
) -> Result<()> {
    scan_under(None, table, table.indexes[index], keys, FORWARD, each)
}

/// The same from the end of the index.
pub(super) fn scan_back(
    table: &Table,
    index: usize,
    keys: &[Key],
    each: impl FnMut(pg_sys::HeapTuple, CachedTid) -> Result<bool>,
) -> Result<()> {
    let backward = pg_sys::ScanDirection::BackwardScanDirection;
    scan_under(None, table, table.indexes[index], keys, backward, each)
}

/// Scans under a snapshot that the caller keeps, or under one of its own.
fn scan_under(
    snapshot: Option<pg_sys::Snapshot>,
    table: &Table,
    index: pg_sys::Relation,
    keys: &[Key],
    direction: pg_sys::ScanDirection::Type,
    mut each: impl FnMut(pg_sys::HeapTuple, CachedTid) -> Result<bool>,
) -> Result<()> {
    let mut entries = [pg_sys::ScanKeyData::default(); MAX_KEYS];
    let mut wanted = [Wanted::default(); MAX_KEYS];
    for (wanted, key) in wanted.iter_mut().zip(keys) {
        *wanted = Wanted {
            collation: key.collation,
            strategy: key.strategy as pg_sys::StrategyNumber,
            function: pg_sys::Oid::from(key.function),
            value: key.value.datum(),
        };
    }
    let wanted = &wanted[..keys.len().min(MAX_KEYS)];
    // SAFETY: the keys are those of the index's leading columns with the types' own comparisons, and live
    // longer than the scan. A PostgreSQL error leaves scan, snapshot, pin and lock to the abort.
    unsafe {
        let (mut scan, mut found) = raw::guarded(|| {
            let mut scan = Scan::begin(
                table.relation,
                index,
                snapshot,
                &mut entries,
                wanted,
                direction,
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

/// A key as a scan is told of it.
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

/// A scan that is under way: the page that was looked at last stays pinned for the next row.
#[derive(Clone, Copy)]
struct Scan {
    table: pg_sys::Relation,
    scan: pg_sys::IndexScanDesc,
    direction: pg_sys::ScanDirection::Type,
    snapshot: pg_sys::Snapshot,
    /// Whether the snapshot was taken for this scan.
    is_own: bool,
    buffer: pg_sys::Buffer,
    /// The version found last.
    tuple: pg_sys::HeapTupleData,
    /// Where the index led for it.
    root: CachedTid,
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
        wanted: &[Wanted],
        direction: pg_sys::ScanDirection::Type,
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
                    let tid = raw::index_getnext_tid(self.scan, self.direction);
                    if tid.is_null() {
                        return false;
                    }
                    self.root = CachedTid::of(*tid);
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
