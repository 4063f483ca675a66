//! Limits, and which of them apply to a request.

use std::borrow::Cow;

use jiff::civil::Time;
use jiff::tz::TimeZone;

use crate::attribution::{Attribution, UseContext};
use crate::error::{Error, Result};
use crate::limits::as_default::{AsDefault, levels_reported, levels_stored};
use crate::limits::last_window::LastWindow;
use crate::limits::metric::{Measured, Metric};
use crate::limits::period::Period;
use crate::limits::scope::{Dimension, Scope, Subject};
use crate::limits::window_id;
pub use crate::limits::window_id::bounds;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::storage::rows::{AllowanceId, uuid_text};

/// Whether a limit refuses requests or only warns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Refuses requests that would exceed the maximum.
    Hard,
    /// Only warns.
    Soft,
    /// Refuses charges that would exceed the maximum. A hold above the maximum waits for approval.
    Approve,
}

impl Mode {
    /// All modes.
    pub const ALL: &'static [Mode] = &[Mode::Hard, Mode::Soft, Mode::Approve];

    /// The mode's name in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Hard => "hard",
            Mode::Soft => "soft",
            Mode::Approve => "approve",
        }
    }

    /// The mode with that name in SQL; `None` if the name is unknown.
    pub fn parse(text: &str) -> Option<Mode> {
        Mode::ALL.iter().copied().find(|mode| mode.as_str() == text)
    }
}

/// The rule of a limit that carries the unused part of a window into the next one.
#[derive(Clone, Copy, Debug)]
pub struct Rollover {
    /// The most that is carried.
    pub max: Amount,
    /// The window that contains this time is the first one that carries.
    pub since: Timestamp,
}

/// The carry of a window: the amount added to its maximum from the windows before.
#[derive(Clone, Debug, Default)]
pub struct Carry {
    /// The amount carried into the window, minus the amount carried on from it.
    pub amount: Amount,
    /// True if the window's row has it; it is computed otherwise.
    pub is_stored: bool,
    /// The window from which a part of a computed amount comes, and that part.
    pub source: Option<(AllowanceId, Amount)>,
}

/// A row of `wallet.limits`.
#[derive(Clone, Debug)]
pub struct Limit {
    /// Id of the limit, also part of the ids of its windows.
    pub id: [u8; 16],
    /// The kind of subject that it applies to.
    pub scope: Scope,
    /// The subject; `*` means each subject separately.
    pub subject: Subject,
    /// How long each window of the limit lasts.
    pub period: Period,
    /// The period's name in SQL.
    pub period_name: String,
    /// The quantity that it counts.
    pub metric: Metric,
    /// Whether the limit refuses requests.
    pub mode: Mode,
    /// The maximum per window, without temporary raises.
    pub max: Amount,
    /// Temporary raises of the maximum: the amount, and when the raise ends.
    pub raises: Vec<(Amount, Timestamp)>,
    /// The fractions of the maximum at which it warns, ascending. The maximum itself is not
    /// included.
    pub warn_at: Vec<Amount>,
    /// The time zone that decides when days and months begin.
    pub zone: TimeZone,
    /// The time of day at which days and longer windows begin; `None` for midnight.
    pub from: Option<Time>,
    /// The rule by which the limit carries; `None` if it carries nothing.
    pub rollover: Option<Rollover>,
    /// Set if it is a default limit, which belongs to no wallet.
    pub default: Option<AsDefault>,
    /// The window that was asked for last. It belongs to period, zone and time of day.
    pub last_window: LastWindow,
}

/// A limit that applies to a request, with its window.
#[derive(Clone, Debug)]
pub struct Applied<'a> {
    /// The rule that made the window; its subject may be `*`.
    pub limit: &'a Limit,
    /// The subject whose window counts the request.
    pub subject: String,
    /// Id of the window in `wallet.allowances`.
    pub window_id: AllowanceId,
    /// The first moment of the window; `None` for a window without a beginning.
    pub start: Option<Timestamp>,
    /// The first moment after the window, when the limit resets; `None` if it never resets.
    pub end: Option<Timestamp>,
    /// The moment that selected the window.
    pub at: Timestamp,
    /// The maximum at that moment, with raises and with the carry.
    pub max: Amount,
    /// The window's carry, if the limit carries anything.
    pub carry: Option<Box<Carry>>,
    /// The quantity that the request takes, in the limit's metric.
    pub need: Amount,
    /// Whether the request may exceed the maximum, because it is a hold that then waits for
    /// approval.
    pub may_exceed: bool,
}

