//! The proof that a request needs: a session, and for a form that this page sent it.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq;

use crate::page::account::{Account, SignedIn};
use crate::page::cookies::Visit;
use crate::page::failure::Failure;
use crate::page::state::Pages;
use crate::payments::may_fund;

/// The largest form.
const FORM_MAX: usize = 64 * 1024;

/// The visit of a request, if it has one.
pub fn visit(headers: &HeaderMap, pages: &Pages) -> Option<Visit> {
    let mut values = headers.get_all(header::COOKIE).iter();
    values.find_map(|value| pages.cookies.read(value.to_str().ok()?))
}

async fn person_of(visit: Visit, pages: &Pages) -> Result<SignedIn, Failure> {
    let key = visit.key.ok_or_else(Failure::signed_out)?;
    let account = Account::of(&key, pages).await?;
    Ok(SignedIn {
        can_pay: pages.checkouts.is_some() && may_fund(account.role.as_deref()),
        key,
        token: visit.token,
        account,
    })
}

impl FromRequestParts<Pages> for SignedIn {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<SignedIn, Failure> {
        let visit = visit(&parts.headers, pages).ok_or_else(Failure::signed_out)?;
        person_of(visit, pages).await
    }
}

/// The query of an address.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Pages> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Pages) -> Result<Asked<T>, Failure> {
        serde_urlencoded::from_str(parts.uri.query().unwrap_or_default())
            .map(Asked)
            .map_err(|_| Failure::unreadable("The address cannot be read."))
    }
}

/// A form that this page sent to this visit.
pub struct Posted<T> {
    /// Its fields.
    pub form: T,
    /// The visit.
    pub visit: Visit,
}

impl<T> Posted<T> {
    /// The person who sent it.
    pub async fn signed_in(self, pages: &Pages) -> Result<(SignedIn, T), Failure> {
        Ok((person_of(self.visit, pages).await?, self.form))
    }
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

impl<T: DeserializeOwned> FromRequest<Pages> for Posted<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, pages: &Pages) -> Result<Posted<T>, Failure> {
        if !is_from_here(request.headers(), &pages.url) {
            return Err(Failure::forged("The form came from another site."));
        }
        let visit = visit(request.headers(), pages).ok_or_else(Failure::signed_out)?;
        let body = Limited::new(request.into_body(), FORM_MAX).collect();
        let collected = tokio::time::timeout(pages.timeout, body).await;
        let bytes = match collected {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                let text = "The form is too large.";
                return Err(Failure::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "body_too_large",
                    text,
                ));
            }
            _ => return Err(Failure::unreadable("The form did not arrive.")),
        };
        let sent = serde_urlencoded::from_bytes::<Token>(&bytes);
        let is_right =
            sent.is_ok_and(|sent| bool::from(sent.token.as_bytes().ct_eq(visit.token.as_bytes())));
        if !is_right {
            return Err(Failure::forged(
                "The form is of another session. Load the page again.",
            ));
        }
        let form = serde_urlencoded::from_bytes(&bytes)
            .map_err(|error| Failure::unreadable(format!("The form cannot be read: {error}.")))?;
        Ok(Posted { form, visit })
    }
}

/// Whether the browser says that a form is from this page. Each browser sends one of the headers.
fn is_from_here(headers: &HeaderMap, url: &str) -> bool {
    let text = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or("unreadable"))
    };
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    match text("origin") {
        Some(origin) => {
            let host = text("host").unwrap_or_default();
            let is_host = origin
                .split_once("://")
                .is_some_and(|(_, place)| place == host);
            origin == url || is_host
        }
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_of_another_site_is_recognized() {
        let here = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            is_from_here(&headers, "https://wallet.example")
        };
        for site in ["cross-site", "same-site", "none", ""] {
            assert!(!here(&[("sec-fetch-site", site)]), "{site}");
        }
        assert!(here(&[("sec-fetch-site", "same-origin")]));
        assert!(here(&[("origin", "https://wallet.example")]));
        assert!(here(&[
            ("origin", "http://10.0.0.1:8080"),
            ("host", "10.0.0.1:8080")
        ]));
        for origin in [
            "https://evil.example",
            "null",
            "https://wallet.example.evil.example",
            "",
        ] {
            assert!(
                !here(&[("origin", origin), ("host", "wallet.example")]),
                "{origin}"
            );
        }
    }
}
