//! A run of charges on one wallet, booked at once.
//!
//! All that a single charge looks at is looked at once: the rules, the keys, one lane that can pay
//! for all, and each limit's window, from which the sum is taken. Whatever stands against it leaves
//! nothing behind, and the caller divides the run.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use crate::access::rights::{Level, enter};
use crate::allowance::lanes::{self, Found, changed_underneath, range};
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
use crate::storage::rows::{AllowanceId, Call, Entry, Link, Part};
use crate::storage::store;

/// What became of a run.
pub enum Outcome {
    /// All are booked.
    Booked(Vec<Booked>),
    /// Nothing is: those, by their places, have to be looked at alone.
    Apart(Vec<usize>),
    /// Nothing is: all of them at once is too much, or there is more to be done first.
    Refused,
}

/// How a run begins.
enum Start {
    /// One lane without limits is looked at before anything is written, and can be put back.
    Ended(Result<Outcome>),
    /// Several lanes, or limits, may turn out not to do after something was written.
    Undoable(Rc<WalletConfig>),
}

/// Books the requests, which are of one wallet.
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
        // Each of them gets the error.
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
        // What stands against them shows when each is alone.
        Ok(Err(_)) | Err(_) => Outcome::Refused,
    })
}

/// Books them on a single lane without limits.
fn book_in_place(requests: &[&Request<'_>], rules: &WalletConfig) -> Result<Outcome> {
    // A batch that is sent again has its first key taken.
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

/// Books all of them. The keys of the first so many are looked up before; nothing when another one
/// turns out to be taken, and then nothing is changed where the lane is the only one and there are
/// no limits.
fn book_at_once(
    requests: &[&Request<'_>],
    rules: &WalletConfig,
    look_up: usize,
) -> Result<Option<Outcome>> {
    let wallet = requests[0].wallet;
    if rules.scoped {
        return Ok(Some(Outcome::Apart((0..requests.len()).collect())));
    }
    if rules.grants_are_due() || rules.needs_recheck() {
        return Ok(Some(Outcome::Refused));
    }
    let single = rules.lanes == 1;
    // Read before the keys are looked up: when the lane is written as it was then, nobody has used
    // a key since.
    let before = match single {
        true => store::read_lane(wallet, 0)?,
        false => None,
    };
    let mut jobs = Vec::with_capacity(requests.len());
    let mut apart = Vec::new();
    let mut seen = taken_keys(&requests[..look_up], rules)?;
    if !seen.is_empty() && look_up < requests.len() {
        return Ok(None);
    }
    for (place, request) in requests.iter().enumerate() {
        let is_new = request.key.is_none_or(|key| seen.insert(key));
        match is_new.then(|| Job::new(request, rules)) {
            Some(Ok(job)) => jobs.push(job),
            _ => apart.push(place),
        }
    }
    if !apart.is_empty() {
        return Ok(Some(Outcome::Apart(apart)));
    }
    let cost = jobs
        .iter()
        .try_fold(Amount::ZERO, |sum, job| sum.plus(job.cost))
        .map_err(range)?;
    let payer = match lanes::find(rules.cutting(wallet), cost, false, true)? {
        Found::Payer(payer) => payer,
        Found::None => return Ok(Some(Outcome::Refused)),
        Found::Stale => {
            // Known better from here on, and when the run is tried in halves.
            config::read(wallet)?;
            return Ok(Some(Outcome::Refused));
        }
    };
    if single && before.is_none_or(|before| before.version != payer.lane.version) {
        return Ok(Some(Outcome::Refused));
    }
    let mut lane = payer.lane.clone();
    let mut entries: Vec<(Entry<'_>, Link)> = Vec::with_capacity(jobs.len());
    for job in &jobs {
        let entry = job.entry();
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
    for (job, (entry, _)) in jobs.iter().zip(&entries) {
        job.note(entry)?;
    }
    warning::announce(wallet, &warnings)?;
    let booked = jobs.iter().zip(&entries).map(|(job, (entry, _))| Booked {
        entry_id: entry.entry_id,
        cost: job.cost,
        replayed: false,
    });
    Ok(Some(Outcome::Booked(booked.collect())))
}

/// Those of the requests' keys that have made an entry.
fn taken_keys<'a>(requests: &[&'a Request<'_>], rules: &WalletConfig) -> Result<HashSet<&'a str>> {
    let keys: Vec<&'a str> = requests.iter().filter_map(|request| request.key).collect();
    let taken = store::taken_keys(requests[0].wallet, &keys, Call::Charge, rules.archived)?;
    Ok(taken.into_iter().map(|place| keys[place]).collect())
}

/// What all jobs together take from each window, in the order of the windows' ids.
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
