//! Reads any number of rows one after the other. Only a few of them are in memory at a time.

use std::marker::PhantomData;
use std::thread::LocalKey;

use pgrx::memcxt::PgMemoryContexts;
use pgrx::{pg_sys, varlena};

use crate::error::{Error, Result};
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::amount_at;
use crate::storage::plan::{Rows, Snapshot, Statement, Value};

/// How many rows are fetched at once.
const BATCH: i64 = 1000;

/// Calls `each` with every row of a statement whose order an index has. Calls `pause` after every
/// batch of rows.
/// All rows are read under the snapshot of the running query. The walk can be cancelled between
/// batches.
pub fn walk(
    statement: &'static LocalKey<Statement>,
    values: &[Value<'_>],
    mut each: impl FnMut(&Columns<'_>) -> Result<()>,
    mut pause: impl FnMut() -> Result<()>,
) -> Result<()> {
    let portal = Portal(statement.with(|statement| statement.open(values, Snapshot::OfTheQuery))?);
    let mut memory = PgMemoryContexts::new("wallet rows");
    let mut columns = Columns {
        values: Vec::new(),
        nulls: Vec::new(),
        row: PhantomData,
    };
    loop {
        let batch = portal.fetch();
        if batch.len == 0 {
            return Ok(());
        }
        // The reset also frees what was detoasted from the rows.
        // SAFETY: nothing that is allocated in this context is used after the reset.
        unsafe {
            memory.switch_to(|_| {
                for row in 0..batch.len {
                    batch.take_apart(row, &mut columns);
                    each(&columns)?;
                }
                Ok::<(), Error>(())
            })?;
            memory.reset();
        }
        drop(batch);
        pgrx::check_for_interrupts!();
        pause()?;
    }
}

/// Rows of a statement, in the order of an index, as many as the caller needs. If the statement
/// locks rows, each row is locked when it is fetched. No row is fetched twice, even if the caller
/// changes the rows that it already has.
pub struct Portions(Portal);

impl Portions {
    /// Opens the cursor with a snapshot of what is committed now (under READ COMMITTED).
    pub fn open(statement: &'static LocalKey<Statement>, values: &[Value<'_>]) -> Result<Portions> {
        let portal = statement.with(|statement| statement.open(values, Snapshot::Fresh))?;
        Ok(Portions(Portal(portal)))
    }

    /// Fetches the next `most` rows, or fewer at the end.
    pub fn fetch(&self, most: usize) -> Rows {
        // SAFETY: the cursor is open and SPI is connected; SPI_cursor_fetch sets both globals.
        unsafe {
            pg_sys::SPI_cursor_fetch(self.0.0, true, most as _);
            Rows::of_the_last_call()
        }
    }
}

/// A cursor, closed when it is dropped. When a PostgreSQL error unwinds, the abort closes it.
struct Portal(pg_sys::Portal);

impl Portal {
    fn fetch(&self) -> Batch {
        // SAFETY: the cursor is open and SPI is connected; SPI_cursor_fetch sets both globals.
        unsafe {
            pg_sys::SPI_cursor_fetch(self.0, true, BATCH as _);
            Batch {
                table: pg_sys::SPI_tuptable,
                len: pg_sys::SPI_processed as usize,
            }
        }
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: the cursor is open, and closed once.
            unsafe { pg_sys::SPI_cursor_close(self.0) };
        }
    }
}

/// Rows that were fetched together.
struct Batch {
    table: *mut pg_sys::SPITupleTable,
    len: usize,
}

impl Batch {
    /// # Safety
    /// There is a row with this number. The columns are not used after the batch is dropped.
    unsafe fn take_apart(&self, row: usize, columns: &mut Columns<'_>) {
        // SAFETY: the caller's guarantee; both vectors have an element for each column.
        unsafe {
            let description = (*self.table).tupdesc;
            let count = usize::try_from((*description).natts).unwrap_or(0);
            columns.values.resize(count, pg_sys::Datum::null());
            columns.nulls.resize(count, true);
            pg_sys::heap_deform_tuple(
                *(*self.table).vals.add(row),
                description,
                columns.values.as_mut_ptr(),
                columns.nulls.as_mut_ptr(),
            );
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if !self.table.is_null() && !std::thread::panicking() {
            // SAFETY: the table came from this connection's SPI_cursor_fetch and is freed once.
            unsafe { pg_sys::SPI_freetuptable(self.table) };
        }
    }
}

/// The columns of a row. The statement's text names them with their types. By-reference values live
/// as long as the row.
pub struct Columns<'a> {
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
    row: PhantomData<&'a ()>,
}

impl<'a> Columns<'a> {
    fn datum(&self, column: usize) -> Option<pg_sys::Datum> {
        match self.nulls.get(column) {
            Some(false) => self.values.get(column).copied(),
            _ => None,
        }
    }

    fn need(&self, column: usize) -> Result<pg_sys::Datum> {
        self.datum(column).ok_or_else(|| {
            Error::internal(format!(
                "column {column} of an internal query is NULL or missing"
            ))
        })
    }

    /// A `bytea`, or the bytes of a `text`; `None` for NULL.
    pub fn bytes(&self, column: usize) -> Option<&'a [u8]> {
        // SAFETY: a varlena. A compressed or toasted value is detoasted into the batch's memory.
        self.datum(column).map(|datum| unsafe {
            let value = pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr());
            varlena::varlena_to_byte_slice(value)
        })
    }

    /// A `text`; `None` for NULL and for a text that is not valid UTF-8.
    pub fn text(&self, column: usize) -> Option<&'a str> {
        self.bytes(column)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// A `uuid`; `None` for NULL.
    pub fn uuid(&self, column: usize) -> Option<[u8; 16]> {
        // SAFETY: a uuid datum points to 16 bytes.
        self.datum(column)
            .map(|datum| unsafe { *datum.cast_mut_ptr::<[u8; 16]>() })
    }

    /// A `timestamptz`; `None` for NULL.
    pub fn time(&self, column: usize) -> Option<Timestamp> {
        self.datum(column)
            .map(|datum| Timestamp(datum.value() as i64))
    }

    /// A `jsonb`; `None` for NULL.
    pub fn jsonb(&self, column: usize) -> Option<Jsonb> {
        self.datum(column).map(Jsonb)
    }

    /// A `numeric` as an amount; `None` for NULL and for a number that is not an amount.
    pub fn amount(&self, column: usize) -> Option<Amount> {
        // SAFETY: a numeric.
        self.datum(column)
            .and_then(|datum| unsafe { amount_at(datum) }.ok())
    }

    /// Whether a column is NULL.
    pub fn is_null(&self, column: usize) -> bool {
        self.datum(column).is_none()
    }

    /// A `bigint` that cannot be NULL.
    pub fn int8(&self, column: usize) -> Result<i64> {
        Ok(self.need(column)?.value() as i64)
    }

    /// A `smallint` that cannot be NULL.
    pub fn int2(&self, column: usize) -> Result<i16> {
        Ok(self.need(column)?.value() as i16)
    }

    /// A `"char"` that cannot be NULL.
    pub fn letter(&self, column: usize) -> Result<u8> {
        Ok(self.need(column)?.value() as u8)
    }
}
