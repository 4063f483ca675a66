//! The usage object: the flat form, or the response of a provider.

use rust_decimal::Decimal;

use crate::error::{Code, Error, Result, quoted};
use crate::money::{QUANTITY_DIGITS, line_amount, significant_digits};
use crate::pg::jsonb::Json;
use crate::pg::numeric::Number;
use crate::pricing::lines::{is_countable, is_known_meter};

/// The maximum size of a usage object, in bytes of `jsonb`.
pub const MAX_USAGE_BYTES: usize = 1 << 20;

/// The quantities that a request used, and the conditions on which prices depend.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// The model, from the object or from the argument.
    pub model: Option<String>,
    /// The provider; `None` if the object names none.
    pub provider: Option<String>,
    /// The region, from the object or from the argument; `None` if neither names one.
    pub region: Option<String>,
    /// The service tier; `None` for the standard one.
    pub service_tier: Option<String>,
    /// True if a response says that the standard tier served it.
    pub is_standard_tier: bool,
    /// In the flat form: every key with a number. A number that cannot be a quantity matters only
    /// if the key has a price. In a provider's object: its meters.
    pub numbers: Vec<(String, Result<Decimal>)>,
    /// The whole object, for the conditions of prices.
    pub object: Vec<(String, Json)>,
    /// True if a mapping has read a provider's object. Each number is then a meter.
    pub is_mapped: bool,
    /// True for a flat form whose keys are all attributes or known meters. Then nothing is unread.
    pub is_plain: bool,
    /// The meters of the key `extra`. Each is a meter, known or not.
    pub extra: Vec<String>,
    /// The cost that the provider reports, or the reason why it cannot be used.
    pub reported_cost: Option<Result<Decimal>>,
    /// The mapping that read the object; `None` for the flat form.
    pub mapping: Option<String>,
    /// The numbers other than zero that nothing has read.
    pub unread: Vec<Unread>,
}

/// A number of a usage object that nothing has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The place of the number in the whole object, for people: `usage.new.count`,
    /// `usage.parts[*].count`.
    pub path: String,
    /// The place as an SQL/JSON path: `$."usage"."new"."count"`.
    pub jsonpath: String,
    /// The number, as text for people.
    pub value: String,
}

/// The error WL007.
pub fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidUsage, message)
}

/// The hint that shows the flat form.
pub const EXAMPLE: &str = "Pass an object such as {\"model\": \"gpt-4o\", \"input_tokens\": 1000, \"output_tokens\": 450}.";

impl Usage {
    /// True if a number of that name is a meter, whether or not it has a price.
    pub fn is_meter(&self, name: &str) -> bool {
        self.is_mapped || is_known_meter(name) || self.extra.iter().any(|meter| meter == name)
    }

    /// Adds the meters of the key `extra`.
    pub fn add(&mut self, extra: &[(String, Json)]) -> Result<()> {
        for (meter, json) in extra {
            let Json::Number(number) = json else { continue };
            let more = quantity(meter, number, || format!("extra.{meter}"))?;
            self.extra.push(meter.clone());
            match self.numbers.iter_mut().find(|(name, _)| name == meter) {
                Some((_, Ok(there))) => *there += more,
                Some((_, there)) => *there = Ok(more),
                None => self.numbers.push((meter.clone(), Ok(more))),
            }
        }
        if !extra.is_empty() && self.reported_cost.is_some() {
            self.reported_cost = Some(Err(cost_without_extra()));
        }
        Ok(())
    }

