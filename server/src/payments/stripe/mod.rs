//! Stripe, by its HTTP API: <https://docs.stripe.com/api>.

mod amounts;
mod http;
mod objects;
mod signature;

use axum::http::HeaderMap;
use serde_json::Value;

use self::amounts::Amounts;
use self::http::SetupError;
use self::http::{Api, Form};
use super::provider::{
    Answer, Checkout, CheckoutRequest, Event, EventError, Money, Payment, Provider, ProviderError,
    SavedCharge,
};
use crate::config::{Secret, Stripe as Settings};

/// The payment provider Stripe.
pub struct Stripe {
    api: Api,
    amounts: Amounts,
    webhook_secrets: Vec<Secret>,
    ledger: String,
    tolerance: u64,
    success_url: String,
    cancel_url: String,
}

impl Stripe {
    /// Stripe with these settings. Connects to nothing yet.
    pub fn new(settings: &Settings) -> Result<Stripe, SetupError> {
        Ok(Stripe {
            api: Api::new(settings)?,
            amounts: Amounts::new()?,
            webhook_secrets: settings.webhook_secrets.clone(),
            ledger: settings.ledger.clone(),
            tolerance: settings.tolerance.get().as_secs(),
            success_url: settings.success_url.clone(),
            cancel_url: settings.cancel_url.clone(),
        })
    }

    fn minor(&self, money: &Money) -> Result<String, ProviderError> {
        let minor = self.amounts.to_minor(money);
        let minor = minor.ok_or_else(|| ProviderError::Refused("invalid_amount".to_owned()))?;
        Ok(minor.to_string())
    }

    /// A page for a payment. A customer who was deleted at Stripe since, or who belongs to another
    /// account, becomes a new one.
    async fn begin(&self, request: &CheckoutRequest) -> Result<Checkout, ProviderError> {
        match self.begin_once(request).await {
            Err(ProviderError::Refused(code))
                if code == "resource_missing" && request.customer.is_some() =>
            {
                let again = CheckoutRequest {
                    customer: None,
                    // Another request needs another key, and a retry of it the same one.
                    idempotency_key: format!("{}-new", request.idempotency_key),
                    ..request.clone()
                };
                self.begin_once(&again).await
            }
            begun => begun,
        }
    }

