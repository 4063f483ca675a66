//! What the view `limits_status` computes.

use std::collections::HashMap;

use pgrx::Uuid;
use pgrx::prelude::*;

use crate::access::rights::{Level, enter};
use crate::args;
use crate::error::Result;
use crate::ledger::holds::expired::Expired;
use crate::ledger::limits::set;
use crate::ledger::wallets::config;
use crate::ledger::wallets::config::limit_of;
use crate::limits::period::{self, Period};
use crate::limits::slices::Slices;
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::numeric::overflow;
use crate::pg::raise::OrRaise;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::AllowanceId;

/// The first moment after the window that a period has at a moment: when a limit of it resets. NULL
/// for one that never does, and for a rolling one.
#[pg_extern(schema = "wallet", immutable, parallel_safe)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn period_end(
    period: Option<&str>,
    anchor: Option<i32>,
    time_zone: Option<&str>,
    at: Option<TimestampWithTimeZone>,
) -> Option<TimestampWithTimeZone> {
    let (period, _) = Period::parse(period?, anchor).ok()?;
    let zone = period::zone(time_zone?).ok()?;
    let (_, end) = period.window(&zone, Timestamp::from(at?).unix_micros())?;
    TimestampWithTimeZone::try_from(Timestamp::from_unix_micros(end?).0).ok()
}

statement!(
    WINDOWS,
    [TEXTOID, TIMESTAMPTZOID],
    "SELECT a.limit_id, a.allowance_id, a.subject, a.window_end, sum(a.spent), sum(a.held),
            (array_agg(a.slices ORDER BY a.lane))[1]
       FROM wallet.allowances a
      WHERE a.wallet_id = $1 AND a.limit_id IS NOT NULL
        AND (a.window_end IS NULL OR a.window_end > $2) AND (a.window_start IS NULL OR a.window_start <= $2)
      GROUP BY a.limit_id, a.allowance_id, a.subject, a.window_end"
);

/// A running window of a limit.
#[derive(Default)]
struct Running {
    id: AllowanceId,
    subject: Option<String>,
    end: Option<Timestamp>,
    used: Amount,
    held: Amount,
    frees_at: Option<Timestamp>,
}

/// The running windows of a wallet by their limits, without what holds have set aside whose time has come. All is read
/// as the query sees it that asks.
fn running(wallet: &str, now: Timestamp) -> Result<HashMap<[u8; 16], Vec<Running>>> {
    let rows = WINDOWS.read(&[Value::Text(wallet), Value::Time(now)])?;
    let mut found = Vec::new();
    for row in 0..rows.len() {
        let slices: Option<Vec<u8>> = rows.get(row, 6);
        let slices = slices.and_then(|slices| Slices::read(&slices));
        let mut window = Running {
            id: rows.need(row, 1)?,
            subject: rows.get(row, 2),
            end: rows.get(row, 3),
            used: rows.amount(row, 4)?,
            held: rows.amount(row, 5)?,
            frees_at: None,
        };
        if let Some(mut slices) = slices {
            slices.age(now.unix_micros());
            window.used = Amount::from_units(slices.total()).map_err(overflow)?;
            window.frees_at = slices.next_free().map(Timestamp::from_unix_micros);
        }
        found.push((rows.need(row, 0)?, window));
    }
    let holding = found.iter().filter(|(_, window)| !window.held.is_zero());
    let holding: Vec<AllowanceId> = holding.map(|(_, window)| window.id).collect();
    if !holding.is_empty() {
        let mut expired = Expired::look_in_query(wallet, now)?;
        expired.ask(&holding)?;
        for (_, window) in &mut found {
            let freed = expired.of(window.id)?;
            window.held = window.held.minus(freed).map_err(overflow)?;
        }
    }
    let mut running: HashMap<[u8; 16], Vec<Running>> = HashMap::new();
    for (limit, window) in found {
        running.entry(limit).or_default().push(window);
    }
    Ok(running)
}

/// The limits of a wallet with what is used of them at a moment, which is about now: a row for each subject that used one in its running window,
/// or one row where none has. One pass over the wallet's windows, whatever the planner knows of them.
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
                    let resets_at = match is_rolling {
                        true => window.frees_at,
                        false => window.end.or(end),
                    };
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
