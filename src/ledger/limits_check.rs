//! What the balance and the limits would say to a request.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::allowance::cut::SCOPED;
use crate::error::{Code, Result};
use crate::ledger::grants::due;
use crate::ledger::grants::pools::Pools;
use crate::ledger::grants::scope::Purpose;
use crate::ledger::guard::{Caller, Who, unknown_key};
use crate::ledger::holds::row;
use crate::ledger::rules::{self, Rules, Status};
use crate::limits::limit::{Spending, applicable};
use crate::limits::metric::{Measured, Metric};
use crate::limits::window;
use crate::money::Amount;
use crate::pricing::unknown::rate_or;
use crate::storage::clock::{self, Timestamp};
use crate::storage::jsonb::Jsonb;
use crate::storage::rows::{AllowanceId, BALANCE};
use crate::storage::store;

/// What `check_limits` was asked.
pub struct Check<'a> {
    /// The wallet.
    pub wallet: &'a str,
    /// Who would spend.
    pub user_id: Option<&'a str>,
    /// The user's team.
    pub team: Option<&'a str>,
    /// The model, from argument or usage.
    pub model: Option<String>,
    /// The service.
    pub service: Option<&'a str>,
    /// Tags.
    pub tags: Option<Jsonb>,
    /// A key's secret.
    pub secret: Option<&'a str>,
    /// Where the call would come from.
    pub client_ip: Option<IpAddr>,
    /// From which device.
    pub device: Option<&'a str>,
    /// How much, or usage to be priced.
    pub asked: Asked,
}

impl<'a> Check<'a> {
    fn given(&self) -> Who<'a> {
        Who {
            user_id: self.user_id,
            team: self.team,
            key_id: None,
        }
    }

    fn caller(&self) -> Caller<'_> {
        Caller {
            user_id: self.user_id,
            team: self.team,
            provider: match &self.asked {
                Asked::Usage(usage) => usage.provider.as_deref(),
                Asked::Amount(_) => None,
            },
            model: self.model.as_deref(),
            secret: self.secret,
            client_ip: self.client_ip,
            device: self.device,
            actor: None,
        }
    }
}

/// What would be spent.
pub enum Asked {
    /// That amount.
    Amount(Amount),
    /// The cost of that usage.
    Usage(Box<crate::pricing::usage::Usage>),
}

/// A row of `check_limits`.
pub struct Checked {
    /// The limit; none for the balance.
    pub limit_id: Option<[u8; 16]>,
    /// `balance`, or the limit's scope.
    pub scope: Cow<'static, str>,
    /// Whose it is.
    pub subject: String,
    /// The limit's period.
    pub period: Option<String>,
    /// What it counts.
    pub metric: Metric,
    /// Whether it refuses.
    pub mode: &'static str,
    /// Maximum.
    pub max: Option<Amount>,
    /// What was used.
    pub used: Option<Amount>,
    /// What is held.
    pub held: Amount,
    /// What is left.
    pub remaining: Amount,
    /// When it resets.
    pub resets_at: Option<Timestamp>,
    /// Whether it allows the request.
    pub allowed: bool,
    /// Why not.
    pub reason: Option<&'static str>,
}

