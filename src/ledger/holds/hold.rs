//! `hold`: reserves money, in the balance and in limits.

use std::borrow::Cow;

use rust_decimal::Decimal;

use crate::allowance::lanes::{Found, LaneView, Payer, changed_underneath, range};
use crate::error::Result;
use crate::idempotency::call::conflict;
use crate::idempotency::fingerprint;
use crate::ledger::balance::locked::LockedBalance;
use crate::ledger::charges::charge::put_back;
use crate::ledger::charges::job::Job;
use crate::ledger::charges::limit_take::Outcome;
use crate::ledger::charges::passed::Passed;
use crate::ledger::charges::request::{Asked, Request};
use crate::ledger::charges::{decision, limit_take, window_queue};
use crate::ledger::grants::burn::Burn;
use crate::ledger::grants::due;
use crate::ledger::holds::expiry_charge::{FEW, charge_all_expired, charge_expired};
use crate::ledger::holds::held::Held;
use crate::ledger::holds::request::{NewHold, OnExpiry};
use crate::ledger::holds::{MAX_TRIES, approval, differs, parents, row};
use crate::ledger::wallets::config;
use crate::ledger::wallets::config::WalletConfig;
use crate::limits::lane_windows;
use crate::limits::limit::{Applied, Mode};
use crate::limits::metric::Metric;
use crate::limits::window::{self, Taken};
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pricing::unknown::rate_or;
use crate::pricing::usage::Usage;
use crate::storage::hold_rows::Approval;
use crate::storage::rows::{Lane, Part};
use crate::storage::{hold_rows, store};

/// Reserves money, or replays an earlier call.
pub fn hold(new: &NewHold<'_>) -> Result<Held> {
    if new.on_expiry == OnExpiry::Charge && new.request.passed.is_none() {
        // Callers that die leave holds behind. Those that follow book them.
        charge_expired(new.request.wallet, FEW)?;
    }
    match hold_in_lane(new)? {
        Some(held) => Ok(held),
        None => hold_of_all(new),
    }
}

/// Reserves the whole amount in one lane that stays at or above its watermark. `None` if no lane
/// can, or if the key has already been used.
fn hold_in_lane(new: &NewHold<'_>) -> Result<Option<Held>> {
    let request = &new.request;
    let wallet = request.wallet;
    // The tables that are read first are written later. They are opened only once.
    store::begin_writing();
    let (rules, mut read) = config::known_with_lane(wallet)?;
    if request.passed.is_none() && rules.limits_open_holds && charge_all_expired(wallet)? {
        // The charges have written the lane.
        read = None;
    }
    if needs_all(new, &rules) {
        return Ok(None);
    }
    let mut view = LaneView {
        read: read.as_ref(),
        ..rules.lane_view(wallet)
    };
    let mut tries = 0;
    let (mut job, Payer { lane, others, .. }, places) = loop {
        // A refusal is decided again by the slow path, with all lanes locked.
        let Ok(job) = Job::of_hold(request, &rules, false) else {
            return Ok(None);
        };
        if job.may_need_approval() {
            // The limits say so only once they are taken from. By then a lane is written, and it
            // would be too late to lock all lanes in their order.
            return Ok(None);
        }
        match set_aside(view, &job)? {
            SetAside::In(payer, places) => break (job, payer, places),
            SetAside::Lost if tries < MAX_TRIES => tries += 1,
            SetAside::Lost | SetAside::All => return Ok(None),
        }
        view.read = None;
    };
    let known = || Ok(replay(new)?.is_some());
    let warnings = match limit_take::take(&job, Part::Held, &places, known)? {
        Outcome::Taken(warnings) => warnings,
        Outcome::Known(taken) => {
            put_back(wallet, lane, &job.applied[..taken], Part::Held, &places)?;
            return Ok(None);
        }
    };
    let balance = lane
        .credited()
        .plus(others)
        .and_then(|sum| sum.minus(rules.credit_limit))
        .map_err(range)?;
    let now = clock::now();
    let held = Held {
        hold_id: new.id,
        amount: job.cost,
        balance,
        expires_at: Timestamp(now.0.saturating_add(new.ttl)),
        replayed: false,
        // The whole estimate is paid for.
        affordable_tokens: asked_tokens(request).map(|(_, asked)| asked),
        status: Cow::Borrowed("open"),
    };
    let parts = job.pool().map(|_| hold_rows::held_by_parent(job.cost));
    if !insert(new, &held, lane.lane, parts.as_slice(), &job, now, None)? {
        put_back(wallet, lane, &job.applied, Part::Held, &places)?;
        return Ok(None);
    }
    job.announce(&warnings)?;
    let cost = job.cost;
    hold_of_parent(new, &mut job, cost)?;
    Ok(Some(held))
}

