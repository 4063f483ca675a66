//! Workers claim deliveries for a limited time (a lease) and report what became of them.
//!
//! A queue is the deliveries of one wallet to one destination. Only the first delivery of a queue
//! can be claimed, together with those that follow it. So a destination gets the events of a wallet
//! one after the other, in the order of their ids, and a delivery that fails holds up its own queue
//! alone. An event of a transaction that commits late may follow one with a later id.
//!
//! A delivery is made at least once. It can be claimed again when its lease has run out, or after
//! the pause that `retry_delivery` asked for.

use crate::access::rights::{ALL_WALLETS, Need, reach};
use crate::delivery::usage;
use crate::error::{Code, Error, Result};
use crate::ledger::wallets::config;
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::uuid_text;
use crate::storage::session::Session;

statement!(
    /// The first delivery of each queue, one look-up per queue. Those that may be claimed are
    /// sorted by the age of their events.
    HEADS,
    [TIMESTAMPTZOID, TEXTARRAYOID, INT8OID],
    "WITH RECURSIVE head AS (
         (SELECT d.set_for, d.destination, d.wallet_id, d.event_id, d.delivery_id, d.available_at
            FROM wallet.deliveries d
           WHERE d.delivered_at IS NULL AND d.dead_at IS NULL
           ORDER BY d.set_for, d.destination, d.wallet_id, d.event_id LIMIT 1)
          UNION ALL
         SELECT n.* FROM head h
          CROSS JOIN LATERAL (
                SELECT d.set_for, d.destination, d.wallet_id, d.event_id, d.delivery_id, d.available_at
                  FROM wallet.deliveries d
                 WHERE d.delivered_at IS NULL AND d.dead_at IS NULL
                   AND (d.set_for, d.destination, d.wallet_id) > (h.set_for, h.destination, h.wallet_id)
                 ORDER BY d.set_for, d.destination, d.wallet_id, d.event_id LIMIT 1) n
     )
     SELECT h.wallet_id, h.delivery_id
       FROM head h
      WHERE h.available_at <= $1 AND ($2 IS NULL OR h.set_for <> '*' AND h.wallet_id = ANY ($2))
      ORDER BY h.event_id
      LIMIT $3"
);

statement!(
    /// Claims the first delivery of a queue and those that follow, up to one that must wait. A
    /// worker may have later deliveries of the queue, if the event of the first one was committed
    /// late. Then the queue is that worker's until it is done.
    TAKE,
    [TEXTOID, UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID],
    "WITH head AS MATERIALIZED (
         SELECT d.set_for, d.destination, d.event_id
           FROM wallet.deliveries d
          WHERE d.wallet_id = $1 AND d.delivery_id = $2 AND d.available_at <= $3
            AND d.delivered_at IS NULL AND d.dead_at IS NULL
            AND NOT EXISTS (
                SELECT FROM wallet.deliveries l
                 WHERE l.set_for = d.set_for AND l.destination = d.destination AND l.wallet_id = $1
                   AND l.claimed_at > '-infinity' AND l.delivered_at IS NULL AND l.dead_at IS NULL
                   AND l.available_at > $3)
            FOR NO KEY UPDATE SKIP LOCKED
     ), batch AS MATERIALIZED (
         SELECT d.delivery_id
           FROM head h
          CROSS JOIN LATERAL (
                SELECT f.delivery_id, bool_and(f.available_at <= $3) OVER (ORDER BY f.event_id) AS is_free
                  FROM (SELECT n.delivery_id, n.event_id, n.available_at FROM wallet.deliveries n
                         WHERE n.set_for = h.set_for AND n.destination = h.destination AND n.wallet_id = $1
                           AND n.event_id >= h.event_id AND n.delivered_at IS NULL AND n.dead_at IS NULL
                         ORDER BY n.event_id LIMIT $5) f) d
          WHERE d.is_free
     ), taken AS (
         UPDATE wallet.deliveries d
            SET claimed_at = $3, available_at = $4
           FROM batch b
          WHERE d.wallet_id = $1 AND d.delivery_id = b.delivery_id AND d.available_at <= $3
         RETURNING d.delivery_id, d.event_id, d.set_for, d.destination, d.attempts, d.last_error
     )
     SELECT t.delivery_id, t.event_id, t.set_for, t.destination, t.attempts, t.last_error,
            a.kind, a.target_secret,
            CASE WHEN a.previous_until > $3 THEN ARRAY[a.signing_secret, a.previous_secret]
                 WHEN a.signing_secret IS NOT NULL THEN ARRAY[a.signing_secret] ELSE '{}' END,
            o.event, trim_scale(o.threshold), o.payload, o.created_at
       FROM taken t
       JOIN wallet.destinations a ON a.wallet_id = t.set_for AND a.name = t.destination
       JOIN wallet.outbox o ON o.wallet_id = $1 AND o.event_id = t.event_id
      ORDER BY t.event_id"
);

