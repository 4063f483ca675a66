//! Deforms rows with a compact description of a table's columns.
//!
//! PostgreSQL's own `heap_deform_tuple` reads two cache lines per column from the tuple descriptor.
//! When the calls of many backends are interleaved, none of these lines is in the processor's
//! cache. Here, the description of a column takes four bytes.

use std::cell::RefCell;
use std::mem::offset_of;
use std::slice;

use pgrx::{PgTupleDesc, pg_sys, varlena};

/// How the values of a column are stored in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    /// In bytes; -1 for a type of variable length.
    length: i16,
    /// The column's alignment, which is a power of two, minus one.
    mask: u8,
    /// Whether the type is passed by value.
    by_value: bool,
}

/// The columns of a row.
pub(super) type Layout = &'static [Column];

thread_local! {
    /// The layouts of all tables so far, each of them once.
    static KNOWN: RefCell<Vec<Layout>> = const { RefCell::new(Vec::new()) };
}

/// The maximum number of columns of a layout.
const MAX_COLUMNS: usize = u64::BITS as usize;

/// The layout of a table's rows. `None` if a column has a kind of type that this module does not
/// support.
///
/// # Safety
/// The descriptor is that of an open relation or a copy.
pub(super) unsafe fn of(description: pg_sys::TupleDesc) -> Option<Layout> {
    // SAFETY: the caller's guarantee.
    let description = unsafe { PgTupleDesc::from_pg_unchecked(description) };
    let columns = description.iter().map(column).collect::<Option<Vec<_>>>()?;
    if columns.len() > MAX_COLUMNS {
        return None;
    }
    KNOWN.with_borrow_mut(|known| {
        if let Some(layout) = known.iter().find(|layout| ***layout == *columns) {
            return Some(*layout);
        }
        let layout: Layout = columns.leak();
        known.push(layout);
        Some(layout)
    })
}

/// The layout of the elements of the table's last column, an array of rows. `None` if the column is
/// not such an array.
///
/// # Safety
/// The descriptor is that of an open relation.
pub(super) unsafe fn of_elements(description: pg_sys::TupleDesc) -> Option<Layout> {
    // SAFETY: the caller's guarantee. The copy lives as long as the current memory context.
    unsafe {
        let last = PgTupleDesc::from_pg_unchecked(description)
            .iter()
            .last()?
            .atttypid;
        let row = pg_sys::get_element_type(last);
        if row == pg_sys::InvalidOid || !pg_sys::type_is_rowtype(row) {
            return None;
        }
        of(pg_sys::lookup_rowtype_tupdesc_copy(row, -1))
    }
}

fn column(attribute: &pg_sys::FormData_pg_attribute) -> Option<Column> {
    let mask = match attribute.attalign as u8 {
        pg_sys::TYPALIGN_CHAR => 0,
        pg_sys::TYPALIGN_SHORT => 1,
        pg_sys::TYPALIGN_INT => 3,
        pg_sys::TYPALIGN_DOUBLE => 7,
        _ => return None,
    };
    let is_known = match attribute.attbyval {
        true => matches!(attribute.attlen, 1 | 2 | 4 | 8),
        false => attribute.attlen >= -1,
    };
    is_known.then_some(Column {
        length: attribute.attlen,
        mask,
        by_value: attribute.attbyval,
    })
}

/// Deforms the first columns of a row, as many as the layout has. NULL columns leave their elements
/// unchanged; by-reference values point into the row. `None` if the row does not match the layout,
/// or is older than one of the columns. Only PostgreSQL knows the values of such columns.
///
/// # Safety
/// The tuple was read from the table of the layout, and its page is pinned.
pub(super) unsafe fn take_apart(
    layout: &[Column],
    tuple: pg_sys::HeapTuple,
    values: &mut [pg_sys::Datum],
    nulls: &mut [bool],
) -> Option<()> {
    // SAFETY: a tuple that was read has its header, and all of its bytes are at `t_data`.
    let (header, row) = unsafe {
        let data = (*tuple).t_data;
        let row = slice::from_raw_parts(data.cast::<u8>(), (*tuple).t_len as usize);
        (&*data, row)
    };
    read(layout, header, row, values, nulls)
}

fn read(
    layout: &[Column],
    header: &pg_sys::HeapTupleHeaderData,
    row: &[u8],
    values: &mut [pg_sys::Datum],
    nulls: &mut [bool],
) -> Option<()> {
    let columns = u32::from(header.t_infomask2) & pg_sys::HEAP_NATTS_MASK;
    if (columns as usize) < layout.len() {
        return None;
    }
    let mut present = match u32::from(header.t_infomask) & pg_sys::HEAP_HASNULL != 0 {
        true => presence(
            row.get(offset_of!(pg_sys::HeapTupleHeaderData, t_bits)..)?,
            layout.len(),
        ),
        false => u64::MAX,
    };
    let mut at = usize::from(header.t_hoff);
    for (column, (place, null)) in layout.iter().zip(values.iter_mut().zip(nulls)) {
        let is_present = present & 1 == 1;
        present >>= 1;
        if !is_present {
            continue;
        }
        let bytes = if column.length < 0 {
            variable(row, &mut at, column.mask)?
        } else {
            at = aligned(at, column.mask);
            row.get(at..at.wrapping_add(usize::from(column.length.unsigned_abs())))?
        };
        *place = match column.by_value {
            false => pg_sys::Datum::from(bytes.as_ptr()),
            true => by_value(bytes)?,
        };
        *null = false;
        at = at.wrapping_add(bytes.len());
    }
    Some(())
}

