//! SQL functions on figures in other currencies.

use crate::access::rights::{Level, enter, enter_any, reach};
use crate::api::reports::reported;
use crate::args;
use crate::error::{Error, Result};
use crate::money::{Amount, NotAnAmount, Rate};
use crate::pg::numeric::{Number, not_an_amount, overflow};
use crate::pg::raise::OrRaise;
use crate::pg::{clock, invalidation};
use crate::pricing::exchange::{self, Conversion};
use crate::pricing::lines::Exchange;
use crate::reporting::currencies::{self, currency_of};
use pgrx::prelude::*;
use pgrx::{AnyNumeric, default};
use rust_decimal::Decimal;
use std::str::FromStr;

/// A rate as SQL returns it, and whether it is the rate of the opposite pair.
type Shown = (Option<AnyNumeric>, Option<bool>);

fn shown(exchange: Option<&Exchange>) -> Shown {
    let rate = exchange.map(|exchange| exchange.rate);
    (
        rate.and_then(|rate| AnyNumeric::from_str(&rate.value.to_string()).ok()),
        rate.map(|rate| rate.is_inverse),
    )
}

/// The currency in which figures of a wallet are shown, and the rates at several times, in the
/// order of the times. A rate is NULL if the currency is the wallet's own or the time is NULL.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn exchange_rates(
    of_wallet: Option<&str>,
    currency: Option<&str>,
    at: Option<Vec<Option<TimestampWithTimeZone>>>,
) -> TableIterator<
    'static,
    (
        name!(wallet, String),
        name!(currency, String),
        name!(rate, Option<AnyNumeric>),
        name!(inverse, Option<bool>),
    ),
> {
    let work = || {
        let wallet = args::required("wallet", of_wallet)?;
        let named = args::optional_currency("currency", currency)?;
        enter(Level::Reader, wallet, |_| {
            let own = currency_of(wallet)?;
            let into = named.unwrap_or(own);
            invalidation::catch_up();
            let rate = |at: Option<TimestampWithTimeZone>| -> Result<_> {
                let exchange = match at {
                    Some(at) => Conversion::into(into, at.into()).of(own)?,
                    None => None,
                };
                let (rate, inverse) = shown(exchange.as_ref());
                Ok((wallet.to_owned(), into.to_string(), rate, inverse))
            };
            let times = at.unwrap_or_default().into_iter();
            times.map(rate).collect::<Result<Vec<_>>>()
        })
    };
    TableIterator::new(work().or_raise())
}

/// Converts an amount, or one of `parts` equal parts of it, at a rate: rounded once, half to even,
/// at the twelfth decimal. It runs no SQL, and setting a search path would cost many times as much
/// as the computation.
#[pg_extern(schema = "wallet", immutable, strict, parallel_safe)]
fn exchanged(amount: Number, rate: Number, inverse: bool, parts: default!(Number, "1")) -> Amount {
    let work = || {
        let decimal = |name: &str, number: &Number| {
            let reason = match number {
                Number::Finite { .. } => NotAnAmount::OutOfRange,
                Number::NaN | Number::Infinite => NotAnAmount::NotFinite,
            };
            number
                .to_decimal()
                .ok_or_else(|| not_an_amount(name, reason))
        };
        let positive = |name: &str, number: &Number| match decimal(name, number)? {
            value if value > Decimal::ZERO => Ok(value),
            _ => Err(not_an_amount(name, NotAnAmount::OutOfRange)),
        };
        let rate = Rate {
            value: positive("rate", &rate)?,
            is_inverse: inverse,
        };
        let figure = decimal("amount", &amount)?;
        exchange::exchanged_part(figure, positive("parts", &parts)?, rate)
    };
    work().or_raise()
}

/// The balances of all wallets that the caller may read, converted to one currency.
#[pg_extern(schema = "wallet", stable, parallel_restricted, requires = ["usage"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn balances_in(
    currency: Option<&str>,
    at: default!(Option<TimestampWithTimeZone>, "now()"),
) -> TableIterator<
    'static,
    (
        name!(wallet, String),
        name!(own_currency, String),
        name!(own_balance, Amount),
        name!(balance, Amount),
        name!(currency, String),
        name!(rate, Option<AnyNumeric>),
        name!(inverse, Option<bool>),
    ),
> {
    let work = || {
        let into = args::currency("currency", currency)?;
        let at = args::time("at", at)?.unwrap_or_else(clock::now);
        let rows = enter_any(|session| {
            invalidation::catch_up();
            let reach = reach(session, Level::Reader)?;
            currencies::balances_in(reach.as_deref(), into, at)
        })?;
        Ok::<_, Error>((into, rows))
    };
    let (into, rows) = work().or_raise();
    TableIterator::new(rows.into_iter().map(move |row| {
        let (rate, inverse) = shown(row.exchange.as_ref());
        (
            row.own.wallet,
            row.own.currency.to_string(),
            row.own.amount,
            row.balance,
            into.to_string(),
            rate,
            inverse,
        )
    }))
}

/// The balances of wallets at a time, with their paid and promotional parts.
#[pg_extern(schema = "wallet", stable, parallel_restricted, requires = ["usage"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn balances_at(
    at: default!(Option<TimestampWithTimeZone>, "now()"),
    wallets: default!(Option<Vec<Option<String>>>, "'{*}'"),
) -> TableIterator<
    'static,
    (
        name!(wallet, String),
        name!(balance, Amount),
        name!(paid, Amount),
        name!(promotional, Amount),
        name!(currency, String),
    ),
> {
    let work = || {
        let at = args::time("at", at)?.unwrap_or_else(clock::now);
        let reached = reported(wallets)?;
        enter_any(|_| currencies::balances(reached.as_deref(), at, true))?
            .into_iter()
            .map(|row| {
                let paid = row.amount.minus(row.promotional).map_err(overflow)?;
                let currency = row.currency.to_string();
                Ok((row.wallet, row.amount, paid, row.promotional, currency))
            })
            .collect::<Result<Vec<_>>>()
    };
    TableIterator::new(work().or_raise())
}
