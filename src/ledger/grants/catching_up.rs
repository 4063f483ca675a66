//! Books the movements that are due: grants that end or recur, and kept credit that holds have
//! released.

use std::collections::HashMap;

use crate::allowance::lanes::range;
use crate::error::Result;
use crate::ledger::grants::burn::Burn;
use crate::ledger::grants::course::{Course, Effect, Holding};
use crate::ledger::grants::locked_lots::LockedLots;
use crate::ledger::grants::lot_end::Ending;
use crate::ledger::grants::lots::{self, Active};
use crate::ledger::grants::recurrence::{Due, Occurrence};
use crate::ledger::grants::{burns, kept, recurrence};
use crate::money::Amount;
use crate::outbox::Name;
use crate::pg::clock::Timestamp;

/// The number of occurrences of recurring grants that are read at once.
pub(super) const MAX_TURNS: usize = 100;

impl LockedLots<'_> {
    /// Books everything that is due by `now`. Everything up to `floor` has been booked before.
    pub(super) fn catch_up(&mut self, now: Timestamp, floor: Timestamp) -> Result<()> {
        loop {
            let mut due = Due::default();
            let more =
                self.rules().grants_are_due_at(now) && due.read_on(self.wallet, now, MAX_TURNS)?;
            let turns = &due.turns;
            // Events after the last occurrence of this batch wait for the next batch.
            let until = match turns.last() {
                Some(last) if more => last.at,
                _ => now,
            };
            self.follow(until, turns, floor)?;
            if !more {
                return match self.warns {
                    true => self.warn(now),
                    false => Ok(()),
                };
            }
        }
    }

    fn follow(&mut self, until: Timestamp, turns: &[Occurrence], floor: Timestamp) -> Result<()> {
        let ended = |one: &Active| one.expires_at.is_some_and(|end| end <= until);
        if turns.is_empty() && self.kept.is_empty() && !self.lots.iter().any(ended) {
            return self.let_go();
        }
        // An expired hold that was not swept is being settled.
        let mut holds = kept::holdings(self.wallet, None, None)?;
        holds.append(&mut self.swept);
        let later = |hold: &&Holding| hold.ends.is_some_and(|end| end > until);
        self.swept = holds.iter().filter(later).cloned().collect();
        let (lots, kept) = (self.lots.clone(), self.kept.clone());
        let mut course = Course::new(lots, kept, self.general()?, holds, floor);
        course.run(until, turns)?;
        if floor > Timestamp(i64::MIN) {
            course.lapse(floor)?;
        }
        self.take_over(course, turns)
    }

    /// For the case that no lot ends: expired holds release their amounts of lots with a scope, and
    /// nothing else changes.
    fn let_go(&mut self) -> Result<()> {
        let swept = std::mem::take(&mut self.swept);
        for part in swept.into_iter().flat_map(|hold| hold.scoped) {
            let mut lots = self.lots.iter_mut();
            if let Some(one) = lots.find(|one| one.lot.rank.id == part.id) {
                one.held = one.held.minus(part.amount).map_err(range)?;
            }
        }
        Ok(())
    }

    /// Books the effects, and updates the rows.
    fn take_over(&mut self, course: Course, turns: &[Occurrence]) -> Result<()> {
        let mut ended = HashMap::new();
        let mut before = self.lots.clone();
        for effect in &course.effects {
            match effect {
                Effect::Granted {
                    id,
                    turn,
                    remaining,
                } => before.extend(self.granted(*id, &turns[*turn], *remaining)?),
                Effect::Expired {
                    id,
                    at,
                    amount,
                    scoped,
                } => {
                    let burn = Burn {
                        id: *id,
                        amount: *amount,
                    };
                    let entry = self.expired(&burn, *scoped, *at)?;
                    ended.insert(*id, entry);
                }
            }
        }
        // Money may return to an empty lot. It then needs the last end, however many occurrences
        // were booked at once.
        for (id, end, warning) in &course.extended {
            lots::extend(self.wallet, *id, *end, *warning)?;
        }
        let left: HashMap<[u8; 16], &Active> = course
            .lots
            .iter()
            .map(|one| (one.lot.rank.id, one))
            .collect();
        for old in &before {
            let id = old.lot.rank.id;
            match left.get(&id) {
                // The last entry that took something from the lot.
                None => lots::end(self.wallet, id, "expired", ended.get(&id).copied())?,
                Some(new) => self.changed(old, new)?,
            }
        }
        kept::write(self.wallet, &self.kept, &course.kept)?;
        if !turns.is_empty() {
            recurrence::taken(self.wallet, turns)?;
        }
        self.lots = course.lots;
        self.kept = course.kept;
        Ok(())
    }

    /// Books the end of a part of a lot; returns the entry.
    fn expired(&mut self, burn: &Burn, scoped: bool, at: Timestamp) -> Result<[u8; 16]> {
        let entry = self.end_part(burn, scoped, &Ending::expired(at))?;
        self.events
            .push((Name::GrantExpired, burn.id, burn.amount, Some(at)));
        Ok(entry)
    }

    /// Books an occurrence; returns its lot if a part of it is left.
    fn granted(
        &mut self,
        id: [u8; 16],
        turn: &Occurrence,
        remaining: Amount,
    ) -> Result<Option<Active>> {
        let entry = crate::storage::rows::Entry {
            entry_id: id,
            ..turn.entry(self.wallet, None)
        };
        self.book_grant(&entry, turn.amount, turn.scope.is_some(), Amount::ZERO)?;
        let terms = turn.terms();
        let lot = turn.lot(id, &terms, remaining);
        lots::add(self.wallet, &lot)?;
        let made_up = turn.amount.minus(remaining).map_err(range)?;
        if !made_up.is_zero() {
            let burn = Burn {
                id,
                amount: made_up,
            };
            burns::record(self.wallet, &[burn], None)?;
        }
        if remaining.is_zero() {
            lots::set_remaining(self.wallet, id, remaining)?;
            return Ok(None);
        }
        Ok(Some(turn.active(id, remaining)))
    }

    /// Writes the changes of a lot.
    fn changed(&self, old: &Active, new: &Active) -> Result<()> {
        let id = new.lot.rank.id;
        if old.lot.remaining != new.lot.remaining {
            lots::set_remaining(self.wallet, id, new.lot.remaining)?;
        }
        Ok(())
    }

    fn warn(&mut self, now: Timestamp) -> Result<()> {
        for one in &mut self.lots {
            if one.warn_at.is_none_or(|at| at > now) {
                continue;
            }
            one.warn_at = None;
            lots::warned(self.wallet, one.lot.rank.id)?;
            if one.expires_at.is_some_and(|end| end > now) {
                self.events.push((
                    Name::GrantExpiring,
                    one.lot.rank.id,
                    one.lot.remaining,
                    one.expires_at,
                ));
            }
        }
        Ok(())
    }
}
