//! A limit, whom it holds for, and the window in which it counts now.

use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::limits::period::Period;
use crate::money::Amount;
use crate::storage::clock::Timestamp;
use crate::storage::rows::AllowanceId;

/// What a limit looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole wallet.
    Wallet,
    /// One user.
    User,
}

impl Scope {
    /// All scopes.
    pub const ALL: &'static [Scope] = &[Scope::Wallet, Scope::User];

    /// Its name in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Wallet => "wallet",
            Scope::User => "user",
        }
    }

    /// The scope of that name.
    pub fn parse(text: &str) -> Option<Scope> {
        Scope::ALL
            .iter()
            .copied()
            .find(|scope| scope.as_str() == text)
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
    /// Maximum in a window.
    pub max: Amount,
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
}

/// Name of a wallet's own subject.
const WALLET_SUBJECT: &str = "*";

impl Limit {
    /// Whose allowance a request of that user takes from, if the limit applies to it.
    fn subject_for(&self, user: Option<&str>) -> Option<String> {
        match self.scope {
            Scope::Wallet => Some(WALLET_SUBJECT.to_owned()),
            Scope::User => user
                .filter(|user| self.subject == "*" || self.subject == *user)
                .map(str::to_owned),
        }
    }

    /// The limit's window at a moment, for a subject.
    pub fn window(&self, subject: String, at: Timestamp) -> Result<Applied<'_>> {
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
        // Version 8, variant 1: an id that is made by a rule of our own, and never nil.
        window_id[6] = window_id[6] & 0x0f | 0x80;
        window_id[8] = window_id[8] & 0x3f | 0x80;
        Ok(Applied {
            limit: self,
            subject,
            window_id,
            start: start.map(Timestamp::from_unix_micros),
            end: end.map(Timestamp::from_unix_micros),
        })
    }
}

/// The limits that apply to a request of that user, in the order in which they are locked. A limit
/// that names the user stands in for the one on `*` with the same period.
pub fn applicable<'a>(
    limits: &'a [Limit],
    user: Option<&str>,
    at: Timestamp,
) -> Result<Vec<Applied<'a>>> {
    let named = |limit: &Limit| {
        limits.iter().any(|other| {
            other.scope == limit.scope
                && other.period == limit.period
                && other.subject != "*"
                && other.subject_for(user).is_some()
        })
    };
    let mut applied = Vec::new();
    for limit in limits {
        if limit.subject == "*" && limit.scope != Scope::Wallet && named(limit) {
            continue;
        }
        if let Some(subject) = limit.subject_for(user) {
            applied.push(limit.window(subject, at)?);
        }
    }
    applied.sort_by_key(|applied| applied.window_id);
    Ok(applied)
}
