//! Limits: their scopes, and which limits apply to a request.

use std::borrow::Cow;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use crate::attribution::{Attribution, UseContext};
use crate::error::{Error, Result};
use crate::limits::metric::{Measured, Metric};
use crate::limits::period::Period;
use crate::money::Amount;
use crate::pattern::matches;
use crate::pg::clock::Timestamp;
use crate::storage::rows::{AllowanceId, uuid_text};

/// The kind of subject to which a limit applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All spending of the wallet.
    Wallet,
    /// Spending that is attributed to a user.
    User,
    /// Spending that is attributed to a team.
    Team,
    /// Spending on a model.
    Model,
    /// Spending on a service.
    Service,
    /// Spending with an API key.
    Key,
    /// Spending under a tag, with the tag's name.
    Tag(String),
}

impl Scope {
    /// Names of the scopes in SQL. The name of a tag follows `tag:`.
    pub const NAMES: &'static [&'static str] = &[
        "wallet", "user", "team", "model", "service", "key", "tag:NAME",
    ];

    /// The scope's name in SQL.
    pub fn as_str(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Scope::Wallet => "wallet",
            Scope::User => "user",
            Scope::Team => "team",
            Scope::Model => "model",
            Scope::Service => "service",
            Scope::Key => "key",
            Scope::Tag(name) => return Cow::Owned(format!("tag:{name}")),
        })
    }

    /// The scope with that name in SQL; `None` if the name is unknown.
    pub fn parse(text: &str) -> Option<Scope> {
        Some(match text {
            "wallet" => Scope::Wallet,
            "user" => Scope::User,
            "team" => Scope::Team,
            "model" => Scope::Model,
            "service" => Scope::Service,
            "key" => Scope::Key,
            _ => match text.strip_prefix("tag:") {
                Some(name) if !name.is_empty() => Scope::Tag(name.to_owned()),
                _ => return None,
            },
        })
    }

    /// True if a subject of this scope may be a pattern.
    fn takes_patterns(&self) -> bool {
        !matches!(self, Scope::Wallet | Scope::Key)
    }
}

/// Whether a limit refuses requests or only warns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Refuses requests that would exceed the maximum.
    Hard,
    /// Only warns.
    Soft,
}

impl Mode {
    /// All modes.
    pub const ALL: &'static [Mode] = &[Mode::Hard, Mode::Soft];

    /// The mode's name in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Hard => "hard",
            Mode::Soft => "soft",
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
    pub subject: String,
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
    /// The request's value in a scope, such as its user in the scope `user`.
    fn value(&self, scope: &Scope) -> Option<Cow<'_, str>> {
        match scope {
            Scope::Wallet => Some(Cow::Borrowed(WALLET_SUBJECT)),
            Scope::User => self.attribution.user_id.map(Cow::Borrowed),
            Scope::Team => self.attribution.team.map(Cow::Borrowed),
            Scope::Model => self.context.model.map(Cow::Borrowed),
            Scope::Service => self.context.service.map(Cow::Borrowed),
            Scope::Key => self.attribution.key_id.map(|id| Cow::Owned(uuid_text(id))),
            Scope::Tag(name) => self.context.tag(name).map(Cow::Owned),
        }
    }
}

/// The subject of a limit of the whole wallet.
pub const WALLET_SUBJECT: &str = "*";

/// The fraction 1, in units.
pub const WHOLE: i128 = 1_000_000_000_000;

impl Limit {
    /// The subject whose window counts the request; `None` if the limit does not apply to it.
    pub fn subject_for(&self, spending: &Spending<'_>) -> Option<String> {
        self.subject_of(&spending.value(&self.scope)?)
    }

