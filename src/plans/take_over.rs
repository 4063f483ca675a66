//! Takes over the version of a wallet's plan that is in force: sets the rules that the version adds
//! or changes, and drops those that it no longer has.
//!
//! Rules that the version does not change stay as they are, with their windows, anniversaries and
//! counters. Rules of the wallet's own are left alone. If the transaction is rolled back, the next
//! call does the same again.

use crate::access::audit::{Act, note_down};
use crate::access::members::{NewModelRule, RuleScope};
use crate::alerts::topup_rules;
use crate::error::{Error, Result};
use crate::idempotency::call::IdempotentCall;
use crate::ledger::grants::due;
use crate::ledger::grants::recurring::{self, NewRecurring};
use crate::ledger::limits::drop::drop_of_plan;
use crate::ledger::limits::rows::{Key, with_key};
use crate::ledger::limits::set::{self, NewLimit};
use crate::ledger::wallets::config;
use crate::ledger::wallets::following::{self, Step};
use crate::ledger::wallets::plan_marks::{Marks, RuleKind, mark, unmark};
use crate::ledger::wallets::settings::{Changes, put, put_lanes, put_price_list};
use crate::ledger::wallets::{change, default_limits, model_rules};
use crate::pg::clock;
use crate::pg::jsonb::Builder;
use crate::plans::definition::{Definition, PlanSettings, form_of, form_of_models};
use crate::plans::versions::{self, InForce};
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::uuid_text;

statement!(
    TAKEN_OVER,
    [TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID],
    "UPDATE wallet.wallets
        SET plan = $2, plan_version = $3,
            next_plan = CASE WHEN next_plan_at > $4 THEN next_plan END,
            next_plan_at = CASE WHEN next_plan_at > $4 THEN next_plan_at END
      WHERE wallet_id = $1"
);

/// Registers the function that sets the rules of a plan, when the library is loaded.
pub fn register() {
    following::register(follow, ended_grants);
}

/// Sets the rules of a wallet's plan. The wallet's row is locked.
fn follow(wallet: &str, step: Step) -> Result<()> {
    if step == Step::TakeOver {
        due::before_change(wallet)?;
    }
    let now = clock::now();
    let (plan, in_force) = versions::of_wallet(wallet, now)?;
    if step != Step::Restore {
        // First, so that the calls below find nothing that is due.
        let version = in_force.as_ref().map(|one| one.version);
        TAKEN_OVER.run(&[
            Value::Text(wallet),
            Value::OptText(plan.as_deref()),
            Value::OptInt8(version),
            Value::Time(now),
        ])?;
        // Other backends learn from the epoch that nothing is due any more.
        change::change(wallet, |_| Ok(()))?;
    }
    let empty = Definition::empty()?;
    let taking = Taking::of(wallet, in_force.as_ref(), &empty)?;
    if step != Step::Restore {
        recurring::forget(wallet, &taking.ended_grants()?)?;
    }
    taking.all()?;
    match step {
        Step::TakeOver | Step::Begin => note(wallet, plan.as_deref(), in_force.as_ref()),
        Step::Restore => Ok(()),
    }
}

/// The names of the recurring grants of the plan that a wallet has taken over that the version in
/// force does not have, or has with other values.
fn ended_grants(wallet: &str) -> Result<Vec<String>> {
    let (_, in_force) = versions::of_wallet(wallet, clock::now())?;
    Taking::of(wallet, in_force.as_ref(), &Definition::empty()?)?.ended_grants()
}

/// Records in the audit trail that a wallet has taken a version over.
fn note(wallet: &str, plan: Option<&str>, in_force: Option<&InForce>) -> Result<()> {
    let mut after = Builder::default();
    after.begin_object();
    after.text("plan", plan);
    if let Some(one) = in_force {
        after.decimal("version", one.version.into());
    }
    let act = Act {
        wallet,
        action: "take_over_plan",
        actor: in_force.and_then(|one| one.actor.as_deref()),
        metadata: None,
    };
    note_down(&act, wallet, after.finish_object())
}

/// A wallet that takes over a version.
struct Taking<'a> {
    wallet: &'a str,
    definition: &'a Definition,
    actor: Option<&'a str>,
    /// The marks of the version before.
    marks: Marks,
    /// Whether the parent pays. Then no rule brings the wallet money.
    is_pooled: bool,
}

