//! Checks arguments of SQL functions: presence, range and format.

use pgrx::datum::{Date, Interval, Time, TimestampWithTimeZone};
use pgrx::{AnyNumeric, Uuid};

use crate::currency::Currency;
use crate::error::{Code, Error, Result, quoted};
use crate::money::{Amount, significant_digits};
use crate::pg::cards;
use crate::pg::clock::{DAY, Timestamp};
use crate::pg::document::Document;
use crate::pg::jsonb::{Json, Jsonb};
use crate::pg::numeric::Number;
use crate::storage::event_at;

/// Maximum length of a name (wallet, user, model, key, …) in characters. An index entry is limited
/// to less than 2,700 bytes.
pub const MAX_NAME: usize = 255;
/// Maximum length of a free text, in characters.
pub const MAX_TEXT: usize = 2_000;
/// Maximum size of `metadata` and `tags`, in bytes of `jsonb`.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 16;

/// An optional name.
pub fn name<'a>(argument: &str, value: Option<&'a str>) -> Result<Option<&'a str>> {
    bounded(argument, value, MAX_NAME)
}

/// The error 22023 for an argument that is required. The caller adds the HINT.
pub fn missing(argument: &str) -> Error {
    Error::argument(format!("{argument} must not be null"))
        .detail(format!("The argument {argument} is NULL or was not given."))
        .about(argument)
}

/// A required name.
pub fn required<'a>(argument: &str, value: Option<&'a str>) -> Result<&'a str> {
    name(argument, value)?.ok_or_else(|| missing(argument).hint(give(argument, "")))
}

/// The microseconds from midnight to a time of day. 24:00 was read as midnight.
pub fn micros_of(time: Time) -> i64 {
    i64::from(time)
}

/// The microseconds from midnight to a time of day such as `06:00`.
pub fn micros_of_text(text: &str) -> Option<i64> {
    let time: jiff::civil::Time = text.parse().ok()?;
    let micros = time
        .duration_since(jiff::civil::Time::midnight())
        .as_micros();
    i64::try_from(micros).ok()
}

/// A required id. `hint` says where to find one.
pub fn id(argument: &str, value: Option<Uuid>, hint: &str) -> Result<[u8; 16]> {
    value
        .map(|id| *id.as_bytes())
        .ok_or_else(|| missing(argument).hint(hint))
}

/// The error 22023 for a value that is not one of the valid ones.
pub fn unrecognized(argument: &str, value: &str, valid: &[&str]) -> Error {
    Error::argument(format!("unrecognized {argument} {}", quoted(value)))
        .detail(format!("It is not a valid value of {argument}."))
        .hint(format!("Valid values are: {}.", valid.join(", ")))
        .about(argument)
}

/// The HINT to give an argument. `which` describes the argument and begins with a blank.
pub fn give(argument: &str, which: &str) -> String {
    let article = match argument.starts_with(['a', 'e', 'i', 'o']) {
        true => "an",
        false => "a",
    };
    format!("Give {article} {argument}{which}.")
}

/// The name of a new object. People must be able to read and write it, so blanks at its ends and
/// invisible characters are refused.
pub fn new_name<'a>(argument: &str, value: Option<&'a str>) -> Result<&'a str> {
    let name = required(argument, value)?;
    require_readable(argument, name).map_err(|error| error.about(argument))?;
    Ok(name)
}

fn require_readable(argument: &str, name: &str) -> Result<()> {
    let trimmed = name.trim();
    if trimmed.is_empty() {
        return Err(Error::argument(format!("{argument} is blank"))
            .detail("It has blanks only.")
            .hint("Use a name that can be read."));
    }
    if let Some((place, character)) = name
        .chars()
        .enumerate()
        .find(|(_, character)| is_invisible(*character))
    {
        return Err(
            Error::argument(format!("{argument} has a character that cannot be seen"))
                .detail(format!(
                    "Character {} is U+{:04X}.",
                    place + 1,
                    u32::from(character)
                ))
                .hint("Leave out control characters and characters without a width."),
        );
    }
    if trimmed.len() != name.len() {
        return Err(
            Error::argument(format!("{argument} begins or ends with a blank"))
                .detail(format!("It is {}.", crate::error::quoted(name)))
                .hint("Leave out blanks before and after the name."),
        );
    }
    Ok(())
}