/// Whether a hold needs all lanes, whatever its amount is.
fn needs_all(new: &NewHold<'_>, rules: &WalletConfig) -> bool {
    // A hold that may shrink must know what the limits and the parent have left.
    let shrinks = new.allow_partial && (!rules.limits.is_empty() || rules.pool.is_some());
    rules.is_due() || rules.needs_recheck() || rules.scoped || shrinks
}

/// The result of an attempt to reserve the amount in one lane.
// A box would cost every hold an allocation.
#[allow(clippy::large_enum_variant)]
enum SetAside {
    /// The amount fits in that lane, and may be counted in those rows of the windows. The lane is
    /// returned as it was before.
    In(Payer, Vec<i16>),
    /// Another transaction changed the lane in the meantime.
    Lost,
    /// All lanes must be locked.
    All,
}

fn set_aside(view: LaneView<'_>, job: &Job<'_>) -> Result<SetAside> {
    let wallet = view.wallet;
    let found = window_queue::find(view, job.taken(), &job.applied, false)?;
    let Found::Payer(payer) = found else {
        return Ok(SetAside::All);
    };
    let number = payer.lane.lane;
    let Some(places) = lane_windows::places(wallet, &job.applied, number, view.lanes)? else {
        payer.let_go(wallet)?;
        return Ok(SetAside::All);
    };
    let holding = Lane {
        held: payer.lane.held.plus(job.taken()).map_err(range)?,
        ..payer.lane.clone()
    };
    if store::write_lane(wallet, &holding)? {
        return Ok(SetAside::In(payer, places));
    }
    if payer.combined {
        // The lanes whose money was moved to this one have already been written.
        return Err(changed_underneath(wallet));
    }
    payer.let_go(wallet)?;
    Ok(SetAside::Lost)
}

/// Decides with the exact total, with all lanes locked.
fn hold_of_all(new: &NewHold<'_>) -> Result<Held> {
    let request = &new.request;
    let wallet = request.wallet;
    if let Some(held) = replay(new)? {
        return Ok(held);
    }
    if config::read(wallet)?.is_due()
        && !new.allow_partial
        && let Some(rules) = due::lock(wallet)?
        && replay(new)?.is_none()
        && let Some(refusal) =
            decision::refusal(&Job::of_hold(request, &rules, request.passed.is_none())?)?
    {
        // A request that is refused even with everything due booked is refused before booking it.
        return Err(refusal);
    }
    let mut locked = LockedBalance::open(wallet)?;
    // Another call with the key may have made the hold while this one waited for the lanes.
    if let Some(held) = replay(new)? {
        // Opening the balance may have released expired holds. That is written.
        locked.close()?;
        return Ok(held);
    }
    let rules = locked.rules.clone();
    let mut job = Job::of_hold(request, &rules, request.passed.is_none())?;
    let now = clock::now();
    let amount = fitting(new, &mut locked, &mut job, now)?;
    // All of the wallet's lanes are locked, so its windows can wait for the parent's answer.
    let amount = hold_of_parent(new, &mut job, amount)?;
    let warnings = match window::take(wallet, &job.applied, Part::Held, &[])? {
        Taken::All(warnings) => warnings,
        Taken::Refused { error, .. } => return Err(error),
    };
    job.require_request_fits()?;
    let above = above(&mut locked, &job)?;
    let lane = locked.holding_lane()?;
    let parts = match &rules.pool {
        None => locked.hold(lane, amount, job.context(), now)?,
        Some(_) => vec![hold_rows::held_by_parent(amount)],
    };
    let held = Held {
        hold_id: new.id,
        amount,
        balance: locked.balance()?,
        expires_at: Timestamp(now.0.saturating_add(new.ttl)),
        replayed: false,
        affordable_tokens: affordable_tokens(request, &rules, amount)?,
        status: Cow::Borrowed(if above.is_some() {
            row::WAITING
        } else {
            "open"
        }),
    };
    if above.is_some() && new.on_expiry == OnExpiry::Charge {
        // Like the hold itself, the parent's part is released if nobody approves it in time.
        parents::charge_on_expiry(&rules, held.hold_id, false)?;
    }
    let approval = above.is_some().then_some(Approval::Waits {
        charge_on_expiry: new.on_expiry == OnExpiry::Charge,
    });
    if !insert(new, &held, lane, &parts, &job, now, approval)? {
        return Err(changed_underneath(wallet));
    }
    job.announce(&warnings)?;
    if let Some(above) = above {
        approval::request(&held, &job, above)?;
    }
    locked.close()?;
    Ok(held)
}

