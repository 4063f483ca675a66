//! The effect of each call.

use super::holds::Settlement;
use super::{Answer, Charge, Funding, Limit, Recurring, Terms, Wallet, measure};
use crate::act::{About, Act, Place, Use};
use crate::calendar::{At, day_begins, lives_until};

impl Wallet {
    /// Makes a call that concerns only this wallet.
    pub fn call(&mut self, place: Place, now: At, act: &Act) -> Answer {
        self.advance(now);
        let answer = self.called(place, now, act);
        self.check();
        answer
    }

    fn called(&mut self, place: Place, now: At, act: &Act) -> Answer {
        match act {
            Act::Fund {
                amount,
                ends,
                priority,
                promotional,
                scope,
                pending,
                ..
            } => {
                let terms = Terms {
                    ends: *ends,
                    priority: *priority,
                    promotional: *promotional,
                    scope: *scope,
                };
                let status = if *pending { "pending" } else { "settled" };
                self.fundings.push(Funding {
                    place,
                    amount: *amount,
                    status,
                    reversed: 0,
                    terms,
                });
                if !pending {
                    self.credit(place, now, *amount, terms);
                }
                Ok(Some(self.balance()))
            }
            Act::SettleFunding { funding, .. } => {
                let found = self.funding(*funding)?;
                if self.fundings[found].status == "pending" {
                    self.fundings[found].status = "settled";
                    let (place, amount, terms) = {
                        let funding = &self.fundings[found];
                        (funding.place, funding.amount, funding.terms)
                    };
                    self.credit(place, now, amount, terms);
                    Ok(Some(self.balance()))
                } else {
                    Err("WL013")
                }
            }
            Act::FailFunding { funding, .. } => {
                let found = self.funding(*funding)?;
                if self.fundings[found].status != "pending" {
                    return Err("WL013");
                }
                self.fundings[found].status = "failed";
                Ok(Some(self.balance()))
            }
            Act::Reverse {
                funding, amount, ..
            } => self.reverse(place, now, *funding, *amount),
            Act::Charge {
                cost, about, used, ..
            } => self.charge(place, now, (cost, about), *used),
            Act::Hold {
                cost,
                about,
                ttl,
                partial,
                ..
            } => {
                self.hold(place, now, (cost, about), *ttl, *partial)?;
                Ok(Some(self.balance()))
            }
            Act::Settle {
                hold,
                cost,
                last,
                over,
                used,
                ..
            } => {
                let hold = self.hold_of(*hold)?;
                let settlement = Settlement {
                    hold,
                    cost,
                    last: *last,
                    over: *over,
                    used: *used,
                };
                self.settle(place, now, &settlement)
            }
            Act::Void { hold, .. } => self.void(self.hold_of(*hold)?, now),
            Act::Extend { hold, ttl, .. } => self.extend(self.hold_of(*hold)?, now, *ttl),
            Act::Refund { charge, amount, .. } => self.refund(place, now, *charge, *amount),
            Act::Adjust { amount, .. } => {
                if *amount >= 0 {
                    self.entry("adjustment", *amount, now, Some(place));
                    self.plain(Some(place), now, *amount);
                    return Ok(Some(self.balance()));
                }
                self.take_out("adjustment", place, now, -amount)
            }
            Act::VoidGrant { grant, .. } => self.void_grant(place, now, *grant),
            Act::Recurring {
                name,
                amount,
                period,
                lives,
                rollover,
                scope,
                starts,
                ..
            } => {
                let started = match starts {
                    Some(days) => day_begins(now, *days, self.zone),
                    None => now,
                };
                let recurring = Recurring {
                    name,
                    amount: *amount,
                    period: *period,
                    lives: *lives,
                    rollover: *rollover,
                    scope: *scope,
                    started,
                    turn: if started > now { -1 } else { 0 },
                };
                if started <= now {
                    // The grant of today ends as if it had been given when the day began.
                    let ends = lives.map(|length| lives_until(started, &length, self.zone));
                    let lot = self.grant_turn(&recurring, now, ends);
                    self.lots[lot].place = Some(place);
                    if let Some(entry) = self.entries.last_mut() {
                        entry.place = Some(place);
                    }
                }
                self.recurring.insert(name, recurring);
                Ok(Some(self.balance()))
            }
            Act::StopRecurring { name, .. } => {
                self.recurring.remove(name);
                Ok(Some(self.balance()))
            }
            Act::SetLimit {
                max,
                period,
                scope,
                metric,
                ..
            } => {
                let same = |limit: &&mut Limit| {
                    (limit.scope, limit.period, limit.metric) == (*scope, *period, *metric)
                };
                match self.limits.iter_mut().find(same) {
                    Some(limit) => limit.max = *max,
                    None => self.limits.push(Limit {
                        scope,
                        period,
                        metric,
                        max: *max,
                        made: now,
                    }),
                }
                Ok(None)
            }
            Act::Rule { rule, .. } => {
                self.rule = rule;
                Ok(None)
            }
            Act::SetLanes { .. } => Ok(Some(self.balance())),
            Act::Archive { .. } => Ok(None),
            Act::Create { .. } | Act::Transfer { .. } | Act::Maintain | Act::Look => {
                unreachable!("not one wallet's call")
            }
        }
    }

