//! Alert thresholds: `wallet.thresholds`.

use crate::error::Result;
use crate::storage::direct::fields::Fields;
use crate::storage::direct::scan::{scan_now, text_key};
use crate::storage::direct::table::Table;
use crate::storage::rows::ThresholdRow;

/// Columns of `wallet.thresholds`, by position.
mod column {
    pub const KIND: i16 = 2;
    pub const THRESHOLD: i16 = 3;
    pub const STATE: i16 = 4;
}

/// All thresholds of a wallet.
pub fn read(table: &Table, wallet: &str) -> Result<Vec<ThresholdRow>> {
    use column::*;
    let mut rows = Vec::new();
    scan_now(table, &[text_key(wallet)], |tuple, _| {
        let fields = Fields::of(table, tuple);
        rows.push(ThresholdRow {
            kind: fields.needed_text(KIND)?,
            threshold: fields.amount(THRESHOLD)?,
            state: fields.needed_text(STATE)?,
        });
        Ok(true)
    })?;
    Ok(rows)
}
