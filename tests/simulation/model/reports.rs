//! The figures of reports, summed from the entries.

use std::collections::BTreeMap;

use super::{Entry, Wallet};
use crate::calendar::{At, day, hour, month};

/// The dimension that usage is summed by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dimension {
    User,
    Team,
    Model,
    Service,
    Region,
    Hour,
    Day,
    Tag,
}

impl Dimension {
    pub const ALL: [Dimension; 8] = [
        Dimension::User,
        Dimension::Team,
        Dimension::Model,
        Dimension::Service,
        Dimension::Region,
        Dimension::Hour,
        Dimension::Day,
        Dimension::Tag,
    ];

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Dimension::User => "user",
            Dimension::Team => "team",
            Dimension::Model => "model",
            Dimension::Service => "service",
            Dimension::Region => "region",
            Dimension::Hour => "hour",
            Dimension::Day => "day",
            Dimension::Tag => "tag:env",
        }
    }

    /// The value of an entry, and a number that distinguishes equal values: an hour that occurs
    /// twice.
    fn of(self, entry: &Entry, zone: &str) -> (String, i32) {
        let text = |value: Option<&str>| value.unwrap_or("-").to_owned();
        let about = &entry.about;
        let value = match self {
            Dimension::User => text(about.user),
            Dimension::Team => text(about.team),
            Dimension::Model => text(about.model),
            Dimension::Service => text(about.service),
            Dimension::Region => text(about.region),
            Dimension::Tag => text(about.tag),
            Dimension::Day => day(entry.used, zone),
            Dimension::Hour => return hour(entry.used, zone),
        };
        (value, 0)
    }
}

/// Sums of usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sums {
    pub requests: i64,
    pub input: i64,
    pub output: i64,
    pub cost: i128,
    pub refunded: i128,
}

impl Sums {
    fn add(&mut self, entry: &Entry) {
        if entry.kind == "charge" {
            self.requests += 1;
            self.input += entry.tokens.0;
            self.output += entry.tokens.1;
            self.cost -= entry.amount;
        } else {
            self.refunded += entry.amount;
        }
    }
}

/// A line of `usage_daily`: day, team, user, service, model.
pub type Line = [String; 5];

impl Wallet {
    fn use_between(&self, from: Option<At>, to: Option<At>) -> impl Iterator<Item = &Entry> {
        let entries = self
            .entries
            .iter()
            .filter(|entry| ["charge", "refund"].contains(&entry.kind));
        entries.filter(move |entry| {
            from.is_none_or(|from| entry.used >= from) && to.is_none_or(|to| entry.used < to)
        })
    }

    /// The usage in a period, by a dimension.
    pub fn usage_by(
        &self,
        dimension: Dimension,
        from: Option<At>,
        to: Option<At>,
    ) -> BTreeMap<(String, i32), Sums> {
        let mut found: BTreeMap<(String, i32), Sums> = BTreeMap::new();
        for entry in self.use_between(from, to) {
            found
                .entry(dimension.of(entry, self.zone))
                .or_default()
                .add(entry);
        }
        found
    }

    /// The usage by day, team, user, service and model.
    pub fn usage_daily(&self) -> BTreeMap<Line, Sums> {
        let mut found: BTreeMap<Line, Sums> = BTreeMap::new();
        for entry in self.use_between(None, None) {
            let text = |value: Option<&str>| value.unwrap_or("-").to_owned();
            let about = &entry.about;
            let line = [
                day(entry.used, self.zone),
                text(about.team),
                text(about.user),
                text(about.service),
                text(about.model),
            ];
            found.entry(line).or_default().add(entry);
        }
        found
    }

    /// What each team bears of a month's usage without a team, and into how many parts that was
    /// divided.
    pub fn shared(&self, at: At) -> (i128, BTreeMap<&'static str, i128>) {
        let (_, from, to) = month(at, self.zone);
        let none = |entry: &&Entry| entry.about.team.is_none();
        let mut pools: BTreeMap<At, i128> = BTreeMap::new();
        for entry in self.use_between(Some(from), Some(to)).filter(none) {
            let of = match entry.charge {
                None => from,
                Some(charge) => {
                    let used = self
                        .entries
                        .iter()
                        .find(|of| of.kind == "charge" && of.place == Some(charge));
                    month(used.expect("a charge").used, self.zone).1
                }
            };
            *pools.entry(of).or_default() -= entry.amount;
        }
        let mut shared: BTreeMap<&'static str, i128> = BTreeMap::new();
        for (first, cost) in &pools {
            let (_, from, to) = month(*first, self.zone);
            let mut own: BTreeMap<&'static str, i128> = BTreeMap::new();
            for entry in self.use_between(Some(from), Some(to)) {
                if let Some(team) = entry.about.team {
                    *own.entry(team).or_default() += if entry.kind == "charge" {
                        -entry.amount
                    } else {
                        0
                    };
                }
            }
            if self.rule == "fixed" {
                own.entry("red").or_default();
                own.entry("blue").or_default();
            }
            let (all, teams) = (own.values().sum::<i128>(), own.len() as i128);
            for (team, cost_of_team) in own {
                let (part, of) = match self.rule {
                    "none" => (0, 1),
                    "use" if all > 0 => (cost_of_team, all),
                    "even" | "use" => (1, teams),
                    _ => (if team == "red" { 6 } else { 3 }, 10),
                };
                *shared.entry(team).or_default() += *cost * part / of;
            }
        }
        (pools.len() as i128, shared)
    }

    /// The sum of the entries of a kind in a period.
    pub fn moved(&self, kind: &str, from: At, to: At) -> i128 {
        let entries = self
            .entries
            .iter()
            .filter(|entry| entry.kind == kind && entry.at >= from && entry.at < to);
        entries.map(|entry| entry.amount).sum()
    }
}