    /// The subject whose window counts a request with this value of the scope; `None` if the limit
    /// does not apply. All values that match a pattern share one window. With `*`, each value has
    /// its own window.
    pub fn subject_of(&self, value: &str) -> Option<String> {
        if self.subject == WALLET_SUBJECT {
            return Some(value.to_owned());
        }
        let applies =
            self.subject == value || self.scope.takes_patterns() && matches(&self.subject, value);
        applies.then(|| self.subject.clone())
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
        let (start, end) = self
            .period
            .window(&self.zone, self.from, at.unix_micros())
            .ok_or_else(|| {
                Error::argument("the time is outside the years that limits know")
                    .detail("Windows of limits exist from the year -9999 to the year 9999.")
                    .hint("Pass a time within these years.")
            })?;
        let digest = Sha256::new()
            .chain_update(self.id)
            .chain_update(start.unwrap_or(i64::MIN).to_be_bytes())
            .chain_update(&subject)
            .finalize();
        let mut window_id: AllowanceId = [0; 16];
        window_id.copy_from_slice(&digest[..16]);
        window_id[..MARK].copy_from_slice(mark(&self.id));
        // Version 8, variant 1: an id built by our own rule. It is never nil.
        window_id[6] = window_id[6] & 0x0f | 0x80;
        window_id[8] = window_id[8] & 0x3f | 0x80;
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
        })
    }
}

/// The number of leading bytes of a window's id that come from the limit's id. The other bytes come
/// from a digest. They are enough that two windows of a limit never share an id.
const MARK: usize = 3;

/// The leading bytes of the ids of a limit's windows: the end of the limit's id, which is random.
fn mark(limit: &[u8; 16]) -> &[u8] {
    &limit[limit.len() - MARK..]
}

/// The smallest and the largest possible id of the limit's windows. Few other ids are in between,
/// so the primary key finds the windows quickly among all windows of a wallet.
pub fn bounds(limit: [u8; 16]) -> [AllowanceId; 2] {
    [0x00, 0xff].map(|fill| {
        let mut id = [fill; 16];
        id[..MARK].copy_from_slice(mark(&limit));
        id
    })
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

    /// The maximum of a hard limit; `None` for a soft limit.
    pub fn cap(&self) -> Option<Amount> {
        (self.limit.mode == Mode::Hard).then_some(self.max)
    }
}

/// The limits that apply to a request, in the order in which they are locked. A limit that names
/// the subject replaces the limit on `*` with the same period and metric.
pub fn applicable<'a>(
    limits: &'a [Limit],
    spending: &Spending<'_>,
    at: Timestamp,
) -> Result<Vec<Applied<'a>>> {
    let named = |limit: &Limit| {
        limits.iter().any(|other| {
            other.scope == limit.scope
                && other.period_name == limit.period_name
                && other.metric == limit.metric
                && other.subject != WALLET_SUBJECT
                && other.subject_for(spending).is_some()
        })
    };
    let mut applied = Vec::new();
    for limit in limits {
        if limit.subject == WALLET_SUBJECT && limit.scope != Scope::Wallet && named(limit) {
            continue;
        }
        if let Some(subject) = limit.subject_for(spending) {
            let need = limit.metric.need(&spending.measured)?;
            applied.push(limit.window(subject, at, need)?);
        }
    }
    applied.sort_by_key(|applied| applied.window_id);
    Ok(applied)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(scope: Scope, subject: &str, metric: Metric) -> Limit {
        Limit {
            id: *uuid::Uuid::now_v7().as_bytes(),
            scope,
            subject: subject.to_owned(),
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
        }
    }

    fn subjects(limits: &[Limit], spending: &Spending<'_>) -> Vec<String> {
        let mut subjects: Vec<String> = applicable(limits, spending, Timestamp(0))
            .unwrap()
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
            limit(Scope::User, "*", Metric::Amount),
            limit(Scope::Team, "*", Metric::Amount),
            limit(Scope::Model, "gpt-4*", Metric::Amount),
            limit(Scope::Service, "chat", Metric::Amount),
            limit(Scope::Key, "*", Metric::Amount),
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
            limit(Scope::User, "*", Metric::Amount),
            limit(Scope::User, "ann", Metric::Amount),
            limit(Scope::User, "*", Metric::Requests),
        ];
        let ann = Spending {
            attribution: Attribution {
                user_id: Some("ann"),
                ..Attribution::default()
            },
            ..Spending::default()
        };
        let applied = applicable(&limits, &ann, Timestamp(0)).unwrap();
        let ids: Vec<_> = applied.iter().map(|applied| applied.limit.id).collect();
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