/// The amount to reserve, once expired holds have made way for it.
fn fitting(
    new: &NewHold<'_>,
    locked: &mut LockedBalance<'_>,
    job: &mut Job<'_>,
    now: Timestamp,
) -> Result<Amount> {
    loop {
        let amount = affordable(new, locked, job, now)?;
        locked.make_way(match job.pool() {
            None => amount,
            Some(_) => Amount::ZERO,
        })?;
        locked.make_way_in(&job.applied)?;
        // Other transactions may be settling some of the holds whose amounts were counted.
        if affordable(new, locked, job, now)? == amount {
            return Ok(amount);
        }
    }
}

/// Makes the parent's part of a hold, which reserves the money, if the wallet has a parent that
/// pays. Returns the amount that is reserved. If it is less, the job takes less from limits too.
fn hold_of_parent(new: &NewHold<'_>, job: &mut Job<'_>, amount: Amount) -> Result<Amount> {
    let Some((parent, _)) = job.pool() else {
        return Ok(amount);
    };
    let passed = Passed::of_hold(job, amount, new.id);
    let part = NewHold {
        request: passed.request(job, parent),
        ttl: new.ttl,
        allow_partial: new.allow_partial,
        on_expiry: new.on_expiry,
        fingerprint: [0; 16],
        id: new.id,
    };
    let held = hold(&part).map_err(|error| error.of_payer(parent))?;
    if held.amount < amount {
        job.need(held.amount);
    }
    Ok(held.amount)
}

/// The amount that can be reserved for a request. It may be less than the cost if the hold may
/// shrink. Returns WL001 if the balance is not sufficient.
fn affordable(
    new: &NewHold<'_>,
    locked: &mut LockedBalance<'_>,
    job: &mut Job<'_>,
    now: Timestamp,
) -> Result<Amount> {
    let room = match job.pool() {
        None => locked.room_for(job.context(), now, job.cost)?,
        // The parent says what there is.
        Some(_) => job.cost,
    };
    let mut amount = job.cost;
    if new.allow_partial {
        amount = amount.min(room);
        for applied in &job.applied {
            if applied.limit.metric == Metric::Amount && applied.limit.mode == Mode::Hard {
                amount = amount.min(locked.left_in(applied)?);
            }
        }
        for applied in &job.per_request {
            if applied.limit.metric == Metric::Amount && applied.limit.mode == Mode::Hard {
                amount = amount.min(applied.max);
            }
        }
        job.need(amount);
    }
    let nothing = amount.is_zero() && !job.cost.is_zero();
    if room < amount || nothing && room <= Amount::ZERO {
        let for_others = locked.for_other_uses(job.context(), now)?;
        return Err(job.insufficient(locked.balance()?, room, for_others)?);
    }
    if nothing {
        // A limit has nothing left. The full need makes the limit refuse with its own error.
        job.need(job.cost);
    }
    Ok(amount)
}

/// A limit that the hold exceeds, so that the hold waits for approval. The windows contain the
/// hold.
fn above<'a>(locked: &mut LockedBalance<'_>, job: &'a Job<'_>) -> Result<Option<&'a Applied<'a>>> {
    for applied in job.applied.iter().filter(|one| one.may_exceed) {
        if !applied.need.is_zero() && locked.is_exceeded(applied)? {
            return Ok(Some(applied));
        }
    }
    let mut per_request = job.per_request.iter();
    Ok(per_request.find(|one| one.may_exceed && one.need > one.max))
}

