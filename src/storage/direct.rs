//! The hot tables without the executor.
//!
//! For every statement the executor parses CHECK and WHEN expressions from text, opens indexes and
//! builds a plan state; that costs more than reading and writing the row. Here rows are found by
//! the primary key's index and written with `heap_update` and `heap_insert`, as the executor does
//! it underneath, with the same visibility, waiting, WAL and index entries. `store` takes this way
//! only where it is right (see [`Table::open`]) and the SPI way elsewhere; both answer the same.
//!
//! The rules that CHECK and triggers would enforce hold here because the callers check them before
//! they write: what a lane or window spends and holds is never more than it was allotted.
//!
//! Memory is the caller's; relations, scans and snapshots are released on every return, and after
//! an error by the (sub)transaction's abort.

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr;

use pgrx::datum::{FromDatum, IntoDatum};
use pgrx::pg_sys;

use crate::error::{Code, Error, Result};
use crate::money::Amount;
use crate::storage::clock::one_snapshot_for_all;
use crate::storage::invalidation;
use crate::storage::numeric::{Number, fixed_datum};
use crate::storage::rows::{
    AllowanceId, BALANCE, Call, Entry, Lane, LimitRow, Link, RuleRows, WalletRow,
};

/// A table that this way may be taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `wallet.allowances`
    Allowances,
    /// `wallet.ledger`
    Ledger,
    /// `wallet.wallets`, read only
    Wallets,
    /// `wallet.limits`, read only
    Limits,
}

impl Which {
    fn name(self) -> &'static CStr {
        match self {
            Which::Allowances => c"allowances",
            Which::Ledger => c"ledger",
            Which::Wallets => c"wallets",
            Which::Limits => c"limits",
        }
    }

    /// Columns that the code below knows; another number is another version's table.
    fn columns(self) -> i32 {
        match self {
            Which::Allowances => 17,
            Which::Ledger => 31,
            Which::Wallets => 18,
            Which::Limits => 10,
        }
    }

    /// True for a table to which rows are written without the executor: then every index and
    /// trigger counts.
    fn is_written(self) -> bool {
        matches!(self, Which::Allowances | Which::Ledger)
    }

    fn indexes(self) -> &'static [&'static CStr] {
        match self {
            Which::Allowances => &[c"allowances_pkey"],
            Which::Ledger => &[c"ledger_pkey", c"ledger_idempotency"],
            Which::Wallets => &[c"wallets_pkey"],
            Which::Limits => &[c"limits_pkey"],
        }
    }
}

/// What a table is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Also in a read-only transaction and on a standby.
    Read,
    /// Rows will be inserted or updated.
    Write,
}

impl Access {
    fn lock(self) -> pg_sys::LOCKMODE {
        match self {
            Access::Read => pg_sys::AccessShareLock as pg_sys::LOCKMODE,
            Access::Write => pg_sys::RowExclusiveLock as pg_sys::LOCKMODE,
        }
    }
}

/// Oids of a table and its indexes, as found fit.
#[derive(Clone, Copy, Debug)]
struct Fit {
    table: pg_sys::Oid,
    indexes: [pg_sys::Oid; 2],
}

/// What was found out about a table, and when.
type Verdict = Cell<Option<(u64, Option<Fit>)>>;

thread_local! {
    static VERDICTS: [Verdict; 4] = const { [const { Cell::new(None) }; 4] };
}

/// An open table that may be written without the executor.
pub struct Table {
    relation: pg_sys::Relation,
    indexes: [pg_sys::Oid; 2],
}

impl Drop for Table {
    fn drop(&mut self) {
        // An error that unwinds leaves the release to the abort.
        if !std::thread::panicking() {
            // SAFETY: opened by `open`, closed once; the lock stays until the transaction ends.
            unsafe { pg_sys::table_close(self.relation, pg_sys::NoLock as pg_sys::LOCKMODE) };
        }
    }
}

