//! Refuses calls that would write where writing is not allowed.

use pgrx::pg_sys;

use crate::pg::raw;

/// Whether the running query may write: not in a read-only transaction, on a standby, or while
/// PostgreSQL runs it in parallel.
pub fn is_writable() -> bool {
    // SAFETY: these read variables of this backend and of shared memory.
    unsafe { !pg_sys::XactReadOnly && !pg_sys::RecoveryInProgress() && !pg_sys::IsInParallelMode() }
}

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
