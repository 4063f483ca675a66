//! Lots: the order in which they pay, and what returns to them.

use super::{Entry, Kept, Lot, Terms, Wallet};
use crate::act::{About, Place, Scope};
use crate::calendar::At;

fn fits(scope: Scope, about: &About) -> bool {
    match scope {
        Scope::Model(model) => about.model == Some(model),
        Scope::Service(service) => about.service == Some(service),
    }
}

impl Wallet {
    /// The lots without a scope that have money left, in burn order.
    pub(super) fn order(&self) -> Vec<usize> {
        let there = |lot: &usize| self.lots[*lot].scope.is_none() && self.lots[*lot].live > 0;
        let mut lots: Vec<usize> = (0..self.lots.len()).filter(there).collect();
        lots.sort_by_key(|lot| self.lots[*lot].rank());
        lots
    }

    /// The scoped lots that may pay for the usage and had not expired at a moment.
    fn usable(&self, about: &About, at: At) -> Vec<usize> {
        let mut lots: Vec<usize> = (0..self.lots.len())
            .filter(|lot| {
                let lot = &self.lots[*lot];
                lot.scope.is_some_and(|scope| fits(scope, about))
                    && lot.ends.is_none_or(|end| end > at)
            })
            .filter(|lot| self.free(*lot) > 0)
            .collect();
        lots.sort_by_key(|lot| self.lots[*lot].rank());
        lots
    }

    /// The amount that the usage can spend, credit included.
    pub fn room(&self, about: &About, at: At) -> i128 {
        let own: i128 = self
            .usable(about, at)
            .into_iter()
            .map(|lot| self.free(lot))
            .sum();
        self.general() + self.credit - self.held_general() + own
    }

    /// The amount that can be taken out for other purposes than usage, credit included.
    pub fn room_of_all(&self) -> i128 {
        self.general() + self.credit - self.held_general()
    }

    /// The amount that is neither held nor credit.
    pub(super) fn available(&self) -> i128 {
        (self.general() - self.held_general()).max(0)
    }

    /// The parts of an amount that scoped lots pay. All lots that the usage may take burn in order,
    /// but the lots without a scope give only what holds leave of them.
    pub(super) fn split(&self, about: &About, at: At, amount: i128) -> Vec<(usize, i128)> {
        let own = self.usable(about, at);
        if own.is_empty() {
            return Vec::new();
        }
        let mut all: Vec<_> = self
            .order()
            .into_iter()
            .map(|lot| (self.lots[lot].rank(), None, self.lots[lot].live))
            .collect();
        all.extend(
            own.iter()
                .map(|lot| (self.lots[*lot].rank(), Some(*lot), self.free(*lot))),
        );
        all.sort();
        let mut left = amount;
        let mut parts: Vec<(usize, i128)> = Vec::new();
        for (_, lot, there) in all {
            let part = there.min(left);
            left -= part;
            if let Some(lot) = lot {
                parts.push((lot, part));
            }
        }
        let mut excess =
            amount - parts.iter().map(|part| part.1).sum::<i128>() - self.room_of_all().max(0);
        for (lot, part) in &mut parts {
            let more = (self.free(*lot) - *part).min(excess).max(0);
            *part += more;
            excess -= more;
        }
        parts.retain(|part| part.1 > 0);
        parts
    }

    /// Takes money kept from expired lots for a hold that was made at that time, up to a maximum.
    pub(super) fn take_kept(&mut self, made: At, most: i128) -> Vec<(usize, i128)> {
        let mut left = most;
        let mut kept: Vec<usize> = (0..self.kept.len())
            .filter(|kept| self.kept[*kept].ended > made)
            .collect();
        kept.sort_by_key(|kept| self.kept[*kept].rank);
        let mut parts = Vec::new();
        for kept in kept {
            let part = self.kept[kept].amount.min(left);
            self.kept[kept].amount -= part;
            left -= part;
            parts.push((self.kept[kept].lot, part));
        }
        self.kept.retain(|kept| kept.amount > 0);
        parts.retain(|part| part.1 > 0);
        for (lot, part) in &parts {
            self.lots[*lot].paid += part;
        }
        parts
    }

