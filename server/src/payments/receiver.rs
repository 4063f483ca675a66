//! Receives the events of the provider. It needs no key: the signature tells who sent them.
//!
//! An event is answered with 200 when the ledger has what the provider has. After any other answer
//! the provider sends it again.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::{BodyExt, Limited};
use jiff::Timestamp;

use super::plan::Mismatch;
use super::provider::EventError;
use super::reconcile::{Failure, Payments};
use crate::db::DbError;
use crate::ops::{Metrics, Refused};

/// The receiver's state.
#[derive(Clone)]
pub struct Receiver {
    /// The provider and the ledger.
    pub payments: Payments,
    /// The counts.
    pub metrics: Metrics,
    /// The largest body.
    pub body_limit: usize,
    /// How long a body may take to arrive.
    pub timeout: Duration,
}

/// The route of the receiver.
pub fn receiver(state: Receiver) -> Router {
    let path = format!("/v1/providers/{}/events", state.payments.provider.name());
    Router::new().route(&path, post(receive)).with_state(state)
}

async fn receive(State(state): State<Receiver>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answer = match read(body, state.body_limit, state.timeout).await {
        Ok(body) => attend(&state, &parts.headers, &body).await,
        Err(answer) => answer,
    };
    state.metrics.payment_event(answer.outcome);
    let mut response = (answer.status, format!("{}\n", answer.outcome)).into_response();
    if answer.status != StatusCode::OK {
        let code = answer.code.unwrap_or_else(|| answer.outcome.to_owned());
        let cause = answer.cause;
        response.extensions_mut().insert(Refused { code, cause });
    }
    response
}

/// An answer: its outcome is also the body, and a label in the metrics.
struct Reply {
    status: StatusCode,
    outcome: &'static str,
    code: Option<String>,
    cause: Option<String>,
}

impl Reply {
    fn new(status: StatusCode, outcome: &'static str) -> Reply {
        Reply {
            status,
            outcome,
            code: None,
            cause: None,
        }
    }

    fn because(mut self, cause: String) -> Reply {
        self.cause = Some(cause);
        self
    }
}

async fn read(body: Body, limit: usize, timeout: Duration) -> Result<Vec<u8>, Reply> {
    let collected = tokio::time::timeout(timeout, Limited::new(body, limit).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes().to_vec()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Reply::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large"))
        }
        Ok(Err(_)) => Err(Reply::new(StatusCode::BAD_REQUEST, "cut_off")),
        Err(_) => Err(Reply::new(StatusCode::REQUEST_TIMEOUT, "too_slow")),
    }
}

async fn attend(state: &Receiver, headers: &HeaderMap, body: &[u8]) -> Reply {
    let now = Timestamp::now().as_second();
    let event = match state.payments.provider.read_event(headers, body, now) {
        Ok(event) => event,
        Err(error) => return not_believed(error),
    };
    let Some(payment) = event.payment else {
        return Reply::new(StatusCode::OK, "ignored");
    };
    match state.payments.reconcile(&payment).await {
        Ok(outcome) => {
            tracing::info!(
                kind = event.kind,
                payment,
                outcome = outcome.word(),
                "payment"
            );
            Reply::new(StatusCode::OK, outcome.word())
        }
        Err(failure) => {
            tracing::warn!(kind = event.kind, payment, %failure, "the payment is not booked");
            failed(failure)
        }
    }
}

fn not_believed(error: EventError) -> Reply {
    let outcome = match error {
        EventError::NoSignature => "no_signature",
        EventError::WrongSignature => "wrong_signature",
        EventError::WrongTime => "wrong_time",
        EventError::NoEvent => "no_event",
    };
    Reply::new(StatusCode::BAD_REQUEST, outcome)
}

/// A refusal of the ledger is 409: somebody has to look, and the event comes again in the meantime.
fn failed(failure: Failure) -> Reply {
    match failure {
        Failure::Database(DbError::Refused(refusal)) => Reply {
            code: Some(refusal.sqlstate),
            ..Reply::new(StatusCode::CONFLICT, "refused")
        },
        Failure::Mismatch(Mismatch::Topup | Mismatch::NoTopup | Mismatch::Amount) => {
            Reply::new(StatusCode::CONFLICT, "mismatch")
        }
        failure => {
            Reply::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable").because(failure.to_string())
        }
    }
}
