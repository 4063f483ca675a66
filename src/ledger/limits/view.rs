//! The rows of the view `limits_status`.

use crate::error::Result;
use crate::ledger::holds::expired::Expired;
use crate::limits::period::Period;
use crate::limits::slices::Slices;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::numeric::overflow;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::{AllowanceId, LimitRow};
use crate::storage::window_holds;
use std::collections::HashMap;

statement!(
    WINDOWS,
    [TEXTOID, TIMESTAMPTZOID],
    "SELECT a.limit_id, a.allowance_id, a.subject, a.window_end, sum(a.spent), sum(a.held),
            (array_agg(a.slices ORDER BY a.lane))[1], sum(a.watermark) FILTER (WHERE a.lane = 0)
       FROM wallet.allowances a
      WHERE a.wallet_id = $1 AND a.limit_id IS NOT NULL
        AND (a.window_end IS NULL OR a.window_end > $2) AND (a.window_start IS NULL OR a.window_start <= $2)
      GROUP BY a.limit_id, a.allowance_id, a.subject, a.window_end"
);

/// A running window of a limit.
#[derive(Default)]
pub struct Running {
    pub id: AllowanceId,
    pub subject: Option<String>,
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
    limits: &[LimitRow],
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
            limits.any(|limit| limit.id == *id && limit.period == Period::OPEN)
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
