//! Releases what a hold reserves.

use crate::allowance::all_lanes::AllLanes;
use crate::allowance::lanes::range;
use crate::error::Result;
use crate::ledger::grants::pools;
use crate::ledger::holds::expired;
use crate::ledger::holds::row::Hold;
use crate::limits::window::{self, Released};
use crate::money::Amount;
use crate::outbox;
use crate::outbox::Name;
use crate::storage::store;

/// Closes one expired hold.
pub fn expire(wallet: &str, whole: &mut AllLanes<'_>, hold: &mut Hold) -> Result<()> {
    let amount = hold.held;
    give_back(wallet, whole, hold)?;
    hold.status = "expired".to_owned();
    let ended = hold.expires_at;
    store::write_hold(hold, wallet, Some(ended), None)?;
    let payload = expired::payload(hold.id, amount, hold.expires_at);
    outbox::emit_all(wallet, Name::HoldExpired, None, &[payload])
}

/// Releases everything that a hold still reserves. Returns the windows in which it released
/// something.
pub fn give_back(wallet: &str, whole: &mut AllLanes<'_>, hold: &mut Hold) -> Result<Vec<Released>> {
    give_back_money(wallet, whole, hold)?;
    release_windows(wallet, hold)
}

/// Releases only the money, not the windows.
pub fn give_back_money(wallet: &str, whole: &mut AllLanes<'_>, hold: &mut Hold) -> Result<()> {
    let scoped = pools::sum_of(&hold.scoped)?.unwrap_or_default();
    whole.release(hold.lane, hold.held.minus(scoped).map_err(range)?)?;
    pools::release(wallet, whole, &hold.of_grants())?;
    hold.scoped.clear();
    hold.held = Amount::ZERO;
    Ok(())
}

/// Releases the amounts that a hold reserves in limits.
pub fn release_windows(wallet: &str, hold: &mut Hold) -> Result<Vec<Released>> {
    let released = window::release_all(wallet, &hold.windows, hold.lane)?;
    for (_, amount) in &mut hold.windows {
        *amount = Amount::ZERO;
    }
    Ok(released)
}
