//! Accepts connections, and ends them in order.
//!
//! After the signal no connection is accepted. Requests in progress go on until they end, but no
//! longer than the time for draining.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;

/// The bounds of the connections of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many are open at most. Others wait to be accepted.
    pub connections: usize,
    /// How long the header of a request may take.
    pub header_timeout: Duration,
    /// How long requests in progress may go on after the signal.
    pub drain: Duration,
}

/// Serves until the signal, then drains. Returns whether all requests ended in time.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    signal: impl Future<Output = ()>,
) -> bool {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut signal = std::pin::pin!(signal);
    loop {
        let accepted = async {
            // A full house does not accept: the kernel lets the clients wait.
            let slot = slots.clone().acquire_owned().await.ok()?;
            Some((slot, listener.accept().await))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = &mut signal => break,
        };
        match accepted {
            Some((slot, Ok((stream, peer)))) => {
                attend(stream, peer, slot, router.clone(), limits, &graceful);
            }
            Some((_, Err(error))) => {
                // No file descriptor is left, for example. Accepting at once would spin.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            None => break,
        }
    }
    drop(listener);
    tokio::time::timeout(limits.drain, graceful.shutdown())
        .await
        .is_ok()
}

fn attend(
    stream: TcpStream,
    peer: SocketAddr,
    slot: OwnedSemaphorePermit,
    router: Router,
    limits: Limits,
    graceful: &GracefulShutdown,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection broke before its first request");
        return;
    }
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.map(axum::body::Body::new)
    });
    // Without the choice of HTTP/2: hyper waits for the first byte of that choice without an end.
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(64 * 1024);
    let connection =
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let connection = graceful.watch(connection.into_owned());
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection broke");
        }
        drop(slot);
    });
}
