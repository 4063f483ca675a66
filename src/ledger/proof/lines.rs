//! Price lines, recomputed from the prices, markups and exchange rates that they name.

use crate::error::Result;
use crate::money::{Amount, line_amount};
use crate::pricing::lines::{StoredLine, decode};
use crate::pricing::reported::{REPORTED, Reported};
use crate::pricing::stored;
use crate::storage::rows::{Call, uuid_text};

/// What the pass has seen of the lines of charges.
#[derive(Default)]
pub struct Lines {
    /// Lines that were recomputed.
    pub count: i64,
    /// The first thing that is wrong.
    pub wrong: Option<String>,
}

/// An entry with price lines.
pub struct Charge<'a> {
    /// The entry.
    pub id: [u8; 16],
    /// The call that made it.
    pub call: u8,
    /// What it took from the balance.
    pub cost: i128,
    /// Its lines in their compact form.
    pub lines: &'a [u8],
    /// Its reason.
    pub reason: Option<&'a str>,
}

impl Lines {
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
            match recomputed(line)? {
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
        // What settles a hold or prices an earlier charge may be capped, and keeps the lines of what it used.
        let is_capped = charge.call == Call::Settle as u8 || charge.call == Call::Price as u8;
        let is_right = match charge.reason {
            Some(reason) if reason.starts_with(REPORTED) => return reported(charge, reason),
            _ if is_capped => charge.cost <= sum,
            _ => charge.cost == sum,
        };
        Ok((!is_right).then(|| "its lines do not add up to what it took".to_owned()))
    }
}

/// The amount of a line by the rows that it names, or why there is none.
fn recomputed(line: &StoredLine) -> Result<std::result::Result<Amount, String>> {
    let Some((unit_price, per)) = stored::found_price(line)? else {
        return Ok(Err(format!(
            "there is no price {}",
            uuid_text(line.price_id)
        )));
    };
    let rate = match line.exchange {
        None => None,
        Some(exchange) => match stored::found_exchange(exchange)? {
            Some(found) => Some(found.rate),
            None => {
                let id = uuid_text(exchange.rate_id);
                return Ok(Err(format!("there is no exchange rate {id}")));
            }
        },
    };
    let amount = line_amount(line.quantity, unit_price.abs(), per, rate);
    Ok(match amount {
        Ok(amount) if unit_price.is_sign_negative() => Ok(amount.negated()),
        Ok(amount) => Ok(amount),
        Err(_) => Err("quantity times price is no amount".to_owned()),
    })
}

/// What is wrong with a cost that the provider reported in another currency.
fn reported(charge: &Charge<'_>, reason: &str) -> Result<Option<String>> {
    if reason == REPORTED {
        return Ok(None);
    }
    let Some(reported) = Reported::parse(reason) else {
        return Ok(Some(
            "its reason does not say how its cost was converted".to_owned(),
        ));
    };
    let found = stored::found_exchange(reported.stored())?;
    let is_of_row =
        found.is_some_and(|found| found.rate == reported.rate && *found.from == *reported.from);
    // A settlement may be capped.
    let is_right = is_of_row
        && reported
            .worth()
            .is_ok_and(|worth| match charge.call == Call::Settle as u8 {
                true => charge.cost <= worth.units(),
                false => charge.cost == worth.units(),
            });
    Ok((!is_right).then(|| "the cost that the provider reported makes another amount".to_owned()))
}
