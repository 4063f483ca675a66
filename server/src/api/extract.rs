//! Reads a request: its key, where it comes from, its body, its query, the id in its path. A
//! request that cannot be read is answered with a problem.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use http_body_util::{BodyExt, Limited};
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::problem::{Problem, table};
use super::state::Api;
use crate::config::Secret;

/// The longest key that is looked up. The wallet's own have 67 characters.
const KEY_MAX: usize = 256;
/// The header with the idempotency key.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

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
        client_of(peer.ip(), &parts.headers, &api.trusted_proxies).map(Origin)
    }
}

/// The client's address: that of the connection, unless a trusted proxy says whose request it
/// passes on. Only what trusted proxies wrote is believed, from the last entry on.
fn client_of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Result<IpAddr, Problem> {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut client = peer.to_canonical();
    let values: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
    let entries = values
        .iter()
        .rev()
        .flat_map(|value| value.as_bytes().rsplit(|b| *b == b','));
    for entry in entries {
        if !is_trusted(client) {
            break;
        }
        client = address(entry).ok_or_else(|| {
            Problem::new(
                table::BAD_REQUEST,
                "X-Forwarded-For has no address in its place.",
            )
            .hint("The proxy must append the address of its client.")
        })?;
    }
    Ok(client)
}

/// An address, with or without a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address| address.to_canonical())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str], trusted: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let client = client_of(peer.parse().unwrap(), &headers, &trusted);
        client.ok().map(|client| client.to_string())
    }

    #[test]
    fn only_trusted_proxies_say_who_the_client_is() {
        let proxies = ["10.0.0.0/8", "::1/128"];
        for (peer, forwarded, trusted, expected) in [
            (
                "192.0.2.1",
                &["198.51.100.7"][..],
                &[][..],
                Some("192.0.2.1"),
            ),
            ("192.0.2.1", &["198.51.100.7"], &proxies, Some("192.0.2.1")),
            (
                "10.0.0.1",
                &["198.51.100.7"],
                &proxies,
                Some("198.51.100.7"),
            ),
            ("10.0.0.1", &[], &proxies, Some("10.0.0.1")),
            // The client wrote the first entry, the proxies the others.
            (
                "10.0.0.1",
                &["10.9.9.9, 198.51.100.7, 10.0.0.2"],
                &proxies,
                Some("198.51.100.7"),
            ),
            (
                "10.0.0.1",
                &["1.1.1.1", "198.51.100.7"],
                &proxies,
                Some("198.51.100.7"),
            ),
            (
                "10.0.0.1",
                &["nonsense, 198.51.100.7:4711"],
                &proxies,
                Some("198.51.100.7"),
            ),
            ("::1", &["[2001:db8::7]:443"], &proxies, Some("2001:db8::7")),
            (
                "::ffff:10.0.0.1",
                &["[2001:db8::7]"],
                &proxies,
                Some("2001:db8::7"),
            ),
            ("10.0.0.1", &["unknown"], &proxies, None),
            ("10.0.0.1", &[""], &proxies, None),
        ] {
            assert_eq!(
                client(peer, forwarded, trusted).as_deref(),
                expected,
                "{peer} {forwarded:?}"
            );
        }
    }
}
