//! Writes a `jsonb` array of flat objects with the same keys, or some of the same keys, in its
//! binary form.
//!
//! PostgreSQL's own builder takes the parts one by one, sorts the keys of every object and copies
//! everything again. That costs more than pricing a request. Here the keys are a constant in the
//! order of `jsonb` (shorter keys first, then by bytes), so every object is written directly in its
//! final place. The format does not change, because it is on disk in every database with a `jsonb`
//! column. A `#[pg_test]` compares the result with PostgreSQL's own.

use pgrx::pg_sys;

use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::Encoded;
use crate::pg::varlena::length_word;

const ARRAY: u32 = 0x4000_0000;
const OBJECT: u32 = 0x2000_0000;
const IS_NUMERIC: u32 = 0x1000_0000;
const IS_TRUE: u32 = 0x3000_0000;
const IS_CONTAINER: u32 = 0x5000_0000;
/// Marks an entry that stores the end of its value instead of its length.
const HAS_OFFSET: u32 = 0x8000_0000;
/// Every entry whose index is a multiple of this number stores the end of its value.
const OFFSET_STRIDE: usize = 32;

/// Bytes to reserve per key, for the key, its value and their entries. Most rows need less.
const BYTES_A_KEY: usize = 44;

/// A value of an object.
pub enum Leaf<'a> {
    /// A string.
    Text(&'a str),
    /// A number.
    Number(Encoded),
    /// True.
    True,
    /// The object does not have this key.
    Absent,
}

/// Writes objects with all keys, which are in the order of `jsonb`.
pub fn array_of_objects<'a, const N: usize>(
    keys: [&str; N],
    rows: impl ExactSizeIterator<Item = [Leaf<'a>; N]>,
) -> Jsonb {
    debug_assert!(are_in_order(&keys), "keys in the order of jsonb");
    array_of(rows, N * BYTES_A_KEY, |out, row| {
        let mut entries = begin_object(out, N);
        for key in &keys {
            write_key(out, &mut entries, key);
        }
        for leaf in row {
            write_leaf(out, &mut entries, leaf);
        }
    })
}

/// Writes objects that lack some of the keys: those whose value is `Leaf::Absent`.
pub fn array_of_sparse_objects<'a, const N: usize>(
    keys: [&str; N],
    rows: impl ExactSizeIterator<Item = [Leaf<'a>; N]>,
) -> Jsonb {
    debug_assert!(are_in_order(&keys), "keys in the order of jsonb");
    array_of(rows, N * BYTES_A_KEY, |out, row| {
        let is_there = |leaf: &Leaf<'_>| !matches!(leaf, Leaf::Absent);
        let count = row.iter().filter(|leaf| is_there(leaf)).count();
        let mut entries = begin_object(out, count);
        for (key, _) in keys.iter().zip(&row).filter(|(_, leaf)| is_there(leaf)) {
            write_key(out, &mut entries, key);
        }
        for leaf in row.into_iter().filter(is_there) {
            write_leaf(out, &mut entries, leaf);
        }
    })
}

fn are_in_order(keys: &[&str]) -> bool {
    keys.is_sorted_by(|a, b| (a.len(), *a) < (b.len(), *b))
}

fn array_of<T>(
    rows: impl ExactSizeIterator<Item = T>,
    bytes_a_row: usize,
    mut write: impl FnMut(&mut Vec<u8>, T),
) -> Jsonb {
    // The length word comes first, because values are aligned to the start of the varlena.
    let mut out = vec![0; 4];
    out.reserve(rows.len() * bytes_a_row);
    push_word(&mut out, rows.len() as u32 | ARRAY);
    let mut entries = Entries::reserve(&mut out, rows.len());
    for row in rows {
        let start = out.len();
        pad(&mut out);
        write(&mut out, row);
        let length = out.len() - start;
        entries.push(&mut out, IS_CONTAINER, length);
    }
    let length = length_word(out.len());
    out[..4].copy_from_slice(&length);
    // SAFETY: palloc allocates the number of bytes that are copied.
    unsafe {
        let jsonb = pg_sys::palloc(out.len()).cast::<u8>();
        std::ptr::copy_nonoverlapping(out.as_ptr(), jsonb, out.len());
        Jsonb(pg_sys::Datum::from(jsonb))
    }
}

fn begin_object(out: &mut Vec<u8>, keys: usize) -> Entries {
    push_word(out, keys as u32 | OBJECT);
    Entries::reserve(out, 2 * keys)
}

fn write_key(out: &mut Vec<u8>, entries: &mut Entries, key: &str) {
    out.extend_from_slice(key.as_bytes());
    entries.push(out, 0, key.len());
}

fn write_leaf(out: &mut Vec<u8>, entries: &mut Entries, leaf: Leaf<'_>) {
    let start = out.len();
    let kind = match leaf {
        // Only sparse objects have this value, and they skip it.
        Leaf::Absent => return,
        Leaf::True => IS_TRUE,
        Leaf::Text(text) => {
            out.extend_from_slice(text.as_bytes());
            0
        }
        Leaf::Number(number) => {
            pad(out);
            out.extend_from_slice(number.bytes());
            IS_NUMERIC
        }
    };
    let length = out.len() - start;
    entries.push(out, kind, length);
}

/// The entries before the values of a container, with the type and length of each value.
struct Entries {
    at: usize,
    index: usize,
    total: usize,
}

impl Entries {
    fn reserve(out: &mut Vec<u8>, count: usize) -> Entries {
        let at = out.len();
        out.resize(at + 4 * count, 0);
        Entries {
            at,
            index: 0,
            total: 0,
        }
    }

    fn push(&mut self, out: &mut [u8], kind: u32, length: usize) {
        self.total += length;
        let word = if self.index.is_multiple_of(OFFSET_STRIDE) {
            kind | self.total as u32 | HAS_OFFSET
        } else {
            kind | length as u32
        };
        let at = self.at + 4 * self.index;
        out[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        self.index += 1;
    }
}

fn push_word(out: &mut Vec<u8>, word: u32) {
    out.extend_from_slice(&word.to_ne_bytes());
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}
