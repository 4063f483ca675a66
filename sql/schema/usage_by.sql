-- Usage by an attribute, by the time of use.
--
-- This holds for the functions of all reports:
-- - Each calls readable_wallet() first, which raises an error if the caller may not read the
--   wallet. Rows are then read through the views, under row-level security.
-- - plan_cache_mode makes the server plan for the given wallet. A generic plan, or one made before
--   the first roll-up, can take minutes on a large wallet.

CREATE FUNCTION wallet.usage_rows(
    wallet text, dimension text, first timestamptz, last timestamptz,
    OUT value text, OUT requests bigint, OUT tokens bigint, OUT cost numeric, OUT average_cost numeric,
    OUT share numeric, OUT refunded numeric)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
-- On a large ledger, JIT compilation takes longer than execution.
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
    zone text;
    first_day date;
    next_day date;
    by_days boolean;
BEGIN
    PERFORM wallet.readable_wallet(usage_rows.wallet);
    IF dimension IS NULL OR dimension NOT IN ('user', 'team', 'model', 'service', 'region', 'key', 'hour', 'day')
       AND dimension NOT LIKE 'tag:_%' THEN
        RAISE EXCEPTION USING ERRCODE = '22023',
            MESSAGE = format('unrecognized dimension %s', coalesce('"' || dimension || '"', 'NULL')),
            DETAIL = 'It is not a valid value of dimension.',
            HINT = 'Valid values are: user, team, model, service, region, key, hour, day, tag:NAME.';
    END IF;
    SELECT w.time_zone INTO zone FROM wallet.wallets w WHERE w.wallet_id = usage_rows.wallet;
    first_day := coalesce(wallet.day_begun(first, zone), CASE WHEN first IS NULL THEN '-infinity'::date END);
    next_day := coalesce(wallet.day_begun(last, zone), CASE WHEN last IS NULL THEN 'infinity'::date END);
    -- Roll-ups contain whole days, but no hours and no tags.
    by_days := first_day IS NOT NULL AND next_day IS NOT NULL AND dimension <> 'hour' AND dimension NOT LIKE 'tag:%';
    RETURN QUERY
        SELECT g.value, g.requests, g.tokens,
               round(g.cost, greatest(min_scale(g.cost), 2)),
               trim_scale(round(g.cost / nullif(g.requests, 0), 12)),
               -- Running sums are rounded, so that the shares add up to one.
               trim_scale(round(sum(g.cost) OVER in_order / nullif(sum(g.cost) OVER (), 0), 6)
                          - round((sum(g.cost) OVER in_order - g.cost) / nullif(sum(g.cost) OVER (), 0), 6)),
               round(g.refunded, greatest(min_scale(g.refunded), 2))
          FROM (SELECT CASE usage_rows.dimension WHEN 'hour' THEN wallet.hour_of(min(u.at), zone) ELSE u.value END AS value,
                       sum(u.requests)::bigint AS requests, sum(u.tokens)::bigint AS tokens,
                       sum(u.cost) AS cost, sum(u.refunded) AS refunded
                  FROM (SELECT NULL::timestamptz AS at, NULL::interval AS shift,
                               CASE usage_rows.dimension
                                   WHEN 'user' THEN d.user_id WHEN 'team' THEN d.team WHEN 'model' THEN d.model
                                   WHEN 'service' THEN d.service WHEN 'region' THEN d.region WHEN 'key' THEN d.key_id::text
                                   ELSE to_char(d.day, 'YYYY-MM-DD') END AS value,
                               d.requests, d.input_tokens + d.output_tokens AS tokens, d.cost, d.refunded
                          FROM wallet.usage_days d
                         WHERE by_days AND d.wallet = usage_rows.wallet AND d.day >= first_day AND d.day < next_day
                         UNION ALL
                        SELECT CASE usage_rows.dimension WHEN 'hour' THEN e.event_at END,
                               -- An hour that occurs twice when clocks are set back has two rows.
                               CASE usage_rows.dimension WHEN 'hour' THEN e.event_at AT TIME ZONE zone - e.event_at AT TIME ZONE 'UTC' END,
                               CASE usage_rows.dimension
                                   WHEN 'user' THEN e.user_id WHEN 'team' THEN e.team WHEN 'model' THEN e.model
                                   WHEN 'service' THEN e.service WHEN 'region' THEN e.region WHEN 'key' THEN e.key_id::text
                                   WHEN 'hour' THEN to_char(e.event_at AT TIME ZONE zone, 'YYYY-MM-DD HH24')
                                   WHEN 'day' THEN to_char(e.event_at AT TIME ZONE zone, 'YYYY-MM-DD')
                                   ELSE e.tags ->> substr(usage_rows.dimension, 5) END,
                               e.requests, e.tokens, e.cost, e.refunded
                          FROM wallet.usage_entries e
                         WHERE NOT by_days AND e.wallet = usage_rows.wallet
                           AND (first IS NULL OR e.event_at >= first)
                           AND (last IS NULL OR e.event_at < last)) u
                 GROUP BY u.value, u.shift) g
        WINDOW in_order AS (ORDER BY g.cost DESC, g.value ROWS UNBOUNDED PRECEDING)
         ORDER BY g.cost DESC, g.value;
END
$$;
COMMENT ON FUNCTION wallet.usage_rows IS 'Returns the rows of usage_by() in the wallet''s currency. Errors: 22023, 42501, WL003.';

-- Uses the rate at the last moment of the period, like the closing line of a statement.
CREATE FUNCTION wallet.usage_by(
    wallet text, dimension text, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL,
    from_day date DEFAULT NULL, to_day date DEFAULT NULL, currency text DEFAULT NULL,
    OUT value text, OUT requests bigint, OUT tokens bigint, OUT cost numeric, OUT average_cost numeric,
    OUT share numeric, OUT refunded numeric, OUT currency text, OUT rate numeric, OUT inverse boolean)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
    SELECT u.value, u.requests, u.tokens,
           coalesce(wallet.exchanged(u.cost, x.rate, x.inverse), u.cost),
           coalesce(trim_scale(wallet.exchanged(u.cost, x.rate, x.inverse, nullif(u.requests, 0))), u.average_cost),
           u.share,
           coalesce(wallet.exchanged(u.refunded, x.rate, x.inverse), u.refunded),
           x.currency, x.rate, x.inverse
      FROM wallet.span_of(usage_by.wallet, usage_by."from", usage_by."to", usage_by.from_day, usage_by.to_day) s
     CROSS JOIN LATERAL wallet.exchange_rates(usage_by.wallet, usage_by.currency,
                                              ARRAY[least(s.last - interval '1 microsecond', statement_timestamp())]) x
     CROSS JOIN LATERAL wallet.usage_rows(x.wallet, usage_by.dimension, s.first, s.last) WITH ORDINALITY
           AS u(value, requests, tokens, cost, average_cost, share, refunded, n)
     ORDER BY u.n
$$;
COMMENT ON FUNCTION wallet.usage_by IS 'Sums the usage of a wallet by user, team, model, service, region, key, hour, day or a tag, most expensive first. Errors: 22023, 42501, WL003, WL015, WL012.';
