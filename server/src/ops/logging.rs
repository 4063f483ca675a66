//! The log. No line has a secret, a header, a body or the text of a query: what a request sends is
//! logged only as its method, its route and its status.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Level, Log, LogFormat};

/// Writes the log to standard error from now on.
pub fn start_log(log: &Log) {
    let level = match log.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    // The driver logs notices of the server and, at a low level, statements.
    let own = Targets::new()
        .with_target("walletd", level)
        .with_default(LevelFilter::OFF);
    let registry = tracing_subscriber::registry().with(own);
    let written = match log.format {
        LogFormat::Json => registry
            .with(
                fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_writer(std::io::stderr),
            )
            .try_init(),
        LogFormat::Text => registry
            .with(fmt::layer().with_writer(std::io::stderr))
            .try_init(),
    };
    if let Err(error) = written {
        eprintln!("walletd: the log was started before: {error}");
    }
}
