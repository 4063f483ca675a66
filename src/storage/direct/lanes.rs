//! Lanes and windows: `wallet.allowances`.

use pgrx::datum::{FromDatum, IntoDatum};
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::storage::direct::fields::Fields;
use crate::storage::direct::scan::{int2_key, scan_now, text_key, uuid_key};
use crate::storage::direct::table::Table;
use crate::storage::direct::tid_cache;
use crate::storage::direct::tid_cache::{LaneRoot, Prune};
use crate::storage::direct::write::{place_of, replace};
use crate::storage::rows::{AllowanceId, BALANCE, Counted, Lane, Part, Taking, Used};

/// Columns of `wallet.allowances`, by position.
pub(super) mod allowance {
    pub const WALLET: i16 = 1;
    pub const ID: i16 = 2;
    pub const LANE: i16 = 3;
    pub const VERSION: i16 = 4;
    pub const EPOCH: i16 = 5;
    pub const SEQ: i16 = 6;
    pub const ALLOTTED: i16 = 7;
    pub const SPENT: i16 = 8;
    pub const HELD: i16 = 9;
    pub const WATERMARK: i16 = 10;
    pub const BOOKED: i16 = 11;
    pub const HASH: i16 = 12;
    pub const ATTENDED: i16 = 17;
    pub const LOOK_AT: i16 = 19;
    pub const WAITS: i16 = 20;
    pub const ARMED: i16 = 21;
}

pub(super) fn lane_of(fields: &Fields, tuple: pg_sys::HeapTuple) -> Result<Lane> {
    use allowance::*;
    let (datum, is_null) = fields.at(HASH);
    // SAFETY: the column is a bytea; the bytes are copied.
    let hash = unsafe { Vec::<u8>::from_datum(datum, is_null) }.unwrap_or_default();
    let hash = if hash.is_empty() {
        None
    } else {
        Some(
            hash.try_into()
                .map_err(|_| Error::internal("a lane's hash is not 32 bytes long"))?,
        )
    };
    Ok(Lane {
        lane: fields.int2(LANE),
        version: fields.int8(VERSION),
        epoch: fields.int8(EPOCH),
        seq: fields.int8(SEQ),
        allotted: fields.amount(ALLOTTED)?,
        spent: fields.amount(SPENT)?,
        held: fields.amount(HELD)?,
        watermark: fields.amount(WATERMARK)?,
        booked: fields.amount(BOOKED)?,
        hash,
        recheck_done: fields.int8(ATTENDED),
        evaluate_at: match fields.at(LOOK_AT) {
            (_, true) => None,
            (at, false) => Some(Timestamp(at.value() as i64)),
        },
        waits: fields.int8(WAITS),
        armed: fields.bool(ARMED),
        // SAFETY: a tuple that a scan returned has its TID set.
        place: Some(unsafe { place_of(tuple) }),
    })
}

/// Calls `work` with the one row that has those keys. `None` if there is no such row.
fn with_row<T>(
    table: &Table,
    wallet: &str,
    allowance: AllowanceId,
    lane: i16,
    mut work: impl FnMut(&mut Fields, pg_sys::HeapTuple) -> Result<T>,
) -> Result<Option<T>> {
    use allowance::*;
    let digest = tid_cache::digest(wallet, allowance, Some(lane));
    let mut found = None;
    if let Some(root) = tid_cache::recall(digest) {
        let is_it = tid_cache::at(table, [root].into_iter(), Prune::Yes, |tuple| {
            let mut fields = Fields::of(table, tuple);
            let is_it = fields.int2(LANE) == lane
                && fields.uuid(ID) == allowance
                && fields.is_text(WALLET, wallet);
            if is_it {
                found = Some(work(&mut fields, tuple)?);
            }
            Ok(is_it)
        })?;
        if is_it {
            return Ok(found);
        }
    }
    let keys = [text_key(wallet), uuid_key(allowance), int2_key(lane)];
    scan_now(table, &keys, |tuple, root| {
        found = Some(work(&mut Fields::of(table, tuple), tuple)?);
        tid_cache::remember(digest, root);
        Ok(false)
    })?;
    Ok(found)
}

