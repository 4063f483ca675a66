//! The usage object in its flat form.

use rust_decimal::Decimal;

use crate::error::{Code, Error, Result, quoted};
use crate::money::{QUANTITY_DIGITS, significant_digits};
use crate::pricing::lines::{is_countable, is_known_meter};
use crate::storage::jsonb::Json;
use crate::storage::numeric::Number;

/// Largest usage object, in bytes of `jsonb`.
pub const MAX_USAGE_BYTES: usize = 1 << 20;

/// What a request used and under which conditions.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// The model, from the object or from the argument.
    pub model: Option<String>,
    /// The provider.
    pub provider: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The service tier.
    pub service_tier: Option<String>,
    /// Every key with a number. What cannot be a quantity matters only if the key has a price.
    pub numbers: Vec<(String, Result<Decimal>)>,
    /// The whole object, for the conditions of prices.
    pub object: Vec<(String, Json)>,
}

/// WL007.
pub fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidUsage, message)
}

const EXAMPLE: &str = "Pass an object such as {\"model\": \"gpt-4o\", \"input_tokens\": 1000, \"output_tokens\": 450}.";

impl Usage {
    /// Reads the flat form: attributes as strings, meters as numbers.
    pub fn read(json: Json) -> Result<Usage> {
        let Json::Object(object) = json else {
            return Err(invalid("usage is not an object")
                .detail("A usage names a model and what was used of it.")
                .hint(EXAMPLE));
        };
        let mut usage = Usage::default();
        for (key, value) in &object {
            let attribute = usage.attribute(key);
            match (value, attribute) {
                (Json::Null, _) => {}
                (Json::String(text), Some(attribute)) => *attribute = Some(text.clone()),
                (_, Some(_)) => {
                    return Err(
                        invalid(format!("usage key {} is not a string", quoted(key)))
                            .detail("model, provider, region and service_tier are JSON strings.")
                            .hint(EXAMPLE),
                    );
                }
                (Json::Number(number), None) => {
                    let quantity = quantity(key, number);
                    if is_known_meter(key) {
                        quantity.clone()?;
                    }
                    usage.numbers.push((key.clone(), quantity));
                }
                _ if is_known_meter(key) => {
                    return Err(
                        invalid(format!("usage key {} is not a number", quoted(key)))
                            .detail("Meters are JSON numbers.")
                            .hint(EXAMPLE),
                    );
                }
                _ => {}
            }
        }
        usage.object = object;
        Ok(usage)
    }

    fn attribute(&mut self, key: &str) -> Option<&mut Option<String>> {
        match key {
            "model" => Some(&mut self.model),
            "provider" => Some(&mut self.provider),
            "region" => Some(&mut self.region),
            "service_tier" => Some(&mut self.service_tier),
            _ => None,
        }
    }

    /// Input tokens of all kinds: what context thresholds look at.
    pub fn input_tokens(&self) -> Decimal {
        self.numbers
            .iter()
            .filter(|(key, _)| {
                key.ends_with("_tokens") && (key.starts_with("input_") || key.starts_with("cache_"))
            })
            .filter_map(|(_, quantity)| quantity.as_ref().ok())
            .sum()
    }
}

/// The argument wins over the object's key, and the two must not contradict each other.
pub fn one_of(
    name: &str,
    argument: Option<&str>,
    in_usage: Option<String>,
) -> Result<Option<String>> {
    match (argument, in_usage) {
        (Some(argument), Some(used)) if argument != used => {
            Err(invalid(format!("{name} and usage name different {name}s"))
                .detail(format!(
                    "The argument is {}, the usage object says {}.",
                    quoted(argument),
                    quoted(used)
                ))
                .hint(format!("Give the {name} once.")))
        }
        (Some(argument), _) => Ok(Some(argument.to_owned())),
        (None, used) => Ok(used),
    }
}

/// A number of the usage object as a quantity.
fn quantity(key: &str, number: &Number) -> Result<Decimal> {
    let too_long = || {
        invalid(format!("usage key {} is out of range", quoted(key)))
            .detail(format!(
                "Quantities have at most {QUANTITY_DIGITS} significant digits."
            ))
            .hint("Split a larger use into several charges.")
    };
    let Some(value) = number.to_decimal() else {
        return Err(too_long());
    };
    if value.is_sign_negative() && !value.is_zero() {
        return Err(invalid(format!("usage key {} is negative", quoted(key)))
            .detail(format!("It is {value}."))
            .hint("Quantities are zero or more."));
    }
    if is_countable(key) && !value.fract().is_zero() {
        return Err(
            invalid(format!("usage key {} is not a whole number", quoted(key)))
                .detail(format!(
                    "It is {value}; this meter is counted in whole units."
                ))
                .hint("Only seconds and meters of your own may have decimals."),
        );
    }
    let significant = significant_digits(value);
    let magnitude = value.normalize().trunc().mantissa().unsigned_abs();
    if significant > QUANTITY_DIGITS || magnitude >= 10_u128.pow(QUANTITY_DIGITS) {
        return Err(too_long());
    }
    Ok(value.normalize())
}
