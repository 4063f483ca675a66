//! Taking from limits, when expired holds may stand in the way.

use crate::error::Result;
use crate::ledger::holds::expired::{self, Expired};
use crate::limits::limit::Applied;
use crate::limits::warning::Warning;
use crate::limits::window::{self, Taken};
use crate::pg::clock;
use crate::storage::rows::Part;

/// What became of it.
pub enum Outcome<'a> {
    /// All had enough; these came to a level.
    Taken(Vec<Warning<'a>>),
    /// One refused, but the call was made before. That many were taken from.
    Known(usize),
}

/// Takes from every window what the request needs. Where one refuses, as much of what expired holds have set
/// aside in limits is given back first as it takes; WL002, at once, when all of it is not enough. A call that was made before, as
/// `is_known` says, is not refused.
pub fn take<'a>(
    wallet: &str,
    applied: &'a [Applied<'a>],
    part: Part,
    places: &[i16],
    is_known: impl Fn() -> Result<bool>,
) -> Result<Outcome<'a>> {
    let mut swept = false;
    loop {
        let (taken, error) = match window::take(wallet, applied, part, places)? {
            // A level to which only expired holds come is none.
            Taken::All(warnings) => {
                return Ok(Outcome::Taken(expired::without(wallet, warnings)?));
            }
            Taken::Refused { taken, error } => (taken, error),
        };
        if is_known()? {
            return Ok(Outcome::Known(taken));
        }
        if swept {
            return Err(error);
        }
        let mut expired = Expired::look(wallet, clock::now())?;
        if expired.are_none() {
            return Err(error);
        }
        // Those before have enough, and their rows are locked. The error undoes what was taken.
        let ahead = &applied[taken..];
        if let Some(refusal) = expired.refusal(ahead)? {
            return Err(refusal);
        }
        window::give_back(wallet, &applied[..taken], part, places)?;
        expired.sweep_windows(ahead)?;
        swept = true;
    }
}
