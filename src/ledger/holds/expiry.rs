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
use crate::storage::{clock, hold_rows, store};

/// Gives back what holds have set aside that have expired by then, in the balance and in the limits' windows,
/// and says what that was. One that is being settled at the moment is left to its settlement: to another transaction's, or
/// to the caller's own, which names it.
pub fn sweep(
    wallet: &str,
    whole: &mut Whole<'_>,
    except: Option<[u8; 16]>,
    by: Timestamp,
) -> Result<Vec<Holding>> {
    let mut swept = Vec::new();
    for mut hold in hold_rows::lock_expired(wallet, by)? {
        // Our own lock does not keep it from being found.
        if Some(hold.id) == except {
            continue;
        }
        swept.push(holding(&hold));
        expire(wallet, whole, &mut hold)?;
    }
    Ok(swept)
}

/// What a hold has set aside until its time comes.
fn holding(hold: &Hold) -> Holding {
    let scoped = hold.scoped.clone();
    Holding::new(hold.created_at, Some(hold.expires_at), hold.held, scoped)
}

/// Gives back what expired holds have set aside in limits, for a call that does not hold all lanes:
/// what they have in the balance stays there until one does.
pub fn sweep_windows(wallet: &str) -> Result<()> {
    for mut hold in hold_rows::lock_expired(wallet, clock::now())? {
        release_windows(wallet, &mut hold)?;
        store::write_hold(&mut hold, wallet, None, None)?;
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
