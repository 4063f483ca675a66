//! Sets limits. The code is here and not in `limits`, because a new limit must count the amounts
//! already used in its running windows. The ledger has these amounts, and all lanes must be locked
//! meanwhile.

use crate::access::rights::{ALL_WALLETS, Level};
use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::call::{IdempotentCall, lost};
use crate::ledger::limits::change::{change_limits, lock, that_limit_query};
use crate::ledger::limits::metric;
use crate::ledger::limits::recount::{count_running, reallot};
use crate::ledger::limits::replaced::{self, Gone};
use crate::ledger::limits::rows::{Key, with_key};
use crate::ledger::wallets::plan_marks::{self, RuleKind};
use crate::limits::last_window::LastWindow;
use crate::limits::limit::{Limit, Mode, Rollover};
use crate::limits::metric::Metric;
use crate::limits::period::{self, Period};
use crate::limits::scope::{Scope, Subject};
use crate::limits::stored::row_of;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::{Builder, Jsonb};
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::{LimitRow, uuid_text};

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
        TIMESTAMPTZOID,
        TIMESTAMPTZOID
    ],
    "INSERT INTO wallet.limits
        (wallet_id, limit_id, scope, subject, period, metric, mode, max, time_zone, created_at,
         anchor, warn_at, paused, weights, anchor_time, rollover_max, carry_from,
         counts_since)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,
             time '00:00' + $15 * interval '1 microsecond', $16, $17, $18)
     ON CONFLICT DO NOTHING
  RETURNING limit_id"
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
        TIMESTAMPTZOID,
        TIMESTAMPTZOID
    ],
    that_limit_query!(
        "UPDATE wallet.limits
        SET mode = $3, max = $4, time_zone = $5, anchor = $6, warn_at = $7, paused = $8,
            weights = $9, anchor_time = time '00:00' + $10 * interval '1 microsecond', rollover_max = $11,
            carry_from = $12, counts_since = $13, dropped_at = NULL, raised_by = '{}', raised_until = '{}',
            revision = revision + (counts_since IS NOT NULL AND (max, warn_at, raised_by) IS DISTINCT FROM ($4, $7, '{}'))::int"
    )
);

statement!(
    ZONE,
    [TEXTOID],
    "SELECT time_zone FROM wallet.wallets WHERE wallet_id = $1"
);

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
    /// Id of the wallet whose spending is limited; `*` for a default limit.
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
    /// The limit's time zone. `None` leaves it unchanged, and is at first the wallet's.
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
    lock(new.wallet)?;
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
    change_limits(wallet, |now, has_plan| {
        let limits = known.iter().enumerate();
        let ids = limits
            .map(|(place, new)| tell(place, write(new, now)))
            .collect::<Result<Vec<_>>>()?;
        if has_plan {
            let names: Vec<String> = ids.iter().map(|id| uuid_text(*id)).collect();
            plan_marks::unmark(wallet, RuleKind::Limit, &names)?;
        }
        Ok(ids)
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

/// The row that a call changes. None of its values counts if it was dropped.
struct Old {
    row: LimitRow,
    counts_since: Option<Timestamp>,
}

/// The columns of a limit that depend on the row before and on the time.
struct Terms {
    /// The time zone. `None` in a default limit that takes each wallet's.
    zone: Option<String>,
    paused: bool,
    carry_from: Timestamp,
    counts_since: Option<Timestamp>,
    /// Whether running windows are counted again.
    begins_anew: bool,
}

impl Terms {
    fn of(new: &NewLimit<'_>, old: Option<&Old>, now: Timestamp) -> Result<Terms> {
        let is_default = new.wallet == ALL_WALLETS;
        let named = |zone: &str| (!zone.is_empty()).then(|| zone.to_owned());
        let zone = match (new.time_zone, old) {
            (Some(zone), _) => named(zone),
            (None, Some(old)) => named(&old.row.time_zone),
            (None, None) if is_default => None,
            (None, None) => Some(ZONE.run(&[Value::Text(new.wallet)])?.need(0, 0)?),
        };
        let paused = new
            .paused
            .or(old.map(|old| old.row.paused))
            .unwrap_or(false);
        // The windows have other bounds, did not count while paused, or counted with other weights.
        // They are counted as for a new limit.
        let begins_anew = old.is_none_or(|Old { row, .. }| {
            let resumed = row.paused && !paused;
            let period = new.period;
            let rezoned = zone.as_deref().unwrap_or_default() != row.time_zone;
            let moved = period.has_calendar() && rezoned
                || period
                    .anchor()
                    .is_some_and(|day| i16::from(day) != row.anchor.unwrap_or(1))
                || period.takes_time() && new.anchor_time != row.anchor_time;
            // Holds keep the quantities that they reserve.
            let reweighted = period.counts_use() && new.metric.weights() != row.weights;
            // The rows of a default limit's windows may have carries of an earlier time.
            let carries = is_default && new.rollover_max.is_some() && row.rollover_max.is_none();
            resumed || moved || reweighted || carries
        });
        let kept = |since: Option<Timestamp>| since.filter(|_| !begins_anew).unwrap_or(now);
        Ok(Terms {
            zone,
            paused,
            carry_from: kept(old.and_then(|old| old.row.carry_from)),
            counts_since: is_default.then(|| kept(old.and_then(|old| old.counts_since))),
            begins_anew,
        })
    }
}

fn write(new: &NewLimit<'_>, now: Timestamp) -> Result<[u8; 16]> {
    let wallet = new.wallet;
    let found = with_key(
        wallet,
        &Key {
            scope: &new.scope.as_str(),
            subject: new.subject.as_str(),
            period: &new.period_name,
            metric: new.metric.as_str(),
        },
    )?;
    let (mut id, mut old) = (None, None);
    if !found.is_empty() {
        let row = row_of(&found, 0)?;
        id = Some(row.id);
        let counts_since = found.get(0, 17);
        let is_dropped: bool = found.need(0, 19)?;
        old = (!is_dropped).then_some(Old { row, counts_since });
    }
    let terms = Terms::of(new, old.as_ref(), now)?;
    let made = id.is_none();
    let limit = limit(
        new,
        id.unwrap_or_else(|| uuid::Uuid::now_v7().into_bytes()),
        &terms,
    )?;
    match made {
        true => insert(new, &limit, &terms, now)?,
        false => change(new, &limit, &terms)?,
    }
    if wallet == ALL_WALLETS {
        return Ok(limit.id);
    }
    if !terms.paused && terms.begins_anew {
        count_running(wallet, &limit, now, false)?;
    }
    if let Some(Old { row, .. }) = &old {
        if terms.paused && !row.paused {
            replaced::count_replaced(wallet, row, Gone::Paused, now)?;
        }
        reallot(wallet, &limit, now)?;
    }
    Ok(limit.id)
}

fn limit(new: &NewLimit<'_>, id: [u8; 16], terms: &Terms) -> Result<Limit> {
    // Without a zone of its own, the limit is only stored.
    let zone = terms.zone.as_deref().unwrap_or("UTC");
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
            since: terms.carry_from,
        }),
        default: None,
        last_window: LastWindow::default(),
    })
}

