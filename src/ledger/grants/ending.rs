//! How a lot ends before all of it was used: it expires, or is taken back.

use crate::error::Result;
use crate::ledger::grants::burn::Burn;
use crate::ledger::grants::ledge::Ledge;
use crate::ledger::grants::{burns, lots};
use crate::money::Amount;
use crate::storage::clock::Timestamp;
use crate::storage::rows::{Call, Document, Entry, Kind};

/// The entry that ended a lot, and what it took.
pub(super) type Finished = (Option<[u8; 16]>, Amount);

/// How a lot ends.
pub(super) struct Ending<'a> {
    pub status: &'a str,
    pub call: Call,
    pub most: Option<Amount>,
    pub at: Option<Timestamp>,
    pub key: Option<&'a str>,
    pub fingerprint: Option<[u8; 16]>,
    pub reason: Option<&'a str>,
    pub actor: Option<&'a str>,
    pub metadata: Option<Document>,
}

impl Ending<'_> {
    /// Its time has come.
    pub fn expired(at: Timestamp) -> Ending<'static> {
        Ending {
            status: "expired",
            call: Call::Expire,
            most: None,
            at: Some(at),
            key: None,
            fingerprint: None,
            reason: None,
            actor: None,
            metadata: None,
        }
    }
}

impl Ledge<'_> {
    /// Ends a lot before all of it was used: books what is left, except what holds have set aside.
    /// Gives the entry and what it took.
    pub(super) fn finish(&mut self, id: [u8; 16], ending: &Ending<'_>) -> Result<Finished> {
        let there = self.available()?;
        let Some(one) = self.lots.iter().find(|one| one.lot.rank.id == id).cloned() else {
            lots::end(self.wallet, id, ending.status, None)?;
            return Ok((None, Amount::ZERO));
        };
        let left = one.lot.remaining;
        let is_scoped = one.scope.is_some();
        let free = if is_scoped {
            one.free().remaining
        } else {
            left.min(there)
        };
        let amount = free.min(ending.most.unwrap_or(left));
        if amount.is_zero() {
            return Ok((None, Amount::ZERO));
        }
        let contra = format!("{}:grant", ending.status);
        let entry = Entry {
            event_at: ending.at,
            key: ending.key,
            fingerprint: ending.fingerprint,
            related_id: Some(id),
            reason: ending.reason,
            actor: ending.actor,
            metadata: ending.metadata.clone(),
            ..Entry::of_money(
                self.wallet,
                Kind::Expiry,
                ending.call,
                amount.negated(),
                &contra,
            )
        };
        let (general, scoped) = if is_scoped {
            (Amount::ZERO, amount.negated())
        } else {
            (amount.negated(), Amount::ZERO)
        };
        self.book(&entry, general, scoped)?;
        let burn = Burn { id, amount };
        burns::record(
            self.wallet,
            std::slice::from_ref(&burn),
            Some(entry.entry_id),
        )?;
        self.keep(&[burn])?;
        if amount == left {
            lots::end(self.wallet, id, ending.status, Some(entry.entry_id))?;
        }
        Ok((Some(entry.entry_id), amount))
    }
}
