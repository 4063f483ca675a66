//! The worker: deliveries of events, maintenance, due top-ups and digests.
//!
//! Any number of processes may have one. Leases in PostgreSQL divide the deliveries among them.

mod courier;
mod digest;
mod http;
mod mail;
mod message;
mod outcome;
mod queue;
mod schedule;
mod sign;
mod texts;

use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use courier::Courier;
use digest::Store;
use http::{Guard, Web};
use mail::Mailer;
use schedule::Task;

use crate::config::Config;
use crate::db::{self, Finding, Listener};
use crate::ops::WorkMetrics;

/// A worker that cannot start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

/// Starts the worker. It ends when `stop` is true and the deliveries that have begun have ended.
/// Once `cut_off` is true, they end without an answer.
pub fn start(
    config: &Config,
    database: &db::Worker,
    metrics: &WorkMetrics,
    stop: &watch::Receiver<bool>,
    cut_off: &watch::Receiver<bool>,
) -> Result<JoinSet<()>, Failure> {
    let mut running = JoinSet::new();
    let settings = &config.worker;
    if !settings.enabled {
        return Ok(running);
    }
    let listener = Listener::new(&config.database.worker, &config.database);
    let listener = listener.map_err(|error| Failure(error.to_string()))?;
    let mailer = Mailer::new(&config.mail, settings.timeout.get()).map_err(Failure)?;
    let courier = Arc::new(Courier {
        database: database.clone(),
        web: Web::new(settings, Guard::new(settings)),
        mailer,
        metrics: metrics.clone(),
        config: settings.clone(),
        cut_off: cut_off.clone(),
    });
    let wake = Arc::new(Notify::new());
    let (listening, stopping) = (wake.clone(), stop.clone());
    running.spawn(async move {
        let mut until = stopping.clone();
        tokio::select! {
            () = queue::work(courier, wake, stopping) => {}
            () = async {
                // The connection ends with the signal; the queue goes on.
                tokio::select! {
                    () = listener.wake(listening) => {}
                    _ = until.wait_for(|stop| *stop) => {}
                }
                std::future::pending::<()>().await;
            } => {}
        }
    });
    for (task, interval) in Task::all(settings) {
        let (database, metrics, stop) = (database.clone(), metrics.clone(), stop.clone());
        running.spawn(schedule::every(task, interval, database, metrics, stop));
    }
    Ok(running)
}

/// The report of `walletd check` on the settings of the worker.
pub async fn look(config: &Config) -> Vec<(&'static str, Finding)> {
    let mut found = Vec::new();
    let mut note = |setting, looked: Result<String, String>| {
        let is_right = looked.is_ok();
        let (Ok(text) | Err(text)) = looked;
        found.push((setting, Finding { is_right, text }));
    };
    let settings = &config.worker;
    if !settings.enabled {
        return found;
    }
    if let Some(store) = Store::new(settings) {
        note("worker.digest_to", store.look());
    }
    let certificates = settings.root_certificates.as_path();
    if certificates != std::path::Path::new("") {
        let read = db::authorities(Some(certificates));
        let text = |_| "can be read".to_owned();
        note(
            "worker.root_certificates",
            read.map(text).map_err(|error| error.to_string()),
        );
    }
    match Mailer::new(&config.mail, settings.timeout.get()) {
        Ok(None) => {}
        Ok(Some(mailer)) => {
            let looked = mailer.look().await;
            note("mail.host", looked.map(|()| "lets walletd in".to_owned()));
        }
        Err(reason) => note("mail", Err(reason)),
    }
    found
}
