//! A settlement in one lane: nearly every settlement of a wallet without due grants.

use crate::allowance::lane_split::{active, can_pay};
use crate::allowance::lanes::{self, changed_underneath, range};
use crate::error::Result;
use crate::ledger::charges::job::Job;
use crate::ledger::charges::replay::Charged;
use crate::ledger::charges::request::Request;
use crate::ledger::holds::booking::{entry, replayed};
use crate::ledger::holds::request::{OveragePolicy, Settlement};
use crate::ledger::holds::row::Hold;
use crate::ledger::holds::{MAX_TRIES, context, expired, one_request};
use crate::ledger::wallets::config;
use crate::ledger::wallets::config::{Status, WalletConfig};
use crate::limits::warning;
use crate::limits::window;
use crate::money::Amount;
use crate::pg::clock;
use crate::storage::rows::{AllowanceId, Lane};
use crate::storage::store;

/// The result of an attempt to settle in one lane.
// A box would cost every settlement an allocation.
#[allow(clippy::large_enum_variant)]
pub enum InLane {
    /// The settlement is booked.
    Settled(Charged),
    /// Nothing was written. The hold is not locked.
    Untouched,
    /// The hold was closed and opened again, so its row is locked.
    Reopened,
}

/// Books the usage and releases the rest in the lane of the hold, if no alert depends on it. Does
/// not if all lanes must be locked, if the hold is not open, or if another call has changed it. The
/// hold is not locked first: it is closed only if it is still as it was read.
///
/// `draw` takes the money from the parent, for the job and the id of its entry.
pub fn settle_in_lane(
    settlement: &Settlement<'_>,
    draw: impl FnOnce(&Job<'_>, [u8; 16]) -> Result<()>,
) -> Result<InLane> {
    let wallet = settlement.wallet;
    let Some(mut hold) = store::read_hold(wallet, settlement.hold_id)? else {
        return Ok(InLane::Untouched);
    };
    if hold.spender.is_some() != settlement.request.passed.is_some() {
        return Ok(InLane::Untouched);
    }
    // An open hold has had no final settlement, so the key cannot belong to one.
    if hold.status != "open" || hold.expires_at <= clock::now() || hold.waits() {
        return Ok(InLane::Untouched);
    }
    let about = hold.about.clone();
    let rules = config::known(wallet)?;
    let (request, _kept) = context::complete(&settlement.request, &about, &rules.price_list)?;
    if !is_enough(&rules, &hold) {
        return Ok(InLane::Untouched);
    }
    let Ok(mut job) = Job::at(&request, &rules, hold.created_at) else {
        return Ok(InLane::Untouched);
    };
    if settlement.over == OveragePolicy::Cap {
        job.cap(hold.held);
    }
    // A limit that has to decide may need all lanes.
    if !window::are_covered(&job.applied, &hold.windows)
        || !one_request::exceeded(&job, &rules, &hold).is_ok_and(|above| above.is_empty())
    {
        return Ok(InLane::Untouched);
    }
    let scoped = std::mem::take(&mut hold.scoped);
    let before = (hold.held, hold.settled, hold.windows.clone());
    let settled = hold.settled.plus(job.cost).map_err(range)?;
    let windows = hold.windows.iter();
    let emptied = windows.map(|(id, _)| (*id, Amount::ZERO)).collect();
    become_of(&mut hold, "settled", (Amount::ZERO, settled, emptied));
    if !store::close_hold(&mut hold, wallet, clock::now())? {
        return Ok(InLane::Untouched);
    }
    let (held, _, windows) = &before;
    let by_parent = rules.pool.is_some();
    let part = Part {
        rules: &rules,
        job: &job,
        hold: hold.id,
        lane: hold.lane,
        held: if by_parent { Amount::ZERO } else { *held },
        windows,
    };
    if let Some(charged) = part.settle(settlement, &request)? {
        draw(&job, charged.entry_id)?;
        return Ok(InLane::Settled(charged));
    }
    // The slow path decides, and must find the hold as it was.
    become_of(&mut hold, "open", before);
    hold.scoped = scoped;
    store::write_hold(&mut hold, wallet, None, None)?;
    Ok(InLane::Reopened)
}

/// Whether one lane may be enough to settle the hold.
fn is_enough(rules: &WalletConfig, hold: &Hold) -> bool {
    let needs_all = rules.is_due()
        || rules.needs_recheck()
        // The lane contains the same flag, but it is read only after the hold was closed.
        || !(rules.armed || rules.pool.is_some())
        || rules.scoped
        || rules.keeps
        || !hold.of_grants().is_empty()
        || hold.is_pooled() != rules.pool.is_some()
        || rules.status == Status::Closed
        || !active(rules.lanes).contains(&hold.lane);
    !needs_all
}

/// The held amount, the settled amount, and the amounts in the windows of limits.
type Contents = (Amount, Amount, Vec<(AllowanceId, Amount)>);

fn become_of(hold: &mut Hold, status: &str, (held, settled, windows): Contents) {
    hold.status = status.to_owned();
    hold.held = held;
    hold.settled = settled;
    hold.windows = windows;
}

/// A closed hold, with what it reserved in one lane.
struct Part<'a> {
    rules: &'a WalletConfig,
    job: &'a Job<'a>,
    hold: [u8; 16],
    lane: i16,
    held: Amount,
    windows: &'a [(AllowanceId, Amount)],
}

