//! A mapping applied to an object: disjoint meters that add up to the provider's totals. Pure.

use std::cell::RefCell;

use rust_decimal::Decimal;

use crate::error::Result;
use crate::money::{QUANTITY_DIGITS, significant_digits};
use crate::pg::jsonb::Json;
use crate::pricing::normalize::attributes::Stated;
use crate::pricing::normalize::body::Node;
use crate::pricing::normalize::mapping::Fit;
use crate::pricing::normalize::numbers::{Walk, is_zero};
use crate::pricing::normalize::path::{Object, Path};
use crate::pricing::normalize::refusals;
use crate::pricing::usage::{Unread, Usage, checked_quantity, out_of_range};

/// What became of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is a meter.
    Meter,
    /// It is a part of another number, and a meter.
    Part,
    /// A sum that is checked.
    Total,
    /// It is known, and no meter.
    NotBilled,
    /// Nothing reads it.
    Unread,
}

/// A number that was read.
pub struct Account<'a> {
    /// Where the path led: the numbers themselves; none where the path counts.
    pub values: Vec<&'a Json>,
    /// The path as it stands in the mapping.
    pub path: &'a Path,
    /// The meter that it counts for.
    pub meter: Option<&'a str>,
    /// The number.
    pub value: Decimal,
    /// What the meter gets of it.
    pub quantity: Option<Decimal>,
    /// What became of it.
    pub role: Role,
    /// A note for people.
    pub note: String,
}

/// Meters with their quantities, each once.
#[derive(Default)]
struct Meters<'a>(Vec<(&'a str, Decimal)>);

impl<'a> Meters<'a> {
    fn of(&mut self, meter: &'a str) -> &mut Decimal {
        let place = match self.0.iter().position(|(name, _)| *name == meter) {
            Some(place) => place,
            None => {
                self.0.push((meter, Decimal::ZERO));
                self.0.len() - 1
            }
        };
        &mut self.0[place].1
    }

    fn tokens(&self) -> Decimal {
        self.0
            .iter()
            .filter(|(meter, _)| meter.ends_with("_tokens"))
            .map(|(_, quantity)| quantity)
            .sum()
    }
}

/// A number that was found, and where.
pub struct Found<'a> {
    /// Where.
    pub path: &'a Path,
    /// The number.
    pub value: Decimal,
    /// The place of its account, where accounts are kept.
    account: Option<usize>,
}

/// An object that is being read.
pub struct Reading<'a> {
    /// The whole object.
    pub root: &'a Object,
    /// The mapping, and the usage object.
    pub fit: Fit<'a>,
    /// The numbers that paths have led to.
    pub(super) seen: RefCell<Vec<&'a Json>>,
    /// What became of each, for people.
    pub(super) accounts: Option<RefCell<Vec<Account<'a>>>>,
}

