-- The history of a wallet by page: the newest entries first, of the whole wallet or of one user,
-- team, model or kind.
--
-- The ledger has no index on these attributes, because every charge would pay for it. A roll-up
-- lists the entries of each closed day by attribute instead. The entries after the roll-up are read
-- from the ledger.
--
-- Such a list has four bytes for the value and four for the time, and no id: an id begins with the
-- millisecond in which it was made. A reader looks up the few entries of that millisecond.
CREATE TABLE wallet.entry_lists (
    wallet_id    text NOT NULL,
    attribute    text NOT NULL CHECK (attribute IN ('user', 'team', 'model', 'kind')),
    level        smallint NOT NULL,
    bucket       integer NOT NULL,
    day          integer NOT NULL,
    rollup_id    uuid NOT NULL,
    hashes       integer[] NOT NULL,
    times        integer[],
    PRIMARY KEY (wallet_id, attribute, level, bucket, day, rollup_id)
);
COMMENT ON TABLE wallet.entry_lists IS 'Where to find the rolled-up entries of a user, team or model, or of a kind other than charge. Rows are added and never changed.';
COMMENT ON COLUMN wallet.entry_lists.level IS 'The lists of a day are divided into 2 to the power of level buckets, by the first bits of hashes. -1: the row names the values that many entries of the day have; a reader finds these by reading the day.';
COMMENT ON COLUMN wallet.entry_lists.day IS 'The day in UTC in which the entry_id was made, as a number of days since 1970.';
COMMENT ON COLUMN wallet.entry_lists.hashes IS 'For each entry, the first four bytes of the MD5 of its user, team, model or kind. A reader checks the entry, so two values may have one hash.';
COMMENT ON COLUMN wallet.entry_lists.times IS 'For the entry at the same array position, the millisecond of the day in which its id was made.';

-- The ids of the newest entries that are not rolled up. A pending funding has an id of its own, far
-- before the others, which the ranges of rolled_wallets contain.
CREATE FUNCTION wallet.newest_unrolled(
    wallet text, user_id text, team text, kind text, model text, before uuid, max integer)
