//! The course of a wallet's credit: the changes that time alone causes, in order of time. Pure.
//!
//! Grants end and recur, and holds expire and release their amounts. Calls that book these changes
//! and calls that only read a wallet's money follow the same course. The result depends on when
//! things were due, not on when they were noticed.
//!
//! A hold reserves an amount but takes it from no lot. When a lot ends, the amounts that open holds
//! reserve are laid over the lots in burn order. The part that falls on the ended lot is kept for
//! these holds; the rest expires. Kept credit pays only settlements of holds that were made before
//! the end. When such a hold is closed, the kept credit that the remaining older holds do not need
//! expires at that moment. For a lot with a scope, the exact reserved amount is stored.

use crate::allowance::lanes::range;
use crate::error::Result;
use crate::ledger::grants::burn::{self, Burn, Lot, Rank};
use crate::ledger::grants::lots::{self, Active};
use crate::ledger::grants::recurrence::Occurrence;
use crate::money::Amount;
use crate::pg::clock::Timestamp;

/// The amounts that an open hold reserves.
#[derive(Clone, Debug)]
pub struct Holding {
    /// When the hold was made.
    pub created_at: Timestamp,
    /// When the hold expires; `None` if it does not expire within the course.
    pub ends: Option<Timestamp>,
    /// The amount that it reserves of money that every charge may use, in units.
    pub general: i128,
    /// The amounts that it reserves of lots with a scope.
    pub scoped: Vec<Burn>,
}

impl Holding {
    /// A hold that reserves `held` in total. A part of it may be in lots with a scope.
    pub fn new(
        created_at: Timestamp,
        ends: Option<Timestamp>,
        held: Amount,
        scoped: Vec<Burn>,
    ) -> Holding {
        let own: i128 = scoped.iter().map(|part| part.amount.units()).sum();
        Holding {
            created_at,
            ends,
            general: held.units() - own,
            scoped,
        }
    }
}

/// Kept credit: the part of an ended lot that older holds still reserve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The lot's place in burn order.
    pub rank: Rank,
    /// When the lot ended.
    pub ended_at: Timestamp,
    /// The part of the lot that older holds still reserve.
    pub amount: Amount,
}

/// A change that must be booked.
pub enum Effect {
    /// Credit has expired.
    Expired {
        /// Id of the lot that ended.
        id: [u8; 16],
        /// When it expired.
        at: Timestamp,
        /// The expired amount, which is taken from the balance.
        amount: Amount,
        /// Whether the lot has a scope.
        scoped: bool,
    },
    /// A recurring grant has occurred.
    Granted {
        /// Id of the new lot.
        id: [u8; 16],
        /// Index of the occurrence in the list passed to [`Course::run`].
        turn: usize,
        /// The rest of the lot after repaying used credit.
        remaining: Amount,
    },
}

/// The credit of a wallet at a moment.
pub struct Course {
    /// The wallet's lots, settled.
    pub lots: Vec<Active>,
    /// The kept credit of ended lots.
    pub kept: Vec<Kept>,
    /// The part of the balance that every charge may use, including kept credit, in units.
    pub general: i128,
    /// The amount that holds reserve of it, in units.
    pub held: i128,
    /// The changes to book, in order.
    pub effects: Vec<Effect>,
    /// Lots that were rolled over, including empty ones: the last end, and when it is announced.
    pub extended: Vec<([u8; 16], Timestamp, Timestamp)>,
    holds: Vec<Holding>,
    /// The course begins at this moment.
    floor: Timestamp,
}

impl Course {
    /// Begins with settled lots. Everything up to `floor` is booked.
    pub fn new(
        lots: Vec<Active>,
        kept: Vec<Kept>,
        general: Amount,
        mut holds: Vec<Holding>,
        floor: Timestamp,
    ) -> Course {
        holds.sort_by_key(|hold| hold.ends.unwrap_or(Timestamp(i64::MAX)));
        Course {
            lots,
            kept,
            general: general.units(),
            held: holds.iter().map(|hold| hold.general).sum(),
            effects: Vec::new(),
            extended: Vec::new(),
            holds,
            floor,
        }
    }

