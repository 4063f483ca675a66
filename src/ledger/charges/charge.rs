//! `charge`: price, limits, balance, ledger line and alert in one step.
//!
//! The happy path reads one lane, prices, writes the lane, takes from each limit's window and
//! appends the entry. Everything else is a way back: rules that changed meanwhile are read again,
//! a lane that another call changed is read again, a key that was used before puts back what this
//! call took, and a lane that cannot pay alone leads to the slow path.

use crate::access::spending_policy::Who;
use crate::allowance::all_lanes::AllLanes;
use crate::allowance::crossings;
use crate::allowance::lanes::{Found, LaneView, Payer, changed_underneath, range};
use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::entry_by_key::by_key;
use crate::ledger::charges::limit_take::Outcome;
use crate::ledger::charges::replay::Charged;
use crate::ledger::charges::request::{Asked, Request};
use crate::ledger::charges::{decision, limit_take, replay, unpriced, unread_usage, window_queue};
use crate::ledger::grants::pools::{self, Pools};
use crate::ledger::grants::scope::Purpose;
use crate::ledger::grants::{due, kept};
use crate::ledger::holds::expired::Expired;
use crate::ledger::wallets::config;
use crate::ledger::wallets::config::WalletConfig;
use crate::limits::limit::{Applied, Spending, applicable};
use crate::limits::metric::Measured;
use crate::limits::window::{self, Taken};
use crate::limits::{lane_windows, warning};
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Json;
use crate::pricing::lines::{Line, encode};
use crate::pricing::markup::is_markup_meter;
use crate::pricing::rate::{Priced, PricedBy};
use crate::pricing::reported::rate_beside;
use crate::pricing::unknown::rate_or;
use crate::pricing::unread::require_read;
use crate::pricing::usage::Usage;
use crate::storage::rows::{BALANCE, Call, Document, Entry, Kind, Lane, Link, Part, link};
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

/// A request under one state of the rules.
pub struct Job<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) rules: &'a WalletConfig,
    /// To whom it is attributed.
    pub who: Who<'a>,
    /// What it costs.
    pub cost: Amount,
    /// The usage, priced.
    pub priced: Option<Priced>,
    lines: Option<Vec<u8>>,
    /// The limits that apply.
    pub applied: Vec<Applied<'a>>,
    /// What is booked at most, whatever the use costs.
    pub most: Option<Amount>,
}

impl<'a> Job<'a> {
    /// A request that would be booked now.
    pub fn new(request: &'a Request<'a>, rules: &'a WalletConfig) -> Result<Job<'a>> {
        rules.require_active(request.wallet)?;
        let who = rules.admit(request)?;
        Job::of(request, rules, who, clock::now())
    }

    /// The same without asking who may spend, for the windows of a moment: what was let in before
    /// goes on.
    pub fn at(
        request: &'a Request<'a>,
        rules: &'a WalletConfig,
        now: Timestamp,
    ) -> Result<Job<'a>> {
        Job::of(request, rules, request.given(), now)
    }

