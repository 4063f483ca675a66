//! The encrypted cookie, and other texts that only walletd can write and read.

use cookie::{Cookie, CookieJar, Key, SameSite};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

use crate::config::{Page, Secret};

/// A visit of a browser, before and after it signed in.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Visit {
    /// The token that each form of this visit has.
    pub token: String,
    /// The key, once it signed in.
    pub key: Option<Secret>,
    /// When the visit ends, in seconds of Unix time.
    pub ends: i64,
}

/// The ciphers, and how long a visit lasts.
pub struct Cookies {
    keys: Vec<Key>,
    session: Duration,
    is_secure: bool,
}

impl Cookies {
    /// The keys of the settings.
    pub fn new(page: &Page, is_secure: bool) -> Cookies {
        let key = |secret: &Secret| Key::derive_from(secret.expose().as_bytes());
        Cookies {
            keys: page.secrets.iter().map(key).collect(),
            session: page.session.get(),
            is_secure,
        }
    }

    /// The name. A browser accepts `__Host-` only over TLS, for this host alone.
    pub fn name(&self) -> &'static str {
        match self.is_secure {
            true => "__Host-walletd",
            false => "walletd",
        }
    }

    /// A new visit.
    pub fn begin(&self, key: Option<Secret>) -> Visit {
        Visit {
            token: Uuid::new_v4().simple().to_string(),
            key,
            ends: after(self.session),
        }
    }

    /// The value of `Set-Cookie` for a visit.
    pub fn write(&self, visit: &Visit) -> Option<String> {
        let value = self.seal(self.name(), visit)?;
        let left = visit.ends - Timestamp::now().as_second();
        Some(self.header(value, left.max(0)))
    }

    /// The value of `Set-Cookie` that removes the cookie.
    pub fn remove(&self) -> String {
        self.header(String::new(), 0)
    }

    fn header(&self, value: String, seconds: i64) -> String {
        let cookie = Cookie::build((self.name(), value))
            .path("/")
            .http_only(true)
            .secure(self.is_secure)
            .same_site(SameSite::Lax)
            .max_age(cookie::time::Duration::seconds(seconds));
        cookie.build().to_string()
    }

    /// The visit of a header `Cookie`, if it is ours and has not ended.
    pub fn read(&self, header: &str) -> Option<Visit> {
        let mut cookies = Cookie::split_parse(header).filter_map(Result::ok);
        let found = cookies.find(|cookie| cookie.name() == self.name())?;
        let visit: Visit = self.open(self.name(), found.value())?;
        (visit.ends > Timestamp::now().as_second()).then_some(visit)
    }

    /// Encrypts a value. The name is authenticated with it.
    pub fn seal(&self, name: &'static str, value: &impl Serialize) -> Option<String> {
        let mut jar = CookieJar::new();
        let text = serde_json::to_string(value).ok()?;
        jar.private_mut(self.keys.first()?)
            .add(Cookie::new(name, text));
        jar.get(name).map(|cookie| cookie.value().to_owned())
    }

    /// Decrypts a value that [`Self::seal`] made with this name.
    pub fn open<T: DeserializeOwned>(&self, name: &'static str, text: &str) -> Option<T> {
        let jar = CookieJar::new();
        let decrypt = |key: &Key| jar.private(key).decrypt(Cookie::new(name, text.to_owned()));
        let found = self.keys.iter().find_map(decrypt)?;
        serde_json::from_str(found.value()).ok()
    }
}

/// The Unix time after a duration.
pub fn after(span: Duration) -> i64 {
    let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    Timestamp::now().as_second().saturating_add(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Span;

    fn cookies(secrets: &[&str], session: u64, is_secure: bool) -> Cookies {
        let secret = |text: &&str| Secret::new(text.repeat(32));
        let page = Page {
            secrets: secrets.iter().map(secret).collect(),
            session: Span::seconds(session),
            ..Page::default()
        };
        Cookies::new(&page, is_secure)
    }

    fn sent(header: &str) -> String {
        header.split(';').next().unwrap().to_owned()
    }

    #[test]
    fn a_cookie_is_read_by_its_keys_alone() {
        let (old, new) = (cookies(&["a"], 60, true), cookies(&["b", "a"], 60, true));
        let visit = old.begin(Some(Secret::new("wk_secret".to_owned())));
        let header = old.write(&visit).unwrap();
        for part in [
            "__Host-walletd=",
            "HttpOnly",
            "Secure",
            "SameSite=Lax",
            "Path=/",
            "Max-Age=",
        ] {
            assert!(header.contains(part), "{part}: {header}");
        }
        assert!(!header.contains("wk_secret") && !header.contains("Domain"));
        let key = |found: Option<Visit>| found.and_then(|visit| visit.key);
        assert_eq!(key(new.read(&sent(&header))), visit.key);
        assert_eq!(key(cookies(&["b"], 60, true).read(&sent(&header))), None);
        // The name is part of what is authenticated.
        let value = sent(&header).replace("__Host-walletd=", "");
        assert!(old.open::<Visit>("link", &value).is_none());
    }

    #[test]
    fn no_bit_of_a_cookie_can_be_changed() {
        let cookies = cookies(&["a"], 60, false);
        let header = sent(&cookies.write(&cookies.begin(None)).unwrap());
        assert!(cookies.read(&header).is_some());
        let begin = header.find('=').unwrap() + 1;
        for place in begin..header.len() - 2 {
            let mut bytes = header.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(
                changed == header || cookies.read(&changed).is_none(),
                "{place}"
            );
        }
    }

    #[test]
    fn a_visit_ends() {
        let cookies = cookies(&["a"], 0, false);
        let header = sent(&cookies.write(&cookies.begin(None)).unwrap());
        assert!(cookies.read(&header).is_none());
    }
}
