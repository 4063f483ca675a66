//! The quantities that limits count. Pure.

use std::fmt::Display;

use ethnum::U256;
use rust_decimal::Decimal;

use crate::error::{Code, Error, Result, quoted};
use crate::money::{AMOUNT_SCALE, Amount};

/// The quantity that a limit counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Money, in the wallet's currency.
    Amount,
    /// Requests: one per call, or the number in the usage.
    Requests,
    /// Tokens of all kinds.
    Tokens,
    /// One meter, by name.
    Meter(String),
    /// A weighted sum of meters. In a box, so that the other metrics stay small.
    Weighted(Box<Weighted>),
}

/// A weighted sum of meters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weighted {
    /// The name of the metric in SQL.
    pub name: String,
    /// The weight of each meter, above zero. `requests` and `tokens` count as the metrics of that
    /// name do.
    pub weights: Vec<(String, Amount)>,
}

/// The size of a request, in every quantity that a limit may count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured<'a> {
    /// The cost in the wallet's currency.
    pub cost: Amount,
    /// The number of requests if the usage does not contain one.
    pub requests: u32,
    /// Tokens of all kinds.
    pub tokens: i64,
    /// Quantities by meter.
    pub meters: &'a [(String, Result<Decimal>)],
}

impl Metric {
    /// The metric of a limit: its name, and its weights unless they are empty.
    pub fn of_row(name: &str, weights: Vec<(String, Amount)>) -> Metric {
        if weights.is_empty() {
            return Metric::parse(name);
        }
        Metric::Weighted(Box::new(Weighted {
            name: name.to_owned(),
            weights,
        }))
    }

    /// The metric of that name. Unknown names are meters.
    pub fn parse(name: &str) -> Metric {
        match name {
            "amount" => Metric::Amount,
            REQUESTS => Metric::Requests,
            TOKENS => Metric::Tokens,
            meter => Metric::Meter(meter.to_owned()),
        }
    }

    /// The metric's name in SQL.
    pub fn as_str(&self) -> &str {
        match self {
            Metric::Amount => "amount",
            Metric::Requests => REQUESTS,
            Metric::Tokens => TOKENS,
            Metric::Meter(meter) => meter,
            Metric::Weighted(weighted) => &weighted.name,
        }
    }

    /// The meters that a limit keeps with its metric, with their weights. Empty unless the metric
    /// is a weighted sum.
    pub fn weights(&self) -> &[(String, Amount)] {
        match self {
            Metric::Weighted(weighted) => &weighted.weights,
            _ => &[],
        }
    }

    /// The weight of one request.
    pub fn weight_of_request(&self) -> Amount {
        match self {
            Metric::Requests => Amount::ONE,
            Metric::Weighted(weighted) => weighted.weight_of(REQUESTS),
            _ => Amount::ZERO,
        }
    }

    /// The quantity that a request takes in this metric.
    pub fn need(&self, measured: &Measured<'_>) -> Result<Amount> {
        match self {
            Metric::Amount => Ok(measured.cost),
            Metric::Requests => amount(REQUESTS, measured.used(REQUESTS)?),
            Metric::Tokens => amount(TOKENS, measured.used(TOKENS)?),
            Metric::Meter(meter) => match measured.quantity(meter) {
                Some(quantity) => amount(meter, quantity?),
                None => Ok(Amount::ZERO),
            },
            Metric::Weighted(weighted) => weighted.need(measured),
        }
    }

    /// An amount for messages: money with all its decimals, other quantities without trailing
    /// zeros.
    pub fn show(&self, amount: Amount) -> String {
        let text = amount.to_string();
        match self {
            Metric::Amount => text,
            _ => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        }
    }
}

impl Weighted {
    fn weight_of(&self, meter: &str) -> Amount {
        let mut weights = self.weights.iter();
        weights
            .find(|(name, _)| name == meter)
            .map_or(Amount::ZERO, |(_, weight)| *weight)
    }

    /// The sum without requests, for a call that is no request of its own.
    pub fn without_requests(&self) -> Weighted {
        let others = self.weights.iter().filter(|(meter, _)| meter != REQUESTS);
        Weighted {
            name: self.name.clone(),
            weights: others.cloned().collect(),
        }
    }

