//! The slow path: all lanes of a wallet under lock, the exact total, the thresholds.
//!
//! Lock order: lane 0 (its row), then lanes 1, 2, … (their locks), ascending; limits come after.
//!
//! Who holds the wallet's row and every active lane is alone with all lanes: fundings hold the row,
//! and charges an active lane.

use crate::allowance::lane_split::{SCOPED, active, new_epoch, rebalance, total_room};
use crate::allowance::lanes::{changed_underneath, range};
use crate::allowance::thresholds::{
    Crossing, Kind, State, Threshold, all_armed, cross, highest_armed,
};
use crate::allowance::topup_rule;
use crate::allowance::topup_rule::Looked;
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

/// How lanes are to be cut.
#[derive(Clone, Copy, Debug)]
pub struct LaneSplit {
    /// How far the balance may go below zero.
    pub credit_limit: Amount,
    /// Number of lanes.
    pub lanes: i16,
    /// Version of the rules.
    pub epoch: i64,
    /// The wallet's recheck counter, which this recheck answers.
    pub recheck_requested: i64,
}

/// Lanes of a balance that are all locked by this transaction, with their thresholds.
pub struct AllLanes<'a> {
    wallet: &'a str,
    /// The lanes as they were read.
    read: Vec<Lane>,
    /// The lanes as they will be written.
    pub lanes: Vec<Lane>,
    /// The lane of money that only some charges may use, as it was read and as it will be written.
    scoped: Option<(Lane, Lane)>,
    /// The thresholds as they will be written.
    pub thresholds: Vec<Threshold>,
    stored: Vec<Threshold>,
    looks: bool,
    /// What of what is held is not any more, though no lane says so yet: it is available.
    pub unswept: Amount,
}

/// True for a lane that a look at the whole balance must hold: it pays for charges, or something
/// stands in it. An empty spare lane is left to fundings, so that they need not make another one.
fn counts(lane: &Lane, lanes: i16) -> bool {
    lane.lane != SCOPED
        && (active(lanes).contains(&lane.lane) || !lane.room().is_zero() || !lane.held.is_zero())
}

/// Which lanes to lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneScope {
    /// Those that count for the balance.
    Counting,
    /// Every one, for a change of the rules.
    Every,
}

/// Locks the lanes of a balance in ascending order, waiting for charges that hold them, and reads
/// them. `read` gives the rules and the number of lanes; it is called before each look at the
/// lanes, so that what the rules say was funded is there.
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
        // A lane came to count while we waited. To wait for one below those that we hold could be
        // a deadlock: give them back. Lane 0 is below all, so its row lock may stay.
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

/// Lanes that a funding could lock without waiting, among all that there are.
pub struct Free {
    /// Those that are ours now.
    pub ours: Vec<Lane>,
    /// All of the wallet.
    pub all: Vec<Lane>,
    /// True when every lane that counts is ours: then nobody else can change any of them.
    pub whole: bool,
}

/// Locks the lanes that nobody else has locked at the moment.
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
    // Read again: a lane may have changed between the first look and its lock.
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

/// Reads the thresholds of a wallet, in terms of what is available; depletion stands at minus
/// the credit limit.
pub fn read_thresholds(wallet: &str, credit_limit: Amount) -> Result<Vec<Threshold>> {
    store::read_thresholds(wallet)?
        .into_iter()
        .map(|row| {
            let (kind, state) = (row.kind, row.state);
            let state = State::parse(&state)
                .ok_or_else(|| Error::internal(format!("unknown threshold state {state:?}")))?;
            let kind = [Kind::Low, Kind::Depleted, Kind::Topup]
                .into_iter()
                .find(|known| known.as_str() == kind)
                .ok_or_else(|| Error::internal(format!("unknown kind of threshold {kind:?}")))?;
            let at = match kind {
                Kind::Depleted => credit_limit.negated(),
                Kind::Low | Kind::Topup => row.threshold,
            };
            Ok(Threshold { kind, at, state })
        })
        .collect()
}

/// Writes the thresholds whose state is not what is stored.
pub fn write_thresholds(wallet: &str, stored: &[Threshold], now: &[Threshold]) -> Result<()> {
    for threshold in now.iter().filter(|threshold| !stored.contains(threshold)) {
        let at = match threshold.kind {
            Kind::Low | Kind::Topup => threshold.at,
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

/// Removes the low thresholds that are not among those.
pub fn keep_low_thresholds(wallet: &str, keep: &[Amount]) -> Result<()> {
    DROP_THRESHOLDS
        .run(&[Value::Text(wallet), Value::Amounts(keep)])
        .map(drop)
}

/// What the lanes' watermarks must add up to: the room at the highest armed threshold.
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

    /// Has `settle` look at the top-up rule in any case: it may have changed.
    pub fn look_at_topups(&mut self) {
        self.looks = true;
    }

    /// Whether a top-up rule's threshold is crossed.
    fn low(&self) -> bool {
        let mut thresholds = self.thresholds.iter();
        thresholds.any(|t| t.kind == Kind::Topup && t.state == State::Fired)
    }

    /// What can still be spent, credit included.
    pub fn room(&self) -> Result<Amount> {
        total_room(&self.lanes).map_err(range)
    }

    /// How much must be available for every threshold to hold that holds with so many units.
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

    /// What is left of the money that only some charges may use.
    pub fn scoped_left(&self) -> Amount {
        let scoped = self.scoped.as_ref();
        scoped.map_or(Amount::ZERO, |(_, lane)| lane.credited())
    }

    /// The lane of money that only some charges may use, made where there was none.
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

    /// What of the balance every charge may use.
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

    /// Sets an amount aside in a lane.
    pub fn set_aside(&mut self, lane: i16, amount: Amount) -> Result<()> {
        self.release(lane, amount.negated())
    }

    /// Gives back what is held in a lane. One that holds nothing may be gone from those that count.
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

    /// Moves the thresholds for a room that changes from `before` to what the lanes have now,
    /// cuts the lanes anew, and gives the events to emit.
    pub fn settle(&mut self, before: Amount, cut: LaneSplit) -> Result<Vec<Crossing>> {
        let after = self.room()?;
        let available = |room: Amount| room.minus(cut.credit_limit).map_err(range);
        let was_low = self.low();
        let all = after.plus(self.unswept).map_err(range)?;
        let mut crossings = cross(&mut self.thresholds, available(before)?, available(all)?);
        let looked = if self.looks {
            let low = self.low();
            topup_rule::look(self.wallet, low, low && !was_low, available(all)?)?
        } else {
            Looked::default()
        };
        crossings.extend(looked.notice.map(Crossing::Topup));
        let watermark = watermark_for(&self.thresholds, cut.credit_limit)?;
        rebalance(&mut self.lanes, cut.lanes, after, watermark).map_err(range)?;
        // Backends that know whether all thresholds are armed must hear when that changes. And a caller may know the
        // rules of before it had the lanes: the version that those have come to must not become that one again.
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

    /// Writes what changed.
    pub fn write(&self) -> Result<()> {
        let scoped = self.scoped.iter().map(|(old, new)| (old, new));
        for (old, new) in self.read.iter().zip(&self.lanes).chain(scoped) {
            if old != new && !store::write_lane(self.wallet, new)? {
                return Err(changed_underneath(self.wallet));
            }
        }
        write_thresholds(self.wallet, &self.stored, &self.thresholds)
    }
}
