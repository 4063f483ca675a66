//! Pages of a list: how many rows, and where the next page begins.

use axum::Json;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How many rows a page has at most.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "u16")]
pub struct PageSize(u16);

/// The most rows of a page.
const MAX: u16 = 1000;

impl PageSize {
    /// The number of rows.
    pub fn rows(self) -> usize {
        usize::from(self.0)
    }
}

impl Default for PageSize {
    fn default() -> PageSize {
        PageSize(50)
    }
}

impl TryFrom<u16> for PageSize {
    type Error = String;

    fn try_from(rows: u16) -> Result<PageSize, String> {
        match (1..=MAX).contains(&rows) {
            true => Ok(PageSize(rows)),
            false => Err(format!("limit must be 1 to {MAX}")),
        }
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// Where the next page begins: pass it as `cursor`. The last page has none.
    pub next: Option<String>,
}

impl<T: Serialize> Page<T> {
    /// A page, given what its last row is called if there may be more rows.
    pub fn new(data: Vec<T>, size: PageSize, cursor: impl Fn(&T) -> String) -> Page<T> {
        let is_full = data.len() >= size.rows();
        let next = data.last().filter(|_| is_full).map(cursor);
        Page { data, next }
    }

    /// The header `Link` that leads to the next page of the same query, if there is one.
    pub fn link(&self, uri: &Uri) -> Option<HeaderValue> {
        link(uri, self.next.as_deref()?)
    }

    /// The answer, with a header `Link` that leads to the next page of the same query.
    pub fn answer(self, uri: &Uri) -> Response {
        let link = self.link(uri);
        linked(self, link)
    }
}

/// An answer with a header `Link`, if there is one.
pub fn linked(body: impl Serialize, link: Option<HeaderValue>) -> Response {
    let mut response = Json(body).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

fn link(uri: &Uri, next: &str) -> Option<HeaderValue> {
    let query = uri.query().unwrap_or_default();
    let mut pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).ok()?;
    pairs.retain(|(name, _)| name != "cursor");
    pairs.push(("cursor".to_owned(), next.to_owned()));
    let query = serde_urlencoded::to_string(pairs).ok()?;
    HeaderValue::from_str(&format!("<{}?{query}>; rel=\"next\"", uri.path())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_has_the_same_query() {
        let uri: Uri = "/v1/x?user_id=a%26b&cursor=1&limit=2".parse().unwrap();
        let page = Page::new(vec!["r1", "r2"], PageSize(2), |row| format!("{row}>;"));
        let answer = page.answer(&uri);
        assert_eq!(
            answer.headers()[header::LINK],
            "</v1/x?user_id=a%26b&limit=2&cursor=r2%3E%3B>; rel=\"next\""
        );
        let last = Page::new(vec!["r1"], PageSize(2), |row| (*row).to_owned());
        assert_eq!(last.next, None);
        assert!(last.answer(&uri).headers().get(header::LINK).is_none());
    }
}
