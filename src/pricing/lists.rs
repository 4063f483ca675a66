//! `set_markup`: adds to the prices of the default list.

use crate::access::rights::ALL_WALLETS;
use crate::args;
use crate::currency::Currency;
use crate::error::{Code, Error, Result};
use crate::money::PRICE_DIGITS;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::document::Document;
use crate::pg::numeric::Number;
use crate::pricing::markup::PERCENT;
use crate::storage::plan::{Run, Value, statement};
use rust_decimal::Decimal;

statement!(
    IN_FORCE,
    [TEXTOID, NUMERICOID, NUMERICOID, TIMESTAMPTZOID, TEXTOID],
    "SELECT markup_id,
            percent IS NOT DISTINCT FROM $2 AND fixed IS NOT DISTINCT FROM $3 AND (currency = $5 OR fixed IS NULL)
       FROM wallet.markups
      WHERE price_list = $1 AND effective_from <= $4
      ORDER BY effective_from DESC, markup_id DESC
      LIMIT 1"
);

statement!(
    ADD,
    [
        UUIDOID,
        TEXTOID,
        NUMERICOID,
        NUMERICOID,
        TIMESTAMPTZOID,
        TIMESTAMPTZOID,
        TEXTOID,
        JSONBOID,
        TEXTOID
    ],
    "INSERT INTO wallet.markups
        (markup_id, price_list, percent, fixed, effective_from, created_at, actor, metadata, currency)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
);

/// The name of a price list, from an argument. The error 22023 for `*`, which means all lists where
/// rights are checked.
pub fn list_name(value: Option<&str>) -> Result<&str> {
    let list = args::required("price_list", value)?;
    if list == ALL_WALLETS {
        return Err(Error::argument("price_list cannot be *")
            .detail("The name * means all price lists.")
            .hint("Give the list another name.")
            .about("price_list"));
    }
    Ok(list)
}

/// The arguments of `set_markup`.
pub struct NewMarkup<'a> {
    /// Name of the price list that gets the markup.
    pub list: &'a str,
    /// Percentage that is added to prices of the default list.
    pub percent: Option<Decimal>,
    /// Amount that is added once to each charge.
    pub fixed: Option<Decimal>,
    /// Currency of the fixed amount.
    pub currency: Currency,
    /// When the markup begins.
    pub effective_from: Timestamp,
    /// The person or program that makes the call.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
}

/// Adds the row, unless the same markup is in force at that time.
pub fn set(new: &NewMarkup<'_>) -> Result<[u8; 16]> {
    let decimal = |value: Option<Decimal>| value.map_or(Value::Null, Value::Decimal);
    let (percent, fixed) = (decimal(new.percent), decimal(new.fixed));
    let (list, from) = (Value::Text(new.list), Value::Time(new.effective_from));
    let currency = Value::Text(&new.currency);
    let in_force = IN_FORCE.run(&[list, percent, fixed, from, currency])?;
    if in_force.get(0, 1) == Some(true) {
        return in_force.need(0, 0);
    }
    let id = uuid::Uuid::now_v7().into_bytes();
    ADD.run(&[
        Value::Uuid(id),
        list,
        percent,
        fixed,
        from,
        Value::Time(clock::now()),
        Value::OptText(new.actor),
        Value::OptJsonb(new.metadata.as_ref().map(|document| document.value)),
        currency,
    ])?;
    Ok(id)
}

/// A percentage from an argument. Below zero it is a discount, which must leave a part of the
/// price.
pub fn percentage(number: &Number) -> Result<Decimal> {
    let Some(value) = number.to_decimal() else {
        return args::price_number("percent", number, PRICE_DIGITS);
    };
    if value <= -PERCENT {
        return Err(
            Error::new(Code::InvalidAmount, "percent leaves nothing of the price")
                .detail(format!(
                    "It is {value}; a discount is less than 100 per cent."
                ))
                .hint("Give a percentage above -100. Prices of 0 make a model free."),
        );
    }
    let size = args::price_number("percent", &Number::of(value.abs()), PRICE_DIGITS)?;
    Ok(match value.is_sign_negative() {
        true => -size,
        false => size,
    })
}
