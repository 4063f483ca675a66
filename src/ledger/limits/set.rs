//! Sets limits. The code is here and not in `limits`, because a new limit must count the amounts
//! already used in its running windows. The ledger has these amounts, and all lanes must be locked
//! meanwhile.

use crate::access::rights::Level;
use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::call::{IdempotentCall, lost};
use crate::ledger::limits::metric;
use crate::ledger::limits::recount::{count_running, reallot};
use crate::ledger::wallets::change::change;
use crate::ledger::wallets::config;
use crate::limits::last_window::LastWindow;
use crate::limits::limit::{Limit, Mode, Rollover, bounds};
use crate::limits::metric::Metric;
use crate::limits::period::{self, Period};
use crate::limits::scope::{EACH, Scope, Subject};
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::{Builder, Jsonb};
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::{LimitRow, uuid_text, weights_of};
use crate::storage::wallet_row::lock_wallet;

macro_rules! limit_query {
    ($clause:literal) => {
        concat!(
            "SELECT limit_id, scope, subject, period, anchor, metric, mode, max, time_zone,
                    warn_at, paused, raised_by, raised_until,
                    (extract(epoch FROM anchor_time) * 1000000)::bigint, rollover_max, weights, carry_from
               FROM wallet.limits WHERE wallet_id = $1",
            $clause
        )
    };
}

/// A change of one limit, found in the order of the primary key. With statistics of wallets that
/// have one limit each, the planner would rate the other index on the wallet as equally good.
macro_rules! that_limit_query {
    ($change:literal) => {
        concat!(
            $change,
            " WHERE ctid = (SELECT l.ctid FROM wallet.limits l
                             WHERE l.wallet_id = $1 AND l.limit_id >= $2 AND l.limit_id <= $2
                             ORDER BY l.limit_id)"
        )
    };
}

statement!(
    /// In the order of `limit_subject`, so that no other index fits.
    FIND,
    [TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID],
    limit_query!(
        " AND scope = $2 AND subject = $3 AND period = $4 AND metric >= $5 AND metric <= $5 ORDER BY metric"
    )
);

statement!(
    /// In the order of the primary key.
    BY_ID,
    [TEXTOID, UUIDOID],
    limit_query!(" AND limit_id >= $2 AND limit_id <= $2 ORDER BY limit_id")
);

statement!(OF_WALLET, [TEXTOID], limit_query!(" ORDER BY limit_id"));

statement!(
    /// In the order of `limit_subject`, so that no other index fits.
    OF_SCOPE,
    [TEXTOID, TEXTOID],
    limit_query!(" AND scope = $2 ORDER BY subject, period, metric")
);

statement!(
    INSERT,
    [
        TEXTOID,
        UUIDOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        NUMERICOID,
        TEXTOID,
        TIMESTAMPTZOID,
        INT2OID,
        NUMERICARRAYOID,
        BOOLOID,
        JSONBOID,
        INT8OID,
        NUMERICOID,
        TIMESTAMPTZOID
    ],
    "INSERT INTO wallet.limits
        (wallet_id, limit_id, scope, subject, period, metric, mode, max, time_zone, created_at,
         anchor, warn_at, paused, weights, anchor_time, rollover_max, carry_from)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,
             time '00:00' + $15 * interval '1 microsecond', $16, $17)"
);

statement!(
    CHANGE,
    [
        TEXTOID,
        UUIDOID,
        TEXTOID,
        NUMERICOID,
        TEXTOID,
        INT2OID,
        NUMERICARRAYOID,
        BOOLOID,
        JSONBOID,
        INT8OID,
        NUMERICOID,
        TIMESTAMPTZOID
    ],
    that_limit_query!(
        "UPDATE wallet.limits
        SET mode = $3, max = $4, time_zone = $5, anchor = $6, warn_at = $7, paused = $8,
            weights = $9, anchor_time = time '00:00' + $10 * interval '1 microsecond', rollover_max = $11,
            carry_from = $12, raised_by = '{}', raised_until = '{}'"
    )
);

statement!(
    DROP,
    [TEXTOID, UUIDOID],
    that_limit_query!("DELETE FROM wallet.limits")
);

statement!(
    DROP_WINDOWS,
    [TEXTOID, UUIDOID, UUIDOID, UUIDOID],
    "DELETE FROM wallet.allowances
      WHERE wallet_id = $1 AND allowance_id >= $3 AND allowance_id <= $4 AND limit_id = $2"
);

