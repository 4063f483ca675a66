//! SQL functions on limits.

use crate::access::audit::Of;
use crate::access::call::Call;
use crate::access::rights::{Level, enter};
use crate::api::limit_subjects;
use crate::args;
use crate::error::{Error, Result, quoted};
use crate::ledger::charges::request::{ChargeArgs, Request};
use crate::ledger::limits::check::{self, Checking};
use crate::ledger::limits::set;
use crate::ledger::limits::set::{NewLimit, Raise};
use crate::limits::limit::{Mode, WHOLE};
use crate::limits::metric::Metric;
use crate::limits::period::{NotAPeriod, Period};
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::Number;
use crate::pg::raise::{OrRaise, or_raise_keeping};
use crate::pg::sql_types::Measure;
use pgrx::prelude::*;
use pgrx::{AnyNumeric, Uuid, default};

/// The most windows whose maximum can be carried.
const MAX_CARRIED: i128 = 1000;

/// The error 22023, which lists the valid periods.
fn not_a_period(text: &str, anchor: Option<i32>, why: NotAPeriod) -> Error {
    let hint = format!(
        "Valid values are: {}, and rolling ones such as \"rolling 5 hours\".",
        Period::NAMES.join(", ")
    );
    match why {
        NotAPeriod::Unknown => Error::argument(format!("unrecognized period {}", quoted(text)))
            .detail("No period has that name.")
            .hint(hint),
        NotAPeriod::NotALength => Error::argument(format!("period {} is not a length of time", quoted(text)))
            .detail("A rolling period has a length that is always the same: months and years have not.")
            .hint("Give it in seconds, minutes, hours, days or weeks, such as \"rolling 30 days\"."),
        NotAPeriod::OutOfRange => Error::argument(format!("period {} is out of range", quoted(text)))
            .detail("A rolling period lasts from one second to ten years.")
            .hint(hint),
        NotAPeriod::Anchor => Error::argument(format!(
            "anchor {} does not fit the period {}",
            anchor.map_or("NULL".to_owned(), |day| day.to_string()),
            quoted(text)
        ))
        .detail("A week begins on day 1 (Monday) to 7 (Sunday), a month on day 1 to 31; other periods have no anchor.")
        .hint("Leave anchor out, or give a day that the period has."),
    }
}

/// The fractions of the maximum at which a limit warns, ascending and less than one.
fn warn_levels(values: Option<Vec<Option<AnyNumeric>>>) -> Result<Vec<Amount>> {
    let mut levels = args::amounts("warn_at", &values.unwrap_or_default())?;
    if let Some(level) = levels
        .iter()
        .find(|level| level.is_zero() || level.units() > WHOLE)
    {
        return Err(Error::argument("warn_at is not a fraction of the maximum")
            .detail(format!("It has the element {level}."))
            .hint("Give fractions above 0 and up to 1, such as {0.5,0.8}."));
    }
    levels.retain(|level| level.units() < WHOLE);
    levels.sort();
    levels.dedup();
    Ok(levels)
}

/// Microseconds after midnight at which windows begin; `None` for midnight.
fn anchor_time_of(time: Option<Time>, period: Period, name: &str) -> Result<Option<i64>> {
    let Some(time) = time else {
        return Ok(None);
    };
    let micros = args::micros_of(time);
    if !period.takes_time() {
        return Err(Error::argument(format!(
            "anchor_time does not fit the period {}",
            quoted(name)
        ))
        .detail("Windows of days, weeks, months, quarters and years begin at a time of day.")
        .hint("Leave anchor_time out, or choose one of these periods."));
    }
    Ok((micros != 0).then_some(micros))
}

/// The most that is carried into the next window; `None` for nothing.
fn rollover_of(
    most: Option<&Number>,
    max: Amount,
    period: Period,
    name: &str,
) -> Result<Option<Amount>> {
    let Some(most) = most else {
        return Ok(None);
    };
    let most = args::amount("rollover_max", Some(most))?;
    if !period.carries() {
        return Err(Error::argument(format!(
            "rollover_max does not fit the period {}",
            quoted(name)
        ))
        .detail("Only windows from minutes to years follow each other.")
        .hint("Leave rollover_max out, or choose a period from minute to year."));
    }
    if most.units() > max.units().saturating_mul(MAX_CARRIED) {
        return Err(Error::argument("rollover_max is too large")
            .detail(format!(
                "It is {most}, more than {MAX_CARRIED} times the maximum {max}."
            ))
            .hint(format!("Give at most {MAX_CARRIED} times max.")));
    }
    Ok((!most.is_zero()).then_some(most))
}

