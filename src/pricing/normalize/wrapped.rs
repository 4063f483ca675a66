//! Where a response stands inside something else: a line of a batch's output file, or a framework's object. Pure.

use crate::error::{Error, Result};
use crate::pg::jsonb::Json;
use crate::pricing::normalize::path::{Object, Path};

/// Where a batch's output file has the response in each line, by keys that a line has.
const BATCHES: &[(&[&str], &str)] = &[
    (&["custom_id", "response.body"], "response.body"),
    (&["custom_id", "result.message"], "result.message"),
    (&["recordId", "modelOutput"], "modelOutput"),
    (&["key", "response.usageMetadata"], "response"),
    (&["key", "response.usage_metadata"], "response"),
    (
        &[
            "request",
            "status",
            "processed_time",
            "response.usageMetadata",
        ],
        "response",
    ),
];

/// Where a framework keeps the provider's response as it came, beside a copy of some of its numbers.
const COPIES: &[(&[&str], &str)] = &[
    (&["message", "raw.usage"], "raw"),
    (&["message", "raw.usage_metadata"], "raw"),
    (&["message", "raw.usageMetadata"], "raw"),
    (&["text", "raw.usage"], "raw"),
    (&["text", "raw.usage_metadata"], "raw"),
    (&["text", "raw.usageMetadata"], "raw"),
];

/// Where the line of a batch has the response.
pub fn batch_of(object: &Object) -> Result<Option<Path>> {
    if !object
        .iter()
        .any(|(key, _)| matches!(&**key, "custom_id" | "recordId" | "key" | "request"))
    {
        return Ok(None);
    }
    place_of(BATCHES, object)
}

/// Where a framework's object has the provider's response.
pub fn copy_of(object: &Object) -> Result<Option<Path>> {
    if !object.iter().any(|(key, _)| key == "raw") {
        return Ok(None);
    }
    place_of(COPIES, object)
}

/// The place of the first of these whose keys are all there.
fn place_of(known: &[(&[&str], &str)], object: &Object) -> Result<Option<Path>> {
    let path = |text: &str| Path::parse(text).map_err(Error::internal);
    for (keys, at) in known {
        let mut is_it = true;
        for key in *keys {
            is_it &= path(key)?.is_present(object);
        }
        let at = path(at)?;
        if is_it && matches!(at.first(object), Some(Json::Object(_))) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}
