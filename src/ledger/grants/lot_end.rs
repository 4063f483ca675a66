//! The end of a lot before it was used up: it expires or is voided.

use crate::allowance::lanes::range;
use crate::error::Result;
use crate::ledger::grants::burn::Burn;
use crate::ledger::grants::course::Kept;
use crate::ledger::grants::locked_lots::LockedLots;
use crate::ledger::grants::{burns, kept, lots};
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::document::Document;
use crate::storage::rows::{Call, Entry, Kind};

/// The entry that ended a lot, and the amount that it took.
pub(super) type Finished = (Option<[u8; 16]>, Amount);

/// How a lot ends.
pub struct Ending<'a> {
    pub status: &'a str,
    pub call: Call,
    pub at: Option<Timestamp>,
    pub key: Option<&'a str>,
    pub fingerprint: Option<[u8; 16]>,
    pub reason: Option<&'a str>,
    pub actor: Option<&'a str>,
    pub metadata: Option<Document>,
}

impl Ending<'_> {
    /// The contra account of its entry.
    pub fn contra(&self) -> String {
        format!("{}:grant", self.status)
    }

    /// The entry that ends a part of a lot.
    pub fn entry<'a>(&'a self, wallet: &'a str, burn: &Burn, contra: &'a str) -> Entry<'a> {
        Entry {
            event_at: self.at,
            key: self.key,
            fingerprint: self.fingerprint,
            related_id: Some(burn.id),
            reason: self.reason,
            actor: self.actor,
            metadata: self.metadata.clone(),
            ..Entry::of_money(
                wallet,
                Kind::Expiry,
                self.call,
                burn.amount.negated(),
                contra,
            )
        }
    }

    /// The lot's expiry has been reached.
    pub fn expired(at: Timestamp) -> Ending<'static> {
        Ending {
            status: "expired",
            call: Call::Expire,
            at: Some(at),
            key: None,
            fingerprint: None,
            reason: None,
            actor: None,
            metadata: None,
        }
    }
}

impl LockedLots<'_> {
    /// Ends a lot before it was used up. Books the amount that holds do not reserve. The rest is
    /// kept for these holds and ends when they are closed. Returns the entry and the amount that it
    /// took.
    pub(super) fn finish(&mut self, id: [u8; 16], ending: &Ending<'_>) -> Result<Finished> {
        let Some(place) = self.lots.iter().position(|one| one.lot.rank.id == id) else {
            lots::end(self.wallet, id, ending.status, None)?;
            return Ok((None, Amount::ZERO));
        };
        let one = self.lots[place].clone();
        let is_scoped = one.scope.is_some();
        let free = if is_scoped {
            one.free().remaining
        } else {
            // Holds use the other lots first, as far as these suffice.
            one.lot.remaining.min(self.available()?)
        };
        let entry = match free.is_zero() {
            true => None,
            false => {
                let burn = Burn { id, amount: free };
                Some(self.end_part(&burn, is_scoped, ending)?)
            }
        };
        let rest = one.lot.remaining.minus(free).map_err(range)?;
        if is_scoped && !rest.is_zero() {
            // The lot itself stores the amount that holds reserve of it.
            let now = clock::now();
            lots::set_remaining(self.wallet, id, rest)?;
            lots::extend(self.wallet, id, now, now)?;
            self.lots[place].lot.remaining = rest;
            self.lots[place].expires_at = Some(now);
            return Ok((entry, free));
        }
        if !rest.is_zero() {
            let before = self.kept.clone();
            self.kept.push(Kept {
                rank: one.lot.rank.clone(),
                ended_at: clock::now(),
                amount: rest,
            });
            kept::write(self.wallet, &before, &self.kept)?;
        }
        self.lots.remove(place);
        lots::end(self.wallet, id, ending.status, entry)?;
        Ok((entry, free))
    }

    /// Books the end of a part of a lot; returns the entry.
    pub(super) fn end_part(
        &mut self,
        burn: &Burn,
        is_scoped: bool,
        ending: &Ending<'_>,
    ) -> Result<[u8; 16]> {
        let amount = burn.amount.negated();
        let contra = ending.contra();
        let entry = ending.entry(self.wallet, burn, &contra);
        let (general, scoped) = match is_scoped {
            true => (Amount::ZERO, amount),
            false => (amount, Amount::ZERO),
        };
        self.book(&entry, general, scoped)?;
        let burns = std::slice::from_ref(burn);
        burns::record(self.wallet, burns, Some(entry.entry_id))?;
        Ok(entry.entry_id)
    }
}
