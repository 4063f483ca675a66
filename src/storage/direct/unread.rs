//! Places in usage objects that were noted: `wallet.unread_paths`.

use pgrx::pg_sys;

use crate::error::Result;
use crate::storage::direct::scan::{scan, text_key, uuid_key};
use crate::storage::direct::table::Table;

/// Whether the place is noted: by a transaction that has committed by now, or by this one. Under one snapshot for the
/// whole transaction, too, and without making this transaction depend on those that note others.
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