    /// The credit of a wallet for which nothing is due.
    pub fn still(lots: Vec<Active>, kept: Vec<Kept>, general: Amount, held: i128) -> Course {
        Course {
            held,
            ..Course::new(lots, kept, general, Vec::new(), Timestamp(i64::MAX))
        }
    }

    /// Follows the course until a moment. `turns` contains the occurrences that are due by then.
    pub fn run(&mut self, until: Timestamp, turns: &[Occurrence]) -> Result<()> {
        let (mut released, mut granted) = (0, 0);
        loop {
            let release = self.holds.get(released).and_then(|hold| hold.ends);
            let turn = turns.get(granted).map(|turn| turn.at);
            self.end_all(until, [release, turn].into_iter().flatten().min())?;
            let ends = self.lots.iter().filter(|one| one.may_end());
            let end = ends.filter_map(|one| one.expires_at).min();
            let next = [release, turn, end]
                .into_iter()
                .flatten()
                .filter(|at| *at <= until)
                .min();
            let Some(at) = next else {
                return Ok(());
            };
            if release == Some(at) {
                self.release(released, at.max(self.floor))?;
                released += 1;
            } else if turn == Some(at) {
                self.turn(granted, &turns[granted])?;
                granted += 1;
            } else {
                self.end(at)?;
            }
        }
    }

    /// The total of kept credit, in units.
    pub fn kept_units(&self) -> i128 {
        self.kept.iter().map(|kept| kept.amount.units()).sum()
    }

    /// The total that the lots without a scope must have, in units.
    fn spread(&self) -> i128 {
        self.general - self.kept_units()
    }

    /// A hold expires and releases its amounts.
    fn release(&mut self, place: usize, at: Timestamp) -> Result<()> {
        let hold = &mut self.holds[place];
        self.held -= hold.general;
        hold.general = 0;
        for part in std::mem::take(&mut hold.scoped) {
            for one in self.lots.iter_mut().filter(|one| one.is(part.id)) {
                one.held = one.held.minus(part.amount).map_err(range)?;
            }
        }
        self.lapse(at)
    }

    /// Ends credit that holds no longer keep.
    pub fn lapse(&mut self, at: Timestamp) -> Result<()> {
        let scoped = self.lots.iter().filter(|one| one.scope.is_some());
        let ended =
            scoped.filter(|one| one.may_end() && one.expires_at.is_some_and(|end| end <= at));
        let ended: Vec<[u8; 16]> = ended.map(|one| one.lot.rank.id).collect();
        for id in ended {
            self.expire_scoped(id, at)?;
        }
        if self.kept.is_empty() {
            return Ok(());
        }
        // The lot that ended first may be kept by the fewest holds.
        self.kept
            .sort_by(|a, b| (a.ended_at, &a.rank).cmp(&(b.ended_at, &b.rank)));
        let mut before = 0;
        for place in 0..self.kept.len() {
            let kept = self.kept[place].clone();
            let older = self
                .holds
                .iter()
                .filter(|hold| hold.created_at < kept.ended_at);
            let older: i128 = older.map(|hold| hold.general).sum();
            let stays = kept.amount.units().min((older - before).max(0));
            before += stays;
            self.kept[place].amount = amount_of(stays)?;
            self.expired(kept.rank.id, at, kept.amount.units() - stays, false)?;
        }
        self.kept.retain(|kept| !kept.amount.is_zero());
        Ok(())
    }

    /// Ends, in one pass, all lots that end before anything else happens, however many there are.
    /// Only if holds reserve nothing of them.
    fn end_all(&mut self, until: Timestamp, before: Option<Timestamp>) -> Result<()> {
        if self.held != 0 || !self.kept.is_empty() {
            return Ok(());
        }
        let floor = self.floor;
        let is_next = |one: &mut Active| {
            let end = one.expires_at.filter(|end| *end <= until && *end >= floor);
            one.may_end() && end.is_some_and(|end| before.is_none_or(|before| end < before))
        };
        let mut ended: Vec<Active> = self.lots.extract_if(.., is_next).collect();
        ended.sort_by(|a, b| (a.expires_at, &a.lot.rank).cmp(&(b.expires_at, &b.lot.rank)));
        for mut one in ended {
            let (id, at) = (one.lot.rank.id, one.expires_at.unwrap_or(until));
            let free = one.free().remaining;
            self.expired(id, at, free.units(), one.scope.is_some())?;
            one.lot.remaining = one.lot.remaining.minus(free).map_err(range)?;
            if !one.lot.remaining.is_zero() {
                self.lots.push(one);
            }
        }
        Ok(())
    }

