//! The bytes that the hash of an entry covers: form 1 in `docs/ledger.md`.
//!
//! The fields that an erasure or a retention rule may change are not in it. Their two groups are
//! covered by digests with a random salt each. Without its salt, a digest confirms no guess.

use sha2::{Digest, Sha256};

use crate::money::Amount;
use crate::pg::document::Document;
use crate::storage::canonical::Canonical;
use crate::storage::entry_proof::{DIGEST, Proof, SALT};
use crate::storage::rows::{Entry, Hash, Lane, Link};

/// The place of each digest at the beginning of the form: previous hash, person, payload.
const HEAD: usize = 3 * DIGEST;

fn text(document: Option<&Document>) -> Option<&str> {
    document.map(|document| document.text.as_str())
}

fn has_person(entry: &Entry<'_>) -> bool {
    entry.attribution.user_id.is_some() || entry.actor.is_some() || entry.fingerprint.is_some()
}

fn has_payload(entry: &Entry<'_>) -> bool {
    entry.usage.is_some()
        || entry.context.tags.is_some()
        || entry.metadata.is_some()
        || entry.reference.is_some()
        || entry.reason.is_some()
}

/// The digest of user, actor and fingerprint. `None` if the fields have no proof.
fn person(entry: &Entry<'_>, proof: &Proof) -> Option<[u8; DIGEST]> {
    let salt = match proof {
        Proof::Digest(digest) => return Some(*digest),
        Proof::Empty => return (!has_person(entry)).then_some([0; DIGEST]),
        Proof::Salt(salt) => salt,
    };
    // The fingerprint is not in the array, so that most digests take a single block of SHA-256.
    let mut head = [0; 2 * SALT];
    head[..SALT].copy_from_slice(salt);
    head[SALT..].copy_from_slice(&entry.fingerprint.unwrap_or_default());
    let mut out = Canonical::after(&head);
    out.text(entry.attribution.user_id);
    out.text(entry.actor);
    Some(Sha256::digest(out.finish()).into())
}

/// The digest of usage, tags, metadata, reference and reason. `None` if the fields have no proof.
fn payload(entry: &Entry<'_>, proof: &Proof) -> Option<[u8; DIGEST]> {
    let salt = match proof {
        Proof::Digest(digest) => return Some(*digest),
        Proof::Empty => return (!has_payload(entry)).then_some([0; DIGEST]),
        Proof::Salt(salt) => salt,
    };
    let mut out = Canonical::after(salt);
    out.text(text(entry.usage.as_ref()));
    out.text(text(entry.context.tags));
    out.text(text(entry.metadata.as_ref()));
    out.text(entry.reference);
    out.text(entry.reason);
    Some(Sha256::digest(out.finish()).into())
}

/// The position of an entry that follows the lane's last one.
pub fn link(entry: &Entry<'_>, lane: &Lane, lane_balance: Amount, balance: Amount) -> Link {
    let mut link = Link {
        lane: lane.lane,
        seq: lane.seq + 1,
        lane_balance,
        balance,
        hash: [0; DIGEST],
        person_proof: Proof::new(has_person(entry)),
        payload_proof: Proof::new(has_payload(entry)),
    };
    let digests = [
        person(entry, &link.person_proof).unwrap_or_default(),
        payload(entry, &link.payload_proof).unwrap_or_default(),
    ];
    link.hash = Sha256::digest(written(entry, &link, lane.hash, digests)).into();
    link
}

/// The form that the entry would have as the first one of a chain. `None` if a group of fields
/// has no proof.
pub fn form(entry: &Entry<'_>, link: &Link) -> Option<Vec<u8>> {
    let digests = [
        person(entry, &link.person_proof)?,
        payload(entry, &link.payload_proof)?,
    ];
    Some(written(entry, link, None, digests))
}

/// The hash of an entry with this form, as the successor of an entry.
pub fn hash_after(previous: Hash, form: &[u8]) -> [u8; DIGEST] {
    let rest = form.get(DIGEST..).unwrap_or_default();
    let hasher = Sha256::new().chain_update(previous.unwrap_or_default());
    hasher.chain_update(rest).finalize().into()
}

