//! `settle`: books the actual usage of a hold once, and releases the rest.

use crate::allowance::lane_split::{active, can_pay};
use crate::allowance::lanes::{self, changed_underneath, range};
use crate::attribution::UseContext;
use crate::error::Result;
use crate::idempotency::call::conflict;
use crate::idempotency::entry_by_key::by_key;
use crate::ledger::balance::locked::LockedBalance;
use crate::ledger::charges::job::Job;
use crate::ledger::charges::replay;
use crate::ledger::charges::replay::Charged;
use crate::ledger::charges::request::Request;
use crate::ledger::grants::course::Holding;
use crate::ledger::grants::debts;
use crate::ledger::grants::pools::{self, Pools};
use crate::ledger::holds::expiry::{expire, give_back_money, release_windows};
use crate::ledger::holds::row::{self, Hold};
use crate::ledger::holds::{MAX_TRIES, context, differs, expired};
use crate::ledger::wallets::config;
use crate::ledger::wallets::config::{Status, WalletConfig};
use crate::limits::warning;
use crate::limits::window::{self, Released};
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::storage::rows::{AllowanceId, Call, Entry, Lane, uuid_text};
use crate::storage::store;
use crate::storage::wallet_row::lock_wallet;

/// How to book usage that costs more than was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OveragePolicy {
    /// The excess is charged as usual, and may be refused.
    Charge,
    /// The charge is limited to the held amount.
    Cap,
    /// The part that the balance does not cover becomes a debt.
    Debt,
}

impl OveragePolicy {
    /// All of them.
    pub const ALL: &'static [OveragePolicy] = &[
        OveragePolicy::Charge,
        OveragePolicy::Cap,
        OveragePolicy::Debt,
    ];

    /// The policy's name in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            OveragePolicy::Charge => "charge",
            OveragePolicy::Cap => "cap",
            OveragePolicy::Debt => "debt",
        }
    }
}

/// The arguments of `settle`.
pub struct Settlement<'a> {
    /// The wallet.
    pub wallet: &'a str,
    /// Id of the hold.
    pub hold_id: [u8; 16],
    /// The actual usage, like the request of a charge. It inherits missing values from the hold.
    pub request: Request<'a>,
    /// False if more usage of the hold will follow.
    pub is_final: bool,
    /// How to book an excess over the held amount.
    pub over: OveragePolicy,
    /// Fingerprint of the call.
    pub fingerprint: [u8; 16],
}

/// Books the actual usage, or replays an earlier call.
pub fn settle(settlement: &Settlement<'_>) -> Result<Charged> {
    let wallet = settlement.wallet;
    if settlement.over == OveragePolicy::Debt {
        // A debt needs the wallet's row lock, which comes before holds and lanes.
        lock_wallet(wallet)?;
    } else if settlement.is_final
        && let Some(charged) = settle_in_lane(settlement)?
    {
        return Ok(charged);
    }
    let mut hold = row::lock(wallet, settlement.hold_id)?;
    let about = hold.about.clone();
    let known = config::known(wallet)?;
    let (request, _kept) = context::complete(&settlement.request, &about, &known.price_list)?;
    if let Some(charged) = replayed(settlement, &request)? {
        return Ok(charged);
    }
    if hold.status != "open" && hold.status != "expired" {
        return Err(row::not_open(&hold));
    }
    let mut books = LockedBalance::open_for(wallet, Some(hold.id))?;
    let rules = books.rules.clone();
    rules.require_open(wallet)?;
    if hold.status == "open" && hold.expires_at <= clock::now() {
        // An expired hold reserves nothing. The provider was used all the same, so the usage is
        // booked if the money is available.
        expire(wallet, &mut books.whole, &mut hold)?;
        books.lapse(hold.expires_at, None)?;
    }
    let mut job = Job::at(&request, &rules, hold.created_at)?;
    let held = hold.held;
    if settlement.over == OveragePolicy::Cap {
        job.cap(held);
    }
    if !settlement.is_final {
        // The request is counted once, by the final settlement.
        job.applied
            .retain(|applied| applied.limit.metric != crate::limits::metric::Metric::Requests);
    }
    let scoped = pools::sum_of(&hold.scoped)?.unwrap_or_default();
    let general_part = held.minus(scoped).map_err(range)?;
    books.ask(&job.applied)?;
    let (released, rest) = release(settlement, &mut books, &mut hold, &job)?;
    let (context, at) = (job.context(), hold.created_at);
    let room = cover(settlement, &mut books, &job, at)?;
    let refuse = settlement.over == OveragePolicy::Charge;
    if refuse {
        books.make_way_in(&window::uncovered(&job.applied, &released))?;
    }
    let warnings = window::settle(wallet, &job.applied, &released, refuse)?;
    let warnings = books.warnings(warnings)?;
    let entry = entry(settlement, &job, hold.id);
    let taken = job.cost.min(room);
    let owed = job.cost.minus(taken).map_err(range)?;
    if !owed.is_zero() {
        debts::owe(wallet, entry.entry_id, owed)?;
    }
    let kept = books.kept_for(at, taken.min(general_part))?;
    let parts = books.split(context, at, taken.minus(kept).map_err(range)?)?;
    if books.rules.keeps {
        let needs = needs(
            &mut books,
            &hold,
            context,
            general_part,
            [taken, rest, kept],
        )?;
        books.lapse(clock::now(), Some((hold.id, needs)))?;
    }
    books.spend_kept(at, kept, entry.entry_id)?;
    let balance = books.debit_with(&entry, taken, &parts)?;
    if !rest.is_zero() {
        hold.scoped = books.hold(hold.lane, rest, context, at)?;
        hold.held = rest;
    }
    job.note(&entry)?;
    hold.settled = hold.settled.plus(job.cost).map_err(range)?;
    let closed_at = settlement.is_final.then(clock::now);
    if settlement.is_final {
        hold.status = "settled".to_owned();
    }
    store::write_hold(&mut hold, wallet, closed_at, None)?;
    warning::announce(wallet, &warnings)?;
    books.close()?;
    Ok(job.charged(entry.entry_id, balance))
}

