//! SQL functions on exchange rates.

use std::str::FromStr;

use pgrx::prelude::*;
use pgrx::{AnyNumeric, Uuid, default};
use rust_decimal::Decimal;

use crate::access::audit::{Act, Making, enter_making, note_down};
use crate::access::rights::{ALL_WALLETS, Level, enter_any, enter_as};
use crate::args;
use crate::currency::Currency;
use crate::error::{Error, Result, quoted};
use crate::idempotency::call::{Answer, IdempotentCall, begins, lost};
use crate::idempotency::fingerprint::{canonical, fingerprint};
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::{Builder, Json, Jsonb};
use crate::pg::jsonb_rows::{Leaf, array_of_sparse_objects};
use crate::pg::numeric::Number;
use crate::pg::raise::OrRaise;
use crate::pg::{clock, invalidation};
use crate::pricing::exchange::Conversion;
use crate::pricing::rates::{self, Quote, Recording};
use crate::storage::rows::uuid_text;

/// Largest document of `set_fx_rates`, in bytes of `jsonb`.
const MAX_RATES_BYTES: usize = 1 << 18;

fn missing(name: &str) -> Error {
    Error::argument(format!("{name} is missing"))
        .detail(format!("The argument {name} is NULL or was not given."))
        .hint(args::give(name, ""))
}

fn beginning(value: Option<TimestampWithTimeZone>) -> Result<Timestamp> {
    args::kept_time("effective_from", value)?.ok_or_else(|| missing("effective_from"))
}

/// Sets what one unit of a currency is worth in another, from a date on.
#[pg_extern(schema = "wallet", requires = ["ledger"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn set_fx_rate(
    from_currency: Option<&str>,
    to_currency: Option<&str>,
    rate: Option<Number>,
    effective_from: default!(Option<TimestampWithTimeZone>, "now()"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
    source: default!(Option<&str>, "NULL"),
) -> Uuid {
    let work = || {
        let quote = Quote {
            from: args::currency("from_currency", from_currency)?,
            to: args::currency("to_currency", to_currency)?,
            rate: rate.as_ref().map(rates::rate).transpose()?,
        };
        let actor = args::name("actor", actor)?;
        args::document("metadata", metadata)?;
        let recording = Recording {
            effective_from: beginning(effective_from)?,
            source: args::name("source", source)?,
            actor,
            metadata,
        };
        if quote.from == quote.to {
            return Err(
                Error::argument("from_currency and to_currency are the same")
                    .detail(format!("Both are {}.", quoted(quote.from)))
                    .hint("A currency needs no rate to itself."),
            );
        }
        let call = IdempotentCall {
            wallet: "",
            call: "set_fx_rate",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint(&[
                ("from_currency", Some(quote.from.to_string())),
                ("to_currency", Some(quote.to.to_string())),
                ("rate", quote.rate.map(|rate| rate.to_string())),
                ("effective_from", begins(recording.effective_from)),
            ]),
        };
        enter_making(
            Level::Admin,
            &Act {
                wallet: ALL_WALLETS,
                action: "set_fx_rate",
                actor,
                metadata,
            },
            Making::Rate,
            |_| call.id(|| recording.add(&quote).map(|(id, _)| id)),
        )
    };
    Uuid::from_bytes(work().or_raise())
}

/// A rate that `set_fx_rates` recorded, or found.
struct Recorded {
    to: String,
    rate: Decimal,
    id: [u8; 16],
    is_new: bool,
}

/// Records what one unit of a currency is worth in many others, from a date on, and returns a row a rate.
#[pg_extern(schema = "wallet", requires = ["ledger"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments, clippy::type_complexity)]
fn set_fx_rates(
    base: Option<&str>,
    rates: Option<Jsonb>,
    effective_from: default!(Option<TimestampWithTimeZone>, "now()"),
    source: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(to_currency, String),
        name!(rate, Option<AnyNumeric>),
        name!(rate_id, Uuid),
        name!(added, bool),
    ),
