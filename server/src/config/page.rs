//! The settings of the page for people.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::problems::{Problem, fatal, weak_password};
use super::{Config, Secret, Span};

/// The page for people. It is served if it has secrets.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Page {
    /// Secrets that encrypt sessions and one-time links. The first one encrypts, all decrypt.
    #[serde(deserialize_with = "super::secret::several")]
    pub secrets: Vec<Secret>,
    /// Connects as the role of the page.
    pub database: Secret,
    /// How many connections the page uses at most.
    pub pool: usize,
    /// The address under which people reach the page. The default is that of `http.listen`.
    pub url: String,
    /// How long a session lasts.
    pub session: Span,
    /// How long a one-time link can be used.
    pub link: Span,
    /// How many attempts to sign in an address has per minute.
    pub sign_ins: NonZeroU32,
    /// How many browsers follow the balance at the same time.
    pub watchers: usize,
    /// How often the balance is read for each of them.
    pub refresh: Span,
}

impl Default for Page {
    fn default() -> Page {
        Page {
            secrets: Vec::new(),
            database: Secret::default(),
            pool: 8,
            url: String::new(),
            session: Span::seconds(12 * 3600),
            link: Span::seconds(15 * 60),
            sign_ins: NonZeroU32::MIN.saturating_add(9),
            watchers: 64,
            refresh: Span::seconds(5),
        }
    }
}

/// The shortest secret: as many bytes as the key of the cipher.
const SECRET_MIN: usize = 32;

impl Page {
    /// Whether the page is served.
    pub fn is_on(&self) -> bool {
        !self.secrets.is_empty()
    }
}

impl Config {
    /// The address of the page, without a slash at its end.
    pub fn page_url(&self) -> String {
        match self.page.url.as_str() {
            "" => format!("http://{}", self.http.listen),
            url => url.trim_end_matches('/').to_owned(),
        }
    }
}

/// Problems of the settings of the page.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let page = &config.page;
    let mut found = Vec::new();
    if !page.is_on() {
        if !page.database.expose().is_empty() {
            let text = "are missing: give one of 32 characters or more, or leave page.database out";
            found.push(fatal("page.secrets", text));
        }
        return found;
    }
    if page
        .secrets
        .iter()
        .any(|one| one.expose().len() < SECRET_MIN)
    {
        let text = format!(
            "must have {SECRET_MIN} characters or more, such as those of `openssl rand -hex 32`"
        );
        found.push(fatal("page.secrets", text));
    }
    if page.database.expose().is_empty() {
        found.push(fatal(
            "page.database",
            "is missing: give a connection string",
        ));
    }
    found.extend(weak_password("page.database", &page.database));
    for (setting, number) in [("page.pool", page.pool), ("page.watchers", page.watchers)] {
        if number == 0 {
            found.push(fatal(setting, "must be at least 1"));
        }
    }
    for (setting, span) in [
        ("page.session", page.session),
        ("page.link", page.link),
        ("page.refresh", page.refresh),
    ] {
        if span.get().as_secs() == 0 {
            found.push(fatal(setting, "must be at least 1s"));
        }
    }
    if page.link > page.session {
        found.push(fatal("page.link", "must not be longer than page.session"));
    }
    found.extend(wrong_url(&config.page_url()));
    found
}

/// A password that travels in the clear is only safe on the same machine.
fn wrong_url(url: &str) -> Option<Problem> {
    let text = match url.parse::<axum::http::Uri>() {
        Ok(uri) if uri.path().len() > 1 || uri.query().is_some() => {
            "must have no path: the page is at /"
        }
        Ok(uri) => match (uri.scheme_str(), uri.host()) {
            (Some("https"), Some(_)) => return None,
            (Some("http"), Some(host)) if is_loopback(host) => return None,
            (Some("http"), Some(_)) => "must begin with https:// unless it is a loopback address",
            _ => "must be an address such as https://wallet.example.com",
        },
        Err(_) => "must be an address such as https://wallet.example.com",
    };
    Some(fatal("page.url", text))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut Page)) -> Config {
        let mut config = Config::default();
        config.page.secrets = vec![Secret::new("s".repeat(SECRET_MIN))];
        config.page.database = Secret::new("host=/tmp user=p".to_owned());
        change(&mut config.page);
        config
    }

    #[test]
    fn settings_of_the_page_that_are_not_safe_are_refused() {
        let found = |change: fn(&mut Page)| -> Vec<&'static str> {
            let config = config(change);
            problems(&config)
                .iter()
                .map(|problem| problem.setting)
                .collect()
        };
        assert_eq!(found(|_| ()), [""; 0]);
        assert_eq!(
            found(|page| page.url = "https://wallet.example.com/".to_owned()),
            [""; 0]
        );
        assert_eq!(
            found(|page| page.url = "http://[::1]:8080".to_owned()),
            [""; 0]
        );
        for url in [
            "http://wallet.example.com",
            "wallet.example.com",
            "https://a/b",
            "ftp://a",
            "\u{0}",
        ] {
            let config = config(|page| page.url = url.to_owned());
            assert_eq!(problems(&config).len(), 1, "{url}");
        }
        assert_eq!(
            found(|page| page.secrets.push(Secret::new("short".to_owned()))),
            ["page.secrets"]
        );
        assert_eq!(found(|page| page.secrets.clear()), ["page.secrets"]);
        assert_eq!(
            found(|page| page.database = Secret::default()),
            ["page.database"]
        );
        assert_eq!(
            found(|page| page.link = Span::seconds(13 * 3600)),
            ["page.link"]
        );
        assert_eq!(found(|page| page.watchers = 0), ["page.watchers"]);
    }
}