impl Part<'_> {
    /// Books the usage and releases the rest. `None`, with nothing written, if all lanes must be
    /// locked.
    fn settle(
        &self,
        settlement: &Settlement<'_>,
        request: &Request<'_>,
    ) -> Result<Option<Charged>> {
        let Part {
            rules, job, held, ..
        } = *self;
        let wallet = settlement.wallet;
        let mut tries = 0;
        let pool = job.pool();
        let contra = pool.as_ref().map(|(_, contra)| contra.as_str());
        let (balance, entry, link, draw) = loop {
            let Some(lane) = lanes::take(rules.lane_view(wallet), self.lane)? else {
                return Ok(None);
            };
            let freed = Lane {
                held: lane.held.minus(held).map_err(range)?,
                ..lane.clone()
            };
            // An excess over the held amount may cause an alert. Released money may have to arm one
            // again.
            let is_too_much = job.taken() > held && !can_pay(&freed, job.taken());
            let is_armed = lane.armed || rules.pool.is_some();
            if is_too_much || !is_armed || tries == MAX_TRIES {
                lanes::let_go(wallet, lane.lane);
                return Ok(None);
            }
            let entry = entry(settlement, job, self.hold)?;
            let balance = lane
                .credited()
                .plus(lanes::others(rules.lane_view(wallet), lane.lane)?)
                .and_then(|sum| sum.minus(rules.credit_limit))
                .and_then(|sum| sum.minus(job.taken()))
                .map_err(range)?;
            let (after, link, draw) = job.chain_use(&entry, contra, &freed, balance)?;
            if store::write_lane(wallet, &after)? {
                break (balance, entry, link, draw);
            }
            // Another call on the wallet changed the lane first.
            lanes::let_go(wallet, lane.lane);
            tries += 1;
        };
        let released = window::release_all(wallet, self.windows, self.lane)?;
        let refuse = settlement.over == OveragePolicy::Charge;
        let warnings = window::settle(wallet, &job.applied, &released, refuse)?;
        let warnings = expired::without(wallet, warnings)?;
        if !store::append(&entry, &link, rules.archived)? {
            // Another settlement has used the key. If it differs, WL006 undoes this one.
            replayed(settlement, request)?;
            return Err(changed_underneath(wallet));
        }
        job.note(&entry)?;
        warning::announce(wallet, &warnings)?;
        if let Some((draw, link)) = draw
            && !store::append(&draw, &link, false)?
        {
            return Err(changed_underneath(wallet));
        }
        Ok(Some(job.charged(entry.entry_id, balance)))
    }
}
