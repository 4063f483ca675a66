//! Windows of a wallet-wide limit on a wallet with several lanes, which are divided among the
//! lanes.
//!
//! A window has a row of lane 0. While the window is *gathered*, that row counts everything, as the
//! row of any other limit does. While the window is *spread*, each lane of the wallet has its own
//! row. This row has a share of the amount left up to the next level (a warning or the maximum) as
//! its watermark. A charge that has locked a lane of the balance takes from the row of the same
//! lane. As long as every lane stays below its watermark, the window stays below the level. A
//! charge that would reach the watermark locks all lanes of the balance, gathers the rows and
//! decides with the exact total. It spreads the window again if the next level is far enough away.
//!
//! Races, and why they do no harm:
//! - A window is spread while a charge counts in lane 0. Spreading needs all lanes of the balance,
//!   and the charge has locked one of them.
//! - A raise ends while lanes have a share of it. A limit that is raised is not spread.
//! - The rules or the number of lanes change. Such a change locks all lanes and gathers first.
//! - A hold took from a row that was gathered later. The amount is released in the row that now has
//!   it. If it is in several rows, they are gathered first.

use crate::error::Result;
use crate::limits::limit::{Applied, Limit, Mode, WHOLE, bounds};
use crate::limits::scope::Scope;
use crate::money::Amount;
use crate::pg::numeric;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::AllowanceId;
use crate::storage::store;

/// The minimum of each lane's share, in requests of the current size. With less, gathering and
/// spreading would cost more than waiting for one row.
const WORTHWHILE: i128 = 16;

/// The amount that is divided for a soft limit that has no warning left.
const BOUNDLESS: i128 = 1_000_000_000_000_000 * WHOLE;

statement!(
    /// The limits whose windows may be spread, in the order of `limit_subject`, which no other
    /// index has.
    LIMITS,
    [TEXTOID],
    "SELECT limit_id FROM wallet.limits
      WHERE wallet_id = $1 AND scope = 'wallet'
      ORDER BY subject, period, metric"
);

statement!(
    LOCK,
    [TEXTOID, UUIDOID, UUIDOID],
    "SELECT FROM wallet.allowances
      WHERE wallet_id = $1 AND limit_id IS NOT NULL AND lane > 0 AND watermark <> 0
        AND allowance_id >= $2 AND allowance_id <= $3
      ORDER BY allowance_id, lane
        FOR NO KEY UPDATE"
);

statement!(
    GATHER,
    [TEXTOID, UUIDOID, UUIDOID],
    "WITH spread AS (
        SELECT allowance_id, lane, spent, held
          FROM wallet.allowances
         WHERE wallet_id = $1 AND limit_id IS NOT NULL AND lane > 0 AND watermark <> 0
           AND allowance_id >= $2 AND allowance_id <= $3
     ), emptied AS (
        UPDATE wallet.allowances a
           SET spent = 0, held = 0, watermark = 0,
               allotted = CASE WHEN a.allotted IS NOT NULL THEN 0 END
          FROM spread s
         WHERE a.wallet_id = $1 AND a.allowance_id = s.allowance_id AND a.lane = s.lane
           AND a.allowance_id >= $2 AND a.allowance_id <= $3
     )
     UPDATE wallet.allowances a
        SET spent = a.spent + s.spent, held = a.held + s.held,
            allotted = CASE WHEN a.allotted IS NOT NULL
                            THEN greatest(a.allotted, a.spent + a.held + s.spent + s.held) END
       FROM (SELECT allowance_id, sum(spent) AS spent, sum(held) AS held FROM spread GROUP BY allowance_id) s
      WHERE a.wallet_id = $1 AND a.allowance_id = s.allowance_id AND a.lane = 0
        AND a.allowance_id >= $2 AND a.allowance_id <= $3"
);

statement!(
    SPREAD,
    [TEXTOID, UUIDOID, INT2OID, NUMERICOID],
    "INSERT INTO wallet.allowances
        (wallet_id, allowance_id, lane, allotted, watermark, limit_id, subject, window_start, window_end)
     SELECT w.wallet_id, w.allowance_id, n, CASE WHEN w.allotted IS NOT NULL THEN $4 END, $4,
            w.limit_id, w.subject, w.window_start, w.window_end
       FROM wallet.allowances w, generate_series(1, $3) n
      WHERE w.wallet_id = $1 AND w.allowance_id = $2 AND w.lane = 0
     ON CONFLICT (wallet_id, allowance_id, lane)
     DO UPDATE SET allotted = excluded.allotted, watermark = excluded.watermark"
);