impl Table {
    /// Opens the table, or says that this way is not right for it: it must be a local heap table
    /// with our columns and our indexes alone, without rules, and without triggers on what is done
    /// here but our own, which only refuse what is never done here.
    pub fn open(which: Which, access: Access) -> Option<Table> {
        if access == Access::Write {
            // The executor would refuse these for us.
            // SAFETY: they look at the transaction's state and raise.
            unsafe {
                pg_sys::PreventCommandIfReadOnly(c"this wallet function".as_ptr());
                pg_sys::PreventCommandIfParallelMode(c"this wallet function".as_ptr());
            }
        }
        let known = VERDICTS.with(|verdicts| verdicts[which as usize].get());
        let fit = match known {
            Some((generation, fit)) if generation == invalidation::tables() => fit,
            _ => judge(which),
        }?;
        let lock = access.lock();
        // SAFETY: the table existed when it was judged; table_open raises if it is gone.
        let relation = unsafe { pg_sys::table_open(fit.table, lock) };
        let table = Table {
            relation,
            indexes: fit.indexes,
        };
        // Locking takes in invalidations: what was judged may have changed just before.
        let still = VERDICTS.with(|verdicts| verdicts[which as usize].get());
        match still {
            Some((generation, Some(_))) if generation == invalidation::tables() => Some(table),
            _ => {
                drop(table);
                judge(which).map(|fit| {
                    // SAFETY: as above, and the lock is held now.
                    let relation = unsafe { pg_sys::table_open(fit.table, lock) };
                    Table {
                        relation,
                        indexes: fit.indexes,
                    }
                })
            }
        }
    }
}

/// Looks at the table and remembers the verdict until a relation changes.
fn judge(which: Which) -> Option<Fit> {
    let generation = invalidation::tables();
    // SAFETY: catalog look-ups; the relation is closed before returning.
    let fit = unsafe {
        let schema = pg_sys::get_namespace_oid(c"wallet".as_ptr(), true);
        let oid = pg_sys::get_relname_relid(which.name().as_ptr(), schema);
        if oid == pg_sys::InvalidOid {
            return None;
        }
        let relation = pg_sys::table_open(oid, Access::Read.lock());
        let fit = fits(relation, which, schema);
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        fit
    };
    VERDICTS.with(|verdicts| verdicts[which as usize].set(Some((generation, fit))));
    fit
}

/// # Safety
/// The relation is open and locked.
unsafe fn fits(relation: pg_sys::Relation, which: Which, schema: pg_sys::Oid) -> Option<Fit> {
    // SAFETY: an open relation has its descriptors; the index list is a palloc'ed list of oids.
    unsafe {
        let class = (*relation).rd_rel;
        let plain = (*class).relkind == pg_sys::RELKIND_RELATION as std::ffi::c_char
            && (*class).relam == pg_sys::HEAP_TABLE_AM_OID
            && !(*class).relispartition
            && (*relation).rd_rules.is_null()
            && (*(*relation).rd_att).natts == which.columns()
            && (!which.is_written() || triggers_are_ours(relation, which))
            // Where Citus is, a table may be distributed.
            && pg_sys::get_relname_relid(
                c"pg_dist_partition".as_ptr(),
                pg_sys::PG_CATALOG_NAMESPACE.into(),
            ) == pg_sys::InvalidOid;
        let list = pg_sys::RelationGetIndexList(relation);
        let count = if list.is_null() { 0 } else { (*list).length };
        pg_sys::list_free(list);
        let mut indexes = [pg_sys::InvalidOid; 2];
        for (index, name) in indexes.iter_mut().zip(which.indexes()) {
            *index = pg_sys::get_relname_relid(name.as_ptr(), schema);
            if *index == pg_sys::InvalidOid {
                return None;
            }
        }
        let ours = !which.is_written() || usize::try_from(count) == Ok(which.indexes().len());
        (plain && ours).then_some(Fit {
            table: (*relation).rd_id,
            indexes,
        })
    }
}

/// # Safety
/// The relation is open and locked.
unsafe fn triggers_are_ours(relation: pg_sys::Relation, which: Which) -> bool {
    // SAFETY: trigdesc is NULL or describes `numtriggers` triggers with NUL-terminated names.
    unsafe {
        let description = (*relation).trigdesc;
        if description.is_null() {
            return false;
        }
        let count = usize::try_from((*description).numtriggers).unwrap_or(0);
        let triggers = std::slice::from_raw_parts((*description).triggers, count);
        // Entries are only inserted, allowances only updated, so that others' triggers on other
        // events do no harm, such as those of a foreign key that refers to an entry.
        let (event, ours): (i16, &CStr) = match which {
            Which::Allowances => (
                pg_sys::TRIGGER_TYPE_UPDATE as i16,
                c"refuse_overdraft_on_update",
            ),
            _ => (pg_sys::TRIGGER_TYPE_INSERT as i16, c""),
        };
        triggers
            .iter()
            .filter(|trigger| trigger.tgtype & event != 0)
            .all(|trigger| CStr::from_ptr(trigger.tgname) == ours)
    }
}

/// One key column of an index.
struct Key {
    column: i16,
    collation: pg_sys::Oid,
    equal: u32,
    value: pg_sys::Datum,
}

fn text_key(column: i16, value: &str) -> Key {
    Key {
        column,
        collation: pg_sys::DEFAULT_COLLATION_OID,
        equal: pg_sys::F_TEXTEQ,
        value: value.into_datum().unwrap_or(pg_sys::Datum::null()),
    }
}

