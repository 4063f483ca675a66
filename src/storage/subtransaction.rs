//! Work that may be undone while the transaction goes on.

use std::panic::{AssertUnwindSafe, UnwindSafe};
use std::ptr;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgSqlErrorCode, PgTryBuilder, pg_sys};

use crate::error::{Error, Result};

/// Why an attempt was undone.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The SQLSTATE.
    pub sqlstate: String,
    /// The message.
    pub message: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure {
            sqlstate: error.code.sqlstate().to_owned(),
            message: error.message,
        }
    }
}

/// Runs `work` and undoes what it did to the database when it fails, or when `keep` does not want
/// what it gives. PostgreSQL's own errors are failures too, but for those that end the statement
/// or the session whatever it does: cancellation and shutdown.
///
/// `work` must not leave a session open that was opened before: it begins its own.
pub fn attempt<T>(
    work: impl FnOnce() -> Result<T> + UnwindSafe,
    keep: impl FnOnce(&T) -> bool,
) -> std::result::Result<T, Failure> {
    // SAFETY: as PL/pgSQL does it for a block with EXCEPTION: memory context and resource owner
    // are those of before once the subtransaction has ended, either way. An error that goes
    // through is left to the abort of the transaction around.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let work = AssertUnwindSafe(work);
        let result = PgTryBuilder::new(move || work.0().map_err(Failure::from))
            .catch_others(caught)
            .execute();
        if result.as_ref().is_ok_and(keep) {
            pg_sys::ReleaseCurrentSubTransaction();
        } else {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        result
    }
}

fn caught<T>(error: CaughtError) -> std::result::Result<T, Failure> {
    let report = match &error {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => report,
        CaughtError::RustPanic { .. } => error.rethrow(),
    };
    let code = report.sql_error_code();
    if [
        PgSqlErrorCode::ERRCODE_QUERY_CANCELED,
        PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN,
        PgSqlErrorCode::ERRCODE_CRASH_SHUTDOWN,
    ]
    .contains(&code)
    {
        error.rethrow()
    }
    Err(Failure {
        sqlstate: unpack(code as i32),
        message: report.message().to_owned(),
    })
}

/// The five characters of a packed SQLSTATE: six bits each, the first lowest.
fn unpack(packed: i32) -> String {
    (0..5)
        .map(|place| char::from(b'0' + ((packed >> (6 * place)) & 0x3f) as u8))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacks_what_postgres_packs() {
        assert_eq!(unpack(2 | 3 << 6 | 5 << 12 | 5 << 24), "23505");
        assert_eq!(unpack(0), "00000");
    }
}
