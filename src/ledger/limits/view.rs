//! The rows of the view `limits_status`.

use crate::error::Result;
use crate::ledger::holds::expired::Expired;
use crate::ledger::limits::rows;
use crate::ledger::wallets::default_limits;
use crate::limits::limit::Limit;
use crate::limits::period::Period;
use crate::limits::slices::Slices;
use crate::limits::stored::limit_of;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::numeric::overflow;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::AllowanceId;
use crate::storage::window_holds;
use std::collections::HashMap;

statement!(
    WINDOWS,
    [TEXTOID, TIMESTAMPTZOID],
    "SELECT a.limit_id, a.allowance_id, a.subject, a.window_end, sum(a.spent), sum(a.held),
            (array_agg(a.slices ORDER BY a.lane))[1], sum(a.watermark) FILTER (WHERE a.lane = 0), a.window_start
       FROM wallet.allowances a
      WHERE a.wallet_id = $1 AND a.limit_id IS NOT NULL
        AND (a.window_end IS NULL OR a.window_end > $2) AND (a.window_start IS NULL OR a.window_start <= $2)
      GROUP BY a.limit_id, a.allowance_id, a.subject, a.window_start, a.window_end"
);

/// A limit of a wallet, or a default limit that applies to it.
pub struct Shown {
    pub limit: Limit,
    pub paused: bool,
    /// The name of its time zone.
    pub zone: String,
    /// Microseconds after midnight at which windows begin; `None` for midnight.
    pub anchor_time: Option<i64>,
}

/// The limits that apply to a wallet, and those that are paused, under the snapshot of the running
/// query.
pub fn limits_of(wallet: &str) -> Result<Vec<Shown>> {
    let own = rows::of_wallet(wallet)?;
    let mut defaults = default_limits::ever_in_query()?;
    defaults.retain(|one| one.applies_beside(&own));
    let mut shown = Vec::with_capacity(own.len() + defaults.len());
    for row in own {
        shown.push(Shown {
            paused: row.paused,
            zone: row.time_zone.clone(),
            anchor_time: row.anchor_time,
            limit: limit_of(row)?,
        });
    }
    if defaults.is_empty() {
        return Ok(shown);
    }
    let home = default_limits::home_in_query(wallet)?;
    for default in defaults {
        let zone = &default.row.time_zone;
        shown.push(Shown {
            paused: default.row.paused,
            zone: match zone.is_empty() {
                true => home.time_zone.clone(),
                false => zone.clone(),
            },
            anchor_time: default.row.anchor_time,
            limit: default.limit(&home)?,
        });
    }
    Ok(shown)
}

/// A running window of a limit.
#[derive(Default)]
pub struct Running {
    pub id: AllowanceId,
    pub subject: Option<String>,
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
    pub used: Amount,
    pub held: Amount,
    pub frees_at: Option<Timestamp>,
    /// The amount that was carried into the window, if its limit carries; `None` without a row.
    pub carried: Option<Amount>,
}

/// The running windows of a wallet, by limit, without the amounts of expired holds. Limits on open
/// holds do not count expired holds that are still to be charged. All rows are read under the
/// snapshot of the running query.
pub fn running(
    wallet: &str,
    limits: &[Shown],
    now: Timestamp,
) -> Result<HashMap<[u8; 16], Vec<Running>>> {
    let rows = WINDOWS.read(&[Value::Text(wallet), Value::Time(now)])?;
    let mut found = Vec::new();
    for row in 0..rows.len() {
        let slices: Option<Vec<u8>> = rows.get(row, 6);
        let slices = slices.and_then(|slices| Slices::read(&slices));
        let mut window = Running {
            id: rows.need(row, 1)?,
            subject: rows.get(row, 2),
            start: rows.get(row, 8),
            end: rows.get(row, 3),
            used: rows.amount(row, 4)?,
            held: rows.amount(row, 5)?,
            frees_at: None,
            carried: rows.opt_amount(row, 7)?,
        };
        if let Some(mut slices) = slices {
            slices.age(now.unix_micros());
            window.used = Amount::from_units(slices.total()).map_err(overflow)?;
            window.frees_at = slices.next_free().map(Timestamp::from_unix_micros);
        }
        found.push((rows.need(row, 0)?, window));
    }
    let holding = found.iter().filter(|(_, window)| !window.held.is_zero());
    let holding: Vec<([u8; 16], AllowanceId)> =
        holding.map(|(limit, window)| (*limit, window.id)).collect();
    if !holding.is_empty() {
        let mut expired = Expired::look_in_query(wallet, now)?;
        let ids: Vec<AllowanceId> = holding.iter().map(|(_, window)| *window).collect();
        expired.ask(&ids)?;
        let on_open_holds = |id: &[u8; 16]| {
            let mut limits = limits.iter();
            limits.any(|one| one.limit.id == *id && one.limit.period == Period::Open)
        };
        let open = holding.iter().filter(|(limit, _)| on_open_holds(limit));
        let open: Vec<AllowanceId> = open.map(|(_, window)| *window).collect();
        let uncharged = window_holds::uncharged(wallet, &open, now, true)?;
        for (_, window) in &mut found {
            let uncharged = uncharged.get(&window.id).copied().unwrap_or_default();
            let freed = expired.of(window.id)?.plus(uncharged).map_err(overflow)?;
            window.held = window.held.minus(freed).map_err(overflow)?;
        }
    }
    let mut running: HashMap<[u8; 16], Vec<Running>> = HashMap::new();
    for (limit, window) in found {
        running.entry(limit).or_default().push(window);
    }
    Ok(running)
}