    /// The sum of weight times quantity. It is exact, and rounded up once at the twelfth decimal,
    /// so a limit never counts too little. A product has less than 64 digits, so the 77 digits of
    /// the sum are never exceeded.
    pub fn need(&self, measured: &Measured<'_>) -> Result<Amount> {
        let ten = U256::new(10);
        let mut sum = U256::ZERO;
        for (meter, weight) in &self.weights {
            let quantity = measured.used(meter)?.normalize();
            let product = U256::from(weight.units().unsigned_abs())
                .saturating_mul(U256::from(quantity.mantissa().unsigned_abs()))
                .saturating_mul(ten.pow(Decimal::MAX_SCALE - quantity.scale()));
            sum = sum.saturating_add(product);
        }
        let one = ten.pow(Decimal::MAX_SCALE);
        let up = U256::from(u8::from(sum % one != U256::ZERO));
        let units = sum / one + up;
        i128::try_from(units)
            .ok()
            .and_then(|units| Amount::from_units(units).ok())
            .ok_or_else(|| out_of_range(&self.name, units / ten.pow(AMOUNT_SCALE)))
    }
}

/// The meter and the metric that count requests.
const REQUESTS: &str = "requests";
/// The metric that counts tokens of all kinds.
const TOKENS: &str = "tokens";

impl Measured<'_> {
    /// The quantity of a meter, of requests or of tokens.
    fn used(&self, name: &str) -> Result<Decimal> {
        match (name, self.quantity(name)) {
            (TOKENS, _) => Ok(Decimal::from(self.tokens)),
            (_, Some(quantity)) => quantity,
            (REQUESTS, None) => Ok(Decimal::from(self.requests)),
            (_, None) => Ok(Decimal::ZERO),
        }
    }

    fn quantity(&self, meter: &str) -> Option<Result<Decimal>> {
        self.meters
            .iter()
            .find(|(name, _)| name == meter)
            .map(|(_, quantity)| quantity.clone())
    }
}

fn amount(metric: &str, quantity: Decimal) -> Result<Amount> {
    Amount::from_decimal(quantity).map_err(|_| out_of_range(metric, quantity))
}

