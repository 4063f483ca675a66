//! The usage of a limit's window, and whether a request fits.

use crate::error::{Error, Result};
use crate::limits::limit::{Applied, Mode};
use crate::limits::period::Period;
use crate::limits::slices::Slices;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::storage::rows::Window;
use crate::storage::store;

/// A limit that applies, with the usage of its window.
pub struct Status<'a> {
    /// The limit and its window.
    pub applied: Applied<'a>,
    /// The quantity that was charged.
    pub spent: Amount,
    /// The quantity that holds reserve.
    pub held: Amount,
    /// When the limit resets. For a rolling window: when the request fits, or otherwise when the
    /// oldest usage leaves the window.
    pub resets_at: Option<Timestamp>,
}

impl Status<'_> {
    /// The quantity that can still be used in the window.
    pub fn remaining(&self) -> Amount {
        let units = self.applied.max.units() - self.spent.units() - self.held.units();
        Amount::from_units(units.max(0)).unwrap_or_default()
    }

    /// True if releasing `freed` of the held quantity would not change the decision on the request,
    /// and the request reaches no level in either case.
    pub fn is_as_if(&self, freed: Amount) -> bool {
        let (limit, max) = (self.applied.limit, self.applied.max);
        let before = self.spent.units() + self.held.units() - freed.units();
        let level = |units: i128| {
            let used = Amount::from_units(units).unwrap_or(max);
            (limit.levels_at(used, max), units > max.units())
        };
        let need = self.applied.need.units();
        need == 0 || level(before) == level(before + need + freed.units())
    }

    /// True if more is charged and held than the maximum.
    pub fn is_exceeded(&self) -> bool {
        self.spent.units() + self.held.units() > self.applied.max.units()
    }

    /// True if the request fits, or the limit does not refuse it.
    pub fn allows(&self) -> bool {
        let need = self.applied.need;
        self.applied.limit.mode == Mode::Soft
            || self.applied.may_exceed
            || need.is_zero()
            || self.remaining() >= need
    }
}

/// The window as stored, or an empty one if it has no row yet.
pub fn status<'a>(wallet: &str, applied: Applied<'a>) -> Result<Status<'a>> {
    status_with(wallet, applied, Amount::ZERO)
}

/// The status of a window if `freed` of its held quantity no longer counts.
pub fn status_with<'a>(wallet: &str, applied: Applied<'a>, freed: Amount) -> Result<Status<'a>> {
    if applied.limit.period == Period::Request {
        // Nothing is counted.
        return Ok(Status {
            spent: Amount::ZERO,
            held: Amount::ZERO,
            resets_at: None,
            applied,
        });
    }
    let mut window = store::read_window(wallet, applied.window_id)?.unwrap_or_default();
    let overflow = crate::pg::numeric::overflow;
    window.held = window.held.minus(freed).map_err(overflow)?;
    let Some(length) = applied.limit.period.slice() else {
        return Ok(Status {
            spent: window.spent,
            held: window.held,
            resets_at: applied.end,
            applied,
        });
    };
    let slices = aged(&window, length, applied.at)?;
    let room = applied.max.units() - window.held.units() - applied.need.units();
    let resets_at = slices
        .frees_at(room)
        .or_else(|| slices.next_free())
        .map(Timestamp::from_unix_micros);
    Ok(Status {
        spent: total(&slices)?,
        held: window.held,
        resets_at,
        applied,
    })
}

/// The slices of a rolling window that still count.
pub(super) fn aged(window: &Window, length: i64, now: Timestamp) -> Result<Slices> {
    let mut slices = match &window.slices {
        None => Slices::new(length),
        Some(bytes) => Slices::read(bytes)
            .ok_or_else(|| Error::internal("the slices of a rolling window cannot be read"))?,
    };
    slices.age(now.unix_micros());
    Ok(slices)
}

/// The sum of the slices.
pub(super) fn total(slices: &Slices) -> Result<Amount> {
    Amount::from_units(slices.total()).map_err(crate::pg::numeric::overflow)
}
