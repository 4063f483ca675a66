//! Markups: a percentage or a fee that a price list adds to the prices of the default list. Pure.
//!
//! A markup has a date, as a price has. In a charge it is a line of its own. So the lines still add
//! up to the cost, and every price in them is a price of the price book.

use rust_decimal::Decimal;

use crate::currency::Currency;
use crate::error::Result;
use crate::money::{AMOUNT_SCALE, Amount, line_amount};
use crate::pg::clock::Timestamp;
use crate::pg::numeric::not_an_amount;
use crate::pricing::lines::{Exchange, Line};
pub use crate::storage::rows::Markup;

/// Meter of the line that adds a percentage. The quantity of the line is the amount that is marked
/// up.
pub const MARKUP: &str = "markup";
/// Meter of the line that adds the fixed part.
pub const MARKUP_FEE: &str = "markup_fee";

/// The unit of percentages.
pub const PERCENT: Decimal = Decimal::ONE_HUNDRED;

/// True for the meters that only markups have. They count no usage.
pub fn is_markup_meter(meter: &str) -> bool {
    meter == MARKUP || meter == MARKUP_FEE
}

impl Markup {
    /// True for a row that ends the markup before it.
    fn is_reset(&self) -> bool {
        self.percent.is_none() && self.fixed.is_none()
    }

    /// Currency of the fixed amount, if there is one.
    pub fn fee_currency(&self) -> Option<Currency> {
        let fixed = self.fixed.filter(|fixed| !fixed.is_zero());
        fixed.map(|_| self.currency)
    }

    /// Adds the markup to the lines of a charge. `base` is the amount by prices of the default
    /// list, and `exchange` converts the fixed part. A charge without lines used nothing and costs
    /// nothing.
    pub fn add_to(
        &self,
        lines: &mut Vec<Line>,
        base: Amount,
        exchange: Option<Exchange>,
    ) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if let Some(percent) = self.percent.filter(|percent| !percent.is_zero())
            && !base.is_zero()
        {
            let base = Decimal::from_i128_with_scale(base.units(), AMOUNT_SCALE).normalize();
            lines.push(self.line(MARKUP, base, percent, PERCENT, None)?);
        }
        if let Some(fixed) = self.fixed.filter(|fixed| !fixed.is_zero()) {
            let one = Decimal::ONE;
            lines.push(self.line(MARKUP_FEE, one, fixed, one, exchange)?);
        }
        Ok(())
    }

    fn line(
        &self,
        meter: &str,
        quantity: Decimal,
        price: Decimal,
        per: Decimal,
        exchange: Option<Exchange>,
    ) -> Result<Line> {
        let rate = exchange.map(|exchange| exchange.rate);
        let amount =
            line_amount(quantity, price.abs(), per, rate).map_err(|e| not_an_amount("cost", e))?;
        Ok(Line {
            meter: meter.to_owned(),
            quantity,
            unit_price: price,
            per,
            amount: match price.is_sign_negative() {
                true => amount.negated(),
                false => amount,
            },
            price_id: self.id,
            exchange,
        })
    }
}

/// The markups of a list, of all times.
#[derive(Clone, Debug, Default)]
pub struct Markups(Vec<Markup>);

impl Markups {
    /// Arranges rows that come in any order.
    pub fn new(mut rows: Vec<Markup>) -> Markups {
        rows.sort_by_key(|row| (row.effective_from, row.id));
        Markups(rows)
    }

    /// The markup that holds at a time. Of rows that begin at the same time, the last recorded one
    /// counts.
    pub fn at(&self, at: Timestamp) -> Option<&Markup> {
        let begun = self.0.partition_point(|row| row.effective_from <= at);
        self.0[..begun].last().filter(|markup| !markup.is_reset())
    }

