//! Wallets and their rules. Every change of a rule locks all lanes, so each charge is either booked
//! before the change or sees it.

use jiff::tz::TimeZone;
use pgrx::pg_sys;

use crate::access::audit::{Act, Of};
use crate::allowance::all_lanes::{AllLanes, LaneSplit, keep_low_thresholds, write_thresholds};
use crate::allowance::crossings;
use crate::allowance::lane_split::active;
use crate::allowance::lanes::range;
use crate::allowance::thresholds::{Kind, State, Threshold};
use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::call::IdempotentCall;
use crate::ledger::wallets::{config, following, plan_book, plan_marks};
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::document::Document;
use crate::pg::jsonb::Jsonb;
use crate::pricing::unread::UnreadUsage;
use crate::pricing::visible_lists::require_visible;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::session::{Session, to_caller};
use crate::storage::wallet_row::lock_wallet;
use crate::storage::{lock, store};

/// Most lanes that a wallet may have.
pub const MAX_LANES: i32 = 256;

statement!(
    CREATE,
    [
        TEXTOID,
        TEXTOID,
        NUMERICOID,
        NUMERICARRAYOID,
        TEXTOID,
        INT2OID,
        JSONBOID,
        TIMESTAMPTZOID
    ],
    "INSERT INTO wallet.wallets
        (wallet_id, currency, credit_limit, low_balance, time_zone, lanes, metadata, created_at, known_limits,
         defaults_from)
     VALUES ($1, $2, $3, $4, $5, $6, coalesce($7, '{}'), $8, '{}', $8)
     ON CONFLICT DO NOTHING"
);

statement!(
    UPDATE,
    [
        TEXTOID,
        NUMERICOID,
        NUMERICARRAYOID,
        TEXTOID,
        TEXTOID,
        BOOLOID,
        BOOLOID,
        NUMERICOID,
        NUMERICOID,
        JSONBOID,
        TEXTOID
    ],
    "UPDATE wallet.wallets
        SET credit_limit = coalesce($2, credit_limit),
            low_balance = coalesce($3, low_balance),
            time_zone = coalesce($4, time_zone),
            unknown_price = coalesce($5, unknown_price),
            members_only = coalesce($6, members_only),
            guarded = guarded OR coalesce($6, false),
            freeze_on_chargeback = coalesce($7, freeze_on_chargeback),
            funding_min = coalesce($8, funding_min),
            funding_max = coalesce($9, funding_max),
            metadata = coalesce($10, metadata),
            unread_usage = coalesce($11, unread_usage)
      WHERE wallet_id = $1"
);

statement!(
    /// Only waits from here on show whether the new number of lanes is enough.
    FORGET_WAITS,
    [TEXTOID],
    "UPDATE wallet.allowances SET waits = 0, version = version + 1
      WHERE wallet_id = $1 AND allowance_id = '00000000-0000-0000-0000-000000000000' AND waits <> 0"
);

statement!(
    SET_LANES,
    [TEXTOID, INT2OID],
    "UPDATE wallet.wallets SET lanes = $2 WHERE wallet_id = $1"
);

statement!(
    SET_PRICE_LIST,
    [TEXTOID, TEXTOID],
    "UPDATE wallet.wallets SET price_list = $2 WHERE wallet_id = $1"
);

statement!(
    BALANCE_ROW,
    [TEXTOID],
    "SELECT b, to_jsonb(b) FROM wallet.balances b WHERE b.wallet = $1"
);

statement!(
    ROW_FROM_JSON,
    [JSONBOID],
    "SELECT jsonb_populate_record(NULL::wallet.balances, $1)"
);

statement!(
    KNOWN_ZONE,
    [TEXTOID, TIMESTAMPTZOID],
    "SELECT timezone($1, $2)"
);

statement!(
    SET_PLAN,
    [TEXTOID, TEXTOID],
    "UPDATE wallet.wallets SET plan = $2 WHERE wallet_id = $1"
);

/// A row of `balances`, in the caller's memory.
pub struct BalanceDatum(pub pg_sys::Datum);

/// 22023 unless both PostgreSQL and the period arithmetic know the zone.
pub fn check_time_zone(zone: &str) -> Result<()> {
    if TimeZone::get(zone).is_err() {
        return Err(
            Error::argument(format!("unrecognized time zone {}", quoted(zone)))
                .detail("Time zones are named as in the IANA database.")
                .hint("Use a name such as UTC, Europe/Berlin or America/New_York.")
                .about("time_zone"),
        );
    }
    KNOWN_ZONE
        .run(&[Value::Text(zone), Value::Time(clock::now())])
        .map(drop)
}

