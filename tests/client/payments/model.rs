//! A model of who paid what, charge by charge, in cents.

use std::collections::BTreeMap;

use uuid::Uuid;

/// Priority, days until it expires (the maximum for none), paid, age.
pub type Rank = (i32, i32, bool, usize);

/// The rank of a plain lot with this age.
pub fn plain(age: usize) -> Rank {
    (100, 1000, true, age)
}

#[derive(Clone, Debug)]
pub struct Lot {
    pub id: Uuid,
    pub rank: Rank,
    /// The one model in its scope.
    pub scope: Option<&'static str>,
    pub amount: i64,
    pub remaining: i64,
    /// The amount that ended unused: it expired, was voided, charged back, or paid the debt of a
    /// chargeback.
    pub taken: i64,
    /// The voided part of that.
    pub voided: i64,
    /// Whether it was voided or reversed.
    pub gone: bool,
    /// Whether it has expired.
    pub over: bool,
}

/// A charge, adjustment or transfer that took money out.
#[derive(Clone, Debug)]
pub struct Charge {
    pub id: Uuid,
    pub amount: i64,
    pub refunded: i64,
}

/// A refund of what one lot had paid: the refund, the lot, the charge, and the lot that has the
/// money now.
pub type Returned = (Uuid, Uuid, Uuid, Uuid);

#[derive(Default)]
pub struct Model {
    pub lots: Vec<Lot>,
    pub credit_limit: i64,
    /// The amount that holds reserve.
    pub held: i64,
    /// The amounts that credit has paid, by entry, the earliest first.
    pub credit: Vec<(Uuid, i64)>,
    /// The debts by entry, the earliest first. True for those of chargebacks.
    pub owed: Vec<(Uuid, i64, bool)>,
    /// Refunds of debts that were not paid yet: the refund, its charge.
    pub early: Vec<(Uuid, Uuid, i64)>,
    pub charges: Vec<Charge>,
    /// Adjustments that took money out.
    pub adjusted: Vec<Uuid>,
    pub paid: BTreeMap<(Uuid, Uuid), i64>,
    pub returned: BTreeMap<Returned, i64>,
}

impl Model {
    pub fn lot(&mut self, id: Uuid) -> &mut Lot {
        let mut lots = self.lots.iter_mut();
        lots.find(|lot| lot.id == id).expect("a lot")
    }

    fn pay(&mut self, entry: Uuid, lot: Uuid, part: i64) {
        if part > 0 {
            self.lot(lot).remaining -= part;
            *self.paid.entry((entry, lot)).or_default() += part;
        }
    }

    fn in_order(&self) -> Vec<Lot> {
        let mut lots = self.lots.clone();
        lots.sort_by_key(|lot| lot.rank);
        lots
    }

    /// The money that every charge may use.
    pub fn general(&self) -> i64 {
        let lots = self.lots.iter().filter(|lot| lot.scope.is_none());
        let used: i64 = self.credit.iter().map(|(_, amount)| amount).sum();
        lots.map(|lot| lot.remaining).sum::<i64>() - used
    }

    pub fn balance(&self) -> i64 {
        let lots = self.lots.iter().filter(|lot| lot.scope.is_some());
        self.general() + lots.map(|lot| lot.remaining).sum::<i64>()
    }

    pub fn debt(&self) -> i64 {
        self.owed.iter().map(|owed| owed.1).sum()
    }

    pub fn room(&self) -> i64 {
        self.general() + self.credit_limit - self.held
    }

    fn usable(&self, model: &str) -> Vec<Lot> {
        let mut lots = self.in_order();
        lots.retain(|lot| lot.scope.is_none_or(|scope| scope == model));
        lots
    }

    /// The money that a model can spend.
    pub fn room_for(&self, model: &str) -> i64 {
        let lots = self.usable(model);
        let own = lots.iter().filter(|lot| lot.scope.is_some());
        self.room() + own.map(|lot| lot.remaining).sum::<i64>()
    }

    /// Takes money that every charge may use, in order and from credit last.
    fn take_general(&mut self, entry: Uuid, mut amount: i64) {
        for lot in self.in_order().iter().filter(|lot| lot.scope.is_none()) {
            let part = lot.remaining.min(amount);
            self.pay(entry, lot.id, part);
            amount -= part;
        }
        if amount > 0 {
            self.credit.push((entry, amount));
        }
    }

