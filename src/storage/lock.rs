//! Locks on the lanes of a hot wallet.
//!
//! A row lock cannot be released before the transaction ends. A call that locked a lane's row and
//! then found too little money there would keep the lock, and two such calls would deadlock. The
//! lanes of a wallet with several lanes are therefore locked with a heavyweight lock. It can be
//! tried, waited for and released, lasts at most as long as the (sub)transaction, and is seen by
//! the deadlock detector. `pg_locks` shows it as an advisory lock with `objsubid` 22337, which no
//! SQL function can acquire.

use std::cell::RefCell;

use pgrx::pg_sys;
use sha2::{Digest, Sha256};

use crate::storage::session;

/// Distinguishes these locks from the application's advisory locks, which have 1 or 2 here ("WA").
const CLASS: u16 = 0x5741;

/// The lock class of calls that queue for a window ("WB").
const QUEUE: u16 = 0x5742;

/// The lock class of things that the first transaction records once ("WC").
const NOTE: u16 = 0x5743;

/// The pseudo lane on which calls of `archive` queue. No lane has this number.
pub const ARCHIVE: i16 = -2;

/// The pseudo lane of `*` on which changes of trees of wallets queue.
pub const TREES: i16 = -3;

/// The result of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// This transaction has the lock until it ends or [`release`] is called.
    Acquired,
    /// Another transaction has the lock.
    Busy,
}

thread_local! {
    /// The wallet whose lanes were locked last, and its digest. A call tries several lanes of the
    /// same wallet.
    static LAST: RefCell<(String, [u32; 2])> = RefCell::default();
}

/// Locks the ledger for bookings, or against them, until the end of the transaction.
fn lock_ledger(mode: u32) {
    session::note_lock();
    // SAFETY: catalog look-ups by name; the schema and the table are parts of the extension, and
    // the lock manager takes any OID.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"wallet".as_ptr(), false);
        let ledger = pg_sys::get_relname_relid(c"ledger".as_ptr(), schema);
        pg_sys::LockRelationOid(ledger, mode as pg_sys::LOCKMODE);
    }
}

/// Locks the ledger as a booking does. Waits for [`stop_bookings`].
pub fn begin_booking() {
    lock_ledger(pg_sys::RowExclusiveLock);
}

/// Waits for every transaction that has booked something, and lets no other book until the end of
/// this one.
pub fn stop_bookings() {
    lock_ledger(pg_sys::ShareRowExclusiveLock);
}

/// Two words that identify the wallet: a digest.
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
    // The lane is XORed into the digest, so that lanes of one wallet never share a lock.
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
    // SAFETY: the tag outlives the call; a lock owned by the transaction needs no resource owner of
    // ours.
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

/// Acquires the lane's lock if no other transaction has it.
pub fn attempt(wallet: &str, lane: i16) -> Attempt {
    session::note_lock();
    acquire(tag(wallet, lane), true)
}

/// Acquires the lane's lock. Waiting calls get it in the order of arrival.
pub fn wait(wallet: &str, lane: i16) {
    session::note_lock();
    acquire(tag(wallet, lane), false);
}

/// Whether this transaction has the lane's lock.
pub fn is_ours(wallet: &str, lane: i16) -> bool {
    let tag = tag(wallet, lane);
    let mode = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    // SAFETY: reads this backend's own lock table; the tag outlives the call.
    unsafe {
        pg_sys::LockHeldByMe(&tag, mode)
    }
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    // SAFETY: as above; no other lock mode is ever acquired.
    unsafe {
        pg_sys::LockHeldByMe(&tag, mode, false)
    }
}

/// How many transactions currently have the lane's lock or wait for it.
pub fn requests(wallet: &str, lane: i16) -> i32 {
    let tag = tag(wallet, lane);
    // SAFETY: reads the shared lock table; the tag outlives the call.
    unsafe { pg_sys::LockWaiterCount(&tag) }
}

/// Releases a lock that one [`attempt`] or [`wait`] of this call acquired. A lane that an earlier
/// call of the transaction also locked stays locked.
pub fn release(wallet: &str, lane: i16) {
    let tag = tag(wallet, lane);
    // SAFETY: releases one count of a lock that this backend holds; the tag outlives the call.
    unsafe { pg_sys::LockRelease(&tag, pg_sys::ExclusiveLock as pg_sys::LOCKMODE, false) };
}

/// Queues for a window, in the order of arrival. The place in the queue is kept until the
/// transaction ends. Two windows may share a queue.
pub fn queue(window: [u8; 16]) {
    acquire(tag_of(QUEUE, last_words(window)), false);
}

/// Acquires the lock of a note until the transaction ends, if no other transaction has it. Two
/// notes may share a lock.
pub fn attempt_note(id: [u8; 16]) -> Attempt {
    session::note_lock();
    acquire(tag_of(NOTE, last_words(id)), true)
}

/// The last two words of an id.
fn last_words([.., a, b, c, d, e, f, g, h]: [u8; 16]) -> [u32; 2] {
    [[a, b, c, d], [e, f, g, h]].map(u32::from_be_bytes)
}
