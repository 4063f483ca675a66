//! The quantities of open holds in the windows of limits, read from `wallet.reservations`.

use std::collections::HashMap;

use crate::error::Result;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::AllowanceId;

// The holds that expire first are enough: a refusal must not read every open hold of the wallet.
statement!(
    FREES_AT,
    [TEXTOID, UUIDOID, NUMERICOID, TIMESTAMPTZOID],
    "SELECT min(f.expires_at)
       FROM (SELECT h.expires_at, sum(w.amount) OVER (ORDER BY h.expires_at) AS freed
               FROM ((SELECT r.expires_at, r.window_ids, r.window_amounts
                        FROM wallet.reservations r
                       WHERE r.wallet_id = $1 AND r.status = 'open' AND NOT r.charge_on_expiry AND r.expires_at > $4
                       ORDER BY r.wallet_id, r.expires_at LIMIT 1000)
                      UNION ALL
                     (SELECT r.expires_at, r.window_ids, r.window_amounts
                        FROM wallet.reservations r
                       WHERE r.wallet_id = $1 AND r.status = 'open' AND r.charge_on_expiry AND r.expires_at > $4
                       ORDER BY r.wallet_id, r.expires_at LIMIT 1000)) h
              CROSS JOIN LATERAL unnest(h.window_ids, h.window_amounts) w (id, amount)
              WHERE w.id = $2) f
      WHERE f.freed >= $3"
);

statement!(
    UNCHARGED,
    [TEXTOID, TIMESTAMPTZOID, UUIDARRAYOID],
    "SELECT w.id, sum(w.amount)
       FROM wallet.reservations r
      CROSS JOIN LATERAL unnest(r.window_ids, r.window_amounts) w (id, amount)
      WHERE r.wallet_id = $1 AND r.status = 'open' AND r.charge_on_expiry AND r.expires_at <= $2
        AND r.spender IS NULL AND w.id = ANY ($3)
      GROUP BY w.id"
);

/// When holds that expire will have freed `missing` in a window, if none of them ends before.
/// `None` if that is later than the expiry of the first thousand holds.
pub fn frees_at(
    wallet: &str,
    window: AllowanceId,
    missing: Amount,
    now: Timestamp,
) -> Result<Option<Timestamp>> {
    let rows = FREES_AT.run_in_order(&[
        Value::Text(wallet),
        Value::Uuid(window),
        Value::Amount(missing),
        Value::Time(now),
    ])?;
    Ok(rows.get(0, 0))
}

/// The quantities that expired holds still reserve in windows because their charges are not booked
/// yet. `in_query` reads them under the snapshot of the running query.
pub fn uncharged(
    wallet: &str,
    windows: &[AllowanceId],
    now: Timestamp,
    in_query: bool,
) -> Result<HashMap<AllowanceId, Amount>> {
    if windows.is_empty() {
        return Ok(HashMap::new());
    }
    let values = [Value::Text(wallet), Value::Time(now), Value::Uuids(windows)];
    let rows = match in_query {
        true => UNCHARGED.read_in_order(&values)?,
        false => UNCHARGED.run_in_order(&values)?,
    };
    (0..rows.len())
        .map(|row| Ok((rows.need(row, 0)?, rows.amount(row, 1)?)))
        .collect()
}
