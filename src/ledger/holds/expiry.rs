//! Holds whose time has come.

use crate::allowance::lanes::range;
use crate::allowance::outbox::{self, Event, Field, Name};
use crate::allowance::whole::Whole;
use crate::error::Result;
use crate::ledger::grants::course::Holding;
use crate::ledger::grants::pools;
use crate::ledger::holds::row::Hold;
use crate::limits::window::{self, Released};
use crate::money::Amount;
use crate::storage::clock::Timestamp;
use crate::storage::rows::AllowanceId;
use crate::storage::{clock, hold_rows, store};

/// Gives back what holds have set aside that have expired by then, in the balance and in the limits' windows,
/// and says what that was. One that another transaction is settling at the moment is left to it, and those that are
/// not wanted to whoever wants them.
pub fn sweep(
    wallet: &str,
    whole: &mut Whole<'_>,
    by: Timestamp,
    is_wanted: impl Fn(&Hold) -> bool,
) -> Result<Vec<Holding>> {
    let mut holds = hold_rows::lock_expired(wallet, by, None)?;
    holds.retain(is_wanted);
    let swept = holds.iter().map(holding).collect();
    release_in_order(wallet, &mut holds, |_| true)?;
    for hold in &mut holds {
        expire(wallet, whole, hold)?;
    }
    Ok(swept)
}

/// What a hold has set aside until its time comes.
fn holding(hold: &Hold) -> Holding {
    let scoped = hold.scoped.clone();
    Holding::new(hold.created_at, Some(hold.expires_at), hold.held, scoped)
}

/// Gives back what expired holds have set aside in those windows, for a call that does not hold all lanes and
/// takes from these next: what they have in the balance and in other windows, which come before these in the
/// order of locks, stays there until one does.
pub fn sweep_windows(wallet: &str, windows: &[AllowanceId]) -> Result<()> {
    let mut holds = hold_rows::lock_expired(wallet, clock::now(), Some(windows))?;
    release_in_order(wallet, &mut holds, |window| windows.contains(window))?;
    for hold in &mut holds {
        store::write_hold(hold, wallet, None, None)?;
    }
    Ok(())
}

/// Gives back what holds have set aside in windows, in the order of these.
fn release_in_order(
    wallet: &str,
    holds: &mut [Hold],
    is_wanted: impl Fn(&AllowanceId) -> bool,
) -> Result<()> {
    let mut parts: Vec<(AllowanceId, i16, &mut Amount)> = Vec::new();
    for hold in holds {
        let lane = hold.lane;
        let wanted = hold.windows.iter_mut().filter(|(id, _)| is_wanted(id));
        parts.extend(wanted.map(|(id, amount)| (*id, lane, amount)));
    }
    parts.sort_by_key(|(id, lane, _)| (*id, *lane));
    for (id, lane, amount) in parts {
        window::release(wallet, id, *amount, lane)?;
        *amount = Amount::ZERO;
    }
    Ok(())
}

/// Closes one hold whose time has come.
pub fn expire(wallet: &str, whole: &mut Whole<'_>, hold: &mut Hold) -> Result<()> {
    let amount = hold.held;
    give_back(wallet, whole, hold)?;
    hold.status = "expired".to_owned();
    let ended = hold.expires_at;
    store::write_hold(hold, wallet, Some(ended), None)?;
    outbox::emit_event(
        wallet,
        &Event {
            name: Name::HoldExpired,
            threshold: None,
            payload: &[
                ("hold_id", Field::Id(hold.id)),
                ("amount", Field::Amount(amount)),
                ("expires_at", Field::Time(Some(hold.expires_at))),
            ],
        },
    )
}

/// Gives back all that a hold still has set aside; says into which windows.
pub fn give_back(wallet: &str, whole: &mut Whole<'_>, hold: &mut Hold) -> Result<Vec<Released>> {
    give_back_money(wallet, whole, hold)?;
    release_windows(wallet, hold)
}

/// The money alone.
pub fn give_back_money(wallet: &str, whole: &mut Whole<'_>, hold: &mut Hold) -> Result<()> {
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
