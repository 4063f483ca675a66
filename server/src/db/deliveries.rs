//! Calls of the worker's role for deliveries: claim them, and record what became of them.

use std::time::Duration;

use tokio_postgres::Row;

use super::error::DbError;
use super::worker::{Figure, Worker, text};
use crate::config::Secret;

/// One delivery per queue. With more, a worker that claims an event which committed late would also
/// receive those after it that another worker is delivering.
const CLAIM: &str = "SELECT wallet, delivery_id::text, kind, target, secrets, attempts, event_id::text, event, \
            threshold::text, payload::text, \
            pg_catalog.to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') \
       FROM wallet.claim_deliveries($1, 1, pg_catalog.make_interval(secs => $2))";
const FINISH: &str = "SELECT wallet.finish_delivery($1, $2::text::uuid)::text";
const RETRY: &str = "SELECT wallet.retry_delivery($1, $2::text::uuid, pg_catalog.make_interval(secs => $3), $4, $5) IS NOT NULL";
const CURRENCY: &str = "SELECT currency FROM wallet.balances WHERE wallet = $1";
/// The first delivery of each queue is due, or no delivery of it.
const FIGURES: &str = "SELECT pg_catalog.count(*)::text, \
            greatest(0, coalesce(extract(epoch FROM pg_catalog.now() - pg_catalog.min(q.next_at)), 0))::text \
       FROM (SELECT DISTINCT ON (d.set_for, d.destination, d.wallet) d.next_at FROM wallet.delivery_list d \
              WHERE d.delivered_at IS NULL AND d.dead_at IS NULL \
              ORDER BY d.set_for, d.destination, d.wallet, d.event_id) q \
      WHERE q.next_at <= pg_catalog.now()";

/// A delivery that this worker has claimed.
#[derive(Clone, Debug)]
pub struct ClaimedDelivery {
    /// The wallet that the event is about.
    pub wallet: String,
    /// Id of the delivery.
    pub delivery_id: String,
    /// `webhook`, `slack`, `teams` or `email`.
    pub kind: String,
    /// The URL or e-mail address.
    pub target: Secret,
    /// The secrets to sign with.
    pub secrets: Vec<Secret>,
    /// The number of failed attempts.
    pub attempts: i32,
    /// Id of the event, which is the same at every attempt.
    pub event_id: String,
    /// The event's name.
    pub event: String,
    /// The threshold that was crossed, as an exact number.
    pub threshold: Option<String>,
    /// The details, as JSON text.
    pub payload: String,
    /// When the event happened, in the form of RFC 3339.
    pub created_at: String,
}

/// A failed attempt.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The reason, which `delivery_list` shows.
    pub reason: String,
    /// The pause before the next attempt. `None`: the one that PostgreSQL chooses.
    pub after: Option<Duration>,
    /// The attempt after which the delivery is given up.
    pub max_attempts: i32,
}

impl Worker {
    /// Claims the first delivery of up to so many queues.
    pub async fn claim_deliveries(
        &self,
        queues: i32,
        lease: Duration,
    ) -> Result<Vec<ClaimedDelivery>, DbError> {
        let rows = self
            .rows(CLAIM, &[&queues, &lease.as_secs_f64()], false)
            .await?;
        rows.iter().map(read).collect()
    }

    /// Records that a delivery was made. A second call changes nothing.
    pub async fn finish_delivery(&self, claimed: &ClaimedDelivery) -> Result<(), DbError> {
        self.rows(FINISH, &[&claimed.wallet, &claimed.delivery_id], true)
            .await
            .map(drop)
    }

    /// Records a failed attempt. Returns whether there will be another one.
    pub async fn retry_delivery(
        &self,
        claimed: &ClaimedDelivery,
        failure: &Failure,
    ) -> Result<bool, DbError> {
        let after = failure.after.map(|after| after.as_secs_f64());
        let rows = self
            .rows(
                RETRY,
                &[
                    &claimed.wallet,
                    &claimed.delivery_id,
                    &after,
                    &failure.reason,
                    &failure.max_attempts,
                ],
                false,
            )
            .await?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    /// The currency of a wallet, if it still exists.
    pub async fn currency(&self, wallet: &str) -> Result<Option<String>, DbError> {
        let rows = self.rows(CURRENCY, &[&wallet], true).await?;
        rows.first().map(|row| text(row, 0)).transpose()
    }

    /// Figures of the deliveries that are due.
    pub async fn delivery_figures(&self) -> Result<Vec<Figure>, DbError> {
        let rows = self.rows(FIGURES, &[], true).await?;
        let Some(row) = rows.first() else {
            return Ok(Vec::new());
        };
        let figure = |name: &str, column, meaning: &str| {
            Ok(Figure {
                name: name.to_owned(),
                value: text(row, column)?,
                meaning: meaning.to_owned(),
            })
        };
        Ok(vec![
            figure(
                "deliveries_due",
                0,
                "queues of deliveries that no worker has taken",
            )?,
            figure(
                "oldest_delivery_seconds",
                1,
                "how long the first of them has been due: if it grows, no worker takes them",
            )?,
        ])
    }
}

fn read(row: &Row) -> Result<ClaimedDelivery, DbError> {
    let garbled = |error: tokio_postgres::Error| DbError::Garbled(error.to_string());
    let secrets: Vec<String> = row.try_get(4).map_err(garbled)?;
    Ok(ClaimedDelivery {
        wallet: text(row, 0)?,
        delivery_id: text(row, 1)?,
        kind: text(row, 2)?,
        target: Secret::new(text(row, 3)?),
        secrets: secrets.into_iter().map(Secret::new).collect(),
        attempts: row.try_get(5).map_err(garbled)?,
        event_id: text(row, 6)?,
        event: text(row, 7)?,
        threshold: row.try_get(8).map_err(garbled)?,
        payload: text(row, 9)?,
        created_at: text(row, 10)?,
    })
}
