//! SQL functions behind the view `limits_status`.

use crate::access::rights::{Level, enter};
use crate::args;
use crate::ledger::limits::set;
use crate::ledger::limits::view::{Running, running};
use crate::ledger::wallets::config;
use crate::ledger::wallets::config::limit_of;
use crate::limits::period::{self, Period};
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
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
    ),
> {
    let work = || {
        let wallet = args::required("of_wallet", of_wallet)?;
        let now = args::time("at", at)?.unwrap_or_else(clock::now);
        enter(Level::Reader, wallet, |_| {
            config::require(wallet)?;
            let mut running = running(wallet, now)?;
            let mut rows = Vec::new();
            for row in set::of_wallet(wallet)? {
                let (paused, zone) = (row.paused, row.time_zone.clone());
                let limit = limit_of(row)?;
                let max = limit.max_at(now)?;
                let is_rolling = limit.period.slice().is_some();
                let end = limit.window("*".to_owned(), now, Amount::ZERO);
                let end = end.ok().and_then(|window| window.end);
                let windows = running.remove(&limit.id);
                for window in windows.unwrap_or_else(|| vec![Running::default()]) {
                    let end = window.end.or(end);
                    let resets_at = if is_rolling { window.frees_at } else { end };
                    rows.push((
                        Uuid::from_bytes(limit.id),
                        limit.scope.as_str().into_owned(),
                        window.subject.unwrap_or_else(|| limit.subject.clone()),
                        limit.period_name.clone(),
                        limit.metric.as_str().to_owned(),
                        limit.mode.as_str().to_owned(),
                        max,
                        window.used,
                        window.held,
                        resets_at.and_then(|at| TimestampWithTimeZone::try_from(at.0).ok()),
                        paused,
                        zone.clone(),
                    ));
                }
            }
            Ok(rows)
        })
    };
    TableIterator::new(work().or_raise())
}
