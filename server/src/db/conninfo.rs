//! Connection strings, with the `sslmode` and `sslrootcert` of libpq, which the driver lacks.

use std::path::PathBuf;

use tokio_postgres::config::Host;

use crate::config::Secret;

/// How much TLS a connection must have: the values of libpq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS where the server offers it. Without a proof of who the server is.
    Prefer,
    /// TLS, without a proof of who the server is.
    Require,
    /// TLS, and a known authority signed the server's certificate.
    VerifyCa,
    /// TLS, and the certificate also names the host.
    VerifyFull,
}

/// Where to connect to, and how.
pub struct Target {
    /// All settings that the driver knows.
    pub driver: tokio_postgres::Config,
    /// How much TLS.
    pub ssl_mode: SslMode,
    /// The file with the authorities. `None`: those of the system.
    pub root_certificates: Option<PathBuf>,
}

/// A connection string that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// A value that libpq does not have either.
    #[error("sslmode must be disable, prefer, require, verify-ca or verify-full")]
    SslMode,
    /// The driver does not understand it. Its message names the option, never a value.
    #[error("{0}")]
    Driver(String),
}

impl Target {
    /// Whether no connection to it can have TLS.
    pub fn has_no_tls(&self) -> bool {
        let is_socket = |host: &Host| matches!(host, Host::Unix(_));
        self.ssl_mode == SslMode::Disable || self.driver.get_hosts().iter().all(is_socket)
    }

    /// Reads a connection string: a URL, or keywords and values.
    pub fn read(text: &Secret) -> Result<Target, TargetError> {
        let parts = match is_url(text.expose()) {
            true => split_url(text.expose()),
            false => split_keywords(text.expose()),
        };
        let mut driver: tokio_postgres::Config = parts
            .rest
            .parse()
            .map_err(|error| TargetError::Driver(describe(&error)))?;
        let root = parts.root.filter(|root| !root.is_empty());
        let ssl_mode = match (parts.mode.as_deref(), root.as_deref()) {
            // As libpq: the authorities of the system prove a host only by its name.
            (None | Some("verify-full"), Some("system")) => SslMode::VerifyFull,
            (_, Some("system")) => return Err(TargetError::SslMode),
            (Some("disable"), _) => SslMode::Disable,
            (None | Some("allow" | "prefer"), _) => SslMode::Prefer,
            // As libpq: a file with authorities is there to be used.
            (Some("require"), Some(_)) => SslMode::VerifyCa,
            (Some("require"), None) => SslMode::Require,
            (Some("verify-ca"), _) => SslMode::VerifyCa,
            (Some("verify-full"), _) => SslMode::VerifyFull,
            (Some(_), _) => return Err(TargetError::SslMode),
        };
        driver.ssl_mode(match ssl_mode {
            SslMode::Disable => tokio_postgres::config::SslMode::Disable,
            SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
            _ => tokio_postgres::config::SslMode::Require,
        });
        if driver.get_application_name().is_none() {
            driver.application_name("walletd");
        }
        Ok(Target {
            driver,
            ssl_mode,
            root_certificates: root.filter(|root| root != "system").map(PathBuf::from),
        })
    }
}

/// The driver's message. It names an option that it does not know, and no value.
fn describe(error: &tokio_postgres::Error) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), ToString::to_string)
}

/// A connection string without the options that the driver does not know.
#[derive(Default)]
struct Parts {
    rest: String,
    mode: Option<String>,
    root: Option<String>,
}

impl Parts {
    /// Takes an option that the driver does not know. Returns whether it did.
    fn takes(&mut self, key: &str, value: &str) -> bool {
        match key {
            "sslmode" => self.mode = Some(value.to_owned()),
            "sslrootcert" => self.root = Some(value.to_owned()),
            _ => return false,
        }
        true
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

fn split_url(text: &str) -> Parts {
    let mut parts = Parts::default();
    let Some((before, options)) = text.split_once('?') else {
        text.clone_into(&mut parts.rest);
        return parts;
    };
    let mut kept = Vec::new();
    for option in options.split('&') {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let decoded = serde_urlencoded::from_str::<Vec<(String, String)>>(option).ok();
        let value = decoded
            .and_then(|pairs| pairs.into_iter().next())
            .map_or_else(|| value.to_owned(), |(_, value)| value);
        if !parts.takes(key, &value) {
            kept.push(option);
        }
    }
    before.clone_into(&mut parts.rest);
    if !kept.is_empty() {
        parts.rest.push('?');
        parts.rest.push_str(&kept.join("&"));
    }
    parts
}

/// `key = value` pairs, separated by spaces. A value may be quoted, with backslashes.
fn split_keywords(text: &str) -> Parts {
    let mut parts = Parts::default();
    let mut rest = text.trim_start();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, end) = value_of(after.trim_start());
        let pair = &rest[..rest.len() - end.len()];
        if !parts.takes(key.trim(), &value) {
            parts.rest.push_str(pair);
            parts.rest.push(' ');
        }
        rest = end.trim_start();
    }
    parts.rest.push_str(rest);
    parts
}

/// The value at the beginning of a text, and what follows it.
fn value_of(text: &str) -> (String, &str) {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(usize::from(quoted)) {
        if escaped {
            value.push(character);
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if quoted && character == '\'' {
            return (value, &text[at + 1..]);
        } else if !quoted && character.is_whitespace() {
            return (value, &text[at..]);
        } else {
            value.push(character);
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Target, TargetError> {
        Target::read(&Secret::new(text.to_owned()))
    }

    #[test]
    fn the_modes_of_libpq_are_read_in_both_forms() {
        use SslMode::{Disable, Prefer, Require, VerifyCa, VerifyFull};
        for (options, mode, root) in [
            ("", Prefer, None),
            ("sslmode=disable", Disable, None),
            ("sslmode=allow", Prefer, None),
            ("sslmode=require", Require, None),
            (
                "sslmode=require sslrootcert=/ca.pem",
                VerifyCa,
                Some("/ca.pem"),
            ),
            (
                "sslmode=verify-ca sslrootcert=/ca.pem",
                VerifyCa,
                Some("/ca.pem"),
            ),
            (
                "sslrootcert=/ca.pem sslmode=verify-full",
                VerifyFull,
                Some("/ca.pem"),
            ),
            ("sslrootcert=system", VerifyFull, None),
        ] {
            let keywords = format!("host=db user='a b' {options} password='it''s'");
            let keywords = keywords.replace("''", "\\'");
            let url = format!(
                "postgres://a%20b:it%27s@db/x?{}&connect_timeout=3",
                options.replace(' ', "&").replace('/', "%2F")
            );
            for text in [keywords, url.replace("?&", "?")] {
                let target = read(&text).unwrap();
                assert_eq!(target.ssl_mode, mode, "{text}");
                assert_eq!(
                    target.root_certificates.as_deref(),
                    root.map(std::path::Path::new)
                );
                assert_eq!(target.driver.get_user(), Some("a b"), "{text}");
                assert_eq!(
                    target.driver.get_password(),
                    Some(b"it's".as_slice()),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn a_wrong_string_is_refused_without_its_values() {
        for text in [
            "host=db sslmode=maybe password=hunter2",
            "host=db sslmode=require sslrootcert=system password=hunter2",
            "host=db pasword=hunter2",
            "host=db port=hunter2",
            "postgres://a:hunter2@db:port/x",
            "hunter2",
        ] {
            let error = read(text).err().unwrap().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
