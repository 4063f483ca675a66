//! The requests of `hold` and `settle`, and their fingerprints.

use crate::idempotency::fingerprint::Fingerprint;
use crate::ledger::charges::request::Request;
use crate::storage::rows::{Call, uuid_text};

/// The arguments of `hold`.
pub struct NewHold<'a> {
    /// The request to reserve money for, like the request of a charge.
    pub request: Request<'a>,
    /// How long the hold lasts, in microseconds.
    pub ttl: i64,
    /// Whether the hold may be smaller than requested if less is available.
    pub allow_partial: bool,
    /// Whether the amount is charged when the hold expires.
    pub on_expiry: OnExpiry,
    /// Half a SHA-256 of the arguments, compared if the key is used again.
    pub fingerprint: [u8; 16],
    /// The hold's id, the same in every wallet of a tree.
    pub id: [u8; 16],
}

/// The fate of a hold that nobody settles or voids in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExpiry {
    /// The amount is released.
    Release,
    /// The amount is charged.
    Charge,
}

impl OnExpiry {
    /// All of them.
    pub const ALL: &'static [OnExpiry] = &[OnExpiry::Release, OnExpiry::Charge];

    /// The name in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            OnExpiry::Release => "release",
            OnExpiry::Charge => "charge",
        }
    }
}

impl NewHold<'_> {
    /// The fingerprint of a call of `hold`.
    pub fn fingerprint(
        request: &Request<'_>,
        ttl: i64,
        allow_partial: bool,
        on_expiry: OnExpiry,
    ) -> [u8; 16] {
        let mut fingerprint = Fingerprint::new(0);
        fingerprint.field("request", Some(&uuid_text(request.fingerprint())));
        fingerprint.field("ttl", Some(&ttl.to_string()));
        fingerprint.field("allow_partial", Some(&allow_partial.to_string()));
        // Without the default, which would lengthen every hold's hash.
        let charge = (on_expiry == OnExpiry::Charge).then_some(on_expiry.as_str());
        fingerprint.field("on_expiry", charge);
        fingerprint.finish()
    }
}

/// How to book usage that costs more than was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OveragePolicy {
    /// The excess is charged as usual, and may be refused.
    Charge,
    /// The charge is limited to the held amount.
    Cap,
    /// The part that the balance does not cover becomes a debt.
    Debt,
}

impl OveragePolicy {
    /// All of them.
    pub const ALL: &'static [OveragePolicy] = &[
        OveragePolicy::Charge,
        OveragePolicy::Cap,
        OveragePolicy::Debt,
    ];

    /// The policy's name in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            OveragePolicy::Charge => "charge",
            OveragePolicy::Cap => "cap",
            OveragePolicy::Debt => "debt",
        }
    }
}

/// The arguments of `settle`.
pub struct Settlement<'a> {
    /// Id of the wallet that has the hold.
    pub wallet: &'a str,
    /// Id that the call of `hold` returned.
    pub hold_id: [u8; 16],
    /// The actual usage, like the request of a charge. It inherits missing values from the hold.
    pub request: Request<'a>,
    /// False if more usage of the hold will follow.
    pub is_final: bool,
    /// How to book an excess over the held amount.
    pub over: OveragePolicy,
    /// True for the charge of a hold that has expired.
    pub is_expiry: bool,
    /// Half a SHA-256 of the arguments, compared if the key is used again.
    pub fingerprint: [u8; 16],
}

impl Settlement<'_> {
    /// The fingerprint of a settlement: everything that changes money or attribution, including the
    /// fingerprint of its request.
    pub fn fingerprint(
        request: [u8; 16],
        hold_id: [u8; 16],
        is_final: bool,
        over: OveragePolicy,
    ) -> [u8; 16] {
        let mut fingerprint = Fingerprint::new(Call::Settle as u8);
        fingerprint.field("hold_id", Some(&uuid_text(hold_id)));
        fingerprint.field("final", Some(if is_final { "t" } else { "f" }));
        fingerprint.field("over", Some(over.as_str()));
        fingerprint.field("request", Some(&uuid_text(request)));
        fingerprint.finish()
    }
}
