//! Days and periods in a wallet's time zone. Pure. Moments are microseconds since 1970.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};

/// A length of time as PostgreSQL stores an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Months, whose length depends on the date.
    pub months: i64,
    /// Days, which may have 23 or 25 hours when the clocks change.
    pub days: i64,
    /// The rest, in microseconds.
    pub micros: i64,
}

impl Length {
    /// A multiple of the length, as parts that are added one after the other. `None` if it is
    /// longer than any calendar.
    fn times(self, count: i64) -> Option<[Span; 3]> {
        Some([
            Span::new()
                .try_months(self.months.checked_mul(count)?)
                .ok()?,
            Span::new().try_days(self.days.checked_mul(count)?).ok()?,
            Span::new()
                .try_microseconds(self.micros.checked_mul(count)?)
                .ok()?,
        ])
    }
}

/// The days from today on.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
    today: Date,
}

impl Calendar {
    /// The calendar at a moment. `None` if the moment is out of range.
    pub fn at(zone: TimeZone, now: i64) -> Option<Calendar> {
        let today = Timestamp::from_microsecond(now)
            .ok()?
            .to_zoned(zone.clone())
            .date();
        Some(Calendar { zone, today })
    }

    /// Today's day of the week; Monday is zero.
    pub fn weekday(&self) -> usize {
        usize::try_from(self.today.weekday().to_monday_zero_offset()).unwrap_or(0)
    }

    /// The first moment of the day that is `ahead` days from today.
    pub fn begin(&self, ahead: usize) -> Option<i64> {
        let day = self
            .today
            .checked_add(i64::try_from(ahead).ok()?.days())
            .ok()?;
        let begin = day.to_zoned(self.zone.clone()).ok()?.start_of_day().ok()?;
        Some(begin.timestamp().as_microsecond())
    }

    /// The moment of a local time, by PostgreSQL's rules. A time that the clock skips is later by
    /// the skipped time. Of a time that occurs twice, it is the second.
    fn moment(&self, on_the_wall: DateTime) -> Option<Timestamp> {
        let then = self.zone.to_ambiguous_zoned(on_the_wall).later().ok()?;
        Some(then.timestamp())
    }

    /// The moment that is `count` lengths after `at` in local time.
    pub fn after(&self, at: i64, length: Length, count: i64) -> Option<i64> {
        let at = Timestamp::from_microsecond(at)
            .ok()?
            .to_zoned(self.zone.clone())
            .datetime();
        let [months, days, micros] = length.times(count)?;
        let then = at.checked_add(months).ok()?;
        let then = then.checked_add(days).ok()?.checked_add(micros).ok()?;
        self.moment(then).map(Timestamp::as_microsecond)
    }

    /// The moment that is one length after `at`. Months and days are counted in local time, the
    /// rest in elapsed time.
    pub fn plus(&self, at: i64, length: Length) -> Option<i64> {
        let days = Length {
            micros: 0,
            ..length
        };
        self.after(at, days, 1)?.checked_add(length.micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    fn berlin(now: &str) -> Calendar {
        Calendar::at(TimeZone::get("Europe/Berlin").unwrap(), micros(now)).unwrap()
    }

    #[test]
    fn days_are_those_of_the_zone() {
        // A Saturday evening in UTC, Sunday in Berlin. That night the clock is put forward.
        let calendar = berlin("2026-03-28T23:30:00Z");
        assert_eq!(calendar.weekday(), 6);
        assert_eq!(calendar.begin(0), Some(micros("2026-03-28T23:00:00Z")));
        assert_eq!(calendar.begin(1), Some(micros("2026-03-29T22:00:00Z")));
    }

    #[test]
    fn months_end_and_clocks_change() {
        let calendar = berlin("2026-01-01T00:00:00Z");
        let month = Length {
            months: 1,
            days: 0,
            micros: 0,
        };
        let day = Length {
            months: 0,
            days: 1,
            micros: 0,
        };
        let start = micros("2026-01-31T01:30:00Z");
        // Counted from the beginning, the 31st returns.
        assert_eq!(
            calendar.after(start, month, 1),
            Some(micros("2026-02-28T01:30:00Z"))
        );
        assert_eq!(
            calendar.after(start, month, 2),
            Some(micros("2026-03-31T00:30:00Z"))
        );
        // Half past two does not occur on 29 March, and occurs twice on 25 October.
        assert_eq!(
            calendar.after(start, day, 57),
            Some(micros("2026-03-29T01:30:00Z"))
        );
        assert_eq!(
            calendar.after(start, day, 267),
            Some(micros("2026-10-25T01:30:00Z"))
        );
        assert_eq!(calendar.after(start, month, i64::MAX), None);
        // A day is counted in local time, twenty-four hours in elapsed time.
        let noon = micros("2026-03-28T11:00:00Z");
        assert_eq!(
            calendar.plus(noon, day),
            Some(micros("2026-03-29T10:00:00Z"))
        );
        let hours = Length {
            months: 0,
            days: 0,
            micros: 24 * 3_600_000_000,
        };
        assert_eq!(
            calendar.plus(noon, hours),
            Some(micros("2026-03-29T11:00:00Z"))
        );
    }
}