/// The first result if the key was used, otherwise the wallet's row after `work`, which is stored
/// as the result.
pub(super) fn once(
    once: IdempotentCall<'_>,
    work: impl FnOnce() -> Result<()>,
) -> Result<BalanceDatum> {
    once_as_it_is(once, || {
        following::follow(once.wallet)?;
        work()
    })
}

/// Like [`once`], without taking over the version of the wallet's plan.
pub(super) fn once_as_it_is(
    once: IdempotentCall<'_>,
    work: impl FnOnce() -> Result<()>,
) -> Result<BalanceDatum> {
    // A call with the same key waits here for the first one, and then finds its answer.
    lock_wallet(once.wallet)?;
    if let Some(row) = answered(once)? {
        return Ok(row);
    }
    work()?;
    remember(once)
}

/// The first result of the call. `None` if the key is new.
fn answered(once: IdempotentCall<'_>) -> Result<Option<BalanceDatum>> {
    let Some(answer) = once.answered()? else {
        return Ok(None);
    };
    let lost = || Error::internal("an answer was not kept");
    let rows = ROW_FROM_JSON.run(&[Value::Jsonb(answer.result().ok_or_else(lost)?)])?;
    Ok(Some(BalanceDatum(to_caller(
        rows.datum(0, 0).ok_or_else(lost)?,
    ))))
}

/// The wallet's row of `balances`, stored as the result of the call.
fn remember(once: IdempotentCall<'_>) -> Result<BalanceDatum> {
    let rows = BALANCE_ROW.run(&[Value::Text(once.wallet)])?;
    let row = rows
        .datum(0, 0)
        .ok_or_else(|| Error::wallet_not_found(once.wallet))?;
    once.remember(rows.datum(0, 1).map(Jsonb))?;
    Ok(BalanceDatum(to_caller(row)))
}

/// The arguments of `create_wallet`.
pub struct NewWallet<'a> {
    /// The wallet's name.
    pub wallet: &'a str,
    /// The currency of all its amounts.
    pub currency: &'a str,
    /// How far the balance may go below zero.
    pub credit_limit: Amount,
    /// The available amounts at which an event is written.
    pub low_balance: Vec<Amount>,
    /// The time zone of the wallet's periods.
    pub time_zone: &'a str,
    /// How many lanes share the balance, 1 to 256.
    pub lanes: i16,
    /// The caller's own data.
    pub metadata: Option<Document>,
    /// The plan; `None` for none.
    pub plan: Option<&'a str>,
}

/// Creates a wallet with an empty balance.
pub fn create(new: &NewWallet<'_>, call: IdempotentCall<'_>) -> Result<BalanceDatum> {
    if add(new)? {
        return remember(call);
    }
    match answered(call)? {
        Some(row) => Ok(row),
        None => Err(exists(new.wallet)),
    }
}

