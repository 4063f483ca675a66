//! The periods of limits and their windows. Pure: windows are computed from the time, never
//! scheduled.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, SpanRelativeTo, Timestamp, ToSpan, Zoned};

/// A period of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// From full minute to full minute.
    Minute,
    /// From full hour to full hour.
    Hour,
    /// From midnight to midnight.
    Day,
    /// Seven days from midnight on the given weekday, 1 for Monday to 7 for Sunday.
    Week(i8),
    /// From the given day of a month, 1 to 31, to the same day of the next month. A shorter month
    /// begins on its last day.
    Month(i8),
    /// From the first of January, April, July or October.
    Quarter,
    /// From the first of January.
    Year,
    /// One window that never ends.
    Lifetime,
    /// The given number of microseconds before any moment.
    Rolling(i64),
    /// As long as a hold is open. The limit counts the quantities of open holds, and nothing else.
    Open,
    /// A single charge or hold. The limit compares it with the maximum and counts nothing.
    Request,
}

/// A window's first moment and the first moment after it, in microseconds since 1970. `None` if the
/// window has no beginning or no end.
pub type Bounds = (Option<i64>, Option<i64>);

/// The time zone of that name. UTC does not need the time zone database, which each backend would
/// have to find and list at its first call.
pub fn zone(name: &str) -> Result<TimeZone, jiff::Error> {
    match name {
        "UTC" => Ok(TimeZone::UTC),
        name => TimeZone::get(name),
    }
}

/// The time of day that is a number of microseconds after midnight; `None` if there is none.
pub fn time_of_day(micros: i64) -> Option<Time> {
    (0..24 * HOUR)
        .contains(&micros)
        .then(|| Time::midnight() + SignedDuration::from_micros(micros))
}

/// Why a text is not a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAPeriod {
    /// No period has that name.
    Unknown,
    /// The text after `rolling` is not a duration of fixed length.
    NotALength,
    /// A rolling period is shorter than a second or longer than ten years.
    OutOfRange,
    /// The period takes no anchor, or not this one.
    Anchor,
}

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
const SECOND: i64 = 1_000_000;
const LONGEST: i64 = 3_653 * 24 * HOUR;

/// The number of slices of a rolling window. Usage leaves the window slice by slice, up to one
/// slice late and never early.
pub const SLICES: i64 = 60;

