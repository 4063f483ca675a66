//! Signing in with a key or a link, and signing out.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::html;
use serde::Deserialize;

use super::guard::{Asked, Posted, visit};
use super::links::use_link;
use crate::config::Secret;
use crate::ops::client_of;
use crate::page::account::Account;
use crate::page::cookies::Visit;
use crate::page::failure::Failure;
use crate::page::layout::bare;
use crate::page::parts::hidden;
use crate::page::state::Pages;

/// The longest key that is looked up. The wallet's own have 67 characters.
const KEY_MAX: usize = 256;

/// The form for a key, with a sentence about what happened before.
pub fn ask_for_key(headers: &HeaderMap, pages: &Pages, notice: Option<&str>) -> Response {
    // The visit goes on, so that a form in another tab stays valid.
    let visit = visit(headers, pages).unwrap_or_else(|| pages.cookies.begin(None));
    let visit = Visit { key: None, ..visit };
    let page = bare(
        "Sign in",
        html! {
            h1 { "Sign in to your wallet" }
            @if let Some(text) = notice { div.notice.wrong role="alert" { p { (text) } } }
            form method="post" action="/sign-in" {
                (hidden("token", &visit.token))
                label for="key" { "Key" }
                input #key name="key" type="password" autocomplete="current-password" required
                    maxlength=(KEY_MAX) spellcheck="false" aria-describedby="key-help";
                p #key-help.quiet { "It begins with wk_. An owner of the wallet makes it, or sends you a link." }
                button type="submit" { "Sign in" }
            }
        },
    );
    with_visit(page.into_response(), &visit, pages)
}

/// The text of a link.
#[derive(Deserialize)]
pub struct Link {
    link: String,
}

/// The page of a link. Only its button uses the link: programs that look at mail follow links too.
pub async fn welcome(
    State(pages): State<Pages>,
    headers: HeaderMap,
    link: Result<Asked<Link>, Failure>,
) -> Response {
    let Ok(Asked(Link { link })) = link else {
        return ask_for_key(&headers, &pages, None);
    };
    let visit = visit(&headers, &pages).unwrap_or_else(|| pages.cookies.begin(None));
    let page = bare(
        "Sign in",
        html! {
            h1 { "Sign in to your wallet" }
            p { "This link signs you in once." }
            form method="post" action="/sign-in/link" {
                (hidden("token", &visit.token))
                (hidden("link", &link))
                button type="submit" { "Sign in" }
            }
        },
    );
    with_visit(page.into_response(), &visit, &pages)
}

/// A key.
#[derive(Deserialize)]
pub struct KeyForm {
    key: String,
}

/// Signs in with a key.
pub async fn sign_in(
    State(pages): State<Pages>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    posted: Posted<KeyForm>,
) -> Result<Response, Failure> {
    check_attempts(peer, &headers, &pages)?;
    let key = posted.form.key.trim().to_owned();
    let is_plain =
        !key.is_empty() && key.len() <= KEY_MAX && key.bytes().all(|b| b.is_ascii_graphic());
    let wrong = "The key is not valid. It may have been revoked or rotated, or it has expired.";
    if !is_plain {
        return Ok(again(&headers, &pages, wrong));
    }
    enter(Secret::new(key), &headers, &pages, wrong).await
}

/// Signs in with a one-time link.
pub async fn sign_in_by_link(
    State(pages): State<Pages>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    posted: Posted<Link>,
) -> Result<Response, Failure> {
    check_attempts(peer, &headers, &pages)?;
    let wrong = "The link is not valid. It may have expired, or it was used before.";
    match use_link(&posted.form.link, &pages).await? {
        Some(key) => enter(key, &headers, &pages, wrong).await,
        None => Ok(again(&headers, &pages, wrong)),
    }
}

fn check_attempts(peer: SocketAddr, headers: &HeaderMap, pages: &Pages) -> Result<(), Failure> {
    let address = client_of(peer.ip(), headers, &pages.trusted_proxies);
    let address = address
        .ok_or_else(|| Failure::unreadable("X-Forwarded-For has no address in its place."))?;
    match pages.attempts.may(address) {
        true => Ok(()),
        false => {
            let text = "Too many attempts to sign in from your address. Wait a minute.";
            Err(Failure::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_attempts",
                text,
            ))
        }
    }
}

fn again(headers: &HeaderMap, pages: &Pages, wrong: &str) -> Response {
    let failure = Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", wrong);
    failure.mark(ask_for_key(headers, pages, Some(wrong)))
}

async fn enter(
    key: Secret,
    headers: &HeaderMap,
    pages: &Pages,
    wrong: &str,
) -> Result<Response, Failure> {
    match Account::of(&key, pages).await {
        Ok(_) => {
            // A new token: nobody knows one from before the session.
            let visit = pages.cookies.begin(Some(key));
            let answer = (StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response();
            Ok(with_visit(answer, &visit, pages))
        }
        Err(failure) if failure.has_no_key => Ok(again(headers, pages, wrong)),
        Err(failure) => Err(failure),
    }
}

/// No field but the token.
#[derive(Deserialize)]
pub struct Nothing {}

/// Signs out. The key stays valid.
pub async fn leave(State(pages): State<Pages>, _: Posted<Nothing>) -> Response {
    let headers = [
        (header::LOCATION, "/".to_owned()),
        (header::SET_COOKIE, pages.cookies.remove()),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

/// An answer that sets the cookie of a visit.
pub fn with_visit(mut response: Response, visit: &Visit, pages: &Pages) -> Response {
    let value = pages
        .cookies
        .write(visit)
        .and_then(|text| text.parse().ok());
    if let Some(value) = value {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}
