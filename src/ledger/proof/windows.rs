//! Compares running windows of limits on money with the amounts that the ledger states.

use std::collections::HashMap;

use crate::attribution::StoredUse;
use crate::error::Result;
use crate::ledger::limits::rows;
use crate::ledger::wallets::default_limits;
use crate::limits::limit::{Limit, Spending};
use crate::limits::metric::Metric;
use crate::limits::period::Period;
use crate::limits::stored::limit_of;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::document::Document;
use crate::pg::jsonb::Jsonb;
use crate::storage::plan::{Run, Value, statement};

// A window may be spread over several rows.
statement!(
    WINDOWS,
    [TEXTOID],
    "SELECT limit_id, subject, window_start, window_end, sum(spent), allowance_id
       FROM wallet.allowances
      WHERE wallet_id = $1 AND limit_id IS NOT NULL AND (window_end IS NULL OR window_end > statement_timestamp())
      GROUP BY allowance_id, limit_id, subject, window_start, window_end
     HAVING bool_or(lane = 0)"
);

statement!(
    HOLDS,
    [TEXTOID, UUIDARRAYOID],
    "SELECT hold_id, created_at FROM wallet.reservations WHERE wallet_id = $1 AND hold_id = ANY ($2)"
);

statement!(
    CHARGES,
    [TEXTOID, UUIDARRAYOID],
    "SELECT c.entry_id, c.created_at, r.created_at, c.key_id, c.user_id, c.team, c.model, c.service, c.tags
       FROM wallet.ledger_all c
       LEFT JOIN wallet.reservations r
         ON r.wallet_id = c.wallet_id AND r.hold_id = c.related_id AND c.call IN ('s', 'm')
      WHERE c.wallet_id = $1 AND c.entry_id = ANY ($2)
        AND (c.kind = 'c' OR c.call IN ('l', 'm', 'n'))"
);

/// Entries that are looked up at once.
const MOST_PENDING: usize = 1000;

struct Watched {
    limit: Limit,
    paused: bool,
    /// The indexes of the limit's windows, by subject.
    windows: HashMap<String, Vec<usize>>,
}

struct Window {
    /// The name of the window: period, scope and subject.
    name: String,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    spent: i128,
    booked: i128,
    /// Whether the ledger cannot show what the window counted.
    in_doubt: bool,
    /// Whether the ledger may have more than the window: it began while charges may have been in
    /// progress that did not know its default limit.
    may_lack: bool,
    /// The limit of the window, by its place.
    limit: usize,
}

impl Window {
    fn contains(&self, at: Timestamp) -> bool {
        self.start.is_none_or(|start| at >= start) && self.end.is_none_or(|end| at < end)
    }
}

/// The limits on money that the ledger can be compared with, without their windows. Default limits
/// that do not apply to the wallet, or not any longer, are paused.
fn limits_on_money(wallet: &str) -> Result<Vec<Watched>> {
    let own = rows::of_wallet(wallet)?;
    let mut limits = Vec::new();
    let defaults = default_limits::ever_in_query()?;
    if !defaults.is_empty() {
        let home = default_limits::home_in_query(wallet)?;
        for default in &defaults {
            let paused = default.row.paused || !default.applies_beside(&own);
            limits.push((default.limit(&home)?, paused));
        }
    }
    for row in own {
        let paused = row.paused;
        limits.push((limit_of(row)?, paused));
    }
    let is_counted = |limit: &Limit| {
        let period = limit.period;
        limit.metric == Metric::Amount
            && period.slice().is_none()
            && !matches!(period, Period::Open | Period::Request)
    };
    let watched = |(limit, paused)| Watched {
        limit,
        paused,
        windows: HashMap::new(),
    };
    limits.retain(|(limit, _)| is_counted(limit));
    Ok(limits.into_iter().map(watched).collect())
}

