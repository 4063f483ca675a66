//! Makes one delivery and records what became of it.
//!
//! A delivery is made at least once. If this process ends, or PostgreSQL cannot be reached, between
//! the request and its record, the delivery is made again when the lease has run out, with the same
//! id. While the lease runs, nobody else makes it: a request ends before the lease does. A process
//! that is stopped and cannot wait for an answer returns the delivery, so that its lease ends too.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use super::http::Web;
use super::mail::Mailer;
use super::outcome::{Outcome, pause};
use super::texts::{Event, Text};
use super::{message, sign, texts};
use crate::config;
use crate::db::{ClaimedDelivery, DbError, Failure, Worker};
use crate::ops::WorkMetrics;

/// Everything that a delivery needs.
pub struct Courier {
    /// The database.
    pub database: Worker,
    /// Requests to webhooks and chat services.
    pub web: Web,
    /// The mail server, if there is one.
    pub mailer: Option<Mailer>,
    /// The counts.
    pub metrics: WorkMetrics,
    /// The settings.
    pub config: config::Worker,
    /// True when walletd waits for no answer any more.
    pub cut_off: watch::Receiver<bool>,
}

/// The reason in `delivery_list` of a delivery that was cut off.
const CUT_OFF: &str = "walletd stopped before the receiver answered";

impl Courier {
    /// Makes a delivery whose lease began at that time.
    pub async fn deliver(&self, claimed: ClaimedDelivery, leased: Instant) {
        self.metrics.began();
        let begun = Instant::now();
        let lease = self.config.lease.get();
        // The rest of the lease, without the time for the record.
        let until = leased + lease.saturating_sub(config::RECORDING.get());
        let most = until.saturating_duration_since(begun);
        let most = most.min(self.config.timeout.get());
        let mut cut_off = self.cut_off.clone();
        let outcome = tokio::select! {
            biased;
            outcome = tokio::time::timeout(most, self.attempt(&claimed, most)) => outcome
                .unwrap_or_else(|_| Outcome::again(format!("not done within {} s", most.as_secs_f64()))),
            Ok(_) = cut_off.wait_for(|cut_off| *cut_off) => Outcome::CutOff,
        };
        let took = begun.elapsed();
        let recorded = self.record(&claimed, &outcome, leased + lease).await;
        let name = match &recorded {
            Ok(name) => name,
            Err(_) => "unrecorded",
        };
        self.metrics.attempted(&claimed.kind, name, took);
        let reason = match &outcome {
            Outcome::Delivered => None,
            Outcome::CutOff => Some(CUT_OFF),
            Outcome::Again { reason, .. } | Outcome::Dead { reason } => Some(reason.as_str()),
        };
        let (kind, event, delivery) = (&claimed.kind, &claimed.event, &claimed.delivery_id);
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        match recorded {
            Ok("delivered") => {
                tracing::info!(kind, event, delivery, microseconds, "delivered");
            }
            Ok(outcome) => {
                tracing::warn!(
                    kind,
                    event,
                    delivery,
                    microseconds,
                    outcome,
                    reason,
                    "not delivered"
                );
            }
            Err(error) => {
                tracing::error!(
                    kind,
                    event,
                    delivery,
                    reason,
                    ?error,
                    "the outcome is not recorded"
                );
            }
        }
    }

    async fn attempt(&self, claimed: &ClaimedDelivery, most: Duration) -> Outcome {
        let Ok(payload) = serde_json::from_str::<Value>(&claimed.payload) else {
            return Outcome::dead("the event has no payload that can be read");
        };
        let url = claimed.target.expose();
        if claimed.kind == "webhook" {
            let body = message::webhook(claimed, &payload);
            let now = Timestamp::now().as_second();
            let id = &claimed.event_id;
            let Some(signature) = sign::signatures(&claimed.secrets, id, now, &body) else {
                return Outcome::dead("the signing secret has another form than whsec_ and base64");
            };
            let headers = [
                ("webhook-id", id.clone()),
                ("webhook-timestamp", now.to_string()),
                ("webhook-signature", signature),
            ];
            return Outcome::of(self.web.post(url, &headers, body, most).await);
        }
        let text = match self.text(claimed, &payload).await {
            Ok(text) => text,
            Err(_) => return Outcome::again("the database cannot be reached"),
        };
        match claimed.kind.as_str() {
            "slack" => Outcome::of(self.web.post(url, &[], message::slack(&text), most).await),
            "teams" => Outcome::of(self.web.post(url, &[], message::teams(&text), most).await),
            "email" => match &self.mailer {
                Some(mailer) => mailer.send(url, &text, &claimed.event_id).await,
                None => Outcome::again("this worker has no mail server: see the settings of mail"),
            },
            _ => Outcome::again("this version of walletd does not know the kind of destination"),
        }
    }

    async fn text(&self, claimed: &ClaimedDelivery, payload: &Value) -> Result<Text, DbError> {
        let currency = self.database.currency(&claimed.wallet).await?;
        Ok(texts::of(&Event {
            name: &claimed.event,
            wallet: &claimed.wallet,
            currency: currency.as_deref(),
            threshold: claimed.threshold.as_deref(),
            payload,
            created_at: &claimed.created_at,
        }))
    }

    /// Records an outcome, until it is recorded or the lease ends. Returns the outcome's name.
    async fn record(
        &self,
        claimed: &ClaimedDelivery,
        outcome: &Outcome,
        lease_ends: Instant,
    ) -> Result<&'static str, DbError> {
        loop {
            let error = match self.record_once(claimed, outcome).await {
                Ok(name) => return Ok(name),
                Err(error) => error,
            };
            let is_final = matches!(error, DbError::Refused(_) | DbError::Garbled(_));
            // Whether a failure was counted is not known: at worst it is counted once too often.
            if is_final || Instant::now() + Duration::from_secs(1) >= lease_ends {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn record_once(
        &self,
        claimed: &ClaimedDelivery,
        outcome: &Outcome,
    ) -> Result<&'static str, DbError> {
        let failure = match outcome {
            Outcome::Delivered => {
                self.database.finish_delivery(claimed).await?;
                return Ok("delivered");
            }
            Outcome::Again { reason, after } => Failure {
                reason: reason.clone(),
                after: after.map(|asked| pause(asked, claimed.attempts)),
                max_attempts: self.config.max_attempts,
            },
            Outcome::CutOff => Failure {
                reason: CUT_OFF.to_owned(),
                after: Some(Duration::ZERO),
                // It is not the receiver's fault, so it is never the last attempt.
                max_attempts: i32::MAX,
            },
            Outcome::Dead { reason } => Failure {
                reason: reason.clone(),
                after: None,
                max_attempts: 1,
            },
        };
        match self.database.retry_delivery(claimed, &failure).await? {
            true => Ok("retried"),
            false => Ok("dead"),
        }
    }
}
