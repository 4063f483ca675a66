//! Ids of windows in `wallet.allowances`.
//!
//! The id is a function of the limit, the subject and the beginning of the window, and of nothing
//! else. So an id that was computed once is right for as long as the backend lives, whatever rule
//! changes or is rolled back. A backend remembers the ids that it computed last, because the digest
//! takes most of the time of finding a window where the processor has no instructions for it.

use std::cell::RefCell;
use std::hash::BuildHasher;

use foldhash::HashMap;
use foldhash::fast::RandomState;
use sha2::{Digest, Sha256};

use crate::storage::rows::AllowanceId;

/// The number of leading bytes of a window's id that come from the limit's id. The other bytes come
/// from a digest. They are enough that two windows of a limit never share an id.
const MARK: usize = 3;

/// The leading bytes of the ids of a limit's windows: the end of the limit's id, which is random.
fn mark(limit: &[u8; 16]) -> &[u8] {
    &limit[limit.len() - MARK..]
}

/// The smallest and the largest possible id of the limit's windows. Few other ids are in between,
/// so the primary key finds the windows quickly among all windows of a wallet.
pub fn bounds(limit: [u8; 16]) -> [AllowanceId; 2] {
    [0x00, 0xff].map(|fill| {
        let mut id = [fill; 16];
        id[..MARK].copy_from_slice(mark(&limit));
        id
    })
}

/// The id of the limit's window that begins at `start`, for a subject. `i64::MIN` is the start of a
/// window without a beginning.
fn computed(limit: &[u8; 16], start: i64, subject: &str) -> AllowanceId {
    let digest = Sha256::new()
        .chain_update(limit)
        .chain_update(start.to_be_bytes())
        .chain_update(subject)
        .finalize();
    let mut id: AllowanceId = [0; 16];
    id.copy_from_slice(&digest[..16]);
    id[..MARK].copy_from_slice(mark(limit));
    // Version 8, variant 1: an id built by our own rule. It is never nil.
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    id
}

/// The most ids that a backend remembers. Beyond that, it forgets all.
const MAX_IDS: usize = 20_000;

/// The longest subject whose ids are remembered, in bytes.
const LONGEST: usize = 84;

/// An id, with all that it is computed from. It is found by a hash of limit and subject, so the
/// next window of a subject takes the place of the one before.
#[derive(Clone, Copy)]
struct Remembered {
    start: i64,
    limit: [u8; 16],
    id: AllowanceId,
    length: u32,
    /// The subject, in place, so that it takes no memory access of its own.
    subject: [u8; LONGEST],
}

impl Remembered {
    /// Computes an id. The subject is not too long.
    fn computed(limit: &[u8; 16], start: i64, subject: &str) -> Remembered {
        let mut bytes = [0; LONGEST];
        bytes[..subject.len()].copy_from_slice(subject.as_bytes());
        Remembered {
            start,
            limit: *limit,
            id: computed(limit, start, subject),
            length: subject.len() as u32,
            subject: bytes,
        }
    }

    fn is_of(&self, limit: &[u8; 16], start: i64, subject: &str) -> bool {
        self.start == start
            && self.limit == *limit
            && self.subject.get(..self.length as usize) == Some(subject.as_bytes())
    }
}

thread_local! {
    static HASHER: RandomState = RandomState::default();
    static IDS: RefCell<HashMap<u64, Remembered>> = RefCell::default();
}

/// The id of the limit's window that begins at `start`, in microseconds since 1970, for a subject.
/// `None` is the start of a window without a beginning.
pub fn of(limit: &[u8; 16], start: Option<i64>, subject: &str) -> AllowanceId {
    let start = start.unwrap_or(i64::MIN);
    if subject.len() > LONGEST {
        return computed(limit, start, subject);
    }
    let hash = HASHER.with(|hasher| hasher.hash_one((limit, subject)));
    IDS.with_borrow_mut(|ids| {
        if let Some(known) = ids
            .get(&hash)
            .filter(|one| one.is_of(limit, start, subject))
        {
            return known.id;
        }
        if ids.len() >= MAX_IDS {
            ids.clear();
        }
        let new = Remembered::computed(limit, start, subject);
        ids.insert(hash, new);
        new.id
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_same_whether_it_is_remembered_or_not() {
        let limits: Vec<[u8; 16]> = (0..40).map(|n| [n; 16]).collect();
        let long = "x".repeat(LONGEST + 1);
        let subjects = ["", "*", "ann", "anne", &long[1..], &long];
        let starts = [None, Some(0), Some(60_000_000), Some(-1)];
        // Each id twice in a row, and again after all others.
        for _ in 0..2 {
            for limit in &limits {
                for subject in subjects {
                    for start in starts {
                        let expected = computed(limit, start.unwrap_or(i64::MIN), subject);
                        assert_eq!(of(limit, start, subject), expected);
                        assert_eq!(of(limit, start, subject), expected);
                    }
                }
            }
        }
    }

    #[test]
    fn more_ids_than_are_remembered_are_still_right() {
        for n in 0..2 * MAX_IDS + 1 {
            let subject = n.to_string();
            assert_eq!(
                of(&[7; 16], Some(5), &subject),
                computed(&[7; 16], 5, &subject)
            );
        }
    }

    #[test]
    fn ids_differ_by_each_part() {
        let ids = [
            of(&[1; 16], Some(1), "ann"),
            of(&[2; 16], Some(1), "ann"),
            of(&[1; 16], Some(2), "ann"),
            of(&[1; 16], None, "ann"),
            of(&[1; 16], Some(1), "bob"),
            of(&[1; 16], Some(1), ""),
        ];
        for (n, id) in ids.iter().enumerate() {
            assert!(!ids[..n].contains(id));
            let limit = if n == 1 { [2; 16] } else { [1; 16] };
            let [first, last] = bounds(limit);
            assert!((first..=last).contains(id));
        }
    }
}
