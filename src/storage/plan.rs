//! Statements that are planned once per backend and kept.
//!
//! `SPI_keepplan` moves a plan into memory that lives as long as the backend. PostgreSQL replans it
//! when a table changes. The SQL is a constant; values are passed as parameters only.

use std::cell::Cell;
use std::ffi::CString;
use std::marker::PhantomData;
use std::ptr;

use pgrx::datum::{Date, FromDatum, IntoDatum, TimestampWithTimeZone};
use pgrx::{PgBuiltInOids, pg_sys};
use rust_decimal::Decimal;

use crate::error::{Error, Result};
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::{Number, decimal_datum};
use crate::storage::session;

#[cfg(test)]
mod tests;

/// A statement of the extension. It is declared with [`statement!`].
pub struct Statement {
    sql: &'static str,
    types: &'static [PgBuiltInOids],
    plan: Cell<pg_sys::SPIPlanPtr>,
}

/// Declares a statement with the types of its parameters. Its plan is kept until the backend ends.
macro_rules! statement {
    ($(#[$doc:meta])* $visibility:vis $name:ident, [$($type:ident),*], $sql:expr) => {
        thread_local! {
            $(#[$doc])*
            $visibility static $name: $crate::storage::plan::Statement = const {
                $crate::storage::plan::Statement::new($sql, &[$(pgrx::PgBuiltInOids::$type),*])
            };
        }
    };
}
pub(crate) use statement;

impl Statement {
    /// A statement that is planned when it is first used.
    pub const fn new(sql: &'static str, types: &'static [PgBuiltInOids]) -> Statement {
        Statement {
            sql,
            types,
            plan: Cell::new(ptr::null_mut()),
        }
    }

    fn prepared(&self) -> Result<pg_sys::SPIPlanPtr> {
        if self.plan.get().is_null() {
            let sql = CString::new(self.sql)
                .map_err(|_| Error::internal("a statement contains a NUL byte"))?;
            let mut types: Vec<pg_sys::Oid> = self.types.iter().map(|t| t.oid().value()).collect();
            let count = i32::try_from(types.len()).unwrap_or(i32::MAX);
            // SAFETY: called between SPI_connect and SPI_finish (a `Session` exists). The plan is
            // kept before it is stored, so it outlives SPI_finish.
            unsafe {
                // A generic plan suits all parameters, because every look-up is by key.
                let options = pg_sys::CURSOR_OPT_GENERIC_PLAN as i32;
                let plan =
                    pg_sys::SPI_prepare_cursor(sql.as_ptr(), count, types.as_mut_ptr(), options);
                if plan.is_null() || pg_sys::SPI_keepplan(plan) != 0 {
                    return Err(Error::internal(format!("could not plan: {}", self.sql)));
                }
                self.plan.set(plan);
            }
        }
        Ok(self.plan.get())
    }

    fn execute(
        &self,
        values: &[Value<'_>],
        snapshot: Snapshot,
        by_index: fn() -> ByIndex,
    ) -> Result<Rows> {
        session::prepare_for_statements()?;
        let (mut datums, nulls) = self.parameters(values);
        let _indexes = by_index();
        let plan = self.prepared()?;
        if locks(self.sql) {
            // Before the execution, so that calls in a trigger of the statement know of the lock.
            session::note_lock();
        }
        let read_only = snapshot != Snapshot::Fresh;
        // SAFETY: the numbers of datums and null flags equal the plan's number of parameters, and
        // the datums have their types. They outlive the call. SPI is connected. A read-only plan
        // runs with the active snapshot; the one that is pushed here is popped here, or by the
        // abort after an error.
        let code = unsafe {
            if snapshot == Snapshot::Latest {
                pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
            }
            let (datums, nulls) = (datums.as_mut_ptr(), nulls.as_ptr());
            let code = pg_sys::SPI_execute_plan(plan, datums, nulls, read_only, 0);
            if snapshot == Snapshot::Latest {
                pg_sys::PopActiveSnapshot();
            }
            code
        };
        if code < 0 {
            return Err(Error::internal(format!(
                "SPI error {code} in: {}",
                self.sql
            )));
        }
        // SAFETY: SPI_execute_plan has just set both globals.
        Ok(unsafe { Rows::of_the_last_call() })
    }

    /// The values as SPI takes them.
    fn parameters(&self, values: &[Value<'_>]) -> (Vec<pg_sys::Datum>, Vec<std::ffi::c_char>) {
        assert_eq!(values.len(), self.types.len(), "parameters of {}", self.sql);
        values
            .iter()
            .map(|value| {
                let datum = value.datum();
                let null = if datum.is_some() { b' ' } else { b'n' };
                (datum.unwrap_or(pg_sys::Datum::null()), null.cast_signed())
            })
            .unzip()
    }

    /// Opens a cursor on the statement's rows, in the order of an index.
    pub(in crate::storage) fn open(
        &self,
        values: &[Value<'_>],
        snapshot: Snapshot,
    ) -> Result<pg_sys::Portal> {
        session::prepare_for_statements()?;
        let (mut datums, nulls) = self.parameters(values);
        let _indexes = ByIndex::in_order();
        let plan = self.prepared()?;
        if locks(self.sql) {
            session::note_lock();
        }
        let read_only = snapshot != Snapshot::Fresh;
        // SAFETY: as in `execute`.
        let portal = unsafe {
            let (datums, nulls) = (datums.as_mut_ptr(), nulls.as_ptr());
            pg_sys::SPI_cursor_open(ptr::null(), plan, datums, nulls, read_only)
        };
        if portal.is_null() {
            return Err(Error::internal(format!("no cursor for: {}", self.sql)));
        }
        Ok(portal)
    }
}

/// The snapshot of a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Snapshot {
    /// All that is committed by now (under READ COMMITTED), and this transaction's own changes.
    Fresh,
    /// The snapshot of the running query.
    OfTheQuery,
    /// All that is committed by now, under each isolation level, and this transaction's own
    /// changes.
    Latest,
}

/// Whether a statement locks rows.
fn locks(sql: &str) -> bool {
    [
        "INSERT INTO ",
        "UPDATE wallet.",
        "DELETE FROM ",
        "FOR NO KEY UPDATE",
        "FOR UPDATE",
    ]
    .iter()
    .any(|words| sql.contains(words))
}

/// While this value exists, statements are planned without sequential scans. Otherwise a plan made
/// while a table was empty would be kept, and would read the whole table when it is large.
struct ByIndex {
    seqscan: bool,
    bitmapscan: bool,
    sort: bool,
}

impl ByIndex {
    fn begin() -> ByIndex {
        // SAFETY: plain globals of this backend, restored on drop, also after an error.
        unsafe {
            let before = ByIndex {
                seqscan: pg_sys::enable_seqscan,
                bitmapscan: pg_sys::enable_bitmapscan,
                sort: pg_sys::enable_sort,
            };
            pg_sys::enable_seqscan = false;
            before
        }
    }

    /// Also disables sorts, for a statement whose order an index has. A sort would suit the few
    /// rows that most wallets have, but not a large table.
    fn in_order() -> ByIndex {
        let before = ByIndex::begin();
        // SAFETY: as in `begin`.
        unsafe {
            pg_sys::enable_bitmapscan = false;
            pg_sys::enable_sort = false;
        }
        before
    }
}

impl Drop for ByIndex {
    fn drop(&mut self) {
        // SAFETY: see `begin`.
        unsafe {
            pg_sys::enable_seqscan = self.seqscan;
            pg_sys::enable_bitmapscan = self.bitmapscan;
            pg_sys::enable_sort = self.sort;
        }
    }
}

/// Runs a [`statement!`].
pub trait Run {
    /// Runs it with a fresh snapshot (under READ COMMITTED).
    fn run(&'static self, values: &[Value<'_>]) -> Result<Rows>;

    /// Runs it with a fresh snapshot, for a statement whose order only one index has. The planner
    /// uses that index, whatever the statistics of the table say.
    fn run_in_order(&'static self, values: &[Value<'_>]) -> Result<Rows>;

    /// Runs it with the snapshot of the running query, so that several statements see the same
    /// state.
    fn read(&'static self, values: &[Value<'_>]) -> Result<Rows>;

    /// Runs it with a snapshot of all that is committed by now, under each isolation level.
    fn read_latest(&'static self, values: &[Value<'_>]) -> Result<Rows>;

    /// Runs it with the snapshot of the running query and in the order of the index.
    fn read_in_order(&'static self, values: &[Value<'_>]) -> Result<Rows>;
}