statement!(
    ZONE,
    [TEXTOID],
    "SELECT time_zone FROM wallet.wallets WHERE wallet_id = $1"
);

statement!(
    /// Up to eight limits are stored in the wallet's row, which is rewritten at each change of one.
    /// To detect more than eight, nine are read, in the order of the primary key.
    NOTE_KNOWN,
    [TEXTOID],
    "UPDATE wallet.wallets w
        SET known_limits = k.known
       FROM (SELECT CASE WHEN count(*) <= 8 THEN coalesce(array_agg(
                        (limit_id, scope, subject, period, metric, mode, max, time_zone, anchor, warn_at,
                         paused, raised_by, raised_until, anchor_time, rollover_max, weights, carry_from)::wallet.known_limit ORDER BY limit_id), '{}') END AS known
               FROM (SELECT * FROM wallet.limits WHERE wallet_id = $1 ORDER BY limit_id LIMIT 9) few) k
      WHERE w.wallet_id = $1 AND num_nonnulls(w.known_limits, k.known) > 0"
);

/// Changes limits of a wallet while no charge is running. The caller has locked the wallet's row.
pub(super) fn change_limits<T>(
    wallet: &str,
    work: impl FnOnce(Timestamp) -> Result<T>,
) -> Result<T> {
    change(wallet, |now| {
        let changed = work(now)?;
        NOTE_KNOWN.run_in_order(&[Value::Text(wallet)])?;
        Ok(changed)
    })
}

/// The weights of a metric as the column has them: NULL unless it is a weighted sum.
fn weights_column(metric: &Metric) -> Option<Jsonb> {
    let weights = metric.weights();
    if weights.is_empty() {
        return None;
    }
    let mut json = Builder::default();
    json.begin_object();
    for (meter, weight) in weights {
        json.decimal(meter, weight.to_decimal());
    }
    Some(json.finish_object())
}

/// The arguments of `set_limit`.
#[derive(Clone)]
pub struct NewLimit<'a> {
    /// Id of the wallet whose spending is limited.
    pub wallet: &'a str,
    /// The kind of subject to which the limit applies.
    pub scope: Scope,
    /// The subject, such as a user's id; `*` for each one separately.
    pub subject: Subject,
    /// How long a window lasts.
    pub period: Period,
    /// The period as text, part of what identifies the limit.
    pub period_name: String,
    /// The quantity that the limit counts. Weights are looked up by its name.
    pub metric: Metric,
    /// Whether exceeding the limit refuses a request.
    pub mode: Mode,
    /// The maximum per window.
    pub max: Amount,
    /// The fractions of the maximum at which an event is written, ascending.
    pub warn_at: Vec<Amount>,
    /// The limit's time zone. `None` for the wallet's.
    pub time_zone: Option<&'a str>,
    /// Whether the limit is paused. `None` leaves it unchanged.
    pub paused: Option<bool>,
    /// Microseconds after midnight at which windows begin. `None` for midnight.
    pub anchor_time: Option<i64>,
    /// The most that is carried from a window into the next one. `None` for nothing.
    pub rollover_max: Option<Amount>,
}

/// The access level that setting a limit needs.
pub const LEVEL: Level = Level::Admin;

/// Creates a limit, or changes the one with the same scope, subject, period and metric.
pub fn set(new: &NewLimit<'_>, call: IdempotentCall<'_>) -> Result<[u8; 16]> {
    // A call with the same key waits here for the first one, and then finds its answer.
    lock_wallet(new.wallet)?;
    if let Some(answer) = call.answered()? {
        return answer.id();
    }
    let ids = set_each(new.wallet, std::slice::from_ref(new), |_, result| result)?;
    let id = ids.into_iter().next().ok_or_else(lost)?;
    call.remember_text("limit_id", &uuid_text(id))?;
    Ok(id)
}

