//! `/healthz`, `/readyz` and `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::metrics::{Metrics, Pools};
use crate::db::{DbError, Tenants, Worker};

/// The most wallets that `/metrics` lists.
const WALLETS: i64 = 10_000;
/// How long a probe waits for the database.
const PATIENCE: Duration = Duration::from_secs(3);

/// The things that the endpoints look at.
#[derive(Clone)]
pub struct Status {
    /// The connections of tenants' requests.
    pub tenants: Tenants,
    /// The worker's connections.
    pub worker: Worker,
    /// All connections, for gauges.
    pub pools: Pools,
    /// The counts.
    pub metrics: Metrics,
    /// Whether `/metrics` has every wallet.
    pub wallets: bool,
    /// Set when walletd begins to stop.
    pub is_stopping: Arc<AtomicBool>,
}

/// The endpoints.
pub fn endpoints(status: Status) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(status)
}

/// The process runs. Whether the database does is another question.
async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether requests can be served now.
async fn readyz(State(status): State<Status>) -> Response {
    if status.is_stopping.load(Ordering::Relaxed) {
        return not_ready("walletd stops");
    }
    let look = async {
        let (tenants, worker) = (status.tenants.connections(), status.worker.connections());
        let is_writable = worker.is_writable().await? && tenants.is_writable().await?;
        Ok::<_, DbError>((is_writable, status.worker.version().await?))
    };
    match tokio::time::timeout(PATIENCE, look).await {
        Ok(Ok((true, Some(_)))) => "ready\n".into_response(),
        Ok(Ok((true, None))) => not_ready("the database has no extension wallet"),
        Ok(Ok((false, _))) => not_ready("the database is read-only"),
        Ok(Err(error)) => {
            tracing::warn!(?error, "the database cannot be reached");
            not_ready("the database cannot be reached")
        }
        Err(_) => not_ready("the database does not answer"),
    }
}

fn not_ready(reason: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
}

async fn metrics(State(status): State<Status>) -> Response {
    let figures = async {
        let mut health = status.worker.health().await?;
        health.extend(status.worker.delivery_figures().await?);
        let wallets = match status.wallets {
            true => Some(status.worker.balances(WALLETS).await?),
            false => None,
        };
        Ok::<_, DbError>((health, wallets))
    };
    let found = match tokio::time::timeout(PATIENCE, figures).await {
        Ok(Ok(found)) => Some(found),
        Ok(Err(error)) => {
            tracing::warn!(?error, "the database gives no figures");
            None
        }
        Err(_) => {
            tracing::warn!("the database gives no figures in time");
            None
        }
    };
    let (health, wallets) = match &found {
        Some((health, wallets)) => (Some(health.as_slice()), wallets.as_deref()),
        None => (None, None),
    };
    match status.metrics.text(&status.pools, health, wallets) {
        Ok(text) => {
            let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, form)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