    /// Ends the lots whose expiry is `end`.
    fn end(&mut self, end: Timestamp) -> Result<()> {
        let at = end.max(self.floor);
        // Money that arrived in or returned to a lot whose end is already booked was reserved by no
        // hold.
        let overlay = match end <= self.floor {
            true => Vec::new(),
            false => self.overlay(),
        };
        let ended = self.lots.iter();
        let ended = ended.filter(|one| one.expires_at == Some(end) && one.may_end());
        let mut ended: Vec<Active> = ended.cloned().collect();
        ended.sort_by(|a, b| a.lot.rank.cmp(&b.lot.rank));
        for one in ended {
            let id = one.lot.rank.id;
            if one.scope.is_some() {
                self.expire_scoped(id, at)?;
                continue;
            }
            let keeps = held_of(&overlay, id);
            self.lots.retain(|one| !one.is(id));
            self.keep(&one.lot.rank, end, keeps)?;
            self.expired(id, at, one.lot.remaining.units() - keeps, false)?;
        }
        self.lapse(at)
    }

    /// A recurring grant occurs. The part of its older lots that may not roll over ends, the rest
    /// is extended.
    fn turn(&mut self, place: usize, turn: &Occurrence) -> Result<()> {
        let at = turn.at.max(self.floor);
        if let Some(most) = turn.rollover_max {
            let lasts = |one: &Active| {
                one.recurring.as_ref() == Some(&turn.name) && one.lot.rank.expires_at >= turn.at.0
            };
            let old = self.lots.iter().filter(|one| lasts(one));
            let mut old: Vec<Lot> = old.map(|one| one.lot.clone()).collect();
            let excess = amount_of((burn::total(&old) - most.units()).max(0))?;
            let overlay = self.overlay();
            for burn in burn::burn(&mut old, excess) {
                self.give_up(&burn, turn.at, at, &overlay)?;
            }
            if let Some(end) = turn.expires_at {
                let warning = lots::warn_at(turn.at, end);
                for one in self.lots.iter_mut().filter(|one| lasts(one)) {
                    one.expires_at = Some(end);
                    one.warn_at = Some(warning);
                    one.lot.rank.expires_at = end.0;
                    let id = one.lot.rank.id;
                    self.extended.retain(|(lot, ..)| *lot != id);
                    self.extended.push((id, end, warning));
                }
            }
        }
        self.grant(place, turn)?;
        self.lapse(at)
    }

    /// Ends a part of a lot that may not roll over.
    fn give_up(
        &mut self,
        burn: &Burn,
        ended_at: Timestamp,
        at: Timestamp,
        overlay: &[Burn],
    ) -> Result<()> {
        let Some(one) = self.lots.iter_mut().find(|one| one.is(burn.id)) else {
            return Ok(());
        };
        let rank = one.lot.rank.clone();
        let scoped = one.scope.is_some();
        let free = if scoped {
            one.free().remaining.units()
        } else {
            one.lot.remaining.units() - held_of(overlay, burn.id)
        };
        let expires = burn.amount.units().min(free);
        // The reserved amount of a lot with a scope stays in the lot.
        let keeps = if scoped {
            0
        } else {
            burn.amount.units() - expires
        };
        one.lot.remaining = amount_of(one.lot.remaining.units() - expires - keeps)?;
        self.lots.retain(|one| !one.lot.remaining.is_zero());
        self.keep(&rank, ended_at, keeps)?;
        self.expired(burn.id, at, expires, scoped)
    }

