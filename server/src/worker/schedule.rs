//! Runs tasks from time to time. Every walletd runs them: each is safe to run at any time, so
//! nobody has to be elected.

use std::time::Duration;

use tokio::sync::watch;

use super::digest::Store;
use crate::config;
use crate::db::Worker;
use crate::ops::WorkMetrics;

/// The first run comes at most so late, and so does the run after a failure.
const SOON: Duration = Duration::from_secs(60);

/// About so long: up to a tenth more or less, so that several processes do not run in step.
pub fn about(time: Duration) -> Duration {
    time.mul_f64(0.9 + fastrand::f64() / 5.0)
}

/// A task that is due from time to time.
pub enum Task {
    /// `maintain`.
    Maintain,
    /// Rules of top-ups whose time has come.
    Topups,
    /// The digest.
    Digest(Store),
}

impl Task {
    /// The tasks of the settings, with their intervals.
    pub fn all(config: &config::Worker) -> Vec<(Task, Duration)> {
        let mut all = vec![
            (Task::Maintain, config.maintain.get()),
            (Task::Topups, config.topups.get()),
        ];
        all.extend(Store::new(config).map(|store| (Task::Digest(store), config.digest.get())));
        all.retain(|(_, interval)| *interval > Duration::ZERO);
        all
    }

    fn name(&self) -> &'static str {
        match self {
            Task::Maintain => "maintain",
            Task::Topups => "topups",
            Task::Digest(_) => "digest",
        }
    }

    async fn run(&self, database: &Worker) -> Result<(), String> {
        let described = |error| format!("{error:?}");
        match self {
            Task::Maintain => database.maintain().await.map_err(described),
            Task::Topups => {
                let requested = database.request_due_topups().await.map_err(described)?;
                tracing::debug!(requested, "due top-ups");
                Ok(())
            }
            Task::Digest(store) => store.store(database).await,
        }
    }
}

/// Runs a task until walletd stops. A run that has begun ends by itself.
pub async fn every(
    task: Task,
    interval: Duration,
    database: Worker,
    metrics: WorkMetrics,
    mut stop: watch::Receiver<bool>,
) {
    let name = task.name();
    metrics.scheduled(name);
    let mut pause = interval.min(SOON).mul_f64(fastrand::f64() / 10.0);
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(pause) => {}
        }
        let ran = task.run(&database).await;
        metrics.ran(name, ran.is_ok());
        pause = match ran {
            Ok(()) => about(interval),
            Err(reason) => {
                tracing::error!(task = name, reason, "a task failed");
                about(interval.min(SOON))
            }
        };
    }
}
