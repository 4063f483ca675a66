//! SQL functions on exchange rates.

use crate::access::audit_making::Making;
use crate::access::call::Call;
use crate::access::rights::{ALL_WALLETS, Level, enter_any};
use crate::args;
use crate::currency::Currency;
use crate::error::{Error, Result, quoted};
use crate::idempotency::call::begins;
use crate::idempotency::fingerprint::canonical;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::Number;
use crate::pg::raise::OrRaise;
use crate::pg::{clock, invalidation};
use crate::pricing::exchange::Conversion;
use crate::pricing::rates::{self, Quote, Recording};
use crate::pricing::recorded;
use pgrx::prelude::*;
use pgrx::{AnyNumeric, Uuid, default};
use std::str::FromStr;

/// Maximum size of the document of `set_fx_rates`, in bytes of `jsonb`.
const MAX_RATES_BYTES: usize = 1 << 18;

fn missing(name: &str) -> Error {
    args::missing(name).hint(args::give(name, ""))
}

fn beginning(value: Option<TimestampWithTimeZone>) -> Result<Timestamp> {
    args::kept_time("effective_from", value)?.ok_or_else(|| missing("effective_from"))
}

/// Sets the value of one unit of a currency in another, from a date on.
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
        let call = Call::new("set_fx_rate", ALL_WALLETS)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("from_currency", quote.from)
            .with("to_currency", quote.to)
            .with("rate", quote.rate.map(|rate| rate.to_string()))
            .with("effective_from", begins(recording.effective_from));
        call.make(Level::Admin, Making::Rate, |call| {
            call.id(|| recording.add(&quote).map(|(id, _)| id))
        })
    };
    Uuid::from_bytes(work().or_raise())
}

/// Sets the value of one unit of a currency in many others, from a date on. Returns one row per
/// rate.
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
        let recording = Recording {
            effective_from: beginning(effective_from)?,
            source: args::name("source", source)?,
            actor,
            metadata,
        };
        let quotes = rates::quotes(base, &document.read("rates", MAX_RATES_BYTES)?)?;
        let call = Call::new("set_fx_rates", ALL_WALLETS)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("base", base)
            .with("rates", canonical(document))
            .with("effective_from", begins(recording.effective_from));
        call.enter(Level::Admin, |once| {
            recorded::record(&recording, base, &quotes, &call.act(), once)
        })
    };
    let rows = work().or_raise();
    TableIterator::new(rows.into_iter().map(|row| {
        let rate = AnyNumeric::from_str(&row.rate.to_string()).ok();
        (row.to, rate, Uuid::from_bytes(row.id), row.is_new)
    }))
}

/// Converts an amount to another currency, at the rate that a charge at that time would use.
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
