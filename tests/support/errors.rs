//! The SQLSTATE, message and DETAIL of a refused call.

use std::fmt::Debug;

use postgres::Error;

/// The SQLSTATE of an error that the server reported.
pub fn state_of(error: &Error) -> String {
    match error.as_db_error() {
        Some(error) => error.code().code().to_owned(),
        None => panic!("the connection broke: {error}"),
    }
}

/// The SQLSTATE of a call that must fail.
pub fn sqlstate<T: Debug>(result: Result<T, Error>) -> String {
    state_of(&result.expect_err("the call must be refused"))
}

/// Fails unless the call is refused with this SQLSTATE. Returns the error.
#[track_caller]
pub fn expect<T: Debug>(result: Result<T, Error>, state: &str) -> Error {
    match result {
        Ok(value) => panic!("expected {state}, the call returned {value:?}"),
        Err(error) => {
            assert_eq!(state_of(&error), state, "{error:?}");
            error
        }
    }
}

/// The DETAIL of an error.
pub fn detail(error: &Error) -> &str {
    error
        .as_db_error()
        .and_then(|error| error.detail())
        .expect("an error with a DETAIL")
}