impl Period {
    /// Names of the periods, except rolling ones, which are `rolling` and a duration.
    pub const NAMES: &'static [&'static str] = &[
        "minute", "hour", "day", "week", "month", "quarter", "year", "lifetime", "request", "open",
    ];

    /// The name of the period of limits on open holds.
    pub const OPEN: &'static str = "open";

    /// The period of that name, and the name that is stored. `anchor` is the first day of a week,
    /// or the day of the month on which a month begins.
    pub fn parse(text: &str, anchor: Option<i32>) -> Result<(Period, String), NotAPeriod> {
        let day = |last: i8| match anchor {
            None => Ok(1),
            Some(day) => i8::try_from(day)
                .ok()
                .filter(|day| (1..=last).contains(day))
                .ok_or(NotAPeriod::Anchor),
        };
        let period = match text {
            "week" => Period::Week(day(7)?),
            "month" => Period::Month(day(31)?),
            _ if anchor.is_some() && Period::parse(text, None).is_ok() => {
                return Err(NotAPeriod::Anchor);
            }
            "minute" => Period::Minute,
            "hour" => Period::Hour,
            "day" => Period::Day,
            "quarter" => Period::Quarter,
            "year" => Period::Year,
            "lifetime" => Period::Lifetime,
            Period::OPEN => Period::Open,
            "request" => Period::Request,
            _ => {
                let length = text.strip_prefix("rolling ").ok_or(NotAPeriod::Unknown)?;
                Period::Rolling(micros(length)?)
            }
        };
        let name = match period {
            Period::Rolling(micros) => rolling_name(micros),
            _ => text.to_owned(),
        };
        Ok((period, name))
    }

    /// The day on which a week or month begins; `None` for other periods.
    pub fn anchor(self) -> Option<i8> {
        match self {
            Period::Week(day) | Period::Month(day) => Some(day),
            _ => None,
        }
    }

    /// True if the limit counts use. The ledger has that use, so it can be counted again.
    pub fn counts_use(self) -> bool {
        !matches!(self, Period::Open | Period::Request)
    }

    /// Length of a slice in microseconds; `None` unless the period is rolling.
    pub fn slice(self) -> Option<i64> {
        match self {
            Period::Rolling(micros) => Some(micros / SLICES),
            _ => None,
        }
    }

    /// True if a window of the period may begin at a time of day other than midnight.
    pub fn takes_time(self) -> bool {
        matches!(
            self,
            Period::Day | Period::Week(_) | Period::Month(_) | Period::Quarter | Period::Year
        )
    }

    /// True if the clock of a time zone decides when a window begins and ends.
    pub fn has_calendar(self) -> bool {
        self.takes_time() || matches!(self, Period::Minute | Period::Hour)
    }

    /// True if the part of a window's maximum that is left may be carried into the next window.
    pub fn carries(self) -> bool {
        self.has_calendar()
    }

    /// The window that contains a moment, in the given time zone. Days and longer windows begin at
    /// the time of day `from`. `None` for moments outside the years of the calendar. A rolling
    /// window has no beginning of its own, and no end.
    pub fn window(self, zone: &TimeZone, from: Option<Time>, unix_micros: i64) -> Option<Bounds> {
        let at = Timestamp::from_microsecond(unix_micros)
            .ok()?
            .to_zoned(zone.clone());
        match self {
            Period::Lifetime | Period::Rolling(_) | Period::Open | Period::Request => {
                return Some((None, None));
            }
            Period::Minute => return clock_window(&at, MINUTE),
            Period::Hour => return clock_window(&at, HOUR),
            _ => {}
        }
        let beginning = |date: Date| match from {
            None => midnight(date, zone),
            Some(time) => moment(date, time, zone),
        };
        let mut first = self.first_day(at.date())?;
        let mut start = beginning(first)?;
        let mut end = beginning(self.next(first)?)?;
        if start > unix_micros || unix_micros >= end {
            // Before the time of day at which windows begin, or where a clock change repeats it.
            first = self.first_day(at.date().tomorrow().ok()?)?;
            start = beginning(first)?;
            while start > unix_micros {
                first = self.first_day(first.yesterday().ok()?)?;
                start = beginning(first)?;
            }
            end = beginning(self.next(first)?)?;
        }
        Some((Some(start), Some(end)))
    }

    /// The first day of the period that contains a day. `None` for periods that are not made of
    /// days.
    fn first_day(self, date: Date) -> Option<Date> {
        match self {
            Period::Day => Some(date),
            Period::Week(first) => {
                let first = Weekday::from_monday_one_offset(first).ok()?;
                let since = date.weekday().since(first);
                date.checked_sub(i64::from(since).days()).ok()
            }
            Period::Month(day) => {
                let this = day_of_month(date.year(), date.month(), day)?;
                if this <= date {
                    return Some(this);
                }
                match date.month() {
                    1 => day_of_month(date.year() - 1, 12, day),
                    month => day_of_month(date.year(), month - 1, day),
                }
            }
            Period::Quarter => Date::new(date.year(), (date.month() - 1) / 3 * 3 + 1, 1).ok(),
            Period::Year => Some(date.first_of_year()),
            Period::Minute
            | Period::Hour
            | Period::Lifetime
            | Period::Rolling(_)
            | Period::Open
            | Period::Request => None,
        }
    }

    /// The first day of the next period after the one that begins on `first`.
    fn next(self, first: Date) -> Option<Date> {
        match self {
            // From the month and not from the day, which is earlier in a shorter month.
            Period::Month(day) => match first.month() {
                12 => day_of_month(first.year() + 1, 1, day),
                month => day_of_month(first.year(), month + 1, day),
            },
            Period::Week(_) => first.checked_add(7.days()).ok(),
            Period::Quarter => first.checked_add(3.months()).ok(),
            Period::Year => first.checked_add(1.year()).ok(),
            _ => first.tomorrow().ok(),
        }
    }
}

