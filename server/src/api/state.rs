//! The state that the handlers share.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::config::{Http, Secret};
use crate::db::{Call, DbError, Tenants};
use crate::payments::Checkouts;

/// The database, and the settings that the handlers look at.
#[derive(Clone)]
pub struct Api {
    tenants: Tenants,
    /// Networks of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// The largest body.
    pub body_limit: usize,
    /// How long a body may take to arrive.
    pub timeout: Duration,
    /// Payments of customers, if they are set up.
    pub checkouts: Option<Checkouts>,
}

impl Api {
    /// Calls on these connections.
    pub fn new(tenants: Tenants, http: &Http) -> Api {
        Api {
            tenants,
            trusted_proxies: http.trusted_proxies.clone().into(),
            body_limit: http.body_limit.bytes(),
            timeout: http.timeout.get(),
            checkouts: None,
        }
    }

    /// With payments of customers.
    pub fn with_checkouts(self, checkouts: Option<Checkouts>) -> Api {
        Api { checkouts, ..self }
    }

    /// The result of a call. `None`: its statement found nothing.
    pub async fn find<T: DeserializeOwned>(
        &self,
        key: Secret,
        call: Call,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.tenants.call(key, call).await? else {
            return Ok(None);
        };
        let read = serde_json::from_str(&text);
        read.map(Some)
            .map_err(|error| DbError::Garbled(error.to_string()).into())
    }

    /// The result of a call that always has one.
    pub async fn ask<T: DeserializeOwned>(&self, key: Secret, call: Call) -> Result<T, Problem> {
        let found = self.find(key, call).await?;
        found.ok_or_else(|| DbError::Garbled("the statement returned NULL".to_owned()).into())
    }
}
