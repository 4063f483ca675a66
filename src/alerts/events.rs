//! Workers claim events of the outbox for a limited time (a lease) and report when they are done.
//!
//! An event is delivered at least once. It can be claimed again when its lease has run out, or
//! after the pause that `retry_event` asked for. Workers that claim at the same moment get
//! different events: a claim locks the rows of its events until the worker's transaction ends, and
//! other claims skip locked rows.

use crate::access::rights::{Need, reach};
use crate::alerts::free::{Free, Key};
use crate::error::{Code, Error, Result};
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::uuid_text;
use crate::storage::session::Session;

/// Longest pause that [`retry`] chooses by itself.
const MAX_PAUSE_SECONDS: i64 = 3600;

// Each event is looked up by its key. A join of a list with the outbox would be planned once, for
// as few events as there were at that time.
statement!(
    TAKE,
    [TEXTOID, UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID],
    "WITH free AS MATERIALIZED (
         SELECT
           FROM wallet.outbox
          WHERE wallet_id = $1 AND event_id = $2 AND done_at IS NULL AND available_at <= $3
            FOR NO KEY UPDATE SKIP LOCKED
     )
     UPDATE wallet.outbox o
        SET claimed_at = $3, available_at = $4, attempts = o.attempts + 1
       FROM free
      WHERE o.wallet_id = $1 AND o.event_id = $2
     RETURNING o.event, trim_scale(o.threshold), o.payload, o.created_at, o.attempts, o.last_error"
);

statement!(
    FIND,
    [UUIDOID, TEXTARRAYOID],
    "SELECT done_at IS NOT NULL, attempts
       FROM wallet.outbox
      WHERE event_id = $1 AND ($2 IS NULL OR wallet_id = ANY ($2))
        FOR NO KEY UPDATE"
);

statement!(
    FINISH,
    [UUIDOID, TIMESTAMPTZOID],
    "UPDATE wallet.outbox SET done_at = $2 WHERE event_id = $1"
);

statement!(
    RETRY,
    [UUIDOID, TIMESTAMPTZOID, TEXTOID],
    "UPDATE wallet.outbox SET available_at = $2, claimed_at = NULL, last_error = $3 WHERE event_id = $1"
);

/// An event that a worker has claimed.
pub struct Claimed {
    /// Id of the row in `wallet.outbox`.
    pub id: [u8; 16],
    /// The wallet that the event is about.
    pub wallet: String,
    /// The event's name.
    pub event: String,
    /// The threshold that was crossed; `None` for events of other kinds.
    pub threshold: Option<Amount>,
    /// The details, as JSON text.
    pub payload: String,
    /// When the event happened.
    pub created_at: Timestamp,
    /// When the worker claimed it.
    pub claimed_at: Timestamp,
    /// How often the event has been claimed, this time included.
    pub attempts: i32,
    /// When the lease ends and the event can be claimed again.
    pub available_at: Timestamp,
    /// The error that a worker reported at the last attempt.
    pub last_error: Option<String>,
}

/// Claims up to `max` events, the oldest first.
pub fn claim(
    session: &Session,
    max: i64,
    lease: i64,
    events: Option<&[String]>,
) -> Result<Vec<Claimed>> {
    let now = clock::now();
    let until = Timestamp(now.0.saturating_add(lease));
    let reach = reach(session, Need::Events)?;
    let max = usize::try_from(max).unwrap_or(0);
    let mut free = Free::begin(now, max, events, reach.as_deref())?;
    let mut claimed = Vec::new();
    while claimed.len() < max
        && let Some(event) = free.next()?
    {
        claimed.extend(take(&event, now, until)?);
    }
    Ok(claimed)
}

/// Claims one event, unless another worker has claimed it in the meantime.
fn take(event: &Key, now: Timestamp, until: Timestamp) -> Result<Option<Claimed>> {
    let rows = TAKE.run(&[
        Value::Text(&event.wallet),
        Value::Uuid(event.id),
        Value::Time(now),
        Value::Time(until),
    ])?;
    if rows.is_empty() {
        return Ok(None);
    }
    let payload = rows
        .datum(0, 2)
        .map(Jsonb)
        .ok_or_else(|| Error::internal("an event has no payload"))?;
    Ok(Some(Claimed {
        id: event.id,
        wallet: event.wallet.clone(),
        event: rows.need(0, 0)?,
        threshold: rows.opt_amount(0, 1)?,
        payload: payload.to_text(),
        created_at: rows.need(0, 3)?,
        claimed_at: now,
        attempts: rows.need(0, 4)?,
        available_at: until,
        last_error: rows.get(0, 5),
    }))
}

/// Returns whether the event is done, and how often it has been claimed.
fn find(session: &Session, id: [u8; 16]) -> Result<(bool, i32)> {
    let reach = reach(session, Need::Events)?;
    let rows = FIND.run(&[Value::Uuid(id), Value::OptTexts(reach.as_deref())])?;
    if rows.is_empty() {
        return Err(Error::new(
            Code::ObjectNotFound,
            format!("event \"{}\" does not exist", uuid_text(id)),
        )
        .detail("No event of a wallet that this role may act on has that id.")
        .hint("Pass an id that claim_events() returned."));
    }
    Ok((rows.need(0, 0)?, rows.need(0, 1)?))
}

/// Marks an event as done; false if it was done already.
pub fn finish(session: &Session, id: [u8; 16]) -> Result<bool> {
    let (done, _) = find(session, id)?;
    if !done {
        FINISH.run(&[Value::Uuid(id), Value::Time(clock::now())])?;
    }
    Ok(!done)
}

/// Returns an event to the outbox, to be claimed again after a pause. Without `after`, the pause
/// doubles with every attempt. Returns when the pause ends, or `None` if the event is done.
pub fn retry(
    session: &Session,
    id: [u8; 16],
    after: Option<i64>,
    error: Option<&str>,
) -> Result<Option<Timestamp>> {
    let (done, attempts) = find(session, id)?;
    if done {
        return Ok(None);
    }
    let pause = after.unwrap_or_else(|| pause(attempts).saturating_mul(1_000_000));
    let at = Timestamp(clock::now().0.saturating_add(pause));
    RETRY.run(&[Value::Uuid(id), Value::Time(at), Value::OptText(error)])?;
    Ok(Some(at))
}

/// Seconds until the next attempt.
fn pause(attempts: i32) -> i64 {
    let doublings = u32::try_from(attempts - 1).unwrap_or(0).min(20);
    (1_i64 << doublings).min(MAX_PAUSE_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::pause;

    #[test]
    fn the_pause_doubles_and_ends() {
        assert_eq!([0, 1, 2, 3, 7].map(pause), [1, 1, 2, 4, 64]);
        assert_eq!(pause(13), 3600);
        assert_eq!(pause(i32::MAX), 3600);
    }
}
