//! Checks a request against the balance and the limits, with the code that decides on charges.

use std::borrow::Cow;
use std::rc::Rc;

use crate::access::rights::may_read;
use crate::allowance::lanes::range;
use crate::error::{Code, Result};
use crate::ledger::charges::decision;
use crate::ledger::charges::job::Job;
use crate::ledger::charges::passed::Passed;
use crate::ledger::charges::request::{Asked, Request};
use crate::ledger::grants::asof::{self, Funds};
use crate::ledger::grants::pools::Pools;
use crate::ledger::holds::expired::Expired;
use crate::ledger::wallets::config::{Status, WalletConfig};
use crate::ledger::wallets::following;
use crate::limits::limit::{Limit, Mode};
use crate::limits::metric::Metric;
use crate::limits::period::Period;
use crate::limits::window::{self, Status as WindowStatus};
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::storage::session::Session;
use crate::storage::window_holds;

/// Changes of the rules during one call that are retried.
const MAX_TRIES: usize = 50;

/// A row of `check_limits`.
pub struct Checked {
    /// The limit. `None` for the balance.
    pub limit_id: Option<[u8; 16]>,
    /// `balance`, or the limit's scope.
    pub scope: Cow<'static, str>,
    /// The wallet, user, team and so on to which the row applies.
    pub subject: String,
    /// The limit's period. `None` for the balance.
    pub period: Option<String>,
    /// The quantity that is counted.
    pub metric: Metric,
    /// The limit's mode: `hard`, `soft` or `approve`. `hard` for the balance.
    pub mode: &'static str,
    /// The maximum per window. `None` for the balance.
    pub max: Option<Amount>,
    /// The amount used in the window. `None` for the balance.
    pub used: Option<Amount>,
    /// The amount that open holds reserve. `None` if the caller may not read the wallet.
    pub held: Option<Amount>,
    /// The amount that may still be used. `None` if the caller may not read the wallet.
    pub remaining: Option<Amount>,
    /// The end of the window. `None` if it has none.
    pub resets_at: Option<Timestamp>,
    /// Whether the row can refuse such a request at all.
    pub can_refuse: bool,
    /// Whether the row allows the request.
    pub allowed: bool,
    /// The reason for a refusal, or for a wait. `None` if the request is allowed at once.
    pub reason: Option<&'static str>,
    /// The most that a single request may take of the metric. `None` if no hard limit says so.
    pub max_per_request: Option<Amount>,
    /// The wallet to which the balance or the limit belongs.
    pub wallet: String,
}

/// The answer for one request.
pub struct Answer {
    /// The cost. `None` if the request is refused and has no price.
    pub cost: Option<Amount>,
    /// The row of the balance, then one per limit that applies.
    pub rows: Vec<Checked>,
}

/// The call that is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checking {
    /// A charge, which limits on open holds do not refuse.
    Charge,
    /// A hold.
    Hold,
}

impl Checking {
    /// The call for the argument `for_hold`.
    pub fn of(for_hold: Option<bool>) -> Checking {
        match for_hold {
            Some(true) => Checking::Hold,
            _ => Checking::Charge,
        }
    }

    /// Whether a limit can refuse the call.
    fn can_be_refused_by(self, limit: &Limit) -> bool {
        match self {
            Checking::Charge => limit.mode != Mode::Soft && limit.period != Period::Open,
            Checking::Hold => limit.mode == Mode::Hard,
        }
    }

    /// Whether a limit allows the call, and the reason why it does not, or not yet.
    fn answer(self, status: &WindowStatus<'_>) -> (bool, Option<&'static str>) {
        let applied = &status.applied;
        match self {
            _ if status.allows() => (true, None),
            _ if self.can_be_refused_by(applied.limit) => (false, Some("limit_exceeded")),
            Checking::Hold if applied.asks_approval() => (true, Some("approval_required")),
            _ => (true, None),
        }
    }
}

/// Checks the balance, then every limit that applies. Books nothing.
pub fn check(session: &Session, request: &Request<'_>, checking: Checking) -> Result<Vec<Checked>> {
    under_current_rules(|| Ground::read(session, request.wallet)?.check(request, checking))
        .map(|answer| answer.rows)
}

