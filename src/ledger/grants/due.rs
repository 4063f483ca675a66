//! Books the due movements of a wallet's grants. The first call after they are due does so.

use std::rc::Rc;

use crate::error::Result;
use crate::ledger::grants::locked_lots::LockedLots;
use crate::ledger::wallets::config;
use crate::ledger::wallets::config::WalletConfig;
use crate::storage::wallet_row::lock_wallet;

/// Locks the wallet's row and all lanes to read the money of a wallet for whose grants something is
/// due. Returns its rules, or `None` if another call has booked the due movements in the meantime.
pub fn lock(wallet: &str) -> Result<Option<Rc<WalletConfig>>> {
    lock_wallet(wallet)?;
    if !config::read(wallet)?.grants_are_due() {
        return Ok(None);
    }
    let (rules, _) = config::read_with_lanes(wallet)?;
    Ok(Some(rules))
}

/// Books the due movements of a wallet's grants, if there are any. Locks the wallet's row and all
/// lanes.
pub fn sweep(wallet: &str) -> Result<()> {
    lock_wallet(wallet)?;
    // Another call may have booked them while this one waited for the lock.
    if !config::read(wallet)?.grants_are_due() {
        return Ok(());
    }
    config::note_catching_up();
    LockedLots::open(wallet)?.close()
}
