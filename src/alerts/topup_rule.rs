//! Reads a top-up rule from its JSON argument.

use crate::alerts::topup_rules::Rule;
use crate::args;
use crate::error::{Error, Result, quoted};
use crate::money::Amount;
use crate::pg::jsonb::{Json, Jsonb};
use crate::pg::numeric::Number;
use jiff::{Span, SpanRelativeTo};

const KEYS: &[&str] = &[
    "event",
    "threshold",
    "action",
    "amount",
    "target_balance",
    "method",
    "cooldown",
    "back_off",
    "max_count",
    "max_amount",
    "period",
    "max_declines",
    "interval",
];

const PERIODS: &[&str] = &[
    "hour", "day", "week", "month", "quarter", "year", "lifetime",
];

/// The names of intervals, each with the interval of PostgreSQL.
const INTERVALS: &[(&str, &str)] = &[
    ("daily", "1 day"),
    ("weekly", "7 days"),
    ("monthly", "1 month"),
    ("quarterly", "3 months"),
    ("yearly", "1 year"),
];

/// The JSON object of a rule.
struct Object<'a>(&'a [(String, Json)]);

impl<'a> Object<'a> {
    fn get(&self, key: &str) -> Option<&'a Json> {
        let found = self.0.iter().find(|(name, _)| name == key);
        found
            .map(|(_, value)| value)
            .filter(|value| **value != Json::Null)
    }

    fn amount(&self, key: &str) -> Result<Option<Amount>> {
        let amount = match self.get(key) {
            None => return Ok(None),
            Some(Json::Number(number)) => args::amount(key, Some(number))?,
            Some(_) => return Err(wrong(key, "a number")),
        };
        Ok(Some(amount))
    }

    fn positive(&self, key: &str) -> Result<Option<Amount>> {
        match self.get(key) {
            Some(Json::Number(number)) => args::positive_amount(key, Some(number)).map(Some),
            _ => self.amount(key),
        }
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::String(text)) => args::name(key, Some(text)),
            Some(_) => Err(wrong(key, "a string")),
        }
    }

    fn count(&self, key: &str) -> Result<Option<i64>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let count = match value {
            Json::Number(number) => whole(number),
            _ => None,
        };
        match count {
            Some(count) => Ok(Some(count)),
            None => Err(wrong(key, "a whole number from 1 to a million")),
        }
    }

    /// A duration in microseconds, from a number of seconds or from words such as `10 minutes`.
    fn duration(&self, key: &str) -> Result<Option<i64>> {
        let micros = match self.get(key) {
            None => return Ok(None),
            Some(Json::Number(number)) => number.to_amount().ok().map(|n| n.units() / 1_000_000),
            Some(Json::String(text)) => text.parse::<Span>().ok().and_then(|span| {
                let days = SpanRelativeTo::days_are_24_hours();
                span.to_duration(days).ok().map(|d| d.as_micros())
            }),
            Some(_) => None,
        };
        let most = 366 * 24 * 3600 * 1_000_000_i128;
        match micros.filter(|micros| (0..=most).contains(micros)) {
            Some(micros) => Ok(Some(micros as i64)),
            None => Err(wrong(key, "a span of time, at most a year")),
        }
    }

    /// Checks a key that has one permitted value.
    fn only(&self, key: &str, word: &str) -> Result<()> {
        match self.text(key)? {
            None => Ok(()),
            Some(text) if text == word => Ok(()),
            Some(text) => Err(Error::argument(format!(
                "unrecognized {key} {} of a top-up rule",
                quoted(text)
            ))
            .detail(format!("A top-up rule has the {key} {word}."))
            .hint(format!("Leave {key} out, or give {word}."))),
        }
    }
}

fn whole(number: &Number) -> Option<i64> {
    let decimal = number.to_decimal()?;
    let count = i64::try_from(decimal).ok()?;
    (decimal.is_integer() && (1..=1_000_000).contains(&count)).then_some(count)
}

fn wrong(key: &str, what: &str) -> Error {
    Error::argument(format!("{key} of a top-up rule is not {what}"))
        .detail(format!("The key {key} takes {what}."))
        .hint("See the reference for the keys of a rule.")
}

fn one_of(key: &str, value: &str, known: &[&str]) -> Error {
    Error::argument(format!(
        "unrecognized {key} {} of a top-up rule",
        quoted(value)
    ))
    .detail(format!("It is not a valid {key} of a top-up rule."))
    .hint(format!("Valid values are: {}.", known.join(", ")))
}

/// An unknown key is refused first. A misspelled `max_amount` would otherwise leave the rule
/// without that bound. Values are compared with each other only after each was checked alone.
pub fn read(given: Jsonb, json: &Json) -> Result<Rule<'_>> {
    let Some(entries) = json.as_object() else {
        return Err(Error::argument("rule is not a JSON object")
            .detail("A top-up rule is an object with threshold, amount and method.")
            .hint("Pass NULL to drop the rule."));
    };
    if let Some((key, _)) = entries
        .iter()
        .find(|(key, _)| !KEYS.contains(&key.as_str()))
    {
        return Err(one_of("key", key, KEYS));
    }
    let rule = Object(entries);
    rule.only("event", "wallet_balance_low")?;
    rule.only("action", "auto_top_up")?;
    let period = rule.text("period")?.unwrap_or("month");
    if !PERIODS.contains(&period) {
        return Err(one_of("period", period, PERIODS));
    }
    let step = match rule.text("interval")? {
        None => None,
        Some(word) => match INTERVALS.iter().find(|(known, _)| *known == word) {
            Some((_, step)) => Some(*step),
            None => {
                let known: Vec<&str> = INTERVALS.iter().map(|(known, _)| *known).collect();
                return Err(one_of("interval", word, &known));
            }
        },
    };
    let rule = Rule {
        given,
        threshold: rule.amount("threshold")?,
        amount: rule.positive("amount")?,
        target: rule.positive("target_balance")?,
        method: rule.text("method")?.unwrap_or("card"),
        cooldown: rule.duration("cooldown")?.unwrap_or(0),
        back_off: rule.duration("back_off")?.unwrap_or(60_000_000),
        max_count: rule.count("max_count")?,
        max_amount: rule.positive("max_amount")?,
        period,
        max_declines: rule.count("max_declines")?.unwrap_or(3),
        step,
    };
    let missing = |what: &str, hint: &str| {
        Error::argument(format!("top-up rule has no {what}"))
            .detail("A rule says when to ask for money and for how much.")
            .hint(hint.to_owned())
    };
    if rule.threshold.is_none() && rule.step.is_none() {
        return Err(missing("threshold", "Give a threshold, or an interval."));
    }
    if rule.amount.is_none() && rule.target.is_none() {
        return Err(missing("amount", "Give an amount, or a target_balance."));
    }
    if let (Some(threshold), Some(target)) = (rule.threshold, rule.target)
        && target < threshold
    {
        return Err(Error::argument("target_balance is below the threshold")
            .detail(format!(
                "The target is {target}, the threshold {threshold}."
            ))
            .hint("After a top-up the wallet would still be low: raise target_balance."));
    }
    Ok(rule)
}
