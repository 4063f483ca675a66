//! SQL functions that set where events are delivered to.

use crate::access::audit::Of;
use crate::access::call::Call;
use crate::access::rights::{ALL_WALLETS, Level};
use crate::api::events;
use crate::args;
use crate::delivery::destinations::{self, Destination, Signed};
use crate::delivery::target::{Kind, check_secret};
use crate::delivery::usage;
use crate::error::{Error, Result};
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use pgrx::datum::Interval;
use pgrx::default;
use pgrx::prelude::*;

/// The destination's name, its signing secret if one was made, and whether the result is that of an
/// earlier call.
type SignedRows = TableIterator<'static, (String, Option<String>, bool)>;

fn row(name: Option<&str>, signed: Signed) -> SignedRows {
    let name = name.unwrap_or_default().to_owned();
    TableIterator::once((name, signed.secret, signed.replayed))
}

/// The name of a destination.
fn checked_name(name: Option<&str>) -> Result<&str> {
    args::new_name("name", name)
}

/// The signing secret that a caller gives. Only webhooks are signed.
fn given_secret(kind: Kind, secret: Option<&str>) -> Result<Option<&str>> {
    let secret = args::name("secret", secret)?;
    match secret {
        Some(_) if kind != Kind::Webhook => {
            Err(Error::argument("secret is given without a webhook")
                .detail(format!(
                    "Messages of kind {} are not signed.",
                    kind.as_str()
                ))
                .hint("Leave secret out."))
        }
        Some(secret) => check_secret(secret).map(|()| Some(secret)),
        None => Ok(None),
    }
}

/// The names of the events to deliver. Charges go to webhooks of single wallets only: a message per
/// batch is no use to people, and a webhook of all wallets would make each claim search them all.
fn wanted_events(
    wallet: &str,
    kind: Kind,
    events: Option<Vec<Option<String>>>,
) -> Result<Option<Vec<String>>> {
    let names = events::names(events)?;
    let wants_usage = names.iter().flatten().any(|event| event == usage::EVENT);
    let (detail, hint) = match (wants_usage, kind, wallet) {
        (true, Kind::Webhook, ALL_WALLETS) => (
            "The destination is one of all wallets.".to_owned(),
            "Set a webhook of each wallet whose charges are to be delivered, or read changes().",
        ),
        (true, Kind::Webhook, _) | (false, ..) => return Ok(names),
        (true, ..) => (
            format!("Messages of kind {} have no batches.", kind.as_str()),
            "Leave the event out, or set a webhook.",
        ),
    };
    let message = format!("{} cannot be delivered to this destination", usage::EVENT);
    Err(Error::argument(message).detail(detail).hint(hint))
}

/// Sets a destination of a wallet's events. Returns the signing secret of a new webhook.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn set_destination(
    wallet: Option<&str>,
    kind: Option<&str>,
    target: Option<&str>,
    events: default!(Option<Vec<Option<String>>>, "NULL"),
    name: default!(Option<&str>, "'default'"),
    secret: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(name, String),
        name!(secret, Option<String>),
        name!(replayed, bool),
    ),
> {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let kind = args::word("kind", kind, Kind::ALL, Kind::as_str, &[])?;
        let target = args::text("target", target)?
            .ok_or_else(|| args::missing("target").hint("Give a URL or an e-mail address."))?;
        let new = Destination {
            wallet,
            name: checked_name(name)?,
            kind,
            target,
            address: kind.address(target)?,
            events: wanted_events(wallet, kind, events)?,
            secret: given_secret(kind, secret)?,
            actor: args::name("actor", actor)?,
            metadata: args::document("metadata", metadata)?,
        };
        let call = Call::new("set_destination", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("name", new.name)
            .with("kind", kind.as_str())
            .with("target", target)
            .with("events", new.events.as_deref())
            .with("secret", new.secret);
        call.change(Level::Admin, Of::Destination(new.name), |call| {
            destinations::set(&new, call)
        })
    };
    row(name, work().or_raise())
}

/// Replaces the signing secret of a webhook.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn rotate_destination(
    wallet: Option<&str>,
    name: default!(Option<&str>, "'default'"),
    overlap: default!(Option<Interval>, "'1 day'"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(name, String),
        name!(secret, Option<String>),
        name!(replayed, bool),
    ),
> {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let name = checked_name(name)?;
        let overlap = args::duration("overlap", overlap)?;
        let call = Call::new("rotate_destination", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("name", name)
            .with("overlap", overlap);
        call.change(Level::Admin, Of::Destination(name), |call| {
            destinations::rotate(name, overlap, call)
        })
    };
    row(name, work().or_raise())
}

/// Removes a destination of a wallet's events.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn drop_destination(
    wallet: Option<&str>,
    name: default!(Option<&str>, "'default'"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let name = checked_name(name)?;
        let call = Call::new("drop_destination", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("name", name);
        call.change(Level::Admin, Of::Destination(name), |call| {
            destinations::drop_it(name, call)
        })
    };
    work().or_raise();
}
