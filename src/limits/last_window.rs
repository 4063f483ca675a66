//! The window that the last request was in.

use std::cell::Cell;

use crate::limits::period::Bounds;

/// The bounds of the window that a limit was asked for last. They depend only on the limit's
/// period, time zone and time of day, so they are kept with these and end with them. Another moment
/// in the window has the same bounds, and needs no computation with the time zone.
#[derive(Clone, Debug, Default)]
pub struct LastWindow(Cell<Option<(i64, i64)>>);

impl LastWindow {
    /// The bounds of the window that contains a moment, computed unless the last window contains
    /// it. Windows without a beginning or an end are not kept.
    pub fn at(
        &self,
        unix_micros: i64,
        computed: impl FnOnce() -> Option<Bounds>,
    ) -> Option<Bounds> {
        if let Some((start, end)) = self.0.get()
            && (start..end).contains(&unix_micros)
        {
            return Some((Some(start), Some(end)));
        }
        let bounds = computed()?;
        if let (Some(start), Some(end)) = bounds {
            self.0.set(Some((start, end)));
        }
        Some(bounds)
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;
    use crate::limits::period::{Period, time_of_day};

    #[test]
    fn a_window_is_computed_once() {
        let last = LastWindow::default();
        let other = || Some((Some(0), Some(1)));
        assert_eq!(last.at(5, || None), None);
        assert_eq!(
            last.at(15, || Some((Some(10), Some(20)))),
            Some((Some(10), Some(20)))
        );
        assert_eq!(last.at(10, other), Some((Some(10), Some(20))));
        assert_eq!(last.at(19, other), Some((Some(10), Some(20))));
        assert_eq!(
            last.at(20, other),
            Some((Some(0), Some(1))),
            "the end is exclusive"
        );
        assert_eq!(last.at(19, || Some((None, None))), Some((None, None)));
        assert_eq!(last.at(0, || None), Some((Some(0), Some(1))), "still known");
    }

    proptest! {
        /// Whatever was asked before, also on a clock that goes back, the bounds are those of the
        /// period.
        #[test]
        fn a_known_window_is_the_window(
            moments in prop::collection::vec(1_700_000_000_i64..1_800_000_000, 1..20),
            near in prop::collection::vec(0_i64..7_200_000_000, 20),
            period in prop::sample::select(vec![
                Period::Minute, Period::Hour, Period::Day, Period::Week(3), Period::Month(31),
                Period::Quarter, Period::Year, Period::Lifetime, Period::Rolling(60_000_000),
            ]),
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
            from in prop::option::of(0_i64..86_400_000_000),
        ) {
            let zone = TimeZone::get(zone).unwrap();
            let from = from.and_then(time_of_day);
            let last = LastWindow::default();
            for (moment, near) in moments.iter().zip(near) {
                for at in [moment * 1_000_000, moment * 1_000_000 + near, moment * 1_000_000 - near] {
                    let window = || period.window(&zone, from, at);
                    prop_assert_eq!(last.at(at, window), window());
                }
            }
        }
    }
}
