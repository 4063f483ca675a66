//! Payments: a provider takes the money, and the ledger books what the provider has.
//!
//! An event of a provider only says that a payment has changed. walletd looks the payment up and
//! books the difference, so that events may come in any order and any number of times. `provider`
//! has the functions that another provider needs.

mod checkout;
mod plan;
mod provider;
mod receiver;
mod reconcile;
mod stripe;
mod topups;

pub use checkout::{CheckoutError, Checkouts, Payer, Wish, may_fund};
pub use provider::Provider;
pub use receiver::{Receiver, receiver};
pub use reconcile::{Outcome, Payments};
pub use stripe::Stripe;
pub use topups::{Settings, run};

#[cfg(test)]
mod tests;
