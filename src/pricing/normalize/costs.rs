//! The cost that a provider reports. Pure.

use rust_decimal::Decimal;

use crate::error::Result;
use crate::pg::jsonb::Json;
use crate::pricing::normalize::body::Cost;
use crate::pricing::normalize::path::{Path, member};
use crate::pricing::normalize::reading::{Account, Reading, Role};
use crate::pricing::normalize::refusals;
use crate::pricing::usage::no_amount;

impl<'a> Reading<'a> {
    /// The cost that the provider reports, or the reason that it cannot be used.
    pub(super) fn cost(&self) -> Option<Result<Decimal>> {
        let mut reported = None;
        for cost in &self.fit.body.cost {
            for path in cost.paths() {
                path.each(self.object(path), |json| {
                    let Some(value) = amount(json) else { return };
                    self.seen.borrow_mut().push(json);
                    if let Some(accounts) = &self.accounts {
                        accounts.borrow_mut().push(Account {
                            values: vec![json],
                            path,
                            meter: None,
                            value: value.unwrap_or_default(),
                            quantity: None,
                            role: Role::NotBilled,
                            note: "the cost that the provider reports".to_owned(),
                        });
                    }
                });
            }
            if reported.is_none() {
                reported = self.cost_of(cost);
            }
        }
        reported.or_else(|| match member(self.root, "cost") {
            Some(Json::Number(number)) => Some(number.to_decimal().ok_or_else(no_amount)),
            _ => None,
        })
    }

    fn cost_of(&self, cost: &'a Cost) -> Option<Result<Decimal>> {
        let number = |paths: &'a [Path]| {
            let mut found = paths
                .iter()
                .filter_map(|path| path.first(self.object(path)));
            found.find_map(amount)
        };
        let own = number(&cost.path)?;
        let scaled = own.and_then(|own| match cost.times {
            Some(factor) => own.checked_mul(factor),
            None => Some(own),
        });
        let Some(mut sum) = scaled else {
            return Some(Err(no_amount()));
        };
        for (paths, when) in &cost.plus {
            if !when.iter().all(|one| one.holds(self.fit.usage, self.root)) {
                continue;
            }
            match number(paths) {
                Some(Some(part)) => match sum.checked_add(part) {
                    Some(more) => sum = more,
                    None => return Some(Err(no_amount())),
                },
                _ => {
                    let part = paths.first().map_or(String::new(), |path| self.name(path));
                    return Some(Err(refusals::partial_cost(
                        &self.name(&cost.path[0]),
                        &part,
                    )));
                }
            }
        }
        Some(Ok(sum))
    }
}

/// An amount, which may be written as text. `None` if the JSON is neither; `Some(None)` if it has
/// too many digits.
fn amount(json: &Json) -> Option<Option<Decimal>> {
    match json {
        Json::Number(number) => Some(number.to_decimal()),
        Json::String(text) => Some(Some(Decimal::from_str_exact(text).ok()?)),
        _ => None,
    }
}
