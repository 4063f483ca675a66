//! Days, months and durations in a wallet's zone. Moments are seconds since 1970.

use jiff::tz::{Disambiguation, TimeZone};
use jiff::{Span, Timestamp, ToSpan, Zoned};

/// A moment.
pub type At = i64;

/// Time zones of wallets. Their clocks change on different days, by an hour or half an hour, one of
/// them at midnight. Any three in a row include clocks that go back while others go forward.
pub const ZONES: [&str; 6] = [
    "Europe/Berlin",
    "America/Santiago",
    "UTC",
    "America/New_York",
    "Australia/Sydney",
    "Australia/Lord_Howe",
];

fn zoned(at: At, zone: &str) -> Zoned {
    let zone = TimeZone::get(zone).expect("a time zone");
    Timestamp::from_second(at).expect("a moment").to_zoned(zone)
}

/// The moment of a text such as 2026-03-29T00:00:00Z.
pub fn moment(text: &str) -> At {
    text.parse::<Timestamp>().expect("a moment").as_second()
}

/// A moment in UTC, for people and for SQL.
pub fn text(at: At) -> String {
    let at = Timestamp::from_second(at)
        .expect("a moment")
        .to_zoned(TimeZone::UTC);
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// The day, as text that sorts by time.
pub fn day(at: At, zone: &str) -> String {
    zoned(at, zone).date().to_string()
}

/// The hour in local time, and its offset from UTC: an hour that occurs twice counts as two.
pub fn hour(at: At, zone: &str) -> (String, i32) {
    let at = zoned(at, zone);
    (
        at.strftime("%Y-%m-%d %H:00").to_string(),
        at.offset().seconds(),
    )
}

/// The month of a moment as its first day, and the moments at which it begins and ends.
pub fn month(at: At, zone: &str) -> (String, At, At) {
    let first = zoned(at, zone).date().first_of_month();
    let next = first.checked_add(1.month()).expect("a month");
    let begins = |date: jiff::civil::Date| {
        let zone = TimeZone::get(zone).expect("a time zone");
        let midnight = date.at(0, 0, 0, 0);
        zone.to_ambiguous_zoned(midnight)
            .disambiguate(Disambiguation::Later)
            .expect("a day")
            .timestamp()
            .as_second()
    };
    (first.to_string(), begins(first), begins(next))
}

/// The beginning of the day that is this many days after that of a moment. PostgreSQL reads a
/// midnight that does not exist with the offset before the change, and one that occurs twice with
/// the offset after it.
pub fn day_begins(at: At, days: i64, zone: &str) -> At {
    let date = zoned(at, zone).date();
    let midnight = date.checked_add(days.days()).expect("a day").at(0, 0, 0, 0);
    let zone = TimeZone::get(zone).expect("a time zone");
    let found = zone
        .to_ambiguous_zoned(midnight)
        .disambiguate(Disambiguation::Later);
    found.expect("a day").timestamp().as_second()
}

/// The window of a limit that contains a moment.
pub fn window(at: At, period: &str, zone: &str) -> (Option<At>, Option<At>) {
    let here = zoned(at, zone);
    let (first, span): (_, Span) = match period {
        "lifetime" => return (None, None),
        "day" => (here.date(), 1.day()),
        "month" => (here.date().first_of_month(), 1.month()),
        "week" => {
            let back = i64::from(here.date().weekday().to_monday_zero_offset());
            (
                here.date().checked_sub(back.days()).expect("a day"),
                7.days(),
            )
        }
        other => panic!("no period {other}"),
    };
    let begins = |date: jiff::civil::Date| {
        let zone = TimeZone::get(zone).expect("a time zone");
        date.to_zoned(zone)
            .and_then(|day| day.start_of_day())
            .expect("a day")
            .timestamp()
            .as_second()
    };
    (
        Some(begins(first)),
        Some(begins(first.checked_add(span).expect("a day"))),
    )
}

/// The moment that is a calendar duration, repeated this many times, later in local time.
/// PostgreSQL reads a local time that does not exist with the offset before the change, and one
/// that occurs twice with the offset after it.
pub fn later(at: At, length: &Length, times: i64, zone: &str) -> At {
    let local = zoned(at, zone).datetime();
    let span = match *length {
        Length::Months(months) => (months * times).months(),
        Length::Days(days) => (days * times).days(),
        // Hours of local time.
        Length::Hours(hours) => (hours * times).hours(),
    };
    let local = local.checked_add(span).expect("a moment");
    let zone = TimeZone::get(zone).expect("a time zone");
    let found = zone
        .to_ambiguous_zoned(local)
        .disambiguate(Disambiguation::Later);
    found.expect("a moment").timestamp().as_second()
}

/// The end of a grant that begins at a moment: days and months of the calendar, hours of elapsed
/// time.
pub fn lives_until(at: At, length: &Length, zone: &str) -> At {
    match *length {
        Length::Hours(hours) => at + hours * 3600,
        _ => later(at, length, 1, zone),
    }
}

/// A duration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    Months(i64),
    Days(i64),
    Hours(i64),
}

impl std::fmt::Display for Length {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Length::Months(n) => write!(f, "{n} months"),
            Length::Days(n) => write!(f, "{n} days"),
            Length::Hours(n) => write!(f, "{n} hours"),
        }
    }
}
