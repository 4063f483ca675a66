//! Charges saved payment methods for the top-ups that rules request.
//!
//! An event is claimed for the length of a lease. If this process is killed, another one claims the
//! event afterwards and asks the provider with the same id, so that a card is charged once.

use std::time::Duration;

use tokio::sync::watch;

use super::provider::{ProviderError, Saved, SavedCharge};
use super::reconcile::{Failure, Outcome, Payments, money};
use crate::db::{ClaimedTopup, DbError};
use crate::ops::Metrics;

/// The pause before a payment in progress is looked at again. Its event usually comes first.
const IN_PROGRESS: Duration = Duration::from_secs(600);
/// The pause before a top-up of others is looked at again. In the meantime they can claim it.
const OF_OTHERS: Duration = Duration::from_secs(30);
/// The pause after the database failed.
const PAUSE: Duration = Duration::from_secs(1);

/// The settings of the task.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The methods of rules whose top-ups are charged.
    pub methods: Vec<String>,
    /// How long no other process gets a claimed event.
    pub lease: Duration,
    /// How often events are looked for.
    pub poll: Duration,
}

/// The result of an attempt.
enum Done {
    /// It has ended.
    Ended(&'static str),
    /// Its method is not one of the settings: somebody else pays it.
    OfOthers(String),
    /// Nobody knows yet.
    Later(Option<Duration>, String),
}

/// Charges top-ups until the signal.
pub async fn run(
    payments: Payments,
    settings: Settings,
    metrics: Metrics,
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        let pause = match payments.ledger.claim(settings.lease).await {
            Ok(Some(claimed)) => {
                attend(&payments, &settings, &metrics, &claimed).await;
                continue;
            }
            Ok(None) => settings.poll,
            Err(error) => {
                tracing::warn!(?error, "top-ups cannot be claimed");
                PAUSE.max(settings.poll)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = stop.changed() => if changed.is_err() { break },
        }
    }
}

async fn attend(
    payments: &Payments,
    settings: &Settings,
    metrics: &Metrics,
    claimed: &ClaimedTopup,
) {
    let done = pay(payments, settings, claimed).await;
    let done = done.unwrap_or_else(|failure| Done::Later(None, failure.to_string()));
    let event = claimed.event_id.as_str();
    let told = match done {
        Done::Ended(outcome) => {
            metrics.topup(outcome);
            tracing::info!(topup = claimed.topup_id, outcome, "top-up");
            payments.ledger.finish(event).await
        }
        Done::OfOthers(method) => {
            metrics.topup("other_method");
            let reason = format!("walletd leaves top-ups by {method} to others");
            // Not in step with others who look for it.
            let pause = OF_OTHERS.mul_f64(0.5 + fastrand::f64());
            payments.ledger.retry(event, Some(pause), &reason).await
        }
        Done::Later(after, reason) => {
            metrics.topup("later");
            tracing::warn!(topup = claimed.topup_id, reason, "the top-up waits");
            payments.ledger.retry(event, after, &reason).await
        }
    };
    // The lease ends by itself, and the event is handed out again.
    if let Err(error) = told {
        tracing::warn!(?error, "the event of a top-up stays claimed");
    }
}

async fn pay(
    payments: &Payments,
    settings: &Settings,
    claimed: &ClaimedTopup,
) -> Result<Done, Failure> {
    let ledger = &payments.ledger;
    let (wallet, topup) = (claimed.wallet.as_str(), claimed.topup_id.as_str());
    let Some([status, amount, currency, method]) = ledger.topup(wallet, topup).await? else {
        return Ok(Done::Ended("missing"));
    };
    if status != "requested" {
        return Ok(Done::Ended("ended_before"));
    }
    if !settings.methods.contains(&method) {
        return Ok(Done::OfOthers(method));
    }
    let name = payments.provider.name();
    let saved = match ledger.saved(wallet, name, true).await? {
        Some((customer, Some(payment_method))) => Some(Saved {
            customer,
            payment_method,
        }),
        _ => None,
    };
    // Whether an earlier attempt has charged is asked first, also if its card is gone since.
    let earlier = match claimed.attempts > 1 {
        true => ledger.customers(wallet, name).await?,
        false => Vec::new(),
    };
    if saved.is_none() && earlier.is_empty() {
        return fail(payments, claimed, "no_saved_payment_method").await;
    }
    let request = SavedCharge {
        wallet: wallet.to_owned(),
        topup: topup.to_owned(),
        money: money(&amount, currency)?,
        saved,
        earlier,
    };
    match payments.provider.charge_saved(&request).await {
        Ok(id) => {
            payments.reconcile(&id).await?;
            ended(payments, claimed, &id).await
        }
        Err(ProviderError::Declined(code) | ProviderError::Refused(code)) => {
            fail(payments, claimed, &code).await
        }
        Err(error) => Ok(Done::Later(None, error.to_string())),
    }
}

async fn ended(payments: &Payments, claimed: &ClaimedTopup, id: &str) -> Result<Done, Failure> {
    let found = payments
        .ledger
        .topup(&claimed.wallet, &claimed.topup_id)
        .await?;
    Ok(match found {
        Some([status, ..]) if status == "succeeded" => Done::Ended("succeeded"),
        Some([status, ..]) if status == "failed" => Done::Ended("failed"),
        _ => Done::Later(Some(IN_PROGRESS), format!("{id} is in progress")),
    })
}

async fn fail(payments: &Payments, claimed: &ClaimedTopup, code: &str) -> Result<Done, Failure> {
    let (wallet, topup) = (&claimed.wallet, &claimed.topup_id);
    match payments.ledger.fail_topup(wallet, topup, code).await {
        Ok(()) => Ok(Done::Ended("failed")),
        // It succeeded in the meantime.
        Err(DbError::Refused(refusal)) if refusal.sqlstate == "WL013" => {
            Ok(Done::Ended("succeeded"))
        }
        Err(error) => Err(error.into()),
    }
}

impl Outcome {
    /// Its name in metrics and logs.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Booked => "booked",
            Outcome::Unchanged => "unchanged",
            Outcome::Capped => "capped",
            Outcome::NotOurs => "not_ours",
        }
    }
}
