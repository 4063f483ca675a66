//! The part of a window's maximum that was carried into it from the windows before.
//!
//! A limit with `rollover_max` carries the unused part of a window's maximum into the next window,
//! at most that much. The carry is computed when the window is first used, and then stored in its
//! row of lane 0, in the column `watermark`, which only spread windows use otherwise. Windows
//! without a row were not used. Because the carry is bounded, a few of them fill it, and only the
//! last window with a row and the number of windows after it matter.
//!
//! Possible errors, and why they cannot happen:
//! - Two charges open the window at once, or a charge still takes from the window before. A window
//!   of such a limit is opened only with all lanes of the balance locked, and every other call that
//!   takes from a window has locked a lane. [`crate::limits::lane_windows::places`] sends a charge
//!   that finds no row, or another carry than it has computed, to the path that locks all lanes.
//! - A call takes from a window after the next one was opened: a settlement, or a charge that has
//!   waited. The amount that was carried on is subtracted from the carry of the window that it came
//!   from, so it cannot be used twice.
//! - A window is opened after a later one, which has counted it as unused. It allows only what
//!   cannot have been carried on.
//! - A hold that was counted as expired is extended, approved or settled by a transaction in
//!   progress. The rows of such holds are locked when the carry is stored. A locked one fails the
//!   call with 40001.
//! - Usage beyond the maximum, by a soft limit or a debt, carries nothing.
//! - An amount that returns to a window after the next one was opened is not carried.

use crate::error::Result;
use crate::limits::limit::{Applied, Carry, Limit, Rollover};
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::numeric::overflow;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::AllowanceId;
use crate::storage::store;

statement!(
    WINDOWS,
    [TEXTOID, UUIDARRAYOID],
    "SELECT allowance_id, spent + held, watermark, held > 0 FROM wallet.allowances
      WHERE wallet_id = $1 AND allowance_id = ANY ($2) AND lane = 0"
);

statement!(
    EXPIRED,
    [TEXTOID, TIMESTAMPTZOID, UUIDOID],
    "SELECT coalesce(sum(w.amount), 0)
       FROM wallet.reservations r, unnest(r.window_ids, r.window_amounts) w (id, amount)
      WHERE r.wallet_id = $1 AND r.status = 'open' AND NOT r.charge_on_expiry AND r.expires_at <= $2
        AND w.id = $3"
);

// A row that another transaction has locked is skipped: that transaction may still extend, approve
// or settle the hold.
statement!(
    LOCK_EXPIRED,
    [TEXTOID, TIMESTAMPTZOID, UUIDOID],
    "SELECT coalesce(sum(w.amount), 0)
       FROM (SELECT r.window_ids, r.window_amounts
               FROM wallet.reservations r
              WHERE r.wallet_id = $1 AND r.status = 'open' AND NOT r.charge_on_expiry AND r.expires_at <= $2
                AND r.window_ids @> ARRAY[$3]
                FOR NO KEY UPDATE SKIP LOCKED) h
      CROSS JOIN LATERAL unnest(h.window_ids, h.window_amounts) w (id, amount)
      WHERE w.id = $3"
);

statement!(
    MOVE,
    [TEXTOID, UUIDOID, NUMERICOID, NUMERICOID],
    "UPDATE wallet.allowances
        SET watermark = watermark + $3,
            allotted = CASE WHEN allotted IS NOT NULL THEN greatest(allotted + $4, spent + held) END
      WHERE wallet_id = $1 AND allowance_id = $2 AND lane = 0"
);

/// The most windows that one statement looks up.
const MANY: usize = 512;

