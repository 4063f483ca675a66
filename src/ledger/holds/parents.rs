//! The parts of a child's hold in the wallets above it, which reserve the money and count in their
//! limits.
//!
//! Every part has the hold's id and ends with it. The child decides; its calls change the parts
//! after its own row, from the child upwards. The parts expire at the same time, and each wallet
//! releases its expired parts by itself, in any order. So a part may be released although the
//! child's row is still open, and the other way round. The possible states, and what the child's
//! next call does:
//!
//! - **Both are open**: `settle` books in both and releases the rest. `void` and `extend_hold`
//!   change both.
//! - **Both are past their expiry, and one or both are released**: `settle` first releases the
//!   other one, and books in both if the parent has the money. `void` and `extend_hold` are
//!   refused, because the hold has expired.
//! - **The child's call began before the expiry, and the parent's part is released** by a call that
//!   began after it: `settle` does the same, `void` releases the child's row, and `extend_hold` is
//!   refused.
//!
//! A hold that is charged when it expires is charged by its child alone: by its next hold of this
//! kind, or by `maintain`. Until then every part stays reserved.

use crate::error::Result;
use crate::ledger::balance::locked::LockedBalance;
use crate::ledger::holds::expiry::give_back;
use crate::ledger::holds::row;
use crate::ledger::wallets::config::{self, Basis};
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::store;

statement!(
    ON_EXPIRY,
    [TEXTOID, UUIDOID, BOOLOID],
    "UPDATE wallet.reservations SET charge_on_expiry = $3
      WHERE wallet_id = $1 AND hold_id = $2 AND status = 'open'"
);

statement!(
    EXTEND,
    [TEXTOID, UUIDOID, TIMESTAMPTZOID],
    "UPDATE wallet.reservations SET expires_at = $3 WHERE wallet_id = $1 AND hold_id = $2"
);

/// Runs `work` for each wallet above, from the lowest upwards.
fn above(rules: &Basis, mut work: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let mut next = rules.pool.clone();
    while let Some(wallet) = next {
        work(&wallet)?;
        next = config::read_basis(&wallet)?.pool.clone();
    }
    Ok(())
}

/// Sets whether the parts are kept for a charge when the hold expires.
pub fn charge_on_expiry(rules: &Basis, hold: [u8; 16], charge: bool) -> Result<()> {
    above(rules, |wallet| {
        let values = [Value::Text(wallet), Value::Uuid(hold), Value::Bool(charge)];
        ON_EXPIRY.run(&values).map(drop)
    })
}

/// Extends the parts. WL008 if one of them has been released already.
pub fn extend(rules: &Basis, hold: [u8; 16], until: Timestamp) -> Result<()> {
    above(rules, |wallet| {
        let part = row::lock_part(wallet, hold)?;
        if part.status != "open" {
            return Err(row::not_open(&part));
        }
        let values = [Value::Text(wallet), Value::Uuid(hold), Value::Time(until)];
        EXTEND.run(&values).map(drop)
    })
}

/// Releases the parts of a hold that was voided.
pub fn void(rules: &Basis, hold: [u8; 16], reason: Option<&str>) -> Result<()> {
    above(rules, |wallet| {
        let mut part = row::lock_part(wallet, hold)?;
        if part.status != "open" {
            return Ok(());
        }
        let mut locked = LockedBalance::open_for(wallet, Some(hold))?;
        give_back(wallet, &mut locked.whole, &mut part)?;
        part.status = "voided".to_owned();
        store::write_hold(&mut part, wallet, Some(clock::now()), reason)?;
        locked.lapse(clock::now(), None)?;
        locked.close()
    })
}
