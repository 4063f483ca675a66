//! Setting limits. It is here and not in `limits` because a new limit must count what its running
//! windows have spent, which the ledger knows, and must hold all lanes while it does.

use crate::access::rights::Level;
use crate::allowance::whole::Extent;
use crate::error::{Error, Result};
use crate::ledger::funding::lock_wallet;
use crate::ledger::once::Once;
use crate::ledger::rules::{self, Status};
use crate::limits::limit::{Limit, Scope};
use crate::limits::period::Period;
use crate::limits::window;
use crate::money::Amount;
use crate::pricing::unknown::rate_or;
use crate::statement;
use crate::storage::clock::{self, Timestamp};
use crate::storage::jsonb::{Builder, Json};
use crate::storage::plan::{Run, Value};
use crate::storage::rows::uuid_text;
use crate::storage::store;

statement!(
    FIND,
    [TEXTOID, TEXTOID, TEXTOID, TEXTOID],
    "SELECT limit_id, time_zone FROM wallet.limits
      WHERE wallet_id = $1 AND scope = $2 AND subject = $3 AND period = $4 AND metric = 'amount'"
);

statement!(
    INSERT,
    [
        TEXTOID,
        UUIDOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        NUMERICOID,
        TEXTOID,
        TIMESTAMPTZOID
    ],
    "INSERT INTO wallet.limits
        (wallet_id, limit_id, scope, subject, period, metric, mode, max, time_zone, created_at)
     VALUES ($1, $2, $3, $4, $5, 'amount', 'hard', $6, $7, $8)"
);

statement!(
    CHANGE,
    [TEXTOID, UUIDOID, NUMERICOID, TEXTOID],
    "UPDATE wallet.limits SET max = $3, time_zone = $4 WHERE wallet_id = $1 AND limit_id = $2"
);

statement!(
    REALLOT,
    [TEXTOID, UUIDOID, NUMERICOID, TIMESTAMPTZOID],
    "UPDATE wallet.allowances
        SET allotted = greatest($3, spent + held), version = version + 1
      WHERE wallet_id = $1 AND limit_id = $2 AND (window_end IS NULL OR window_end > $4)"
);

statement!(
    SPENT,
    [TEXTOID, TIMESTAMPTZOID, BOOLOID, TEXTOID],
    "SELECT CASE WHEN $3 THEN user_id ELSE '*' END, -sum(amount)
       FROM wallet.ledger
      WHERE wallet_id = $1 AND kind = 'c'
        AND ($2 IS NULL OR created_at >= $2)
        AND (NOT $3 OR user_id IS NOT NULL AND ($4 = '*' OR user_id = $4))
      GROUP BY 1"
);

statement!(
    TOUCH_EPOCH,
    [TEXTOID, INT8OID],
    "UPDATE wallet.allowances SET epoch = $2, version = version + 1
      WHERE wallet_id = $1 AND allowance_id = '00000000-0000-0000-0000-000000000000'"
);

statement!(
    ZONE,
    [TEXTOID],
    "SELECT time_zone FROM wallet.wallets WHERE wallet_id = $1"
);

/// What `set_limit` was asked for.
pub struct NewLimit<'a> {
    /// The wallet.
    pub wallet: &'a str,
    /// What it looks at.
    pub scope: Scope,
    /// For whom.
    pub subject: &'a str,
    /// Its period.
    pub period: Period,
    /// Maximum in a window.
    pub max: Amount,
    /// Its own time zone; the wallet's otherwise.
    pub time_zone: Option<&'a str>,
}

/// The level that setting a limit needs.
pub const LEVEL: Level = Level::Admin;

/// Sets the limit, or changes the one on the same scope, subject and period.
pub fn set(new: &NewLimit<'_>, call: Once<'_>) -> Result<[u8; 16]> {
    // A call with the same key waits here for the first one, and then finds its answer.
    lock_wallet(new.wallet)?;
    if let Some(answer) = call.answered()? {
        return answer_id(answer.result());
    }
    let id = write(new)?;
    let mut json = Builder::default();
    json.begin_object();
    json.text("limit_id", Some(&uuid_text(id)));
    call.remember(Some(json.finish_object()))?;
    Ok(id)
}

fn answer_id(result: Option<crate::storage::jsonb::Jsonb>) -> Result<[u8; 16]> {
    let lost = || Error::internal("an answer was not kept");
    let json = result.ok_or_else(lost)?.reread("result")?;
    match json.as_object() {
        Some([(_, Json::String(id))]) => {
            Ok(uuid::Uuid::parse_str(id).map_err(|_| lost())?.into_bytes())
        }
        _ => Err(lost()),
    }
}

fn write(new: &NewLimit<'_>) -> Result<[u8; 16]> {
    let wallet = new.wallet;
    let (rules, _) = rules::read_with_lanes(wallet, Extent::Every)?;
    rules.require_open(wallet)?;
    let now = clock::now();
    let found = FIND.run(&[
        Value::Text(wallet),
        Value::Text(new.scope.as_str()),
        Value::Text(new.subject),
        Value::Text(new.period.as_str()),
    ])?;
    let id = if found.is_empty() {
        insert(new, now)?
    } else {
        let id: [u8; 16] = found.need(0, 0)?;
        let old_zone: String = found.need(0, 1)?;
        let zone = new.time_zone.unwrap_or(&old_zone);
        CHANGE.run(&[
            Value::Text(wallet),
            Value::Uuid(id),
            Value::Amount(new.max),
            Value::Text(zone),
        ])?;
        if zone != old_zone {
            // Other days and months: their running windows are counted as for a new limit.
            count_running(wallet, &limit(new, id, zone)?, now)?;
        }
        let values = [
            Value::Text(wallet),
            Value::Uuid(id),
            Value::Amount(new.max),
            Value::Time(now),
        ];
        REALLOT.run(&values)?;
        id
    };
    // Charges that know the old rules see another epoch on their lane and read them again.
    TOUCH_EPOCH.run(&[Value::Text(wallet), Value::Int8(rules::new_epoch())])?;
    Ok(id)
}

