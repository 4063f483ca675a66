//! One request to a URL that somebody else chose: a connection of its own, to an address that the
//! guard allows. It follows no redirect and uses no proxy.

mod address;
mod connect;
mod retry_after;

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;

pub use address::Guard;
use connect::Connector;

use crate::config::Worker;

/// The most bytes of an answer that are read. They are not used; a receiver that is interrupted
/// while it answers may take the request for failed.
const ANSWER: usize = 64 * 1024;
const AGENT: &str = concat!("walletd/", env!("CARGO_PKG_VERSION"));

/// A request that got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It was not made, and will not be.
    NotAllowed(&'static str),
    /// It may succeed another time.
    Failed(String),
}

/// The part of an answer that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// How long the receiver wants to be left alone.
    pub retry_after: Option<Duration>,
}

/// Makes requests.
#[derive(Clone)]
pub struct Web {
    connector: Connector,
    timeout: Duration,
}

impl Web {
    /// Requests that the settings allow.
    pub fn new(config: &Worker, guard: Guard) -> Web {
        let root = Some(config.root_certificates.as_path());
        let root = root.filter(|path| *path != Path::new(""));
        Web {
            connector: Connector::new(guard, root, config.connect_timeout.get()),
            timeout: config.timeout.get(),
        }
    }

    /// Sends a body of JSON. The time-out is that of the settings, or the shorter one of the call.
    pub async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: String,
        most: Duration,
    ) -> Result<Answer, Trouble> {
        let timeout = self.timeout.min(most);
        match tokio::time::timeout(timeout, self.request(url, headers, body)).await {
            Ok(answered) => answered,
            Err(_) => Err(Trouble::Failed(format!(
                "no answer within {} s",
                timeout.as_secs_f64()
            ))),
        }
    }

    async fn request(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: String,
    ) -> Result<Answer, Trouble> {
        let uri: Uri = url.parse().map_err(|_| Trouble::NotAllowed(NOT_A_URL))?;
        let request = build(&uri, headers, body).ok_or(Trouble::NotAllowed(NOT_A_URL))?;
        let stream = self.connector.connect(&uri).await?;
        let broke = |error: hyper::Error| Trouble::Failed(format!("the connection broke: {error}"));
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(ANSWER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(broke)?;
        let exchange = async move {
            let answer = sender.send_request(request).await.map_err(broke)?;
            let found = Answer {
                status: answer.status().as_u16(),
                retry_after: retry_after::of(answer.headers()),
            };
            // The status counts even if the rest never comes.
            let rest = Limited::new(answer.into_body(), ANSWER).collect();
            drop(tokio::time::timeout(Duration::from_secs(1), rest).await);
            Ok(found)
        };
        let mut exchange = std::pin::pin!(exchange);
        let mut connection = std::pin::pin!(connection);
        // The connection ends with this future, also if the time is over.
        tokio::select! {
            biased;
            done = &mut exchange => done,
            ended = &mut connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(broke(error)),
            },
        }
    }
}

const NOT_A_URL: &str = "the target is not the URL of a web server";

fn build(
    uri: &Uri,
    headers: &[(&'static str, String)],
    body: String,
) -> Option<Request<Full<Bytes>>> {
    let mut fields = HeaderMap::new();
    let authority = uri.authority()?.as_str();
    fields.insert("host", HeaderValue::from_str(authority).ok()?);
    fields.insert("user-agent", HeaderValue::from_static(AGENT));
    fields.insert("content-type", HeaderValue::from_static("application/json"));
    fields.insert("connection", HeaderValue::from_static("close"));
    for (name, value) in headers {
        let name = HeaderName::from_static(name);
        fields.insert(name, HeaderValue::from_str(value).ok()?);
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .body(Full::new(Bytes::from(body)))
        .ok()?;
    *request.headers_mut() = fields;
    Some(request)
}

#[cfg(test)]
mod tests;
