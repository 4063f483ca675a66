//! Limits that count requests again because a limit of the wallet that replaced them was dropped or
//! paused.

use crate::error::Result;
use crate::ledger::limits::default_windows;
pub use crate::ledger::limits::default_windows::Gone;
use crate::ledger::limits::recount::count_running;
use crate::ledger::limits::rows::{Key, possibly_replaced};
use crate::limits::stored::limit_of;
use crate::pg::clock::Timestamp;
use crate::storage::rows::LimitRow;

/// Counts the running windows of the limits again that a dropped or paused limit replaced. If it
/// was dropped, also those of the default limit whose place it had taken. A paused limit keeps that
/// place.
pub fn count_replaced(wallet: &str, row: &LimitRow, why: Gone, now: Timestamp) -> Result<()> {
    count_own(wallet, row, now)?;
    default_windows::count_replaced(wallet, row, why, now)
}

fn count_own(wallet: &str, gone: &LimitRow, now: Timestamp) -> Result<()> {
    let limit = limit_of(gone.clone())?;
    for row in possibly_replaced(wallet, &limit.scope, &Key::of(gone))? {
        let paused = row.paused;
        let replaced = limit_of(row)?;
        if !paused && limit.replaces(&replaced) {
            count_running(wallet, &replaced, now, true)?;
        }
    }
    Ok(())
}
