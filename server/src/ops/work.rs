//! The counts of the worker.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The upper bounds of the histogram, in seconds.
const BOUNDS: [f64; 9] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];
/// The kinds of destinations.
const KINDS: [&str; 4] = ["webhook", "slack", "teams", "email"];
/// The outcomes of an attempt. `unrecorded`: PostgreSQL was not told, so it is made again.
const OUTCOMES: [&str; 4] = ["delivered", "retried", "dead", "unrecorded"];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Delivery {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Task {
    task: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Name {
    task: &'static str,
}

/// The counts. They begin with zero, so that the first failure is an increase.
#[derive(Clone)]
pub struct WorkMetrics {
    deliveries: Family<Delivery, Counter>,
    durations: Family<Kind, Histogram, fn() -> Histogram>,
    running: Gauge,
    tasks: Family<Task, Counter>,
    successes: Family<Name, Gauge>,
}

impl WorkMetrics {
    /// Adds the counts to a registry.
    pub fn register(registry: &mut Registry) -> WorkMetrics {
        let histogram: fn() -> Histogram = || Histogram::new(BOUNDS);
        let metrics = WorkMetrics {
            deliveries: Family::default(),
            durations: Family::new_with_constructor(histogram),
            running: Gauge::default(),
            tasks: Family::default(),
            successes: Family::default(),
        };
        for kind in KINDS {
            for outcome in OUTCOMES {
                let labels = Delivery { kind, outcome };
                drop(metrics.deliveries.get_or_create(&labels));
            }
            drop(metrics.durations.get_or_create(&Kind { kind }));
        }
        registry.register(
            "deliveries",
            "Attempts to deliver an event, by kind and outcome",
            metrics.deliveries.clone(),
        );
        registry.register_with_unit(
            "delivery_duration",
            "How long attempts to deliver took, by kind",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        registry.register(
            "deliveries_running",
            "Deliveries that are being made",
            metrics.running.clone(),
        );
        registry.register(
            "tasks",
            "Runs of maintain, topups and digest, by outcome",
            metrics.tasks.clone(),
        );
        registry.register_with_unit(
            "task_success_timestamp",
            "When a task succeeded last, or walletd began",
            Unit::Seconds,
            metrics.successes.clone(),
        );
        metrics
    }

    /// A task is on this process's schedule.
    pub fn scheduled(&self, task: &'static str) {
        for outcome in ["done", "failed"] {
            drop(self.tasks.get_or_create(&Task { task, outcome }));
        }
        // A task that never succeeds is late from now on.
        self.succeeded(task);
    }

    /// A task ran.
    pub fn ran(&self, task: &'static str, is_done: bool) {
        let outcome = if is_done { "done" } else { "failed" };
        self.tasks.get_or_create(&Task { task, outcome }).inc();
        if is_done {
            self.succeeded(task);
        }
    }

    fn succeeded(&self, task: &'static str) {
        if let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) {
            let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            self.successes.get_or_create(&Name { task }).set(seconds);
        }
    }

    /// A delivery began.
    pub fn began(&self) {
        self.running.inc();
    }

    /// An attempt ended with one of the outcomes.
    pub fn attempted(&self, kind: &str, outcome: &'static str, took: Duration) {
        self.running.dec();
        let kind = KINDS.into_iter().find(|known| *known == kind);
        let kind = kind.unwrap_or("other");
        self.deliveries
            .get_or_create(&Delivery { kind, outcome })
            .inc();
        self.durations
            .get_or_create(&Kind { kind })
            .observe(took.as_secs_f64());
    }
}
