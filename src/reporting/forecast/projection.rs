//! How long money lasts: pays the expected spending from the money and from future grants. Pure.
//!
//! Uses that the same lots may pay for form one *stream*. Every stream takes from the first lot
//! that it may use, in burn order, as charges do. Time is divided at each change: a day begins, a
//! lot ends, a recurring grant occurs, or a lot is used up. Between changes, spending is even. The
//! spending of a day is counted in whole units from its beginning, so that the parts of a day add
//! up.
//!
//! The money has run out when an expected use finds no lot. It ran out when the last lot of that
//! use was used up. Streams that together are less than a hundredth of all use do not count.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::ledger::grants::burn::Rank;
use crate::ledger::grants::terms::PLAIN_PRIORITY;
use crate::reporting::forecast::calendar::Calendar;
use crate::reporting::forecast::funds::{Day, Funds, Pot, Recurring, Spending, TICK};

/// The forecast ends after a hundred years.
pub const MOST_DAYS: usize = 36_500;
/// The most occurrences of recurring grants that are computed.
const MOST_TURNS: u32 = 100_000;
/// The money has run out if at least this fraction of the use finds none.
const MATERIAL: f64 = 0.01;

/// The result of a projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// When the money runs out; `None` if it lasts until the end of the projection.
    pub runs_out_at: Option<i64>,
    /// The amount that is missing until the requested time.
    pub missing: i128,
    /// The amount that was spent on credit, at the beginning.
    pub owed: i128,
}

struct Projection<'a> {
    calendar: &'a Calendar,
    spending: &'a Spending,
    funds: Funds,
    /// The numbers of the lots in burn order. Some of them may be used up.
    order: Vec<usize>,
    /// For each stream, a place in the order before which it has no lot.
    first: Vec<usize>,
    /// For each stream, when it found no lot; `None` if it has one.
    empty_since: Vec<Option<i64>>,
    /// Future ends of lots. An end is skipped if its lot is used up or was extended.
    ends: BinaryHeap<Reverse<(i64, usize)>>,
    /// The occurrences so far.
    turns: u32,
    /// True once no further occurrence of a recurring grant is computed.
    is_exhausted: bool,
}

