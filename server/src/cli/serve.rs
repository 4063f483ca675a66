//! `walletd serve`.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::{Api, router};
use crate::config::{Config, RECORDING};
use crate::db::{Connections, PaymentLedger, Tenants, Worker};
use crate::ops::{Limits, Metrics, Pools, Status, endpoints, serve as attend, start_log};
use crate::payments::{
    Checkouts, Payments, Receiver, Settings, Stripe, receiver, run as pay_topups,
};
use crate::worker;

/// A start that failed.
type Failure = Box<dyn std::error::Error>;

/// Serves until SIGTERM or SIGINT. Fails if requests in progress did not end in time.
pub async fn serve(config: Config) -> ExitCode {
    start_log(&config.log);
    match run(config).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            tracing::error!("not everything ended in order");
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
    let worker = Worker::new(connections, &config);
    let metrics = Metrics::default();
    let is_stopping = Arc::new(AtomicBool::new(false));
    let (page, payments) = (crate::page::connections(&config)?, payments(&config)?);
    let pools = pools(&tenants, &worker, page.as_ref(), payments.as_ref());
    let status = Status {
        tenants: tenants.clone(),
        worker: worker.clone(),
        pools: pools.clone(),
        metrics: metrics.clone(),
        wallets: config.ops.wallets,
        is_stopping: is_stopping.clone(),
    };
    let (stopping, stopped) = watch::channel(false);
    let (cutting_off, cut_off) = watch::channel(false);
    let mut working = worker::start(&config, &worker, &metrics.work, &stopped, &cut_off)?;
    if let Some(payments) = payments.clone() {
        let settings = topup_settings(&config);
        working.spawn(pay_topups(payments, settings, metrics.clone(), stopped));
    }
    let payers = payments.as_ref();
    let api = api_with(
        &config,
        &tenants,
        payers,
        page.clone(),
        &is_stopping,
        &metrics,
    )?;
    let http = TcpListener::bind(config.http.listen).await?;
    let ops = TcpListener::bind(config.ops.listen).await?;
    let (http_address, ops_address) = (http.local_addr()?, ops.local_addr()?);
    let signal = stop_signal()?;
    let mut is_whole = true;
    let stop = async {
        is_whole = signal_or_fault(signal, &mut working).await;
        is_stopping.store(true, Ordering::Relaxed);
        stopping.send_replace(true);
    };
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
    let ended = work_ended(&mut working, limits.drain, &cutting_off).await && ended && is_whole;
    drop(drained);
    probes.await?;
    for (_, pool) in pools {
        pool.close();
    }
    tracing::info!(in_time = ended, "stopped");
    Ok(ended)
}

/// All connections of this process, by name.
fn pools(
    tenants: &Tenants,
    worker: &Worker,
    page: Option<&Connections>,
    payments: Option<&Payments>,
) -> Pools {
    let mut pools = vec![
        ("tenants", tenants.connections().clone()),
        ("worker", worker.connections().clone()),
    ];
    pools.extend(page.map(|page| ("page", page.clone())));
    pools.extend(payments.map(|payments| ("payments", payments.ledger.connections().clone())));
    pools
}

/// Waits for the signal, or for a part of the work that ends although nobody stopped it: the others
/// would go on without it, and nobody would see. Returns whether it was the signal.
async fn signal_or_fault(signal: impl Future<Output = ()>, working: &mut JoinSet<()>) -> bool {
    tokio::select! {
        () = signal => true,
        Some(ended) = working.join_next() => {
            let cause = ended.err().map(|error| error.to_string());
            tracing::error!(cause, "a part of the worker broke off: walletd stops");
            false
        }
    }
}

/// Waits for deliveries and payments that have begun. They get the time of requests. After it,
/// deliveries return to their queue without an answer. Returns whether all ended in time.
async fn work_ended(
    working: &mut JoinSet<()>,
    drain: Duration,
    cutting_off: &watch::Sender<bool>,
) -> bool {
    let mut ended = async || while working.join_next().await.is_some() {};
    if tokio::time::timeout(drain, ended()).await.is_ok() {
        return true;
    }
    cutting_off.send_replace(true);
    // A payment goes on in another process when the lease of its event has run out.
    drop(tokio::time::timeout(RECORDING.get(), ended()).await);
    false
}

/// The provider and the ledger's side of payments, if they are set up.
pub(super) fn payments(config: &Config) -> Result<Option<Payments>, Failure> {
    let (database, stripe) = (&config.database, &config.payments.stripe);
    if !stripe.is_enabled() {
        return Ok(None);
    }
    let connections = Connections::new(&database.worker, stripe.connections, database)?;
    let timeout = database.statement_timeout.get();
    // Looking a payment up takes two requests.
    let ledger = PaymentLedger::new(connections, timeout, stripe.timeout.get() * 2);
    let provider = Arc::new(Stripe::new(stripe)?);
    Ok(Some(Payments { provider, ledger }))
}

/// The API, the receiver of the provider's events, and the page.
fn api_with(
    config: &Config,
    tenants: &Tenants,
    payments: Option<&Payments>,
    page: Option<Connections>,
    is_stopping: &Arc<AtomicBool>,
    metrics: &Metrics,
) -> Result<Router, Failure> {
    let amounts = &config.payments.stripe.amounts;
    let checkouts = payments.map(|payments| Checkouts::new(payments.clone(), amounts));
    let mut others = crate::page::start(config, page, checkouts.clone(), is_stopping.clone());
    let api = Api::new(tenants.clone(), &config.http).with_checkouts(checkouts);
    if let Some(payments) = payments {
        others = others.merge(receiver(Receiver {
            payments: payments.clone(),
            metrics: metrics.clone(),
            body_limit: config.http.body_limit.bytes(),
            timeout: config.http.timeout.get(),
        }));
    }
    Ok(router(api, others, metrics.clone())?)
}

fn topup_settings(config: &Config) -> Settings {
    let (stripe, database) = (&config.payments.stripe, &config.database);
    Settings {
        methods: stripe.methods.clone(),
        // Longer than all requests of a top-up and its booking can take.
        lease: stripe.timeout.get() * 8 + database.statement_timeout.get() * 4,
        poll: stripe.poll.get(),
    }
}

/// Ends with SIGTERM or SIGINT. A second signal ends the process at once.
fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[tokio::test]
    async fn a_part_that_breaks_off_ends_the_process_and_no_part_does_not() {
        let mut working = JoinSet::new();
        working.spawn(pending());
        working.spawn(async { panic!("a fault") });
        assert!(!signal_or_fault(pending(), &mut working).await);
        // The others go on until they are told to end.
        assert_eq!(working.len(), 1);
        assert!(signal_or_fault(ready(()), &mut working).await);
        let mut none = JoinSet::new();
        let most = Duration::from_millis(50);
        let waiting = signal_or_fault(pending(), &mut none);
        assert!(tokio::time::timeout(most, waiting).await.is_err());
        assert!(signal_or_fault(ready(()), &mut none).await);
    }
}
