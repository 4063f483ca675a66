//! The settings: a TOML file, overridden by environment variables.

mod page;
mod payments;
mod problems;
mod secret;
mod values;
mod worker;

use std::net::SocketAddr;
use std::path::Path;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use page::Page;
pub use payments::{Offer, Payments, Stripe};
pub use problems::Problem;
pub use secret::Secret;
pub use values::{Size, Span};
pub use worker::{Mail, MailTls, RECORDING, Worker};

/// All settings. The defaults are those that `docs/walletd.md` lists.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The server for tenants' requests.
    pub http: Http,
    /// PostgreSQL.
    pub database: Database,
    /// Health and metrics.
    pub ops: Ops,
    /// The page for people.
    pub page: Page,
    /// The log.
    pub log: Log,
    /// Deliveries, maintenance and digests.
    pub worker: Worker,
    /// The mail server.
    pub mail: Mail,
    /// Payments.
    pub payments: Payments,
}

/// The server for tenants' requests.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// The address to listen on. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Networks of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The largest body of a request.
    pub body_limit: Size,
    /// How long a request may take, from its first byte to its answer.
    pub timeout: Span,
    /// How many connections are open at most.
    pub connections: usize,
    /// How long requests in progress may go on after SIGTERM.
    pub drain: Span,
}

impl Default for Http {
    fn default() -> Http {
        Http {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            trusted_proxies: Vec::new(),
            body_limit: Size::kib(256),
            timeout: Span::seconds(15),
            connections: 1024,
            drain: Span::seconds(20),
        }
    }
}

/// PostgreSQL: one connection string per role.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// Connects as the role of tenants' requests.
    pub tenants: Secret,
    /// Connects as the role of the worker, which also reads the figures for `/metrics`.
    pub worker: Secret,
    /// How many connections tenants' requests use at most.
    pub tenants_pool: usize,
    /// How many connections the worker uses at most.
    pub worker_pool: usize,
    /// How long a statement may run.
    pub statement_timeout: Span,
    /// How long a request waits for a free connection.
    pub wait_timeout: Span,
    /// How long a new connection may take.
    pub connect_timeout: Span,
}

impl Default for Database {
    fn default() -> Database {
        Database {
            tenants: Secret::default(),
            worker: Secret::default(),
            tenants_pool: 16,
            worker_pool: 4,
            statement_timeout: Span::seconds(5),
            wait_timeout: Span::seconds(2),
            connect_timeout: Span::seconds(5),
        }
    }
}

/// Health and metrics, on a listener of their own.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ops {
    /// The address of `/healthz`, `/readyz` and `/metrics`. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether `/metrics` has the balance of every wallet.
    pub wallets: bool,
}

impl Default for Ops {
    fn default() -> Ops {
        Ops {
            listen: SocketAddr::from(([127, 0, 0, 1], 9464)),
            wallets: false,
        }
    }
}

/// The log, which is written to standard error.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// The lowest level that is written: `error`, `warn`, `info`, `debug`.
    pub level: Level,
}

impl Default for Log {
    fn default() -> Log {
        Log {
            format: LogFormat::Json,
            level: Level::Info,
        }
    }
}

/// The form of a line of the log.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Text for people.
    Text,
}

/// The lowest level that is written.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Faults of walletd or of the database.
    Error,
    /// Things that somebody should look at.
    Warn,
    /// One line per request.
    Info,
    /// More about each of them.
    Debug,
}

/// The prefix of environment variables. Two underscores separate the levels of a name.
pub const PREFIX: &str = "WALLETD_";

/// Settings that cannot be read. No message has a secret.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is no TOML. The message of the parser would quote the line.
    #[error("{file}, line {line}: {reason}")]
    Syntax {
        /// The path.
        file: String,
        /// The number of the line.
        line: usize,
        /// The reason.
        reason: String,
    },
    /// A value, or a file that cannot be opened.
    #[error("{0}")]
    Value(#[from] Box<figment::Error>),
}

/// The syntax error of a file, if it has one. A file that cannot be opened is told later.
fn check_syntax(file: &Path) -> Result<(), LoadError> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    toml::from_str::<toml::Table>(&text).map_or_else(
        |error| {
            let begin = error.span().map_or(0, |span| span.start);
            let before = text.as_bytes().iter().take(begin);
            Err(LoadError::Syntax {
                file: file.display().to_string(),
                line: 1 + before.filter(|byte| **byte == b'\n').count(),
                reason: error.message().to_owned(),
            })
        },
        |_| Ok(()),
    )
}

/// Reads the defaults, then the file if one is named, then the environment.
pub fn load(file: Option<&Path>) -> Result<Config, LoadError> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    if let Some(file) = file {
        check_syntax(file)?;
        figment = figment.merge(Toml::file_exact(file));
    }
    let environment = Env::prefixed(PREFIX).ignore(&["config"]).split("__");
    let extracted = figment.merge(environment).extract().map_err(Box::new);
    Ok(extracted?)
}

/// All problems of the settings that show without a connection.
pub fn problems(config: &Config) -> Vec<Problem> {
    let mut found = problems::problems(config);
    found.extend(page::problems(config));
    found
}

/// The defaults as the text of a file.
pub fn defaults() -> Result<String, toml::ser::Error> {
    toml::to_string(&Config::default())
}

#[cfg(test)]
mod tests;