    /// Copies the markups, with the first one valid from the beginning of time.
    pub fn always_begun(&self) -> Markups {
        let mut markups = self.clone();
        if let Some(first) = markups.0.first_mut() {
            first.effective_from = Timestamp(i64::MIN);
        }
        markups
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn markup(percent: &str, fixed: &str) -> Markup {
        let number = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        Markup {
            id: [1; 16],
            percent: number(percent),
            fixed: number(fixed),
            currency: Currency::USD,
            effective_from: Timestamp(0),
        }
    }

    fn amount(text: &str) -> Amount {
        Amount::from_decimal(text.parse().unwrap()).unwrap()
    }

    fn used() -> Line {
        Line {
            meter: "requests".to_owned(),
            quantity: Decimal::ONE,
            unit_price: Decimal::ONE,
            per: Decimal::ONE,
            amount: amount("1"),
            price_id: [0; 16],
            exchange: None,
        }
    }

    fn added(markup: &Markup, base: &str) -> Vec<(String, String)> {
        let mut lines = vec![used()];
        markup.add_to(&mut lines, amount(base), None).unwrap();
        lines
            .drain(1..)
            .map(|line| (line.meter, line.amount.to_string()))
            .collect()
    }

    #[test]
    fn twenty_per_cent_are_a_fifth() {
        let line = |meter: &str, amount: &str| (meter.to_owned(), amount.to_owned());
        assert_eq!(added(&markup("20", ""), "0.0125"), [line(MARKUP, "0.0025")]);
        assert_eq!(
            added(&markup("20", "0.01"), "5"),
            [line(MARKUP, "1.00"), line(MARKUP_FEE, "0.01")]
        );
        assert_eq!(
            added(&markup("20", "0.01"), "0"),
            [line(MARKUP_FEE, "0.01")]
        );
        assert_eq!(added(&markup("0", "0"), "5"), []);
        assert_eq!(added(&markup("-8", ""), "5"), [line(MARKUP, "-0.40")]);
        assert_eq!(
            added(&markup("-99.9", "0.01"), "5"),
            [line(MARKUP, "-4.995"), line(MARKUP_FEE, "0.01")]
        );
        // Half to even at the twelfth decimal.
        assert_eq!(
            added(&markup("50", ""), "0.000000000003"),
            [line(MARKUP, "0.000000000002")]
        );
    }

    #[test]
    fn what_used_nothing_costs_nothing() {
        let mut lines = Vec::new();
        let markup = markup("20", "1");
        markup.add_to(&mut lines, Amount::ZERO, None).unwrap();
        assert_eq!(lines, []);
    }

    #[test]
    fn the_latest_that_has_begun_holds_and_null_takes_back() {
        let from = |at: i64, markup: Markup| Markup {
            effective_from: Timestamp(at),
            ..markup
        };
        let markups = Markups::new(vec![
            from(30, markup("", "")),
            from(10, markup("10", "")),
            from(20, markup("20", "")),
        ]);
        let percent = |at: i64| markups.at(Timestamp(at)).map(|m| m.percent.unwrap());
        assert_eq!(percent(9), None);
        assert_eq!(percent(10), Some(Decimal::TEN));
        assert_eq!(percent(29), Some(Decimal::from(20)));
        assert_eq!(percent(30), None);
        let always = markups.always_begun();
        assert_eq!(
            always.at(Timestamp(9)).map(|m| m.percent.unwrap()),
            Some(Decimal::TEN)
        );
    }

    proptest! {
        #[test]
        fn the_percentage_is_rounded_once(units in 0_i128..10_i128.pow(24), percent in -9_999_i64..100_000) {
            let base = Amount::from_units(units).unwrap();
            let percent = Decimal::new(percent, 2);
            let mut lines = vec![used()];
            let markup = Markup { percent: Some(percent), ..markup("", "") };
            markup.add_to(&mut lines, base, None).unwrap();
            // In units of 10^-12 and hundredths of a per cent: base * percent / 10000.
            let exact = units * percent.mantissa();
            let got = lines.get(1).map_or(0, |line| line.amount.units());
            let distance = (got * 10_i128.pow(percent.scale() + 2) - exact).abs();
            prop_assert!(distance * 2 <= 10_i128.pow(percent.scale() + 2));
            prop_assert!(got >= -units, "a discount leaves nothing below zero");
        }
    }
}
