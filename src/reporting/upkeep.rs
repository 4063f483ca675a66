//! Keeps the tables small: releases expired holds, ends grants, and removes ended windows of
//! limits.

use std::panic::AssertUnwindSafe;

use crate::access::grants;
use crate::error::{Result, quoted};
use crate::ledger::balance::locked::LockedBalance;
use crate::ledger::grants::due;
use crate::ledger::holds::expiry_charge::charge_expired;
use crate::pg::clock;
use crate::pg::subtransaction::attempt;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::session::as_owner;

// Windows of default limits that were dropped or began again are not used any longer. The last
// window of a subject is kept if its limit carries, because the next window needs it,
// unless it is older than the 1000 windows that a limit may carry. Windows differ in length by less
// than a quarter.
statement!(
    PRUNE,
    [TIMESTAMPTZOID],
    "WITH last AS MATERIALIZED (
        SELECT a.wallet_id, a.limit_id, a.subject, max(a.window_start) AS window_start
          FROM wallet.limits l
          JOIN wallet.allowances a ON l.wallet_id IN (a.wallet_id, '*') AND a.limit_id = l.limit_id
         WHERE l.rollover_max IS NOT NULL AND l.dropped_at IS NULL
         GROUP BY a.wallet_id, a.limit_id, a.subject
     ), gone AS (
        DELETE FROM wallet.allowances a
         WHERE a.limit_id IS NOT NULL AND a.held = 0
           AND (a.window_end < $1 - interval '1 month'
                AND NOT EXISTS (SELECT FROM last
                                 WHERE last.wallet_id = a.wallet_id AND last.limit_id = a.limit_id
                                   AND last.subject = a.subject AND last.window_start = a.window_start
                                   AND a.window_end + 1250 * (a.window_end - a.window_start) > $1)
                OR EXISTS (SELECT FROM wallet.limits d
                            WHERE d.wallet_id = '*' AND d.limit_id = a.limit_id
                              AND (d.dropped_at IS NOT NULL OR a.window_start < d.counts_since)))
     RETURNING 1)
     SELECT count(*) FROM gone"
);

// Jumps from wallet to wallet, however many holds each has. The database's collation orders them.
statement!(
    WITH_EXPIRED_HOLDS,
    [TIMESTAMPTZOID, TEXTOID, TEXTOID],
    "SELECT r.wallet_id, $3 IS NULL OR r.wallet_id < $3 FROM wallet.reservations r
      WHERE r.status = 'open' AND r.expires_at <= $1 AND ($2 IS NULL OR r.wallet_id > $2)
      ORDER BY r.wallet_id LIMIT 1"
);

statement!(
    HAS_HOLDS_TO_RELEASE,
    [TEXTOID, TIMESTAMPTZOID],
    "SELECT FROM wallet.reservations r
      WHERE r.wallet_id = $1 AND r.status = 'open' AND NOT r.charge_on_expiry AND r.expires_at <= $2 LIMIT 1"
);

statement!(
    /// Also wallets that are to take over a version of their plan, and whether that is so.
    WITH_DUE_GRANTS,
    [TIMESTAMPTZOID, INT8OID],
    "WITH begun AS MATERIALIZED (
        SELECT DISTINCT ON (p.plan) p.plan, p.version FROM wallet.plan_versions p
         WHERE p.effective_from <= $1 ORDER BY p.plan, p.effective_from DESC, p.version DESC
     )
     SELECT w.wallet_id, p.due
       FROM wallet.wallets w
       LEFT JOIN begun b ON b.plan = w.plan
      CROSS JOIN LATERAL (
            SELECT w.status <> 'closed'
                   AND (coalesce(w.next_plan_at <= $1, false) OR b.version IS DISTINCT FROM w.plan_version) AS due) p
      WHERE w.grants_due <= $1 OR p.due
      ORDER BY 1 LIMIT $2"
);

/// The number of holds that one call of a sweep releases.
pub const PORTION: i64 = 2000;

/// Removes the windows of limits that ended a month ago, and returns their number. Also removes the
/// access grants of dropped roles.
pub fn prune_windows() -> Result<i64> {
    grants::forget_dropped()?;
    PRUNE.run(&[Value::Time(clock::now())])?.need(0, 0)
}

/// Books what is due in all wallets: at most `most` expired holds, and the grants and plans of at
/// most `most` wallets.
/// Returns the number of wallets. Goes through the wallets once, by name, and locks the row of each
/// before its lanes, so that two sweeps do not wait for each other.
///
/// A wallet that cannot take over the version of its plan is left as it is, with a warning. The
/// others do not depend on it. The caller has checked the rights, and has no session open.
pub fn sweep(most: i64) -> Result<i64> {
    let now = Value::Time(clock::now());
    let due: Vec<(String, bool)> = as_owner(|_| {
        let due = WITH_DUE_GRANTS.run(&[now, Value::Int8(most)])?;
        let row = |row| Ok((due.need(row, 0)?, due.need(row, 1)?));
        (0..due.len()).map(row).collect()
    })?;
    let mut due = due.into_iter().peekable();
    let (mut swept, mut left) = (0, most);
    let mut last: Option<String> = None;
    loop {
        let after = Value::OptText(last.as_deref());
        let (mut next, mut grants) = (None, due.peek().is_some());
        let or_grants = Value::OptText(due.peek().map(|(wallet, _)| wallet.as_str()));
        if left > 0 {
            let of = [now, after, or_grants];
            (next, grants) = as_owner(|_| {
                let rows = WITH_EXPIRED_HOLDS.run_in_order(&of)?;
                let first = rows.get::<bool>(0, 1).unwrap_or(false);
                Ok((rows.get::<String>(0, 0), grants && !first))
            })?;
        }
        let holds = !grants || due.peek().map(|(wallet, _)| wallet) == next.as_ref();
        let one = match grants {
            true => due.next(),
            false => next.map(|wallet| (wallet, false)),
        };
        let Some((wallet, plan)) = one else {
            return Ok(swept);
        };
        if plan && !take_over(&wallet)? {
            // Each call on the wallet would fail as this one has.
            last = Some(wallet);
            continue;
        }
        let booked = as_owner(|_| {
            if grants {
                due::sweep(&wallet)?;
            }
            match holds {
                true => sweep_holds(&wallet, left),
                false => Ok(0),
            }
        })?;
        left -= booked;
        // The remaining holds may be locked by other calls.
        swept += i64::from(grants || booked > 0);
        last = Some(wallet);
    }
}

/// Takes over the version of a wallet's plan. Returns false, with a warning, if that fails.
fn take_over(wallet: &str) -> Result<bool> {
    let work = || as_owner(|_| due::sweep(wallet));
    match attempt(AssertUnwindSafe(work), |()| true)? {
        Ok(()) => Ok(true),
        Err(failure) => {
            pgrx::warning!(
                "could not take over the plan of wallet {}: {}",
                quoted(wallet),
                failure.message
            );
            Ok(false)
        }
    }
}

/// Charges or releases at most `most` of the expired holds of a wallet. Returns their number.
fn sweep_holds(wallet: &str, most: i64) -> Result<i64> {
    let mut booked = charge_expired(wallet, most)?;
    let values = [Value::Text(wallet), Value::Time(clock::now())];
    if booked >= most || HAS_HOLDS_TO_RELEASE.run(&values)?.is_empty() {
        return Ok(booked);
    }
    let mut locked = LockedBalance::open_to_sweep(wallet)?;
    while booked < most {
        let some = locked.sweep_some()?;
        if some == 0 {
            break;
        }
        booked += some;
    }
    locked.close()?;
    Ok(booked)
}
