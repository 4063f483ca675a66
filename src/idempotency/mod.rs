//! Idempotency: a key that was used before answers with the first result, or refuses another request.

pub mod call;
pub mod entry_by_key;
pub mod fingerprint;
