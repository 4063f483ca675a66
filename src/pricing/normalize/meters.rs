//! Counts the numbers of an object by the nodes of its mapping. The meters are disjoint, and add up
//! to the provider's totals. Pure.

use rust_decimal::Decimal;

use crate::error::Result;
use crate::money::{QUANTITY_DIGITS, significant_digits};
use crate::pg::jsonb::Json;
use crate::pricing::normalize::body::Node;
use crate::pricing::normalize::path::Path;
use crate::pricing::normalize::reading::{Account, Found, Reading, Role};
use crate::pricing::normalize::refusals;
use crate::pricing::normalize::shape::Condition;
use crate::pricing::usage::out_of_range;

/// Quantities by meter. Each meter occurs once.
#[derive(Default)]
pub(super) struct Meters<'a>(pub(super) Vec<(&'a str, Decimal)>);

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

impl<'a> Reading<'a> {
    /// Counts a number and its parts, and returns the number. It is longer than most functions
    /// because every error needs the number, its parts and their names.
    pub(super) fn node(
        &self,
        node: &'a Node,
        meters: &mut Meters<'a>,
        role: Role,
    ) -> Result<Option<Found<'a>>> {
        let holds = |one: &Condition| one.holds(self.fit.usage, self.root);
        if !node.when.iter().all(holds) || node.unless.iter().any(holds) {
            return Ok(None);
        }
        let mut whole = self.first(node, role)?;
        if let Some(whole) = &mut whole {
            for less in &node.less {
                if let Some(part) = self.number(less, node)? {
                    if part > whole.value {
                        let parts = [(self.name(less), part)];
                        let name = self.name(whole.path);
                        return Err(refusals::exceeded(&name, Some(whole.value), &parts));
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
                let name = self.name(whole.as_ref().map_or(&node.path[0], |found| found.path));
                let parts = parts
                    .iter()
                    .map(|(_, part)| (self.name(part.path), part.value));
                let parts: Vec<(String, Decimal)> = parts.collect();
                let whole = whole.map(|found| found.value);
                Err(refusals::exceeded(&name, whole, &parts))
            }
        }
    }

    /// Reduces the parts that may also be included in others until all parts fit into their whole.
    /// Returns the sum of the reductions.
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
            // An overlapping part is within the whole, and within the other parts together.
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

    /// Compares the total of the provider with the sum of the meters. All paths of the total are
    /// read, although the first that is not zero applies: a path that is skipped would count as
    /// unread.
    pub(super) fn check_total(&self, meters: &mut Meters<'a>, outside: Decimal) -> Result<()> {
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
            _ => {
                let parts = self.found_tokens();
                Err(refusals::contradiction(
                    &self.name(path),
                    value,
                    sum,
                    &parts,
                ))
            }
        }
    }

    /// The numbers of tokens that have a path of their own, for a message.
    fn found_tokens(&self) -> Vec<(String, Decimal)> {
        let nodes = self.fit.body.meters.iter();
        nodes
            .filter(|node| !node.outside_total && node.meter.ends_with("_tokens"))
            .filter_map(|node| self.first(node, Role::Meter).ok().flatten())
            .filter(|found| !found.value.is_zero())
            .map(|found| (self.name(found.path), found.value))
            .collect()
    }
}

/// The sum of several numbers of a meter may have too many digits.
pub(super) fn check_digits(meter: &str, quantity: Decimal) -> Result<()> {
    let magnitude = quantity.normalize().trunc().mantissa().unsigned_abs();
    if significant_digits(quantity) > QUANTITY_DIGITS || magnitude >= 10_u128.pow(QUANTITY_DIGITS) {
        return Err(out_of_range(meter));
    }
    Ok(())
}
