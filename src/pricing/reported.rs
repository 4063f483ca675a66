//! Costs that providers report, which may be charged instead of our own prices.

use std::fmt;

use rust_decimal::Decimal;

use crate::args;
use crate::currency::Currency;
use crate::error::{Code, Result};
use crate::money::{Amount, Rate, line_amount};
use crate::pricing::lines::StoredExchange;
use crate::pricing::rate::{Priced, PricedBy, Terms, at_nothing, rate};
use crate::pricing::usage::{Usage, no_amount};
use crate::storage::rows::uuid_text;

/// The source of the cost of a usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostFrom {
    /// Our prices.
    Prices,
    /// The cost that the provider reports.
    Provider,
}

impl CostFrom {
    /// The value of the argument `cost_from`.
    pub fn of(argument: Option<&str>) -> Result<CostFrom> {
        let name = |one| match one {
            CostFrom::Prices => "prices",
            CostFrom::Provider => "provider",
        };
        match argument {
            Some("prices") => Ok(CostFrom::Prices),
            argument => args::word(
                "cost_from",
                argument,
                &[CostFrom::Prices, CostFrom::Provider],
                name,
                &[],
            ),
        }
    }
}

/// Currency in which providers report a cost.
const REPORTED_CURRENCY: Currency = Currency::USD;

/// The beginning of the reason of a charge whose cost the provider reported.
pub const REPORTED: &str = "cost reported by provider";

/// Prices a request at the cost that the provider reports. The lines are by our prices. There are
/// none if the model or one of its meters has no price, or a price has no exchange rate.
pub fn rate_reported(
    cost: Decimal,
    usage: &Usage,
    model: &str,
    terms: &Terms<'_>,
) -> Result<Priced> {
    let terms = Terms {
        currency: Some(terms.currency.unwrap_or(REPORTED_CURRENCY)),
        ..*terms
    };
    let ours = match rate(usage, model, &terms) {
        Err(error) if matches!(error.code, Code::PriceNotFound | Code::RateNotFound) => {
            at_nothing(usage, model, &terms)?
        }
        other => other?,
    };
    // A cost of zero needs no exchange rate.
    let exchange = match cost.is_zero() {
        true => None,
        false => terms.conversion().of(REPORTED_CURRENCY)?,
    };
    let (converted, reason) = match exchange {
        None => (worth(cost, None)?, REPORTED.to_owned()),
        Some(exchange) => {
            let reported = Reported {
                cost,
                from: REPORTED_CURRENCY,
                rate: exchange.rate,
                rate_id: exchange.rate_id,
            };
            (reported.worth()?, reported.to_string())
        }
    };
    Ok(Priced {
        cost: converted,
        mark: PricedBy::Reported(reason),
        ..ours
    })
}

/// Converts a reported cost into an amount, rounded once at the twelfth decimal, half to even.
pub fn worth(cost: Decimal, rate: Option<Rate>) -> Result<Amount> {
    line_amount(cost, Decimal::ONE, Decimal::ONE, rate).map_err(|_| no_amount())
}

/// A reported cost in another currency and its exchange rate, as in the entry's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported {
    /// The reported cost, with all its digits.
    pub cost: Decimal,
    /// The currency of the cost.
    pub from: Currency,
    /// The value of one unit of that currency.
    pub rate: Rate,
    /// The row of `wallet.fx_rates`.
    pub rate_id: [u8; 16],
}

impl Reported {
    /// The converted cost, rounded once.
    pub fn worth(&self) -> Result<Amount> {
        worth(self.cost, Some(self.rate))
    }

    /// The rate in the form that lines have.
    pub fn stored(&self) -> StoredExchange {
        StoredExchange {
            rate_id: self.rate_id,
            is_inverse: self.rate.is_inverse,
        }
    }

    /// Parses the text that `Display` writes.
    pub fn parse(reason: &str) -> Option<Reported> {
        let mut words = reason
            .strip_prefix(REPORTED)?
            .strip_prefix(": ")?
            .split(' ');
        let mut next = || words.next();
        let cost = Decimal::from_str_exact(next()?).ok()?;
        let from = Currency::of_row(next()?).ok()?;
        let is_inverse = match next()? {
            "/" => true,
            "*" => false,
            _ => return None,
        };
        let value = next()?.parse().ok()?;
        let id = (next()? == "(rate").then(&mut next)??.strip_suffix(')')?;
        let rate_id = uuid::Uuid::parse_str(id).ok()?.into_bytes();
        let rate = Rate { value, is_inverse };
        next().is_none().then_some(Reported {
            cost,
            from,
            rate,
            rate_id,
        })
    }
}

impl fmt::Display for Reported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.rate.is_inverse { '/' } else { '*' };
        let (cost, from, rate, id) = (
            self.cost,
            self.from,
            self.rate.value,
            uuid_text(self.rate_id),
        );
        write!(f, "{REPORTED}: {cost} {from} {sign} {rate} (rate {id})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_reason_reads_back(
            cost in 1_i64..i64::MAX, decimals in 0_u32..=28, mantissa in 1_i64..1_000_000_000_000_000, scale in 0_u32..=16,
            is_inverse in any::<bool>(), rate_id in any::<[u8; 16]>(),
        ) {
            let value = Decimal::new(mantissa, scale).normalize();
            let reported = Reported {
                cost: Decimal::new(cost, decimals).normalize(),
                from: REPORTED_CURRENCY,
                rate: Rate { value, is_inverse },
                rate_id,
            };
            prop_assert_eq!(Reported::parse(&reported.to_string()), Some(reported));
        }

        #[test]
        fn other_texts_are_no_reason(text in any::<String>()) {
            prop_assert_eq!(Reported::parse(&format!("{REPORTED}{text}")), None);
        }
    }
}