fn uuid_key(column: i16, value: [u8; 16]) -> Key {
    let value = pgrx::Uuid::from_bytes(value)
        .into_datum()
        .unwrap_or(pg_sys::Datum::null());
    Key {
        column,
        collation: pg_sys::InvalidOid,
        equal: pg_sys::F_UUID_EQ,
        value,
    }
}

fn int2_key(column: i16, value: i16) -> Key {
    let value = pg_sys::Datum::from(value);
    Key {
        column,
        collation: pg_sys::InvalidOid,
        equal: pg_sys::F_INT2EQ,
        value,
    }
}

fn char_key(column: i16, value: u8) -> Key {
    let value = pg_sys::Datum::from(value);
    Key {
        column,
        collation: pg_sys::InvalidOid,
        equal: pg_sys::F_CHAREQ,
        value,
    }
}

/// Calls `each` with the rows that the keys find, until it says stop.
fn scan(
    table: &Table,
    index: pg_sys::Oid,
    snapshot: pg_sys::Snapshot,
    keys: &[Key],
    mut each: impl FnMut(pg_sys::HeapTuple) -> Result<bool>,
) -> Result<()> {
    let mut entries: Vec<pg_sys::ScanKeyData> = Vec::with_capacity(keys.len());
    // SAFETY: the keys are those of the index's leading columns with the types' own equality; the
    // scan is ended before the entries go, and tuples are only used inside `each`.
    unsafe {
        for key in keys {
            let mut entry = pg_sys::ScanKeyData::default();
            pg_sys::ScanKeyEntryInitialize(
                &mut entry,
                0,
                key.column,
                pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
                pg_sys::InvalidOid,
                key.collation,
                pg_sys::Oid::from(key.equal),
                key.value,
            );
            entries.push(entry);
        }
        let scan = pg_sys::systable_beginscan(
            table.relation,
            index,
            true,
            snapshot,
            entries.len() as i32,
            entries.as_mut_ptr(),
        );
        let mut result = Ok(true);
        while matches!(result, Ok(true)) {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            result = each(tuple);
        }
        pg_sys::systable_endscan(scan);
        result.map(drop)
    }
}

/// Scans with what is committed now (under READ COMMITTED), one's own changes included.
fn scan_now(
    table: &Table,
    keys: &[Key],
    each: impl FnMut(pg_sys::HeapTuple) -> Result<bool>,
) -> Result<()> {
    // SAFETY: registered for as long as the scan runs; an error leaves it to the abort.
    unsafe {
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot());
        let result = scan(table, table.indexes[0], snapshot, keys, each);
        pg_sys::UnregisterSnapshot(snapshot);
        result
    }
}

/// The columns of a row.
struct Fields {
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

impl Fields {
    fn empty(columns: usize) -> Fields {
        Fields {
            values: vec![pg_sys::Datum::null(); columns],
            nulls: vec![true; columns],
        }
    }

    /// Takes a row apart. By-reference values point into the tuple.
    fn of(table: &Table, tuple: pg_sys::HeapTuple) -> Fields {
        // SAFETY: as many slots as the descriptor has attributes.
        unsafe {
            let descriptor = (*table.relation).rd_att;
            let mut fields = Fields::empty(usize::try_from((*descriptor).natts).unwrap_or(0));
            pg_sys::heap_deform_tuple(
                tuple,
                descriptor,
                fields.values.as_mut_ptr(),
                fields.nulls.as_mut_ptr(),
            );
            fields
        }
    }

    fn set(&mut self, column: i16, value: Option<pg_sys::Datum>) {
        let index = usize::from(column.unsigned_abs()) - 1;
        self.nulls[index] = value.is_none();
        self.values[index] = value.unwrap_or(pg_sys::Datum::null());
    }

    fn at(&self, column: i16) -> (pg_sys::Datum, bool) {
        let index = usize::from(column.unsigned_abs()) - 1;
        (self.values[index], self.nulls[index])
    }

    fn int8(&self, column: i16) -> i64 {
        self.at(column).0.value() as i64
    }

    fn uuid(&self, column: i16) -> [u8; 16] {
        let (datum, _) = self.at(column);
        // SAFETY: the column is a uuid that is never NULL: sixteen bytes.
        unsafe { *datum.cast_mut_ptr::<[u8; 16]>() }
    }

    fn int2(&self, column: i16) -> i16 {
        self.at(column).0.value() as i16
    }

    fn text(&self, column: i16) -> Option<String> {
        let (datum, is_null) = self.at(column);
        // SAFETY: the column is a text; the bytes are copied.
        unsafe { String::from_datum(datum, is_null) }
    }

