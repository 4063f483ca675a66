//! `charge`: price, limits, balance, ledger entry and alert in one step.
//!
//! The usual path reads one lane, prices the usage, writes the lane, takes from the window of each
//! limit and appends the entry. All other paths recover. If the rules or the lane changed
//! meanwhile, they are read again. If the key was used before, the call returns the amounts it
//! took. If the lane cannot pay alone, the slow path locks all lanes.

use crate::allowance::all_lanes::AllLanes;
use crate::allowance::crossings;
use crate::allowance::lanes::{Found, LaneView, Payer, changed_underneath, range};
use crate::error::{Code, Error, Result};
use crate::idempotency::entry_by_key::by_key;
use crate::ledger::charges::job::Job;
use crate::ledger::charges::limit_take::Outcome;
use crate::ledger::charges::passed::Passed;
use crate::ledger::charges::replay::Charged;
use crate::ledger::charges::request::Request;
use crate::ledger::charges::{decision, limit_take, replay, window_queue};
use crate::ledger::grants::pools::{self, Pools};
use crate::ledger::grants::{due, kept};
use crate::ledger::holds::expired::Expired;
use crate::ledger::wallets::config;
use crate::ledger::wallets::config::WalletConfig;
use crate::limits::lane_windows;
use crate::limits::limit::Applied;
use crate::limits::window::{self, Taken};
use crate::money::Amount;
use crate::pg::clock;
use crate::storage::rows::{BALANCE, Call, Entry, Lane, Link, Part};
use crate::storage::store;
use crate::storage::wallet_row::lock_wallet;

/// Races that a call may lose before it fails. Each lost race means that another call succeeded.
const MAX_TRIES: usize = 50;

/// The outcome of one attempt to book.
enum Attempt {
    Booked(Charged),
    KeyTaken,
    Again,
    /// A spread limit needs all lanes.
    All,
}

