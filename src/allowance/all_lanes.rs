//! The slow path: all lanes of a wallet are locked, and the exact total and the thresholds are
//! known.
//!
//! Lock order: lane 0 (its row), then lanes 1, 2, … (their locks), ascending. Limits come after.
//!
//! A transaction that holds the wallet's row and every active lane excludes all others from the
//! lanes: fundings need the row, and charges need an active lane.

use crate::allowance::lane_split::{SCOPED, active, new_epoch, rebalance, total_room};
use crate::allowance::lanes::{changed_underneath, range};
use crate::allowance::thresholds::{
    Crossing, Kind, State, Threshold, all_armed, cross, highest_armed,
};
use crate::allowance::topup_rule;
use crate::allowance::topup_rule::{Looked, Low};
use crate::error::{Error, Result};
use crate::money::Amount;
use crate::storage::lock::{self, Attempt};
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::Lane;
use crate::storage::store;

statement!(
    SET_THRESHOLD,
    [TEXTOID, TEXTOID, NUMERICOID, TEXTOID],
    "INSERT INTO wallet.thresholds (wallet_id, kind, threshold, state) VALUES ($1, $2, $3, $4)
     ON CONFLICT (wallet_id, kind, threshold) DO UPDATE SET state = excluded.state"
);

statement!(
    DROP_THRESHOLDS,
    [TEXTOID, NUMERICARRAYOID],
    "DELETE FROM wallet.thresholds
      WHERE wallet_id = $1 AND kind = 'low' AND threshold <> ALL ($2)"
);

statement!(
    DROP_COVERED,
    [TEXTOID, NUMERICARRAYOID],
    "DELETE FROM wallet.thresholds
      WHERE wallet_id = $1 AND kind = 'covered' AND threshold <> ALL ($2)"
);

/// How the lanes are to be rebalanced.
#[derive(Clone, Copy, Debug)]
pub struct LaneSplit {
    /// How far the balance may go below zero.
    pub credit_limit: Amount,
    /// How many lanes share the balance after the rebalancing, 1 to 256.
    pub lanes: i16,
    /// The version of the rules.
    pub epoch: i64,
    /// The wallet's recheck counter up to which this recheck is done.
    pub recheck_requested: i64,
}

/// The lanes of a balance, all locked by this transaction, with the thresholds.
pub struct AllLanes<'a> {
    wallet: &'a str,
    /// The lanes as they were read.
    read: Vec<Lane>,
    /// The lanes as they will be written.
    pub lanes: Vec<Lane>,
    /// The lane of scoped grants, as it was read and as it will be written.
    scoped: Option<(Lane, Lane)>,
    /// The thresholds as they will be written.
    pub thresholds: Vec<Threshold>,
    stored: Vec<Threshold>,
    looks: bool,
    /// The amount that expired holds still reserve in the lanes. It is available.
    pub unswept: Amount,
}

/// True for a lane that a recheck of the whole balance must lock: it is active, or it contains
/// money or holds. An empty spare lane is left to fundings, so that they need not create another
/// one.
fn counts(lane: &Lane, lanes: i16) -> bool {
    lane.lane != SCOPED
        && (active(lanes).contains(&lane.lane) || !lane.room().is_zero() || !lane.held.is_zero())
}

/// Which lanes of a wallet a call locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneScope {
    /// The lanes that count for the balance.
    Counting,
    /// Every lane, for a change of the rules.
    Every,
}

