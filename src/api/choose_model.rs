//! The SQL function that chooses the first model that a request may use.

use crate::access::rights::{Level, enter};
use crate::args;
use crate::error::Result;
use crate::ledger::charges::request::{ChargeArgs, Request};
use crate::ledger::limits::check::Checking;
use crate::ledger::limits::choose::{self, Choice};
use crate::ledger::wallets::following;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::or_raise_keeping;
use pgrx::prelude::*;
use pgrx::{Inet, default};

/// Checks a usage with each of several models. Marks the first one that a charge or a hold would
/// allow. Books nothing.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments, clippy::type_complexity)]
fn choose_model(
    wallet: Option<&str>,
    usage: Option<Jsonb>,
    models: Option<Vec<Option<String>>>,
    user_id: default!(Option<&str>, "NULL"),
    team: default!(Option<&str>, "NULL"),
    key: default!(Option<&str>, "NULL"),
    service: default!(Option<&str>, "NULL"),
    tags: default!(Option<Jsonb>, "NULL"),
    client_ip: default!(Option<Inet>, "NULL"),
    device: default!(Option<&str>, "NULL"),
    region: default!(Option<&str>, "NULL"),
    service_tier: default!(Option<&str>, "NULL"),
    event_at: default!(Option<TimestampWithTimeZone>, "NULL"),
    cost_from: default!(Option<&str>, "'prices'"),
    for_hold: default!(Option<bool>, "false"),
) -> TableIterator<
    'static,
    (
        name!(model, String),
        name!(cost, Option<Amount>),
        name!(allowed, bool),
        name!(reason, Option<&'static str>),
        name!(remaining, Option<Amount>),
        name!(chosen, bool),
    ),
> {
    let work = || -> Result<_> {
        let wallet = args::required("wallet", wallet)?;
        let usage = usage.ok_or_else(|| {
            args::missing("usage")
                .hint("Pass an object such as {\"input_tokens\": 1000, \"output_tokens\": 450}.")
        })?;
        let models = choose::candidates(models)?;
        let request = Request::check(ChargeArgs {
            wallet: Some(wallet),
            usage: Some(usage),
            user_id,
            team,
            service,
            region,
            service_tier,
            tags,
            event_at: event_at.map(Timestamp::from),
            secret: key,
            client_ip,
            device,
            cost_from,
            ..ChargeArgs::default()
        })?;
        let checking = Checking::of(for_hold);
        following::foreseeing(wallet, || {
            enter(Level::Reader, wallet, |session| {
                choose::choose(session, &request, &models, checking)
            })
        })
    };
    TableIterator::new(or_raise_keeping(key, work).into_iter().map(choice_row))
}

type ChoiceRow = (
    String,
    Option<Amount>,
    bool,
    Option<&'static str>,
    Option<Amount>,
    bool,
);

fn choice_row(row: Choice) -> ChoiceRow {
    (
        row.model,
        row.cost,
        row.allowed,
        row.reason,
        row.remaining,
        row.chosen,
    )
}