/// A bit mask of the columns that are not NULL, with the first column in the lowest bit.
fn presence(bits: &[u8], columns: usize) -> u64 {
    let bytes = bits.iter().take(columns.div_ceil(8)).rev();
    bytes.fold(0, |all, byte| all << 8 | u64::from(*byte))
}

fn aligned(at: usize, mask: u8) -> usize {
    let mask = usize::from(mask);
    at.wrapping_add(mask) & !mask
}

/// The next value of variable length, including its length header. A value with a short header
/// needs no alignment. The padding before any other value is zero.
fn variable<'a>(row: &'a [u8], at: &mut usize, mask: u8) -> Option<&'a [u8]> {
    let head = *row.get(*at)?;
    // Most values have a header of one byte that is not the mark of a toasted value.
    if cfg!(target_endian = "little") && head & 1 == 1 && head != 1 {
        return row.get(*at..at.wrapping_add(usize::from(head >> 1)));
    }
    if head == 0 {
        *at = aligned(*at, mask);
    }
    let value = row.get(*at..)?;
    // SAFETY: a value of variable length begins there.
    let length = unsafe { varlena::varsize_any(value.as_ptr().cast()) };
    value.get(..length)
}

/// The datum of a by-value type.
fn by_value(bytes: &[u8]) -> Option<pg_sys::Datum> {
    let number = match *bytes {
        [a] => i64::from(i8::from_ne_bytes([a])),
        [a, b] => i64::from(i16::from_ne_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_ne_bytes([a, b, c, d])),
        _ => i64::from_ne_bytes(bytes.try_into().ok()?),
    };
    Some(pg_sys::Datum::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn column(length: i16, alignment: u8, by_value: bool) -> Column {
        Column {
            length,
            mask: alignment - 1,
            by_value,
        }
    }

    /// A text, a uuid, a smallint, a bigint and a text.
    const LAYOUT: &[Column] = &[
        column(-1, 4, false),
        column(16, 1, false),
        column(2, 2, true),
        column(8, 8, true),
        column(-1, 4, false),
    ];

    const START: usize = 24;

    fn header(columns: u16) -> pg_sys::HeapTupleHeaderData {
        pg_sys::HeapTupleHeaderData {
            t_infomask: pg_sys::HEAP_HASNULL as u16,
            t_infomask2: columns,
            t_hoff: START as u8,
            ..Default::default()
        }
    }

    /// A row with `acme`, a uuid of sevens, -3, the given bigint and `x`.
    fn row(bits: u8, bigint: Option<i64>) -> Vec<u8> {
        let mut row = vec![0; START];
        row[offset_of!(pg_sys::HeapTupleHeaderData, t_bits)] = bits;
        row.extend(b"\x0bacme");
        row.extend([7; 16]);
        row.resize(row.len().next_multiple_of(2), 0);
        row.extend((-3_i16).to_ne_bytes());
        if let Some(bigint) = bigint {
            row.resize(row.len().next_multiple_of(8), 0);
            row.extend(bigint.to_ne_bytes());
        }
        // A length word of four bytes, aligned to four bytes.
        row.resize(row.len().next_multiple_of(4), 0);
        row.extend((5_u32 << 2).to_ne_bytes());
        row.push(b'x');
        row
    }

    type Taken = ([pg_sys::Datum; 5], [bool; 5]);

    fn taken(header: &pg_sys::HeapTupleHeaderData, row: &[u8]) -> Option<Taken> {
        let (mut values, mut nulls) = ([pg_sys::Datum::null(); 5], [true; 5]);
        read(LAYOUT, header, row, &mut values, &mut nulls)?;
        Some((values, nulls))
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn values_are_written_where_they_are_read() {
        let row = row(0b11111, Some(1 << 40));
        let (values, nulls) = taken(&header(5), &row).unwrap();
        assert_eq!(nulls, [false; 5]);
        let place = |value: pg_sys::Datum| value.value() - row.as_ptr().addr();
        assert_eq!(place(values[0]), START);
        assert_eq!(place(values[1]), START + 5);
        assert_eq!(values[2].value() as i64, -3);
        assert_eq!(values[3].value() as i64, 1 << 40);
        assert_eq!(place(values[4]), row.len() - 5);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn what_is_null_takes_no_room() {
        let row = row(0b10111, None);
        let (values, nulls) = taken(&header(5), &row).unwrap();
        assert_eq!(nulls, [false, false, false, true, false]);
        assert_eq!(
            values[4].value() - row.as_ptr().addr(),
            row.len() - 5,
            "behind the smallint"
        );
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_row_that_does_not_fit_is_left_to_postgresql() {
        let row = row(0b11111, Some(1));
        assert_eq!(taken(&header(4), &row), None, "older than a column");
        assert_eq!(taken(&header(5), &row[..row.len() - 1]), None, "cut short");
        assert_eq!(taken(&header(5), &row[..START]), None, "no value at all");
    }
}
