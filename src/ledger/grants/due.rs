//! What is due of a wallet's grants is booked by the first call after it.

use crate::error::Result;
use crate::ledger::grants::ledge::Ledge;
use crate::ledger::lock::lock_wallet;
use crate::ledger::rules;

/// Books what is due of a wallet's grants, if anything is. Takes the wallet's row and all lanes.
pub fn sweep(wallet: &str) -> Result<()> {
    lock_wallet(wallet)?;
    // Whoever waited finds that another call has done it.
    if !rules::read(wallet)?.grants_are_due() {
        return Ok(());
    }
    rules::note_catching_up();
    Ledge::open(wallet)?.close()
}
