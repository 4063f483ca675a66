//! When a limit allows the request again, from the DETAIL of WL002.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The words before the time: of a window that ends, and of one that rolls.
const BEFORE: [&str; 2] = ["It resets at ", "Enough of it is free at "];

/// The time, which the DETAIL has in the limit's own time zone.
pub fn resets_at(detail: &str) -> Option<Timestamp> {
    let text = BEFORE
        .iter()
        .find_map(|words| Some(detail.rsplit_once(words)?.1))?;
    let text = text.strip_suffix('.')?;
    let (time, zone) = text.rsplit_once(' ')?;
    let time: DateTime = time.replace(' ', "T").parse().ok()?;
    let zone = match zone {
        "UTC" => TimeZone::UTC,
        zone => TimeZone::get(zone).ok()?,
    };
    // An hour that comes twice means the later one, so that nobody comes back too early.
    zone.to_ambiguous_timestamp(time).later().ok()
}

/// Whole seconds from one time to another, at least one.
pub fn seconds(from: Timestamp, to: Timestamp) -> u64 {
    let seconds = to.as_second() - from.as_second();
    u64::try_from(seconds).unwrap_or(0).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_read_in_the_zone_of_the_limit() {
        for (detail, expected) in [
            (
                "1.00 remains. It resets at 2026-12-01 00:00:00 UTC.",
                Some("2026-12-01T00:00:00Z"),
            ),
            (
                "1.00 remains. It resets at 2026-12-01 00:00:00 Europe/Berlin.",
                Some("2026-11-30T23:00:00Z"),
            ),
            // Clocks are set back at 03:00 to 02:00: the later half past two.
            (
                "x. Enough of it is free at 2026-10-25 02:30:00 Europe/Berlin.",
                Some("2026-10-25T01:30:00Z"),
            ),
            ("1.00 remains. It never resets.", None),
            ("It resets at noon.", None),
            ("It resets at 2026-12-01 00:00:00 Nowhere/Atall.", None),
            ("", None),
        ] {
            let found = resets_at(detail).map(|time| time.to_string());
            assert_eq!(found.as_deref(), expected, "{detail}");
        }
    }

    #[test]
    fn nobody_comes_back_too_early() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-11-30T23:59:59.9Z");
        assert_eq!(seconds(now, at("2026-12-01T00:00:00Z")), 2);
        assert_eq!(seconds(now, at("2026-11-30T00:00:00Z")), 1);
    }
}
