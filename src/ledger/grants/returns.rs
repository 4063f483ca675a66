//! Money that goes back: of a refund to the lots that paid the charge, of a reversal out of the lots.

use crate::allowance::lanes::range;
use crate::error::Result;
use crate::ledger::grants::burn::{self, Burn, Lot};
use crate::ledger::grants::ledge::Ledge;
use crate::ledger::grants::{burns, lots};
use crate::money::Amount;
use crate::storage::rows::Entry;

impl Ledge<'_> {
    /// Books a refund and gives it back to the grants that paid the charge, what was burnt last
    /// first. `before` is what of the charge was refunded before. What no grant had paid, or one
    /// that was taken back meanwhile, becomes a plain lot; a grant that has expired ends again.
    pub fn give_back(
        &mut self,
        entry: &Entry<'_>,
        charge: [u8; 16],
        before: Amount,
    ) -> Result<Amount> {
        let (mut skip, mut left) = (before.units(), entry.amount.units());
        let mut scoped = 0;
        for part in burns::paid_by(self.wallet, charge)? {
            let skipped = part.amount.units().min(skip);
            skip -= skipped;
            let back = (part.amount.units() - skipped).min(left);
            if back == 0 {
                continue;
            }
            left -= back;
            let amount = Amount::from_units(back).map_err(range)?;
            if lots::give_back(self.wallet, part.id, amount)? {
                scoped += back;
            }
        }
        let scoped = Amount::from_units(scoped).map_err(range)?;
        let general = entry.amount.minus(scoped).map_err(range)?;
        let balance = self.book(entry, general, scoped)?;
        self.lots = lots::read_active(self.wallet)?;
        self.settle()?;
        Ok(balance)
    }

    /// Takes what leaves the balance from a lot first and then from the others in burn order, all for that
    /// entry: `scoped` where the lot has a scope, and `amount` of what every charge may use. `ends` says that nothing
    /// of the lot may come back.
    pub fn take_back(
        &mut self,
        first: [u8; 16],
        amount: Amount,
        scoped: Amount,
        entry: [u8; 16],
        ends: bool,
    ) -> Result<()> {
        let mut lots = self.unscoped();
        let mut own: Vec<Lot> = lots.extract_if(.., |lot| lot.rank.id == first).collect();
        let mut burnt = burn::burn(&mut own, amount);
        let taken: i128 = burnt.iter().map(|burn| burn.amount.units()).sum();
        let rest = Amount::from_units(amount.units() - taken).map_err(range)?;
        burnt.extend(burn::burn(&mut lots, rest));
        if !scoped.is_zero() {
            burnt.push(Burn {
                id: first,
                amount: scoped,
            });
        }
        burns::record(self.wallet, &burnt, Some(entry))?;
        self.keep(&burnt)?;
        let left = self
            .lots
            .iter()
            .find(|one| one.lot.rank.id == first)
            .map_or(Amount::ZERO, |one| one.lot.remaining);
        if ends && left.is_zero() {
            lots::end(self.wallet, first, "reversed", Some(entry))?;
        }
        Ok(())
    }
}
