//! The tables of the price book: `wallet.prices`, `wallet.markups`, `wallet.fx_rates` and
//! `wallet.usage_mappings`.

use crate::currency::Currency;
use crate::error::Result;
use crate::pg::clock::Timestamp;
use crate::storage::direct::fields::Fields;
use crate::storage::direct::scan::{Bound, scan_back, scan_by, text_key, time_key};
use crate::storage::direct::table::Table;
use crate::storage::rows::{Markup, PriceRow, RateRow};

/// Columns of `wallet.prices`, by position.
mod price {
    pub const ID: i16 = 1;
    pub const MODEL: i16 = 3;
    pub const METER: i16 = 4;
    pub const UNIT_PRICE: i16 = 5;
    pub const PER: i16 = 6;
    pub const PROVIDER: i16 = 7;
    pub const SERVICE: i16 = 8;
    pub const REGION: i16 = 9;
    pub const SERVICE_TIER: i16 = 10;
    pub const ABOVE: i16 = 11;
    pub const CONDITIONS: i16 = 12;
    pub const FROM: i16 = 13;
    pub const CURRENCY: i16 = 17;
}

/// Columns of `wallet.markups`, by position.
mod markup {
    pub const ID: i16 = 1;
    pub const PERCENT: i16 = 3;
    pub const FIXED: i16 = 4;
    pub const FROM: i16 = 5;
    pub const CURRENCY: i16 = 9;
}

/// Columns of `wallet.fx_rates`, by position.
mod fx {
    pub const ID: i16 = 1;
    pub const RATE: i16 = 4;
    pub const FROM: i16 = 5;
}

/// Columns of `wallet.usage_mappings`, by position.
mod mapping {
    pub const NAME: i16 = 1;
    pub const MAPPING: i16 = 2;
}

/// All prices of a list for an exact model name.
pub fn of_model(table: &Table, list: &str, model: &str) -> Result<Vec<PriceRow>> {
    let keys = [text_key(list), text_key(model)];
    let mut rows = Vec::new();
    scan_by(table, 0, &keys, |tuple, _| {
        rows.push(price_of(&Fields::of(table, tuple))?);
        Ok(true)
    })?;
    Ok(rows)
}

/// All prices of a list whose model is a pattern. The second index contains no other prices.
pub fn of_patterns(table: &Table, list: &str) -> Result<Vec<PriceRow>> {
    let mut rows = Vec::new();
    scan_by(table, 1, &[text_key(list)], |tuple, _| {
        rows.push(price_of(&Fields::of(table, tuple))?);
        Ok(true)
    })?;
    Ok(rows)
}

fn price_of(fields: &Fields) -> Result<PriceRow> {
    Ok(PriceRow {
        id: fields.uuid(price::ID),
        model: fields.needed_text(price::MODEL)?,
        meter: fields.needed_text(price::METER)?,
        unit_price: fields.opt_decimal(price::UNIT_PRICE)?,
        per: fields.decimal(price::PER)?,
        currency: Currency::of_row(&fields.needed_text(price::CURRENCY)?)?,
        provider: fields.text(price::PROVIDER),
        service: fields.text(price::SERVICE),
        region: fields.text(price::REGION),
        service_tier: fields.text(price::SERVICE_TIER),
        above_input_tokens: fields.opt_int8(price::ABOVE),
        conditions: fields.jsonb(price::CONDITIONS).reread("conditions")?,
        effective_from: fields.needed_time(price::FROM),
    })
}

/// All markups of a list.
pub fn markups(table: &Table, list: &str) -> Result<Vec<Markup>> {
    let mut rows = Vec::new();
    scan_by(table, 0, &[text_key(list)], |tuple, _| {
        let fields = Fields::of(table, tuple);
        rows.push(Markup {
            id: fields.uuid(markup::ID),
            percent: fields.opt_decimal(markup::PERCENT)?,
            fixed: fields.opt_decimal(markup::FIXED)?,
            currency: Currency::of_row(&fields.needed_text(markup::CURRENCY)?)?,
            effective_from: fields.needed_time(markup::FROM),
        });
        Ok(true)
    })?;
    Ok(rows)
}

/// The rate of a currency pair that is in effect at a time, and when the next rate begins.
pub fn rates(
    table: &Table,
    from: &str,
    to: &str,
    at: Timestamp,
) -> Result<(Option<RateRow>, Option<Timestamp>)> {
    let (mut last, mut next) = (None, None);
    let pair = || (text_key(from), text_key(to));
    let (one, other) = pair();
    scan_back(
        table,
        0,
        &[one, other, time_key(Bound::AtMost, at)],
        |tuple, _| {
            let fields = Fields::of(table, tuple);
            last = Some(RateRow {
                id: fields.uuid(fx::ID),
                rate: fields.opt_decimal(fx::RATE)?,
                effective_from: fields.needed_time(fx::FROM),
            });
            Ok(false)
        },
    )?;
    let (one, other) = pair();
    scan_by(
        table,
        0,
        &[one, other, time_key(Bound::After, at)],
        |tuple, _| {
            next = Some(Fields::of(table, tuple).needed_time(fx::FROM));
            Ok(false)
        },
    )?;
    Ok((last, next))
}

/// The names and texts of all stored mappings, in the order of the names.
pub fn mappings(table: &Table) -> Result<Vec<(String, String)>> {
    let mut rows = Vec::new();
    scan_by(table, 0, &[], |tuple, _| {
        let fields = Fields::of(table, tuple);
        let mapping = fields.jsonb(mapping::MAPPING).to_text();
        rows.push((fields.needed_text(mapping::NAME)?, mapping));
        Ok(true)
    })?;
    Ok(rows)
}
