//! `walletd serve`.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::api::{Api, router};
use crate::config::Config;
use crate::db::{Connections, Tenants, Worker};
use crate::ops::{Limits, Metrics, Status, endpoints, serve as attend, start_log};

/// A start that failed.
type Failure = Box<dyn std::error::Error>;

/// Serves until SIGTERM or SIGINT. Fails if requests in progress did not end in time.
pub async fn serve(config: Config) -> ExitCode {
    start_log(&config.log);
    match run(config).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            tracing::error!("requests in progress were cut off");
            ExitCode::FAILURE
        }
        Err(error) => {
            tracing::error!(%error, "could not start");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> Result<bool, Failure> {
    let database = &config.database;
    let connections = Connections::new(&database.tenants, database.tenants_pool, database)?;
    let tenants = Tenants::new(connections, database, config.http.timeout.get());
    let connections = Connections::new(&database.worker, database.worker_pool, database)?;
    let worker = Worker::new(connections);
    let metrics = Metrics::default();
    let is_stopping = Arc::new(AtomicBool::new(false));
    let status = Status {
        tenants: tenants.clone(),
        worker: worker.clone(),
        metrics: metrics.clone(),
        wallets: config.ops.wallets,
        is_stopping: is_stopping.clone(),
    };
    let page = crate::page::start(&config, is_stopping.clone())?;
    let api = router(Api::new(tenants.clone(), &config.http), page, metrics)?;
    let http = TcpListener::bind(config.http.listen).await?;
    let ops = TcpListener::bind(config.ops.listen).await?;
    let (http_address, ops_address) = (http.local_addr()?, ops.local_addr()?);
    let stop = stop_signal(is_stopping)?;
    tracing::info!(http = %http_address, ops = %ops_address, version = env!("CARGO_PKG_VERSION"), "serving");
    let limits = Limits {
        connections: config.http.connections,
        header_timeout: config.http.timeout.get(),
        drain: config.http.drain.get(),
    };
    // The probes answer until the last request has ended.
    let (drained, mut all_drained) = watch::channel(false);
    let probes = tokio::spawn(attend(ops, endpoints(status), limits, async move {
        let _ = all_drained.wait_for(|drained| *drained).await;
    }));
    let ended = attend(http, api, limits, stop).await;
    drop(drained);
    probes.await?;
    tenants.connections().close();
    worker.connections().close();
    tracing::info!(in_time = ended, "stopped");
    Ok(ended)
}

/// Ends with SIGTERM or SIGINT. A second signal ends the process at once.
fn stop_signal(is_stopping: Arc<AtomicBool>) -> Result<impl Future<Output = ()>, Failure> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        is_stopping.store(true, Ordering::Relaxed);
        tracing::info!("stopping: requests in progress go on");
        tokio::spawn(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            std::process::exit(1);
        });
    })
}