impl<'a> Reading<'a> {
    /// Of an object that has a shape of a mapping.
    pub fn new(root: &'a Object, fit: Fit<'a>) -> Reading<'a> {
        Reading {
            root,
            fit,
            seen: RefCell::new(Vec::with_capacity(16)),
            accounts: None,
        }
    }

    /// The same with an account of each number.
    pub fn explained(root: &'a Object, fit: Fit<'a>) -> Reading<'a> {
        Reading {
            accounts: Some(RefCell::default()),
            ..Reading::new(root, fit)
        }
    }

    /// What was read, or why it was refused.
    pub fn read(&self) -> Result<Usage> {
        let body = self.fit.body;
        let mut meters = Meters::default();
        let mut outside = Decimal::ZERO;
        for node in &body.meters {
            let value = self.node(node, &mut meters, Role::Meter)?;
            if node.outside_total && node.meter.ends_with("_tokens") {
                outside += value.map_or(Decimal::ZERO, |found| found.value);
            }
        }
        self.check_total(&mut meters, outside)?;
        for (meter, quantity) in &meters.0 {
            check_digits(meter, *quantity)?;
        }
        let service_tier = self.attribute("service_tier", &body.service_tier)?;
        let reported_cost = self.cost();
        if self.fit.shape.at.is_some()
            && let Some(stranger) = self.stranger()
        {
            return Err(refusals::beside(stranger, &self.fit.mapping.name));
        }
        Ok(Usage {
            model: self.attribute("model", &body.model)?.name(),
            provider: self.attribute("provider", &body.provider)?.name(),
            region: self.attribute("region", &body.region)?.name(),
            is_standard_tier: service_tier == Stated::Ordinary,
            service_tier: service_tier.name(),
            numbers: meters
                .0
                .into_iter()
                .map(|(meter, quantity)| (meter.to_owned(), Ok(quantity.normalize())))
                .collect(),
            object: self.facts(),
            is_mapped: true,
            is_plain: false,
            extra: Vec::new(),
            reported_cost,
            mapping: Some(self.fit.mapping.name.clone()),
            unread: self.unread(),
        })
    }

    pub(super) fn object(&self, path: &Path) -> &'a Object {
        if path.is_outside {
            self.root
        } else {
            self.fit.usage
        }
    }

    /// Counts a number and its parts, and gives the number.
    fn node(
        &self,
        node: &'a Node,
        meters: &mut Meters<'a>,
        role: Role,
    ) -> Result<Option<Found<'a>>> {
        let holds = |one: &crate::pricing::normalize::shape::Condition| {
            one.holds(self.fit.usage, self.root)
        };
        if !node.when.iter().all(holds) || node.unless.iter().any(holds) {
            return Ok(None);
        }
        let mut whole = self.first(node, role)?;
        if let Some(whole) = &mut whole {
            for less in &node.less {
                if let Some(part) = self.number(less, node)? {
                    if part > whole.value {
                        let part = Found {
                            path: less,
                            value: part,
                            account: None,
                        };
                        return Err(refusals::exceeded(self, Some(whole), node, &[part]));
                    }
                    whole.value -= part;
                }
            }
            meters.of(&node.meter);
        }
        let mut parts = Vec::new();
        for part in &node.parts {
            if let Some(found) = self.node(part, meters, Role::Part)? {
                parts.push((part, found));
            }
        }
        let mut sum: Decimal = parts.iter().map(|(_, part)| part.value).sum();
        if let Some(whole) = &whole {
            sum -= self.cut_overlaps(&mut parts, sum - whole.value, meters);
        }
        match &whole {
            Some(found) if sum <= found.value => {
                let own = found.value - sum;
                *meters.of(&node.meter) += own;
                self.account(found, |account| account.quantity = Some(own));
                Ok(whole)
            }
            None if node.implied || sum.is_zero() => Ok(parts.first().map(|(_, part)| Found {
                path: part.path,
                value: sum,
                account: None,
            })),
            _ => {
                let parts: Vec<Found<'_>> = parts.into_iter().map(|(_, found)| found).collect();
                Err(refusals::exceeded(self, whole.as_ref(), node, &parts))
            }
        }
    }

    /// Takes what is too much out of the parts that may be in others as well; gives how much that was.
    fn cut_overlaps(
        &self,
        parts: &mut [(&'a Node, Found<'a>)],
        excess: Decimal,
        meters: &mut Meters<'a>,
    ) -> Decimal {
        let mut cut = Decimal::ZERO;
        let all: Decimal = parts.iter().map(|(_, part)| part.value).sum();
        let whole = all - excess;
        for (node, found) in parts.iter_mut().filter(|(node, _)| node.overlaps) {
            // No part is greater than the whole, nor in others with more than these have.
            let most = if found.value > whole {
                Decimal::ZERO
            } else {
                found.value.min(all - cut - found.value)
            };
            let part = (excess - cut).min(most).max(Decimal::ZERO);
            if part.is_zero() {
                continue;
            }
            found.value -= part;
            cut += part;
            *meters.of(&node.meter) -= part;
            let left = found.value;
            self.account(found, |account| {
                account.quantity = Some(left);
                account.note = format!("{part} of it are in other parts as well");
            });
        }
        cut
    }

    fn account(&self, found: &Found<'_>, change: impl FnOnce(&mut Account<'a>)) {
        if let (Some(accounts), Some(place)) = (&self.accounts, found.account)
            && let Some(account) = accounts.borrow_mut().get_mut(place)
        {
            change(account);
        }
    }

    /// The first of a node's alternatives that is there and not zero, or else the first that is there.
    fn first(&self, node: &'a Node, role: Role) -> Result<Option<Found<'a>>> {
        let mut found: Option<Found<'a>> = None;
        for path in &node.path {
            let begin = self.seen.borrow().len();
            let Some(value) = self.number(path, node)? else {
                continue;
            };
            let account = self.keep(begin, path, value, role, node);
            match &found {
                Some(first) if !first.value.is_zero() => {
                    if !value.is_zero() && value != first.value && !node.takes_first {
                        return Err(refusals::alternatives_differ(self, first, path, value));
                    }
                    self.note_alternative(account, first.path);
                }
                Some(first) if value.is_zero() => self.note_alternative(account, first.path),
                earlier => {
                    if let Some(earlier) = earlier {
                        self.note_alternative(earlier.account, path);
                    }
                    found = Some(Found {
                        path,
                        value,
                        account,
                    });
                }
            }
        }
        Ok(found)
    }

    /// Keeps an account of the numbers that a path led to.
    fn keep(
        &self,
        begin: usize,
        path: &'a Path,
        value: Decimal,
        role: Role,
        node: &'a Node,
    ) -> Option<usize> {
        let accounts = self.accounts.as_ref()?;
        let mut accounts = accounts.borrow_mut();
        accounts.push(Account {
            values: self.seen.borrow()[begin..].to_vec(),
            path,
            meter: Some(&node.meter),
            value,
            quantity: Some(value),
            role,
            note: node.why.to_string(),
        });
        Some(accounts.len() - 1)
    }

    /// An alternative of a number that counts already counts no more.
    fn note_alternative(&self, account: Option<usize>, of: &Path) {
        if let (Some(accounts), Some(place)) = (&self.accounts, account)
            && let Some(account) = accounts.borrow_mut().get_mut(place)
        {
            account.meter = None;
            account.quantity = None;
            account.role = Role::NotBilled;
            account.note = format!("counted by {}", self.name(of));
        }
    }

    /// The number that a path leads to; the sum, where it leads to several.
    fn number(&self, path: &'a Path, node: &Node) -> Result<Option<Decimal>> {
        let object = self.object(path);
        let times = |value: Decimal| match node.times {
            Some(factor) => value.checked_mul(factor).map(|value| value.normalize()),
            None => Some(value),
        };
        if let Some(tally) = path.tally {
            let count = path.count(object, tally);
            path.each(object, |json| {
                if let Json::Number(_) = json {
                    self.seen.borrow_mut().push(json);
                }
            });
            let value = (count > 0 || path.is_present(object)).then(|| Decimal::from(count));
            return Ok(value.and_then(times));
        }
        self.sum(path, &node.meter, |json| match json {
            Json::Number(number) => Some(number.to_decimal().and_then(times)),
            Json::String(text) if node.is_text => {
                Some(Decimal::from_str_exact(text).ok().and_then(times))
            }
            _ => None,
        })
    }

    /// The sum of the numbers that a path leads to, as quantities of a meter. `value` is none where something is no number,
    /// and has none where the number has too many digits.
    fn sum(
        &self,
        path: &'a Path,
        meter: &str,
        value: impl Fn(&Json) -> Option<Option<Decimal>>,
    ) -> Result<Option<Decimal>> {
        let mut sum = Ok(None);
        path.each(self.object(path), |json| {
            let Ok(before) = &sum else { return };
            let before: Decimal = before.unwrap_or_default();
            if let Json::Number(_) = json {
                self.seen.borrow_mut().push(json);
            }
            sum = match value(json) {
                Some(value) => checked_quantity(meter, value, || self.name(path))
                    .map(|value| Some(before + value)),
                None => Err(refusals::not_a_number(&self.name(path))),
            };
        });
        sum
    }

    /// The path as seen from the whole object.
    pub fn name(&self, path: &Path) -> String {
        match &self.fit.shape.at {
            Some(at) if !path.is_outside => format!("{at}.{path}"),
            _ => path.inside(),
        }
    }

    fn check_total(&self, meters: &mut Meters<'a>, outside: Decimal) -> Result<()> {
        let Some(total) = &self.fit.body.total else {
            return Ok(());
        };
        let mut found: Option<(&'a Path, Decimal)> = None;
        for path in &total.path {
            let begin = self.seen.borrow().len();
            let value = self.sum(path, "input_tokens", |json| match json {
                Json::Number(number) => Some(number.to_decimal()),
                _ => None,
            })?;
            let Some(value) = value else { continue };
            if let Some(accounts) = &self.accounts {
                accounts.borrow_mut().push(Account {
                    values: self.seen.borrow()[begin..].to_vec(),
                    path,
                    meter: None,
                    value,
                    quantity: None,
                    role: Role::Total,
                    note: "the provider's sum of all tokens, which is checked".to_owned(),
                });
            }
            if found.is_none_or(|(_, first)| first.is_zero()) {
                found = Some((path, value));
            }
        }
        let Some((path, value)) = found else {
            return Ok(());
        };
        let sum = meters.tokens() - outside;
        match &total.rest {
            _ if value == sum => Ok(()),
            Some(rest) if value > sum => {
                *meters.of(rest) += value - sum;
                if let Some(accounts) = &self.accounts {
                    let mut accounts = accounts.borrow_mut();
                    let own = accounts.iter_mut().rfind(|account| account.path == path);
                    if let Some(account) = own {
                        account.meter = Some(rest);
                        account.quantity = Some(value - sum);
                        account.note = "what the sum has beyond the others".to_owned();
                    }
                }
                Ok(())
            }
            _ => Err(refusals::contradiction(self, path, value, sum)),
        }
    }

    /// The meters that have a number of their own, for a message.
    pub fn found_tokens(&self) -> Vec<(String, Decimal)> {
        let nodes = self.fit.body.meters.iter();
        nodes
            .filter(|node| !node.outside_total && node.meter.ends_with("_tokens"))
            .filter_map(|node| self.first(node, Role::Meter).ok().flatten())
            .filter(|found| !found.value.is_zero())
            .map(|found| (self.name(found.path), found.value))
            .collect()
    }

    /// A meter's name in the whole object beside the usage object, with a number other than zero that nothing reads.
    fn stranger(&self) -> Option<&'a str> {
        let seen = self.seen.borrow();
        self.root.iter().find_map(|(key, value)| {
            let is_strange = matches!(value, Json::Number(number) if !is_zero(number))
                && crate::pricing::lines::is_known_meter(key)
                && !seen.iter().any(|one| std::ptr::eq(*one, value));
            is_strange.then_some(&**key)
        })
    }

    /// The walks over the numbers of the usage object, and of those beside it that are accounted for as well.
    fn walks(&self) -> Vec<Walk<'a, 'a>> {
        let own = Walk::new(self.fit.usage, self.fit.shape.at.as_ref());
        let mut walks = vec![own];
        for path in &self.fit.body.also {
            path.each(self.root, |json| {
                let object = json.as_object();
                walks.extend(object.map(|object| Walk::new(object, Some(path))));
            });
        }
        walks
    }

    /// What nothing reads.
    fn unread(&self) -> Vec<Unread> {
        let seen = self.seen.borrow();
        let walks = self.walks();
        if walks.iter().all(|walk| walk.all_in(&seen)) {
            return Vec::new();
        }
        let covered = self.not_billed();
        let covered: Vec<&Json> = covered.iter().map(|(json, _)| *json).collect();
        let unread = walks.iter().map(|walk| walk.unread(&seen, &covered));
        unread.flatten().collect()
    }

    /// What the mapping says is not billed, and why.
    fn not_billed(&self) -> Vec<(&'a Json, &'a str)> {
        let mut covered = Vec::new();
        for one in &self.fit.body.not_billed {
            for path in &one.path {
                path.each(self.object(path), |json| covered.push((json, &*one.why)));
            }
        }
        covered
    }

    /// An account of every number, in the order of the usage object; what stands elsewhere comes last.
    pub fn accounts(self) -> Vec<crate::pricing::normalize::explain::Explained> {
        let covered = self.not_billed();
        let walks = self.walks();
        let accounts = self.accounts.as_ref().map(RefCell::borrow);
        crate::pricing::normalize::explain::of(
            &walks,
            accounts.as_deref().map_or(&[], Vec::as_slice),
            &covered,
            |path| self.name(path),
        )
    }
}

/// Several numbers of a meter may add up to more than a quantity may have.
fn check_digits(meter: &str, quantity: Decimal) -> Result<()> {
    let magnitude = quantity.normalize().trunc().mantissa().unsigned_abs();
    if significant_digits(quantity) > QUANTITY_DIGITS || magnitude >= 10_u128.pow(QUANTITY_DIGITS) {
        return Err(out_of_range(meter));
    }
    Ok(())
}
