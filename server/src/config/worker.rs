//! Settings of the worker and of the mail server that it sends with.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Secret, Span};

/// The worker: deliveries and tasks.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Worker {
    /// Whether this process has a worker.
    pub enabled: bool,
    /// How many deliveries are made at the same time.
    pub concurrency: usize,
    /// How long the worker waits for a notification before it looks by itself.
    pub poll: Span,
    /// How long a delivery may take.
    pub timeout: Span,
    /// How long a connection for it may take.
    pub connect_timeout: Span,
    /// How long no other worker receives a delivery that this one has claimed.
    pub lease: Span,
    /// The attempt after which a delivery is given up.
    pub max_attempts: i32,
    /// Networks that are not public and may be delivered to all the same, without TLS too.
    pub allowed_networks: Vec<IpNet>,
    /// Hosts that may be delivered to without TLS.
    pub plain_hosts: Vec<String>,
    /// A file with certificates of authorities that are trusted in addition to the system's.
    pub root_certificates: PathBuf,
    /// How long `maintain`, the evaluation of top-up rules and the digest may run.
    pub task_timeout: Span,
    /// How often `maintain` is called. Zero: never.
    pub maintain: Span,
    /// How often rules of top-ups whose time has come are evaluated. Zero: never.
    pub topups: Span,
    /// How often the digest is stored. Zero: never.
    pub digest: Span,
    /// The directory for digests, or a URL that they are posted to.
    pub digest_to: Secret,
    /// The secrets that sign digests for a URL. During a rotation there are two.
    #[serde(deserialize_with = "super::secret::several")]
    pub digest_secrets: Vec<Secret>,
}

impl Default for Worker {
    fn default() -> Worker {
        Worker {
            enabled: true,
            concurrency: 16,
            poll: Span::seconds(5),
            timeout: Span::seconds(15),
            connect_timeout: Span::seconds(5),
            lease: Span::seconds(60),
            max_attempts: 10,
            allowed_networks: Vec::new(),
            plain_hosts: Vec::new(),
            root_certificates: PathBuf::new(),
            task_timeout: Span::seconds(600),
            maintain: Span::seconds(3600),
            topups: Span::seconds(60),
            digest: Span::seconds(0),
            digest_to: Secret::default(),
            digest_secrets: Vec::new(),
        }
    }
}

/// The mail server that e-mails are handed to.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mail {
    /// Its name. Empty: no e-mails are sent.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: MailTls,
    /// A file with certificates of authorities that are trusted in addition to the system's.
    pub root_certificates: PathBuf,
    /// The name to sign in with. Empty: without.
    pub user: String,
    /// The password to sign in with.
    pub password: Secret,
    /// The sender, such as `Wallet <wallet@example.com>`.
    pub from: String,
}

impl Default for Mail {
    fn default() -> Mail {
        Mail {
            host: String::new(),
            port: 587,
            tls: MailTls::Starttls,
            root_certificates: PathBuf::new(),
            user: String::new(),
            password: Secret::default(),
            from: String::new(),
        }
    }
}

/// How a connection to the mail server is protected.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// Begins without TLS and goes on with it, or not at all.
    Starttls,
    /// TLS from the beginning.
    Implicit,
    /// No TLS.
    None,
}

/// The least part of a lease that must be left when a delivery has ended, to record its outcome.
pub const RECORDING: Span = Span::seconds(5);

/// A setting that is wrong, why, and whether walletd cannot start with it.
type Wrong = (&'static str, &'static str, bool);

impl Worker {
    /// Settings of the worker that contradict each other, or that are not safe.
    pub fn wrong(&self) -> Vec<Wrong> {
        let mut found = Vec::new();
        let zero = Span::seconds(0);
        if self.concurrency == 0 {
            found.push(("worker.concurrency", "must be at least 1", true));
        }
        if self.max_attempts < 1 {
            found.push(("worker.max_attempts", "must be at least 1", true));
        }
        for (setting, span) in [
            ("worker.poll", self.poll),
            ("worker.timeout", self.timeout),
            ("worker.connect_timeout", self.connect_timeout),
            ("worker.task_timeout", self.task_timeout),
        ] {
            if span == zero {
                found.push((setting, "must be longer than zero", true));
            }
        }
        if self.connect_timeout > self.timeout {
            let text = "must not be longer than worker.timeout";
            found.push(("worker.connect_timeout", text, true));
        }
        if self.lease.get() < self.timeout.get() + RECORDING.get() {
            let text = "must be at least 5s longer than worker.timeout, so that no other worker \
                        makes a delivery again that this one still makes";
            found.push(("worker.lease", text, true));
        }
        if (self.digest > zero) == self.digest_to.expose().is_empty() {
            let text = "goes with worker.digest: set both, or none";
            found.push(("worker.digest_to", text, true));
        }
        let is_url = ["https://", "http://"]
            .iter()
            .any(|start| self.digest_to.expose().starts_with(start));
        if !self.digest_secrets.is_empty() && !is_url {
            let text = "sign what is posted to a URL, and worker.digest_to is none";
            found.push(("worker.digest_secrets", text, true));
        }
        if !self.digest_secrets.iter().all(can_sign) {
            let text = "must be whsec_ and 24 to 64 bytes in base64, such as those of \
                        `echo whsec_$(openssl rand -base64 32)`";
            found.push(("worker.digest_secrets", text, true));
        }
        if is_url && self.digest_secrets.is_empty() {
            let text = "are missing: whoever receives a digest cannot tell who sent it";
            found.push(("worker.digest_secrets", text, false));
        }
        if self.digest_to.expose().starts_with("http://") {
            let text = "is a URL without TLS: whoever is in between can change the digest";
            found.push(("worker.digest_to", text, false));
        }
        found
    }
}

/// Whether a secret has the form of the Standard Webhooks specification.
fn can_sign(secret: &Secret) -> bool {
    let key = secret.expose().strip_prefix("whsec_");
    let key = key.and_then(|key| STANDARD.decode(key).ok());
    key.is_some_and(|key| (24..=64).contains(&key.len()))
}

impl Mail {
    /// Settings of the mail server that contradict each other, or that are not safe.
    pub fn wrong(&self) -> Vec<Wrong> {
        let mut found = Vec::new();
        if self.host.is_empty() {
            return found;
        }
        if self.from.is_empty() {
            let text = "is missing: give the address of the sender";
            found.push(("mail.from", text, true));
        }
        if self.user.is_empty() != self.password.expose().is_empty() {
            found.push(("mail.user", "goes with mail.password", true));
        }
        if self.tls == MailTls::None && !self.user.is_empty() {
            let text = "is none: whoever is in between reads the password and every e-mail";
            found.push(("mail.tls", text, false));
        }
        found
    }
}
