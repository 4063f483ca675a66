//! Releases the amounts that expired holds reserve, as far as a call needs them.

use std::collections::{BTreeMap, HashMap};

use crate::allowance::all_lanes::AllLanes;
use crate::allowance::lanes::range;
use crate::error::Result;
use crate::ledger::grants::burn::Burn;
use crate::ledger::grants::course::Holding;
use crate::ledger::grants::pools;
use crate::ledger::holds::expired::hold::{ExpiredHold, LOCK, LOCK_IN_WINDOWS};
use crate::ledger::holds::expired::{Expired, Sums};
use crate::limits::limit::Applied;
use crate::limits::window::{self, Status};
use crate::money::Amount;
use crate::outbox::{self, Name};
use crate::storage::cursor::Portions;
use crate::storage::hold_rows::OF_PARENT;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::{AllowanceId, BALANCE};

/// The number of holds that one statement releases.
const PORTION: usize = 500;

statement!(
    CLOSE,
    [TEXTOID, UUIDARRAYOID],
    "UPDATE wallet.reservations
        SET status = 'expired', held = 0, closed_at = expires_at, scoped_ids = '{}', scoped_amounts = '{}',
            window_amounts = CASE WHEN window_amounts = '{}' THEN window_amounts
                                  ELSE array_fill(0::numeric, ARRAY[cardinality(window_amounts)]) END
      WHERE wallet_id = $1 AND hold_id = ANY ($2)"
);

statement!(
    EMPTY_WINDOWS,
    [TEXTOID, UUIDARRAYOID, UUIDARRAYOID],
    "UPDATE wallet.reservations
        SET window_amounts = ARRAY(SELECT CASE WHEN w.id = ANY ($3) THEN 0 ELSE w.amount END
                                     FROM unnest(window_ids, window_amounts) WITH ORDINALITY AS w(id, amount, n)
                                    ORDER BY w.n)
      WHERE wallet_id = $1 AND hold_id = ANY ($2)"
);

