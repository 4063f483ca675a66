//! The style sheet and the program of the page. Their addresses have a digest of their content, so
//! that browsers keep them and never use an old one.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::failure::Failure;

const CSS: &str = include_str!("assets/page.css");
const JS: &str = include_str!("assets/page.js");

/// The names of the files.
pub static STYLE: LazyLock<String> = LazyLock::new(|| name(CSS, "css"));
/// The program.
pub static PROGRAM: LazyLock<String> = LazyLock::new(|| name(JS, "js"));

fn name(content: &str, kind: &str) -> String {
    let digest = Sha256::digest(content);
    let start: String = digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{start}.{kind}")
}

/// A file.
pub async fn asset(Path(wanted): Path<String>) -> Result<Response, Failure> {
    let (content, kind) = match wanted {
        wanted if wanted == *STYLE => (CSS, "text/css; charset=utf-8"),
        wanted if wanted == *PROGRAM => (JS, "text/javascript; charset=utf-8"),
        _ => return Err(Failure::not_found()),
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, content).into_response())
}
