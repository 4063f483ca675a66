//! Amounts as whole numbers of 10^-12, read from and written as decimal text.

/// One, in units.
pub const ONE: i128 = 1_000_000_000_000;

/// The units of a decimal number.
pub fn units(text: &str) -> i128 {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    // Shares have fewer digits, and no compared figure has more.
    assert!(
        fraction.len() <= 12 || fraction[12..].bytes().all(|b| b == b'0'),
        "{text}"
    );
    let fraction = format!("{:0<12}", &fraction[..fraction.len().min(12)]);
    let parsed = |text: &str| -> i128 {
        if text.is_empty() {
            0
        } else {
            text.parse()
                .unwrap_or_else(|_| panic!("{text} is no number"))
        }
    };
    let units = parsed(whole) * ONE + parsed(&fraction);
    if negative { -units } else { units }
}

/// The decimal number of units, with at least two decimals.
pub fn decimal(units: i128) -> String {
    let sign = if units < 0 { "-" } else { "" };
    let (whole, fraction) = (units.abs() / ONE, units.abs() % ONE);
    let mut fraction = format!("{fraction:012}");
    while fraction.len() > 2 && fraction.ends_with('0') {
        fraction.pop();
    }
    format!("{sign}{whole}.{fraction}")
}

/// A quotient, rounded half away from zero, like PostgreSQL does.
pub fn divided(units: i128, by: i128) -> i128 {
    let twice = 2 * units.abs() + by;
    units.signum() * (twice / (2 * by))
}
