//! Holds: `wallet.reservations`.

use std::rc::Rc;

use pgrx::pg_sys;

use crate::attribution::StoredUse;
use crate::error::{Error, Result};
use crate::money::Amount;
use crate::pg::clock::{Timestamp, one_snapshot_for_all};
use crate::pg::document::Document;
use crate::pg::jsonb::Jsonb;
use crate::storage::direct::fields::Fields;
use crate::storage::direct::scan::{scan_now, text_key, uuid_key};
use crate::storage::direct::table::Table;
use crate::storage::direct::unique_insert;
use crate::storage::direct::write::{
    RowAsRead, Tid, UNIQUE_YES, changed_meanwhile, place_of, replace_in_indexes, tid_of,
};
use crate::storage::hold_rows::{About, Approval, Hold, NewHold, Source, burns};
use crate::storage::plan::Value;
use crate::storage::session;

/// Columns of `wallet.reservations`, by position.
mod column {
    pub const WALLET: i16 = 1;
    pub const ID: i16 = 2;
    pub const STATUS: i16 = 3;
    pub const AMOUNT: i16 = 4;
    pub const HELD: i16 = 5;
    pub const SETTLED: i16 = 6;
    pub const LANE: i16 = 7;
    pub const BALANCE: i16 = 8;
    pub const AFFORDABLE_TOKENS: i16 = 9;
    pub const CREATED_AT: i16 = 10;
    pub const EXPIRES_AT: i16 = 11;
    pub const CLOSED_AT: i16 = 12;
    pub const WINDOW_IDS: i16 = 13;
    pub const WINDOW_AMOUNTS: i16 = 14;
    pub const KEY: i16 = 15;
    pub const FINGERPRINT: i16 = 16;
    pub const KEY_ID: i16 = 17;
    pub const USER_ID: i16 = 18;
    pub const TEAM: i16 = 19;
    pub const MODEL: i16 = 20;
    pub const SERVICE: i16 = 21;
    pub const REGION: i16 = 22;
    pub const SERVICE_TIER: i16 = 23;
    pub const TAGS: i16 = 24;
    pub const USAGE: i16 = 25;
    pub const REASON: i16 = 26;
    pub const ACTOR: i16 = 27;
    pub const METADATA: i16 = 28;
    pub const SCOPED_IDS: i16 = 29;
    pub const SCOPED_AMOUNTS: i16 = 30;
    pub const PROVIDER: i16 = 31;
    pub const PRICED_AS: i16 = 32;
    pub const EVENT_AT: i16 = 33;
    pub const CHARGE_ON_EXPIRY: i16 = 34;
    pub const EXPIRY_ENTRY_ID: i16 = 35;
    pub const APPROVAL: i16 = 36;
    pub const SPENDER: i16 = 37;
}

