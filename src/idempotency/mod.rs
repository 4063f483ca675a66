//! Idempotency: a call with a known key returns the first result, or is refused if it is another
//! request.

pub mod call;
pub mod entry_by_key;
pub mod fingerprint;