impl Expired<'_> {
    /// Releases all expired holds, and returns what they reserved. The caller has locked all lanes.
    pub fn sweep_all(&mut self, whole: &mut AllLanes<'_>) -> Result<Vec<Holding>> {
        let mut swept = Vec::new();
        loop {
            let some = self.sweep_some(whole)?;
            if some.is_empty() {
                return Ok(swept);
            }
            swept.extend(some);
        }
    }

    /// Releases some expired holds, and returns what they reserved. The result is empty if none is
    /// left.
    pub fn sweep_some(&mut self, whole: &mut AllLanes<'_>) -> Result<Vec<Holding>> {
        if self.are_none() {
            return Ok(Vec::new());
        }
        let holds = self.lock_some()?;
        if holds.is_empty() {
            // Other calls are settling the remaining ones.
            self.sums = Sums::All(HashMap::new());
            return Ok(Vec::new());
        }
        release_windows(self.wallet, &holds, |_| true)?;
        release_money(self.wallet, whole, &holds)?;
        CLOSE.run(&[Value::Text(self.wallet), Value::Uuids(&ids_of(&holds))])?;
        let payloads: Vec<_> = holds.iter().map(ExpiredHold::payload).collect();
        outbox::emit_all(self.wallet, Name::HoldExpired, None, &payloads)?;
        self.take_off(holds.iter().flat_map(ExpiredHold::parts));
        Ok(holds.into_iter().map(ExpiredHold::holding).collect())
    }

    /// Releases as much in the windows of `applied` as a request needs. For a call that has not
    /// locked all lanes and takes from these windows next. The amounts in the balance and in other
    /// windows, which come earlier in the lock order, stay reserved until a call locks all lanes.
    pub fn sweep_windows(&mut self, applied: &[Applied<'_>]) -> Result<()> {
        let windows = window::ids(applied);
        let is_wanted = |id: &AllowanceId| windows.contains(id);
        let mut needing = self.needing(applied)?;
        let [wallet, by, except, since] = self.values();
        let ours = [wallet, by, except, since, Value::Uuids(&windows)];
        self.rest = Some(Portions::open(&LOCK_IN_WINDOWS, &ours)?);
        let mut holds: Vec<ExpiredHold> = Vec::new();
        while !self.are_as_if(&needing)? {
            let more = self.lock_some()?;
            if more.is_empty() {
                break;
            }
            for (id, units) in more.iter().flat_map(ExpiredHold::parts) {
                let of_it = needing.iter_mut();
                for status in of_it.filter(|status| status.applied.window_id == id) {
                    let held = status.held.units() - units;
                    status.held = Amount::from_units(held).map_err(range)?;
                }
            }
            self.take_off(
                more.iter()
                    .flat_map(ExpiredHold::parts)
                    .filter(|(id, _)| is_wanted(id)),
            );
            holds.extend(more);
        }
        // All at once, so that the rows of windows are written in the usual lock order.
        release_windows(self.wallet, &holds, is_wanted)?;
        let ids = ids_of(&holds);
        let (ids, windows) = (Value::Uuids(&ids), Value::Uuids(&windows));
        EMPTY_WINDOWS.run(&[wallet, ids, windows]).map(drop)
    }

    /// Releases as many expired holds as the limits need that a request takes from next. The caller
    /// has not yet asked whether these limits refuse the request. The caller has locked all lanes.
    pub fn make_way_in(&mut self, whole: &mut AllLanes<'_>, applied: &[Applied<'_>]) -> Result<()> {
        if self.are_none() {
            return Ok(());
        }
        self.ask_in(applied)?;
        while !self.are_as_if(&self.needing(applied)?)? && !self.sweep_some(whole)?.is_empty() {}
        whole.unswept = self.of(BALANCE)?;
        Ok(())
    }

    /// Releases as many expired holds as are needed to take an amount from the lanes. The
    /// thresholds are then evaluated as if all expired holds had been released. The caller has
    /// locked all lanes.
    pub fn make_way(
        &mut self,
        whole: &mut AllLanes<'_>,
        amount: Amount,
        credit: Amount,
    ) -> Result<()> {
        let after = whole.room()?.units() + self.of(BALANCE)?.units() - amount.units();
        let floor = whole.floor(after - credit.units()) + credit.units();
        let wanted = amount.units() + floor.max(0);
        while whole.room()?.units() < wanted && !self.sweep_some(whole)?.is_empty() {}
        whole.unswept = self.of(BALANCE)?;
        Ok(())
    }

    /// The windows from which a request needs something, with their current usage.
    fn needing<'w>(&self, applied: &[Applied<'w>]) -> Result<Vec<Status<'w>>> {
        let needing = applied.iter().filter(|one| !one.need.is_zero());
        needing
            .map(|one| window::status(self.wallet, one.clone()))
            .collect()
    }

    /// Whether the windows of a request refuse and warn as if all expired holds had been released.
    fn are_as_if(&self, needing: &[Status<'_>]) -> Result<bool> {
        for status in needing {
            let freed = self.of(status.applied.window_id)?;
            if !freed.is_zero() && !status.is_as_if(freed) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn lock_some(&mut self) -> Result<Vec<ExpiredHold>> {
        if self.rest.is_none() {
            self.rest = Some(Portions::open(&LOCK, &self.values())?);
        }
        let Some(rest) = &self.rest else {
            return Ok(Vec::new());
        };
        let rows = rest.fetch(PORTION);
        (0..rows.len())
            .map(|row| ExpiredHold::of(&rows, row))
            .collect()
    }
}

fn ids_of(holds: &[ExpiredHold]) -> Vec<[u8; 16]> {
    holds.iter().map(|hold| hold.id).collect()
}

/// Releases the amounts of holds in windows. Each row is written once, in lock order.
fn release_windows(
    wallet: &str,
    holds: &[ExpiredHold],
    is_wanted: impl Fn(&AllowanceId) -> bool,
) -> Result<()> {
    let mut sums: BTreeMap<(AllowanceId, i16), i128> = BTreeMap::new();
    for hold in holds {
        for (id, amount) in hold.windows.iter().filter(|(id, _)| is_wanted(id)) {
            *sums.entry((*id, hold.lane)).or_insert(0) += amount.units();
        }
    }
    for ((id, lane), units) in sums {
        let amount = Amount::from_units(units).map_err(range)?;
        window::release(wallet, id, amount, lane)?;
    }
    Ok(())
}

/// Releases the amounts of holds in the lanes and in grants with a scope. Each row is written once.
fn release_money(wallet: &str, whole: &mut AllLanes<'_>, holds: &[ExpiredHold]) -> Result<()> {
    let mut lanes: BTreeMap<i16, i128> = BTreeMap::new();
    let mut scoped: BTreeMap<[u8; 16], i128> = BTreeMap::new();
    for hold in holds {
        *lanes.entry(hold.lane).or_insert(0) += hold.general();
        // The parent releases its own part.
        for part in hold.scoped.iter().filter(|part| part.id != OF_PARENT) {
            *scoped.entry(part.id).or_insert(0) += part.amount.units();
        }
    }
    for (lane, units) in lanes {
        whole.release(lane, Amount::from_units(units).map_err(range)?)?;
    }
    let burn = |(id, units)| {
        let amount = Amount::from_units(units).map_err(range)?;
        Ok(Burn { id, amount })
    };
    let scoped: Vec<Burn> = scoped.into_iter().map(burn).collect::<Result<_>>()?;
    pools::release(wallet, whole, &scoped)
}