/// Writes the hold. Returns false if its key is taken. Waits for a transaction that is using the
/// same key.
pub fn insert(table: &Table, new: &NewHold<'_>) -> Result<bool> {
    use column::*;
    let mut fields = Fields::empty();
    fields.set_text(WALLET, Some(new.wallet));
    fields.set_uuid(ID, Some(new.id));
    fields.set_text(STATUS, Some("open"));
    fields.set_text(KEY, new.key);
    fields.set_uuid(FINGERPRINT, new.fingerprint);
    fields.set_uuid(KEY_ID, new.attribution.key_id);
    fields.set_text(USER_ID, new.attribution.user_id);
    fields.set_text(TEAM, new.attribution.team);
    fields.set_text(MODEL, new.context.model);
    fields.set_text(SERVICE, new.context.service);
    fields.set_text(REGION, new.context.region);
    fields.set_text(SERVICE_TIER, new.context.service_tier);
    fields.set_text(ACTOR, new.actor);
    fields.set_text(PROVIDER, new.context.provider);
    fields.set_text(PRICED_AS, new.priced_as);
    fields.set_text(SPENDER, new.spender);
    let mut set = |column: i16, value: Value<'_>| fields.set(column, value.datum());
    set(LANE, Value::Int2(new.lane));
    set(AFFORDABLE_TOKENS, Value::OptInt8(new.affordable_tokens));
    set(CREATED_AT, Value::Time(new.created_at));
    set(EXPIRES_AT, Value::Time(new.expires_at));
    set(WINDOW_IDS, Value::Uuids(&new.window_ids));
    set(WINDOW_AMOUNTS, Value::Amounts(&new.window_amounts));
    set(EVENT_AT, Value::OptTime(new.event_at));
    set(CHARGE_ON_EXPIRY, Value::Bool(new.charge_on_expiry));
    if let Some(approval) = new.approval {
        set(APPROVAL, Value::Char(approval.letter()));
    }
    set(
        TAGS,
        Value::OptJsonb(new.context.tags.map(|tags| tags.value)),
    );
    set(USAGE, Value::OptJsonb(new.usage));
    set(METADATA, Value::OptJsonb(new.metadata));
    set(SCOPED_IDS, Value::Uuids(&new.scoped_ids));
    set(SCOPED_AMOUNTS, Value::Amounts(&new.scoped_amounts));
    fields.set_amount(AMOUNT, Some(new.amount));
    fields.set_amount(HELD, Some(new.amount));
    fields.set_amount(SETTLED, Some(Amount::ZERO));
    fields.set_amount(BALANCE, Some(new.balance));
    let row = fields.form(table);
    if new.key.is_none() {
        // SAFETY: the row has the table's columns.
        unsafe { unique_insert::insert(table, row, &fields, UNIQUE_YES) };
        return Ok(true);
    }
    let keys = || vec![text_key(new.wallet), uuid_key(new.id)];
    // A hold on the single lane has already written the lane's row.
    // SAFETY: the row has the table's columns, and the keys are those of the row.
    unsafe { unique_insert::append(table, row, &fields, &keys, new.lane == 0) }
}

/// The hold as it was last committed (or changed by this transaction), without a lock.
pub fn read(table: &Table, wallet: &str, id: [u8; 16]) -> Result<Option<Hold>> {
    let mut standing = None;
    scan_now(table, &[text_key(wallet), uuid_key(id)], |tuple, _| {
        // SAFETY: the scan's tuple, whose page stays pinned during the copy.
        standing = Some(unsafe {
            RowAsRead {
                tuple: pg_sys::heap_copytuple(tuple),
                place: place_of(tuple),
            }
        });
        Ok(false)
    })?;
    standing
        .map(|standing| hold_of(table, standing))
        .transpose()
}

/// Locks the hold, waiting for the transaction that has it locked. `None` if there is no hold with
/// that id.
pub fn lock(table: &Table, wallet: &str, id: [u8; 16]) -> Result<Option<Hold>> {
    let keys = [text_key(wallet), uuid_key(id)];
    loop {
        let mut place = None;
        scan_now(table, &keys, |tuple, _| {
            // SAFETY: the scan's tuple.
            place = Some(unsafe { place_of(tuple) });
            Ok(false)
        })?;
        let Some(place) = place else {
            return Ok(None);
        };
        if let Some(tuple) = lock_at(table, place)? {
            return hold_of(table, RowAsRead { tuple, place }).map(Some);
        }
    }
}

/// Locks a row version and returns a copy of it. `None` if another transaction has changed the row.
fn lock_at(table: &Table, place: Tid) -> Result<Option<pg_sys::HeapTuple>> {
    let mut row = pg_sys::HeapTupleData {
        t_self: tid_of(place),
        ..Default::default()
    };
    session::note_lock();
    let mut buffer = 0;
    let mut failure = pg_sys::TM_FailureData::default();
    // SAFETY: the TID was read under a snapshot that is not older than the statement's own, so the
    // version has not been removed. heap_lock_tuple waits for a transaction that is changing the
    // row and leaves its page pinned. The copy is made before the pin is released.
    unsafe {
        let result = pg_sys::heap_lock_tuple(
            table.relation,
            &mut row,
            pg_sys::GetCurrentCommandId(true),
            pg_sys::LockTupleMode::LockTupleNoKeyExclusive,
            pg_sys::LockWaitPolicy::LockWaitBlock,
            false,
            &mut buffer,
            &mut failure,
        );
        let copy = match result {
            pg_sys::TM_Result::TM_Ok => Ok(Some(pg_sys::heap_copytuple(&mut row))),
            pg_sys::TM_Result::TM_Updated | pg_sys::TM_Result::TM_Deleted
                if one_snapshot_for_all() =>
            {
                Err(changed_meanwhile())
            }
            pg_sys::TM_Result::TM_Updated | pg_sys::TM_Result::TM_Deleted => Ok(None),
            other => Err(Error::internal(format!(
                "unexpected answer {other} of heap_lock_tuple"
            ))),
        };
        pg_sys::ReleaseBuffer(buffer);
        copy
    }
}

