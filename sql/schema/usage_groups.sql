-- Usage of many wallets by up to three dimensions, as it is known now or as it was known at a
-- time. usage(), usage_by() and chargeback() add up the rows of usage_groups().
--
-- A new dimension needs a name in check_dimensions(), a column in each part of usage_groups(), and
-- a column at the end of the result of usage().
--
-- The usage of rolled-up entries is read from roll-ups where these are fine enough: for whole days
-- of use, and for days of booking that ended before as_of. For the others, usage_rollups says on
-- which days the entries were booked, and rollup_chunks has the ids of these days. The two parts
-- are separated by the same conditions on the day of use and the day of booking, so that no entry
-- counts twice. A day of use that is not certainly whole, and a day of booking that is not
-- certainly over, are left to the entries. Clocks may be set back by hours, so that the days next
-- to them are uncertain too.

CREATE FUNCTION wallet.check_dimensions(dimensions text[]) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, wallet, pg_temp
AS $$
DECLARE
    dimension text;
BEGIN
    IF dimensions IS NULL OR cardinality(dimensions) > 3 OR array_ndims(dimensions) > 1 THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'usage is grouped by at most three dimensions',
            DETAIL = CASE WHEN dimensions IS NULL THEN 'The argument by is NULL.' ELSE format('There are %s.', cardinality(dimensions)) END,
            HINT = 'Pass an array such as {team,model}, or {} for the total.';
    END IF;
    FOREACH dimension IN ARRAY dimensions LOOP
        IF dimension IS NULL OR dimension NOT IN ('wallet', 'user', 'team', 'model', 'provider', 'service', 'region', 'key',
                                                  'hour', 'day', 'week', 'month') AND dimension NOT LIKE 'tag:_%' THEN
            RAISE EXCEPTION USING ERRCODE = '22023',
                MESSAGE = format('unrecognized dimension %s', coalesce('"' || dimension || '"', 'NULL')),
                DETAIL = 'It is not a valid value of dimension.',
                HINT = 'Valid values are: wallet, user, team, model, provider, service, region, key, hour, day, week, month, tag:NAME.';
        END IF;
        IF cardinality(array_positions(dimensions, dimension)) > 1 THEN
            RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('dimension "%s" is given twice', dimension),
                DETAIL = 'Usage is grouped by each dimension once.', HINT = 'Leave out one of the two.';
        END IF;
    END LOOP;
    RETURN dimensions;
END
$$;
COMMENT ON FUNCTION wallet.check_dimensions IS 'Returns the dimensions of a usage report if they are valid. Errors: 22023.';

CREATE FUNCTION wallet.usage_groups(
    wallets text[], dimensions text[], "from" timestamptz, "to" timestamptz, from_day date, to_day date, as_of timestamptz,
    OUT currency text, OUT group_values text[], OUT first_at timestamptz, OUT requests bigint,
    OUT input_tokens bigint, OUT output_tokens bigint, OUT cost numeric, OUT refunded numeric)
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
    checked CONSTANT text[] := wallet.check_dimensions(dimensions);
    -- Constants of the plan, so that an expression for another dimension costs nothing.
    one CONSTANT text := checked[1];
    two CONSTANT text := checked[2];
    three CONSTANT text := checked[3];
    -- Roll-ups contain whole days, but no hours and no tags.
    by_days CONSTANT boolean := NOT EXISTS (SELECT FROM unnest(checked) d WHERE d = 'hour' OR d LIKE 'tag:%');
    by_hours CONSTANT boolean := 'hour' = ANY (checked);
    -- Entries that were booked before this time count.
    cutoff CONSTANT timestamptz := CASE WHEN as_of < statement_timestamp() THEN greatest(as_of, '1971-01-01Z') + interval '1 microsecond' END;