/// Books the usage and releases the rest in the lane of the hold, if no alert depends on it. `None`
/// if all lanes must be locked, if the hold is not open, or if another call has changed it. The
/// hold is not locked first: it is closed only if it is still as it was read.
fn settle_in_lane(settlement: &Settlement<'_>) -> Result<Option<Charged>> {
    let wallet = settlement.wallet;
    let Some(mut hold) = store::read_hold(wallet, settlement.hold_id)? else {
        return Ok(None);
    };
    // An open hold has had no final settlement, so the key cannot belong to one.
    if hold.status != "open" || hold.expires_at <= clock::now() {
        return Ok(None);
    }
    let about = hold.about.clone();
    let rules = config::known(wallet)?;
    let (request, _kept) = context::complete(&settlement.request, &about, &rules.price_list)?;
    if rules.grants_are_due()
        || rules.needs_recheck()
        // The lane contains the same flag, but it is read only after the hold was closed.
        || !rules.armed
        || rules.scoped
        || rules.keeps
        || !hold.scoped.is_empty()
        || rules.status == Status::Closed
        || !active(rules.lanes).contains(&hold.lane)
    {
        return Ok(None);
    }
    let Ok(mut job) = Job::at(&request, &rules, hold.created_at) else {
        return Ok(None);
    };
    if settlement.over == OveragePolicy::Cap {
        job.cap(hold.held);
    }
    // A limit that has to decide may need all lanes.
    if !window::are_covered(&job.applied, &hold.windows) {
        return Ok(None);
    }
    let before = (hold.held, hold.settled, hold.windows.clone());
    let settled = hold.settled.plus(job.cost).map_err(range)?;
    let windows = hold.windows.iter();
    let emptied = windows.map(|(id, _)| (*id, Amount::ZERO)).collect();
    become_of(&mut hold, "settled", (Amount::ZERO, settled, emptied));
    if !store::close_hold(&mut hold, wallet, clock::now())? {
        return Ok(None);
    }
    let (held, _, windows) = &before;
    let part = InLane {
        rules: &rules,
        job: &job,
        hold: hold.id,
        lane: hold.lane,
        held: *held,
        windows,
    };
    let charged = part.settle(settlement, &request)?;
    if charged.is_none() {
        // The slow path decides, and must find the hold as it was.
        become_of(&mut hold, "open", before);
        store::write_hold(&mut hold, wallet, None, None)?;
    }
    Ok(charged)
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
struct InLane<'a> {
    rules: &'a WalletConfig,
    job: &'a Job<'a>,
    hold: [u8; 16],
    lane: i16,
    held: Amount,
    windows: &'a [(AllowanceId, Amount)],
}