/// The lane as it was last committed (or changed by this transaction), without a lock.
pub fn read_lane(table: &Table, wallet: &str, lane: i16) -> Result<Option<Lane>> {
    with_row(table, wallet, BALANCE, lane, |fields, tuple| {
        lane_of(fields, tuple)
    })
}

/// All lanes of the balance in ascending order, without a lock.
pub fn read_lanes(table: &Table, wallet: &str) -> Result<Vec<Lane>> {
    let keys = [text_key(wallet), uuid_key(BALANCE)];
    let mut lanes = Vec::new();
    scan_now(table, &keys, |tuple, _| {
        lanes.push(lane_of(&Fields::of(table, tuple), tuple)?);
        Ok(true)
    })?;
    Ok(lanes)
}

/// The sum of balance and credit in all lanes except one, in units of an amount. Every charge of a
/// wallet with several lanes calls this, so only the needed columns of the rows are read.
pub fn credited_elsewhere(table: &Table, wallet: &str, lane: i16) -> Result<i128> {
    use allowance::*;
    let digest = tid_cache::digest(wallet, BALANCE, None);
    let first = |tuple| Fields::first(table, tuple, SPENT.unsigned_abs().into());
    let others = |fields: &Fields| -> Result<i128> {
        match fields.int2(LANE) == lane {
            true => Ok(0),
            false => Ok(fields.amount(ALLOTTED)?.units() - fields.amount(SPENT)?.units()),
        }
    };
    if let Some(known) = tid_cache::recall_balance(digest) {
        let mut units = 0;
        let mut expected = known.iter();
        let are_all = tid_cache::at(
            table,
            known.iter().map(|lane| lane.root),
            Prune::No,
            |tuple| {
                let fields = first(tuple);
                units += others(&fields)?;
                Ok(expected.next().is_some_and(|known| {
                    fields.int2(LANE) == known.lane
                        && fields.int8(EPOCH) == known.epoch
                        && fields.uuid(ID) == BALANCE
                        && fields.is_text(WALLET, wallet)
                }))
            },
        )?;
        if are_all {
            return Ok(units);
        }
    }
    let keys = [text_key(wallet), uuid_key(BALANCE)];
    let (mut units, mut found) = (0, Vec::new());
    scan_now(table, &keys, |tuple, root| {
        let fields = first(tuple);
        units += others(&fields)?;
        found.push(LaneRoot {
            root,
            lane: fields.int2(LANE),
            epoch: fields.int8(EPOCH),
        });
        Ok(true)
    })?;
    tid_cache::remember_balance(digest, found);
    Ok(units)
}

/// Writes a lane if no other transaction has changed it since it was read.
pub fn write_lane(table: &Table, wallet: &str, lane: &Lane) -> Result<bool> {
    use allowance::*;
    let place = match lane.place {
        Some(place) => place,
        // The lane was read or written through SPI.
        None => match read_lane(table, wallet, lane.lane)? {
            Some(Lane {
                version,
                place: Some(place),
                ..
            }) if version == lane.version => place,
            _ => return Ok(false),
        },
    };
    let mut fields = Fields::empty();
    fields.set_text(WALLET, Some(wallet));
    fields.set_uuid(ID, Some(BALANCE));
    fields.set(LANE, lane.lane.into_datum());
    fields.set(VERSION, (lane.version + 1).into_datum());
    fields.set(EPOCH, lane.epoch.into_datum());
    fields.set(SEQ, lane.seq.into_datum());
    fields.set_amount(ALLOTTED, Some(lane.allotted));
    fields.set_amount(SPENT, Some(lane.spent));
    fields.set_amount(HELD, Some(lane.held));
    fields.set_amount(WATERMARK, Some(lane.watermark));
    fields.set_amount(BOOKED, Some(lane.booked));
    let hash: &[u8] = lane.hash.as_ref().map_or(&[], |hash| hash.as_slice());
    fields.set_bytes(HASH, Some(hash));
    fields.set(ATTENDED, lane.recheck_done.into_datum());
    fields.set(
        LOOK_AT,
        lane.evaluate_at.map(|at| pg_sys::Datum::from(at.0)),
    );
    fields.set(WAITS, lane.waits.into_datum());
    fields.set(ARMED, lane.armed.into_datum());
    if lane.room().is_negative() || lane.spent.is_negative() || lane.held.is_negative() {
        return Err(Error::internal("a lane would be overdrawn"));
    }
    let row = fields.form(table);
    replace(table, place, row)
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
            used: spent
                .plus(fields.amount(HELD)?)
                .map_err(crate::pg::numeric::overflow)?,
            watermark: fields.amount(WATERMARK)?,
            levels: fields.int8(ATTENDED),
        })
    })
}

