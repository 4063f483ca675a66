//! Alert thresholds.

use crate::error::Result;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::ThresholdRow;

statement!(
    THRESHOLDS,
    [TEXTOID],
    "SELECT kind, threshold, state FROM wallet.thresholds WHERE wallet_id = $1"
);

/// All thresholds of a wallet.
pub fn read_thresholds(wallet: &str) -> Result<Vec<ThresholdRow>> {
    let rows = THRESHOLDS.run(&[Value::Text(wallet)])?;
    (0..rows.len())
        .map(|row| {
            Ok(ThresholdRow {
                kind: rows.need(row, 0)?,
                threshold: rows.amount(row, 1)?,
                state: rows.need(row, 2)?,
            })
        })
        .collect()
}
