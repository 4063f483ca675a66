//! Random business: the next act, chosen with a look at the state of the model.

use wallet_tests::Seed;

use crate::act::{About, Act, Event, Over, Place, Scope, Use};
use crate::calendar::{At, Length, ZONES};
use crate::model::Wallet;
use crate::units::ONE;

/// The kind of business of a wallet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kind {
    /// Grants that expire or recur. Without them a wallet has only plain fundings.
    pub ends: bool,
    /// Scoped grants.
    pub scoped: bool,
    /// Grants with a priority, which burn before or after others whatever their expiry.
    pub priorities: bool,
    /// A credit limit.
    pub credit: bool,
}

/// The state of a business.
pub struct Business {
    pub seed: Seed,
    pub kinds: Vec<Kind>,
    pub start: At,
    pub end: At,
}

const USERS: [Option<&str>; 3] = [Some("alice"), Some("bob"), None];
const TEAMS: [Option<&str>; 3] = [Some("red"), Some("blue"), None];
const MODELS: [Option<&str>; 3] = [Some("m1"), Some("m2"), None];
const SERVICES: [Option<&str>; 3] = [Some("chat"), Some("images"), None];

impl Business {
    /// A business with this many wallets, each of a random kind.
    pub fn new(mut seed: Seed, wallets: usize, start: At, end: At) -> Business {
        let kinds = (0..wallets)
            .map(|number| Kind {
                ends: number % 3 > 0 || seed.below(3) > 0,
                scoped: number % 3 == 1,
                priorities: number % 3 == 2,
                credit: seed.below(3) == 0,
            })
            .collect();
        Business {
            seed,
            kinds,
            start,
            end,
        }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.seed.below(from.len() as u64) as usize]
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.seed.below(100) < percent
    }

    fn between(&mut self, from: i64, to: i64) -> i64 {
        from + self
            .seed
            .below((to - from + 1).unsigned_abs())
            .cast_signed()
    }

    /// An amount up to a maximum: in cents, or with all decimals.
    fn amount(&mut self, most: i128) -> i128 {
        if self.chance(70) {
            let cents = (most / (ONE / 100)).clamp(1, 100_000_000) as i64;
            i128::from(self.between(1, cents)) * (ONE / 100)
        } else {
            let most = most.clamp(1, 1_000_000 * ONE) as u64;
            i128::from(self.seed.below(most) + 1)
        }
    }

    /// The acts that create the wallets, with limits and a rule.
    pub fn begin(&mut self) -> Vec<Event> {
        let first = self.seed.below(ZONES.len() as u64) as usize;
        let mut events = Vec::new();
        for of in 0..self.kinds.len() {
            let at = self.start + 1 + of as i64;
            let zone = ZONES[(first + of) % ZONES.len()];
            let credit = if self.kinds[of].credit { 15 * ONE } else { 0 };
            let lanes = self.pick(&[1, 1, 4]);
            events.push(Event {
                at,
                act: Act::Create {
                    of,
                    zone,
                    credit,
                    lanes,
                },
            });
        }
        events
    }

    /// The next moment: soon, the same day or days later. Some are full hours, at which days and
    /// grants begin and end.
    pub fn next_time(&mut self, now: At, left: usize) -> At {
        let pace = (self.end - now).max(60) / (left.max(1) as i64);
        let step = match self.seed.below(10) {
            0..=4 => self.between(1, 500),
            5..=7 => self.between(1, pace.max(2)),
            _ => self.between(1, (pace * 7 / 2).max(2)),
        };
        let then = now + step;
        if self.chance(15) {
            (then / 3600 + 1) * 3600
        } else {
            then
        }
    }

    fn about(&mut self) -> About {
        About {
            user: self.pick(&USERS),
            team: self.pick(&TEAMS),
            model: self.pick(&MODELS),
            service: self.pick(&SERVICES),
            region: self.pick(&[Some("eu"), None]),
            tag: self.pick(&[Some("prod"), Some("test"), None]),
        }
    }

    /// Usage that can mostly be paid: by amount, or by tokens.
    fn cost(&mut self, there: i128, about: &mut About) -> Use {
        if self.chance(30) {
            let model = about.model.unwrap_or("m1");
            about.model = None;
            let most = (there.max(ONE) / 12_000_000).clamp(10, 2_000_000) as i64;
            return Use::Tokens(model, self.between(0, most), self.between(1, most));
        }
        let amount = match self.seed.below(20) {
            // Exactly the available amount, and the smallest amount above it.
            0 if there > 0 => there,
            1 if there > 0 => there + 1,
            2 => there.max(0) + ONE,
            3..=5 => self.amount(there.max(ONE)),
            _ => self.amount((there / 6).max(ONE)),
        };
        Use::Amount(amount)
    }

    /// A moment in the past, mostly in the last days.
    fn late(&mut self, now: At) -> Option<At> {
        if !self.chance(25) {
            return None;
        }
        let most = self.pick(&[3600, 2 * 86_400, 20 * 86_400]);
        Some((now - self.between(1, most)).max(self.start - 3 * 86_400))
    }

    fn end_of_grant(&mut self, now: At) -> At {
        let ends = now
            + self.pick(&[300, 7200, 86_400, 5 * 86_400, 20 * 86_400, 45 * 86_400])
            + self.between(0, 600);
        if self.chance(30) {
            (ends / 3600 + 1) * 3600
        } else {
            ends
        }
    }

    fn some<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        // The newest are chosen most often.
        let last = of.len().checked_sub(1)?;
        let back = self.seed.below(6).min(self.seed.below(40)) as usize;
        Some(of[last.saturating_sub(back)])
    }

    /// The next act of a wallet. `None` if the chosen one is impossible.
    pub fn act(&mut self, wallet: &Wallet, wallets: usize, now: At) -> Option<Act> {
        let of = wallet.of;
        let kind = self.kinds[of];
        let mut about = self.about();
        let there = wallet.room(&about, now);
        let act = match self.seed.below(100) {
            0..=33 => {
                let used = self.late(now);
                Act::Charge {
                    of,
                    cost: self.cost(there, &mut about),
                    about,
                    used,
                }
            }
            34..=47 => {
                let ends = if kind.ends && self.chance(55) {
                    Some(self.end_of_grant(now))
                } else {
                    None
                };
                let scope = if kind.scoped && self.chance(40) {
                    Some(self.pick(&[
                        Scope::Model("m1"),
                        Scope::Model("m2"),
                        Scope::Service("images"),
                    ]))
                } else {
                    None
                };
                let priority = if kind.priorities {
                    self.pick(&[90, 100, 110])
                } else {
                    100
                };
                Act::Fund {
                    of,
                    amount: self.amount(60 * ONE),
                    ends,
                    priority,
                    promotional: kind.ends && self.chance(35),
                    scope,
                    pending: self.chance(15),
                }
            }
            48..=58 => {
                let ttl = self.pick(&[60, 600, 3600, 86_400, 6 * 86_400]);
                let partial = self.chance(15);
                Act::Hold {
                    of,
                    cost: self.cost(there, &mut about),
                    about,
                    ttl,
                    partial,
                }
            }
            59..=68 => {
                let open: Vec<_> = wallet
                    .holds
                    .iter()
                    .filter(|hold| hold.status == "open")
                    .map(|hold| hold.place)
                    .collect();
                let late: Vec<_> = wallet
                    .holds
                    .iter()
                    .filter(|hold| hold.status == "expired")
                    .map(|hold| hold.place)
                    .collect();
                let hold = if open.is_empty() || self.chance(12) {
                    self.some(&late)?
                } else {
                    self.some(&open)?
                };
                let held = wallet.holds.iter().find(|of| of.place == hold)?.held();
                match self.seed.below(10) {
                    0 | 1 => Act::Void { of, hold },
                    2 => Act::Extend {
                        of,
                        hold,
                        ttl: self.pick(&[60, 7200, 2 * 86_400]),
                    },
                    which => {
                        let cost = if self.chance(25) {
                            let model = wallet
                                .holds
                                .iter()
                                .find(|of| of.place == hold)?
                                .about
                                .model
                                .unwrap_or("m2");
                            let most =
                                (held.max(ONE / 100) / 12_000_000).clamp(10, 1_000_000) as i64;
                            Use::Tokens(model, self.between(0, most), self.between(1, most))
                        } else {
                            let most = if self.chance(25) { held * 2 } else { held };
                            Use::Amount(self.amount(most.max(ONE / 100)))
                        };
                        let over = match which {
                            3 => Over::Cap,
                            4 => Over::Debt,
                            _ => Over::Charge,
                        };
                        let is_open = open.contains(&hold);
                        if over == Over::Cap && !is_open {
                            return None;
                        }
                        Act::Settle {
                            of,
                            hold,
                            cost,
                            last: !is_open || self.chance(70),
                            over,
                            used: self.late(now),
                        }
                    }
                }
            }
            69..=76 => {
                let left: Vec<Place> = wallet
                    .charges
                    .iter()
                    .filter(|(_, charge)| charge.refunded < charge.cost)
                    .map(|(place, _)| *place)
                    .collect();
                let charge = self.some(&left)?;
                let rest = wallet.charges[&charge].cost - wallet.charges[&charge].refunded;
                let amount = if self.chance(50) {
                    None
                } else {
                    Some(self.amount(rest).min(rest))
                };
                Act::Refund { of, charge, amount }
            }
            77..=79 => {
                let pending: Vec<Place> = wallet
                    .fundings
                    .iter()
                    .filter(|funding| funding.status == "pending")
                    .map(|funding| funding.place)
                    .collect();
                let funding = self.some(&pending)?;
                if self.chance(75) {
                    Act::SettleFunding { of, funding }
                } else {
                    Act::FailFunding { of, funding }
                }
            }
            80..=82 => {
                let settled: Vec<Place> = wallet
                    .fundings
                    .iter()
                    .filter(|funding| funding.status == "settled")
                    .map(|funding| funding.place)
                    .collect();
                let funding = self.some(&settled)?;
                let found = wallet.fundings.iter().find(|of| of.place == funding)?;
                let rest = found.amount - found.reversed;
                let amount = if self.chance(60) {
                    Some(self.amount(rest).min(rest))
                } else {
                    None
                };
                Act::Reverse {
                    of,
                    funding,
                    amount,
                }
            }
            83..=85 => {
                let sign = self.pick(&[1, -1]);
                Act::Adjust {
                    of,
                    amount: sign * self.amount(8 * ONE),
                }
            }
            86..=88 => {
                let to = self.seed.below(wallets as u64) as usize;
                if to == of {
                    return None;
                }
                Act::Transfer {
                    of,
                    to,
                    amount: self.amount((there / 3).max(ONE)),
                }
            }
            89..=90 => {
                let live: Vec<Place> = wallet
                    .lots
                    .iter()
                    .filter(|lot| lot.status.is_none() && !lot.over)
                    .filter_map(|lot| lot.place)
                    .collect();
                let grant = self.some(&live)?;
                Act::VoidGrant { of, grant }
            }
            91..=93 => {
                let name = self.pick(&["default", "default", "images"]);
                if !kind.ends || self.chance(20) {
                    return Some(Act::StopRecurring { of, name });
                }
                let starts = self.chance(40).then(|| self.between(0, 9));
                let rollover = if self.chance(50) {
                    Some(self.amount(12 * ONE))
                } else {
                    None
                };
                let scope = if kind.scoped && rollover.is_none() && self.chance(30) {
                    Some(Scope::Model("m1"))
                } else {
                    None
                };
                Act::Recurring {
                    of,
                    name,
                    starts,
                    amount: self.amount(10 * ONE),
                    period: self.pick(&[
                        Length::Months(1),
                        Length::Days(7),
                        Length::Days(1),
                        Length::Days(11),
                    ]),
                    lives: self.pick(&[
                        None,
                        Some(Length::Months(1)),
                        Some(Length::Days(7)),
                        Some(Length::Hours(30)),
                        Some(Length::Days(20)),
                    ]),
                    rollover,
                    scope,
                }
            }
            94..=95 => {
                let metric = self.pick(&["amount", "amount", "requests", "tokens", "points"]);
                let period = self.pick(&["day", "month", "week", "lifetime"]);
                let times = if ["month", "lifetime"].contains(&period) {
                    20
                } else {
                    1
                };
                let max = times
                    * match metric {
                        "amount" => self.amount(60 * ONE),
                        "requests" => i128::from(self.between(3, 60)) * ONE,
                        _ => i128::from(self.between(10_000, 9_000_000)) * ONE,
                    };
                Act::SetLimit {
                    of,
                    max,
                    period,
                    scope: self.pick(&["user", "team", "model", "service", "wallet", "user+model"]),
                    metric,
                }
            }
            96 => Act::Rule {
                of,
                rule: self.pick(&["none", "even", "use", "fixed"]),
            },
            97 => Act::SetLanes {
                of,
                lanes: self.pick(&[1, 2, 5]),
            },
            98 => Act::Maintain,
            _ => Act::Archive { of },
        };
        Some(act)
    }
}
