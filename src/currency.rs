//! Currencies: ISO 4217 codes in upper case, and the application's own units in lower case. Pure.

use std::fmt;
use std::ops::Deref;

use crate::error::{Error, Result, quoted};

/// The maximum length of a name, in bytes.
const MAX_LENGTH: usize = 16;

/// The number of decimals in which an own unit can be paid.
const OWN_MINOR_DIGITS: u32 = 2;

/// The name of a currency, or of an own unit such as `credits`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency {
    name: [u8; MAX_LENGTH],
    length: u8,
}

impl Currency {
    /// The currency of the price feeds and of reported costs, and the default of calls without a
    /// currency.
    pub const USD: Currency = Currency::literal("USD");

    const fn literal(text: &str) -> Currency {
        let (mut name, bytes) = ([0; MAX_LENGTH], text.as_bytes());
        let mut at = 0;
        while at < bytes.len() {
            name[at] = bytes[at];
            at += 1;
        }
        Currency {
            name,
            length: bytes.len() as u8,
        }
    }

    /// The currency of an argument. The error 22023 unless it is an ISO 4217 code in upper case or
    /// an own unit in lower case.
    pub fn of_argument(argument: &str, text: &str) -> Result<Currency> {
        let refused = |detail: String| {
            Error::argument(format!("{argument} {} is not a currency", quoted(text)))
                .detail(detail)
                .hint("Use an ISO 4217 code in capitals such as USD, or a unit of your own in lower case such as credits.")
        };
        let capitals = text.to_ascii_uppercase();
        if iso_currency::Currency::from_code(&capitals).is_some() {
            return match text == capitals {
                true => Ok(Currency::literal(text)),
                false => Err(refused(format!("The code of ISO 4217 is {capitals}."))),
            };
        }
        let mut letters = text.chars();
        let is_unit = letters.next().is_some_and(|c| c.is_ascii_lowercase())
            && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if is_unit && text.len() <= MAX_LENGTH {
            return Ok(Currency::literal(text));
        }
        let detail = match is_unit {
            true => format!("The name of a unit has at most {MAX_LENGTH} characters."),
            false => "It is no code of ISO 4217, and no name of lower-case letters, digits and underscores.".to_owned(),
        };
        Err(refused(detail))
    }

    /// The currency of a row that a function of the extension wrote.
    pub fn of_row(text: &str) -> Result<Currency> {
        match text.len() {
            1..=MAX_LENGTH => Ok(Currency::literal(text)),
            _ => Err(Error::internal(format!(
                "a row has the currency {}",
                quoted(text)
            ))),
        }
    }

    /// The name: an ISO 4217 code or that of an own unit.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.name[..usize::from(self.length)]).unwrap_or_default()
    }

    /// The number of decimals of an amount that can be paid: that of ISO 4217, or two for an own
    /// unit.
    pub fn minor_digits(&self) -> u32 {
        iso_currency::Currency::from_code(self)
            .and_then(|currency| currency.exponent())
            .map_or(OWN_MINOR_DIGITS, u32::from)
    }
}

impl Deref for Currency {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn codes_and_units_are_currencies_and_other_names_are_refused() {
        for name in ["USD", "EUR", "JPY", "credits", "ai_credits", "points2", "c"] {
            let currency = Currency::of_argument("currency", name).unwrap();
            assert_eq!(currency.as_str(), name);
            assert_eq!(Currency::of_row(name).unwrap(), currency);
        }
        for name in [
            "usd",
            "Eur",
            "eUR",
            "EURO",
            "US$",
            "",
            "Credits",
            "CREDITS",
            "2credits",
            "_c",
            "über",
            "ai credits",
            "ai-credits",
            "credits_of_seventeen_bytes",
            "try",
        ] {
            let error = Currency::of_argument("currency", name).unwrap_err();
            assert_eq!(error.code.sqlstate(), "22023", "{name}");
            assert!(error.detail.is_some() && error.hint.is_some());
        }
    }

    #[test]
    fn a_currency_has_the_decimals_that_can_be_paid() {
        for (name, digits) in [
            ("USD", 2),
            ("JPY", 0),
            ("KWD", 3),
            ("credits", 2),
            ("XAU", 2),
        ] {
            let currency = Currency::of_argument("currency", name).unwrap();
            assert_eq!(currency.minor_digits(), digits, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_currency_or_refused(text in any::<String>()) {
            if let Ok(currency) = Currency::of_argument("currency", &text) {
                prop_assert_eq!(currency.as_str(), text.as_str());
                let of_one_case = text.to_ascii_uppercase() == text || text.to_ascii_lowercase() == text;
                prop_assert!(of_one_case);
            }
        }
    }
}