    fn needed_text(&self, column: i16) -> Result<String> {
        self.text(column)
            .ok_or_else(|| Error::internal(format!("column {column} of a rule is NULL")))
    }

    fn amount(&self, column: i16) -> Result<Amount> {
        let (datum, is_null) = self.at(column);
        // SAFETY: the column is a numeric.
        let number = unsafe { Number::from_datum(datum, is_null) };
        number
            .and_then(|number| number.to_amount().ok())
            .ok_or_else(|| Error::internal(format!("column {column} is no amount")))
    }

    /// The row as a tuple of the table.
    fn form(&mut self, table: &Table) -> pg_sys::HeapTuple {
        // SAFETY: values and nulls match the descriptor in number and type.
        unsafe {
            pg_sys::heap_form_tuple(
                (*table.relation).rd_att,
                self.values.as_mut_ptr(),
                self.nulls.as_mut_ptr(),
            )
        }
    }
}

/// Columns of `wallet.allowances`, by position.
mod allowance {
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
}

fn lane_of(fields: &Fields, tuple: pg_sys::HeapTuple) -> Result<Lane> {
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
        attended: fields.int8(ATTENDED),
        // SAFETY: a tuple that a scan returned knows where it stands.
        place: Some(unsafe { place_of(tuple) }),
    })
}

/// # Safety
/// The tuple was read from a table.
unsafe fn place_of(tuple: pg_sys::HeapTuple) -> (u16, u16, u16) {
    // SAFETY: t_self is set for tuples that were read.
    let tid = unsafe { (*tuple).t_self };
    (tid.ip_blkid.bi_hi, tid.ip_blkid.bi_lo, tid.ip_posid)
}

/// The lane as it was last committed (or changed by this transaction), without a lock.
pub fn read_lane(table: &Table, wallet: &str, lane: i16) -> Result<Option<Lane>> {
    use allowance::*;
    let keys = [
        text_key(WALLET, wallet),
        uuid_key(ID, BALANCE),
        int2_key(LANE, lane),
    ];
    let mut found = None;
    scan_now(table, &keys, |tuple| {
        found = Some(lane_of(&Fields::of(table, tuple), tuple)?);
        Ok(false)
    })?;
    Ok(found)
}

/// Columns of `wallet.wallets`, by position.
mod wallets {
    pub const WALLET: i16 = 1;
    pub const CURRENCY: i16 = 2;
    pub const CREDIT_LIMIT: i16 = 3;
    pub const STATUS: i16 = 6;
    pub const STATUS_REASON: i16 = 7;
    pub const LANES: i16 = 9;
    pub const PRICE_LIST: i16 = 10;
    pub const ATTENTION: i16 = 18;
}

/// Columns of `wallet.limits`, by position.
mod limits {
    pub const WALLET: i16 = 1;
    pub const ID: i16 = 2;
    pub const SCOPE: i16 = 3;
    pub const SUBJECT: i16 = 4;
    pub const PERIOD: i16 = 5;
    pub const MAX: i16 = 8;
    pub const TIME_ZONE: i16 = 9;
}

/// What a charge must know of a wallet, all under one snapshot: rules and epoch belong together.
pub fn read_rules(
    wallets: &Table,
    allowances: &Table,
    limits: &Table,
    wallet: &str,
) -> Result<Option<RuleRows>> {
    // SAFETY: registered for as long as the scans run; an error leaves it to the abort.
    let snapshot = unsafe { pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot()) };
    let rules = read_rules_under(snapshot, wallets, allowances, limits, wallet);
    // SAFETY: registered above.
    unsafe { pg_sys::UnregisterSnapshot(snapshot) };
    rules
}