/// The running windows of a wallet.
pub struct Windows<'a> {
    wallet: &'a str,
    limits: Vec<Watched>,
    windows: Vec<Window>,
    /// The beginning of the first window. `None` if there are no windows.
    first: Option<Timestamp>,
    /// Settlements: the hold, the windows of the spender, and the amount in units.
    settled: Vec<([u8; 16], Vec<usize>, i128)>,
    /// Refunds: the charge, and the amount in units.
    refunded: Vec<([u8; 16], i128)>,
}

impl<'a> Windows<'a> {
    /// Reads the running windows of a wallet. Windows of paused limits are not checked. The
    /// earliest start decides which entries the pass must count; a window without a beginning needs
    /// all of them.
    pub fn of(wallet: &'a str) -> Result<Windows<'a>> {
        let mut limits = limits_on_money(wallet)?;
        let places: HashMap<[u8; 16], usize> = limits
            .iter()
            .enumerate()
            .filter(|(_, watched)| !watched.paused)
            .map(|(place, watched)| (watched.limit.id, place))
            .collect();
        let mut windows = Vec::new();
        if !places.is_empty() {
            let rows = WINDOWS.read(&[Value::Text(wallet)])?;
            for row in 0..rows.len() {
                let Some(place) = places.get(&rows.need::<[u8; 16]>(row, 0)?).copied() else {
                    continue;
                };
                let watched = &mut limits[place];
                let subject: String = rows.need(row, 1)?;
                let limit = &watched.limit;
                let start: Option<Timestamp> = rows.get(row, 2);
                if !limit.has_window(rows.need(row, 5)?, &subject, start) {
                    continue;
                }
                windows.push(Window {
                    name: format!(
                        "{} limit of {} {subject}",
                        limit.period_name,
                        limit.scope.as_str()
                    ),
                    start,
                    end: rows.get(row, 3),
                    spent: rows.amount(row, 4)?.units(),
                    booked: 0,
                    in_doubt: false,
                    may_lack: !limit.surely_counts_at(start),
                    limit: place,
                });
                watched
                    .windows
                    .entry(subject)
                    .or_default()
                    .push(windows.len() - 1);
            }
        }
        let start = |window: &Window| window.start.unwrap_or(Timestamp(i64::MIN));
        Ok(Windows {
            wallet,
            limits,
            first: windows.iter().map(start).min(),
            windows,
            settled: Vec::new(),
            refunded: Vec::new(),
        })
    }

    /// True if an entry booked at that time may count in a window.
    pub fn reach(&self, booked_at: Timestamp) -> bool {
        self.first.is_some_and(|first| booked_at >= first)
    }

    /// The windows, of any time, in which the spending counts.
    fn places(&mut self, spending: &Spending<'_>) -> Vec<usize> {
        let mut found = Vec::new();
        for watched in &self.limits {
            let Some(subject) = watched.limit.subject_for(spending) else {
                continue;
            };
            let Some(places) = watched.windows.get(&subject) else {
                continue;
            };
            // A limit that replaces this one may not always have existed.
            let others = self.limits.iter().map(|other| &other.limit);
            if watched.limit.is_replaced(others, spending) {
                for place in places {
                    self.windows[*place].in_doubt = true;
                }
            }
            found.extend(places);
        }
        found
    }

    fn count(&mut self, places: &[usize], at: Timestamp, units: i128) {
        for place in places {
            let window = &mut self.windows[*place];
            if window.contains(at) {
                window.booked = window.booked.saturating_add(units);
            }
        }
    }

    /// Counts a charge.
    pub fn charge(&mut self, spending: &Spending<'_>, at: Timestamp, units: i128) {
        let places = self.places(spending);
        self.count(&places, at, units);
    }

    /// Counts a settlement once the time of its hold is known, because it counts in that window.
    pub fn settlement(
        &mut self,
        spending: &Spending<'_>,
        hold: [u8; 16],
        units: i128,
    ) -> Result<()> {
        let places = self.places(spending);
        if !places.is_empty() {
            self.settled.push((hold, places, units));
        }
        if self.settled.len() < MOST_PENDING {
            return Ok(());
        }
        self.count_settled()
    }

    /// Subtracts a refund from the windows of its charge, once the charge is looked up.
    pub fn refund(&mut self, charge: [u8; 16], units: i128) -> Result<()> {
        self.refunded.push((charge, units));
        if self.refunded.len() < MOST_PENDING {
            return Ok(());
        }
        self.count_refunded()
    }

    fn count_settled(&mut self) -> Result<()> {
        let settled = std::mem::take(&mut self.settled);
        if settled.is_empty() {
            return Ok(());
        }
        let ids: Vec<[u8; 16]> = settled.iter().map(|(hold, ..)| *hold).collect();
        let rows = HOLDS.read(&[Value::Text(self.wallet), Value::Uuids(&ids)])?;
        let mut times: HashMap<[u8; 16], Timestamp> = HashMap::new();
        for row in 0..rows.len() {
            times.insert(rows.need(row, 0)?, rows.need(row, 1)?);
        }
        for (hold, places, units) in settled {
            match times.get(&hold) {
                Some(at) => self.count(&places, *at, units),
                // Without its hold, the window is unknown.
                None => places
                    .into_iter()
                    .for_each(|place| self.windows[place].in_doubt = true),
            }
        }
        Ok(())
    }

    fn count_refunded(&mut self) -> Result<()> {
        let refunded = std::mem::take(&mut self.refunded);
        if refunded.is_empty() {
            return Ok(());
        }
        let mut amounts: HashMap<[u8; 16], i128> = HashMap::new();
        for (charge, units) in refunded {
            *amounts.entry(charge).or_default() += units;
        }
        let ids: Vec<[u8; 16]> = amounts.keys().copied().collect();
        let rows = CHARGES.read(&[Value::Text(self.wallet), Value::Uuids(&ids)])?;
        for row in 0..rows.len() {
            let text = |column: i32| rows.get::<String>(row, column);
            let tags = rows.datum(row, 8).map(Jsonb);
            let stored = StoredUse {
                key_id: rows.get(row, 3),
                user_id: text(4),
                team: text(5),
                model: text(6),
                service: text(7),
                tags: tags.map(Document::of),
                ..StoredUse::default()
            };
            let places = self.places(&Spending {
                attribution: stored.attribution(),
                context: stored.context(),
                ..Spending::default()
            });
            let booked_at: Timestamp = rows.need(row, 1)?;
            let held_at: Option<Timestamp> = rows.get(row, 2);
            let units = amounts
                .get(&rows.need::<[u8; 16]>(row, 0)?)
                .copied()
                .unwrap_or(0);
            for place in places {
                let window = &mut self.windows[place];
                let is_in = window.contains(booked_at);
                // If a settlement's hold is from another window, the charge counted there, but the
                // refund may count here.
                if held_at.is_some_and(|at| window.contains(at) != is_in) {
                    window.in_doubt = true;
                }
                let limit = &self.limits[window.limit].limit;
                // Others were not returned. A limit that is replaced leaves the window in doubt.
                let is_returned = limit.surely_counts_at(Some(held_at.unwrap_or(booked_at)));
                if is_in && is_returned {
                    window.booked = window.booked.saturating_sub(units);
                }
            }
        }
        Ok(())
    }

    /// The number of recounted windows, and the first error. `None` if all are right.
    pub fn judge(mut self) -> Result<(i64, Option<String>)> {
        self.count_settled()?;
        self.count_refunded()?;
        let sure = || self.windows.iter().filter(|window| !window.in_doubt);
        let is_wrong = |window: &&Window| match window.may_lack {
            true => window.spent > window.booked,
            false => window.spent != window.booked,
        };
        let wrong = sure().find(is_wrong);
        let problem = wrong.map(|window| {
            let show = |units| {
                Amount::from_units(units)
                    .map_or_else(|_| "more than fits".to_owned(), Amount::to_fixed)
            };
            format!(
                "{} has {} used, the ledger {}",
                window.name,
                show(window.spent),
                show(window.booked)
            )
        });
        Ok((sure().count() as i64, problem))
    }
}
