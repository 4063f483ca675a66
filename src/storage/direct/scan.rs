//! Rows found by an index, and their columns.

use std::ptr;

use pgrx::datum::{FromDatum, IntoDatum};
use pgrx::{pg_sys, varlena};
use rust_decimal::Decimal;

use crate::error::{Error, Result};
use crate::money::Amount;
use crate::storage::clock::Timestamp;
use crate::storage::direct::roots::Root;
use crate::storage::direct::table::Table;
use crate::storage::jsonb::Jsonb;
use crate::storage::numeric::{Number, amount_at};
use crate::storage::plan::{amounts_of, times_of, uuids_of};

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

/// As many columns as the widest of the hot tables has.
const MAX_COLUMNS: usize = 31;

/// The first columns of a table's rows, for who looks at many rows and needs no more of them.
pub(super) struct Head {
    columns: pg_sys::TupleDesc,
}

impl Head {
    pub(super) fn of(table: &Table, last: i16) -> Head {
        // SAFETY: the descriptor of an open table.
        let columns = unsafe { first_columns((*table.relation).rd_att, i32::from(last)) };
        Head { columns }
    }

    /// Takes the first columns of a row apart; the others are NULL.
    pub(super) fn fields(&self, tuple: pg_sys::HeapTuple) -> Fields {
        // SAFETY: the descriptor is that of the table's first columns.
        unsafe { Fields::described(self.columns, tuple) }
    }
}

/// A copy of a descriptor that has no more than its first columns. PostgreSQL takes the first of a row's
/// columns apart by it.
///
/// # Safety
/// The descriptor is one.
unsafe fn first_columns(columns: pg_sys::TupleDesc, last: i32) -> pg_sys::TupleDesc {
    #[cfg(not(feature = "pg18"))]
    // SAFETY: the copy is ours, so that its number of columns can be lowered.
    unsafe {
        let copy = pg_sys::CreateTupleDescCopy(columns);
        (*copy).natts = (*copy).natts.min(last);
        copy
    }
    // Where the columns stand in a descriptor depends on their number there.
    #[cfg(feature = "pg18")]
    // SAFETY: no more columns than there are.
    unsafe {
        pg_sys::CreateTupleDescTruncatedCopy(columns, (*columns).natts.min(last))
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        // After an error its memory goes with its context.
        if !std::thread::panicking() {
            // SAFETY: made by `of`, used by nobody else.
            unsafe { pg_sys::pfree(self.columns.cast()) };
        }
    }
}

/// The columns of a row.
pub(super) struct Fields {
    values: [pg_sys::Datum; MAX_COLUMNS],
    nulls: [bool; MAX_COLUMNS],
}

impl Fields {
    pub(super) fn empty() -> Fields {
        Fields {
            values: [pg_sys::Datum::null(); MAX_COLUMNS],
            nulls: [true; MAX_COLUMNS],
        }
    }

    /// Takes a row apart. By-reference values point into the tuple.
    pub(super) fn of(table: &Table, tuple: pg_sys::HeapTuple) -> Fields {
        // SAFETY: the tuple is the table's, whose descriptor has no more columns than there are slots.
        unsafe { Fields::described((*table.relation).rd_att, tuple) }
    }

    /// # Safety
    /// The descriptor is that of the tuple's table, or of its first columns.
    unsafe fn described(columns: pg_sys::TupleDesc, tuple: pg_sys::HeapTuple) -> Fields {
        let mut fields = Fields::empty();
        // SAFETY: the caller's guarantee; a table that is fit for this way has no more columns than
        // there are slots.
        unsafe {
            pg_sys::heap_deform_tuple(
                tuple,
                columns,
                fields.values.as_mut_ptr(),
                fields.nulls.as_mut_ptr(),
            );
        }
        fields
    }

    pub(super) fn set(&mut self, column: i16, value: Option<pg_sys::Datum>) {
        let index = usize::from(column.unsigned_abs()) - 1;
        self.nulls[index] = value.is_none();
        self.values[index] = value.unwrap_or(pg_sys::Datum::null());
    }

    pub(super) fn at(&self, column: i16) -> (pg_sys::Datum, bool) {
        let index = usize::from(column.unsigned_abs()) - 1;
        (self.values[index], self.nulls[index])
    }

    pub(super) fn int8(&self, column: i16) -> i64 {
        self.at(column).0.value() as i64
    }

    pub(super) fn time(&self, column: i16) -> Option<Timestamp> {
        let (datum, is_null) = self.at(column);
        (!is_null).then(|| Timestamp(datum.value() as i64))
    }