/// Repeats `work` while reading the spending policy shows that the rules have changed.
pub fn under_current_rules<T>(work: impl Fn() -> Result<T>) -> Result<T> {
    for _ in 1..MAX_TRIES {
        match work() {
            Err(error) if error.code == Code::SerializationFailure => {}
            result => return result,
        }
    }
    work()
}

/// The rules and the money of a wallet, read once for one request or several.
pub struct Ground<'a> {
    wallet: &'a str,
    rules: Rc<WalletConfig>,
    now: Timestamp,
    /// Amounts of expired holds do not count, whether or not they are released yet.
    expired: Expired<'a>,
    funds: Funds,
    session: &'a Session,
}

impl<'a> Ground<'a> {
    /// Reads the rules and the money as they are now.
    pub fn read(session: &'a Session, wallet: &'a str) -> Result<Ground<'a>> {
        let rules = following::read_ahead(wallet)?;
        let now = clock::now();
        let mut expired = Expired::look(wallet, now)?;
        let funds = asof::standing(wallet, &rules, now, &mut expired)?;
        Ok(Ground {
            wallet,
            rules,
            now,
            expired,
            funds,
            session,
        })
    }

    /// True if the wallet refuses the usage because of numbers that its mapping does not read.
    /// They are the same for every model.
    pub fn refuses_usage(&self, request: &Request<'_>) -> bool {
        let Asked::Usage(usage, ..) = &request.asked else {
            return false;
        };
        self.rules.rejects_unread && usage.is_mapped && !usage.unread.is_empty()
    }

    /// Checks a request of this wallet. Fails with 40001 if the rules have changed.
    pub fn check(&mut self, request: &Request<'_>, checking: Checking) -> Result<Answer> {
        let (wallet, rules, funds) = (self.wallet, &self.rules, &self.funds);
        let (mut reason, mut who) = (None, request.attribution);
        if rules.status != Status::Active {
            reason = Some("wallet_not_active");
        } else {
            match rules.admit(request) {
                Ok(admitted) => who = admitted,
                Err(refusal) if refusal.code == Code::NotPermitted => {
                    reason = Some("not_permitted");
                }
                Err(error) => return Err(error),
            }
        }
        let job = match Job::of(request, rules, who, self.now) {
            Ok(job) => job,
            // A charge is refused before it is priced.
            Err(_) if reason.is_some() => {
                let rows = vec![balance(wallet, funds, funds.room()?, reason)?];
                return Ok(Answer { cost: None, rows });
            }
            Err(error) => return Err(error),
        };
        let mut pools = Pools::of(wallet, funds.course.lots.clone());
        let remaining = decision::room(&job, funds, &mut pools)?;
        if !job.is_covered(remaining) {
            reason = reason.or(Some("insufficient_funds"));
        }
        let cost = Some(job.cost);
        let mut rows = vec![balance(wallet, funds, remaining, reason)?];
        let above = above(self.session, &job, checking)?;
        let statuses = statuses(wallet, job, &mut self.expired, self.now)?;
        let of_limits = statuses.iter();
        rows.extend(of_limits.map(|status| of_limit(wallet, status, checking)));
        for row in &mut rows {
            row.max_per_request = max_per_request(&statuses, &row.metric);
        }
        rows[1..].sort_by(|a, b| {
            (&a.scope, &a.period, a.metric.as_str(), a.limit_id).cmp(&(
                &b.scope,
                &b.period,
                b.metric.as_str(),
                b.limit_id,
            ))
        });
        if let Some(above) = above {
            put_above(&mut rows, above, reason);
        }
        Ok(Answer { cost, rows })
    }
}