BEGIN
    RETURN QUERY
    WITH zones AS MATERIALIZED (
        SELECT z.time_zone, b.first, b.last, d.*,
               by_days AND d.first_day = d.from_use AND d.next_day >= d.to_use AND d.over_before = d.begun_from AS is_rolled
          FROM (SELECT DISTINCT w.time_zone FROM wallet.wallets w WHERE reached IS NULL OR w.wallet_id = ANY (reached)) z
         CROSS JOIN LATERAL wallet.span_in(z.time_zone, usage_groups."from", usage_groups."to", usage_groups.from_day, usage_groups.to_day) s
         -- Inside PostgreSQL's calendar, like the times of use of counted_entries.
         CROSS JOIN LATERAL (SELECT coalesce(greatest(s.first, '4713-02-01Z BC'), '-infinity') AS first,
                                    coalesce(least(s.last, '294276-12-01Z'), 'infinity') AS last) b
         CROSS JOIN LATERAL (SELECT wallet.day_begun(b.first, z.time_zone) AS first, wallet.day_begun(b.last, z.time_zone) AS last,
                                    (b.first AT TIME ZONE z.time_zone)::date AS first_local, (b.last AT TIME ZONE z.time_zone)::date AS last_local,
                                    wallet.day_begun(cutoff, z.time_zone) AS cut, (cutoff AT TIME ZONE z.time_zone)::date AS cut_local) l
         CROSS JOIN LATERAL (
               SELECT -- The days of use that are certainly whole, and all that may have usage of the period.
                      CASE WHEN isfinite(b.first) THEN coalesce(l.first, l.first_local + 2) ELSE '-infinity' END AS first_day,
                      CASE WHEN isfinite(b.last) THEN coalesce(l.last, l.last_local - 1) ELSE 'infinity' END AS next_day,
                      CASE WHEN isfinite(b.first) THEN coalesce(l.first, l.first_local - 1) ELSE '-infinity' END AS from_use,
                      CASE WHEN isfinite(b.last) THEN coalesce(l.last - 1, l.last_local + 1) ELSE 'infinity' END AS to_use,
                      -- The days of booking that were certainly over, and had certainly begun.
                      CASE WHEN cutoff IS NOT NULL THEN coalesce(l.cut, l.cut_local - 1) ELSE 'infinity' END AS over_before,
                      CASE WHEN cutoff IS NOT NULL THEN coalesce(l.cut, l.cut_local + 2) ELSE 'infinity' END AS begun_from) d
    ), asked AS MATERIALIZED (
        SELECT r.*, w.currency, z.first, z.last, z.first_day, z.next_day, z.from_use, z.to_use, z.over_before, z.begun_from, z.is_rolled
          FROM wallet.rolled_wallets r
          JOIN wallet.wallets w ON w.wallet_id = r.wallet
          JOIN zones z ON z.time_zone = r.time_zone
         WHERE reached IS NULL OR r.wallet = ANY (reached)
    ), near AS MATERIALIZED (
        SELECT a.wallet, a.currency, c.*
          FROM asked a
         CROSS JOIN LATERAL unnest(a.first_ids, a.last_ids) AS i(first_id, last_id)
         -- OFFSET 0 makes the plan look up each range by its ids.
         CROSS JOIN LATERAL (
               SELECT c.event_at AT TIME ZONE a.time_zone AS local, c.event_at, c.user_id, c.team, c.model, c.provider, c.service, c.region, c.key_id,
                      c.tags, c.requests, c.input_tokens, c.output_tokens, c.cost, c.refunded,
                      c.kind IN ('c', 'r') AND c.event_at >= a.first AND c.event_at < a.last AND (cutoff IS NULL OR c.created_at < cutoff) AS counts
                 FROM wallet.counted_entries c
                WHERE c.wallet = a.wallet AND c.entry_id BETWEEN i.first_id AND i.last_id AND c.seq > coalesce(a.seqs[c.lane + 2], 0)
               OFFSET 0) c
    ), found AS MATERIALIZED (
        SELECT n.wallet, count(*) AS entries FROM near n GROUP BY 1
    ), rest AS (
        -- The floor is a guess. If it is wrong, the others are below it.
        SELECT a.wallet, a.currency, c.*
          FROM asked a
          LEFT JOIN found f ON f.wallet = a.wallet
         CROSS JOIN LATERAL (
               SELECT c.event_at AT TIME ZONE a.time_zone AS local, c.event_at, c.user_id, c.team, c.model, c.provider, c.service, c.region, c.key_id,
                      c.tags, c.requests, c.input_tokens, c.output_tokens, c.cost, c.refunded, true
                 FROM wallet.counted_entries c
                WHERE coalesce(f.entries, 0) <> a.entries
                  AND c.wallet = a.wallet AND c.entry_id >= '00000000-0000-0000-0000-000000000000' AND c.entry_id < a.floor_id
                  AND c.entry_id <> ALL (a.first_ids) AND c.seq > coalesce(a.seqs[c.lane + 2], 0)
                  AND c.kind IN ('c', 'r') AND c.event_at >= a.first AND c.event_at < a.last AND (cutoff IS NULL OR c.created_at < cutoff)
               OFFSET 0) c
    ), days AS MATERIALIZED (
        -- The days of booking whose entries must be read.
        SELECT a.wallet, d.booked_on
          FROM asked a
         CROSS JOIN LATERAL (
               SELECT DISTINCT u.booked_on
                 FROM wallet.usage_rollups u
                WHERE u.wallet_id = a.wallet AND u.day >= a.from_use AND u.day <= a.to_use AND u.booked_on < a.begun_from
                  AND NOT (by_days AND u.day >= a.first_day AND u.day < a.next_day AND u.booked_on < a.over_before)
               OFFSET 0) d
         WHERE NOT a.is_rolled AND cardinality(a.seqs) > 0
    ), ranges AS MATERIALIZED (
        -- Two ranges may overlap: an entry belongs to that of its day.
        SELECT d.wallet, d.booked_on, min(c.first_use::text COLLATE "C")::uuid AS first_id, max(c.last_use::text COLLATE "C")::uuid AS last_id
          FROM days d
         CROSS JOIN LATERAL (
               SELECT c.first_use, c.last_use FROM wallet.rollup_chunks c
                WHERE c.wallet_id = d.wallet AND d.booked_on BETWEEN c.first_on AND c.last_on AND c.first_use IS NOT NULL
               OFFSET 0) c
         GROUP BY 1, 2
    ), earlier AS (
        SELECT a.wallet, a.currency, c.*
          FROM asked a
          JOIN ranges r ON r.wallet = a.wallet
         CROSS JOIN LATERAL (
               SELECT c.event_at AT TIME ZONE a.time_zone AS local, c.event_at, c.user_id, c.team, c.model, c.provider, c.service, c.region, c.key_id,
                      c.tags, c.requests, c.input_tokens, c.output_tokens, c.cost, c.refunded, true
                 FROM wallet.counted_entries c
                WHERE c.wallet = a.wallet AND c.entry_id BETWEEN r.first_id AND r.last_id AND c.seq <= a.seqs[c.lane + 2]
                  AND (c.created_at AT TIME ZONE a.time_zone)::date = r.booked_on
                  AND c.kind IN ('c', 'r') AND c.event_at >= a.first AND c.event_at < a.last AND (cutoff IS NULL OR c.created_at < cutoff)
                  AND NOT (by_days AND (c.event_at AT TIME ZONE a.time_zone)::date >= a.first_day
                           AND (c.event_at AT TIME ZONE a.time_zone)::date < a.next_day AND r.booked_on < a.over_before)
               OFFSET 0) c
    ), parts AS (
        SELECT a.wallet, a.currency, NULL::timestamp AS local, NULL::timestamptz AS at, u.day, u.user_id, u.team, u.model, u.provider, u.service, u.region,
               u.key_id, NULL::jsonb AS tags, u.requests, u.input_tokens, u.output_tokens, u.cost, u.refunded
          FROM asked a
         CROSS JOIN LATERAL (
               SELECT u.* FROM wallet.usage_rollups u
                WHERE by_days AND u.wallet_id = a.wallet AND u.day >= a.first_day AND u.day < a.next_day AND u.booked_on < a.over_before
               OFFSET 0) u
         WHERE cardinality(a.seqs) > 0
         UNION ALL
        SELECT e.wallet, e.currency, e.local, e.event_at, e.local::date, e.user_id, e.team, e.model, e.provider, e.service, e.region,
               e.key_id, e.tags, e.requests, e.input_tokens, e.output_tokens, e.cost, e.refunded
          FROM (SELECT n.* FROM near n UNION ALL SELECT r.* FROM rest r UNION ALL SELECT b.* FROM earlier b) e
         WHERE e.counts
    ), valued AS (
        SELECT p.currency, p.at, p.requests, p.input_tokens, p.output_tokens, p.cost, p.refunded,
               CASE one WHEN 'wallet' THEN p.wallet WHEN 'user' THEN p.user_id WHEN 'team' THEN p.team WHEN 'model' THEN p.model
                        WHEN 'provider' THEN p.provider WHEN 'service' THEN p.service WHEN 'region' THEN p.region WHEN 'key' THEN p.key_id::text
                        WHEN 'hour' THEN p.hour WHEN 'day' THEN p.days::text WHEN 'week' THEN p.weeks::text WHEN 'month' THEN p.months::text
                        ELSE p.tags ->> substr(one, 5) END AS one,
               CASE two WHEN 'wallet' THEN p.wallet WHEN 'user' THEN p.user_id WHEN 'team' THEN p.team WHEN 'model' THEN p.model
                        WHEN 'provider' THEN p.provider WHEN 'service' THEN p.service WHEN 'region' THEN p.region WHEN 'key' THEN p.key_id::text
                        WHEN 'hour' THEN p.hour WHEN 'day' THEN p.days::text WHEN 'week' THEN p.weeks::text WHEN 'month' THEN p.months::text
                        ELSE p.tags ->> substr(two, 5) END AS two,
               CASE three WHEN 'wallet' THEN p.wallet WHEN 'user' THEN p.user_id WHEN 'team' THEN p.team WHEN 'model' THEN p.model
                        WHEN 'provider' THEN p.provider WHEN 'service' THEN p.service WHEN 'region' THEN p.region WHEN 'key' THEN p.key_id::text
                        WHEN 'hour' THEN p.hour WHEN 'day' THEN p.days::text WHEN 'week' THEN p.weeks::text WHEN 'month' THEN p.months::text
                        ELSE p.tags ->> substr(three, 5) END AS three
          FROM (SELECT p.*,
                       -- Days are numbers, so that neither DateStyle nor an era matters.
                       p.day - '2000-01-01'::date AS days,
                       p.day - (extract(isodow FROM p.day)::integer - 1) - '2000-01-01'::date AS weeks,
                       date_trunc('month', p.day::timestamp)::date - '2000-01-01'::date AS months,
                       -- When the hour begins, in seconds. An hour that occurs twice begins twice.
                       CASE WHEN by_hours THEN
                       extract(epoch FROM date_trunc('hour', p.local) - (p.local - p.at AT TIME ZONE 'UTC'))::bigint::text END AS hour
                  FROM parts p) p
    )
    SELECT v.currency, (ARRAY[v.one, v.two, v.three])[:cardinality(checked)], min(v.at), sum(v.requests)::bigint,
           sum(v.input_tokens)::bigint, sum(v.output_tokens)::bigint, sum(v.cost), sum(v.refunded)
      FROM valued v
     GROUP BY v.currency, v.one, v.two, v.three;
