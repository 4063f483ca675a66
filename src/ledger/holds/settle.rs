//! `settle`: books the actual usage of a hold once, and releases the rest.

use crate::allowance::lanes::range;
use crate::attribution::UseContext;
use crate::error::{Code, Error, Result};
use crate::ledger::balance::locked::LockedBalance;
use crate::ledger::charges::charge;
use crate::ledger::charges::job::Job;
use crate::ledger::charges::passed::{self, Passed};
use crate::ledger::charges::replay::Charged;
use crate::ledger::charges::request::Request;
use crate::ledger::grants::course::Holding;
use crate::ledger::grants::debts;
use crate::ledger::grants::pools::{self, Pools};
use crate::ledger::holds::booking::{self, entry, replayed};
use crate::ledger::holds::expiry::{expire, give_back_money, release_windows};
use crate::ledger::holds::expiry_job::{count_beyond, count_reserved};
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
use crate::storage::hold_rows::held_by_parent;
use crate::storage::rows::AllowanceId;
use crate::storage::store;
use crate::storage::wallet_row::lock_wallet;

/// Books the actual usage, or replays an earlier call.
pub fn settle(settlement: &Settlement<'_>) -> Result<Charged> {
    let wallet = settlement.wallet;
    let in_lane = match settlement.is_final && settlement.over != OveragePolicy::Debt {
        true => settle_in_lane(settlement, |job, entry| {
            draw(settlement, job, entry, Amount::ZERO)
        })?,
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
    if settlement.request.passed.is_some() {
        return settle_part(settlement);
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
    book(settlement, &mut hold, &job, locked, Amount::ZERO)
}

/// Settles the part of a child's hold that this wallet has. The child has decided that it is
/// settled, and for how much. Without a part, the child's use is booked like a charge.
fn settle_part(settlement: &Settlement<'_>) -> Result<Charged> {
    let (wallet, request) = (settlement.wallet, &settlement.request);
    let mut hold = match row::lock_part(wallet, settlement.hold_id) {
        Ok(hold) => hold,
        Err(error) if error.code == Code::ObjectNotFound => return charge::charge(request),
        Err(error) => return Err(error),
    };
    let mut locked = LockedBalance::open_for(wallet, Some(hold.id))?;
    let rules = locked.rules.clone();
    rules.require_open(wallet)?;
    if hold.status == "open" && hold.expires_at <= clock::now() && !hold.charge_on_expiry {
        expire(wallet, &mut locked.whole, &mut hold)?;
        locked.lapse(hold.expires_at, None)?;
    }
    let mut job = Job::at(request, &rules, hold.created_at)?;
    let refunded = request
        .passed
        .map_or(Amount::ZERO, |passed| passed.refunded);
    if settlement.is_expiry {
        count_reserved(&mut job, &hold);
    } else if hold.expiry_entry.is_some() {
        hold.settled = hold
            .settled
            .minus(refunded.min(hold.settled))
            .map_err(range)?;
        count_beyond(wallet, &mut job, &rules, &mut hold)?;
    }
    if !settlement.is_final {
        job.count_no_request()?;
    }
    book(settlement, &mut hold, &job, locked, refunded)
}

/// Takes the money of a settlement from the parent, if the wallet has one that pays. `refunded` is
/// the part of the charge of an expired hold that was refunded before.
fn draw(
    settlement: &Settlement<'_>,
    job: &Job<'_>,
    entry_id: [u8; 16],
    refunded: Amount,
) -> Result<()> {
    let Some((parent, _)) = job.pool() else {
        return Ok(());
    };
    let passed = Passed {
        refunded,
        ..Passed::of_settlement(job, entry_id, settlement.hold_id)
    };
    let part = Settlement {
        wallet: parent,
        hold_id: settlement.hold_id,
        request: passed.request(job, parent),
        is_final: settlement.is_final,
        // The child has capped the cost already.
        over: match settlement.over {
            OveragePolicy::Cap => OveragePolicy::Charge,
            over => over,
        },
        is_expiry: settlement.is_expiry,
        fingerprint: [0; 16],
    };
    let settled = settle(&part).map(drop);
    settled.map_err(|error| error.of_payer(parent))
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
    book(settlement, hold, &job, locked, unused)
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

/// Books the usage of a hold with all lanes locked, and releases the rest. Of the charge of an
/// expired hold, `refunded` was refunded before.
pub(super) fn book(
    settlement: &Settlement<'_>,
    hold: &mut Hold,
    job: &Job<'_>,
    mut locked: LockedBalance<'_>,
    refunded: Amount,
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
    let entry = entry(settlement, job, hold.id)?;
    let taken = job.taken().min(room);
    let owed = job.taken().minus(taken).map_err(range)?;
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
    let pool = job.pool();
    if let Some((_, contra)) = &pool {
        locked.debit(&passed::draw(&entry, contra), Amount::ZERO)?;
    }
    let balance = locked.debit_with(&entry, taken, &parts)?;
    hold_again(&mut locked, hold, job, rest)?;
    job.note(&entry)?;
    one_request::announce(wallet, &above, hold)?;
    hold.settled = hold.settled.plus(job.cost).map_err(range)?;
    end(settlement, hold, windows, entry.entry_id)?;
    warning::announce(wallet, &warnings)?;
    locked.close()?;
    draw(settlement, job, entry.entry_id, refunded)?;
    Ok(job.charged(entry.entry_id, balance))
}

/// Reserves the rest of a hold again, after a settlement that is not final.
fn hold_again(
    locked: &mut LockedBalance<'_>,
    hold: &mut Hold,
    job: &Job<'_>,
    rest: Amount,
) -> Result<()> {
    if rest.is_zero() {
        return Ok(());
    }
    hold.scoped = match job.pool() {
        None => locked.hold(hold.lane, rest, job.context(), hold.created_at)?,
        Some(_) => vec![held_by_parent(rest)],
    };
    hold.held = rest;
    Ok(())
}

/// Writes the state of a hold after a settlement whose entry is `entry`. `windows` are the amounts
/// that it reserved in limits.
fn end(
    settlement: &Settlement<'_>,
    hold: &mut Hold,
    windows: Vec<(AllowanceId, Amount)>,
    entry: [u8; 16],
) -> Result<()> {
    let wallet = settlement.wallet;
    let (status, closed_at) = match (settlement.is_final, settlement.is_expiry) {
        (false, _) => return store::write_hold(hold, wallet, None, None),
        (true, false) => ("settled", clock::now()),
        (true, true) => ("expired", hold.expires_at),
    };
    hold.status = status.to_owned();
    if settlement.is_expiry {
        // A later settlement must know what the limits counted.
        hold.windows = windows;
    }
    store::write_hold(hold, wallet, Some(closed_at), None)?;
    match settlement.is_expiry {
        true => booking::note_expiry(wallet, hold.id, entry),
        false => Ok(()),
    }
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
        let room = locked.room_for(context, at, job.taken())?;
        if job.taken() > room && settlement.over != OveragePolicy::Debt {
            let for_others = locked.for_other_uses(context, at)?;
            return Err(job.insufficient(locked.balance()?, room, for_others)?);
        }
        let needed = job.taken().min(room);
        locked.make_way(needed)?;
        // Other transactions may be settling some of the holds whose amounts were counted.
        let room = locked.room_for(context, at, job.taken())?;
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
