//! How far in the past or in the future a time of use may be: the settings and the check.

use std::ffi::{CStr, CString};

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, pg_guard, pg_sys};

use crate::error::{Error, Result};
use crate::pg::clock;
use crate::pg::clock::Timestamp;

/// `wallet.event_at_min`
static MIN: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"2000-01-01"));

/// `wallet.event_at_max_ahead`, in seconds
static MAX_AHEAD: GucSetting<i32> = GucSetting::<i32>::new(86_400);

/// Defines the settings; called once, when the library is loaded.
pub fn register() {
    // SAFETY: the hook is guarded, and reads the text that PostgreSQL passes.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"wallet.event_at_min",
            c"The earliest event_at that calls take.",
            c"A date or a time with its offset, ISO 8601; a date begins at midnight in UTC.",
            &MIN,
            GucContext::Suset,
            GucFlags::default(),
            Some(check_min),
            None,
            None,
        );
    }
    GucRegistry::define_int_guc(
        c"wallet.event_at_max_ahead",
        c"How far in the future event_at may be.",
        c"For clocks that run ahead.",
        &MAX_AHEAD,
        0,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
}

/// Parses a date or a timestamp of the setting.
fn parse(text: &str) -> Option<Timestamp> {
    let at = match text.parse::<jiff::Timestamp>() {
        Ok(at) => at,
        // A timestamp without an offset would be parsed as a date.
        Err(_) if text.len() != "2000-01-01".len() => return None,
        Err(_) => {
            let day: jiff::civil::Date = text.parse().ok()?;
            let midnight = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
            midnight.timestamp()
        }
    };
    Some(Timestamp::from_unix_micros(at.as_microsecond()))
}

#[pg_guard]
unsafe extern "C-unwind" fn check_min(
    value: *mut *mut std::ffi::c_char,
    _extra: *mut *mut std::ffi::c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes a pointer to the new text, which is NULL or ends with NUL.
    let text = unsafe {
        match (*value).is_null() {
            true => return true,
            false => CStr::from_ptr(*value),
        }
    };
    text.to_str().is_ok_and(|text| parse(text).is_some())
}

/// The error 22023 if a time of use is too far in the past or in the future.
pub fn check(at: Timestamp) -> Result<()> {
    let text = MIN.get();
    let min = text
        .as_ref()
        .and_then(|text| text.to_str().ok())
        .and_then(parse)
        .unwrap_or(Timestamp(0));
    if at < min {
        return Err(Error::argument("event_at is too early")
            .detail(format!(
                "It is {}; the earliest that is allowed is {}.",
                at.to_json(),
                min.to_json()
            ))
            .hint("Pass the time of the use. An administrator can allow earlier ones with the setting wallet.event_at_min."));
    }
    let ahead = i64::from(MAX_AHEAD.get());
    let max = Timestamp(clock::now().0.saturating_add(ahead * 1_000_000));
    if at > max {
        return Err(Error::argument("event_at is too far in the future")
            .detail(format!(
                "It is {}; at most {ahead} seconds from now are allowed, until {}.",
                at.to_json(),
                max.to_json()
            ))
            .hint("Pass the time of the use: were milliseconds passed for seconds? An administrator can allow later ones with the setting wallet.event_at_max_ahead."));
    }
    Ok(())
}

/// The times of use that an entry stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOfUse {
    /// When reports count the use. `None` if that is the time of booking.
    pub event_at: Option<Timestamp>,
    /// The time of use, if it was in a closed period.
    pub used_at: Option<Timestamp>,
}

impl TimeOfUse {
    /// The times for a use at `given`, booked at `booked`. The open period begins at `closed`.
    ///
    /// Use in a closed period counts when it is booked: that is when the books learn of it. After a
    /// clock was set back, this may be before the open period, and the use then counts from the
    /// beginning of that period.
    pub fn counted(
        given: Option<Timestamp>,
        booked: Timestamp,
        closed: Option<Timestamp>,
    ) -> TimeOfUse {
        let used = given.unwrap_or(booked);
        let Some(closed) = closed.filter(|closed| used < *closed) else {
            return TimeOfUse {
                event_at: given,
                used_at: None,
            };
        };
        TimeOfUse {
            event_at: (booked < closed).then_some(closed),
            used_at: Some(used),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_in_a_closed_period_counts_in_the_open_one() {
        let at = |time: i64| Some(Timestamp(time));
        for (given, booked, closed, event_at, used_at) in [
            (None, 50, None, None, None),
            (at(10), 50, None, at(10), None),
            (None, 50, at(40), None, None),
            (at(40), 50, at(40), at(40), None),
            (at(39), 50, at(40), None, at(39)),
            (at(60), 50, at(40), at(60), None),
            (None, 39, at(40), at(40), at(39)),
            (at(10), 39, at(40), at(40), at(10)),
            (at(60), 39, at(40), at(60), None),
        ] {
            let time = TimeOfUse::counted(given, Timestamp(booked), closed);
            assert_eq!(time, TimeOfUse { event_at, used_at });
            let counts = time.event_at.unwrap_or(Timestamp(booked));
            assert!(closed.is_none_or(|closed| counts >= closed));
        }
    }

    #[test]
    fn a_bound_is_a_date_or_a_time() {
        assert_eq!(parse("2000-01-01"), Some(Timestamp(0)));
        assert_eq!(parse("2000-01-01T00:00:01Z"), Some(Timestamp(1_000_000)));
        assert_eq!(parse("2000-01-01 01:00:00+01"), Some(Timestamp(0)));
        for wrong in [
            "",
            "yesterday",
            "2000-13-01",
            "2000-01-01T00:00:00",
            "infinity",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