/// The balance, then every limit that applies; books nothing.
pub fn check(check: &Check<'_>) -> Result<Vec<Checked>> {
    let wallet = check.wallet;
    let rules = rules::read(wallet)?;
    let now = clock::now();
    let priced = match &check.asked {
        Asked::Amount(_) => None,
        Asked::Usage(usage) => {
            let model = check
                .model
                .as_deref()
                .ok_or_else(crate::ledger::charge::no_model)?;
            Some(rate_or(
                usage,
                model,
                &rules.price_list,
                now,
                &rules.unknown_price,
            )?)
        }
    };
    let measured = match (&check.asked, &priced) {
        (Asked::Usage(usage), Some(priced)) => Measured {
            cost: priced.cost,
            requests: 1,
            tokens: priced.total_tokens,
            meters: &usage.numbers,
        },
        (Asked::Amount(amount), _) => Measured {
            cost: *amount,
            requests: 1,
            ..Measured::default()
        },
        _ => Measured::default(),
    };
    let caller = check.caller();
    let admitted = match &rules.guard {
        Some(guard) => guard.admit(&caller, now),
        None if check.secret.is_some() => Err(unknown_key()),
        None => Ok(check.given()),
    };
    let who = match &admitted {
        Ok(who) => *who,
        Err(refusal) if refusal.code == Code::NotPermitted => check.given(),
        Err(_) => return admitted.map(|_| Vec::new()),
    };
    let spending = Spending {
        user_id: who.user_id,
        team: who.team,
        model: check.model.as_deref(),
        service: check
            .service
            .or(priced.as_ref().and_then(|priced| priced.service.as_deref())),
        key_id: who.key_id,
        tags: check.tags.map(Into::into),
        measured,
    };
    // What holds have set aside whose time has come counts no more, whether or not somebody has
    // given it back yet.
    let expired = row::expired_amounts(wallet, now)?;
    let expired = |id: AllowanceId| {
        let found = expired.iter().find(|(allowance, _)| *allowance == id);
        found.map_or(Amount::ZERO, |(_, amount)| *amount)
    };
    let purpose = Purpose {
        provider: priced
            .as_ref()
            .and_then(|priced| priced.provider.as_deref()),
        model: spending.model,
        service: spending.service,
    };
    let mut pools = Pools::read(wallet, &rules)?;
    let freed = pools.free(expired)?;
    let mut rows = vec![balance(
        wallet,
        rules.status,
        measured.cost,
        expired(BALANCE),
        (pools.available(purpose, now)?, freed),
        &rules,
    )?];
    if admitted.is_err() && rules.status == Status::Active {
        rows[0].allowed = false;
        rows[0].reason = Some("not_permitted");
    }
    for applied in applicable(&rules.limits, &spending, now)? {
        let mut status = window::status(wallet, applied)?;
        status.held = status
            .held
            .minus(expired(status.applied.window_id))
            .map_err(crate::allowance::lanes::range)?;
        let limit = status.applied.limit;
        let allowed = status.allows();
        rows.push(Checked {
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
            allowed,
            reason: (!allowed).then_some("limit_exceeded"),
        });
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

/// The first row: what the balance says, credit included.
///
/// `scoped` is what grants with a scope have for the request, and what expired holds have set aside in them.
fn balance(
    wallet: &str,
    status: Status,
    amount: Amount,
    expired: Amount,
    scoped: (Amount, Amount),
    rules: &Rules,
) -> Result<Checked> {
    let lanes = store::read_lanes(wallet)?;
    let (own, freed) = (scoped.0.units(), scoped.1.units());
    let held = lanes.iter().map(|lane| lane.held.units()).sum::<i128>() - expired.units() - freed;
    let lanes = lanes.iter().filter(|lane| lane.lane != SCOPED);
    let room = lanes.clone().map(|lane| lane.room().units()).sum::<i128>() + expired.units();
    let general = lanes.map(|lane| lane.credited().units()).sum::<i128>();
    // What has ended counts no more, whether or not a charge has booked that yet.
    let ended = due::ended(
        wallet,
        rules,
        general - rules.credit_limit.units(),
        room - rules.credit_limit.units(),
    )?;
    let remaining = room - ended + own;
    let range = crate::allowance::lanes::range;
    let (held, remaining) = (
        Amount::from_units(held).map_err(range)?,
        Amount::from_units(remaining).map_err(range)?,
    );
    let active = status == Status::Active;
    Ok(Checked {
        limit_id: None,
        scope: Cow::Borrowed("balance"),
        subject: wallet.to_owned(),
        period: None,
        metric: Metric::Amount,
        mode: "hard",
        max: None,
        used: None,
        held,
        remaining,
        resets_at: None,
        allowed: active && remaining >= amount,
        reason: match (active, remaining >= amount) {
            (false, _) => Some("wallet_not_active"),
            (true, false) => Some("insufficient_funds"),
            (true, true) => None,
        },
    })
}
