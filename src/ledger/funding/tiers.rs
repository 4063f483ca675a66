//! Reads the tiers of a bonus from their JSON argument: `[{"from": 50, "percent": 5}, {"from": 100,
//! "percent": 10}]`.

use rust_decimal::Decimal;

use crate::error::{Error, Result, quoted};
use crate::money::{Amount, NotAnAmount};
use crate::pg::jsonb::Json;
use crate::pg::numeric::Number;

/// The most tiers of a bonus. More cannot be explained to a customer.
pub const MAX_TIERS: usize = 32;
/// The greatest bonus, in per cent.
pub const MAX_PERCENT: i64 = 1000;
/// The most decimals of a percentage. With them, the product of an amount and a percentage fits 38
/// digits. It is exact before it is rounded once.
pub const PERCENT_SCALE: u32 = 6;

const FORM: &str = "Give an array such as [{\"from\": 50, \"percent\": 5}, {\"from\": 100, \"percent\": 10}]; an empty one \
                    takes the bonus back.";

fn wrong(number: usize, message: &str, detail: impl Into<String>, hint: &str) -> Error {
    Error::argument(format!("tier {number} of the bonus {message}"))
        .detail(detail)
        .hint(hint)
}

/// Checks tiers and refuses invalid ones with 22023. Returns whether there are any.
pub fn check(json: &Json) -> Result<bool> {
    let Json::Array(tiers) = json else {
        return Err(Error::argument("tiers is not a JSON array")
            .detail("The tiers of a bonus are an array of objects with from and percent.")
            .hint(FORM));
    };
    if tiers.len() > MAX_TIERS {
        return Err(Error::argument("tiers has too many elements")
            .detail(format!(
                "It has {}; at most {MAX_TIERS} are allowed.",
                tiers.len()
            ))
            .hint("Give a few tiers that a customer can understand."));
    }
    let mut begins: Vec<Amount> = Vec::with_capacity(tiers.len());
    for (place, tier) in tiers.iter().enumerate() {
        let number = place + 1;
        let from = tier_from(number, tier)?;
        if let Some(other) = begins.iter().position(|begin| *begin == from) {
            return Err(wrong(
                number,
                "begins where another does",
                format!("Tiers {} and {number} have the from {from}.", other + 1),
                "Give each from once.",
            ));
        }
        begins.push(from);
    }
    Ok(!tiers.is_empty())
}

/// Checks a tier and returns the amount from which it applies. Unknown keys are refused before
/// values are read, so that the error for a misspelled `percent` shows the word and not a missing
/// key.
fn tier_from(number: usize, tier: &Json) -> Result<Amount> {
    let Some(members) = tier.as_object() else {
        return Err(wrong(
            number,
            "is not a JSON object",
            "A tier is an object with from and percent.",
            FORM,
        ));
    };
    if let Some((key, _)) = members
        .iter()
        .find(|(key, _)| !["from", "percent"].contains(&key.as_str()))
    {
        return Err(wrong(
            number,
            &format!("has the unknown key {}", quoted(key)),
            "Valid keys are: from, percent.",
            FORM,
        ));
    }
    let value = |name: &str| -> Result<&Number> {
        match members.iter().find(|(key, _)| key == name) {
            Some((_, Json::Number(value))) => Ok(value),
            Some(_) => Err(wrong(
                number,
                &format!("has no number as {name}"),
                format!("The value of {name} is no JSON number."),
                "Give it without quotes, such as 50.",
            )),
            None => Err(wrong(
                number,
                &format!("has no {name}"),
                "A tier is an object with from and percent.",
                FORM,
            )),
        }
    };
    let from = begins(number, value("from")?)?;
    percent(number, value("percent")?)?;
    Ok(from)
}

fn begins(number: usize, value: &Number) -> Result<Amount> {
    let invalid = |detail: &str| {
        let hint = "Give the least payment that the tier is for, in the wallet's currency.";
        wrong(number, "has a from that is no amount", detail, hint)
    };
    let from = value.to_amount().map_err(|reason| {
        invalid(match reason {
            NotAnAmount::TooPrecise => "It has more than 12 decimals.",
            NotAnAmount::OutOfRange | NotAnAmount::NotFinite => {
                "It does not fit 16 digits before the decimal point."
            }
        })
    })?;
    if from.is_negative() {
        return Err(invalid(&format!("It is {from}; it must be zero or more.")));
    }
    Ok(from)
}

fn percent(number: usize, value: &Number) -> Result<()> {
    let invalid = |detail: String| {
        let hint = "Give the bonus in per cent of the payment, such as 5.";
        wrong(number, "has a percent that is no bonus", detail, hint)
    };
    let percent = value
        .to_decimal()
        .ok_or_else(|| invalid("It has more than 28 digits.".to_owned()))?
        .normalize();
    if percent < Decimal::ZERO || percent > Decimal::from(MAX_PERCENT) {
        return Err(invalid(format!(
            "It is {percent}; 0 to {MAX_PERCENT} are allowed."
        )));
    }
    if percent.scale() > PERCENT_SCALE {
        return Err(invalid(format!(
            "It is {percent}; at most {PERCENT_SCALE} decimals are allowed."
        )));
    }
    Ok(())
}
