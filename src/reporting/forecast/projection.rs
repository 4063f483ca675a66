//! How long money lasts: what is there and what comes, against what is foretold to be spent. Pure.
//!
//! Uses that may be paid by the same lots are one *stream*. Every stream takes from the first lot that it may use, in burn
//! order, as charges do. Time is cut where something changes: a day begins, a lot ends, a recurring grant comes, a lot is
//! used up. In between all is spent evenly. What is spent of a day is counted in whole units from its beginning, so that
//! the parts of a day add up to it.
//!
//! The money has run out when a use that is foretold finds none, from the moment on when its last lot was used up. Streams
//! that are less than a hundredth of the use together are not waited for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::ledger::grants::burn::Rank;
use crate::ledger::grants::terms::PLAIN_PRIORITY;
use crate::reporting::forecast::calendar::{Calendar, Length};

/// Nothing is foretold beyond a hundred years.
pub const MOST_DAYS: usize = 36_500;
/// Turns of a recurring grant that are followed.
const MOST_TURNS: u32 = 100_000;
/// What part of the use must find no money.
const MATERIAL: f64 = 0.01;
/// A thousand microseconds: finer, a day's money times its length may not fit.
const TICK: i64 = 1_000;

/// Money that is used up in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pot {
    /// Its place in the burn order, by which time its end is known as well.
    pub rank: Rank,
    /// What is left of it.
    pub left: i128,
    /// What holds have set aside of it, where it has a scope.
    pub kept: i128,
    /// When it ends.
    pub ends: Option<i64>,
    /// Whether a recurring grant made it.
    pub recurring: bool,
    /// What it may be used for, by number.
    pub scope: Option<usize>,
}

/// A grant that comes again.
#[derive(Clone, Debug)]
pub struct Recurring {
    /// How much each time.
    pub amount: i128,
    /// How often.
    pub period: Length,
    /// How long each lives.
    pub life: Option<Length>,
    /// How much of those before is carried on at most.
    pub rollover_max: Option<i128>,
    /// When it began.
    pub started_at: i64,
    /// Periods since.
    pub turn: i64,
    /// When it comes next.
    pub next_at: i64,
    /// What it may be used for, by number.
    pub scope: Option<usize>,
}

/// A wallet's money as it is booked, with what time has brought since.
#[derive(Clone, Debug)]
pub struct Funds {
    /// Lots with what is left of each.
    pub pots: Vec<Pot>,
    /// What was spent on credit.
    pub owed: i128,
    /// What holds have set aside of lots without a scope.
    pub held: i128,
    /// What comes again.
    pub recurring: Option<Recurring>,
}

/// Use that the same lots may pay for.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Its part of the use.
    pub share: f64,
    /// By the number of a scope, whether it allows the use.
    pub fits: Vec<bool>,
}

/// What is foretold to be spent: units a day and stream, from today on. The last seven days come again and again.
#[derive(Clone, Debug)]
pub struct Spending {
    /// The streams.
    pub streams: Vec<Stream>,
    /// Units by day and stream.
    pub days: Vec<Vec<i128>>,
}

impl Spending {
    fn day(&self, ahead: usize) -> &[i128] {
        let last = self.days.len();
        let known = match ahead < last {
            true => ahead,
            false => last.saturating_sub(7) + (ahead - last) % 7.min(last.max(1)),
        };
        self.days.get(known).map_or(&[], Vec::as_slice)
    }

    /// The same, more or less of it.
    pub fn times(&self, factor: f64) -> Spending {
        let times = |units: &i128| (*units as f64 * factor) as i128;
        let days = self.days.iter();
        Spending {
            streams: self.streams.clone(),
            days: days.map(|day| day.iter().map(times).collect()).collect(),
        }
    }
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// When the money runs out, if that is within the time that was looked at.
    pub runs_out_at: Option<i64>,
    /// How much is missing until the time that was asked for.
    pub missing: i128,
    /// What was spent on credit, at the beginning.
    pub owed: i128,
}

struct Projection<'a> {
    calendar: &'a Calendar,
    spending: &'a Spending,
    funds: Funds,
    /// Lots in burn order, by number; those that are used up may be among them.
    order: Vec<usize>,
    /// Where each stream's first lot is in the order, at least.
    first: Vec<usize>,
    /// When each stream found nothing left.
    dry: Vec<Option<i64>>,
    /// Ends to come; those of lots that are used up or live on are passed over.
    ends: BinaryHeap<Reverse<(i64, usize)>>,
    turns: u32,
    /// When turns are followed no more.
    blind: bool,
}

