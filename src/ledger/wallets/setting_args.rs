//! Checks the settings of a wallet that calls pass.

use crate::args;
use crate::error::{Error, Result};
use crate::ledger::wallets::settings::MAX_LANES;
use crate::money::Amount;
use crate::pg::numeric::Number;
use crate::pricing::unknown::UnknownPrice;
use crate::pricing::unread::UnreadUsage;

/// The number of lanes.
pub fn lanes(value: Option<i32>) -> Result<i16> {
    match value {
        Some(lanes @ 1..=MAX_LANES) => Ok(lanes as i16),
        other => {
            let given = other.map_or("NULL".to_owned(), |lanes| lanes.to_string());
            Err(Error::argument("lanes is out of range")
                .detail(format!("It is {given}; 1 to {MAX_LANES} are allowed."))
                .hint("About half as many lanes as connections that spend at once are enough.")
                .about("lanes"))
        }
    }
}

/// The available amounts at which an event is written, descending and without repetitions.
pub fn low_balance(values: Option<Vec<Option<Number>>>) -> Result<Option<Vec<Amount>>> {
    let Some(values) = values else {
        return Ok(None);
    };
    let mut amounts = args::amounts("low_balance", &values)?;
    amounts.sort_unstable();
    amounts.dedup();
    amounts.reverse();
    if amounts.len() > 32 {
        return Err(Error::argument("low_balance has too many thresholds")
            .detail(format!("It has {}; at most 32 are allowed.", amounts.len()))
            .hint("Alert at a few amounts that somebody acts on.")
            .about("low_balance"));
    }
    Ok(Some(amounts))
}

/// The rule for usage without a price.
pub fn unknown_price(rule: Option<&str>) -> Result<Option<&str>> {
    let argument = "unknown_price";
    match args::name(argument, rule)? {
        Some(rule) if UnknownPrice::parse(rule).is_none() => {
            Err(args::unrecognized(argument, rule, UnknownPrice::FORMS).about(argument))
        }
        rule => Ok(rule),
    }
}

/// The rule for usage with numbers that nothing reads.
pub fn unread_usage(rule: Option<&str>) -> Result<Option<UnreadUsage>> {
    let word = |rule| {
        let all = UnreadUsage::ALL;
        args::word("unread_usage", Some(rule), all, UnreadUsage::as_str, &[])
    };
    rule.map(word).transpose()
}
