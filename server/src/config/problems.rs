//! Settings that contradict each other, or that are not safe.

use super::{Config, Secret, Span, payments};

/// Something wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether walletd refuses to start with it.
    pub is_fatal: bool,
    /// The setting.
    pub setting: &'static str,
    /// The problem, and a way out of it.
    pub text: String,
}

/// The shortest password that is not called weak.
const PASSWORD_MIN: usize = 16;

pub(super) fn fatal(setting: &'static str, text: impl Into<String>) -> Problem {
    Problem {
        is_fatal: true,
        setting,
        text: text.into(),
    }
}

fn warning(setting: &'static str, text: impl Into<String>) -> Problem {
    Problem {
        is_fatal: false,
        ..fatal(setting, text)
    }
}

/// A warning of a connection string whose password can be guessed.
pub(super) fn weak_password(setting: &'static str, url: &Secret) -> Option<Problem> {
    let parsed = url.expose().parse::<tokio_postgres::Config>().ok()?;
    let length = parsed.get_password().map(<[u8]>::len);
    length.is_some_and(|length| length < PASSWORD_MIN).then(|| {
        let text = format!("has a password of less than {PASSWORD_MIN} characters");
        warning(setting, text)
    })
}

/// Problems of the settings that every walletd has.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    let database = &config.database;
    for (setting, url) in [
        ("database.tenants", &database.tenants),
        ("database.worker", &database.worker),
    ] {
        if url.expose().is_empty() {
            found.push(fatal(setting, "is missing: give a connection string"));
        }
        found.extend(weak_password(setting, url));
    }
    for (setting, number) in [
        ("http.connections", config.http.connections),
        ("http.body_limit", config.http.body_limit.bytes()),
        ("database.tenants_pool", database.tenants_pool),
        ("database.worker_pool", database.worker_pool),
    ] {
        if number == 0 {
            found.push(fatal(setting, "must be at least 1"));
        }
    }
    for (setting, span) in [
        ("http.timeout", config.http.timeout),
        ("database.statement_timeout", database.statement_timeout),
        ("database.wait_timeout", database.wait_timeout),
        ("database.connect_timeout", database.connect_timeout),
    ] {
        if span < Span::seconds(0) || span.get().as_millis() == 0 {
            found.push(fatal(setting, "must be at least 1ms"));
        }
    }
    let least = database.statement_timeout.get() + database.wait_timeout.get();
    if config.http.timeout.get() <= least {
        found.push(fatal(
            "http.timeout",
            "must be longer than database.statement_timeout and database.wait_timeout together, so \
             that the database answers first",
        ));
    }
    if !config.ops.listen.ip().is_loopback() {
        found.push(warning(
            "ops.listen",
            "is not a loopback address: whoever reaches it reads the metrics without a key",
        ));
    }
    let port = config.http.listen.port();
    if port != 0 && config.http.listen == config.ops.listen {
        found.push(fatal("ops.listen", "must differ from http.listen"));
    }
    for (setting, text, is_fatal) in [config.worker.wrong(), config.mail.wrong()].concat() {
        found.push(Problem {
            is_fatal,
            ..warning(setting, text)
        });
    }
    let payments = payments::problems(&config.payments).into_iter();
    found.extend(payments.map(|(setting, text)| fatal(setting, text)));
    found
}
