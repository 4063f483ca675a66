//! SQL functions for workers that process events of the outbox.

use crate::access::rights::{Need, enter_some};
use crate::alerts::events;
use crate::args;
use crate::error::{Error, Result};
use crate::money::Amount;
use crate::outbox::Name;
use crate::pg::cards;
use crate::pg::clock::Timestamp;
use crate::pg::raise::OrRaise;
use pgrx::datum::Interval;
use pgrx::prelude::*;
use pgrx::{JsonB, Uuid, default};

/// The maximum number of events that a worker claims at once.
const MAX_CLAIM: i32 = 10_000;

/// A time as PostgreSQL has it.
pub fn at(time: Timestamp) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(time.0).ok()
}

/// The names of events. 22023 for one that no event has.
pub fn names(events: Option<Vec<Option<String>>>) -> Result<Option<Vec<String>>> {
    let Some(events) = events else {
        return Ok(None);
    };
    events
        .into_iter()
        .map(|event| {
            let event = event.unwrap_or_default();
            if Name::ALL.iter().any(|name| name.as_str() == event) {
                return Ok(event);
            }
            let valid: Vec<&str> = Name::ALL.iter().map(|name| name.as_str()).collect();
            Err(args::unrecognized("event", &event, &valid))
        })
        .collect::<Result<Vec<_>>>()
        .map(Some)
}

/// How many rows a worker claims at once.
pub fn claimable(argument: &str, value: Option<i32>) -> Result<i64> {
    match value {
        Some(count @ 1..=MAX_CLAIM) => Ok(i64::from(count)),
        other => {
            let given = other.map_or("NULL".to_owned(), |count| count.to_string());
            Err(Error::argument(format!("{argument} is out of range"))
                .detail(format!("It is {given}; 1 to {MAX_CLAIM} are allowed."))
                .hint("Claim again when these are done."))
        }
    }
}

/// The error that a worker reports. A text that is too long must not prevent another attempt.
pub fn error_text(error: Option<&str>) -> Result<Option<String>> {
    if let Some(error) = error {
        cards::refuse_in_text("error", "error", error)?;
    }
    Ok(error.map(|text| text.chars().take(args::MAX_TEXT).collect()))
}

/// The pause that a worker asks for, in microseconds.
pub fn pause(after: Option<Interval>) -> Result<Option<i64>> {
    let given = after.map(|after| args::duration("after", Some(after)));
    given.transpose()
}

fn event_id(id: Option<Uuid>) -> Result<[u8; 16]> {
    args::id("id", id, "Give the id that claim_events() returned.")
}

/// Claims events for a period of time, the oldest first. No other worker gets them in that period.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn claim_events(
    max: default!(Option<i32>, "100"),
    lease: default!(Option<Interval>, "'1 minute'"),
    events: default!(Option<Vec<Option<String>>>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(id, Uuid),
        name!(wallet, String),
        name!(event, String),
        name!(threshold, Option<Amount>),
        name!(payload, Option<JsonB>),
        name!(created_at, Option<TimestampWithTimeZone>),
        name!(claimed_at, Option<TimestampWithTimeZone>),
        name!(done_at, Option<TimestampWithTimeZone>),
        name!(attempts, i32),
        name!(available_at, Option<TimestampWithTimeZone>),
        name!(last_error, Option<String>),
    ),
> {
    let work = || {
        let max = claimable("max", max)?;
        let lease = args::duration("lease", lease)?;
        let names = names(events)?;
        enter_some(Need::Events, |session| {
            events::claim(session, max, lease, names.as_deref())
        })
    };
    let rows: Vec<_> = work()
        .or_raise()
        .into_iter()
        .map(|event| {
            (
                Uuid::from_bytes(event.id),
                event.wallet,
                event.event,
                event.threshold,
                serde_json::from_str(&event.payload).ok().map(JsonB),
                at(event.created_at),
                at(event.claimed_at),
                None,
                event.attempts,
                at(event.available_at),
                event.last_error,
            )
        })
        .collect();
    TableIterator::new(rows)
}

/// Marks an event as done, so that no worker gets it again. Returns false if it was already done.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn finish_event(id: Option<Uuid>) -> bool {
    let work = || {
        let id = event_id(id)?;
        enter_some(Need::Events, |session| events::finish(session, id))
    };
    work().or_raise()
}

/// Releases an event for a later attempt and returns the time of that attempt; NULL if the event is
/// done.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn retry_event(
    id: Option<Uuid>,
    after: default!(Option<Interval>, "NULL"),
    error: default!(Option<&str>, "NULL"),
) -> Option<TimestampWithTimeZone> {
    let work = || {
        let id = event_id(id)?;
        let (after, error) = (pause(after)?, error_text(error)?);
        enter_some(Need::Events, |session| {
            events::retry(session, id, after, error.as_deref())
        })
    };
    work().or_raise().and_then(at)
}
