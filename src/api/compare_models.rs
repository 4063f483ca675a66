//! The SQL function that compares the cost of a usage with several models.

use crate::access::rights::{Level, enter, enter_any};
use crate::args;
use crate::money::Amount;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use crate::pg::{clock, invalidation};
use crate::pricing::book::DEFAULT_LIST;
use crate::pricing::compare::{compare, distinct, ratio};
use crate::pricing::rate::Terms;
use crate::pricing::usage::{MAX_USAGE_BYTES, Usage};
use crate::pricing::wallet_pricing::WalletPricing;
use pgrx::prelude::*;
use pgrx::{AnyNumeric, default};

/// The cost of the same usage with each of several models, the cheapest first. Books nothing.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn compare_models(
    usage: Option<Jsonb>,
    models: Option<Vec<Option<String>>>,
    wallet: default!(Option<&str>, "NULL"),
    at: default!(Option<TimestampWithTimeZone>, "now()"),
    currency: default!(Option<&str>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(model, String),
        name!(cost, Option<Amount>),
        name!(ratio, Option<AnyNumeric>),
        name!(currency, Option<String>),
    ),
> {
    let work = || {
        let object = usage.ok_or_else(|| {
            args::missing("usage")
                .hint("Pass an object such as {\"input_tokens\": 1000, \"output_tokens\": 450}.")
        })?;
        let models = distinct(models)?;
        let wallet = args::name("wallet", wallet)?;
        let currency = args::optional_currency("currency", currency)?;
        let usage = Usage::read(object.read("usage", MAX_USAGE_BYTES)?)?;
        let at = args::time("at", at)?.unwrap_or_else(clock::now);
        match wallet {
            None => enter_any(|_| {
                invalidation::catch_up();
                let list = DEFAULT_LIST;
                compare(&usage, &models, &Terms { list, currency, at })
            }),
            Some(wallet) => enter(Level::Reader, wallet, |_| {
                let of = WalletPricing::of(wallet)?;
                let currency = Some(currency.unwrap_or(of.currency));
                let list = &of.list;
                compare(&usage, &models, &Terms { list, currency, at })
            }),
        }
    };
    let rows = work().or_raise();
    let least = rows.first().and_then(|row| row.cost);
    TableIterator::new(rows.into_iter().map(move |row| {
        let ratio = row
            .cost
            .zip(least)
            .and_then(|(cost, least)| ratio(cost, least));
        let ratio = ratio.and_then(|ratio| AnyNumeric::try_from(ratio.to_string().as_str()).ok());
        let currency = row.currency.map(|currency| currency.to_string());
        (row.model, row.cost, ratio, currency)
    }))
}
