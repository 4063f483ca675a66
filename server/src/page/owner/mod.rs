//! The pages of those who manage the wallet: limits, members, keys.

pub mod keys;
pub mod limits;
pub mod members;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::Markup;

use super::failure::Failure;

/// The result of a form.
pub enum Outcome<'a> {
    /// Nothing was changed yet.
    None,
    /// It was made.
    Done(&'a str),
    /// It was refused.
    Refused(Failure),
}

impl Outcome<'_> {
    /// The sentence about it.
    fn shown(&self) -> Markup {
        match self {
            Outcome::None => super::parts::done(None),
            Outcome::Done(text) => super::parts::done(Some(text)),
            Outcome::Refused(failure) => maud::html! {
                div.notice.wrong role="alert" {
                    p { (failure.text) }
                    @if let Some(detail) = &failure.detail { p { (detail) } }
                }
            },
        }
    }

    /// The page, with the status of the outcome.
    fn answer(self, page: Markup) -> Response {
        match self {
            Outcome::Refused(failure) => failure.mark(page.into_response()),
            _ => page.into_response(),
        }
    }
}

/// After a change: the page again by GET, so that a reload changes nothing.
fn then(address: &'static str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, address)]).into_response()
}

/// The failures that the page of the form shows. Others have a page of their own.
fn shown_in_place(failure: Failure) -> Result<Failure, Failure> {
    match failure.has_no_key || failure.status.is_server_error() {
        true => Err(failure),
        false => Ok(failure),
    }
}