/// Units of a day that are spent by a moment of it.
fn spent(units: i128, begin: i64, end: i64, at: i64) -> i128 {
    let ticks = |span: i64| i128::from(span / TICK);
    let length = ticks(end - begin).max(1);
    units.saturating_mul(ticks(at - begin)) / length
}

/// A day, and what each stream spends on it.
#[derive(Clone, Copy)]
struct Day<'a> {
    begin: i64,
    end: i64,
    units: &'a [i128],
}

impl Day<'_> {
    fn spent(&self, stream: usize, from: i64, to: i64) -> i128 {
        let units = self.units.get(stream).copied().unwrap_or(0);
        spent(units, self.begin, self.end, to) - spent(units, self.begin, self.end, from)
    }
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
            dry: vec![None; spending.streams.len()],
            funds,
            ends,
            turns: 0,
            blind: false,
        }
    }

    /// Puts the lots in order again, and has every stream look for its first.
    fn reorder(&mut self) {
        let pots = &self.funds.pots;
        self.order.retain(|number| pots[*number].left > 0);
        self.order.sort_by(|a, b| pots[*a].rank.cmp(&pots[*b].rank));
        self.first.fill(0);
    }

    /// Puts a new lot into the order. There may be one for each day of a hundred years.
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

    /// The first lot of a stream that has something left.
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

    /// Has a stream pay; gives what it could not.
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

    /// What every use may spend, less what holds have set aside.
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

    /// When something comes or ends.
    fn next(&mut self) -> Option<i64> {
        let turn = match self.blind {
            true => None,
            false => self.funds.recurring.as_ref().map(|again| again.next_at),
        };
        [self.next_end(), turn].into_iter().flatten().min()
    }

    /// Does what is due, in the order in which calls book it: at the same moment the turn comes first.
    fn catch_up(&mut self, now: i64) {
        while let Some(at) = self.next().filter(|at| *at <= now) {
            let turn = self.funds.recurring.as_ref();
            if !self.blind && turn.is_some_and(|again| again.next_at == at) {
                self.turn();
            } else {
                self.end(at);
            }
            // Who has something again may have had nothing for a while, when it spent nothing.
            for stream in 0..self.dry.len() {
                if self.dry[stream].is_some() && self.front(stream).is_some() {
                    self.dry[stream] = None;
                }
            }
        }
    }

    /// Takes from a lot that ends, but not what holds have set aside.
    fn take(&mut self, number: usize, most: i128) {
        let pot = &self.funds.pots[number];
        let free = match pot.scope {
            Some(_) => pot.left - pot.kept,
            // To know that, all lots are looked at.
            None if self.funds.held > 0 => self.free(),
            None => pot.left,
        };
        let part = pot.left.min(most).min(free);
        self.funds.pots[number].left -= part;
    }

    /// Ends the lots of that moment.
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

    /// The recurring grant's turn: what may not be carried on ends, the rest lives as long as the new grant.
    fn turn(&mut self) {
        let Some(mut again) = self.funds.recurring.take() else {
            return;
        };
        let at = again.next_at;
        self.turns += 1;
        let ends = again.life.and_then(|life| self.calendar.plus(at, life));
        if let Some(most) = again.rollover_max {
            let order = self.order.clone();
            let lasting: Vec<usize> = order
                .into_iter()
                .filter(|number| {
                    let pot = &self.funds.pots[*number];
                    pot.recurring && pot.left > 0 && pot.rank.expires_at >= at
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
            recurring: true,
            scope: again.scope,
        });
        if let Some(ends) = ends {
            self.ends.push(Reverse((ends, number)));
        }
        if again.rollover_max.is_some() {
            // Those that live longer have other places.
            self.order.push(number);
            self.reorder();
        } else {
            self.insert(number);
        }
        again.turn += 1;
        match self
            .calendar
            .after(again.started_at, again.period, again.turn + 1)
        {
            // Each turn is later than the one before.
            Some(next) if next > at && self.turns < MOST_TURNS => again.next_at = next,
            _ => self.blind = true,
        }
        self.funds.recurring = Some(again);
    }

    /// What holds have set aside is as good as spent: their charges come first.
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

    /// Whole weeks from a day on in which no lot is used up, and nothing comes or ends. They are spent at once; gives how many.
    /// A stream that is not waited for may be without money meanwhile, unless what is missing counts.
    fn weeks(&mut self, day: usize, at: i64, until: i64, counts: bool) -> usize {
        const WEEK: i64 = 7 * 86_400_000_000;
        // A day to spare for clocks that change.
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
            // Less than what is left: the lot stays the first.
            let lasts = (self.funds.pots[*number].left - 1) / week;
            weeks = weeks.min(usize::try_from(lasts).unwrap_or(usize::MAX));
        }
        for (number, week) in &demand {
            self.funds.pots[*number].left -= week * i128::try_from(weeks).unwrap_or(0);
        }
        weeks
    }

    /// The first moment after `from` at which one of the lots that streams spend from is used up, `to` at the latest.
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

    /// Spends what is foretold from one moment of a day to another, between which nothing comes or ends. Gives when
    /// the money had run out, where a use found none, and how much was missing.
    fn spend(&mut self, day: Day<'_>, mut from: i64, to: i64) -> (Option<i64>, i128) {
        let (mut missing, mut out) = (0, None);
        while from < to {
            let until = self.used_up(day, from, to);
            let mut without: Vec<(i64, f64)> = Vec::new();
            for stream in 0..self.first.len() {
                let wanted = day.spent(stream, from, until);
                if self.front(stream).is_none() {
                    let since = *self.dry[stream].get_or_insert(from);
                    if wanted > 0 {
                        missing += wanted;
                        without.push((since, self.spending.streams[stream].share));
                    }
                } else {
                    missing += self.pay(stream, wanted);
                }
            }
            for stream in 0..self.first.len() {
                if self.dry[stream].is_none() && self.front(stream).is_none() {
                    self.dry[stream] = Some(until);
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

/// Looks ahead from a moment: until the money has run out, at most to `until`, and at least to `missing_until`, up to
/// which it counts what is missing. `topped_up` says that what was spent on credit is made up for.
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
        // What comes from here on is not known.
        if ahead.blind && at >= missing_until {
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
        if !ahead.blind {
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
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000_000;
    const DAY: i64 = 24 * HOUR;
    /// A Monday, at midnight.
    const MONDAY: i64 = 1_767_571_200_000_000;

    fn calendar(now: i64) -> Calendar {
        Calendar::at(TimeZone::UTC, now).unwrap()
    }

    fn pot(number: u8, left: i128, ends: Option<i64>, scope: Option<usize>) -> Pot {
        Pot {
            rank: Rank {
                priority: PLAIN_PRIORITY,
                expires_at: ends.unwrap_or(i64::MAX),
                paid: true,
                created_at: i64::from(number),
                id: [number; 16],
            },
            left,
            kept: 0,
            ends,
            recurring: false,
            scope,
        }
    }

    fn funds(pots: Vec<Pot>) -> Funds {
        Funds {
            pots,
            owed: 0,
            held: 0,
            recurring: None,
        }
    }

    fn steady(units: i128) -> Spending {
        Spending {
            streams: vec![Stream {
                share: 1.0,
                fits: vec![true, false],
            }],
            days: vec![vec![units]; 7],
        }
    }

    /// In hours from now.
    fn lasts(spending: &Spending, funds: Funds, now: i64) -> Option<i64> {
        let calendar = calendar(now);
        let until = now + 40_000 * DAY;
        let outcome = project(&calendar, spending, funds, now, until, now, false);
        outcome.runs_out_at.map(|at| (at - now) / HOUR)
    }

    const ONE: i128 = 1_000_000_000_000;

    #[test]
    fn credit_that_ends_is_spent_until_then() {
        let now = MONDAY + 7 * HOUR;
        let one = steady(ONE);
        let hundred = |ends| funds(vec![pot(1, 100 * ONE, ends, None)]);
        assert_eq!(lasts(&one, hundred(None), now), Some(100 * 24));
        assert_eq!(lasts(&one, hundred(Some(now + 3 * DAY)), now), Some(3 * 24));
        // It has ended, and is not booked yet; but holds have set some of it aside, which counts as spent.
        assert_eq!(lasts(&one, hundred(Some(now - 1)), now), Some(0));
        let both = |held| Funds {
            held,
            ..funds(vec![
                pot(1, 10 * ONE, Some(now - 1), None),
                pot(2, 10 * ONE, None, None),
            ])
        };
        assert_eq!(lasts(&one, both(0), now), Some(240));
        assert_eq!(lasts(&one, both(4 * ONE), now), Some(6 * 24));
        assert_eq!(lasts(&one, both(13 * ONE), now), Some(0));
        // What burns first does not wait for what ends first.
        let mut last = pot(1, 5 * ONE, Some(now + 3 * DAY), None);
        last.rank.priority = 200;
        assert_eq!(
            lasts(&one, funds(vec![last, pot(2, 2 * ONE, None, None)]), now),
            Some(3 * 24)
        );
    }

    #[test]
    fn credit_for_other_use_is_not_spent() {
        let pots = |scope| funds(vec![pot(1, ONE, None, None), pot(2, 90 * ONE, None, scope)]);
        assert_eq!(lasts(&steady(ONE), pots(Some(1)), MONDAY), Some(24));
        assert_eq!(lasts(&steady(ONE), pots(Some(0)), MONDAY), Some(91 * 24));
        // Half of the use may spend it: the other half has what every use may spend, of which it gets but a part, for what is for all
        // comes first here.
        let mut half = steady(ONE);
        half.streams = [true, false]
            .map(|fits| Stream {
                share: 0.5,
                fits: vec![fits],
            })
            .to_vec();
        half.days = vec![vec![ONE / 2; 2]; 7];
        assert_eq!(lasts(&half, pots(Some(0)), MONDAY), Some(24));
        let mut first = pots(Some(0));
        first.pots[1].rank.priority = 1;
        assert_eq!(lasts(&half, first, MONDAY), Some(48));
        // A stream of less than a hundredth is not waited for.
        half.streams[0].share = 0.995;
        half.streams[1].share = 0.005;
        half.days = vec![vec![ONE, ONE / 200]; 7];
        let hours = lasts(&half, pots(Some(0)), MONDAY).unwrap();
        assert!((90 * 24..=91 * 24).contains(&hours), "{hours}");
    }

    #[test]
    fn grants_that_come_again_are_waited_for() {
        let again = |amount, rollover_max, days| Recurring {
            amount,
            period: Length {
                months: 0,
                days: 7,
                micros: 0,
            },
            life: Some(Length {
                months: 0,
                days,
                micros: 0,
            }),
            rollover_max,
            started_at: MONDAY - 7 * DAY,
            turn: 0,
            next_at: MONDAY,
            scope: None,
        };
        let with = |recurring, left| Funds {
            recurring: Some(recurring),
            ..funds(vec![pot(1, left, None, None)])
        };
        let now = MONDAY - 2 * DAY;
        // Two days, and seven of each week; one that brings too little runs out in the end.
        assert_eq!(
            lasts(&steady(ONE), with(again(7 * ONE, None, 7), 2 * ONE), now),
            None
        );
        assert_eq!(
            lasts(&steady(ONE), with(again(6 * ONE, None, 7), 2 * ONE), now),
            Some(8 * 24)
        );
        assert_eq!(
            lasts(&steady(ONE), with(again(6 * ONE, None, 7), 4 * ONE), now),
            Some((2 + 14 + 6) * 24)
        );
        // Before the next comes there is nothing.
        assert_eq!(
            lasts(&steady(ONE), with(again(7 * ONE, None, 7), ONE), now),
            Some(24)
        );
        // What was spent on credit comes off the first.
        let owing = Funds {
            owed: 3 * ONE,
            ..with(again(7 * ONE, None, 7), 0)
        };
        assert_eq!(lasts(&steady(ONE), owing, now), Some(0));
        // Of ten a week seven are spent, but no more than two are carried on; nothing is lost for want of it.
        let outcome = |rollover| {
            let weekend = Spending {
                // Spends on every other week only.
                days: (0..35)
                    .map(|day| vec![if day / 7 % 2 == 0 { 0 } else { 2 * ONE }])
                    .collect(),
                ..steady(ONE)
            };
            let calendar = calendar(MONDAY);
            let until = MONDAY + 28 * DAY;
            project(
                &calendar,
                &weekend,
                with(again(10 * ONE, rollover, 7), 0),
                MONDAY,
                until,
                until,
                false,
            )
            .missing
        };
        assert_eq!(outcome(Some(2 * ONE)), 4 * ONE);
        assert_eq!(outcome(Some(9 * ONE)), 0);
        assert_eq!(outcome(None), 8 * ONE);
    }

    #[test]
    fn money_for_ages_is_found_quickly() {
        // A grant every day of which half is left.
        let daily = Recurring {
            amount: 2 * ONE,
            period: Length {
                months: 0,
                days: 1,
                micros: 0,
            },
            life: None,
            rollover_max: None,
            started_at: MONDAY - DAY,
            turn: 0,
            next_at: MONDAY,
            scope: None,
        };
        let again = Funds {
            recurring: Some(daily),
            ..funds(Vec::new())
        };
        assert_eq!(lasts(&steady(ONE), again, MONDAY), None);
        // A hundred years are five thousand weeks.
        assert_eq!(
            lasts(
                &steady(ONE),
                funds(vec![pot(1, 36_000 * ONE, None, None)]),
                MONDAY
            ),
            Some(36_000 * 24)
        );
        assert_eq!(
            lasts(
                &steady(ONE),
                funds(vec![pot(1, 50_000 * ONE, None, None)]),
                MONDAY
            ),
            None
        );
        // The weekend is free: out on a Friday evening.
        let mut week = steady(ONE);
        week.days[5..].fill(vec![0]);
        assert_eq!(
            lasts(&week, funds(vec![pot(1, 5_000 * ONE, None, None)]), MONDAY),
            Some((7_000 - 2) * 24)
        );
    }

    /// Hour by hour, unit by unit, for one stream: lots as (left, end in hours, allowed), and what comes again every so
    /// many hours. Gives the hour in which it found nothing, and what was missing.
    fn by_the_hour(
        mut lots: Vec<Pot>,
        again: Option<Recurring>,
        hourly: &[i128],
        now: i64,
        hours: i64,
    ) -> (Option<i64>, i128) {
        let (mut out, mut missing, mut dry) = (None, 0, None);
        let mut next = again.as_ref().map(|again| again.next_at);
        for hour in 0..=hours {
            let at = now + hour * HOUR;
            loop {
                let end = lots
                    .iter()
                    .filter_map(|lot| lot.ends)
                    .min()
                    .unwrap_or(i64::MAX);
                let turn = next.unwrap_or(i64::MAX);
                if end.min(turn) > at {
                    break;
                }
                if turn <= end {
                    let again = again.as_ref().unwrap();
                    let ends = again.life.map(|life| turn + life.days * DAY + life.micros);
                    if let Some(most) = again.rollover_max {
                        let lasting = |lot: &Pot| lot.recurring && lot.rank.expires_at >= turn;
                        loop {
                            let sum: i128 = lots
                                .iter()
                                .filter(|lot| lasting(lot))
                                .map(|lot| lot.left)
                                .sum();
                            if sum <= most {
                                break;
                            }
                            let some = lots.iter_mut().filter(|lot| lasting(lot) && lot.left > 0);
                            some.min_by(|a, b| a.rank.cmp(&b.rank)).unwrap().left -= 1;
                        }
                        for lot in lots.iter_mut().filter(|lot| lasting(lot) && lot.left > 0) {
                            if let Some(ends) = ends {
                                lot.ends = Some(ends);
                                lot.rank.expires_at = ends;
                            }
                        }
                    }
                    let mut lot = pot(200, again.amount, ends, again.scope);
                    lot.rank.paid = false;
                    lot.rank.created_at = turn;
                    lot.recurring = true;
                    lots.push(lot);
                    next = Some(turn + again.period.days * DAY + again.period.micros);
                } else {
                    lots.retain(|lot| lot.ends != Some(end));
                }
            }
            if hour == hours {
                break;
            }
            let usable = |lots: &[Pot]| {
                let usable = lots.iter().enumerate();
                let usable = usable.filter(|(_, lot)| lot.left > 0 && lot.scope != Some(1));
                usable
                    .min_by(|a, b| a.1.rank.cmp(&b.1.rank))
                    .map(|(index, _)| index)
            };
            if usable(&lots).is_some() {
                dry = None;
            }
            for _ in 0..hourly[usize::try_from(hour).unwrap() % hourly.len()] {
                match usable(&lots) {
                    Some(index) => lots[index].left -= 1,
                    None => {
                        missing += 1;
                        out = out.or(dry.or(Some(hour)));
                    }
                }
            }
            if usable(&lots).is_none() {
                dry = dry.or(Some(hour + 1));
            }
        }
        (out, missing)
    }

    fn lots() -> impl Strategy<Value = Vec<Pot>> {
        let lot = (
            0_i128..400,
            prop::option::of(-5_i64..400),
            99_i32..102,
            any::<bool>(),
            prop::option::of(0_usize..2),
            any::<bool>(),
        );
        prop::collection::vec(lot, 0..7).prop_map(|lots| {
            let lots = lots.into_iter().enumerate();
            lots.map(|(number, (left, ends, priority, paid, scope, recurring))| {
                let ends = ends.map(|hours| MONDAY + hours * HOUR);
                let mut pot = pot(u8::try_from(number).unwrap(), left, ends, scope);
                pot.rank.priority = priority;
                pot.rank.paid = paid;
                pot.recurring = recurring;
                pot
            })
            .collect()
        })
    }

    fn recurring() -> impl Strategy<Value = Recurring> {
        (
            1_i128..200,
            5_i64..200,
            prop::option::of(1_i64..400),
            prop::option::of(0_i128..200),
            -10_i64..100,
            prop::option::of(0_usize..2),
        )
            .prop_map(|(amount, period, life, rollover_max, next, scope)| {
                let hours = |hours| Length {
                    months: 0,
                    days: 0,
                    micros: hours * HOUR,
                };
                Recurring {
                    amount,
                    period: hours(period),
                    life: life.map(hours),
                    rollover_max,
                    started_at: MONDAY + (next - period) * HOUR,
                    turn: 0,
                    next_at: MONDAY + next * HOUR,
                    scope,
                }
            })
    }

    proptest! {
        #[test]
        fn it_is_what_hour_by_hour_gives(
            pots in lots(), again in prop::option::of(recurring()), week in prop::collection::vec(0_i128..4, 7), start in 0_i64..24,
            hours in 1_i64..900,
        ) {
            let now = MONDAY + start * HOUR;
            let days: Vec<Vec<i128>> = week.iter().map(|hourly| vec![hourly * 24]).collect();
            let spending = Spending { days, ..steady(1) };
            let hourly: Vec<i128> = (0..168).map(|hour| week[usize::try_from((hour + start) / 24 % 7).unwrap()]).collect();
            let funds = Funds { recurring: again.clone(), ..funds(pots.clone()) };
            let until = now + hours * HOUR;
            let got = project(&calendar(now), &spending, funds, now, until, until, false);
            let (out, missing) = by_the_hour(pots, again, &hourly, now, hours);
            prop_assert_eq!(got.missing, missing);
            match (got.runs_out_at, out) {
                (Some(at), Some(hour)) => prop_assert!((at - now - hour * HOUR).abs() <= HOUR, "{} {}", (at - now) / HOUR, hour),
                (got, wanted) => prop_assert_eq!(got, wanted),
            }
        }

        /// Two streams that take turns, a unit each, where nothing comes again.
        #[test]
        fn streams_share_what_is_for_all(pots in lots(), units in prop::collection::vec(1_i128..4, 2)) {
            let fits = [vec![true, false], vec![false, true]];
            let scale = 1_000_000;
            let sum: i128 = units.iter().sum();
            let spending = Spending {
                streams: (0..2).map(|one| Stream { share: units[one] as f64 / sum as f64, fits: fits[one].clone() }).collect(),
                days: vec![units.iter().map(|units| units * 24 * scale).collect(); 7],
            };
            let mut large = pots.clone();
            large.iter_mut().for_each(|pot| pot.left *= scale);
            let now = MONDAY;
            let got = project(&calendar(now), &spending, funds(large), now, now + 3_000 * HOUR, now, false).runs_out_at;
            // The same in hundredths.
            let mut lots = pots;
            lots.iter_mut().for_each(|pot| pot.left *= 100);
            let mut out = None;
            'hours: for hour in 0..3_000 {
                lots.retain(|lot| lot.ends.is_none_or(|end| end > now + hour * HOUR));
                for _ in 0..100 {
                    for one in 0..2 {
                        for _ in 0..units[one] {
                            let usable = lots.iter_mut().filter(|lot| lot.left > 0 && lot.scope.is_none_or(|scope| fits[one][scope]));
                            let Some(lot) = usable.min_by(|a, b| a.rank.cmp(&b.rank)) else {
                                out = Some(hour);
                                break 'hours;
                            };
                            lot.left -= 1;
                        }
                    }
                }
            }
            match (got, out) {
                (Some(at), Some(hour)) => prop_assert!(((at - now) / HOUR - hour).abs() <= 1, "{} {}", (at - now) / HOUR, hour),
                (got, wanted) => prop_assert_eq!(got, wanted),
            }
        }
    }
}