/// A day of a month; the last one if the month is shorter.
fn day_of_month(year: i16, month: i8, day: i8) -> Option<Date> {
    match day {
        ..=28 => Date::new(year, month, day).ok(),
        _ => {
            let last = Date::new(year, month, 1).ok()?.days_in_month();
            Date::new(year, month, day.min(last)).ok()
        }
    }
}

/// The first moment of a day, which is midnight unless the day has no midnight.
fn midnight(date: Date, zone: &TimeZone) -> Option<i64> {
    let start = date.to_zoned(zone.clone()).ok()?.start_of_day().ok()?;
    Some(start.timestamp().as_microsecond())
}

/// The moment at which the clock shows a time of a day: the first of two if a clock change repeats
/// the time, and the first moment after the change if it skips the time.
fn moment(date: Date, time: Time, zone: &TimeZone) -> Option<i64> {
    let local = date.to_datetime(time);
    let at = match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok()?,
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok()?,
        AmbiguousOffset::Gap { before, .. } => {
            let behind = before.to_timestamp(local).ok()?;
            let after = behind.checked_add(SignedDuration::from_micros(1)).ok()?;
            zone.preceding(after).next()?.timestamp()
        }
    };
    Some(at.as_microsecond())
}

/// The full minute or hour on the local clock. A clock change of less than that length in the
/// middle of a window ends the window.
fn clock_window(at: &Zoned, length: i64) -> Option<Bounds> {
    let zone = at.time_zone();
    let now = at.timestamp();
    let offset = i64::from(at.offset().seconds()) * SECOND;
    let local = now.as_microsecond().checked_add(offset)?;
    let start = local.div_euclid(length) * length - offset;
    let changed = zone
        .preceding(now.checked_add(SignedDuration::from_micros(1)).ok()?)
        .next()
        .map_or(i64::MIN, |change| change.timestamp().as_microsecond());
    let changes = zone
        .following(now)
        .next()
        .map_or(i64::MAX, |change| change.timestamp().as_microsecond());
    Some((
        Some(start.max(changed)),
        Some((start + length).min(changes)),
    ))
}

/// The microseconds of a duration such as `5 hours`. Days have 24 hours. Months and years are
/// errors because their lengths differ.
fn micros(text: &str) -> Result<i64, NotAPeriod> {
    let span: jiff::Span = text.parse().map_err(|_| NotAPeriod::NotALength)?;
    if span.get_months() != 0 || span.get_years() != 0 {
        return Err(NotAPeriod::NotALength);
    }
    let length = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| NotAPeriod::NotALength)?;
    i64::try_from(length.as_micros())
        .ok()
        .filter(|micros| (SECOND..=LONGEST).contains(micros))
        .ok_or(NotAPeriod::OutOfRange)
}