/// Creates many wallets: all of them, in the order of their names, so that two calls never wait for
/// each other. `tell` says in an error which of them it is about. Returns true if an earlier call
/// with the same idempotency key has created them.
pub fn create_each(
    wallets: &[NewWallet<'_>],
    act: &Act<'_>,
    call: IdempotentCall<'_>,
    tell: impl Fn(usize, Result<()>) -> Result<()>,
) -> Result<bool> {
    if call.answered()?.is_some() {
        return Ok(true);
    }
    let mut order: Vec<usize> = (0..wallets.len()).collect();
    order.sort_by_key(|place| wallets[*place].wallet);
    for place in order {
        let new = &wallets[place];
        let added = add(new).map(|added| {
            if added {
                Ok(())
            } else {
                Err(exists(new.wallet))
            }
        });
        let Err(error) = added.and_then(|added| added) else {
            let wallet = new.wallet;
            Act { wallet, ..*act }.record_new(Of::NewWallet)?;
            continue;
        };
        // A call with the same key may have been faster.
        if error.code == Code::UniqueViolation && call.answered()?.is_some() {
            return Ok(true);
        }
        tell(place, Err(error))?;
    }
    call.remember(None)?;
    Ok(false)
}

/// Adds a wallet. Returns false if there is one of that name.
fn add(new: &NewWallet<'_>) -> Result<bool> {
    check_time_zone(new.time_zone)?;
    if let Some(plan) = new.plan {
        plan_book::require(plan)?;
    }
    let rows = CREATE.run(&[
        Value::Text(new.wallet),
        Value::Text(new.currency),
        Value::Amount(new.credit_limit),
        Value::Amounts(&new.low_balance),
        Value::Text(new.time_zone),
        Value::Int2(new.lanes),
        Value::OptJsonb(new.metadata.as_ref().map(|document| document.value)),
        Value::Time(clock::now()),
    ])?;
    if rows.is_empty() {
        return Ok(false);
    }
    let epoch = config::new_epoch();
    store::new_lane(new.wallet, 0, epoch)?;
    if new.lanes > 1 {
        active(new.lanes).try_for_each(|lane| store::new_lane(new.wallet, lane, epoch))?;
    }
    write_thresholds(
        new.wallet,
        &[],
        &thresholds(&new.low_balance, new.credit_limit),
    )?;
    split_lanes(new.wallet, Amount::ZERO)?;
    let own = [
        (!new.low_balance.is_empty()).then_some("low_balance"),
        (new.lanes != 1).then_some("lanes"),
    ];
    plan_marks::own_settings(new.wallet, &own.into_iter().flatten().collect::<Vec<_>>())?;
    if let Some(plan) = new.plan {
        SET_PLAN.run(&[Value::Text(new.wallet), Value::Text(plan)])?;
        following::begin(new.wallet)?;
    }
    Ok(true)
}

fn exists(wallet: &str) -> Error {
    Error::new(
        Code::UniqueViolation,
        format!("wallet {} exists already", quoted(wallet)),
    )
    .detail("Wallet names are unique in a database.")
    .hint("Choose another name, or change the wallet with update_wallet().")
    .constraint("wallets", "wallets_pkey")
}

/// The thresholds of a wallet that has not been funded yet.
fn thresholds(low_balance: &[Amount], credit_limit: Amount) -> Vec<Threshold> {
    let low = low_balance.iter().map(|at| (Kind::Low, *at));
    std::iter::once((Kind::Depleted, credit_limit.negated()))
        .chain(low)
        .map(|(kind, at)| Threshold {
            kind,
            at,
            state: State::New,
        })
        .collect()
}

/// Rebalances the lanes and sets the thresholds according to the wallet's row, with all lanes
/// locked. `old_credit` is the credit limit of the last rebalance.
pub fn split_lanes(wallet: &str, old_credit: Amount) -> Result<()> {
    // Lanes that do not count now are included, because they may have been active before.
    let (rules, lanes) = config::lock_to_change(wallet)?;
    let credit = rules.credit_limit;
    let mut whole = AllLanes::new(wallet, lanes, credit)?;
    whole.recheck_topups();
    let added = credit.minus(old_credit).map_err(range)?;
    let before = whole.room()?.plus(added).map_err(range)?;
    if before.is_negative() {
        return Err(Error::new(
            Code::InsufficientFunds,
            format!("credit_limit is below what wallet {} uses", quoted(wallet)),
        )
        .detail(format!(
            "A credit limit of {credit} would leave {before} to spend; it must be zero or more."
        ))
        .hint("Fund the wallet first, or lower the credit limit by less."));
    }
    let lane = whole.booking_lane(rules.lanes)?;
    lane.allotted = lane.allotted.plus(added).map_err(range)?;
    let crossings = whole.settle(
        before,
        LaneSplit {
            epoch: config::new_epoch(),
            ..rules.lane_split()
        },
    )?;
    whole.write()?;
    crossings::emit(wallet, &crossings)
}

/// The arguments of `update_wallet`. `None` leaves a setting unchanged.
#[derive(Default)]
pub struct Changes<'a> {
    /// How far the balance may go below zero.
    pub credit_limit: Option<Amount>,
    /// The available amounts at which an event is written.
    pub low_balance: Option<Vec<Amount>>,
    /// The time zone of the wallet's periods.
    pub time_zone: Option<&'a str>,
    /// The rule for usage without a price.
    pub unknown_price: Option<&'a str>,
    /// Whether only members may spend.
    pub members_only: Option<bool>,
    /// Whether a chargeback freezes the wallet.
    pub freeze_on_chargeback: Option<bool>,
    /// The minimum amount of a funding.
    pub funding_min: Option<Amount>,
    /// The maximum amount of a funding.
    pub funding_max: Option<Amount>,
    /// The caller's own data.
    pub metadata: Option<Document>,
    /// The rule for unread numbers.
    pub unread_usage: Option<UnreadUsage>,
}

