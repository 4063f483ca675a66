//! Raises an [`Error`]: the only place of the extension that does.

use std::cell::Cell;

use crate::error::{Code, Error, Result};
use crate::pg::report;

impl Error {
    /// Ends the statement with this error.
    pub fn raise(self) -> ! {
        self.raise_hiding(false)
    }

    /// The same. The server's log has neither the statement nor its context where these repeat card data or,
    /// as the caller knows, a secret. The only place of the extension that raises.
    fn raise_hiding(self, secret: bool) -> ! {
        report::throw(
            pack_sqlstate(self.code.sqlstate()),
            &self.message,
            self.detail.as_deref(),
            self.hint.as_deref(),
            self.table,
            self.constraint.as_deref(),
            secret || self.code == Code::CardDataRefused,
        )
    }
}

/// Does the work of a call with a secret among its arguments, and ends the statement where that fails. No
/// error in it, PostgreSQL's own ones included, repeats the statement or its parameters in the server's log.
/// `secret` is asked when an error is raised.
pub fn or_raise_hiding<T>(secret: &Cell<bool>, work: impl FnOnce() -> Result<T>) -> T {
    report::hiding(secret, || match work() {
        Ok(value) => value,
        Err(error) => error.raise_hiding(secret.get()),
    })
}

/// The same for a call that has its secret in an argument that may be left out.
pub fn or_raise_keeping<T>(secret: Option<&str>, work: impl FnOnce() -> Result<T>) -> T {
    match secret {
        None => work().or_raise(),
        Some(_) => {
            report::hide_activity();
            or_raise_hiding(&Cell::new(true), work)
        }
    }
}

/// Ends the statement with the error, or gives the value.
pub trait OrRaise<T> {
    /// The value, or never returns.
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

/// A SQLSTATE as `MAKE_SQLSTATE` packs it: six bits a character, the first lowest.
fn pack_sqlstate(sqlstate: &str) -> i32 {
    sqlstate.bytes().rev().fold(0, |packed, byte| {
        (packed << 6) | i32::from((byte.wrapping_sub(b'0')) & 0x3f)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_as_postgres_does() {
        // From errcodes.h: ERRCODE_UNIQUE_VIOLATION is MAKE_SQLSTATE('2','3','5','0','5').
        assert_eq!(pack_sqlstate("23505"), 2 | 3 << 6 | 5 << 12 | 5 << 24);
        assert_eq!(pack_sqlstate("00000"), 0);
    }
}
