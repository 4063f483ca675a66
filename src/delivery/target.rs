//! The kind and the target of a destination, and the part of the target that may be shown. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::{Error, Result};

/// The way in which an event is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A signed HTTP request with the event as JSON.
    Webhook,
    /// A message in a Slack channel.
    Slack,
    /// A message in a Microsoft Teams channel.
    Teams,
    /// An e-mail.
    Email,
}

impl Kind {
    /// All kinds.
    pub const ALL: &'static [Kind] = &[Kind::Webhook, Kind::Slack, Kind::Teams, Kind::Email];

    /// The kind's name in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Webhook => "webhook",
            Kind::Slack => "slack",
            Kind::Teams => "teams",
            Kind::Email => "email",
        }
    }

    /// The part of a target that is no secret. The error 22023 for a target of another kind.
    pub fn address(self, target: &str) -> Result<String> {
        match self {
            Kind::Email => email_address::EmailAddress::parse_with_options(
                target,
                email_address::Options::default()
                    .without_display_text()
                    .without_domain_literal(),
            )
            .map(|address| address.to_string())
            .map_err(|_| not_a_target(self)),
            _ => server_of(target).ok_or_else(|| not_a_target(self)),
        }
    }
}

/// Scheme, host and port of a URL. `None` unless it is an absolute URL of a web server without a
/// user or a password.
fn server_of(target: &str) -> Option<String> {
    let url: http::Uri = target.parse().ok()?;
    let (scheme, authority) = (url.scheme_str()?, url.authority()?);
    let is_web = scheme == "https" || scheme == "http";
    let is_plain = !authority.as_str().contains('@') && !authority.host().is_empty();
    (is_web && is_plain).then(|| format!("{scheme}://{authority}"))
}

fn not_a_target(kind: Kind) -> Error {
    let (detail, hint) = match kind {
        Kind::Email => (
            "It is not an e-mail address.",
            "Give an address such as billing@example.com.",
        ),
        _ => (
            "It is not the URL of a web server, or it contains a user name.",
            "Give a URL such as https://example.com/hooks/wallet.",
        ),
    };
    Error::argument("target cannot be delivered to")
        .detail(detail)
        .hint(hint)
        .about("target")
}

/// The beginning of a signing secret, as the Standard Webhooks specification has it.
const PREFIX: &str = "whsec_";

/// The lengths in bytes that the specification allows.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// The error 22023 unless the text is a secret of the Standard Webhooks specification.
pub fn check_secret(secret: &str) -> Result<()> {
    let bytes = secret
        .strip_prefix(PREFIX)
        .and_then(|text| STANDARD.decode(text).ok());
    if bytes.is_some_and(|bytes| LENGTHS.contains(&bytes.len())) {
        return Ok(());
    }
    Err(Error::argument("secret cannot be used")
        .detail(format!(
            "It is not {PREFIX} followed by 24 to 64 bytes in base64."
        ))
        .hint("Leave secret out, and a new one is made and returned."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_server_of_a_url_is_shown() {
        for (target, address) in [
            (
                "https://example.com/a/b?token=c#d",
                Some("https://example.com"),
            ),
            (
                "https://example.com:8443/",
                Some("https://example.com:8443"),
            ),
            ("http://10.0.0.7:80/hook", Some("http://10.0.0.7:80")),
            ("https://[2001:db8::1]/hook", Some("https://[2001:db8::1]")),
            ("https://user:pass@example.com/", None),
            ("https:///path", None),
            ("/path", None),
            ("example.com/hook", None),
            ("ftp://example.com/hook", None),
            ("file:///etc/passwd", None),
            ("https://exa mple.com/", None),
            ("https://example.com/\n", None),
            ("billing@example.com", None),
        ] {
            for kind in [Kind::Webhook, Kind::Slack, Kind::Teams] {
                let shown = kind.address(target).ok();
                assert_eq!(shown.as_deref(), address, "{target}");
            }
        }
    }

    #[test]
    fn an_email_address_is_shown_in_full() {
        let shown = |target| Kind::Email.address(target).ok();
        assert_eq!(
            shown("billing@example.com").as_deref(),
            Some("billing@example.com")
        );
        for wrong in [
            "billing",
            "@example.com",
            "a@",
            "A <a@example.com>",
            "a@b\r\nBcc: c@d",
            "a@[10.0.0.1]",
        ] {
            assert_eq!(shown(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_secret_has_24_to_64_bytes() {
        let secret = |length: usize| format!("{PREFIX}{}", STANDARD.encode(vec![7; length]));
        for length in [24, 32, 64] {
            assert!(check_secret(&secret(length)).is_ok(), "{length}");
        }
        for wrong in [
            secret(23),
            secret(65),
            secret(32)[1..].to_owned(),
            format!("{PREFIX}?"),
            String::new(),
        ] {
            assert!(check_secret(&wrong).is_err(), "{wrong}");
        }
    }
}
