//! What happens by time alone: holds expire, grants recur, lots expire.

use super::{Recurring, Terms, Wallet};
use crate::calendar::{At, later, lives_until};

/// The order of events at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    Hold(usize),
    Turn(&'static str),
    Lots,
}

impl Recurring {
    fn next(&self, zone: &str) -> At {
        if self.turn < 0 {
            return self.started;
        }
        later(self.started, &self.period, self.turn + 1, zone)
    }
}

impl Wallet {
    fn next_due(&self, now: At) -> Option<(At, Cause)> {
        let holds = self
            .holds
            .iter()
            .enumerate()
            .filter(|(_, hold)| hold.status == "open");
        let holds = holds.map(|(place, hold)| (hold.expires, Cause::Hold(place)));
        let turn = self
            .recurring
            .iter()
            .map(|(name, recurring)| (recurring.next(self.zone), Cause::Turn(name)));
        let lots = self
            .lots
            .iter()
            .filter(|lot| !lot.over)
            .filter_map(|lot| lot.ends);
        let lots = lots.map(|end| (end, Cause::Lots));
        holds
            .chain(turn)
            .chain(lots)
            .filter(|(at, _)| *at <= now)
            .min()
    }

    /// Does everything that is due until now, in the order of time.
    pub fn advance(&mut self, now: At) {
        while let Some((at, cause)) = self.next_due(now) {
            match cause {
                Cause::Hold(place) => {
                    let hold = &mut self.holds[place];
                    hold.status = "expired";
                    hold.general = 0;
                    hold.parts.clear();
                    hold.windows.clear();
                    self.let_go(at);
                }
                Cause::Turn(name) => self.turn(name, at),
                Cause::Lots => self.end_lots(at),
            }
        }
    }

    /// The part of each lot that holds cover, in the order of the lots. Money kept from expired
    /// lots comes first.
    fn covered(&self) -> Vec<(usize, i128)> {
        let kept: i128 = self.kept.iter().map(|kept| kept.amount).sum();
        let mut left = self.held_general() - kept;
        let mut parts = Vec::new();
        for lot in self.order() {
            let part = self.lots[lot].live.min(left).max(0);
            left -= part;
            parts.push((lot, part));
        }
        parts
    }

    fn end_lots(&mut self, at: At) {
        let covered = self.covered();
        let mut ended: Vec<usize> = (0..self.lots.len())
            .filter(|lot| self.lots[*lot].ends == Some(at))
            .collect();
        ended.sort_by_key(|lot| self.lots[*lot].rank());
        for lot in ended {
            self.lots[lot].over = true;
            // No hold covered a payment that arrived when its grant had already expired.
            let is_late = self.lots[lot].created >= at;
            let at_last = at.max(self.lots[lot].created);
            if self.lots[lot].scope.is_some() {
                let free = self.free(lot);
                self.expire(lot, free, at_last);
                continue;
            }
            if !is_late {
                let part = covered
                    .iter()
                    .find(|part| part.0 == lot)
                    .map_or(0, |part| part.1);
                self.keep(lot, at, part);
            }
            let rest = self.lots[lot].live;
            self.expire(lot, rest, at_last);
        }
    }

    fn turn(&mut self, name: &'static str, at: At) {
        let Some(recurring) = self.recurring.get_mut(name) else {
            return;
        };
        recurring.turn += 1;
        let recurring = recurring.clone();
        let ends = recurring
            .lives
            .map(|length| lives_until(at, &length, self.zone));
        if let Some(most) = recurring.rollover {
            let covered = self.covered();
            let lasts = |lot: &usize| {
                let lot = &self.lots[*lot];
                lot.recurring == Some(name) && !lot.over && lot.live > 0
            };
            let mut old: Vec<usize> = (0..self.lots.len()).filter(lasts).collect();
            old.sort_by_key(|lot| self.lots[*lot].rank());
            let mut excess = old.iter().map(|lot| self.lots[*lot].live).sum::<i128>() - most;
            for lot in &old {
                let part = self.lots[*lot].live.min(excess.max(0));
                excess -= part;
                let held = covered
                    .iter()
                    .find(|covered| covered.0 == *lot)
                    .map_or(0, |covered| covered.1);
                if self.lots[*lot].scope.is_some() {
                    // The part that holds have of it remains.
                    self.expire(*lot, part.min(self.free(*lot)), at);
                    continue;
                }
                // The part that no hold covers expires first.
                let ends = part.min(self.lots[*lot].live - held);
                self.keep(*lot, at, part - ends);
                self.expire(*lot, ends, at);
            }
            if let Some(end) = ends {
                for lot in old {
                    if self.lots[lot].live > 0 {
                        self.lots[lot].ends = Some(end);
                    }
                }
            }
        }
        self.grant_turn(&recurring, at, ends);
    }

    /// Books one grant of a recurrence.
    pub(super) fn grant_turn(&mut self, recurring: &Recurring, at: At, ends: Option<At>) -> usize {
        self.entry("funding", recurring.amount, at, None)
            .promotional = true;
        let terms = Terms {
            ends,
            priority: 100,
            promotional: true,
            scope: recurring.scope,
        };
        let lot = self.lot(None, at, recurring.amount, recurring.amount, terms);
        self.lots[lot].recurring = Some(recurring.name);
        lot
    }

    /// A hold was released. Kept money beyond what older holds still reserve expires, and so does
    /// the money that they had in expired scoped lots.
    pub(super) fn let_go(&mut self, at: At) {
        // Fewest holds can keep the money that expired first.
        self.kept.sort_by_key(|kept| (kept.ended, kept.rank));
        let mut before = 0;
        for kept in 0..self.kept.len() {
            let older = self
                .holds
                .iter()
                .filter(|hold| hold.created < self.kept[kept].ended);
            let held: i128 = older.map(|hold| hold.general).sum();
            let stays = self.kept[kept].amount.min((held - before).max(0));
            before += stays;
            let part = self.kept[kept].amount - stays;
            self.kept[kept].amount = stays;
            if part > 0 {
                self.entry("expiry", -part, at, None);
            }
        }
        self.kept.retain(|kept| kept.amount > 0);
        for lot in 0..self.lots.len() {
            if self.lots[lot].over && self.lots[lot].scope.is_some() {
                let free = self.free(lot);
                self.expire(lot, free, at);
            }
        }
    }
}
