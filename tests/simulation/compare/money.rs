//! Compares the current state: balances, lots, holds, fundings, limits.

use std::collections::BTreeMap;

use super::{Look, amount, number, text};
use crate::act::{About, Place};
use crate::calendar::text as moment;
use crate::model::{PAIRS, window_of};

/// A grant: act, amount, expiry, remaining, status, promotional.
type Shown = (Option<Place>, i128, Option<i64>, i128, String, bool);

impl<'a> Look<'a> {
    /// Acts by the ids they created. A funding that is settled later has the id of the call that
    /// requested it.
    fn known(&self) -> BTreeMap<&'a str, Place> {
        self.ids
            .iter()
            .rev()
            .map(|(place, id)| (id.as_str(), *place))
            .collect()
    }

    pub(super) fn balances(&mut self) {
        let sql = format!(
            "SELECT * FROM wallet.balances WHERE wallet = '{}'",
            self.name()
        );
        let Some(rows) = self.rows("balances", &sql) else {
            return;
        };
        self.same("balances", "rows", rows.len(), 1);
        let Some(row) = rows.first() else {
            return;
        };
        let (balance, held) = (self.wallet.balance(), self.wallet.held());
        let expected = [
            ("balance", balance),
            ("held", held),
            ("available", balance - held),
            ("scoped", self.wallet.scoped()),
            ("debt", self.wallet.debt()),
            ("credit_limit", self.wallet.credit),
        ];
        for (column, expected) in expected {
            self.equal(
                &format!("balances.{column}"),
                column,
                amount(row, column),
                expected,
            );
        }
    }

    pub(super) fn holds(&mut self) {
        let sql = format!(
            "SELECT hold_id, amount, settled, status, held, extract(epoch FROM expires_at)::bigint AS expires
               FROM wallet.holds WHERE wallet = '{}'",
            self.name()
        );
        let Some(rows) = self.rows("holds", &sql) else {
            return;
        };
        self.same("holds", "rows", rows.len(), self.wallet.holds.len());
        for hold in self.wallet.holds.clone() {
            let id = self.ids.get(&hold.place).cloned();
            let Some(row) = rows
                .iter()
                .find(|row| text(row, "hold_id") == id.as_deref())
            else {
                self.differs(
                    "holds",
                    format!("the hold of act {} is missing", hold.place),
                );
                continue;
            };
            let shown = (
                amount(row, "amount"),
                amount(row, "settled"),
                text(row, "status").unwrap_or_default().to_owned(),
                amount(row, "held"),
                number(row, "expires"),
            );
            let expected = (
                hold.amount,
                hold.settled,
                hold.status.to_owned(),
                hold.held(),
                hold.expires,
            );
            self.same(
                "holds",
                &format!(
                    "hold of act {}: amount, settled, status, held, expires",
                    hold.place
                ),
                shown,
                expected,
            );
        }
    }

    pub(super) fn fundings(&mut self) {
        let sql = format!(
            "SELECT entry_id, amount, status FROM wallet.fundings WHERE wallet = '{}'",
            self.name()
        );
        let Some(rows) = self.rows("fundings", &sql) else {
            return;
        };
        for funding in self.wallet.fundings.clone() {
            let id = self.ids.get(&funding.place).cloned();
            let row = rows
                .iter()
                .find(|row| text(row, "entry_id") == id.as_deref());
            let shown = row.map(|row| {
                (
                    amount(row, "amount"),
                    text(row, "status").unwrap_or_default().to_owned(),
                )
            });
            let expected = Some((funding.amount, funding.status.to_owned()));
            self.same(
                "fundings",
                &format!("funding of act {}: amount, status", funding.place),
                shown,
                expected,
            );
        }
        self.same("fundings", "rows", rows.len(), self.wallet.fundings.len());
    }

    pub(super) fn grants(&mut self) {
        let sql = format!(
            "SELECT grant_id, amount, remaining, status, promotional, priority,
                    extract(epoch FROM expires_at)::bigint AS ends, scope IS NOT NULL AS scoped
               FROM wallet.grants WHERE wallet = '{}'",
            self.name()
        );
        let Some(rows) = self.rows("grants", &sql) else {
            return;
        };
        let known = self.known();
        let mut shown = Vec::new();
        for row in &rows {
            let place = text(row, "grant_id").and_then(|id| known.get(id).copied());
            shown.push((
                place,
                amount(row, "amount"),
                text(row, "ends").map(|_| number(row, "ends")),
                amount(row, "remaining"),
                text(row, "status").unwrap_or_default().to_owned(),
                text(row, "promotional") == Some("t"),
            ));
        }
        let lots = self.wallet.lots.iter();
        let mut expected: Vec<_> = lots
            .map(|lot| {
                let status = match lot.status {
                    Some(status) => status,
                    None if lot.live > 0 && !lot.over => "active",
                    // It has expired, and holds have its remaining money.
                    None if lot.expired || lot.over && lot.live > 0 => "expired",
                    None => "depleted",
                };
                let live = if lot.over { 0 } else { lot.live };
                (
                    lot.place,
                    lot.amount,
                    lot.ends,
                    live,
                    status.to_owned(),
                    lot.promotional,
                )
            })
            .collect();
        let came_back = self
            .wallet
            .entries
            .iter()
            .any(|entry| entry.kind == "refund");
        for lots in [&mut shown, &mut expected] {
            // Turns with nothing left have no id before they are booked.
            lots.retain(|lot| lot.0.is_some() || lot.3 > 0);
            // The expiry of a lot with nothing left does not matter.
            for lot in lots.iter_mut().filter(|lot| lot.3 == 0) {
                lot.2 = None;
                // Whether its last money was used or expired is not compared if a refund returned
                // money to it.
                if lot.4 == "expired" && came_back {
                    lot.4 = "depleted".to_owned();
                }
            }
        }
        shown.sort();
        expected.sort();
        if shown != expected {
            let only = |these: &[Shown], those: &[Shown]| -> Vec<String> {
                let other = these.iter().filter(|one| !those.contains(one));
                other.map(|one| format!("{one:?}")).collect()
            };
            let (more, less) = (only(&shown, &expected), only(&expected, &shown));
            let what = "(act, amount, end, remaining, status, promotional)";
            // The status of a lot and its amount are compared separately.
            let amounts = |lots: &[Shown]| {
                let mut amounts: Vec<_> = lots
                    .iter()
                    .map(|lot| (lot.0, lot.3))
                    .filter(|lot| lot.1 > 0)
                    .collect();
                amounts.sort_unstable();
                amounts
            };
            let area = if amounts(&shown) == amounts(&expected) {
                "grants.status"
            } else {
                "grants.remaining"
            };
            self.differs(
                area,
                format!(
                    "{what}\n  expected {}\n  got      {}",
                    less.join(", "),
                    more.join(", ")
                ),
            );
        }
    }

    /// Who paid what, by grant and by charge. What credit paid, or is a debt, is paid by no grant.
    pub(super) fn payments(&mut self) {
        // A turn that is due repays credit, but has no id to be listed with until it is booked.
        if self.phase == "before maintain()" && self.wallet.credit > 0 {
            return;
        }
        let sql = format!(
            "SELECT coalesce(refund_of, entry_id) AS entry_id, grant_id, amount FROM wallet.grant_payments WHERE wallet = '{}'",
            self.name()
        );
        let Some(rows) = self.rows("grant_payments", &sql) else {
            return;
        };
        let known = self.known();
        let (mut by_grant, mut by_charge) = (
            BTreeMap::<Option<Place>, i128>::new(),
            BTreeMap::<Option<Place>, i128>::new(),
        );
        let place = |id: Option<&str>| id.and_then(|id| known.get(id).copied());
        for row in &rows {
            *by_grant.entry(place(text(row, "grant_id"))).or_default() += amount(row, "amount");
            let entry = place(text(row, "entry_id"));
            *by_charge.entry(entry).or_default() += amount(row, "amount");
        }
        let mut expected = BTreeMap::<Option<Place>, i128>::new();
        for lot in &self.wallet.lots {
            *expected.entry(lot.place).or_default() += lot.paid;
        }
        let grants: std::collections::BTreeSet<_> =
            by_grant.keys().chain(expected.keys()).copied().collect();
        for grant in grants {
            let (shown, expected) = (by_grant.get(&grant).copied(), expected.get(&grant).copied());
            let what = grant.map_or("grants without a known id".to_owned(), |place| {
                format!("grant of act {place}")
            });
            self.equal(
                "grant_payments by grant",
                &what,
                shown.unwrap_or(0),
                expected.unwrap_or(0),
            );
        }
        for (place, charge) in self.wallet.charges.clone() {
            let shown = by_charge.get(&Some(place)).copied().unwrap_or(0);
            self.equal(
                "grant_payments by charge",
                &format!("charge of act {place}"),
                shown,
                charge.parts.iter().map(|part| part.1).sum(),
            );
        }
    }

    pub(super) fn limits(&mut self) {
        let sql = format!(
            "SELECT scope, subject, period, metric, max, used, held, remaining FROM wallet.limits_status WHERE wallet = '{}'",
            self.name()
        );
        let Some(rows) = self.rows("limits_status", &sql) else {
            return;
        };
        for (place, limit) in self
            .wallet
            .limits
            .iter()
            .enumerate()
            .map(|(place, limit)| (place, limit.clone()))
            .collect::<Vec<_>>()
        {
            let window = window_of(&limit, self.now, self.wallet.zone);
            let same = |row: &&postgres::SimpleQueryRow| {
                (text(row, "scope"), text(row, "period"), text(row, "metric"))
                    == (Some(limit.scope), Some(limit.period), Some(limit.metric))
            };
            let shown: BTreeMap<String, (i128, i128, i128)> = rows
                .iter()
                .filter(same)
                .map(|row| {
                    (
                        text(row, "subject").unwrap_or_default().to_owned(),
                        (
                            amount(row, "used"),
                            amount(row, "held"),
                            amount(row, "remaining"),
                        ),
                    )
                })
                .collect();
            let subjects: Vec<&str> = match limit.scope {
                "wallet" => vec!["*"],
                "user" => vec!["alice", "bob"],
                "team" => vec!["red", "blue"],
                "model" => vec!["m1", "m2"],
                "user+model" => PAIRS.map(|pair| pair.2).to_vec(),
                _ => vec!["chat", "images"],
            };
            for subject in subjects {
                let (used, held) = (
                    self.wallet.used(place, subject, window),
                    self.wallet.held_of(place, subject, window),
                );
                let expected = (used, held, (limit.max - used - held).max(0));
                let got = shown.get(subject).copied().unwrap_or((0, 0, limit.max));
                let what = format!(
                    "{} {subject} {} {}: used, held, remaining in 10^-12",
                    limit.scope, limit.period, limit.metric
                );
                self.same("limits_status", &what, got, expected);
            }
        }
        // And the money available for a certain usage.
        let about = About {
            user: Some("alice"),
            team: Some("red"),
            model: Some("m1"),
            service: Some("images"),
            ..About::default()
        };
        let sql = format!(
            "SELECT scope, period, metric, used, held, remaining FROM wallet.check_limits('{}', user_id => 'alice', team => 'red', model => 'm1', service => 'images')",
            self.name()
        );
        let Some(rows) = self.rows("check_limits", &sql) else {
            return;
        };
        let room = self.wallet.room(&about, self.now);
        let Some(balance) = rows
            .iter()
            .find(|row| text(row, "scope") == Some("balance"))
        else {
            return self.differs("check_limits", "no row of the balance".to_owned());
        };
        self.equal(
            "check_limits.remaining",
            "what a use may spend",
            amount(balance, "remaining"),
            room,
        );
        self.equal(
            "check_limits.held",
            "what is held",
            amount(balance, "held"),
            self.wallet.held(),
        );
        for one in self.wallet.applied(&about, self.now, 0, 1, 0) {
            let limit = self.wallet.limits[one.limit].clone();
            let row = rows.iter().find(|row| {
                (text(row, "scope"), text(row, "period"), text(row, "metric"))
                    == (Some(limit.scope), Some(limit.period), Some(limit.metric))
            });
            let (used, held) = (
                self.wallet.used(one.limit, one.subject, one.window),
                self.wallet.held_of(one.limit, one.subject, one.window),
            );
            let shown = row.map(|row| {
                (
                    amount(row, "used"),
                    amount(row, "held"),
                    amount(row, "remaining"),
                )
            });
            let what = format!(
                "{} {} {} at {}",
                limit.scope,
                limit.period,
                limit.metric,
                moment(self.now)
            );
            self.same(
                "check_limits",
                &what,
                shown,
                Some((used, held, (limit.max - used - held).max(0))),
            );
        }
    }
}