/// Tags and usage are not copied: they point into the row's copy, which is kept as the hold's
/// source. The result must equal that of `hold_rows`, which reads the same row by a statement.
fn hold_of(table: &Table, standing: RowAsRead) -> Result<Hold> {
    use column::*;
    let fields = Fields::of(table, standing.tuple);
    let optional = |column: i16| (!fields.at(column).1).then(|| fields.uuid(column));
    let windows = fields
        .uuids(WINDOW_IDS)
        .into_iter()
        .zip(fields.amounts(WINDOW_AMOUNTS)?)
        .collect();
    let scoped = burns(fields.uuids(SCOPED_IDS), fields.amounts(SCOPED_AMOUNTS)?);
    let about = About {
        stored: StoredUse {
            key_id: optional(KEY_ID),
            user_id: fields.text(USER_ID),
            team: fields.text(TEAM),
            model: fields.text(MODEL),
            service: fields.text(SERVICE),
            region: fields.text(REGION),
            service_tier: fields.text(SERVICE_TIER),
            tags: match fields.at(TAGS) {
                (_, true) => None,
                (datum, false) => Some(Document::of(Jsonb(datum))),
            },
            provider: fields.text(PROVIDER),
        },
        priced_as: fields.text(PRICED_AS),
        event_at: fields.time(EVENT_AT),
        usage: match fields.at(USAGE) {
            (_, true) => None,
            (datum, false) => Some(Jsonb(datum)),
        },
    };
    Ok(Hold {
        id: fields.uuid(ID),
        status: fields.needed_text(STATUS)?,
        amount: fields.amount(AMOUNT)?,
        held: fields.amount(HELD)?,
        settled: fields.amount(SETTLED)?,
        lane: fields.int2(LANE),
        created_at: fields.needed_time(CREATED_AT),
        expires_at: fields.needed_time(EXPIRES_AT),
        windows,
        scoped,
        about: Rc::new(about),
        balance: fields.amount(BALANCE)?,
        affordable_tokens: fields.opt_int8(AFFORDABLE_TOKENS),
        fingerprint: optional(FINGERPRINT),
        charge_on_expiry: fields.bool(CHARGE_ON_EXPIRY),
        expiry_entry: optional(EXPIRY_ENTRY_ID),
        approval: fields
            .opt_char(APPROVAL)
            .and_then(|letter| Approval::of(&[letter])),
        spender: fields.text(SPENDER),
        source: Source::Table(standing),
    })
}

/// Writes the new state of a hold and returns its new TID. `None` if another transaction has
/// changed the hold since it was read.
pub fn write(
    table: &Table,
    hold: &Hold,
    standing: &RowAsRead,
    closed_at: Option<Timestamp>,
    reason: Option<&str>,
) -> Result<Option<RowAsRead>> {
    use column::*;
    let mut fields = Fields::of(table, standing.tuple);
    fields.set_text(STATUS, Some(&hold.status));
    fields.set_amount(HELD, Some(hold.held));
    fields.set_amount(SETTLED, Some(hold.settled));
    fields.set(
        WINDOW_AMOUNTS,
        Value::Amounts(&hold.window_amounts()).datum(),
    );
    let (scoped_ids, scoped_amounts) = hold.scoped_parts();
    fields.set(SCOPED_IDS, Value::Uuids(&scoped_ids).datum());
    fields.set(SCOPED_AMOUNTS, Value::Amounts(&scoped_amounts).datum());
    fields.set(CLOSED_AT, Value::OptTime(closed_at).datum());
    if reason.is_some() {
        fields.set_text(REASON, reason);
    }
    let tuple = fields.form(table);
    // The third index contains open holds only.
    let is_open = hold.status == "open";
    if !replace_in_indexes(table, standing.place, tuple, Some(&fields), is_open)? {
        return Ok(None);
    }
    // SAFETY: the row has just been written.
    let place = unsafe { place_of(tuple) };
    Ok(Some(RowAsRead { tuple, place }))
}
