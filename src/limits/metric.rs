//! The quantities that limits count. Pure.

use rust_decimal::Decimal;

use crate::error::{Code, Error, Result, quoted};
use crate::money::Amount;

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
    /// The metric of that name. Unknown names are meters.
    pub fn parse(name: &str) -> Metric {
        match name {
            "amount" => Metric::Amount,
            "requests" => Metric::Requests,
            "tokens" => Metric::Tokens,
            meter => Metric::Meter(meter.to_owned()),
        }
    }

    /// The metric's name in SQL.
    pub fn as_str(&self) -> &str {
        match self {
            Metric::Amount => "amount",
            Metric::Requests => "requests",
            Metric::Tokens => "tokens",
            Metric::Meter(meter) => meter,
        }
    }

    /// The quantity that a request takes in this metric.
    pub fn need(&self, measured: &Measured<'_>) -> Result<Amount> {
        match self {
            Metric::Amount => Ok(measured.cost),
            Metric::Requests => match measured.quantity("requests") {
                Some(quantity) => amount(self.as_str(), quantity?),
                None => amount(self.as_str(), Decimal::from(measured.requests)),
            },
            Metric::Tokens => amount(self.as_str(), Decimal::from(measured.tokens)),
            Metric::Meter(meter) => match measured.quantity(meter) {
                Some(quantity) => amount(self.as_str(), quantity?),
                None => Ok(Amount::ZERO),
            },
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

impl Measured<'_> {
    fn quantity(&self, meter: &str) -> Option<Result<Decimal>> {
        self.meters
            .iter()
            .find(|(name, _)| name == meter)
            .map(|(_, quantity)| quantity.clone())
    }
}

fn amount(metric: &str, quantity: Decimal) -> Result<Amount> {
    Amount::from_decimal(quantity).map_err(|_| {
        let message = format!("usage of {} is out of range for a limit", quoted(metric));
        Error::new(Code::InvalidUsage, message)
            .detail(format!(
                "It is {quantity}; a limit counts less than 10000000000000000, and 12 decimals at most."
            ))
            .hint("Split a larger use into several charges, and round a smaller one.")
    })
}

#[cfg(test)]
mod tests {
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
}