    fn funding(&self, place: Place) -> Result<usize, &'static str> {
        self.fundings
            .iter()
            .position(|funding| funding.place == place)
            .ok_or("42704")
    }

    fn hold_of(&self, place: Place) -> Result<usize, &'static str> {
        self.holds
            .iter()
            .position(|hold| hold.place == place)
            .ok_or("42704")
    }

    /// Pays a debt first. The rest can be spent.
    fn credit(&mut self, place: Place, now: At, amount: i128, terms: Terms) {
        let paying = if terms.scope.is_some() {
            0
        } else {
            self.debt().min(amount)
        };
        self.entry("funding", amount, now, Some(place)).promotional = terms.promotional;
        let lot = self.lot(Some(place), now, amount, amount - paying, terms);
        self.pay_debts(lot, paying);
        // A lot that is already past its end expires immediately.
        if self.lots[lot].ends.is_some_and(|end| end <= now) {
            self.advance(now);
        }
    }

    /// Takes the money that scoped lots pay.
    pub(super) fn take_parts(&mut self, parts: &[(usize, i128)]) -> Vec<(usize, i128)> {
        for (lot, part) in parts {
            self.lots[*lot].live -= part;
            self.lots[*lot].paid += part;
        }
        parts.to_vec()
    }

    /// Takes the money of a charge, of which a part was taken already, and records who paid it.
    pub(super) fn book_charge(
        &mut self,
        place: Place,
        taken: i128,
        mut parts: Vec<(usize, i128)>,
        charge: Charge,
    ) {
        let rest = taken - parts.iter().map(|part| part.1).sum::<i128>();
        parts.extend(self.take(place, rest));
        self.charges.insert(place, Charge { parts, ..charge });
    }

    fn charge(
        &mut self,
        place: Place,
        now: At,
        (cost, about): (&Use, &About),
        used: Option<At>,
    ) -> Answer {
        self.would(cost, about, now)?;
        let (amount, tokens, model) = measure(cost);
        let about = About {
            model: about.model.or(model),
            ..about.clone()
        };
        let scoped = self.split(&about, now, amount);
        let parts = self.take_parts(&scoped);
        self.book_charge(
            place,
            amount,
            parts,
            Charge {
                cost: amount,
                parts: Vec::new(),
                refunded: 0,
                owed: 0,
                early: 0,
                about: about.clone(),
                at: now,
                window_at: now,
                requests: 1,
                tokens: tokens.0 + tokens.1,
            },
        );
        let entry = self.entry("charge", -amount, now, Some(place));
        entry.used = used.unwrap_or(now);
        entry.about = about;
        entry.tokens = tokens;
        Ok(Some(self.balance()))
    }

    fn refund(&mut self, place: Place, now: At, charge: Place, amount: Option<i128>) -> Answer {
        let found = self.charges.get(&charge).ok_or("42704")?.clone();
        let rest = found.cost - found.refunded;
        let amount = amount.unwrap_or(rest);
        if amount > rest || amount == 0 {
            return Err("WL012");
        }
        let entry = self.entry("refund", amount, now, Some(place));
        entry.charge = Some(charge);
        entry.about = found.about.clone();
        // First the part that is a debt: the debt remains, and so does the money that will pay it.
        let mut left = amount;
        let mut plain = found.owed.min(left);
        left -= plain;
        let owed_back = plain;
        // Then the part that credit paid, which needs no lot.
        for (of, open) in &mut self.unpaid {
            if *of == charge {
                let part = (*open).min(left);
                *open -= part;
                left -= part;
            }
        }
        self.unpaid.retain(|unpaid| unpaid.1 > 0);
        // Then the parts that lots paid, the last one first.
        let mut parts = found.parts.clone();
        parts.sort_by_key(|part| std::cmp::Reverse(self.lots[part.0].rank()));
        for (lot, part) in &mut parts {
            let back = (*part).min(left);
            *part -= back;
            left -= back;
            self.lots[*lot].paid -= back;
            if self.lots[*lot].status.is_some() {
                plain += back;
            } else {
                self.lots[*lot].live += back;
            }
        }
        assert_eq!(left, 0, "the model contradicts itself: refund");
        parts.retain(|part| part.1 > 0);
        let charge = self.charges.get_mut(&charge).expect("a charge");
        charge.refunded += amount;
        charge.owed -= owed_back;
        charge.early += owed_back;
        charge.parts = parts;
        let made_up = self.order();
        for lot in made_up {
            self.make_up(lot);
        }
        if plain > 0 {
            self.plain(Some(place), now, plain);
        }
        // Money returned to an expired lot expires again.
        for lot in 0..self.lots.len() {
            if self.lots[lot].over && self.lots[lot].status.is_none() {
                let there = if self.lots[lot].scope.is_some() {
                    self.free(lot)
                } else {
                    self.lots[lot].live
                };
                self.expire(lot, there, now);
            }
        }
        Ok(Some(self.balance()))
    }

    fn take_out(&mut self, kind: &'static str, place: Place, now: At, amount: i128) -> Answer {
        if amount > self.room_of_all() {
            return Err("WL001");
        }
        self.entry(kind, -amount, now, Some(place));
        for (lot, part) in self.take(place, amount) {
            if kind == "adjustment" {
                self.lots[lot].given_back += part;
            }
        }
        Ok(Some(self.balance()))
    }

    /// Sends money to another wallet.
    pub fn send(&mut self, place: Place, now: At, amount: i128) -> Answer {
        self.take_out("transfer", place, now, amount)
    }

    /// Receives money from another wallet.
    pub fn receive(&mut self, now: At, amount: i128) {
        self.entry("transfer", amount, now, None);
        self.plain(None, now, amount);
    }

    fn reverse(&mut self, place: Place, now: At, funding: Place, amount: Option<i128>) -> Answer {
        let found = self.funding(funding)?;
        if self.fundings[found].status != "settled" {
            return Err("WL013");
        }
        let rest = self.fundings[found].amount - self.fundings[found].reversed;
        let lot = self
            .lots
            .iter()
            .position(|lot| lot.place == Some(funding))
            .expect("a lot");
        let is_all = amount.is_none_or(|amount| amount == rest);
        // Money that was given back in another way is not taken again, unless the amount is given.
        let amount = amount.unwrap_or((rest - self.lots[lot].given_back).max(0));
        if amount > rest {
            return Err("WL012");
        }
        let is_scoped = self.lots[lot].scope.is_some();
        let scoped = if is_scoped {
            amount.min(self.free(lot))
        } else {
            0
        };
        let general = (amount - scoped).min(self.available());
        if amount > 0 {
            let promotional = self.lots[lot].promotional;
            self.entry("chargeback", -amount, now, Some(place))
                .promotional = promotional;
        }
        self.lots[lot].live -= scoped;
        let mut left = general;
        let own = (!is_scoped).then_some(lot);
        for lot in own.into_iter().chain(self.order()) {
            let part = self.lots[lot].live.min(left);
            self.lots[lot].live -= part;
            left -= part;
        }
        assert_eq!(left, 0, "the model contradicts itself: chargeback");
        let owed = amount - scoped - general;
        self.owe(None, owed);
        self.fundings[found].reversed += amount;
        if is_all {
            self.fundings[found].status = "reversed";
            if self.lots[lot].live == 0 && amount > 0 {
                self.lots[lot].status = Some("reversed");
            }
        }
        Ok(Some(self.balance()))
    }

    fn void_grant(&mut self, place: Place, now: At, grant: Place) -> Answer {
        let lot = self
            .lots
            .iter()
            .position(|lot| lot.place == Some(grant))
            .ok_or("42704")?;
        let one = &self.lots[lot];
        if one.status.is_some() || one.over || one.expired && one.live == 0 {
            return Err("WL013");
        }
        // Holds use other lots first, as far as these suffice. The rest is reserved for them.
        let free = if self.lots[lot].scope.is_some() {
            self.free(lot)
        } else {
            self.lots[lot].live.min(self.available())
        };
        if free > 0 {
            self.lots[lot].live -= free;
            self.lots[lot].given_back += free;
            self.entry("expiry", -free, now, Some(place));
        }
        if self.lots[lot].scope.is_some() && self.lots[lot].live > 0 {
            self.lots[lot].ends = Some(now);
            self.lots[lot].over = true;
        } else {
            let rest = self.lots[lot].live;
            self.keep(lot, now, rest);
            self.lots[lot].status = Some("voided");
        }
        Ok(Some(self.balance()))
    }
}