/// The parts of a request that limits depend on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spending<'a> {
    /// The user, team and key that spend.
    pub attribution: Attribution<'a>,
    /// The use that they pay for.
    pub context: UseContext<'a>,
    /// The quantities of the request.
    pub measured: Measured<'a>,
}

impl Spending<'_> {
    /// The request's value of a dimension, such as its user.
    fn value(&self, dimension: &Dimension) -> Option<Cow<'_, str>> {
        match dimension {
            Dimension::User => self.attribution.user_id.map(Cow::Borrowed),
            Dimension::Team => self.attribution.team.map(Cow::Borrowed),
            Dimension::Key => self.attribution.key_id.map(|id| Cow::Owned(uuid_text(id))),
            Dimension::Model => self.context.model.map(Cow::Borrowed),
            Dimension::Service => self.context.service.map(Cow::Borrowed),
            Dimension::Tag(name) => self.context.tag(name).map(Cow::Owned),
        }
    }
}

/// The fraction 1, in units.
pub const WHOLE: i128 = 1_000_000_000_000;

impl Limit {
    /// The subject whose window counts the request; `None` if the limit does not apply to it.
    pub fn subject_for(&self, spending: &Spending<'_>) -> Option<String> {
        self.subject
            .counted_for(&self.scope, |_, of| spending.value(of))
    }

    /// The subject whose window counts a request with these values of the scope's dimensions.
    pub fn subject_of(&self, values: &[String]) -> Option<String> {
        self.subject.counted_for(&self.scope, |place, _| {
            values.get(place).map(|value| Cow::Borrowed(value.as_str()))
        })
    }

    /// True if this limit replaces another one for the requests to which this one applies.
    pub fn replaces(&self, other: &Limit) -> bool {
        // First what rules out most limits.
        self.subject.names_more(&other.subject)
            && other.scope == self.scope
            && other.period_name == self.period_name
            && other.metric.as_str() == self.metric.as_str()
            && self.subject.overrides(&self.scope, &other.subject)
    }

