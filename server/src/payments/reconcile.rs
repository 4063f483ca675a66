//! Brings the ledger to what the provider has, one payment at a time.
//!
//! The transaction first takes the lock of the payment, then asks the provider, then books. So two
//! processes never book the same payment from an old and a new answer, and a process that is killed
//! anywhere has booked nothing: the next event, or the same one again, does all of it.

use std::sync::Arc;

use rust_decimal::Decimal;

use super::plan::{Books, Funding, Mismatch, Step, Topup, plan};
use super::provider::{Money, Payment, Provider, ProviderError};
use crate::db::{Booking, DbError, PaymentLedger};

/// The most rounds of calls. A pending funding with another amount needs three.
const ROUNDS: usize = 6;

/// The provider and the ledger.
#[derive(Clone)]
pub struct Payments {
    /// The provider.
    pub provider: Arc<dyn Provider>,
    /// The ledger.
    pub ledger: PaymentLedger,
}

/// The result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Something was booked.
    Booked,
    /// The ledger had all of it.
    Unchanged,
    /// More went back than was paid. The ledger took back what was paid, and nobody the rest.
    Capped,
    /// Another program began the payment.
    NotOurs,
}

/// A payment that could not be booked. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The provider.
    #[error("{0}")]
    Provider(#[from] ProviderError),
    /// The database.
    #[error("{0:?}")]
    Database(DbError),
    /// The books.
    #[error("{0}")]
    Mismatch(#[from] Mismatch),
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Failure {
        Failure::Database(error)
    }
}

impl Payments {
    /// Books what the provider has of a payment and the ledger has not.
    pub async fn reconcile(&self, id: &str) -> Result<Outcome, Failure> {
        let mut connection = self.ledger.connection().await?;
        let lock = format!("walletd payment {} {id}", self.provider.name());
        let booking = self.ledger.begin(&mut connection, &lock).await?;
        let Some(payment) = self.provider.payment(id).await? else {
            return Ok(Outcome::NotOurs);
        };
        let Some(wallet) = &payment.wallet else {
            return Ok(Outcome::NotOurs);
        };
        let mut outcome = Outcome::Unchanged;
        for _ in 0..ROUNDS {
            let books = read(&booking, wallet, &payment).await?;
            let steps = plan(&payment, &books)?;
            if steps.is_empty() {
                break;
            }
            for step in steps {
                self.book(&booking, wallet, &payment, step).await?;
            }
            outcome = Outcome::Booked;
        }
        if payment.returned > payment.money.amount {
            tracing::warn!(
                payment = payment.id,
                "more was returned than was paid; the ledger took back what was paid"
            );
            outcome = Outcome::Capped;
        }
        booking.commit().await?;
        Ok(outcome)
    }

    async fn book(
        &self,
        booking: &Booking<'_>,
        wallet: &str,
        payment: &Payment,
        step: Step,
    ) -> Result<(), DbError> {
        let (name, money) = (self.provider.name(), &payment.money);
        match step {
            Step::Fund { is_pending, key } => {
                let status = if is_pending { "pending" } else { "settled" };
                let metadata = metadata(payment);
                let amount = money.amount.to_string();
                let key = format!("{name}:{key}");
                booking
                    .fund([
                        wallet,
                        &amount,
                        name,
                        &payment.id,
                        &money.currency,
                        status,
                        &key,
                        &metadata,
                    ])
                    .await
            }
            Step::Settle(entry_id) => booking.settle(wallet, &entry_id).await,
            Step::Fail(entry_id, reason) => booking.fail(wallet, &entry_id, &reason).await,
            Step::CompleteTopup => {
                let topup = payment.topup.as_deref().unwrap_or_default();
                booking.complete_topup(wallet, topup, &payment.id).await
            }
            Step::FailTopup(reason) => {
                let topup = payment.topup.as_deref().unwrap_or_default();
                booking.fail_topup(wallet, topup, &reason).await
            }
            Step::Take {
                entry_id,
                amount,
                key,
            } => {
                let (amount, key) = (amount.to_string(), format!("{name}:{key}"));
                let reason = format!("{name}: money went back to the customer");
                let arguments = [wallet, &entry_id, &reason, &amount, &key];
                booking.take(arguments).await
            }
            Step::Restore { amount, reference } => {
                let (amount, key) = (amount.to_string(), format!("{name}:{reference}"));
                booking
                    .fund([
                        wallet,
                        &amount,
                        name,
                        &reference,
                        &money.currency,
                        "settled",
                        &key,
                        "{}",
                    ])
                    .await
            }
        }
    }
}

/// The metadata of a funding: the saved payment method, for later top-ups.
fn metadata(payment: &Payment) -> String {
    let mut stored = serde_json::Map::new();
    if let Some(saved) = &payment.saved {
        stored.insert("customer".to_owned(), saved.customer.clone().into());
        let method = saved.payment_method.clone();
        stored.insert("payment_method".to_owned(), method.into());
    }
    serde_json::Value::Object(stored).to_string()
}

async fn read(booking: &Booking<'_>, wallet: &str, payment: &Payment) -> Result<Books, DbError> {
    let mut books = Books::default();
    for row in booking.fundings(wallet, &payment.id).await? {
        let [entry_id, status, amount, currency, reversed, reference] = row;
        books.fundings.push(Funding {
            entry_id,
            status,
            amount: exact(&amount)?,
            currency,
            reversed: exact(&reversed)?,
            reference,
        });
    }
    if let Some(topup) = &payment.topup {
        let row = booking.topup(wallet, topup).await?;
        if let Some([status, amount, currency]) = row {
            books.topup = Some(Topup {
                status,
                amount: exact(&amount)?,
                currency,
            });
        }
    }
    Ok(books)
}

/// A number of the database, or no number at all.
pub fn exact(text: &str) -> Result<Decimal, DbError> {
    Decimal::from_str_exact(text)
        .map_err(|error| DbError::Garbled(format!("{text} is no amount: {error}")))
}

/// An amount of the database.
pub fn money(amount: &str, currency: String) -> Result<Money, DbError> {
    Ok(Money {
        amount: exact(amount)?,
        currency,
    })
}
