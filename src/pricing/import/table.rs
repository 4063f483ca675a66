//! Tables inside an entry of LiteLLM's file: ranges of input tokens, and hours. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::pg::jsonb::Json;
use crate::pricing::import::number::Read;

/// A range of input tokens and its fields.
pub struct Range<'a> {
    /// The range begins above that many input tokens; `None` for the first range.
    pub above: Option<i64>,
    /// The fields of the range.
    pub fields: Vec<(&'a str, &'a Json)>,
}

fn whole(value: &Json) -> Option<i64> {
    let Json::Number(number) = value else {
        return None;
    };
    let number = number.to_decimal().filter(|number| number.is_integer())?;
    i64::try_from(number).ok().filter(|number| *number >= 0)
}

/// True for a list of ranges of other things than input tokens, such as search results.
pub fn of_other_things(value: &Json) -> bool {
    let Json::Array(items) = value else {
        return false;
    };
    !items.is_empty()
        && items.iter().all(|item| {
            let keys = Json::as_object(item).unwrap_or_default();
            keys.iter().any(|(key, _)| key.ends_with("_range"))
                && keys.iter().all(|(key, _)| key != "range")
        })
}

/// The ranges of a list; `None` if one is malformed. Each ends at the beginning of the next one.
/// The last has no end: a longer request is billed like the longest one.
pub fn ranges(value: &Json) -> Option<Vec<Range<'_>>> {
    let Json::Array(items) = value else {
        return None;
    };
    let range = |item| {
        let entries = Json::as_object(item)?;
        let bounds = entries.iter().find(|(key, _)| key == "range")?;
        let Json::Array(bounds) = &bounds.1 else {
            return None;
        };
        let [first, last] = bounds.as_slice() else {
            return None;
        };
        let (first, last) = (whole(first)?, whole(last)?);
        (first < last).then(|| Range {
            above: (first > 0).then_some(first),
            fields: entries
                .iter()
                .map(|(key, value)| (key.as_str(), value))
                .collect(),
        })
    };
    items.iter().map(range).collect()
}

/// Meter, the number of units to store the price for, and the price of one unit.
type Price = (&'static str, u32, Read);

fn of<'a>(prices: &'a [Price], meter: &str) -> Option<&'a Price> {
    prices.iter().find(|(known, ..)| *known == meter)
}

/// Meters whose flat prices are replaced by ranges, because a request never mixes the two. Only the
/// flat price of output may remain, if no range has one.
pub fn replaced_by_ranges(ranges: &[(Option<i64>, Vec<Price>)]) -> Vec<&'static str> {
    let any = |meter| ranges.iter().any(|(_, prices)| of(prices, meter).is_some());
    let mut meters = Vec::new();
    if any("input_tokens") {
        meters.extend([
            "input_tokens",
            "cache_read_tokens",
            "cache_write_tokens",
            "cache_write_1h_tokens",
        ]);
    }
    if any("output_tokens") {
        meters.extend(["output_tokens", "reasoning_tokens"]);
    }
    meters
}

/// Meter, threshold, unit and price of every range. If a range leaves out a price that another
/// range has, the price of its input applies; for reasoning, that of its output.
pub fn filled(ranges: &[(Option<i64>, Vec<Price>)]) -> Vec<(&'static str, Option<i64>, u32, Read)> {
    let mut meters: Vec<&'static str> = Vec::new();
    for (meter, ..) in ranges.iter().flat_map(|(_, prices)| prices) {
        if !meters.contains(meter) {
            meters.push(meter);
        }
    }
    let mut rows = Vec::new();
    for (above, prices) in ranges {
        for meter in &meters {
            let stand_in = match *meter {
                "reasoning_tokens" => "output_tokens",
                "cache_write_1h_tokens" if of(prices, "cache_write_tokens").is_some() => {
                    "cache_write_tokens"
                }
                _ => "input_tokens",
            };
            if let Some((_, per, read)) = of(prices, meter).or_else(|| of(prices, stand_in)) {
                rows.push((*meter, *above, *per, read.clone()));
            }
        }
    }
    rows
}

/// The conditions of an `off_peak_pricing` block, one object for each rule. Its hours are in UTC,
/// its weekdays may be in another time zone. Both are converted to that zone, if its offset never
/// changes.
pub fn windows(
    entries: &[(String, Json)],
    zone: impl Fn(&str) -> Option<TimeZone>,
) -> Option<Vec<Map<String, Value>>> {
    let member = |entries: &[(String, Json)], key: &str| {
        entries
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.clone())
    };
    let (name, shift) = match member(entries, "weekday_timezone") {
        None | Some(Json::Null) => ("UTC".to_owned(), 0),
        Some(Json::String(name)) => {
            let shift = fixed_offset(&zone(&name)?)?;
            (name, shift)
        }
        Some(_) => return None,
    };
    let mut found = Vec::new();
    if let Some(hours) = member(entries, "hours_utc") {
        found.push(window(&hours, None, "UTC", 0)?);
    }
    match member(entries, "windows") {
        Some(Json::Array(rules)) => {
            for rule in &rules {
                let rule = rule.as_object()?;
                let days = match member(rule, "weekdays") {
                    None | Some(Json::Null) => None,
                    Some(Json::Array(days)) => {
                        Some(days.iter().map(whole).collect::<Option<Vec<_>>>()?)
                    }
                    Some(_) => return None,
                };
                found.push(window(&member(rule, "hours_utc")?, days, &name, shift)?);
            }
        }
        None => {}
        Some(_) => return None,
    }
    (!found.is_empty()).then_some(found)
}

/// The minutes by which a zone is ahead of UTC, if they are the same all year.
fn fixed_offset(zone: &TimeZone) -> Option<i32> {
    // Two moments half a year apart, near the present. A zone with a fixed offset has the same
    // offset at both.
    let at = |seconds| {
        Some(
            zone.to_offset(Timestamp::from_second(seconds).ok()?)
                .seconds(),
        )
    };
    let (winter, summer) = (at(1_767_225_600)?, at(1_782_864_000)?);
    (winter == summer).then_some(winter / 60)
}

fn window(
    hours: &Json,
    days: Option<Vec<i64>>,
    zone: &str,
    shift: i32,
) -> Option<Map<String, Value>> {
    let minute = |text: &str| {
        let (hours, minutes) = text.trim().split_once(':')?;
        let minute = hours.parse::<i32>().ok()? * 60 + minutes.parse::<i32>().ok()?;
        Some((minute + shift).rem_euclid(24 * 60))
    };
    let shifted = |value: &Json| match value {
        Json::String(text) => {
            let (from, to) = text.split_once('-')?;
            let (from, to) = (minute(from)?, minute(to)?);
            let clock = |minute: i32| format!("{:02}:{:02}", minute / 60, minute % 60);
            Some(Value::from(format!("{}-{}", clock(from), clock(to))))
        }
        _ => None,
    };
    let hours = match hours {
        Json::Array(windows) => windows.iter().map(shifted).collect::<Option<Vec<_>>>()?,
        value => vec![shifted(value)?],
    };
    let mut conditions = Map::new();
    conditions.insert("hours".to_owned(), Value::from(hours));
    if let Some(days) = days {
        conditions.insert("weekdays".to_owned(), json!(days));
    }
    conditions.insert("time_zone".to_owned(), Value::from(zone));
    Some(conditions)
}