/// True for control characters, and for those that Unicode calls default ignorable: joiners,
/// direction marks, soft hyphens, fillers, variation selectors and tags. Also true for line and
/// paragraph separators.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// An optional currency.
pub fn optional_currency(argument: &str, value: Option<&str>) -> Result<Option<Currency>> {
    value.map(|name| currency(argument, Some(name))).transpose()
}

/// A currency of ISO 4217, or a unit of the application's own.
pub fn currency(argument: &str, value: Option<&str>) -> Result<Currency> {
    Currency::of_argument(argument, required(argument, value)?)
        .map_err(|error| error.about(argument))
}

/// An optional free text.
pub fn text<'a>(argument: &str, value: Option<&'a str>) -> Result<Option<&'a str>> {
    bounded(argument, value, MAX_TEXT)
}

fn bounded<'a>(argument: &str, value: Option<&'a str>, max: usize) -> Result<Option<&'a str>> {
    within(argument, value, max).map_err(|error| error.about(argument))
}

fn within<'a>(argument: &str, value: Option<&'a str>, max: usize) -> Result<Option<&'a str>> {
    match value {
        Some("") => Err(Error::argument(format!("{argument} is empty"))
            .detail(format!("The argument {argument} has no character."))
            .hint(give(argument, ", or leave it out where that is allowed"))),
        Some(text) if text.len() > max && text.chars().count() > max => {
            Err(Error::argument(format!("{argument} is too long"))
                .detail(format!(
                    "It has {} characters; at most {max} are allowed.",
                    text.chars().count()
                ))
                .hint("Use a shorter value; keep long text in a table of your own."))
        }
        Some(text) => {
            cards::refuse_in_text(argument, argument, text)?;
            Ok(value)
        }
        None => Ok(None),
    }
}

/// One of a few words. The error for an unknown word lists the valid ones.
pub fn word<T: Copy>(
    argument: &str,
    value: Option<&str>,
    all: &[T],
    name: impl Fn(T) -> &'static str,
    planned: &[&str],
) -> Result<T> {
    let value = required(argument, value)?;
    if planned.iter().any(|planned| value.starts_with(planned)) {
        let known: Vec<&str> = all.iter().map(|one| name(*one)).collect();
        return Err(Error::new(
            Code::FeatureNotSupported,
            format!(
                "{argument} {} is not supported",
                crate::error::quoted(value)
            ),
        )
        .detail(format!(
            "This version does not know it as a value of {argument}."
        ))
        .hint(format!("Valid values are: {}.", known.join(", ")))
        .about(argument));
    }
    all.iter()
        .copied()
        .find(|one| name(*one) == value)
        .ok_or_else(|| {
            let valid: Vec<&str> = all.iter().map(|one| name(*one)).collect();
            unrecognized(argument, value, &valid)
        })
}

/// The beginnings of the years 1 and 10000, in microseconds since 2000.
const YEAR_1: i64 = -63_082_281_600_000_000;
const YEAR_10000: i64 = 252_455_616_000_000_000;

/// An optional point in time.
pub fn time(argument: &str, value: Option<TimestampWithTimeZone>) -> Result<Option<Timestamp>> {
    finite(argument, value.map(Timestamp::from))
}

fn finite(argument: &str, value: Option<Timestamp>) -> Result<Option<Timestamp>> {
    match value {
        Some(time) if !time.is_finite() => Err(Error::argument(format!("{argument} is infinite"))
            .detail(format!("The argument {argument} must be a point in time."))
            .hint("Leave it out for the present time.")),
        time => Ok(time),
    }
}

/// A point in time that is stored: within the range of years that every program can read.
pub fn kept_time(
    argument: &str,
    value: Option<TimestampWithTimeZone>,
) -> Result<Option<Timestamp>> {
    kept(argument, value.map(Timestamp::from))
}

/// Like `kept_time`, of a time that was read from JSON.
pub fn kept(argument: &str, value: Option<Timestamp>) -> Result<Option<Timestamp>> {
    match finite(argument, value)? {
        Some(at) if !(YEAR_1..YEAR_10000).contains(&at.0) => {
            Err(Error::argument(format!("{argument} is out of range"))
                .detail(format!(
                    "It is {}; it must lie in the years 1 to 9999.",
                    at.to_json()
                ))
                .hint("Check the time: were milliseconds passed for seconds?")
                .about(argument))
        }
        time => Ok(time),
    }
}