/// Creates or changes limits of a wallet together. `tell` says in an error which of them it is
/// about. The caller has locked the wallet's row.
pub fn set_each(
    wallet: &str,
    limits: &[NewLimit<'_>],
    tell: impl Fn(usize, Result<[u8; 16]>) -> Result<[u8; 16]>,
) -> Result<Vec<[u8; 16]>> {
    let mut known = Vec::with_capacity(limits.len());
    for (place, new) in limits.iter().enumerate() {
        match metric::find(new.metric.as_str()) {
            Ok(metric) => known.push(NewLimit {
                metric,
                ..new.clone()
            }),
            Err(error) => return tell(place, Err(error)).map(|_| Vec::new()),
        }
    }
    change_limits(wallet, |now| {
        let limits = known.iter().enumerate();
        limits
            .map(|(place, new)| tell(place, write(new, now)))
            .collect()
    })
}

/// The scope, subject, period and metric of a limit, which no other limit of its wallet has.
pub fn name_of(new: &NewLimit<'_>) -> [String; 4] {
    [
        new.scope.as_str().into_owned(),
        new.subject.as_str().to_owned(),
        new.period_name.clone(),
        new.metric.as_str().to_owned(),
    ]
}

fn row_of(rows: &Rows, row: usize) -> Result<LimitRow> {
    Ok(LimitRow {
        id: rows.need(row, 0)?,
        scope: rows.need(row, 1)?,
        subject: rows.need(row, 2)?,
        period: rows.need(row, 3)?,
        anchor: rows.get(row, 4),
        metric: rows.need(row, 5)?,
        mode: rows.need(row, 6)?,
        max: rows.amount(row, 7)?,
        time_zone: rows.need(row, 8)?,
        warn_at: rows.amounts(row, 9)?,
        paused: rows.need(row, 10)?,
        raised_by: rows.amounts(row, 11)?,
        raised_until: rows.times(row, 12),
        anchor_time: rows.get(row, 13),
        rollover_max: rows.opt_amount(row, 14)?,
        carry_from: rows.get(row, 16),
        weights: weights_of(rows.datum(row, 15).map(Jsonb))?,
    })
}

/// All limits of a wallet, under the snapshot of the running query.
pub fn of_wallet(wallet: &str) -> Result<Vec<LimitRow>> {
    let rows = OF_WALLET.read(&[Value::Text(wallet)])?;
    (0..rows.len()).map(|row| row_of(&rows, row)).collect()
}

fn write(new: &NewLimit<'_>, now: Timestamp) -> Result<[u8; 16]> {
    let wallet = new.wallet;
    let found = FIND.run_in_order(&[
        Value::Text(wallet),
        Value::Text(&new.scope.as_str()),
        Value::Text(new.subject.as_str()),
        Value::Text(&new.period_name),
        Value::Text(new.metric.as_str()),
    ])?;
    if found.is_empty() {
        return insert(new, now);
    }
    let old = row_of(&found, 0)?;
    let zone = new.time_zone.unwrap_or(&old.time_zone);
    let paused = new.paused.unwrap_or(old.paused);
    let anchor = new.period.anchor().map(i16::from);
    // The windows have other bounds, did not count while paused, or counted with other weights.
    // They are counted as for a new limit.
    let resumed = old.paused && !paused;
    let moved = zone != old.time_zone
        || anchor.unwrap_or(1) != old.anchor.unwrap_or(1)
        || new.anchor_time != old.anchor_time;
    let reweighted = new.metric.weights() != old.weights;
    let begins_anew = resumed || moved || reweighted;
    let carry_from = match old.carry_from {
        Some(since) if !begins_anew => since,
        _ => now,
    };
    let limit = limit(new, old.id, zone, carry_from)?;
    CHANGE.run_in_order(&[
        Value::Text(wallet),
        Value::Uuid(old.id),
        Value::Text(new.mode.as_str()),
        Value::Amount(new.max),
        Value::Text(zone),
        Value::OptInt2(anchor),
        Value::Amounts(&new.warn_at),
        Value::Bool(paused),
        Value::OptJsonb(weights_column(&new.metric)),
        Value::OptInt8(new.anchor_time),
        Value::OptAmount(new.rollover_max),
        Value::OptTime(limit.rollover.map(|rollover| rollover.since)),
    ])?;
    if !paused && begins_anew {
        count_running(wallet, &limit, now, false)?;
    }
    if paused && !old.paused {
        count_replaced(wallet, &limit, now)?;
    }
    reallot(wallet, &limit, now)?;
    Ok(old.id)
}

fn limit(new: &NewLimit<'_>, id: [u8; 16], zone: &str, carry_from: Timestamp) -> Result<Limit> {
    crate::ledger::wallets::settings::check_time_zone(zone)?;
    Ok(Limit {
        id,
        scope: new.scope.clone(),
        subject: new.subject.clone(),
        period: new.period,
        period_name: new.period_name.clone(),
        metric: new.metric.clone(),
        mode: new.mode,
        max: new.max,
        raises: Vec::new(),
        warn_at: new.warn_at.clone(),
        zone: period::zone(zone).map_err(|_| {
            Error::argument(format!("unrecognized time zone {}", quoted(zone)))
                .detail("Time zones are named as in the IANA database.")
                .hint("Use a name such as UTC, Europe/Berlin or America/New_York.")
        })?,
        from: new.anchor_time.and_then(period::time_of_day),
        rollover: new.rollover_max.map(|max| Rollover {
            max,
            since: carry_from,
        }),
        last_window: LastWindow::default(),
    })
}

fn insert(new: &NewLimit<'_>, now: Timestamp) -> Result<[u8; 16]> {
    let wallet = new.wallet;
    let zone = match new.time_zone {
        Some(zone) => zone.to_owned(),
        None => ZONE.run(&[Value::Text(wallet)])?.need(0, 0)?,
    };
    let limit = limit(new, uuid::Uuid::now_v7().into_bytes(), &zone, now)?;
    let paused = new.paused.unwrap_or(false);
    INSERT.run(&[
        Value::Text(wallet),
        Value::Uuid(limit.id),
        Value::Text(&new.scope.as_str()),
        Value::Text(new.subject.as_str()),
        Value::Text(&new.period_name),
        Value::Text(new.metric.as_str()),
        Value::Text(new.mode.as_str()),
        Value::Amount(new.max),
        Value::Text(&zone),
        Value::Time(now),
        Value::OptInt2(new.period.anchor().map(i16::from)),
        Value::Amounts(&new.warn_at),
        Value::Bool(paused),
        Value::OptJsonb(weights_column(&new.metric)),
        Value::OptInt8(new.anchor_time),
        Value::OptAmount(new.rollover_max),
        Value::OptTime(limit.rollover.map(|rollover| rollover.since)),
    ])?;
    if !paused {
        count_running(wallet, &limit, now, false)?;
    }
    Ok(limit.id)
}

/// Counts the limits again that a limit replaced until it was dropped or paused, because they now
/// count its requests.
fn count_replaced(wallet: &str, gone: &Limit, now: Timestamp) -> Result<()> {
    let scope = gone.scope.as_str();
    let (of, in_scope) = (Value::Text(wallet), Value::Text(&scope));
    let rows = match gone.scope {
        Scope::Wallet => return Ok(()),
        Scope::One(_) => FIND.run_in_order(&[
            of,
            in_scope,
            Value::Text(EACH),
            Value::Text(&gone.period_name),
            Value::Text(gone.metric.as_str()),
        ])?,
        Scope::Several(_) => OF_SCOPE.run_in_order(&[of, in_scope])?,
    };
    for row in 0..rows.len() {
        let row = row_of(&rows, row)?;
        let paused = row.paused;
        let limit = config::limit_of(row)?;
        if !paused && gone.replaces(&limit) {
            count_running(wallet, &limit, now, true)?;
        }
    }
    Ok(())
}

/// Drops a limit and its windows.
pub fn drop_limit(wallet: &str, limit_id: [u8; 16], call: IdempotentCall<'_>) -> Result<()> {
    lock_wallet(wallet)?;
    if call.answered()?.is_some() {
        return Ok(());
    }
    change_limits(wallet, |now| {
        let row = find(wallet, limit_id)?;
        let (of, id) = (Value::Text(wallet), Value::Uuid(row.id));
        DROP.run_in_order(&[of, id])?;
        let [first, last] = bounds(row.id).map(Value::Uuid);
        DROP_WINDOWS.run(&[of, id, first, last])?;
        count_replaced(wallet, &config::limit_of(row)?, now)
    })?;
    call.remember(None)
}

/// 42704 unless the wallet has the limit.
pub(super) fn find(wallet: &str, limit_id: [u8; 16]) -> Result<LimitRow> {
    let rows = BY_ID.run_in_order(&[Value::Text(wallet), Value::Uuid(limit_id)])?;
    if rows.is_empty() {
        return Err(Error::new(
            Code::ObjectNotFound,
            format!("wallet {} has no such limit", quoted(wallet)),
        )
        .detail(format!("There is no limit {}.", uuid_text(limit_id)))
        .hint("Pass a limit_id that set_limit() returned; limits_status shows them."));
    }
    row_of(&rows, 0)
}
