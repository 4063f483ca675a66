//! What is due of a wallet's grants is booked by the first call after it.

use std::rc::Rc;

use crate::error::Result;
use crate::ledger::grants::locked_lots::LockedLots;
use crate::ledger::wallets::config;
use crate::ledger::wallets::config::WalletConfig;
use crate::storage::wallet_row::lock_wallet;

/// The rules of a wallet of whose grants something is due, with its row and all lanes locked for a look at what it has;
/// nothing where another call has booked that meanwhile.
pub fn lock(wallet: &str) -> Result<Option<Rc<WalletConfig>>> {
    lock_wallet(wallet)?;
    if !config::read(wallet)?.grants_are_due() {
        return Ok(None);
    }
    let (rules, _) = config::read_with_lanes(wallet)?;
    Ok(Some(rules))
}

/// Books what is due of a wallet's grants, if anything is. Takes the wallet's row and all lanes.
pub fn sweep(wallet: &str) -> Result<()> {
    lock_wallet(wallet)?;
    // Whoever waited finds that another call has done it.
    if !config::read(wallet)?.grants_are_due() {
        return Ok(());
    }
    config::note_catching_up();
    LockedLots::open(wallet)?.close()
}
