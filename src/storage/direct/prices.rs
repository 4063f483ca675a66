//! The price book's tables: `wallet.prices`, `wallet.markups` and `wallet.usage_mappings`.

use crate::error::Result;
use crate::storage::direct::fields::Fields;
use crate::storage::direct::scan::{scan_by, text_key};
use crate::storage::direct::table::Table;
use crate::storage::rows::{Markup, PriceRow};

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
}

/// Columns of `wallet.markups`, by position.
mod markup {
    pub const ID: i16 = 1;
    pub const PERCENT: i16 = 3;
    pub const FIXED: i16 = 4;
    pub const FROM: i16 = 5;
}

/// Columns of `wallet.usage_mappings`, by position.
mod mapping {
    pub const NAME: i16 = 1;
    pub const MAPPING: i16 = 2;
}

/// All prices of an exact name in a list.
pub fn of_model(table: &Table, list: &str, model: &str) -> Result<Vec<PriceRow>> {
    let keys = [text_key(list), text_key(model)];
    let mut rows = Vec::new();
    scan_by(table, 0, &keys, |tuple, _| {
        rows.push(price_of(&Fields::of(table, tuple))?);
        Ok(true)
    })?;
    Ok(rows)
}

/// All prices of a list whose model is a pattern: the second index holds no others.
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
            effective_from: fields.needed_time(markup::FROM),
        });
        Ok(true)
    })?;
    Ok(rows)
}

/// Names and texts of the mappings that were set, by name.
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
