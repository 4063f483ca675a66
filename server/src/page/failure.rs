//! Requests that did not succeed, in words for people.

use axum::http::StatusCode;
use axum::response::Response;

use crate::db::{DbError, Refusal};
use crate::ops::Refused;

/// A request that did not succeed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The status.
    pub status: StatusCode,
    /// A sentence for people.
    pub text: String,
    /// More about it.
    pub detail: Option<String>,
    /// The code and the cause for the log.
    refused: Refused,
    /// The key of the session is no longer valid.
    pub has_no_key: bool,
}

impl Failure {
    /// A failure of walletd's own.
    pub fn new(status: StatusCode, code: &'static str, text: impl Into<String>) -> Failure {
        Failure {
            status,
            text: text.into(),
            detail: None,
            refused: Refused {
                code: code.to_owned(),
                cause: None,
            },
            has_no_key: false,
        }
    }

    /// The request has no session.
    pub fn signed_out() -> Failure {
        let text = "You are signed out. Sign in again.";
        Failure {
            has_no_key: true,
            ..Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", text)
        }
    }

    /// Nothing is at this address, or not for this person.
    pub fn not_found() -> Failure {
        let text = "There is no such page in your wallet.";
        Failure::new(StatusCode::NOT_FOUND, "not_found", text)
    }

    /// The address of a page of a list that nobody made.
    pub fn no_such_page() -> Failure {
        Failure::unreadable("The address of the next page is not one of this list.")
    }

    /// Only an owner or an admin may do this.
    pub fn not_yours() -> Failure {
        let text = "Only an owner or an admin of the wallet may do this.";
        Failure::new(StatusCode::FORBIDDEN, "not_permitted", text)
    }

    /// A form that this page did not send.
    pub fn forged(text: &'static str) -> Failure {
        Failure::new(StatusCode::FORBIDDEN, "forged_form", text)
    }

    /// A query or a form that cannot be read.
    pub fn unreadable(text: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "bad_request", text)
    }

    fn because(mut self, cause: String) -> Failure {
        self.refused.cause = Some(cause);
        self
    }

    /// The code for the log travels with the answer.
    pub fn mark(&self, mut response: Response) -> Response {
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self.refused.clone());
        response
    }
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Failure {
        let unavailable = |text: &str, cause: String| {
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", text).because(cause)
        };
        match error {
            DbError::UnknownKey => Failure::signed_out(),
            DbError::Refused(refusal) => refused(*refusal),
            DbError::Unavailable(trouble) => unavailable(
                "The database cannot be reached. Nothing was changed. Try again soon.",
                trouble.to_string(),
            ),
            DbError::Unknown(trouble) => unavailable(
                "The connection to the database broke. Look whether the change was made.",
                trouble.to_string(),
            ),
            DbError::Garbled(cause) => internal(cause),
        }
    }
}

fn internal(cause: String) -> Failure {
    let text = "Something went wrong. It was logged.";
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", text).because(cause)
}

/// The server's words are shown if they are about what the person asked for.
fn refused(refusal: Refusal) -> Failure {
    let state = refusal.sqlstate.as_str();
    let status = match state {
        "42501" | "WL009" | "WL004" => StatusCode::FORBIDDEN,
        "42704" | "WL003" => StatusCode::NOT_FOUND,
        "WL006" | "23505" => StatusCode::CONFLICT,
        "22023" => StatusCode::UNPROCESSABLE_ENTITY,
        // A value of a form that PostgreSQL cannot read.
        "22P02" | "22003" | "22007" | "22008" | "22021" | "22P05" => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        _ if state.starts_with("WL") => StatusCode::UNPROCESSABLE_ENTITY,
        _ => return internal(format!("{}: {}", refusal.sqlstate, refusal.message)),
    };
    Failure {
        status,
        text: sentence(&refusal.message),
        detail: refusal.detail,
        refused: Refused {
            code: refusal.sqlstate,
            cause: None,
        },
        has_no_key: false,
    }
}

/// A message of PostgreSQL as a sentence.
fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}
