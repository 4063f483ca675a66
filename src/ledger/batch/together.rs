//! A run of charges on one wallet, booked at once.
//!
//! Everything that a single charge reads is read once for the run: the rules, the keys, one lane
//! that can pay for all, and each limit's window, from which the sum is taken. If anything prevents
//! the booking, no write remains, and the caller divides the run.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use crate::access::rights::{Level, enter};
use crate::allowance::lanes::{self, Found, Payer, changed_underneath, range};
use crate::error::{Error, Result};
use crate::ledger::batch::Booked;
use crate::ledger::charges::charge::put_back;
use crate::ledger::charges::job::Job;
use crate::ledger::charges::request::Request;
use crate::ledger::wallets::config;
use crate::ledger::wallets::config::WalletConfig;
use crate::limits::limit::Applied;
use crate::limits::window::{self, Taken};
use crate::limits::{lane_windows, warning};
use crate::money::Amount;
use crate::pg::subtransaction::attempt;
use crate::storage::rows::{AllowanceId, Call, Entry, Lane, Link, Part};
use crate::storage::store;

/// The outcome of a run.
pub enum Outcome {
    /// All charges are booked.
    Booked(Vec<Booked>),
    /// No charge is booked. The requests at these indexes must be booked alone.
    Apart(Vec<usize>),
    /// No charge is booked: the run needs too much at once, or something must be done first.
    Refused,
}

/// How a run begins.
enum Start {
    /// With one lane and no limits, everything is checked before the first write, and the lane can
    /// be restored.
    Ended(Result<Outcome>),
    /// With several lanes or limits, the run may fail after a write.
    Undoable(Rc<WalletConfig>),
}

/// Books the requests, all of which are of one wallet.
pub fn book(requests: &[&Request<'_>]) -> Result<Outcome> {
    let Some(first) = requests.first() else {
        return Ok(Outcome::Booked(Vec::new()));
    };
    let wallet = first.wallet;
    let start = enter(Level::Charger, wallet, |_| {
        let rules = config::known(wallet)?;
        Ok(match rules.lanes == 1 && rules.limits.is_empty() {
            true => Start::Ended(book_in_place(requests, &rules)),
            false => Start::Undoable(rules),
        })
    });
    let rules = match start {
        Ok(Start::Undoable(rules)) => rules,
        Ok(Start::Ended(outcome)) => return outcome,
        // Each request gets the error when it is booked alone.
        Err(_) => return Ok(Outcome::Apart((0..requests.len()).collect())),
    };
    let work = || {
        enter(Level::Charger, wallet, |_| {
            book_at_once(requests, &rules, requests.len())?
                .ok_or_else(|| Error::internal("a key was used while its lane was locked"))
        })
    };
    let outcome = attempt(std::panic::AssertUnwindSafe(work), |outcome| {
        matches!(outcome, Outcome::Booked(_))
    });
    Ok(match outcome {
        Ok(Ok(outcome)) => outcome,
        // The reason shows when each request is booked alone.
        Ok(Err(_)) | Err(_) => Outcome::Refused,
    })
}

/// Books the requests on a single lane without limits.
fn book_in_place(requests: &[&Request<'_>], rules: &WalletConfig) -> Result<Outcome> {
    // If a batch is sent again, its first key is taken.
    let look_up = match store::appends_directly() {
        true => 1,
        false => requests.len(),
    };
    if let Some(outcome) = book_at_once(requests, rules, look_up)? {
        return Ok(outcome);
    }
    book_at_once(requests, rules, requests.len())?
        .ok_or_else(|| changed_underneath(requests[0].wallet))
}

/// The jobs of the requests. If some cannot be booked with the others, or their keys are among
/// those `seen`, returns their places.
fn jobs<'a>(
    requests: &[&'a Request<'a>],
    rules: &'a WalletConfig,
    mut seen: HashSet<&'a str>,
) -> std::result::Result<Vec<Job<'a>>, Vec<usize>> {
    let mut jobs = Vec::with_capacity(requests.len());
    let mut apart = Vec::new();
    for (place, request) in requests.iter().enumerate() {
        let is_new = request.key.is_none_or(|key| seen.insert(key));
        match is_new.then(|| Job::new(request, rules)) {
            Some(Ok(job)) if job.require_request_fits().is_ok() => jobs.push(job),
            _ => apart.push(place),
        }
    }
    match apart.is_empty() {
        true => Ok(jobs),
        false => Err(apart),
    }
}