/// Adds its carry to the maximum of each window, for the limits that carry.
pub fn add_carries(wallet: &str, applied: &mut [Applied<'_>]) -> Result<()> {
    for one in applied {
        if let Some(rollover) = one.limit.rollover {
            let carry = match store::read_counted(wallet, one.window_id, 0)? {
                Some(row) => Carry {
                    amount: row.watermark,
                    is_stored: true,
                    source: None,
                },
                None => Walk::of(wallet, one, rollover, false).carry(one)?,
            };
            add(one, carry)?;
        }
    }
    Ok(())
}

/// Adds the carry to the maximum of a window without a row. Reads under the snapshot of the running
/// query.
pub fn add_carry_in_query(wallet: &str, one: &mut Applied<'_>) -> Result<()> {
    match one.limit.rollover {
        Some(rollover) => {
            let carry = Walk::of(wallet, one, rollover, true).carry(one)?;
            add(one, carry)
        }
        None => Ok(()),
    }
}

fn add(one: &mut Applied<'_>, carry: Carry) -> Result<()> {
    let max = one.max.plus(carry.amount).map_err(overflow)?;
    // A maximum that was lowered may be less than the amount carried on.
    one.max = max.max(Amount::ZERO);
    one.carry = Some(Box::new(carry));
    Ok(())
}

/// Stores the carry of a window that has just been opened, and takes it from the window that it
/// comes from.
pub(super) fn store_carry(wallet: &str, window: AllowanceId, carry: &Carry) -> Result<()> {
    let change = |window, carried, allotted| {
        MOVE.run(&[
            Value::Text(wallet),
            Value::Uuid(window),
            Value::Amount(carried),
            Value::Amount(allotted),
        ])
        .map(drop)
    };
    if !carry.amount.is_zero() {
        change(window, carry.amount, Amount::ZERO)?;
    }
    match carry.source {
        Some((source, amount)) => {
            require_expired(wallet, source)?;
            change(source, amount.negated(), amount.negated())
        }
        None => Ok(()),
    }
}

/// 40001 if another transaction is using a hold that was counted as expired. Locks the others, so
/// that they stay expired.
fn require_expired(wallet: &str, window: AllowanceId) -> Result<()> {
    let now = Value::Time(clock::now());
    let values = [Value::Text(wallet), now, Value::Uuid(window)];
    let counted = EXPIRED.run(&values)?.amount(0, 0)?;
    if counted.is_zero() || LOCK_EXPIRED.run(&values)?.amount(0, 0)? == counted {
        return Ok(());
    }
    Err(super::changed_meanwhile())
}

/// The windows of one subject of a limit, of which some have rows.
struct Walk<'a> {
    wallet: &'a str,
    limit: &'a Limit,
    subject: &'a str,
    rollover: Rollover,
    in_query: bool,
}

/// The row of a window.
struct Row {
    id: AllowanceId,
    used: Amount,
    carried: Amount,
    holds: bool,
}

impl<'a> Walk<'a> {
    fn of(wallet: &'a str, one: &'a Applied<'_>, rollover: Rollover, in_query: bool) -> Walk<'a> {
        Walk {
            wallet,
            limit: one.limit,
            subject: &one.subject,
            rollover,
            in_query,
        }
    }

    /// The carry of a window that has no row.
    fn carry(&self, one: &Applied<'_>) -> Result<Carry> {
        let nothing = Carry::default();
        let (Some(start), Some(end)) = (one.start, one.end) else {
            return Ok(nothing);
        };
        // Windows before the first one that carries are not carried from.
        if self.limit.max.is_zero() || end <= self.rollover.since {
            return Ok(nothing);
        }
        if self.is_passed(end)? {
            let lost = self.rollover.max.min(self.limit.max);
            return Ok(Carry {
                amount: lost.negated(),
                ..nothing
            });
        }
        if start <= self.rollover.since {
            return Ok(nothing);
        }
        self.carry_into(start)
    }

    /// The carry of the window that begins at `start`, from the windows before.
    fn carry_into(&self, start: Timestamp) -> Result<Carry> {
        let mut start = start;
        let mut passed = 0;
        let mut many = 1;
        loop {
            let mut ids = Vec::new();
            let mut is_last = false;
            while ids.len() < many && !is_last {
                let before = self.window(Timestamp(start.0.saturating_sub(1)))?;
                start = before.start.unwrap_or(self.rollover.since);
                ids.push(before.window_id);
                is_last = start <= self.rollover.since || self.is_full(passed + ids.len());
            }
            let rows = self.rows(&ids)?;
            for id in &ids {
                if let Some(row) = rows.iter().find(|row| row.id == *id) {
                    return self.carry_from(row, passed);
                }
                passed += 1;
            }
            if is_last {
                let (amount, _) = rolled(self.limit.max, self.rollover.max, Amount::ZERO, passed)?;
                return Ok(Carry {
                    amount,
                    ..Carry::default()
                });
            }
            many = (many * 8).min(MANY);
        }
    }

    /// The carry from a window with a row and the `unused` windows after it.
    fn carry_from(&self, row: &Row, unused: usize) -> Result<Carry> {
        let mut used = row.used;
        if row.holds {
            let expired = self.expired(row.id)?;
            used = used.minus(expired).map_err(overflow)?;
        }
        let left = self.limit.max.units() + row.carried.units() - used.units();
        let left = Amount::from_units(left.max(0)).map_err(overflow)?;
        let (amount, taken) = rolled(self.limit.max, self.rollover.max, left, unused)?;
        Ok(Carry {
            amount,
            is_stored: false,
            source: (!taken.is_zero()).then_some((row.id, taken)),
        })
    }

    /// True if a window that ended at `end` may have been counted as unused by a later one.
    fn is_passed(&self, end: Timestamp) -> Result<bool> {
        let (now, mut end, mut ids) = (clock::now(), end, Vec::new());
        while end <= now {
            if ids.len() >= MANY {
                return Ok(true);
            }
            let next = self.window(end)?;
            ids.push(next.window_id);
            match next.end {
                Some(after) => end = after,
                None => break,
            }
        }
        Ok(!ids.is_empty() && !self.rows(&ids)?.is_empty())
    }

    /// True if so many unused windows carry as much as can be carried.
    fn is_full(&self, unused: usize) -> bool {
        let units = self.limit.max.units().saturating_mul(unused as i128);
        units >= self.rollover.max.units()
    }

    fn window(&self, at: Timestamp) -> Result<Applied<'a>> {
        self.limit.window(self.subject.to_owned(), at, Amount::ZERO)
    }