/// Changes the given settings. A threshold that exists already keeps its state, so that a repeated
/// call fires no event twice. `recut_under` gets the old credit limit, because the lanes change by
/// the difference.
pub fn update(
    wallet: &str,
    changes: &Changes<'_>,
    call: IdempotentCall<'_>,
) -> Result<BalanceDatum> {
    if let Some(zone) = changes.time_zone {
        check_time_zone(zone)?;
    }
    once(call, || {
        let own = [
            changes.low_balance.as_ref().map(|_| "low_balance"),
            changes.unknown_price.map(|_| "unknown_price"),
            changes.unread_usage.map(|_| "unread_usage"),
        ];
        plan_marks::own_settings(wallet, &own.into_iter().flatten().collect::<Vec<_>>())?;
        put(wallet, changes)
    })
}

/// Changes the given settings of a wallet whose row is locked.
pub fn put(wallet: &str, changes: &Changes<'_>) -> Result<()> {
    let (before, _) = config::lock_to_change(wallet)?;
    before.require_open(wallet)?;
    if changes.credit_limit.is_some_and(|credit| !credit.is_zero()) {
        before.require_own_money(wallet)?;
    }
    let low_balance = changes.low_balance.as_deref();
    let flag = |value: Option<bool>| value.map_or(Value::Null, Value::Bool);
    UPDATE.run(&[
        Value::Text(wallet),
        Value::OptAmount(changes.credit_limit),
        low_balance.map_or(Value::Null, Value::Amounts),
        Value::OptText(changes.time_zone),
        Value::OptText(changes.unknown_price),
        flag(changes.members_only),
        flag(changes.freeze_on_chargeback),
        Value::OptAmount(changes.funding_min),
        Value::OptAmount(changes.funding_max),
        Value::OptJsonb(changes.metadata.as_ref().map(|document| document.value)),
        Value::OptText(changes.unread_usage.map(UnreadUsage::as_str)),
    ])?;
    if let Some(low_balance) = low_balance {
        let credit = changes.credit_limit.unwrap_or(before.credit_limit);
        let stored = crate::allowance::all_lanes::read_thresholds(wallet, credit)?;
        keep_low_thresholds(wallet, low_balance)?;
        let new: Vec<Threshold> = thresholds(low_balance, credit)
            .into_iter()
            .filter(|new| {
                stored
                    .iter()
                    .all(|old| (old.kind, old.at) != (new.kind, new.at))
            })
            .collect();
        write_thresholds(wallet, &stored, &new)?;
    }
    split_lanes(wallet, before.credit_limit)
}

/// Divides the balance among the given number of lanes.
pub fn set_lanes(wallet: &str, lanes: i16, call: IdempotentCall<'_>) -> Result<BalanceDatum> {
    once(call, || {
        plan_marks::own_settings(wallet, &["lanes"])?;
        put_lanes(wallet, lanes)
    })
}

/// Divides the balance of a wallet whose row is locked among the given number of lanes.
pub fn put_lanes(wallet: &str, lanes: i16) -> Result<()> {
    let (rules, present) = config::lock_to_change(wallet)?;
    rules.require_open(wallet)?;
    for lane in active(lanes).filter(|lane| present.iter().all(|row| row.lane != *lane)) {
        lock::wait(wallet, lane);
        store::new_lane(wallet, lane, rules.epoch)?;
    }
    SET_LANES.run(&[Value::Text(wallet), Value::Int2(lanes)])?;
    FORGET_WAITS.run(&[Value::Text(wallet)])?;
    split_lanes(wallet, rules.credit_limit)
}

/// Sets the wallet's price list, which takes precedence over the default list. The error 42704
/// unless the caller may see the list. Otherwise a wallet could be priced by a list that was
/// negotiated with another customer.
pub fn use_price_list(
    session: &Session,
    wallet: &str,
    list: &str,
    call: IdempotentCall<'_>,
) -> Result<BalanceDatum> {
    once(call, || {
        config::lock_to_change(wallet)?.0.require_open(wallet)?;
        require_visible(session, list)?;
        plan_marks::own_settings(wallet, &["price_list"])?;
        put_price_list(wallet, list)
    })
}

/// Sets the price list of a wallet whose row is locked.
pub fn put_price_list(wallet: &str, list: &str) -> Result<()> {
    let (rules, _) = config::lock_to_change(wallet)?;
    rules.require_open(wallet)?;
    SET_PRICE_LIST.run(&[Value::Text(wallet), Value::Text(list)])?;
    // Charges with the old list find another epoch in their lane.
    split_lanes(wallet, rules.credit_limit)
}