    /// Reads the flat form: attributes as strings, meters as numbers.
    pub fn flat(object: &[(String, Json)]) -> Result<Usage> {
        let mut usage = Usage::default();
        for (key, value) in object {
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
                    let quantity = quantity(key, number, || key.clone());
                    if is_known_meter(key) {
                        quantity.clone()?;
                    } else if key == "cost" {
                        usage.reported_cost = Some(number.to_decimal().ok_or_else(no_amount));
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
        Ok(usage)
    }

    /// The same quantities, used by another model. The provider that the usage names for its own
    /// model need not be the one that serves another model.
    pub fn for_model(&self, model: &str) -> Usage {
        let mut usage = self.clone();
        let served = self.model.as_deref().is_none_or(|own| own == model);
        usage.provider = usage.provider.filter(|_| served);
        usage.model = Some(model.to_owned());
        // In the flat form, conditions of prices see the same names.
        if !usage.is_mapped {
            usage
                .object
                .retain(|(key, _)| key != "model" && (served || key != "provider"));
            let name = Json::String(model.to_owned());
            usage.object.push(("model".to_owned(), name));
        }
        usage
    }

    /// The model that is priced. In the flat form it is named once. A provider's response names the
    /// version that answered, so an argument may name the model by whose prices it is priced.
    pub fn model_or(&self, argument: Option<&str>) -> Result<Option<String>> {
        match argument {
            Some(argument) if self.is_mapped => Ok(Some(argument.to_owned())),
            argument => one_of("model", argument, self.model.clone()),
        }
    }

    /// Fills in the region and the service tier that the object leaves out. A response states the
    /// tier and region that served it, whatever was requested, and the flat form may state the tier
    /// in that way. But the region of the flat form comes from the caller and must not contradict
    /// the argument.
    pub fn serve(&mut self, region: Option<&str>, service_tier: Option<&str>) -> Result<()> {
        if self.is_mapped {
            self.fill_in(region, service_tier);
            return Ok(());
        }
        self.region = one_of("region", region, self.region.take())?;
        self.fill_in(None, service_tier);
        Ok(())
    }

    /// Fills in the region and the service tier if the object leaves them out.
    pub fn fill_in(&mut self, region: Option<&str>, service_tier: Option<&str>) {
        if self.region.is_none() {
            self.region = region.map(str::to_owned);
        }
        if self.service_tier.is_none() && !self.is_standard_tier {
            self.service_tier = service_tier.map(str::to_owned);
        }
    }

    /// The cost that the provider reports, with all its digits.
    pub fn reported_amount(&self) -> Result<Decimal> {
        let Some(cost) = &self.reported_cost else {
            return Err(invalid("usage reports no cost")
                .detail("cost_from is \"provider\", and the usage object has no cost in a place that its mapping names.")
                .hint("Pass the provider's object with its cost, or leave cost_from out."));
        };
        let cost = cost.clone()?;
        if cost.is_sign_negative() && !cost.is_zero() {
            return Err(no_amount());
        }
        // The cost must be an amount in the provider's currency, whatever its value in another one.
        let cost = cost.normalize();
        let one = Decimal::ONE;
        line_amount(cost, one, one, None)
            .map(|_| cost)
            .map_err(|_| no_amount())
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

    /// Output tokens of all kinds.
    pub fn output_tokens(&self) -> Decimal {
        self.numbers
            .iter()
            .filter(|(key, _)| {
                key.ends_with("_tokens")
                    && (key.starts_with("output_") || key.starts_with("reasoning_"))
            })
            .filter_map(|(_, quantity)| quantity.as_ref().ok())
            .sum()
    }

    /// Input tokens of all kinds, with which context thresholds are compared.
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

/// The argument takes precedence over the object's key. The two must not contradict each other.
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

/// The error WL007 for a quantity with too many digits.
pub fn out_of_range(key: &str) -> Error {
    invalid(format!("usage key {} is out of range", quoted(key)))
        .detail(format!(
            "Quantities have at most {QUANTITY_DIGITS} significant digits."
        ))
        .hint("Split a larger use into several charges.")
}

/// A number of the usage object as a quantity of a meter. `key` names it in errors.
pub fn quantity(meter: &str, number: &Number, key: impl Fn() -> String) -> Result<Decimal> {
    checked_quantity(meter, number.to_decimal(), key)
}

/// A decimal number as a quantity; `None` if it has too many digits.
pub fn checked_quantity(
    meter: &str,
    value: Option<Decimal>,
    key: impl Fn() -> String,
) -> Result<Decimal> {
    let Some(value) = value else {
        return Err(out_of_range(&key()));
    };
    if value.is_sign_negative() && !value.is_zero() {
        return Err(invalid(format!("usage key {} is negative", quoted(key())))
            .detail(format!("It is {value}."))
            .hint("Quantities are zero or more."));
    }
    if is_countable(meter) && !value.fract().is_zero() {
        return Err(
            invalid(format!("usage key {} is not a whole number", quoted(key())))
                .detail(format!(
                    "It is {value}; this meter is counted in whole units."
                ))
                .hint("Only seconds and meters of your own may have decimals."),
        );
    }
    let significant = significant_digits(value);
    let magnitude = value.normalize().trunc().mantissa().unsigned_abs();
    if significant > QUANTITY_DIGITS || magnitude >= 10_u128.pow(QUANTITY_DIGITS) {
        return Err(out_of_range(&key()));
    }
    Ok(value.normalize())
}

/// The error WL007: a reported cost does not include the meters of the key `extra`.
fn cost_without_extra() -> Error {
    invalid("usage reports a part of its cost only")
        .detail("The cost that the provider reports leaves out the meters in \"extra\".")
        .hint("Charge them in a call of their own, or leave cost_from out, so that all is priced.")
}

/// The error WL007: a reported cost is negative or has too many digits.
pub fn no_amount() -> Error {
    invalid("usage reports a cost that is no amount")
        .detail("A reported cost is zero or more, with at most 28 digits.")
        .hint("Pass the provider's object as it came, or leave cost_from out.")
}
