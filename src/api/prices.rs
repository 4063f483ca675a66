//! SQL functions on prices.

use crate::access::audit_making::Making;
use crate::access::call::Call;
use crate::access::rights::{ALL_WALLETS, Level, enter, enter_any};
use crate::args;
use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::call::begins;
use crate::idempotency::fingerprint::canonical;
use crate::ledger::charges::job::no_model;
use crate::money::{PRICE_DIGITS, QUANTITY_DIGITS};
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::{Json, Jsonb, empty_object};
use crate::pg::numeric::Number;
use crate::pg::raise::OrRaise;
use crate::pg::row::{composite, text};
use crate::pg::{clock, invalidation};
use crate::pricing::conditions::Conditions;
use crate::pricing::lists::list_name;
use crate::pricing::markup::is_markup_meter;
use crate::pricing::reported::CostFrom;
use crate::pricing::set_price::{self, NewPrice};
use crate::pricing::stored;
use crate::pricing::usage::{MAX_USAGE_BYTES, Usage};
use crate::pricing::wallet_pricing::Quote;
use pgrx::datum::IntoDatum;
use pgrx::prelude::*;
use pgrx::{Uuid, default};
use rust_decimal::Decimal;

composite!(
    /// The result of `price_usage`.
    PriceRow,
    "wallet.price_result"
);

/// Maximum size of the object `conditions`, in bytes of `jsonb`.
const MAX_CONDITIONS_BYTES: usize = 2048;

fn checked_meter(meter: Option<&str>) -> Result<&str> {
    let meter = args::required("meter", meter)?;
    if is_markup_meter(meter) {
        return Err(
            Error::argument(format!("meter {} is reserved", quoted(meter)))
                .detail("It names the line that a price list's markup adds to a charge.")
                .hint("Choose another name for the meter, or set a markup with set_markup()."),
        );
    }
    Ok(meter)
}

fn checked_per(per: Option<Number>) -> Result<Decimal> {
    let hint = "Give the number of units that the price is for, such as 1000000.";
    let per = per.ok_or_else(|| {
        Error::new(Code::InvalidAmount, "per must not be null")
            .detail("The argument per is NULL.")
            .hint(hint)
    })?;
    let per = args::price_number("per", &per, QUANTITY_DIGITS)?;
    if per.is_zero() {
        return Err(Error::new(Code::InvalidAmount, "per is zero")
            .detail("A price is for some number of units.")
            .hint(hint));
    }
    Ok(per)
}

fn checked_threshold(above_input_tokens: Option<i64>) -> Result<Option<i64>> {
    match above_input_tokens {
        Some(tokens) if tokens < 0 => Err(Error::argument("above_input_tokens is negative")
            .detail("It is a number of input tokens.")
            .hint("Give zero or more, or leave it out.")),
        threshold => Ok(threshold),
    }
}

fn checked_conditions(conditions: Option<Jsonb>) -> Result<Jsonb> {
    let conditions = conditions.unwrap_or_else(empty_object);
    let Json::Object(keys) = conditions.read("conditions", MAX_CONDITIONS_BYTES)? else {
        return Err(Error::argument("conditions is not a JSON object")
            .detail("It names keys of the usage object and the values they must have.")
            .hint("Pass an object such as {\"size\": \"1024x1024\"}."));
    };
    Conditions::read(keys)?;
    Ok(conditions)
}

