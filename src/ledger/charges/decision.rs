//! Decides whether a request would be refused if everything due were booked first.

use crate::allowance::lanes::range;
use crate::error::{Error, Result};
use crate::ledger::charges::job::Job;
use crate::ledger::grants::asof::{self, Funds};
use crate::ledger::grants::pools::Pools;
use crate::ledger::holds::expired::Expired;
use crate::money::Amount;
use crate::pg::clock;

/// The most that a request may spend of these funds, credit limit included.
pub fn room(job: &Job<'_>, standing: &Funds, pools: &mut Pools<'_>) -> Result<Amount> {
    let own = pools.available(job.context(), clock::now(), job.cost)?;
    standing.room()?.plus(own).map_err(range)
}

/// The error WL001 or WL002 if the request would be refused. The caller has locked all lanes and
/// the wallet's row.
pub fn refusal(job: &Job<'_>) -> Result<Option<Error>> {
    let (wallet, now) = (job.request.wallet, clock::now());
    let mut expired = Expired::look(wallet, now)?;
    let standing = asof::standing(wallet, job.rules, now, &mut expired)?;
    let mut pools = Pools::of(wallet, standing.course.lots.clone());
    let room = room(job, &standing, &mut pools)?;
    if !job.is_covered(room) {
        let for_others = pools.for_other_uses(job.context(), now)?;
        return job
            .insufficient(standing.balance()?, room, for_others)
            .map(Some);
    }
    if let Some(refusal) = job.request_refusal()? {
        return Ok(Some(refusal));
    }
    expired.refusal(&job.applied)
}
