//! Reads the elements of arrays.

use std::ptr;

use pgrx::datum::{FromDatum, TimestampWithTimeZone};
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::numeric::Number;

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