fn written(
    entry: &Entry<'_>,
    link: &Link,
    previous: Hash,
    [person, payload]: [[u8; DIGEST]; 2],
) -> Vec<u8> {
    let mut head = [0; HEAD];
    head[..DIGEST].copy_from_slice(&previous.unwrap_or_default());
    head[DIGEST..2 * DIGEST].copy_from_slice(&person);
    head[2 * DIGEST..].copy_from_slice(&payload);
    let mut out = Canonical::after(&head);
    out.text(Some(entry.wallet));
    out.number(link.lane.into());
    out.number(link.seq);
    out.uuid(Some(entry.entry_id));
    out.text(Some(char::from(entry.kind as u8).encode_utf8(&mut [0; 4])));
    out.text(Some(char::from(entry.call as u8).encode_utf8(&mut [0; 4])));
    out.amount(Some(entry.amount));
    out.amount(Some(link.lane_balance));
    out.amount((link.balance != link.lane_balance).then_some(link.balance));
    out.number(entry.created_at.unix_micros());
    match entry.event_at {
        Some(at) => out.number(at.unix_micros()),
        None => out.text(None),
    }
    out.text(entry.key);
    out.uuid(entry.related_id);
    out.uuid(entry.attribution.key_id);
    out.text(entry.attribution.team);
    out.text(entry.context.provider);
    out.text(entry.context.model);
    out.text(entry.context.service);
    out.text(entry.context.region);
    out.text(entry.context.service_tier);
    match entry.lines {
        Some(lines) => out.hex(lines),
        None => out.text(None),
    }
    out.text(entry.contra);
    if let Some(at) = entry.used_at {
        out.number(at.unix_micros());
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use pgrx::pg_sys::Datum;

    use super::*;
    use crate::attribution::{Attribution, UseContext};
    use crate::pg::clock::Timestamp;
    use crate::pg::jsonb::Jsonb;
    use crate::storage::rows::{Call, Kind};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn document(text: &str) -> Document {
        Document {
            value: Jsonb(Datum::null()),
            text: text.to_owned(),
        }
    }

    /// The entry of the example in `docs/ledger.md`.
    fn charge<'a>(tags: Option<&'a Document>) -> Entry<'a> {
        Entry {
            entry_id: *uuid::uuid!("01890a5d-ac96-774b-bcce-b302099a8057").as_bytes(),
            // Counted from 2000, like every timestamp of PostgreSQL.
            created_at: Timestamp(1_688_256_000_000_000 - 946_684_800_000_000),
            event_at: None,
            used_at: None,
            wallet: "acme",
            kind: Kind::Charge,
            call: Call::Charge,
            amount: Amount::from_units(-250_000_000_000).unwrap(),
            key: None,
            fingerprint: None,
            related_id: None,
            attribution: Attribution {
                user_id: Some("ann"),
                ..Attribution::default()
            },
            context: UseContext {
                provider: Some("openai"),
                model: Some("gpt-4o"),
                tags,
                ..UseContext::default()
            },
            lines: None,
            usage: None,
            contra: None,
            reference: None,
            reason: None,
            actor: None,
            metadata: None,
        }
    }

    fn salt(first: u8) -> Proof {
        Proof::Salt(std::array::from_fn(|place| first + place as u8))
    }

    fn first(person_proof: Proof, payload_proof: Proof) -> Link {
        let amount = Amount::from_units(-250_000_000_000).unwrap();
        Link {
            lane: 0,
            seq: 1,
            lane_balance: amount,
            balance: amount,
            hash: [0; DIGEST],
            person_proof,
            payload_proof,
        }
    }

    fn hash(entry: &Entry<'_>, proofs: [Proof; 2]) -> Option<String> {
        let [person, payload] = proofs;
        form(entry, &first(person, payload)).map(|form| hex(&hash_after(None, &form)))
    }

    const HASH: &str = "384d3399959afc52c14492a7878dce687b7e86b20eaac63bdd5b699a9ea0fc90";

    #[test]
    fn the_example_of_the_documentation_has_its_hash() {
        let tags = document("{\"run\": \"7\"}");
        let entry = charge(Some(&tags));
        assert_eq!(hash(&entry, [salt(0), salt(16)]).as_deref(), Some(HASH));
        let digests = [person(&entry, &salt(0)), payload(&entry, &salt(16))].map(Option::unwrap);
        assert_eq!(
            hex(&digests[0]),
            "fe5d5938f496718b1f22830905a7da15e935a0634e4e4672fe0114024fc2ab64"
        );
        assert_eq!(
            hex(&digests[1]),
            "ebfd28f15583ef46c3d029158008af755d9049fa253261a90d32f55e9c925b3a"
        );
    }

    #[test]
    fn an_erased_entry_keeps_its_hash_and_other_changes_do_not() {
        let tags = document("{\"run\": \"7\"}");
        let entry = charge(Some(&tags));
        let kept = Proof::Digest(person(&entry, &salt(0)).unwrap());
        let dropped = Proof::Digest(payload(&entry, &salt(16)).unwrap());
        let mut erased = charge(None);
        erased.attribution.user_id = Some("erased");
        assert_eq!(hash(&erased, [kept, dropped]).as_deref(), Some(HASH));
        assert_ne!(hash(&erased, [salt(0), dropped]).as_deref(), Some(HASH));
        assert_ne!(hash(&entry, [salt(1), salt(16)]).as_deref(), Some(HASH));
        let other = document("{\"run\": \"8\"}");
        let changed = charge(Some(&other));
        assert_ne!(hash(&changed, [salt(0), salt(16)]).as_deref(), Some(HASH));
    }

    #[test]
    fn a_group_with_fields_needs_a_proof() {
        let tags = document("{}");
        assert_eq!(hash(&charge(None), [Proof::Empty, Proof::Empty]), None);
        assert_eq!(hash(&charge(Some(&tags)), [salt(0), Proof::Empty]), None);
        assert!(hash(&charge(None), [salt(0), Proof::Empty]).is_some());
        assert_eq!(Proof::stored(None), Some(Proof::Empty));
        assert_eq!(Proof::stored(Some(&[1; 17])), None);
        for proof in [salt(3), Proof::Digest([9; DIGEST])] {
            assert_eq!(Proof::stored(proof.bytes()), Some(proof));
        }
    }

    #[test]
    fn two_entries_have_different_salts() {
        let proofs = [Proof::new(true), Proof::new(true)];
        assert_ne!(proofs[0], proofs[1]);
        assert_eq!(Proof::new(false), Proof::Empty);
    }
}
