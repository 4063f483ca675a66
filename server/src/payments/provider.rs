//! A payment provider: the six functions that walletd needs of one, and what it knows of a payment.
//!
//! A provider keeps books of its own. Everything that walletd books follows from [`Payment`], which
//! is looked up each time: an event only says that a payment has changed.

use std::pin::Pin;

use axum::http::HeaderMap;
use rust_decimal::Decimal;

/// The answer of a provider, later.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ProviderError>> + Send + 'a>>;

/// A payment provider.
pub trait Provider: Send + Sync {
    /// Its name. It is the method of fundings that are paid by a checkout, and a part of the path
    /// to which it sends events. It never changes.
    fn name(&self) -> &'static str;

    /// Begins a payment that a customer makes on a page of the provider. The same request with the
    /// same idempotency key begins one payment. Nothing is paid yet.
    fn create_checkout<'a>(&'a self, request: &'a CheckoutRequest) -> Answer<'a, Checkout>;

    /// Charges a saved payment method, without the customer. Returns the id of the payment.
    ///
    /// However often it is called for one top-up, and however late, it charges at most once. A
    /// payment that is still in progress is a success here: [`Provider::payment`] tells its stage.
    /// A decline says that no attempt has charged: an earlier one that may have is `Unknown`.
    fn charge_saved<'a>(&'a self, request: &'a SavedCharge) -> Answer<'a, String>;

    /// The present state of a payment: paid or not, what of it was returned, and whose it is. It is
    /// `None` if the provider does not have it.
    fn payment<'a>(&'a self, id: &'a str) -> Answer<'a, Option<Payment>>;

    /// Verifies that the provider itself signed an event, at about this time in seconds since 1970,
    /// and reads which payment it is about. Nothing else of the event is used.
    fn read_event(&self, headers: &HeaderMap, body: &[u8], now: i64) -> Result<Event, EventError>;

    /// Whether the provider accepts the settings. Returns a sentence about the account.
    fn check(&self) -> Answer<'_, String>;
}

/// A request that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The payment was declined. Trying again at once does not help.
    #[error("declined: {0}")]
    Declined(String),
    /// The provider will never do this, because the request or the settings are wrong.
    #[error("refused: {0}")]
    Refused(String),
    /// Nothing has happened. The same request may succeed later.
    #[error("try again: {0}")]
    TryAgain(String),
    /// The provider may have done it. Ask again with the same id.
    #[error("unknown outcome: {0}")]
    Unknown(String),
}

/// An event that is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// It has no signature that can be read.
    #[error("the signature is missing or cannot be read")]
    NoSignature,
    /// No secret of the settings made the signature.
    #[error("the signature does not belong to this body and a known secret")]
    WrongSignature,
    /// It was signed too long ago, or in the future.
    #[error("the time of the signature is too far from now")]
    WrongTime,
    /// It is signed, and has another form than the provider documents.
    #[error("the event cannot be read")]
    NoEvent,
}

/// An exact amount in a currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Money {
    /// The amount, in whole units of the currency.
    pub amount: Decimal,
    /// The code of ISO 4217, in capitals.
    pub currency: String,
}

/// A payment that a customer wants to make.
#[derive(Clone, Debug)]
pub struct CheckoutRequest {
    /// The wallet to fund.
    pub wallet: String,
    /// The amount.
    pub money: Money,
    /// Identifies the request.
    pub idempotency_key: String,
    /// The address for the receipt.
    pub email: Option<String>,
    /// Whether the payment method is saved for top-ups.
    pub is_saved: bool,
    /// The provider's customer that paid for this wallet before.
    pub customer: Option<String>,
}

/// A page on which a customer pays.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// The provider's id of it.
    pub id: String,
    /// The address of the page.
    pub url: String,
}

/// A payment method that a customer has saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The provider's id of the customer.
    pub customer: String,
    /// The provider's id of the payment method.
    pub payment_method: String,
}

/// A top-up that is charged to a saved payment method.
#[derive(Clone, Debug)]
pub struct SavedCharge {
    /// The wallet to fund.
    pub wallet: String,
    /// The top-up, which is also the idempotency key.
    pub topup: String,
    /// The amount.
    pub money: Money,
    /// The payment method. `None`: there is none any more, and only an earlier attempt is looked
    /// for.
    pub saved: Option<Saved>,
    /// The customers that an earlier attempt may have charged. None: this is the first attempt.
    pub earlier: Vec<String>,
}

/// The provider's books of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Its id, which is the reference of the funding.
    pub id: String,
    /// The wallet that walletd named when it began the payment. `None`: another program began it.
    pub wallet: Option<String>,
    /// The top-up that it pays, if it pays one.
    pub topup: Option<String>,
    /// How far it is.
    pub stage: Stage,
    /// The amount: received if it is paid, otherwise expected.
    pub money: Money,
    /// The part of it that went back to the customer and did not come again: refunds, disputes.
    pub returned: Decimal,
    /// The payment method, if the customer saved it.
    pub saved: Option<Saved>,
}

/// How far a payment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The customer has something to do. Nobody knows whether they will.
    Open,
    /// The customer has done all, and the money is on its way.
    Pending,
    /// The money has arrived.
    Paid,
    /// It will not arrive, for this reason.
    Failed(String),
}

/// A signed event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its kind, in the provider's words, for the log.
    pub kind: String,
    /// The payment that it is about. `None`: it is about something else.
    pub payment: Option<String>,
}
