//! `charge`: price, limits, balance, ledger line and alert in one step.
//!
//! The happy path reads one lane, prices, writes the lane, takes from each limit's window and
//! appends the entry. Everything else is a way back: rules that changed meanwhile are read again,
//! a lane that another call changed is read again, a key that was used before puts back what this
//! call took, and a lane that cannot pay alone leads to the slow path.

use crate::allowance::all_lanes::AllLanes;
use crate::allowance::crossings;
use crate::allowance::lanes::{Found, LaneView, Payer, changed_underneath, range};
use crate::error::{Code, Error, Result};
use crate::idempotency::entry_by_key::by_key;
use crate::ledger::charges::job::Job;
use crate::ledger::charges::limit_take::Outcome;
use crate::ledger::charges::replay::Charged;
use crate::ledger::charges::request::Request;
use crate::ledger::charges::{decision, limit_take, replay, window_queue};
use crate::ledger::grants::pools::{self, Pools};
use crate::ledger::grants::{due, kept};
use crate::ledger::holds::expired::Expired;
use crate::ledger::wallets::config;
use crate::ledger::wallets::config::WalletConfig;
use crate::limits::limit::Applied;
use crate::limits::window::{self, Taken};
use crate::limits::{lane_windows, warning};
use crate::money::Amount;
use crate::pg::clock;
use crate::storage::rows::{BALANCE, Call, Entry, Lane, Link, Part};
use crate::storage::store;
use crate::storage::wallet_row::lock_wallet;

/// Races that a call may lose before it gives up: each one lost is one that another call won.
const MAX_TRIES: usize = 50;

/// What became of an attempt to book.
enum Attempt {
    Booked(Charged),
    KeyTaken,
    Again,
    /// A limit that is spread over the lanes needs a look at all of them.
    All,
}

/// Why nothing was booked.
enum Stopped {
    /// Nothing was written: a first answer to the key does as well.
    Refused(Error),
    /// Something was, which only the error undoes when it is raised.
    Broken(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Stopped {
        Stopped::Refused(error)
    }
}

/// Charges, or replays.
pub fn charge(request: &Request<'_>) -> Result<Charged> {
    // What is read first is written later: opened once.
    store::begin_writing();
    let (mut rules, lane) = config::known_with_lane(request.wallet)?;
    match book(request, &mut rules, lane) {
        Ok(Some(charged)) => Ok(charged),
        Ok(None) => replay::charge(request, &rules.currency)?
            .ok_or_else(|| changed_underneath(request.wallet)),
        // Whatever refuses the request now, a first one may have gone through before.
        Err(Stopped::Refused(refused)) => match replay::charge(request, &rules.currency)? {
            Some(charged) => Ok(charged),
            None => Err(refused),
        },
        Err(Stopped::Broken(error)) => Err(error),
    }
}

/// Books the charge; nothing when its key is taken. The lane is the one that was read with the rules.
fn book(
    request: &Request<'_>,
    rules: &mut std::rc::Rc<WalletConfig>,
    mut lane: Option<Lane>,
) -> std::result::Result<Option<Charged>, Stopped> {
    for attempt in 0..MAX_TRIES {
        if rules.grants_are_due() {
            // What is refused once all that is due is booked is refused before it is.
            if let Some(rules) = due::lock(request.wallet)? {
                let job = Job::new(request, &rules)?;
                if let Some(refusal) = decision::refusal(&job)? {
                    return Err(refusal.into());
                }
            }
            due::sweep(request.wallet).map_err(Stopped::Broken)?;
            lane = None;
            *rules = config::read(request.wallet)?;
        }
        let job = match Job::new(request, rules) {
            Ok(job) => job,
            Err(refused) => {
                // What refuses may have changed since the rules were read, or while.
                let fresh = config::read(request.wallet)?;
                if fresh.epoch == rules.epoch && refused.code != Code::SerializationFailure {
                    return Err(refused.into());
                }
                *rules = fresh;
                continue;
            }
        };
        if rules.scoped {
            // Before the lanes: the last of that money is noted there.
            lock_wallet(request.wallet)?;
        }
        let read = lane.take();
        let mut outcome = if rules.needs_recheck() || rules.scoped {
            job.pay_from_all()?
        } else {
            let cutting = LaneView {
                read: read.as_ref(),
                ..rules.cutting(request.wallet)
            };
            let found = window_queue::find(cutting, job.cost, &job.applied, attempt > 0);
            match found.map_err(Stopped::Broken)? {
                Found::Payer(payer) => job.pay_from(payer)?,
                Found::None => job.pay_from_all()?,
                Found::Stale => Attempt::Again,
            }
        };
        if matches!(outcome, Attempt::All) {
            outcome = job.pay_from_all()?;
        }
        match outcome {
            Attempt::Booked(charged) => return Ok(Some(charged)),
            Attempt::KeyTaken => return Ok(None),
            Attempt::Again | Attempt::All => *rules = config::read(request.wallet)?,
        }
    }
    Err(changed_underneath(request.wallet).into())
}

impl Job<'_> {
    /// One lane pays alone: lane, then limits, then entry.
    fn pay_from(&self, payer: Payer) -> std::result::Result<Attempt, Stopped> {
        let wallet = self.request.wallet;
        let number = payer.lane.lane;
        // Where room was moved to the lane, those that gave it are written.
        let stopped = match payer.combined {
            false => Stopped::Refused,
            true => Stopped::Broken,
        };
        let places = lane_windows::places(wallet, &self.applied, number, self.rules.lanes);
        let Some(places) = places.map_err(stopped)? else {
            payer.let_go(wallet).map_err(Stopped::Broken)?;
            return Ok(Attempt::All);
        };
        let Payer {
            lane,
            others,
            combined,
        } = payer;
        let entry = self.entry();
        let balance = lane
            .credited()
            .plus(others)
            .and_then(|sum| sum.minus(self.cost))
            .and_then(|sum| sum.minus(self.rules.credit_limit))
            .map_err(|error| stopped(range(error)))?;
        let (after, link) = self.chain(&entry, &lane, balance).map_err(stopped)?;
        if !store::write_lane(wallet, &after).map_err(stopped)? {
            return match combined {
                false => Ok(Attempt::Again),
                true => Err(Stopped::Broken(changed_underneath(wallet))),
            };
        }
        self.book_behind(lane, &places, &entry, &link, balance)
            .map_err(Stopped::Broken)
    }