/// The entries of the jobs in the order of the lane's chain, and the lane after them.
fn chained<'a>(
    jobs: &'a [Job<'_>],
    payer: &Payer,
    rules: &WalletConfig,
) -> Result<(Lane, Vec<(Entry<'a>, Link)>)> {
    let mut lane = payer.lane.clone();
    let mut entries = Vec::with_capacity(jobs.len());
    for job in jobs {
        let entry = job.entry()?;
        let balance = lane
            .credited()
            .plus(payer.others)
            .and_then(|sum| sum.minus(job.cost))
            .and_then(|sum| sum.minus(rules.credit_limit))
            .map_err(range)?;
        let (after, link) = job.chain(&entry, &lane, balance)?;
        lane = after;
        entries.push((entry, link));
    }
    Ok((lane, entries))
}

/// Books all requests. The keys of the first `look_up` requests are looked up before. `None` if
/// another key turns out to be taken. In that case nothing is changed if the lane is the only one
/// and there are no limits.
fn book_at_once(
    requests: &[&Request<'_>],
    rules: &WalletConfig,
    look_up: usize,
) -> Result<Option<Outcome>> {
    let wallet = requests[0].wallet;
    if rules.scoped || rules.pool.is_some() {
        return Ok(Some(Outcome::Apart((0..requests.len()).collect())));
    }
    if rules.is_due() || rules.needs_recheck() {
        return Ok(Some(Outcome::Refused));
    }
    let single = rules.lanes == 1;
    // The lane is read before the keys are looked up. If the lane is unchanged when it is written,
    // no other call has used a key since.
    let before = single
        .then(|| store::read_lane(wallet, 0))
        .transpose()?
        .flatten();
    let seen = taken_keys(&requests[..look_up], rules)?;
    if !seen.is_empty() && look_up < requests.len() {
        return Ok(None);
    }
    let jobs = match jobs(requests, rules, seen) {
        Ok(jobs) => jobs,
        Err(apart) => return Ok(Some(Outcome::Apart(apart))),
    };
    let sum = |sum: Amount, job: &Job<'_>| sum.plus(job.cost);
    let cost = jobs.iter().try_fold(Amount::ZERO, sum).map_err(range)?;
    let payer = match lanes::find(rules.lane_view(wallet), cost, false, true)? {
        Found::Payer(payer) => payer,
        Found::None => return Ok(Some(Outcome::Refused)),
        Found::Stale => {
            // This caches the current rules for the next try, in which the run is divided.
            config::read(wallet)?;
            return Ok(Some(Outcome::Refused));
        }
    };
    if single && before.is_none_or(|before| before.version != payer.lane.version) {
        return Ok(Some(Outcome::Refused));
    }
    let (lane, entries) = chained(&jobs, &payer, rules)?;
    let wanted = wanted(&jobs)?;
    let Some(places) = lane_windows::places(wallet, &wanted, lane.lane, rules.lanes)? else {
        return Ok(Some(Outcome::Refused));
    };
    if !store::write_lane(wallet, &lane)? {
        return Ok(Some(Outcome::Refused));
    }
    let Taken::All(warnings) = window::take(wallet, &wanted, Part::Spent, &places)? else {
        return Ok(Some(Outcome::Refused));
    };
    if !store::append_all(&entries, single, rules.archived)? {
        if single {
            put_back(wallet, payer.lane, &[], Part::Spent, &[])?;
        }
        return Ok(None);
    }
    warning::announce(wallet, &warnings)?;
    for (job, (entry, _)) in jobs.iter().zip(&entries) {
        job.note(entry)?;
        job.announce(&[])?;
    }
    let booked = jobs.iter().zip(&entries).map(|(job, (entry, _))| Booked {
        entry_id: entry.entry_id,
        cost: job.cost,
        replayed: false,
    });
    Ok(Some(Outcome::Booked(booked.collect())))
}

/// The keys of the requests that already have an entry.
fn taken_keys<'a>(requests: &[&'a Request<'_>], rules: &WalletConfig) -> Result<HashSet<&'a str>> {
    let keys: Vec<&'a str> = requests.iter().filter_map(|request| request.key).collect();
    let taken = store::taken_keys(requests[0].wallet, &keys, Call::Charge, rules.archived)?;
    Ok(taken.into_iter().map(|place| keys[place]).collect())
}

/// The sum that all jobs take from each window, in the order of the windows' ids.
fn wanted<'a>(jobs: &'a [Job<'a>]) -> Result<Vec<Applied<'a>>> {
    let mut windows: BTreeMap<AllowanceId, Applied<'a>> = BTreeMap::new();
    for applied in jobs.iter().flat_map(|job| &job.applied) {
        match windows.get_mut(&applied.window_id) {
            Some(window) => window.need = window.need.plus(applied.need).map_err(range)?,
            None => {
                windows.insert(applied.window_id, applied.clone());
            }
        }
    }
    Ok(windows.into_values().collect())
}
