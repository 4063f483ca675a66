//! Proofs of the fields of an entry that may be erased. Pure.

/// The length of a salt.
pub const SALT: usize = 16;

/// The length of a digest.
pub const DIGEST: usize = 32;

/// The proof of the fields of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// All fields are NULL, and nothing was erased.
    Empty,
    /// The salt of the digest. The digest is computed from the fields.
    Salt([u8; SALT]),
    /// The digest of fields that were erased.
    Digest([u8; DIGEST]),
}

impl Proof {
    /// A proof for fields that are about to be written.
    pub fn new(has_fields: bool) -> Proof {
        match has_fields {
            // Random from the operating system, by way of a cryptographic generator.
            true => Proof::Salt(uuid::Uuid::new_v4().into_bytes()),
            false => Proof::Empty,
        }
    }

    /// The proof as it is stored. `None` if the bytes are no proof.
    pub fn stored(bytes: Option<&[u8]>) -> Option<Proof> {
        let Some(bytes) = bytes else {
            return Some(Proof::Empty);
        };
        match bytes.len() {
            SALT => bytes.try_into().ok().map(Proof::Salt),
            DIGEST => bytes.try_into().ok().map(Proof::Digest),
            _ => None,
        }
    }

    /// The bytes to store.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Proof::Empty => None,
            Proof::Salt(salt) => Some(salt),
            Proof::Digest(digest) => Some(digest),
        }
    }
}
