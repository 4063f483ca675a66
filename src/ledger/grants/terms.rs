//! What a grant says of itself beside its amount.

use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;

/// What distinguishes a grant from a plain funding.
#[derive(Clone, Debug)]
pub struct Terms {
    /// When what is left of it ends.
    pub expires_at: Option<Timestamp>,
    /// Low ones are burnt first.
    pub priority: i32,
    /// Given and not paid.
    pub promotional: bool,
    /// What it may be used for.
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

/// The priority of a funding of which nothing was said.
pub const PLAIN_PRIORITY: i32 = 100;

impl Terms {
    /// True for a funding of which nothing was said.
    pub fn plain(&self) -> bool {
        self.expires_at.is_none()
            && self.priority == PLAIN_PRIORITY
            && !self.promotional
            && self.scope.is_none()
    }
}
