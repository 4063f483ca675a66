-- Usage by an attribute, by the time of use.
--
-- This holds for the functions of all reports:
-- - Each calls readable_wallet() first, which raises an error if the caller may not read the
--   wallet. Rows are then read through the views, under row-level security.
-- - plan_cache_mode makes the server plan for the given wallet. A generic plan, or one made before
--   the first roll-up, can take minutes on a large wallet.

CREATE FUNCTION wallet.usage_rows(
    wallet text, dimension text, first timestamptz, last timestamptz, as_of timestamptz DEFAULT NULL,
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
BEGIN
    PERFORM wallet.readable_wallet(usage_rows.wallet), wallet.check_dimensions(ARRAY[dimension]);
    SELECT w.time_zone INTO zone FROM wallet.wallets w WHERE w.wallet_id = usage_rows.wallet;
    RETURN QUERY
        SELECT g.value, g.requests, g.tokens,
               round(g.cost, greatest(min_scale(g.cost), 2)),
               trim_scale(round(g.cost / nullif(g.requests, 0), 12)),
               -- Running sums are rounded, so that the shares add up to one.
               trim_scale(round(sum(g.cost) OVER in_order / nullif(sum(g.cost) OVER (), 0), 6)
                          - round((sum(g.cost) OVER in_order - g.cost) / nullif(sum(g.cost) OVER (), 0), 6)),
               round(g.refunded, greatest(min_scale(g.refunded), 2))
          FROM (SELECT CASE WHEN usage_rows.dimension IN ('day', 'week', 'month')
                            THEN to_char('2000-01-01'::date + u.group_values[1]::integer, 'YYYY-MM-DD')
                            WHEN usage_rows.dimension = 'hour' THEN wallet.hour_of(u.first_at, zone)
                            ELSE u.group_values[1] END AS value,
                       u.requests, u.input_tokens + u.output_tokens AS tokens, u.cost, u.refunded
                  FROM wallet.usage_groups(ARRAY[usage_rows.wallet], ARRAY[usage_rows.dimension], first, last, NULL, NULL, usage_rows.as_of) u) g
        WINDOW in_order AS (ORDER BY g.cost DESC, g.value ROWS UNBOUNDED PRECEDING)
         ORDER BY g.cost DESC, g.value;
END
$$;
COMMENT ON FUNCTION wallet.usage_rows IS 'Returns the rows of usage_by() in the wallet''s currency. Errors: 22023, 42501, WL003.';

-- Uses the rate at the last moment of the period, like the closing line of a statement.
CREATE FUNCTION wallet.usage_by(
    wallet text, dimension text, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL,
    from_day date DEFAULT NULL, to_day date DEFAULT NULL, currency text DEFAULT NULL, as_of timestamptz DEFAULT NULL,
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
     CROSS JOIN LATERAL wallet.usage_rows(x.wallet, usage_by.dimension, s.first, s.last, usage_by.as_of) WITH ORDINALITY
           AS u(value, requests, tokens, cost, average_cost, share, refunded, n)
     ORDER BY u.n
$$;
COMMENT ON FUNCTION wallet.usage_by IS 'Sums the usage of a wallet by user, team, model, provider, service, region, key, hour, day, week, month or a tag, most expensive first. Errors: 22023, 42501, WL003, WL015, WL012.';