> {
    let work = || {
        let base = args::currency("base", base)?;
        let document = rates.ok_or_else(|| missing("rates"))?;
        let actor = args::name("actor", actor)?;
        args::document("metadata", metadata)?;
        let recording = Recording {
            effective_from: beginning(effective_from)?,
            source: args::name("source", source)?,
            actor,
            metadata,
        };
        let quotes = rates::quotes(base, &document.read("rates", MAX_RATES_BYTES)?)?;
        let call = IdempotentCall {
            wallet: "",
            call: "set_fx_rates",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint(&[
                ("base", Some(base.to_string())),
                ("rates", canonical(document)),
                ("effective_from", begins(recording.effective_from)),
            ]),
        };
        enter_as(Level::Admin, ALL_WALLETS, actor, |_| {
            if let Some(first) = call.answered()? {
                return first_answer(&first);
            }
            let mut rows = Vec::with_capacity(quotes.len());
            for quote in &quotes {
                let (id, is_new) = recording.add(quote)?;
                rows.push(Recorded {
                    to: quote.to.to_string(),
                    rate: quote.rate.unwrap_or_default(),
                    id,
                    is_new,
                });
            }
            let added = rows.iter().filter(|row| row.is_new).count();
            if added > 0 {
                let mut summary = Builder::default();
                summary.begin_object();
                summary.text("source", recording.source);
                summary.decimal("added", Decimal::from(added));
                summary.text("effective_from", Some(&recording.effective_from.to_json()));
                for row in rows.iter().filter(|row| row.is_new) {
                    summary.decimal(&row.to, row.rate);
                }
                let act = Act {
                    wallet: ALL_WALLETS,
                    action: "set_fx_rates",
                    actor,
                    metadata,
                };
                note_down(&act, &base, summary.finish_object())?;
            }
            call.remember(Some(answer(&rows)))?;
            Ok(rows)
        })
    };
    let rows = work().or_raise();
    TableIterator::new(rows.into_iter().map(|row| {
        let rate = AnyNumeric::from_str(&row.rate.to_string()).ok();
        (row.to, rate, Uuid::from_bytes(row.id), row.is_new)
    }))
}

/// The rows as an idempotency key remembers them.
fn answer(rows: &[Recorded]) -> Jsonb {
    let texts: Vec<[String; 2]> = rows
        .iter()
        .map(|row| [uuid_text(row.id), row.rate.to_string()])
        .collect();
    array_of_sparse_objects(
        ["id", "to", "new", "rate"],
        rows.iter().zip(&texts).map(|(row, [id, rate])| {
            let is_new = if row.is_new { Leaf::True } else { Leaf::Absent };
            [
                Leaf::Text(id),
                Leaf::Text(&row.to),
                is_new,
                Leaf::Text(rate),
            ]
        }),
    )
}

fn first_answer(answer: &Answer) -> Result<Vec<Recorded>> {
    match answer.result().ok_or_else(lost)?.reread("result")? {
        Json::Array(rows) => rows
            .iter()
            .map(|row| recorded(row).ok_or_else(lost))
            .collect(),
        _ => Err(lost()),
    }
}

fn recorded(row: &Json) -> Option<Recorded> {
    let entries = row.as_object()?;
    let text = |name: &str| {
        entries.iter().find_map(|(key, value)| match value {
            Json::String(text) if key == name => Some(text.as_str()),
            _ => None,
        })
    };
    Some(Recorded {
        to: text("to")?.to_owned(),
        rate: text("rate")?.parse().ok()?,
        id: uuid::Uuid::parse_str(text("id")?).ok()?.into_bytes(),
        is_new: entries.iter().any(|(key, _)| key == "new"),
    })
}

/// What an amount of a currency is worth in another, by the rate that a charge of that time would use.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn convert_amount(
    amount: Option<Number>,
    from_currency: Option<&str>,
    to_currency: Option<&str>,
    at: default!(Option<TimestampWithTimeZone>, "now()"),
) -> TableIterator<
    'static,
    (
        name!(amount, Option<Amount>),
        name!(rate, Option<AnyNumeric>),
        name!(inverse, Option<bool>),
        name!(rate_id, Option<Uuid>),
    ),
> {
    let work = || {
        let given = amount.map(|number| number.amount("amount")).transpose()?;
        let from: Currency = args::currency("from_currency", from_currency)?;
        let to = args::currency("to_currency", to_currency)?;
        let at = args::time("at", at)?.unwrap_or_else(clock::now);
        enter_any(|_| {
            invalidation::catch_up();
            let conversion = Conversion::into(to, at);
            let (worth, exchange) = conversion.amount(given.unwrap_or(Amount::ZERO), from)?;
            Ok((given.map(|_| worth), exchange))
        })
    };
    let (amount, exchange) = work().or_raise();
    let rate =
        exchange.and_then(|exchange| AnyNumeric::from_str(&exchange.rate.value.to_string()).ok());
    TableIterator::once((
        amount,
        rate,
        exchange.map(|exchange| exchange.rate.is_inverse),
        exchange.map(|exchange| Uuid::from_bytes(exchange.rate_id)),
    ))
}