/// The stored name of a rolling period. Equal lengths have the same name.
fn rolling_name(micros: i64) -> String {
    let units = [
        (24 * HOUR, "day"),
        (HOUR, "hour"),
        (MINUTE, "minute"),
        (SECOND, "second"),
        (1_000, "millisecond"),
        (1, "microsecond"),
    ];
    let (length, unit) = units
        .into_iter()
        .find(|(length, _)| micros % length == 0)
        .unwrap_or((1, "microsecond"));
    let count = micros / length;
    let plural = if count == 1 { "" } else { "s" };
    format!("rolling {count} {unit}{plural}")
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
        window_from(period, name, None, at)
    }

    fn window_from(period: Period, name: &str, from: Option<&str>, at: &str) -> (i64, i64) {
        let from = from.map(|time| time.parse().unwrap());
        let (start, end) = period.window(&zone(name), from, micros(at)).unwrap();
        (start.unwrap(), end.unwrap())
    }

    #[test]
    fn a_day_is_23_or_25_hours_when_the_clock_changes() {
        let hours = |at| {
            let (start, end) = window(Period::Day, "Europe/Berlin", at);
            (end - start) / HOUR
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
        let (start, end) = window(Period::Month(1), "Asia/Tokyo", "2026-01-31T15:00:00Z");
        assert_eq!(start, micros("2026-01-31T15:00:00Z"));
        assert_eq!(end, micros("2026-02-28T15:00:00Z"));
    }

    #[test]
    fn weeks_and_months_begin_on_their_anchor() {
        // 2026-11-24 is a Tuesday.
        let at = "2026-11-24T10:00:00Z";
        assert_eq!(
            window(Period::Week(1), "UTC", at),
            (
                micros("2026-11-23T00:00:00Z"),
                micros("2026-11-30T00:00:00Z")
            )
        );
        assert_eq!(
            window(Period::Week(7), "UTC", at).0,
            micros("2026-11-22T00:00:00Z")
        );
        assert_eq!(
            window(Period::Week(3), "UTC", at).0,
            micros("2026-11-18T00:00:00Z")
        );
        assert_eq!(
            window(Period::Month(25), "UTC", at),
            (
                micros("2026-10-25T00:00:00Z"),
                micros("2026-11-25T00:00:00Z")
            )
        );
        assert_eq!(
            window(Period::Quarter, "UTC", at),
            (
                micros("2026-10-01T00:00:00Z"),
                micros("2027-01-01T00:00:00Z")
            )
        );
        assert_eq!(
            window(Period::Year, "UTC", at),
            (
                micros("2026-01-01T00:00:00Z"),
                micros("2027-01-01T00:00:00Z")
            )
        );
    }

    #[test]
    fn an_hour_is_one_on_the_wall() {
        assert_eq!(
            window(Period::Hour, "Asia/Kolkata", "2026-11-24T10:05:00Z"),
            (
                micros("2026-11-24T09:30:00Z"),
                micros("2026-11-24T10:30:00Z")
            )
        );
        // The hour that is repeated is two windows.
        let (first, _) = window(Period::Hour, "Europe/Berlin", "2026-10-25T00:30:00Z");
        let (second, _) = window(Period::Hour, "Europe/Berlin", "2026-10-25T01:30:00Z");
        assert_eq!(second - first, HOUR);
    }

    #[test]
    fn rolling_periods_of_one_length_have_one_name() {
        let name = |text: &str| Period::parse(text, None).map(|(_, name)| name);
        assert_eq!(name("rolling 5 hours").unwrap(), "rolling 5 hours");
        assert_eq!(name("rolling 300 minutes").unwrap(), "rolling 5 hours");
        assert_eq!(name("rolling 1 week").unwrap(), "rolling 7 days");
        assert_eq!(name("rolling 90s").unwrap(), "rolling 90 seconds");
        assert_eq!(name("rolling 1 month"), Err(NotAPeriod::NotALength));
        assert_eq!(name("rolling a while"), Err(NotAPeriod::NotALength));
        assert_eq!(name("rolling 10 ms"), Err(NotAPeriod::OutOfRange));
        assert_eq!(name("rolling -5 hours"), Err(NotAPeriod::OutOfRange));
        assert_eq!(name("fortnight"), Err(NotAPeriod::Unknown));
        assert_eq!(Period::parse("day", Some(2)), Err(NotAPeriod::Anchor));
        assert_eq!(Period::parse("week", Some(8)), Err(NotAPeriod::Anchor));
        assert_eq!(Period::parse("month", Some(32)), Err(NotAPeriod::Anchor));
    }

    #[test]
    fn a_shorter_month_begins_on_its_last_day() {
        let days = |day, at: &str| {
            let (start, end) = window(Period::Month(day), "UTC", at);
            [start, end]
                .map(|at| Timestamp::from_microsecond(at).unwrap().to_string()[..10].to_owned())
        };
        // From the last of February, the month before begins on the 31st again.
        assert_eq!(
            days(31, "2027-02-27T12:00:00Z"),
            ["2027-01-31", "2027-02-28"]
        );
        assert_eq!(
            days(31, "2027-02-28T12:00:00Z"),
            ["2027-02-28", "2027-03-31"]
        );
        assert_eq!(
            days(31, "2027-03-30T12:00:00Z"),
            ["2027-02-28", "2027-03-31"]
        );
        assert_eq!(
            days(31, "2027-04-30T00:00:00Z"),
            ["2027-04-30", "2027-05-31"]
        );
        assert_eq!(
            days(30, "2028-02-29T12:00:00Z"),
            ["2028-02-29", "2028-03-30"]
        );
        assert_eq!(
            days(29, "2028-02-29T12:00:00Z"),
            ["2028-02-29", "2028-03-29"]
        );
        assert_eq!(
            days(29, "2027-02-28T12:00:00Z"),
            ["2027-02-28", "2027-03-29"]
        );
        assert_eq!(
            days(29, "2027-01-01T12:00:00Z"),
            ["2026-12-29", "2027-01-29"]
        );
    }

    #[test]
    fn windows_begin_at_their_time_of_day() {
        let of = |period, name, from, at| {
            let (start, end) = window_from(period, name, Some(from), at);
            [start, end].map(|at| Timestamp::from_microsecond(at).unwrap().to_string())
        };
        let day = |name, from, at| of(Period::Day, name, from, at);
        assert_eq!(
            day("UTC", "09:30", "2026-11-24T09:29:59Z"),
            ["2026-11-23T09:30:00Z", "2026-11-24T09:30:00Z"]
        );
        assert_eq!(
            of(
                Period::Month(31),
                "Asia/Tokyo",
                "09:00",
                "2027-02-28T00:00:00Z"
            ),
            ["2027-02-28T00:00:00Z", "2027-03-31T00:00:00Z"]
        );
        // In Berlin, 02:30 is skipped on 2026-03-29 and repeated on 2026-10-25.
        assert_eq!(
            day("Europe/Berlin", "02:30", "2026-03-29T12:00:00Z"),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
        assert_eq!(
            day("Europe/Berlin", "02:30", "2026-10-25T01:10:00Z"),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
        // Apia skipped the whole of 2011-12-30.
        assert_eq!(
            day("Pacific/Apia", "10:00", "2011-12-30T12:00:00Z"),
            ["2011-12-30T10:00:00Z", "2011-12-30T20:00:00Z"]
        );
        // In Goose Bay, the clock went from 00:01 back to 23:01 on 2010-11-07.
        assert_eq!(
            day("America/Goose_Bay", "00:00", "2010-11-07T03:30:00Z"),
            ["2010-11-07T03:00:00Z", "2010-11-08T04:00:00Z"]
        );
    }

    proptest! {
        /// Each window contains its moment. Windows follow each other without gap or overlap.
        #[test]
        fn windows_follow_each_other_without_gap_or_overlap(
            at in 0_i64..4_102_444_800_000_000,
            name in prop::sample::select(vec![
                "UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Asia/Kolkata",
                "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "America/Goose_Bay",
                "Asia/Tehran", "Antarctica/Troll",
            ]),
            period in prop::sample::select(vec![
                Period::Minute, Period::Hour, Period::Day, Period::Week(1), Period::Week(6),
                Period::Month(1), Period::Month(28), Period::Month(29), Period::Month(30),
                Period::Month(31), Period::Quarter, Period::Year,
            ]),
            from in prop::option::of(0_i64..24 * HOUR),
            near in prop::option::of(-3 * HOUR..3 * HOUR),
        ) {
            let zone = zone(name);
            // Often within hours of a clock change or of the end of a February.
            let at = match near {
                None => at,
                Some(near) => zone
                    .following(Timestamp::from_microsecond(at).unwrap())
                    .next()
                    .map_or_else(
                        || micros("2028-02-29T23:00:00Z"),
                        |change| change.timestamp().as_microsecond(),
                    ) + near,
            };
            let from = from.map(|from| Time::midnight() + SignedDuration::from_micros(from / MINUTE * MINUTE));
            let (start, end) = period.window(&zone, from, at).unwrap();
            let (start, end) = (start.unwrap(), end.unwrap());
            prop_assert!(start <= at && at < end);
            prop_assert_eq!(period.window(&zone, from, start).unwrap(), (Some(start), Some(end)));
            prop_assert_eq!(period.window(&zone, from, end - 1).unwrap(), (Some(start), Some(end)));
            prop_assert_eq!(period.window(&zone, from, end).unwrap().0, Some(end));
        }
    }
}