/// Locks the lanes of a balance in ascending order, waiting for the charges that hold them, and
/// reads them. `read` returns the rules and the number of lanes. It is called each time before the
/// lanes are read, so that the lanes contain all funding that the rules mention.
pub fn lock_all<R>(
    wallet: &str,
    extent: LaneScope,
    read: impl Fn() -> Result<(R, i16)>,
) -> Result<(R, Vec<Lane>)> {
    let mut locked: Vec<i16> = Vec::new();
    loop {
        let (rules, count) = read()?;
        let lanes = store::read_lanes(wallet)?;
        let wanted = |lane: &&Lane| match extent {
            LaneScope::Every => lane.lane != SCOPED,
            LaneScope::Counting => counts(lane, count),
        };
        let wanted: Vec<i16> = lanes.iter().filter(wanted).map(|lane| lane.lane).collect();
        let missing = |lane: &&i16| !locked.contains(*lane);
        let Some(first) = wanted.iter().find(missing) else {
            let held = lanes
                .into_iter()
                .filter(|lane| lane.lane == SCOPED || locked.contains(&lane.lane))
                .collect();
            return Ok((rules, held));
        };
        // A lane came to count during the wait. Waiting for a lane below the locked ones could
        // deadlock, so those are released. Lane 0 is below all others, so its row lock may stay.
        if locked.iter().any(|lane| lane > first) {
            locked.retain(|lane| {
                if *lane != 0 {
                    lock::release(wallet, *lane);
                }
                *lane == 0
            });
        }
        for lane in wanted {
            if locked.contains(&lane) {
                continue;
            }
            if lane == 0 {
                store::lock_lane(wallet, 0)?;
            } else {
                lock::wait(wallet, lane);
            }
            locked.push(lane);
        }
    }
}

/// The lanes that a funding could lock without waiting.
pub struct Free {
    /// The lanes that this transaction has locked.
    pub ours: Vec<Lane>,
    /// All lanes of the wallet.
    pub all: Vec<Lane>,
    /// True if every lane that counts is locked, so that no other transaction can change one.
    pub whole: bool,
}

/// Locks the lanes that no other transaction has locked.
pub fn lock_free(wallet: &str, lanes: i16) -> Result<Free> {
    let mut locked = Vec::new();
    for lane in store::read_lanes(wallet)?
        .iter()
        .filter(|lane| counts(lane, lanes))
    {
        let ours = if lane.lane == 0 {
            store::try_lane(wallet, 0)?.is_some()
        } else {
            lock::attempt(wallet, lane.lane) == Attempt::Acquired
        };
        if ours {
            locked.push(lane.lane);
        }
    }
    // The lanes are read again: one may have changed between the first read and its lock.
    let all = store::read_lanes(wallet)?;
    let whole = all
        .iter()
        .all(|lane| !counts(lane, lanes) || locked.contains(&lane.lane));
    let ours = all
        .iter()
        .filter(|lane| locked.contains(&lane.lane))
        .cloned()
        .collect();
    Ok(Free { ours, all, whole })
}

/// Reads the thresholds of a wallet as available amounts. Depletion is at minus the credit limit.
pub fn read_thresholds(wallet: &str, credit_limit: Amount) -> Result<Vec<Threshold>> {
    store::read_thresholds(wallet)?
        .into_iter()
        .map(|row| {
            let (kind, state) = (row.kind, row.state);
            let state = State::parse(&state)
                .ok_or_else(|| Error::internal(format!("unknown threshold state {state:?}")))?;
            let kind = [Kind::Low, Kind::Depleted, Kind::Topup, Kind::Covered]
                .into_iter()
                .find(|known| known.as_str() == kind)
                .ok_or_else(|| Error::internal(format!("unknown kind of threshold {kind:?}")))?;
            let at = match kind {
                Kind::Depleted => credit_limit.negated(),
                Kind::Low | Kind::Topup | Kind::Covered => row.threshold,
            };
            Ok(Threshold { kind, at, state })
        })
        .collect()
}

/// Writes the thresholds that differ from the stored ones.
pub fn write_thresholds(wallet: &str, stored: &[Threshold], now: &[Threshold]) -> Result<()> {
    for threshold in now.iter().filter(|threshold| !stored.contains(threshold)) {
        let at = match threshold.kind {
            Kind::Low | Kind::Topup | Kind::Covered => threshold.at,
            Kind::Depleted => Amount::ZERO,
        };
        SET_THRESHOLD.run(&[
            Value::Text(wallet),
            Value::Text(threshold.kind.as_str()),
            Value::Amount(at),
            Value::Text(threshold.state.as_str()),
        ])?;
    }
    Ok(())
}