    fn grant(&mut self, place: usize, turn: &Occurrence) -> Result<()> {
        let id = uuid::Uuid::now_v7().into_bytes();
        let remaining = if turn.scope.is_some() {
            turn.amount
        } else {
            let before = self.spread().max(0);
            self.general += turn.amount.units();
            amount_of(self.spread().max(0) - before)?
        };
        self.effects.push(Effect::Granted {
            id,
            turn: place,
            remaining,
        });
        if !remaining.is_zero() {
            self.lots.push(turn.active(id, remaining));
        }
        Ok(())
    }

    /// The amount that open holds reserve of each lot without a scope, in burn order.
    fn overlay(&self) -> Vec<Burn> {
        if self.held <= self.kept_units() {
            return Vec::new();
        }
        let lots = self.lots.iter().filter(|one| one.scope.is_none());
        let mut lots: Vec<Lot> = lots.map(|one| one.lot.clone()).collect();
        let held = (self.held - self.kept_units()).max(0);
        burn::burn(&mut lots, Amount::from_units(held).unwrap_or_default())
    }

    fn expire_scoped(&mut self, id: [u8; 16], at: Timestamp) -> Result<()> {
        let Some(one) = self.lots.iter_mut().find(|one| one.is(id)) else {
            return Ok(());
        };
        let free = one.free().remaining;
        one.lot.remaining = one.lot.remaining.minus(free).map_err(range)?;
        self.lots.retain(|one| !one.lot.remaining.is_zero());
        self.expired(id, at, free.units(), true)
    }

    fn keep(&mut self, rank: &Rank, ended_at: Timestamp, units: i128) -> Result<()> {
        if units == 0 {
            return Ok(());
        }
        // The existing holds are older than the end, whatever the clocks say.
        let made = self.holds.iter().filter(|hold| hold.general > 0);
        let youngest = made.map(|hold| hold.created_at.0).max();
        let ended_at = youngest.map_or(ended_at, |made| {
            ended_at.max(Timestamp(made.saturating_add(1)))
        });
        let same = |kept: &&mut Kept| kept.rank.id == rank.id && kept.ended_at == ended_at;
        match self.kept.iter_mut().find(same) {
            Some(kept) => kept.amount = amount_of(kept.amount.units() + units)?,
            None => self.kept.push(Kept {
                rank: rank.clone(),
                ended_at,
                amount: amount_of(units)?,
            }),
        }
        Ok(())
    }

    fn expired(&mut self, id: [u8; 16], at: Timestamp, units: i128, scoped: bool) -> Result<()> {
        if units == 0 {
            return Ok(());
        }
        if !scoped {
            self.general -= units;
        }
        self.effects.push(Effect::Expired {
            id,
            at,
            amount: amount_of(units)?,
            scoped,
        });
        Ok(())
    }
}

/// The part of a settlement that kept credit pays: from lots that ended after the hold was made, in
/// burn order.
pub fn take_kept(kept: &mut [Kept], made: Timestamp, amount: Amount) -> Result<Vec<Burn>> {
    kept.sort_by(|a, b| a.rank.cmp(&b.rank));
    let mut left = amount.units();
    let mut parts = Vec::new();
    for one in kept.iter_mut().filter(|one| made < one.ended_at) {
        let units = one.amount.units().min(left);
        if units <= 0 {
            continue;
        }
        left -= units;
        one.amount = amount_of(one.amount.units() - units)?;
        parts.push(Burn {
            id: one.rank.id,
            amount: amount_of(units)?,
        });
    }
    Ok(parts)
}

fn held_of(overlay: &[Burn], id: [u8; 16]) -> i128 {
    let mut overlay = overlay.iter();
    overlay
        .find(|burn| burn.id == id)
        .map_or(0, |burn| burn.amount.units())
}

fn amount_of(units: i128) -> Result<Amount> {
    Amount::from_units(units).map_err(range)
}

impl Active {
    fn is(&self, id: [u8; 16]) -> bool {
        self.lot.rank.id == id
    }

    /// Whether any part of the lot would end at its expiry. For a lot with a scope, the part that
    /// no hold reserves.
    fn may_end(&self) -> bool {
        match self.scope {
            None => !self.lot.remaining.is_zero(),
            Some(_) => !self.free().remaining.is_zero(),
        }
    }
}

#[cfg(test)]
mod tests;
