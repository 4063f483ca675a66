//! Keeps the tables small: releases expired holds, ends grants, and removes ended windows of
//! limits.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;

use crate::access::grants;
use crate::error::{Result, quoted};
use crate::ledger::balance::locked::LockedBalance;
use crate::ledger::grants::due;
use crate::ledger::holds::expiry_charge::charge_expired;
use crate::ledger::wallets::branches::{Branches, Place, lock_wallet_and_lanes};
use crate::pg::clock;
use crate::pg::subtransaction::attempt;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::session::as_owner;
use crate::storage::wallet_row::lock_wallet;

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
    /// The next wallet with expired holds, and their number up to a maximum.
    WITH_EXPIRED_HOLDS,
    [TIMESTAMPTZOID, TEXTOID, INT8OID],
    "SELECT n.wallet_id, (SELECT count(*) FROM (SELECT FROM wallet.reservations h
                            WHERE h.wallet_id = n.wallet_id AND h.status = 'open' AND h.expires_at <= $1
                            LIMIT $3) few)
       FROM (SELECT r.wallet_id FROM wallet.reservations r
              WHERE r.status = 'open' AND r.expires_at <= $1 AND ($2 IS NULL OR r.wallet_id > $2)
              ORDER BY r.wallet_id LIMIT 1) n"
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
    [TIMESTAMPTZOID, TEXTOID, INT8OID],
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
      WHERE (w.grants_due <= $1 OR p.due) AND ($2 IS NULL OR w.wallet_id > $2)
      ORDER BY 1 LIMIT $3"
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
/// most `most` wallets. Returns the number of wallets.
///
/// A wallet that cannot take over the version of its plan is left as it is, with a warning. The
/// others do not depend on it. The caller has checked the rights, and has no session open.
pub fn sweep(most: i64) -> Result<i64> {
    let mut sweep = Sweep {
        due: BTreeMap::new(),
        held: BTreeSet::new(),
        left: most,
        failed: 0,
        swept: 0,
    };
    let (mut due, mut held) = (Some(None), Some(None));
    let mut due_left = most;
    loop {
        (sweep.due, due) = match due {
            Some(after) if due_left > 0 => as_owner(|_| with_due(after, due_left))?,
            _ => (BTreeMap::new(), None),
        };
        (sweep.held, held) = match held {
            Some(after) if sweep.left > 0 => as_owner(|_| with_expired_holds(after, sweep.left))?,
            _ => (BTreeSet::new(), None),
        };
        if sweep.due.is_empty() && sweep.held.is_empty() {
            return Ok(sweep.swept);
        }
        sweep.all()?;
        // The holds of this portion may be locked by other calls, and its plans may fail. Then
        // there is another one.
        due_left = std::mem::take(&mut sweep.failed);
    }
}

/// Where the next portion begins: after that wallet, or at the first. `None` without one.
type Next = Option<Option<String>>;

/// The next `most` wallets whose grants or plans are due, and whether they take over a version.
fn with_due(after: Option<String>, most: i64) -> Result<(BTreeMap<String, bool>, Next)> {
    let rows = WITH_DUE_GRANTS.run(&[
        Value::Time(clock::now()),
        Value::OptText(after.as_deref()),
        Value::Int8(most),
    ])?;
    let mut due = BTreeMap::new();
    let mut next = None;
    for row in 0..rows.len() {
        let wallet: String = rows.need(row, 0)?;
        next = Some(Some(wallet.clone()));
        due.insert(wallet, rows.need(row, 1)?);
    }
    Ok((due, next))
}

/// The wallets after that one that have the next `most` expired holds, and the last of them, if
/// there may be more.
fn with_expired_holds(mut after: Option<String>, most: i64) -> Result<(BTreeSet<String>, Next)> {
    let (mut held, mut count) = (BTreeSet::new(), 0);
    while count < most {
        let rows = WITH_EXPIRED_HOLDS.run_in_order(&[
            Value::Time(clock::now()),
            Value::OptText(after.as_deref()),
            Value::Int8(most),
        ])?;
        let Some(wallet) = rows.get::<String>(0, 0) else {
            return Ok((held, None));
        };
        count += rows.need::<i64>(0, 1)?;
        held.insert(wallet.clone());
        after = Some(wallet);
    }
    Ok((held, Some(after)))
}

/// The wallets of a sweep.
struct Sweep {
    /// Wallets whose grants or plans are due, and whether they take over a version of their plan.
    due: BTreeMap<String, bool>,
    /// Wallets with expired holds.
    held: BTreeSet<String>,
    /// How many holds may still be booked.
    left: i64,
    /// The wallets of this portion that could not take over their plan.
    failed: i64,
    /// The wallets in which something was booked.
    swept: i64,
}

impl Sweep {
    /// Goes through the wallets in the order in which all calls lock wallets (`branches`), so that
    /// it waits neither for another sweep nor for a use that waits for it.
    fn all(&mut self) -> Result<()> {
        let (with_holds, places) = as_owner(|_| {
            let mut with_holds = Branches::default();
            let mut places = BTreeSet::new();
            for wallet in &self.held {
                places.insert(with_holds.add(wallet)?);
            }
            for wallet in self.due.keys() {
                places.insert(Branches::default().add(wallet)?);
            }
            Ok((with_holds, places))
        })?;
        let places: Vec<Place> = places.into_iter().collect();
        for of_payer in places.chunk_by(|(a, ..), (b, ..)| a == b) {
            self.of_payer(&of_payer[0].0, of_payer, &with_holds)?;
        }
        Ok(())
    }

    /// Sweeps a payer and the wallets for which it pays. Holds that are charged are uses, which
    /// lock the payer too. So everything else comes first, with all locks of the wallets below.
    fn of_payer(&mut self, payer: &str, places: &[Place], with_holds: &Branches) -> Result<()> {
        let uses: BTreeSet<Place> = with_holds.below(payer).collect();
        let all = uses.iter().chain(places).collect::<BTreeSet<&Place>>();
        let mut failed = BTreeSet::new();
        for place in all {
            let wallet = place.2.as_str();
            match self.due.get(wallet) {
                Some(true) if !take_over(wallet)? => {
                    // Each call on the wallet would fail as this one has.
                    failed.insert(wallet.to_owned());
                    self.failed += 1;
                    continue;
                }
                Some(false) => as_owner(|_| due::sweep(wallet))?,
                _ => {}
            }
            if uses.contains(place) {
                as_owner(|_| lock_wallet_and_lanes(wallet))?;
            } else if !uses.is_empty() {
                as_owner(|_| lock_wallet(wallet))?;
            }
        }
        for (.., wallet) in places
            .iter()
            .filter(|(.., wallet)| !failed.contains(wallet))
        {
            let booked = match self.left > 0 && self.held.contains(wallet) {
                true => as_owner(|_| sweep_holds(wallet, self.left))?,
                false => 0,
            };
            self.left -= booked;
            // The remaining holds may be locked by other calls.
            self.swept += i64::from(booked > 0 || self.due.contains_key(wallet));
        }
        Ok(())
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
