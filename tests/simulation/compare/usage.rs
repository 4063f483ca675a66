//! Compares reports of usage: by day, by dimension, by department, for FOCUS.

use std::collections::BTreeMap;

use super::{Look, amount, number, text};
use crate::calendar::{At, month, text as moment};
use crate::model::{Dimension, Line, Sums};
use crate::units::{ONE, decimal, divided};

impl Look<'_> {
    pub(super) fn usage(&mut self) {
        let sql = format!(
            "SELECT * FROM wallet.usage_daily WHERE wallet = '{}'",
            self.name()
        );
        if let Some(rows) = self.rows("usage_daily", &sql) {
            let mut shown: BTreeMap<Line, Sums> = BTreeMap::new();
            for row in &rows {
                let line = ["day", "team", "user_id", "service", "model"]
                    .map(|column| text(row, column).unwrap_or("-").to_owned());
                let sums = Sums {
                    requests: number(row, "requests"),
                    input: number(row, "input_tokens"),
                    output: number(row, "output_tokens"),
                    cost: amount(row, "cost"),
                    refunded: amount(row, "refunded"),
                };
                shown.insert(line, sums);
            }
            let expected = self.wallet.usage_daily();
            self.sums("usage_daily", &shown, &expected);
        }
        let (one, other) = (self.some_time(), self.some_time());
        let (_, first, next) = month(one, self.wallet.zone);
        let mut ranges = vec![
            (None, None),
            (Some(first), Some(next)),
            (Some(one.min(other)), Some(one.max(other))),
        ];
        ranges.push((None, Some(first)));
        for dimension in Dimension::ALL {
            let (from, to) = ranges[self.seed.below(4) as usize];
            self.usage_by(dimension, from, to);
        }
    }

    fn some_time(&mut self) -> At {
        let from = self.wallet.created - 86_400;
        from + self
            .seed
            .below((self.now - from).max(1).unsigned_abs())
            .cast_signed()
    }

    fn sums<K: std::fmt::Debug + Ord + Clone>(
        &mut self,
        area: &str,
        shown: &BTreeMap<K, Sums>,
        expected: &BTreeMap<K, Sums>,
    ) {
        let keys: std::collections::BTreeSet<K> =
            shown.keys().chain(expected.keys()).cloned().collect();
        for key in keys {
            if shown.get(&key) != expected.get(&key) {
                self.differs(
                    area,
                    format!(
                        "{key:?}: expected {:?}, got {:?}",
                        expected.get(&key),
                        shown.get(&key)
                    ),
                );
            }
        }
    }

    fn usage_by(&mut self, dimension: Dimension, from: Option<At>, to: Option<At>) {
        let quoted =
            |at: Option<At>| at.map_or("NULL".to_owned(), |at| format!("'{}'", moment(at)));
        let name = dimension.name();
        let area = format!("usage_by({name})");
        let sql = format!(
            "SELECT * FROM wallet.usage_by('{}', '{name}', {}, {})",
            self.name(),
            quoted(from),
            quoted(to)
        );
        let Some(rows) = self.rows(&area, &sql) else {
            return;
        };
        let expected = self.wallet.usage_by(dimension, from, to);
        // Input and output tokens are added up here. Equal values are distinguished by their order.
        let group = |value: &str, sums: Sums| {
            (
                value.to_owned(),
                sums.requests,
                sums.input + sums.output,
                sums.cost,
                sums.refunded,
            )
        };
        let mut told: Vec<_> = expected
            .iter()
            .map(|((value, _), sums)| group(value, *sums))
            .collect();
        let mut shown: Vec<_> = rows
            .iter()
            .map(|row| {
                let value = text(row, "value").unwrap_or("-");
                let value = if dimension == Dimension::Hour {
                    &value[..value.len().min(16)]
                } else {
                    value
                };
                (
                    value.to_owned(),
                    number(row, "requests"),
                    number(row, "tokens"),
                    amount(row, "cost"),
                    amount(row, "refunded"),
                )
            })
            .collect();
        told.sort();
        shown.sort();
        let range = format!("from {} to {}", quoted(from), quoted(to));
        if told != shown {
            let more: Vec<_> = shown.iter().filter(|row| !told.contains(row)).collect();
            let less: Vec<_> = told.iter().filter(|row| !shown.contains(row)).collect();
            self.differs(&area, format!("{range}, (value, requests, tokens, cost, refunded)\n  expected {less:?}\n  got      {more:?}"));
            return;
        }
        let total: i128 = shown.iter().map(|row| row.3).sum();
        let mut shares = 0;
        for row in &rows {
            let (requests, cost) = (number(row, "requests"), amount(row, "cost"));
            let average = (requests > 0).then(|| decimal(divided(cost, i128::from(requests))));
            let got = text(row, "average_cost").map(|_| decimal(amount(row, "average_cost")));
            self.same(
                "usage_by.average_cost",
                &format!("{name} {range}, {cost} of {requests}"),
                got,
                average,
            );
            let share = amount(row, "share");
            shares += share;
            if total > 0 && (share - divided(cost * ONE, total)).abs() > ONE / 100_000 {
                self.differs(
                    "usage_by.share",
                    format!(
                        "{name} {range}: {} of {} is {}",
                        decimal(cost),
                        decimal(total),
                        decimal(share)
                    ),
                );
            }
        }
        if total > 0 {
            self.equal(
                "usage_by.share adds up",
                &format!("{name} {range}"),
                shares,
                ONE,
            );
        }
    }

    /// The cost of each team in a month: its own usage, and its part of the usage without a team,
    /// for any rule.
    pub(super) fn chargeback(&mut self) {
        let (first, from, to) = month(self.some_time(), self.wallet.zone);
        let sql = format!(
            "SELECT * FROM wallet.chargeback('{}', '{first}')",
            self.name()
        );
        let Some(rows) = self.rows("chargeback", &sql) else {
            return;
        };
        let teams = self.wallet.usage_by(Dimension::Team, Some(from), Some(to));
        let (cost, refunded) = teams.values().fold((0, 0), |sum, team| {
            (sum.0 + team.cost, sum.1 + team.refunded)
        });
        let what = format!("{first}, rule {}", self.wallet.rule);
        let sum = |column: &str| rows.iter().map(|row| amount(row, column)).sum::<i128>();
        self.equal(
            "chargeback.total",
            &format!("{what}: total_cost"),
            sum("total_cost"),
            cost,
        );
        self.equal(
            "chargeback.refunded",
            &format!("{what}: refunded"),
            sum("refunded"),
            refunded,
        );
        self.equal(
            "chargeback.shared",
            &format!("{what}: what is shared comes from the unallocated"),
            sum("shared_cost"),
            0,
        );
        for row in &rows {
            let team = text(row, "team").unwrap_or("-").to_owned();
            let own = teams.get(&(team.clone(), 0)).copied().unwrap_or_default();
            self.equal(
                "chargeback.refunded",
                &format!("{what}: team {team}"),
                amount(row, "refunded"),
                own.refunded,
            );
            self.equal(
                "chargeback.direct",
                &format!("{what}: team {team}"),
                amount(row, "direct_cost"),
                own.cost,
            );
            let total = amount(row, "direct_cost") + amount(row, "shared_cost");
            self.equal(
                "chargeback.row",
                &format!("{what}: team {team}"),
                amount(row, "total_cost"),
                total,
            );
        }
        self.shares_of_teams(&what, from, &rows);
    }

    /// The rule in exact numbers. Usage without a team is split, minus its refunds. Refunds of
    /// other months' shared cost go to the teams that bore it.
    fn shares_of_teams(&mut self, what: &str, from: At, rows: &[postgres::SimpleQueryRow]) {
        let (pools, shared) = self.wallet.shared(from);
        for row in rows {
            let Some(team) = text(row, "team").map(str::to_owned) else {
                continue;
            };
            let (shown, expected) = (
                amount(row, "shared_cost"),
                shared.get(team.as_str()).copied().unwrap_or(0),
            );
            // Rounded so that everything adds up, once for each month.
            if (shown - expected).abs() > pools {
                self.differs(
                    "chargeback.share",
                    format!(
                        "{what}: team {team}: expected {}, got {}",
                        decimal(expected),
                        decimal(shown)
                    ),
                );
            }
        }
    }

    pub(super) fn focus(&mut self) {
        let sql = format!(
            "SELECT coalesce(sum(\"BilledCost\"), 0) AS billed, coalesce(sum(\"EffectiveCost\"), 0) AS effective
               FROM wallet.focus WHERE \"BillingAccountId\" = '{}'",
            self.name()
        );
        let Some(rows) = self.rows("focus", &sql) else {
            return;
        };
        let Some(row) = rows.first() else {
            return;
        };
        let kind = |kind: &str| {
            self.wallet
                .entries
                .iter()
                .filter(|entry| entry.kind == kind && !entry.promotional)
                .map(|entry| entry.amount)
                .sum::<i128>()
        };
        let (billed, effective) = (
            kind("funding") + kind("chargeback"),
            -kind("charge") - kind("refund"),
        );
        self.equal(
            "focus.BilledCost",
            "sum: fundings that were paid, less chargebacks",
            amount(row, "billed"),
            billed,
        );
        self.equal(
            "focus.EffectiveCost",
            "sum: use less refunds",
            amount(row, "effective"),
            effective,
        );
    }
}