/// The first result for this key. Returns WL006 if the key belongs to another request.
fn replay(new: &NewHold<'_>) -> Result<Option<Held>> {
    let Some(key) = new.request.key else {
        return Ok(None);
    };
    let Some(hold) = hold_rows::by_key(new.request.wallet, key)? else {
        return Ok(None);
    };
    if fingerprint::differs(hold.fingerprint, new.fingerprint) {
        return Err(conflict(key, differs::in_hold(new, hold.id)?));
    }
    Ok(Some(Held {
        hold_id: hold.id,
        amount: hold.amount,
        balance: hold.balance,
        expires_at: hold.expires_at,
        replayed: true,
        affordable_tokens: hold.affordable_tokens,
        status: Cow::Owned(row::status_now(&hold).to_owned()),
    }))
}

/// Writes the hold; false if its key is taken. Waits for a transaction that is using the same key.
/// The row lists each window and grant of which the hold reserves a part, because a settlement must
/// return exactly these. Windows with nothing to reserve are left out.
fn insert(
    new: &NewHold<'_>,
    held: &Held,
    lane: i16,
    scoped: &[Burn],
    job: &Job<'_>,
    now: Timestamp,
    approval: Option<Approval>,
) -> Result<bool> {
    let request = &new.request;
    let taken = job.applied.iter().filter(|applied| !applied.need.is_zero());
    let (window_ids, window_amounts) = taken
        .map(|applied| (applied.window_id, applied.need))
        .unzip();
    let (scoped_ids, scoped_amounts) = scoped.iter().map(|part| (part.id, part.amount)).unzip();
    store::insert_hold(&hold_rows::NewHold {
        wallet: request.wallet,
        id: held.hold_id,
        amount: held.amount,
        lane,
        balance: held.balance,
        affordable_tokens: held.affordable_tokens,
        created_at: now,
        expires_at: held.expires_at,
        window_ids,
        window_amounts,
        key: request.key,
        fingerprint: request.key.map(|_| new.fingerprint),
        attribution: job.attribution,
        context: request.context(),
        priced_as: request.priced_as,
        event_at: request.event_at,
        usage: match &request.asked {
            Asked::Usage(_, object, _) => Some(*object),
            _ => None,
        },
        actor: request.actor,
        metadata: request.metadata.as_ref().map(|metadata| metadata.value),
        // A hold that waits has not been used, so it is released when it expires.
        charge_on_expiry: new.on_expiry == OnExpiry::Charge && approval.is_none(),
        approval,
        spender: request.passed.map(|passed| passed.spender),
        scoped_ids,
        scoped_amounts,
    })
}

/// The position and the number of output tokens in an estimate; `None` if it names none.
fn asked_tokens(request: &Request<'_>) -> Option<(usize, i64)> {
    let Asked::Usage(usage, ..) = &request.asked else {
        return None;
    };
    let output = usage
        .numbers
        .iter()
        .position(|(meter, _)| meter == "output_tokens")?;
    let asked = usage.numbers[output].1.as_ref().ok()?;
    Some((output, i64::try_from(asked.trunc()).unwrap_or(0)))
}

/// The number of output tokens that the amount pays for, with all other quantities as estimated.
fn affordable_tokens(
    request: &Request<'_>,
    rules: &WalletConfig,
    amount: Amount,
) -> Result<Option<i64>> {
    let (Asked::Usage(usage, ..), Some(model)) = (&request.asked, request.model.as_deref()) else {
        return Ok(None);
    };
    let Some((output, asked)) = asked_tokens(request) else {
        return Ok(None);
    };
    let at = request.event_at.unwrap_or(clock::now());
    let mut trial: Usage = Usage::clone(usage);
    let mut pays_for = |tokens: i64| -> Result<bool> {
        trial.numbers[output].1 = Ok(Decimal::from(tokens));
        let priced = rate_or(&trial, model, &rules.terms(at), &rules.unknown_price)?;
        Ok(priced.cost <= amount)
    };
    // More tokens never cost less, so a binary search finds the last affordable number.
    let (mut paid, mut beyond) = (0_i64, asked);
    if pays_for(beyond)? {
        return Ok(Some(beyond));
    }
    while paid + 1 < beyond {
        let middle = paid + (beyond - paid) / 2;
        if pays_for(middle)? {
            paid = middle;
        } else {
            beyond = middle;
        }
    }
    Ok(Some(paid))
}