fn limit(new: &NewLimit<'_>, id: [u8; 16], zone: &str) -> Result<Limit> {
    crate::ledger::wallets::check_time_zone(zone)?;
    Ok(Limit {
        id,
        scope: new.scope,
        subject: new.subject.to_owned(),
        period: new.period,
        max: new.max,
        zone: jiff::tz::TimeZone::get(zone)
            .map_err(|_| Error::argument("time zone is not known"))?,
    })
}

fn insert(new: &NewLimit<'_>, now: Timestamp) -> Result<[u8; 16]> {
    let wallet = new.wallet;
    let zone = match new.time_zone {
        Some(zone) => zone.to_owned(),
        None => ZONE.run(&[Value::Text(wallet)])?.need(0, 0)?,
    };
    let limit = limit(new, uuid::Uuid::now_v7().into_bytes(), &zone)?;
    INSERT.run(&[
        Value::Text(wallet),
        Value::Uuid(limit.id),
        Value::Text(new.scope.as_str()),
        Value::Text(new.subject),
        Value::Text(new.period.as_str()),
        Value::Amount(new.max),
        Value::Text(&zone),
        Value::Time(now),
    ])?;
    count_running(wallet, &limit, now)?;
    Ok(limit.id)
}

/// Has a limit count what its running windows already spent. From here on a window without a row
/// is one in which nothing was spent.
fn count_running(wallet: &str, limit: &Limit, now: Timestamp) -> Result<()> {
    let start = limit.window("*".to_owned(), now)?.start;
    let spent = SPENT.run(&[
        Value::Text(wallet),
        Value::OptTime(start),
        Value::Bool(limit.scope == Scope::User),
        Value::Text(&limit.subject),
    ])?;
    for row in 0..spent.len() {
        let applied = limit.window(spent.need(row, 0)?, now)?;
        window::open(wallet, &applied, spent.amount(row, 1)?)?;
    }
    Ok(())
}

/// What `check_limits` was asked.
pub struct Check<'a> {
    /// The wallet.
    pub wallet: &'a str,
    /// Who would spend.
    pub user_id: Option<&'a str>,
    /// How much, or usage to be priced.
    pub asked: Asked,
}

/// What would be spent.
pub enum Asked {
    /// That amount.
    Amount(Amount),
    /// The cost of that usage.
    Usage(Box<crate::pricing::usage::Usage>),
}

/// A row of `check_limits`.
pub struct Checked {
    /// The limit; none for the balance.
    pub limit_id: Option<[u8; 16]>,
    /// `balance`, or the limit's scope.
    pub scope: &'static str,
    /// Whose it is.
    pub subject: String,
    /// The limit's period.
    pub period: Option<&'static str>,
    /// Maximum.
    pub max: Option<Amount>,
    /// What was used.
    pub used: Option<Amount>,
    /// What is held.
    pub held: Amount,
    /// What is left.
    pub remaining: Amount,
    /// When it resets.
    pub resets_at: Option<Timestamp>,
    /// Whether it allows the request.
    pub allowed: bool,
    /// Why not.
    pub reason: Option<&'static str>,
}

/// The balance, then every limit that applies; books nothing.
pub fn check(check: &Check<'_>) -> Result<Vec<Checked>> {
    let wallet = check.wallet;
    let rules = rules::read(wallet)?;
    let amount = match &check.asked {
        Asked::Amount(amount) => *amount,
        Asked::Usage(usage) => {
            let model = usage
                .model
                .as_deref()
                .ok_or_else(crate::ledger::charge::no_model)?;
            rate_or(
                usage,
                model,
                &rules.price_list,
                clock::now(),
                &rules.unknown_price,
            )?
            .cost
        }
    };
    let lanes = store::read_lanes(wallet)?;
    let held = lanes.iter().map(|lane| lane.held.units()).sum();
    let remaining = lanes.iter().map(|lane| lane.room().units()).sum();
    let range = crate::allowance::lanes::range;
    let (held, remaining) = (
        Amount::from_units(held).map_err(range)?,
        Amount::from_units(remaining).map_err(range)?,
    );
    let active = rules.status == Status::Active;
    let mut rows = vec![Checked {
        limit_id: None,
        scope: "balance",
        subject: wallet.to_owned(),
        period: None,
        max: None,
        used: None,
        held,
        remaining,
        resets_at: None,
        allowed: active && remaining >= amount,
        reason: match (active, remaining >= amount) {
            (false, _) => Some("wallet_not_active"),
            (true, false) => Some("insufficient_funds"),
            (true, true) => None,
        },
    }];
    for applied in crate::limits::limit::applicable(&rules.limits, check.user_id, clock::now())? {
        let status = window::status(wallet, applied)?;
        let allowed = status.allows(amount);
        rows.push(Checked {
            limit_id: Some(status.applied.limit.id),
            scope: status.applied.limit.scope.as_str(),
            subject: status.applied.subject.clone(),
            period: Some(status.applied.limit.period.as_str()),
            max: Some(status.applied.limit.max),
            used: Some(status.window.spent),
            held: status.window.held,
            remaining: status.remaining(),
            resets_at: status.applied.end,
            allowed,
            reason: (!allowed).then_some("limit_exceeded"),
        });
    }
    rows[1..].sort_by(|a, b| (a.scope, a.period, a.limit_id).cmp(&(b.scope, b.period, b.limit_id)));
    Ok(rows)
}
