//! The input of a projection: the money of a wallet, and the expected spending.

use crate::ledger::grants::burn::Rank;
use crate::reporting::forecast::calendar::Length;

/// A thousand microseconds. With a finer unit, the product of a day's money and its length might
/// overflow.
pub const TICK: i64 = 1_000;

/// A lot, or the money that is in no lot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pot {
    /// Its place in burn order, which includes its expiry.
    pub rank: Rank,
    /// The rest, in units of 10⁻¹².
    pub left: i128,
    /// The amount that holds reserve of it, if it has a scope.
    pub kept: i128,
    /// When it ends; `None` if it does not expire.
    pub ends: Option<i64>,
    /// The number of the recurring grant that made it; `None` for any other lot.
    pub recurring: Option<usize>,
    /// The number of its scope; `None` if every use may spend it.
    pub scope: Option<usize>,
}

/// A recurring grant.
#[derive(Clone, Debug)]
pub struct Recurring {
    /// Its number. Of those that occur at the same moment, the least comes first.
    pub number: usize,
    /// The amount of each occurrence.
    pub amount: i128,
    /// The time between two occurrences.
    pub period: Length,
    /// How long the credit of an occurrence lasts; `None` if it does not expire.
    pub life: Option<Length>,
    /// The most that is rolled over from earlier occurrences; `None` if nothing limits it.
    pub rollover_max: Option<i128>,
    /// When the recurring grant began.
    pub started_at: i64,
    /// The number of periods since then.
    pub turn: i64,
    /// When it occurs next.
    pub next_at: i64,
    /// The number of its scope; `None` if every use may spend it.
    pub scope: Option<usize>,
}

/// A wallet's money, with everything that is due.
#[derive(Clone, Debug)]
pub struct Funds {
    /// The lots, and the money that is in no lot.
    pub pots: Vec<Pot>,
    /// The amount that was spent on credit.
    pub owed: i128,
    /// The amount that holds reserve of lots without a scope.
    pub held: i128,
    /// The recurring grants, in the order of their numbers.
    pub recurring: Vec<Recurring>,
}

/// Uses that the same lots may pay for.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Their fraction of all uses.
    pub share: f64,
    /// For each scope by number, whether it allows these uses.
    pub fits: Vec<bool>,
}

/// The expected spending, in units per day and stream, from today on. The last seven days repeat
/// without end.
#[derive(Clone, Debug)]
pub struct Spending {
    /// The streams, in the order in which `days` counts them.
    pub streams: Vec<Stream>,
    /// Units by day and stream.
    pub days: Vec<Vec<i128>>,
}

impl Spending {
    /// Units by stream on the day that is `ahead` days from today.
    pub fn day(&self, ahead: usize) -> &[i128] {
        let last = self.days.len();
        let known = match ahead < last {
            true => ahead,
            false => last.saturating_sub(7) + (ahead - last) % 7.min(last.max(1)),
        };
        self.days.get(known).map_or(&[], Vec::as_slice)
    }

    /// Multiplies the spending by a factor.
    pub fn times(&self, factor: f64) -> Spending {
        let times = |units: &i128| (*units as f64 * factor) as i128;
        let days = self.days.iter();
        Spending {
            streams: self.streams.clone(),
            days: days.map(|day| day.iter().map(times).collect()).collect(),
        }
    }
}

/// The units of a day that are spent until a moment of it.
fn spent(units: i128, begin: i64, end: i64, at: i64) -> i128 {
    let ticks = |span: i64| i128::from(span / TICK);
    let length = ticks(end - begin).max(1);
    units.saturating_mul(ticks(at - begin)) / length
}

/// A day, and the units that each stream spends on it.
#[derive(Clone, Copy)]
pub struct Day<'a> {
    /// When the day begins.
    pub begin: i64,
    /// When the day ends.
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