/// The error WL007 for a quantity that a limit cannot count.
fn out_of_range(metric: &str, quantity: impl Display) -> Error {
    let message = format!("usage of {} is out of range for a limit", quoted(metric));
    Error::new(Code::InvalidUsage, message)
        .detail(format!(
            "It is {quantity}; a limit counts less than 10000000000000000, and 12 decimals at most."
        ))
        .hint("Split a larger use into several charges, and round a smaller one.")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_metric_counts_what_it_is_named_after() {
        let meters = [
            ("input_tokens".to_owned(), Ok(Decimal::from(30))),
            ("images".to_owned(), Ok(Decimal::new(25, 1))),
        ];
        let measured = Measured {
            cost: Amount::from_units(7).unwrap(),
            requests: 1,
            tokens: 42,
            meters: &meters,
        };
        let need = |name: &str| Metric::parse(name).need(&measured).unwrap().to_string();
        assert_eq!(need("amount"), "0.000000000007");
        assert_eq!(need("requests"), "1.00");
        assert_eq!(need("tokens"), "42.00");
        assert_eq!(need("input_tokens"), "30.00");
        assert_eq!(need("images"), "2.50");
        assert_eq!(need("pages"), "0.00");
    }

    #[test]
    fn a_usage_may_say_how_many_requests_it_is() {
        let meters = [("requests".to_owned(), Ok(Decimal::from(5)))];
        let measured = Measured {
            requests: 1,
            meters: &meters,
            ..Measured::default()
        };
        assert_eq!(
            Metric::Requests.need(&measured).unwrap().to_string(),
            "5.00"
        );
    }

    #[test]
    fn quantities_are_shown_without_empty_decimals() {
        let amount = |text: &str| Amount::from_decimal(text.parse().unwrap()).unwrap();
        assert_eq!(Metric::Tokens.show(amount("100")), "100");
        assert_eq!(Metric::Tokens.show(amount("0")), "0");
        assert_eq!(Metric::Tokens.show(amount("2.5")), "2.5");
        assert_eq!(Metric::Amount.show(amount("100")), "100.00");
    }

    fn amount_of(text: &str) -> Amount {
        Amount::from_decimal(text.parse().unwrap()).unwrap()
    }

    fn weighted(weights: &[(&str, &str)]) -> Metric {
        let weights = weights
            .iter()
            .map(|(meter, weight)| ((*meter).to_owned(), amount_of(weight)));
        Metric::of_row("points", weights.collect())
    }

    #[test]
    fn a_weighted_metric_adds_its_meters() {
        let meters = [
            ("input_tokens".to_owned(), Ok(Decimal::from(30))),
            ("images".to_owned(), Ok(Decimal::new(25, 1))),
        ];
        let measured = Measured {
            requests: 1,
            tokens: 42,
            meters: &meters,
            ..Measured::default()
        };
        let need = |weights: &[(&str, &str)]| weighted(weights).need(&measured).unwrap();
        assert_eq!(
            need(&[("input_tokens", "0.1"), ("images", "1000")]),
            amount_of("2503")
        );
        assert_eq!(need(&[("requests", "7"), ("tokens", "2")]), amount_of("91"));
        assert_eq!(need(&[("pages", "5")]), Amount::ZERO);
        // Rounded up, once.
        let halves = [
            ("images", "0.000000000001"),
            ("input_tokens", "0.000000000001"),
        ];
        assert_eq!(need(&halves).units(), 33);
        let Metric::Weighted(sum) = weighted(&[("requests", "7"), ("tokens", "2")]) else {
            unreachable!("it has weights");
        };
        assert_eq!(
            sum.without_requests().need(&measured).unwrap(),
            amount_of("84")
        );
    }

    #[test]
    fn a_weighted_metric_says_what_is_too_much() {
        let meters = [("images".to_owned(), Ok(Decimal::from(999_999_999_999_i64)))];
        let measured = Measured {
            meters: &meters,
            ..Measured::default()
        };
        let metric = weighted(&[("images", "999999999.999999999999")]);
        let error = metric.need(&measured).unwrap_err();
        assert_eq!(error.code, Code::InvalidUsage);
        assert!(format!("{error:?}").contains("It is 999999999998999999999;"));
    }

    proptest! {
        /// The model adds digit strings by hand: every number as a whole multiple of 10^-28, the
        /// products as multiples of 10^-56.
        #[test]
        fn a_weighted_sum_is_exact_and_rounded_up(
            parts in prop::collection::vec((1_i128..10_i128.pow(21), 0_i64..1_000_000_000_000, 0_u32..=28), 1..=32)
        ) {
            let names: Vec<String> = (0..parts.len()).map(|place| format!("m{place}")).collect();
            let meters: Vec<(String, Result<Decimal>)> = names
                .iter()
                .zip(&parts)
                .map(|(name, (_, mantissa, scale))| (name.clone(), Ok(Decimal::new(*mantissa, *scale))))
                .collect();
            let weights = names.iter().zip(&parts);
            let weights = weights.map(|(name, (units, ..))| (name.clone(), Amount::from_units(*units).unwrap()));
            let metric = Metric::of_row("points", weights.collect());
            let measured = Measured { meters: &meters, ..Measured::default() };
            // The part of each product above and below 10^-12, in numbers that fit.
            let (mut whole, mut rest, one) = (0_i128, 0_i128, 10_i128.pow(28));
            for (units, mantissa, scale) in &parts {
                let (product, unit) = (units * i128::from(*mantissa), 10_i128.pow(*scale));
                whole += product / unit;
                rest += product % unit * (one / unit);
            }
            let expected = whole + rest / one + i128::from(rest % one != 0);
            match metric.need(&measured) {
                Ok(need) => prop_assert_eq!(need.units(), expected),
                Err(error) => {
                    prop_assert_eq!(error.code, Code::InvalidUsage);
                    prop_assert!(expected >= one);
                }
            }
        }
    }
}