/// An optional day that is stored: within the range of years that every program can read.
pub fn day(argument: &str, value: Option<Date>) -> Result<Option<Date>> {
    let days = YEAR_1 / DAY..YEAR_10000 / DAY;
    match value {
        Some(day) if !days.contains(&i64::from(i32::from(day))) => {
            Err(Error::argument(format!("{argument} is out of range"))
                .detail("It must be a day in the years 1 to 9999.")
                .hint("Give a day such as 2030-01-31.")
                .about(argument))
        }
        day => Ok(day),
    }
}

/// When a price or a markup begins: a required time.
pub fn effective_from(value: Option<TimestampWithTimeZone>) -> Result<Timestamp> {
    kept_time("effective_from", value)?.ok_or_else(|| {
        Error::argument("effective_from must not be null")
            .detail("The argument effective_from is NULL.")
            .hint("Leave it out for the present time.")
    })
}

/// The optional time of use, within the bounds that the administrator sets.
pub fn event_at(value: Option<Timestamp>) -> Result<Option<Timestamp>> {
    if let Some(at) = value.filter(|at| at.is_finite()) {
        event_at::check(at)?;
    }
    finite("event_at", value)
}

/// How much of its work a call does at most; `None` for all of it.
pub fn at_most(argument: &str, value: Option<i32>) -> Result<Option<i64>> {
    match value {
        Some(count) if count < 1 => Err(Error::argument(format!("{argument} is out of range"))
            .detail(format!("It is {count}; the least is 1."))
            .hint("Give how many one call may look at, or leave it out for all.")),
        count => Ok(count.map(i64::from)),
    }
}

/// A required span of time in microseconds, zero or more. A day counts 24 hours and a month 30
/// days.
pub fn duration(argument: &str, value: Option<Interval>) -> Result<i64> {
    let Some(value) = value else {
        return Err(missing(argument).hint(give(argument, " such as '1 minute'")));
    };
    let days = i64::from(value.months()) * 30 + i64::from(value.days());
    days.checked_mul(DAY)
        .and_then(|micros| micros.checked_add(value.micros()))
        .filter(|micros| (0..=3650 * DAY).contains(micros))
        .ok_or_else(|| {
            Error::argument(format!("{argument} is out of range"))
                .detail("It must be zero or more, and at most ten years.")
                .hint(give(argument, " such as '1 minute'"))
        })
}

/// A required amount that is not negative.
pub fn amount(argument: &str, value: Option<&Number>) -> Result<Amount> {
    let Some(number) = value else {
        return Err(
            Error::new(Code::InvalidAmount, format!("{argument} must not be null"))
                .detail(format!("The argument {argument} is NULL or was not given."))
                .hint(give(argument, " of zero or more"))
                .about(argument),
        );
    };
    let amount = number
        .amount(argument)
        .map_err(|error| error.about(argument))?;
    if amount.is_negative() {
        return Err(
            Error::new(Code::InvalidAmount, format!("{argument} is negative"))
                .detail(format!("It is {amount}."))
                .hint(give(argument, " of zero or more"))
                .about(argument),
        );
    }
    Ok(amount)
}

/// A required amount above zero.
pub fn positive_amount(argument: &str, value: Option<&Number>) -> Result<Amount> {
    let amount = amount(argument, value)?;
    if amount.is_zero() {
        return Err(
            Error::new(Code::InvalidAmount, format!("{argument} is zero"))
                .detail("Nothing would be booked.")
                .hint(give(argument, " above zero")),
        );
    }
    Ok(amount)
}

/// The elements of a `numeric[]`.
pub fn numbers(values: Option<Vec<Option<AnyNumeric>>>) -> Option<Vec<Option<Number>>> {
    let one = |value: Option<AnyNumeric>| value.and_then(Number::of_any);
    values.map(|values| values.into_iter().map(one).collect())
}

/// Amounts that are not negative.
pub fn amounts(argument: &str, values: &[Option<Number>]) -> Result<Vec<Amount>> {
    values
        .iter()
        .map(|value| {
            if value.is_none() {
                return Err(Error::new(
                    Code::InvalidAmount,
                    format!("{argument} has a NULL element"),
                )
                .detail("Every element must be an amount.")
                .hint("Leave the element out.")
                .about(argument));
            }
            amount(argument, value.as_ref())
        })
        .collect()
}

/// A JSON object to store, with its text.
pub fn document(argument: &str, value: Option<Jsonb>) -> Result<Option<Document>> {
    checked_document(argument, value, |_| Ok(()))
}

