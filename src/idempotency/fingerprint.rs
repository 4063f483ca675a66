//! Fingerprints of requests: two requests with the same fingerprint are the same request.

use sha2::{Digest, Sha256};

use crate::pg::jsonb::{Json, Jsonb};

/// The canonical form of a document that was checked before; `None` if it cannot be read.
pub fn canonical(value: Jsonb) -> Option<String> {
    let json: Json = value.reread("document").ok()?;
    let mut out = String::new();
    json.write_canonical(&mut out);
    Some(out)
}

/// Whether the fingerprint that a first call left is another one. One that was erased is not
/// compared.
pub fn differs(first: Option<[u8; 16]>, now: [u8; 16]) -> bool {
    first.is_some_and(|first| first != now)
}

/// Builds a fingerprint from the fields of a request.
#[derive(Clone)]
pub struct Fingerprint(Sha256);

impl Fingerprint {
    /// Begins the fingerprint of a call of that kind.
    pub fn new(call: u8) -> Fingerprint {
        Fingerprint(Sha256::new().chain_update([call]))
    }

    /// Adds a field; an absent one differs from every value.
    pub fn field(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.0.update(name);
            self.0.update((value.len() as u64).to_be_bytes());
            self.0.update(value);
        }
    }

    /// The first sixteen bytes of the hash.
    pub fn finish(self) -> [u8; 16] {
        let digest = self.0.finalize();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        half
    }
}
