//! A payment that a customer begins, over the API or on the page: who may, how much, and where the
//! customer pays.
//!
//! Nothing is booked here. The provider's signed event leads to the payment, and the worker's role
//! books it: the roles of tenants cannot fund.

use std::sync::Arc;

use ring::digest;
use rust_decimal::Decimal;

use super::provider::{CheckoutRequest, Money, ProviderError};
use super::reconcile::Payments;
use crate::config::Offer;
use crate::db::DbError;

/// The longest address of e-mail.
pub const EMAIL_MAX: usize = 254;

/// Begins payments in these ranges.
#[derive(Clone)]
pub struct Checkouts {
    payments: Payments,
    offers: Arc<[Offer]>,
}

/// The wallet to pay into, and who asks.
pub struct Payer<'a> {
    /// The wallet.
    pub wallet: &'a str,
    /// Its currency.
    pub currency: &'a str,
    /// Its status.
    pub status: &'a str,
    /// The role of the key's user. `None` for a key without a user, or of a user who is no member.
    pub role: Option<&'a str>,
    /// Whether the member is blocked.
    pub is_blocked: bool,
}

/// The payment that the customer wants to make.
pub struct Wish {
    /// The amount, in the currency of the wallet.
    pub amount: String,
    /// The address to which the provider sends the receipt.
    pub email: Option<String>,
    /// Whether the payment method is saved, for top-ups that rules request.
    pub save_card: bool,
    /// A retry with the same key returns the same page.
    pub idempotency_key: Option<String>,
}

/// The provider's page for a payment.
pub struct Checkout {
    /// The provider's id of the page.
    pub id: String,
    /// Where the customer pays.
    pub url: String,
}

/// A payment that cannot begin.
#[derive(Debug)]
pub enum CheckoutError {
    /// The role of the user may not fund.
    NotPermitted,
    /// The wallet is closed.
    Closed,
    /// Nobody can pay in the currency of the wallet.
    NotOffered,
    /// The amount is not in the range.
    OutOfRange(Offer),
    /// The email is no address.
    NoAddress,
    /// The idempotency key belongs to another payment.
    KeyTaken,
    /// The provider will never accept the payment.
    Refused(String),
    /// The provider cannot be asked now, or its answer is not known.
    Provider(ProviderError),
    /// The saved customer could not be read.
    Database(DbError),
}

/// Whether a role may fund, by the table of roles in the reference of access.
pub fn may_fund(role: Option<&str>) -> bool {
    role.is_none_or(|role| ["owner", "admin", "billing"].contains(&role))
}

impl Checkouts {
    /// Payments of amounts in these ranges.
    pub fn new(payments: Payments, offers: &[Offer]) -> Checkouts {
        Checkouts {
            payments,
            offers: offers.into(),
        }
    }

    /// The range of amounts in a currency.
    pub fn offer(&self, currency: &str) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.currency == currency)
    }

    /// Begins a payment.
    pub async fn begin(&self, payer: &Payer<'_>, wish: Wish) -> Result<Checkout, CheckoutError> {
        if payer.is_blocked || !may_fund(payer.role) {
            return Err(CheckoutError::NotPermitted);
        }
        if payer.status == "closed" {
            return Err(CheckoutError::Closed);
        }
        let offer = self.offer(payer.currency);
        let money = in_range(offer.ok_or(CheckoutError::NotOffered)?, &wish.amount)?;
        let email = wish.email.map(address).transpose()?;
        let name = self.payments.provider.name();
        let saved = self.payments.ledger.saved(payer.wallet, name, false).await;
        let customer = saved.map_err(CheckoutError::Database)?;
        let request = CheckoutRequest {
            idempotency_key: key_of(payer.wallet, wish.idempotency_key.as_deref()),
            wallet: payer.wallet.to_owned(),
            money,
            email,
            is_saved: wish.save_card,
            customer: customer.map(|(customer, _)| customer),
        };
        match self.payments.provider.create_checkout(&request).await {
            Ok(page) => Ok(Checkout {
                id: page.id,
                url: page.url,
            }),
            Err(ProviderError::Refused(code)) if code == "idempotency_error" => {
                Err(CheckoutError::KeyTaken)
            }
            Err(ProviderError::Refused(code) | ProviderError::Declined(code)) => {
                Err(CheckoutError::Refused(code))
            }
            Err(error) => Err(CheckoutError::Provider(error)),
        }
    }
}

fn in_range(offer: &Offer, amount: &str) -> Result<Money, CheckoutError> {
    let exact = Decimal::from_str_exact(amount).ok();
    match exact.filter(|exact| *exact >= offer.min && *exact <= offer.max) {
        Some(amount) => Ok(Money {
            amount,
            currency: offer.currency.clone(),
        }),
        None => Err(CheckoutError::OutOfRange(offer.clone())),
    }
}

fn address(email: String) -> Result<String, CheckoutError> {
    let is_plain = email.len() <= EMAIL_MAX
        && email.contains('@')
        && email.chars().all(|c| !c.is_whitespace() && !c.is_control());
    match is_plain {
        true => Ok(email),
        false => Err(CheckoutError::NoAddress),
    }
}

/// The provider's idempotency key. Keys of one wallet never meet those of another.
fn key_of(wallet: &str, key: Option<&str>) -> String {
    let Some(key) = key else {
        return uuid::Uuid::now_v7().to_string();
    };
    let text = format!("{}:{wallet}{key}", wallet.len());
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let hex = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    format!("checkout-{}", hex.collect::<String>())
}