impl<'a> Projection<'a> {
    fn new(calendar: &'a Calendar, spending: &'a Spending, mut funds: Funds) -> Projection<'a> {
        funds.pots.sort_by(|a, b| a.rank.cmp(&b.rank));
        funds.pots.retain(|pot| pot.left > 0);
        let ends = funds.pots.iter().enumerate();
        let ends = ends
            .filter_map(|(number, pot)| Some(Reverse((pot.ends?, number))))
            .collect();
        Projection {
            calendar,
            spending,
            order: (0..funds.pots.len()).collect(),
            first: vec![0; spending.streams.len()],
            empty_since: vec![None; spending.streams.len()],
            funds,
            ends,
            turns: 0,
            is_exhausted: false,
        }
    }

    /// Sorts the lots again. Every stream then searches for its first lot from the beginning.
    fn reorder(&mut self) {
        let pots = &self.funds.pots;
        self.order.retain(|number| pots[*number].left > 0);
        self.order.sort_by(|a, b| pots[*a].rank.cmp(&pots[*b].rank));
        self.first.fill(0);
    }

    /// Inserts a new lot into the order. There may be one for each day of a hundred years.
    fn insert(&mut self, number: usize) {
        let pots = &self.funds.pots;
        let place = self
            .order
            .partition_point(|other| pots[*other].rank < pots[number].rank);
        self.order.insert(place, number);
        for first in &mut self.first {
            *first = place.min(*first);
        }
    }

    /// The first lot of a stream that is not used up.
    fn front(&mut self, stream: usize) -> Option<usize> {
        let fits = &self.spending.streams[stream].fits;
        while let Some(number) = self.order.get(self.first[stream]) {
            let pot = &self.funds.pots[*number];
            if pot.left > 0 && pot.scope.is_none_or(|scope| fits[scope]) {
                return Some(*number);
            }
            self.first[stream] += 1;
        }
        None
    }

    /// Takes units for a stream from its lots. Returns the units that they do not have.
    fn pay(&mut self, stream: usize, mut units: i128) -> i128 {
        while units > 0 {
            let Some(number) = self.front(stream) else {
                return units;
            };
            let pot = &mut self.funds.pots[number];
            let part = pot.left.min(units);
            pot.left -= part;
            units -= part;
        }
        0
    }

    /// The money that every use may spend, without the amounts that holds reserve.
    fn free(&self) -> i128 {
        let pots = self.funds.pots.iter();
        let general: i128 = pots
            .filter(|pot| pot.scope.is_none())
            .map(|pot| pot.left)
            .sum();
        (general - self.funds.owed - self.funds.held).max(0)
    }

    /// When the next lot ends.
    fn next_end(&mut self) -> Option<i64> {
        while let Some(Reverse((at, number))) = self.ends.peek() {
            let pot = &self.funds.pots[*number];
            if pot.left > 0 && pot.ends == Some(*at) {
                return Some(*at);
            }
            self.ends.pop();
        }
        None
    }

    /// When the next lot ends or the next grant occurs.
    fn next(&mut self) -> Option<i64> {
        [self.next_end(), self.next_turn()]
            .into_iter()
            .flatten()
            .min()
    }

    /// When the next grant occurs.
    fn next_turn(&self) -> Option<i64> {
        let recurring = self.funds.recurring.iter();
        recurring.map(|again| again.next_at).min()
    }

    /// Applies everything that is due, in the order in which calls book it: an occurrence comes
    /// before an end at the same moment.
    fn catch_up(&mut self, now: i64) {
        while let Some(at) = self.next().filter(|at| *at <= now) {
            let mut recurring = self.funds.recurring.iter();
            match recurring.position(|again| again.next_at == at) {
                Some(place) => self.turn(place),
                None => self.end(at),
            }
            // A stream that has money again had none for a while, but spent nothing in that time.
            for stream in 0..self.empty_since.len() {
                if self.empty_since[stream].is_some() && self.front(stream).is_some() {
                    self.empty_since[stream] = None;
                }
            }
        }
    }

    /// Takes at most `most` from a lot that ends, but not the amount that holds reserve.
    fn take(&mut self, number: usize, most: i128) {
        let pot = &self.funds.pots[number];
        let free = match pot.scope {
            Some(_) => pot.left - pot.kept,
            // This amount depends on all lots.
            None if self.funds.held > 0 => self.free(),
            None => pot.left,
        };
        let part = pot.left.min(most).min(free);
        self.funds.pots[number].left -= part;
    }

    /// Ends the lots whose expiry is `at`.
    fn end(&mut self, at: i64) {
        let mut ended = Vec::new();
        while let Some(Reverse((end, number))) = self.ends.peek().copied() {
            if end > at {
                break;
            }
            self.ends.pop();
            if self.funds.pots[number].ends == Some(end) {
                ended.push(number);
            }
        }
        ended.sort_by(|a, b| self.funds.pots[*a].rank.cmp(&self.funds.pots[*b].rank));
        for number in ended {
            self.take(number, i128::MAX);
            self.funds.pots[number].ends = None;
        }
    }

    /// A recurring grant occurs. Its credit that may not roll over ends. The rest lasts as long as
    /// the new grant.
    fn turn(&mut self, place: usize) {
        let mut again = self.funds.recurring.remove(place);
        let at = again.next_at;
        self.turns += 1;
        let ends = again.life.and_then(|life| self.calendar.plus(at, life));
        if let Some(most) = again.rollover_max {
            self.roll_over(again.number, at, most, ends);
        }
        self.grant(&again, at, ends);
        again.turn += 1;
        match self
            .calendar
            .after(again.started_at, again.period, again.turn + 1)
        {
            // Each occurrence is later than the one before.
            Some(next) if next > at && self.turns < MOST_TURNS => {
                again.next_at = next;
                self.funds.recurring.insert(place, again);
            }
            _ => self.is_exhausted = true,
        }
    }

    /// Ends the credit of earlier occurrences above `most`, the first in burn order first. The rest
    /// lasts as long as the new grant.
    fn roll_over(&mut self, number: usize, at: i64, most: i128, ends: Option<i64>) {
        let order = self.order.clone();
        let lasting: Vec<usize> = order
            .into_iter()
            .filter(|lot| {
                let pot = &self.funds.pots[*lot];
                pot.recurring == Some(number) && pot.left > 0 && pot.rank.expires_at >= at
            })
            .collect();
        let pots = &self.funds.pots;
        let sum: i128 = lasting.iter().map(|number| pots[*number].left).sum();
        let mut excess = (sum - most).max(0);
        for number in &lasting {
            let part = self.funds.pots[*number].left.min(excess);
            excess -= part;
            self.take(*number, part);
            if let Some(ends) = ends {
                let pot = &mut self.funds.pots[*number];
                pot.ends = Some(ends);
                pot.rank.expires_at = ends;
                self.ends.push(Reverse((ends, *number)));
            }
        }
    }

    /// Adds the lot of an occurrence. Its amount first repays what was spent on credit.
    fn grant(&mut self, again: &Recurring, at: i64, ends: Option<i64>) {
        let number = self.funds.pots.len();
        let makes_up = match again.scope {
            None => self.funds.owed.min(again.amount),
            Some(_) => 0,
        };
        self.funds.owed -= makes_up;
        let mut id = [0xFF; 16];
        id[..8].copy_from_slice(&u64::try_from(number).unwrap_or(u64::MAX).to_be_bytes());
        self.funds.pots.push(Pot {
            rank: Rank {
                priority: PLAIN_PRIORITY,
                expires_at: ends.unwrap_or(i64::MAX),
                paid: false,
                created_at: at,
                id,
            },
            left: again.amount - makes_up,
            kept: 0,
            ends,
            recurring: Some(again.number),
            scope: again.scope,
        });
        if let Some(ends) = ends {
            self.ends.push(Reverse((ends, number)));
        }
        if again.rollover_max.is_some() {
            // The extended lots have moved in burn order.
            self.order.push(number);
            self.reorder();
        } else {
            self.insert(number);
        }
    }

    /// Spends the amounts that holds reserve, because their charges come first.
    fn settle_holds(&mut self) {
        let mut held = std::mem::take(&mut self.funds.held);
        for number in &self.order {
            let pot = &mut self.funds.pots[*number];
            let part = match pot.scope {
                Some(_) => std::mem::take(&mut pot.kept),
                None => pot.left.min(held),
            };
            pot.left -= part;
            if pot.scope.is_none() {
                held -= part;
            }
        }
        self.funds.owed += held;
    }

    /// Spends whole weeks at once in which no lot is used up or ends and no grant occurs, from the
    /// day `day` on. Returns their number. Streams that together are too small to count may have no
    /// money in these weeks, unless missing amounts are counted.
    fn weeks(&mut self, day: usize, at: i64, until: i64, counts: bool) -> usize {
        const WEEK: i64 = 7 * 86_400_000_000;
        // One day less, because clocks may change.
        let Ok(mut weeks) = usize::try_from((until - at - WEEK / 7) / WEEK) else {
            return 0;
        };
        if day < self.spending.days.len() || weeks == 0 {
            return 0;
        }
        let (mut demand, mut without): (Vec<(usize, i128)>, f64) = (Vec::new(), 0.0);
        for stream in 0..self.first.len() {
            let week: i128 = (day..day + 7)
                .map(|day| self.spending.day(day)[stream])
                .sum();
            if week == 0 {
                continue;
            }
            let Some(number) = self.front(stream) else {
                without += self.spending.streams[stream].share;
                if counts || without >= MATERIAL {
                    return 0;
                }
                continue;
            };
            match demand.iter_mut().find(|(known, _)| *known == number) {
                Some((_, sum)) => *sum = sum.saturating_add(week),
                None => demand.push((number, week)),
            }
        }
        for (number, week) in &demand {
            // Less than the rest of the lot, so that it stays the first one.
            let lasts = (self.funds.pots[*number].left - 1) / week;
            weeks = weeks.min(usize::try_from(lasts).unwrap_or(usize::MAX));
        }
        for (number, week) in &demand {
            self.funds.pots[*number].left -= week * i128::try_from(weeks).unwrap_or(0);
        }
        weeks
    }

    /// The first moment after `from`, at most `to`, at which one of the streams' current lots is
    /// used up.
    fn used_up(&mut self, day: Day<'_>, from: i64, to: i64) -> i64 {
        let fronts: Vec<Option<usize>> = (0..self.first.len()).map(|one| self.front(one)).collect();
        let demand = |number: usize, to: i64| -> i128 {
            let streams = fronts.iter().enumerate();
            streams
                .filter(|(_, front)| **front == Some(number))
                .map(|(stream, _)| day.spent(stream, from, to))
                .sum()
        };
        let mut first = to;
        for number in fronts.iter().flatten() {
            let left = self.funds.pots[*number].left;
            if demand(*number, first) < left {
                continue;
            }
            let (mut low, mut high) = (from / TICK, first.div_euclid(TICK) + 1);
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                match demand(*number, (middle * TICK).min(first)) < left {
                    true => low = middle,
                    false => high = middle,
                }
            }
            first = first.min((high * TICK).min(first));
        }
        first
    }

    /// Spends the expected amounts from one moment of a day to another. Nothing ends or occurs in
    /// between. Returns when the money ran out, if a use found none, and the missing amount.
    fn spend(&mut self, day: Day<'_>, mut from: i64, to: i64) -> (Option<i64>, i128) {
        let (mut missing, mut out) = (0, None);
        while from < to {
            let until = self.used_up(day, from, to);
            let mut without: Vec<(i64, f64)> = Vec::new();
            for stream in 0..self.first.len() {
                let wanted = day.spent(stream, from, until);
                if self.front(stream).is_none() {
                    let since = *self.empty_since[stream].get_or_insert(from);
                    if wanted > 0 {
                        missing += wanted;
                        without.push((since, self.spending.streams[stream].share));
                    }
                } else {
                    missing += self.pay(stream, wanted);
                }
            }
            for stream in 0..self.first.len() {
                if self.empty_since[stream].is_none() && self.front(stream).is_none() {
                    self.empty_since[stream] = Some(until);
                }
            }
            without.sort_by_key(|one| one.0);
            let mut share = 0.0;
            for (since, part) in without {
                share += part;
                if share >= MATERIAL && out.is_none() {
                    out = Some(since);
                }
            }
            from = until;
        }
        (out, missing)
    }
}