/// Removes the low thresholds that are not in `keep`.
pub fn keep_low_thresholds(wallet: &str, keep: &[Amount]) -> Result<()> {
    DROP_THRESHOLDS
        .run(&[Value::Text(wallet), Value::Amounts(keep)])
        .map(drop)
}

/// The sum that the lanes' watermarks must have: the room at the highest armed threshold.
pub fn watermark_for(thresholds: &[Threshold], credit_limit: Amount) -> Result<Amount> {
    let armed = highest_armed(thresholds).unwrap_or(credit_limit.negated());
    Ok(armed.plus(credit_limit).map_err(range)?.max(Amount::ZERO))
}

impl<'a> AllLanes<'a> {
    /// Takes lanes that are all locked, and reads the thresholds.
    pub fn new(wallet: &'a str, lanes: Vec<Lane>, credit_limit: Amount) -> Result<AllLanes<'a>> {
        let thresholds = read_thresholds(wallet, credit_limit)?;
        let (scoped, lanes): (Vec<Lane>, Vec<Lane>) =
            lanes.into_iter().partition(|lane| lane.lane == SCOPED);
        Ok(AllLanes {
            wallet,
            scoped: scoped.into_iter().next().map(|lane| (lane.clone(), lane)),
            looks: thresholds.iter().any(|t| t.kind == Kind::Topup)
                || lanes.iter().any(|lane| lane.evaluate_at.is_some()),
            stored: thresholds.clone(),
            read: lanes.clone(),
            lanes,
            thresholds,
            unswept: Amount::ZERO,
        })
    }

    /// Makes `settle` evaluate the top-up rules in any case, because one may have changed.
    pub fn recheck_topups(&mut self) {
        self.looks = true;
    }

    /// The thresholds of top-up rules that are crossed.
    fn low(&self) -> Vec<Amount> {
        let fired = |t: &&Threshold| t.kind == Kind::Topup && t.state == State::Fired;
        self.thresholds.iter().filter(fired).map(|t| t.at).collect()
    }

    /// Evaluates the top-up rules, and watches for the moment when those that open top-ups cover
    /// must be evaluated again. No charge can spend more than the credit limit allows, so no
    /// threshold below it is needed.
    fn look(&mut self, before: Vec<Amount>, available: Amount, lowest: Amount) -> Result<Looked> {
        let after = self.low();
        let looked = topup_rule::look(self.wallet, &Low { before, after }, available)?;
        self.thresholds.retain(|t| t.kind != Kind::Covered);
        for at in looked.covered_at.iter().filter(|at| **at > lowest) {
            let new = Threshold {
                kind: Kind::Covered,
                at: *at,
                state: State::Armed,
            };
            if !self.thresholds.contains(&new) {
                self.thresholds.push(new);
            }
        }
        Ok(looked)
    }

    /// The amount that every charge may spend, including the credit limit.
    pub fn room(&self) -> Result<Amount> {
        total_room(&self.lanes).map_err(range)
    }

    /// The least available amount, in units, at which every threshold still holds that holds at
    /// `available`.
    pub fn floor(&self, available: i128) -> i128 {
        let floors = self.thresholds.iter().map(Threshold::least);
        let held = floors.filter(|least| *least <= available);
        held.max().unwrap_or(i128::MIN)
    }

    /// The wallet's balance.
    pub fn balance(&self, credit_limit: Amount) -> Result<Amount> {
        self.general(credit_limit)?
            .plus(self.scoped_left())
            .map_err(range)
    }

    /// The remainder of the scoped grants.
    pub fn scoped_left(&self) -> Amount {
        let scoped = self.scoped.as_ref();
        scoped.map_or(Amount::ZERO, |(_, lane)| lane.credited())
    }

    /// The lane of scoped grants. It is created if there is none.
    pub fn scoped(&mut self, epoch: i64) -> Result<&mut Lane> {
        if self.scoped.is_none() {
            store::new_lane(self.wallet, SCOPED, epoch)?;
            let lane = store::read_lane(self.wallet, SCOPED)?;
            self.scoped = lane.map(|lane| (lane.clone(), lane));
        }
        match &mut self.scoped {
            Some((_, lane)) => Ok(lane),
            None => Err(crate::allowance::lanes::missing(self.wallet, SCOPED)),
        }
    }

    /// The part of the balance that every charge may use.
    pub fn general(&self, credit_limit: Amount) -> Result<Amount> {
        self.lanes
            .iter()
            .try_fold(Amount::ZERO, |sum, lane| sum.plus(lane.credited()))
            .and_then(|sum| sum.minus(credit_limit))
            .map_err(range)
    }

    /// The lane that books an entry of a call that holds all lanes.
    pub fn booking_lane(&mut self, count: i16) -> Result<&mut Lane> {
        let first = *active(count).start();
        self.lanes
            .iter_mut()
            .find(|lane| lane.lane == first)
            .ok_or_else(|| crate::allowance::lanes::missing(self.wallet, first))
    }

    /// Reserves an amount in a lane.
    pub fn set_aside(&mut self, lane: i16, amount: Amount) -> Result<()> {
        self.release(lane, amount.negated())
    }

    /// Releases a held amount of a lane. A lane without held amounts may be missing here, because
    /// it does not count.
    pub fn release(&mut self, lane: i16, amount: Amount) -> Result<()> {
        if amount.is_zero() {
            return Ok(());
        }
        let wallet = self.wallet;
        let lane = self
            .lanes
            .iter_mut()
            .find(|row| row.lane == lane)
            .ok_or_else(|| crate::allowance::lanes::missing(wallet, lane))?;
        lane.held = lane.held.minus(amount).map_err(range)?;
        Ok(())
    }

    /// Moves the thresholds for a change of the room from `before` to its current value, rebalances
    /// the lanes, and returns the events to emit.
    pub fn settle(&mut self, before: Amount, cut: LaneSplit) -> Result<Vec<Crossing>> {
        let after = self.room()?;
        let available = |room: Amount| room.minus(cut.credit_limit).map_err(range);
        let was_low = self.low();
        let all = after.plus(self.unswept).map_err(range)?;
        let mut crossings = cross(&mut self.thresholds, available(before)?, available(all)?);
        let looked = if self.looks {
            self.look(was_low, available(all)?, cut.credit_limit.negated())?
        } else {
            Looked::default()
        };
        crossings.extend(looked.notices.into_iter().map(Crossing::Topup));
        let watermark = watermark_for(&self.thresholds, cut.credit_limit)?;
        rebalance(&mut self.lanes, cut.lanes, after, watermark).map_err(range)?;
        // Backends that cache whether all thresholds are armed must notice a change. A caller may
        // have the rules from before the locks, so the lanes' epoch must not return to that older
        // version.
        let armed = all_armed(&self.thresholds);
        let active = active(cut.lanes);
        let is_known = |lane: &Lane| {
            lane.armed == armed && (lane.epoch == cut.epoch || !active.contains(&lane.lane))
        };
        let epoch = match self.lanes.iter().all(is_known) {
            true => cut.epoch,
            false => new_epoch(),
        };
        for lane in &mut self.lanes {
            lane.epoch = epoch;
            lane.recheck_done = cut.recheck_requested;
            lane.evaluate_at = looked.evaluate_at;
            lane.armed = armed;
        }
        Ok(crossings)
    }

    /// Writes the lanes and thresholds that changed.
    pub fn write(&self) -> Result<()> {
        let scoped = self.scoped.iter().map(|(old, new)| (old, new));
        for (old, new) in self.read.iter().zip(&self.lanes).chain(scoped) {
            if old != new && !store::write_lane(self.wallet, new)? {
                return Err(changed_underneath(self.wallet));
            }
        }
        let covered = |thresholds: &[Threshold]| -> Vec<Amount> {
            let covered = thresholds.iter().filter(|t| t.kind == Kind::Covered);
            covered.map(|t| t.at).collect()
        };
        let (old, new) = (covered(&self.stored), covered(&self.thresholds));
        if old.iter().any(|at| !new.contains(at)) {
            DROP_COVERED.run(&[Value::Text(self.wallet), Value::Amounts(&new)])?;
        }
        write_thresholds(self.wallet, &self.stored, &self.thresholds)
    }
}
