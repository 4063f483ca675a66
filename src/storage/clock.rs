//! Time, transaction and isolation as the backend sees them.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

/// Microseconds between the Unix epoch and PostgreSQL's, 2000-01-01.
const EPOCH_OFFSET: i64 = 946_684_800_000_000;

/// A point in time as PostgreSQL keeps it: microseconds since 2000-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Microseconds since 1970-01-01 00:00 UTC.
    pub fn unix_micros(self) -> i64 {
        self.0.saturating_add(EPOCH_OFFSET)
    }

    /// The timestamp of microseconds since 1970-01-01 00:00 UTC.
    pub fn from_unix_micros(micros: i64) -> Timestamp {
        Timestamp(micros.saturating_sub(EPOCH_OFFSET))
    }

    /// ISO 8601 in UTC, as JSON has it.
    pub fn to_json(self) -> String {
        jiff::Timestamp::from_microsecond(self.unix_micros())
            .map_or_else(|_| "infinity".to_owned(), |at| at.to_string())
    }

    /// False for `infinity` and `-infinity`.
    pub fn is_finite(self) -> bool {
        self.0 != i64::MIN && self.0 != i64::MAX
    }
}

impl From<TimestampWithTimeZone> for Timestamp {
    fn from(value: TimestampWithTimeZone) -> Timestamp {
        Timestamp(value.into())
    }
}

/// The clock, now: not the transaction's start, so that entries of a long transaction keep their
/// real order and a limit's window is the one in which the call is made.
pub fn now() -> Timestamp {
    // SAFETY: reads the system clock.
    Timestamp(unsafe { pg_sys::GetCurrentTimestamp() })
}

/// What `now()` says: when the running transaction began.
pub fn transaction_start() -> Timestamp {
    // SAFETY: reads a value of the backend's own.
    Timestamp(unsafe { pg_sys::GetCurrentTransactionStartTimestamp() })
}

/// True under REPEATABLE READ and SERIALIZABLE, where one snapshot serves the whole transaction.
pub fn one_snapshot_for_all() -> bool {
    // SAFETY: a plain global that only this backend writes.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// Names the running transaction among all of this backend; changes with every transaction.
pub fn transaction() -> u32 {
    // SAFETY: MyProc is set in every backend that can run a function, and lxid is its own.
    #[cfg(not(any(feature = "pg17", feature = "pg18")))]
    unsafe {
        (*pg_sys::MyProc).lxid
    }
    // SAFETY: as above; the field moved into vxid in PostgreSQL 17.
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    unsafe {
        (*pg_sys::MyProc).vxid.lxid
    }
}

/// A number that differs between the backends that run at one time: their process ids.
pub fn backend() -> u32 {
    // SAFETY: a plain global that is set when the backend starts.
    unsafe { pg_sys::MyProcPid }.unsigned_abs()
}
