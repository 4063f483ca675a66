//! SQL functions on grants.

use crate::access::audit::Of;
use crate::access::call::Call;
use crate::access::rights::{Level, enter_as};
use crate::args;
use crate::error::{Error, Result};
use crate::ledger::grants::recurring::{self, NewRecurring};
use crate::ledger::grants::scope::Scope;
use crate::ledger::grants::void::{self, Void};
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::Number;
use crate::pg::raise::OrRaise;
use crate::pg::row::{composite, text};
use pgrx::datum::{Date, Interval, IntoDatum};
use pgrx::prelude::*;
use pgrx::{Uuid, default};

composite!(
    /// The result of `void_grant`.
    VoidRow,
    "wallet.void_result"
);

composite!(
    /// The result of `set_recurring_grant`.
    RecurringRow,
    "wallet.recurring_result"
);

/// Takes back the rest of a grant.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn void_grant(
    wallet: Option<&str>,
    grant_id: Option<Uuid>,
    reason: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> VoidRow {
    let work = || {
        let grant_id = args::id("grant_id", grant_id, "Give a grant_id of the view grants.")?;
        let wallet = args::required("wallet", wallet)?;
        let reason = args::text("reason", reason)?;
        let call = Call::new("void_grant", wallet)
            .once(idempotency_key)?
            .with("grant_id", grant_id)
            .idempotent();
        let void = Void {
            wallet,
            grant_id,
            reason,
            key: call.key,
            fingerprint: call.fingerprint,
            actor: args::name("actor", actor)?,
            metadata: args::document("metadata", metadata)?,
        };
        enter_as(Level::Billing, void.wallet, actor, |_| void::void(&void))
    };
    let voided = work().or_raise();
    VoidRow(vec![
        voided
            .entry_id
            .and_then(|id| Uuid::from_bytes(id).into_datum()),
        voided.amount.into_datum(),
        voided.balance.into_datum(),
        voided.replayed.into_datum(),
    ])
}

/// The periods of a recurring grant that a HINT lists.
const PERIODS: [&str; 8] = [
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "quarter",
    "year",
    "and a number of them such as 2 weeks",
];

/// Parses a period such as `month` or `2 weeks`. Returns it as an interval.
fn period(value: Option<&str>) -> Result<String> {
    let text = args::required("period", value)?;
    let (count, unit) = match text.split_once(' ') {
        Some((count, unit)) => (count.parse::<u16>().unwrap_or(0), unit),
        None => (1, text),
    };
    let unit = match unit.strip_suffix('s').unwrap_or(unit) {
        "second" => Some((1, "seconds")),
        "minute" => Some((1, "minutes")),
        "hour" => Some((1, "hours")),
        "day" => Some((1, "days")),
        "week" => Some((1, "weeks")),
        "month" => Some((1, "months")),
        "quarter" => Some((3, "months")),
        "year" => Some((1, "years")),
        _ => None,
    };
    match unit {
        Some((factor, unit)) if count > 0 => Ok(format!("{} {unit}", u32::from(count) * factor)),
        _ => Err(args::unrecognized("period", text, &PERIODS)),
    }
}

/// Microseconds per day.
const DAY: i64 = 24 * 3600 * 1_000_000;

/// A hundred years, with 31 days per month, because months differ in length.
const MAX_LIFE_DAYS: i64 = 100 * 12 * 31;

/// The lifetime of a grant, as an interval; `None` for a grant without an end.
pub fn lifetime(argument: &str, value: Option<Interval>) -> Result<Option<String>> {
    let Some(interval) = value else {
        return Ok(None);
    };
    let (months, days, micros) = (interval.months(), interval.days(), interval.micros());
    if months < 0 || days < 0 || micros < 0 || (months, days, micros) == (0, 0, 0) {
        return Err(Error::argument(format!("{argument} is not above zero"))
            .detail("A grant must live for some time.")
            .hint(
                "Give an interval such as 1 month, or leave it out for grants that do not expire.",
            ));
    }
    let days_in_all = i64::from(months) * 31 + i64::from(days);
    if days_in_all > MAX_LIFE_DAYS || micros / DAY > MAX_LIFE_DAYS {
        return Err(Error::argument(format!("{argument} is out of range"))
            .detail("A grant lives for a hundred years at most.")
            .hint(
                "Give an interval such as 1 month, or leave it out for grants that do not expire.",
            ));
    }
    Ok(Some(format!(
        "{months} months {days} days {micros} microseconds"
    )))
}

/// Grants an amount now, or from a day on, and again every period. Zero ends the recurring grant.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn set_recurring_grant(
    wallet: Option<&str>,
    amount: Option<Number>,
    period: default!(Option<&str>, "'month'"),
    expires_after: default!(Option<Interval>, "NULL"),
    rollover_max: default!(Option<Number>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
    scope: default!(Option<Jsonb>, "NULL"),
    name: default!(Option<&str>, "'default'"),
    starts_on: default!(Option<Date>, "NULL"),
) -> RecurringRow {
    let work = || {
        let name = args::new_name("name", name)?;
        let period = self::period(period)?;
        let expires_after = lifetime("expires_after", expires_after)?;
        let new = NewRecurring {
            wallet: args::required("wallet", wallet)?,
            name,
            starts_on: args::day("starts_on", starts_on)?,
            amount: args::amount("amount", amount.as_ref())?,
            period: &period,
            expires_after: expires_after.as_deref(),
            rollover_max: rollover_max
                .map(|most| args::amount("rollover_max", Some(&most)))
                .transpose()?,
            scope: scope.map(Scope::given).transpose()?.and(scope),
            actor: args::name("actor", actor)?,
            metadata: args::document("metadata", metadata)?,
        };
        let call = Call::new("set_recurring_grant", new.wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("amount", new.amount)
            .with("period", period.as_str())
            .with("expires_after", new.expires_after)
            .with("rollover_max", new.rollover_max)
            .with("scope", scope.map(Jsonb::to_text))
            .with("name", new.name)
            .with("starts_on", starts_on.map(i32::from));
        let set = call.change(Level::Billing, Of::Recurring(new.name), |call| {
            recurring::set(&new, call)
        })?;
        Ok((set, name))
    };
    let (set, name) = work().or_raise();
    RecurringRow(vec![
        set.grant_id
            .and_then(|id| Uuid::from_bytes(id).into_datum()),
        set.amount.into_datum(),
        set.balance.into_datum(),
        set.next_at.map(|at| pgrx::pg_sys::Datum::from(at.0)),
        set.replayed.into_datum(),
        text(name),
    ])
}
