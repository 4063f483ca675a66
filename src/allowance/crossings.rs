//! The events of crossed thresholds.

use crate::allowance::thresholds::Crossing;
use crate::error::Result;
use crate::money::Amount;
use crate::outbox::{Event, Name, emit_event};

/// Writes the events of a change of the balance, in their order.
pub fn emit(wallet: &str, crossings: &[Crossing]) -> Result<()> {
    for crossing in crossings {
        let (name, threshold) = match crossing {
            Crossing::Topup(notice) => {
                notice.emit(wallet)?;
                continue;
            }
            Crossing::Low(at) => (Name::BalanceLow, *at),
            Crossing::Recovered(at) => (Name::BalanceRecovered, *at),
            Crossing::Depleted => (Name::Depleted, Amount::ZERO),
        };
        let threshold = Some(threshold);
        emit_event(
            wallet,
            &Event {
                name,
                threshold,
                payload: &[],
            },
        )?;
    }
    Ok(())
}
