//! The routes of the page, and the headers of all its answers.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use super::account::SignedIn;
use super::assets::asset;
use super::events::events;
use super::failure::Failure;
use super::owner::{keys, limits, members};
use super::session::{Asked, ask_for_key, leave, sign_in, sign_in_by_link, welcome};
use super::state::Pages;
use super::{overview, statement, top_up, transactions};
use crate::config::Config;
use crate::db::{Connections, Tenants};
use crate::payments::Checkouts;

/// The connections of the page, if there is one.
pub fn connections(config: &Config) -> Result<Option<Connections>, Box<dyn std::error::Error>> {
    if !config.page.is_on() {
        return Ok(None);
    }
    let (page, database) = (&config.page, &config.database);
    Ok(Some(Connections::new(&page.database, page.pool, database)?))
}

/// The routes, or none if there is no page.
pub fn start(
    config: &Config,
    connections: Option<Connections>,
    checkouts: Option<Checkouts>,
    is_stopping: Arc<AtomicBool>,
) -> Router {
    let Some(connections) = connections else {
        return Router::new();
    };
    let tenants = Tenants::new(connections, &config.database, config.http.timeout.get());
    router(Pages::new(config, tenants, checkouts, is_stopping))
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/sign-in", get(welcome).post(sign_in))
        .route("/sign-in/link", post(sign_in_by_link))
        .route("/sign-out", post(leave))
        .route("/transactions", get(transactions::list))
        .route("/transactions/{id}", get(transactions::entry))
        .route("/statement", get(statement::show))
        .route("/statement.csv", get(statement::csv))
        .route("/top-up", get(top_up::form).post(top_up::begin))
        .route("/limits", get(limits::list).post(limits::set))
        .route("/limits/drop", post(limits::drop))
        .route("/members", get(members::list).post(members::set))
        .route("/members/drop", post(members::drop))
        .route("/keys", get(keys::list).post(keys::make))
        .route("/keys/rotate", post(keys::rotate))
        .route("/keys/revoke", post(keys::revoke))
        .route("/events", get(events))
        .route("/assets/{name}", get(asset))
        .layer(middleware::from_fn(protect))
        .with_state(pages)
}

#[derive(Deserialize)]
struct Home {
    ended: Option<String>,
}

/// The overview, or the form to sign in.
async fn home(
    State(pages): State<Pages>,
    headers: HeaderMap,
    Asked(home): Asked<Home>,
    person: Result<SignedIn, Failure>,
) -> Response {
    match person {
        Ok(person) => overview::show(&pages, &person).await.into_response(),
        Err(failure) if failure.has_no_key => {
            let has_ended = home.ended.is_some();
            let text = "You are signed out: the session has ended, or its key is no longer valid.";
            ask_for_key(&headers, &pages, has_ended.then_some(text))
        }
        Err(failure) => failure.into_response(),
    }
}

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The headers with which browsers protect the page.
async fn protect(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not no-referrer: browsers would send forms with the origin null.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=()",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // No cache keeps the figures of a wallet, on a shared computer neither.
    let kept = headers.entry(header::CACHE_CONTROL);
    kept.or_insert(HeaderValue::from_static("no-store"));
    response
}
