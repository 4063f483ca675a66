//! Takes from limits, even if expired holds still occupy them.

use crate::error::Result;
use crate::ledger::charges::job::Job;
use crate::ledger::holds::expired::{self, Expired};
use crate::limits::warning::Warning;
use crate::limits::window::{self, Taken};
use crate::pg::clock;
use crate::storage::rows::Part;

/// The outcome of taking from the windows.
pub enum Outcome<'a> {
    /// All windows had enough. These warnings reached a level.
    Taken(Vec<Warning<'a>>),
    /// A window refused, but the call was made before. The number of windows already taken from.
    Known(usize),
}

/// Compares the request with the limits on a single request, then takes the amounts that it needs
/// from every window. If a window refuses, the expired
/// holds that occupy the windows are released first, as far as needed. If releasing all of them is
/// not enough, WL002 is raised at once. A call that was made before, as `is_known` reports, is not
/// refused.
pub fn take<'a>(
    job: &'a Job<'a>,
    part: Part,
    places: &[i16],
    is_known: impl Fn() -> Result<bool>,
) -> Result<Outcome<'a>> {
    let (wallet, applied) = (job.wallet(), &job.applied);
    if let Some(refusal) = job.request_refusal()? {
        return match is_known()? {
            true => Ok(Outcome::Known(0)),
            false => Err(refusal),
        };
    }
    let mut swept = false;
    loop {
        let (taken, error) = match window::take(wallet, applied, part, places)? {
            // A level that is reached only because of expired holds does not count.
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
        // The windows before have enough, and their rows are locked. The error undoes the takes.
        let ahead = &applied[taken..];
        if let Some(refusal) = expired.refusal(ahead)? {
            return Err(refusal);
        }
        window::give_back(wallet, &applied[..taken], part, places)?;
        expired.sweep_windows(ahead)?;
        swept = true;
    }
}