statement!(
    FIND,
    [TEXTOID, UUIDOID],
    "SELECT delivered_at IS NOT NULL, dead_at IS NOT NULL, attempts, set_for
       FROM wallet.deliveries
      WHERE wallet_id = $1 AND delivery_id = $2
        FOR NO KEY UPDATE"
);

statement!(
    FINISH,
    [TEXTOID, UUIDOID, TIMESTAMPTZOID],
    "UPDATE wallet.deliveries SET delivered_at = $3, dead_at = NULL
      WHERE wallet_id = $1 AND delivery_id = $2"
);

statement!(
    /// Releases the deliveries that were claimed together with a failed one and follow it.
    RELEASE,
    [TEXTOID, UUIDOID, TIMESTAMPTZOID],
    "UPDATE wallet.deliveries o
        SET claimed_at = NULL, available_at = $3
       FROM wallet.deliveries d
      WHERE d.wallet_id = $1 AND d.delivery_id = $2
        AND o.set_for = d.set_for AND o.destination = d.destination AND o.wallet_id = $1
        AND o.event_id > d.event_id AND o.claimed_at = d.claimed_at
        AND o.delivered_at IS NULL AND o.dead_at IS NULL"
);

statement!(
    FAIL,
    [TEXTOID, UUIDOID, TIMESTAMPTZOID, TEXTOID, TIMESTAMPTZOID],
    "UPDATE wallet.deliveries
        SET attempts = attempts + 1, available_at = coalesce($3, available_at), claimed_at = NULL,
            last_error = $4, dead_at = $5
      WHERE wallet_id = $1 AND delivery_id = $2"
);

statement!(
    RESEND,
    [TEXTOID, UUIDOID, TIMESTAMPTZOID],
    "UPDATE wallet.deliveries
        SET attempts = 0, available_at = $3, claimed_at = NULL, delivered_at = NULL, dead_at = NULL
      WHERE wallet_id = $1 AND delivery_id = $2
        AND EXISTS (SELECT FROM wallet.destinations a WHERE a.wallet_id = set_for AND a.name = destination)
     RETURNING true"
);

/// A delivery that a worker has claimed.
pub struct Claimed {
    /// Id of the delivery.
    pub id: [u8; 16],
    /// Id of the event, which is the same for all destinations and attempts.
    pub event_id: [u8; 16],
    /// The wallet that the event is about.
    pub wallet: String,
    /// The wallet of the destination, or `*`.
    pub set_for: String,
    /// The destination's name.
    pub destination: String,
    /// The number of failed attempts.
    pub attempts: i32,
    /// The error that a worker reported at the last attempt.
    pub last_error: Option<String>,
    /// The kind of the destination.
    pub kind: String,
    /// The URL or e-mail address.
    pub target: String,
    /// The secrets to sign with, the current one first.
    pub secrets: Vec<String>,
    /// The event's name.
    pub event: String,
    /// The threshold that was crossed; `None` for events of other kinds.
    pub threshold: Option<Amount>,
    /// The details, as JSON text.
    pub payload: String,
    /// When the event happened.
    pub created_at: Timestamp,
}

/// Claims deliveries of up to `max` queues, those with the oldest events first, and up to `batch`
/// of each.
pub fn claim(session: &Session, max: i64, batch: i64, lease: i64) -> Result<Vec<Claimed>> {
    let now = clock::now();
    let until = Timestamp(now.0.saturating_add(lease));
    let reach = reach(session, Need::Events)?;
    usage::emit(reach.as_deref(), now, max)?;
    let heads = HEADS.run(&[
        Value::Time(now),
        Value::OptTexts(reach.as_deref()),
        Value::Int8(max),
    ])?;
    let mut claimed = Vec::new();
    for row in 0..heads.len() {
        let wallet: String = heads.need(row, 0)?;
        let rows = TAKE.run(&[
            Value::Text(&wallet),
            Value::Uuid(heads.need(row, 1)?),
            Value::Time(now),
            Value::Time(until),
            Value::Int8(batch),
        ])?;
        for row in 0..rows.len() {
            claimed.push(read(&wallet, &rows, row)?);
        }
    }
    Ok(claimed)
}

fn read(wallet: &str, rows: &Rows, row: usize) -> Result<Claimed> {
    let payload = rows.datum(row, 11).map(Jsonb);
    Ok(Claimed {
        id: rows.need(row, 0)?,
        event_id: rows.need(row, 1)?,
        wallet: wallet.to_owned(),
        set_for: rows.need(row, 2)?,
        destination: rows.need(row, 3)?,
        attempts: rows.need(row, 4)?,
        last_error: rows.get(row, 5),
        kind: rows.need(row, 6)?,
        target: rows.need(row, 7)?,
        secrets: rows.need(row, 8)?,
        event: rows.need(row, 9)?,
        threshold: rows.opt_amount(row, 10)?,
        payload: payload
            .ok_or_else(|| Error::internal("an event has no payload"))?
            .to_text(),
        created_at: rows.need(row, 12)?,
    })
}

