//! The `conditions` of a price. Pure.
//!
//! Most keys name a key of the usage object and the value that it must have. Four keys are reserved
//! and never compared with the usage. `hours`, `weekdays` and `time_zone` restrict the times at
//! which the price holds. `minimum` is the least quantity that is billed.

use jiff::Timestamp as Moment;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;

use crate::error::{Error, Result, quoted};
use crate::money::{QUANTITY_DIGITS, significant_digits};
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Json;

/// The number of minutes per day.
const DAY: u16 = 24 * 60;

/// The `conditions` of a price.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Keys that the usage must have, with equal values.
    pub keys: Vec<(String, Json)>,
    /// The times of the week at which the price holds; `None` for always.
    pub window: Option<Box<Window>>,
    /// The least quantity that is billed, if there is one.
    pub minimum: Option<Decimal>,
}

/// Times of the week in a time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first minute of the day that is inside, and the first that is outside again. The span
    /// continues past midnight if the second is not greater than the first.
    hours: Vec<(u16, u16)>,
    /// One bit per ISO weekday, Monday the lowest.
    weekdays: u8,
    zone: TimeZone,
}

const ALL_WEEKDAYS: u8 = 0b111_1111;

impl Window {
    /// True if the moment is inside. After midnight, its own weekday counts.
    pub fn contains(&self, at: Timestamp) -> bool {
        let Ok(moment) = Moment::from_microsecond(at.unix_micros()) else {
            return false;
        };
        let local = moment.to_zoned(self.zone.clone());
        let minute =
            u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let weekday = local.weekday().to_monday_zero_offset().unsigned_abs();
        self.weekdays & (1 << weekday) != 0
            && self.hours.iter().any(|&(from, to)| {
                if from < to {
                    (from..to).contains(&minute)
                } else {
                    minute >= from || minute < to
                }
            })
    }
}

impl Conditions {
    /// Reads the object. Returns 22023 with the expected form if a reserved key has another one.
    pub fn read(object: Vec<(String, Json)>) -> Result<Conditions> {
        let mut conditions = Conditions::default();
        let (mut hours, mut weekdays, mut zone) = (None, None, None);
        for (key, value) in object {
            match key.as_str() {
                "hours" => hours = Some(read_hours(&value)?),
                "weekdays" => weekdays = Some(read_weekdays(&value)?),
                "time_zone" => zone = Some(read_zone(&value)?),
                "minimum" => conditions.minimum = Some(read_minimum(&value)?),
                _ => conditions.keys.push((key, value)),
            }
        }
        if hours.is_some() || weekdays.is_some() {
            conditions.window = Some(Box::new(Window {
                hours: hours.unwrap_or_else(|| vec![(0, DAY)]),
                weekdays: weekdays.unwrap_or(ALL_WEEKDAYS),
                zone: zone.unwrap_or(TimeZone::UTC),
            }));
        } else if zone.is_some() {
            return Err(
                Error::argument("conditions name a time_zone without hours or weekdays")
                    .detail("A time zone says where hours and weekdays are read; alone it says nothing.")
                    .hint("Add hours such as \"16:30-00:30\", or leave time_zone out."),
            );
        }
        Ok(conditions)
    }
}

/// Reads `"16:30-00:30"`, or an array of such spans.
fn read_hours(value: &Json) -> Result<Vec<(u16, u16)>> {
    let wrong = || {
        Error::argument("conditions key \"hours\" is not a time of day")
            .detail("It is a window such as \"16:30-00:30\", or an array of windows; the first minute is in, the last is out, and a window may go past midnight.")
            .hint("Write hours and minutes with two digits each, such as \"09:00-17:00\".")
    };
    let window = |value: &Json| match value {
        Json::String(text) => {
            let (from, to) = text.split_once('-')?;
            Some((minute_of(from)?, minute_of(to)?)).filter(|(from, _)| *from < DAY)
        }
        _ => None,
    };
    let windows: Option<Vec<_>> = match value {
        Json::Array(windows) => windows.iter().map(window).collect(),
        value => window(value).map(|window| vec![window]),
    };
    windows
        .filter(|windows| !windows.is_empty())
        .ok_or_else(wrong)
}

/// Reads `16:30` as a minute of the day. `24:00` is the end of the day.
fn minute_of(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let number = |digits: &str| {
        (digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| digits.parse::<u16>().ok())
            .flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= DAY).then_some(minute)
}

/// Reads ISO weekdays; 1 is Monday.
fn read_weekdays(value: &Json) -> Result<u8> {
    let wrong = || {
        Error::argument("conditions key \"weekdays\" is not a list of weekdays")
            .detail("It is an array of ISO weekdays, from 1 for Monday to 7 for Sunday.")
            .hint("Write [1, 2, 3, 4, 5] for Monday to Friday.")
    };
    let Json::Array(days) = value else {
        return Err(wrong());
    };
    let mut bits = 0;
    for day in days {
        let day = match day {
            // A conversion would truncate 1.5 to 1.
            Json::Number(number) => number
                .to_decimal()
                .filter(Decimal::is_integer)
                .and_then(|day| u8::try_from(day).ok()),
            _ => None,
        };
        match day.filter(|day| (1..=7).contains(day)) {
            Some(day) => bits |= 1 << (day - 1),
            None => return Err(wrong()),
        }
    }
    if bits == 0 { Err(wrong()) } else { Ok(bits) }
}

fn read_zone(value: &Json) -> Result<TimeZone> {
    let name = match value {
        Json::String(name) => name.as_str(),
        _ => "",
    };
    TimeZone::get(name).map_err(|_| {
        Error::argument(format!("unrecognized time zone {}", quoted(name)))
            .detail("The conditions key \"time_zone\" is a name of the IANA database.")
            .hint("Use a name such as UTC, Europe/Berlin or America/New_York.")
    })
}

