//! Recomputes price lines from the prices, markups and exchange rates that they name.

use crate::currency::Currency;
use crate::error::Result;
use crate::money::{Amount, Rate, line_amount};
use crate::pg::clock::Timestamp;
use crate::pricing::lines::{StoredExchange, StoredLine, decode};
use crate::pricing::markup::MARKUP;
use crate::pricing::reported::{REPORTED, Reported};
use crate::pricing::stored;
use crate::storage::rows::{Call, uuid_text};

/// The price lines that the pass has checked.
pub struct Lines {
    /// The wallet's currency.
    currency: Currency,
    /// The number of recomputed lines.
    pub count: i64,
    /// The first error. `None` if all lines are right.
    pub wrong: Option<String>,
}

/// An entry with price lines.
pub struct Charge<'a> {
    /// The entry's id.
    pub id: [u8; 16],
    /// The call that made the entry.
    pub call: u8,
    /// The amount that the entry took from the balance, in units.
    pub cost: i128,
    /// The lines in their compact form.
    pub lines: &'a [u8],
    /// The reason of the entry, which also records how it was priced.
    pub reason: Option<&'a str>,
    /// The latest time as of which the entry may have been priced.
    pub at: Timestamp,
}

impl Charge<'_> {
    /// Whether the entry books a settlement.
    fn is_settled(&self) -> bool {
        [Call::Settle as u8, Call::LendSettled as u8].contains(&self.call)
    }
}

impl Lines {
    /// No lines yet, for a wallet in `currency`.
    pub fn of(currency: Currency) -> Lines {
        Lines {
            currency,
            count: 0,
            wrong: None,
        }
    }

    /// Recomputes the lines of a charge.
    pub fn add(&mut self, charge: &Charge<'_>) -> Result<()> {
        if self.wrong.is_none() {
            let wrong = match decode(charge.lines) {
                Some(lines) => self.judge(charge, &lines)?,
                None => Some("its lines cannot be read".to_owned()),
            };
            self.wrong = wrong.map(|wrong| format!("entry {}: {wrong}", uuid_text(charge.id)));
        }
        Ok(())
    }

    fn judge(&mut self, charge: &Charge<'_>, lines: &[StoredLine]) -> Result<Option<String>> {
        let mut sum = 0_i128;
        for line in lines {
            self.count += 1;
            sum += line.amount.units();
            let meter = &line.meter;
            match self.recomputed(line, charge.at)? {
                Ok(amount) if amount == line.amount => {}
                Ok(amount) => {
                    return Ok(Some(format!(
                        "the line of {meter} is {}, quantity and price make {amount}",
                        line.amount
                    )));
                }
                Err(why) => return Ok(Some(format!("the line of {meter}: {why}"))),
            }
        }
        // A settlement or a late price may be capped. Its lines keep the full usage.
        let capped = [
            Call::Settle,
            Call::Price,
            Call::LendSettled,
            Call::LendPrice,
        ];
        let is_capped = capped.iter().any(|call| charge.call == *call as u8);
        let is_right = match charge.reason {
            Some(reason) if reason.starts_with(REPORTED) => return self.reported(charge, reason),
            _ if is_capped => charge.cost <= sum,
            _ => charge.cost == sum,
        };
        Ok((!is_right).then(|| "its lines do not add up to what it took".to_owned()))
    }

    /// The amount of a line, computed from the rows that it names, or the reason why there is none.
    fn recomputed(
        &self,
        line: &StoredLine,
        at: Timestamp,
    ) -> Result<std::result::Result<Amount, String>> {
        let Some(price) = stored::found_price(line)? else {
            return Ok(Err(format!(
                "there is no price {}",
                uuid_text(line.price_id)
            )));
        };
        let rate = match line.exchange {
            None => {
                // A percentage has no currency. A price of zero is zero in every currency.
                let needs_none = line.meter == MARKUP || price.unit_price.is_zero();
                if !needs_none && price.currency != self.currency {
                    return Ok(Err(format!(
                        "a price in {} was not converted",
                        price.currency
                    )));
                }
                None
            }
            Some(exchange) => match self.rate(exchange, price.currency, at)? {
                Ok(rate) => Some(rate),
                Err(why) => return Ok(Err(why)),
            },
        };
        let amount = line_amount(line.quantity, price.unit_price.abs(), price.per, rate);
        Ok(match amount {
            Ok(amount) if price.unit_price.is_sign_negative() => Ok(amount.negated()),
            Ok(amount) => Ok(amount),
            Err(_) => Err("quantity times price is no amount".to_owned()),
        })
    }

    /// The rate that a line names, or the reason why it cannot have applied.
    fn rate(
        &self,
        exchange: StoredExchange,
        from: Currency,
        at: Timestamp,
    ) -> Result<std::result::Result<Rate, String>> {
        let id = || uuid_text(exchange.rate_id);
        let Some(found) = stored::found_exchange(exchange)? else {
            return Ok(Err(format!("there is no exchange rate {}", id())));
        };
        let (is_from, is_to) = (found.exchange.from, found.to);
        Ok(if (is_from, is_to) != (from, self.currency) {
            let needed = self.currency;
            Err(format!(
                "the exchange rate {} is from {is_from} to {is_to}, and not from {from} to {needed}",
                id()
            ))
        } else if found.effective_from > at {
            Err(format!("the exchange rate {} had not begun", id()))
        } else {
            Ok(found.exchange.rate)
        })
    }

    /// The error in a cost that the provider reported in another currency. `None` if it is right.
    fn reported(&self, charge: &Charge<'_>, reason: &str) -> Result<Option<String>> {
        if reason == REPORTED {
            return Ok(None);
        }
        let Some(reported) = Reported::parse(reason) else {
            return Ok(Some(
                "its reason does not say how its cost was converted".to_owned(),
            ));
        };
        let rate = match self.rate(reported.stored(), reported.from, charge.at)? {
            Ok(rate) => rate,
            Err(why) => return Ok(Some(why)),
        };
        // A settlement may be capped.
        let is_right = rate == reported.rate
            && reported
                .worth()
                .is_ok_and(|worth| match charge.is_settled() {
                    true => charge.cost <= worth.units(),
                    false => charge.cost == worth.units(),
                });
        Ok((!is_right)
            .then(|| "the cost that the provider reported makes another amount".to_owned()))
    }
}