/// The rows of the parent that pays for a request, and of those above it. `None` if the wallet has
/// its own money. Rows of wallets that the caller may not read have no numbers.
fn above(session: &Session, job: &Job<'_>, checking: Checking) -> Result<Option<Vec<Checked>>> {
    let Some((parent, _)) = job.pool() else {
        return Ok(None);
    };
    let passed = Passed::of_hold(job, job.cost, [0; 16]);
    let request = passed.request(job, parent);
    let mut rows = Ground::read(session, parent)?
        .check(&request, checking)?
        .rows;
    if !may_read(session, parent)? {
        for row in rows.iter_mut().filter(|row| row.wallet == parent) {
            row.max = None;
            row.used = None;
            row.held = None;
            row.remaining = None;
            row.max_per_request = None;
        }
    }
    Ok(Some(rows))
}

/// Puts the parent's balance in the place of the wallet's own, which is always zero, and the other
/// rows behind the wallet's. A reason to refuse that the wallet has itself comes first.
fn put_above(rows: &mut Vec<Checked>, above: Vec<Checked>, reason: Option<&'static str>) {
    let mut above = above.into_iter();
    if let (Some(own), Some(balance)) = (rows.first_mut(), above.next()) {
        *own = balance;
    }
    rows.extend(above);
    let of_parent = rows[0].reason;
    rows[0].reason = reason.or(of_parent);
    rows[0].allowed = rows[0].reason.is_none();
}

/// The status of each limit that applies, without the amounts of expired holds.
fn statuses<'a>(
    wallet: &str,
    job: Job<'a>,
    expired: &mut Expired<'_>,
    now: Timestamp,
) -> Result<Vec<WindowStatus<'a>>> {
    expired.ask_in(&job.applied)?;
    expired.ask_in(&job.on_open_holds)?;
    let open = window::ids(&job.on_open_holds);
    // A hold first charges the expired holds that are to be charged.
    let uncharged = window_holds::uncharged(wallet, &open, now, false)?;
    let counted = job.applied.into_iter().chain(job.on_open_holds);
    counted
        .chain(job.per_request)
        .map(|applied| {
            let id = applied.window_id;
            let uncharged = uncharged.get(&id).copied().unwrap_or_default();
            let freed = expired.of(id)?.plus(uncharged).map_err(range)?;
            window::status_with(wallet, applied, freed)
        })
        .collect()
}

fn of_limit(wallet: &str, status: &WindowStatus<'_>, checking: Checking) -> Checked {
    let (allowed, reason) = checking.answer(status);
    let limit = status.applied.limit;
    Checked {
        limit_id: Some(limit.id),
        scope: limit.scope.as_str(),
        subject: status.applied.subject.clone(),
        period: Some(limit.period_name.clone()),
        metric: limit.metric.clone(),
        mode: limit.mode.as_str(),
        max: Some(status.applied.max),
        used: Some(status.spent),
        held: Some(status.held),
        remaining: Some(status.remaining()),
        resets_at: status.resets_at,
        can_refuse: checking.can_be_refused_by(limit),
        allowed,
        reason,
        max_per_request: None,
        wallet: wallet.to_owned(),
    }
}

/// The smallest maximum of the hard limits on a single request in a metric.
fn max_per_request(statuses: &[WindowStatus<'_>], metric: &Metric) -> Option<Amount> {
    let applied = statuses.iter().map(|status| &status.applied);
    let per_request = applied.filter(|one| one.limit.period == Period::Request);
    let of_metric = per_request.filter(|one| one.limit.metric == *metric);
    let hard = of_metric.filter(|one| one.limit.mode == Mode::Hard);
    hard.map(|one| one.max).min()
}

/// The first row: the balance, including the credit limit.
fn balance(
    wallet: &str,
    funds: &Funds,
    remaining: Amount,
    reason: Option<&'static str>,
) -> Result<Checked> {
    Ok(Checked {
        limit_id: None,
        scope: Cow::Borrowed("balance"),
        subject: wallet.to_owned(),
        period: None,
        metric: Metric::Amount,
        mode: "hard",
        max: None,
        used: None,
        held: Some(funds.held()?),
        remaining: Some(remaining),
        resets_at: None,
        can_refuse: true,
        allowed: reason.is_none(),
        reason,
        max_per_request: None,
        wallet: wallet.to_owned(),
    })
}
