//! Work that can be rolled back while the transaction continues.

use std::panic::{AssertUnwindSafe, UnwindSafe};
use std::ptr;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgTryBuilder, pg_sys};

use crate::error::{Error, Result};

/// Why an attempt was rolled back.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The SQLSTATE, five characters.
    pub sqlstate: String,
    /// The message alone, without DETAIL and HINT.
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

/// SQLSTATE classes of errors that are caused not by the work but by the server or the session, and
/// would occur with other work too: connections, transaction state, resources (memory, disk), locks
/// that are not available, intervention (cancellation, shutdown), the system, its configuration,
/// and internal errors. Serialization failures and deadlocks (40) are caused by the work: the
/// subtransaction has released its locks, and the next attempt may succeed.
const NOT_OF_THE_WORK: &[&str] = &["08", "25", "53", "55", "57", "58", "F0", "XX"];

fn is_of_the_work(sqlstate: &str) -> bool {
    !NOT_OF_THE_WORK
        .iter()
        .any(|class| sqlstate.starts_with(class))
}

/// Runs `work`. Rolls back its changes to the database if it fails, or if `keep` rejects its
/// result. PostgreSQL's own errors are failures too. An error that the work has not caused is not a
/// failure: it is returned as an error, or rethrown if it is PostgreSQL's.
///
/// `work` must not leave open a session that was opened before. It begins its own.
pub fn attempt<T>(
    work: impl FnOnce() -> Result<T> + UnwindSafe,
    keep: impl FnOnce(&T) -> bool,
) -> Result<std::result::Result<T, Failure>> {
    // SAFETY: as PL/pgSQL runs a block with EXCEPTION. However the block ends, the subtransaction
    // ends before execution continues, and memory context and resource owner are restored.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let work = AssertUnwindSafe(work);
        let result = PgTryBuilder::new(move || Ok(work.0()))
            .catch_others(move |error| Err(caught(error, context)))
            .execute();
        if matches!(&result, Ok(Ok(value)) if keep(value)) {
            pg_sys::ReleaseCurrentSubTransaction();
        } else {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        match result {
            Ok(Ok(value)) => Ok(Ok(value)),
            Ok(Err(error)) if is_of_the_work(error.code.sqlstate()) => Ok(Err(error.into())),
            Ok(Err(error)) => Err(error),
            Err(Caught::Failure(failure)) => Ok(Err(failure)),
            Err(Caught::Postgres(error)) => {
                pg_sys::ReThrowError(error);
                // Since PostgreSQL 18 it is no longer declared as a function that does not return.
                #[cfg(feature = "pg18")]
                unreachable!("ReThrowError does not return")
            }
            Err(Caught::Rust(error)) => error.rethrow(),
        }
    }
}

/// How the work ended, if not with a result.
enum Caught {
    /// An error of PostgreSQL that is a failure of the work.
    Failure(Failure),
    /// Another PostgreSQL error, copied. It is rethrown after the subtransaction has ended.
    Postgres(*mut pg_sys::ErrorData),
    /// A panic, or an error that pgrx has not passed to PostgreSQL yet.
    Rust(Box<CaughtError>),
}

/// Classifies an error while PostgreSQL still has its data.
///
/// # Safety
/// Called in the handler of the error; the memory context outlives the subtransaction.
unsafe fn caught(error: CaughtError, context: pg_sys::MemoryContext) -> Caught {
    let report = match &error {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => report,
        CaughtError::RustPanic { .. } => return Caught::Rust(Box::new(error)),
    };
    let failure = Failure {
        sqlstate: unpack(report.sql_error_code() as i32),
        message: report.message().to_owned(),
    };
    if is_of_the_work(&failure.sqlstate) {
        return Caught::Failure(failure);
    }
    if matches!(error, CaughtError::ErrorReport(_)) {
        return Caught::Rust(Box::new(error));
    }
    // SAFETY: the caller's guarantee: the error's data is on top of PostgreSQL's error stack.
    unsafe {
        pg_sys::MemoryContextSwitchTo(context);
        Caught::Postgres(pg_sys::CopyErrorData())
    }
}

/// The five characters of a packed SQLSTATE: six bits per character, the first in the lowest bits.
fn unpack(packed: i32) -> String {
    (0..5)
        .map(|place| char::from(b'0' + ((packed >> (6 * place)) & 0x3f) as u8))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sqlstate_that_postgres_packed_is_unpacked() {
        assert_eq!(unpack(2 | 3 << 6 | 5 << 12 | 5 << 24), "23505");
        assert_eq!(unpack(0), "00000");
    }

    #[test]
    fn errors_of_the_work_are_told_from_those_of_the_server() {
        for sqlstate in [
            "WL001", "WL011", "22023", "22P02", "23505", "42501", "42704", "40001", "40P01",
            "P0001",
        ] {
            assert!(is_of_the_work(sqlstate), "{sqlstate}");
        }
        for sqlstate in [
            "53100", "53200", "55P03", "57014", "57P01", "57P02", "25P03", "25006", "58030",
            "XX000", "XX001",
        ] {
            assert!(!is_of_the_work(sqlstate), "{sqlstate}");
        }
    }
}
