-- Usage as reports count it, rolled up for closed days. docs/internals.md explains roll-ups and why
-- they cannot be wrong.

CREATE TABLE wallet.rollup_states (
    wallet_id    text PRIMARY KEY REFERENCES wallet.wallets,
    time_zone    text NOT NULL,
    rolled_to    timestamptz NOT NULL,
    floor_id     uuid NOT NULL,
    floor_at     timestamptz NOT NULL,
    seqs         bigint[] NOT NULL
);
COMMENT ON TABLE wallet.rollup_states IS 'How far each wallet is rolled up. If the wallet''s time zone has changed since, the roll-ups are ignored.';
COMMENT ON COLUMN wallet.rollup_states.rolled_to IS 'Entries booked before this time have been examined.';
COMMENT ON COLUMN wallet.rollup_states.floor_id IS 'Where the search for entries that are not rolled up begins. It is a guess, which readers verify. The greatest id means that no entry was rolled up yet.';
COMMENT ON COLUMN wallet.rollup_states.floor_at IS 'Pending fundings that were settled after this time have ids below floor_id and may not be rolled up.';
COMMENT ON COLUMN wallet.rollup_states.seqs IS 'The last rolled-up entry of each lane, starting with lane -1, then lane 0. Zero if the lane has none.';

CREATE TABLE wallet.rollup_chunks (
    wallet_id    text NOT NULL,
    lane         smallint NOT NULL,
    to_seq       bigint NOT NULL,
    from_seq     bigint NOT NULL,
    amount       numeric NOT NULL,
    first_at     timestamptz NOT NULL,
    last_at      timestamptz NOT NULL,
    first_id     uuid NOT NULL,
    last_id      uuid NOT NULL,
    dated_ids      uuid[],
    dated_at       timestamptz[],
    dated_amounts  numeric[],
    first_on     date NOT NULL,
    last_on      date NOT NULL,
    first_use    uuid,
    last_use     uuid,
    PRIMARY KEY (wallet_id, lane, to_seq)
);
COMMENT ON TABLE wallet.rollup_chunks IS 'Rolled-up entries: one row per piece of a lane''s chain. A piece covers about a day; the pieces leave no gaps from the first entry on.';
COMMENT ON COLUMN wallet.rollup_chunks.amount IS 'The sum of the entries that count from their time of booking.';
COMMENT ON COLUMN wallet.rollup_chunks.first_at IS 'The least created_at of the piece. last_at is the greatest; first_id and last_id are the least and greatest entry_id.';
COMMENT ON COLUMN wallet.rollup_chunks.first_on IS 'The least day of booking of the piece''s charges and refunds, or of all its entries if it has none; last_on is the greatest.';
COMMENT ON COLUMN wallet.rollup_chunks.first_use IS 'The least entry_id of the piece''s charges and refunds; last_use is the greatest. NULL if there are none.';
COMMENT ON COLUMN wallet.rollup_chunks.dated_ids IS 'The entries that do not count from their time of booking; NULL if there are none.';
COMMENT ON COLUMN wallet.rollup_chunks.dated_at IS 'When the entry at the same array position begins to count.';
COMMENT ON COLUMN wallet.rollup_chunks.dated_amounts IS 'The amount of the entry at the same array position.';

CREATE TABLE wallet.usage_rollups (
    wallet_id      text NOT NULL,
    day            date NOT NULL,
    rollup_id      uuid NOT NULL,
    team           text,
    user_id        text,
    service        text,
    model          text,
    region         text,
    key_id         uuid,
    requests       bigint NOT NULL,
    input_tokens   numeric NOT NULL,
    output_tokens  numeric NOT NULL,
    cost           numeric NOT NULL,
    refunded       numeric NOT NULL,
    provider       text,
    booked_on      date NOT NULL,
    PRIMARY KEY (wallet_id, day, rollup_id)
);
CREATE INDEX usage_rollups_user ON wallet.usage_rollups (wallet_id, user_id, day);
COMMENT ON TABLE wallet.usage_rollups IS 'Usage of the rolled-up entries, by day of use and day of booking. Rows are added and never changed; entries booked later for the same day get rows of their own.';
COMMENT ON COLUMN wallet.usage_rollups.booked_on IS 'The day of created_at in the wallet''s time zone. It says which entries a report must read that needs a part of the row.';

