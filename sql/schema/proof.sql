-- Proof: what is stored of a wallet agrees with itself and with a digest kept elsewhere. Plain SQL, as in
-- docs/verify_chain.sql, under row-level security.

CREATE FUNCTION wallet.verify_chain(
    wallet text, OUT lane integer, OUT entries bigint, OUT ok boolean, OUT problem text, OUT at_seq bigint)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, wallet, pg_temp
-- On a large ledger compiling takes longer than running.
SET jit = off
AS $$
    WITH chained AS (
        -- Every entry beside the one before it in its lane.
        SELECT l.*,
               row_number() OVER lane_order AS expected_seq,
               sum(l.amount) OVER lane_order AS expected_balance,
               lag(l.hash) OVER lane_order AS previous_hash
          FROM wallet.ledger_all l
         WHERE l.wallet_id = verify_chain.wallet
        WINDOW lane_order AS (PARTITION BY l.lane ORDER BY l.seq ROWS UNBOUNDED PRECEDING)
    ), hashed AS (
        -- The canonical form: a JSON array of texts, in this order, as PostgreSQL prints it.
        SELECT c.*,
               sha256(convert_to(jsonb_build_array(
                   coalesce(encode(c.previous_hash, 'hex'), ''),
                   c.wallet_id,
                   c.lane::text,
                   c.seq::text,
                   c.entry_id::text,
                   c.kind::text,
                   c.call::text,
                   c.amount::text,             -- always 12 decimals
                   c.lane_balance::text,
                   c.balance::text,            -- NULL where it is the lane's
                   (extract(epoch FROM c.created_at) * 1000000)::bigint::text,
                   -- of a time that has more microseconds than a bigint: the nearest
                   CASE WHEN c.event_at IS NOT NULL THEN
                       least(greatest(extract(epoch FROM c.event_at) * 1000000, -9223372036854775808), 9223372036854775807) END::bigint::text,
                   c.idempotency_key,
                   c.fingerprint::text,
                   c.related_id::text,
                   c.key_id::text,
                   c.user_id,
                   c.team,
                   c.provider,
                   c.model,
                   c.service,
                   c.region,
                   c.service_tier,
                   encode(c.lines, 'hex'),
                   c.usage::text,
                   c.tags::text,
                   c.contra,
                   c.reference,
                   c.reason,
                   c.actor,
                   c.metadata::text
               )::text, 'UTF8')) AS expected_hash
          FROM chained c
    ), judged AS (
        SELECT h.lane, h.seq,
               CASE
                   WHEN h.seq <> h.expected_seq THEN 'an entry is missing before this one'
                   WHEN h.lane_balance <> h.expected_balance THEN 'the running total is not the sum'
                   WHEN h.hash <> h.expected_hash THEN 'the hash is not that of the entry'
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
COMMENT ON FUNCTION wallet.verify_chain IS 'Recomputes the hash chain of each lane of a wallet; verify() calls it.';

CREATE FUNCTION wallet.verify(
    wallet text, digest jsonb DEFAULT NULL, OUT "check" text, OUT ok boolean, OUT detail text)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
    WITH w AS (
        SELECT w.* FROM wallet.wallets w WHERE w.wallet_id = wallet.readable_wallet(verify.wallet)
    ), chain AS (
        SELECT c.* FROM w, wallet.verify_chain(w.wallet_id) c
    ), money AS (
        SELECT coalesce(sum(a.allotted - a.spent), 0) AS credited, coalesce(sum(a.held), 0) AS held
          FROM w JOIN wallet.allowances a ON a.wallet_id = w.wallet_id
         WHERE a.allowance_id = '00000000-0000-0000-0000-000000000000'
    ), windows AS (
        -- Windows that run or ran, of limits on money that the ledger alone can recount: what a hold
        -- of an earlier window settled counts there.
        SELECT l.scope, a.subject, l.period,
               (SELECT sum(s.spent) FROM wallet.allowances s
                 WHERE s.wallet_id = a.wallet_id AND s.allowance_id = a.allowance_id) AS spent,
               (SELECT coalesce(sum(-e.amount), 0)
                  FROM wallet.ledger_all e
                  JOIN wallet.ledger_all c
                    ON c.wallet_id = e.wallet_id
                   AND c.entry_id = CASE e.kind WHEN 'r' THEN e.related_id ELSE e.entry_id END
                 WHERE e.wallet_id = a.wallet_id AND e.kind IN ('c', 'r') AND c.kind = 'c'
                   AND (l.scope = 'wallet' OR CASE l.scope WHEN 'user' THEN c.user_id WHEN 'team' THEN c.team
                            WHEN 'model' THEN c.model WHEN 'service' THEN c.service WHEN 'key' THEN c.key_id::text
                            ELSE c.tags ->> substr(l.scope, 5) END
                        LIKE replace(replace(replace(a.subject, E'\\', E'\\\\'), '_', E'\\_'), '*', '%'))
                   AND (a.window_start IS NULL OR c.created_at >= a.window_start)
                   AND (a.window_end IS NULL OR c.created_at < a.window_end)) AS booked
          FROM w
          JOIN wallet.limits l ON l.wallet_id = w.wallet_id
          JOIN wallet.allowances a ON a.wallet_id = l.wallet_id AND a.limit_id = l.limit_id AND a.lane = 0
         WHERE l.metric = 'amount' AND NOT l.paused AND l.period NOT LIKE 'rolling %'
           AND (a.window_end IS NULL OR a.window_end > statement_timestamp())
           AND NOT EXISTS (SELECT FROM wallet.reservations r
                            WHERE r.wallet_id = w.wallet_id AND r.settled > 0 AND r.created_at < a.window_start)
    ), carried AS (
        SELECT f.lane, f.seq, f.amount, f.hash, max(f.seq) OVER (PARTITION BY f.lane) AS last
          FROM w JOIN wallet.carried_forward f ON f.wallet_id = w.wallet_id
    ), kept AS (
        SELECT k.key::integer AS lane, (k.value ->> 'seq')::bigint AS seq, k.value ->> 'hash' AS hash
          FROM w, jsonb_each(verify.digest -> 'wallets' -> w.wallet_id) k
    ), results AS (
        SELECT 1 AS place, 'chain' AS "check",
               (SELECT format('lane %s, entry %s: %s', c.lane, coalesce(c.at_seq, c.entries), c.problem)
                  FROM chain c WHERE NOT c.ok ORDER BY c.lane LIMIT 1) AS problem,
               (SELECT format('%s entries in %s lanes', sum(c.entries), count(*)) FROM chain c) AS fine
         UNION ALL
        SELECT 2, 'balance',
               CASE WHEN s.booked <> m.credited - w.credit_limit - w.debt
                    THEN format('the entries add up to %s, the lanes have %s', s.booked, m.credited - w.credit_limit - w.debt) END,
               format('%s', s.booked)
          FROM w, money m, LATERAL (SELECT coalesce(sum(e.amount), 0) AS booked FROM wallet.ledger_all e WHERE e.wallet_id = w.wallet_id) s
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
          FROM w, money m, LATERAL (SELECT coalesce(sum(r.held), 0) AS held, count(*) AS open
                                      FROM wallet.reservations r WHERE r.wallet_id = w.wallet_id AND r.status = 'open') h
         UNION ALL
        SELECT 5, 'limits',
               coalesce(
                   (SELECT format('%s limit of %s %s has %s used, the ledger %s', x.period, x.scope, x.subject, x.spent, x.booked)
                      FROM windows x WHERE x.spent <> x.booked LIMIT 1),
                   (SELECT 'the limits that charges know are not those of the table'
                      FROM w WHERE w.known_limits <> ARRAY(
                            SELECT (l.limit_id, l.scope, l.subject, l.period, l.metric, l.mode, l.max, l.time_zone, l.anchor, l.warn_at,
                                    l.paused, l.raised_by, l.raised_until)::wallet.known_limit
                              FROM wallet.limits l WHERE l.wallet_id = w.wallet_id ORDER BY l.limit_id))),
               (SELECT format('%s windows recounted', count(*)) FROM windows)
         UNION ALL
        SELECT 6, 'refunds',
               (SELECT format('charge %s: %s refunded, the ledger has %s', coalesce(r.entry_id, e.related_id), coalesce(r.refunded, 0), coalesce(e.amount, 0))
                  FROM (SELECT r.* FROM w JOIN wallet.refunds r ON r.wallet_id = w.wallet_id) r
                  FULL JOIN (SELECT l.related_id, sum(l.amount) AS amount FROM w JOIN wallet.ledger_all l ON l.wallet_id = w.wallet_id
                              WHERE l.kind = 'r' GROUP BY 1) e ON e.related_id = r.entry_id
                 WHERE r.refunded IS DISTINCT FROM e.amount LIMIT 1),
               'each is in the ledger'
         UNION ALL
        SELECT 7, 'scoped',
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
        -- That the chain goes on from one to the other is the first check's; here, that each entry stands on its
        -- side of what was carried forward.
        SELECT 8, 'archive',
               coalesce(
                   CASE WHEN NOT w.archived THEN 'the wallet does not say that it has one: keys would be used again' END,
                   (SELECT CASE WHEN a.entry_id IS NULL THEN format('lane %s: entry %s was carried forward and is not there', c.lane, c.seq)
                                ELSE format('lane %s: what was carried forward is not entry %s', c.lane, c.seq) END
                      FROM carried c
                      LEFT JOIN wallet.ledger_archive a ON a.wallet_id = w.wallet_id AND a.lane = c.lane AND a.seq = c.seq
                     WHERE (a.hash, a.lane_balance) IS DISTINCT FROM (c.hash, c.amount)
                     ORDER BY c.lane, c.seq LIMIT 1),
                   (SELECT format('lane %s: entry %s is there and was not carried forward', a.lane, a.seq)
                      FROM wallet.ledger_archive a LEFT JOIN carried c ON c.lane = a.lane AND c.seq = c.last
                     WHERE a.wallet_id = w.wallet_id AND a.seq > coalesce(c.seq, 0)
                     ORDER BY a.lane, a.seq LIMIT 1),
                   (SELECT format('lane %s: entry %s was carried forward and stands in the ledger', l.lane, l.seq)
                      FROM wallet.ledger l JOIN carried c ON c.lane = l.lane AND c.seq = c.last
                     WHERE l.wallet_id = w.wallet_id AND l.seq <= c.seq
                     ORDER BY l.lane, l.seq LIMIT 1)),
               (SELECT format('%s entries, %s carried forward', sum(c.seq), sum(c.amount)) FROM carried c WHERE c.seq = c.last)
          FROM w
         WHERE w.archived OR EXISTS (SELECT FROM carried)
            OR EXISTS (SELECT FROM wallet.ledger_archive a WHERE a.wallet_id = w.wallet_id)
         UNION ALL
        SELECT 9, 'digest',
               (SELECT CASE WHEN l.entry_id IS NULL THEN format('lane %s ended at entry %s, which is gone', k.lane, k.seq)
                            ELSE format('lane %s, entry %s is not what it was', k.lane, k.seq) END
                  FROM w, kept k
                  LEFT JOIN wallet.ledger_all l ON l.wallet_id = verify.wallet AND l.lane = k.lane AND l.seq = k.seq
                 WHERE k.seq > 0 AND encode(l.hash, 'hex') IS DISTINCT FROM k.hash
                 ORDER BY k.lane LIMIT 1),
               (SELECT format('%s lanes as they were at %s', count(*), verify.digest ->> 'at') FROM kept)
         WHERE verify.digest IS NOT NULL
    )
    SELECT r."check", r.problem IS NULL, coalesce(r.problem, r.fine) FROM w, results r ORDER BY r.place
$$;
COMMENT ON FUNCTION wallet.verify IS 'Recomputes chain, sums, allowances, holds, limits and refunds of a wallet, and compares it with a digest that was kept. Errors: 22023, 42501, WL003.';

CREATE FUNCTION wallet.digest() RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
    SELECT jsonb_build_object(
               'at', statement_timestamp(),
               'wallets', coalesce(jsonb_object_agg(d.wallet_id, d.lanes), '{}'))
      FROM (SELECT a.wallet_id,
                   jsonb_object_agg(a.lane, jsonb_build_object('seq', a.seq, 'hash', encode(a.hash, 'hex'))) AS lanes
              FROM wallet.allowances a
             WHERE a.allowance_id = '00000000-0000-0000-0000-000000000000'
             GROUP BY a.wallet_id) d
$$;
COMMENT ON FUNCTION wallet.digest IS 'The heads of the chains of every wallet that the caller may read, to be kept elsewhere: verify(wallet, digest) finds what was cut off or rewritten since.';

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
COMMENT ON VIEW wallet.lane_waits IS 'How often charges and holds of each wallet have waited for a lane; set_lanes() relieves them.';
COMMENT ON COLUMN wallet.lane_waits.waits IS 'How many calls waited because no lane was free, since the wallet''s lanes were set.';
COMMENT ON COLUMN wallet.lane_waits.entries IS 'Entries of the wallet, since it was made.';
COMMENT ON COLUMN wallet.lane_waits.share IS 'waits by entries.';

CREATE VIEW wallet.health WITH (security_invoker = true) AS
SELECT 'wallets' AS name, count(*)::numeric AS value, 'wallets that this role may read' AS meaning FROM wallet.wallets
 UNION ALL
SELECT 'events_waiting', count(*), 'events that no worker has finished' FROM wallet.outbox o WHERE o.done_at IS NULL
 UNION ALL
SELECT 'oldest_event_seconds', coalesce(round(extract(epoch FROM statement_timestamp() - min(o.created_at)), 0), 0),
       'age of the oldest of them: a worker is missing where it grows' FROM wallet.outbox o WHERE o.done_at IS NULL
 UNION ALL
SELECT 'holds_open', count(*), 'holds that are neither settled nor voided nor expired' FROM wallet.holds h WHERE h.status = 'open'
 UNION ALL
SELECT 'holds_expired', count(*), 'holds whose time came and that nobody has needed back yet' FROM wallet.reservations r
 WHERE r.status = 'open' AND r.expires_at <= statement_timestamp()
 UNION ALL
SELECT 'charges_unpriced', count(*), 'charges booked without a price: price_unpriced() books what they cost' FROM wallet.unpriced_charges u WHERE u.priced_id IS NULL
 UNION ALL
SELECT 'lanes_waited_for', coalesce(sum(a.waits), 0), 'calls that found no free lane: the view lane_waits says of which wallets'
  FROM wallet.allowances a WHERE a.allowance_id = '00000000-0000-0000-0000-000000000000'
 UNION ALL
SELECT 'lane_waits', count(*), 'calls that wait for a lane at the moment: more lanes help where it is never zero'
  FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 22337 AND NOT l.granted;
COMMENT ON VIEW wallet.health IS 'Figures for monitoring, one a row.';