fn set_once(new: &NewLimit<'_>, call: Call<'_>) -> Result<[u8; 16]> {
    let scope = new.scope.as_str();
    let mut call = call
        .with("max", new.max)
        .with("period", new.period_name.as_str())
        .with("scope", &*scope)
        .with("subject", new.subject.as_str())
        .with("metric", new.metric.as_str())
        .with("mode", new.mode.as_str());
    for level in &new.warn_at {
        call = call.with("warn_at", *level);
    }
    let call = call
        .with("time_zone", new.time_zone)
        .with("anchor", new.period.anchor().map(|day| day.to_string()))
        .with("paused", new.paused)
        .with("anchor_time", new.anchor_time)
        .with("rollover_max", new.rollover_max);
    let limit = [
        &*scope,
        new.subject.as_str(),
        &new.period_name,
        new.metric.as_str(),
    ];
    call.change(set::LEVEL, Of::LimitOn(limit), |call| set::set(new, call))
}

/// Sets a limit, or changes the limit with the same scope, subject, period and metric. Returns its
/// id.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn set_limit(
    wallet: Option<&str>,
    max: Option<Number>,
    period: Option<&str>,
    scope: default!(Option<&str>, "'wallet'"),
    subject: default!(Option<&str>, "'*'"),
    metric: default!(Option<&str>, "'amount'"),
    mode: default!(Option<&str>, "'hard'"),
    warn_at: default!(Option<Vec<Option<AnyNumeric>>>, "'{0.8}'"),
    time_zone: default!(Option<&str>, "NULL"),
    anchor: default!(Option<i32>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
    paused: default!(Option<bool>, "NULL"),
    anchor_time: default!(Option<Time>, "NULL"),
    rollover_max: default!(Option<Number>, "NULL"),
) -> Uuid {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let max = args::amount("max", max.as_ref())?;
        let text = args::required("period", period)?;
        let (period, period_name) =
            Period::parse(text, anchor).map_err(|why| not_a_period(text, anchor, why))?;
        let (scope, order) = limit_subjects::scope_of(scope)?;
        let mode = args::word("mode", mode, Mode::ALL, Mode::as_str, &[])?;
        let warn_at = warn_levels(warn_at)?;
        let subject = limit_subjects::subject_of(&scope, &order, subject)?;
        let metric = Metric::parse(args::required("metric", metric)?);
        let new = NewLimit {
            wallet,
            scope,
            subject,
            anchor_time: anchor_time_of(anchor_time, period, &period_name)?,
            rollover_max: rollover_of(rollover_max.as_ref(), max, period, &period_name)?,
            period,
            period_name,
            metric,
            mode,
            max,
            warn_at,
            time_zone: args::name("time_zone", time_zone)?,
            paused,
        };
        let call = Call::new("set_limit", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?;
        set_once(&new, call)
    };
    Uuid::from_bytes(work().or_raise())
}

fn limit_id(value: Option<Uuid>) -> Result<[u8; 16]> {
    args::id("limit_id", value, "Pass the id that set_limit() returned.")
}

/// Raises a limit by an amount, until a time or permanently. Returns the maximum that results.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn raise_limit(
    wallet: Option<&str>,
    limit_id: Option<Uuid>,
    by: Option<Number>,
    until: default!(Option<TimestampWithTimeZone>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> Amount {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let raise = Raise {
            wallet,
            limit_id: self::limit_id(limit_id)?,
            by: args::positive_amount("by", by.as_ref())?,
            until: args::kept_time("until", until)?,
        };
        if raise
            .until
            .is_some_and(|until| until <= crate::pg::clock::now())
        {
            return Err(Error::argument("until is in the past")
                .detail("The limit would not be raised at all.")
                .hint("Give a time to come, or leave until out to raise the limit for good."));
        }
        let call = Call::new("raise_limit", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("limit_id", raise.limit_id)
            .with("by", raise.by)
            .with("until", raise.until.map(|until| until.0));
        call.change(set::LEVEL, Of::Limit(raise.limit_id), |call| {
            set::raise(&raise, call)
        })
    };
    work().or_raise()
}

/// Deletes a limit.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn drop_limit(
    wallet: Option<&str>,
    limit_id: Option<Uuid>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let limit_id = self::limit_id(limit_id)?;
        let call = Call::new("drop_limit", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("limit_id", limit_id);
        call.change(set::LEVEL, Of::Limit(limit_id), |call| {
            set::drop_limit(wallet, limit_id, call)
        })
    };
    work().or_raise();
}

