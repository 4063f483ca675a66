-- Checks that the stored state of a wallet is consistent and matches a digest stored elsewhere.
-- verify_chain() is plain SQL under row-level security, as in docs/verify_chain.sql. verify() reads
-- the entries once, in recount().

CREATE FUNCTION wallet.verify_chain(
    wallet text, OUT lane integer, OUT entries bigint, OUT ok boolean, OUT problem text, OUT at_seq bigint)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, wallet, pg_temp
-- On a large ledger, JIT compilation takes longer than execution.
SET jit = off
AS $$
    WITH chained AS (
        -- Every entry with the previous one in its lane.
        SELECT l.*,
               row_number() OVER lane_order AS expected_seq,
               sum(l.amount) OVER lane_order AS expected_balance,
               lag(l.hash) OVER lane_order AS previous_hash
          FROM wallet.ledger_all l
         WHERE l.wallet_id = verify_chain.wallet
        WINDOW lane_order AS (PARTITION BY l.lane ORDER BY l.seq ROWS UNBOUNDED PRECEDING)
    ), hashed AS (
        -- Form 1: three digests, then a JSON array of strings, in this order, as PostgreSQL prints
        -- it.
        SELECT c.*,
               sha256(
                   coalesce(c.previous_hash, decode(repeat('00', 32), 'hex'))
                   || wallet.person_digest(c.person_proof, c.user_id, c.actor, c.fingerprint)
                   || wallet.payload_digest(c.payload_proof, c.usage, c.tags, c.metadata, c.reference, c.reason)
                   || convert_to((jsonb_build_array(
                       c.wallet_id,
                       c.lane::text,
                       c.seq::text,
                       c.entry_id::text,
                       c.kind::text,
                       c.call::text,
                       c.amount::text,             -- always 12 decimals
                       c.lane_balance::text,
                       c.balance::text,            -- NULL if equal to lane_balance
                       -- Microseconds, clamped to the range of a bigint.
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
          FROM chained c
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
         WHERE a.wallet_id = verify_chain.wallet
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
    SELECT r.lane::integer, r.entries, r.problem IS NULL, r.problem, r.at_seq
      FROM result r
     ORDER BY r.lane
$$;
COMMENT ON FUNCTION wallet.verify_chain IS 'Recomputes the hash chain of each lane of a wallet. verify() calls it if it finds an error.';

CREATE FUNCTION wallet.verify(
    wallet text, digest jsonb DEFAULT NULL, OUT "check" text, OUT ok boolean, OUT detail text)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
    WITH w AS (
        SELECT w.* FROM wallet.wallets w WHERE w.wallet_id = wallet.readable_wallet(verify.wallet)
    ), pass AS MATERIALIZED (
        -- All checks that need the entries.
        SELECT r.* FROM w, wallet.recount(w.wallet_id, verify.digest) r
    ), money AS (
        SELECT coalesce(sum(a.allotted - a.spent), 0) AS credited, coalesce(sum(a.held), 0) AS held
          FROM w JOIN wallet.allowances a ON a.wallet_id = w.wallet_id
         WHERE a.allowance_id = '00000000-0000-0000-0000-000000000000'
    ), carried AS (
        SELECT f.lane, f.seq, f.amount, max(f.seq) OVER (PARTITION BY f.lane) AS last
          FROM w JOIN wallet.carried_forward f ON f.wallet_id = w.wallet_id
    ), results AS (
        SELECT 1 AS place, 'chain' AS "check", p.chain AS problem, format('%s entries in %s lanes', p.entries, p.lanes) AS fine
          FROM pass p
         UNION ALL
        SELECT 2, 'balance',
               CASE WHEN p.booked::numeric <> m.credited - w.credit_limit - w.debt
                    THEN format('the entries add up to %s, the lanes have %s', p.booked, m.credited - w.credit_limit - w.debt) END,
               p.booked
          FROM w, money m, pass p
         UNION ALL
        SELECT 3, 'allowances',
               (SELECT format('allowance %s, lane %s is overdrawn', a.allowance_id, a.lane)
                  FROM w JOIN wallet.allowances a ON a.wallet_id = w.wallet_id
                 WHERE a.spent + a.held > a.allotted OR a.spent < 0 OR a.held < 0 LIMIT 1),
               'none is overdrawn'
         UNION ALL
        SELECT 4, 'holds',
               CASE WHEN h.held <> m.held THEN format('open holds add up to %s, the lanes hold %s', h.held, m.held) END,
               format('%s held by %s open holds', h.held, h.open)
          FROM w, money m, LATERAL (SELECT coalesce(sum(r.held) FILTER (WHERE r.scoped_ids <> '{ffffffff-ffff-ffff-ffff-ffffffffffff}'), 0) AS held, count(*) AS open
                                      FROM wallet.reservations r WHERE r.wallet_id = w.wallet_id AND r.status = 'open') h
         UNION ALL
        SELECT 5, 'limits',
               coalesce(
                   p.limits,
                   (SELECT 'the limits that charges know are not those of the table'
                      FROM w WHERE w.known_limits <> ARRAY(
                            SELECT (l.limit_id, l.scope, l.subject, l.period, l.metric, l.mode, l.max, l.time_zone, l.anchor, l.warn_at,
                                    l.paused, l.raised_by, l.raised_until, l.anchor_time, l.rollover_max, l.weights, l.carry_from)::wallet.known_limit
                              FROM wallet.limits l WHERE l.wallet_id = w.wallet_id ORDER BY l.limit_id))),
               format('%s windows recounted', p.windows)
          FROM pass p
         UNION ALL
        SELECT 6, 'refunds', p.refunds, 'each is in the ledger' FROM pass p
         UNION ALL
        SELECT 7, 'prices', p.lines, format('%s price lines recomputed', p.lines_count) FROM pass p
         UNION ALL
        SELECT 8, 'scoped',
               CASE WHEN (g.remaining, g.held) <> (a.remaining, a.held)
                    THEN format('grants for some models or services have %s, %s held; the balance has %s and %s for them', g.remaining, g.held, a.remaining, a.held) END,
               format('%s for some models or services', g.remaining)
          FROM w,
               LATERAL (SELECT coalesce(sum(l.remaining), 0) AS remaining, coalesce(sum(l.held), 0) AS held
                          FROM wallet.grant_lots l WHERE l.wallet_id = w.wallet_id AND l.scope IS NOT NULL) g,
               LATERAL (SELECT coalesce(sum(b.allotted - b.spent), 0) AS remaining, coalesce(sum(b.held), 0) AS held
                          FROM wallet.allowances b
                         WHERE b.wallet_id = w.wallet_id AND b.allowance_id = '00000000-0000-0000-0000-000000000000'
                           AND b.lane < 0) a
         WHERE a.remaining <> 0 OR g.remaining <> 0
         UNION ALL
        -- The first check verifies that the chain continues from the archive into the ledger. This
        -- check verifies that each entry is on the right side of the position that was carried
        -- forward.
        SELECT 9, 'archive',
               coalesce(CASE WHEN NOT w.archived THEN 'the wallet does not say that it has one: keys would be used again' END,
                        p.archive),
               (SELECT format('%s entries, %s carried forward', sum(c.seq), sum(c.amount)) FROM carried c WHERE c.seq = c.last)
          FROM w, pass p
         WHERE w.archived OR EXISTS (SELECT FROM carried) OR p.archived > 0
         UNION ALL
        SELECT 10, 'digest', p.digest_problem, format('%s lanes begin as they were', p.digest_kept)
          FROM pass p
         WHERE verify.digest IS NOT NULL
         UNION ALL
        SELECT 11, 'tree', p.tree, format('%s entries with a parent or a child', p.pooled)
          FROM pass p
         WHERE p.pooled > 0
    )
    SELECT r."check", r.problem IS NULL, coalesce(r.problem, r.fine) FROM w, results r ORDER BY r.place
$$;
COMMENT ON FUNCTION wallet.recount IS 'Reads all entries of a wallet once and checks chains, sums, limits, refunds, price lines, archive and digest. verify() calls it. Errors: 22023, 42501, WL003.';
COMMENT ON FUNCTION wallet.verify IS 'Recomputes chains, sums, allowances, holds, limits, refunds and price lines of a wallet, and compares it with a stored digest. Errors: 22023, 42501, WL003.';

CREATE FUNCTION wallet.digest() RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
    -- Without the time: digests are equal as text if nothing was booked.
    SELECT jsonb_build_object('wallets', coalesce(jsonb_object_agg(d.wallet_id, d.lanes), '{}'))
      FROM (SELECT a.wallet_id,
                   jsonb_object_agg(a.lane, jsonb_build_object('seq', a.seq, 'hash', encode(a.hash, 'hex'))) AS lanes
              FROM wallet.allowances a
             WHERE a.allowance_id = '00000000-0000-0000-0000-000000000000'
             GROUP BY a.wallet_id) d
$$;
COMMENT ON FUNCTION wallet.digest IS 'Returns the heads of the chains of every wallet that the caller may read. They are the same text until an entry is booked. Store them elsewhere: verify(wallet, digest) then finds entries that were cut off or rewritten since.';

CREATE VIEW wallet.lane_waits WITH (security_invoker = true) AS
SELECT w.wallet_id AS wallet,
       w.lanes::integer AS lanes,
       a.waits,
       a.entries,
       round(a.waits / nullif(a.entries, 0), 4) AS share
  FROM wallet.wallets w
 CROSS JOIN LATERAL (
        SELECT sum(l.waits) AS waits, sum(l.seq) AS entries
          FROM wallet.allowances l
         WHERE l.wallet_id = w.wallet_id
           AND l.allowance_id = '00000000-0000-0000-0000-000000000000') a;
COMMENT ON VIEW wallet.lane_waits IS 'How often charges and holds of each wallet waited for a lane. More lanes (set_lanes()) reduce the waits.';
COMMENT ON COLUMN wallet.lane_waits.waits IS 'The number of calls that waited because no lane was free, since set_lanes() last changed the lanes.';
COMMENT ON COLUMN wallet.lane_waits.entries IS 'The number of entries of the wallet since it was created.';
COMMENT ON COLUMN wallet.lane_waits.share IS 'waits divided by entries.';

CREATE VIEW wallet.health WITH (security_invoker = true) AS
SELECT 'wallets' AS name, count(*)::numeric AS value, 'wallets that this role may read' AS meaning FROM wallet.wallets
 UNION ALL
SELECT 'events_waiting', count(*), 'events that no worker has finished' FROM wallet.outbox o WHERE o.done_at IS NULL
 UNION ALL
SELECT 'oldest_event_seconds', coalesce(round(extract(epoch FROM statement_timestamp() - min(o.created_at)), 0), 0),
       'age of the oldest of these events: if it grows, no worker takes them' FROM wallet.outbox o WHERE o.done_at IS NULL
 UNION ALL
SELECT 'holds_open', count(*), 'holds that are neither settled nor voided nor expired' FROM wallet.holds h WHERE h.status = 'open'
 UNION ALL
SELECT 'holds_waiting', count(*), 'holds that wait for approval' FROM wallet.holds h WHERE h.status = 'waiting'
 UNION ALL
SELECT 'holds_expired', count(*), 'expired holds whose amounts no call has released or charged yet' FROM wallet.reservations r
 WHERE r.status = 'open' AND r.expires_at <= statement_timestamp()
 UNION ALL
SELECT 'charges_unpriced', count(*), 'charges booked without a price: price_unpriced() books their cost' FROM wallet.unpriced_charges u WHERE u.priced_id IS NULL
 UNION ALL
SELECT 'usage_unread', count(*), 'places in usage objects with numbers that nothing reads: the view unread_usage shows them' FROM wallet.unread_paths
 UNION ALL
SELECT 'lanes_waited_for', coalesce(sum(a.waits), 0), 'calls that found no free lane: the view lane_waits has them by wallet'
  FROM wallet.allowances a WHERE a.allowance_id = '00000000-0000-0000-0000-000000000000'
 UNION ALL
SELECT 'lane_waits', count(*), 'calls that wait for a lane now: if it is rarely zero, add lanes'
  FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 22337 AND NOT l.granted;
COMMENT ON VIEW wallet.health IS 'Figures for monitoring, one per row.';
