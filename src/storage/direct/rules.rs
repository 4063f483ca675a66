//! The rules of a wallet: `wallet.wallets`, `wallet.limits` and the epoch of a lane.

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::storage::direct::fields::Fields;
use crate::storage::direct::lanes::{lane_of, remember_places};
use crate::storage::direct::scan::{int2_key, scan, text_key, uuid_key};
use crate::storage::direct::table::{Access, Table, Which};
use crate::storage::direct::tid_cache;
use crate::storage::rows::{
    BALANCE, Home, Lane, LimitRow, POOL, PlanRow, RuleRows, WalletRow, Wanted, weights_of,
};

/// Columns of `wallet.wallets`, by position.
mod wallets {
    pub const CURRENCY: i16 = 2;
    pub const CREDIT_LIMIT: i16 = 3;
    pub const STATUS: i16 = 6;
    pub const STATUS_REASON: i16 = 7;
    pub const TIME_ZONE: i16 = 8;
    pub const LANES: i16 = 9;
    pub const PRICE_LIST: i16 = 10;
    pub const UNKNOWN_PRICE: i16 = 11;
    pub const UNREAD_USAGE: i16 = 12;
    pub const RECHECK_REQUESTED: i16 = 19;
    pub const MEMBERS_ONLY: i16 = 13;
    pub const GRANTS_DUE: i16 = 20;
    pub const GUARDED: i16 = 21;
    pub const SCOPED: i16 = 22;
    pub const ARCHIVED: i16 = 23;
    pub const KEEPS: i16 = 24;
    pub const DEFAULTS_FROM: i16 = 25;
    pub const PARENT: i16 = 26;
    pub const SHARE: i16 = 27;
    pub const PLAN: i16 = 28;
    pub const PLAN_VERSION: i16 = 29;
    pub const NEXT_PLAN_AT: i16 = 30;
    pub const CLOSED_UNTIL: i16 = 32;
    // The last column, see `of_elements`.
    pub const KNOWN_LIMITS: i16 = 33;
}

/// Columns of `wallet.known_limit`, by position.
mod limit {
    pub const ID: i16 = 1;
    pub const SCOPE: i16 = 2;
    pub const SUBJECT: i16 = 3;
    pub const PERIOD: i16 = 4;
    pub const METRIC: i16 = 5;
    pub const MODE: i16 = 6;
    pub const MAX: i16 = 7;
    pub const TIME_ZONE: i16 = 8;
    pub const ANCHOR: i16 = 9;
    pub const WARN_AT: i16 = 10;
    pub const PAUSED: i16 = 11;
    pub const RAISED_BY: i16 = 12;
    pub const RAISED_UNTIL: i16 = 13;
    pub const ANCHOR_TIME: i16 = 14;
    pub const ROLLOVER_MAX: i16 = 15;
    pub const WEIGHTS: i16 = 16;
    pub const CARRY_FROM: i16 = 17;
}

/// How many columns precede those of `known_limit` in `wallet.limits`: the wallet.
const BEFORE: i16 = 1;

/// The result of looking up a wallet's rules.
/// The variants differ in size, but boxing would cost every first charge an allocation.
#[allow(clippy::large_enum_variant)]
pub enum Answer {
    /// The wallet's rules.
    WalletConfig(RuleRows),
    /// There is no wallet with that name.
    None,
    /// The direct path does not support one of the tables.
    Elsewhere,
}

/// Reads all that a charge must know of a wallet under one snapshot, because rules and epoch must
/// be consistent. The limits, if requested, are read from the wallet's row or from `wallet.limits`.
pub fn read_rules(
    wallets: &Table,
    allowances: &Table,
    wallet: &str,
    wanted: Wanted,
) -> Result<Answer> {
    // SAFETY: registered for as long as the scans run; an error leaves it to the abort.
    let snapshot = unsafe { pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot()) };
    let rules = read_rules_under(snapshot, wallets, allowances, wallet, wanted);
    // SAFETY: registered above.
    unsafe { pg_sys::UnregisterSnapshot(snapshot) };
    rules
}

/// One scan finds the wallet and the copy of its limits in the same row. `wallet.limits` is read
/// only if that copy is missing or its type has other columns than this version knows.
fn read_rules_under(
    snapshot: pg_sys::Snapshot,
    wallets: &Table,
    allowances: &Table,
    wallet: &str,
    wanted: Wanted,
) -> Result<Answer> {
    let limits = wanted != Wanted::Basis;
    let layout = wallets
        .elements
        .filter(|row| limits && row.len() == usize::from(limit::CARRY_FROM.unsigned_abs()));
    let (mut found, mut known, mut home) = (None, None, None);
    scan(
        wallets,
        wallets.indexes[0],
        snapshot,
        &[text_key(wallet)],
        |tuple, _| {
            let fields = Fields::of(wallets, tuple);
            found = Some(wallet_row(&fields)?);
            if wanted == Wanted::LimitsAndHome {
                home = Some(home_of(&fields)?);
            }
            if let Some(rows) = layout.and_then(|layout| fields.rows(wallets::KNOWN_LIMITS, layout))
            {
                known = Some(
                    rows.iter()
                        .map(|row| limit_row(row, 0))
                        .collect::<Result<Vec<_>>>()?,
                );
            }
            Ok(false)
        },
    )?;
    let Some(row) = found else {
        return Ok(Answer::None);
    };
    let single = row.lanes == 1;
    let (lane, has_other_money) =
        first_lane(snapshot, allowances, wallet, row.first_lane(), single)?;
    let limits = match known {
        Some(known) => known,
        None if !limits => Vec::new(),
        None => match Table::open(Which::Limits, Access::Read) {
            Some(limits) => read_limits(snapshot, &limits, wallet)?,
            None => return Ok(Answer::Elsewhere),
        },
    };
    if limits.len() > 1 {
        // The caller usually takes from a window of each limit next.
        remember_places(allowances, wallet);
    }
    Ok(Answer::WalletConfig(RuleRows {
        wallet: row,
        epoch: lane.epoch,
        recheck_done: lane.recheck_done,
        armed: lane.armed,
        lane: single.then_some(lane),
        has_other_money,
        limits,
        home,
    }))
}

