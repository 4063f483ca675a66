//! The windows in which limits count. Pure: windows are computed from the time, never scheduled.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

/// A period of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the first of the next.
    Month,
    /// Forever.
    Lifetime,
}

/// Microseconds since 1970 of a window's first moment and of the first moment after it; `None`
/// where it has no such moment.
pub type Bounds = (Option<i64>, Option<i64>);

impl Period {
    /// All periods.
    pub const ALL: &'static [Period] = &[Period::Day, Period::Month, Period::Lifetime];

    /// Its name in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Period::Day => "day",
            Period::Month => "month",
            Period::Lifetime => "lifetime",
        }
    }

    /// The period of that name.
    pub fn parse(text: &str) -> Option<Period> {
        Period::ALL
            .iter()
            .copied()
            .find(|period| period.as_str() == text)
    }

    /// The window that holds a moment, in the given time zone; `None` for moments outside the
    /// years that a calendar knows.
    pub fn window(self, zone: &TimeZone, unix_micros: i64) -> Option<Bounds> {
        let at = Timestamp::from_microsecond(unix_micros)
            .ok()?
            .to_zoned(zone.clone());
        let (start, end) = match self {
            Period::Lifetime => return Some((None, None)),
            Period::Day => {
                let start = at.start_of_day().ok()?;
                (start.clone(), next(&start, 1.day())?)
            }
            Period::Month => {
                let start = at.first_of_month().ok()?.start_of_day().ok()?;
                (start.clone(), next(&start, 1.month())?)
            }
        };
        Some((
            Some(start.timestamp().as_microsecond()),
            Some(end.timestamp().as_microsecond()),
        ))
    }
}

/// The start of the day that lies a span after the start of a day: midnight, or the first moment
/// of a day that has no midnight.
fn next(start: &Zoned, span: jiff::Span) -> Option<Zoned> {
    start
        .date()
        .checked_add(span)
        .ok()?
        .to_zoned(start.time_zone().clone())
        .ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn micros(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    fn window(period: Period, name: &str, at: &str) -> (i64, i64) {
        let (start, end) = period.window(&zone(name), micros(at)).unwrap();
        (start.unwrap(), end.unwrap())
    }

    #[test]
    fn a_day_is_23_or_25_hours_when_the_clock_changes() {
        let hours = |at| {
            let (start, end) = window(Period::Day, "Europe/Berlin", at);
            (end - start) / 3_600_000_000
        };
        assert_eq!(hours("2026-03-29T12:00:00Z"), 23);
        assert_eq!(hours("2026-10-25T12:00:00Z"), 25);
        assert_eq!(hours("2026-07-01T12:00:00Z"), 24);
    }

    #[test]
    fn a_day_without_midnight_begins_at_its_first_moment() {
        // In Santiago the clock went from 24:00 to 01:00 on 2023-09-03.
        let (start, _) = window(Period::Day, "America/Santiago", "2023-09-03T15:00:00Z");
        assert_eq!(start, micros("2023-09-03T04:00:00Z"));
    }

    #[test]
    fn a_month_begins_in_its_own_zone() {
        let (start, end) = window(Period::Month, "Asia/Tokyo", "2026-01-31T15:00:00Z");
        assert_eq!(start, micros("2026-01-31T15:00:00Z"));
        assert_eq!(end, micros("2026-02-28T15:00:00Z"));
    }

    proptest! {
        /// Windows hold their moment and follow each other without gap or overlap.
        #[test]
        fn windows_tile_time(
            at in 0_i64..4_102_444_800_000_000,
            name in prop::sample::select(vec![
                "UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Asia/Kolkata",
                "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca",
            ]),
            period in prop::sample::select(vec![Period::Day, Period::Month]),
        ) {
            let zone = zone(name);
            let (start, end) = period.window(&zone, at).unwrap();
            let (start, end) = (start.unwrap(), end.unwrap());
            prop_assert!(start <= at && at < end);
            prop_assert_eq!(period.window(&zone, start).unwrap(), (Some(start), Some(end)));
            prop_assert_eq!(period.window(&zone, end - 1).unwrap(), (Some(start), Some(end)));
            prop_assert_eq!(period.window(&zone, end).unwrap().0, Some(end));
        }
    }
}
