//! The columns of a row: deforms rows and forms them.

use pgrx::datum::FromDatum;
use pgrx::pg_sys;
use rust_decimal::Decimal;

use crate::error::{Error, Result};
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::{Encoded, Number, amount_at};
use crate::pg::varlena::{length_word, plain};
use crate::storage::direct::layout::{self, Layout};
use crate::storage::direct::table::Table;
use crate::storage::plan::{amounts_of, rows_of, times_of, uuids_of};

/// The number of columns of the widest hot table.
const MAX_COLUMNS: usize = 37;

/// Holds new values that are not in the row as it was read. The arena has its own memory, because
/// an allocation by PostgreSQL takes longer than making the value.
#[derive(Default)]
struct Arena {
    /// Never grows, so that the addresses of its values stay valid.
    chunk: Vec<u64>,
    /// Chunks that were filled before `chunk`.
    full: Vec<Vec<u64>>,
}

/// The size of a chunk in words. The new values of most rows fit in one.
const CHUNK: usize = 120;

impl Arena {
    /// Copies the concatenation of the two parts. The copy lives as long as the arena.
    fn put(&mut self, head: &[u8], bytes: &[u8]) -> pg_sys::Datum {
        self.keep(head, bytes, CHUNK)
    }

    /// Like `put`. If the parts do not fit, a new chunk with `chunk` words is made.
    fn keep(&mut self, head: &[u8], bytes: &[u8], chunk: usize) -> pg_sys::Datum {
        let words = (head.len() + bytes.len()).div_ceil(size_of::<u64>());
        if self.chunk.capacity() - self.chunk.len() < words {
            let next = Vec::with_capacity(words.max(chunk));
            let full = std::mem::replace(&mut self.chunk, next);
            if !full.is_empty() {
                self.full.push(full);
            }
        }
        let room = self.chunk.spare_capacity_mut();
        if let Some(last) = words.checked_sub(1) {
            // Zeroes the bytes of the last word that the parts do not fill.
            room[last].write(0);
        }
        let place = room.as_mut_ptr().cast::<u8>();
        // SAFETY: both parts fit into the remaining words, and all of these words are written.
        unsafe {
            std::ptr::copy_nonoverlapping(head.as_ptr(), place, head.len());
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), place.add(head.len()), bytes.len());
            self.chunk.set_len(self.chunk.len() + words);
        }
        pg_sys::Datum::from(place)
    }
}

/// The concatenation of the two parts, aligned as PostgreSQL aligns by-value datums.
pub(super) fn words_of(head: &[u8], bytes: &[u8]) -> Vec<u64> {
    let mut arena = Arena::default();
    arena.keep(head, bytes, 0);
    arena.chunk
}

/// The columns of a row.
pub(super) struct Fields {
    values: [pg_sys::Datum; MAX_COLUMNS],
    nulls: [bool; MAX_COLUMNS],
    arena: Arena,
}

impl Fields {
    pub(super) fn empty() -> Fields {
        Fields {
            values: [pg_sys::Datum::null(); MAX_COLUMNS],
            nulls: [true; MAX_COLUMNS],
            arena: Arena::default(),
        }
    }

    /// Deforms a row. By-reference values point into the tuple.
    pub(super) fn of(table: &Table, tuple: pg_sys::HeapTuple) -> Fields {
        Fields::first(table, tuple, table.layout.len())
    }

    /// Like `of`, for the first columns only. The other columns are NULL.
    pub(super) fn first(table: &Table, tuple: pg_sys::HeapTuple, columns: usize) -> Fields {
        let mut fields = Fields::empty();
        let (values, nulls) = (&mut fields.values, &mut fields.nulls);
        let layout = &table.layout[..columns.min(table.layout.len())];
        // SAFETY: the tuple is the table's; a table that the direct path accepts has at most
        // as many columns as there are slots.
        unsafe {
            if layout::take_apart(layout, tuple, values, nulls).is_none() {
                let description = (*table.relation).rd_att;
                let (values, nulls) = (values.as_mut_ptr(), nulls.as_mut_ptr());
                pg_sys::heap_deform_tuple(tuple, description, values, nulls);
            }
        }
        fields
    }

    pub(super) fn set(&mut self, column: i16, value: Option<pg_sys::Datum>) {
        let index = usize::from(column.unsigned_abs()) - 1;
        self.nulls[index] = value.is_none();
        self.values[index] = value.unwrap_or(pg_sys::Datum::null());
    }