RETURNS uuid[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    found uuid[];
    certain_from uuid;
BEGIN
    PERFORM wallet.readable_wallet(newest_unrolled.wallet);
    found := ARRAY(
        SELECT e.entry_id
          FROM wallet.rolled_wallets r
         CROSS JOIN LATERAL unnest(r.first_ids, r.last_ids) AS i(first_id, last_id)
         CROSS JOIN LATERAL (
               SELECT l.entry_id FROM wallet.ledger_all l
                WHERE l.wallet_id = r.wallet AND l.entry_id BETWEEN i.first_id AND i.last_id
                  AND (newest_unrolled.before IS NULL OR l.entry_id < newest_unrolled.before)
                  AND (newest_unrolled.user_id IS NULL OR l.user_id = newest_unrolled.user_id)
                  AND (newest_unrolled.team IS NULL OR l.team = newest_unrolled.team)
                  AND (newest_unrolled.kind IS NULL OR l.kind = newest_unrolled.kind::"char")
                  AND (newest_unrolled.model IS NULL OR l.model = newest_unrolled.model)
                  AND l.seq > coalesce(r.seqs[l.lane + 2], 0)
                ORDER BY l.entry_id DESC LIMIT newest_unrolled.max) e
         WHERE r.wallet = newest_unrolled.wallet
         ORDER BY 1 DESC LIMIT newest_unrolled.max);
    IF cardinality(found) >= newest_unrolled.max THEN
        RETURN found;
    END IF;
    -- The floor is a guess. If it is wrong, the others are below it.
    certain_from := wallet.unrolled_from(newest_unrolled.wallet);
    IF certain_from = '00000000-0000-0000-0000-000000000000' THEN
        found := ARRAY(
            SELECT l.entry_id
              FROM wallet.rolled_wallets r
              JOIN wallet.ledger_all l ON l.wallet_id = r.wallet
             WHERE r.wallet = newest_unrolled.wallet
               AND (newest_unrolled.before IS NULL OR l.entry_id < newest_unrolled.before)
               AND (newest_unrolled.user_id IS NULL OR l.user_id = newest_unrolled.user_id)
               AND (newest_unrolled.team IS NULL OR l.team = newest_unrolled.team)
               AND (newest_unrolled.kind IS NULL OR l.kind = newest_unrolled.kind::"char")
               AND (newest_unrolled.model IS NULL OR l.model = newest_unrolled.model)
               AND l.seq > coalesce(r.seqs[l.lane + 2], 0)
             ORDER BY l.entry_id DESC LIMIT newest_unrolled.max);
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION wallet.newest_unrolled IS 'Returns the ids of the newest entries of a wallet that are not rolled up and match the arguments, the newest first. Errors: 22023, 42501, WL003.';

-- Reads the lists of one attribute day by day, the newest first, until no further day can have a
-- newer entry.
CREATE FUNCTION wallet.newest_rolled(
    wallet text, user_id text, team text, kind text, model text, before uuid, max integer)
RETURNS uuid[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    searched CONSTANT text := CASE WHEN newest_rolled.user_id IS NOT NULL THEN 'user'
                                   WHEN newest_rolled.model IS NOT NULL THEN 'model'
                                   WHEN newest_rolled.kind <> 'c' THEN 'kind' ELSE 'team' END;
    its_hash CONSTANT bit(32) := ('x' || substr(md5(coalesce(newest_rolled.user_id, newest_rolled.model, nullif(newest_rolled.kind, 'c'),
                                                         newest_rolled.team)), 1, 8))::bit(32);
    -- The days of the first entry, and of the newest one that is not read yet.
    first_day integer;
    next_day integer;
    days integer := 32;
    wanted bigint := newest_rolled.max;
    found uuid[] := '{}';
    read record;
BEGIN
    PERFORM wallet.readable_wallet(newest_rolled.wallet);
    SELECT ('x' || replace(substr(least(min(i.first_id), min(i.last_id)), 1, 13), '-', ''))::bit(48)::bigint / 86400000,
           ('x' || replace(substr(max(i.last_id), 1, 13), '-', ''))::bit(48)::bigint / 86400000
      INTO first_day, next_day
      FROM (SELECT (SELECT l.entry_id FROM wallet.ledger_all l WHERE l.wallet_id = newest_rolled.wallet
                     ORDER BY l.entry_id LIMIT 1)::text COLLATE "C" AS first_id,
                   coalesce(newest_rolled.before,
                            (SELECT l.entry_id FROM wallet.ledger_all l WHERE l.wallet_id = newest_rolled.wallet
                              ORDER BY l.entry_id DESC LIMIT 1))::text COLLATE "C" AS last_id) i;
    WHILE next_day >= first_day LOOP
        WITH lists AS MATERIALIZED (
            SELECT n.day, n.hashes, n.times,
                   CASE WHEN n.times IS NULL THEN newest_rolled.max ELSE cardinality(array_positions(n.hashes, its_hash::integer)) END AS entries
              FROM generate_series(-1, 13) AS v(level)
              JOIN wallet.entry_lists n
                ON n.wallet_id = newest_rolled.wallet AND n.attribute = searched AND n.level = v.level
               AND n.bucket = CASE WHEN v.level > 0 THEN (its_hash >> (32 - v.level))::integer ELSE 0 END
               AND n.day > next_day - days AND n.day <= next_day
             WHERE its_hash::integer = ANY (n.hashes)
        ), counted AS MATERIALIZED (
            SELECT n.*, coalesce(sum(n.entries) OVER (ORDER BY n.day DESC RANGE UNBOUNDED PRECEDING EXCLUDE GROUP), 0) AS newer FROM lists n
        ), ranges AS MATERIALIZED (
            -- All entries of a day, or of a millisecond. No two ranges overlap.
            SELECT n.day::bigint * 86400000 AS first_at, (n.day + 1)::bigint * 86400000 AS end_at
              FROM counted n WHERE n.newer < wanted AND n.times IS NULL
             UNION
            SELECT n.day::bigint * 86400000 + t.time, n.day::bigint * 86400000 + t.time + 1
              FROM counted n CROSS JOIN LATERAL unnest(n.hashes, n.times) AS t(hash, time)
             WHERE n.newer < wanted AND n.times IS NOT NULL AND t.hash = its_hash::integer
               AND NOT EXISTS (SELECT FROM counted c WHERE c.day = n.day AND c.times IS NULL)
        )
        SELECT ARRAY(
                   -- The newest range first, so that the search can end when the page is full.
                   (SELECT e.entry_id
                     FROM (SELECT r.* FROM ranges r
                            WHERE newest_rolled.before IS NULL
                               OR r.first_at <= ('x' || replace(substr(newest_rolled.before::text, 1, 13), '-', ''))::bit(48)::bigint
                            ORDER BY r.first_at DESC) r
                    CROSS JOIN LATERAL (
                          SELECT l.entry_id FROM wallet.ledger_all l
                           WHERE l.wallet_id = newest_rolled.wallet
                             AND l.entry_id >= (lpad(to_hex(r.first_at), 12, '0') || repeat('0', 20))::uuid
                             AND l.entry_id < (lpad(to_hex(r.end_at), 12, '0') || repeat('0', 20))::uuid
                             AND (newest_rolled.before IS NULL OR l.entry_id < newest_rolled.before)
                             AND (newest_rolled.user_id IS NULL OR l.user_id = newest_rolled.user_id)
                             AND (newest_rolled.team IS NULL OR l.team = newest_rolled.team)
                             AND (newest_rolled.kind IS NULL OR l.kind = newest_rolled.kind::"char")
                             AND (newest_rolled.model IS NULL OR l.model = newest_rolled.model)
                           ORDER BY l.entry_id DESC LIMIT newest_rolled.max) e
                    LIMIT newest_rolled.max)
                    UNION
                   SELECT f FROM unnest(found) f
                    ORDER BY 1 DESC LIMIT newest_rolled.max) AS ids,
               (SELECT max(n.day) FROM counted n WHERE n.newer >= wanted) AS unread_day
          INTO read;
        found := read.ids;
        next_day := coalesce(read.unread_day, next_day - days);
        EXIT WHEN found[newest_rolled.max] >= (lpad(to_hex((next_day + 1)::bigint * 86400000), 12, '0') || repeat('0', 20))::uuid;
        IF read.unread_day IS NULL THEN
            days := days * 4;
        ELSE
            wanted := wanted * 2;
        END IF;
    END LOOP;
    RETURN found;
END
$$;
COMMENT ON FUNCTION wallet.newest_rolled IS 'Returns the ids of the newest entries of a wallet that are rolled up and match the arguments, the newest first. At least one of user_id, team and model must be given, or a kind other than charge. Errors: 22023, 42501, WL003.';

CREATE FUNCTION wallet.transactions(
    wallet text, user_id text DEFAULT NULL, team text DEFAULT NULL, kind text DEFAULT NULL, model text DEFAULT NULL,
    before uuid DEFAULT NULL, max integer DEFAULT 50)
RETURNS SETOF wallet.entries
LANGUAGE plpgsql STABLE ROWS 50
SET search_path = pg_catalog, wallet, pg_temp
-- On a large ledger, JIT compilation takes longer than execution.
SET jit = off
-- A page is a few entries, which have an index, whatever the statistics say.
SET enable_seqscan = off
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
    letter CONSTANT text := CASE transactions.kind
                                WHEN 'funding' THEN 'f' WHEN 'charge' THEN 'c' WHEN 'refund' THEN 'r'
                                WHEN 'adjustment' THEN 'a' WHEN 'expiry' THEN 'x' WHEN 'transfer' THEN 't'
                                WHEN 'chargeback' THEN 'b' END;
    page uuid[];
BEGIN
    PERFORM wallet.readable_wallet(transactions.wallet);
    IF transactions.kind IS NOT NULL AND letter IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22023',
            MESSAGE = format('unrecognized kind "%s"', transactions.kind),
            DETAIL = 'It is not a valid value of kind.',
            HINT = 'Valid values are: funding, charge, refund, adjustment, expiry, transfer, chargeback.';
    END IF;
    IF transactions.max IS NULL OR transactions.max NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION USING ERRCODE = '22023',
            MESSAGE = 'max is out of range',
            DETAIL = format('It is %s.', coalesce(transactions.max::text, 'NULL')),
            HINT = 'Pass 1 to 1000. For the next page, pass the entry_id of the last row as before.';
    END IF;
    IF num_nonnulls(transactions.user_id, transactions.team, transactions.model, nullif(letter, 'c')) = 0 THEN
        -- Nearly all entries match.
        page := ARRAY(
            SELECT l.entry_id FROM wallet.ledger_all l
             WHERE l.wallet_id = transactions.wallet
               AND (transactions.before IS NULL OR l.entry_id < transactions.before)
               AND (letter IS NULL OR l.kind = letter::"char")
             ORDER BY l.entry_id DESC LIMIT transactions.max);
    ELSE
        page := wallet.newest_unrolled(transactions.wallet, transactions.user_id, transactions.team, letter, transactions.model,
                                       transactions.before, transactions.max);
        page := ARRAY(
            SELECT i FROM unnest(page) i
             UNION
            SELECT i FROM unnest(wallet.newest_rolled(
                       transactions.wallet, transactions.user_id, transactions.team, letter, transactions.model,
                       transactions.before, transactions.max)) i
             ORDER BY 1 DESC LIMIT transactions.max);
    END IF;
    RETURN QUERY
        SELECT e.* FROM wallet.entries e
         WHERE e.wallet = transactions.wallet AND e.entry_id = ANY (page)
         ORDER BY e.entry_id DESC;
END
$$;
COMMENT ON FUNCTION wallet.transactions IS 'Returns a page of a wallet''s entries, the newest first: of the whole wallet, or of one user, team, kind or model. Errors: 22023, 42501, WL003.';
