//! SQL functions on prices.

use pgrx::datum::IntoDatum;
use pgrx::prelude::*;
use pgrx::{Uuid, default};

use crate::access::audit::{Act, Making, enter_making};
use crate::access::rights::{ALL_WALLETS, Level, enter, enter_any};
use crate::args;
use crate::currency::Currency;
use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::call::{IdempotentCall, begins};
use crate::idempotency::fingerprint::{canonical, fingerprint, owned};
use crate::money::{PRICE_DIGITS, QUANTITY_DIGITS, significant_digits};
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::{Json, Jsonb};
use crate::pg::numeric::Number;
use crate::pg::raise::OrRaise;
use crate::pg::row::{composite, text};
use crate::pg::{clock, invalidation};
use crate::pricing::book::DEFAULT_LIST;
use crate::pricing::conditions::Conditions;
use crate::pricing::markup::is_markup_meter;
use crate::pricing::rate::Terms;
use crate::pricing::reported::{CostFrom, rate_beside};
use crate::pricing::stored;
use crate::pricing::unknown::{UnknownPrice, rate_or};
use crate::pricing::unread::require_read;
use crate::pricing::usage::{MAX_USAGE_BYTES, Usage, invalid};
use crate::storage::plan::{Run, Value, statement};

composite!(
    /// What `price_usage` returns.
    PriceRow,
    "wallet.price_result"
);

statement!(
    SAME_PRICE,
    [
        TEXTOID, TEXTOID, TEXTOID, NUMERICOID, NUMERICOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
        INT8OID, JSONBOID, TIMESTAMPTZOID, TEXTOID
    ],
    "SELECT price_id,
            unit_price IS NOT DISTINCT FROM $4 AND per = $5 AND service IS NOT DISTINCT FROM $7 AND currency = $13
       FROM wallet.prices
      WHERE price_list = $1 AND model = $2 AND meter = $3
        AND provider IS NOT DISTINCT FROM $6
        AND region IS NOT DISTINCT FROM $8
        AND service_tier IS NOT DISTINCT FROM $9
        AND above_input_tokens IS NOT DISTINCT FROM $10
        AND conditions = $11
        AND effective_from = $12
      ORDER BY price_id DESC
      LIMIT 1"
);

// Its parameters begin with those of SAME_PRICE.
statement!(
    ADD_PRICE,
    [
        TEXTOID,
        TEXTOID,
        TEXTOID,
        NUMERICOID,
        NUMERICOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        INT8OID,
        JSONBOID,
        TIMESTAMPTZOID,
        TEXTOID,
        UUIDOID,
        TIMESTAMPTZOID,
        TEXTOID,
        JSONBOID
    ],
    "INSERT INTO wallet.prices
        (price_list, model, meter, unit_price, per, provider, service, region, service_tier,
         above_input_tokens, conditions, effective_from, currency, price_id, created_at, actor, metadata)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
);

statement!(
    WALLET_PRICING,
    [TEXTOID],
    "SELECT price_list, currency, unknown_price, unread_usage = 'reject' FROM wallet.wallets WHERE wallet_id = $1"
);

/// How a wallet's usage is priced.
pub struct WalletPricing {
    /// Its price list.
    pub list: String,
    /// Its currency.
    pub currency: Currency,
    /// Its rule for usage without a price.
    pub unknown_price: UnknownPrice,
    /// Whether it refuses usage with numbers that nothing reads.
    pub rejects_unread: bool,
}

impl WalletPricing {
    /// As the wallet's row has it; WL003 where there is none.
    pub fn of(wallet: &str) -> Result<WalletPricing> {
        let rows = WALLET_PRICING.run(&[Value::Text(wallet)])?;
        if rows.is_empty() {
            return Err(Error::wallet_not_found(wallet));
        }
        Ok(WalletPricing {
            list: rows.need(0, 0)?,
            currency: Currency::of_row(&rows.need::<String>(0, 1)?)?,
            unknown_price: UnknownPrice::of_row(&rows.need::<String>(0, 2)?)?,
            rejects_unread: rows.need(0, 3)?,
        })
    }
}

/// Largest `conditions` object, in bytes of `jsonb`.
const MAX_CONDITIONS_BYTES: usize = 2048;

/// A price or a quantity that an argument gives: exact, zero or more.
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
            .hint(args::give(argument, " of zero or more")));
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