/// Adds a price from a date on and returns its id. A NULL `unit_price` ends the price.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn set_price(
    model: Option<&str>,
    meter: Option<&str>,
    unit_price: Option<Number>,
    per: default!(Option<Number>, "1"),
    provider: default!(Option<&str>, "NULL"),
    service: default!(Option<&str>, "NULL"),
    region: default!(Option<&str>, "NULL"),
    service_tier: default!(Option<&str>, "NULL"),
    above_input_tokens: default!(Option<i64>, "NULL"),
    conditions: default!(Option<Jsonb>, "'{}'"),
    effective_from: default!(Option<TimestampWithTimeZone>, "now()"),
    price_list: default!(Option<&str>, "'default'"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
    currency: default!(Option<&str>, "'USD'"),
) -> Uuid {
    let work = || {
        let new = NewPrice {
            model: args::required("model", model)?,
            meter: checked_meter(meter)?,
            unit_price: unit_price
                .map(|number| args::price_number("unit_price", &number, PRICE_DIGITS))
                .transpose()?,
            per: checked_per(per)?,
            above_input_tokens: checked_threshold(above_input_tokens)?,
            conditions: checked_conditions(conditions)?,
            effective_from: args::effective_from(effective_from)?,
            list: list_name(price_list)?,
            currency: args::currency("currency", currency)?,
            provider: args::name("provider", provider)?,
            service: args::name("service", service)?,
            region: args::name("region", region)?,
            service_tier: args::name("service_tier", service_tier)?,
        };
        let call = Call::new("set_price", ALL_WALLETS)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("model", new.model)
            .with("meter", new.meter)
            .with("unit_price", new.unit_price)
            .with("per", new.per)
            .with("provider", new.provider)
            .with("service", new.service)
            .with("region", new.region)
            .with("service_tier", new.service_tier)
            .with("above", new.above_input_tokens)
            .with("conditions", canonical(new.conditions))
            .with("effective_from", begins(new.effective_from))
            .with("price_list", new.list)
            .with("currency", new.currency);
        call.make(Level::Admin, Making::Price, |once| {
            once.id(|| set_price::add(&new, &call))
        })
    };
    Uuid::from_bytes(work().or_raise())
}

/// Prices a usage object without booking anything.
#[pg_extern(schema = "wallet", stable, parallel_restricted, requires = ["results"])]
#[allow(clippy::too_many_arguments)]
fn price_usage(
    usage: Option<Jsonb>,
    wallet: default!(Option<&str>, "NULL"),
    model: default!(Option<&str>, "NULL"),
    region: default!(Option<&str>, "NULL"),
    service_tier: default!(Option<&str>, "NULL"),
    at: default!(Option<TimestampWithTimeZone>, "now()"),
    cost_from: default!(Option<&str>, "'prices'"),
    currency: default!(Option<&str>, "NULL"),
) -> PriceRow {
    let work = || {
        let object = usage.ok_or_else(|| {
            args::missing("usage")
                .hint("Pass an object such as {\"model\": \"gpt-4o\", \"input_tokens\": 1000}.")
        })?;
        let wallet = args::name("wallet", wallet)?;
        let cost_from = CostFrom::of(cost_from)?;
        let currency = args::optional_currency("currency", currency)?;
        let mut usage = Usage::read(object.read("usage", MAX_USAGE_BYTES)?)?;
        usage.model = usage.model_or(args::name("model", model)?)?;
        usage.serve(
            args::name("region", region)?,
            args::name("service_tier", service_tier)?,
        )?;
        let at: Timestamp = args::time("at", at)?.unwrap_or_else(clock::now);
        let model = usage.model.clone().ok_or_else(no_model)?;
        args::required("model", Some(&model))?;
        let reported = match cost_from {
            CostFrom::Prices => None,
            CostFrom::Provider => Some(usage.reported_amount()?),
        };
        let quote = Quote {
            usage: &usage,
            model: &model,
            reported,
            currency,
            at,
        };
        let priced = match wallet {
            None => enter_any(|_| {
                invalidation::catch_up();
                quote.by_default_list()
            }),
            Some(wallet) => enter(Level::Reader, wallet, |_| quote.of_wallet(wallet)),
        };
        Ok((priced?, model))
    };
    let (priced, model) = work().or_raise();
    PriceRow(vec![
        priced.cost.into_datum(),
        text(&priced.currency),
        text(&model),
        priced.total_tokens.into_datum(),
        stored::to_jsonb(&priced.lines).into_datum(),
    ])
}
