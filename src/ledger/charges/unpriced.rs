//! The list of charges that were booked without a price.
//!
//! A wallet's rule `unpriced` books usage without a price at zero and lists the charge in
//! `wallet.unpriced_charges`.

use crate::error::Result;
use crate::money::Amount;
use crate::storage::plan::{Run, Value, statement};

statement!(
    LIST,
    [TEXTOID, UUIDOID, NUMERICOID],
    "INSERT INTO wallet.unpriced_charges (wallet_id, entry_id, most) VALUES ($1, $2, $3)"
);

/// Lists a charge that was booked without a price. `most` is the most that it may cost.
pub fn list(wallet: &str, entry_id: [u8; 16], most: Option<Amount>) -> Result<()> {
    LIST.run(&[
        Value::Text(wallet),
        Value::Uuid(entry_id),
        Value::OptAmount(most),
    ])
    .map(drop)
}
