//! Finds a response inside of another object: a line of a batch's output file, or a framework's
//! object. Pure.

use crate::error::{Error, Result};
use crate::pg::jsonb::Json;
use crate::pricing::normalize::path::{Object, Path};

/// Paths of the response in a line of a batch's output file, by keys that the line has.
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

/// Paths of the provider's original response in a framework's object, which also has copies of some
/// of its numbers.
const COPIES: &[(&[&str], &str)] = &[
    (&["message", "raw.usage"], "raw"),
    (&["message", "raw.usage_metadata"], "raw"),
    (&["message", "raw.usageMetadata"], "raw"),
    (&["text", "raw.usage"], "raw"),
    (&["text", "raw.usage_metadata"], "raw"),
    (&["text", "raw.usageMetadata"], "raw"),
];

/// The path of the response in a line of a batch.
pub fn batch_of(object: &Object) -> Result<Option<Path>> {
    if !object
        .iter()
        .any(|(key, _)| matches!(&**key, "custom_id" | "recordId" | "key" | "request"))
    {
        return Ok(None);
    }
    place_of(BATCHES, object)
}

/// The path of the provider's response in a framework's object.
pub fn copy_of(object: &Object) -> Result<Option<Path>> {
    if !object.iter().any(|(key, _)| key == "raw") {
        return Ok(None);
    }
    place_of(COPIES, object)
}

/// The first path whose keys are all present.
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
