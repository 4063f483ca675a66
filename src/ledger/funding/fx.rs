//! Funding in another currency than the wallet's.

use rust_decimal::Decimal;

use crate::currency::Currency;
use crate::error::{Code, Error, Result};
use crate::money::{self, Amount, NotAnAmount, Rate};
use crate::pg::clock;
use crate::pg::document::Document;
use crate::pg::jsonb::Builder;
use crate::pg::numeric::not_an_amount;
use crate::pricing::exchange::{self, exchanged};

/// A payment in another currency than the wallet's.
pub struct Original {
    /// The amount that was paid.
    pub amount: Amount,
    /// The currency of the payment, never the wallet's own.
    pub currency: String,
    /// The value of one unit of that currency in the wallet's currency.
    pub rate: Rate,
    /// The amount that rounding added to amount times rate. If the amount is divided by the rate,
    /// it has 24 decimals.
    pub rounding: Decimal,
}

impl Original {
    /// The JSON that the entry stores.
    pub fn document(&self) -> Document {
        let mut json = Builder::default();
        json.begin_object();
        json.decimal("amount", self.amount.to_decimal());
        json.text("currency", Some(&self.currency));
        json.decimal("rate", self.rate.value);
        if self.rate.is_inverse {
            json.bool("inverse", true);
        }
        json.decimal("rounding", self.rounding);
        let value = json.finish_object();
        let text = value.to_text();
        Document { value, text }
    }

    /// The value of a part of the payment in the wallet's currency.
    pub fn worth(&self, paid: Amount) -> Result<Amount> {
        exchanged(paid, self.rate)
    }
}

/// The amount that rounding added for a payment of `amount` that was credited as `worth`.
fn rounding(amount: Amount, rate: Rate, worth: Amount) -> Result<Decimal> {
    let wrong = |reason| not_an_amount("amount", reason);
    let out_of_range = || wrong(NotAnAmount::OutOfRange);
    if !rate.is_inverse {
        let (product, rounding) = money::convert(amount, rate.value).map_err(wrong)?;
        let more = worth.minus(product).map_err(wrong)?.to_decimal();
        return Ok((rounding + more).normalize());
    }
    let exact = amount.to_decimal().checked_div(rate.value);
    let added = worth
        .to_decimal()
        .checked_sub(exact.ok_or_else(out_of_range)?);
    let added = added.ok_or_else(out_of_range)?;
    Ok(added.round_dp(2 * money::AMOUNT_SCALE).normalize())
}

impl Original {
    /// The part of the payment with the given value in the wallet's currency. `paid` is the part in
    /// the currency of the payment. If `paid` is `None`, it is computed by the rate and is at most
    /// `most`.
    pub fn part(&self, amount: Amount, paid: Option<Amount>, most: Amount) -> Result<Original> {
        let paid = match paid {
            Some(paid) => paid,
            None => {
                let back = Rate {
                    value: self.rate.value,
                    is_inverse: !self.rate.is_inverse,
                };
                exchanged(amount, back)?.min(most)
            }
        };
        Ok(Original {
            amount: paid,
            currency: self.currency.clone(),
            rate: self.rate,
            rounding: rounding(paid, self.rate, amount)?,
        })
    }
}

/// A payment in the wallet's currency, and the original payment if its currency is another.
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
        Some(value) => Rate {
            value,
            is_inverse: false,
        },
        None => dated(currency, wallet_currency)?,
    };
    let converted = exchanged(amount, rate)?;
    if converted.is_zero() {
        return Err(worth_nothing(amount, currency, wallet_currency));
    }
    let original = Original {
        amount,
        currency: currency.to_owned(),
        rate,
        rounding: rounding(amount, rate, converted)?,
    };
    Ok((converted, Some(original)))
}

/// The error WL012 for a payment whose value rounds to zero.
fn worth_nothing(amount: Amount, currency: &str, wallet_currency: &str) -> Error {
    Error::new(Code::InvalidAmount, "amount is worth nothing")
        .detail(format!(
            "At the exchange rate {amount} {currency} are less than 0.000000000001 {wallet_currency}."
        ))
        .hint("Pay more, or check the rate.")
}

/// The current exchange rate.
fn dated(from: &str, to: &str) -> Result<Rate> {
    let (from, to) = (Currency::of_row(from)?, Currency::of_row(to)?);
    Ok(exchange::require(from, to, clock::now())?.rate)
}