CREATE VIEW wallet.rolled_lanes WITH (security_invoker = true) AS
SELECT s.wallet_id AS wallet, (r.place - 2)::smallint AS lane, r.seq
  FROM wallet.rollup_states s
  JOIN wallet.wallets w ON w.wallet_id = s.wallet_id AND w.time_zone = s.time_zone
 CROSS JOIN LATERAL unnest(s.seqs) WITH ORDINALITY AS r(seq, place)
 WHERE r.seq > 0;
COMMENT ON VIEW wallet.rolled_lanes IS 'The last rolled-up entry of each lane of a wallet.';

-- A reader of entries that are not rolled up reads these ranges and counts the entries found. If
-- their number equals `entries`, the ranges contain all of them; otherwise the others are below
-- floor_id. Both parts are read once. The ranges do not overlap: one begins at floor_id, and one is
-- the id of each funding that was pending, whose id dates from its request.
CREATE VIEW wallet.rolled_wallets WITH (security_invoker = true) AS
SELECT w.wallet_id AS wallet,
       w.time_zone,
       coalesce(s.seqs, '{}') AS seqs,
       (SELECT coalesce(sum(a.seq - coalesce(s.seqs[a.lane + 2], 0)), 0) FROM wallet.allowances a
         WHERE a.wallet_id = w.wallet_id AND a.allowance_id = '00000000-0000-0000-0000-000000000000') AS entries,
       coalesce(s.floor_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff') AS floor_id,
       coalesce(s.floor_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff') || CASE WHEN s.wallet_id IS NOT NULL THEN f.ids END AS first_ids,
       'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid || CASE WHEN s.wallet_id IS NOT NULL THEN f.ids END AS last_ids
  FROM wallet.wallets w
  LEFT JOIN wallet.rollup_states s ON s.wallet_id = w.wallet_id AND s.time_zone = w.time_zone
 CROSS JOIN LATERAL (SELECT ARRAY(SELECT f.entry_id FROM wallet.funding_requests f
                                   WHERE f.wallet_id = s.wallet_id AND f.entry_id < s.floor_id
                                     AND f.finished_at >= s.floor_at - interval '1 minute') AS ids
                     OFFSET 0) f;
COMMENT ON VIEW wallet.rolled_wallets IS 'How far each wallet is rolled up, and where to find the other entries.';
COMMENT ON COLUMN wallet.rolled_wallets.seqs IS 'The last rolled-up entry of each lane, starting with lane -1, then lane 0.';
COMMENT ON COLUMN wallet.rolled_wallets.entries IS 'The number of entries that are not rolled up.';
COMMENT ON COLUMN wallet.rolled_wallets.floor_id IS 'The least id of an entry that is not rolled up, except for fundings that were pending. It is a guess.';
COMMENT ON COLUMN wallet.rolled_wallets.first_ids IS 'The first ids of ranges that contain all entries that are not rolled up, if the guess is right. The first element is floor_id.';
COMMENT ON COLUMN wallet.rolled_wallets.last_ids IS 'The last ids of these ranges.';

CREATE FUNCTION wallet.unrolled_from(wallet text) RETURNS uuid
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
-- On a large ledger, JIT compilation takes longer than execution.
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    PERFORM wallet.readable_wallet(unrolled_from.wallet);
    RETURN (
        WITH rolled AS MATERIALIZED (
            SELECT r.* FROM wallet.rolled_wallets r WHERE r.wallet = unrolled_from.wallet
        ), found AS (
            SELECT count(*) AS entries
              FROM rolled r
             CROSS JOIN LATERAL unnest(r.first_ids, r.last_ids) AS i(first_id, last_id)
             CROSS JOIN LATERAL (
                   SELECT l.seq FROM wallet.ledger_all l
                    WHERE l.wallet_id = r.wallet AND l.entry_id BETWEEN i.first_id AND i.last_id
                      AND l.seq > coalesce(r.seqs[l.lane + 2], 0)
                   OFFSET 0) l
        )
        SELECT CASE WHEN f.entries = r.entries THEN r.floor_id ELSE '00000000-0000-0000-0000-000000000000' END FROM rolled r, found f);
END
$$;
COMMENT ON FUNCTION wallet.unrolled_from IS 'Returns the id at which the entries of a wallet that are not rolled up begin, except for fundings that were pending. Returns the nil id if that is uncertain. Errors: 22023, 42501, WL003.';

CREATE FUNCTION wallet.usage_attributes(
    lines jsonb, model text, provider text DEFAULT NULL, service_tier text DEFAULT NULL)
RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, wallet, pg_temp
AS $$
    WITH used AS (
        SELECT line ->> 'meter' AS meter, sum((line ->> 'quantity')::numeric) AS quantity,
               line ->> 'meter' LIKE E'%\\_tokens' AS tokens
          FROM jsonb_array_elements(usage_attributes.lines) line
         WHERE line ->> 'meter' NOT IN ('markup', 'markup_fee')
         GROUP BY 1
    ), named AS (
        -- The totals of OpenTelemetry include their parts, like those of the providers.
        SELECT 'gen_ai.usage.input_tokens' AS name, sum(u.quantity) AS quantity FROM used u WHERE u.tokens AND u.meter ~ '^(input|cache)'
         UNION ALL
        SELECT 'gen_ai.usage.output_tokens', sum(u.quantity) FROM used u WHERE u.tokens AND u.meter !~ '^(input|cache)'
         UNION ALL
        SELECT 'gen_ai.usage.cache_read.input_tokens', sum(u.quantity) FROM used u WHERE u.tokens AND u.meter ~ '^cache_read'
         UNION ALL
        SELECT 'gen_ai.usage.cache_creation.input_tokens', sum(u.quantity) FROM used u WHERE u.tokens AND u.meter ~ '^cache_write'
         UNION ALL
        SELECT 'gen_ai.usage.reasoning.output_tokens', sum(u.quantity) FROM used u WHERE u.meter = 'reasoning_tokens'
         UNION ALL
        -- Meters without a name in the conventions.
        SELECT 'wallet.usage.' || u.meter, u.quantity FROM used u
         WHERE u.meter NOT IN ('input_tokens', 'output_tokens', 'cache_read_tokens', 'cache_write_tokens', 'reasoning_tokens')
    )
    SELECT jsonb_strip_nulls(jsonb_build_object(
               'gen_ai.request.model', usage_attributes.model,
               'gen_ai.provider.name', coalesce(
                   jsonb_build_object('gemini', 'gcp.gemini', 'vertex_ai', 'gcp.vertex_ai', 'bedrock', 'aws.bedrock',
                                      'azure', 'azure.ai.openai', 'azure_ai', 'azure.ai.inference', 'mistral', 'mistral_ai',
                                      'xai', 'x_ai', 'watsonx', 'ibm.watsonx.ai') ->> usage_attributes.provider,
                   usage_attributes.provider),
               'openai.response.service_tier', usage_attributes.service_tier))
           || coalesce((SELECT jsonb_object_agg(n.name, trim_scale(n.quantity)) FROM named n WHERE n.quantity IS NOT NULL), '{}')
$$;
COMMENT ON FUNCTION wallet.usage_attributes IS 'Converts price lines to attributes of the OpenTelemetry conventions for generative AI, such as gen_ai.usage.input_tokens. Errors: 22023.';

CREATE VIEW wallet.counted_entries WITH (security_invoker = true) AS
SELECT l.wallet_id AS wallet,
       l.entry_id,
       -- Clamped to a range inside PostgreSQL's calendar, so that a date exists in every time zone
       -- and in every period around it.
       least(greatest(coalesce(l.event_at, l.created_at), '4713-02-01Z BC'), '294276-11-30Z') AS event_at,
       l.created_at,
       l.user_id, l.team, l.service, l.model, l.region, l.provider, l.service_tier, l.key_id, l.tags,
       -- An entry that prices a charge later is not a request of its own, and neither is a refund.
       -- Its tokens are those of the charge, which had none.
       CASE WHEN l.kind = 'c' AND l.call <> 'p' THEN 1 ELSE 0 END AS requests,
       CASE WHEN l.kind = 'c' AND l.lines IS NOT NULL THEN wallet.entry_tokens(l.lines, true) ELSE 0 END AS input_tokens,
       CASE WHEN l.kind = 'c' AND l.lines IS NOT NULL THEN wallet.entry_tokens(l.lines, false) ELSE 0 END AS output_tokens,
       CASE l.kind WHEN 'c' THEN -l.amount ELSE 0 END AS cost,
       CASE l.kind WHEN 'r' THEN l.amount ELSE 0 END AS refunded,
       l.lines,
       l.lane::integer AS lane,
       l.seq,
       l.kind,
       l.amount,
       l.effective_at
  FROM wallet.ledger_all l;
COMMENT ON VIEW wallet.counted_entries IS 'Every entry with the figures that reports count for it, if any.';

CREATE VIEW wallet.usage_entries WITH (security_invoker = true) AS
SELECT c.wallet, c.entry_id, c.event_at, c.created_at, c.user_id, c.team, c.service, c.model, c.region, c.provider, c.service_tier, c.key_id, c.tags,
       c.requests, c.input_tokens, c.output_tokens,
       CASE WHEN c.kind = 'c' AND c.lines IS NOT NULL
            THEN wallet.entry_tokens(c.lines, true) + wallet.entry_tokens(c.lines, false) ELSE 0 END AS tokens,
       c.cost, c.refunded,
       CASE WHEN c.lines IS NOT NULL THEN
            wallet.usage_attributes(wallet.entry_lines(c.lines), c.model, c.provider, c.service_tier)
       END AS attributes,
       c.lane,
       c.seq
  FROM wallet.counted_entries c
 WHERE c.kind IN ('c', 'r');
COMMENT ON VIEW wallet.usage_entries IS 'Charges and refunds with the figures that reports count for them: requests, tokens, cost, refunded.';
COMMENT ON COLUMN wallet.usage_entries.input_tokens IS 'Input tokens of every kind: plain, cached, audio, images.';
COMMENT ON COLUMN wallet.usage_entries.output_tokens IS 'Output tokens of every kind: plain, reasoning, audio, images.';
COMMENT ON COLUMN wallet.usage_entries.attributes IS 'The usage as OpenTelemetry attributes; NULL for a charge by amount.';

-- One lateral query per wallet, by the index. The plan therefore depends neither on the estimated
-- number of rows per wallet nor on the number of wallets. The condition wallet || '' = wallet,
-- which is always true, makes the planner expect a single wallet. It would otherwise expect a long
-- query and use JIT compilation, which takes longer than execution.
CREATE VIEW wallet.unrolled_days WITH (security_invoker = true) AS
SELECT r.wallet, u.day, u.team, u.user_id, u.service, u.model, u.region, u.key_id,
       u.requests, u.input_tokens, u.output_tokens, u.cost, u.refunded
  FROM wallet.rolled_wallets r
 CROSS JOIN LATERAL (
       WITH near AS MATERIALIZED (
           SELECT (c.event_at AT TIME ZONE r.time_zone)::date AS day, c.team, c.user_id, c.service, c.model, c.region, c.key_id,
                  sum(c.requests)::bigint AS requests, sum(c.input_tokens) AS input_tokens, sum(c.output_tokens) AS output_tokens,
                  sum(c.cost) AS cost, sum(c.refunded) AS refunded, count(*) AS entries, c.kind IN ('c', 'r') AS is_use
             FROM unnest(r.first_ids, r.last_ids) AS i(first_id, last_id)
            CROSS JOIN LATERAL (
                  SELECT c.* FROM wallet.counted_entries c
                   WHERE c.wallet = r.wallet AND c.entry_id BETWEEN i.first_id AND i.last_id AND c.seq > coalesce(r.seqs[c.lane + 2], 0)
                  OFFSET 0) c
            GROUP BY 1, 2, 3, 4, 5, 6, 7, is_use
       )
       SELECT n.day, n.team, n.user_id, n.service, n.model, n.region, n.key_id,
              n.requests, n.input_tokens, n.output_tokens, n.cost, n.refunded
         FROM near n
        WHERE n.is_use
        UNION ALL
       SELECT (u.event_at AT TIME ZONE r.time_zone)::date, u.team, u.user_id, u.service, u.model, u.region, u.key_id,
              sum(u.requests)::bigint, sum(u.input_tokens), sum(u.output_tokens), sum(u.cost), sum(u.refunded)
         -- For an array of unknown length the planner expects several rows, and aggregates by hash.
         FROM unnest(r.first_ids[1:1]) AS i(first_id)
        CROSS JOIN LATERAL (
              SELECT u.* FROM wallet.usage_entries u
               WHERE (SELECT coalesce(sum(n.entries), 0) FROM near n) <> r.entries
                 AND u.wallet = r.wallet AND u.entry_id >= '00000000-0000-0000-0000-000000000000' AND u.entry_id < i.first_id
                 AND u.seq > coalesce(r.seqs[u.lane + 2], 0)
              OFFSET 0) u
        GROUP BY 1, 2, 3, 4, 5, 6, 7
       OFFSET 0) u
 WHERE r.wallet || '' = r.wallet;
COMMENT ON VIEW wallet.unrolled_days IS 'Usage by day of the entries that are not rolled up.';

CREATE VIEW wallet.usage_days WITH (security_invoker = true) AS
SELECT r.wallet_id AS wallet, r.day, r.team, r.user_id, r.service, r.model, r.region, r.key_id,
       r.requests, r.input_tokens, r.output_tokens, r.cost, r.refunded
  FROM wallet.usage_rollups r
  JOIN wallet.rollup_states s ON s.wallet_id = r.wallet_id
  JOIN wallet.wallets w ON w.wallet_id = s.wallet_id AND w.time_zone = s.time_zone
 UNION ALL
SELECT u.wallet, u.day, u.team, u.user_id, u.service, u.model, u.region, u.key_id,
       u.requests, u.input_tokens, u.output_tokens, u.cost, u.refunded
  FROM wallet.unrolled_days u;
COMMENT ON VIEW wallet.usage_days IS 'Usage by day, in rows that add up: rolled-up usage and usage that is not rolled up.';

CREATE VIEW wallet.usage_daily WITH (security_invoker = true) AS
SELECT u.day,
       u.wallet,
       u.team,
       u.user_id,
       u.service,
       u.model,
       sum(u.requests)::bigint AS requests,
       sum(u.input_tokens)::bigint AS input_tokens,
       sum(u.output_tokens)::bigint AS output_tokens,
       sum(u.input_tokens + u.output_tokens)::bigint AS tokens,
       round(sum(u.cost), greatest(min_scale(sum(u.cost)), 2)) AS cost,
       round(sum(u.refunded), greatest(min_scale(sum(u.refunded)), 2)) AS refunded
  FROM wallet.usage_days u
 GROUP BY 1, 2, 3, 4, 5, 6;
COMMENT ON VIEW wallet.usage_daily IS 'Usage by day (in the wallet''s time zone), team, user, service and model, by the time of use.';
COMMENT ON COLUMN wallet.usage_daily.refunded IS 'The amount refunded on that day. It is not deducted from cost.';

-- Near a clock change, a day may begin twice, or in the middle of another day.
CREATE FUNCTION wallet.day_begun(at timestamptz, time_zone text) RETURNS date
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, wallet, pg_temp
AS $$
    SELECT CASE WHEN (day_begun.at AT TIME ZONE day_begun.time_zone)::time = '00:00'
                 AND day_begun.at BETWEEN '0001-01-02Z' AND '9999-12-30Z'
                THEN CASE WHEN (day_begun.at + interval '3 hours') AT TIME ZONE day_begun.time_zone
                               - (day_begun.at - interval '3 hours') AT TIME ZONE day_begun.time_zone = interval '6 hours'
                          THEN (day_begun.at AT TIME ZONE day_begun.time_zone)::date END END
$$;
COMMENT ON FUNCTION wallet.day_begun IS 'Returns the day that begins at a given time, or NULL. If NULL, usage before and after that time is separated entry by entry.';

-- If clocks change at midnight, the day begins later, or its first hour occurs twice.
CREATE FUNCTION wallet.day_begins(day date, time_zone text) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, wallet, pg_temp
AS $$
    SELECT min(b.at)
      FROM (SELECT day_begins.day::timestamp AT TIME ZONE day_begins.time_zone AS at
             UNION ALL
            -- Midnight with the UTC offset of the evening before.
            SELECT (day_begins.day::timestamp - (e.at AT TIME ZONE day_begins.time_zone - e.at AT TIME ZONE 'UTC')) AT TIME ZONE 'UTC'
              FROM (SELECT (day_begins.day::timestamp - interval '4 hours') AT TIME ZONE day_begins.time_zone AS at
                     WHERE day_begins.day BETWEEN '0001-01-02' AND '9999-12-30') e) b
     WHERE (b.at AT TIME ZONE day_begins.time_zone)::date = day_begins.day
$$;
COMMENT ON FUNCTION wallet.day_begins IS 'Returns the first moment of a day in a time zone.';

-- The period of a report: times, or days in a time zone.
CREATE FUNCTION wallet.span_in(
    time_zone text, "from" timestamptz, "to" timestamptz, from_day date, to_day date,
    OUT first timestamptz, OUT last timestamptz)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, wallet, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    IF "from" IS NOT NULL AND from_day IS NOT NULL OR "to" IS NOT NULL AND to_day IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a moment and a day are given',
            DETAIL = 'A span of time begins at "from" or with from_day, and ends before "to" or before to_day.',
            HINT = 'Give one of the two.';
    END IF;
    -- The calendar of dates is larger than that of points in time.
    IF from_day NOT BETWEEN '0001-01-01' AND '9999-12-31' OR to_day NOT BETWEEN '0001-01-01' AND '9999-12-31' THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'from_day or to_day is out of range',
            DETAIL = format('The days are %s and %s; the calendar of reports has the years 1 to 9999.', coalesce(from_day::text, 'NULL'), coalesce(to_day::text, 'NULL')),
            HINT = 'Leave a day out for no bound.';
    END IF;
    first := coalesce("from", wallet.day_begins(from_day, span_in.time_zone));
    last := coalesce("to", wallet.day_begins(to_day, span_in.time_zone));
    IF first > last THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = '"from" is after "to"',
            DETAIL = 'The span of time ends before it begins.', HINT = 'Give the earlier time as "from"; "to" is not included.';
    END IF;
END
$$;
COMMENT ON FUNCTION wallet.span_in IS 'Returns the start and end of a report''s period, given as times or as days in a time zone. Errors: 22023.';

CREATE FUNCTION wallet.span_of(
    wallet text, "from" timestamptz, "to" timestamptz, from_day date, to_day date,
    OUT first timestamptz, OUT last timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    zone text := (SELECT w.time_zone FROM wallet.wallets w WHERE w.wallet_id = wallet.readable_wallet(span_of.wallet));
BEGIN
    SELECT s.first, s.last INTO first, last FROM wallet.span_in(zone, "from", "to", from_day, to_day) s;
END
$$;
COMMENT ON FUNCTION wallet.span_of IS 'Returns the start and end of a report''s period, given as times or as days in the wallet''s time zone. Errors: 22023, 42501, WL003.';

-- If an hour occurs twice, or part of it has another offset, the offset distinguishes the two.
CREATE FUNCTION wallet.hour_of(at timestamptz, time_zone text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, wallet, pg_temp
AS $$
    SELECT to_char(h.hour, 'YYYY-MM-DD HH24:00') || coalesce((
               SELECT CASE WHEN bool_or((t.first AT TIME ZONE 'UTC') AT TIME ZONE hour_of.time_zone = h.hour
                                        OR (t.last AT TIME ZONE 'UTC') AT TIME ZONE hour_of.time_zone = h.hour + interval '0:59:59.999999')
                           THEN CASE WHEN h.shift < interval '0' THEN '-' ELSE '+' END
                                || to_char(greatest(h.shift, -h.shift), 'HH24:MI') END
                 FROM (VALUES (interval '-3 hours'), (interval '3 hours')) d(away)
                CROSS JOIN LATERAL (SELECT (hour_of.at + d.away) AT TIME ZONE hour_of.time_zone - (hour_of.at + d.away) AT TIME ZONE 'UTC' AS shift) o
                CROSS JOIN LATERAL (SELECT h.hour - o.shift AS first, h.hour + interval '0:59:59.999999' - o.shift AS last) t
                WHERE hour_of.at BETWEEN '0001-01-02Z' AND '9999-12-30Z' AND o.shift <> h.shift), '')
      FROM (SELECT date_trunc('hour', hour_of.at AT TIME ZONE hour_of.time_zone) AS hour,
                   hour_of.at AT TIME ZONE hour_of.time_zone - hour_of.at AT TIME ZONE 'UTC' AS shift) h
$$;
COMMENT ON FUNCTION wallet.hour_of IS 'Returns the hour of a time in a time zone, with its offset from UTC if the hour occurs twice.';

CREATE FUNCTION wallet.rolled_before(wallet text, at timestamptz) RETURNS numeric
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    PERFORM wallet.readable_wallet(rolled_before.wallet);
    RETURN (
        WITH chunks AS MATERIALIZED (
            SELECT c.*
              FROM wallet.rollup_chunks c
             WHERE c.wallet_id = rolled_before.wallet
               AND EXISTS (SELECT FROM wallet.rollup_states s JOIN wallet.wallets w ON w.wallet_id = s.wallet_id AND w.time_zone = s.time_zone
                            WHERE s.wallet_id = rolled_before.wallet)
        )
        SELECT coalesce((SELECT sum(c.amount) FROM chunks c WHERE c.last_at < rolled_before.at), 0)
             -- Few entries: those of expired and recurring grants.
             + coalesce((SELECT sum(d.amount) FROM chunks c CROSS JOIN LATERAL unnest(c.dated_at, c.dated_amounts) AS d(at, amount)
                          WHERE c.dated_at IS NOT NULL AND d.at < rolled_before.at), 0)
             -- Chunks that contain the given time. They are few, and OFFSET 0 makes the plan look
             -- up each by its ids.
             + coalesce((SELECT sum(l.amount)
                           FROM chunks c
                          CROSS JOIN LATERAL (
                                SELECT l.amount FROM wallet.ledger_all l
                                 WHERE l.wallet_id = c.wallet_id AND l.entry_id BETWEEN c.first_id AND c.last_id
                                   AND l.lane = c.lane AND l.seq BETWEEN c.from_seq AND c.to_seq AND l.created_at < rolled_before.at
                                   AND l.effective_at = l.created_at
                                OFFSET 0) l
                          WHERE c.first_at < rolled_before.at AND c.last_at >= rolled_before.at), 0));
END
$$;
COMMENT ON FUNCTION wallet.rolled_before IS 'Returns the sum of the wallet''s rolled-up entries that count from before a given time. Errors: 22023, 42501, WL003.';

CREATE FUNCTION wallet.booked_before(wallet text, at timestamptz) RETURNS numeric
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    RETURN wallet.rolled_before(booked_before.wallet, booked_before.at) + (
        WITH rolled AS MATERIALIZED (
            SELECT r.* FROM wallet.rolled_wallets r WHERE r.wallet = booked_before.wallet
        ), near AS MATERIALIZED (
            SELECT count(*) AS entries, coalesce(sum(l.amount) FILTER (WHERE l.effective_at < booked_before.at), 0) AS amount
              FROM rolled r
             CROSS JOIN LATERAL unnest(r.first_ids, r.last_ids) AS i(first_id, last_id)
             CROSS JOIN LATERAL (
                   SELECT l.amount, l.effective_at FROM wallet.ledger_all l
                    WHERE l.wallet_id = r.wallet AND l.entry_id BETWEEN i.first_id AND i.last_id
                      AND l.seq > coalesce(r.seqs[l.lane + 2], 0)
                   OFFSET 0) l
        )
        SELECT (SELECT n.amount FROM near n)
             + coalesce((SELECT sum(l.amount)
                           FROM rolled r JOIN near n ON n.entries <> r.entries
                          CROSS JOIN LATERAL (
                                SELECT l.amount FROM wallet.ledger_all l
                                 WHERE l.wallet_id = r.wallet AND l.entry_id >= '00000000-0000-0000-0000-000000000000'
                                   AND l.entry_id < r.floor_id AND l.entry_id <> ALL (r.first_ids)
                                   AND l.seq > coalesce(r.seqs[l.lane + 2], 0) AND l.effective_at < booked_before.at
                                OFFSET 0) l), 0)
             -- Entries that are due, but not booked yet.
             + coalesce((SELECT sum(d.amount) FROM wallet.due_entries(booked_before.wallet, statement_timestamp()) d
                          WHERE d.at < booked_before.at), 0));
END
$$;
COMMENT ON FUNCTION wallet.booked_before IS 'Returns the sum of the wallet''s entries that count from before a given time, including entries that are due but not booked yet. Errors: 22023, 42501, WL003.';

-- The ranges do not overlap, so that no entry is found twice.
CREATE FUNCTION wallet.booked_ids(
    wallet text, "from" timestamptz, "to" timestamptz, OUT first_id uuid, OUT last_id uuid)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    greatest_id CONSTANT uuid := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
    floor_id uuid := wallet.unrolled_from(booked_ids.wallet);
    least_found uuid;
    last_found uuid;
BEGIN
    SELECT (array_agg(c.first_id ORDER BY c.first_id))[1], (array_agg(c.last_id ORDER BY c.last_id DESC))[1]
      INTO least_found, last_found
      FROM wallet.rollup_chunks c
      JOIN wallet.rollup_states s ON s.wallet_id = c.wallet_id
      JOIN wallet.wallets w ON w.wallet_id = s.wallet_id AND w.time_zone = s.time_zone
     WHERE c.wallet_id = booked_ids.wallet AND c.first_at < booked_ids."to" AND c.last_at >= booked_ids."from";
    IF last_found < floor_id THEN
        first_id := least_found; last_id := last_found;
        RETURN NEXT;
        first_id := floor_id; last_id := greatest_id;
        RETURN NEXT;
    ELSE
        least_found := least(least_found, floor_id); last_found := greatest_id;
        first_id := least_found; last_id := last_found;
        RETURN NEXT;
    END IF;
    -- A funding that was pending has the id of its request. An entry that does not count from its
    -- time of booking has the id of its booking.
    RETURN QUERY
        SELECT x.entry_id, x.entry_id
          FROM (SELECT f.entry_id FROM wallet.funding_requests f WHERE f.wallet_id = booked_ids.wallet
                 UNION
                SELECT d.entry_id
                  FROM wallet.rollup_chunks c
                  JOIN wallet.rollup_states s ON s.wallet_id = c.wallet_id
                  JOIN wallet.wallets w ON w.wallet_id = s.wallet_id AND w.time_zone = s.time_zone
                 CROSS JOIN LATERAL unnest(c.dated_ids, c.dated_at) AS d(entry_id, at)
                 WHERE c.wallet_id = booked_ids.wallet AND c.dated_ids IS NOT NULL
                   AND d.at >= booked_ids."from" AND d.at < booked_ids."to") x
         WHERE x.entry_id < floor_id AND (x.entry_id BETWEEN least_found AND last_found) IS NOT TRUE;
END
$$;
COMMENT ON FUNCTION wallet.booked_ids IS 'Returns ranges of ids that contain all entries of a wallet that count within a period. The ranges may contain other entries too. Errors: 22023, 42501, WL003.';
