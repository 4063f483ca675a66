//! Refuses what would write where nothing may be written.

use crate::pg::raw;

/// 25006 in a read-only transaction and on a standby, 25000 in a parallel worker; raised by PostgreSQL itself.
pub fn require_writable() {
    // SAFETY: they look at the transaction's state and raise.
    unsafe {
        raw::guarded(|| {
            raw::PreventCommandIfReadOnly(c"this wallet function".as_ptr());
            raw::PreventCommandIfParallelMode(c"this wallet function".as_ptr());
        });
    }
}
