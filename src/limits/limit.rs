//! Limits: what they look at, and which of them apply to a request.

use std::borrow::Cow;

use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::limits::metric::{Measured, Metric};
use crate::limits::period::Period;
use crate::money::Amount;
use crate::pattern::matches;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::{Json, Jsonb};
use crate::storage::rows::{AllowanceId, uuid_text};

/// What a limit looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything that is spent from the wallet.
    Wallet,
    /// What a user spends.
    User,
    /// What a team spends.
    Team,
    /// What is spent on a model.
    Model,
    /// What is spent on a service.
    Service,
    /// What is spent with an API key.
    Key,
    /// What is spent under a tag of that name.
    Tag(String),
}

impl Scope {
    /// Names of the scopes; `tag:` is followed by the name of a tag.
    pub const NAMES: &'static [&'static str] = &[
        "wallet", "user", "team", "model", "service", "key", "tag:NAME",
    ];

    /// Its name in SQL.
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

    /// The scope of that name.
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

    /// True where a subject may be a pattern.
    fn takes_patterns(&self) -> bool {
        !matches!(self, Scope::Wallet | Scope::Key)
    }
}

/// Whether a limit refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It refuses what would pass it.
    Hard,
    /// It only warns.
    Soft,
}

impl Mode {
    /// All modes.
    pub const ALL: &'static [Mode] = &[Mode::Hard, Mode::Soft];

    /// Its name in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Hard => "hard",
            Mode::Soft => "soft",
        }
    }
}

/// A rule of `wallet.limits`.
#[derive(Clone, Debug)]
pub struct Limit {
    /// Its id.
    pub id: [u8; 16],
    /// What it looks at.
    pub scope: Scope,
    /// For whom; `*` is each one separately.
    pub subject: String,
    /// Its period.
    pub period: Period,
    /// The period's name.
    pub period_name: String,
    /// What it counts.
    pub metric: Metric,
    /// Whether it refuses.
    pub mode: Mode,
    /// Maximum in a window, without what raises it for a time.
    pub max: Amount,
    /// By how much the maximum is raised, and until when.
    pub raises: Vec<(Amount, Timestamp)>,
    /// Fractions of the maximum at which it warns, ascending; reaching it is none of them.
    pub warn_at: Vec<Amount>,
    /// Where its days and months begin.
    pub zone: TimeZone,
}

/// A limit that applies to a request, with its window.
#[derive(Clone, Debug)]
pub struct Applied<'a> {
    /// The limit.
    pub limit: &'a Limit,
    /// Whose allowance it is.
    pub subject: String,
    /// Id of the window's allowance.
    pub window_id: AllowanceId,
    /// First moment of the window.
    pub start: Option<Timestamp>,
    /// First moment after it: when the limit resets.
    pub end: Option<Timestamp>,
    /// The moment for which it was asked.
    pub at: Timestamp,
    /// The maximum at that moment.
    pub max: Amount,
    /// How much of what the limit counts the request takes.
    pub need: Amount,
}

/// A request, as far as limits look at it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spending<'a> {
    /// Who spends.
    pub user_id: Option<&'a str>,
    /// The user's team.
    pub team: Option<&'a str>,
    /// The model.
    pub model: Option<&'a str>,
    /// The service.
    pub service: Option<&'a str>,
    /// The API key.
    pub key_id: Option<[u8; 16]>,
    /// Tags.
    pub tags: Option<Tags>,
    /// What is spent.
    pub measured: Measured<'a>,
}

/// Tags, and how they are read: with PostgreSQL's functions, which nothing else in here needs, so that
/// unit tests link without a server.
#[derive(Clone, Copy, Debug)]
pub struct Tags {
    value: Jsonb,
    read: fn(Jsonb) -> Result<Json>,
}

impl From<Jsonb> for Tags {
    fn from(value: Jsonb) -> Tags {
        let read = |value: Jsonb| value.reread("tags");
        Tags { value, read }
    }
}

impl Spending<'_> {
    /// The value of a tag.
    fn tag(&self, name: &str) -> Option<String> {
        let tags = self.tags?;
        let Ok(Json::Object(tags)) = (tags.read)(tags.value) else {
            return None;
        };
        let (_, value) = tags.into_iter().find(|(key, _)| key == name)?;
        match value {
            Json::String(text) => Some(text),
            _ => None,
        }
    }

    /// Its value in the scope.
    fn value(&self, scope: &Scope) -> Option<Cow<'_, str>> {
        match scope {
            Scope::Wallet => Some(Cow::Borrowed(WALLET_SUBJECT)),
            Scope::User => self.user_id.map(Cow::Borrowed),
            Scope::Team => self.team.map(Cow::Borrowed),
            Scope::Model => self.model.map(Cow::Borrowed),
            Scope::Service => self.service.map(Cow::Borrowed),
            Scope::Key => self.key_id.map(|id| Cow::Owned(uuid_text(id))),
            Scope::Tag(name) => self.tag(name).map(Cow::Owned),
        }
    }
}

