//! Reads prices from JSON numbers: exactly, without the noise of binary floating point. Pure.

use rust_decimal::{Decimal, RoundingStrategy};

use crate::money::{PRICE_DIGITS, significant_digits};
use crate::pg::jsonb::Json;

/// A price of one unit, and the number from which it was rounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The price, with at most fifteen significant digits.
    pub price: Decimal,
    /// The number in the feed, if it had more digits.
    pub noise: Option<Decimal>,
}

/// Rounds a number to the digits that a price may have.
pub fn cut(number: Decimal) -> Read {
    let number = number.normalize();
    if significant_digits(number) <= PRICE_DIGITS {
        return Read {
            price: number,
            noise: None,
        };
    }
    let price = number
        .round_sf_with_strategy(PRICE_DIGITS, RoundingStrategy::MidpointNearestEven)
        .unwrap_or(number)
        .normalize();
    Read {
        price,
        noise: Some(number),
    }
}

/// Reads a price, or says why the value is not one.
pub fn price(value: &Json) -> Result<Read, String> {
    let Json::Number(number) = value else {
        let kind = match value {
            Json::String(_) => "a string",
            Json::Bool(_) => "true or false",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
            Json::Null | Json::Number(_) => "null",
        };
        return Err(format!("the price is {kind} and not a number"));
    };
    match number.to_decimal() {
        None => Err("the price has more digits than a price can have".to_owned()),
        Some(price) if price.is_sign_negative() && !price.is_zero() => {
            Err(format!("the price {price} is negative"))
        }
        // Multiplied by a quantity of twelve digits, it must still be an amount.
        Some(price) if price >= Decimal::from(1_000_000_000) => Err(format!(
            "the price {price} of one unit is a billion or more"
        )),
        Some(price) => Ok(cut(price)),
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    #[test]
    fn float_noise_is_cut_and_digits_are_not() {
        for (given, expected, noisy) in [
            ("0.0000029999900000000002", "0.00000299999", true),
            ("0.00000017500000000000002", "0.000000175", true),
            ("0.000000159263611", "0.000000159263611", false),
            ("0.123456789012345", "0.123456789012345", false),
            ("0.1234567890123455", "0.123456789012346", true),
            ("0.1234567890123445", "0.123456789012344", true),
            ("0", "0", false),
        ] {
            let read = cut(Decimal::from_str(given).unwrap());
            assert_eq!(read.price, Decimal::from_str(expected).unwrap(), "{given}");
            assert_eq!(read.noise.is_some(), noisy, "{given}");
        }
    }
}
