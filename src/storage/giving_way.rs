//! Decides which transaction of a deadlock fails.
//!
//! A call acquires its locks in a fixed order. Calls that are the first of their transaction
//! therefore never deadlock with each other. Every deadlock includes a transaction that had locks
//! of ours when it called again, or a call that processes several wallets. That transaction fails
//! (40P01), and the others continue.
//!
//! PostgreSQL aborts the first waiting transaction whose check finds the deadlock. It checks once
//! per wait, `deadlock_timeout` after the wait began, whether the wait is for a lane, a row, a key
//! or a table. So a later call checks early and repeatedly: a timer of ours sets the flag that
//! PostgreSQL's own timer sets. A first call checks late. A deadlock is complete when its last
//! transaction begins to wait, and each later call in it checks after that.

use std::ffi::{c_int, c_uint};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use pgrx::pg_sys;

/// When a first call checks, in milliseconds after a wait began: long after all other calls.
const LATE: c_int = 5_000;

/// How often a call checks that processes several wallets, in milliseconds. Later calls check
/// before it, because it has done more work.
const MIDDLE: c_int = 500;

/// When a later call checks for the first time, in milliseconds.
const SOON: c_int = 10;

/// The longest interval between two checks of a later call, in milliseconds. The interval grows
/// because each check blocks PostgreSQL's lock manager for a moment.
const LONGEST: c_int = 160;

/// `RegisterTimeout` assigns a free number if it is called with one of the ten numbers from
/// `USER_TIMEOUT` on. They begin at 12 in PostgreSQL 15 and 16 and at 13 in 17 and 18. This number
/// is one of them in all versions.
const ANY_TIMER: c_uint = 20;

/// The number of one of PostgreSQL's own timers, which `RegisterTimeout` never assigns.
const NO_TIMER: c_uint = 0;

// State of the timer. The timer's handler interrupts the backend at any point.
static TIMER: AtomicU32 = AtomicU32::new(NO_TIMER);
static WATCHES: AtomicBool = AtomicBool::new(false);
static DELAY: AtomicI32 = AtomicI32::new(SOON);
static WAITED: AtomicI32 = AtomicI32::new(0);
static LOGS: AtomicBool = AtomicBool::new(false);

// `utils/timeout.h`, which `pg_sys` does not contain. These functions raise no error.
unsafe extern "C-unwind" {
    fn RegisterTimeout(id: c_uint, handler: unsafe extern "C-unwind" fn()) -> c_uint;
    fn enable_timeout_after(id: c_uint, milliseconds: c_int);
    fn get_timeout_active(id: c_uint) -> bool;
    /// From `storage/proc.h`, made to be called by a timer.
    fn CheckDeadLockAlert();
}

/// The position of a call in its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// The first call: no lock of ours is held.
    First,
    /// The first call, which processes several wallets and holds locks of one while it locks the
    /// next.
    Long,
    /// A call after other calls.
    Later,
}

/// A call in progress.
pub struct Turn {
    rank: Rank,
    /// Whether this call runs inside another one that watches for deadlocks.
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
        // SAFETY: as above; restored when the turn is dropped, also after an error.
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

/// Makes this backend check for deadlocks after `first` milliseconds and repeatedly from then on.
#[cold]
fn watch(first: c_int) {
    // SAFETY: the handler does only what a signal handler may do; the timer is registered once per
    // backend.
    unsafe {
        if TIMER.load(Ordering::Relaxed) == NO_TIMER {
            TIMER.store(RegisterTimeout(ANY_TIMER, look), Ordering::Relaxed);
        }
        let timer = TIMER.load(Ordering::Relaxed);
        if !WATCHES.swap(true, Ordering::Relaxed) {
            // Early checks must not log that the wait is long.
            LOGS.store(pg_sys::log_lock_waits, Ordering::Relaxed);
            pg_sys::log_lock_waits = false;
        }
        // The timer of an earlier call of the transaction may still be running. Then it is not set
        // again. It may fire at once, which is too early to check.
        let runs = DELAY.swap(first, Ordering::Relaxed) == first && get_timeout_active(timer);
        WAITED.store(if runs { -first } else { 0 }, Ordering::Relaxed);
        if !runs {
            enable_timeout_after(timer, first);
        }
    }
}

/// The timer's handler: makes the current wait check for a deadlock and sets the timer again. After
/// the end of the call it does neither.
unsafe extern "C-unwind" fn look() {
    if !WATCHES.load(Ordering::Relaxed) {
        return;
    }
    let delay = DELAY.load(Ordering::Relaxed);
    let before = WAITED.fetch_add(delay, Ordering::Relaxed);
    let after = before.saturating_add(delay);
    let next = (delay * 2).min(LONGEST).max(delay);
    DELAY.store(next, Ordering::Relaxed);
    // SAFETY: runs in PostgreSQL's handler of SIGALRM, which may set timers; plain globals of this
    // backend.
    unsafe {
        // Logs a wait as often as PostgreSQL would.
        let pace = pg_sys::DeadlockTimeout.max(1);
        pg_sys::log_lock_waits = LOGS.load(Ordering::Relaxed) && after / pace > before / pace;
        if after > 0 {
            CheckDeadLockAlert();
        }
        enable_timeout_after(TIMER.load(Ordering::Relaxed), next);
    }
}
