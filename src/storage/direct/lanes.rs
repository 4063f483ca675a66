//! Lanes of balances: rows of `wallet.allowances`.

use pgrx::datum::IntoDatum;
use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::pg::clock::Timestamp;
use crate::storage::direct::fields::Fields;
use crate::storage::direct::scan::{entries, int2_key, scan_now, text_key, uuid_key};
use crate::storage::direct::table::Table;
use crate::storage::direct::tid_cache;
use crate::storage::direct::tid_cache::{LaneRoot, Prune};
use crate::storage::direct::write::{place_of, replace};
use crate::storage::rows::{AllowanceId, BALANCE, Lane};

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
    pub const LIMIT: i16 = 13;
    pub const SUBJECT: i16 = 14;
    pub const START: i16 = 15;
    pub const END: i16 = 16;
    pub const ATTENDED: i16 = 17;
    pub const SLICES: i16 = 18;
    pub const LOOK_AT: i16 = 19;
    pub const WAITS: i16 = 20;
    pub const ARMED: i16 = 21;
}

pub(super) fn lane_of(fields: &Fields, tuple: pg_sys::HeapTuple) -> Result<Lane> {
    use allowance::*;
    let hash = fields.opt_bytes(HASH).unwrap_or_default();
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
pub(super) fn with_row<T>(
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
        let is_it = tid_cache::at_one(table, root, Prune::Yes, |tuple| {
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

/// The most rows of a wallet whose places are remembered at once.
const PLACES: usize = 32;

/// Remembers where the first rows of a wallet are. The windows of a request each need a search in
/// the index otherwise, while most wallets have all their entries on one page of it.
pub(super) fn remember_places(table: &Table, wallet: &str) {
    if !tid_cache::may_be_used() {
        return;
    }
    let keys = [text_key(wallet)];
    // The columns of the primary key: wallet, id and lane.
    let each = |[_, id, lane]: &[pg_sys::Datum; 3], root| {
        // SAFETY: the second column is a uuid that is never NULL: sixteen bytes.
        let id = unsafe { *id.cast_mut_ptr::<AllowanceId>() };
        let digest = tid_cache::digest(wallet, id, Some(lane.value() as i16));
        tid_cache::remember(digest, root);
    };
    entries(table, table.indexes[0], &keys, PLACES, each);
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
