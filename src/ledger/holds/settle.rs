//! `settle`: books the actual usage of a hold once, and releases the rest.

use crate::allowance::lanes::range;
use crate::attribution::UseContext;
use crate::error::{Code, Error, Result};
use crate::ledger::balance::locked::LockedBalance;
use crate::ledger::charges::job::Job;
use crate::ledger::charges::replay::Charged;
use crate::ledger::charges::request::Request;
use crate::ledger::grants::course::Holding;
use crate::ledger::grants::debts;
use crate::ledger::grants::pools::{self, Pools};
use crate::ledger::holds::booking::{entry, replayed};
use crate::ledger::holds::expiry::{expire, give_back_money, release_windows};
use crate::ledger::holds::expiry_job::count_beyond;
use crate::ledger::holds::request::{OveragePolicy, Settlement};
use crate::ledger::holds::row::{self, Hold};
use crate::ledger::holds::settle_in_lane::{InLane, settle_in_lane};
use crate::ledger::holds::{context, one_request};
use crate::ledger::movements::Movement;
use crate::ledger::refund;
use crate::ledger::wallets::config;
use crate::limits::warning;
use crate::limits::window::{self, Released};
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::storage::store;
use crate::storage::wallet_row::lock_wallet;

/// Books the actual usage, or replays an earlier call.
pub fn settle(settlement: &Settlement<'_>) -> Result<Charged> {
    let wallet = settlement.wallet;
    let in_lane = match settlement.is_final && settlement.over != OveragePolicy::Debt {
        true => settle_in_lane(settlement)?,
        false => InLane::Untouched,
    };
    match in_lane {
        InLane::Settled(charged) => return Ok(charged),
        // The hold is locked. It was open, and no grant was due.
        InLane::Reopened => {}
        // Debts, grants that are due and refunds of expired holds need the wallet's row lock, which
        // comes before holds and lanes.
        InLane::Untouched => lock_wallet(wallet)?,
    }
    let mut hold = row::lock(wallet, settlement.hold_id)?;
    let about = hold.about.clone();
    let known = config::known(wallet)?;
    let (request, _kept) = context::complete(&settlement.request, &about, &known.price_list)?;
    if let Some(charged) = replayed(settlement, &request)? {
        return Ok(charged);
    }
    if hold.waits() {
        return Err(row::not_approved(&hold));
    }
    if hold.status != "open" && hold.status != "expired" {
        return Err(row::not_open(&hold));
    }
    if let Some(entry) = hold.expiry_entry {
        return correct(settlement, &request, &mut hold, entry);
    }
    let mut locked = LockedBalance::open_for(wallet, Some(hold.id))?;
    let rules = locked.rules.clone();
    rules.require_open(wallet)?;
    let is_late = hold.status == "open" && hold.expires_at <= clock::now();
    if is_late && !hold.charge_on_expiry {
        // An expired hold reserves nothing. The provider was used all the same, so the usage is
        // booked if the money is available.
        expire(wallet, &mut locked.whole, &mut hold)?;
        locked.lapse(hold.expires_at, None)?;
    }
    let mut job = Job::at(&request, &rules, hold.created_at)?;
    if settlement.over == OveragePolicy::Cap {
        job.cap(hold.held);
    }
    if !settlement.is_final {
        // The request is counted once, by the final settlement.
        job.count_no_request()?;
    }
    book(settlement, &mut hold, &job, locked)
}

/// Settles a hold that was charged when it expired. Books the part of the cost that goes beyond the
/// charge, or refunds the part of the charge that was not used. The entry has the whole usage.
fn correct(
    settlement: &Settlement<'_>,
    request: &Request<'_>,
    hold: &mut Hold,
    charge: [u8; 16],
) -> Result<Charged> {
    let wallet = settlement.wallet;
    if !settlement.is_final {
        return Err(row::not_open(hold));
    }
    let rules = config::read(wallet)?;
    rules.require_open(wallet)?;
    let booked = refund::left(wallet, charge)?;
    let mut job = Job::at(request, &rules, hold.created_at)?;
    if settlement.over == OveragePolicy::Cap {
        job.cap(booked);
    }
    let unused = booked.minus(job.cost.min(booked)).map_err(range)?;
    if !unused.is_zero() {
        let movement = Movement {
            wallet,
            reason: Some("expired hold"),
            key: None,
            fingerprint: settlement.fingerprint,
            actor: request.actor,
            metadata: None,
        };
        refund::refund(&movement, charge, Some(unused))?;
        hold.settled = hold.settled.minus(unused).map_err(range)?;
    }
    let locked = LockedBalance::open_for(wallet, Some(hold.id))?;
    let rules = locked.rules.clone();
    let mut job = Job::at(request, &rules, hold.created_at)?;
    if settlement.over == OveragePolicy::Cap {
        job.cap(booked);
    }
    job.beyond(booked)?;
    count_beyond(wallet, &mut job, &rules, hold)?;
    book(settlement, hold, &job, locked)
}

/// An error of a settlement. The use has happened, so it cannot be split or wait for approval.
fn of_settlement(error: Error) -> Error {
    match error.code {
        Code::LimitExceeded => error.hint(
            "Pass over => 'debt' to book the use all the same, or raise the limit with set_limit().",
        ),
        _ => error,
    }
}

