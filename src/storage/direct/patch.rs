//! A new version of a row that differs from the old one in some bytes only.
//!
//! Forming a row from its columns takes longer than all arithmetic of a window. A counter mostly
//! keeps its length when it changes, and then the new version is a copy of the old one with other
//! digits.

use pgrx::pg_sys;

use crate::money::Amount;
use crate::pg::numeric::Encoded;
use crate::storage::direct::fields::Fields;

/// The size of the longest row that is copied, in words. Rows of windows are shorter, unless the
/// wallet or the subject has a very long name.
const WORDS: usize = 48;

/// A copy of a row version.
pub(super) struct Patched {
    head: pg_sys::HeapTupleData,
    /// The row's bytes, with PostgreSQL's alignment.
    words: [u64; WORDS],
    /// The address of the version that was copied.
    original: usize,
}

impl Patched {
    /// Copies a row version. `None` if it is too long, or has values outside of the row.
    ///
    /// # Safety
    /// The tuple was read from a table, and its page is pinned for as long as the copy is changed.
    pub(super) unsafe fn copy(tuple: pg_sys::HeapTuple) -> Option<Patched> {
        // SAFETY: a tuple that was read has its header, and all of its `t_len` bytes are at
        // `t_data`. They fit into the words.
        unsafe {
            let head = *tuple;
            let length = head.t_len as usize;
            let is_external = u32::from((*head.t_data).t_infomask) & pg_sys::HEAP_HASEXTERNAL != 0;
            if length > size_of::<[u64; WORDS]>() || is_external {
                return None;
            }
            let mut words = [0_u64; WORDS];
            let bytes = head.t_data.cast::<u8>();
            std::ptr::copy_nonoverlapping(bytes, words.as_mut_ptr().cast::<u8>(), length);
            Some(Patched {
                head,
                words,
                original: head.t_data.addr(),
            })
        }
    }

    /// Sets an amount. False if the column is NULL or the value has another length than before.
    /// The fields are those of the version that was copied.
    pub(super) fn set_amount(&mut self, fields: &Fields, column: i16, value: Amount) -> bool {
        let encoded = Encoded::fixed(value);
        // Without the length word: the length, and thus the column's own header, stays.
        let new = &encoded.bytes()[size_of::<u32>()..];
        let Some(old) = fields.plain(column).filter(|old| old.len() == new.len()) else {
            return false;
        };
        let at = old.as_ptr().addr().wrapping_sub(self.original);
        let length = self.head.t_len as usize;
        if at >= length || length - at < new.len() {
            return false;
        }
        // SAFETY: the place is within the row's bytes, which are within the words.
        unsafe {
            let place = self.words.as_mut_ptr().cast::<u8>().add(at);
            std::ptr::copy_nonoverlapping(new.as_ptr(), place, new.len());
        }
        true
    }

    /// The row as a tuple, valid as long as this value stays where it is.
    pub(super) fn tuple(&mut self) -> pg_sys::HeapTuple {
        self.head.t_data = self.words.as_mut_ptr().cast();
        &mut self.head
    }
}