/// Name of a wallet's own subject.
pub const WALLET_SUBJECT: &str = "*";

/// One, as a fraction of a maximum.
pub const WHOLE: i128 = 1_000_000_000_000;

impl Limit {
    /// Whose allowance a request takes from, if the limit applies to it.
    pub fn subject_for(&self, spending: &Spending<'_>) -> Option<String> {
        self.subject_of(&spending.value(&self.scope)?)
    }

    /// Whose allowance that value of the scope takes from, if the limit applies to it. A pattern is
    /// one shared allowance; `*` is one for each.
    pub fn subject_of(&self, value: &str) -> Option<String> {
        if self.subject == WALLET_SUBJECT {
            return Some(value.to_owned());
        }
        let applies =
            self.subject == value || self.scope.takes_patterns() && matches(&self.subject, value);
        applies.then(|| self.subject.clone())
    }

    /// The maximum at a moment.
    pub fn max_at(&self, at: Timestamp) -> Result<Amount> {
        self.raises
            .iter()
            .filter(|(_, until)| *until > at)
            .try_fold(self.max, |max, (by, _)| max.plus(*by))
            .map_err(crate::pg::numeric::overflow)
    }

    /// How many of the limit's levels that much use has come to: its warnings, and reaching it.
    pub fn levels_at(&self, used: Amount, max: Amount) -> i64 {
        let warned = self
            .warn_at
            .iter()
            .filter(|level| used >= part(max, **level))
            .count();
        let reached = usize::from(used >= max);
        (warned + reached) as i64
    }

    /// The use at which the next level stands, after so many that were come to; nothing after the
    /// last.
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
            .window(&self.zone, at.unix_micros())
            .ok_or_else(|| Error::argument("the time is outside the years that limits know"))?;
        let digest = Sha256::new()
            .chain_update(self.id)
            .chain_update(start.unwrap_or(i64::MIN).to_be_bytes())
            .chain_update(&subject)
            .finalize();
        let mut window_id: AllowanceId = [0; 16];
        window_id.copy_from_slice(&digest[..16]);
        window_id[..MARK].copy_from_slice(mark(&self.id));
        // Version 8, variant 1: an id that is made by a rule of our own, and never nil.
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
            need,
        })
    }
}

/// How many bytes at the beginning of a window's id are the limit's. The rest are of a digest: enough of them that two
/// windows of a limit never share an id.
const MARK: usize = 3;

/// What the ids of a limit's windows begin with: the end of the limit's id, which is random.
fn mark(limit: &[u8; 16]) -> &[u8] {
    &limit[limit.len() - MARK..]
}

/// Between which ids the windows of a limit stand, and few others: so that they are found by the primary key, among
/// all windows of a wallet.
pub fn bounds(limit: [u8; 16]) -> [AllowanceId; 2] {
    [0x00, 0xff].map(|fill| {
        let mut id = [fill; 16];
        id[..MARK].copy_from_slice(mark(&limit));
        id
    })
}

/// That fraction of a maximum, rounded up to a unit.
fn part(max: Amount, fraction: Amount) -> Amount {
    // In two steps, as the product of the two may not fit.
    let (whole, rest) = (max.units() / WHOLE, max.units() % WHOLE);
    let units = fraction.units() * whole + (fraction.units() * rest + WHOLE - 1) / WHOLE;
    Amount::from_units(units).unwrap_or(max)
}

impl Applied<'_> {
    /// What no more than that may be used of; nothing for a limit that only warns.
    pub fn cap(&self) -> Option<Amount> {
        (self.limit.mode == Mode::Hard).then_some(self.max)
    }
}

/// The limits that apply to a request, in the order in which they are locked. A limit that names
/// the subject stands in for the one on `*` with the same period and metric.
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
            user_id: Some("ann"),
            team: Some("red"),
            model: Some("gpt-4o"),
            service: Some("search"),
            ..Spending::default()
        };
        assert_eq!(
            subjects(&limits, &spending),
            ["model=gpt-4*", "team=red", "user=ann", "wallet=*"]
        );
        assert_eq!(subjects(&limits, &Spending::default()), ["wallet=*"]);
    }

    #[test]
    fn a_name_stands_in_for_each_one_of_the_same_metric() {
        let limits = [
            limit(Scope::User, "*", Metric::Amount),
            limit(Scope::User, "ann", Metric::Amount),
            limit(Scope::User, "*", Metric::Requests),
        ];
        let ann = Spending {
            user_id: Some("ann"),
            ..Spending::default()
        };
        let applied = applicable(&limits, &ann, Timestamp(0)).unwrap();
        let ids: Vec<_> = applied.iter().map(|applied| applied.limit.id).collect();
        assert!(!ids.contains(&limits[0].id));
        assert!(ids.contains(&limits[1].id) && ids.contains(&limits[2].id));
    }

    #[test]
    fn levels_are_passed_once_they_are_come_to() {
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