fn read_rules_under(
    snapshot: pg_sys::Snapshot,
    wallets: &Table,
    allowances: &Table,
    limits: &Table,
    wallet: &str,
) -> Result<Option<RuleRows>> {
    let mut found = None;
    scan(
        wallets,
        wallets.indexes[0],
        snapshot,
        &[text_key(wallets::WALLET, wallet)],
        |tuple| {
            let fields = Fields::of(wallets, tuple);
            found = Some(WalletRow {
                currency: fields.needed_text(wallets::CURRENCY)?,
                credit_limit: fields.amount(wallets::CREDIT_LIMIT)?,
                status: fields.needed_text(wallets::STATUS)?,
                status_reason: fields.text(wallets::STATUS_REASON),
                lanes: fields.int2(wallets::LANES),
                price_list: fields.needed_text(wallets::PRICE_LIST)?,
                attention: fields.int8(wallets::ATTENTION),
            });
            Ok(false)
        },
    )?;
    let Some(row) = found else {
        return Ok(None);
    };
    let keys = [
        text_key(allowance::WALLET, wallet),
        uuid_key(allowance::ID, BALANCE),
        int2_key(allowance::LANE, row.first_lane()),
    ];
    let mut lane = None;
    scan(
        allowances,
        allowances.indexes[0],
        snapshot,
        &keys,
        |tuple| {
            lane = Some(lane_of(&Fields::of(allowances, tuple), tuple)?);
            Ok(false)
        },
    )?;
    let lane = lane.ok_or_else(|| Error::internal("a wallet has no lane"))?;
    let mut rows = Vec::new();
    scan(
        limits,
        limits.indexes[0],
        snapshot,
        &[text_key(limits::WALLET, wallet)],
        |tuple| {
            let fields = Fields::of(limits, tuple);
            rows.push(LimitRow {
                id: fields.uuid(limits::ID),
                scope: fields.needed_text(limits::SCOPE)?,
                subject: fields.needed_text(limits::SUBJECT)?,
                period: fields.needed_text(limits::PERIOD)?,
                max: fields.amount(limits::MAX)?,
                time_zone: fields.needed_text(limits::TIME_ZONE)?,
            });
            Ok(true)
        },
    )?;
    let (epoch, attended) = (lane.epoch, lane.attended);
    Ok(Some(RuleRows {
        wallet: row,
        epoch,
        attended,
        limits: rows,
    }))
}

/// All lanes of the balance in ascending order, without a lock.
pub fn read_lanes(table: &Table, wallet: &str) -> Result<Vec<Lane>> {
    use allowance::*;
    let keys = [text_key(WALLET, wallet), uuid_key(ID, BALANCE)];
    let mut lanes = Vec::new();
    scan_now(table, &keys, |tuple| {
        lanes.push(lane_of(&Fields::of(table, tuple), tuple)?);
        Ok(true)
    })?;
    Ok(lanes)
}

/// Replaces a row; false when another transaction changed it since it was read.
fn replace(table: &Table, place: (u16, u16, u16), row: pg_sys::HeapTuple) -> Result<bool> {
    let mut old = pg_sys::ItemPointerData {
        ip_blkid: pg_sys::BlockIdData {
            bi_hi: place.0,
            bi_lo: place.1,
        },
        ip_posid: place.2,
    };
    let mut failure = pg_sys::TM_FailureData::default();
    let mut mode = pg_sys::LockTupleMode::LockTupleNoKeyExclusive;
    // SAFETY: `old` was read under a snapshot that is not older than the statement's own active
    // one, which keeps the version from being pruned and its place from being used again. The new
    // row has the table's columns. heap_update waits for a transaction that is changing the row.
    let result = unsafe {
        let command = pg_sys::GetCurrentCommandId(true);
        heap_update(
            table.relation,
            &mut old,
            row,
            command,
            &mut failure,
            &mut mode,
        )
    };
    match result {
        pg_sys::TM_Result::TM_Ok => {
            // SAFETY: heap_update has set t_self; the row's key columns are those of the old one.
            unsafe {
                if !is_heap_only(row) {
                    insert_into_index(table, table.indexes[0], row, UNIQUE_YES);
                }
                pg_sys::CommandCounterIncrement();
            }
            Ok(true)
        }
        pg_sys::TM_Result::TM_Updated | pg_sys::TM_Result::TM_Deleted if one_snapshot_for_all() => {
            Err(Error::new(
                Code::SerializationFailure,
                "could not serialize access due to concurrent update",
            )
            .hint("Run the transaction again."))
        }
        pg_sys::TM_Result::TM_Updated | pg_sys::TM_Result::TM_Deleted => Ok(false),
        other => Err(Error::internal(format!(
            "unexpected answer {other} of heap_update"
        ))),
    }
}

/// `heap_update` over the versions of PostgreSQL.
///
/// # Safety
/// As for `heap_update`.
unsafe fn heap_update(
    relation: pg_sys::Relation,
    old: &mut pg_sys::ItemPointerData,
    row: pg_sys::HeapTuple,
    command: pg_sys::CommandId,
    failure: &mut pg_sys::TM_FailureData,
    mode: &mut pg_sys::LockTupleMode::Type,
) -> pg_sys::TM_Result::Type {
    #[cfg(feature = "pg15")]
    // SAFETY: the caller's guarantee.
    unsafe {
        pg_sys::heap_update(
            relation,
            old,
            row,
            command,
            ptr::null_mut(),
            true,
            failure,
            mode,
        )
    }
    #[cfg(not(feature = "pg15"))]
    // SAFETY: the caller's guarantee. Which indexes need an entry is read off the row.
    unsafe {
        let mut indexes = pg_sys::TU_UpdateIndexes::TU_None;
        pg_sys::heap_update(
            relation,
            old,
            row,
            command,
            ptr::null_mut(),
            true,
            failure,
            mode,
            &mut indexes,
        )
    }
}

