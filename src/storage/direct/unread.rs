//! Places in usage objects that were recorded: `wallet.unread_paths`.

use pgrx::pg_sys;

use crate::error::Result;
use crate::storage::direct::scan::{scan, text_key, uuid_key};
use crate::storage::direct::table::Table;

/// Whether the place is recorded, by a committed transaction or by this one. Also sees what was
/// committed after the snapshot of the transaction, and does not make this transaction depend on
/// those that record other places.
pub fn is_noted(table: &Table, wallet: &str, path_id: [u8; 16]) -> Result<bool> {
    let mut snapshot = pg_sys::SnapshotData {
        snapshot_type: pg_sys::SnapshotType::SNAPSHOT_SELF,
        ..Default::default()
    };
    let keys = [text_key(wallet), uuid_key(path_id)];
    let mut found = false;
    scan(table, table.indexes[0], &mut snapshot, &keys, |_, _| {
        found = true;
        Ok(false)
    })?;
    Ok(found)
}
