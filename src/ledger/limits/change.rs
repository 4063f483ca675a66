//! Changes limits: those of one wallet while no charge is running, or the default limits.

use crate::access::rights::ALL_WALLETS;
use crate::error::Result;
use crate::ledger::wallets::change::change_knowing;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::wallet_row::lock_wallet;

macro_rules! that_limit_query {
    ($change:literal) => {
        concat!(
            $change,
            " WHERE ctid = (SELECT l.ctid FROM wallet.limits l
                             WHERE l.wallet_id = $1 AND l.limit_id >= $2 AND l.limit_id <= $2
                             ORDER BY l.limit_id)"
        )
    };
}
pub(super) use that_limit_query;

statement!(
    /// Up to eight limits are stored in the wallet's row, which is rewritten at each change of one.
    /// To detect more than eight, nine are read, in the order of the primary key.
    NOTE_KNOWN,
    [TEXTOID],
    "UPDATE wallet.wallets w
        SET known_limits = k.known
       FROM (SELECT CASE WHEN count(*) <= 8 THEN coalesce(array_agg(
                        (limit_id, scope, subject, period, metric, mode, max, time_zone, anchor, warn_at,
                         paused, raised_by, raised_until, anchor_time, rollover_max, weights, carry_from)::wallet.known_limit ORDER BY limit_id), '{}') END AS known
               FROM (SELECT * FROM wallet.limits WHERE wallet_id = $1 ORDER BY limit_id LIMIT 9) few) k
      WHERE w.wallet_id = $1 AND num_nonnulls(w.known_limits, k.known) > 0"
);

statement!(
    /// One row stands for all, because default limits are never deleted.
    LOCK_DEFAULTS,
    [TEXTOID],
    "SELECT FROM wallet.limits WHERE wallet_id = $1 ORDER BY limit_id LIMIT 1 FOR NO KEY UPDATE"
);

/// Locks the row of a wallet, or the default limits. Calls that change the same limits queue here.
pub fn lock(wallet: &str) -> Result<()> {
    match wallet {
        ALL_WALLETS => LOCK_DEFAULTS.run(&[Value::Text(wallet)]).map(drop),
        wallet => lock_wallet(wallet),
    }
}

/// Writes the limits of a wallet into its row, where charges read them. The caller has locked both.
pub fn note_known(wallet: &str) -> Result<()> {
    NOTE_KNOWN.run_in_order(&[Value::Text(wallet)]).map(drop)
}

/// Runs `work`, which changes limits, after [`lock`]. For a wallet, no charge runs meanwhile. A
/// change of the default limits reaches every wallet with its next call: a trigger makes every
/// backend read them again.
///
/// `work` learns whether the wallet has a plan.
pub fn change_limits<T>(
    wallet: &str,
    work: impl FnOnce(Timestamp, bool) -> Result<T>,
) -> Result<T> {
    if wallet == ALL_WALLETS {
        return work(clock::now(), false);
    }
    change_knowing(wallet, |now, has_plan| {
        let changed = work(now, has_plan)?;
        note_known(wallet)?;
        Ok(changed)
    })
}
