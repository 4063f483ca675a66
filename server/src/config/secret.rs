//! A text that no log and no message shows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A secret, such as a connection string with a password, or the key of a request.
#[derive(Clone, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// A secret with this text.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The text. Pass it on only to what needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("********")
    }
}
