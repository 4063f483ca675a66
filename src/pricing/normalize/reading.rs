//! Follows the paths of a mapping in an object. Pure.

use std::cell::RefCell;

use rust_decimal::Decimal;

use crate::error::Result;
use crate::pg::jsonb::Json;
use crate::pricing::normalize::body::Node;
use crate::pricing::normalize::mapping::Fit;
use crate::pricing::normalize::path::{Object, Path};
use crate::pricing::normalize::refusals;
use crate::pricing::usage::checked_quantity;

/// How a number was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A meter counts it.
    Meter,
    /// It is a part of another number, and a meter counts it.
    Part,
    /// A sum that is checked.
    Total,
    /// The mapping knows it, and no meter counts it.
    NotBilled,
    /// The mapping does not know it.
    Unread,
}

/// A number that was read.
pub struct Account<'a> {
    /// The numbers that the path led to. Empty if the path led to text or to values that it
    /// counted.
    pub values: Vec<&'a Json>,
    /// The path in the mapping.
    pub path: &'a Path,
    /// The meter that it counts for.
    pub meter: Option<&'a str>,
    pub value: Decimal,
    /// The part of the number that the meter counts.
    pub quantity: Option<Decimal>,
    /// How it was counted.
    pub role: Role,
    /// A note for people.
    pub note: String,
}

/// A number that was found, and its path.
pub struct Found<'a> {
    pub path: &'a Path,
    pub value: Decimal,
    /// The position of its account, if accounts are kept.
    pub(super) account: Option<usize>,
}

/// An object that is being read.
pub struct Reading<'a> {
    /// The whole object.
    pub root: &'a Object,
    /// The mapping, and the usage object.
    pub fit: Fit<'a>,
    /// The numbers that paths have led to, identified by address.
    pub(super) seen: RefCell<Vec<&'a Json>>,
    /// How each number was counted, if the reading is to be explained.
    pub(super) accounts: Option<RefCell<Vec<Account<'a>>>>,
}

impl<'a> Reading<'a> {
    /// Begins to read an object that has a shape of a mapping.
    pub fn new(root: &'a Object, fit: Fit<'a>) -> Reading<'a> {
        Reading {
            root,
            fit,
            seen: RefCell::new(Vec::with_capacity(16)),
            accounts: None,
        }
    }

    /// Begins a reading that keeps an account of each number.
    pub fn explained(root: &'a Object, fit: Fit<'a>) -> Reading<'a> {
        Reading {
            accounts: Some(RefCell::default()),
            ..Reading::new(root, fit)
        }
    }

    pub(super) fn object(&self, path: &Path) -> &'a Object {
        if path.is_outside {
            self.root
        } else {
            self.fit.usage
        }
    }

    pub(super) fn account(&self, found: &Found<'_>, change: impl FnOnce(&mut Account<'a>)) {
        if let (Some(accounts), Some(place)) = (&self.accounts, found.account)
            && let Some(account) = accounts.borrow_mut().get_mut(place)
        {
            change(account);
        }
    }

    /// The first of a node's alternatives that is not zero, otherwise the first that exists.
    pub(super) fn first(&self, node: &'a Node, role: Role) -> Result<Option<Found<'a>>> {
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
                        let first = (&*self.name(first.path), first.value);
                        let other = (&*self.name(path), value);
                        return Err(refusals::alternatives_differ(first, other));
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

    /// Notes that a number is not counted because an alternative of it was.
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

    /// The number that a path leads to, or the sum of several.
    pub(super) fn number(&self, path: &'a Path, node: &Node) -> Result<Option<Decimal>> {
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

    /// The sum of the numbers that a path leads to, as quantities of a meter. `value` returns
    /// `None` if the JSON is not a number, and `Some(None)` if the number has too many digits.
    pub(super) fn sum(
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

    /// The path from the whole object, for people.
    pub fn name(&self, path: &Path) -> String {
        match &self.fit.shape.at {
            Some(at) if !path.is_outside => format!("{at}.{path}"),
            _ => path.inside(),
        }
    }
}
