//! Limits: their usage and held amounts, counted from the charges on each request.

use super::{Wallet, measure};
use crate::act::{About, Use};
use crate::calendar::{At, window};
use crate::units::ONE;

/// The users and models of the business, and the subject of each combination.
pub const PAIRS: [(&str, &str, &str); 4] = [
    ("alice", "m1", "[\"alice\",\"m1\"]"),
    ("alice", "m2", "[\"alice\",\"m2\"]"),
    ("bob", "m1", "[\"bob\",\"m1\"]"),
    ("bob", "m2", "[\"bob\",\"m2\"]"),
];

/// A limit for each subject of its scope.
#[derive(Clone, Debug)]
pub struct Limit {
    pub scope: &'static str,
    pub period: &'static str,
    pub metric: &'static str,
    pub max: i128,
    /// When it was created. Windows that had ended by then count only what was booked afterwards.
    /// The others count from their beginning.
    pub made: At,
}

/// The beginning of the window that contains a moment.
pub fn window_of(limit: &Limit, at: At, zone: &str) -> Option<At> {
    window(at, limit.period, zone).0
}

impl Limit {
    /// The subject whose allowance it is. `None` if the limit does not apply to the usage.
    pub fn subject(&self, about: &About) -> Option<&'static str> {
        match self.scope {
            "wallet" => Some("*"),
            "user" => about.user,
            "team" => about.team,
            "model" => about.model,
            "service" => about.service,
            "user+model" => {
                let both = (about.user?, about.model?);
                let pair = PAIRS.iter().find(|pair| (pair.0, pair.1) == both);
                Some(pair.expect("a user and a model of the business").2)
            }
            other => panic!("no scope {other}"),
        }
    }

    /// How much of it the usage takes.
    pub fn need(&self, cost: i128, requests: i64, tokens: i64) -> i128 {
        match self.metric {
            "amount" => cost,
            "requests" => i128::from(requests) * ONE,
            "tokens" => i128::from(tokens) * ONE,
            // The weights of tests/simulation/run.rs.
            "points" => i128::from(requests) * 1000 * ONE + i128::from(tokens) * ONE / 2,
            other => panic!("no metric {other}"),
        }
    }
}

/// A limit that applies to usage: which, whose, in which window, how much it takes.
#[derive(Clone, Debug)]
pub struct Applied {
    pub limit: usize,
    pub subject: &'static str,
    pub window: Option<At>,
    pub need: i128,
}

impl Wallet {
    /// The limits that apply to usage at a moment.
    pub fn applied(
        &self,
        about: &About,
        at: At,
        cost: i128,
        requests: i64,
        tokens: i64,
    ) -> Vec<Applied> {
        let limits = self.limits.iter().enumerate();
        limits
            .filter_map(|(limit, of)| {
                Some(Applied {
                    limit,
                    subject: of.subject(about)?,
                    window: window_of(of, at, self.zone),
                    need: of.need(cost, requests, tokens),
                })
            })
            .collect()
    }

    /// What was used in a window.
    pub fn used(&self, limit: usize, subject: &str, window: Option<At>) -> i128 {
        let of = &self.limits[limit];
        self.charges
            .values()
            .filter(|charge| of.subject(&charge.about) == Some(subject))
            .filter(|charge| window_of(of, charge.window_at, self.zone) == window)
            .filter(|charge| {
                let (_, end) = crate::calendar::window(charge.window_at, of.period, self.zone);
                charge.at >= of.made || end.is_none_or(|end| end > of.made)
            })
            .map(|charge| {
                of.need(
                    charge.cost - charge.refunded,
                    charge.requests,
                    charge.tokens,
                )
            })
            .sum()
    }

    /// The amount held in the window.
    pub fn held_of(&self, limit: usize, subject: &str, window: Option<At>) -> i128 {
        let windows = self.holds.iter().flat_map(|hold| &hold.windows);
        let same = windows.filter(|(of, whose, when, _)| {
            (*of, whose.as_str(), *when) == (limit, subject, window)
        });
        same.map(|window| window.3).sum()
    }

    /// The rest of the limit.
    pub fn left_of(&self, applied: &Applied) -> i128 {
        let used = self.used(applied.limit, applied.subject, applied.window);
        let held = self.held_of(applied.limit, applied.subject, applied.window);
        (self.limits[applied.limit].max - used - held).max(0)
    }

    /// Whether each of them has enough left.
    pub fn allow(&self, applied: &[Applied]) -> bool {
        applied
            .iter()
            .all(|one| one.need == 0 || one.need <= self.left_of(one))
    }

    /// The result that `charge` would have.
    pub fn would(&self, cost: &Use, about: &About, now: At) -> Result<(), &'static str> {
        let (amount, tokens, model) = measure(cost);
        let about = About {
            model: about.model.or(model),
            ..about.clone()
        };
        if amount > self.room(&about, now) {
            return Err("WL001");
        }
        let applied = self.applied(&about, now, amount, 1, tokens.0 + tokens.1);
        if self.allow(&applied) {
            Ok(())
        } else {
            Err("WL002")
        }
    }
}
