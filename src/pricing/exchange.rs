//! Prices of one currency in another: the dated rates that this backend has used, cached until any
//! rate changes.
//!
//! The rate of a pair at a time is the latest row of `wallet.fx_rates` that has begun. If there is
//! none, it is the inverse of the latest row of the opposite pair. A row without a rate ends the
//! rate of its pair. Rates are not chained over a third currency.
//!
//! A rate is cached with the span of time in which it holds, so that only the first look-up costs a
//! query. The cache is dropped as that of the price book is.

use std::cell::RefCell;

use foldhash::HashMap;
use rust_decimal::Decimal;

use crate::currency::Currency;
use crate::error::{Code, Error, Result};
use crate::money::{Amount, Rate, line_amount};
use crate::pg::clock::Timestamp;
use crate::pg::invalidation;
use crate::pg::numeric::not_an_amount;
use crate::pricing::lines::Exchange;
use crate::storage::rows::RateRow;
use crate::storage::store;

/// The maximum number of cached spans. Beyond it, the cache is emptied.
const MAX_SPANS: usize = 1 << 14;

/// A span of time, and the rate in it; `None` if there is no rate.
#[derive(Clone, Copy)]
struct Span {
    from: Timestamp,
    until: Timestamp,
    found: Option<Exchange>,
}

#[derive(Default)]
struct Cache {
    generation: u64,
    pairs: HashMap<(Currency, Currency), Vec<Span>>,
    spans: usize,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// The rate from one currency to another at a time; `None` if none had begun.
pub fn rate_at(from: Currency, to: Currency, at: Timestamp) -> Result<Option<Exchange>> {
    let generation = invalidation::generation();
    let kept = CACHE.with_borrow_mut(|cache| {
        if cache.generation != generation || cache.spans > MAX_SPANS {
            *cache = Cache {
                generation,
                ..Cache::default()
            };
        }
        let spans = cache.pairs.get(&(from, to))?;
        spans
            .iter()
            .find(|span| span.from <= at && at < span.until)
            .copied()
    });
    if let Some(span) = kept {
        return Ok(span.found);
    }
    let span = look_up(from, to, at)?;
    invalidation::note_caching();
    CACHE.with_borrow_mut(|cache| {
        if cache.generation == generation && invalidation::generation() == generation {
            cache.pairs.entry((from, to)).or_default().push(span);
            cache.spans += 1;
        }
    });
    Ok(span.found)
}

fn look_up(from: Currency, to: Currency, at: Timestamp) -> Result<Span> {
    let [direct, inverse] = [(from, to), (to, from)];
    let read = |(one, other): (Currency, Currency)| store::read_rates(&one, &other, at);
    let exchange = |rate, id, is_inverse| Exchange {
        from,
        rate: Rate {
            value: rate,
            is_inverse,
        },
        rate_id: id,
    };
    let begins = |row: Option<&RateRow>| row.map_or(Timestamp(i64::MIN), |row| row.effective_from);
    let ends = |next: Option<Timestamp>| next.unwrap_or(Timestamp(i64::MAX));
    let (row, next) = read(direct)?;
    let span = Span {
        from: begins(row.as_ref()),
        until: ends(next),
        found: row.and_then(|row| Some(exchange(row.rate?, row.id, false))),
    };
    if span.found.is_some() {
        return Ok(span);
    }
    let (row, next) = read(inverse)?;
    Ok(Span {
        from: span.from.max(begins(row.as_ref())),
        until: span.until.min(ends(next)),
        found: row.and_then(|row| Some(exchange(row.rate?, row.id, true))),
    })
}

/// The rate at a time; WL015 if there is none.
pub fn require(from: Currency, to: Currency, at: Timestamp) -> Result<Exchange> {
    rate_at(from, to, at)?.ok_or_else(|| {
        let time = at.to_json();
        Error::new(
            Code::RateNotFound,
            format!("no exchange rate from {from} to {to}"),
        )
        .detail(format!(
            "Neither {from} to {to} nor {to} to {from} has a rate that had begun at {time}."
        ))
        .hint(format!(
            "Set it, with what one {from} is worth in {to} as $1: SELECT wallet.set_fx_rate('{}', '{}', $1, effective_from => '{}');",
            from, to, time
        ))
    })
}

/// Converts an amount, rounded once at the twelfth decimal, half to even.
pub fn exchanged(amount: Amount, rate: Rate) -> Result<Amount> {
    exchanged_part(amount.to_decimal(), Decimal::ONE, rate)
}

/// Converts one of `parts` equal parts of a figure, also rounded once.
pub fn exchanged_part(figure: Decimal, parts: Decimal, rate: Rate) -> Result<Amount> {
    let worth = line_amount(figure.abs(), Decimal::ONE, parts, Some(rate))
        .map_err(|reason| not_an_amount("amount", reason))?;
    Ok(match figure.is_sign_negative() {
        true => worth.negated(),
        false => worth,
    })
}

/// The currency into which prices are converted, and the time whose rates apply.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    /// The currency of the cost. If it is `None`, the cost is in the currency of the prices, which
    /// must have only one.
    pub into: Option<Currency>,
    /// The time of use.
    pub at: Timestamp,
}

