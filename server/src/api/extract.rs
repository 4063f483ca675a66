//! Reads a request: its key, where it comes from, its body, its query, the id in its path. A
//! request that cannot be read is answered with a problem.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::problem::{Problem, table};
use super::state::Api;
use crate::config::Secret;
use crate::ops::client_of;

/// The longest key that is looked up. The wallet's own have 67 characters.
const KEY_MAX: usize = 256;
/// The header with the idempotency key.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The key of a request, from `Authorization: Bearer`.
pub struct Key(pub Secret);

impl FromRequestParts<Api> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Key, Problem> {
        let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Problem::no_key());
        };
        let (scheme, token) = value
            .as_bytes()
            .split_at_checked("Bearer ".len())
            .ok_or_else(Problem::no_key)?;
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return Err(Problem::no_key());
        }
        let token = token.trim_ascii();
        let is_plain = |byte: &u8| byte.is_ascii_graphic();
        if token.is_empty() || token.len() > KEY_MAX || !token.iter().all(is_plain) {
            return Err(Problem::wrong_key());
        }
        Ok(Key(Secret::new(
            String::from_utf8_lossy(token).into_owned(),
        )))
    }
}

/// The address that a request comes from.
pub struct Origin(pub IpAddr);

impl FromRequestParts<Api> for Origin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Origin, Problem> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let Some(ConnectInfo(peer)) = peer else {
            return Err(Problem::internal("the connection has no address"));
        };
        let client = client_of(peer.ip(), &parts.headers, &api.trusted_proxies);
        client.map(Origin).ok_or_else(|| {
            Problem::new(
                table::BAD_REQUEST,
                "X-Forwarded-For has no address in its place.",
            )
            .hint("The proxy must append the address of its client.")
        })
    }
}

/// The idempotency key of a request, if it has one.
pub struct Idempotency(pub Option<String>);

impl FromRequestParts<Api> for Idempotency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Idempotency, Problem> {
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else {
            return Ok(Idempotency(None));
        };
        let text = value.to_str().ok().filter(|text| !text.is_empty());
        match (text, values.next()) {
            (Some(text), None) => Ok(Idempotency(Some(text.to_owned()))),
            _ => Err(Problem::new(
                table::BAD_REQUEST,
                "Idempotency-Key is empty, not plain ASCII, or sent twice.",
            )
            .hint("Send it once, with a value that identifies this request, such as a UUID.")),
        }
    }
}

/// A body of JSON.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Api> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Body<T>, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(table::NOT_JSON, "The body must be JSON.")
                .hint("Send the header Content-Type: application/json."));
        }
        let body = Limited::new(request.into_body(), api.body_limit);
        let collected = tokio::time::timeout(api.timeout, body.collect()).await;
        let Ok(collected) = collected else {
            return Err(Problem::new(
                table::REQUEST_TIMEOUT,
                "The body did not arrive in time.",
            ));
        };
        let bytes = match collected {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                let detail = format!("The body has more than {} bytes.", api.body_limit);
                return Err(Problem::new(table::TOO_LARGE, detail));
            }
            Err(_) => {
                return Err(Problem::new(
                    table::BAD_REQUEST,
                    "The body ended too early.",
                ));
            }
        };
        read(&bytes).map(Body)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let form = headers
        .get(header::CONTENT_TYPE)
        .and_then(|form| form.to_str().ok());
    let form = form.map(|form| form.split(';').next().unwrap_or(form).trim());
    form.is_some_and(|form| form.eq_ignore_ascii_case("application/json"))
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let kind = match error.inner().classify() {
            serde_json::error::Category::Data => table::INVALID_BODY,
            _ => table::BAD_REQUEST,
        };
        let place = match path.as_str() {
            "." => String::new(),
            path => format!(" It is at {path}."),
        };
        Problem::new(
            kind,
            format!("The body cannot be read: {}.{place}", error.inner()),
        )
        .hint("The document /openapi.json describes the body.")
    })?;
    match reader.end() {
        Ok(()) => Ok(value),
        Err(_) => Err(Problem::new(
            table::BAD_REQUEST,
            "The body has something after its end.",
        )),
    }
}

/// The query of a request. A name that the operation does not have is refused.
pub struct Args<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Args<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Args<T>, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        serde_urlencoded::from_str(query)
            .map(Args)
            .map_err(|error| {
                Problem::new(
                    table::BAD_REQUEST,
                    format!("The query cannot be read: {error}."),
                )
                .hint("The document /openapi.json describes the query.")
            })
    }
}

/// The id in a path.
pub struct Id(pub Uuid);

impl FromRequestParts<Api> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Id, Problem> {
        let path = Path::<String>::from_request_parts(parts, api).await;
        let id = path.ok().and_then(|Path(text)| text.parse().ok());
        id.map(Id)
            .ok_or_else(|| Problem::new(table::BAD_REQUEST, "The id in the path is no UUID."))
    }
}