    fn spend(&mut self, entry: Uuid, model: &str, amount: i64) {
        let (mut left, mut general) = (amount, 0);
        let lots = self.usable(model);
        for lot in &lots {
            let part = lot.remaining.min(left);
            left -= part;
            match lot.scope {
                None => general += part,
                Some(_) => self.pay(entry, lot.id, part),
            }
        }
        general += left;
        // Unscoped money pays at most what is available, whatever the order is.
        let mut excess = (general - self.room().max(0)).max(0);
        for lot in lots.iter().filter(|lot| lot.scope.is_some()) {
            let part = self.lot(lot.id).remaining.min(excess);
            self.pay(entry, lot.id, part);
            excess -= part;
            general -= part;
        }
        self.take_general(entry, general);
    }

    pub fn charge(&mut self, id: Uuid, model: &str, amount: i64) {
        self.spend(id, model, amount);
        self.charges.push(Charge {
            id,
            amount,
            refunded: 0,
        });
    }

    /// A settlement that only a part of the money covers: the rest is owed.
    pub fn settle_over(&mut self, id: Uuid, amount: i64) {
        let taken = amount.min(self.room());
        self.charge(id, "", taken);
        let last = self.charges.len() - 1;
        self.charges[last].amount = amount;
        if amount > taken {
            self.owed.push((id, amount - taken, false));
        }
    }

    /// Takes money out that is not a charge.
    pub fn take_out(&mut self, id: Uuid, amount: i64) {
        self.take_general(id, amount);
    }

    fn add_lot(&mut self, id: Uuid, amount: i64, rank: Rank, scope: Option<&'static str>) {
        self.lots.push(Lot {
            id,
            rank,
            scope,
            amount,
            remaining: amount,
            taken: 0,
            voided: 0,
            gone: false,
            over: false,
        });
    }

    pub fn grant(&mut self, id: Uuid, amount: i64, rank: Rank, scope: Option<&'static str>) {
        self.add_lot(id, amount, rank, scope);
        self.make_up();
    }

    /// Adds money, which pays debts first.
    pub fn fund(&mut self, id: Uuid, amount: i64, rank: Rank, scope: Option<&'static str>) {
        let mut left = match scope {
            None => amount.min(self.debt()),
            Some(_) => 0,
        };
        self.add_lot(id, amount, rank, scope);
        while left > 0 {
            let (entry, owed, chargeback) = &mut self.owed[0];
            let (entry, chargeback, part) = (*entry, *chargeback, left.min(*owed));
            *owed -= part;
            if *owed == 0 {
                self.owed.remove(0);
            }
            left -= part;
            if chargeback {
                let lot = self.lot(id);
                lot.remaining -= part;
                lot.taken += part;
                continue;
            }
            self.pay(entry, id, part);
            // Earlier refunds of the debt become refunds of this payment.
            let mut rest = part;
            for (refund, charge, early) in &mut self.early {
                let now = if *charge == entry {
                    rest.min(*early)
                } else {
                    0
                };
                if now > 0 {
                    *early -= now;
                    rest -= now;
                    *self
                        .returned
                        .entry((*refund, id, entry, *refund))
                        .or_default() += now;
                }
            }
        }
        self.make_up();
    }

    /// Lots repay used credit, the earliest first.
    fn make_up(&mut self) {
        for lot in self.in_order().iter().filter(|lot| lot.scope.is_none()) {
            while let Some((entry, open)) = self.credit.first().copied() {
                let part = self.lots_remaining(lot.id).min(open);
                if part == 0 {
                    break;
                }
                self.credit[0].1 -= part;
                if self.credit[0].1 == 0 {
                    self.credit.remove(0);
                }
                self.pay(entry, lot.id, part);
            }
        }
    }

