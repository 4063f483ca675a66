//! The rows that a statement returns.

use std::marker::PhantomData;

use pgrx::datum::FromDatum;
use pgrx::pg_sys;
use rust_decimal::Decimal;

use crate::error::{Error, Result};
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::numeric::Number;
use crate::storage::plan::arrays::{amounts_of, times_of, uuids_of};

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
