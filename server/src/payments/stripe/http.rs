//! Requests to Stripe's API: forms in, JSON out, and what a failure means.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, Url};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use crate::config::{Secret, Stripe};
use crate::payments::provider::ProviderError;

/// The version of the API whose objects `objects.rs` reads. Without it, the account's own applies.
const VERSION: &str = "2025-03-31.basil";

/// A client that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// TLS.
    #[error("payments.stripe: {0}")]
    Tls(#[from] rustls::Error),
    /// The client.
    #[error("payments.stripe: {0}")]
    Client(#[from] reqwest::Error),
    /// The address.
    #[error("payments.stripe.api is no address")]
    Address,
    /// The table of currencies.
    #[error("payments.stripe: {0}")]
    Table(#[from] serde_json::Error),
}

/// A form.
pub type Form<'a> = Vec<(&'a str, String)>;

/// A client of the API.
#[derive(Clone)]
pub struct Api {
    client: Client,
    base: Url,
    key: Secret,
}

impl Api {
    /// A client with these settings. It uses no proxy of the environment, so that nobody who can
    /// set a variable reads the key.
    pub fn new(settings: &Stripe) -> Result<Api, SetupError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let timeout = settings.timeout.get();
        let client = Client::builder()
            .use_preconfigured_tls(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(timeout)
            .connect_timeout(timeout.min(Duration::from_secs(5)))
            .build()?;
        let base = Url::parse(&settings.api).map_err(|_| SetupError::Address)?;
        Ok(Api {
            client,
            base,
            key: settings.secret_key.clone(),
        })
    }

    /// Reads. A failure of it never leaves an unknown outcome.
    pub async fn get(&self, path: &[&str], query: &Form<'_>) -> Result<Value, ProviderError> {
        let answer = self.send(Method::GET, path, query, None).await;
        answer.map_err(|error| match error {
            ProviderError::Unknown(reason) => ProviderError::TryAgain(reason),
            error => error,
        })
    }

    /// Writes, once per idempotency key.
    pub async fn post(
        &self,
        path: &[&str],
        form: &Form<'_>,
        idempotency_key: &str,
    ) -> Result<Value, ProviderError> {
        self.send(Method::POST, path, form, Some(idempotency_key))
            .await
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        form: &Form<'_>,
        idempotency_key: Option<&str>,
    ) -> Result<Value, ProviderError> {
        let mut url = self.base.clone();
        // Each part is escaped: an id of an event cannot name another path.
        url.path_segments_mut()
            .map_err(|()| ProviderError::Refused("payments.stripe.api is no address".to_owned()))?
            .pop_if_empty()
            .push("v1")
            .extend(path);
        let encoded = serde_urlencoded::to_string(form)
            .map_err(|error| ProviderError::Refused(error.to_string()))?;
        let is_read = method == Method::GET;
        if is_read && !encoded.is_empty() {
            url.set_query(Some(&encoded));
        }
        let mut request = self
            .client
            .request(method, url)
            .bearer_auth(self.key.expose())
            .header("stripe-version", VERSION);
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if !is_read {
            let form = "application/x-www-form-urlencoded";
            request = request.header("content-type", form).body(encoded);
        }
        let answer = request.send().await.map_err(|error| broken(&error))?;
        let status = answer.status().as_u16();
        let body = answer.bytes().await.map_err(|error| broken(&error))?;
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        match status {
            200..300 if json.is_object() => Ok(json),
            200..300 => Err(ProviderError::Unknown("the answer is no JSON".to_owned())),
            _ => Err(failure(status, &json)),
        }
    }
}

/// A connection that broke. Only one that was never made has certainly done nothing.
fn broken(error: &reqwest::Error) -> ProviderError {
    // The text of the error would have the address, and nothing more that helps.
    match error.is_connect() {
        true => ProviderError::TryAgain("could not connect".to_owned()),
        false if error.is_timeout() => ProviderError::Unknown("no answer in time".to_owned()),
        false => ProviderError::Unknown("the connection broke".to_owned()),
    }
}

/// The meaning of an answer that is not a success.
fn failure(status: u16, json: &Value) -> ProviderError {
    let error = &json["error"];
    let word = |name: &str| error[name].as_str().filter(|text| !text.is_empty());
    let code = word("decline_code").or_else(|| word("code"));
    let code = code.or_else(|| word("type")).unwrap_or("error");
    // Stripe's own words only: they have no secret, and never a card number.
    let code: String = code
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "_-".contains(*c))
        .take(100)
        .collect();
    match status {
        402 => ProviderError::Declined(code),
        // The key of the settings may be replaced; another request has the same idempotency key;
        // there were too many requests.
        401 | 403 | 409 | 429 => ProviderError::TryAgain(format!("{status} {code}")),
        500.. => ProviderError::Unknown(format!("{status} {code}")),
        _ => ProviderError::Refused(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_failure_says_what_may_have_happened() {
        let error = |code: &str| json!({"error": {"type": "card_error", "code": code}});
        let declined =
            json!({"error": {"code": "card_declined", "decline_code": "insufficient_funds"}});
        let text = |text: &str| text.to_owned();
        for (status, body, meaning) in [
            (
                402,
                declined,
                ProviderError::Declined(text("insufficient_funds")),
            ),
            (
                402,
                error("expired_card"),
                ProviderError::Declined(text("expired_card")),
            ),
            (
                400,
                error("amount_too_small"),
                ProviderError::Refused(text("amount_too_small")),
            ),
            (
                404,
                error("resource_missing"),
                ProviderError::Refused(text("resource_missing")),
            ),
            (401, Value::Null, ProviderError::TryAgain(text("401 error"))),
            (
                409,
                error("idempotency_key_in_use"),
                ProviderError::TryAgain(text("409 idempotency_key_in_use")),
            ),
            (
                429,
                error("rate_limit"),
                ProviderError::TryAgain(text("429 rate_limit")),
            ),
            (500, Value::Null, ProviderError::Unknown(text("500 error"))),
            (503, Value::Null, ProviderError::Unknown(text("503 error"))),
            (302, error("<b>\"x\n"), ProviderError::Refused(text("bx"))),
        ] {
            assert_eq!(failure(status, &body), meaning);
        }
    }
}
