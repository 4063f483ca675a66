//! SQL functions behind the view `limits_status`.

use crate::access::rights::{Level, enter};
use crate::args;
use crate::error::Result;
use crate::ledger::limits::view::{Running, Shown, limits_of, running};
use crate::ledger::wallets::config;
use crate::limits::limit::Limit;
use crate::limits::period::{self, Period};
use crate::limits::scope::Scope;
use crate::limits::window::add_carry_in_query;
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::numeric::overflow;
use crate::pg::raise::OrRaise;
use pgrx::prelude::*;
use pgrx::{Uuid, default};

/// The end of the window that contains a given time: when a limit with that period resets. NULL for
/// a period that never ends, and for a rolling period.
#[pg_extern(schema = "wallet", immutable, parallel_safe)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn period_end(
    period: Option<&str>,
    anchor: Option<i32>,
    time_zone: Option<&str>,
    at: Option<TimestampWithTimeZone>,
    anchor_time: default!(Option<Time>, "NULL"),
) -> Option<TimestampWithTimeZone> {
    let (period, _) = Period::parse(period?, anchor).ok()?;
    let zone = period::zone(time_zone?).ok()?;
    let from = anchor_time.and_then(|time| period::time_of_day(args::micros_of(time)));
    let (_, end) = period.window(&zone, from, Timestamp::from(at?).unix_micros())?;
    TimestampWithTimeZone::try_from(Timestamp::from_unix_micros(end?).0).ok()
}

/// The limits of a wallet with their usage at a time, which should be close to now. One row per
/// subject with usage in its current window, or a single row if there is no such subject. Reads the
/// wallet's windows in a single pass, whatever the planner's statistics are.
#[pg_extern(schema = "wallet", stable, parallel_restricted, requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn limits_now(
    of_wallet: Option<&str>,
    at: Option<TimestampWithTimeZone>,
) -> TableIterator<
    'static,
    (
        name!(limit_id, Uuid),
        name!(scope, String),
        name!(subject, String),
        name!(period, String),
        name!(metric, String),
        name!(mode, String),
        name!(max, Amount),
        name!(used, Amount),
        name!(held, Amount),
        name!(resets_at, Option<TimestampWithTimeZone>),
        name!(paused, bool),
        name!(time_zone, String),
        name!(carried, Option<Amount>),
        name!(rollover_max, Option<Amount>),
        name!(anchor_time, Option<Time>),
        name!(is_default, bool),
    ),
> {
    let work = || {
        let wallet = args::required("of_wallet", of_wallet)?;
        let now = args::time("at", at)?.unwrap_or_else(clock::now);
        enter(Level::Reader, wallet, |_| {
            config::require(wallet)?;
            limits_at(wallet, now)
        })
    };
    TableIterator::new(work().or_raise())
}

type LimitNow = (
    Uuid,
    String,
    String,
    String,
    String,
    String,
    Amount,
    Amount,
    Amount,
    Option<TimestampWithTimeZone>,
    bool,
    String,
    Option<Amount>,
    Option<Amount>,
    Option<Time>,
    bool,
);

fn limits_at(wallet: &str, now: Timestamp) -> Result<Vec<LimitNow>> {
    let limits = limits_of(wallet)?;
    let mut running = running(wallet, &limits, now)?;
    let mut rows = Vec::new();
    for shown in limits {
        let Shown {
            limit,
            paused,
            zone,
            anchor_time,
        } = shown;
        let from = anchor_time.and_then(|micros| Time::try_from(micros).ok());
        let is_rolling = limit.period.slice().is_some();
        let end = limit.window("*".to_owned(), now, Amount::ZERO);
        let end = end.ok().and_then(|window| window.end);
        let mut windows = running.remove(&limit.id).unwrap_or_default();
        windows.retain(|window| {
            let subject = window.subject.as_deref().unwrap_or_default();
            limit.has_window(window.id, subject, window.start)
        });
        if windows.is_empty() {
            windows.push(Running::default());
        }
        for window in windows {
            let end = window.end.or(end);
            let resets_at = if is_rolling { window.frees_at } else { end };
            let carried = match paused {
                true => None,
                false => carried(wallet, &limit, &window, now)?,
            };
            let max = limit.max_at(now)?;
            let max = max.plus(carried.unwrap_or_default()).map_err(overflow)?;
            rows.push((
                Uuid::from_bytes(limit.id),
                limit.scope.as_str().into_owned(),
                window.subject.unwrap_or_else(|| limit.subject.to_string()),
                limit.period_name.clone(),
                limit.metric.as_str().to_owned(),
                limit.mode.as_str().to_owned(),
                max.max(Amount::ZERO),
                window.used,
                window.held,
                resets_at.and_then(|at| TimestampWithTimeZone::try_from(at.0).ok()),
                paused,
                zone.clone(),
                carried,
                limit.rollover.map(|rollover| rollover.max),
                from,
                limit.default.is_some(),
            ));
        }
    }
    Ok(rows)
}

/// The amount carried into a window, or into the running window of a limit whose only subject has
/// not used it yet. `None` if the limit carries nothing, or if each subject has its own window.
fn carried(
    wallet: &str,
    limit: &Limit,
    window: &Running,
    now: Timestamp,
) -> Result<Option<Amount>> {
    let is_each = limit.scope != Scope::Wallet && limit.subject.has_each();
    if limit.rollover.is_none() || window.carried.is_some() || is_each {
        return Ok(window.carried.filter(|_| limit.rollover.is_some()));
    }
    let mut one = limit.window(limit.subject.to_string(), now, Amount::ZERO)?;
    add_carry_in_query(wallet, &mut one)?;
    Ok(one.carry.map(|carry| carry.amount))
}