    /// The rest of it, once the lane is written; puts the lane back where the key turns out to be taken.
    fn book_behind(
        &self,
        lane: Lane,
        places: &[i16],
        entry: &Entry<'_>,
        link: &Link,
        balance: Amount,
    ) -> Result<Attempt> {
        let wallet = self.request.wallet;
        let known = || Ok(by_key(wallet, self.request.key, Call::Charge)?.is_some());
        let taken = match limit_take::take(wallet, &self.applied, Part::Spent, places, known)? {
            Outcome::Taken(warnings) => {
                if store::append(entry, link, self.rules.archived)? {
                    self.note(entry)?;
                    warning::announce(wallet, &warnings)?;
                    return Ok(Attempt::Booked(self.charged(entry.entry_id, balance)));
                }
                &self.applied[..]
            }
            Outcome::Known(taken) => &self.applied[..taken],
        };
        put_back(wallet, lane, taken, Part::Spent, places)?;
        Ok(Attempt::KeyTaken)
    }

    /// All lanes are locked: the exact total decides.
    fn pay_from_all(&self) -> Result<Attempt> {
        let wallet = self.request.wallet;
        // Nobody can change a rule while we hold the lanes, nor book with our key.
        let (rules, lanes) = config::read_with_lanes(wallet)?;
        if by_key(wallet, self.request.key, Call::Charge)?.is_some() {
            return Ok(Attempt::KeyTaken);
        }
        let job = Job::new(self.request, &rules)?;
        let credit = rules.credit_limit;
        let mut whole = AllLanes::new(wallet, lanes, credit)?;
        let before = whole.room()?;
        let kept = kept::of(wallet, &rules)?;
        let mut pools = Pools::read(wallet, &rules)?;
        let mut expired = Expired::but(wallet, clock::now(), None, rules.keeps.then_some(&kept))?;
        if !expired.are_none() {
            // What is refused with all that they have is refused before any is given back.
            let held = expired.of(BALANCE)?;
            let mut pools = pools.freed(&mut expired)?;
            job.require_cover(&whole, held, &mut pools)?;
            if let Some(refusal) = expired.refusal(&job.applied)? {
                return Err(refusal);
            }
        }
        if rules.scoped {
            expired.sweep_all(&mut whole)?;
            pools = Pools::read(wallet, &rules)?;
        }
        expired.make_way(&mut whole, job.cost, credit)?;
        job.require_cover(&whole, Amount::ZERO, &mut pools)?;
        lane_windows::gather(wallet, &job.applied)?;
        expired.make_way_in(&mut whole, &job.applied)?;
        let (room, purpose) = (whole.room()?, job.purpose());
        let warnings = match window::take(wallet, &job.applied, Part::Spent, &[])? {
            Taken::All(warnings) => warnings,
            Taken::Refused { error, .. } => return Err(error),
        };
        let entry = job.entry();
        let balance = whole.balance(credit)?.minus(job.cost).map_err(range)?;
        let general = kept::without(whole.general(credit)?, &kept)?;
        let parts = pools.split(purpose, clock::now(), job.cost, general, room)?;
        let payer = whole.booking_lane(rules.lanes)?;
        let (mut after, link) = job.chain(&entry, payer, balance)?;
        if let Some(scoped) = pools::sum_of(&parts)? {
            after.spent = after.spent.minus(scoped).map_err(range)?;
        }
        *payer = after;
        pools.spend(&mut whole, &parts, entry.entry_id, rules.epoch)?;
        let mut cut = rules.cut();
        if self.rules.scoped
            && let Some(epoch) = pools.end(&whole)?
        {
            cut.epoch = epoch;
        }
        // The paying lane may be overdrawn for a moment: the re-cut makes up for it.
        let crossings = whole.settle(before, cut)?;
        whole.write()?;
        if !store::append(&entry, &link, rules.archived)? {
            return Err(changed_underneath(wallet));
        }
        job.note(&entry)?;
        crossings::emit(wallet, &crossings)?;
        warning::announce(wallet, &warnings)?;
        lane_windows::spread(wallet, &job.applied, rules.lanes)?;
        Ok(Attempt::Booked(job.charged(entry.entry_id, balance)))
    }
}

/// Puts a lane back to what it was before this call wrote it once, and gives back what was taken from
/// the windows of limits.
pub fn put_back(
    wallet: &str,
    lane: Lane,
    taken: &[Applied<'_>],
    part: Part,
    places: &[i16],
) -> Result<()> {
    let before = Lane {
        version: lane.version + 1,
        place: None,
        ..lane
    };
    if !store::write_lane(wallet, &before)? {
        return Err(changed_underneath(wallet));
    }
    window::give_back(wallet, taken, part, places)
}