/// The reason why nothing was booked.
enum Stopped {
    /// Nothing was written, so the first result of the key can be returned instead.
    Refused(Error),
    /// Something was written. Only raising the error undoes it.
    Broken(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Stopped {
        Stopped::Refused(error)
    }
}

/// Charges a request, or returns the first result of its key.
pub fn charge(request: &Request<'_>) -> Result<Charged> {
    // The tables that are read here are written later, so they are opened only once.
    store::begin_writing();
    let (mut rules, lane) = config::known_with_lane(request.wallet)?;
    match book(request, &mut rules, lane) {
        Ok(Some(charged)) => Ok(charged),
        Ok(None) => replay::charge(request, &rules.currency)?
            .ok_or_else(|| changed_underneath(request.wallet)),
        // An earlier attempt may have succeeded, whatever refuses the request now.
        Err(Stopped::Refused(refused)) => match replay::charge(request, &rules.currency)? {
            Some(charged) => Ok(charged),
            None => Err(refused),
        },
        Err(Stopped::Broken(error)) => Err(error),
    }
}

/// Books the charge. `None` if its key is taken. `lane` was read together with the rules.
fn book(
    request: &Request<'_>,
    rules: &mut std::rc::Rc<WalletConfig>,
    mut lane: Option<Lane>,
) -> std::result::Result<Option<Charged>, Stopped> {
    for attempt in 0..MAX_TRIES {
        // A try that lost a race has locked the only lane until the end of the transaction.
        let keeps_lane = attempt > 0 && rules.lanes == 1;
        if rules.is_due() && (!keeps_lane || due::can_begin(request.wallet, rules)?) {
            // A request that would be refused after booking everything due is refused before
            // booking it.
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
                // The setting that causes the refusal may have changed since or while the rules
                // were read.
                let fresh = config::read(request.wallet)?;
                if fresh.epoch == rules.epoch && refused.code != Code::SerializationFailure {
                    return Err(refused.into());
                }
                *rules = fresh;
                continue;
            }
        };
        if rules.scoped {
            // The wallet's row is locked before the lanes, because the end of a scoped grant is
            // written to it.
            lock_wallet(request.wallet)?;
        }
        let read = lane.take();
        let mut outcome = if rules.needs_recheck() || rules.scoped {
            job.pay_from_all()?
        } else {
            let view = LaneView {
                read: read.as_ref(),
                ..rules.lane_view(request.wallet)
            };
            let found = window_queue::find(view, job.taken(), &job.applied, attempt > 0);
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
    /// Pays from one lane: writes the lane, then the limits, then the entry.
    fn pay_from(&self, payer: Payer) -> std::result::Result<Attempt, Stopped> {
        let wallet = self.request.wallet;
        let number = payer.lane.lane;
        // If money was moved to the lane, the lanes that it came from are already written.
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
        let entry = self.entry().map_err(stopped)?;
        let balance = lane
            .credited()
            .plus(others)
            .and_then(|sum| sum.minus(self.taken()))
            .and_then(|sum| sum.minus(self.rules.credit_limit))
            .map_err(|error| stopped(range(error)))?;
        let pool = self.pool();
        let contra = pool.as_ref().map(|(_, contra)| contra.as_str());
        let chained = self.chain_use(&entry, contra, &lane, balance);
        let (after, link, draw) = chained.map_err(stopped)?;
        if !store::write_lane(wallet, &after).map_err(stopped)? {
            return match combined {
                false => Ok(Attempt::Again),
                true => Err(Stopped::Broken(changed_underneath(wallet))),
            };
        }
        let booked = self.book_behind(lane, &places, (&entry, &link), draw, balance);
        booked.map_err(Stopped::Broken)
    }

    /// Takes from the limits and appends the entry, once the lane is written. Restores the lane if
    /// the key turns out to be taken.
    fn book_behind(
        &self,
        lane: Lane,
        places: &[i16],
        (entry, link): (&Entry<'_>, &Link),
        draw: Option<(Entry<'_>, Link)>,
        balance: Amount,
    ) -> Result<Attempt> {
        let wallet = self.request.wallet;
        let known = || Ok(by_key(wallet, self.request.key, Call::Charge)?.is_some());
        let taken = match limit_take::take(self, Part::Spent, places, known)? {
            Outcome::Taken(warnings) => {
                if store::append(entry, link, self.rules.archived)? {
                    self.note(entry)?;
                    self.announce(&warnings)?;
                    self.draw(entry, draw)?;
                    return Ok(Attempt::Booked(self.charged(entry.entry_id, balance)));
                }
                &self.applied[..]
            }
            Outcome::Known(taken) => &self.applied[..taken],
        };
        put_back(wallet, lane, taken, Part::Spent, places)?;
        Ok(Attempt::KeyTaken)
    }

    /// Writes the entry that draws the money of a use, and takes the money from the parent.
    fn draw(&self, entry: &Entry<'_>, draw: Option<(Entry<'_>, Link)>) -> Result<()> {
        let (Some((draw, link)), Some((parent, _))) = (draw, self.pool()) else {
            return Ok(());
        };
        if !store::append(&draw, &link, false)? {
            return Err(changed_underneath(self.request.wallet));
        }
        let passed = Passed::of(self, entry);
        let paid = charge(&passed.request(self, parent));
        paid.map(drop).map_err(|error| error.of_payer(parent))
    }

    /// Pays with all lanes locked: the exact total decides.
    fn pay_from_all(&self) -> std::result::Result<Attempt, Stopped> {
        let wallet = self.request.wallet;
        // While the lanes are locked, no other call can change a rule or book with this key.
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
            // A request that all expired holds together could not cover is refused before any is
            // released.
            let held = expired.of(BALANCE)?;
            let mut pools = pools.freed(&mut expired)?;
            job.require_cover(&whole, held, &mut pools)?;
            if let Some(refusal) = expired.refusal(&job.applied)? {
                return Err(refusal.into());
            }
        }
        if rules.scoped {
            expired.sweep_all(&mut whole)?;
            pools = Pools::read(wallet, &rules)?;
        }
        expired.make_way(&mut whole, job.taken(), credit)?;
        job.require_cover(&whole, Amount::ZERO, &mut pools)?;
        job.require_request_fits()?;
        lane_windows::gather(wallet, &job.applied)?;
        expired.make_way_in(&mut whole, &job.applied)?;
        let (room, context) = (whole.room()?, job.context());
        let warnings = match window::take(wallet, &job.applied, Part::Spent, &[])? {
            Taken::All(warnings) => warnings,
            Taken::Refused { error, .. } => return Err(error.into()),
        };
        let entry = job.entry()?;
        let balance = whole.balance(credit)?.minus(job.taken()).map_err(range)?;
        let general = kept::without(whole.general(credit)?, &kept)?;
        let parts = pools.split(context, clock::now(), job.taken(), general, room)?;
        let payer = whole.booking_lane(rules.lanes)?;
        let pool = job.pool();
        let contra = pool.as_ref().map(|(_, contra)| contra.as_str());
        let (mut after, link, draw) = job.chain_use(&entry, contra, payer, balance)?;
        if let Some(scoped) = pools::sum_of(&parts)? {
            after.spent = after.spent.minus(scoped).map_err(range)?;
        }
        *payer = after;
        pools.spend(&mut whole, &parts, entry.entry_id, rules.epoch)?;
        let mut cut = rules.lane_split();
        if self.rules.scoped
            && let Some(epoch) = pools.end(&whole)?
        {
            cut.epoch = epoch;
        }
        // The paying lane may be overdrawn for a moment. The rebalance below corrects it.
        let crossings = whole.settle(before, cut)?;
        whole.write()?;
        if !store::append(&entry, &link, rules.archived)? {
            return Err(changed_underneath(wallet).into());
        }
        job.note(&entry)?;
        crossings::emit(wallet, &crossings)?;
        job.announce(&warnings)?;
        lane_windows::spread(wallet, &job.applied, rules.lanes)?;
        job.draw(&entry, draw).map_err(Stopped::Broken)?;
        Ok(Attempt::Booked(job.charged(entry.entry_id, balance)))
    }
}

/// Restores a lane that this call has written once, and releases the amounts taken from the windows
/// of limits.
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
