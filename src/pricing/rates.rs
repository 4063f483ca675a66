//! Records exchange rates: single ones, or those that a central bank publishes.

use rust_decimal::Decimal;

use crate::currency::Currency;
use crate::error::{Code, Error, Result, quoted};
use crate::money;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::{Json, Jsonb};
use crate::pg::numeric::Number;
use crate::storage::plan::{Run, Value, statement};

statement!(
    SAME_RATE,
    [TEXTOID, TEXTOID, NUMERICOID, TIMESTAMPTZOID],
    "SELECT r.rate_id FROM (
         SELECT rate_id, rate FROM wallet.fx_rates
          WHERE from_currency = $1 AND to_currency = $2 AND effective_from = $4
          ORDER BY created_at DESC, rate_id DESC LIMIT 1) r
      WHERE r.rate IS NOT DISTINCT FROM $3"
);

statement!(
    ADD_RATE,
    [
        UUIDOID,
        TEXTOID,
        TEXTOID,
        NUMERICOID,
        TIMESTAMPTZOID,
        TIMESTAMPTZOID,
        TEXTOID,
        JSONBOID,
        TEXTOID
    ],
    "INSERT INTO wallet.fx_rates
        (rate_id, from_currency, to_currency, rate, effective_from, created_at, actor, metadata, source)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
);

/// The number of decimals that a rate may have.
const MAX_SCALE: u32 = 16;

/// The maximum number of rates that one call records.
const MAX_RATES: usize = 1000;

/// Reads a rate from an argument.
pub fn rate(value: &Number) -> Result<Decimal> {
    let invalid = |detail: &str| {
        Error::new(Code::InvalidAmount, "rate is not a valid exchange rate")
            .detail(detail.to_owned())
            .hint("Give what one unit of the first currency is worth in the second.")
    };
    let rate = value
        .to_decimal()
        .ok_or_else(|| invalid("It is not finite, or has more than 28 digits."))?
        .normalize();
    if rate <= Decimal::ZERO {
        return Err(invalid("It must be above zero."));
    }
    if money::significant_digits(rate) > money::PRICE_DIGITS || rate.scale() > MAX_SCALE {
        return Err(invalid(
            "It has more than 15 significant digits or 16 decimals.",
        ));
    }
    Ok(rate)
}

/// The value of one unit of a currency in another.
#[derive(Clone, Copy, Debug)]
pub struct Quote {
    /// The currency of the unit.
    pub from: Currency,
    /// The currency of the value.
    pub to: Currency,
    /// The value; `None` ends the rate of the pair.
    pub rate: Option<Decimal>,
}

/// The arguments that all rates of one call share.
pub struct Recording<'a> {
    /// When the rates begin.
    pub effective_from: Timestamp,
    /// Where the caller got the rates; `None` if the call does not say so.
    pub source: Option<&'a str>,
    /// The person or program that makes the call.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Jsonb>,
}

impl Recording<'_> {
    /// Adds a rate and tells whether it is new. Repeating the current rate changes nothing.
    pub fn add(&self, quote: &Quote) -> Result<([u8; 16], bool)> {
        let (from, to) = (Value::Text(&quote.from), Value::Text(&quote.to));
        let rate = quote.rate.map_or(Value::Null, Value::Decimal);
        let at = Value::Time(self.effective_from);
        let same = SAME_RATE.run(&[from, to, rate, at])?;
        if let Some(id) = same.get(0, 0) {
            return Ok((id, false));
        }
        let id = uuid::Uuid::now_v7().into_bytes();
        ADD_RATE.run(&[
            Value::Uuid(id),
            from,
            to,
            rate,
            at,
            Value::Time(clock::now()),
            Value::OptText(self.actor),
            Value::OptJsonb(self.metadata),
            Value::OptText(self.source),
        ])?;
        Ok((id, true))
    }
}

/// True for digits with an optional decimal point, as in a JSON number.
fn is_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// The rates of a document: an object of currencies and rates, or an object with such an object as
/// its member `rates`, and optionally a member `base`.
pub fn quotes(base: Currency, document: &Json) -> Result<Vec<Quote>> {
    let unreadable = |detail: String| {
        Error::argument("rates cannot be read")
            .detail(detail)
            .hint("Pass an object such as {\"USD\": 1.0850, \"JPY\": 164.2}, or a document that has it as its member \"rates\".")
    };
    let object = |json: &Json| match json {
        Json::Object(entries) => Ok(entries.clone()),
        _ => Err(unreadable("It is no JSON object.".to_owned())),
    };
    let document = object(document)?;
    let member = |name: &str| document.iter().find(|(key, _)| key == name);
    let rates = match member("rates") {
        None => document.clone(),
        Some((_, rates)) => {
            if let Some((_, named)) = member("base")
                && !matches!(named, Json::String(named) if *named == *base)
            {
                let named = match named {
                    Json::String(named) => quoted(named),
                    _ => "no text".to_owned(),
                };
                return Err(Error::argument("rates have another base")
                    .detail(format!(
                        "The document's base is {named}; the argument base is {base}."
                    ))
                    .hint("Pass the currency whose unit the rates are for."));
            }
            object(rates)?
        }
    };
    if rates.is_empty() || rates.len() > MAX_RATES {
        return Err(unreadable(format!(
            "It has {} rates; 1 to {MAX_RATES} are allowed.",
            rates.len()
        )));
    }
    let mut quotes = Vec::with_capacity(rates.len());
    for (name, value) in &rates {
        let to = Currency::of_argument("key of rates", name)?;
        let number = match value {
            Json::Number(number) => Some(number.clone()),
            Json::String(text) if is_plain(text) => {
                Decimal::from_str_exact(text).ok().map(Number::of)
            }
            _ => None,
        };
        let number = number.ok_or_else(|| unreadable(format!("The rate of {to} is no number.")))?;
        let rate = rate(&number).map_err(|error| {
            let detail = error.detail.clone().unwrap_or_default();
            error.detail(format!("This is the rate of {to}. {detail}"))
        })?;
        if to != base {
            quotes.push(Quote {
                from: base,
                to,
                rate: Some(rate),
            });
        } else if rate != Decimal::ONE {
            return Err(unreadable(format!(
                "The rate of {base} to itself is {rate}."
            )));
        }
    }
    Ok(quotes)
}
