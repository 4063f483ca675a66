//! Until when the periods of a wallet are closed, for the entries that a call books.
//!
//! *No booking misses a closing.* The closing of a wallet is in the wallet's row. `close_period`
//! holds all lanes and gives them a new epoch, as every change of rules does. The closing of `*`
//! concerns all lanes of all wallets, which nobody can hold. So a booking locks the ledger, as
//! every writer of a table does, before it reads this closing, and `close_period` holds a lock that
//! no writer can share. The closing that was read is valid until the booking has committed.

use std::cell::Cell;

use crate::access::rights::ALL_WALLETS;
use crate::error::Result;
use crate::ledger::wallets::basis::Basis;
use crate::pg::clock::Timestamp;
use crate::pg::invalidation;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::store;

statement!(
    OF_ALL,
    [TEXTOID],
    "SELECT until FROM wallet.closed_periods WHERE wallet_id = $1"
);

thread_local! {
    /// The closing of all wallets, and the generation in which it was read.
    static KNOWN: Cell<Option<(u64, Option<Timestamp>)>> = const { Cell::new(None) };
}

/// The first moment of the open period of all wallets. It is valid until the transaction ends.
fn of_all() -> Result<Option<Timestamp>> {
    store::begin_booking();
    let generation = invalidation::generation();
    if let Some((read, until)) = KNOWN.get()
        && read == generation
    {
        return Ok(until);
    }
    // The latest snapshot, under each isolation level: an older one may not show the closing.
    let rows = OF_ALL.read_latest(&[Value::Text(ALL_WALLETS)])?;
    let until = if rows.is_empty() {
        None
    } else {
        rows.get(0, 0)
    };
    if invalidation::generation() == generation {
        KNOWN.set(Some((generation, until)));
    }
    Ok(until)
}

/// The first moment of the open period of a wallet whose rules are current: the later one of its
/// own closing and that of all wallets. `None` if no period is closed.
pub fn of(rules: &Basis) -> Result<Option<Timestamp>> {
    Ok(of_all()?.max(rules.closed_until))
}