    /// True if one of the limits replaces this one for a request.
    pub fn is_replaced<'l>(
        &self,
        mut limits: impl Iterator<Item = &'l Limit>,
        spending: &Spending<'_>,
    ) -> bool {
        let applies = |limit: &Limit| {
            let value = |of: &Dimension| spending.value(of);
            limit.subject.applies_to(&limit.scope, value)
        };
        self.subject.has_each()
            && self.scope != Scope::Wallet
            && limits.any(|other| other.replaces(self) && applies(other))
    }

    /// True if the limit counts what is used at that time. A default limit begins at some time.
    fn counts_at(&self, at: Timestamp) -> bool {
        self.default
            .is_none_or(|default| default.counts_since <= at)
    }

    /// True for a window that the limit has now. A row with another id than the limit computes is
    /// left over from before the windows moved, or from before a default limit began again.
    pub fn has_window(&self, id: AllowanceId, subject: &str, start: Option<Timestamp>) -> bool {
        // A window without a beginning contains any moment.
        let at = start.unwrap_or(Timestamp(0));
        self.window(subject.to_owned(), at, Amount::ZERO)
            .is_ok_and(|window| window.window_id == id)
    }

    /// The number of levels as a window's row stores it.
    pub fn levels_stored(&self, levels: i64) -> i64 {
        levels_stored(self.default, levels)
    }

    /// The number of levels that a window with `used` in it has reported, according to its row.
    /// Usage before a change of the limit causes no further warnings.
    pub fn levels_reported(&self, stored: i64, used: Amount, max: Amount) -> i64 {
        let reported = levels_reported(self.default, stored);
        reported.unwrap_or_else(|| match used.is_zero() {
            true => 0,
            false => self.levels_at(used, max),
        })
    }

    /// The maximum at a moment, raises included.
    pub fn max_at(&self, at: Timestamp) -> Result<Amount> {
        self.raises
            .iter()
            .filter(|(_, until)| *until > at)
            .try_fold(self.max, |max, (by, _)| max.plus(*by))
            .map_err(crate::pg::numeric::overflow)
    }

    /// The number of the limit's levels that `used` has reached. The warnings and the maximum are
    /// levels.
    pub fn levels_at(&self, used: Amount, max: Amount) -> i64 {
        let warned = self
            .warn_at
            .iter()
            .filter(|level| used >= part(max, **level))
            .count();
        let reached = usize::from(used >= max);
        (warned + reached) as i64
    }

    /// The usage at the next level after the first `passed` levels; `None` after the last one.
    pub fn next_level(&self, passed: i64, max: Amount) -> Option<Amount> {
        let passed = usize::try_from(passed).unwrap_or(0);
        match self.warn_at.get(passed) {
            Some(level) => Some(part(max, *level)),
            None if passed == self.warn_at.len() => Some(max),
            None => None,
        }
    }

    /// The limit's window at a moment, for a subject.
    pub fn window(&self, subject: String, at: Timestamp, need: Amount) -> Result<Applied<'_>> {
        let micros = at.unix_micros();
        let (start, end) = self
            .last_window
            .at(micros, || self.period.window(&self.zone, self.from, micros))
            .ok_or_else(|| {
                Error::argument("the time is outside the years that limits know")
                    .detail("Windows of limits exist from the year -9999 to the year 9999.")
                    .hint("Pass a time within these years.")
            })?;
        let begins = self
            .default
            .map(|default| default.counts_since.unix_micros());
        let start = start.max(begins);
        let window_id = window_id::of(&self.id, start, &subject);
        Ok(Applied {
            limit: self,
            subject,
            window_id,
            start: start.map(Timestamp::from_unix_micros),
            end: end.map(Timestamp::from_unix_micros),
            at,
            max: self.max_at(at)?,
            carry: None,
            need,
            may_exceed: false,
        })
    }
}

/// A fraction of a maximum, rounded up to a unit.
fn part(max: Amount, fraction: Amount) -> Amount {
    // In two steps, because the product of the two may overflow.
    let (whole, rest) = (max.units() / WHOLE, max.units() % WHOLE);
    let units = fraction.units() * whole + (fraction.units() * rest + WHOLE - 1) / WHOLE;
    Amount::from_units(units).unwrap_or(max)
}

impl Applied<'_> {
    /// The most that any window can have as its maximum, while the limit stays as it is.
    pub fn most(&self) -> Result<Amount> {
        match self.limit.rollover {
            None => Ok(self.max),
            Some(rollover) => {
                let max = self.limit.max_at(self.at)?;
                max.plus(rollover.max).map_err(crate::pg::numeric::overflow)
            }
        }
    }

    /// The maximum of a limit that refuses requests; `None` for a soft limit.
    pub fn cap(&self) -> Option<Amount> {
        (self.limit.mode != Mode::Soft).then_some(self.max)
    }

    /// True if a hold above the maximum waits for approval.
    pub fn asks_approval(&self) -> bool {
        self.limit.mode == Mode::Approve
    }
}

/// The limits that apply to a request. Each list is in the order in which rows are locked.
#[derive(Debug, Default)]
pub struct Applicable<'a> {
    /// The limits that count use.
    pub counted: Vec<Applied<'a>>,
    /// The limits on the quantities of open holds.
    pub on_open_holds: Vec<Applied<'a>>,
    /// The limits on a single request.
    pub per_request: Vec<Applied<'a>>,
}

