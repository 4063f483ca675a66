-- The digests that the hash of an entry covers instead of the fields that may be erased
-- (docs/ledger.md). The functions have no SET clause, so that the planner can inline them. Their
-- bodies are parsed when they are created, so the search path does not matter.
CREATE FUNCTION wallet.person_digest(proof bytea, user_id text, by_actor text, fingerprint uuid) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE pg_catalog.octet_length(proof)
           WHEN 16 THEN pg_catalog.sha256(
               proof OPERATOR(pg_catalog.||) coalesce(pg_catalog.uuid_send(fingerprint), '\x00000000000000000000000000000000')
                     OPERATOR(pg_catalog.||) pg_catalog.convert_to(pg_catalog.jsonb_build_array(user_id, by_actor)::text, 'UTF8'))
           WHEN 32 THEN proof
           ELSE CASE WHEN proof IS NULL AND pg_catalog.num_nonnulls(user_id, by_actor, fingerprint) OPERATOR(pg_catalog.=) 0
                     THEN '\x0000000000000000000000000000000000000000000000000000000000000000'::bytea END
       END;
COMMENT ON FUNCTION wallet.person_digest IS 'Returns the digest of user_id, actor and fingerprint that the hash of an entry covers; NULL if the proof is none of these fields.';

CREATE FUNCTION wallet.payload_digest(proof bytea, usage jsonb, tags jsonb, metadata jsonb, reference text, reason text) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE pg_catalog.octet_length(proof)
           WHEN 16 THEN pg_catalog.sha256(
               proof OPERATOR(pg_catalog.||) pg_catalog.convert_to(
                   pg_catalog.jsonb_build_array(usage::text, tags::text, metadata::text, reference, reason)::text, 'UTF8'))
           WHEN 32 THEN proof
           ELSE CASE WHEN proof IS NULL AND pg_catalog.num_nonnulls(usage, tags, metadata, reference, reason) OPERATOR(pg_catalog.=) 0
                     THEN '\x0000000000000000000000000000000000000000000000000000000000000000'::bytea END
       END;
COMMENT ON FUNCTION wallet.payload_digest IS 'Returns the digest of usage, tags, metadata, reference and reason that the hash of an entry covers; NULL if the proof is none of these fields.';