/// Projects from `now` until the money has run out, at most until `until`, and at least until
/// `missing_until`, up to which missing amounts are counted. If `topped_up` is true, the amount
/// that was spent on credit has been repaid.
pub fn project(
    calendar: &Calendar,
    spending: &Spending,
    funds: Funds,
    now: i64,
    until: i64,
    missing_until: i64,
    topped_up: bool,
) -> Outcome {
    let mut ahead = Projection::new(calendar, spending, funds);
    ahead.catch_up(now);
    ahead.settle_holds();
    let mut outcome = Outcome {
        runs_out_at: None,
        missing: 0,
        owed: ahead.funds.owed,
    };
    if topped_up {
        ahead.funds.owed = 0;
    }
    let (mut at, mut number) = (now, 0);
    while at < missing_until || (at < until && outcome.runs_out_at.is_none()) {
        // Later occurrences are unknown.
        if ahead.is_exhausted && at >= missing_until {
            break;
        }
        let (Some(begin), Some(end)) = (calendar.begin(number), calendar.begin(number + 1)) else {
            break;
        };
        ahead.catch_up(at);
        let next = ahead.next().unwrap_or(i64::MAX);
        let mark = if at < missing_until {
            missing_until
        } else {
            until
        };
        let mark = mark.min(next);
        if at == begin {
            let weeks = ahead.weeks(number, at, mark, at < missing_until);
            if weeks > 0 {
                number += 7 * weeks;
                let Some(begin) = calendar.begin(number) else {
                    break;
                };
                at = begin;
                continue;
            }
        }
        let day = Day {
            begin,
            end,
            units: spending.day(number),
        };
        let to = end.min(mark);
        let (out, missing) = ahead.spend(day, at, to);
        if !ahead.is_exhausted {
            outcome.runs_out_at = outcome.runs_out_at.or(out);
        }
        if at < missing_until {
            outcome.missing += missing;
        }
        at = to;
        if at == end {
            number += 1;
        }
    }
    outcome
}

#[cfg(test)]
mod tests;
