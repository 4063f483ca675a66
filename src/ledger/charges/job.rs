//! A request under one version of the rules: priced, attributed, with the limits that apply.

use crate::allowance::all_lanes::AllLanes;
use crate::allowance::lanes::range;
use crate::attribution::{Attribution, UseContext};
use crate::error::{Code, Error, Result, quoted};
use crate::ledger::balance::chain;
use crate::ledger::charges::passed::Passed;
use crate::ledger::charges::replay::Charged;
use crate::ledger::charges::request::{Asked, Request};
use crate::ledger::charges::{unpriced, unread_usage};
use crate::ledger::grants::pools::Pools;
use crate::ledger::wallets::closings;
use crate::ledger::wallets::config::WalletConfig;
use crate::limits::limit::{Applied, Spending, applicable};
use crate::limits::metric::{Measured, Metric};
use crate::limits::warning::{self, Warning};
use crate::limits::window;
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::document::Document;
use crate::pg::jsonb::Json;
use crate::pricing::lines::{Line, encode};
use crate::pricing::markup::is_markup_meter;
use crate::pricing::rate::{Priced, PricedBy};
use crate::pricing::reported::rate_reported;
use crate::pricing::unknown::rate_or;
use crate::pricing::unread::require_read;
use crate::pricing::usage::Usage;
use crate::storage::event_at::TimeOfUse;
use crate::storage::rows::{Call, Entry, Kind, Lane, Link};

/// A request under one version of the rules.
pub struct Job<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) rules: &'a WalletConfig,
    /// The user, team and key to which the charge is attributed.
    pub attribution: Attribution<'a>,
    /// The amount to book, in the wallet's currency.
    pub cost: Amount,
    /// The priced usage. `None` if the request gives an amount.
    pub priced: Option<Priced>,
    lines: Option<Vec<u8>>,
    /// The limits that apply to the request and count it.
    pub applied: Vec<Applied<'a>>,
    /// The limits that apply to it and count the quantities of open holds.
    pub on_open_holds: Vec<Applied<'a>>,
    /// The limits that apply to it as a single request.
    pub per_request: Vec<Applied<'a>>,
    /// The most that may be booked, whatever the usage costs. `None` if there is no cap.
    pub most: Option<Amount>,
}

