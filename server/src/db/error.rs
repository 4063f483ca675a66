//! The errors of a call, as far as its caller must know them.

use tokio_postgres::error::DbError as ServerError;

/// A call that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DbError {
    /// The key is unknown, revoked or expired.
    UnknownKey,
    /// PostgreSQL refused the call. Nothing was booked.
    Refused(Box<Refusal>),
    /// The call could not be made, or was rolled back. Nothing was booked.
    Unavailable(Trouble),
    /// The connection broke before the answer came. The call may or may not have been booked.
    Unknown(Trouble),
    /// The answer has another form than the statement promises.
    Garbled(String),
}

/// The reason for which the database could not be used, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// All connections of the pool were in use for too long.
    Busy,
    /// There is no connection.
    Lost(String),
    /// The statement ran for too long.
    TimedOut,
    /// Other transactions came first, at every attempt.
    Conflict(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Busy => formatter.write_str("all connections are in use"),
            Trouble::TimedOut => formatter.write_str("the statement ran for too long"),
            Trouble::Lost(reason) => write!(formatter, "no connection: {reason}"),
            Trouble::Conflict(sqlstate) => write!(formatter, "{sqlstate} at every attempt"),
        }
    }
}

/// An error that PostgreSQL reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// SQLSTATE.
    pub sqlstate: String,
    /// MESSAGE.
    pub message: String,
    /// DETAIL.
    pub detail: Option<String>,
    /// HINT.
    pub hint: Option<String>,
    /// The constraint. For WL002 it is the id of the limit.
    pub constraint: Option<String>,
}

impl From<&ServerError> for Refusal {
    fn from(error: &ServerError) -> Refusal {
        Refusal {
            sqlstate: error.code().code().to_owned(),
            message: error.message().to_owned(),
            detail: error.detail().map(str::to_owned),
            hint: error.hint().map(str::to_owned),
            constraint: error.constraint().map(str::to_owned),
        }
    }
}

impl DbError {
    /// The error that PostgreSQL, or a pooler, reported for a transaction.
    pub fn rolled_back(error: &ServerError) -> DbError {
        let refusal = Refusal::from(error);
        match refusal.sqlstate.as_str() {
            "40001" | "40P01" => DbError::Unavailable(Trouble::Conflict(refusal.sqlstate)),
            // statement_timeout, and lock_timeout where the role has one.
            "57014" | "55P03" => DbError::Unavailable(Trouble::TimedOut),
            // The server stops or starts, is a standby, or has no connection left, or a pooler gave
            // the session to somebody who dropped its prepared statements.
            state if state.starts_with("57P") || ["25006", "53300", "26000"].contains(&state) => {
                DbError::Unavailable(Trouble::Lost(format!("{state}: {}", refusal.message)))
            }
            // A pooler says so of a connection that broke, maybe after the commit.
            state if state.starts_with("08") => {
                DbError::Unknown(Trouble::Lost(format!("{state}: {}", refusal.message)))
            }
            _ => DbError::Refused(Box::new(refusal)),
        }
    }

    /// The error of `BEGIN`. It has no other reason than the server: a standby refuses to begin a
    /// transaction that writes, with 0A000.
    pub fn not_begun(error: &ServerError) -> DbError {
        match DbError::rolled_back(error) {
            DbError::Refused(refusal) => DbError::Unavailable(Trouble::Lost(format!(
                "{}: {}",
                refusal.sqlstate, refusal.message
            ))),
            error => error,
        }
    }

    /// The error of a step before which nothing of the transaction was sent.
    pub fn before(error: &tokio_postgres::Error) -> DbError {
        match error.as_db_error() {
            Some(error) => DbError::rolled_back(error),
            None => DbError::Unavailable(Trouble::Lost(error.to_string())),
        }
    }
}
