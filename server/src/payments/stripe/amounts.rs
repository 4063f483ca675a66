//! Amounts as Stripe writes them: whole numbers of the smallest unit of a currency.
//!
//! Everything is exact: no float, no rounding. An amount that Stripe cannot charge is refused.

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::payments::provider::Money;

/// Currencies whose smallest unit is not a hundredth. The file names its source.
const TABLE: &str = include_str!("currencies.json");

#[derive(Debug, Deserialize)]
struct Table {
    #[serde(rename = "source")]
    _source: String,
    zero_decimal: Vec<String>,
    zero_decimal_sent_as_hundredths: Vec<String>,
    three_decimal_in_tens: Vec<String>,
    not_offered: Vec<String>,
}

/// Converts amounts.
#[derive(Debug)]
pub struct Amounts(Table);

impl Amounts {
    /// Reads the table.
    pub fn new() -> Result<Amounts, serde_json::Error> {
        serde_json::from_str(TABLE).map(Amounts)
    }

    /// The decimals of a currency, and the number that an amount in its smallest unit must be a
    /// multiple of. `None`: Stripe does not have the currency.
    fn scale(&self, currency: &str) -> Option<(u32, i64)> {
        let is_code = currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase());
        let is_in = |list: &[String]| list.iter().any(|one| one == currency);
        if !is_code || is_in(&self.0.not_offered) {
            return None;
        }
        Some(if is_in(&self.0.zero_decimal) {
            (0, 1)
        } else if is_in(&self.0.zero_decimal_sent_as_hundredths) {
            (2, 100)
        } else if is_in(&self.0.three_decimal_in_tens) {
            (3, 10)
        } else {
            (2, 1)
        })
    }

    /// The amount in the smallest unit. `None`: Stripe cannot charge it.
    pub fn to_minor(&self, money: &Money) -> Option<i64> {
        let (digits, step) = self.scale(&money.currency)?;
        let factor = Decimal::from(10_i64.pow(digits));
        let minor = money.amount.checked_mul(factor)?;
        // The product must not have been rounded to fit.
        if minor.checked_div(factor)? != money.amount || !minor.fract().is_zero() {
            return None;
        }
        let minor = i64::try_from(minor.normalize().mantissa()).ok()?;
        (minor > 0 && minor % step == 0).then_some(minor)
    }

    /// The amount in whole units, of a currency in Stripe's small letters.
    pub fn of_minor(&self, minor: i64, currency: &str) -> Option<Money> {
        let currency = currency.to_ascii_uppercase();
        let (digits, _) = self.scale(&currency)?;
        Some(Money {
            amount: Decimal::new(minor, digits).normalize(),
            currency,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(amount: &str, currency: &str) -> Money {
        Money {
            amount: Decimal::from_str_exact(amount).unwrap(),
            currency: currency.to_owned(),
        }
    }

    #[test]
    fn amounts_are_exact_or_refused() {
        let amounts = Amounts::new().unwrap();
        for (amount, currency, minor) in [
            ("10", "USD", Some(1000)),
            ("10.00", "USD", Some(1000)),
            ("0.01", "EUR", Some(1)),
            ("0.001", "EUR", None),
            ("20.000000000001", "USD", None),
            ("500", "JPY", Some(500)),
            ("500.0", "JPY", Some(500)),
            ("0.5", "JPY", None),
            ("5", "ISK", Some(500)),
            ("5.5", "UGX", None),
            ("5.12", "KWD", Some(5120)),
            ("5.124", "KWD", None),
            ("0", "USD", None),
            ("-1", "USD", None),
            ("1", "IQD", None),
            ("1", "credits", None),
            ("1", "usd", None),
            ("92233720368547758.07", "USD", Some(i64::MAX)),
            ("92233720368547758.08", "USD", None),
            ("7922816251426433759354395033", "USD", None),
        ] {
            assert_eq!(
                amounts.to_minor(&money(amount, currency)),
                minor,
                "{amount} {currency}"
            );
        }
    }

    #[test]
    fn every_amount_comes_back_as_it_was_sent() {
        let amounts = Amounts::new().unwrap();
        for currency in ["usd", "jpy", "isk", "kwd", "eur", "xof"] {
            for minor in [100, 1000, 12_300, 9_007_199_254_740_993_000] {
                let money = amounts.of_minor(minor, currency).unwrap();
                assert_eq!(amounts.to_minor(&money), Some(minor), "{money:?}");
            }
        }
        assert_eq!(
            amounts.of_minor(1999, "usd").unwrap(),
            money("19.99", "USD")
        );
        assert_eq!(amounts.of_minor(1999, "jpy").unwrap(), money("1999", "JPY"));
        assert_eq!(amounts.of_minor(1990, "bhd").unwrap(), money("1.99", "BHD"));
        assert_eq!(amounts.of_minor(1, "lyd"), None);
    }
}