impl Run for std::thread::LocalKey<Statement> {
    fn run(&'static self, values: &[Value<'_>]) -> Result<Rows> {
        self.with(|statement| statement.execute(values, Snapshot::Fresh, ByIndex::begin))
    }

    fn run_in_order(&'static self, values: &[Value<'_>]) -> Result<Rows> {
        self.with(|statement| statement.execute(values, Snapshot::Fresh, ByIndex::in_order))
    }

    fn read(&'static self, values: &[Value<'_>]) -> Result<Rows> {
        self.with(|statement| statement.execute(values, Snapshot::OfTheQuery, ByIndex::begin))
    }

    fn read_latest(&'static self, values: &[Value<'_>]) -> Result<Rows> {
        self.with(|statement| statement.execute(values, Snapshot::Latest, ByIndex::begin))
    }

    fn read_in_order(&'static self, values: &[Value<'_>]) -> Result<Rows> {
        self.with(|statement| statement.execute(values, Snapshot::OfTheQuery, ByIndex::in_order))
    }
}

/// A parameter of a statement.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// NULL of any type.
    Null,
    /// `text`
    Text(&'a str),
    /// `text` or NULL
    OptText(Option<&'a str>),
    /// `text[]` or NULL
    OptTexts(Option<&'a [String]>),
    /// `boolean`
    Bool(bool),
    /// `smallint`
    Int2(i16),
    /// `integer`
    Int4(i32),
    /// `bigint`
    Int8(i64),
    /// `bigint` or NULL
    OptInt8(Option<i64>),
    /// `numeric`
    Amount(Amount),
    /// `numeric` or NULL
    OptAmount(Option<Amount>),
    /// `numeric[]`
    Amounts(&'a [Amount]),
    /// `timestamptz[]`
    Times(&'a [Timestamp]),
    /// `uuid[]`
    Uuids(&'a [[u8; 16]]),
    /// `smallint` or NULL
    OptInt2(Option<i16>),
    /// `numeric`
    Decimal(Decimal),
    /// `uuid`
    Uuid([u8; 16]),
    /// `uuid` or NULL
    OptUuid(Option<[u8; 16]>),
    /// `bytea`
    Bytes(&'a [u8]),
    /// `bytea` or NULL
    OptBytes(Option<&'a [u8]>),
    /// `timestamptz`
    Time(Timestamp),
    /// `timestamptz` or NULL
    OptTime(Option<Timestamp>),
    /// `date` or NULL
    OptDate(Option<Date>),
    /// `jsonb`
    Jsonb(Jsonb),
    /// `jsonb` or NULL
    OptJsonb(Option<Jsonb>),
    /// `"char"`
    Char(u8),
}

impl Value<'_> {
    /// The value as a datum; `None` for NULL.
    pub(in crate::storage) fn datum(&self) -> Option<pg_sys::Datum> {
        match *self {
            Value::Null => None,
            Value::Text(text) => text.into_datum(),
            Value::OptText(text) => text.and_then(IntoDatum::into_datum),
            Value::OptTexts(texts) => texts.and_then(|texts| texts.to_vec().into_datum()),
            Value::Bool(value) => value.into_datum(),
            Value::Int2(value) => value.into_datum(),
            Value::Int4(value) => value.into_datum(),
            Value::Int8(value) => value.into_datum(),
            Value::OptInt8(value) => value.and_then(IntoDatum::into_datum),
            Value::Amount(value) => value.into_datum(),
            Value::OptAmount(value) => value.and_then(IntoDatum::into_datum),
            Value::Amounts(values) => values.to_vec().into_datum(),
            Value::Times(times) => times
                .iter()
                .map(|time| TimestampWithTimeZone::try_from(time.0).ok())
                .collect::<Vec<_>>()
                .into_datum(),
            Value::Uuids(ids) => ids
                .iter()
                .map(|id| pgrx::Uuid::from_bytes(*id))
                .collect::<Vec<_>>()
                .into_datum(),
            Value::OptInt2(value) => value.and_then(IntoDatum::into_datum),
            Value::Decimal(value) => Some(decimal_datum(value)),
            Value::Uuid(bytes) => pgrx::Uuid::from_bytes(bytes).into_datum(),
            Value::OptUuid(bytes) => {
                bytes.and_then(|bytes| pgrx::Uuid::from_bytes(bytes).into_datum())
            }
            Value::Bytes(bytes) => bytes.into_datum(),
            Value::OptBytes(bytes) => bytes.and_then(IntoDatum::into_datum),
            Value::Time(time) => Some(pg_sys::Datum::from(time.0)),
            Value::OptTime(time) => time.map(|time| pg_sys::Datum::from(time.0)),
            Value::OptDate(date) => date.and_then(IntoDatum::into_datum),
            Value::Jsonb(jsonb) => jsonb.into_datum(),
            Value::OptJsonb(jsonb) => jsonb.and_then(IntoDatum::into_datum),
            Value::Char(byte) => Some(pg_sys::Datum::from(byte)),
        }
    }
}

/// The result of a statement. Values are copied out of it when they are read.
pub struct Rows {
    table: *mut pg_sys::SPITupleTable,
    processed: usize,
    single_thread: PhantomData<*const ()>,
}

impl Rows {
    /// The result of the last SPI call.
    ///
    /// # Safety
    /// SPI is connected, and its last call set the table and the number of its rows.
    pub(in crate::storage) unsafe fn of_the_last_call() -> Rows {
        // SAFETY: plain globals; the table is freed once, by the owner of the returned value.
        let (table, processed) = unsafe { (pg_sys::SPI_tuptable, pg_sys::SPI_processed) };
        Rows {
            table,
            processed: processed as usize,
            single_thread: PhantomData,
        }
    }

    /// The number of rows that were returned, or changed by a statement without RETURNING.
    pub fn len(&self) -> usize {
        self.processed
    }

    /// True if no row was returned or changed.
    pub fn is_empty(&self) -> bool {
        self.processed == 0
    }

    /// The value of a column, with row and column counted from zero. `None` for NULL.
    pub fn get<T: Column>(&self, row: usize, column: i32) -> Option<T> {
        if self.table.is_null() || row >= self.processed {
            return None;
        }
        let mut is_null = false;
        // SAFETY: the row exists, and the tuple table lives until the drop. For a column that does
        // not exist, SPI_getbinval returns NULL and sets SPI_result.
        unsafe {
            let tuple = *(*self.table).vals.add(row);
            let datum =
                pg_sys::SPI_getbinval(tuple, (*self.table).tupdesc, column + 1, &mut is_null);
            if is_null {
                None
            } else {
                Some(T::from_column(datum))
            }
        }
    }

    /// The value of a column that cannot be NULL.
    pub fn need<T: Column>(&self, row: usize, column: i32) -> Result<T> {
        self.get(row, column).ok_or_else(|| {
            Error::internal(format!(
                "column {column} of an internal query is NULL or missing"
            ))
        })
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        // While a PostgreSQL error unwinds, the abort frees the memory. Calling SPI is not safe
        // then.
        if !self.table.is_null() && !std::thread::panicking() {
            // SAFETY: the table came from this connection's SPI_execute_plan and is freed once.
            unsafe { pg_sys::SPI_freetuptable(self.table) };
        }
    }
}

/// A type whose values can be copied out of a row.
pub trait Column {
    /// Copies the datum of the matching type.
    ///
    /// # Safety
    /// The datum is not NULL and has the type that the implementation reads.
    unsafe fn from_column(datum: pg_sys::Datum) -> Self;
}

macro_rules! columns {
    ($($type:ty),*) => {$(
        impl Column for $type {
            unsafe fn from_column(datum: pg_sys::Datum) -> Self {
                // SAFETY: the caller guarantees a datum of this type that is not NULL.
                unsafe { <$type as FromDatum>::from_datum(datum, false) }.unwrap_or_default()
            }
        }
    )*};
}
columns!(String, bool, i16, i32, i64, Vec<String>, Vec<u8>);

impl Column for Number {
    unsafe fn from_column(datum: pg_sys::Datum) -> Self {
        // SAFETY: the caller guarantees a numeric that is not NULL.
        unsafe { Number::from_datum(datum, false) }.unwrap_or(Number::NaN)
    }
}

impl Column for pg_sys::Oid {
    unsafe fn from_column(datum: pg_sys::Datum) -> Self {
        // SAFETY: the caller guarantees an oid that is not NULL.
        unsafe { pg_sys::Oid::from_datum(datum, false) }.unwrap_or(pg_sys::InvalidOid)
    }
}

impl Column for Timestamp {
    unsafe fn from_column(datum: pg_sys::Datum) -> Self {
        Timestamp(datum.value() as i64)
    }
}

impl Column for [u8; 16] {
    unsafe fn from_column(datum: pg_sys::Datum) -> Self {
        // SAFETY: a uuid datum points to 16 bytes.
        unsafe { *datum.cast_mut_ptr::<[u8; 16]>() }
    }
}

impl Rows {
    /// A numeric column as an amount.
    pub fn amount(&self, row: usize, column: i32) -> Result<Amount> {
        let number: Number = self.need(row, column)?;
        number
            .to_amount()
            .map_err(|reason| Error::internal(format!("column {column}: {reason:?}")))
    }

    /// A numeric column as an amount, or NULL.
    pub fn opt_amount(&self, row: usize, column: i32) -> Result<Option<Amount>> {
        match self.get::<Number>(row, column) {
            None => Ok(None),
            Some(_) => self.amount(row, column).map(Some),
        }
    }

    /// A numeric column as a decimal.
    pub fn decimal(&self, row: usize, column: i32) -> Result<Decimal> {
        let number: Number = self.need(row, column)?;
        number
            .to_decimal()
            .ok_or_else(|| Error::internal(format!("column {column} has more than 28 digits")))
    }

    /// A numeric column as a decimal, or NULL.
    pub fn opt_decimal(&self, row: usize, column: i32) -> Result<Option<Decimal>> {
        match self.datum(row, column) {
            None => Ok(None),
            Some(_) => self.decimal(row, column).map(Some),
        }
    }

    /// A `numeric[]` column as amounts; empty when it is NULL.
    pub fn amounts(&self, row: usize, column: i32) -> Result<Vec<Amount>> {
        match self.datum(row, column) {
            None => Ok(Vec::new()),
            // SAFETY: the caller names a column of that type.
            Some(datum) => unsafe { amounts_of(datum) },
        }
    }

    /// A `timestamptz[]` column; empty when it is NULL.
    pub fn times(&self, row: usize, column: i32) -> Vec<Timestamp> {
        match self.datum(row, column) {
            None => Vec::new(),
            // SAFETY: the caller names a column of that type.
            Some(datum) => unsafe { times_of(datum) },
        }
    }

    /// A `uuid[]` column; empty when it is NULL.
    pub fn uuids(&self, row: usize, column: i32) -> Vec<[u8; 16]> {
        match self.datum(row, column) {
            None => Vec::new(),
            // SAFETY: the caller names a column of that type.
            Some(datum) => unsafe { uuids_of(datum) },
        }
    }

    /// The datum of a column, valid as long as the rows are.
    pub fn datum(&self, row: usize, column: i32) -> Option<pg_sys::Datum> {
        self.get::<Raw>(row, column).map(|raw| raw.0)
    }
}

/// The datum without a conversion.
struct Raw(pg_sys::Datum);

impl Column for Raw {
    unsafe fn from_column(datum: pg_sys::Datum) -> Self {
        Raw(datum)
    }
}

/// The elements of a `uuid[]`.
///
/// # Safety
/// The datum is a `uuid[]`.
pub(in crate::storage) unsafe fn uuids_of(datum: pg_sys::Datum) -> Vec<[u8; 16]> {
    // SAFETY: the caller's guarantee.
    if unsafe { is_empty(datum) } {
        return Vec::new();
    }
    // SAFETY: the caller's guarantee.
    unsafe { Vec::<pgrx::Uuid>::from_datum(datum, false) }
        .unwrap_or_default()
        .iter()
        .map(|id| *id.as_bytes())
        .collect()
}

/// A detoasted array, with the header that PostgreSQL's functions expect.
///
/// # Safety
/// The datum is an array.
unsafe fn unpacked(datum: pg_sys::Datum) -> *mut pg_sys::ArrayType {
    // SAFETY: the caller's guarantee.
    unsafe { pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast() }
}

/// Whether an array has no elements, as nearly all arrays of limits and holds. This check is much
/// faster than deconstructing the array.
///
/// # Safety
/// The array is detoasted.
unsafe fn has_none(array: *mut pg_sys::ArrayType) -> bool {
    // SAFETY: the caller's guarantee. An array without dimensions has no elements.
    unsafe { (*array).ndim == 0 }
}

/// Whether the array of a datum has no elements.
///
/// # Safety
/// The datum is an array.
unsafe fn is_empty(datum: pg_sys::Datum) -> bool {
    // SAFETY: the caller's guarantee.
    unsafe { has_none(unpacked(datum)) }
}

/// The elements of a `numeric[]`.
///
/// # Safety
/// The datum is a `numeric[]`.
pub(in crate::storage) unsafe fn amounts_of(datum: pg_sys::Datum) -> Result<Vec<Amount>> {
    // SAFETY: the caller's guarantee. Numerics have variable length and this alignment.
    let elements = unsafe { elements_of(datum, pg_sys::TYPALIGN_INT) };
    let amount = |(datum, is_null): (&pg_sys::Datum, &bool)| {
        // SAFETY: an element of the array.
        let number = unsafe { Number::from_datum(*datum, *is_null) };
        number
            .and_then(|number| number.to_amount().ok())
            .ok_or_else(|| Error::internal("an element of a numeric[] is no amount"))
    };
    elements.map(amount).collect()
}

/// The elements of an array of rows. `None` if one of them is NULL.
///
/// # Safety
/// The datum is an array of a composite type.
pub(in crate::storage) unsafe fn rows_of(
    datum: pg_sys::Datum,
) -> Option<Vec<pg_sys::HeapTupleData>> {
    // SAFETY: the caller's guarantee. Every composite type has variable length and this alignment.
    let elements = unsafe { elements_of(datum, pg_sys::TYPALIGN_DOUBLE) };
    let row = |(datum, is_null): (&pg_sys::Datum, &bool)| {
        if *is_null {
            return None;
        }
        Some(pg_sys::HeapTupleData {
            // SAFETY: an element of the array begins with its length.
            t_len: unsafe { pgrx::varlena::varsize_any(datum.cast_mut_ptr()) } as u32,
            t_data: datum.cast_mut_ptr(),
            ..Default::default()
        })
    };
    elements.map(row).collect()
}

/// The elements of an array, and whether each is NULL. They live as long as the array or the
/// current memory context.
///
/// # Safety
/// The datum is an array of a type of variable length with the given alignment.
unsafe fn elements_of<'a>(
    datum: pg_sys::Datum,
    alignment: u8,
) -> impl Iterator<Item = (&'a pg_sys::Datum, &'a bool)> {
    let (mut elements, mut nulls, mut count) = (ptr::null_mut(), ptr::null_mut(), 0);
    // SAFETY: the caller's guarantee. The two arrays have `count` elements.
    let (elements, nulls): (&[pg_sys::Datum], &[bool]) = unsafe {
        let array = unpacked(datum);
        if has_none(array) {
            (&[], &[])
        } else {
            pg_sys::deconstruct_array(
                array,
                (*array).elemtype,
                -1,
                false,
                alignment as std::ffi::c_char,
                &mut elements,
                &mut nulls,
                &mut count,
            );
            let count = usize::try_from(count).unwrap_or(0);
            (
                std::slice::from_raw_parts(elements, count),
                std::slice::from_raw_parts(nulls, count),
            )
        }
    };
    elements.iter().zip(nulls)
}

/// The elements of a `timestamptz[]`.
///
/// # Safety
/// The datum is a `timestamptz[]`.
pub(in crate::storage) unsafe fn times_of(datum: pg_sys::Datum) -> Vec<Timestamp> {
    // SAFETY: the caller's guarantee.
    if unsafe { is_empty(datum) } {
        return Vec::new();
    }
    // SAFETY: the caller's guarantee.
    unsafe { Vec::<TimestampWithTimeZone>::from_datum(datum, false) }
        .unwrap_or_default()
        .into_iter()
        .map(Timestamp::from)
        .collect()
}
