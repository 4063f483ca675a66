//! Places in usage objects that were recorded.

use crate::error::Result;
use crate::storage::plan::{Run, Value, statement};

statement!(
    NOTED,
    [TEXTOID, UUIDOID],
    "SELECT FROM wallet.unread_paths WHERE wallet_id = $1 AND path_id = $2"
);

/// Whether the place is recorded, by a committed transaction or by this one. Like the direct path,
/// it sees what was committed after the snapshot of the transaction.
pub fn is_noted(wallet: &str, path_id: [u8; 16]) -> Result<bool> {
    NOTED
        .read_latest(&[Value::Text(wallet), Value::Uuid(path_id)])
        .map(|rows| !rows.is_empty())
}
