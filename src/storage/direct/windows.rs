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
use crate::storage::direct::tid_cache::{self, CachedTid};
use crate::storage::direct::unique_insert;
use crate::storage::direct::write::{place_of, replace};
use crate::storage::rows::{AllowanceId, Changed, Counted, NewWindow, Part, Taking, Used, Window};

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

/// Takes an amount from a window. Changes nothing if the row has too little left.
pub fn take(
    table: &Table,
    wallet: &str,
    window: AllowanceId,
    taking: &Taking,
) -> Result<Changed<Used>> {
    use allowance::*;
    change(table, wallet, window, taking.lane, |fields| {
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
    fields.set(ATTENDED, new.levels.into_datum());
    fields.set_bytes(SLICES, window.slices.as_deref());
    let row = fields.form(table);
    let keys = || vec![text_key(wallet), uuid_key(new.id), int2_key(0)];
    // SAFETY: the row has the table's columns, and the keys are those of the row.
    let is_new = unsafe { unique_insert::append(table, row, &fields, &keys, false) }?;
    if is_new {
        // SAFETY: the insertion has set the row's place.
        let root = CachedTid::of(unsafe { (*row).t_self });
        tid_cache::remember(tid_cache::digest(wallet, new.id, Some(0)), root);
    }
    Ok(is_new)
}

/// Reads a rolling window's row, has `work` change it, and writes it. Writes nothing if `work`
/// returns `None`. Calls `work` again if another transaction has changed the row in the meantime.
pub fn change_window<T>(
    table: &Table,
    wallet: &str,
    window: AllowanceId,
    cap: Option<Amount>,
    mut work: impl FnMut(&mut Window) -> Result<Option<T>>,
) -> Result<Changed<T>> {
    use allowance::*;
    in_row(table, wallet, window, 0, |fields, _| {
        let mut window = Window {
            spent: fields.amount(SPENT)?,
            held: fields.amount(HELD)?,
            levels: fields.int8(ATTENDED),
            slices: fields.opt_bytes(SLICES),
        };
        let Some(answer) = work(&mut window)? else {
            return Ok(None);
        };
        let used = amount(window.spent.units() + window.held.units())?;
        fields.set_amount(ALLOTTED, cap.map(|cap| cap.max(used)));
        fields.set_amount(SPENT, Some(window.spent));
        fields.set_amount(HELD, Some(window.held));
        fields.set(ATTENDED, window.levels.into_datum());
        fields.set_bytes(SLICES, window.slices.as_deref());
        Ok(Some((NewRow::Formed(fields.form(table)), answer)))
    })
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

/// A new version of a row.
// A box would cost every charge an allocation.
#[allow(clippy::large_enum_variant)]
enum NewRow {
    Patched(Patched),
    Formed(pg_sys::HeapTuple),
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
    in_row(table, wallet, window, lane, |fields, tuple| {
        let Some((counters, answer)) = work(fields)? else {
            return Ok(None);
        };
        let row = match patched(fields, tuple, &counters) {
            Some(row) => NewRow::Patched(row),
            None => NewRow::Formed(formed(table, fields, &counters)),
        };
        Ok(Some((row, answer)))
    })
}

/// Replaces a window's row by the version that `work` makes from its fields.
fn in_row<T>(
    table: &Table,
    wallet: &str,
    window: AllowanceId,
    lane: i16,
    mut work: impl FnMut(&mut Fields, pg_sys::HeapTuple) -> Result<Option<(NewRow, T)>>,
) -> Result<Changed<T>> {
    loop {
        // The tuple, into which the unchanged columns point, is pinned until it is replaced.
        let found = with_row(table, wallet, window, lane, |fields, tuple| {
            let Some((mut row, answer)) = work(fields, tuple)? else {
                return Ok(Some(Changed::Unchanged));
            };
            // SAFETY: the tuple was read from the table.
            let place = unsafe { place_of(tuple) };
            let row = match &mut row {
                NewRow::Patched(row) => row.tuple(),
                NewRow::Formed(row) => *row,
            };
            Ok(replace(table, place, row)?.then_some(Changed::Done(answer)))
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