    async fn begin_once(&self, request: &CheckoutRequest) -> Result<Checkout, ProviderError> {
        let price = "line_items[0][price_data]";
        let (unit_amount, currency, name) = (
            format!("{price}[unit_amount]"),
            format!("{price}[currency]"),
            format!("{price}[product_data][name]"),
        );
        let session_wallet = format!("metadata[{}]", objects::WALLET);
        let payment_wallet = format!("payment_intent_data[metadata][{}]", objects::WALLET);
        let mut form: Form<'_> = vec![
            ("mode", "payment".to_owned()),
            ("success_url", self.success_url.clone()),
            ("cancel_url", self.cancel_url.clone()),
            ("line_items[0][quantity]", "1".to_owned()),
            (&unit_amount, self.minor(&request.money)?),
            (&currency, request.money.currency.to_ascii_lowercase()),
            (&name, format!("Top-up of {}", request.wallet)),
            (&session_wallet, request.wallet.clone()),
            (&payment_wallet, request.wallet.clone()),
        ];
        let ledgers = ["metadata", "payment_intent_data[metadata]"];
        let ledgers = ledgers.map(|form| format!("{form}[{}]", objects::LEDGER));
        if !self.ledger.is_empty() {
            form.extend(
                ledgers
                    .iter()
                    .map(|name| (name.as_str(), self.ledger.clone())),
            );
        }
        match (&request.customer, &request.email) {
            // Stripe knows the address of a customer, and does not take another one.
            (Some(customer), _) => form.push(("customer", customer.clone())),
            (None, email) => {
                form.push(("customer_creation", "always".to_owned()));
                form.extend(email.iter().map(|email| ("customer_email", email.clone())));
            }
        }
        if let Some(email) = &request.email {
            form.push(("payment_intent_data[receipt_email]", email.clone()));
        }
        if request.is_saved {
            let usage = "payment_intent_data[setup_future_usage]";
            form.push((usage, "off_session".to_owned()));
        }
        let path = ["checkout", "sessions"];
        let session = self
            .api
            .post(&path, &form, &request.idempotency_key)
            .await?;
        match (objects::id(&session, "id"), objects::word(&session, "url")) {
            (Some(id), Some(url)) => Ok(Checkout { id, url }),
            _ => Err(ProviderError::Unknown(
                "the session has no address".to_owned(),
            )),
        }
    }

    /// Stripe forgets an idempotency key after a day. A repeated attempt therefore looks first for
    /// the payment of an earlier one, of every customer that it may have charged.
    async fn charge(&self, request: &SavedCharge) -> Result<String, ProviderError> {
        for customer in &request.earlier {
            if let Some(intent) = self.earlier(customer, &request.topup).await? {
                return self.concluded(&intent, &request.topup).await;
            }
        }
        let Some(saved) = &request.saved else {
            let code = "no_saved_payment_method";
            return Err(ProviderError::Declined(code.to_owned()));
        };
        let customer = self
            .api
            .get(&["customers", &saved.customer], &Vec::new())
            .await?;
        // A customer may have chosen another one since.
        let chosen = objects::id(&customer["invoice_settings"], "default_payment_method");
        let payment_method = chosen.unwrap_or_else(|| saved.payment_method.clone());
        let (wallet, topup) = (
            format!("metadata[{}]", objects::WALLET),
            format!("metadata[{}]", objects::TOPUP),
        );
        let mut form: Form<'_> = vec![
            ("amount", self.minor(&request.money)?),
            ("currency", request.money.currency.to_ascii_lowercase()),
            ("customer", saved.customer.clone()),
            ("payment_method", payment_method),
            ("confirm", "true".to_owned()),
            ("off_session", "true".to_owned()),
            (&wallet, request.wallet.clone()),
            (&topup, request.topup.clone()),
        ];
        let ledger = format!("metadata[{}]", objects::LEDGER);
        if !self.ledger.is_empty() {
            form.push((&ledger, self.ledger.clone()));
        }
        if let Some(email) = objects::word(&customer, "email") {
            form.push(("receipt_email", email));
        }
        match self
            .api
            .post(&["payment_intents"], &form, &request.topup)
            .await
        {
            Ok(intent) => self.concluded(&intent, &request.topup).await,
            // An earlier attempt with another payment method. It may have charged, and its payment
            // is not in the list yet.
            Err(ProviderError::Refused(code)) if code == "idempotency_error" => {
                Err(ProviderError::Unknown(code))
            }
            Err(error) => Err(error),
        }
    }

    /// The outcome of a payment intent. One that waits for its customer is cancelled: nobody is
    /// there to confirm it, and nobody shall later, because the top-up fails.
    async fn concluded(&self, intent: &Value, topup: &str) -> Result<String, ProviderError> {
        if intent["status"] == "requires_action"
            && let Some(id) = objects::id(intent, "id")
        {
            let path = ["payment_intents", id.as_str(), "cancel"];
            let key = format!("{topup}:cancel");
            let cancelled = self.api.post(&path, &Vec::new(), &key).await;
            // It was confirmed in the meantime, for example. The next attempt sees its new state.
            cancelled.map_err(|error| ProviderError::Unknown(error.to_string()))?;
        }
        outcome(intent)
    }

    /// The payment of a top-up that an earlier attempt began with this customer.
    async fn earlier(&self, customer: &str, topup: &str) -> Result<Option<Value>, ProviderError> {
        let mut after: Option<String> = None;
        loop {
            let mut query: Form<'_> = vec![
                ("customer", customer.to_owned()),
                ("limit", "100".to_owned()),
            ];
            query.extend(after.iter().map(|id| ("starting_after", id.clone())));
            let page = match self.api.get(&["payment_intents"], &query).await {
                Ok(page) => page,
                // A customer of another account, for example of test mode, was never charged here.
                Err(ProviderError::Refused(code)) if code == "resource_missing" => return Ok(None),
                Err(error) => return Err(error),
            };
            let listed = page["data"].as_array();
            let listed =
                listed.ok_or_else(|| ProviderError::TryAgain("the list has no data".to_owned()))?;
            let ours = |intent: &&Value| intent["metadata"][objects::TOPUP] == topup;
            if let Some(intent) = listed.iter().find(ours) {
                return Ok(Some(intent.clone()));
            }
            after = listed.last().and_then(|last| objects::id(last, "id"));
            if page["has_more"] != true || after.is_none() {
                return Ok(None);
            }
        }
    }

    async fn look_up(&self, id: &str) -> Result<Option<Payment>, ProviderError> {
        let expand = vec![("expand[]", "latest_charge".to_owned())];
        let intent = match self.api.get(&["payment_intents", id], &expand).await {
            Ok(intent) => intent,
            Err(ProviderError::Refused(code)) if code == "resource_missing" => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut disputes = Vec::new();
        if objects::is_disputed(&intent) {
            let query = vec![
                ("payment_intent", id.to_owned()),
                ("limit", "100".to_owned()),
            ];
            let list = self.api.get(&["disputes"], &query).await?;
            disputes = list["data"].as_array().cloned().unwrap_or_default();
        }
        objects::payment(&intent, &disputes, &self.amounts, &self.ledger).map(Some)
    }
}

/// The id of a payment that is made or in progress.
fn outcome(intent: &Value) -> Result<String, ProviderError> {
    let id = objects::id(intent, "id");
    let id = id.ok_or_else(|| ProviderError::Unknown("the payment has no id".to_owned()))?;
    match intent["status"].as_str() {
        Some("succeeded" | "processing") => Ok(id),
        Some("requires_action" | "canceled") => Err(ProviderError::Declined(
            "authentication_required".to_owned(),
        )),
        _ => {
            let error = &intent["last_payment_error"];
            let code = objects::word(error, "decline_code");
            let code = code.or_else(|| objects::word(error, "code"));
            Err(ProviderError::Declined(
                code.unwrap_or_else(|| "payment_failed".to_owned()),
            ))
        }
    }
}

impl Provider for Stripe {
    fn name(&self) -> &'static str {
        "stripe"
    }

    fn create_checkout<'a>(&'a self, request: &'a CheckoutRequest) -> Answer<'a, Checkout> {
        Box::pin(self.begin(request))
    }

    fn charge_saved<'a>(&'a self, request: &'a SavedCharge) -> Answer<'a, String> {
        Box::pin(self.charge(request))
    }

    fn payment<'a>(&'a self, id: &'a str) -> Answer<'a, Option<Payment>> {
        Box::pin(self.look_up(id))
    }

    fn read_event(&self, headers: &HeaderMap, body: &[u8], now: i64) -> Result<Event, EventError> {
        signature::verify(headers, body, &self.webhook_secrets, now, self.tolerance)?;
        objects::event(body)
    }

    fn check(&self) -> Answer<'_, String> {
        Box::pin(async {
            let balance = self.api.get(&["balance"], &Vec::new()).await?;
            Ok(match balance["livemode"].as_bool() {
                Some(true) => "Stripe accepts the key, in live mode".to_owned(),
                _ => "Stripe accepts the key, in test mode".to_owned(),
            })
        })
    }
}