/// The state of a delivery.
struct State {
    is_delivered: bool,
    is_dead: bool,
    attempts: i32,
}

fn find(session: &Session, wallet: &str, id: [u8; 16]) -> Result<State> {
    let missing = || {
        Error::new(
            Code::ObjectNotFound,
            format!("delivery \"{}\" does not exist", uuid_text(id)),
        )
        .detail("No delivery that this role may act on has that id.")
        .hint("Pass a wallet and an id that claim_deliveries() returned; wallet.delivery_list shows them.")
    };
    let rows = FIND.run(&[Value::Text(wallet), Value::Uuid(id)])?;
    if rows.is_empty() {
        config::require(wallet)?;
        return Err(missing());
    }
    // Who processes the events of one wallet does not act on the destinations of all.
    let set_for: String = rows.need(0, 3)?;
    if set_for == ALL_WALLETS && reach(session, Need::Events)?.is_some() {
        return Err(missing());
    }
    Ok(State {
        is_delivered: rows.need(0, 0)?,
        is_dead: rows.need(0, 1)?,
        attempts: rows.need(0, 2)?,
    })
}

/// Marks a delivery as made; false if it was made already.
pub fn finish(session: &Session, wallet: &str, id: [u8; 16]) -> Result<bool> {
    let state = find(session, wallet, id)?;
    if !state.is_delivered {
        FINISH.run(&[
            Value::Text(wallet),
            Value::Uuid(id),
            Value::Time(clock::now()),
        ])?;
    }
    Ok(!state.is_delivered)
}

/// A failed attempt.
pub struct Failure<'a> {
    /// The pause until the next attempt in microseconds. `None`: it doubles with every attempt.
    pub after: Option<i64>,
    /// The error.
    pub error: Option<&'a str>,
    /// The number of attempts after which the delivery is given up.
    pub max_attempts: i32,
}

/// Records a failed attempt. Returns when the next one is due; `None` if the delivery is made or
/// given up.
pub fn retry(
    session: &Session,
    wallet: &str,
    id: [u8; 16],
    failure: &Failure<'_>,
) -> Result<Option<Timestamp>> {
    let state = find(session, wallet, id)?;
    if state.is_delivered || state.is_dead {
        return Ok(None);
    }
    let (now, attempts) = (clock::now(), state.attempts.saturating_add(1));
    let is_last = attempts >= failure.max_attempts;
    let pause = failure.after.unwrap_or_else(|| pause(attempts));
    let next = (!is_last).then(|| Timestamp(now.0.saturating_add(pause)));
    if next.is_some() {
        // They wait for the failed one, whoever claims it next.
        let values = [Value::Text(wallet), Value::Uuid(id), Value::Time(now)];
        RELEASE.run(&values)?;
    }
    FAIL.run(&[
        Value::Text(wallet),
        Value::Uuid(id),
        Value::OptTime(next),
        Value::OptText(failure.error),
        Value::OptTime(is_last.then_some(now)),
    ])?;
    Ok(next)
}

/// Makes a delivery wait again, whatever became of it. False if its destination was dropped.
pub fn resend(session: &Session, wallet: &str, id: [u8; 16]) -> Result<bool> {
    find(session, wallet, id)?;
    let rows = RESEND.run(&[
        Value::Text(wallet),
        Value::Uuid(id),
        Value::Time(clock::now()),
    ])?;
    Ok(!rows.is_empty())
}

/// The longest pause that [`pause`] returns, in seconds: six hours.
const MAX_PAUSE_SECONDS: i64 = 6 * 3600;

/// Microseconds until the next attempt: 5 seconds after the first one, then four times as long each
/// time. Ten attempts take about a day.
fn pause(attempts: i32) -> i64 {
    let power = u32::try_from(attempts - 1).unwrap_or(0).min(10);
    let seconds = 5_i64.saturating_mul(4_i64.pow(power));
    seconds.min(MAX_PAUSE_SECONDS) * 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_six_hours() {
        let seconds = |attempts| pause(attempts) / 1_000_000;
        assert_eq!(
            [1, 2, 3, 4, 5, 6, 7, 8, 100].map(seconds),
            [5, 20, 80, 320, 1280, 5120, 20480, 21600, 21600]
        );
        assert_eq!(seconds(0), 5);
        assert_eq!(seconds(i32::MAX), 21600);
    }
}