impl<'a> Taking<'a> {
    /// `empty` is the definition of a wallet without a plan in force.
    fn of(
        wallet: &'a str,
        in_force: Option<&'a InForce>,
        empty: &'a Definition,
    ) -> Result<Taking<'a>> {
        Ok(Taking {
            wallet,
            definition: in_force.map_or(empty, |one| &one.definition),
            actor: in_force.and_then(|one| one.actor.as_deref()),
            marks: Marks::of(wallet)?,
            is_pooled: config::read_basis(wallet)?.pool.is_some(),
        })
    }

    fn all(&self) -> Result<()> {
        self.settings()?;
        self.limits()?;
        self.model_rules()?;
        self.grants()?;
        self.topups()
    }

    /// The call without a key, for the code of the single calls.
    fn call(&self) -> IdempotentCall<'_> {
        IdempotentCall {
            wallet: self.wallet,
            call: "take_over_plan",
            key: None,
            fingerprint: [0; 16],
        }
    }

    /// The names of the plan's rules of a kind that the version no longer has. Their marks are
    /// removed.
    fn gone(&self, kind: RuleKind, stay: &[String]) -> Result<Vec<String>> {
        let mut names = self.marks.names(kind);
        names.retain(|name| !stay.contains(name));
        unmark(self.wallet, kind, &names)?;
        Ok(names)
    }

    /// The settings that are not the wallet's own.
    fn settings(&self) -> Result<()> {
        let (plan, built_in) = (self.definition.settings()?, PlanSettings::BUILT_IN);
        let (mut set, mut gone, mut changes) = (Vec::new(), Vec::new(), Changes::default());
        for name in PlanSettings::NAMES {
            let before = self.marks.form(RuleKind::Setting, name);
            let form = plan.form(name);
            let is_own = self.marks.form(RuleKind::OwnSetting, name).is_some();
            if is_own || before == form.as_deref() {
                continue;
            }
            let from = match form {
                Some(form) => {
                    set.push((name.to_owned(), form));
                    &plan
                }
                None => {
                    gone.push(name.to_owned());
                    &built_in
                }
            };
            match name {
                "price_list" => {
                    let list = from
                        .price_list
                        .map(|list| put_price_list(self.wallet, list));
                    list.transpose()?;
                }
                "lanes" => {
                    let lanes = from.lanes.map(|lanes| put_lanes(self.wallet, lanes));
                    lanes.transpose()?;
                }
                "low_balance" => changes.low_balance.clone_from(&from.low_balance),
                "unknown_price" => changes.unknown_price = from.unknown_price,
                _ => changes.unread_usage = from.unread_usage,
            }
        }
        if changes.low_balance.is_some()
            || changes.unknown_price.is_some()
            || changes.unread_usage.is_some()
        {
            put(self.wallet, &changes)?;
        }
        unmark(self.wallet, RuleKind::Setting, &gone)?;
        mark(self.wallet, RuleKind::Setting, &set)
    }

    fn limits(&self) -> Result<()> {
        let (wallet, kind) = (self.wallet, RuleKind::Limit);
        let zone = default_limits::home(wallet)?.time_zone;
        let plan = self.definition.limits(wallet, Some(&zone))?;
        let (mut stay, mut new): (Vec<String>, Vec<NewLimit<'_>>) = (Vec::new(), Vec::new());
        for limit in &plan {
            let row = self.row_of(limit)?.map(uuid_text);
            let before = row.as_ref().map(|id| self.marks.form(kind, id));
            match before {
                // The wallet has a limit of its own there.
                Some(None) => continue,
                Some(Some(before)) if before == form_of(limit) => {}
                _ => new.push(limit.clone()),
            }
            stay.extend(row);
        }
        let gone = self.gone(kind, &stay)?;
        let id = |text: &String| {
            let id = uuid::Uuid::parse_str(text);
            id.map(uuid::Uuid::into_bytes)
                .map_err(|_| Error::internal(format!("mark {text:?} is no limit")))
        };
        let gone: Vec<[u8; 16]> = gone.iter().map(id).collect::<Result<_>>()?;
        if !gone.is_empty() {
            drop_of_plan(wallet, &gone)?;
        }
        if new.is_empty() {
            return Ok(());
        }
        let ids = set::set_each(wallet, &new, |_, result| result)?;
        let ids = ids.into_iter().map(uuid_text);
        let marks: Vec<(String, String)> = ids.zip(new.iter().map(form_of)).collect();
        mark(wallet, kind, &marks)
    }

    /// The id of the wallet's limit with the names of that one.
    fn row_of(&self, limit: &NewLimit<'_>) -> Result<Option<[u8; 16]>> {
        let [scope, subject, period, metric] = &set::name_of(limit);
        let key = Key {
            scope,
            subject,
            period,
            metric,
        };
        let rows = with_key(self.wallet, &key)?;
        match rows.is_empty() {
            true => Ok(None),
            false => rows.need(0, 0).map(Some),
        }
    }

    fn model_rules(&self) -> Result<()> {
        let (wallet, kind) = (self.wallet, RuleKind::ModelRule);
        let plan = self.definition.model_rules()?;
        let names: Vec<String> = plan.iter().map(model_rules::name_of).collect();
        let own = model_rules::names(wallet)?;
        let (mut new, mut marks) = (Vec::new(), Vec::new());
        for (rule, name) in plan.into_iter().zip(&names) {
            let (before, form) = (self.marks.form(kind, name), form_of_models(&rule));
            let is_own = before.is_none() && own.contains(name);
            if !is_own && before != Some(form.as_str()) {
                new.push(rule);
                marks.push((name.clone(), form));
            }
        }
        let gone = self.gone(kind, &names)?;
        let dropped = gone.iter().filter_map(|name| {
            let (scope, subject) = name.split_once(' ')?;
            let mut all = RuleScope::ALL.iter();
            Some(NewModelRule {
                scope: *all.find(|known| known.as_str() == scope)?,
                subject,
                allowed: None,
                blocked: None,
            })
        });
        new.extend(dropped);
        if !new.is_empty() {
            model_rules::set_of_plan(wallet, &new)?;
        }
        mark(wallet, kind, &marks)
    }

    /// The names of the recurring grants of the version before that this version does not have, or
    /// has with other values. They grant nothing from the change on.
    fn ended_grants(&self) -> Result<Vec<String>> {
        let kind = RuleKind::RecurringGrant;
        let mut names = self.marks.names(kind);
        if !self.is_pooled {
            let plan = self.definition.grants()?;
            names.retain(|name| {
                let mut same = plan.iter().filter(|grant| grant.name() == name);
                let form = same.next().map(|grant| grant.form());
                self.marks.form(kind, name) != form.as_deref()
            });
        }
        Ok(names)
    }

    fn grants(&self) -> Result<()> {
        let (wallet, kind) = (self.wallet, RuleKind::RecurringGrant);
        let plan = match self.is_pooled {
            false => self.definition.grants()?,
            true => Vec::new(),
        };
        let names: Vec<String> = plan.iter().map(|grant| grant.name().to_owned()).collect();
        for name in self.gone(kind, &names)? {
            recurring::set(&NewRecurring::stop(wallet, &name), self.call())?;
        }
        let own = recurring::names(wallet)?;
        for (grant, name) in plan.iter().zip(names) {
            let (before, form) = (self.marks.form(kind, &name), grant.form());
            let is_own = before.is_none() && own.contains(&name);
            if !is_own && before != Some(form.as_str()) {
                recurring::set(&grant.of(wallet, self.actor), self.call())?;
                mark(wallet, kind, &[(name, form)])?;
            }
        }
        Ok(())
    }

    fn topups(&self) -> Result<()> {
        let (wallet, kind) = (self.wallet, RuleKind::TopupRule);
        let plan = match self.is_pooled {
            false => self.definition.topups()?,
            true => Vec::new(),
        };
        let names: Vec<String> = plan.iter().map(|(name, ..)| (*name).to_owned()).collect();
        for name in self.gone(kind, &names)? {
            topup_rules::set(wallet, &name, None, self.call())?;
        }
        let own = topup_rules::names(wallet)?;
        for (name, rule, form) in &plan {
            let before = self.marks.form(kind, name);
            let is_own = before.is_none() && own.iter().any(|own| own == name);
            if !is_own && before != Some(form.as_str()) {
                topup_rules::set(wallet, name, Some(rule), self.call())?;
                mark(wallet, kind, &[((*name).to_owned(), form.clone())])?;
            }
        }
        Ok(())
    }
}
