//! SQL functions on a wallet's price list and on prices of booked usage.

use crate::access::audit::{Of, enter_audited};
use crate::access::call::Call;
use crate::access::rights::{Level, enter};
use crate::api::wallets::row;
use crate::args;
use crate::error::Result;
use crate::ledger::charges::past_usage::Span;
use crate::ledger::charges::price_unpriced::Pricing;
use crate::ledger::charges::{price_unpriced, reprice, savings};
use crate::ledger::wallets::{config, settings};
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use crate::pg::row::BalanceRow;
use crate::pricing::compare;
use crate::pricing::lists::list_name;
use crate::pricing::visible_lists::require_visible;
use crate::storage::session::as_one_call;
use pgrx::prelude::*;
use pgrx::{Uuid, default};

/// Makes a wallet use a price list with priority over the default list. Returns the wallet's row of
/// `balances`.
#[pg_extern(schema = "wallet", requires = ["views"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn use_price_list(
    wallet: Option<&str>,
    price_list: Option<&str>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> BalanceRow {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let list = list_name(price_list)?;
        let call = Call::new("use_price_list", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("price_list", price_list);
        enter_audited(Level::Admin, &call.act(), Of::Wallet, |session| {
            settings::use_price_list(session, wallet, list, call.idempotent())
        })
    };
    row(work())
}

/// A span of time. `infinity` and `-infinity` mean the same as NULL.
fn span(from: Option<TimestampWithTimeZone>, to: Option<TimestampWithTimeZone>) -> Result<Span> {
    let (from, to) = (from.map(Timestamp::from), to.map(Timestamp::from));
    Span { from, to }.check()
}

/// Computes the cost of a period's charges with another price list. Books nothing.
#[pg_extern(schema = "wallet", stable)]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn reprice(
    wallet: Option<&str>,
    from: default!(Option<TimestampWithTimeZone>, "NULL"),
    to: default!(Option<TimestampWithTimeZone>, "NULL"),
    price_list: default!(Option<&str>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(entry_id, Uuid),
        name!(model, String),
        name!(cost, Amount),
        name!(new_cost, Option<Amount>),
        name!(difference, Option<Amount>),
    ),
> {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let span = span(from, to)?;
        let list = args::name("price_list", price_list)?;
        enter(Level::Reader, wallet, |session| {
            config::require(wallet)?;
            list.map_or(Ok(()), |list| require_visible(session, list))?;
            reprice::reprice(wallet, span, list)
        })
    };
    TableIterator::new(as_one_call(work).or_raise().into_iter().map(|row| {
        // The difference of two costs fits in an amount.
        let difference = row.new_cost.and_then(|new| new.minus(row.cost).ok());
        let id = Uuid::from_bytes(row.entry_id);
        (id, row.model, row.cost, row.new_cost, difference)
    }))
}

/// Compares a period's charges with their cost under other conditions, for `savings`.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn compare_charges(
    wallet: Option<&str>,
    from: default!(Option<TimestampWithTimeZone>, "NULL"),
    to: default!(Option<TimestampWithTimeZone>, "NULL"),
    models: default!(Option<Vec<Option<String>>>, "'{}'"),
) -> TableIterator<
    'static,
    (
        name!(kind, String),
        name!(name, String),
        name!(charges, i64),
        name!(of, i64),
        name!(actual, Amount),
        name!(alternative, Amount),
    ),
> {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let span = span(from, to)?;
        let models = match models {
            None => Vec::new(),
            Some(models) if models.is_empty() => Vec::new(),
            models => compare::distinct(models)?,
        };
        enter(Level::Reader, wallet, |_| {
            savings::savings(wallet, span, &models)
        })
    };
    TableIterator::new(work().or_raise().into_iter().map(|row| {
        let kind = row.kind.as_str().to_owned();
        (
            kind,
            row.name,
            row.charges,
            row.of,
            row.actual,
            row.alternative,
        )
    }))
}

/// Books the cost of charges without a price, if there is a price by now. Returns the new entries.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn price_unpriced(
    wallet: Option<&str>,
    from: default!(Option<TimestampWithTimeZone>, "NULL"),
    to: default!(Option<TimestampWithTimeZone>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(entry_id, Uuid),
        name!(related_id, Uuid),
        name!(model, String),
        name!(cost, Amount),
    ),
> {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let span = span(from, to)?;
        let micros = |at: Option<Timestamp>| at.map(|at| at.0.to_string());
        let call = Call::new("price_unpriced", wallet)
            .by(actor)?
            .once(idempotency_key)?
            .with("from", micros(span.from))
            .with("to", micros(span.to));
        let pricing = Pricing {
            wallet,
            span,
            actor: args::name("actor", actor)?,
            metadata: args::document("metadata", metadata)?,
        };
        call.enter(Level::Billing, |call| price_unpriced::price(&pricing, call))
    };
    TableIterator::new(work().or_raise().into_iter().map(|row| {
        let [entry_id, related_id] = [row.entry_id, row.related_id].map(Uuid::from_bytes);
        (entry_id, related_id, row.model, row.cost)
    }))
}
