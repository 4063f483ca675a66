//! The calls that bring the ledger to the provider's books. Pure: it compares the provider's books
//! of a payment with the fundings of that payment.
//!
//! Things that go wrong, and why they do no harm here:
//! - The same event twice, or events in any order: an event is not an instruction. The payment is
//!   looked up, and what the ledger already has is not booked again.
//! - A refund before the completion: the payment is credited first, then the refund is taken back.
//! - Partial refunds that grow, a refund that failed, a dispute that was won: the provider's total
//!   is compared with the total taken back so far, and only the difference is booked.
//! - A payment that is credited in parts, because money came back after a dispute: the total of all
//!   fundings of the payment counts.

use rust_decimal::Decimal;

use super::provider::{Payment, Stage};

/// A funding of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Funding {
    /// Its id.
    pub entry_id: String,
    /// `pending`, `settled`, `failed` or `reversed`.
    pub status: String,
    /// The amount, in the currency that was paid.
    pub amount: Decimal,
    /// The currency that was paid.
    pub currency: String,
    /// The part of it that was taken back.
    pub reversed: Decimal,
    /// The payment's id, or that with the number of a restoration.
    pub reference: String,
}

/// A top-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topup {
    /// `requested`, `succeeded` or `failed`.
    pub status: String,
    /// The amount, in the wallet's currency.
    pub amount: Decimal,
    /// The wallet's currency.
    pub currency: String,
}

/// The ledger's side of a payment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Its fundings, the oldest first.
    pub fundings: Vec<Funding>,
    /// The top-up that it pays.
    pub topup: Option<Topup>,
}

/// A call of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Credits the payment, or records it as pending.
    Fund {
        /// Whether the money has not arrived yet.
        is_pending: bool,
        /// The idempotency key.
        key: String,
    },
    /// Credits a pending funding.
    Settle(String),
    /// Ends a pending funding.
    Fail(String, String),
    /// Credits the top-up.
    CompleteTopup,
    /// Records that the top-up was not paid.
    FailTopup(String),
    /// Takes back a part of a funding.
    Take {
        /// The funding.
        entry_id: String,
        /// The part.
        amount: Decimal,
        /// The idempotency key.
        key: String,
    },
    /// Credits money that was taken back and came again.
    Restore {
        /// The amount.
        amount: Decimal,
        /// The reference.
        reference: String,
    },
}

/// Books that do not fit together. Nothing is booked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The provider took another amount than the top-up asks for.
    #[error("the payment has another amount or currency than the top-up")]
    Topup,
    /// There is no such top-up.
    #[error("the wallet has no such top-up")]
    NoTopup,
    /// The payment was credited with another amount or currency.
    #[error("the payment was credited with another amount or currency")]
    Amount,
}

/// The next calls. Empty: the ledger has what the provider has. The calls of one answer can be made
/// one after the other; then the books are to be read again.
pub fn plan(payment: &Payment, books: &Books) -> Result<Vec<Step>, Mismatch> {
    let live = books
        .fundings
        .iter()
        .find(|one| one.reference == payment.id && one.status != "failed");
    let is_credited = live.is_some_and(|one| one.status != "pending");
    if is_credited {
        return returned(payment, books);
    }
    match (&payment.topup, live) {
        (Some(_), _) => topup(payment, books),
        (None, Some(pending)) => Ok(pending_funding(payment, pending)),
        (None, None) => Ok(match payment.stage {
            Stage::Paid | Stage::Pending => vec![fund(payment, books)],
            Stage::Open | Stage::Failed(_) => Vec::new(),
        }),
    }
}

fn topup(payment: &Payment, books: &Books) -> Result<Vec<Step>, Mismatch> {
    let topup = books.topup.as_ref().ok_or(Mismatch::NoTopup)?;
    match &payment.stage {
        Stage::Paid => {
            let money = &payment.money;
            let fits = topup.amount == money.amount && topup.currency == money.currency;
            match fits {
                true => Ok(vec![Step::CompleteTopup]),
                false => Err(Mismatch::Topup),
            }
        }
        Stage::Failed(reason) if topup.status == "requested" => {
            Ok(vec![Step::FailTopup(reason.clone())])
        }
        _ => Ok(Vec::new()),
    }
}

fn fund(payment: &Payment, books: &Books) -> Step {
    // The reference of a funding that failed can be used again; its key cannot.
    let failed = books.fundings.len();
    Step::Fund {
        is_pending: payment.stage == Stage::Pending,
        key: format!("{}:fund:{failed}", payment.id),
    }
}

fn pending_funding(payment: &Payment, pending: &Funding) -> Vec<Step> {
    let entry_id = pending.entry_id.clone();
    let is_same =
        pending.amount == payment.money.amount && pending.currency == payment.money.currency;
    match &payment.stage {
        Stage::Paid if is_same => vec![Step::Settle(entry_id)],
        // The bank sent another amount. The next plan credits it.
        Stage::Paid => {
            let reason = "another amount arrived".to_owned();
            vec![Step::Fail(entry_id, reason)]
        }
        Stage::Failed(reason) => vec![Step::Fail(entry_id, reason.clone())],
        Stage::Open | Stage::Pending => Vec::new(),
    }
}

/// Takes back, or restores, the difference of the two totals.
fn returned(payment: &Payment, books: &Books) -> Result<Vec<Step>, Mismatch> {
    let credited: Vec<&Funding> = books
        .fundings
        .iter()
        .filter(|one| ["settled", "reversed"].contains(&one.status.as_str()))
        .collect();
    if payment.stage != Stage::Paid {
        return Ok(Vec::new());
    }
    let money = &payment.money;
    let fits = credited.iter().all(|one| one.currency == money.currency)
        && credited
            .iter()
            .any(|one| one.reference == payment.id && one.amount == money.amount);
    if !fits {
        return Err(Mismatch::Amount);
    }
    let total: Decimal = credited.iter().map(|one| one.amount).sum();
    let taken: Decimal = credited.iter().map(|one| one.reversed).sum();
    let restored = total - money.amount;
    // A dispute may be about more than was paid. The ledger has no more than that to take back.
    let target = payment.returned.min(money.amount);
    let missing = target - (taken - restored);
    if missing < Decimal::ZERO {
        let number = restored - missing;
        return Ok(vec![Step::Restore {
            amount: -missing,
            reference: format!("{}:restored:{}", payment.id, number.normalize()),
        }]);
    }
    Ok(take(payment, &credited, missing, taken))
}

fn take(payment: &Payment, credited: &[&Funding], missing: Decimal, taken: Decimal) -> Vec<Step> {
    let (mut left, mut taken) = (missing, taken);
    let mut steps = Vec::new();
    for funding in credited {
        let amount = left.min(funding.amount - funding.reversed);
        if amount > Decimal::ZERO {
            left -= amount;
            taken += amount;
            steps.push(Step::Take {
                entry_id: funding.entry_id.clone(),
                amount,
                // The total taken back only grows, so each part has a key of its own.
                key: format!("{}:taken:{}", payment.id, taken.normalize()),
            });
        }
    }
    steps
}

#[cfg(test)]
#[path = "tests/plan.rs"]
mod tests;
