//! Work that may be undone while the transaction goes on.

use std::panic::{AssertUnwindSafe, UnwindSafe};
use std::ptr;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgTryBuilder, pg_sys};

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

/// Classes of errors that are not what `work` asked for, but of the server or the session: they would be the same with
/// other work. Connections, the transaction's state, resources (no memory, no disk), locks that were not to be
/// had, intervention (cancellation, shutdown), the system, its configuration, and what must not be. A lost race (40)
/// is the work's: the subtransaction has given back its locks, and the next one may win.
const NOT_OF_THE_WORK: &[&str] = &["08", "25", "53", "55", "57", "58", "F0", "XX"];

fn is_of_the_work(sqlstate: &str) -> bool {
    !NOT_OF_THE_WORK
        .iter()
        .any(|class| sqlstate.starts_with(class))
}

/// Runs `work` and undoes what it did to the database when it fails, or when `keep` does not want
/// what it gives. PostgreSQL's own errors are failures too. An error that is not of the work is none: it is
/// given as an error, or goes through when it is PostgreSQL's.
///
/// `work` must not leave a session open that was opened before: it begins its own.
pub fn attempt<T>(
    work: impl FnOnce() -> Result<T> + UnwindSafe,
    keep: impl FnOnce(&T) -> bool,
) -> Result<std::result::Result<T, Failure>> {
    // SAFETY: as PL/pgSQL does it for a block with EXCEPTION: whatever happens in it, the subtransaction has
    // ended before anything goes on, and memory context and resource owner are those of before.
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
                // It is not declared as what it is since PostgreSQL 18.
                #[cfg(feature = "pg18")]
                unreachable!("ReThrowError does not return")
            }
            Err(Caught::Rust(error)) => error.rethrow(),
        }
    }
}

/// What ended the work.
enum Caught {
    /// An error of PostgreSQL that is a failure of the work.
    Failure(Failure),
    /// Another one, copied: it goes on once the subtransaction has ended.
    Postgres(*mut pg_sys::ErrorData),
    /// A panic, or an error that pgrx has not handed to PostgreSQL yet.
    Rust(Box<CaughtError>),
}

/// Looks at an error while PostgreSQL still has it.
///
/// # Safety
/// Called by the handler of the error; the memory context outlives the subtransaction.
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
    // SAFETY: the caller's guarantee: the error's data is the topmost of PostgreSQL's.
    unsafe {
        pg_sys::MemoryContextSwitchTo(context);
        Caught::Postgres(pg_sys::CopyErrorData())
    }
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

    #[test]
    fn what_the_work_is_to_blame_for() {
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
