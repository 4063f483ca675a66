//! Time zones in which the day does not end during a test.

use std::time::{SystemTime, UNIX_EPOCH};

/// A time zone in which it is about noon, so that no daily limit resets during the test.
pub fn noon() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock");
    let hour = i64::try_from(now.as_secs() / 3600 % 24).expect("an hour");
    // The sign in these names is inverted: Etc/GMT-3 is three hours ahead.
    match hour - 12 {
        0 => "UTC".to_owned(),
        ahead => format!("Etc/GMT{ahead:+}"),
    }
}