/// # Safety
/// The tuple was written by heap_update.
unsafe fn is_heap_only(row: pg_sys::HeapTuple) -> bool {
    // SAFETY: t_data is the tuple's header.
    unsafe { u32::from((*(*row).t_data).t_infomask2) & pg_sys::HEAP_ONLY_TUPLE != 0 }
}

const UNIQUE_YES: pg_sys::IndexUniqueCheck::Type = pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES;
const UNIQUE_PARTIAL: pg_sys::IndexUniqueCheck::Type =
    pg_sys::IndexUniqueCheck::UNIQUE_CHECK_PARTIAL;

/// Adds the row to an index; false when a partial check found a possible conflict.
///
/// # Safety
/// The row stands in the table, and the index is one of the table's without expressions or
/// predicate.
unsafe fn insert_into_index(
    table: &Table,
    index: pg_sys::Oid,
    row: pg_sys::HeapTuple,
    check: pg_sys::IndexUniqueCheck::Type,
) -> bool {
    // SAFETY: key columns are plain attributes of the table, as `judge` found; the arrays have
    // room for every key column.
    unsafe {
        let lock = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        let relation = pg_sys::index_open(index, lock);
        let info = pg_sys::BuildIndexInfo(relation);
        let mut values = [pg_sys::Datum::null(); 32];
        let mut nulls = [false; 32];
        let count = usize::try_from((*info).ii_NumIndexAttrs).unwrap_or(0);
        for key in 0..count {
            values[key] = pg_sys::heap_getattr(
                row,
                i32::from((*info).ii_IndexAttrNumbers[key]),
                (*table.relation).rd_att,
                &mut nulls[key],
            );
        }
        let unique = pg_sys::index_insert(
            relation,
            values.as_mut_ptr(),
            nulls.as_mut_ptr(),
            &mut (*row).t_self,
            table.relation,
            check,
            false,
            info,
        );
        pg_sys::index_close(relation, lock);
        unique
    }
}

/// Writes a lane if nobody has changed it since it was read.
pub fn write_lane(table: &Table, wallet: &str, lane: &Lane) -> Result<bool> {
    use allowance::*;
    let place = match lane.place {
        Some(place) => place,
        // Read or written by the other way.
        None => match read_lane(table, wallet, lane.lane)? {
            Some(Lane {
                version,
                place: Some(place),
                ..
            }) if version == lane.version => place,
            _ => return Ok(false),
        },
    };
    let mut fields = Fields::empty(Which::Allowances.columns() as usize);
    fields.set(WALLET, wallet.into_datum());
    fields.set(ID, pgrx::Uuid::from_bytes(BALANCE).into_datum());
    fields.set(LANE, lane.lane.into_datum());
    fields.set(VERSION, (lane.version + 1).into_datum());
    fields.set(EPOCH, lane.epoch.into_datum());
    fields.set(SEQ, lane.seq.into_datum());
    fields.set(ALLOTTED, Some(fixed_datum(lane.allotted)));
    fields.set(SPENT, Some(fixed_datum(lane.spent)));
    fields.set(HELD, Some(fixed_datum(lane.held)));
    fields.set(WATERMARK, Some(fixed_datum(lane.watermark)));
    fields.set(BOOKED, Some(fixed_datum(lane.booked)));
    let hash: &[u8] = lane.hash.as_ref().map_or(&[], |hash| hash.as_slice());
    fields.set(HASH, hash.into_datum());
    fields.set(ATTENDED, lane.attended.into_datum());
    if lane.room().is_negative() || lane.spent.is_negative() || lane.held.is_negative() {
        return Err(Error::internal("a lane would be overdrawn"));
    }
    let row = fields.form(table);
    replace(table, place, row)
}

