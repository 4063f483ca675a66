//! The input of a projection: the money of a wallet, and the expected spending.

use crate::ledger::grants::burn::Rank;
use crate::reporting::forecast::calendar::Length;

/// A thousand microseconds: finer, a day's money times its length may not fit.
pub const TICK: i64 = 1_000;

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
    /// Units by stream on the day so many days from today.
    pub fn day(&self, ahead: usize) -> &[i128] {
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

/// Units of a day that are spent by a moment of it.
fn spent(units: i128, begin: i64, end: i64, at: i64) -> i128 {
    let ticks = |span: i64| i128::from(span / TICK);
    let length = ticks(end - begin).max(1);
    units.saturating_mul(ticks(at - begin)) / length
}

/// A day, and what each stream spends on it.
#[derive(Clone, Copy)]
pub struct Day<'a> {
    /// When it begins.
    pub begin: i64,
    /// When it ends.
    pub end: i64,
    /// Units by stream.
    pub units: &'a [i128],
}

impl Day<'_> {
    /// The units that a stream spends from one moment of the day to another.
    pub fn spent(&self, stream: usize, from: i64, to: i64) -> i128 {
        let units = self.units.get(stream).copied().unwrap_or(0);
        spent(units, self.begin, self.end, to) - spent(units, self.begin, self.end, from)
    }
}