/// Takes an amount from a window. `None` if the row does not exist or has too little left.
pub fn take(
    table: &Table,
    wallet: &str,
    window: AllowanceId,
    taking: &Taking,
) -> Result<Option<Used>> {
    use allowance::*;
    let amount = |units| Amount::from_units(units).map_err(crate::pg::numeric::overflow);
    let side = match taking.part {
        Part::Spent => SPENT,
        Part::Held => HELD,
    };
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
        let taken = fields.amount(side)?.units() + taking.need.units();
        fields.set_amount(side, Some(amount(taken)?));
        let (_, unlimited) = fields.at(ALLOTTED);
        let cap = match taking.lane {
            0 => taking.cap,
            _ if unlimited => None,
            _ => Some(fields.amount(ALLOTTED)?),
        };
        fields.set_amount(ALLOTTED, cap.map(|cap| cap.max(after)));
        Ok(Some(Used {
            after,
            levels: fields.int8(ATTENDED),
        }))
    })
}

/// Applies `work` to the fields of a window's row and returns its answer. Returns `None` and writes
/// nothing if `work` returns `None` or the row does not exist. Calls `work` again if another
/// transaction has changed the row in the meantime.
fn change<T>(
    table: &Table,
    wallet: &str,
    window: AllowanceId,
    lane: i16,
    mut work: impl FnMut(&mut Fields) -> Result<Option<T>>,
) -> Result<Option<T>> {
    loop {
        let found = with_row(table, wallet, window, lane, |fields, tuple| {
            let Some(answer) = work(fields)? else {
                return Ok(None);
            };
            // Formed while the tuple, into which the unchanged columns point, is pinned.
            let row = fields.form(table);
            // SAFETY: the tuple was read from the table.
            Ok(Some((unsafe { place_of(tuple) }, row, answer)))
        })?;
        match found.flatten() {
            None => return Ok(None),
            Some((place, row, answer)) if replace(table, place, row)? => return Ok(Some(answer)),
            Some(_) => {}
        }
    }
}

/// Releases from a window the amount of a hold that was made in a lane: in that lane's row of the
/// window if it holds as much, otherwise in the row of lane 0. Returns the lane of the row; `None`
/// if no row holds as much.
pub fn release(
    table: &Table,
    wallet: &str,
    window: AllowanceId,
    amount: Amount,
    lane: i16,
) -> Result<Option<i16>> {
    use allowance::*;
    let mut rows = vec![lane, 0];
    rows.dedup();
    for lane in rows {
        let released = change(table, wallet, window, lane, |fields| {
            let held = fields.amount(HELD)?;
            if held < amount {
                return Ok(None);
            }
            let rest = held.minus(amount);
            let rest = rest.map_err(crate::pg::numeric::overflow)?;
            fields.set_amount(HELD, Some(rest));
            Ok(Some(lane))
        })?;
        if released.is_some() {
            return Ok(released);
        }
    }
    Ok(None)
}
