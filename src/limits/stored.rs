//! Limits as `wallet.limits` stores them.

use crate::error::{Error, Result};
use crate::limits::last_window::LastWindow;
use crate::limits::limit::{Limit, Mode, Rollover};
use crate::limits::metric::Metric;
use crate::limits::period::{self, Period};
use crate::limits::scope::{Scope, Subject};
use crate::pg::jsonb::Jsonb;
use crate::storage::plan::Rows;
use crate::storage::rows::{LimitRow, weights_of};

/// A query of limits, for [`row_of`]: the clauses follow the wallet, which is `$1`.
macro_rules! limit_query {
    ($clause:literal) => {
        concat!(
            "SELECT limit_id, scope, subject, period, anchor, metric, mode, max, coalesce(time_zone, ''),
                    warn_at, paused, raised_by, raised_until,
                    (extract(epoch FROM anchor_time) * 1000000)::bigint, rollover_max, weights, carry_from,
                    counts_since, revision, dropped_at IS NOT NULL
               FROM wallet.limits WHERE wallet_id = $1",
            $clause
        )
    };
}
pub(crate) use limit_query;

/// A row of a `limit_query`.
pub fn row_of(rows: &Rows, row: usize) -> Result<LimitRow> {
    Ok(LimitRow {
        id: rows.need(row, 0)?,
        scope: rows.need(row, 1)?,
        subject: rows.need(row, 2)?,
        period: rows.need(row, 3)?,
        anchor: rows.get(row, 4),
        metric: rows.need(row, 5)?,
        mode: rows.need(row, 6)?,
        max: rows.amount(row, 7)?,
        time_zone: rows.need(row, 8)?,
        warn_at: rows.amounts(row, 9)?,
        paused: rows.need(row, 10)?,
        raised_by: rows.amounts(row, 11)?,
        raised_until: rows.times(row, 12),
        anchor_time: rows.get(row, 13),
        rollover_max: rows.opt_amount(row, 14)?,
        carry_from: rows.get(row, 16),
        weights: weights_of(rows.datum(row, 15).map(Jsonb))?,
    })
}

/// The limit of a row, paused or not.
pub fn limit_of(row: LimitRow) -> Result<Limit> {
    let unknown = |what: &str| Error::internal(format!("a limit has an unknown {what}"));
    let (period, period_name) =
        Period::parse(&row.period, row.anchor.map(i32::from)).map_err(|_| unknown("period"))?;
    let (scope, _) = Scope::parse(&row.scope).map_err(|_| unknown("scope"))?;
    let subject = Subject::stored(&scope, row.subject).ok_or_else(|| unknown("subject"))?;
    Ok(Limit {
        id: row.id,
        scope,
        subject,
        period,
        period_name,
        metric: Metric::of_row(&row.metric, row.weights),
        mode: Mode::parse(&row.mode).ok_or_else(|| unknown("mode"))?,
        max: row.max,
        raises: row.raised_by.into_iter().zip(row.raised_until).collect(),
        warn_at: row.warn_at,
        zone: period::zone(&row.time_zone).map_err(|_| unknown("time zone"))?,
        from: row.anchor_time.and_then(period::time_of_day),
        rollover: row
            .rollover_max
            .zip(row.carry_from)
            .map(|(max, since)| Rollover { max, since }),
        default: None,
        last_window: LastWindow::default(),
    })
}