/// Books the usage of a hold with all lanes locked, and releases the rest.
pub(super) fn book(
    settlement: &Settlement<'_>,
    hold: &mut Hold,
    job: &Job<'_>,
    mut locked: LockedBalance<'_>,
) -> Result<Charged> {
    let wallet = settlement.wallet;
    let scoped = pools::sum_of(&hold.scoped)?.unwrap_or_default();
    let general_part = hold.held.minus(scoped).map_err(range)?;
    locked.ask(&job.applied)?;
    let windows = hold.windows.clone();
    let (released, rest) = release(settlement, &mut locked, hold, job)?;
    let (context, at) = (job.context(), hold.created_at);
    let room = cover(settlement, &mut locked, job, at)?;
    let refuse = settlement.over == OveragePolicy::Charge;
    let above = one_request::exceeded(job, &locked.rules, hold)?;
    if refuse {
        one_request::require_allowed(wallet, &above).map_err(of_settlement)?;
        let uncovered = window::uncovered(&job.applied, &released);
        locked.make_way_in(&uncovered).map_err(of_settlement)?;
    }
    let settled = window::settle(wallet, &job.applied, &released, refuse);
    let warnings = settled.map_err(of_settlement)?;
    let warnings = locked.warnings(warnings)?;
    let entry = entry(settlement, job, hold.id);
    let taken = job.cost.min(room);
    let owed = job.cost.minus(taken).map_err(range)?;
    if !owed.is_zero() {
        debts::owe(wallet, entry.entry_id, owed)?;
    }
    let kept = locked.kept_for(at, taken.min(general_part))?;
    let parts = locked.split(context, at, taken.minus(kept).map_err(range)?)?;
    if locked.rules.keeps {
        let amounts = [taken, rest, kept];
        let needs = needs(&mut locked, hold, context, general_part, amounts)?;
        locked.lapse(clock::now(), Some((hold.id, needs)))?;
    }
    locked.spend_kept(at, kept, entry.entry_id)?;
    let balance = locked.debit_with(&entry, taken, &parts)?;
    if !rest.is_zero() {
        hold.scoped = locked.hold(hold.lane, rest, context, at)?;
        hold.held = rest;
    }
    job.note(&entry)?;
    one_request::announce(wallet, &above, hold)?;
    hold.settled = hold.settled.plus(job.cost).map_err(range)?;
    let closed_at = match (settlement.is_final, settlement.is_expiry) {
        (false, _) => None,
        (true, false) => Some(clock::now()),
        (true, true) => Some(hold.expires_at),
    };
    if settlement.is_final {
        let status = if settlement.is_expiry {
            "expired"
        } else {
            "settled"
        };
        hold.status = status.to_owned();
    }
    if settlement.is_expiry {
        // A later settlement must know what the limits counted.
        hold.windows = windows;
    }
    store::write_hold(hold, wallet, closed_at, None)?;
    warning::announce(wallet, &warnings)?;
    locked.close()?;
    Ok(job.charged(entry.entry_id, balance))
}

/// The amounts that a hold still needs, for the usage that is taken and for the rest that is
/// reserved again. Ended lots pay `kept` of it. Kept credit that is not needed ends before the
/// settlement is booked, so that the returned balance does not contain it. The rest may be reserved
/// in other lots than before.
fn needs(
    locked: &mut LockedBalance<'_>,
    hold: &Hold,
    context: UseContext<'_>,
    general_part: Amount,
    [taken, rest, kept]: [Amount; 3],
) -> Result<Holding> {
    let all = taken.plus(rest).map_err(range)?;
    let scoped = locked.split_behind(context, hold.created_at, all, kept)?;
    let of_scoped = pools::sum_of(&scoped)?.unwrap_or_default();
    let general = all.minus(of_scoped).map_err(range)?.min(general_part);
    let needs = general.plus(of_scoped).map_err(range)?;
    Ok(Holding::new(hold.created_at, None, needs, scoped))
}

/// The amount available for a settlement. Releases expired holds as far as needed. Returns WL001 if
/// the amount is not sufficient.
fn cover(
    settlement: &Settlement<'_>,
    locked: &mut LockedBalance<'_>,
    job: &Job<'_>,
    at: Timestamp,
) -> Result<Amount> {
    let context = job.context();
    loop {
        let room = locked.room_for(context, at, job.cost)?;
        if job.cost > room && settlement.over != OveragePolicy::Debt {
            let for_others = locked.for_other_uses(context, at)?;
            return Err(job.insufficient(locked.balance()?, room, for_others)?);
        }
        let needed = job.cost.min(room);
        locked.make_way(needed)?;
        // Other transactions may be settling some of the holds whose amounts were counted.
        let room = locked.room_for(context, at, job.cost)?;
        if room >= needed {
            return Ok(room);
        }
    }
}

/// Releases the quantities of a settlement in each window: everything if it is final, otherwise the
/// quantity that it uses. All of the money is released; the part to reserve again is returned
/// separately.
fn release(
    settlement: &Settlement<'_>,
    locked: &mut LockedBalance<'_>,
    hold: &mut Hold,
    job: &Job<'_>,
) -> Result<(Vec<Released>, Amount)> {
    let wallet = locked.wallet;
    let held = hold.held;
    give_back_money(wallet, &mut locked.whole, hold)?;
    // Money that returned to grants with a scope may be taken now.
    locked.pools = Pools::read(wallet, &locked.rules)?;
    if settlement.is_final {
        return Ok((release_windows(wallet, hold)?, Amount::ZERO));
    }
    let minus = |from: Amount, what: Amount| from.minus(what).map_err(range);
    let rest = minus(held, job.cost.min(held))?;
    let mut released = Vec::new();
    for (window, amount) in &mut hold.windows {
        let mut applied = job.applied.iter().chain(&job.on_open_holds);
        let Some(applied) = applied.find(|applied| applied.window_id == *window) else {
            continue;
        };
        let freed = applied.need.min(*amount);
        released.push(window::release(wallet, *window, freed, hold.lane)?);
        *amount = minus(*amount, freed)?;
    }
    Ok((released, rest))
}