    /// A `timestamptz` that is never NULL.
    pub(super) fn needed_time(&self, column: i16) -> Timestamp {
        Timestamp(self.at(column).0.value() as i64)
    }

    pub(super) fn opt_int8(&self, column: i16) -> Option<i64> {
        let (datum, is_null) = self.at(column);
        (!is_null).then(|| datum.value() as i64)
    }

    /// A `jsonb` that is never NULL, valid as long as the row is.
    pub(super) fn jsonb(&self, column: i16) -> Jsonb {
        Jsonb(self.at(column).0)
    }

    /// A `numeric`, or NULL.
    pub(super) fn opt_decimal(&self, column: i16) -> Result<Option<Decimal>> {
        let (datum, is_null) = self.at(column);
        // SAFETY: the column is a numeric.
        let number = unsafe { Number::from_datum(datum, is_null) };
        number
            .map(|number| {
                number.to_decimal().ok_or_else(|| {
                    Error::internal(format!("column {column} has more than 28 digits"))
                })
            })
            .transpose()
    }

    pub(super) fn decimal(&self, column: i16) -> Result<Decimal> {
        self.opt_decimal(column)?
            .ok_or_else(|| Error::internal(format!("column {column} is NULL")))
    }

    pub(super) fn uuid(&self, column: i16) -> [u8; 16] {
        let (datum, _) = self.at(column);
        // SAFETY: the column is a uuid that is never NULL: sixteen bytes.
        unsafe { *datum.cast_mut_ptr::<[u8; 16]>() }
    }

    pub(super) fn int2(&self, column: i16) -> i16 {
        self.at(column).0.value() as i16
    }

    pub(super) fn opt_int2(&self, column: i16) -> Option<i16> {
        let (datum, is_null) = self.at(column);
        (!is_null).then(|| datum.value() as i16)
    }

    pub(super) fn bool(&self, column: i16) -> bool {
        self.at(column).0.value() != 0
    }

    /// A `numeric[]`; empty when it is NULL.
    pub(super) fn amounts(&self, column: i16) -> Result<Vec<Amount>> {
        match self.at(column) {
            (_, true) => Ok(Vec::new()),
            // SAFETY: the column is a numeric[].
            (datum, false) => unsafe { amounts_of(datum) },
        }
    }

    /// A `uuid[]`; empty when it is NULL.
    pub(super) fn uuids(&self, column: i16) -> Vec<[u8; 16]> {
        match self.at(column) {
            (_, true) => Vec::new(),
            // SAFETY: the column is a uuid[].
            (datum, false) => unsafe { uuids_of(datum) },
        }
    }

    /// A `timestamptz[]`; empty when it is NULL.
    pub(super) fn times(&self, column: i16) -> Vec<Timestamp> {
        match self.at(column) {
            (_, true) => Vec::new(),
            // SAFETY: the column is a timestamptz[].
            (datum, false) => unsafe { times_of(datum) },
        }
    }

    pub(super) fn text(&self, column: i16) -> Option<String> {
        let (datum, is_null) = self.at(column);
        // SAFETY: the column is a text; the bytes are copied.
        unsafe { String::from_datum(datum, is_null) }
    }

    pub(super) fn needed_text(&self, column: i16) -> Result<String> {
        self.text(column)
            .ok_or_else(|| Error::internal(format!("column {column} of a rule is NULL")))
    }

    pub(super) fn amount(&self, column: i16) -> Result<Amount> {
        let (datum, is_null) = self.at(column);
        let amount = if is_null {
            None
        } else {
            // SAFETY: the column is a numeric and not NULL.
            unsafe { amount_at(datum) }.ok()
        };
        amount.ok_or_else(|| Error::internal(format!("column {column} is no amount")))
    }

    /// Whether a column is that text.
    pub(super) fn is_text(&self, column: i16, text: &str) -> bool {
        let (datum, is_null) = self.at(column);
        // SAFETY: the column is a text; key columns are stored in the row as they are, and any
        // other form is no match.
        !is_null
            && unsafe {
                let value = datum.cast_mut_ptr::<pg_sys::varlena>();
                let plain = varlena::varatt_is_4b_u(value)
                    || varlena::varatt_is_1b(value) && !varlena::varatt_is_1b_e(value);
                plain && varlena::varlena_to_byte_slice(value) == text.as_bytes()
            }
    }

    /// The row as a tuple of the table.
    pub(super) fn form(&mut self, table: &Table) -> pg_sys::HeapTuple {
        // SAFETY: values and nulls match the descriptor in number and type.
        unsafe {
            pg_sys::heap_form_tuple(
                (*table.relation).rd_att,
                self.values.as_mut_ptr(),
                self.nulls.as_mut_ptr(),
            )
        }
    }
}
