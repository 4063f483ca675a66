//! The rows of limits and of their windows.

use crate::error::{Error, Result};
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::{Json, Jsonb};
use crate::pg::jsonb_parts::{Part as JsonPart, members};
use crate::storage::rows::AllowanceId;

/// A row of `wallet.limits`.
#[derive(Clone, Debug)]
pub struct LimitRow {
    /// Id of the limit, also part of the ids of its windows.
    pub id: [u8; 16],
    /// Scope of the limit, by name.
    pub scope: String,
    /// The subject to which the limit applies; `*` means each one separately.
    pub subject: String,
    /// Period, by name.
    pub period: String,
    /// The day on which the limit's weeks or months begin; `None` for the default.
    pub anchor: Option<i16>,
    /// Metric, by name.
    pub metric: String,
    /// Mode, by name.
    pub mode: String,
    /// Maximum per window, in units of the metric.
    pub max: Amount,
    /// Time zone in which periods begin, by name. Empty in a default limit that takes each
    /// wallet's.
    pub time_zone: String,
    /// Fractions of the maximum at which the limit warns.
    pub warn_at: Vec<Amount>,
    /// While true, the limit neither counts usage nor refuses requests.
    pub paused: bool,
    /// The amounts by which the maximum is raised.
    pub raised_by: Vec<Amount>,
    /// The end of each raise.
    pub raised_until: Vec<Timestamp>,
    /// Microseconds after midnight at which windows begin; `None` for midnight.
    pub anchor_time: Option<i64>,
    /// The most that is carried from a window into the next one; `None` for nothing.
    pub rollover_max: Option<Amount>,
    /// The window that contains this time is the first one that carries; `None` if nothing is
    /// carried.
    pub carry_from: Option<Timestamp>,
    /// The weight of each meter, in the order of their names; empty unless the metric is a weighted
    /// sum.
    pub weights: Vec<(String, Amount)>,
}

impl LimitRow {
    /// The maximum at a moment, raises included.
    pub fn max_at(&self, at: Timestamp) -> Result<Amount> {
        let raises = self.raised_by.iter().zip(&self.raised_until);
        raises
            .filter(|(_, until)| **until > at)
            .try_fold(self.max, |max, (by, _)| max.plus(*by))
            .map_err(crate::pg::numeric::overflow)
    }
}

/// The part of a wallet on which default limits depend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// The wallet's time zone, by name.
    pub time_zone: String,
    /// Default limits carry nothing from windows that ended before this time.
    pub since: Timestamp,
}

#[cfg(test)]
impl LimitRow {
    /// A limit of one unit for unit tests, in UTC and without anything optional.
    pub fn plain(scope: &str, subject: &str, period: &str, metric: &str) -> LimitRow {
        LimitRow {
            id: *uuid::Uuid::now_v7().as_bytes(),
            scope: scope.to_owned(),
            subject: subject.to_owned(),
            period: period.to_owned(),
            anchor: None,
            metric: metric.to_owned(),
            mode: "hard".to_owned(),
            max: Amount::ONE,
            time_zone: "UTC".to_owned(),
            warn_at: Vec::new(),
            paused: false,
            raised_by: Vec::new(),
            raised_until: Vec::new(),
            anchor_time: None,
            rollover_max: None,
            carry_from: None,
            weights: Vec::new(),
        }
    }
}

/// The weights in the column of that name: an object with one number per meter.
pub fn weights_of(column: Option<Jsonb>) -> Result<Vec<(String, Amount)>> {
    let broken = || Error::internal("the weights of a limit cannot be read");
    let mut weights = Vec::new();
    if let Some(object) = column {
        members(object, |meter, part| match part {
            JsonPart::Scalar(Json::Number(weight)) => {
                let weight = weight.to_amount().map_err(|_| broken())?;
                weights.push((meter.to_owned(), weight));
                Ok(())
            }
            _ => Err(broken()),
        })?;
    }
    Ok(weights)
}

/// A window of a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The amount that was charged. In a rolling window, as of the last write.
    pub spent: Amount,
    /// The amount that open holds reserve.
    pub held: Amount,
    /// The number of the limit's warning levels that have been reported.
    pub levels: i64,
    /// Usage by slices of time, encoded; `None` unless the window is rolling.
    pub slices: Option<Vec<u8>>,
}

/// The counters of a window's row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// The amount that was charged.
    pub spent: Amount,
    /// The amount that was charged or is held.
    pub used: Amount,
    /// The upper bound of `used`, exclusive, while the window is spread over lanes. In lane 0, the
    /// amount that was carried into the window minus the amount carried on; zero otherwise.
    pub watermark: Amount,
    /// The number of the limit's warning levels that have been reported.
    pub levels: i64,
}

/// One of the two amounts of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The amount that was charged.
    Spent,
    /// The amount that holds reserve.
    Held,
}

/// An amount that is taken from a window or returned to it.
#[derive(Clone, Copy, Debug)]
pub struct Taking {
    /// The lane of the window's row: 0, or a lane over which the window is spread. The latter must
    /// stay below its watermark.
    pub lane: i16,
    /// The amount, in the unit of the metric that the limit counts.
    pub need: Amount,
    /// Hard cap; `None` for limits that only warn.
    pub cap: Option<Amount>,
    /// Whether the amount is charged or held.
    pub part: Part,
    /// True if the cap must not refuse it: the hold for it was released just before, or the usage
    /// that it pays for has already happened.
    pub forced: bool,
}

/// The state of a window when an amount was taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The amount that is charged or held, after the taking.
    pub after: Amount,
    /// The number of the limit's warning levels that had been reported before.
    pub levels: i64,
}

/// The result of a change of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed<T> {
    /// The row is changed.
    Done(T),
    /// The row is as it was.
    Unchanged,
    /// There is no such row.
    Missing,
}

/// The columns of a new window.
pub struct NewWindow<'a> {
    /// The allowance id of the window.
    pub id: AllowanceId,
    /// The limit's maximum; `None` if the limit only warns.
    pub cap: Option<Amount>,
    /// The number of reported levels, as the row stores it.
    pub levels: i64,
    /// The initial counters of the window.
    pub window: &'a Window,
    /// Id of the limit that made the window.
    pub limit_id: [u8; 16],
    /// The subject whose spending the window counts, such as a user's id.
    pub subject: &'a str,
    /// The beginning of the window, if it has one.
    pub start: Option<Timestamp>,
    /// The end of the window, exclusive, if it has one.
    pub end: Option<Timestamp>,
}