    fn rows(&self, ids: &[AllowanceId]) -> Result<Vec<Row>> {
        let values = [Value::Text(self.wallet), Value::Uuids(ids)];
        let rows = match self.in_query {
            true => WINDOWS.read(&values)?,
            false => WINDOWS.run(&values)?,
        };
        let row = |row: usize| {
            Ok(Row {
                id: rows.need(row, 0)?,
                used: rows.amount(row, 1)?,
                carried: rows.amount(row, 2)?,
                holds: rows.need(row, 3)?,
            })
        };
        (0..rows.len()).map(row).collect()
    }

    /// The amount that expired holds reserve in a window. It does not count, whether or not it is
    /// released.
    fn expired(&self, id: AllowanceId) -> Result<Amount> {
        let now = Value::Time(clock::now());
        let values = [Value::Text(self.wallet), now, Value::Uuid(id)];
        let rows = match self.in_query {
            true => EXPIRED.read(&values)?,
            false => EXPIRED.run(&values)?,
        };
        rows.amount(0, 0)
    }
}

/// The carry after a window with `left` of its maximum and `unused` windows, and the part of it
/// that only the window that was used can give.
fn rolled(max: Amount, most: Amount, left: Amount, unused: usize) -> Result<(Amount, Amount)> {
    let most = most.units();
    let of_unused = max.units().saturating_mul(unused as i128).min(most);
    let carried = (left.units().min(most) + of_unused).min(most);
    let amount = |units| Amount::from_units(units).map_err(overflow);
    Ok((amount(carried)?, amount(carried - of_unused)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn units(units: i128) -> Amount {
        Amount::from_units(units).unwrap()
    }

    proptest! {
        /// The carry over unused windows is the same at once as from window to window.
        #[test]
        fn unused_windows_add_up(
            max in 1_i128..100,
            most in 0_i128..1000,
            left in 0_i128..1200,
            unused in 0_usize..30,
        ) {
            let mut carried = left.min(most);
            for _ in 0..unused {
                carried = (max + carried).min(most);
            }
            let (amount, taken) = rolled(units(max), units(most), units(left), unused).unwrap();
            prop_assert_eq!(amount.units(), carried);
            prop_assert!(taken.units() <= left);
        }

        /// The window needs to keep only its part unused for the later one to have the same carry.
        #[test]
        fn what_was_not_carried_on_can_still_be_used(
            max in 1_i128..100,
            most in 0_i128..1000,
            left in 0_i128..1200,
            unused in 0_usize..30,
        ) {
            let (amount, taken) = rolled(units(max), units(most), units(left), unused).unwrap();
            let (later, _) = rolled(units(max), units(most), taken, unused).unwrap();
            prop_assert_eq!(later, amount);
        }
    }
}
