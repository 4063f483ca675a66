//! SQL functions for workers that deliver events.

use crate::access::rights::{Level, Need, enter, enter_some};
use crate::api::events::{at, claimable, error_text, pause};
use crate::args;
use crate::delivery::queue::{self, Failure};
use crate::error::{Code, Error, Result};
use crate::money::Amount;
use crate::pg::raise::OrRaise;
use pgrx::datum::Interval;
use pgrx::prelude::*;
use pgrx::{JsonB, Uuid, default};

fn delivery_id(id: Option<Uuid>) -> Result<[u8; 16]> {
    let hint = "Give the id that claim_deliveries() returned.";
    args::id("delivery_id", id, hint)
}

/// Claims deliveries for a period of time. No other worker gets them in that period.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn claim_deliveries(
    max: default!(Option<i32>, "100"),
    batch: default!(Option<i32>, "1"),
    lease: default!(Option<Interval>, "'1 minute'"),
) -> TableIterator<
    'static,
    (
        name!(wallet, String),
        name!(delivery_id, Uuid),
        name!(set_for, String),
        name!(destination, String),
        name!(kind, String),
        name!(target, String),
        name!(secrets, Vec<String>),
        name!(attempts, i32),
        name!(last_error, Option<String>),
        name!(event_id, Uuid),
        name!(event, String),
        name!(threshold, Option<Amount>),
        name!(payload, Option<JsonB>),
        name!(created_at, Option<TimestampWithTimeZone>),
    ),
> {
    let work = || {
        let (max, batch) = (claimable("max", max)?, claimable("batch", batch)?);
        let lease = args::duration("lease", lease)?;
        enter_some(Need::Events, |session| {
            queue::claim(session, max, batch, lease)
        })
    };
    let rows = work().or_raise().into_iter().map(|one| {
        (
            one.wallet,
            Uuid::from_bytes(one.id),
            one.set_for,
            one.destination,
            one.kind,
            one.target,
            one.secrets,
            one.attempts,
            one.last_error,
            Uuid::from_bytes(one.event_id),
            one.event,
            one.threshold,
            serde_json::from_str(&one.payload).ok().map(JsonB),
            at(one.created_at),
        )
    });
    TableIterator::new(rows.collect::<Vec<_>>())
}

/// Marks a delivery as made. Returns false if it was already made.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn finish_delivery(wallet: Option<&str>, delivery_id: Option<Uuid>) -> bool {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let id = self::delivery_id(delivery_id)?;
        enter(Need::Events, wallet, |session| {
            queue::finish(session, wallet, id)
        })
    };
    work().or_raise()
}

/// Records a failed attempt of a delivery. Returns when the next attempt is due; NULL if the
/// delivery is made or given up.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn retry_delivery(
    wallet: Option<&str>,
    delivery_id: Option<Uuid>,
    after: default!(Option<Interval>, "NULL"),
    error: default!(Option<&str>, "NULL"),
    max_attempts: default!(Option<i32>, "10"),
) -> Option<TimestampWithTimeZone> {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let id = self::delivery_id(delivery_id)?;
        let (after, error) = (pause(after)?, error_text(error)?);
        let max_attempts = max_attempts.filter(|most| *most >= 1).ok_or_else(|| {
            Error::argument("max_attempts is out of range")
                .detail("It is NULL or less than 1.")
                .hint("Give 1 to give the delivery up at once.")
        })?;
        let failure = Failure {
            after,
            error: error.as_deref(),
            max_attempts,
        };
        enter(Need::Events, wallet, |session| {
            queue::retry(session, wallet, id, &failure)
        })
    };
    work().or_raise().and_then(at)
}

/// Makes a delivery wait for another attempt.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn resend_delivery(wallet: Option<&str>, delivery_id: Option<Uuid>) {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let id = self::delivery_id(delivery_id)?;
        let is_waiting = enter(Level::Billing, wallet, |session| {
            queue::resend(session, wallet, id)
        })?;
        if is_waiting {
            return Ok(());
        }
        Err(Error::new(
            Code::ObjectNotFound,
            "the destination of the delivery does not exist",
        )
        .detail("It was dropped after the event.")
        .hint("Set it again with set_destination(), under the same name."))
    };
    work().or_raise();
}
