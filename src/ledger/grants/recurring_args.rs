//! Checks the spans of time that calls about grants pass.

use pgrx::datum::Interval;

use crate::args;
use crate::error::{Error, Result};
use crate::pg::clock::DAY;

/// The periods of a recurring grant that a HINT lists.
const PERIODS: [&str; 8] = [
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "quarter",
    "year",
    "and a number of them such as 2 weeks",
];

/// Parses a period such as `month` or `2 weeks`. Returns it as an interval.
pub fn period(argument: &str, value: Option<&str>) -> Result<String> {
    let text = args::required(argument, value)?;
    let (count, unit) = match text.split_once(' ') {
        Some((count, unit)) => (count.parse::<u16>().unwrap_or(0), unit),
        None => (1, text),
    };
    let unit = match unit.strip_suffix('s').unwrap_or(unit) {
        "second" => Some((1, "seconds")),
        "minute" => Some((1, "minutes")),
        "hour" => Some((1, "hours")),
        "day" => Some((1, "days")),
        "week" => Some((1, "weeks")),
        "month" => Some((1, "months")),
        "quarter" => Some((3, "months")),
        "year" => Some((1, "years")),
        _ => None,
    };
    match unit {
        Some((factor, unit)) if count > 0 => Ok(format!("{} {unit}", u32::from(count) * factor)),
        _ => Err(args::unrecognized(argument, text, &PERIODS)),
    }
}

/// A hundred years, with 31 days per month, because months differ in length.
const MAX_LIFE_DAYS: i64 = 100 * 12 * 31;

/// The lifetime of a grant, as an interval; `None` for a grant without an end.
pub fn lifetime(argument: &str, value: Option<Interval>) -> Result<Option<String>> {
    let Some(interval) = value else {
        return Ok(None);
    };
    let (months, days, micros) = (interval.months(), interval.days(), interval.micros());
    if months < 0 || days < 0 || micros < 0 || (months, days, micros) == (0, 0, 0) {
        return Err(Error::argument(format!("{argument} is not above zero"))
            .detail("A grant must live for some time.")
            .hint(
                "Give an interval such as 1 month, or leave it out for grants that do not expire.",
            ));
    }
    let days_in_all = i64::from(months) * 31 + i64::from(days);
    require_life(argument, days_in_all.max(micros / DAY))?;
    Ok(Some(format!(
        "{months} months {days} days {micros} microseconds"
    )))
}

/// The lifetime of a grant in the form of a period, such as `30 days`. Returns it as an interval.
pub fn lifetime_text(argument: &str, value: Option<&str>) -> Result<String> {
    let life = period(argument, value)?;
    let (count, unit) = life.split_once(' ').unwrap_or_default();
    let days = match unit {
        "years" => 12 * 31,
        "months" => 31,
        "weeks" => 7,
        "days" => 1,
        // The longest number of hours is less than eight years.
        _ => 0,
    };
    require_life(argument, count.parse::<i64>().unwrap_or(0) * days)?;
    Ok(life)
}

fn require_life(argument: &str, days: i64) -> Result<()> {
    if days <= MAX_LIFE_DAYS {
        return Ok(());
    }
    Err(Error::argument(format!("{argument} is out of range"))
        .detail("A grant lives for a hundred years at most.")
        .hint("Give an interval such as 1 month, or leave it out for grants that do not expire."))
}