/// Takes an amount from a window; false when it is not there or has not that much left.
pub fn take(table: &Table, wallet: &str, window: AllowanceId, amount: Amount) -> Result<bool> {
    use allowance::*;
    let keys = [
        text_key(WALLET, wallet),
        uuid_key(ID, window),
        int2_key(LANE, 0),
    ];
    loop {
        let mut found = None;
        scan_now(table, &keys, |tuple| {
            let mut fields = Fields::of(table, tuple);
            let (spent, held) = (fields.amount(SPENT)?, fields.amount(HELD)?);
            let after = spent.units() + amount.units();
            if after + held.units() > fields.amount(ALLOTTED)?.units() {
                return Ok(false);
            }
            let after = Amount::from_units(after).map_err(crate::storage::numeric::overflow)?;
            fields.set(SPENT, Some(fixed_datum(after)));
            fields.set(VERSION, (fields.int8(VERSION) + 1).into_datum());
            // Formed while the tuple that the other columns point into is pinned.
            let row = fields.form(table);
            // SAFETY: the scan's tuple.
            found = Some((unsafe { place_of(tuple) }, row));
            Ok(false)
        })?;
        match found {
            None => return Ok(false),
            Some((place, row)) if replace(table, place, row)? => return Ok(true),
            // Another transaction came first: look again.
            Some(_) => {}
        }
    }
}

/// Columns of `wallet.ledger` that are keys, by position.
mod ledger {
    pub const CALL: i16 = 10;
    pub const WALLET: i16 = 11;
    pub const KEY: i16 = 16;
}

/// Writes the entry; false when its idempotency key is taken. Waits for a transaction that is
/// using the same key.
///
/// As for INSERT … ON CONFLICT DO NOTHING the row is inserted speculatively: if another entry with
/// the key shows up while ours goes into the index, ours is taken out again.
pub fn append(table: &Table, entry: &Entry<'_>, link: &Link) -> Result<bool> {
    let row = entry_row(table, entry, link);
    if let Some(key) = entry.key {
        let keys = [
            text_key(ledger::WALLET, entry.wallet),
            text_key(ledger::KEY, key),
            char_key(ledger::CALL, entry.call as u8),
        ];
        loop {
            match wait_for_key(table, &keys)? {
                KeyState::Taken => return taken(table, &keys),
                KeyState::Waited => {}
                KeyState::Free => break,
            }
        }
        // Charges on the single lane have written its row, and fundings hold the wallet's: nobody
        // else can be using a key of theirs now.
        if link.lane != 0 && entry.call != Call::Fund {
            return append_speculatively(table, row, &keys);
        }
    }
    // SAFETY: the row has the table's columns, and no other entry can have its key.
    unsafe {
        pg_sys::simple_heap_insert(table.relation, row);
        insert_into_index(table, table.indexes[0], row, UNIQUE_YES);
        insert_into_index(table, table.indexes[1], row, UNIQUE_YES);
        pg_sys::CommandCounterIncrement();
    }
    Ok(true)
}

fn append_speculatively(table: &Table, row: pg_sys::HeapTuple, keys: &[Key]) -> Result<bool> {
    loop {
        // SAFETY: the token is set before the insertion and the insertion is finished or taken
        // back before the lock is released, as the executor does it.
        let lost = unsafe {
            let xid = pg_sys::GetCurrentTransactionId();
            let token = pg_sys::SpeculativeInsertionLockAcquire(xid);
            set_speculative_token(row, token);
            pg_sys::heap_insert(
                table.relation,
                row,
                pg_sys::GetCurrentCommandId(true),
                pg_sys::HEAP_INSERT_SPECULATIVE as i32,
                ptr::null_mut(),
            );
            insert_into_index(table, table.indexes[0], row, UNIQUE_YES);
            let unique = insert_into_index(table, table.indexes[1], row, UNIQUE_PARTIAL);
            let state = if unique {
                KeyState::Free
            } else {
                key_state(table, keys, Some(place_of(row)))?.0
            };
            if state == KeyState::Free {
                pg_sys::heap_finish_speculative(table.relation, &mut (*row).t_self);
            } else {
                pg_sys::heap_abort_speculative(table.relation, &mut (*row).t_self);
            }
            pg_sys::SpeculativeInsertionLockRelease(xid);
            pg_sys::CommandCounterIncrement();
            state != KeyState::Free
        };
        if !lost {
            return Ok(true);
        }
        if wait_for_key(table, keys)? == KeyState::Taken {
            return self::taken(table, keys);
        }
    }
}

/// # Safety
/// The row is not in the table yet.
unsafe fn set_speculative_token(row: pg_sys::HeapTuple, token: u32) {
    // SAFETY: a speculative tuple carries its token in t_ctid: the block number is the token, the
    // offset SpecTokenOffsetNumber.
    unsafe {
        let ctid = &mut (*(*row).t_data).t_ctid;
        ctid.ip_blkid.bi_hi = (token >> 16) as u16;
        ctid.ip_blkid.bi_lo = (token & 0xffff) as u16;
        ctid.ip_posid = SPEC_TOKEN_OFFSET;
    }
}

/// `SpecTokenOffsetNumber` of `htup_details.h`.
const SPEC_TOKEN_OFFSET: u16 = 0xfffe;