/// Reads the first active lane. If it is the `single` active one, also tells whether other lanes
/// have money.
#[inline]
fn first_lane(
    snapshot: pg_sys::Snapshot,
    allowances: &Table,
    wallet: &str,
    first: i16,
    single: bool,
) -> Result<(Lane, bool)> {
    let keys = [text_key(wallet), uuid_key(BALANCE), int2_key(first)];
    // A wallet with a single active lane has few other lanes, and their balances are needed too.
    let keys = if single { &keys[..2] } else { &keys[..] };
    let (mut lane, mut has_other_money) = (None, false);
    scan(
        allowances,
        allowances.indexes[0],
        snapshot,
        keys,
        |tuple, root| {
            let found = lane_of(&Fields::of(allowances, tuple), tuple)?;
            if found.lane == first {
                lane = Some(found);
                // The caller usually reads the lane next.
                tid_cache::remember(tid_cache::digest(wallet, BALANCE, Some(first)), root);
            } else {
                has_other_money |= found.allotted != found.spent;
            }
            Ok(single)
        },
    )?;
    let lane = lane.ok_or_else(|| Error::internal("a wallet has no lane"))?;
    Ok((lane, has_other_money))
}

/// Reads the columns of `wallet.wallets`.
#[inline]
fn wallet_row(fields: &Fields) -> Result<WalletRow> {
    use wallets::*;
    Ok(WalletRow {
        currency: fields.needed_text(CURRENCY)?,
        credit_limit: fields.amount(CREDIT_LIMIT)?,
        status: fields.needed_text(STATUS)?,
        status_reason: fields.text(STATUS_REASON),
        lanes: fields.int2(LANES),
        price_list: fields.needed_text(PRICE_LIST)?,
        unknown_price: fields.needed_text(UNKNOWN_PRICE)?,
        rejects_unread: fields.needed_text(UNREAD_USAGE)? == "reject",
        recheck_requested: fields.int8(RECHECK_REQUESTED),
        grants_due: fields.time(GRANTS_DUE),
        members_only: fields.bool(MEMBERS_ONLY),
        guarded: fields.bool(GUARDED),
        scoped: fields.bool(SCOPED),
        archived: fields.bool(ARCHIVED),
        keeps: fields.bool(KEEPS),
        pool: match fields.text(SHARE).as_deref() {
            Some(POOL) => fields.text(PARENT),
            _ => None,
        },
        plan: PlanRow::of(
            fields.text(PLAN),
            fields.opt_int8(PLAN_VERSION),
            fields.time(NEXT_PLAN_AT),
        ),
        closed_until: fields.time(CLOSED_UNTIL),
    })
}

/// Reads the columns on which default limits depend.
fn home_of(fields: &Fields) -> Result<Home> {
    let from = fields.time(wallets::DEFAULTS_FROM);
    Ok(Home {
        time_zone: fields.needed_text(wallets::TIME_ZONE)?,
        since: from.ok_or_else(|| Error::internal("a wallet has no defaults_from"))?,
    })
}

/// The wallet's rows of `wallet.limits`.
fn read_limits(snapshot: pg_sys::Snapshot, limits: &Table, wallet: &str) -> Result<Vec<LimitRow>> {
    let mut rows = Vec::new();
    let keys = [text_key(wallet)];
    scan(limits, limits.indexes[0], snapshot, &keys, |tuple, _| {
        rows.push(limit_row(&Fields::of(limits, tuple), BEFORE)?);
        Ok(true)
    })?;
    Ok(rows)
}

/// Reads a limit from columns that begin after the first `before` ones.
fn limit_row(fields: &Fields, before: i16) -> Result<LimitRow> {
    use limit::*;
    let at = |column: i16| before + column;
    Ok(LimitRow {
        id: fields.uuid(at(ID)),
        scope: fields.needed_text(at(SCOPE))?,
        subject: fields.needed_text(at(SUBJECT))?,
        period: fields.needed_text(at(PERIOD))?,
        max: fields.amount(at(MAX))?,
        time_zone: fields.needed_text(at(TIME_ZONE))?,
        anchor: fields.opt_int2(at(ANCHOR)),
        metric: fields.needed_text(at(METRIC))?,
        mode: fields.needed_text(at(MODE))?,
        warn_at: fields.amounts(at(WARN_AT))?,
        paused: fields.bool(at(PAUSED)),
        raised_by: fields.amounts(at(RAISED_BY))?,
        raised_until: fields.times(at(RAISED_UNTIL)),
        anchor_time: fields.opt_int8(at(ANCHOR_TIME)),
        rollover_max: fields.opt_amount(at(ROLLOVER_MAX))?,
        carry_from: fields.time(at(CARRY_FROM)),
        weights: weights_of(fields.opt_jsonb(at(WEIGHTS)))?,
    })
}
