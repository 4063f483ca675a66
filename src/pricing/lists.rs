//! `set_markup`: what a price list adds to the prices of the default list.

use pgrx::prelude::*;
use pgrx::{Uuid, default};
use rust_decimal::Decimal;

use crate::access::audit::{Act, Making, enter_making};
use crate::access::rights::{ALL_WALLETS, Level};
use crate::args;
use crate::currency::Currency;
use crate::error::{Code, Error, Result};
use crate::idempotency::call::{IdempotentCall, begins};
use crate::idempotency::fingerprint::{fingerprint, owned};
use crate::money::{AMOUNT_SCALE, PRICE_DIGITS};
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::Number;
use crate::pg::raise::OrRaise;
use crate::pricing::api::price_number;
use crate::pricing::markup::PERCENT;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::Document;

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

/// What `set_markup` was asked for.
struct NewMarkup<'a> {
    list: &'a str,
    percent: Option<Decimal>,
    fixed: Option<Decimal>,
    currency: Currency,
    effective_from: Timestamp,
    actor: Option<&'a str>,
    metadata: Option<Document>,
}

/// Adds the row, unless the same markup is in force at that time.
fn set(new: &NewMarkup<'_>) -> Result<[u8; 16]> {
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

/// A percentage that an argument gives: below zero it is a discount, and something of the price must be left.
fn percentage(number: &Number) -> Result<Decimal> {
    let Some(value) = number.to_decimal() else {
        return price_number("percent", number, PRICE_DIGITS);
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
    let size = price_number("percent", &Number::of(value.abs()), PRICE_DIGITS)?;
    Ok(match value.is_sign_negative() {
        true => -size,
        false => size,
    })
}

/// Says from a date on what a price list adds to the prices of the default list, and returns the
/// markup's id.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn set_markup(
    price_list: Option<&str>,
    percent: default!(Option<Number>, "NULL"),
    fixed: default!(Option<Number>, "NULL"),
    effective_from: default!(Option<TimestampWithTimeZone>, "now()"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
    currency: default!(Option<&str>, "'USD'"),
) -> Uuid {
    let work = || {
        let list = args::required("price_list", price_list)?;
        let percent = percent.map(|number| percentage(&number)).transpose()?;
        let fixed = fixed
            .map(|number| args::amount("fixed", Some(&number)))
            .transpose()?
            .map(|fixed| Decimal::from_i128_with_scale(fixed.units(), AMOUNT_SCALE).normalize());
        let currency = args::currency("currency", currency)?;
        let effective_from = args::effective_from(effective_from)?;
        let call = IdempotentCall {
            wallet: "",
            call: "set_markup",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint(&[
                ("price_list", owned(price_list)),
                ("percent", percent.map(|percent| percent.to_string())),
                ("fixed", fixed.map(|fixed| fixed.to_string())),
                ("effective_from", begins(effective_from)),
                ("currency", Some(currency.to_string())),
            ]),
        };
        let new = NewMarkup {
            list,
            percent,
            fixed,
            currency,
            effective_from,
            actor: args::name("actor", actor)?,
            metadata: args::document("metadata", metadata)?,
        };
        enter_making(
            Level::Admin,
            &Act {
                wallet: ALL_WALLETS,
                action: "set_markup",
                actor,
                metadata,
            },
            Making::Markup,
            |_| call.id(|| set(&new)),
        )
    };
    Uuid::from_bytes(work().or_raise())
}