    /// Takes an amount from the lots in their order, and then from credit.
    pub(super) fn take(&mut self, place: Place, amount: i128) -> Vec<(usize, i128)> {
        let mut left = amount;
        let mut parts = Vec::new();
        for lot in self.order() {
            let part = self.lots[lot].live.min(left);
            self.lots[lot].live -= part;
            left -= part;
            parts.push((lot, part));
        }
        parts.retain(|part| part.1 > 0);
        for (lot, part) in &parts {
            self.lots[*lot].paid += part;
        }
        if left > 0 {
            self.unpaid.push_back((place, left));
        }
        parts
    }

    /// Adds a lot. It repays credit first, unless it is scoped.
    pub(super) fn lot(
        &mut self,
        place: Option<Place>,
        at: At,
        amount: i128,
        there: i128,
        terms: Terms,
    ) -> usize {
        let number = self.lots.len();
        self.lots.push(Lot {
            place,
            number,
            created: at,
            priority: terms.priority,
            ends: terms.ends,
            promotional: terms.promotional,
            scope: terms.scope,
            recurring: None,
            amount,
            live: there,
            paid: 0,
            given_back: 0,
            over: false,
            expired: false,
            status: None,
        });
        if terms.scope.is_none() {
            self.make_up(number);
        }
        number
    }

    /// Adds a plain lot.
    pub(super) fn plain(&mut self, place: Option<Place>, at: At, amount: i128) -> usize {
        self.lot(
            place,
            at,
            amount,
            amount,
            Terms {
                ends: None,
                priority: 100,
                promotional: false,
                scope: None,
            },
        )
    }

    /// Repays credit with a lot, as far as it suffices. If an adjustment after the creation of the
    /// lot used the credit, the part counts as given back.
    pub(super) fn make_up(&mut self, lot: usize) {
        while let Some((place, open)) = self.unpaid.front_mut() {
            let part = self.lots[lot].live.min(*open);
            if part == 0 {
                break;
            }
            self.lots[lot].live -= part;
            self.lots[lot].paid += part;
            *open -= part;
            if let Some(charge) = self.charges.get_mut(place) {
                charge.parts.push((lot, part));
            }
            let since = |entry: &&Entry| {
                entry.place == Some(*place)
                    && entry.kind == "adjustment"
                    && entry.at > self.lots[lot].created
            };
            if self.entries.iter().any(|entry| since(&entry)) {
                self.lots[lot].given_back += part;
            }
            if *open == 0 {
                self.unpaid.pop_front();
            }
        }
    }

    /// The wallet owes more.
    pub(super) fn owe(&mut self, charge: Option<Place>, amount: i128) {
        if amount > 0 {
            self.debts.push_back((charge, amount));
        }
    }

    /// Pays debts with a lot. It has then paid the charges that left them, including the part that
    /// was refunded meanwhile.
    pub(super) fn pay_debts(&mut self, lot: usize, amount: i128) {
        let mut left = amount;
        while let Some((charge, open)) = self.debts.front_mut() {
            let part = left.min(*open);
            if part == 0 {
                break;
            }
            left -= part;
            *open -= part;
            if let Some(charge) = charge.and_then(|place| self.charges.get_mut(&place)) {
                let back = charge.early.min(part);
                charge.early -= back;
                charge.owed -= part - back;
                charge.parts.push((lot, part - back));
                self.lots[lot].paid += part - back;
            }
            if *open == 0 {
                self.debts.pop_front();
            }
        }
    }

    /// Books the expiry of a part of a lot.
    pub(super) fn expire(&mut self, lot: usize, amount: i128, at: At) {
        if amount > 0 {
            self.lots[lot].live -= amount;
            self.lots[lot].expired |= self.lots[lot].live == 0;
            self.entry("expiry", -amount, at, None);
        }
    }

    /// Keeps a part of an expired lot for holds.
    pub(super) fn keep(&mut self, lot: usize, ended: At, amount: i128) {
        if amount > 0 {
            self.lots[lot].live -= amount;
            self.lots[lot].expired |= self.lots[lot].live == 0;
            let rank = self.lots[lot].rank();
            self.kept.push(Kept {
                lot,
                ended,
                amount,
                rank,
            });
        }
    }
}
