//! Books what is due in a wallet: the movements of its grants, and the version of its plan. The
//! first call after they are due does so.

use std::rc::Rc;

use crate::error::Result;
use crate::ledger::grants::locked_lots::LockedLots;
use crate::ledger::wallets::config::WalletConfig;
use crate::ledger::wallets::{config, following};
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::storage::wallet_row::{lock_wallet, try_lock_wallet};

/// Locks the wallet's row and all lanes to read the money of a wallet for whose grants something is
/// due. Returns its rules, or `None` if another call has booked the due movements in the meantime.
/// Also `None` if a version of the plan is to be taken over first: only then the rules are known.
pub fn lock(wallet: &str) -> Result<Option<Rc<WalletConfig>>> {
    lock_wallet(wallet)?;
    let rules = config::read_basis(wallet)?;
    if !rules.is_due() || rules.plan_is_due() {
        return Ok(None);
    }
    let (rules, _) = config::read_with_lanes(wallet)?;
    Ok(Some(rules))
}

/// Whether a call that holds a lane can book what is due. It must not wait for the wallet's row:
/// the transaction that holds the row may be waiting for the lane. A version of the plan that began
/// while the call waited for the lane is left to the next call then. Due grants are not: the amount
/// to spend depends on them.
pub fn can_begin(wallet: &str, rules: &WalletConfig) -> Result<bool> {
    Ok(try_lock_wallet(wallet)? || rules.grants_are_due_at(clock::now()))
}

/// Books the due movements of a wallet's grants, and takes over the version of its plan: in
/// between, when the rules changed. Locks the wallet's row and all lanes if there is something to
/// do.
pub fn sweep(wallet: &str) -> Result<()> {
    sweep_but(wallet, None)
}

/// Like [`sweep`], for a call that closes `hold` itself: the hold stays open if it has expired.
pub fn sweep_but(wallet: &str, hold: Option<[u8; 16]>) -> Result<()> {
    lock_wallet(wallet)?;
    // Another call may have booked them while this one waited for the lock.
    let mut rules = config::read_basis(wallet)?;
    if rules.plan_is_due() {
        following::follow(wallet)?;
        rules = config::read_basis(wallet)?;
    }
    if rules.grants_are_due_at(clock::now()) {
        config::note_catching_up();
        LockedLots::open_but(wallet, hold)?.close()?;
    }
    Ok(())
}

/// Books the movements that were due before the rules of the wallet's plan changed, or before now
/// if they have not: the grants of a plan end with it. The caller has locked the wallet's row.
pub fn before_change(wallet: &str) -> Result<()> {
    let rules = config::read_basis(wallet)?;
    let ended = rules.plan_ended().unwrap_or_else(clock::now);
    let before = Timestamp(ended.0.saturating_sub(1));
    if rules.grants_are_due_at(before) {
        config::note_catching_up();
        LockedLots::open_as_of(wallet, before)?.close()?;
    }
    Ok(())
}
