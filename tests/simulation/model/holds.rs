//! Holds: reserved money and limits.

use super::limits::Applied;
use super::{Answer, Charge, Hold, Wallet, measure};
use crate::act::{About, Over, Place, Use};
use crate::calendar::At;

/// A settlement.
pub struct Settlement<'a> {
    pub hold: usize,
    pub cost: &'a Use,
    pub last: bool,
    pub over: Over,
    pub used: Option<At>,
}

fn windows(applied: &[Applied]) -> Vec<(usize, String, Option<At>, i128)> {
    let taken = applied.iter().filter(|one| one.need > 0);
    taken
        .map(|one| (one.limit, one.subject.to_owned(), one.window, one.need))
        .collect()
}

impl Wallet {
    pub(super) fn hold(
        &mut self,
        place: Place,
        now: At,
        (cost, about): (&Use, &About),
        ttl: i64,
        partial: bool,
    ) -> Result<i128, &'static str> {
        let (cost, tokens, model) = measure(cost);
        let about = About {
            model: about.model.or(model),
            ..about.clone()
        };
        let room = self.room(&about, now);
        let mut applied = self.applied(&about, now, cost, 1, tokens.0 + tokens.1);
        let mut amount = cost;
        if partial {
            amount = amount.min(room);
            for one in &applied {
                if self.limits[one.limit].metric == "amount" {
                    amount = amount.min(self.left_of(one));
                }
            }
        }
        let nothing = amount == 0 && cost > 0;
        if room < amount || nothing && room <= 0 {
            return Err("WL001");
        }
        for one in &mut applied {
            if self.limits[one.limit].metric == "amount" {
                one.need = if nothing { cost } else { amount };
            }
        }
        if !self.allow(&applied) {
            return Err("WL002");
        }
        let parts = self.split(&about, now, amount);
        let general = amount - parts.iter().map(|part| part.1).sum::<i128>();
        self.holds.push(Hold {
            place,
            created: now,
            expires: now + ttl,
            status: "open",
            amount,
            general,
            parts,
            settled: 0,
            about,
            windows: windows(&applied),
        });
        Ok(amount)
    }

    pub(super) fn void(&mut self, hold: usize, now: At) -> Answer {
        if self.holds[hold].status != "open" {
            return Err("WL008");
        }
        let hold = &mut self.holds[hold];
        hold.status = "voided";
        hold.general = 0;
        hold.parts.clear();
        hold.windows.clear();
        self.let_go(now);
        Ok(Some(self.balance()))
    }

    pub(super) fn extend(&mut self, hold: usize, now: At, ttl: i64) -> Answer {
        if self.holds[hold].status != "open" {
            return Err("WL008");
        }
        let hold = &mut self.holds[hold];
        hold.expires = hold.expires.max(now + ttl);
        Ok(Some(self.balance()))
    }

    /// Books the usage of a hold with the hold's attributes and the windows of limits at its time.
    pub(super) fn settle(&mut self, place: Place, now: At, of: &Settlement<'_>) -> Answer {
        let before = self.holds[of.hold].clone();
        if !["open", "expired"].contains(&before.status) {
            return Err("WL008");
        }
        let (mut cost, tokens, model) = measure(of.cost);
        let about = About {
            model: model.or(before.about.model),
            ..before.about.clone()
        };
        let held = before.held();
        if of.over == Over::Cap {
            cost = cost.min(held);
        }
        // First everything is released.
        self.holds[of.hold].general = 0;
        self.holds[of.hold].parts.clear();
        let requests = if of.last { 1 } else { 0 };
        let room = self.room(&about, before.created);
        if cost > room && of.over != Over::Debt {
            self.holds[of.hold] = before;
            return Err("WL001");
        }
        let mut applied = self.applied(&about, before.created, cost, requests, tokens.0 + tokens.1);
        if !of.last {
            applied.retain(|one| self.limits[one.limit].metric != "requests");
        }
        let set_aside = |one: &Applied| {
            let same = before
                .windows
                .iter()
                .find(|w| (w.0, w.1.as_str(), w.2) == (one.limit, one.subject, one.window));
            same.map_or(0, |window| window.3)
        };
        let mut left = before.windows.clone();
        if of.last {
            left.clear();
        } else {
            for window in &mut left {
                let need = applied.iter().find(|one| {
                    (one.limit, one.subject, one.window) == (window.0, window.1.as_str(), window.2)
                });
                window.3 -= need.map_or(0, |one| one.need.min(window.3));
            }
        }
        self.holds[of.hold].windows = left;
        let uncovered: Vec<Applied> = applied
            .iter()
            .filter(|one| set_aside(one) < one.need)
            .cloned()
            .collect();
        if of.over == Over::Charge && !self.allow(&uncovered) {
            self.holds[of.hold] = before;
            return Err("WL002");
        }
        let taken = cost.min(room.max(0));
        let owed = cost - taken;
        self.owe(Some(place), owed);
        // Money that it had reserved in lots that have expired since pays first.
        let mut parts = self.take_kept(before.created, taken.min(before.general));
        let rest = taken - parts.iter().map(|part| part.1).sum::<i128>();
        let scoped = self.split(&about, before.created, rest);
        parts.extend(self.take_parts(&scoped));
        self.book_charge(
            place,
            taken,
            parts,
            Charge {
                cost,
                parts: Vec::new(),
                refunded: 0,
                owed,
                early: 0,
                about: about.clone(),
                at: now,
                window_at: before.created,
                requests,
                tokens: tokens.0 + tokens.1,
            },
        );
        let entry = self.entry("charge", -cost, now, Some(place));
        entry.used = of.used.unwrap_or(now);
        entry.about = about.clone();
        entry.tokens = tokens;
        self.holds[of.hold].settled += cost;
        if of.last {
            self.holds[of.hold].status = "settled";
        } else {
            let rest = held - cost.min(held);
            let parts = self.split(&about, before.created, rest);
            let hold = &mut self.holds[of.hold];
            hold.general = rest - parts.iter().map(|part| part.1).sum::<i128>();
            hold.parts = parts;
        }
        self.let_go(now);
        Ok(Some(self.balance()))
    }
}