    /// Refunds a charge up to what it cost.
    pub fn refund(&mut self, refund: Uuid, charge: Uuid, amount: i64, age: usize) {
        let one = self.charges.iter_mut().find(|one| one.id == charge);
        one.expect("a charge").refunded += amount;
        let (mut left, mut own) = (amount, 0);
        // The part that is still owed and was not refunded before.
        let owed: i64 = self
            .owed
            .iter()
            .filter(|o| o.0 == charge)
            .map(|o| o.1)
            .sum();
        let early: i64 = self
            .early
            .iter()
            .filter(|e| e.1 == charge)
            .map(|e| e.2)
            .sum();
        let part = left.min(owed - early);
        if part > 0 {
            self.early.push((refund, charge, part));
            own += part;
            left -= part;
        }
        for (entry, open) in &mut self.credit {
            let part = if *entry == charge { left.min(*open) } else { 0 };
            *open -= part;
            left -= part;
        }
        self.credit.retain(|(_, open)| *open > 0);
        for lot in self.in_order().iter().rev() {
            let paid = self.paid.get(&(charge, lot.id)).copied().unwrap_or(0);
            let back = self.returned.iter();
            let back = back.filter(|((_, of, to, _), _)| *of == lot.id && *to == charge);
            let part = (paid - back.map(|(_, amount)| amount).sum::<i64>()).min(left);
            if part <= 0 {
                continue;
            }
            left -= part;
            let to = if lot.gone {
                own += part;
                refund
            } else {
                self.lot(lot.id).remaining += part;
                lot.id
            };
            *self
                .returned
                .entry((refund, lot.id, charge, to))
                .or_default() += part;
        }
        assert_eq!(left, 0, "somebody had paid it");
        if own > 0 {
            self.grant(refund, own, plain(age), None);
        }
        self.make_up();
        for lot in self.in_order().iter().filter(|lot| lot.over) {
            self.end(lot.id);
        }
    }

    /// Expires a lot.
    pub fn end(&mut self, id: Uuid) {
        let lot = self.lot(id);
        lot.over = true;
        lot.taken += lot.remaining;
        lot.remaining = 0;
    }

    /// The unscoped money that no hold reserves.
    pub fn free(&self) -> i64 {
        (self.general() - self.held).max(0)
    }

    /// Voids the part of a lot that no hold reserves.
    pub fn void(&mut self, id: Uuid) {
        let there = self.free();
        let lot = self.lot(id);
        let part = match lot.scope {
            None => lot.remaining.min(there),
            Some(_) => lot.remaining,
        };
        lot.remaining -= part;
        lot.taken += part;
        lot.voided += part;
        lot.gone |= lot.remaining == 0;
    }

    /// The amount that a chargeback of the whole lot takes: without its voided part, and without
    /// what adjustments have taken from it since. Ids are in the order of booking.
    pub fn not_given_back(&self, id: Uuid, amount: i64) -> i64 {
        let lot = self.lots.iter().find(|lot| lot.id == id).expect("a lot");
        let parts = self
            .paid
            .iter()
            .filter(|((entry, of), _)| *of == id && *entry > id && self.adjusted.contains(entry));
        (amount - lot.voided - parts.map(|(_, part)| part).sum::<i64>()).max(0)
    }

    pub fn reverse(&mut self, entry: Uuid, id: Uuid, amount: i64) {
        let there = self.free();
        let lot = self.lot(id);
        let scoped = match lot.scope {
            None => 0,
            Some(_) => lot.remaining.min(amount),
        };
        lot.remaining -= scoped;
        lot.taken += scoped;
        let mut left = there.min(amount - scoped);
        let owed = amount - scoped - left;
        let mut order = self.in_order();
        order.sort_by_key(|lot| (lot.id != id, lot.rank));
        for lot in order.iter().filter(|lot| lot.scope.is_none()) {
            let part = lot.remaining.min(left);
            left -= part;
            let lot = self.lot(lot.id);
            lot.remaining -= part;
            lot.taken += part;
        }
        if owed > 0 {
            self.owed.push((entry, owed, true));
        }
        let lot = self.lot(id);
        lot.gone |= amount > 0 && lot.remaining == 0;
    }

    fn lots_remaining(&self, id: Uuid) -> i64 {
        let mut lots = self.lots.iter();
        lots.find(|lot| lot.id == id).map_or(0, |lot| lot.remaining)
    }
}
