//! The header `Retry-After`: seconds, or a date.

use std::time::Duration;

use hyper::header::{HeaderMap, RETRY_AFTER};
use jiff::Timestamp;

/// A receiver is not left alone for longer than this.
const MOST: Duration = Duration::from_secs(24 * 3600);

/// The pause that an answer asks for.
pub fn of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    read(text, Timestamp::now())
}

fn read(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are more than a day.
        let seconds = text.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(MOST));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    let pause = date.timestamp().duration_since(now);
    let pause = Duration::try_from(pause).unwrap_or(Duration::ZERO);
    Some(pause.min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read() {
        let now: Timestamp = "1994-11-06T08:48:37Z".parse().unwrap();
        for (text, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("99999999999999999999999", Some(86400)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:47:37 GMT", Some(0)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(86400)),
            ("", None),
            ("-1", None),
            ("soon", None),
            ("1.5", None),
        ] {
            let read = read(text, now).map(|pause| pause.as_secs());
            assert_eq!(read, seconds, "{text}");
        }
    }
}
