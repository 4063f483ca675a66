//! A provider that keeps its books in memory. Its events are plain texts with a shared word.

use std::collections::HashMap;
use std::sync::Mutex;

use axum::http::HeaderMap;

use crate::payments::provider::*;

/// The provider.
#[derive(Default)]
pub struct Fake {
    payments: Mutex<HashMap<String, Payment>>,
    /// The customers of charges. A charge is only found at its customer.
    charged: Mutex<HashMap<String, String>>,
}

impl Fake {
    /// Changes its books.
    pub fn set(&self, payment: Payment) {
        self.payments
            .lock()
            .unwrap()
            .insert(payment.id.clone(), payment);
    }

    /// All of its books.
    pub fn books(&self) -> Vec<Payment> {
        self.payments.lock().unwrap().values().cloned().collect()
    }
}

impl Provider for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn create_checkout<'a>(&'a self, request: &'a CheckoutRequest) -> Answer<'a, Checkout> {
        let id = format!("page_{}", request.idempotency_key);
        let url = format!("https://pay.example.com/{id}");
        Box::pin(async { Ok(Checkout { id, url }) })
    }

    fn charge_saved<'a>(&'a self, request: &'a SavedCharge) -> Answer<'a, String> {
        let declined = |code: &str| Err(ProviderError::Declined(code.to_owned()));
        let mut charged = self.charged.lock().unwrap();
        let found = charged.iter().find(|(id, customer)| {
            id.starts_with(&format!("pay_{}", request.topup)) && request.earlier.contains(customer)
        });
        let (known, id) = match found {
            Some((id, _)) => (true, id.clone()),
            None => (false, format!("pay_{}_{}", request.topup, charged.len())),
        };
        if !known {
            let Some(saved) = &request.saved else {
                return Box::pin(async move { declined("no_saved_payment_method") });
            };
            if saved.payment_method == "declined" {
                return Box::pin(async move { declined("card_declined") });
            }
            charged.insert(id.clone(), saved.customer.clone());
            self.set(Payment {
                id: id.clone(),
                wallet: Some(request.wallet.clone()),
                topup: Some(request.topup.clone()),
                stage: Stage::Paid,
                money: request.money.clone(),
                returned: rust_decimal::Decimal::ZERO,
                saved: None,
            });
        }
        // The first answer is lost.
        Box::pin(async move {
            match known {
                true => Ok(id),
                false => Err(ProviderError::Unknown("no answer in time".to_owned())),
            }
        })
    }

    fn payment<'a>(&'a self, id: &'a str) -> Answer<'a, Option<Payment>> {
        let found = self.payments.lock().unwrap().get(id).cloned();
        Box::pin(async { Ok(found) })
    }

    fn read_event(&self, headers: &HeaderMap, body: &[u8], _: i64) -> Result<Event, EventError> {
        let word = headers.get("x-word").ok_or(EventError::NoSignature)?;
        match word == "open sesame" {
            true => Ok(Event {
                kind: "changed".to_owned(),
                payment: Some(String::from_utf8_lossy(body).into_owned()),
            }),
            false => Err(EventError::WrongSignature),
        }
    }

    fn check(&self) -> Answer<'_, String> {
        Box::pin(async { Ok("all is well".to_owned()) })
    }
}
