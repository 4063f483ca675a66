//! Prices, markups, exchange rates and usage mappings.

use crate::currency::Currency;
use crate::error::{Error, Result};
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::{Markup, PriceRow, RateRow};

macro_rules! price_query {
    ($condition:literal) => {
        concat!(
            "SELECT price_id, model, meter, unit_price, per, provider, service, region, service_tier,
                    above_input_tokens, conditions, effective_from, currency
               FROM wallet.prices
              WHERE price_list = $1 AND ",
            $condition
        )
    };
}

statement!(MODEL_PRICES, [TEXTOID, TEXTOID], price_query!("model = $2"));

statement!(PATTERN_PRICES, [TEXTOID], price_query!("model LIKE '%*%'"));

statement!(
    MARKUPS,
    [TEXTOID],
    "SELECT markup_id, percent, fixed, effective_from, currency FROM wallet.markups WHERE price_list = $1"
);

statement!(
    LAST_RATE,
    [TEXTOID, TEXTOID, TIMESTAMPTZOID],
    "SELECT rate_id, rate, effective_from FROM wallet.fx_rates
      WHERE from_currency = $1 AND to_currency = $2 AND effective_from <= $3
      ORDER BY effective_from DESC, created_at DESC, rate_id DESC LIMIT 1"
);

statement!(
    NEXT_RATE,
    [TEXTOID, TEXTOID, TIMESTAMPTZOID],
    "SELECT effective_from FROM wallet.fx_rates
      WHERE from_currency = $1 AND to_currency = $2 AND effective_from > $3
      ORDER BY effective_from LIMIT 1"
);

statement!(
    MAPPINGS,
    [],
    "SELECT name, mapping::text FROM wallet.usage_mappings ORDER BY name"
);

/// All prices of a list for an exact model name.
pub fn read_prices(list: &str, model: &str) -> Result<Vec<PriceRow>> {
    prices_of(&MODEL_PRICES.run(&[Value::Text(list), Value::Text(model)])?)
}

/// All prices of a list whose model is a pattern.
pub fn read_pattern_prices(list: &str) -> Result<Vec<PriceRow>> {
    prices_of(&PATTERN_PRICES.run(&[Value::Text(list)])?)
}

fn prices_of(rows: &Rows) -> Result<Vec<PriceRow>> {
    (0..rows.len())
        .map(|row| {
            let conditions = rows
                .datum(row, 10)
                .ok_or_else(|| Error::internal("a price has no conditions"))?;
            Ok(PriceRow {
                id: rows.need(row, 0)?,
                model: rows.need(row, 1)?,
                meter: rows.need(row, 2)?,
                unit_price: rows.opt_decimal(row, 3)?,
                per: rows.decimal(row, 4)?,
                currency: Currency::of_row(&rows.need::<String>(row, 12)?)?,
                provider: rows.get(row, 5),
                service: rows.get(row, 6),
                region: rows.get(row, 7),
                service_tier: rows.get(row, 8),
                above_input_tokens: rows.get(row, 9),
                conditions: Jsonb(conditions).reread("conditions")?,
                effective_from: rows.need(row, 11)?,
            })
        })
        .collect()
}

/// All markups of a list.
pub fn read_markups(list: &str) -> Result<Vec<Markup>> {
    let rows = MARKUPS.run(&[Value::Text(list)])?;
    (0..rows.len())
        .map(|row| {
            Ok(Markup {
                id: rows.need(row, 0)?,
                percent: rows.opt_decimal(row, 1)?,
                fixed: rows.opt_decimal(row, 2)?,
                currency: Currency::of_row(&rows.need::<String>(row, 4)?)?,
                effective_from: rows.need(row, 3)?,
            })
        })
        .collect()
}

/// The rate of a currency pair that is in effect at a time, and when the next rate begins.
pub fn read_rates(
    from: &str,
    to: &str,
    at: Timestamp,
) -> Result<(Option<RateRow>, Option<Timestamp>)> {
    let values = [Value::Text(from), Value::Text(to), Value::Time(at)];
    let rows = LAST_RATE.run(&values)?;
    let last = match rows.is_empty() {
        true => None,
        false => Some(RateRow {
            id: rows.need(0, 0)?,
            rate: rows.opt_decimal(0, 1)?,
            effective_from: rows.need(0, 2)?,
        }),
    };
    Ok((last, NEXT_RATE.run(&values)?.get(0, 0)))
}

/// The names and texts of all stored mappings, in the order of the names.
pub fn read_mappings() -> Result<Vec<(String, String)>> {
    let rows = MAPPINGS.run(&[])?;
    (0..rows.len())
        .map(|row| Ok((rows.need(row, 0)?, rows.need(row, 1)?)))
        .collect()
}
