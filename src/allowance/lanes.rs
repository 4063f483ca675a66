//! The fast path: one lane that can pay alone.

use std::cell::Cell;

use crate::allowance::lane_split::{active, can_pay, slack};
use crate::error::{Code, Error, Result};
use crate::money::Amount;
use crate::pg::clock;
use crate::storage::lock::{self, Attempt};
use crate::storage::rows::Lane;
use crate::storage::store;

thread_local! {
    /// The lane that the last call of this transaction used, so that a second one takes it again
    /// instead of a second lane.
    static LAST: Cell<Option<(u32, i16)>> = const { Cell::new(None) };
}

/// What the caller knows of the wallet.
#[derive(Clone, Copy, Debug)]
pub struct LaneView<'a> {
    /// The wallet.
    pub wallet: &'a str,
    /// Its number of lanes.
    pub lanes: i16,
    /// Whether it has one lane and nothing in any other.
    pub alone: bool,
    /// Version of its rules.
    pub epoch: i64,
    /// The single lane, if this call has just read it and written nothing since.
    pub read: Option<&'a Lane>,
}

/// A lane that can pay alone.
#[derive(Debug)]
pub struct Payer {
    /// The lane before it pays.
    pub lane: Lane,
    /// Balance and credit in all other lanes, as last committed.
    pub others: Amount,
    /// Whether room was moved to it that no row has yet: the lanes that gave it are written.
    pub combined: bool,
}

impl Payer {
    /// Does not pay after all.
    pub fn let_go(self, wallet: &str) -> Result<()> {
        if !self.combined {
            let_go(wallet, self.lane.lane);
        } else if !store::write_lane(wallet, &self.lane)? {
            return Err(changed_underneath(wallet));
        }
        Ok(())
    }
}

/// What the fast path found.
// A box would cost every charge an allocation.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Found {
    /// A lane that can pay.
    Payer(Payer),
    /// The rules are not what the caller knows: read them again.
    Stale,
    /// No lane can pay alone: lock them all.
    None,
}

/// Finds a lane that can pay without going below its watermark. `again` says that an earlier try
/// of this call lost a race, so that the row is locked before it is read.
pub fn find(
    cutting: LaneView<'_>,
    amount: Amount,
    again: bool,
    may_combine: bool,
) -> Result<Found> {
    store::begin_writing();
    let found = if cutting.lanes == 1 {
        find_single(cutting, amount, again)?
    } else {
        find_among(cutting, amount, may_combine)?
    };
    if let Found::Payer(payer) = &found {
        LAST.set(Some((clock::transaction(), payer.lane.lane)));
    }
    Ok(found)
}

/// A certain lane, locked where it has a lock of its own; nothing where the rules are not what the
/// caller knows, or where all lanes have to be looked at.
pub fn take(cutting: LaneView<'_>, lane: i16) -> Result<Option<Lane>> {
    let LaneView { wallet, .. } = cutting;
    store::begin_writing();
    if lane != 0 {
        lock::wait(wallet, lane);
    }
    let row =
        store::read_lane(wallet, lane)?.filter(|row| row.epoch == cutting.epoch && !must_look(row));
    if row.is_some() {
        LAST.set(Some((clock::transaction(), lane)));
    } else {
        let_go(wallet, lane);
    }
    Ok(row)
}

/// Lets a lane go that was taken and not written, before all are locked in their order.
pub fn let_go(wallet: &str, lane: i16) {
    if lane != 0 {
        lock::release(wallet, lane);
    }
}

fn find_single(cutting: LaneView<'_>, amount: Amount, again: bool) -> Result<Found> {
    let lane = match cutting.read {
        _ if again => store::lock_lane(cutting.wallet, 0)?,
        Some(lane) => Some(lane.clone()),
        None => store::read_lane(cutting.wallet, 0)?,
    };
    let Some(mut lane) = lane.filter(|lane| lane.epoch == cutting.epoch) else {
        return Ok(Found::Stale);
    };
    // The try before this one had to wait for somebody else's.
    lane.waits += i64::from(again);
    if must_look(&lane) || !can_pay(&lane, amount) {
        return Ok(Found::None);
    }
    payer(cutting, lane, false)
}