impl<'a> Job<'a> {
    /// Like [`Job::new`], for a hold, which limits on open holds count. With `may_wait`, limits
    /// above which a hold waits for approval do not refuse it.
    pub fn of_hold(
        request: &'a Request<'a>,
        rules: &'a WalletConfig,
        may_wait: bool,
    ) -> Result<Job<'a>> {
        let mut job = Job::new(request, rules)?;
        if !job.on_open_holds.is_empty() {
            job.applied.append(&mut job.on_open_holds);
            job.applied.sort_by_key(|applied| applied.window_id);
        }
        for applied in job.applied.iter_mut().chain(&mut job.per_request) {
            applied.may_exceed = may_wait && applied.asks_approval();
        }
        Ok(job)
    }

    /// Builds the job of a request that is booked now. Checks that the wallet is active and that
    /// the spending policy admits the caller.
    pub fn new(request: &'a Request<'a>, rules: &'a WalletConfig) -> Result<Job<'a>> {
        rules.require_active(request.wallet)?;
        let attribution = rules.admit(request)?;
        Job::of(request, rules, attribution, clock::now())
    }

    /// Builds a job without checking the spending policy, for the windows of the time `now`. The
    /// policy was checked when the use was admitted.
    pub fn at(
        request: &'a Request<'a>,
        rules: &'a WalletConfig,
        now: Timestamp,
    ) -> Result<Job<'a>> {
        Job::of(request, rules, request.attribution, now)
    }

    /// Builds a job for the user, team and key that the spending policy has admitted.
    pub fn of(
        request: &'a Request<'a>,
        rules: &'a WalletConfig,
        attribution: Attribution<'a>,
        now: Timestamp,
    ) -> Result<Job<'a>> {
        let priced = match &request.asked {
            _ if request.passed.is_some() => {
                request.passed.and_then(|passed| passed.priced.clone())
            }
            Asked::Amount(_) => None,
            Asked::Late(priced, _) => Some(Priced::clone(priced)),
            Asked::Usage(usage, _, _) => {
                let model = usage.model.as_deref().ok_or_else(no_model)?;
                let terms = rules.terms(request.event_at.unwrap_or(now));
                let priced = match request.reported {
                    None => rate_or(usage, model, &terms, &rules.unknown_price)?,
                    Some(cost) => rate_reported(cost, usage, model, &terms)?,
                };
                if rules.rejects_unread {
                    require_read(usage, &priced, model)?;
                }
                Some(priced)
            }
        };
        Job::priced(request, rules, attribution, now, priced)
    }

    /// Builds the job of a request that is priced already. The price of an amount only names the
    /// provider and the service.
    pub fn priced(
        request: &'a Request<'a>,
        rules: &'a WalletConfig,
        attribution: Attribution<'a>,
        now: Timestamp,
        priced: Option<Priced>,
    ) -> Result<Job<'a>> {
        let cost = match (&request.asked, &priced) {
            (Asked::Amount(amount), _) => *amount,
            (_, Some(priced)) => priced.cost,
            (_, None) => Amount::ZERO,
        };
        let lines = match request.asked {
            Asked::Amount(_) => None,
            _ => priced.as_ref().map(|priced| encode(&priced.lines)),
        };
        let mut limits = applicable(
            &rules.limits,
            &spending(request, attribution, priced.as_ref(), cost),
            now,
        )?;
        window::add_carries(request.wallet, &mut limits.counted)?;
        let mut job = Job {
            request,
            rules,
            attribution,
            cost,
            priced,
            lines,
            applied: limits.counted,
            on_open_holds: limits.on_open_holds,
            // A late price belongs to a request that was booked before.
            per_request: match request.asked {
                Asked::Late(..) => Vec::new(),
                _ => limits.per_request,
            },
            most: None,
        };
        if let Some(passed) = request.passed
            && passed.cost != cost
        {
            // A hold may cap the cost, or an earlier charge may have booked a part of it.
            job.cost = passed.cost;
            job.need(passed.cost);
        }
        Ok(job)
    }

    /// True if `room`, the amount that may be spent, covers the cost.
    pub fn is_covered(&self, room: Amount) -> bool {
        self.taken() <= room
    }

    /// The request.
    pub fn request(&self) -> &'a Request<'a> {
        self.request
    }

    /// Set if a child passes the use on.
    pub fn passed(&self) -> Option<&'a Passed<'a>> {
        self.request.passed
    }

    /// Id of the wallet.
    pub fn wallet(&self) -> &'a str {
        self.request.wallet
    }

    /// The use that the money pays for.
    pub fn context(&self) -> UseContext<'_> {
        context(self.request, self.priced.as_ref())
    }

    /// Books at most `amount`, whatever the usage costs or will cost once it has a price. The price
    /// lines keep the full cost.
    pub fn cap(&mut self, amount: Amount) {
        self.most = Some(amount);
        if self.cost <= amount {
            return;
        }
        self.cost = amount;
        self.need(amount);
    }

    /// Sets the quantity that the request takes from limits on amounts.
    pub fn need(&mut self, amount: Amount) {
        let others = self.on_open_holds.iter_mut().chain(&mut self.per_request);
        for applied in self.applied.iter_mut().chain(others) {
            if applied.limit.metric == Metric::Amount {
                applied.need = amount;
            }
        }
    }

    /// Makes the limits count the usage, and not the request itself.
    pub fn count_no_request(&mut self) -> Result<()> {
        let priced = self.priced.as_ref();
        let spending = spending(self.request, self.attribution, priced, self.cost);
        for list in [&mut self.applied, &mut self.on_open_holds] {
            list.retain(|applied| applied.limit.metric != Metric::Requests);
            for applied in list {
                if let Metric::Weighted(sum) = &applied.limit.metric
                    && !applied.limit.metric.weight_of_request().is_zero()
                {
                    applied.need = sum.without_requests().need(&spending.measured)?;
                }
            }
        }
        Ok(())
    }

    /// Books the part of the cost that goes beyond `booked`, an amount that is booked already. The
    /// price lines keep the full cost.
    pub fn beyond(&mut self, booked: Amount) -> Result<()> {
        self.cost = self.cost.minus(booked.min(self.cost)).map_err(range)?;
        self.need(self.cost);
        Ok(())
    }

    /// The entry that books the charge.
    pub fn entry(&self) -> Result<Entry<'_>> {
        let call = match self.request.asked {
            Asked::Late(..) => Call::Price,
            _ => Call::Charge,
        };
        self.entry_as(call, || self.request.fingerprint())
    }

    /// Like [`Job::entry`], for another call with its own fingerprint.
    ///
    /// The ledger is locked from here on, so no closing can be missed.
    pub fn entry_as(&self, call: Call, fingerprint: impl Fn() -> [u8; 16]) -> Result<Entry<'_>> {
        let request = self.request;
        let closed = closings::of(self.rules)?;
        let created_at = clock::now();
        let time = TimeOfUse::counted(request.event_at, created_at, closed);
        let priced = self.priced.as_ref();
        let usage = match &request.asked {
            // The child's entry has it.
            _ if request.passed.is_some() => None,
            Asked::Usage(usage, object, _)
                if !says_it_all(usage, priced.map_or(&[], |p| &p.lines)) =>
            {
                Some(Document::of(*object))
            }
            _ => None,
        };
        let entry = Entry {
            entry_id: uuid::Uuid::now_v7().into_bytes(),
            created_at,
            event_at: time.event_at,
            used_at: time.used_at,
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
            attribution: self.attribution,
            context: self.context(),
            lines: self.lines.as_deref(),
            usage,
            contra: None,
            reference: None,
            reason: priced.and_then(|priced| priced.mark.reason()),
            actor: request.actor,
            metadata: request.metadata.clone(),
        };
        Ok(match request.passed {
            Some(passed) => passed.lend(entry),
            None => entry,
        })
    }

    /// The result of the call.
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

    /// Lists the charge as unpriced if it has no price yet, and notes the unread numbers of its
    /// usage.
    pub fn note(&self, entry: &Entry<'_>) -> Result<()> {
        let (Some(priced), None) = (&self.priced, self.request.passed) else {
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

    /// True if the request may exceed a limit above which a hold waits for approval.
    pub fn may_need_approval(&self) -> bool {
        let mut counted = self.applied.iter().filter(|one| one.asks_approval());
        let mut per_request = self.per_request.iter().filter(|one| one.asks_approval());
        counted.any(|one| !one.need.is_zero()) || per_request.any(|one| one.need > one.max)
    }

    /// WL002 if a limit on a single request refuses the request.
    pub fn require_request_fits(&self) -> Result<()> {
        self.request_refusal()?.map_or(Ok(()), Err)
    }

    /// The error WL002 of a limit on a single request; `None` if none refuses.
    pub fn request_refusal(&self) -> Result<Option<Error>> {
        window::refusal_of_request(self.request.wallet, self.per_request.iter())
    }

    /// Writes the events of a charge or a hold: the levels that it reaches in windows, and the soft
    /// limits on a single request that it exceeds.
    pub fn announce(&self, warnings: &[Warning<'_>]) -> Result<()> {
        let wallet = self.request.wallet;
        warning::announce(wallet, warnings)?;
        let exceeded = self.per_request.iter().filter_map(Warning::of_request);
        for exceeded in exceeded {
            warning::announce(wallet, &[exceeded])?;
        }
        Ok(())
    }

    /// Chains the entry to the lane's last one. Returns the lane after the entry, and the link.
    pub fn chain(&self, entry: &Entry<'_>, lane: &Lane, balance: Amount) -> Result<(Lane, Link)> {
        let mut after = lane.clone();
        after.spent = lane.spent.plus(self.cost).map_err(range)?;
        let link = chain::extend(&mut after, entry, balance)?;
        Ok((after, link))
    }

    /// WL001 unless lanes and grants cover the cost. `unheld` is the part of the held amount that
    /// expired holds no longer reserve.
    pub fn require_cover(
        &self,
        whole: &AllLanes<'_>,
        unheld: Amount,
        pools: &mut Pools<'_>,
    ) -> Result<()> {
        let (context, now) = (self.context(), clock::now());
        let room = whole.room()?.plus(unheld).map_err(range)?;
        let missing = self.taken().minus(room).map_err(range)?;
        let own = pools.available(context, now, missing)?;
        let total = room.plus(own).map_err(range)?;
        if self.is_covered(total) {
            return Ok(());
        }
        let balance = whole.balance(self.rules.credit_limit)?;
        Err(self.insufficient(balance, total, pools.for_other_uses(context, now)?)?)
    }

    /// The error WL001. `beside` is the credit that only other use may spend.
    pub fn insufficient(&self, balance: Amount, room: Amount, for_others: Amount) -> Result<Error> {
        let currency = &self.rules.currency;
        let missing = self.cost.minus(room).map_err(range)?;
        Ok(Error::new(
            Code::InsufficientFunds,
            format!("insufficient funds in wallet {}", quoted(self.request.wallet)),
        )
        .detail(format!(
            "The charge asks for {} {currency}; {}.",
            self.cost,
            what_there_is(self.rules, balance, room, for_others)?,
        ))
        .hint(format!(
            "Add {missing} {currency} or more with fund(), or raise the credit_limit with update_wallet()."
        ))
        .constraint("allowances", "allowance_not_overdrawn"))
    }
}

/// The text that says how much can be spent and why that is not the whole balance. `beside` is the
/// credit that only other use may spend; the rest is held.
pub fn what_there_is(
    rules: &WalletConfig,
    balance: Amount,
    room: Amount,
    for_others: Amount,
) -> Result<String> {
    let (currency, credit) = (&rules.currency, rules.credit_limit);
    let held = balance
        .plus(credit)
        .and_then(|all| all.minus(room))
        .and_then(|rest| rest.minus(for_others))
        .map_err(range)?;
    let mut text =
        format!("{room} {currency} can be spent: balance {balance}, credit limit {credit}");
    if held > Amount::ZERO {
        text.push_str(&format!(", {held} held"));
    }
    if !for_others.is_zero() {
        text.push_str(&format!(", {for_others} for other models or services only"));
    }
    Ok(text)
}

/// The use of a request. A model's price may name its provider and its service.
fn context<'a>(request: &'a Request<'_>, priced: Option<&'a Priced>) -> UseContext<'a> {
    let named = request.context();
    UseContext {
        provider: priced.and_then(|priced| priced.provider.as_deref()),
        service: named
            .service
            .or(priced.and_then(|priced| priced.service.as_deref())),
        ..named
    }
}

/// The request as the limits count it.
fn spending<'a>(
    request: &'a Request<'_>,
    attribution: Attribution<'a>,
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
        // Everything except the cost was counted when the charge was booked.
        Asked::Late(..) => Measured {
            cost,
            ..Measured::default()
        },
    };
    Spending {
        attribution,
        context: context(request, priced),
        measured,
    }
}

/// WL007: neither the usage object nor the arguments name a model.
pub fn no_model() -> Error {
    crate::pricing::usage::invalid("usage names no model")
        .detail("Neither the usage object nor the argument model says which model was used.")
        .hint("Add \"model\" to the usage object, or pass the argument model.")
}

/// True if model and lines contain everything in the usage object, so that the object need not be
/// stored as well.
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
