//! Drops limits.

use crate::access::rights::ALL_WALLETS;
use crate::error::Result;
use crate::idempotency::call::IdempotentCall;
use crate::ledger::limits::change::{change_limits, lock, that_limit_query};
use crate::ledger::limits::replaced::{self, Gone};
use crate::ledger::limits::rows::find;
use crate::ledger::wallets::following;
use crate::ledger::wallets::plan_marks::{RuleKind, require_own};
use crate::limits::limit::bounds;
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::{LimitRow, uuid_text};

statement!(
    DROP,
    [TEXTOID, UUIDOID],
    that_limit_query!("DELETE FROM wallet.limits")
);

statement!(
    /// Whatever a call of set_limit() leaves as it is gets its default.
    DROP_DEFAULT,
    [TEXTOID, UUIDOID, TIMESTAMPTZOID],
    that_limit_query!(
        "UPDATE wallet.limits
        SET dropped_at = $3, paused = false, time_zone = NULL, raised_by = '{}', raised_until = '{}'"
    )
);

statement!(
    DROP_WINDOWS,
    [TEXTOID, UUIDOID, UUIDOID, UUIDOID],
    "DELETE FROM wallet.allowances
      WHERE wallet_id = $1 AND allowance_id >= $3 AND allowance_id <= $4 AND limit_id = $2"
);

/// Drops a limit and its windows. Those of a default limit stay until `prune_windows`.
pub fn drop_limit(wallet: &str, limit_id: [u8; 16], call: IdempotentCall<'_>) -> Result<()> {
    lock(wallet)?;
    if call.answered()?.is_some() {
        return Ok(());
    }
    change_limits(wallet, |now, has_plan| {
        let row = find(wallet, limit_id)?;
        if wallet == ALL_WALLETS {
            let (of, id) = (Value::Text(wallet), Value::Uuid(row.id));
            return DROP_DEFAULT
                .run_in_order(&[of, id, Value::Time(now)])
                .map(drop);
        }
        if has_plan {
            require_own(wallet, RuleKind::Limit, &uuid_text(row.id), OVERRIDE)?;
        }
        drop_row(wallet, &row, now)?;
        following::restore(wallet, has_plan)
    })?;
    call.remember(None)
}

const OVERRIDE: &str = "Override it with set_limit(): the wallet's own limit may be paused.";

/// Drops limits of a wallet that no plan has any longer. The caller has locked the wallet's row.
pub fn drop_of_plan(wallet: &str, ids: &[[u8; 16]]) -> Result<()> {
    change_limits(wallet, |now, _| {
        let mut ids = ids.iter();
        ids.try_for_each(|id| drop_row(wallet, &find(wallet, *id)?, now))
    })
}

fn drop_row(wallet: &str, row: &LimitRow, now: Timestamp) -> Result<()> {
    let (of, id) = (Value::Text(wallet), Value::Uuid(row.id));
    DROP.run_in_order(&[of, id])?;
    let [first, last] = bounds(row.id).map(Value::Uuid);
    DROP_WINDOWS.run(&[of, id, first, last])?;
    replaced::count_replaced(wallet, row, Gone::Dropped, now)
}
