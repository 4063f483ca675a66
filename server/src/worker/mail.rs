//! E-mails: plain text, handed to the mail server of the settings.

use std::path::Path;
use std::time::Duration;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::outcome::Outcome;
use super::texts::{Text, line};
use crate::config::{Mail, MailTls};

/// Answers that are about the recipient or the e-mail. Others, such as a refused password, are
/// about the settings, and the next attempt may succeed.
const FINAL: [u16; 4] = [550, 551, 553, 554];

/// Sends e-mails.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mailer {
    /// A mailer with the settings. Connects to nothing yet. `None`: there is no mail server.
    pub fn new(config: &Mail, timeout: Duration) -> Result<Option<Mailer>, String> {
        if config.host.is_empty() {
            return Ok(None);
        }
        let from = config.from.parse();
        let from = from.map_err(|error| format!("mail.from is not an address: {error}"))?;
        let tls = match config.tls {
            MailTls::None => Tls::None,
            MailTls::Starttls => Tls::Required(parameters(config)?),
            MailTls::Implicit => Tls::Wrapper(parameters(config)?),
        };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
            .port(config.port)
            .tls(tls)
            .timeout(Some(timeout));
        let builder = match config.user.is_empty() {
            true => builder,
            false => builder.credentials(Credentials::new(
                config.user.clone(),
                config.password.expose().to_owned(),
            )),
        };
        Ok(Some(Mailer {
            transport: builder.build(),
            from,
        }))
    }

    /// Whether the mail server lets walletd in.
    pub async fn look(&self) -> Result<(), String> {
        match self.transport.test_connection().await {
            Ok(true) => Ok(()),
            Ok(false) => Err("the mail server does not answer".to_owned()),
            Err(error) => Err(explain(&error)),
        }
    }

    /// Sends a text. The id of the event is the same at every attempt, so that a mail program shows
    /// a repetition once.
    pub async fn send(&self, to: &str, text: &Text, event_id: &str) -> Outcome {
        let Some(message) = compose(&self.from, to, text, event_id) else {
            return Outcome::dead("the target is not an e-mail address");
        };
        match self.transport.send(message).await {
            Ok(_) => Outcome::Delivered,
            Err(error) => {
                let code = error.status().map(u16::from);
                let reason = without(&explain(&error), to);
                match code.is_some_and(|code| FINAL.contains(&code)) {
                    true => Outcome::dead(reason),
                    false => Outcome::again(reason),
                }
            }
        }
    }
}

/// The reason in one line. It has the words of the mail server, and no password.
fn explain(error: &lettre::transport::smtp::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    line(&format!("mail: {text}"))
}

/// A text without an address, which mail servers repeat: the log has the names of no people.
fn without(text: &str, address: &str) -> String {
    let (small, address) = (text.to_ascii_lowercase(), address.to_ascii_lowercase());
    let mut rest = 0;
    let mut plain = String::new();
    for (begin, found) in small.match_indices(&address) {
        plain.push_str(text.get(rest..begin).unwrap_or_default());
        plain.push_str("the recipient");
        rest = begin + found.len();
    }
    plain.push_str(text.get(rest..).unwrap_or_default());
    plain
}

fn parameters(config: &Mail) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(config.host.clone());
    let file = config.root_certificates.as_path();
    if file != Path::new("") {
        let failed = |reason: String| format!("mail.root_certificates: {reason}");
        let pem = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
        let certificate = Certificate::from_pem(&pem).map_err(|error| failed(error.to_string()))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().map_err(|error| error.to_string())
}

/// The e-mail. The library encodes the subject and the addresses, and a [`Text`] has no line break
/// in a line, so that no value becomes a header.
fn compose(from: &Mailbox, to: &str, text: &Text, event_id: &str) -> Option<Message> {
    let to: Address = to.parse().ok()?;
    let domain = from.email.domain();
    let mut body = text.lines.join("\r\n");
    body.push_str("\r\n");
    let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
    Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(text.subject.clone())
        .message_id(Some(format!("<{event_id}@{domain}>")))
        .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
        .header(ContentType::TEXT_PLAIN)
        .body(body)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(subject: &str) -> String {
        let text = Text {
            subject: subject.to_owned(),
            lines: vec!["Less than 20 USD is available.".to_owned()],
        };
        let from = "Wallet <wallet@example.com>".parse().unwrap();
        let message = compose(&from, "billing@example.org", &text, "0199").unwrap();
        let text = String::from_utf8(message.formatted()).unwrap();
        text.split_once("\r\n\r\n").unwrap().0.to_owned()
    }

    #[test]
    fn a_subject_cannot_add_a_header() {
        let names = |headers: &str| {
            let lines = headers.split("\r\n").filter(|line| !line.starts_with(' '));
            let names = lines.map(|line| line.split_once(':').unwrap().0.to_owned());
            names.collect::<Vec<_>>()
        };
        let usual = names(&headers("Wallet acme is low"));
        assert!(usual.contains(&"Message-ID".to_owned()), "{usual:?}");
        for subject in [
            "x\r\nBcc: y@example.com",
            "x\nBcc: y@example.com",
            "x\rBcc: y@example.com",
            "é\r\n\r\nbody",
        ] {
            assert_eq!(names(&headers(subject)), usual, "{subject:?}");
        }
    }

    #[test]
    fn a_reason_does_not_name_the_recipient() {
        let reason = "550 <Bob@Example.org>: é bob@example.org unknown";
        assert_eq!(
            without(reason, "bob@example.ORG"),
            "550 <the recipient>: é the recipient unknown"
        );
        assert_eq!(without("421 busy", "bob@example.org"), "421 busy");
    }

    #[test]
    fn only_an_address_is_a_recipient() {
        let text = Text {
            subject: String::new(),
            lines: Vec::new(),
        };
        let from = "wallet@example.com".parse().unwrap();
        for to in [
            "a@b.example\r\nBcc: c@d.example",
            "a@b.example, c@d.example",
            "A <a@b.example>",
            "",
        ] {
            assert!(compose(&from, to, &text, "1").is_none(), "{to:?}");
        }
    }
}
