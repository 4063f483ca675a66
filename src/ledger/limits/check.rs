//! Checks a request against the balance and the limits, with the code that decides on charges.

use std::borrow::Cow;

use crate::allowance::lanes::range;
use crate::error::{Code, Result};
use crate::ledger::charges::decision;
use crate::ledger::charges::job::Job;
use crate::ledger::charges::request::Request;
use crate::ledger::grants::asof::{self, Funds};
use crate::ledger::grants::pools::Pools;
use crate::ledger::holds::expired::Expired;
use crate::ledger::wallets::config;
use crate::ledger::wallets::config::{Status, WalletConfig};
use crate::limits::limit::Applied;
use crate::limits::metric::Metric;
use crate::limits::period::Period;
use crate::limits::window::{self, Status as WindowStatus};
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
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
    /// Whether exceeding the limit refuses a request: `hard` or `soft`.
    pub mode: &'static str,
    /// The maximum per window. `None` for the balance.
    pub max: Option<Amount>,
    /// The amount used in the window. `None` for the balance.
    pub used: Option<Amount>,
    /// The amount that open holds reserve.
    pub held: Amount,
    /// The amount that may still be used.
    pub remaining: Amount,
    /// The end of the window. `None` if it has none.
    pub resets_at: Option<Timestamp>,
    /// Whether the row allows the request.
    pub allowed: bool,
    /// The reason for a refusal. `None` if the request is allowed.
    pub reason: Option<&'static str>,
    /// The most that a single request may take of the metric. `None` if no hard limit says so.
    pub max_per_request: Option<Amount>,
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
}

/// Checks the balance, then every limit that applies. Books nothing.
pub fn check(request: &Request<'_>, checking: Checking) -> Result<Vec<Checked>> {
    let wallet = request.wallet;
    let mut rules = config::read(wallet)?;
    for _ in 0..MAX_TRIES {
        if !changed_meanwhile(&rules, request) {
            break;
        }
        rules = config::read(wallet)?;
    }
    let now = clock::now();
    let (mut reason, mut who) = (None, request.attribution);
    if rules.status != Status::Active {
        reason = Some("wallet_not_active");
    } else {
        match rules.admit(request) {
            Ok(admitted) => who = admitted,
            Err(refusal) if refusal.code == Code::NotPermitted => reason = Some("not_permitted"),
            Err(error) => return Err(error),
        }
    }
    // Amounts of expired holds do not count, whether or not they are released yet.
    let mut expired = Expired::look(wallet, now)?;
    let standing = asof::standing(wallet, &rules, now, &mut expired)?;
    let job = match Job::of(request, &rules, who, now) {
        Ok(job) => job,
        // A charge is refused before it is priced.
        Err(_) if reason.is_some() => {
            let remaining = standing.room()?;
            return Ok(vec![balance(wallet, &standing, remaining, reason)?]);
        }
        Err(error) => return Err(error),
    };
    let mut pools = Pools::of(wallet, standing.course.lots.clone());
    let remaining = decision::room(&job, &standing, &mut pools)?;
    if !job.is_covered(remaining) {
        reason = reason.or(Some("insufficient_funds"));
    }
    let mut rows = vec![balance(wallet, &standing, remaining, reason)?];
    let per_request = job.per_request.clone();
    for status in statuses(wallet, job, &mut expired, now)? {
        let refuses = !status.allows()
            && (checking == Checking::Hold || status.applied.limit.period != Period::Open);
        rows.push(of_limit(&status, refuses));
    }
    for row in &mut rows {
        row.max_per_request = max_per_request(&per_request, &row.metric);
    }
    rows[1..].sort_by(|a, b| {
        (&a.scope, &a.period, a.metric.as_str(), a.limit_id).cmp(&(
            &b.scope,
            &b.period,
            b.metric.as_str(),
            b.limit_id,
        ))
    });
    Ok(rows)
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

fn of_limit(status: &WindowStatus<'_>, refuses: bool) -> Checked {
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
        held: status.held,
        remaining: status.remaining(),
        resets_at: status.resets_at,
        allowed: !refuses,
        reason: refuses.then_some("limit_exceeded"),
        max_per_request: None,
    }
}

/// The smallest maximum of the hard limits on a single request in a metric.
fn max_per_request(per_request: &[Applied<'_>], metric: &Metric) -> Option<Amount> {
    let of_metric = per_request.iter().filter(|one| one.limit.metric == *metric);
    of_metric.filter_map(Applied::cap).min()
}

/// True if reading the spending policy shows that the rules have changed.
fn changed_meanwhile(rules: &WalletConfig, request: &Request<'_>) -> bool {
    rules.status == Status::Active
        && matches!(rules.admit(request), Err(refusal) if refusal.code == Code::SerializationFailure)
}

/// The first row: the balance, including the credit limit.
fn balance(
    wallet: &str,
    standing: &Funds,
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
        held: standing.held()?,
        remaining,
        resets_at: None,
        allowed: reason.is_none(),
        reason,
        max_per_request: None,
    })
}
