//! The routes, and the OpenAPI document that is generated from them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, body};
use serde_json::Value;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::{Parts, Problem, table};
use super::resources::{
    charges, estimate, holds, limits, prices, topups, transactions, usage, wallet,
};
use super::state::Api;
use crate::ops::{Metrics, observe};

/// The parts of the document that belong to no route.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "walletd",
        description = "The wallet of a key: its balance, prices, limits and ledger; charges and holds. \
                       Exact numbers are strings. Errors are problems of RFC 9457.",
    ),
    components(schemas(Parts)),
    modifiers(&BearerKey),
    security(("key" = [])),
    tags(
        (name = "charges", description = "Use that is known"),
        (name = "holds", description = "Use that is not known yet"),
        (name = "payments", description = "Money of customers"),
        (name = "prices", description = "The cost of use"),
        (name = "wallet", description = "What the wallet has and had")
    )
)]
struct Document;

struct BearerKey;

impl Modify for BearerKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.description = Some("A key of the wallet, from create_key().".to_owned());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(wallet::get))
        .routes(routes!(transactions::list))
        .routes(routes!(usage::get))
        .routes(routes!(limits::list))
        .routes(routes!(prices::list))
        .routes(routes!(estimate::create))
        .routes(routes!(charges::create))
        .routes(routes!(holds::create))
        .routes(routes!(holds::get))
        .routes(routes!(holds::settle))
        .routes(routes!(holds::void))
        .routes(routes!(topups::create))
}

/// The OpenAPI document, as JSON.
pub fn document() -> Result<String, serde_json::Error> {
    let (_, document) = routes().split_for_parts();
    let mut document = serde_json::to_value(&document)?;
    correct_links(&mut document);
    serde_json::to_string_pretty(&document)
}

/// utoipa 5 writes the `operationId` of a link in snake case.
fn correct_links(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(correct_links),
        Value::Object(members) => {
            if let Some(id) = members.remove("operation_id") {
                members.insert("operationId".to_owned(), id);
            }
            members.values_mut().for_each(correct_links);
        }
        _ => {}
    }
}

/// The routes, with others that need no key. Every request is counted and logged.
pub fn router(api: Api, others: Router, metrics: Metrics) -> Result<Router, serde_json::Error> {
    let text: Arc<str> = document()?.into();
    let (router, _) = routes().split_for_parts();
    let described = Router::new()
        .route("/openapi.json", get(openapi))
        .with_state(text);
    Ok(router
        .layer(middleware::map_response(private))
        .with_state(api)
        .merge(described)
        .merge(others)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(metrics, observe)))
}

/// No cache keeps the figures of a wallet.
async fn private(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}

async fn openapi(State(text): State<Arc<str>>) -> Response {
    let form = [(header::CONTENT_TYPE, "application/json")];
    (form, body::Body::from(text.to_string())).into_response()
}

async fn not_found() -> Problem {
    Problem::new(table::NOT_FOUND, "There is no such path.")
        .hint("The document /openapi.json lists the paths.")
}

async fn method_not_allowed() -> Problem {
    Problem::method_not_allowed()
}

/// A fault of walletd ends its request, and no other one.
fn panicked(panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    Problem::internal(format!("panic: {text}")).into_response()
}
