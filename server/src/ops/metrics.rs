//! The metrics, in the format of OpenMetrics.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::work::WorkMetrics;
use crate::db::{Connections, Figure, WalletFigure};

/// The upper bounds of the histogram, in seconds.
const BOUNDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Outcomes of events of the payment provider that somebody should look at.
const NOT_BOOKED: [&str; 6] = [
    "refused",
    "mismatch",
    "capped",
    "no_signature",
    "wrong_signature",
    "wrong_time",
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InPool {
    pool: &'static str,
}

/// The pools of this process, by name.
pub type Pools = Vec<(&'static str, Connections)>;

/// The counts of walletd itself.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    requests: Family<Answered, Histogram, fn() -> Histogram>,
    errors: Family<Failed, Counter>,
    running: Gauge,
    open: Family<InPool, Gauge>,
    idle: Family<InPool, Gauge>,
    /// The counts of the worker.
    pub work: WorkMetrics,
    payment_events: Family<Ended, Counter>,
    topups: Family<Ended, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Failed {
    sqlstate: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::with_prefix("walletd");
        let histogram: fn() -> Histogram = || Histogram::new(BOUNDS);
        let metrics = Metrics {
            registry: Arc::default(),
            requests: Family::new_with_constructor(histogram),
            errors: Family::default(),
            running: Gauge::default(),
            open: Family::default(),
            idle: Family::default(),
            work: WorkMetrics::register(&mut registry),
            payment_events: Family::default(),
            topups: Family::default(),
        };
        registry.register_with_unit(
            "request_duration",
            "How long requests took, by route and status",
            Unit::Seconds,
            metrics.requests.clone(),
        );
        registry.register(
            "refusals",
            "Answers with a problem, by its SQLSTATE or name",
            metrics.errors.clone(),
        );
        registry.register(
            "requests_running",
            "Requests in progress",
            metrics.running.clone(),
        );
        registry.register("pool_connections", "Open connections", metrics.open.clone());
        registry.register(
            "pool_connections_idle",
            "Open connections that nobody uses",
            metrics.idle.clone(),
        );
        registry.register(
            "payment_events",
            "Events of the payment provider, by what came of them",
            metrics.payment_events.clone(),
        );
        registry.register(
            "topups",
            "Attempts to charge a top-up, by what came of them",
            metrics.topups.clone(),
        );
        // They begin with zero, so that the first one is an increase.
        for outcome in NOT_BOOKED {
            drop(metrics.payment_events.get_or_create(&Ended { outcome }));
        }
        Metrics {
            registry: Arc::new(registry),
            ..metrics
        }
    }
}

impl Metrics {
    /// A request began.
    pub fn began(&self) {
        self.running.inc();
    }

    /// A request ended.
    pub fn ended(&self) {
        self.running.dec();
    }

    /// A request was answered.
    pub fn answered(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let route = route.to_owned();
        let labels = Answered {
            method,
            route,
            status,
        };
        self.requests
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    /// A request was answered with a problem.
    pub fn refused(&self, code: &str) {
        let sqlstate = code.to_owned();
        self.errors.get_or_create(&Failed { sqlstate }).inc();
    }

    /// An event of the payment provider was answered.
    pub fn payment_event(&self, outcome: &'static str) {
        self.payment_events.get_or_create(&Ended { outcome }).inc();
    }

    /// An attempt to charge a top-up ended.
    pub fn topup(&self, outcome: &'static str) {
        self.topups.get_or_create(&Ended { outcome }).inc();
    }

    /// Everything as text, with the figures of the database if it gave any.
    pub fn text(
        &self,
        pools: &Pools,
        health: Option<&[Figure]>,
        wallets: Option<&[WalletFigure]>,
    ) -> Result<String, std::fmt::Error> {
        for (pool, connections) in pools {
            let (pool, (open, idle)) = (*pool, connections.counts());
            let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
            self.open.get_or_create(&InPool { pool }).set(number(open));
            self.idle.get_or_create(&InPool { pool }).set(number(idle));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        let end = text
            .trim_end()
            .strip_suffix("# EOF")
            .map_or(text.len(), str::len);
        text.truncate(end);
        gauge(
            &mut text,
            "wallet_up",
            "Whether the database gave its figures",
        )?;
        writeln!(text, "wallet_up {}", u8::from(health.is_some()))?;
        for figure in health.unwrap_or_default() {
            let name = format!("wallet_{}", plain(&figure.name));
            gauge(&mut text, &name, &escaped(&figure.meaning))?;
            writeln!(text, "{name} {}", figure.value)?;
        }
        if let Some(wallets) = wallets {
            money(&mut text, wallets)?;
        }
        text.push_str("# EOF\n");
        Ok(text)
    }
}

/// A gauge per wallet for each kind of its money. Numbers are copied digit by digit.
fn money(text: &mut String, wallets: &[WalletFigure]) -> std::fmt::Result {
    type Part = fn(&WalletFigure) -> &str;
    let parts: [(&str, &str, Part); 4] = [
        ("wallet_balance", "The balance", |one| &one.balance),
        ("wallet_held", "The part that holds reserve", |one| {
            &one.held
        }),
        (
            "wallet_available",
            "The balance minus the held part",
            |one| &one.available,
        ),
        ("wallet_debt", "The debt", |one| &one.debt),
    ];
    for (name, help, part) in parts {
        gauge(text, name, help)?;
        for one in wallets {
            let (wallet, currency) = (escaped(&one.wallet), escaped(&one.currency));
            writeln!(
                text,
                "{name}{{wallet=\"{wallet}\",currency=\"{currency}\"}} {}",
                part(one)
            )?;
        }
    }
    Ok(())
}

fn gauge(text: &mut String, name: &str, help: &str) -> std::fmt::Result {
    writeln!(text, "# HELP {name} {help}")?;
    writeln!(text, "# TYPE {name} gauge")
}

/// A name with the characters that a metric's name may have.
fn plain(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}

/// A text as the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_stays_in_its_label() {
        let wallets = [WalletFigure {
            wallet: "a\"} 1\nwallet_up 0\\".to_owned(),
            currency: "USD".to_owned(),
            balance: "0.10".to_owned(),
            held: "0".to_owned(),
            available: "0.10".to_owned(),
            debt: "0".to_owned(),
        }];
        let mut text = String::new();
        money(&mut text, &wallets).unwrap();
        assert_eq!(text.lines().count(), 12, "{text}");
        let line = text.lines().nth(2).unwrap();
        assert_eq!(
            line,
            r#"wallet_balance{wallet="a\"} 1\nwallet_up 0\\",currency="USD"} 0.10"#
        );
    }
}
