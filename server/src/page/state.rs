//! The things that all requests of the page share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::attempts::Attempts;
use super::cookies::Cookies;
use super::failure::Failure;
use super::followers::Followers;
use crate::config::{Config, Secret};
use crate::db::{Call, DbError, Tenants};
use crate::payments::Checkouts;

/// The state.
#[derive(Clone)]
pub struct Pages {
    tenants: Tenants,
    /// Payments of customers, if they are set up.
    pub checkouts: Option<Checkouts>,
    /// Encrypts and decrypts sessions.
    pub cookies: Arc<Cookies>,
    /// Bounds the attempts to sign in.
    pub attempts: Arc<Attempts>,
    /// Networks of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// The address of the page, without a slash at its end.
    pub url: Arc<str>,
    /// How long the body of a form may take to arrive.
    pub timeout: Duration,
    /// How many browsers may still follow the balance.
    pub watchers: Arc<Semaphore>,
    /// How many of them each key has.
    pub followers: Followers,
    /// How often the balance is read for each of them.
    pub refresh: Duration,
    /// Set when walletd begins to stop.
    pub is_stopping: Arc<AtomicBool>,
}

impl Pages {
    /// Calls on these connections.
    pub fn new(
        config: &Config,
        tenants: Tenants,
        checkouts: Option<Checkouts>,
        is_stopping: Arc<AtomicBool>,
    ) -> Pages {
        let url = config.page_url();
        Pages {
            tenants,
            checkouts,
            cookies: Arc::new(Cookies::new(&config.page, url.starts_with("https://"))),
            attempts: Arc::new(Attempts::new(config.page.sign_ins)),
            trusted_proxies: config.http.trusted_proxies.clone().into(),
            url: url.into(),
            timeout: config.http.timeout.get(),
            watchers: Arc::new(Semaphore::new(config.page.watchers)),
            followers: Followers::default(),
            refresh: config.page.refresh.get(),
            is_stopping,
        }
    }

    /// The result of a call with a key. `None`: its statement found nothing.
    pub async fn find<T: DeserializeOwned>(
        &self,
        key: &Secret,
        call: Call,
    ) -> Result<Option<T>, Failure> {
        let Some(text) = self.tenants.call(key.clone(), call).await? else {
            return Ok(None);
        };
        let read = serde_json::from_str(&text);
        read.map(Some)
            .map_err(|error| DbError::Garbled(error.to_string()).into())
    }

    /// The result of a call that reads and always has one.
    pub async fn read<T: DeserializeOwned>(
        &self,
        key: &Secret,
        statement: &'static str,
        arguments: Vec<Option<String>>,
    ) -> Result<T, Failure> {
        let found = self.find(key, Call::read(statement, arguments)).await?;
        found.ok_or_else(|| DbError::Garbled("the statement returned NULL".to_owned()).into())
    }

    /// The result of a call that writes. Without an idempotency key it runs once.
    pub async fn write<T: DeserializeOwned>(
        &self,
        key: &Secret,
        statement: &'static str,
        arguments: Vec<Option<String>>,
        is_repeatable: bool,
    ) -> Result<T, Failure> {
        let call = Call::write(statement, arguments, is_repeatable);
        let found = self.find(key, call).await?;
        found.ok_or_else(|| DbError::Garbled("the statement returned NULL".to_owned()).into())
    }
}