/// The limits that apply to a request. A limit that names more of the subject replaces one on `*`
/// with the same scope, period and metric.
pub fn applicable<'a>(
    limits: &'a [Limit],
    spending: &Spending<'_>,
    at: Timestamp,
) -> Result<Applicable<'a>> {
    let mut found = Applicable::default();
    let in_force = || limits.iter().filter(|limit| limit.counts_at(at));
    for limit in in_force() {
        if limit.is_replaced(in_force(), spending) {
            continue;
        }
        if let Some(subject) = limit.subject_for(spending) {
            let need = limit.metric.need(&spending.measured)?;
            let list = match limit.period {
                Period::Open => &mut found.on_open_holds,
                Period::Request => &mut found.per_request,
                _ => &mut found.counted,
            };
            list.push(limit.window(subject, at, need)?);
        }
    }
    found.counted.sort_by_key(|applied| applied.window_id);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(scope: Scope, subject: &str, metric: Metric) -> Limit {
        Limit {
            id: *uuid::Uuid::now_v7().as_bytes(),
            scope,
            subject: Subject::one(subject),
            period: Period::Day,
            period_name: "day".to_owned(),
            metric,
            mode: Mode::Hard,
            max: Amount::from_units(100).unwrap(),
            raises: Vec::new(),
            warn_at: vec![Amount::from_units(WHOLE * 8 / 10).unwrap()],
            zone: TimeZone::UTC,
            from: None,
            rollover: None,
            default: None,
            last_window: LastWindow::default(),
        }
    }

    fn subjects(limits: &[Limit], spending: &Spending<'_>) -> Vec<String> {
        let mut subjects: Vec<String> = applicable(limits, spending, Timestamp(0))
            .unwrap()
            .counted
            .into_iter()
            .map(|applied| format!("{}={}", applied.limit.scope.as_str(), applied.subject))
            .collect();
        subjects.sort();
        subjects
    }

    #[test]
    fn each_scope_has_its_subject() {
        let limits = [
            limit(Scope::Wallet, "*", Metric::Amount),
            limit(Scope::One(Dimension::User), "*", Metric::Amount),
            limit(Scope::One(Dimension::Team), "*", Metric::Amount),
            limit(Scope::One(Dimension::Model), "gpt-4*", Metric::Amount),
            limit(Scope::One(Dimension::Service), "chat", Metric::Amount),
            limit(Scope::One(Dimension::Key), "*", Metric::Amount),
        ];
        let spending = Spending {
            attribution: Attribution {
                user_id: Some("ann"),
                team: Some("red"),
                ..Attribution::default()
            },
            context: UseContext {
                model: Some("gpt-4o"),
                service: Some("search"),
                ..UseContext::default()
            },
            ..Spending::default()
        };
        assert_eq!(
            subjects(&limits, &spending),
            ["model=gpt-4*", "team=red", "user=ann", "wallet=*"]
        );
        assert_eq!(subjects(&limits, &Spending::default()), ["wallet=*"]);
    }

    #[test]
    fn a_name_replaces_each_one_of_the_same_metric() {
        let limits = [
            limit(Scope::One(Dimension::User), "*", Metric::Amount),
            limit(Scope::One(Dimension::User), "ann", Metric::Amount),
            limit(Scope::One(Dimension::User), "*", Metric::Requests),
        ];
        let ann = Spending {
            attribution: Attribution {
                user_id: Some("ann"),
                ..Attribution::default()
            },
            ..Spending::default()
        };
        let applied = applicable(&limits, &ann, Timestamp(0)).unwrap();
        let ids: Vec<_> = applied
            .counted
            .iter()
            .map(|applied| applied.limit.id)
            .collect();
        assert!(!ids.contains(&limits[0].id));
        assert!(ids.contains(&limits[1].id) && ids.contains(&limits[2].id));
    }

    #[test]
    fn levels_are_passed_once_they_are_reached() {
        let limit = limit(Scope::Wallet, "*", Metric::Amount);
        let at = |used| limit.levels_at(Amount::from_units(used).unwrap(), limit.max);
        assert_eq!([at(79), at(80), at(99), at(100), at(120)], [0, 1, 1, 2, 2]);
        let next = |passed| limit.next_level(passed, limit.max).map(Amount::units);
        assert_eq!([next(0), next(1), next(2)], [Some(80), Some(100), None]);
    }

    #[test]
    fn a_part_of_the_largest_maximum_is_exact() {
        let max = Amount::from_units(9_999_999_999_999_999_999_999_999_999).unwrap();
        assert_eq!(part(max, Amount::from_units(WHOLE).unwrap()), max);
        let half = part(max, Amount::from_units(WHOLE / 2).unwrap());
        assert_eq!(half.units(), 5_000_000_000_000_000_000_000_000_000);
    }
}