/// Checks a request against the balance and every limit that applies. Books nothing.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments, clippy::type_complexity)]
fn check_limits(
    wallet: Option<&str>,
    user_id: default!(Option<&str>, "NULL"),
    model: default!(Option<&str>, "NULL"),
    team: default!(Option<&str>, "NULL"),
    service: default!(Option<&str>, "NULL"),
    tags: default!(Option<Jsonb>, "NULL"),
    key: default!(Option<&str>, "NULL"),
    amount: default!(Option<Number>, "0"),
    usage: default!(Option<Jsonb>, "NULL"),
    client_ip: default!(Option<pgrx::Inet>, "NULL"),
    device: default!(Option<&str>, "NULL"),
    region: default!(Option<&str>, "NULL"),
    service_tier: default!(Option<&str>, "NULL"),
    event_at: default!(Option<TimestampWithTimeZone>, "NULL"),
    cost_from: default!(Option<&str>, "'prices'"),
    for_hold: default!(Option<bool>, "false"),
) -> TableIterator<
    'static,
    (
        name!(limit_id, Option<Uuid>),
        name!(scope, String),
        name!(subject, String),
        name!(period, Option<String>),
        name!(metric, String),
        name!(mode, String),
        name!(max, Option<Measure>),
        name!(used, Option<Measure>),
        name!(held, Measure),
        name!(remaining, Measure),
        name!(resets_at, Option<TimestampWithTimeZone>),
        name!(allowed, bool),
        name!(reason, Option<String>),
        name!(max_per_request, Option<Measure>),
    ),
> {
    let work = || -> Result<_> {
        let request = Request::check(ChargeArgs {
            wallet,
            // Without usage and amount, the limits are asked for alone.
            amount: amount.or(Some(Number::ZERO)).filter(|_| usage.is_none()),
            usage,
            user_id,
            team,
            model,
            service,
            region,
            service_tier,
            tags,
            event_at: event_at.map(Timestamp::from),
            secret: key,
            client_ip,
            device,
            cost_from,
            ..ChargeArgs::default()
        })?;
        checked(&request, Checking::of(for_hold))
    };
    TableIterator::new(or_raise_keeping(key, work).into_iter().map(check_row))
}

fn checked(request: &Request<'_>, call: Checking) -> Result<Vec<check::Checked>> {
    enter(Level::Reader, request.wallet, |_| {
        check::check(request, call)
    })
}

type CheckRow = (
    Option<Uuid>,
    String,
    String,
    Option<String>,
    String,
    String,
    Option<Measure>,
    Option<Measure>,
    Measure,
    Measure,
    Option<TimestampWithTimeZone>,
    bool,
    Option<String>,
    Option<Measure>,
);

fn check_row(row: check::Checked) -> CheckRow {
    let time = |at: Timestamp| TimestampWithTimeZone::try_from(at.0).ok();
    let measure = |amount: Amount| match row.metric {
        Metric::Amount => Measure::Money(amount),
        _ => Measure::Count(amount),
    };
    (
        row.limit_id.map(Uuid::from_bytes),
        row.scope.clone().into_owned(),
        row.subject.clone(),
        row.period.clone(),
        row.metric.as_str().to_owned(),
        row.mode.to_owned(),
        row.max.map(measure),
        row.used.map(measure),
        measure(row.held),
        measure(row.remaining),
        row.resets_at.and_then(time),
        row.allowed,
        row.reason.map(str::to_owned),
        row.max_per_request.map(measure),
    )
}