/// Adds a price from a date on and returns its id. A NULL unit_price ends the price.
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
        let model = args::required("model", model)?;
        let meter = args::required("meter", meter)?;
        if is_markup_meter(meter) {
            return Err(
                Error::argument(format!("meter {} is reserved", quoted(meter)))
                    .detail("It names the line that a price list's markup adds to a charge.")
                    .hint("Choose another name for the meter, or set a markup with set_markup()."),
            );
        }
        let unit_price = unit_price
            .map(|number| price_number("unit_price", &number, PRICE_DIGITS))
            .transpose()?;
        let per = per.ok_or_else(|| {
            Error::new(Code::InvalidAmount, "per is missing")
                .detail("The argument per is NULL.")
                .hint("Give the number of units that the price is for, such as 1000000.")
        })?;
        let per = price_number("per", &per, QUANTITY_DIGITS)?;
        if per.is_zero() {
            return Err(Error::new(Code::InvalidAmount, "per is zero")
                .detail("A price is for some number of units.")
                .hint("Give the number of units that the price is for, such as 1000000."));
        }
        if above_input_tokens.is_some_and(|tokens| tokens < 0) {
            return Err(Error::argument("above_input_tokens is negative")
                .detail("It is a number of input tokens.")
                .hint("Give zero or more, or leave it out."));
        }
        let conditions = match conditions {
            Some(value) => value,
            None => crate::pg::jsonb::empty_object(),
        };
        let Json::Object(keys) = conditions.read("conditions", MAX_CONDITIONS_BYTES)? else {
            return Err(Error::argument("conditions is not a JSON object")
                .detail("It names keys of the usage object and the values they must have.")
                .hint("Pass an object such as {\"size\": \"1024x1024\"}."));
        };
        Conditions::read(keys)?;
        let effective_from = args::effective_from(effective_from)?;
        let list = args::required("price_list", price_list)?;
        let currency = args::currency("currency", currency)?;
        let provider = args::name("provider", provider)?;
        let service = args::name("service", service)?;
        let region = args::name("region", region)?;
        let service_tier = args::name("service_tier", service_tier)?;
        let call = IdempotentCall {
            wallet: "",
            call: "set_price",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint(&[
                ("model", owned(Some(model))),
                ("meter", owned(Some(meter))),
                ("unit_price", unit_price.map(|price| price.to_string())),
                ("per", Some(per.to_string())),
                ("provider", owned(provider)),
                ("service", owned(service)),
                ("region", owned(region)),
                ("service_tier", owned(service_tier)),
                ("above", above_input_tokens.map(|tokens| tokens.to_string())),
                ("conditions", canonical(conditions)),
                ("effective_from", begins(effective_from)),
                ("price_list", owned(Some(list))),
                ("currency", Some(currency.to_string())),
            ]),
        };
        let actor = args::name("actor", actor)?;
        let metadata = args::document("metadata", metadata)?;
        enter_making(
            Level::Admin,
            &Act {
                wallet: ALL_WALLETS,
                action: "set_price",
                actor,
                metadata: metadata.as_ref().map(|metadata| metadata.value),
            },
            Making::Price,
            |_| {
                call.id(|| {
                    let price = [
                        Value::Text(list),
                        Value::Text(model),
                        Value::Text(meter),
                        unit_price.map_or(Value::Null, Value::Decimal),
                        Value::Decimal(per),
                        Value::OptText(provider),
                        Value::OptText(service),
                        Value::OptText(region),
                        Value::OptText(service_tier),
                        Value::OptInt8(above_input_tokens),
                        Value::Jsonb(conditions),
                        Value::Time(effective_from),
                        Value::Text(&currency),
                    ];
                    let same = SAME_PRICE.run(&price)?;
                    if same.get(0, 1) == Some(true) {
                        return same.need(0, 0);
                    }
                    let id = uuid::Uuid::now_v7().into_bytes();
                    let making = [
                        Value::Uuid(id),
                        Value::Time(clock::now()),
                        Value::OptText(actor),
                        Value::OptJsonb(metadata.as_ref().map(|document| document.value)),
                    ];
                    ADD_PRICE.run(&[&price[..], &making].concat())?;
                    Ok(id)
                })
            },
        )
    };
    Uuid::from_bytes(work().or_raise())
}

/// Prices a usage object and books nothing.
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
            Error::argument("usage is missing")
                .detail("The argument usage is NULL or was not given.")
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
        let model = usage.model.clone().ok_or_else(|| {
            invalid("usage names no model")
                .detail(
                    "Neither the usage object nor the argument model says which model was used.",
                )
                .hint("Add \"model\" to the usage object, or pass the argument model.")
        })?;
        args::required("model", Some(&model))?;
        let reported = match cost_from {
            CostFrom::Prices => None,
            CostFrom::Provider => Some(usage.reported_amount()?),
        };
        let priced = |list: &str, own: Option<Currency>, rule: &UnknownPrice| {
            let currency = currency.or(own);
            let terms = Terms { list, currency, at };
            match reported {
                None => rate_or(&usage, &model, &terms, rule),
                Some(cost) => rate_beside(cost, &usage, &model, &terms),
            }
        };
        let priced = match wallet {
            None => enter_any(|_| {
                invalidation::catch_up();
                priced(DEFAULT_LIST, None, &UnknownPrice::Reject)
            }),
            Some(wallet) => enter(Level::Reader, wallet, |_| {
                let of = WalletPricing::of(wallet)?;
                let priced = priced(&of.list, Some(of.currency), &of.unknown_price)?;
                if of.rejects_unread {
                    require_read(&usage, &priced, &model)?;
                }
                Ok(priced)
            }),
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
