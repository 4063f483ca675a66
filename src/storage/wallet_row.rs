//! The lock on a wallet's row, the first in the order of locks.

use crate::error::{Error, Result};
use crate::storage::plan::{Run, Value, statement};

statement!(
    LOCK_WALLET,
    [TEXTOID],
    "SELECT 1 FROM wallet.wallets WHERE wallet_id = $1 FOR NO KEY UPDATE"
);

/// Locks the wallet's row. Calls that change the wallet's rules, or its money other than by
/// charges, queue on this lock.
pub fn lock_wallet(wallet: &str) -> Result<()> {
    if LOCK_WALLET.run(&[Value::Text(wallet)])?.is_empty() {
        return Err(Error::wallet_not_found(wallet));
    }
    Ok(())
}

statement!(
    TRY_LOCK_WALLET,
    [TEXTOID],
    "SELECT 1 FROM wallet.wallets WHERE wallet_id = $1 FOR NO KEY UPDATE SKIP LOCKED"
);

/// Locks the wallet's row unless another transaction has locked it. Returns whether it did. A call
/// that holds a lane never waits for the row: the transaction that holds the row may be waiting for
/// the lane.
pub fn try_lock_wallet(wallet: &str) -> Result<bool> {
    Ok(!TRY_LOCK_WALLET.run(&[Value::Text(wallet)])?.is_empty())
}

statement!(
    EXISTS,
    [TEXTOID],
    "SELECT FROM wallet.wallets WHERE wallet_id = $1"
);

/// The error WL003 if there is no wallet with that name.
pub fn require_wallet(wallet: &str) -> Result<()> {
    match EXISTS.run(&[Value::Text(wallet)])?.is_empty() {
        true => Err(Error::wallet_not_found(wallet)),
        false => Ok(()),
    }
}
