//! Funding in another currency than the wallet's.

use rust_decimal::{Decimal, RoundingStrategy};

use crate::currency::Currency;
use crate::error::{Error, Result};
use crate::money::{self, Amount, NotAnAmount, PRICE_DIGITS};
use crate::pricing::exchange;
use crate::pricing::rates::MAX_SCALE;
use crate::storage::clock;
use crate::storage::jsonb::Builder;
use crate::storage::numeric::not_an_amount;
use crate::storage::rows::Document;

/// What was paid, in another currency than the wallet's.
pub struct Original {
    /// The amount that was paid.
    pub amount: Amount,
    /// Its currency.
    pub currency: String,
    /// What one unit of it is worth in the wallet's currency.
    pub rate: Decimal,
    /// What rounding added to amount times rate.
    pub rounding: Decimal,
}

impl Original {
    /// As the entry keeps it.
    pub fn document(&self) -> Document {
        let mut json = Builder::default();
        json.begin_object();
        json.decimal("amount", self.amount.to_decimal());
        json.text("currency", Some(&self.currency));
        json.decimal("rate", self.rate);
        json.decimal("rounding", self.rounding);
        let value = json.finish_object();
        let text = value.to_text();
        Document { value, text }
    }
}

impl Original {
    /// The part of the payment that is worth so much: what was paid of it is given, or computed by the rate, and not
    /// more than `most`.
    pub fn part(&self, amount: Amount, paid: Option<Amount>, most: Amount) -> Result<Original> {
        let wrong = |reason| not_an_amount("amount", reason);
        let paid = match paid {
            Some(paid) => paid,
            None => {
                let quotient = amount.to_decimal().checked_div(self.rate);
                let quotient = quotient.ok_or(NotAnAmount::OutOfRange).map_err(wrong)?;
                let rounded = quotient.round_dp(money::AMOUNT_SCALE);
                Amount::from_decimal(rounded).map_err(wrong)?.min(most)
            }
        };
        let (worth, rounding) = money::convert(paid, self.rate).map_err(wrong)?;
        let more = amount.minus(worth).map_err(wrong)?.to_decimal();
        Ok(Original {
            amount: paid,
            currency: self.currency.clone(),
            rate: self.rate,
            rounding: (rounding + more).normalize(),
        })
    }
}

/// A payment in the wallet's currency, and what it was before, where that was another.
pub fn into_wallet(
    amount: Amount,
    currency: &str,
    rate: Option<Decimal>,
    wallet_currency: &str,
) -> Result<(Amount, Option<Original>)> {
    if currency == wallet_currency {
        return match rate {
            Some(rate) if rate != Decimal::ONE => Err(Error::argument(
                "rate is given for the wallet's own currency",
            )
            .detail(format!(
                "The payment and the wallet are in {currency}; the rate is {rate}."
            ))
            .hint("Leave the rate out, or give the currency that was paid in.")),
            _ => Ok((amount, None)),
        };
    }
    let rate = match rate {
        Some(rate) => rate,
        None => dated(currency, wallet_currency)?,
    };
    let (converted, rounding) =
        money::convert(amount, rate).map_err(|reason| not_an_amount("amount", reason))?;
    if converted.is_zero() {
        return Err(not_an_amount("amount", NotAnAmount::TooPrecise));
    }
    let original = Original {
        amount,
        currency: currency.to_owned(),
        rate,
        rounding,
    };
    Ok((converted, Some(original)))
}

/// The rate that holds now. An inverse is rounded to the digits that a rate has, and the entry keeps it so.
fn dated(from: &str, to: &str) -> Result<Decimal> {
    let (from, to) = (Currency::of_row(from)?, Currency::of_row(to)?);
    let rate = exchange::require(from, to, clock::now())?.rate;
    if !rate.is_inverse {
        return Ok(rate.value);
    }
    let inverse = Decimal::ONE
        .checked_div(rate.value)
        .and_then(|inverse| {
            inverse.round_sf_with_strategy(PRICE_DIGITS, RoundingStrategy::MidpointNearestEven)
        })
        .map(|inverse| inverse.round_dp(MAX_SCALE).normalize())
        .filter(|inverse| !inverse.is_zero());
    inverse.ok_or_else(|| not_an_amount("rate", NotAnAmount::OutOfRange))
}
