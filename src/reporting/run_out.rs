//! The run-out alert: the event `wallet_run_out_near`, by the forecast.
//!
//! Time alone makes money run out, so no charge can emit the event. `maintain` emits it, or a
//! program that calls `announce_run_outs`.

use crate::allowance::lanes::range;
use crate::error::Result;
use crate::money::Amount;
use crate::outbox::{Event, Field, Name, emit_event};
use crate::pg::clock::{self, Timestamp};
use crate::reporting::forecast::{Forecast, run_outs};
use crate::storage::plan::{Run, Value, statement};
use rust_decimal::Decimal;

/// The maximum number of days of an alert.
pub const MAX_DAYS: i32 = 365;

/// The number of wallets whose money and use one statement reads.
const PORTION: i64 = 500;

statement!(
    ASK,
    [TEXTOID, INT4OID, TIMESTAMPTZOID],
    "INSERT INTO wallet.run_out_alerts AS a (wallet_id, days, changed_at) VALUES ($1, $2, $3)
     ON CONFLICT (wallet_id) DO UPDATE
        SET days = excluded.days, changed_at = excluded.changed_at,
            near = a.near AND a.days = excluded.days"
);

statement!(
    REMOVE,
    [TEXTOID],
    "DELETE FROM wallet.run_out_alerts WHERE wallet_id = $1"
);

statement!(
    ASKING,
    [TEXTOID, INT8OID],
    "SELECT a.wallet_id, a.days, a.near
       FROM wallet.run_out_alerts a
       JOIN wallet.wallets w ON w.wallet_id = a.wallet_id
      WHERE w.status <> 'closed' AND w.share IS DISTINCT FROM 'pool' AND a.wallet_id > $1
      ORDER BY a.wallet_id
      LIMIT $2"
);

// A row is locked only if something changes, and only for a short time. If another call announces
// at this moment, it has locked its rows.
statement!(
    MINE,
    [TEXTOID, INT4OID, BOOLOID],
    "SELECT FROM wallet.run_out_alerts WHERE wallet_id = $1 AND days = $2 AND near = $3 FOR NO KEY UPDATE SKIP LOCKED"
);

statement!(
    NOTE,
    [TEXTOID, BOOLOID],
    "UPDATE wallet.run_out_alerts SET near = $2 WHERE wallet_id = $1"
);

/// Whether a wallet is near the end; `None` if nothing has changed. A wallet recovers if its money
/// lasts a day longer than its alert says. So a forecast that varies a little is announced once.
fn is_near(days_left: Option<Decimal>, days: i32, was_near: bool) -> Option<bool> {
    let limit = Decimal::from(if was_near { days + 1 } else { days });
    let near = days_left.is_some_and(|left| left < limit);
    (near != was_near).then_some(near)
}

fn amount(number: Decimal) -> Result<Amount> {
    Amount::from_decimal(number).map_err(range)
}

/// Records that a wallet is near the end, or that it has recovered. Returns true if an event was
/// written.
fn record(wallet: &str, days: i32, near: bool, forecast: &Forecast) -> Result<bool> {
    let mine = [Value::Text(wallet), Value::Int4(days), Value::Bool(!near)];
    if MINE.run(&mine)?.is_empty() {
        return Ok(false);
    }
    NOTE.run(&[Value::Text(wallet), Value::Bool(near)])?;
    let (true, Some(days_left), Some(daily_burn)) = (near, forecast.days_left, forecast.daily_burn)
    else {
        return Ok(false);
    };
    let event = Event {
        name: Name::RunOutNear,
        threshold: Some(amount(Decimal::from(days))?),
        payload: &[
            ("days_left", Field::Amount(amount(days_left)?)),
            ("runs_out_at", Field::Time(forecast.runs_out_at)),
            ("daily_burn", Field::Amount(amount(daily_burn)?)),
        ],
    };
    emit_event(wallet, &event)?;
    Ok(true)
}

/// Announces for at most `most` wallets with an alert, whose names are after `behind`. Returns the
/// number of announcements, the number of wallets, and the last wallet.
fn announce(behind: &str, most: i64, now: Timestamp) -> Result<Option<(i64, i64, String)>> {
    let asking = ASKING.run(&[Value::Text(behind), Value::Int8(most)])?;
    let mut asked = Vec::with_capacity(asking.len());
    for row in 0..asking.len() {
        // One day more, because the money of a recovered wallet lasts that long.
        asked.push((asking.need(row, 0)?, asking.need::<i32>(row, 1)? + 1));
    }
    let Some((last, _)) = asked.last().cloned() else {
        return Ok(None);
    };
    let mut announced = 0;
    for (row, forecast) in run_outs(&asked, now)?.iter().enumerate() {
        // If too little is known, nothing changes.
        let Some(forecast) = forecast.as_ref().filter(|one| one.daily_burn.is_some()) else {
            continue;
        };
        let (days, was_near) = (asking.need(row, 1)?, asking.need(row, 2)?);
        if let Some(near) = is_near(forecast.days_left, days, was_near)
            && record(&asked[row].0, days, near, forecast)?
        {
            announced += 1;
        }
    }
    let looked_at = i64::try_from(asked.len()).unwrap_or(i64::MAX);
    Ok(Some((announced, looked_at, last)))
}

/// Sets the days of a wallet's alert; `None` removes the alert.
pub fn ask(wallet: &str, days: Option<i32>) -> Result<()> {
    let wallet = Value::Text(wallet);
    match days {
        Some(days) => ASK.run(&[wallet, Value::Int4(days), Value::Time(clock::now())]),
        None => REMOVE.run(&[wallet]),
    }
    .map(drop)
}

/// Announces for at most `most` wallets with an alert, whose names are after `behind`. Returns the
/// number of announcements.
pub fn announce_all(behind: &str, most: i64) -> Result<i64> {
    let (mut behind, mut left) = (behind.to_owned(), most);
    let (now, mut announced) = (clock::now(), 0);
    while left > 0
        && let Some((some, looked_at, last)) = announce(&behind, left.min(PORTION), now)?
    {
        announced += some;
        left -= looked_at;
        behind = last;
    }
    Ok(announced)
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::is_near;

    #[test]
    fn a_run_out_is_near_once_and_again_after_a_recovery() {
        let left = |tenths: i64| Some(Decimal::new(tenths, 1));
        assert_eq!(is_near(left(70), 7, false), None);
        assert_eq!(is_near(left(69), 7, false), Some(true));
        assert_eq!(is_near(left(0), 7, true), None);
        // A small variation is not a recovery.
        assert_eq!(is_near(left(79), 7, true), None);
        assert_eq!(is_near(left(80), 7, true), Some(false));
        // Either nothing is spent, or the money lasts very long.
        assert_eq!(is_near(None, 7, true), Some(false));
        assert_eq!(is_near(None, 7, false), None);
    }
}
