//! Windows of limits: rows of `wallet.allowances`.
//!
//! A charge takes from the window of each limit that applies to it, so this is where limits cost
//! time. The row is read without a lock and replaced while its page is still pinned. If another
//! transaction has changed it in between, `heap_update` waits for that transaction and says so, and
//! the row is read again.

use pgrx::datum::IntoDatum;
use pgrx::pg_sys;

use crate::error::Result;
use crate::money::Amount;
use crate::storage::direct::fields::Fields;
use crate::storage::direct::lanes::{allowance, with_row};
use crate::storage::direct::patch::Patched;
use crate::storage::direct::scan::{int2_key, text_key, uuid_key};
use crate::storage::direct::table::Table;
use crate::storage::direct::unique_insert;
use crate::storage::direct::write::{place_of, replace};
use crate::storage::rows::{AllowanceId, Counted, NewWindow, Part, TakenFrom, Taking, Used};

fn amount(units: i128) -> Result<Amount> {
    Amount::from_units(units).map_err(crate::pg::numeric::overflow)
}

/// The counters of a window's row.
pub fn read_counted(
    table: &Table,
    wallet: &str,
    window: AllowanceId,
    lane: i16,
) -> Result<Option<Counted>> {
    use allowance::*;
    with_row(table, wallet, window, lane, |fields, _| {
        let spent = fields.amount(SPENT)?;
        Ok(Counted {
            spent,
            used: amount(spent.units() + fields.amount(HELD)?.units())?,
            watermark: fields.amount(WATERMARK)?,
            levels: fields.int8(ATTENDED),
        })
    })
}

/// Takes an amount from a window.
pub fn take(
    table: &Table,
    wallet: &str,
    window: AllowanceId,
    taking: &Taking,
) -> Result<TakenFrom> {
    use allowance::*;
    let taken = change(table, wallet, window, taking.lane, |fields| {
        let (spent, held) = (fields.amount(SPENT)?, fields.amount(HELD)?);
        let after = amount(spent.units() + held.units() + taking.need.units())?;
        let refused = match taking.lane {
            0 => taking.cap.is_some_and(|cap| after > cap),
            _ => after >= fields.amount(WATERMARK)?,
        };
        if refused && !taking.forced {
            return Ok(None);
        }
        let allotted = fields.opt_amount(ALLOTTED)?;
        let cap = match taking.lane {
            0 => taking.cap,
            _ => allotted,
        };
        let (side, before) = match taking.part {
            Part::Spent => (SPENT, spent),
            Part::Held => (HELD, held),
        };
        let mut counters = Counters::default();
        counters.set(side, amount(before.units() + taking.need.units())?);
        counters.allot(allotted, cap.map(|cap| cap.max(after)));
        let levels = fields.int8(ATTENDED);
        Ok(Some((counters, Used { after, levels })))
    })?;
    Ok(match taken {
        Changed::Done(used) => TakenFrom::Done(used),
        Changed::Unchanged => TakenFrom::Refused,
        Changed::Missing => TakenFrom::Missing,
    })
}

/// Releases from a window the amount of a hold that was made in a lane: in that lane's row of the
/// window if it holds as much, otherwise in the row of lane 0. Returns the lane of the row; `None`
/// if no row holds as much.
pub fn release(
    table: &Table,
    wallet: &str,
    window: AllowanceId,
    released: Amount,
    lane: i16,
) -> Result<Option<i16>> {
    let lanes = [lane, 0];
    let rows = if lane == 0 { &lanes[1..] } else { &lanes[..] };
    for lane in rows {
        let changed = change(table, wallet, window, *lane, |fields| {
            let held = fields.amount(allowance::HELD)?;
            if held < released {
                return Ok(None);
            }
            let mut counters = Counters::default();
            counters.set(allowance::HELD, amount(held.units() - released.units())?);
            Ok(Some((counters, *lane)))
        })?;
        if let Changed::Done(lane) = changed {
            return Ok(Some(lane));
        }
    }
    Ok(None)
}

