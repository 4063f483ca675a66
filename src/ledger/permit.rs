//! Permission to change rows that are otherwise never changed.
//!
//! Triggers refuse every change of the ledger and the audit trail, for every role. An erasure
//! replaces a person's identifier there, and retention drops what is no longer kept. While such a
//! call runs its own statements, the trigger that refuses everything lets them pass. A second
//! trigger still compares the rows: what an entry proves stays as it is.

use std::cell::Cell;

use crate::error::Result;

/// The changes that the running statement may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Nothing that is immutable.
    Nothing,
    /// The fields of entries and of the audit trail that may be erased.
    Erasure,
    /// The rows of the audit trail, which may be deleted.
    OldAudit,
}

thread_local! {
    static PERMIT: Cell<Permit> = const { Cell::new(Permit::Nothing) };
}

/// Takes the permit back, also after an error.
struct Returned(Permit);

impl Drop for Returned {
    fn drop(&mut self) {
        PERMIT.set(self.0);
    }
}

/// Runs statements with a permit.
pub fn with<T>(permit: Permit, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let _returned = Returned(PERMIT.replace(permit));
    work()
}

/// Whether the running statement may update rows that are otherwise immutable.
pub fn allows_update() -> bool {
    PERMIT.get() == Permit::Erasure
}

/// Whether the running statement may delete rows of the audit trail.
pub fn allows_audit_delete() -> bool {
    PERMIT.get() == Permit::OldAudit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn a_permit_ends_with_its_statement() {
        assert!(!allows_update());
        with(Permit::Erasure, || {
            assert!(allows_update() && !allows_audit_delete());
            Ok(())
        })
        .unwrap();
        let failed: Result<()> = with(Permit::OldAudit, || Err(Error::internal("no")));
        assert!(failed.is_err() && !allows_audit_delete());
        let panicked =
            std::panic::catch_unwind(|| with(Permit::Erasure, || -> Result<()> { panic!() }));
        assert!(panicked.is_err() && !allows_update());
    }
}
