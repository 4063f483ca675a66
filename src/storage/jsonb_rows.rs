//! A `jsonb` array of flat objects that have some of the same keys, written in its binary form.
//!
//! PostgreSQL's own builder takes the parts one by one, sorts the keys of every object and copies
//! all of it once more, which costs more than pricing a request. Here the keys are a constant in
//! the order that `jsonb` keeps (shorter ones first, then by bytes), so every object is written
//! where it stays. The format is on disk in every database with a `jsonb` column and does not
//! change; a `#[pg_test]` compares the result with PostgreSQL's own.

use pgrx::pg_sys;

use crate::storage::jsonb::Jsonb;
use crate::storage::numeric::Encoded;
use crate::storage::varlena::length_word;

const ARRAY: u32 = 0x4000_0000;
const OBJECT: u32 = 0x2000_0000;
const IS_NUMERIC: u32 = 0x1000_0000;
const IS_TRUE: u32 = 0x3000_0000;
const IS_CONTAINER: u32 = 0x5000_0000;
/// An entry keeps the end of its value instead of its length.
const HAS_OFFSET: u32 = 0x8000_0000;
/// Every entry at such a position keeps its end.
const OFFSET_STRIDE: usize = 32;

/// A value of an object.
pub enum Leaf<'a> {
    /// A string.
    Text(&'a str),
    /// A number.
    Number(Encoded),
    /// Yes.
    True,
    /// The object lacks the key.
    Absent,
}

/// Writes rows whose keys are in the order of `jsonb`.
pub fn array_of_objects<'a, const N: usize>(
    keys: [&str; N],
    rows: impl ExactSizeIterator<Item = [Leaf<'a>; N]>,
) -> Jsonb {
    debug_assert!(
        keys.is_sorted_by(|a, b| (a.len(), *a) < (b.len(), *b)),
        "keys in the order of jsonb"
    );
    // The length word comes first: values are aligned to the start of the whole.
    let mut out = vec![0; 4];
    out.reserve(rows.len() * 256);
    push_word(&mut out, rows.len() as u32 | ARRAY);
    let mut entries = Entries::reserve(&mut out, rows.len());
    for row in rows {
        let start = out.len();
        pad(&mut out);
        write_object(&mut out, &keys, row);
        let length = out.len() - start;
        entries.push(&mut out, IS_CONTAINER, length);
    }
    let length = length_word(out.len());
    out[..4].copy_from_slice(&length);
    // SAFETY: palloc gives as many bytes as are copied.
    unsafe {
        let jsonb = pg_sys::palloc(out.len()).cast::<u8>();
        std::ptr::copy_nonoverlapping(out.as_ptr(), jsonb, out.len());
        Jsonb(pg_sys::Datum::from(jsonb))
    }
}

fn write_object<const N: usize>(out: &mut Vec<u8>, keys: &[&str; N], row: [Leaf<'_>; N]) {
    let is_there = |leaf: &Leaf<'_>| !matches!(leaf, Leaf::Absent);
    let count = row.iter().filter(|leaf| is_there(leaf)).count();
    push_word(out, count as u32 | OBJECT);
    let mut entries = Entries::reserve(out, 2 * count);
    for (key, _) in keys.iter().zip(&row).filter(|(_, leaf)| is_there(leaf)) {
        out.extend_from_slice(key.as_bytes());
        entries.push(out, 0, key.len());
    }
    for leaf in row {
        let start = out.len();
        let kind = match leaf {
            Leaf::Absent => continue,
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
}

/// The words that tell what the values of a container are and how long, before the values.
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