fn find_among(cutting: LaneView<'_>, amount: Amount, may_combine: bool) -> Result<Found> {
    let LaneView { wallet, .. } = cutting;
    let mut poor = Vec::new();
    let mut busy = Vec::new();
    for lane in preference(cutting.lanes) {
        // To see that others are there is cheaper than to try.
        let requests = match lock::is_ours(wallet, lane) {
            true => 0,
            false => lock::requests(wallet, lane),
        };
        if requests > 0 || lock::attempt(wallet, lane) == Attempt::Busy {
            busy.push((requests.max(1), lane));
            continue;
        }
        // A lane that is not there was made by rules that were rolled back.
        let row = store::read_lane(wallet, lane)?.filter(|row| row.epoch == cutting.epoch);
        let Some(row) = row else {
            lock::release(wallet, lane);
            release_all(wallet, &poor);
            return Ok(Found::Stale);
        };
        if must_look(&row) {
            poor.push(row);
            release_all(wallet, &poor);
            return Ok(Found::None);
        }
        if can_pay(&row, amount) {
            release_all(wallet, &poor);
            return payer(cutting, row, false);
        }
        poor.push(row);
    }
    if may_combine && let Some(row) = combine(wallet, amount, &poor)? {
        return payer(cutting, row, true);
    }
    release_all(wallet, &poor);
    // Every free lane is too poor. A busy one may still be rich enough: wait for that one alone
    // rather than for all, and where the fewest wait, so that no lane is idle while another has a queue.
    busy.sort_by_key(|(requests, _)| *requests);
    let rich = |lane: &i16| -> Result<bool> {
        Ok(store::read_lane(wallet, *lane)?.is_some_and(|row| can_pay(&row, amount)))
    };
    for (_, lane) in busy {
        if rich(&lane)? {
            lock::wait(wallet, lane);
            let row = store::read_lane(wallet, lane)?.filter(|row| row.epoch == cutting.epoch);
            return match row {
                Some(mut row) if !must_look(&row) && can_pay(&row, amount) => {
                    row.waits += 1;
                    payer(cutting, row, false)
                }
                other => {
                    lock::release(wallet, lane);
                    Ok(if other.is_some() {
                        Found::None
                    } else {
                        Found::Stale
                    })
                }
            };
        }
    }
    Ok(Found::None)
}

/// True when the time has come to look at all lanes.
fn must_look(lane: &Lane) -> bool {
    lane.evaluate_at.is_some_and(|at| at <= clock::now())
}

fn payer(cutting: LaneView<'_>, lane: Lane, combined: bool) -> Result<Found> {
    let others = others(cutting, lane.lane)?;
    Ok(Found::Payer(Payer {
        lane,
        others,
        combined,
    }))
}

/// Balance and credit in all lanes but one, as last committed. Where a single lane had nothing beside it
/// when the rules were read, it has not now: holds are made in active lanes, and a funding that uses a spare
/// one has the rules read again.
pub fn others(cutting: LaneView<'_>, lane: i16) -> Result<Amount> {
    match cutting.alone {
        true => Ok(Amount::ZERO),
        false => store::credited_elsewhere(cutting.wallet, lane),
    }
}

/// Moves room between free lanes, none below its watermark, until one of them can pay.
fn combine(wallet: &str, amount: Amount, poor: &[Lane]) -> Result<Option<Lane>> {
    let Some((first, rest)) = poor.split_first() else {
        return Ok(None);
    };
    let spare = poor.iter().map(|lane| slack(lane).units()).sum::<i128>();
    if spare < amount.units() {
        return Ok(None);
    }
    let mut payer = first.clone();
    let mut donors = Vec::new();
    for lane in rest {
        let missing = amount.units() - slack(&payer).units();
        let given = Amount::from_units(slack(lane).units().min(missing)).map_err(range)?;
        if missing <= 0 || given.is_zero() {
            continue;
        }
        let mut donor = lane.clone();
        donor.allotted = donor.allotted.minus(given).map_err(range)?;
        payer.allotted = payer.allotted.plus(given).map_err(range)?;
        donors.push(donor);
    }
    for donor in &donors {
        if !store::write_lane(wallet, donor)? {
            return Err(changed_underneath(wallet));
        }
    }
    for lane in rest {
        if donors.iter().all(|donor| donor.lane != lane.lane) {
            lock::release(wallet, lane.lane);
        }
    }
    Ok(Some(payer))
}

fn release_all(wallet: &str, lanes: &[Lane]) {
    for lane in lanes {
        lock::release(wallet, lane.lane);
    }
}

/// The active lanes in the order in which this backend tries them: the one that this transaction
/// used before, then its own, which differs from backend to backend, then the others.
fn preference(lanes: i16) -> impl Iterator<Item = i16> {
    let last = LAST
        .get()
        .filter(|(transaction, lane)| {
            *transaction == clock::transaction() && active(lanes).contains(lane)
        })
        .map(|(_, lane)| lane);
    let count = lanes.unsigned_abs();
    let home = (clock::backend() % u32::from(count)) as u16;
    let others = (0..count).map(move |step| ((home + step) % count).cast_signed() + 1);
    last.into_iter()
        .chain(others.filter(move |lane| Some(*lane) != last))
}

/// A lane that the wallet's rules name does not exist.
pub fn missing(wallet: &str, lane: i16) -> Error {
    Error::internal(format!("wallet {wallet:?} has no lane {lane}"))
}

/// A sum of lanes left the range of an amount.
pub fn range(_: crate::money::NotAnAmount) -> Error {
    Error::new(Code::InvalidAmount, "balance is out of range")
        .detail("The balance would not fit 16 digits before the decimal point.")
        .hint("Keep larger sums in more than one wallet.")
}

/// A row that was locked by our protocol changed all the same: somebody wrote to the table.
pub fn changed_underneath(wallet: &str) -> Error {
    Error::new(
        Code::SerializationFailure,
        format!(
            "could not serialize access to wallet {}",
            crate::error::quoted(wallet)
        ),
    )
    .detail("A lane of its balance changed while it was locked.")
    .hint("Run the transaction again.")
}
