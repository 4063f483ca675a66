//! Returns refunded money to the lots that paid the charge, and takes reversed money out of lots.

use crate::allowance::lanes::range;
use crate::error::{Error, Result};
use crate::ledger::grants::burn::{self, Burn, Lot};
use crate::ledger::grants::burns::{self, Refund};
use crate::ledger::grants::locked_lots::LockedLots;
use crate::ledger::grants::lots::{self, Active, NewLot};
use crate::ledger::grants::terms::Terms;
use crate::money::Amount;
use crate::pg::clock;
use crate::storage::rows::Entry;

impl LockedLots<'_> {
    /// Books a refund and returns it to the grants that paid the charge, the last burn first. The
    /// order is: open debt, usage on credit, then the lots in reverse burn order. An amount that
    /// nobody had paid, or that a voided lot had paid, becomes a plain lot. An amount in an expired
    /// lot ends again.
    pub fn give_back(&mut self, entry: &Entry<'_>, charge: [u8; 16]) -> Result<Amount> {
        let refund = Refund {
            wallet: self.wallet,
            entry: entry.entry_id,
            charge,
        };
        let on_credit = self.spread()?.negated().max(Amount::ZERO);
        let paid = burns::paid_by(self.wallet, charge, on_credit)?;
        let mut left = entry.amount;
        let mut take = |most: Amount| -> Result<Amount> {
            let part = most.min(left);
            left = left.minus(part).map_err(range)?;
            Ok(part)
        };
        // The debt remains, and so does the money that pays it.
        let mut plain = take(paid.owed)?;
        refund.returned(None, plain, entry.entry_id)?;
        refund.cut_out(&paid, take(paid.credit)?)?;
        let mut scoped = Amount::ZERO;
        for lot in &paid.lots {
            let part = take(lot.amount)?;
            if part.is_zero() {
                continue;
            }
            let to = match lots::give_back(self.wallet, lot.id, part)? {
                Some(has_scope) => {
                    if has_scope {
                        scoped = scoped.plus(part).map_err(range)?;
                    }
                    lot.id
                }
                None => {
                    plain = plain.plus(part).map_err(range)?;
                    entry.entry_id
                }
            };
            refund.returned(Some(lot.id), part, to)?;
        }
        if !left.is_zero() {
            return Err(Error::internal("a charge was paid by less than it was"));
        }
        let general = entry.amount.minus(scoped).map_err(range)?;
        self.lots = lots::read_active(self.wallet)?;
        let ends = self.ends_again(general, plain)?;
        let balance = self.book_but(entry, general, scoped, ends)?;
        if !plain.is_zero() {
            self.add_lot(&NewLot {
                id: entry.entry_id,
                amount: plain,
                remaining: plain,
                terms: &Terms::default(),
                recurring: None,
                created_at: entry.created_at,
            })?;
        }
        // The returned money repays credit that other charges use. An expired lot ends again in
        // `close`.
        self.settle()?;
        Ok(balance)
    }

    /// The part of the returned money that ends at once because its lot has expired. The part that
    /// repays credit of other charges does not end.
    fn ends_again(&self, general: Amount, plain: Amount) -> Result<Amount> {
        let now = clock::now();
        let ended = |one: &&Active| one.expires_at.is_some_and(|end| end <= now);
        let mut lots = self.unscoped();
        let spread = self.spread()?.plus(general).map_err(range)?;
        burn::settle(&mut lots, spread.minus(plain).map_err(range)?);
        let plain_lots = self.lots.iter().filter(ended).filter_map(|one| {
            let mut lots = lots.iter();
            lots.find(|lot| lot.rank.id == one.lot.rank.id && one.scope.is_none())
        });
        let general: i128 = plain_lots.map(|lot| lot.remaining.units()).sum();
        let scoped = self
            .lots
            .iter()
            .filter(ended)
            .filter(|one| one.scope.is_some());
        let scoped: i128 = scoped.map(|one| one.free().remaining.units()).sum();
        Amount::from_units(general + scoped).map_err(range)
    }

    /// Takes an amount that leaves the balance from the lot `first`, then from the other lots in
    /// burn order. All of it is stored for `entry`. `scoped` is the amount to take from a lot with
    /// a scope, `amount` the amount of money that every charge may use. If `ends` is true, no money
    /// may return to the lot `first`.
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