impl Conversion {
    /// A conversion into a currency.
    pub fn into(currency: Currency, at: Timestamp) -> Conversion {
        Conversion {
            into: Some(currency),
            at,
        }
    }

    /// The exchange that a price in a currency needs.
    pub fn of(&self, currency: Currency) -> Result<Option<Exchange>> {
        match self.into {
            Some(into) if into != currency => require(currency, into, self.at).map(Some),
            _ => Ok(None),
        }
    }

    /// An amount in a currency, converted and rounded once.
    pub fn amount(&self, amount: Amount, currency: Currency) -> Result<(Amount, Option<Exchange>)> {
        let Some(exchange) = self.of(currency)? else {
            return Ok((amount, None));
        };
        let converted = exchanged(amount, exchange.rate)?;
        Ok((converted, Some(exchange)))
    }
}

/// The exchanges of one request. Most of its prices have the same currency.
pub struct Exchanges {
    conversion: Conversion,
    last: Option<(Currency, Option<Exchange>)>,
}

impl Exchanges {
    /// The exchanges of a request, before any is looked up.
    pub fn of(conversion: Conversion) -> Exchanges {
        Exchanges {
            conversion,
            last: None,
        }
    }

    /// The exchange that a price in a currency needs.
    pub fn from(&mut self, currency: Currency) -> Result<Option<Exchange>> {
        match self.last {
            Some((known, exchange)) if known == currency => Ok(exchange),
            _ => {
                let exchange = self.conversion.of(currency)?;
                self.last = Some((currency, exchange));
                Ok(exchange)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn a_part_is_rounded_once_and_half_to_even() {
        let part = |figure: &str, parts: &str, value: &str, is_inverse| {
            let value = decimal(value);
            let rate = Rate { value, is_inverse };
            let worth = exchanged_part(decimal(figure), decimal(parts), rate);
            worth.unwrap().to_decimal().normalize().to_string()
        };
        assert_eq!(part("100", "1", "1.085", false), "108.5");
        assert_eq!(part("100", "1", "0.008", true), "12500");
        assert_eq!(part("-100", "3", "1.2", false), "-40");
        // Dividing first would make it 0.333333333333, and 0.999999999999 in the end.
        assert_eq!(part("1", "3", "3", false), "1");
        for (figure, half) in [("1", "0"), ("3", "2"), ("5", "2"), ("-3", "-2")] {
            let figure = (decimal(figure) * decimal("0.000000000001")).to_string();
            let half = decimal(half) * decimal("0.000000000001");
            let half = half.normalize().to_string();
            assert_eq!(part(&figure, "2", "1", false), half);
            assert_eq!(part(&figure, "1", "0.5", false), half);
            assert_eq!(part(&figure, "1", "2", true), half);
        }
    }
}
