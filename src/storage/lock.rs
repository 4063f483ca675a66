//! Locks on the lanes of a hot wallet.
//!
//! A row lock cannot be given back before the transaction ends, so a call that locked a lane and
//! then found it too poor could only go on holding it, and two such calls would deadlock. Lanes
//! of a wallet with several are therefore locked by a heavyweight lock of their own, which can be
//! tried, waited for and released, lives as long as the (sub)transaction, and is seen by the
//! deadlock detector. `pg_locks` shows it as an advisory lock with `objsubid` 22337, which no SQL
//! function can take.

use std::cell::RefCell;

use pgrx::pg_sys;
use sha2::{Digest, Sha256};

use crate::storage::session;

/// Keeps the locks apart from the application's advisory locks, which have 1 or 2 here ("WA").
const CLASS: u16 = 0x5741;

/// The same for calls that queue for a window ("WB").
const QUEUE: u16 = 0x5742;

/// The same for what is noted once by whoever comes first ("WC").
const NOTE: u16 = 0x5743;

/// Not a lane, of which none has that number: calls of `archive` queue there.
pub const ARCHIVE: i16 = -2;

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Ours until the transaction ends or [`release`] is called.
    Acquired,
    /// Another transaction has it.
    Busy,
}

thread_local! {
    /// The wallet whose lanes were locked last, and its digest: a call tries several lanes of one wallet.
    static LAST: RefCell<(String, [u32; 2])> = RefCell::default();
}

/// Two words that stand for the wallet.
fn words(wallet: &str) -> [u32; 2] {
    LAST.with_borrow_mut(|(last, words)| {
        if last != wallet {
            let digest = Sha256::digest(wallet);
            let word = |at: usize| {
                u32::from_be_bytes([digest[at], digest[at + 1], digest[at + 2], digest[at + 3]])
            };
            *words = [word(0), word(4)];
            wallet.clone_into(last);
        }
        *words
    })
}

fn tag(wallet: &str, lane: i16) -> pg_sys::LOCKTAG {
    let [first, second] = words(wallet);
    // Lanes of one wallet never share a lock.
    tag_of(CLASS, [first, second ^ u32::from(lane.cast_unsigned())])
}

fn tag_of(class: u16, [first, second]: [u32; 2]) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        // SAFETY: set once when the backend connects to its database.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: first,
        locktag_field3: second,
        locktag_field4: class,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}

fn acquire(tag: pg_sys::LOCKTAG, dont_wait: bool) -> Attempt {
    // SAFETY: the tag lives across the call; a transaction lock needs no resource of ours.
    let result = unsafe {
        pg_sys::LockAcquire(
            &tag,
            pg_sys::ExclusiveLock as pg_sys::LOCKMODE,
            false,
            dont_wait,
        )
    };
    if result == pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL {
        Attempt::Busy
    } else {
        Attempt::Acquired
    }
}

/// Takes the lane's lock if nobody else has it.
pub fn attempt(wallet: &str, lane: i16) -> Attempt {
    session::note_lock();
    acquire(tag(wallet, lane), true)
}

/// Takes the lane's lock, waiting for it in the order of arrival.
pub fn wait(wallet: &str, lane: i16) {
    session::note_lock();
    acquire(tag(wallet, lane), false);
}

/// Whether this transaction has the lane's lock.
pub fn is_ours(wallet: &str, lane: i16) -> bool {
    let tag = tag(wallet, lane);
    let mode = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    // SAFETY: looks into this backend's own table; the tag lives across the call.
    unsafe {
        pg_sys::LockHeldByMe(&tag, mode)
    }
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    // SAFETY: as above; no other mode is ever taken.
    unsafe {
        pg_sys::LockHeldByMe(&tag, mode, false)
    }
}

/// How many transactions have the lane's lock or wait for it, at the moment.
pub fn requests(wallet: &str, lane: i16) -> i32 {
    let tag = tag(wallet, lane);
    // SAFETY: looks into the shared lock table; the tag lives across the call.
    unsafe { pg_sys::LockWaiterCount(&tag) }
}

/// Gives back a lock that one [`attempt`] or [`wait`] of this call took. A lane that an earlier
/// call of the transaction locked as well stays locked.
pub fn release(wallet: &str, lane: i16) {
    let tag = tag(wallet, lane);
    // SAFETY: releases one count of a lock that this backend holds; the tag lives across it.
    unsafe { pg_sys::LockRelease(&tag, pg_sys::ExclusiveLock as pg_sys::LOCKMODE, false) };
}

/// Queues for a window, in the order of arrival, until the transaction ends. Two windows may share a queue.
pub fn queue(window: [u8; 16]) {
    acquire(tag_of(QUEUE, last_words(window)), false);
}

/// Takes the lock of a note until the transaction ends, if nobody else has it. Two notes may share a lock.
pub fn attempt_note(id: [u8; 16]) -> Attempt {
    session::note_lock();
    acquire(tag_of(NOTE, last_words(id)), true)
}

/// The last two words of an id.
fn last_words([.., a, b, c, d, e, f, g, h]: [u8; 16]) -> [u32; 2] {
    [[a, b, c, d], [e, f, g, h]].map(u32::from_be_bytes)
}