    /// The same for somebody whom the rules let in.
    pub fn of(
        request: &'a Request<'a>,
        rules: &'a WalletConfig,
        who: Who<'a>,
        now: Timestamp,
    ) -> Result<Job<'a>> {
        let priced = match &request.asked {
            Asked::Amount(_) => None,
            Asked::Late(priced, _) => Some(Priced::clone(priced)),
            Asked::Usage(usage, _, _) => {
                let model = usage.model.as_deref().ok_or_else(no_model)?;
                let terms = rules.terms(request.event_at.unwrap_or(now));
                let priced = match request.reported {
                    None => rate_or(usage, model, &terms, &rules.unknown_price)?,
                    Some(cost) => rate_beside(cost, usage, model, &terms)?,
                };
                if rules.rejects_unread {
                    require_read(usage, &priced, model)?;
                }
                Some(priced)
            }
        };
        let cost = match (&request.asked, &priced) {
            (Asked::Amount(amount), _) => *amount,
            (_, Some(priced)) => priced.cost,
            (_, None) => Amount::ZERO,
        };
        let lines = priced.as_ref().map(|priced| encode(&priced.lines));
        let applied = applicable(
            &rules.limits,
            &spending(request, who, priced.as_ref(), cost),
            now,
        )?;
        Ok(Job {
            request,
            rules,
            who,
            cost,
            priced,
            lines,
            applied,
            most: None,
        })
    }

    /// Whether so much that may be spent is enough.
    pub fn is_covered(&self, room: Amount) -> bool {
        self.cost <= room
    }

    /// What the money is for.
    pub fn purpose(&self) -> Purpose<'_> {
        let priced = self.priced.as_ref();
        Purpose {
            provider: priced.and_then(|priced| priced.provider.as_deref()),
            model: self.request.model.as_deref(),
            service: self
                .request
                .service
                .or(priced.and_then(|priced| priced.service.as_deref())),
        }
    }

    /// Books no more than that, whatever the use costs or will cost when it has a price; the lines keep what it costs.
    pub fn cap(&mut self, amount: Amount) {
        self.most = Some(amount);
        if self.cost <= amount {
            return;
        }
        self.cost = amount;
        for applied in &mut self.applied {
            if applied.limit.metric == crate::limits::metric::Metric::Amount {
                applied.need = amount;
            }
        }
    }

    /// The entry that books it.
    pub fn entry(&self) -> Entry<'_> {
        let call = match self.request.asked {
            Asked::Late(..) => Call::Price,
            _ => Call::Charge,
        };
        self.entry_as(call, || self.request.fingerprint())
    }

    /// The same of a call of another name, which has a fingerprint of its own.
    pub fn entry_as(&self, call: Call, fingerprint: impl Fn() -> [u8; 16]) -> Entry<'_> {
        let request = self.request;
        let priced = self.priced.as_ref();
        let usage = match &request.asked {
            Asked::Usage(usage, object, _)
                if !says_it_all(usage, priced.map_or(&[], |p| &p.lines)) =>
            {
                Some(Document {
                    value: *object,
                    text: object.to_text(),
                })
            }
            _ => None,
        };
        Entry {
            entry_id: uuid::Uuid::now_v7().into_bytes(),
            created_at: clock::now(),
            event_at: request.event_at,
            wallet: request.wallet,
            kind: Kind::Charge,
            call,
            amount: self.cost.negated(),
            key: request.key,
            fingerprint: request.key.map(|_| fingerprint()),
            related_id: match request.asked {
                Asked::Late(_, charge) => Some(charge),
                _ => None,
            },
            user_id: self.who.user_id,
            team: self.who.team,
            key_id: self.who.key_id,
            provider: priced.and_then(|priced| priced.provider.as_deref()),
            model: request.model.as_deref(),
            service: request
                .service
                .or(priced.and_then(|priced| priced.service.as_deref())),
            region: request.region.as_deref(),
            service_tier: request.service_tier.as_deref(),
            lines: self.lines.as_deref(),
            usage,
            tags: request.tags.clone(),
            contra: None,
            reference: None,
            reason: priced.and_then(|priced| priced.mark.reason()),
            actor: request.actor,
            metadata: request.metadata.clone(),
        }
    }

    /// What the call returns.
    pub fn charged(&self, entry_id: [u8; 16], balance: Amount) -> Charged {
        Charged {
            entry_id,
            cost: self.cost,
            currency: self.rules.currency.to_string(),
            balance,
            model: self.request.model.clone(),
            total_tokens: self.priced.as_ref().map(|priced| priced.total_tokens),
            lines: self.priced.as_ref().map(|priced| priced.lines.clone()),
            replayed: false,
        }
    }

    /// Remembers what somebody has to look at: that the charge waits for its price, and numbers of its usage that nothing
    /// has read.
    pub fn note(&self, entry: &Entry<'_>) -> Result<()> {
        let Some(priced) = &self.priced else {
            return Ok(());
        };
        if priced.mark == PricedBy::Unpriced {
            unpriced::list(entry.wallet, entry.entry_id, self.most)?;
        }
        match &self.request.asked {
            Asked::Usage(usage, ..) => unread_usage::note(entry, usage, priced),
            _ => Ok(()),
        }
    }

    /// Puts the entry behind the lane's last one; gives the lane after it and the link.
    pub fn chain(&self, entry: &Entry<'_>, lane: &Lane, balance: Amount) -> Result<(Lane, Link)> {
        let booked = lane.booked.minus(self.cost).map_err(range)?;
        let link = link(entry, lane, booked, balance);
        let after = Lane {
            spent: lane.spent.plus(self.cost).map_err(range)?,
            seq: link.seq,
            booked,
            hash: Some(link.hash),
            ..lane.clone()
        };
        Ok((after, link))
    }

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

    /// WL001 unless lanes and grants have enough. So much of what the lanes hold is not held any more.
    fn require_cover(
        &self,
        whole: &AllLanes<'_>,
        unheld: Amount,
        pools: &mut Pools<'_>,
    ) -> Result<()> {
        let (purpose, now) = (self.purpose(), clock::now());
        let room = whole.room()?.plus(unheld).map_err(range)?;
        let missing = self.cost.minus(room).map_err(range)?;
        let own = pools.available(purpose, now, missing)?;
        let total = room.plus(own).map_err(range)?;
        if self.is_covered(total) {
            return Ok(());
        }
        let balance = whole.balance(self.rules.credit_limit)?;
        Err(self.insufficient(balance, total, pools.beside(purpose, now)?)?)
    }

    /// WL001. `beside` is what there is for other use only.
    pub fn insufficient(&self, balance: Amount, room: Amount, beside: Amount) -> Result<Error> {
        let currency = &self.rules.currency;
        let missing = self.cost.minus(room).map_err(range)?;
        Ok(Error::new(
            Code::InsufficientFunds,
            format!("insufficient funds in wallet {}", quoted(self.request.wallet)),
        )
        .detail(format!(
            "The charge asks for {} {currency}; {}.",
            self.cost,
            what_there_is(self.rules, balance, room, beside)?,
        ))
        .hint(format!(
            "Add {missing} {currency} or more with fund(), or raise the credit_limit with update_wallet()."
        ))
        .rule("allowances", "allowance_not_overdrawn"))
    }
}

