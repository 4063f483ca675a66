//! The charges that the windows of a limit have surely counted. Others must not return to them, or
//! more could be used than the maximum.
//!
//! A change of a default limit waits for no call, and recounts nothing. Two kinds of charges may
//! therefore be missing in a window:
//! - Charges of calls that were in progress when a default limit was set. They began without it,
//!   and may have been booked after the time from which it counts.
//! - Charges of a subject for which a default limit on a name replaced this limit. If that one was
//!   dropped or paused since, this limit counts the subject only from then on.

use crate::limits::limit::{Limit, Spending};
use crate::pg::clock::Timestamp;

/// No transaction is expected to stay open longer than a day. A default limit surely counts the
/// charges from that time after it was set, in microseconds. Until then, charges may be in progress
/// that began without it.
const LONGEST_TRANSACTION: i64 = 24 * 60 * 60 * 1_000_000;

impl Limit {
    /// True if the limit has surely counted the charges to which it applied at that time. `None` is
    /// before all time.
    pub fn surely_counts_at(&self, at: Option<Timestamp>) -> bool {
        self.default.is_none_or(|default| {
            let from = default.counts_since.0.saturating_add(LONGEST_TRANSACTION);
            at.is_some_and(|at| at.0 >= from)
        })
    }

    /// True if the limit has surely counted a charge to which it applied. `defaults` are all
    /// default limits, also those that were dropped or paused.
    pub fn has_surely_counted<'l>(
        &self,
        defaults: impl Iterator<Item = &'l Limit>,
        spending: &Spending<'_>,
        at: Timestamp,
    ) -> bool {
        self.surely_counts_at(Some(at)) && !self.is_replaced(defaults, spending)
    }
}
