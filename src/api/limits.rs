//! SQL functions on limits.

use crate::access::audit::Of;
use crate::access::call::Call;
use crate::access::rights::{ALL_WALLETS, Level, enter};
use crate::args;
use crate::error::{Error, Result};
use crate::idempotency::call::lost;
use crate::idempotency::fingerprint::canonical;
use crate::ledger::charges::request::{ChargeArgs, Request};
use crate::ledger::limits::check::{self, Checking};
use crate::ledger::limits::drop;
use crate::ledger::limits::limit_args::{self, LIMITS, LimitArgs, limit_of};
use crate::ledger::limits::raise::{self, Raise};
use crate::ledger::limits::set;
use crate::ledger::limits::set::NewLimit;
use crate::ledger::wallets::change::change_each;
use crate::ledger::wallets::following;
use crate::limits::metric::Metric;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::Number;
use crate::pg::raise::{OrRaise, or_raise_keeping};
use crate::pg::sql_types::Measure;
use crate::storage::rows::uuid_text;
use pgrx::prelude::*;
use pgrx::{AnyNumeric, Uuid, default};

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
        let new = limit_of(
            wallet,
            LimitArgs {
                max,
                period,
                scope,
                subject,
                metric,
                mode,
                warn_at: args::numbers(warn_at),
                time_zone,
                anchor,
                paused,
                anchor_time: anchor_time.map(args::micros_of),
                rollover_max,
            },
        )?;
        let call = Call::new("set_limit", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?;
        set_once(&new, call)
    };
    Uuid::from_bytes(work().or_raise())
}

/// Sets many limits of a wallet, or changes those with the same scope, subject, period and metric:
/// all of them or none.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn set_limits(
    wallet: Option<&str>,
    limits: Option<Jsonb>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(item, i32),
        name!(limit_id, Uuid),
        name!(outcome, &'static str),
        name!(replayed, bool),
    ),
> {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        require_one(wallet)?;
        let items = LIMITS.read(limits)?;
        let new = items.iter().map(|item| limit_args::limit(wallet, item));
        let new = new.collect::<Result<Vec<_>>>()?;
        let names: Vec<[String; 4]> = new.iter().map(set::name_of).collect();
        LIMITS.require_distinct(None, names.iter().map(|name| (name, name.join(" "))))?;
        let [scopes, subjects, periods, metrics] =
            [0, 1, 2, 3].map(|part| names.iter().map(|name| name[part].clone()).collect());
        let of: [Vec<String>; 4] = [scopes, subjects, periods, metrics];
        let call = Call::new("set_limits", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("limits", limits.and_then(canonical));
        let done = change_each(
            &call,
            set::LEVEL,
            Of::LimitsOn(of.each_ref().map(Vec::as_slice)),
            || {
                let ids = set::set_each(wallet, &new, |place, result| items[place].told(result))?;
                Ok(ids.into_iter().map(uuid_text).collect())
            },
        )?;
        let ids = done.items.iter().map(|(id, outcome)| {
            let id = uuid::Uuid::parse_str(id).map_err(|_| lost())?;
            Ok((Uuid::from_bytes(id.into_bytes()), outcome.as_str()))
        });
        Ok((ids.collect::<Result<Vec<_>>>()?, done.replayed))
    };
    let (ids, replayed) = work().or_raise();
    TableIterator::new(
        (1..)
            .zip(ids)
            .map(move |(item, (id, outcome))| (item, id, outcome, replayed)),
    )
}

/// 22023 for the star.
fn require_one(wallet: &str) -> Result<()> {
    match wallet {
        ALL_WALLETS => Err(Error::argument("set_limits() is for a single wallet")
            .detail("The star stands for all wallets.")
            .hint("Set each default limit with set_limit().")),
        _ => Ok(()),
    }
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
            raise::raise(&raise, call)
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
            drop::drop_limit(wallet, limit_id, call)
        })
    };
    work().or_raise();
}

/// Checks a request against the balance and every limit that applies. Books nothing. Without usage
/// and amount, the limits are asked for alone.
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
        name!(held, Option<Measure>),
        name!(remaining, Option<Measure>),
        name!(resets_at, Option<TimestampWithTimeZone>),
        name!(allowed, bool),
        name!(reason, Option<String>),
        name!(max_per_request, Option<Measure>),
        name!(in_wallet, String),
    ),
> {
    let work = || -> Result<_> {
        let request = Request::check(ChargeArgs {
            wallet,
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
    following::foreseeing(request.wallet, || {
        enter(Level::Reader, request.wallet, |session| {
            check::check(session, request, call)
        })
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
    Option<Measure>,
    Option<Measure>,
    Option<TimestampWithTimeZone>,
    bool,
    Option<String>,
    Option<Measure>,
    String,
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
        row.held.map(measure),
        row.remaining.map(measure),
        row.resets_at.and_then(time),
        row.allowed,
        row.reason.map(str::to_owned),
        row.max_per_request.map(measure),
        row.wallet.clone(),
    )
}
