//! Passes a use on to the parent, and chains the entries of a use for which a parent pays.

use crate::error::Result;
use crate::ledger::balance::chain;
use crate::ledger::charges::job::Job;
use crate::ledger::charges::passed::{self, Passed};
use crate::ledger::charges::request::{Asked, Request};
use crate::money::Amount;
use crate::storage::rows::{Call, Entry, Lane, Link};

/// A lane after the entry of a use, the entry's link, and the entry that draws the money with its
/// link, if the parent pays.
pub type ChainedUse<'e> = (Lane, Link, Option<(Entry<'e>, Link)>);

impl<'a> Job<'a> {
    /// The amount that leaves the wallet's own lanes: none if the parent pays.
    pub fn taken(&self) -> Amount {
        match self.rules.pool {
            None => self.cost,
            Some(_) => Amount::ZERO,
        }
    }

    /// The parent that pays, and the contra account of the entry that draws the money from it.
    pub fn pool(&self) -> Option<(&'a str, String)> {
        let parent = self.rules.pool.as_deref()?;
        Some((parent, passed::contra(parent)))
    }

    /// Chains the entry of a use behind the one that draws its money, if the parent pays.
    pub fn chain_use<'e>(
        &self,
        entry: &Entry<'e>,
        contra: Option<&'e str>,
        lane: &Lane,
        balance: Amount,
    ) -> Result<ChainedUse<'e>> {
        let Some(contra) = contra else {
            let (after, link) = self.chain(entry, lane, balance)?;
            return Ok((after, link, None));
        };
        let mut after = lane.clone();
        let draw = passed::draw(entry, contra);
        let drawn = chain::extend(&mut after, &draw, balance)?;
        let link = chain::extend(&mut after, entry, balance)?;
        Ok((after, link, Some((draw, drawn))))
    }
}

/// The call by which a parent lends for a call of a child.
fn lends_for(call: Call) -> Call {
    match call {
        Call::Settle | Call::LendSettled => Call::LendSettled,
        Call::Price | Call::LendPrice => Call::LendPrice,
        _ => Call::Lend,
    }
}

impl<'a> Passed<'a> {
    /// The use of a job whose entry is booked.
    pub fn of(job: &'a Job<'_>, entry: &Entry<'_>) -> Passed<'a> {
        Passed {
            call: lends_for(entry.call),
            related_id: entry.related_id,
            entry_id: entry.entry_id,
            ..Passed::of_hold(job, job.cost, entry.entry_id)
        }
    }

    /// The use of a settlement whose entry is booked.
    pub fn of_settlement(job: &'a Job<'_>, entry_id: [u8; 16], hold: [u8; 16]) -> Passed<'a> {
        Passed {
            call: Call::LendSettled,
            related_id: Some(hold),
            ..Passed::of_hold(job, job.cost, entry_id)
        }
    }

    /// The use for which a hold of that amount is made.
    pub fn of_hold(job: &'a Job<'_>, amount: Amount, hold: [u8; 16]) -> Passed<'a> {
        let child = job.wallet();
        let before = job.passed();
        Passed {
            spender: before.map_or(child, |passed| passed.spender),
            contra: passed::contra(child),
            priced: job.priced.clone(),
            cost: amount,
            entry_id: hold,
            call: Call::Lend,
            related_id: None,
            refunded: before.map_or(Amount::ZERO, |passed| passed.refunded),
        }
    }

    /// The request to the parent. It has no idempotency key: the child's key stands for it.
    pub fn request<'b>(&'b self, job: &'b Job<'_>, parent: &'b str) -> Request<'b> {
        let asked = job.request();
        Request {
            wallet: parent,
            asked: match (&asked.asked, &self.priced) {
                (Asked::Amount(_), _) => Asked::Amount(self.cost),
                _ => asked.asked.again(),
            },
            model: asked.model.clone(),
            priced_as: asked.priced_as,
            attribution: job.attribution,
            service: asked.service,
            region: asked.region.clone(),
            service_tier: asked.service_tier.clone(),
            tags: asked.tags.clone(),
            event_at: asked.event_at,
            key: None,
            secret: None,
            client_ip: asked.client_ip,
            device: asked.device,
            actor: asked.actor,
            metadata: None,
            reported: asked.reported,
            passed: Some(self),
        }
    }
}
