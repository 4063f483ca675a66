//! Refuses calls that would write where writing is not allowed.

use crate::pg::raw;

/// The error 25006 in a read-only transaction and on a standby, 25000 in a parallel worker.
/// PostgreSQL itself raises it.
pub fn require_writable() {
    // SAFETY: these functions read the transaction's state and raise.
    unsafe {
        raw::guarded(|| {
            raw::PreventCommandIfReadOnly(c"this wallet function".as_ptr());
            raw::PreventCommandIfParallelMode(c"this wallet function".as_ptr());
        });
    }
}
