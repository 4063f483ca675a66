//! The entries of a person, in the ledger and its archive.
//!
//! The hash of an entry covers a digest of these fields. The digest takes the place of its salt, so
//! the chain stays valid, and without the salt the digest confirms no guess.

use crate::erasure::person::Person;
use crate::error::Result;
use crate::ledger::permit::{self, Permit};
use crate::storage::plan::{Run, statement};

// Metadata of the person's own entries is dropped: its form is the application's, and anything may
// be in it. Usage, tags and reason explain the amount and stay, without the identifier. The
// reference is the payment provider's and identifies a payment.
macro_rules! entries_query {
    ($table:literal) => {
        concat!(
            "UPDATE wallet.",
            $table,
            " l
                SET user_id = CASE WHEN l.user_id = $1 THEN $2 ELSE l.user_id END,
                    actor = n.actor,
                    fingerprint = NULL,
                    person_proof = CASE WHEN l.person_proof IS NOT NULL
                                        THEN wallet.person_digest(l.person_proof, l.user_id, l.actor, l.fingerprint) END,
                    usage = n.usage, tags = n.tags, reason = n.reason, metadata = n.metadata,
                    payload_proof = CASE WHEN n.is_other
                                         THEN wallet.payload_digest(l.payload_proof, l.usage, l.tags, l.metadata, l.reference, l.reason)
                                         ELSE l.payload_proof END
               FROM (SELECT f.wallet_id, f.entry_id, f.actor, f.usage, f.tags, f.reason, f.metadata,
                            (f.usage, f.tags, f.reason, f.metadata) IS DISTINCT FROM (f.old_usage, f.old_tags, f.old_reason, f.old_metadata) AS is_other,
                            f.is_own OR f.actor IS DISTINCT FROM f.old_actor AS is_person
                       FROM (SELECT o.wallet_id, o.entry_id, o.usage AS old_usage, o.tags AS old_tags, o.reason AS old_reason,
                                    o.metadata AS old_metadata, o.actor AS old_actor, o.user_id = $1 IS TRUE AS is_own,
                                    wallet.without_person(o.actor, $1, $2, 'name') AS actor,
                                    wallet.without_person(o.usage::text, $1, $2, 'document')::jsonb AS usage,
                                    wallet.without_person(o.tags::text, $1, $2, 'tags')::jsonb AS tags,
                                    wallet.without_person(o.reason, $1, $2, 'text') AS reason,
                                    CASE WHEN o.user_id = $1 THEN NULL
                                         ELSE wallet.without_person(o.metadata::text, $1, $2, 'metadata')::jsonb END AS metadata
                               FROM wallet.",
            $table,
            " o
                              WHERE ($3::text[] IS NULL OR o.wallet_id = ANY ($3))
                                AND (o.user_id = $1 OR strpos(o.actor, $1) > 0 OR strpos(o.reason, $1) > 0
                                     OR strpos(o.usage::text, $4) > 0 OR strpos(o.tags::text, $4) > 0
                                     OR strpos(o.metadata::text, $4) > 0
                                     OR $4 <> $5 AND (strpos(o.usage::text, $5) > 0 OR strpos(o.tags::text, $5) > 0
                                                      OR strpos(o.metadata::text, $5) > 0))
                             OFFSET 0) f) n
              WHERE l.wallet_id = n.wallet_id AND l.entry_id = n.entry_id AND (n.is_person OR n.is_other)"
        )
    };
}
statement!(
    BOOKED,
    [TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID],
    entries_query!("ledger")
);
statement!(
    ARCHIVED,
    [TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID],
    entries_query!("ledger_archive")
);

// The lists name a user by four bytes of a digest. Those of the person move to lists of their own.
// If another user of the wallet has the same four bytes, they stay: they are that user's, too.
statement!(
    LISTS,
    [TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID],
    "WITH h AS (
         SELECT ('x' || substr(md5($1), 1, 8))::bit(32) AS old, ('x' || substr(md5($2), 1, 8))::bit(32) AS new
     ), hit AS MATERIALIZED (
         SELECT n.*, h.old::integer AS old, h.new,
                cardinality(array_positions(n.hashes, h.old::integer)) AS entries,
                EXISTS (SELECT FROM wallet.usage_rollups u
                         WHERE u.wallet_id = n.wallet_id AND u.user_id NOT IN ($1, $2)
                           AND ('x' || substr(md5(u.user_id), 1, 8))::bit(32) = h.old) AS is_shared
           FROM h JOIN wallet.entry_lists n ON n.attribute = 'user' AND h.old::integer = ANY (n.hashes)
          WHERE ($3::text[] IS NULL OR n.wallet_id = ANY ($3)) AND num_nonnulls($4, $5) = 2
     ), made AS (
         INSERT INTO wallet.entry_lists (wallet_id, attribute, level, bucket, day, rollup_id, hashes, times)
         SELECT i.wallet_id, i.attribute, i.level, CASE WHEN i.level > 0 THEN (i.new >> (32 - i.level))::integer ELSE 0 END,
                i.day, gen_random_uuid(), array_fill(i.new::integer, ARRAY[i.entries]),
                CASE WHEN i.times IS NOT NULL THEN
                     ARRAY(SELECT t.time FROM unnest(i.hashes, i.times) AS t(hash, time) WHERE t.hash = i.old ORDER BY t.time) END
           FROM hit i
     ), gone AS (
         DELETE FROM wallet.entry_lists n USING hit i
          WHERE NOT i.is_shared AND i.entries = cardinality(i.hashes)
            AND (n.wallet_id, n.attribute, n.level, n.bucket, n.day, n.rollup_id)
                = (i.wallet_id, i.attribute, i.level, i.bucket, i.day, i.rollup_id)
     ), rest AS (
         UPDATE wallet.entry_lists n
            SET hashes = array_remove(i.hashes, i.old),
                times = CASE WHEN i.times IS NOT NULL THEN
                             ARRAY(SELECT t.time FROM unnest(i.hashes, i.times) WITH ORDINALITY AS t(hash, time, place)
                                    WHERE t.hash <> i.old ORDER BY t.place) END
           FROM hit i
          WHERE NOT i.is_shared AND i.entries < cardinality(i.hashes)
            AND (n.wallet_id, n.attribute, n.level, n.bucket, n.day, n.rollup_id)
                = (i.wallet_id, i.attribute, i.level, i.bucket, i.day, i.rollup_id)
     )
     SELECT count(*) FROM hit"
);

/// Erases the identifier in the entries that are committed. Returns the number of changed rows by
/// table.
pub fn erase(person: &Person<'_>) -> Result<[(&'static str, i64); 2]> {
    permit::with(Permit::Erasure, || {
        let booked = BOOKED.run(&person.values())?.len() as i64;
        let archived = ARCHIVED.run(&person.values())?.len() as i64;
        Ok([("ledger", booked), ("ledger_archive", archived)])
    })
}

/// Moves the person's entries in the lists by user to the pseudonym. Returns the number of lists.
pub fn erase_in_lists(person: &Person<'_>) -> Result<i64> {
    LISTS.run(&person.values())?.need(0, 0)
}
