-- New entries of many wallets, for programs that copy the ledger elsewhere.
--
-- A cursor contains, for each wallet, how many entries of each lane were returned. The entries of a
-- lane are numbered without gaps and commit in the order of their numbers, because a call that
-- books in a lane locks it until the commit. So the entries after a number are exactly those that
-- were not returned yet, whatever their ids and times are and whenever their transactions
-- committed. No clock, id or list of running transactions is trusted. The numbers survive a dump,
-- archive() and set_lanes().
--
-- The ledger has no index on numbers, because every charge would pay for it. A cursor therefore
-- also contains an id from which the entries of a wallet are searched. It is a guess: the lanes
-- know how many entries there are, and if fewer are found, the others are below that id.
--
-- A cursor is an object:
--     {"wallets": {"acme": [ID, NUMBER OF LANE -1, NUMBER OF LANE 0, …], …}, "last": "acme"}
-- The next call begins with the wallet after the last one, so that a busy wallet does not keep the
-- others waiting.

CREATE FUNCTION wallet.check_cursor(cursor jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, wallet, pg_temp
AS $$
DECLARE
    wrong text;
BEGIN
    IF cursor IS NULL THEN
        RETURN '{"wallets": {}}';
    END IF;
    IF jsonb_typeof(cursor) <> 'object' OR coalesce(jsonb_typeof(cursor -> 'wallets'), 'null') <> 'object' THEN
        wrong := 'It has no object "wallets".';
    ELSE
        SELECT format('The position of wallet "%s" is not an id and a number for each lane.', p.key) INTO wrong
          FROM jsonb_each(cursor -> 'wallets') p
         WHERE p.value::text !~ '^\["[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"(, [0-9]{1,18})*\]$'
         LIMIT 1;
    END IF;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'since is not a cursor', DETAIL = wrong,
            HINT = 'Pass the cursor of an earlier call unchanged, or NULL to begin with the first entry.';
    END IF;
    RETURN cursor;
END
$$;
COMMENT ON FUNCTION wallet.check_cursor IS 'Returns a cursor of changes() if it is valid; for NULL, the cursor before the first entry. Errors: 22023.';

CREATE FUNCTION wallet.changes(
    since jsonb DEFAULT NULL, max integer DEFAULT 1000, wallets text[] DEFAULT '{*}',
    OUT entry wallet.entries, OUT cursor jsonb)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
-- On a large ledger, JIT compilation takes longer than execution.
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
    reached CONSTANT text[] := wallet.reported_wallets(wallets);
    position CONSTANT jsonb := wallet.check_cursor(since);
    -- How many more entries than needed are read of a wallet that does not fit: those of one lane
    -- may have been booked in another order than their ids were made.
    margin bigint := 1000;
    ahead record;
    unread bigint;
BEGIN
    IF max IS NULL OR max NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'max is out of range',
            DETAIL = format('It is %s.', coalesce(max::text, 'NULL')),
            HINT = 'Pass 1 to 100000. Call again with the last cursor for the other entries.';
    END IF;
    SELECT a.wallet_id, a.lane, a.seq, (p.value ->> (a.lane + 2))::bigint AS taken INTO ahead
      FROM jsonb_each(position -> 'wallets') p
      JOIN wallet.allowances a ON a.wallet_id = p.key AND a.allowance_id = '00000000-0000-0000-0000-000000000000'
     WHERE a.seq < (p.value ->> (a.lane + 2))::bigint AND (reached IS NULL OR a.wallet_id = ANY (reached))
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'the cursor is ahead of the ledger',
            DETAIL = format('Lane %s of wallet "%s" has %s entries; the cursor is after entry %s.', ahead.lane, ahead.wallet_id, ahead.seq, ahead.taken),
            HINT = 'This server or snapshot is older than the one that returned the cursor, or it has lost entries. Use the other one, or an earlier cursor.';
    END IF;
    LOOP
        RETURN QUERY
        WITH heads AS MATERIALIZED (
            SELECT a.wallet_id, sum(a.seq - coalesce((p.value ->> (a.lane + 2))::bigint, 0)) AS fresh, max(a.lane) AS last_lane
              FROM wallet.allowances a
              LEFT JOIN jsonb_each(position -> 'wallets') p ON p.key = a.wallet_id
             WHERE a.allowance_id = '00000000-0000-0000-0000-000000000000' AND (reached IS NULL OR a.wallet_id = ANY (reached))
             GROUP BY 1
            HAVING sum(a.seq - coalesce((p.value ->> (a.lane + 2))::bigint, 0)) > 0
        ), page AS MATERIALIZED (
            SELECT h.wallet_id, h.fresh, h.last_lane, least(h.fresh, changes.max - h.earlier) AS wanted,
                   CASE WHEN h.fresh <= changes.max - h.earlier THEN h.fresh
                        ELSE least(h.fresh, changes.max - h.earlier + margin) END AS window_size,
                   coalesce((position -> 'wallets' -> h.wallet_id ->> 0)::uuid, '00000000-0000-0000-0000-000000000000') AS floor_id,
                   ARRAY(SELECT n.seq::bigint FROM jsonb_array_elements_text(position -> 'wallets' -> h.wallet_id) WITH ORDINALITY AS n(seq, place)
                          WHERE n.place > 1 ORDER BY n.place) AS taken
              FROM (SELECT h.*, sum(h.fresh) OVER in_turn - h.fresh AS earlier
                      FROM heads h
                    WINDOW in_turn AS (ORDER BY h.wallet_id <= coalesce(position ->> 'last', ''), h.wallet_id ROWS UNBOUNDED PRECEDING)) h
             WHERE h.earlier < changes.max
        ), near AS MATERIALIZED (
            SELECT p.wallet_id, l.*
              FROM page p
             CROSS JOIN LATERAL (
                   SELECT l.entry_id, l.lane, l.seq FROM wallet.ledger_all l
                    WHERE l.wallet_id = p.wallet_id AND l.entry_id >= p.floor_id AND l.seq > coalesce(p.taken[l.lane + 2], 0)
                    ORDER BY l.entry_id LIMIT p.window_size) l
        ), incomplete AS MATERIALIZED (
            SELECT p.*, p.window_size - c.near AS missing
              FROM page p
             CROSS JOIN LATERAL (SELECT count(*) AS near FROM near n WHERE n.wallet_id = p.wallet_id) c
             WHERE c.near < p.window_size
        ), found AS (
            SELECT n.* FROM near n
             UNION ALL
            -- The guess was wrong: a funding that was pending for long has an old id. If the page
            -- has all fresh entries, it is known how many are missing. They are not far back.
            SELECT p.wallet_id, l.*
              FROM incomplete p
             CROSS JOIN LATERAL (
                   SELECT l.entry_id, l.lane, l.seq FROM wallet.ledger_all l
                    WHERE l.wallet_id = p.wallet_id AND l.entry_id < p.floor_id AND l.seq > coalesce(p.taken[l.lane + 2], 0)
                    ORDER BY l.entry_id DESC LIMIT p.missing) l
             WHERE p.window_size = p.fresh
             UNION ALL
            SELECT p.wallet_id, l.*
              FROM (SELECT i.* FROM incomplete i WHERE i.window_size <> i.fresh) p
             CROSS JOIN LATERAL (
                   SELECT l.entry_id, l.lane, l.seq FROM wallet.ledger_all l
                    WHERE l.wallet_id = p.wallet_id AND l.entry_id < p.floor_id AND l.seq > coalesce(p.taken[l.lane + 2], 0)
                    ORDER BY l.entry_id LIMIT p.window_size) l
        ), chained AS (
            -- The entries that continue the chain of their lane, and an order in which each part of
            -- them from the first one on does so too.
            SELECT p.wallet_id, p.wanted, f.entry_id, f.lane, f.seq,
                   f.seq - coalesce(p.taken[f.lane + 2], 0) = row_number() OVER chain AS continues,
                   max(f.entry_id::text COLLATE "C") OVER chain AS upto
              FROM page p JOIN found f ON f.wallet_id = p.wallet_id
            WINDOW chain AS (PARTITION BY f.wallet_id, f.lane ORDER BY f.seq ROWS UNBOUNDED PRECEDING)
        ), placed AS MATERIALIZED (
            SELECT c.*, c.continues AND row_number() OVER (PARTITION BY c.wallet_id, c.continues ORDER BY c.upto, c.lane, c.seq) <= c.wanted AS is_taken
              FROM chained c
        ), moved AS (
            SELECT p.wallet_id,
                   jsonb_build_array(CASE
                       -- All entries are taken: the next ones have later ids, or ids of calls that
                       -- were in progress.
                       WHEN n.taken = p.fresh
                       THEN (lpad(to_hex(greatest(('x' || replace(substr(n.last_id, 1, 13), '-', ''))::bit(48)::bigint - 600000, 0)), 12, '0') || repeat('0', 20))::uuid
                       WHEN EXISTS (SELECT FROM incomplete i WHERE i.wallet_id = p.wallet_id) THEN '00000000-0000-0000-0000-000000000000'::uuid
                       ELSE coalesce(n.left_id, n.last_id)::uuid END)
                   || (SELECT jsonb_agg(coalesce(t.seq, p.taken[g.lane + 2], 0) ORDER BY g.lane)
                         FROM generate_series(-1, greatest(p.last_lane, cardinality(p.taken) - 2)) AS g(lane)
                         LEFT JOIN (SELECT d.lane, max(d.seq) AS seq FROM placed d WHERE d.wallet_id = p.wallet_id AND d.is_taken GROUP BY 1) t
                           ON t.lane = g.lane) AS value
              FROM page p
              JOIN (SELECT d.wallet_id, count(*) FILTER (WHERE d.is_taken) AS taken, max(d.entry_id::text COLLATE "C") AS last_id,
                           min(d.entry_id::text COLLATE "C") FILTER (WHERE NOT d.is_taken) AS left_id
                      FROM placed d GROUP BY 1) n ON n.wallet_id = p.wallet_id
        ), next AS MATERIALIZED (
            SELECT jsonb_build_object('wallets', (position -> 'wallets') || jsonb_object_agg(m.wallet_id, m.value),
                                      'last', (array_agg(m.wallet_id ORDER BY m.wallet_id <= coalesce(position ->> 'last', '') DESC, m.wallet_id DESC))[1]) AS cursor
              FROM moved m
        ), rows AS (
            SELECT d.wallet_id, d.entry_id, row_number() OVER in_turn AS place, count(*) OVER () AS rows
              FROM placed d
             WHERE d.is_taken
            WINDOW in_turn AS (ORDER BY d.wallet_id <= coalesce(position ->> 'last', ''), d.wallet_id, d.upto, d.lane, d.seq)
        )
        SELECT e.entry, CASE WHEN r.place = r.rows THEN (SELECT n.cursor FROM next n) END
          FROM rows r
         CROSS JOIN LATERAL (
               SELECT e AS entry FROM wallet.entries e WHERE e.wallet = r.wallet_id AND e.entry_id = r.entry_id OFFSET 0) e
         ORDER BY r.place;
        EXIT WHEN FOUND;
        -- Nothing is left, or the first entry of no lane was among those that were read.
        SELECT coalesce(sum(a.seq - coalesce((position -> 'wallets' -> a.wallet_id ->> (a.lane + 2))::bigint, 0)), 0) INTO unread
          FROM wallet.allowances a
         WHERE a.allowance_id = '00000000-0000-0000-0000-000000000000' AND (reached IS NULL OR a.wallet_id = ANY (reached));
        EXIT WHEN unread <= margin;
        margin := margin * 16;
    END LOOP;
END
$$;
COMMENT ON FUNCTION wallet.changes IS 'Returns the entries that were booked since an earlier call, of all wallets that the caller may read: each exactly once, whenever its transaction committed. The last row has the cursor for the next call. Errors: 22023, 42501, WL003.';
