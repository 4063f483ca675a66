//! Resolves a name, chooses an address that the guard allows, and connects to that address.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::Uri;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Trouble;
use super::address::Guard;
use crate::db::authorities;

/// A connection, with TLS or without.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The addresses of a name.
pub type Resolve =
    Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Makes connections.
#[derive(Clone)]
pub struct Connector {
    guard: Guard,
    resolve: Resolve,
    tls: Result<Arc<ClientConfig>, String>,
    timeout: Duration,
}

impl Connector {
    /// Connections that the guard allows, to servers that the system's authorities know, or those
    /// of the file.
    pub fn new(guard: Guard, root: Option<&Path>, timeout: Duration) -> Connector {
        let resolve: Resolve = Arc::new(|host, port| {
            Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
        });
        let tls = tls(root);
        if let Err(reason) = &tls {
            tracing::warn!(reason, "no delivery to https is possible");
        }
        Connector {
            guard,
            resolve,
            tls,
            timeout,
        }
    }

    /// The same, with other names.
    #[cfg(test)]
    pub fn with_names(self, resolve: Resolve) -> Connector {
        Connector { resolve, ..self }
    }

    /// A connection to the server of a URL.
    pub async fn connect(&self, uri: &Uri) -> Result<Box<dyn Stream>, Trouble> {
        let is_plain = match uri.scheme_str() {
            Some("https") => false,
            Some("http") => true,
            _ => return Err(Trouble::NotAllowed("the URL is not https")),
        };
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
        let opened = self.open(host, port, is_plain);
        let stream = match tokio::time::timeout(self.timeout, opened).await {
            Ok(opened) => opened?,
            Err(_) => return Err(Trouble::Failed("no connection in time".to_owned())),
        };
        if is_plain {
            return Ok(Box::new(stream));
        }
        let failed = |reason: String| Trouble::Failed(format!("TLS: {reason}"));
        let tls = self.tls.clone().map_err(failed)?;
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|error| failed(error.to_string()))?;
        let secured = TlsConnector::from(tls).connect(name, stream);
        match tokio::time::timeout(self.timeout, secured).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("no handshake in time".to_owned())),
        }
    }

    async fn open(&self, host: &str, port: u16, is_plain: bool) -> Result<TcpStream, Trouble> {
        let found = (self.resolve)(host.to_owned(), port).await;
        let nowhere = || Trouble::Failed("the host has no address".to_owned());
        let (mut refused, mut failed) = (None, None);
        for address in found.map_err(|_| nowhere())? {
            if let Some(reason) = self.guard.refuses(host, address.ip(), is_plain) {
                refused = Some(Trouble::NotAllowed(reason));
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    failed = Some(Trouble::Failed(format!("no connection: {}", error.kind())));
                }
            }
        }
        Err(failed.or(refused).unwrap_or_else(nowhere))
    }
}

fn tls(root: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    // A system without authorities trusts the file alone.
    if let Ok(system) = authorities(None) {
        roots = system;
    }
    if let Some(file) = root {
        let more = authorities(Some(file)).map_err(|error| error.to_string())?;
        roots.extend(more.roots);
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let client = builder.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(client))
}
