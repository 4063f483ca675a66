//! What calls on fundings are asked for, and what they return.

use rust_decimal::Decimal;

use crate::idempotency::call::IdempotentCall;
use crate::idempotency::fingerprint::Fingerprint;
use crate::ledger::grants::terms::Terms;
use crate::money::Amount;
use crate::storage::rows::{Call, Document};

/// A checked funding.
pub struct Funding<'a> {
    /// The wallet.
    pub wallet: &'a str,
    /// How much, above zero, in the currency of the payment.
    pub amount: Amount,
    /// How it was paid.
    pub method: &'a str,
    /// The payment provider's reference.
    pub reference: Option<&'a str>,
    /// Currency of the payment, if it was given.
    pub currency: Option<&'a str>,
    /// What one unit of that currency is worth, if it was given.
    pub rate: Option<Decimal>,
    /// True when the money is still on its way.
    pub pending: bool,
    /// What distinguishes it from a plain funding.
    pub terms: Terms,
    /// False where the wallet's bounds do not apply.
    pub bounded: bool,
    /// Idempotency key.
    pub key: Option<&'a str>,
    /// Who acts.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
}

/// What calls on fundings return.
pub struct Funded {
    /// The entry, or what will be its id.
    pub entry_id: [u8; 16],
    /// What is credited.
    pub amount: Amount,
    /// The wallet's currency.
    pub currency: String,
    /// The wallet's balance after it.
    pub balance: Amount,
    /// `pending`, `settled`, `failed`, `reversed`
    pub status: String,
    /// True when an earlier call did it.
    pub replayed: bool,
    /// What came on top of it, and its entry.
    pub bonus: Option<(Amount, [u8; 16])>,
}

impl Funding<'_> {
    /// What it is told apart by from another request with its key.
    pub(super) fn fingerprint(&self) -> [u8; 16] {
        let mut fingerprint = Fingerprint::new(Call::Fund as u8);
        fingerprint.field("amount", Some(&self.amount.to_fixed()));
        fingerprint.field("method", Some(self.method));
        fingerprint.field("reference", self.reference);
        fingerprint.field("currency", self.currency);
        let rate = self.rate.map(|rate| rate.normalize().to_string());
        fingerprint.field("rate", rate.as_deref());
        fingerprint.field("status", self.pending.then_some("pending"));
        if !self.terms.plain() {
            let expires_at = self.terms.expires_at.map(|at| at.0.to_string());
            fingerprint.field("expires_at", expires_at.as_deref());
            fingerprint.field("priority", Some(&self.terms.priority.to_string()));
            let promotional = self.terms.promotional.then_some("promotional");
            fingerprint.field("promotional", promotional);
            if let Some(scope) = self.terms.scope {
                fingerprint.field("scope", Some(&scope.to_text()));
            }
        }
        fingerprint.finish()
    }

    /// The call, where it makes no entry that would keep its key.
    pub(super) fn once(&self) -> IdempotentCall<'_> {
        IdempotentCall {
            wallet: self.wallet,
            call: "fund",
            key: self.key,
            fingerprint: self.fingerprint(),
        }
    }
}

/// A call on a funding that exists.
pub struct Change<'a> {
    /// The wallet.
    pub wallet: &'a str,
    /// The funding.
    pub entry_id: [u8; 16],
    /// Why.
    pub reason: Option<&'a str>,
    /// Who acts.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
}
