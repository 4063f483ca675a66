//! Warnings: the levels of a limit that a request reaches, and their events.

use crate::error::Result;
use crate::limits::limit::{Applied, WHOLE};
use crate::money::Amount;
use crate::outbox;
use crate::outbox::{Event, Field, Name};
use crate::pg::numeric::overflow;
use crate::storage::rows::AllowanceId;
use crate::storage::store;

/// A window that has reached one or more further levels of its limit.
#[derive(Clone, Debug)]
pub struct Warning<'a> {
    applied: &'a Applied<'a>,
    /// The number of levels reached before.
    before: i64,
    /// The number of levels reached now.
    now: i64,
    /// The usage, spent and held.
    used: Amount,
}

impl<'a> Warning<'a> {
    /// The warning for a window with `before` levels reached and `used` in it; `None` if it reaches
    /// no further level.
    pub fn between(applied: &'a Applied<'a>, before: i64, used: Amount) -> Option<Warning<'a>> {
        let now = applied.limit.levels_at(used, applied.max);
        (now > before).then_some(Warning {
            applied,
            before,
            now,
            used,
        })
    }

    /// The warning for a request that takes more than a limit on a single request warns about.
    pub fn of_request(applied: &'a Applied<'a>) -> Option<Warning<'a>> {
        let last = applied.limit.warn_at.len() as i64;
        (applied.need > applied.max).then_some(Warning {
            applied,
            before: last,
            now: last + 1,
            used: applied.need,
        })
    }
}

impl Warning<'_> {
    /// Id of the window.
    pub fn window(&self) -> AllowanceId {
        self.applied.window_id
    }

    /// The warning that remains if `freed` of the held amount no longer counts; `None` if none
    /// remains.
    pub fn less(self, freed: Amount) -> Result<Option<Self>> {
        let used = self.used.minus(freed).map_err(overflow)?;
        let now = self.applied.limit.levels_at(used, self.applied.max);
        Ok((now > self.before).then_some(Warning { now, used, ..self }))
    }
}

/// Stores the levels in their windows, and writes an event for each level.
pub fn announce(wallet: &str, warnings: &[Warning<'_>]) -> Result<()> {
    for warning in warnings {
        let Warning {
            applied,
            before,
            now,
            used,
        } = warning;
        let limit = applied.limit;
        if limit.period.counts_use() {
            store::set_levels(wallet, applied.window_id, limit.levels_stored(*now))?;
        }
        for level in *before..*now {
            let fraction = usize::try_from(level)
                .ok()
                .and_then(|level| limit.warn_at.get(level).copied());
            let whole = Amount::from_units(WHOLE).unwrap_or_default();
            let scope = limit.scope.as_str();
            outbox::emit_event(
                wallet,
                &Event {
                    name: match fraction {
                        Some(_) => Name::LimitNear,
                        None => Name::LimitReached,
                    },
                    threshold: Some(fraction.unwrap_or(whole)),
                    payload: &[
                        ("limit_id", Field::Id(limit.id)),
                        ("scope", Field::Text(&scope)),
                        ("subject", Field::Text(&applied.subject)),
                        ("period", Field::Text(&limit.period_name)),
                        ("metric", Field::Text(limit.metric.as_str())),
                        ("max", Field::Amount(applied.max)),
                        ("used", Field::Amount(*used)),
                        ("resets_at", Field::Time(applied.end)),
                    ],
                },
            )?;
        }
    }
    Ok(())
}
