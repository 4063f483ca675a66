//! Time, transaction and isolation level of the backend.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

/// Microseconds from the Unix epoch to PostgreSQL's epoch, 2000-01-01.
const EPOCH_OFFSET: i64 = 946_684_800_000_000;

/// Microseconds in a day of 24 hours.
pub const DAY: i64 = 24 * 3600 * 1_000_000;

/// Microseconds in 400 years, and from 1970 to the years 1 and 9601.
const ERA: i128 = 146_097 * DAY as i128;
const YEAR_1: i128 = -62_135_596_800_000_000;
const YEAR_9601: i128 = YEAR_1 + 24 * ERA;

/// A point in time as PostgreSQL stores it: microseconds since 2000-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Microseconds since 1970-01-01 00:00 UTC.
    pub fn unix_micros(self) -> i64 {
        self.0.saturating_add(EPOCH_OFFSET)
    }

    /// The timestamp that is a number of microseconds after 1970-01-01 00:00 UTC.
    pub fn from_unix_micros(micros: i64) -> Timestamp {
        Timestamp(micros.saturating_sub(EPOCH_OFFSET))
    }

    /// The timestamp of a text in ISO 8601 with an offset, to the microsecond. `None` for any other
    /// text.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let at: jiff::Timestamp = text.parse().ok()?;
        let is_whole = at.subsec_nanosecond() % 1_000 == 0;
        is_whole.then(|| Timestamp::from_unix_micros(at.as_microsecond()))
    }

    /// ISO 8601 in UTC, as in JSON. Years with more than four digits have a sign.
    pub fn to_json(self) -> String {
        if !self.is_finite() {
            return if self.0 > 0 { "infinity" } else { "-infinity" }.to_owned();
        }
        let (micros, mut eras) = (i128::from(self.0) + i128::from(EPOCH_OFFSET), 0);
        // The calendar repeats after 400 years, and jiff's range ends before the end of the year
        // 9999.
        if !(YEAR_1..YEAR_9601).contains(&micros) {
            eras = (micros - YEAR_1).div_euclid(ERA);
        }
        let within = i64::try_from(micros - eras * ERA).unwrap_or_default();
        let text = jiff::Timestamp::from_microsecond(within)
            .unwrap_or_default()
            .to_string();
        match text.split_once('-') {
            Some((year, rest)) if eras != 0 => {
                match year.parse::<i128>().unwrap_or_default() + 400 * eras {
                    year @ 1..=9999 => format!("{year:04}-{rest}"),
                    year if year < 0 => format!("-{:06}-{rest}", -year),
                    year => format!("+{year:06}-{rest}"),
                }
            }
            _ => text,
        }
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

/// The current time of the clock, not the transaction's start. So entries of a long transaction
/// keep their real order, and a limit counts a call in the window in which it is made.
pub fn now() -> Timestamp {
    // SAFETY: reads the system clock.
    Timestamp(unsafe { pg_sys::GetCurrentTimestamp() })
}

/// When the running transaction began, like `now()` in SQL.
pub fn transaction_start() -> Timestamp {
    // SAFETY: reads a variable of this backend.
    Timestamp(unsafe { pg_sys::GetCurrentTransactionStartTimestamp() })
}

/// When the client's running statement began, like `statement_timestamp()` in SQL.
pub fn statement_start() -> Timestamp {
    // SAFETY: reads a variable of this backend.
    Timestamp(unsafe { pg_sys::GetCurrentStatementStartTimestamp() })
}

/// True under REPEATABLE READ and SERIALIZABLE, where the whole transaction has a single snapshot.
pub fn one_snapshot_for_all() -> bool {
    // SAFETY: a plain global that only this backend writes.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// Identifies the running subtransaction within its transaction.
pub fn subtransaction() -> u32 {
    // SAFETY: reads a variable of this backend.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

/// Identifies the running transaction among those of this backend. It changes with every
/// transaction.
pub fn transaction() -> u32 {
    // SAFETY: MyProc is set in every backend that can run a function, and lxid belongs to this
    // backend.
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

/// The process id, which differs between backends that run at the same time.
pub fn backend() -> u32 {
    // SAFETY: a plain global that is set when the backend starts.
    unsafe { pg_sys::MyProcPid }.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_text() {
        for (micros, text) in [
            (0, "2000-01-01T00:00:00Z"),
            (-63_082_281_600_000_000, "0001-01-01T00:00:00Z"),
            (-63_082_281_600_000_001, "+000000-12-31T23:59:59.999999Z"),
            (239_864_457_599_999_999, "9600-12-31T23:59:59.999999Z"),
            (252_455_615_999_999_999, "9999-12-31T23:59:59.999999Z"),
            (252_455_616_000_000_000, "+010000-01-01T00:00:00Z"),
            // The greatest and the least timestamp of PostgreSQL.
            (9_223_371_331_199_999_999, "+294276-12-31T23:59:59.999999Z"),
            (-211_813_488_000_000_000, "-004713-11-24T00:00:00Z"),
            (i64::MAX, "infinity"),
            (i64::MIN, "-infinity"),
        ] {
            assert_eq!(Timestamp(micros).to_json(), text);
        }
    }

    #[test]
    fn an_instant_has_an_offset() {
        assert_eq!(Timestamp::parse("2000-01-01T00:00:00Z"), Some(Timestamp(0)));
        assert_eq!(
            Timestamp::parse("2000-01-01 01:00:00.000001+01"),
            Some(Timestamp(1))
        );
        assert_eq!(Timestamp::parse("2000-01-01T00:00:00"), None);
        assert_eq!(Timestamp::parse("2000-01-01T00:00:00.0000001Z"), None);
        assert_eq!(Timestamp::parse("yesterday"), None);
    }
}
