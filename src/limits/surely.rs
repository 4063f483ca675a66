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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::Attribution;
    use crate::limits::as_default::AsDefault;
    use crate::limits::stored::limit_of;
    use crate::storage::rows::LimitRow;

    fn limit(subject: &str, since: Option<i64>) -> Limit {
        let row = LimitRow::plain("user", subject, "lifetime", "amount");
        let default = since.map(|since| AsDefault {
            counts_since: Timestamp(since),
            revision: 0,
        });
        Limit {
            default,
            ..limit_of(row).unwrap()
        }
    }

    #[test]
    fn a_default_limit_is_sure_from_its_second_day_on() {
        let (own, default) = (limit("*", None), limit("*", Some(1_000)));
        let day = 86_400_000_000;
        for (at, sure) in [
            (None, false),
            (Some(1_000), false),
            (Some(day + 999), false),
            (Some(day + 1_000), true),
        ] {
            assert_eq!(default.surely_counts_at(at.map(Timestamp)), sure, "{at:?}");
            assert!(own.surely_counts_at(at.map(Timestamp)));
        }
    }

    #[test]
    fn a_limit_on_each_user_is_not_sure_of_a_user_whom_a_default_limit_names() {
        let defaults = [limit("ann", Some(0)), limit("*", Some(0))];
        for (user, sure) in [("ann", false), ("bob", true)] {
            let spending = Spending {
                attribution: Attribution {
                    user_id: Some(user),
                    ..Attribution::default()
                },
                ..Spending::default()
            };
            let counted = |limit: &Limit| {
                limit.has_surely_counted(defaults.iter(), &spending, Timestamp(i64::MAX))
            };
            assert_eq!(counted(&limit("*", None)), sure, "{user}");
            assert_eq!(counted(&defaults[1]), sure, "{user}");
            assert!(counted(&limit(user, None)), "{user}");
        }
    }
}
