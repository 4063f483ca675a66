//! A `jsonb` value together with its text.

use crate::pg::jsonb::Jsonb;

/// A `jsonb` value with its text, as PostgreSQL prints it.
#[derive(Clone, Debug)]
pub struct Document {
    /// The datum.
    pub value: Jsonb,
    /// The text of the value, equal to `value::text`.
    pub text: String,
}

impl Document {
    /// The value and its text.
    pub fn of(value: Jsonb) -> Document {
        let text = value.to_text();
        Document { value, text }
    }
}
