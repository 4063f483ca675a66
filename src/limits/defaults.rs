//! Default limits: rows of `wallet.limits` for the wallet `*`, and which of them apply to a wallet.
//! Pure.
//!
//! A default limit applies to every wallet that has no limit of the same scope, subject, period and
//! metric. A change of it reaches all wallets with their next call, and writes nothing that belongs
//! to one of them. Their windows therefore know nothing of the change:
//! - A window begins at `counts_since` if that is later than its beginning by the clock, and has
//!   the time in its id. A change after which the usage must be counted again sets that time, so it
//!   leads to new windows. The old ones stay until `prune_windows`.
//! - A window stores how many levels it has reported together with the limit's revision. A change
//!   of the maximum or of the levels makes another revision, and the next call computes the number
//!   again.
//! - A window of a default limit is never spread over lanes, because spreading relies on changes
//!   that lock the lanes.

use crate::error::Result;
use crate::limits::as_default::AsDefault;
use crate::limits::limit::Limit;
use crate::limits::stored::limit_of;
use crate::storage::rows::{Home, LimitRow};

/// A default limit as its row has it.
#[derive(Clone, Debug)]
pub struct DefaultLimit {
    /// The columns that all limits have.
    pub row: LimitRow,
    /// The columns of default limits.
    pub default: AsDefault,
    /// True for a limit that was dropped.
    pub is_dropped: bool,
}

impl DefaultLimit {
    /// The limit as it applies to a wallet.
    pub fn limit(&self, home: &Home) -> Result<Limit> {
        let mut row = self.row.clone();
        if row.time_zone.is_empty() {
            row.time_zone.clone_from(&home.time_zone);
        }
        row.carry_from = row.carry_from.map(|since| since.max(home.since));
        Ok(Limit {
            default: Some(self.default),
            ..limit_of(row)?
        })
    }

    /// True if a limit of a wallet takes the place of this one there, paused or not.
    pub fn gives_way_to(&self, own: &LimitRow) -> bool {
        let key = |row: &LimitRow| {
            (
                row.scope.clone(),
                row.subject.clone(),
                row.period.clone(),
                row.metric.clone(),
            )
        };
        own.subject == self.row.subject && key(own) == key(&self.row)
    }

    /// True if the limit applies to a wallet with these limits of its own.
    pub fn applies_beside(&self, own: &[LimitRow]) -> bool {
        !self.is_dropped && !own.iter().any(|own| self.gives_way_to(own))
    }
}

/// The limits that apply to a wallet without being its own, except those that are paused.
pub fn in_force(defaults: &[DefaultLimit], own: &[LimitRow], home: &Home) -> Result<Vec<Limit>> {
    defaults
        .iter()
        .filter(|one| !one.row.paused && one.applies_beside(own))
        .map(|one| one.limit(home))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::limit::{Spending, applicable};
    use crate::money::Amount;
    use crate::pg::clock::Timestamp;

    fn of_all(row: LimitRow) -> DefaultLimit {
        DefaultLimit {
            row,
            default: AsDefault {
                counts_since: Timestamp(1_000),
                revision: 1,
            },
            is_dropped: false,
        }
    }

    fn home() -> Home {
        Home {
            time_zone: "Asia/Tokyo".to_owned(),
            since: Timestamp(5_000),
        }
    }

    #[test]
    fn only_the_same_four_names_take_its_place() {
        let default = of_all(LimitRow::plain("user", "*", "day", "amount"));
        for (own, applies) in [
            (LimitRow::plain("user", "*", "day", "amount"), false),
            (LimitRow::plain("team", "*", "day", "amount"), true),
            (LimitRow::plain("user", "ann", "day", "amount"), true),
            (LimitRow::plain("user", "*", "month", "amount"), true),
            (LimitRow::plain("user", "*", "day", "requests"), true),
        ] {
            let paused = LimitRow {
                paused: true,
                ..own.clone()
            };
            assert_eq!(default.applies_beside(&[own]), applies);
            assert_eq!(default.applies_beside(&[paused]), applies);
        }
    }

    #[test]
    fn paused_and_dropped_defaults_are_not_in_force() {
        let mut defaults =
            [0, 1, 2].map(|_| of_all(LimitRow::plain("wallet", "*", "day", "amount")));
        defaults[0].row.paused = true;
        defaults[1].is_dropped = true;
        let limits = in_force(&defaults, &[], &home()).unwrap();
        let ids: Vec<_> = limits.iter().map(|limit| limit.id).collect();
        assert_eq!(ids, [defaults[2].row.id]);
    }

    #[test]
    fn the_wallet_decides_on_the_zone_and_the_first_carry() {
        let mut default = of_all(LimitRow::plain("wallet", "*", "day", "amount"));
        let zone = |default: &DefaultLimit| {
            let zone = default.limit(&home()).unwrap().zone;
            zone.iana_name().map(str::to_owned)
        };
        assert_eq!(zone(&default).as_deref(), Some("UTC"));
        default.row.time_zone.clear();
        assert_eq!(zone(&default).as_deref(), Some("Asia/Tokyo"));
        for (from, since) in [(4_000, 5_000), (6_000, 6_000)] {
            default.row.rollover_max = Some(Amount::ONE);
            default.row.carry_from = Some(Timestamp(from));
            let rollover = default.limit(&home()).unwrap().rollover.unwrap();
            assert_eq!(rollover.since, Timestamp(since));
        }
    }

    #[test]
    fn a_named_limit_overrides_whoever_set_the_other_one() {
        let ann = Spending {
            attribution: crate::attribution::Attribution {
                user_id: Some("ann"),
                ..Default::default()
            },
            ..Spending::default()
        };
        let own = limit_of(LimitRow::plain("user", "*", "day", "amount")).unwrap();
        let named = of_all(LimitRow::plain("user", "ann", "day", "amount"));
        let limits = [own, named.limit(&home()).unwrap()];
        let found = applicable(&limits, &ann, Timestamp(2_000)).unwrap().counted;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].limit.id, named.row.id);
        // Before the default limit began to count, the other one applied.
        let found = applicable(&limits, &ann, Timestamp(999)).unwrap().counted;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].limit.id, limits[0].id);
    }

    #[test]
    fn a_window_begins_when_the_limit_does() {
        let mut default = of_all(LimitRow::plain("wallet", "*", "day", "amount"));
        let window = |default: &DefaultLimit, at: i64| {
            let limit = default.limit(&home()).unwrap();
            let one = limit.window("*".to_owned(), Timestamp(at), Amount::ZERO);
            let one = one.unwrap();
            (one.window_id, one.start)
        };
        let day = 86_400_000_000;
        let (first, start) = window(&default, 2_000);
        assert_eq!(start, Some(Timestamp(1_000)));
        let (second, start) = window(&default, day + 2_000);
        assert_eq!(start, Some(Timestamp(day)));
        default.default.counts_since = Timestamp(2_000);
        assert_ne!(window(&default, 3_000).0, first);
        assert_eq!(window(&default, day + 2_000).0, second);
    }
}