/// What can be spent, and why it is not all of the balance: `beside` is for other use only, and the rest is held.
pub fn what_there_is(
    rules: &WalletConfig,
    balance: Amount,
    room: Amount,
    beside: Amount,
) -> Result<String> {
    let (currency, credit) = (&rules.currency, rules.credit_limit);
    let held = balance
        .plus(credit)
        .and_then(|all| all.minus(room))
        .and_then(|rest| rest.minus(beside))
        .map_err(range)?;
    let mut text =
        format!("{room} {currency} can be spent: balance {balance}, credit limit {credit}");
    if held > Amount::ZERO {
        text.push_str(&format!(", {held} held"));
    }
    if !beside.is_zero() {
        text.push_str(&format!(", {beside} for other models or services only"));
    }
    Ok(text)
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

/// A request as limits look at it.
fn spending<'a>(
    request: &'a Request<'_>,
    who: Who<'a>,
    priced: Option<&'a Priced>,
    cost: Amount,
) -> Spending<'a> {
    let measured = match &request.asked {
        Asked::Amount(_) => Measured {
            cost,
            requests: 1,
            ..Measured::default()
        },
        Asked::Usage(usage, ..) => Measured {
            cost,
            requests: 1,
            tokens: priced.map_or(0, |priced| priced.total_tokens),
            meters: &usage.numbers,
        },
        // All but the cost was counted when the charge was booked.
        Asked::Late(..) => Measured {
            cost,
            ..Measured::default()
        },
    };
    Spending {
        user_id: who.user_id,
        team: who.team,
        model: request.model.as_deref(),
        service: request
            .service
            .or(priced.and_then(|priced| priced.service.as_deref())),
        key_id: who.key_id,
        tags: request.tags.as_ref().map(|tags| tags.value.into()),
        measured,
    }
}

/// WL007: which model?
pub fn no_model() -> Error {
    crate::pricing::usage::invalid("usage names no model")
        .detail("Neither the usage object nor the argument model says which model was used.")
        .hint("Add \"model\" to the usage object, or pass the argument model.")
}

/// True when model and lines say everything that the usage object says, so that it need not be
/// stored a second time.
fn says_it_all(usage: &Usage, lines: &[Line]) -> bool {
    let in_lines = |(key, value): &(String, Json)| {
        matches!(value, Json::Number(_)) && lines.iter().any(|line| line.meter == *key)
    };
    let used = lines.iter().filter(|line| !is_markup_meter(&line.meter));
    usage.object.iter().any(|(key, _)| key == "model")
        && usage.object.len() == used.count() + 1
        && usage
            .object
            .iter()
            .filter(|(key, _)| key != "model")
            .all(in_lines)
}
