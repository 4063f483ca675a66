//! Freezing, unfreezing and closing a wallet.

use crate::error::{Code, Result, quoted};
use crate::idempotency::call::IdempotentCall;
use crate::ledger::balance::locked::LockedBalance;
use crate::ledger::grants::due;
use crate::ledger::holds::expiry_charge::charge_expired;
use crate::ledger::wallets::config::{self, Status};
use crate::ledger::wallets::obstacles::{Obstacles, require_done};
use crate::ledger::wallets::settings::{BalanceDatum, once_as_it_is, split_lanes};
use crate::ledger::wallets::{following, tree};
use crate::outbox;
use crate::storage::plan::{Run, Value, statement};

statement!(
    DROP_TOPUP_RULE,
    [TEXTOID],
    "WITH thresholds AS (DELETE FROM wallet.thresholds WHERE wallet_id = $1 AND kind IN ('topup', 'covered'))
     DELETE FROM wallet.topup_rules WHERE wallet_id = $1"
);

statement!(
    DROP_RECURRING,
    [TEXTOID],
    "DELETE FROM wallet.recurring_grants WHERE wallet_id = $1"
);

statement!(
    SET_STATUS,
    [TEXTOID, TEXTOID, TEXTOID],
    "UPDATE wallet.wallets SET status = $2, status_reason = $3 WHERE wallet_id = $1"
);

/// A change of status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusChange {
    /// Stops charges.
    Freeze,
    /// Allows charges again.
    Unfreeze,
    /// Stops charges and fundings permanently.
    Close,
}

/// Freezes, unfreezes or closes a wallet.
pub fn change_status(
    wallet: &str,
    change_status: StatusChange,
    reason: Option<&str>,
    call: IdempotentCall<'_>,
) -> Result<BalanceDatum> {
    once_as_it_is(call, || {
        if change_status != StatusChange::Freeze {
            // A wallet can be frozen whatever its plan says.
            following::follow(wallet)?;
        }
        if change_status == StatusChange::Close {
            // Before the lanes: a change of a tree may wait for those of a parent.
            tree::lock_trees();
        }
        let (rules, _) = config::lock_to_change(wallet)?;
        rules.require_open(wallet)?;
        if change_status == StatusChange::Close {
            tree::require_childless(wallet)?;
            // Expired grants and holds do not prevent closing.
            charge_expired(wallet, i64::MAX)?;
            due::sweep(wallet)?;
            let mut locked = LockedBalance::open(wallet)?;
            locked.sweep()?;
            locked.close()?;
            let told = Obstacles {
                code: Code::WalletNotActive,
                message: format!("wallet {} cannot be closed yet", quoted(wallet)),
            };
            require_done(wallet, &rules, &told)?;
            let of = [Value::Text(wallet)];
            [DROP_TOPUP_RULE.run(&of), DROP_RECURRING.run(&of)]
                .into_iter()
                .try_for_each(|dropped| dropped.map(drop))?;
        }
        let status = match change_status {
            StatusChange::Freeze => "frozen",
            StatusChange::Unfreeze => "active",
            StatusChange::Close => "closed",
        };
        SET_STATUS.run(&[
            Value::Text(wallet),
            Value::Text(status),
            Value::OptText(reason),
        ])?;
        split_lanes(wallet, rules.credit_limit)?;
        if change_status == StatusChange::Freeze && rules.status == Status::Active {
            outbox::announce(wallet, outbox::Name::WalletFrozen)?;
        }
        Ok(())
    })
}
