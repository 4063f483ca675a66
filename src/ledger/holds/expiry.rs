//! A hold that lets go of what it has set aside.

use crate::allowance::all_lanes::AllLanes;
use crate::allowance::lanes::range;
use crate::error::Result;
use crate::ledger::grants::pools;
use crate::ledger::holds::expired;
use crate::ledger::holds::row::Hold;
use crate::limits::window::{self, Released};
use crate::money::Amount;
use crate::outbox;
use crate::outbox::{Event, Name};
use crate::storage::store;

/// Closes one hold whose time has come.
pub fn expire(wallet: &str, whole: &mut AllLanes<'_>, hold: &mut Hold) -> Result<()> {
    let amount = hold.held;
    give_back(wallet, whole, hold)?;
    hold.status = "expired".to_owned();
    let ended = hold.expires_at;
    store::write_hold(hold, wallet, Some(ended), None)?;
    let payload = expired::payload(hold.id, amount, hold.expires_at);
    outbox::emit_event(
        wallet,
        &Event {
            name: Name::HoldExpired,
            threshold: None,
            payload: &payload,
        },
    )
}

/// Gives back all that a hold still has set aside; says into which windows.
pub fn give_back(wallet: &str, whole: &mut AllLanes<'_>, hold: &mut Hold) -> Result<Vec<Released>> {
    give_back_money(wallet, whole, hold)?;
    release_windows(wallet, hold)
}

/// The money alone.
pub fn give_back_money(wallet: &str, whole: &mut AllLanes<'_>, hold: &mut Hold) -> Result<()> {
    let scoped = pools::sum_of(&hold.scoped)?.unwrap_or_default();
    whole.release(hold.lane, hold.held.minus(scoped).map_err(range)?)?;
    pools::release(wallet, whole, &hold.scoped)?;
    hold.scoped.clear();
    hold.held = Amount::ZERO;
    Ok(())
}

/// Gives back what a hold has set aside in limits.
pub fn release_windows(wallet: &str, hold: &mut Hold) -> Result<Vec<Released>> {
    let released = window::release_all(wallet, &hold.windows, hold.lane)?;
    for (_, amount) in &mut hold.windows {
        *amount = Amount::ZERO;
    }
    Ok(released)
}