    /// Sets a `text` or `bytea` column.
    pub(super) fn set_bytes(&mut self, column: i16, value: Option<&[u8]>) {
        let datum = value.map(|bytes| {
            let head = length_word(size_of::<u32>() + bytes.len());
            self.arena.put(&head, bytes)
        });
        self.set(column, datum);
    }

    pub(super) fn set_text(&mut self, column: i16, value: Option<&str>) {
        self.set_bytes(column, value.map(str::as_bytes));
    }

    pub(super) fn set_uuid(&mut self, column: i16, value: Option<[u8; 16]>) {
        let datum = value.map(|bytes| self.arena.put(&[], &bytes));
        self.set(column, datum);
    }

    /// Sets an amount, in the format of a `numeric(28,12)` column.
    pub(super) fn set_amount(&mut self, column: i16, value: Option<Amount>) {
        let datum = value.map(|amount| self.arena.put(&[], Encoded::fixed(amount).bytes()));
        self.set(column, datum);
    }

    pub(super) fn at(&self, column: i16) -> (pg_sys::Datum, bool) {
        let index = usize::from(column.unsigned_abs()) - 1;
        (self.values[index], self.nulls[index])
    }

    /// The datum and null flag of a column that an index names. NULL if there is no such column.
    pub(super) fn key(&self, column: i16) -> (pg_sys::Datum, bool) {
        let index = usize::from(column.unsigned_abs()).wrapping_sub(1);
        match (self.values.get(index), self.nulls.get(index)) {
            (Some(value), Some(null)) => (*value, *null),
            _ => (pg_sys::Datum::null(), true),
        }
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

    /// A `jsonb` or NULL, valid as long as the row is.
    pub(super) fn opt_jsonb(&self, column: i16) -> Option<Jsonb> {
        let (datum, is_null) = self.at(column);
        (!is_null).then_some(Jsonb(datum))
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

    /// An amount, or NULL.
    pub(super) fn opt_amount(&self, column: i16) -> Result<Option<Amount>> {
        match self.at(column) {
            (_, true) => Ok(None),
            _ => self.amount(column).map(Some),
        }
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

    /// A `"char"` or NULL.
    pub(super) fn opt_char(&self, column: i16) -> Option<u8> {
        let (datum, is_null) = self.at(column);
        (!is_null).then(|| datum.value() as u8)
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

    /// The rows of an array whose element type has that layout, each deformed. `None` if the array
    /// is NULL or a row does not match the layout.
    pub(super) fn rows(&self, column: i16, layout: Layout) -> Option<Vec<Fields>> {
        let (datum, is_null) = self.at(column);
        if is_null {
            return None;
        }
        // SAFETY: the column is an array of rows.
        let mut rows = unsafe { rows_of(datum) }?;
        let take_apart = |row: &mut pg_sys::HeapTupleData| {
            let mut fields = Fields::empty();
            // SAFETY: a row of the array, which lives as long as the row that contains the array or
            // as the current memory context.
            unsafe { layout::take_apart(layout, row, &mut fields.values, &mut fields.nulls) }?;
            Some(fields)
        };
        rows.iter_mut().map(take_apart).collect()
    }

    /// A `bytea`, or NULL.
    pub(super) fn opt_bytes(&self, column: i16) -> Option<Vec<u8>> {
        let (datum, is_null) = self.at(column);
        // SAFETY: the column is a bytea; the bytes are copied.
        unsafe { Vec::<u8>::from_datum(datum, is_null) }
    }

    /// A `text`, or NULL.
    pub(super) fn text(&self, column: i16) -> Option<String> {
        let (datum, is_null) = self.at(column);
        match self
            .plain(column)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
        {
            Some(text) => Some(text.to_owned()),
            // SAFETY: the column is a text; the bytes are copied.
            None => unsafe { String::from_datum(datum, is_null) },
        }
    }

    /// A `text` that is never NULL.
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

    /// Whether a column has that text. Key columns are stored inline and uncompressed; any other
    /// storage form is no match.
    pub(super) fn is_text(&self, column: i16, text: &str) -> bool {
        self.plain(column) == Some(text.as_bytes())
    }

    /// The bytes of a `text` or `bytea` that is stored inline and uncompressed.
    pub(super) fn plain(&self, column: i16) -> Option<&[u8]> {
        let (datum, is_null) = self.at(column);
        if is_null {
            return None;
        }
        // SAFETY: the column is a varlena, and its memory lives as long as the fields.
        unsafe { plain(datum) }
    }

    /// Forms the row as a tuple of the table.
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
