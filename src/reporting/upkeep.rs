//! Keeps the tables small: releases expired holds, ends grants, and removes ended windows of
//! limits.

use crate::error::Result;
use crate::ledger::balance::locked::LockedBalance;
use crate::ledger::grants::due;
use crate::ledger::holds::expiry_charge::charge_expired;
use crate::pg::clock;
use crate::storage::plan::{Run, Value, statement};

statement!(
    PRUNE,
    [TIMESTAMPTZOID],
    "WITH gone AS (
        DELETE FROM wallet.allowances
         WHERE limit_id IS NOT NULL AND held = 0 AND window_end < $1 - interval '1 month'
     RETURNING 1)
     SELECT count(*) FROM gone"
);

// Jumps from wallet to wallet, however many holds each has.
statement!(
    WITH_EXPIRED_HOLDS,
    [TIMESTAMPTZOID, TEXTOID, BOOLOID],
    "SELECT r.wallet_id FROM wallet.reservations r
      WHERE r.status = 'open' AND r.expires_at <= $1 AND ($2 IS NULL OR r.wallet_id > $2)
        AND r.charge_on_expiry = $3
      ORDER BY r.wallet_id LIMIT 1"
);

statement!(
    WITH_DUE_GRANTS,
    [TIMESTAMPTZOID, INT8OID],
    "SELECT wallet_id FROM wallet.wallets WHERE grants_due <= $1 ORDER BY 1 LIMIT $2"
);

/// The number of holds that one call of a sweep releases.
pub const PORTION: i64 = 2000;

/// Removes the windows of limits that ended a month ago, and returns their number.
pub fn prune_windows() -> Result<i64> {
    PRUNE.run(&[Value::Time(clock::now())])?.need(0, 0)
}

/// Books expiries of all wallets: at most `most` holds, and the grants of at most `most` wallets.
/// Returns the number of wallets.
pub fn sweep(most: i64) -> Result<i64> {
    let now = Value::Time(clock::now());
    let mut swept = 0;
    let due = WITH_DUE_GRANTS.run(&[now, Value::Int8(most)])?;
    for row in 0..due.len() {
        due::sweep(&due.need::<String>(row, 0)?)?;
        swept += 1;
    }
    let mut left = most;
    let mut last: Option<String> = None;
    while left > 0 {
        let next = WITH_EXPIRED_HOLDS.run_in_order(&[
            now,
            Value::OptText(last.as_deref()),
            Value::Bool(false),
        ])?;
        let Some(wallet) = next.get::<String>(0, 0) else {
            break;
        };
        let mut locked = LockedBalance::open_to_sweep(&wallet)?;
        let before = left;
        while left > 0 {
            let some = locked.sweep_some()?;
            if some == 0 {
                break;
            }
            left -= some;
        }
        locked.close()?;
        // The remaining holds may be locked by other calls.
        swept += i64::from(left < before);
        last = Some(wallet);
    }
    Ok(swept + charge_expired_holds(left)?)
}

/// Charges at most `most` of the holds that are charged when they expire. Returns the number of
/// wallets.
fn charge_expired_holds(most: i64) -> Result<i64> {
    let (mut left, mut wallets) = (most, 0);
    let mut last: Option<String> = None;
    while left > 0 {
        let now = Value::Time(clock::now());
        let after = Value::OptText(last.as_deref());
        let next = WITH_EXPIRED_HOLDS.run_in_order(&[now, after, Value::Bool(true)])?;
        let Some(wallet) = next.get::<String>(0, 0) else {
            break;
        };
        let charged = charge_expired(&wallet, left)?;
        left -= charged;
        wallets += i64::from(charged > 0);
        last = Some(wallet);
    }
    Ok(wallets)
}