fn insert(new: &NewLimit<'_>, limit: &Limit, terms: &Terms, now: Timestamp) -> Result<()> {
    let inserted = INSERT.run(&[
        Value::Text(new.wallet),
        Value::Uuid(limit.id),
        Value::Text(&new.scope.as_str()),
        Value::Text(new.subject.as_str()),
        Value::Text(&new.period_name),
        Value::Text(new.metric.as_str()),
        Value::Text(new.mode.as_str()),
        Value::Amount(new.max),
        Value::OptText(terms.zone.as_deref()),
        Value::Time(now),
        Value::OptInt2(new.period.anchor().map(i16::from)),
        Value::Amounts(&new.warn_at),
        Value::Bool(terms.paused),
        Value::OptJsonb(weights_column(&new.metric)),
        Value::OptInt8(new.anchor_time),
        Value::OptAmount(new.rollover_max),
        Value::OptTime(limit.rollover.map(|rollover| rollover.since)),
        Value::OptTime(terms.counts_since),
    ])?;
    if inserted.is_empty() {
        // Calls on a wallet queue on its row. Nothing is there yet to queue on for all wallets.
        return Err(Error::new(
            Code::SerializationFailure,
            "another call set the same default limit at the same moment",
        )
        .detail("The other call has committed.")
        .hint("Run the transaction again: the call then changes that limit."));
    }
    Ok(())
}

fn change(new: &NewLimit<'_>, limit: &Limit, terms: &Terms) -> Result<()> {
    CHANGE
        .run_in_order(&[
            Value::Text(new.wallet),
            Value::Uuid(limit.id),
            Value::Text(new.mode.as_str()),
            Value::Amount(new.max),
            Value::OptText(terms.zone.as_deref()),
            Value::OptInt2(new.period.anchor().map(i16::from)),
            Value::Amounts(&new.warn_at),
            Value::Bool(terms.paused),
            Value::OptJsonb(weights_column(&new.metric)),
            Value::OptInt8(new.anchor_time),
            Value::OptAmount(new.rollover_max),
            Value::OptTime(limit.rollover.map(|rollover| rollover.since)),
            Value::OptTime(terms.counts_since),
        ])
        .map(drop)
}
