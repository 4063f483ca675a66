//! Errors as `application/problem+json` (RFC 9457).

mod openapi;
mod reset;
pub mod table;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::db::{DbError, Refusal};
use crate::ops::Refused;
pub use openapi::{BodyProblems, IdProblems, ReadProblems, WriteProblems};
use table::Kind;

/// A problem, for programs (`type`, `sqlstate`) and for people (`title`, `detail`, `hint`).
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "type": "urn:walletd:insufficient_funds",
    "title": "Insufficient funds",
    "status": 402,
    "detail": "The balance is 0.50, the request asks for 2.00.",
    "hint": "Fund the wallet.",
    "sqlstate": "WL001",
    "message": "insufficient funds in wallet \"acme\""
}))]
#[schema(as = Problem)]
pub struct Parts {
    /// The kind of the problem: `urn:walletd:` and its name.
    #[serde(rename = "type")]
    #[schema(pattern = "^urn:walletd:[a-z_]+$")]
    kind: String,
    /// The kind in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// The numbers and names of this problem.
    detail: String,
    /// Advice to the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The code of the wallet or of PostgreSQL. Problems of HTTP itself have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9A-Z]{5}$")]
    sqlstate: Option<String>,
    /// The message of the wallet.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// The limit that was exceeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_id: Option<Uuid>,
    /// When that limit allows the request, if it ever does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    resets_at: Option<Timestamp>,
    #[serde(skip)]
    #[schema(ignore)]
    retry_after: Option<u64>,
    #[serde(skip)]
    #[schema(ignore)]
    challenge: Option<&'static str>,
    /// The cause, which only the operator may read.
    #[serde(skip)]
    #[schema(ignore)]
    cause: Option<String>,
}

/// A request that is refused. The parts are in a box, because every result has room for them.
#[derive(Clone, Debug)]
pub struct Problem(Box<Parts>);

impl Problem {
    /// A problem of a kind.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        Problem(Box::new(Parts {
            kind: format!("urn:walletd:{}", kind.name),
            title: kind.title,
            status: kind.status,
            detail: detail.into(),
            hint: None,
            sqlstate: kind.sqlstate.map(str::to_owned),
            message: None,
            limit_id: None,
            resets_at: None,
            retry_after: None,
            challenge: None,
            cause: None,
        }))
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.0.hint = Some(hint.into());
        self
    }

    fn retry_after(mut self, seconds: u64) -> Problem {
        self.0.retry_after = Some(seconds);
        self
    }

    fn because(mut self, cause: impl Into<String>) -> Problem {
        self.0.cause = Some(cause.into());
        self
    }

    fn challenge(mut self, challenge: &'static str) -> Problem {
        self.0.challenge = Some(challenge);
        self
    }

    /// A request without a key.
    pub fn no_key() -> Problem {
        Problem::new(table::UNAUTHORIZED, "The request has no key.")
            .hint("Send the header Authorization: Bearer KEY.")
            .challenge("Bearer realm=\"wallet\"")
    }

    /// A key that is unknown, revoked or expired: which of them is nobody's business.
    pub fn wrong_key() -> Problem {
        Problem::new(
            table::UNAUTHORIZED,
            "The key is unknown, revoked or expired.",
        )
        .hint("Use a valid key of the wallet.")
        .challenge("Bearer realm=\"wallet\", error=\"invalid_token\"")
    }

    /// A path that exists with other methods.
    pub fn method_not_allowed() -> Problem {
        Problem::new(
            table::METHOD_NOT_ALLOWED,
            "The path does not have this method.",
        )
        .hint("The header Allow lists the methods of the path.")
    }

    /// A fault of walletd.
    pub fn internal(cause: impl Into<String>) -> Problem {
        let detail = "The request could not be served. The log has the reason.";
        Problem::new(table::INTERNAL, detail)
            .hint("Report it with the value of the header X-Request-Id.")
            .because(cause)
    }

    fn refused(refusal: Refusal) -> Problem {
        let kind = table::kind_of(&refusal.sqlstate);
        if kind.status >= 500 {
            // The server's own state is not for clients.
            let cause = format!("{}: {}", refusal.sqlstate, refusal.message);
            return match kind.status {
                503 => Problem::unavailable(cause),
                _ => Problem::internal(cause),
            };
        }
        let detail = refusal.detail.unwrap_or_else(|| refusal.message.clone());
        let mut problem = Problem::new(kind, detail).0;
        if refusal.sqlstate == "WL002" {
            problem.limit_id = refusal.constraint.and_then(|id| id.parse().ok());
            problem.resets_at = reset::resets_at(&problem.detail);
            let now = Timestamp::now();
            problem.retry_after = problem.resets_at.map(|time| reset::seconds(now, time));
        }
        problem.hint = refusal.hint;
        problem.sqlstate = Some(refusal.sqlstate);
        problem.message = Some(refusal.message);
        Problem(problem)
    }

    fn unavailable(cause: impl Into<String>) -> Problem {
        let detail = "The database cannot serve the request now. Nothing was booked.";
        Problem::new(table::UNAVAILABLE, detail)
            .hint("Send the request again.")
            .retry_after(1)
            .because(cause)
    }

    /// A payment provider that does not answer, or whose answer is lost.
    pub fn provider(cause: impl Into<String>) -> Problem {
        let detail = "The payment provider cannot serve the request now. Nothing was booked.";
        Problem::new(table::UNAVAILABLE, detail)
            .hint("Send the request again, with the same Idempotency-Key.")
            .retry_after(1)
            .because(cause)
    }

    fn unknown(cause: impl Into<String>) -> Problem {
        let detail = "The database did not answer. The request may have been booked or not.";
        Problem::new(table::UNKNOWN_OUTCOME, detail)
            .hint("With the header Idempotency-Key, send the request again: it is booked once.")
            .retry_after(1)
            .because(cause)
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Problem {
        match error {
            DbError::UnknownKey => Problem::wrong_key(),
            DbError::Refused(refusal) => Problem::refused(*refusal),
            DbError::Unavailable(trouble) => Problem::unavailable(trouble.to_string()),
            DbError::Unknown(trouble) => Problem::unknown(trouble.to_string()),
            DbError::Garbled(reason) => Problem::internal(reason),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let parts = self.0;
        let name = parts.kind.rsplit(':').next().unwrap_or_default().to_owned();
        let refused = Refused {
            code: parts.sqlstate.clone().unwrap_or(name),
            cause: parts.cause.clone(),
        };
        let body = serde_json::to_vec(&parts).unwrap_or_default();
        let status =
            StatusCode::from_u16(parts.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        let form = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, form);
        if let Some(seconds) = parts.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = parts.challenge {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge),
            );
        }
        response.extensions_mut().insert(refused);
        response
    }
}
