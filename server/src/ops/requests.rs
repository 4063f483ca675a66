//! The middleware around every request: an id, a line of the log, and the counts.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use uuid::Uuid;

use super::metrics::Metrics;

/// Why a request was answered with a problem. It travels with the response to the log.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The SQLSTATE, or the name of the problem.
    pub code: String,
    /// The cause, which only the operator may read.
    pub cause: Option<String>,
}

/// Counts running requests, also those whose client leaves.
struct Running(Metrics);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.ended();
    }
}

/// The middleware.
pub async fn observe(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    // The id is in the answer and in the log.
    let id = Uuid::now_v7();
    let method = known(request.method());
    // The path itself may have a secret that somebody put in the wrong place.
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    metrics.began();
    let running = Running(metrics.clone());
    let begun = Instant::now();
    let mut response = next.run(request).await;
    let took = begun.elapsed();
    drop(running);
    let status = response.status().as_u16();
    metrics.answered(method, &route, status, took);
    let refused = response.extensions_mut().remove::<Refused>();
    if let Some(refused) = &refused {
        metrics.refused(&refused.code);
    }
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert("x-request-id", value);
    }
    let code = refused.as_ref().map(|refused| refused.code.as_str());
    let cause = refused
        .as_ref()
        .and_then(|refused| refused.cause.as_deref());
    let ms = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if status >= 500 {
        tracing::error!(request_id = %id, method, route, status, microseconds = ms, code, cause, "request failed");
    } else {
        tracing::info!(request_id = %id, method, route, status, microseconds = ms, code, "request");
    }
    response
}

/// A method that HTTP knows. Others are a client's own words.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT",
    ];
    let found = KNOWN.iter().find(|name| **name == method.as_str());
    found.copied().unwrap_or("other")
}