/// The tags of a usage: an object whose values are texts, because the subject of a limit on a tag
/// is a text.
pub fn tags(value: Option<Jsonb>) -> Result<Option<Document>> {
    checked_document("tags", value, |members| {
        let other = members
            .iter()
            .find(|(_, value)| !matches!(value, Json::String(_)));
        match other {
            None => Ok(()),
            Some((name, _)) => Err(Error::argument("tags has a value that is not a text")
                .detail(format!(
                    "It is the value of the key {}.",
                    crate::error::quoted(name)
                ))
                .hint("Pass texts, such as {\"batch\": \"7\"}, and leave out what has no value.")),
        }
    })
}

fn checked_document(
    argument: &str,
    value: Option<Jsonb>,
    check: impl FnOnce(&[(String, Json)]) -> Result<()>,
) -> Result<Option<Document>> {
    let Some(value) = value else {
        return Ok(None);
    };
    match value.read(argument, MAX_DOCUMENT_BYTES)? {
        Json::Object(members) => {
            check(&members)?;
            Ok(Some(Document::of(value)))
        }
        _ => Err(Error::argument(format!("{argument} is not a JSON object"))
            .detail(format!(
                "The argument {argument} must be an object, such as {{\"a\": 1}}."
            ))
            .hint(format!(
                "Wrap the value into an object, or leave {argument} out."
            ))
            .about(argument)),
    }
}

/// A list of names without NULLs and empty names.
pub fn names(argument: &str, list: Option<Vec<Option<String>>>) -> Result<Option<Vec<String>>> {
    let Some(list) = list else {
        return Ok(None);
    };
    list.into_iter()
        .map(|name| required(argument, name.as_deref()).map(str::to_owned))
        .collect::<Result<Vec<String>>>()
        .map(Some)
}

/// The price or quantity of an argument: exact, zero or more.
pub fn price_number(argument: &str, number: &Number, digits: u32) -> Result<rust_decimal::Decimal> {
    let bad = |message: String| Error::new(Code::InvalidAmount, message);
    let Some(value) = number.to_decimal() else {
        return Err(match number {
            Number::Finite { .. } => bad(format!("{argument} is out of range"))
                .detail("It has more than 28 digits.")
                .hint(format!("Give at most {digits} significant digits.")),
            _ => bad(format!("{argument} is not a number"))
                .detail(format!("The {argument} is NaN or infinite."))
                .hint("Give a finite number."),
        });
    };
    if value.is_sign_negative() && !value.is_zero() {
        return Err(bad(format!("{argument} is negative"))
            .detail(format!("It is {value}."))
            .hint(give(argument, " of zero or more")));
    }
    if significant_digits(value) > digits {
        return Err(bad(format!("{argument} has too many digits"))
            .detail(format!(
                "It has {} significant digits; at most {digits} are exact.",
                significant_digits(value)
            ))
            .hint("Round it yourself, so that no digit is lost silently."));
    }
    Ok(value.normalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_name_has_no_outer_spaces_or_invisible_characters() {
        for name in [
            "acme",
            "Acme GmbH & Co. KG",
            "👛 ''; --",
            "日本",
            "a\u{a0}b",
            "*",
        ] {
            assert_eq!(new_name("wallet", Some(name)), Ok(name));
        }
        for name in [
            "",
            " ",
            "\t",
            "\u{a0}",
            "\u{3000} ",
            " acme",
            "acme ",
            "acme\u{2003}",
            "acme\n",
            "ac\nme",
            "ac\u{7f}me",
            "ac\u{85}me",
            "ac\u{200b}me",
            "acme\u{200d}",
            "\u{feff}acme",
            "ac\u{ad}me",
            "a\u{202e}cme",
            "ac\u{2060}me",
            "acme\u{fe0f}",
            "\u{3164}",
            "ac\u{2028}me",
            "ac\u{e0041}me",
        ] {
            let error = new_name("wallet", Some(name)).expect_err(name);
            assert_eq!(error.code, Code::InvalidParameter, "{name:?}");
            assert!(error.detail.is_some() && error.hint.is_some(), "{name:?}");
        }
    }

    #[test]
    fn an_article_fits_its_noun() {
        assert_eq!(give("amount", " above zero"), "Give an amount above zero.");
        assert_eq!(give("user_id", ""), "Give a user_id.");
        assert_eq!(give("wallet", ""), "Give a wallet.");
        assert_eq!(give("actor", ""), "Give an actor.");
    }
}
