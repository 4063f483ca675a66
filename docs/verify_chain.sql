-- Recomputes the hash chains of a wallet in plain SQL, without any function of the extension.
--
--     psql -v wallet=acme -f docs/verify_chain.sql
--
-- Returns one row per lane of the balance. "ok" is true if the lane's entries are numbered from 1
-- without gaps, every running total is the sum of the entries up to it, every hash is the SHA-256
-- of the previous hash and the entry, and the head that the lane stores (seq, booked, hash) is its
-- last entry. Entries that archive() has moved are included. If "ok" is false, "problem" is the
-- first problem in the lane, and "at_seq" is the number of its entry.

WITH chained AS (
    -- Every entry with the hash of the one before it in its lane.
    SELECT l.*,
           row_number() OVER lane_order AS expected_seq,
           sum(l.amount) OVER lane_order AS expected_balance,
           lag(l.hash) OVER lane_order AS previous_hash
      FROM (TABLE wallet.ledger UNION ALL TABLE wallet.ledger_archive) l
     WHERE l.wallet_id = :'wallet'
    WINDOW lane_order AS (PARTITION BY l.lane ORDER BY l.seq ROWS UNBOUNDED PRECEDING)
), digested AS (
    -- The digests of the fields that may be erased. A proof of 16 bytes is the salt of the digest,
    -- a proof of 32 bytes the digest of erased fields, and no proof means that all are NULL.
    SELECT c.*,
           CASE
               WHEN octet_length(c.person_proof) = 16 THEN
                   sha256(c.person_proof
                          || coalesce(uuid_send(c.fingerprint), decode(repeat('00', 16), 'hex'))
                          || convert_to(jsonb_build_array(c.user_id, c.actor)::text, 'UTF8'))
               WHEN octet_length(c.person_proof) = 32 THEN c.person_proof
               WHEN c.person_proof IS NULL AND num_nonnulls(c.user_id, c.actor, c.fingerprint) = 0 THEN
                   decode(repeat('00', 32), 'hex')
           END AS person_digest,
           CASE
               WHEN octet_length(c.payload_proof) = 16 THEN
                   sha256(c.payload_proof
                          || convert_to(jsonb_build_array(
                                 c.usage::text, c.tags::text, c.metadata::text, c.reference, c.reason)::text, 'UTF8'))
               WHEN octet_length(c.payload_proof) = 32 THEN c.payload_proof
               WHEN c.payload_proof IS NULL AND num_nonnulls(c.usage, c.tags, c.metadata, c.reference, c.reason) = 0 THEN
                   decode(repeat('00', 32), 'hex')
           END AS payload_digest
      FROM chained c
), hashed AS (
    -- Form 1: three digests, then a JSON array of texts, in this order, as PostgreSQL prints it.
    SELECT c.*,
           sha256(
               coalesce(c.previous_hash, decode(repeat('00', 32), 'hex'))
               || c.person_digest
               || c.payload_digest
               || convert_to((jsonb_build_array(
                   c.wallet_id,
                   c.lane::text,
                   c.seq::text,
                   c.entry_id::text,
                   c.kind::text,
                   c.call::text,
                   c.amount::text,             -- always 12 decimals
                   c.lane_balance::text,
                   c.balance::text,            -- NULL if it equals lane_balance
                   -- Microseconds, limited to the range of timestamps that fit into a bigint.
                   least(greatest(extract(epoch FROM c.created_at) * 1000000, -9222425352054775808), 9223372036854775807)::bigint::text,
                   CASE WHEN c.event_at IS NOT NULL THEN
                       least(greatest(extract(epoch FROM c.event_at) * 1000000, -9222425352054775808), 9223372036854775807)::bigint::text END,
                   c.idempotency_key,
                   c.related_id::text,
                   c.key_id::text,
                   c.team,
                   c.provider,
                   c.model,
                   c.service,
                   c.region,
                   c.service_tier,
                   encode(c.lines, 'hex'),
                   c.contra
               ) || CASE WHEN c.used_at IS NULL THEN jsonb '[]' ELSE jsonb_build_array(
                   least(greatest(extract(epoch FROM c.used_at) * 1000000, -9222425352054775808), 9223372036854775807)::bigint::text) END)::text, 'UTF8')) AS expected_hash
      FROM digested c
), judged AS (
    SELECT h.lane, h.seq,
           CASE
               WHEN h.seq <> h.expected_seq THEN 'an entry is missing before this one'
               WHEN h.lane_balance <> h.expected_balance THEN 'the running total is not the sum'
               WHEN h.hash IS DISTINCT FROM h.expected_hash THEN 'the hash is not that of the entry'
           END AS problem
      FROM hashed h
), first_problem AS (
    SELECT DISTINCT ON (j.lane) j.lane, j.seq, j.problem
      FROM judged j
     WHERE j.problem IS NOT NULL
     ORDER BY j.lane, j.seq
), tail AS (
    SELECT DISTINCT ON (c.lane) c.lane, c.seq, c.lane_balance, c.hash
      FROM chained c
     ORDER BY c.lane, c.seq DESC
), lane AS (
    SELECT a.lane, a.seq, a.booked, a.hash
      FROM wallet.allowances a
     WHERE a.wallet_id = :'wallet'
       AND a.allowance_id = '00000000-0000-0000-0000-000000000000'
), result AS (
    SELECT coalesce(a.lane, t.lane) AS lane,
           coalesce(t.seq, 0) AS entries,
           coalesce(t.lane_balance, 0) AS lane_balance,
           coalesce(
               p.problem,
               CASE
                   WHEN a.lane IS NULL THEN 'the lane is missing'
                   WHEN a.seq <> coalesce(t.seq, 0) THEN 'the lane''s seq is not the last entry''s'
                   WHEN a.booked <> coalesce(t.lane_balance, 0) THEN 'the lane''s total is not the last entry''s'
                   WHEN a.hash <> coalesce(t.hash, '') THEN 'the lane''s hash is not the last entry''s'
               END
           ) AS problem,
           p.seq AS at_seq
      FROM lane a
      FULL JOIN tail t ON t.lane = a.lane
      LEFT JOIN first_problem p ON p.lane = t.lane
)
SELECT lane::integer AS lane, entries, lane_balance, problem IS NULL AS ok, problem, at_seq
  FROM result
 ORDER BY lane;
