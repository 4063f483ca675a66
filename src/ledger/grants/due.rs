//! Books what is due in a wallet: the movements of its grants, and the version of its plan. The
//! first call after they are due does so.

use std::rc::Rc;

use crate::error::Result;
use crate::ledger::grants::locked_lots::LockedLots;
use crate::ledger::wallets::config::WalletConfig;
use crate::ledger::wallets::{config, following};
use crate::pg::clock;
use crate::storage::wallet_row::lock_wallet;

/// Locks the wallet's row and all lanes to read the money of a wallet for whose grants something is
/// due. Returns its rules, or `None` if another call has booked the due movements in the meantime.
/// Also `None` if a version of the plan is to be taken over first: only then the rules are known.
pub fn lock(wallet: &str) -> Result<Option<Rc<WalletConfig>>> {
    lock_wallet(wallet)?;
    let rules = config::read(wallet)?;
    if !rules.is_due() || rules.plan_is_due() {
        return Ok(None);
    }
    let (rules, _) = config::read_with_lanes(wallet)?;
    Ok(Some(rules))
}

/// Books the due movements of a wallet's grants, then takes over the version of its plan. Locks the
/// wallet's row and all lanes if there is something to do.
pub fn sweep(wallet: &str) -> Result<()> {
    lock_wallet(wallet)?;
    // Another call may have booked them while this one waited for the lock.
    let rules = config::read(wallet)?;
    if rules.grants_are_due_at(clock::now()) {
        config::note_catching_up();
        LockedLots::open(wallet)?.close()?;
    }
    match rules.plan_is_due() {
        true => following::follow(wallet),
        false => Ok(()),
    }
}
