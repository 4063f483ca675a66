//! Who gives way where transactions wait for each other in a circle.
//!
//! A call takes its locks in one order. Calls that are the first of their transaction therefore never make a circle
//! among themselves: in each circle is a transaction that had locks of ours when it called again, or a call that goes
//! from wallet to wallet. That one gives way (40P01), and the others never notice.
//!
//! PostgreSQL ends the waiting transaction that looks for a circle first while there is one. It looks once a wait,
//! `deadlock_timeout` after the wait began, whatever the wait is for: a lane, a row, a key, a table. So a later call
//! looks soon and again and again, by a timer of ours that raises the flag that PostgreSQL's own raises, and a first
//! call looks late. A circle is closed by somebody who begins to wait, and each later call in it looks after that.

use std::ffi::{c_int, c_uint};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use pgrx::pg_sys;

/// When a first call looks, in milliseconds after a wait began: long after all others have.
const LATE: c_int = 5_000;

/// How often a call looks that goes from wallet to wallet: after every later call has, since it has done more.
const MIDDLE: c_int = 500;

/// When a later call looks for the first time.
const SOON: c_int = 10;

/// How long it waits at most to look again: each look stops PostgreSQL's lock manager for a moment.
const LONGEST: c_int = 160;

/// Any number of the ten from `USER_TIMEOUT` on asks for a timer of one's own. They begin at 12 in PostgreSQL 15 and
/// 16 and at 13 in 17 and 18; this one is among them in all.
const ANY_TIMER: c_uint = 20;

/// The number of a timer of PostgreSQL's own, which nobody is given.
const NO_TIMER: c_uint = 0;

// What the timer looks at, which interrupts whatever this backend does.
static TIMER: AtomicU32 = AtomicU32::new(NO_TIMER);
static WATCHES: AtomicBool = AtomicBool::new(false);
static DELAY: AtomicI32 = AtomicI32::new(SOON);
static WAITED: AtomicI32 = AtomicI32::new(0);
static LOGS: AtomicBool = AtomicBool::new(false);

// `utils/timeout.h`, which `pg_sys` does not have. They raise nothing that comes back to us.
unsafe extern "C-unwind" {
    fn RegisterTimeout(id: c_uint, handler: unsafe extern "C-unwind" fn()) -> c_uint;
    fn enable_timeout_after(id: c_uint, milliseconds: c_int);
    fn get_timeout_active(id: c_uint) -> bool;
    /// Of `storage/proc.h`, made to be called by a timer.
    fn CheckDeadLockAlert();
}

/// What a call is in its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// The first one: nothing of ours is locked.
    First,
    /// The first one, which goes from wallet to wallet with locks in hand.
    Long,
    /// One that comes after others.
    Later,
}

/// A call that is running.
pub struct Turn {
    rank: Rank,
    /// Whether a later call is around it.
    was_watching: bool,
    deadlock_timeout: c_int,
    log_lock_waits: bool,
}

/// Begins a call.
pub fn begin(rank: Rank) -> Turn {
    // SAFETY: plain globals that only this backend writes.
    let turn = unsafe {
        Turn {
            rank,
            was_watching: WATCHES.load(Ordering::Relaxed),
            deadlock_timeout: pg_sys::DeadlockTimeout,
            log_lock_waits: pg_sys::log_lock_waits,
        }
    };
    match rank {
        // SAFETY: as above; put back when the turn is dropped, also by an error.
        Rank::First => unsafe { pg_sys::DeadlockTimeout = turn.deadlock_timeout.max(LATE) },
        Rank::Long => watch(MIDDLE),
        Rank::Later => watch(SOON),
    }
    turn
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.rank != Rank::First {
            WATCHES.store(self.was_watching, Ordering::Relaxed);
        }
        // SAFETY: see `begin`.
        unsafe {
            pg_sys::DeadlockTimeout = self.deadlock_timeout;
            pg_sys::log_lock_waits = self.log_lock_waits;
        }
    }
}

/// Has this backend look for circles after so many milliseconds and from then on.
#[cold]
fn watch(first: c_int) {
    // SAFETY: the handler does what a handler may; a timer is asked for once in a backend.
    unsafe {
        if TIMER.load(Ordering::Relaxed) == NO_TIMER {
            TIMER.store(RegisterTimeout(ANY_TIMER, look), Ordering::Relaxed);
        }
        let timer = TIMER.load(Ordering::Relaxed);
        if !WATCHES.swap(true, Ordering::Relaxed) {
            // Looks in the meantime are no reason to log that the wait is long.
            LOGS.store(pg_sys::log_lock_waits, Ordering::Relaxed);
            pg_sys::log_lock_waits = false;
        }
        // What an earlier call of the transaction has set may still run: it is spared setting it anew. It may run out
        // at once, which is no time to look.
        let runs = DELAY.swap(first, Ordering::Relaxed) == first && get_timeout_active(timer);
        WAITED.store(if runs { -first } else { 0 }, Ordering::Relaxed);
        if !runs {
            enable_timeout_after(timer, first);
        }
    }
}

/// Has a wait look for a circle when it is interrupted by this, and comes again. After the call it does not.
unsafe extern "C-unwind" fn look() {
    if !WATCHES.load(Ordering::Relaxed) {
        return;
    }
    let delay = DELAY.load(Ordering::Relaxed);
    let before = WAITED.fetch_add(delay, Ordering::Relaxed);
    let after = before.saturating_add(delay);
    let next = (delay * 2).min(LONGEST).max(delay);
    DELAY.store(next, Ordering::Relaxed);
    // SAFETY: runs in PostgreSQL's handler of SIGALRM, which allows timers to be set; plain globals of this backend.
    unsafe {
        // As often as PostgreSQL would, and no more.
        let pace = pg_sys::DeadlockTimeout.max(1);
        pg_sys::log_lock_waits = LOGS.load(Ordering::Relaxed) && after / pace > before / pace;
        if after > 0 {
            CheckDeadLockAlert();
        }
        enable_timeout_after(TIMER.load(Ordering::Relaxed), next);
    }
}
