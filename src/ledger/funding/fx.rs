//! Funding in another currency than the wallet's, and the dated rates for it.

use rust_decimal::Decimal;

use crate::error::{Code, Error, Result};
use crate::money::{self, Amount, NotAnAmount};
use crate::statement;
use crate::storage::clock::{self, Timestamp};
use crate::storage::jsonb::Builder;
use crate::storage::numeric::{Number, not_an_amount};
use crate::storage::plan::{Run, Value};
use crate::storage::rows::Document;

statement!(
    RATE_AT,
    [TEXTOID, TEXTOID, TIMESTAMPTZOID],
    "SELECT rate FROM wallet.fx_rates
      WHERE from_currency = $1 AND to_currency = $2 AND effective_from <= $3
      ORDER BY effective_from DESC, rate_id DESC LIMIT 1"
);

statement!(
    SAME_RATE,
    [TEXTOID, TEXTOID, NUMERICOID, TIMESTAMPTZOID],
    "SELECT r.rate_id FROM (
         SELECT rate_id, rate FROM wallet.fx_rates
          WHERE from_currency = $1 AND to_currency = $2 AND effective_from = $4
          ORDER BY rate_id DESC LIMIT 1) r
      WHERE r.rate = $3"
);

statement!(
    ADD_RATE,
    [
        UUIDOID,
        TEXTOID,
        TEXTOID,
        NUMERICOID,
        TIMESTAMPTZOID,
        TIMESTAMPTZOID,
        TEXTOID,
        JSONBOID
    ],
    "INSERT INTO wallet.fx_rates
        (rate_id, from_currency, to_currency, rate, effective_from, created_at, actor, metadata)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
);

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

/// The rate that holds now.
fn dated(from: &str, to: &str) -> Result<Decimal> {
    let rows = RATE_AT.run(&[
        Value::Text(from),
        Value::Text(to),
        Value::Time(clock::now()),
    ])?;
    if rows.is_empty() {
        return Err(
            Error::argument(format!("no exchange rate from {from} to {to} is known"))
                .detail("No rate is given and none has begun in fx_rates.")
                .hint("Give a rate, or set one with set_fx_rate()."),
        );
    }
    rows.decimal(0, 0)
}

/// A rate that an argument gives.
pub fn rate(value: &Number) -> Result<Decimal> {
    let invalid = |detail: &str| {
        Error::new(Code::InvalidAmount, "rate is not a valid exchange rate")
            .detail(detail.to_owned())
            .hint("Give what one unit of the payment's currency is worth in the wallet's.")
    };
    let rate = value
        .to_decimal()
        .ok_or_else(|| invalid("It is not finite, or has more than 28 digits."))?
        .normalize();
    if rate <= Decimal::ZERO {
        return Err(invalid("It must be above zero."));
    }
    if money::significant_digits(rate) > money::PRICE_DIGITS || rate.scale() > 16 {
        return Err(invalid(
            "It has more than 15 significant digits or 16 decimals.",
        ));
    }
    Ok(rate)
}

/// What `set_fx_rate` was asked for.
pub struct NewRate<'a> {
    /// The currency that is paid in.
    pub from: &'a str,
    /// The wallet's currency.
    pub to: &'a str,
    /// What one unit of the first is worth in the second.
    pub rate: Decimal,
    /// From when on.
    pub effective_from: Timestamp,
    /// Who acts.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
}

/// Adds a rate; the same one again changes nothing.
pub fn set(new: &NewRate<'_>) -> Result<[u8; 16]> {
    let (from, to) = (Value::Text(new.from), Value::Text(new.to));
    let (rate, at) = (Value::Decimal(new.rate), Value::Time(new.effective_from));
    let same = SAME_RATE.run(&[from, to, rate, at])?;
    if let Some(id) = same.get(0, 0) {
        return Ok(id);
    }
    let id = uuid::Uuid::now_v7().into_bytes();
    ADD_RATE.run(&[
        Value::Uuid(id),
        from,
        to,
        rate,
        at,
        Value::Time(clock::now()),
        Value::OptText(new.actor),
        Value::OptJsonb(new.metadata.as_ref().map(|document| document.value)),
    ])?;
    Ok(id)
}