/// Adds a window. Returns false if it already exists or another transaction added it first.
pub fn open(table: &Table, wallet: &str, new: &NewWindow<'_>) -> Result<bool> {
    use allowance::*;
    let NewWindow { window, .. } = new;
    let used = amount(window.spent.units() + window.held.units())?;
    let mut fields = Fields::empty();
    fields.set_text(WALLET, Some(wallet));
    fields.set_uuid(ID, Some(new.id));
    fields.set(LANE, 0_i16.into_datum());
    fields.set_amount(ALLOTTED, new.cap.map(|cap| cap.max(used)));
    fields.set_amount(SPENT, Some(window.spent));
    fields.set_amount(HELD, Some(window.held));
    fields.set_amount(WATERMARK, Some(Amount::ZERO));
    fields.set_uuid(LIMIT, Some(new.limit_id));
    fields.set_text(SUBJECT, Some(new.subject));
    fields.set(START, new.start.map(|at| pg_sys::Datum::from(at.0)));
    fields.set(END, new.end.map(|at| pg_sys::Datum::from(at.0)));
    fields.set(ATTENDED, window.levels.into_datum());
    fields.set_bytes(SLICES, window.slices.as_deref());
    let row = fields.form(table);
    let keys = || vec![text_key(wallet), uuid_key(new.id), int2_key(0)];
    // SAFETY: the row has the table's columns, and the keys are those of the row.
    unsafe { unique_insert::append(table, row, &fields, &keys, false) }
}

/// The new values of a window's counters.
#[derive(Default)]
struct Counters {
    /// At most two: one of the amounts, and the allotment.
    amounts: [Option<(i16, Amount)>; 2],
    /// True if the row becomes unlimited.
    is_unlimited: bool,
}

impl Counters {
    fn set(&mut self, column: i16, value: Amount) {
        self.amounts[0] = Some((column, value));
    }

    fn allot(&mut self, before: Option<Amount>, after: Option<Amount>) {
        if before == after {
            return;
        }
        match after {
            Some(after) => self.amounts[1] = Some((allowance::ALLOTTED, after)),
            None => self.is_unlimited = true,
        }
    }
}

/// The result of a change of a row.
enum Changed<T> {
    /// The row is changed.
    Done(T),
    /// The row is as it was.
    Unchanged,
    /// There is no such row.
    Missing,
}

/// Sets the counters of a window's row that `work` returns with its answer. Writes nothing if it
/// returns `None`. Calls `work` again if another transaction has changed the row in the meantime.
fn change<T>(
    table: &Table,
    wallet: &str,
    window: AllowanceId,
    lane: i16,
    work: impl Fn(&Fields) -> Result<Option<(Counters, T)>>,
) -> Result<Changed<T>> {
    loop {
        // The tuple, into which the unchanged columns point, is pinned until it is replaced.
        let found = with_row(table, wallet, window, lane, |fields, tuple| {
            let Some((counters, answer)) = work(fields)? else {
                return Ok(Some(Changed::Unchanged));
            };
            // SAFETY: the tuple was read from the table.
            let place = unsafe { place_of(tuple) };
            let is_replaced = match patched(fields, tuple, &counters) {
                Some(mut row) => replace(table, place, row.tuple())?,
                None => replace(table, place, formed(table, fields, &counters))?,
            };
            Ok(is_replaced.then_some(Changed::Done(answer)))
        })?;
        match found {
            None => return Ok(Changed::Missing),
            Some(Some(changed)) => return Ok(changed),
            Some(None) => {}
        }
    }
}

/// A copy of the row with the new counters. `None` if one of them has another length than before.
fn patched(fields: &Fields, tuple: pg_sys::HeapTuple, counters: &Counters) -> Option<Patched> {
    if counters.is_unlimited {
        return None;
    }
    // SAFETY: the fields are those of the tuple, whose page is pinned.
    let mut row = unsafe { Patched::copy(tuple) }?;
    let mut amounts = counters.amounts.iter().flatten();
    let all = amounts.all(|(column, value)| row.set_amount(fields, *column, *value));
    all.then_some(row)
}

fn formed(table: &Table, fields: &mut Fields, counters: &Counters) -> pg_sys::HeapTuple {
    for (column, value) in counters.amounts.iter().flatten() {
        fields.set_amount(*column, Some(*value));
    }
    if counters.is_unlimited {
        fields.set_amount(allowance::ALLOTTED, None);
    }
    fields.form(table)
}