impl Limit {
    /// True for a limit whose windows may be spread: wallet-wide, on use, not rolling, not raised,
    /// carrying nothing into the next window, and no default limit.
    pub fn can_spread(&self) -> bool {
        self.scope == Scope::Wallet
            && self.period.slice().is_none()
            && self.period.counts_use()
            && self.raises.is_empty()
            && self.rollover.is_none()
            && self.default.is_none()
    }
}

/// The lane of the row in which each window counts the request of a charge that has locked `lane`
/// of the balance. `None` if all lanes must be locked first: to gather a window, or to open one
/// with a carry.
pub fn places(
    wallet: &str,
    applied: &[Applied<'_>],
    lane: i16,
    lanes: i16,
) -> Result<Option<Vec<i16>>> {
    let mut places = vec![0; applied.len()];
    for (place, one) in places.iter_mut().zip(applied) {
        if let Some(carry) = &one.carry
            && !one.need.is_zero()
        {
            let stored = store::read_counted(wallet, one.window_id, 0)?;
            if !carry.is_stored || stored.is_none_or(|row| row.watermark != carry.amount) {
                return Ok(None);
            }
        }
        if lane == 0 || one.need.is_zero() || !one.limit.can_spread() {
            continue;
        }
        let row = store::read_counted(wallet, one.window_id, lane)?;
        match row.filter(|row| !row.watermark.is_zero()) {
            Some(row) if row.used.units() + one.need.units() < row.watermark.units() => {
                *place = lane;
            }
            Some(_) => return Ok(None),
            None => {
                let whole = store::read_counted(wallet, one.window_id, 0)?.unwrap_or_default();
                if share(one, whole.used, whole.levels, lanes)?.is_some() {
                    return Ok(None);
                }
            }
        }
    }
    Ok(Some(places))
}

/// The amount that each lane may use before the next level, for a gathered window with `used` in
/// it. `None` if spreading is not worthwhile.
fn share(one: &Applied<'_>, used: Amount, levels: i64, lanes: i16) -> Result<Option<Amount>> {
    let left = match (one.limit.next_level(levels, one.max), one.limit.mode) {
        (Some(level), _) => level.units() - used.units(),
        (None, Mode::Soft) => BOUNDLESS,
        (None, Mode::Hard | Mode::Approve) => 0,
    };
    let share = left / i128::from(lanes);
    if share < one.need.units() * WORTHWHILE {
        return Ok(None);
    }
    Amount::from_units(share)
        .map(Some)
        .map_err(numeric::overflow)
}

/// Gathers the windows of `applied`. All lanes of the balance are locked.
pub fn gather(wallet: &str, applied: &[Applied<'_>]) -> Result<()> {
    for one in applied.iter().filter(|one| one.limit.can_spread()) {
        gather_window(wallet, one.window_id)?;
    }
    Ok(())
}

/// Gathers one window.
pub fn gather_window(wallet: &str, window: AllowanceId) -> Result<()> {
    gather_between(wallet, [window, window])
}

/// Gathers all windows of a wallet. It does not read the windows of users, teams and other
/// subjects, however many there are.
pub fn gather_all(wallet: &str) -> Result<()> {
    let limits = LIMITS.run_in_order(&[Value::Text(wallet)])?;
    let mut all = (0..limits.len())
        .map(|row| limits.need(row, 0).map(bounds))
        .collect::<Result<Vec<_>>>()?;
    // Rows are locked in the order of their ids.
    all.sort_unstable();
    all.into_iter()
        .try_for_each(|between| gather_between(wallet, between))
}

fn gather_between(wallet: &str, [first, last]: [AllowanceId; 2]) -> Result<()> {
    let which = &[Value::Text(wallet), Value::Uuid(first), Value::Uuid(last)];
    // Two statements: the second one sees what was committed while the first one waited for locks.
    if LOCK.run(which)?.is_empty() {
        return Ok(());
    }
    GATHER.run(which).map(drop)
}

/// Spreads the windows that are far from their next level. All lanes of the balance are locked, and
/// the windows are gathered.
pub fn spread(wallet: &str, applied: &[Applied<'_>], lanes: i16) -> Result<()> {
    if lanes == 1 {
        return Ok(());
    }
    for one in applied {
        if one.need.is_zero() || !one.limit.can_spread() {
            continue;
        }
        let whole = store::read_counted(wallet, one.window_id, 0)?.unwrap_or_default();
        if let Some(share) = share(one, whole.used, whole.levels, lanes)? {
            SPREAD.run(&[
                Value::Text(wallet),
                Value::Uuid(one.window_id),
                Value::Int2(lanes),
                Value::Amount(share),
            ])?;
        }
    }
    Ok(())
}
