//! The terms of a grant.

use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;

/// The properties that distinguish a grant from a plain funding.
#[derive(Clone, Debug)]
pub struct Terms {
    /// When the rest of the grant ends; `None` if it does not expire.
    pub expires_at: Option<Timestamp>,
    /// Grants with a low priority are burnt first.
    pub priority: i32,
    /// True for credit that was not paid for.
    pub promotional: bool,
    /// The models and services that the grant may pay for; `None` for all.
    pub scope: Option<Jsonb>,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            expires_at: None,
            priority: PLAIN_PRIORITY,
            promotional: false,
            scope: None,
        }
    }
}

/// The priority of a funding without a given priority.
pub const PLAIN_PRIORITY: i32 = 100;

impl Terms {
    /// True for a plain funding, to which no terms were given.
    pub fn plain(&self) -> bool {
        self.expires_at.is_none()
            && self.priority == PLAIN_PRIORITY
            && !self.promotional
            && self.scope.is_none()
    }
}