/// Who has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyState {
    /// Nobody.
    Free,
    /// An entry that is committed or this transaction's own.
    Taken,
    /// Another transaction had it, and has ended meanwhile.
    Waited,
}

/// Looks for an entry with the key, committed or not, and for whom to wait.
fn key_state(
    table: &Table,
    keys: &[Key],
    own: Option<(u16, u16, u16)>,
) -> Result<(KeyState, pg_sys::TransactionId, u32)> {
    let mut snapshot = pg_sys::SnapshotData {
        snapshot_type: pg_sys::SnapshotType::SNAPSHOT_DIRTY,
        ..Default::default()
    };
    let mut state = (KeyState::Free, pg_sys::InvalidTransactionId, 0);
    let dirty: pg_sys::Snapshot = &mut snapshot;
    scan(table, table.indexes[1], dirty, keys, |tuple| {
        // SAFETY: the scan's tuple; a dirty snapshot tells who is inserting it.
        unsafe {
            if own == Some(place_of(tuple)) {
                return Ok(true);
            }
            state = (KeyState::Taken, (*dirty).xmin, (*dirty).speculativeToken);
        }
        Ok(false)
    })?;
    Ok(state)
}

/// As [`key_state`], waiting for the transaction that is using the key.
fn wait_for_key(table: &Table, keys: &[Key]) -> Result<KeyState> {
    let (state, xid, token) = key_state(table, keys, None)?;
    if state == KeyState::Taken && xid != pg_sys::InvalidTransactionId {
        // SAFETY: waits for another transaction, or for its speculative insertion, to end.
        unsafe {
            if token != 0 {
                pg_sys::SpeculativeInsertionWait(xid, token);
            } else {
                let why = pg_sys::XLTW_Oper::XLTW_InsertIndex;
                pg_sys::XactLockTableWait(xid, table.relation, ptr::null_mut(), why);
            }
        }
        return Ok(KeyState::Waited);
    }
    Ok(state)
}

/// A taken key: under one snapshot for the whole transaction the entry may be invisible, and the
/// transaction must be run again.
fn taken(table: &Table, keys: &[Key]) -> Result<bool> {
    if one_snapshot_for_all() {
        let mut visible = false;
        // SAFETY: registered for as long as the scan runs.
        unsafe {
            let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot());
            let result = scan(table, table.indexes[1], snapshot, keys, |_| {
                visible = true;
                Ok(false)
            });
            pg_sys::UnregisterSnapshot(snapshot);
            result?;
        }
        if !visible {
            return Err(Error::new(
                Code::SerializationFailure,
                "could not serialize access due to concurrent update",
            )
            .hint("Run the transaction again."));
        }
    }
    Ok(false)
}

/// The entry as a row of the ledger, columns in the order of the table.
fn entry_row(table: &Table, entry: &Entry<'_>, link: &Link) -> pg_sys::HeapTuple {
    let uuid = |bytes: [u8; 16]| pgrx::Uuid::from_bytes(bytes).into_datum();
    let text = |value: Option<&str>| value.and_then(IntoDatum::into_datum);
    let json = |value: &Option<crate::storage::rows::Document>| {
        value
            .as_ref()
            .and_then(|document| document.value.into_datum())
    };
    let balance = (link.balance != link.lane_balance).then(|| fixed_datum(link.balance));
    let values = [
        uuid(entry.entry_id),
        Some(pg_sys::Datum::from(entry.created_at.0)),
        entry.event_at.map(|at| pg_sys::Datum::from(at.0)),
        link.seq.into_datum(),
        entry.fingerprint.and_then(uuid),
        None,
        None,
        link.lane.into_datum(),
        Some(pg_sys::Datum::from(entry.kind as u8)),
        Some(pg_sys::Datum::from(entry.call as u8)),
        text(Some(entry.wallet)),
        Some(fixed_datum(entry.amount)),
        Some(fixed_datum(link.lane_balance)),
        balance,
        link.hash.as_slice().into_datum(),
        text(entry.key),
        text(entry.user_id),
        text(entry.team),
        text(entry.provider),
        text(entry.model),
        text(entry.service),
        text(entry.region),
        text(entry.service_tier),
        entry.lines.and_then(IntoDatum::into_datum),
        json(&entry.usage),
        json(&entry.tags),
        text(entry.contra),
        text(entry.reference),
        text(entry.reason),
        text(entry.actor),
        json(&entry.metadata),
    ];
    let mut fields = Fields::empty(values.len());
    for (column, value) in (1..).zip(values) {
        fields.set(column, value);
    }
    fields.form(table)
}
