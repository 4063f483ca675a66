-- A summary of a wallet for a person in psql.

CREATE FUNCTION wallet.report(wallet text, days integer DEFAULT 30, currency text DEFAULT NULL) RETURNS SETOF text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
    b record;
    f record;
    fx record;
    zone text;
    today date;
BEGIN
    PERFORM wallet.readable_wallet(report.wallet);
    IF days IS NULL OR days NOT BETWEEN 1 AND 366 THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'days is out of range',
            DETAIL = format('It is %s; 1 to 366 are allowed.', coalesce(days::text, 'NULL')),
            HINT = 'Leave it out for 30 days.';
    END IF;
    -- All amounts use the current rate.
    SELECT r.currency, r.rate, r.inverse INTO fx FROM wallet.exchange_rates(report.wallet, report.currency, ARRAY[statement_timestamp()]) r;
    SELECT * INTO b FROM wallet.balances WHERE wallet = report.wallet;
    SELECT w.time_zone, (statement_timestamp() AT TIME ZONE w.time_zone)::date INTO zone, today
      FROM wallet.wallets w WHERE w.wallet_id = report.wallet;
    RETURN NEXT format('%s   %s   %s', report.wallet, b.status, to_char(statement_timestamp() AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI ') || zone);
    RETURN NEXT '';
    RETURN NEXT format('balance    %14s %s', coalesce(wallet.exchanged(b.balance, fx.rate, fx.inverse), b.balance), fx.currency);
    IF fx.rate IS NOT NULL THEN
        RETURN NEXT format('rate       1 %s = %s %s', CASE WHEN fx.inverse THEN fx.currency ELSE b.currency END, fx.rate,
                           CASE WHEN fx.inverse THEN b.currency ELSE fx.currency END);
    END IF;
    IF b.held <> 0 THEN RETURN NEXT format('held       %14s', coalesce(wallet.exchanged(b.held, fx.rate, fx.inverse), b.held)); END IF;
    RETURN NEXT format('available  %14s', coalesce(wallet.exchanged(b.available, fx.rate, fx.inverse), b.available));
    IF b.credit_limit <> 0 THEN RETURN NEXT format('credit     %14s', coalesce(wallet.exchanged(b.credit_limit, fx.rate, fx.inverse), b.credit_limit)); END IF;
    IF b.debt <> 0 THEN RETURN NEXT format('debt       %14s', coalesce(wallet.exchanged(b.debt, fx.rate, fx.inverse), b.debt)); END IF;
    IF cardinality(b.low_balance) > 0 THEN
        RETURN NEXT 'alerts at  ' || (SELECT string_agg(trim_scale(coalesce(wallet.exchanged(t, fx.rate, fx.inverse), t)) || CASE WHEN b.available < t THEN ' (below)' ELSE '' END, ', ' ORDER BY t DESC) FROM unnest(b.low_balance) t);
    END IF;
    SELECT * INTO f FROM wallet.forecast(report.wallet);
    RETURN NEXT CASE
        WHEN f.daily_burn IS NULL THEN 'forecast   ' || f.basis
        WHEN f.daily_burn = 0 THEN format('forecast   nothing is spent (%s)', f.basis)
        WHEN f.days_left IS NULL THEN format('forecast   %s a day, lasts for more than a hundred years (%s)', round(coalesce(wallet.exchanged(f.daily_burn, fx.rate, fx.inverse), f.daily_burn), 2), f.basis)
        ELSE format('forecast   %s a day, %s days left, until %s (%s)', round(coalesce(wallet.exchanged(f.daily_burn, fx.rate, fx.inverse), f.daily_burn), 2), f.days_left,
                    to_char(f.runs_out_at AT TIME ZONE zone, 'YYYY-MM-DD'), f.basis) END;
    RETURN NEXT '';
    RETURN NEXT format('Spent in %s days', days);
    RETURN QUERY
        -- The usage of a large wallet is read once for all parts of the report.
        WITH used AS MATERIALIZED (
            SELECT u.day, u.model, u.user_id, u.team, grouping(u.day, u.model, u.user_id, u.team) AS without, sum(u.cost) AS cost
              FROM wallet.usage_days u
             WHERE u.wallet = report.wallet AND u.day > today - report.days
             GROUP BY GROUPING SETS ((u.day), (u.model), (u.user_id), (u.team))
        ), top AS (
            -- Running sums are rounded, so that the shares add up to 100 %.
            SELECT s.n, g.value, g.cost,
                   round(100 * sum(g.cost) OVER in_order / nullif(sum(g.cost) OVER (PARTITION BY s.n), 0), 1)
                   - round(100 * (sum(g.cost) OVER in_order - g.cost) / nullif(sum(g.cost) OVER (PARTITION BY s.n), 0), 1) AS percent,
                   row_number() OVER in_order AS place
              FROM used u
              JOIN (VALUES (1, 11), (2, 13), (3, 14)) s(n, without) USING (without)
             CROSS JOIN LATERAL (SELECT coalesce(u.model, u.user_id, u.team) AS value, u.cost) g
            WINDOW in_order AS (PARTITION BY s.n ORDER BY g.cost DESC, g.value ROWS UNBOUNDED PRECEDING)
        ), shown AS (
            SELECT t.n, t.place, coalesce(t.value, '(none)') AS name, t.cost, t.percent FROM top t WHERE t.place <= 5
             UNION ALL
            SELECT t.n, 6, format('(%s more)', count(*)), sum(t.cost), sum(t.percent) FROM top t WHERE t.place > 5 GROUP BY t.n
        )
        SELECT r.text
          FROM (SELECT 0 AS n, d.day - today AS place,
                       format('  %s %12s  %s', to_char(d.day, 'YYYY-MM-DD'), round(coalesce(wallet.exchanged(d.cost, fx.rate, fx.inverse), d.cost), 2),
                              repeat('#', CASE WHEN max(d.cost) OVER () > 0 THEN ceil(40 * d.cost / max(d.cost) OVER ())::integer ELSE 0 END)) AS text
                  FROM (SELECT g.day::date AS day, coalesce(u.cost, 0) AS cost
                          FROM generate_series((today - report.days + 1)::timestamp, today::timestamp, interval '1 day') g(day)
                          LEFT JOIN used u ON u.without = 7 AND u.day = g.day::date) d
                 UNION ALL
                SELECT s.n, 0, '' FROM (VALUES (1), (2), (3)) s(n)
                 UNION ALL
                SELECT s.n, 1, s.title FROM (VALUES (1, 'Models'), (2, 'Users'), (3, 'Teams')) s(n, title)
                 UNION ALL
                SELECT t.n, 1 + t.place,
                       format('  %-32s %12s  %5s %%', left(t.name, 32), round(coalesce(wallet.exchanged(t.cost, fx.rate, fx.inverse), t.cost), 2), coalesce(t.percent, 0.0))
                  FROM shown t) r
         ORDER BY r.n, r.place;
    IF EXISTS (SELECT FROM wallet.limits_status l WHERE l.wallet = report.wallet AND NOT l.paused) THEN
        RETURN NEXT '';
        RETURN NEXT 'Limits';
    END IF;
    RETURN QUERY
        SELECT format('  %-40s %12s of %-12s %5s %%', left(concat_ws(' ', l.scope, nullif(l.subject, '*'), l.period, nullif(l.metric, 'amount')), 40),
                      coalesce(wallet.exchanged(l.used + l.held, m.rate, fx.inverse), l.used + l.held),
                      coalesce(wallet.exchanged(l.max, m.rate, fx.inverse), l.max), coalesce(l.percent, 100))
          FROM wallet.limits_status l
         -- Requests and tokens are not money.
         CROSS JOIN LATERAL (SELECT CASE l.metric WHEN 'amount' THEN fx.rate END AS rate) m
         WHERE l.wallet = report.wallet AND NOT l.paused
         ORDER BY l.percent DESC NULLS FIRST, l.scope, l.subject LIMIT 8;
    RETURN QUERY
        SELECT x.text FROM (
            SELECT 1 AS n, '' AS text WHERE EXISTS (SELECT FROM wallet.holds h WHERE h.wallet = report.wallet AND h.status = 'open')
             UNION ALL
            SELECT 2, format('Open holds: %s, %s held', count(*), coalesce(wallet.exchanged(sum(h.held), fx.rate, fx.inverse), sum(h.held))) FROM wallet.holds h
             WHERE h.wallet = report.wallet AND h.status = 'open' HAVING count(*) > 0
             UNION ALL
            SELECT 3, format('Top-up requested: %s by %s since %s', coalesce(wallet.exchanged(t.amount, fx.rate, fx.inverse), t.amount), t.method, to_char(t.created_at AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI'))
              FROM wallet.topups t WHERE t.wallet = report.wallet AND t.status = 'requested') x
         ORDER BY x.n;
END
$$;
COMMENT ON FUNCTION wallet.report IS 'Summarizes a wallet for a person in psql: balance, alerts, forecast, spending per day, top models, users and teams, limits, open holds and top-ups. Errors: 22023, 42501, WL003, WL015, WL012.';
