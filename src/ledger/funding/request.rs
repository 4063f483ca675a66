//! The arguments and results of calls on fundings.

use rust_decimal::Decimal;

use crate::idempotency::call::IdempotentCall;
use crate::idempotency::fingerprint::Fingerprint;
use crate::ledger::grants::terms::Terms;
use crate::money::Amount;
use crate::pg::document::Document;
use crate::storage::rows::Call;

/// The payment method of redeemed vouchers.
pub(super) const VOUCHER: &str = "voucher";

/// A funding whose arguments have been checked.
pub struct Funding<'a> {
    /// Id of the wallet that is credited.
    pub wallet: &'a str,
    /// The amount, above zero, in the currency of the payment.
    pub amount: Amount,
    /// The payment method, the last part of the contra account: `funding:card`.
    pub method: &'a str,
    /// The payment provider's reference.
    pub reference: Option<&'a str>,
    /// Currency of the payment; `None` for the wallet's currency.
    pub currency: Option<&'a str>,
    /// The value of one unit of that currency; `None` for the stored exchange rate.
    pub rate: Option<Decimal>,
    /// True while the money is on its way.
    pub pending: bool,
    /// The expiry, priority and scope of the grant.
    pub terms: Terms,
    /// False if the wallet's bounds for fundings do not apply.
    pub bounded: bool,
    /// Idempotency key; without one, only the reference finds an earlier call.
    pub key: Option<&'a str>,
    /// The person or program that makes the call.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
}

/// The result of a call on a funding.
pub struct Funded {
    /// The entry, or the id that its entry will have.
    pub entry_id: [u8; 16],
    /// The credited amount, in the wallet's currency and without the bonus.
    pub amount: Amount,
    /// The wallet's currency.
    pub currency: String,
    /// The wallet's balance after the call.
    pub balance: Amount,
    /// `pending`, `settled`, `failed` or `reversed`.
    pub status: String,
    /// True if an earlier call produced this result.
    pub replayed: bool,
    /// The bonus and its entry, if any.
    pub bonus: Option<(Amount, [u8; 16])>,
}

impl Funding<'_> {
    /// The fingerprint of the call.
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

    /// The idempotent call, for a call that writes no entry to store its key.
    pub(super) fn once(&self) -> IdempotentCall<'_> {
        IdempotentCall {
            wallet: self.wallet,
            call: "fund",
            key: self.key,
            fingerprint: self.fingerprint(),
        }
    }
}

/// A call on an existing funding.
pub struct Change<'a> {
    /// Id of the wallet that has the funding.
    pub wallet: &'a str,
    /// Id that the call of `fund` returned.
    pub entry_id: [u8; 16],
    /// The reason that the caller gives; `None` if there is none.
    pub reason: Option<&'a str>,
    /// The person or program that makes the call.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
}
