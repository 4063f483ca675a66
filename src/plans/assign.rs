//! Assigns plans to wallets.

use crate::error::{Error, Result};
use crate::idempotency::call::IdempotentCall;
use crate::ledger::grants::due;
use crate::ledger::wallets::change::change;
use crate::ledger::wallets::{config, following, plan_book, plan_marks};
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::plans::versions::require_future;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::session::Session;
use crate::storage::wallet_row::lock_wallet;

statement!(
    ASSIGN,
    [TEXTOID, TEXTOID],
    "UPDATE wallet.wallets
        SET plan = $2, plan_version = NULL, next_plan = NULL, next_plan_at = NULL
      WHERE wallet_id = $1"
);

statement!(
    ASSIGN_LATER,
    [TEXTOID, TEXTOID, TIMESTAMPTZOID],
    "UPDATE wallet.wallets SET next_plan = $2, next_plan_at = $3 WHERE wallet_id = $1"
);

/// The arguments of `assign_plan`.
pub struct Assignment<'a> {
    /// Id of the wallet.
    pub wallet: &'a str,
    /// The plan; `None` ends the wallet's plan.
    pub plan: Option<&'a str>,
    /// When the plan begins; `None` for now.
    pub at: Option<Timestamp>,
    /// Whether the settings of the wallet's own are forgotten, so that those of the plan apply.
    pub reset_settings: bool,
}

/// Assigns a plan to a wallet, once per idempotency key. It replaces an assignment whose time is
/// still to come.
///
/// The error 42704 unless the caller may see the plan.
pub fn assign(session: &Session, new: &Assignment<'_>, call: IdempotentCall<'_>) -> Result<()> {
    let wallet = new.wallet;
    lock_wallet(wallet)?;
    if call.answered()?.is_some() {
        return Ok(());
    }
    if let Some(plan) = new.plan {
        plan_book::require_visible(session, plan)?;
    }
    let now = clock::now();
    if let Some(at) = new.at {
        require_future("at", at)?;
    }
    let later = new.at.filter(|at| *at > now);
    if later.is_some() && new.reset_settings {
        return Err(
            Error::argument("reset_settings needs a plan that begins now")
                .detail("The settings are reset when the call is made.")
                .hint("Leave at out, or reset the settings with another call."),
        );
    }
    let (of, plan) = (Value::Text(wallet), Value::OptText(new.plan));
    match later {
        // The epoch of the lanes changes, so that other backends learn of the time.
        Some(at) => change(wallet, |_| {
            ASSIGN_LATER.run(&[of, plan, Value::Time(at)]).map(drop)
        })?,
        None => {
            // A version of the plan before that is due is not taken over any more.
            config::lock_to_change(wallet)?.0.require_open(wallet)?;
            due::before_change(wallet)?;
            if new.reset_settings {
                plan_marks::forget_own_settings(wallet)?;
            }
            ASSIGN.run(&[of, plan])?;
            following::begin(wallet)?;
        }
    }
    call.remember(None)
}
