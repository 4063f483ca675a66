//! Rows that are read one after the other, however many there are: what they take of memory is that of a few.

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

/// Rows that are read at once.
const BATCH: i64 = 1000;

/// Calls `each` with every row of a statement whose order an index has, and `pause` whenever some have been read.
/// All is read under the snapshot of the query that is running, which can be cancelled meanwhile.
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
        // What is unpacked of the rows goes with them.
        // SAFETY: nothing that is allocated in there is used after the reset.
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

/// Rows of a statement, in the order of an index, as far as the caller needs them. Where the statement locks rows, each
/// is locked when it is fetched, and none is looked at twice, whatever the caller does to those that it has.
pub struct Portions(Portal);

impl Portions {
    /// Begins with what is committed by now (under READ COMMITTED).
    pub fn open(statement: &'static LocalKey<Statement>, values: &[Value<'_>]) -> Result<Portions> {
        let portal = statement.with(|statement| statement.open(values, Snapshot::Fresh))?;
        Ok(Portions(Portal(portal)))
    }

    /// So many more rows, or fewer where there are no more.
    pub fn fetch(&self, most: usize) -> Rows {
        // SAFETY: the cursor is open and SPI is connected; SPI_cursor_fetch sets both globals.
        unsafe {
            pg_sys::SPI_cursor_fetch(self.0.0, true, most as _);
            Rows::of_the_last_call()
        }
    }
}

/// A cursor, closed at the end. When an error of PostgreSQL unwinds, the abort closes it.
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
            // SAFETY: it is open, and closed once.
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
    /// There is such a row. The columns are used no longer than the batch lives.
    unsafe fn take_apart(&self, row: usize, columns: &mut Columns<'_>) {
        // SAFETY: the caller's guarantee; both vectors have a place for each column.
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

/// The columns of a row, which the statement's text names with their types. What they point to lives as long as the row.
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

    /// A `bytea`, or the bytes of a `text`.
    pub fn bytes(&self, column: usize) -> Option<&'a [u8]> {
        // SAFETY: a varlena; what is compressed or stored elsewhere is unpacked into the memory of the batch.
        self.datum(column).map(|datum| unsafe {
            let value = pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr());
            varlena::varlena_to_byte_slice(value)
        })
    }

    /// A `text`; NULL for what is none in UTF-8.
    pub fn text(&self, column: usize) -> Option<&'a str> {
        self.bytes(column)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// A `uuid`.
    pub fn uuid(&self, column: usize) -> Option<[u8; 16]> {
        // SAFETY: a uuid datum points to 16 bytes.
        self.datum(column)
            .map(|datum| unsafe { *datum.cast_mut_ptr::<[u8; 16]>() })
    }

    /// A `timestamptz`.
    pub fn time(&self, column: usize) -> Option<Timestamp> {
        self.datum(column)
            .map(|datum| Timestamp(datum.value() as i64))
    }

    /// A `jsonb`.
    pub fn jsonb(&self, column: usize) -> Option<Jsonb> {
        self.datum(column).map(Jsonb)
    }

    /// A `numeric` that is an amount; nothing for NULL and for what is none.
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