fn read_minimum(value: &Json) -> Result<Decimal> {
    match value {
        Json::Number(number) => number.to_decimal(),
        _ => None,
    }
    .filter(|minimum| {
        *minimum > Decimal::ZERO
            && significant_digits(*minimum) <= QUANTITY_DIGITS
            && minimum.trunc().mantissa() < 10_i128.pow(QUANTITY_DIGITS)
    })
    .map(|minimum| minimum.normalize())
    .ok_or_else(|| {
        Error::argument("conditions key \"minimum\" is not a quantity")
            .detail(format!(
                "It is the least quantity of the meter that is billed: a number above zero with at most {QUANTITY_DIGITS} digits."
            ))
            .hint("Write {\"minimum\": 10} to bill ten seconds of audio at least.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::numeric::Number;

    fn text(text: &str) -> Json {
        Json::String(text.to_owned())
    }

    fn number(value: u16) -> Json {
        Json::Number(Number::Finite {
            negative: false,
            weight: 0,
            digits: vec![value],
        })
    }

    fn days(days: &[u16]) -> Json {
        Json::Array(days.iter().map(|day| number(*day)).collect())
    }

    fn read(entries: &[(&str, Json)]) -> Result<Conditions> {
        Conditions::read(
            entries
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.clone()))
                .collect(),
        )
    }

    fn at(time: &str) -> Timestamp {
        Timestamp::from_unix_micros(time.parse::<Moment>().unwrap().as_microsecond())
    }

    #[test]
    fn the_first_minute_is_in_and_the_last_is_out() {
        let night = read(&[("hours", text("16:30-00:30"))])
            .unwrap()
            .window
            .unwrap();
        for (time, inside) in [
            ("2026-07-01T16:29:59.999999Z", false),
            ("2026-07-01T16:30:00Z", true),
            ("2026-07-01T23:59:59Z", true),
            ("2026-07-02T00:00:00Z", true),
            ("2026-07-02T00:29:59Z", true),
            ("2026-07-02T00:30:00Z", false),
            ("1969-07-02T20:30:00Z", true),
        ] {
            assert_eq!(night.contains(at(time)), inside, "{time}");
        }
        let whole = read(&[("hours", text("00:00-00:00"))])
            .unwrap()
            .window
            .unwrap();
        assert!(whole.contains(at("2026-07-01T00:00:00Z")));
        assert!(whole.contains(at("2026-07-01T23:59:00Z")));
    }

    #[test]
    fn weekday_and_hour_are_those_of_the_time_zone() {
        let office = read(&[
            ("hours", text("09:00-17:00")),
            ("weekdays", days(&[1, 2, 3, 4, 5])),
            ("time_zone", text("Europe/Berlin")),
        ])
        .unwrap()
        .window
        .unwrap();
        // Friday, the 3rd of July: summer time, two hours ahead of UTC.
        assert!(office.contains(at("2026-07-03T07:00:00Z")));
        assert!(!office.contains(at("2026-07-03T06:59:00Z")));
        assert!(!office.contains(at("2026-07-04T07:00:00Z")), "Saturday");
        // Winter: one hour ahead of UTC.
        assert!(!office.contains(at("2026-01-05T07:30:00Z")));
        assert!(office.contains(at("2026-01-05T08:00:00Z")));
        // Sunday evening in UTC is Monday morning in Tokyo.
        let monday = read(&[("weekdays", days(&[1])), ("time_zone", text("Asia/Tokyo"))])
            .unwrap()
            .window
            .unwrap();
        assert!(monday.contains(at("2026-07-05T20:00:00Z")));
        assert!(!monday.contains(at("2026-07-06T20:00:00Z")));
    }

    #[test]
    fn a_day_can_have_several_windows() {
        let both = Json::Array(vec![text("01:00-02:00"), text("22:00-24:00")]);
        let window = read(&[("hours", both)]).unwrap().window.unwrap();
        for (time, inside) in [
            ("01:30", true),
            ("02:00", false),
            ("22:00", true),
            ("23:59", true),
        ] {
            assert_eq!(
                window.contains(at(&format!("2026-07-01T{time}:00Z"))),
                inside
            );
        }
    }

    #[test]
    fn reserved_keys_are_no_keys_of_the_usage() {
        let read = read(&[
            ("hours", text("00:00-12:00")),
            ("minimum", number(10)),
            ("size", text("hd")),
        ])
        .unwrap();
        assert_eq!(read.keys, [("size".to_owned(), text("hd"))]);
        assert_eq!(read.minimum, Some(Decimal::from(10)));
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for hours in [
            "",
            "9:00-17:00",
            "09:00",
            "09:00-25:00",
            "09:60-10:00",
            "24:00-01:00",
            "a-b",
            "-1:00-02:00",
        ] {
            assert!(read(&[("hours", text(hours))]).is_err(), "{hours}");
        }
        assert!(read(&[("hours", Json::Array(vec![]))]).is_err());
        assert!(read(&[("hours", number(9))]).is_err());
        for wrong in [days(&[]), days(&[0]), days(&[8]), number(1), text("monday")] {
            assert!(read(&[("weekdays", wrong)]).is_err());
        }
        assert!(read(&[("time_zone", text("Mars/Olympus"))]).is_err());
        assert!(read(&[("time_zone", text("UTC"))]).is_err(), "alone");
        for wrong in [number(0), text("10")] {
            assert!(read(&[("minimum", wrong)]).is_err());
        }
    }
}
