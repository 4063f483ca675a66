//! Raises an [`Error`]. No other place of the extension raises errors.

use std::cell::Cell;

use crate::error::{Code, Error, Result};
use crate::pg::{report, secret_setting};

impl Error {
    /// Raises this error, which ends the statement.
    pub fn raise(self) -> ! {
        // The statement may be the one that set the key, in a string of several statements.
        self.raise_hiding(secret_setting::key().is_some())
    }

    /// Raises this error. The server's log does not show the statement and its context if they
    /// repeat card data or, with `secret`, a secret. No other place of the extension raises errors.
    fn raise_hiding(self, secret: bool) -> ! {
        report::throw(
            pack_sqlstate(self.code.sqlstate()),
            &self.message,
            self.detail.as_deref(),
            self.hint.as_deref(),
            self.objects.table,
            self.objects.constraint.as_deref(),
            secret || self.code == Code::CardDataRefused,
        )
    }
}

/// Runs the work of a call that has a secret among its arguments, and raises its error if it fails.
/// No error in it, including PostgreSQL's own, repeats the statement or its parameters in the
/// server's log. `secret` is read when an error is raised.
pub fn or_raise_hiding<T>(secret: &Cell<bool>, work: impl FnOnce() -> Result<T>) -> T {
    report::hiding(secret, || match work() {
        Ok(value) => value,
        Err(error) => error.raise_hiding(secret.get()),
    })
}

/// Like `or_raise_hiding`, for a call whose secret is an optional argument.
pub fn or_raise_keeping<T>(secret: Option<&str>, work: impl FnOnce() -> Result<T>) -> T {
    match secret {
        None => work().or_raise(),
        Some(_) => {
            report::hide_activity();
            or_raise_hiding(&Cell::new(true), work)
        }
    }
}

/// Returns the value or raises the error.
pub trait OrRaise<T> {
    /// Returns the value, or raises the error and never returns.
    fn or_raise(self) -> T;
}

impl<T> OrRaise<T> for Result<T> {
    fn or_raise(self) -> T {
        match self {
            Ok(value) => value,
            Err(error) => error.raise(),
        }
    }
}

/// A SQLSTATE as `MAKE_SQLSTATE` packs it: six bits per character, the first in the lowest bits.
fn pack_sqlstate(sqlstate: &str) -> i32 {
    sqlstate.bytes().rev().fold(0, |packed, byte| {
        (packed << 6) | i32::from((byte.wrapping_sub(b'0')) & 0x3f)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sqlstate_is_packed_as_postgres_does() {
        // From errcodes.h: ERRCODE_UNIQUE_VIOLATION is MAKE_SQLSTATE('2','3','5','0','5').
        assert_eq!(pack_sqlstate("23505"), 2 | 3 << 6 | 5 << 12 | 5 << 24);
        assert_eq!(pack_sqlstate("00000"), 0);
    }
}