impl InLane<'_> {
    /// Books the usage and releases the rest. `None`, with nothing written, if all lanes must be
    /// locked.
    fn settle(
        &self,
        settlement: &Settlement<'_>,
        request: &Request<'_>,
    ) -> Result<Option<Charged>> {
        let InLane {
            rules, job, held, ..
        } = *self;
        let wallet = settlement.wallet;
        let mut tries = 0;
        let (balance, entry, link) = loop {
            let Some(lane) = lanes::take(rules.cutting(wallet), self.lane)? else {
                return Ok(None);
            };
            let freed = Lane {
                held: lane.held.minus(held).map_err(range)?,
                ..lane.clone()
            };
            // An excess over the held amount may cause an alert. Released money may have to arm one
            // again.
            let is_too_much = job.cost > held && !can_pay(&freed, job.cost);
            if is_too_much || !lane.armed || tries == MAX_TRIES {
                lanes::let_go(wallet, lane.lane);
                return Ok(None);
            }
            let entry = entry(settlement, job, self.hold);
            let balance = lane
                .credited()
                .plus(lanes::others(rules.cutting(wallet), lane.lane)?)
                .and_then(|sum| sum.minus(rules.credit_limit))
                .and_then(|sum| sum.minus(job.cost))
                .map_err(range)?;
            let (after, link) = job.chain(&entry, &freed, balance)?;
            if store::write_lane(wallet, &after)? {
                break (balance, entry, link);
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
        Ok(Some(job.charged(entry.entry_id, balance)))
    }
}

/// The amounts that a hold still needs, for the usage that is taken and for the rest that is
/// reserved again. Ended lots pay `kept` of it. Kept credit that is not needed ends before the
/// settlement is booked, so that the returned balance does not contain it. The rest may be reserved
/// in other lots than before.
fn needs(
    books: &mut LockedBalance<'_>,
    hold: &Hold,
    context: UseContext<'_>,
    general_part: Amount,
    [taken, rest, kept]: [Amount; 3],
) -> Result<Holding> {
    let all = taken.plus(rest).map_err(range)?;
    let scoped = books.split_behind(context, hold.created_at, all, kept)?;
    let of_scoped = pools::sum_of(&scoped)?.unwrap_or_default();
    let general = all.minus(of_scoped).map_err(range)?.min(general_part);
    let needs = general.plus(of_scoped).map_err(range)?;
    Ok(Holding::new(hold.created_at, None, needs, scoped))
}

/// The amount available for a settlement. Releases expired holds as far as needed. Returns WL001 if
/// the amount is not sufficient.
fn cover(
    settlement: &Settlement<'_>,
    books: &mut LockedBalance<'_>,
    job: &Job<'_>,
    at: Timestamp,
) -> Result<Amount> {
    let context = job.context();
    loop {
        let room = books.room_for(context, at, job.cost)?;
        if job.cost > room && settlement.over != OveragePolicy::Debt {
            let beside = books.beside(context, at)?;
            return Err(job.insufficient(books.balance()?, room, beside)?);
        }
        let needed = job.cost.min(room);
        books.make_way(needed)?;
        // Other transactions may be settling some of the holds whose amounts were counted.
        let room = books.room_for(context, at, job.cost)?;
        if room >= needed {
            return Ok(room);
        }
    }
}

/// The entry of a settlement.
fn entry<'a>(settlement: &Settlement<'_>, job: &'a Job<'_>, hold: [u8; 16]) -> Entry<'a> {
    Entry {
        related_id: Some(hold),
        ..job.entry_as(Call::Settle, || settlement.fingerprint)
    }
}

/// The first result for this key. Returns WL006 if the key belongs to another settlement.
fn replayed(settlement: &Settlement<'_>, request: &Request<'_>) -> Result<Option<Charged>> {
    let rows = by_key(settlement.wallet, request.key, Call::Settle)?;
    let Some(rows) = rows else {
        return Ok(None);
    };
    let key = request.key.unwrap_or_default();
    if rows.need::<[u8; 16]>(0, 1)? != settlement.fingerprint {
        let field = differs::in_settlement(settlement, &rows)?;
        return Err(conflict(key, field));
    }
    let currency = config::known(settlement.wallet)?.currency;
    replay::charged(request, &rows, &currency).map(Some)
}

/// Releases the quantities of a settlement in each window: everything if it is final, otherwise the
/// quantity that it uses. All of the money is released; the part to reserve again is returned
/// separately.
fn release(
    settlement: &Settlement<'_>,
    books: &mut LockedBalance<'_>,
    hold: &mut Hold,
    job: &Job<'_>,
) -> Result<(Vec<Released>, Amount)> {
    let wallet = books.wallet;
    let held = hold.held;
    give_back_money(wallet, &mut books.whole, hold)?;
    // Money that returned to grants with a scope may be taken now.
    books.pools = Pools::read(wallet, &books.rules)?;
    if settlement.is_final {
        return Ok((release_windows(wallet, hold)?, Amount::ZERO));
    }
    let minus = |from: Amount, what: Amount| from.minus(what).map_err(range);
    let rest = minus(held, job.cost.min(held))?;
    let mut released = Vec::new();
    for (window, amount) in &mut hold.windows {
        let Some(applied) = job
            .applied
            .iter()
            .find(|applied| applied.window_id == *window)
        else {
            continue;
        };
        let freed = applied.need.min(*amount);
        released.push(window::release(wallet, *window, freed, hold.lane)?);
        *amount = minus(*amount, freed)?;
    }
    Ok((released, rest))
}

/// The fingerprint of a settlement: everything that changes money or attribution, including the
/// fingerprint of its request.
pub fn fingerprint(
    request: [u8; 16],
    hold_id: [u8; 16],
    is_final: bool,
    over: OveragePolicy,
) -> [u8; 16] {
    let mut fingerprint = crate::idempotency::fingerprint::Fingerprint::new(Call::Settle as u8);
    fingerprint.field("hold_id", Some(&uuid_text(hold_id)));
    fingerprint.field("final", Some(if is_final { "t" } else { "f" }));
    fingerprint.field("over", Some(over.as_str()));
    fingerprint.field("request", Some(&uuid_text(request)));
    fingerprint.finish()
}
