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
    /// The lane that the last call of this transaction used. The next call uses that lane again,
    /// instead of locking a second one.
    static LAST: Cell<Option<(u32, i16)>> = const { Cell::new(None) };
}

/// The caller's knowledge of the wallet.
#[derive(Clone, Copy, Debug)]
pub struct LaneView<'a> {
    /// The wallet's name.
    pub wallet: &'a str,
    /// How many lanes share the balance, 1 to 256. With one, it is lane 0; otherwise 1 and up.
    pub lanes: i16,
    /// True if the wallet has one lane and no other lane contains money or holds.
    pub is_single: bool,
    /// The version of the rules.
    pub epoch: i64,
    /// The single lane, if this call has just read it and has written nothing since.
    pub read: Option<&'a Lane>,
}

/// A lane that can pay alone.
#[derive(Debug)]
pub struct Payer {
    /// The lane before it pays.
    pub lane: Lane,
    /// The balance and credit in all other lanes, as last committed.
    pub others: Amount,
    /// True if money was moved to the lane and the lanes that it came from are written, but the
    /// lane itself is not yet.
    pub combined: bool,
}

impl Payer {
    /// Releases the lane without paying.
    pub fn let_go(self, wallet: &str) -> Result<()> {
        if !self.combined {
            let_go(wallet, self.lane.lane);
        } else if !store::write_lane(wallet, &self.lane)? {
            return Err(changed_underneath(wallet));
        }
        Ok(())
    }
}

/// The result of the fast path.
// A box would cost every charge an allocation.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Found {
    /// A lane that can pay.
    Payer(Payer),
    /// The rules differ from the ones that the caller knows. Read them again.
    Stale,
    /// No lane can pay alone. Lock all lanes.
    None,
}

/// Finds a lane that can pay without going below its watermark. `again` is true if an earlier try
/// of this call lost a race. The row is then locked before it is read.
pub fn find(view: LaneView<'_>, amount: Amount, again: bool, may_combine: bool) -> Result<Found> {
    store::begin_writing();
    let found = if view.lanes == 1 {
        find_single(view, amount, again)?
    } else {
        find_among(view, amount, may_combine)?
    };
    if let Found::Payer(payer) = &found
        && payer.lane.lane != 0
    {
        LAST.set(Some((clock::transaction(), payer.lane.lane)));
    }
    Ok(found)
}

/// Takes the given lane, locked if it has a lock of its own. `None` if the rules differ from the
/// ones that the caller knows, or if all lanes must be locked.
pub fn take(view: LaneView<'_>, lane: i16) -> Result<Option<Lane>> {
    let LaneView { wallet, .. } = view;
    store::begin_writing();
    if lane != 0 {
        lock::wait(wallet, lane);
    }
    let row =
        store::read_lane(wallet, lane)?.filter(|row| row.epoch == view.epoch && !must_look(row));
    if row.is_some() {
        LAST.set(Some((clock::transaction(), lane)));
    } else {
        let_go(wallet, lane);
    }
    Ok(row)
}

/// Releases a lane that was taken and not written, before all lanes are locked in order.
pub fn let_go(wallet: &str, lane: i16) {
    if lane != 0 {
        lock::release(wallet, lane);
    }
}

fn find_single(view: LaneView<'_>, amount: Amount, again: bool) -> Result<Found> {
    let lane = match view.read {
        _ if again => store::lock_lane(view.wallet, 0)?,
        Some(lane) => Some(lane.clone()),
        None => store::read_lane(view.wallet, 0)?,
    };
    let Some(mut lane) = lane.filter(|lane| lane.epoch == view.epoch) else {
        return Ok(Found::Stale);
    };
    // The previous try had to wait for another transaction.
    lane.waits += i64::from(again);
    if must_look(&lane) || !can_pay(&lane, amount) {
        return Ok(Found::None);
    }
    payer(view, lane, false)
}

fn find_among(view: LaneView<'_>, amount: Amount, may_combine: bool) -> Result<Found> {
    let LaneView { wallet, .. } = view;
    let mut poor = Vec::new();
    let mut busy = Vec::new();
    for lane in preference(view.lanes) {
        // Seeing that others hold or want the lane is cheaper than trying to lock it.
        let requests = match lock::is_ours(wallet, lane) {
            true => 0,
            false => lock::requests(wallet, lane),
        };
        if requests > 0 || lock::attempt(wallet, lane) == Attempt::Busy {
            busy.push((requests.max(1), lane));
            continue;
        }
        // A missing lane was created under rules that were rolled back.
        let row = store::read_lane(wallet, lane)?.filter(|row| row.epoch == view.epoch);
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
            return payer(view, row, false);
        }
        poor.push(row);
    }
    if may_combine && let Some(row) = combine(wallet, amount, &poor)? {
        return payer(view, row, true);
    }
    release_all(wallet, &poor);
    // Every free lane has too little. A busy one may still have enough. Waiting for that one is
    // better than waiting for all. The one with the fewest waiters is chosen, so that no lane is
    // idle while another has a queue.
    busy.sort_by_key(|(requests, _)| *requests);
    let rich = |lane: &i16| -> Result<bool> {
        Ok(store::read_lane(wallet, *lane)?.is_some_and(|row| can_pay(&row, amount)))
    };
    for (_, lane) in busy {
        if rich(&lane)? {
            lock::wait(wallet, lane);
            let row = store::read_lane(wallet, lane)?.filter(|row| row.epoch == view.epoch);
            return match row {
                Some(mut row) if !must_look(&row) && can_pay(&row, amount) => {
                    row.waits += 1;
                    payer(view, row, false)
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

/// True if the time has come to lock all lanes and evaluate the rules.
fn must_look(lane: &Lane) -> bool {
    lane.evaluate_at.is_some_and(|at| at <= clock::now())
}

fn payer(view: LaneView<'_>, lane: Lane, combined: bool) -> Result<Found> {
    let others = others(view, lane.lane)?;
    Ok(Found::Payer(Payer {
        lane,
        others,
        combined,
    }))
}

/// The balance and credit in all lanes except one, as last committed. If the other lanes of a
/// single active one were empty when the rules were read, they still are: holds are made in active
/// lanes, and a funding that uses a spare lane invalidates the rules.
pub fn others(view: LaneView<'_>, lane: i16) -> Result<Amount> {
    match view.is_single {
        true => Ok(Amount::ZERO),
        false => store::credited_elsewhere(view.wallet, lane),
    }
}

/// Moves money between free lanes, none below its watermark, until one of them can pay.
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

/// The active lanes in the order in which this backend tries them: first the one that this
/// transaction used before, then the backend's own, which differs between backends, then the
/// others.
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

/// The error for a lane that the wallet's rules name but that does not exist.
pub fn missing(wallet: &str, lane: i16) -> Error {
    Error::internal(format!("wallet {wallet:?} has no lane {lane}"))
}

/// The error for a sum of lanes that is out of the range of an amount.
pub fn range(_: crate::money::NotAnAmount) -> Error {
    Error::new(Code::InvalidAmount, "balance is out of range")
        .detail("The balance would not fit 16 digits before the decimal point.")
        .hint("Keep larger sums in more than one wallet.")
}

/// The error for a row that changed although it was locked by this protocol: another program wrote
/// to the table.
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
