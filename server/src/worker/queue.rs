//! Claims deliveries and makes them, so many at the same time.
//!
//! PostgreSQL gives the first delivery of each queue to one worker, for the time of a lease. So
//! deliveries of a queue follow each other in order, whatever the number of workers, and no worker
//! needs to know of the others.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::courier::Courier;
use super::schedule::about;

/// Works until walletd stops, and then ends the deliveries that have begun.
pub async fn work(courier: Arc<Courier>, wake: Arc<Notify>, mut stop: watch::Receiver<bool>) {
    let mut running = JoinSet::new();
    loop {
        while let Some(ended) = running.try_join_next() {
            note(ended);
        }
        claim(&courier, &mut running).await;
        let poll = about(courier.config.poll.get());
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            // The queue of a delivery that has ended may have another one.
            Some(ended) = running.join_next() => note(ended),
            () = wake.notified() => {}
            () = tokio::time::sleep(poll) => {}
        }
    }
    tracing::info!(deliveries = running.len(), "the worker ends its deliveries");
    while let Some(ended) = running.join_next().await {
        note(ended);
    }
}

/// Claims as many deliveries as can be made at once now. The call is never cut off: its leases
/// would be nobody's.
async fn claim(courier: &Arc<Courier>, running: &mut JoinSet<()>) {
    let free = courier.config.concurrency.saturating_sub(running.len());
    let queues = i32::try_from(free).unwrap_or(i32::MAX);
    if queues == 0 {
        return;
    }
    let leased = Instant::now();
    let lease = courier.config.lease.get();
    match courier.database.claim_deliveries(queues, lease).await {
        Ok(claimed) => {
            for one in claimed {
                let courier = courier.clone();
                running.spawn(async move { courier.deliver(one, leased).await });
            }
        }
        Err(error) => tracing::warn!(?error, "no deliveries could be claimed"),
    }
}

fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a delivery broke off: it is made again when its lease ends");
    }
}