END
$$;
COMMENT ON FUNCTION wallet.usage_groups IS 'Returns the rows of usage() with exact sums. A day is a number of days since 2000-01-01, and an hour the number of seconds at which it begins. Errors: 22023, 42501, WL003.';

CREATE FUNCTION wallet.usage(
    wallets text[] DEFAULT '{*}', "by" text[] DEFAULT '{}', "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL,
    from_day date DEFAULT NULL, to_day date DEFAULT NULL, as_of timestamptz DEFAULT NULL,
    OUT wallet text, OUT user_id text, OUT team text, OUT model text, OUT provider text, OUT service text, OUT region text,
    OUT key_id uuid, OUT tags jsonb, OUT hour timestamptz, OUT day date, OUT week date, OUT month date,
    OUT currency text, OUT requests bigint, OUT input_tokens bigint, OUT output_tokens bigint, OUT tokens bigint,
    OUT cost numeric, OUT refunded numeric)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
    SELECT g.group_values[array_position(usage."by", 'wallet')],
           g.group_values[array_position(usage."by", 'user')],
           g.group_values[array_position(usage."by", 'team')],
           g.group_values[array_position(usage."by", 'model')],
           g.group_values[array_position(usage."by", 'provider')],
           g.group_values[array_position(usage."by", 'service')],
           g.group_values[array_position(usage."by", 'region')],
           g.group_values[array_position(usage."by", 'key')]::uuid,
           t.tags,
           to_timestamp(g.group_values[array_position(usage."by", 'hour')]::bigint),
           '2000-01-01'::date + g.group_values[array_position(usage."by", 'day')]::integer,
           '2000-01-01'::date + g.group_values[array_position(usage."by", 'week')]::integer,
           '2000-01-01'::date + g.group_values[array_position(usage."by", 'month')]::integer,
           g.currency, g.requests, g.input_tokens, g.output_tokens, g.input_tokens + g.output_tokens,
           round(g.cost, greatest(min_scale(g.cost), 2)), round(g.refunded, greatest(min_scale(g.refunded), 2))
      FROM wallet.usage_groups(usage.wallets, usage."by", usage."from", usage."to", usage.from_day, usage.to_day, usage.as_of) g
     CROSS JOIN LATERAL (
           SELECT jsonb_object_agg(substr(b.name, 5), g.group_values[b.place]) AS tags
             FROM unnest(usage."by") WITH ORDINALITY AS b(name, place) WHERE b.name LIKE 'tag:%') t
     ORDER BY g.currency, g.cost DESC, g.group_values
$$;
COMMENT ON FUNCTION wallet.usage IS 'Sums the usage of wallets by up to three dimensions, as it is known now or as it was known at a time. Each currency has rows of its own. Errors: 22023, 42501, WL003.';
