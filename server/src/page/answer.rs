//! The page of a request that did not succeed.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::html;

use super::failure::Failure;
use super::layout::bare;

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if self.has_no_key {
            let mut answer = self.mark(().into_response());
            *answer.status_mut() = StatusCode::SEE_OTHER;
            let home = HeaderValue::from_static("/?ended=1");
            answer.headers_mut().insert(header::LOCATION, home);
            return answer;
        }
        let page = bare(
            "Not done",
            html! {
                h1 { "Not done" }
                div.notice.wrong role="alert" {
                    p { (self.text) }
                    @if let Some(detail) = &self.detail { p { (detail) } }
                }
                p { a href="/" { "Back to the overview" } }
            },
        );
        self.mark(page.into_response())
    }
}
