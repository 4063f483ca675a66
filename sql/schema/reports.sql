-- Reports. Usage, chargeback and forecast go by the time of use, statements by the time of booking.
-- Each function asks readable_wallet() first, which raises where the wallet is not the caller's to
-- read; the rows come through the views, under row-level security.

CREATE FUNCTION wallet.usage_by(
    wallet text, dimension text, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL,
    OUT value text, OUT requests bigint, OUT tokens bigint, OUT cost numeric, OUT average_cost numeric,
    OUT share numeric, OUT refunded numeric)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
-- On a large ledger compiling takes longer than running.
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    zone text;
    first_day date;
    next_day date;
    by_days boolean;
BEGIN
    PERFORM wallet.readable_wallet(usage_by.wallet);
    IF dimension IS NULL OR dimension NOT IN ('user', 'team', 'model', 'service', 'region', 'key', 'hour', 'day')
       AND dimension NOT LIKE 'tag:_%' THEN
        RAISE EXCEPTION USING ERRCODE = '22023',
            MESSAGE = format('dimension %s is not known', coalesce('"' || dimension || '"', 'NULL')),
            DETAIL = 'Known are: user, team, model, service, region, key, hour, day, tag:NAME.',
            HINT = 'Give one of these as dimension.';
    END IF;
    SELECT w.time_zone INTO zone FROM wallet.wallets w WHERE w.wallet_id = usage_by.wallet;
    first_day := coalesce(wallet.day_begun("from", zone), CASE WHEN "from" IS NULL THEN '-infinity'::date END);
    next_day := coalesce(wallet.day_begun("to", zone), CASE WHEN "to" IS NULL THEN 'infinity'::date END);
    -- Roll-ups know whole days, and neither hours nor tags.
    by_days := first_day IS NOT NULL AND next_day IS NOT NULL AND dimension <> 'hour' AND dimension NOT LIKE 'tag:%';
    RETURN QUERY
        SELECT g.value, g.requests, g.tokens,
               round(g.cost, greatest(min_scale(g.cost), 2)),
               trim_scale(round(g.cost / nullif(g.requests, 0), 12)),
               trim_scale(round(g.cost / nullif(sum(g.cost) OVER (), 0), 6)),
               round(g.refunded, greatest(min_scale(g.refunded), 2))
          FROM (SELECT u.value, sum(u.requests)::bigint AS requests, sum(u.tokens)::bigint AS tokens,
                       sum(u.cost) AS cost, sum(u.refunded) AS refunded
                  FROM (SELECT CASE usage_by.dimension
                                   WHEN 'user' THEN d.user_id WHEN 'team' THEN d.team WHEN 'model' THEN d.model
                                   WHEN 'service' THEN d.service WHEN 'region' THEN d.region WHEN 'key' THEN d.key_id::text
                                   ELSE to_char(d.day, 'YYYY-MM-DD') END AS value,
                               d.requests, d.input_tokens + d.output_tokens AS tokens, d.cost, d.refunded
                          FROM wallet.usage_days d
                         WHERE by_days AND d.wallet = usage_by.wallet AND d.day >= first_day AND d.day < next_day
                         UNION ALL
                        SELECT CASE usage_by.dimension
                                   WHEN 'user' THEN e.user_id WHEN 'team' THEN e.team WHEN 'model' THEN e.model
                                   WHEN 'service' THEN e.service WHEN 'region' THEN e.region WHEN 'key' THEN e.key_id::text
                                   WHEN 'hour' THEN to_char(e.event_at AT TIME ZONE zone, 'YYYY-MM-DD HH24:00')
                                   WHEN 'day' THEN to_char(e.event_at AT TIME ZONE zone, 'YYYY-MM-DD')
                                   ELSE e.tags ->> substr(usage_by.dimension, 5) END,
                               e.requests, e.tokens, e.cost, e.refunded
                          FROM wallet.usage_entries e
                         WHERE NOT by_days AND e.wallet = usage_by.wallet
                           AND (usage_by."from" IS NULL OR e.event_at >= usage_by."from")
                           AND (usage_by."to" IS NULL OR e.event_at < usage_by."to")) u
                 GROUP BY 1) g
         ORDER BY g.cost DESC, g.value;
END
$$;
COMMENT ON FUNCTION wallet.usage_by IS 'Use of a wallet by user, team, model, service, region, key, hour, day or a tag, the dearest first. Errors: 22023, 42501, WL003.';

CREATE TABLE wallet.chargeback_rules (
    wallet_id    text PRIMARY KEY REFERENCES wallet.wallets,
    rule         text NOT NULL CHECK (rule IN ('none', 'even', 'use', 'fixed')),
    shares       jsonb NOT NULL DEFAULT '{}',
    changed_at   timestamptz NOT NULL
);
COMMENT ON TABLE wallet.chargeback_rules IS 'How what no team used is split over the teams of a wallet.';
COMMENT ON COLUMN wallet.chargeback_rules.rule IS 'none: shown as unallocated; even: the same for each team; use: in proportion to their own cost; fixed: by shares.';
COMMENT ON COLUMN wallet.chargeback_rules.shares IS 'For fixed: the fraction of each team; what they leave stays unallocated.';

CREATE TABLE wallet.run_out_alerts (
    wallet_id    text PRIMARY KEY REFERENCES wallet.wallets,
    days         integer NOT NULL CHECK (days > 0),
    near         boolean NOT NULL DEFAULT false,
    changed_at   timestamptz NOT NULL
);
COMMENT ON TABLE wallet.run_out_alerts IS 'Wallets that want to be told when their money lasts only so many days.';
COMMENT ON COLUMN wallet.run_out_alerts.near IS 'Whether it was told and has not recovered.';

CREATE FUNCTION wallet.chargeback(
    wallet text, month date,
    OUT team text, OUT requests bigint, OUT tokens bigint, OUT direct_cost numeric, OUT shared_cost numeric,
    OUT total_cost numeric, OUT share numeric, OUT refunded numeric)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    PERFORM wallet.readable_wallet(chargeback.wallet);
    IF month IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'month is missing',
            DETAIL = 'The argument month is NULL or was not given.', HINT = 'Give any day of the month.';
    END IF;
    RETURN QUERY
    WITH bounds AS (
        SELECT date_trunc('month', chargeback.month::timestamp) AT TIME ZONE w.time_zone AS first,
               (date_trunc('month', chargeback.month::timestamp) + interval '1 month') AT TIME ZONE w.time_zone AS last,
               coalesce(r.rule, 'none') AS rule, coalesce(r.shares, '{}') AS shares
          FROM wallet.wallets w LEFT JOIN wallet.chargeback_rules r ON r.wallet_id = w.wallet_id
         WHERE w.wallet_id = chargeback.wallet
    ), direct AS (
        SELECT u.value AS team, u.requests, u.tokens, u.cost, u.refunded
          FROM bounds b CROSS JOIN LATERAL wallet.usage_by(chargeback.wallet, 'team', b.first, b.last) u
    ), pool AS (
        SELECT coalesce(sum(d.cost), 0) AS cost FROM direct d WHERE d.team IS NULL
    ), teams AS (
        SELECT t.team,
               CASE b.rule
                   WHEN 'even' THEN 1.0 / count(*) OVER ()
                   WHEN 'use' THEN coalesce(d.cost / nullif(sum(d.cost) OVER (), 0), 1.0 / count(*) OVER ())
                   WHEN 'fixed' THEN coalesce((b.shares ->> t.team)::numeric, 0)
                   ELSE 0 END AS weight
          FROM bounds b
         CROSS JOIN LATERAL (
                SELECT d.team FROM direct d WHERE d.team IS NOT NULL
                 UNION
                SELECT k FROM jsonb_object_keys(b.shares) k WHERE b.rule = 'fixed') t
          LEFT JOIN direct d ON d.team = t.team
    ), split AS (
        -- Running sums are rounded, not shares, so that the parts add up to the last digit.
        SELECT t.team,
               round(p.cost * sum(t.weight) OVER (ORDER BY t.team), 12)
                 - coalesce(round(p.cost * sum(t.weight) OVER (ORDER BY t.team ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 12), 0) AS cost
          FROM teams t, pool p
    ), rows AS (
        SELECT s.team, coalesce(d.requests, 0) AS requests, coalesce(d.tokens, 0) AS tokens,
               coalesce(d.cost, 0) AS direct, s.cost AS shared, coalesce(d.refunded, 0) AS refunded
          FROM split s LEFT JOIN direct d ON d.team = s.team
         UNION ALL
        SELECT NULL, d.requests, d.tokens, d.cost, -(SELECT coalesce(sum(s.cost), 0) FROM split s), d.refunded
          FROM direct d WHERE d.team IS NULL
    )
    SELECT r.team, r.requests, r.tokens,
           round(r.direct, greatest(min_scale(r.direct), 2)),
           round(r.shared, greatest(min_scale(r.shared), 2)),
           round(r.direct + r.shared, greatest(min_scale(r.direct + r.shared), 2)),
           trim_scale(round((r.direct + r.shared) / nullif(sum(r.direct + r.shared) OVER (), 0), 6)),
           round(r.refunded, greatest(min_scale(r.refunded), 2))
      FROM rows r
     ORDER BY r.team NULLS LAST;
END
$$;
COMMENT ON FUNCTION wallet.chargeback IS 'What each team of a wallet cost in a month; a NULL team is the unallocated. The totals add up to the wallet''s charges. Errors: 22023, 42501, WL003.';

CREATE FUNCTION wallet.balance_at(wallet text, at timestamptz) RETURNS numeric
LANGUAGE sql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
    SELECT round(b.balance, greatest(min_scale(b.balance), 2))
      FROM (SELECT wallet.booked_before(wallet.readable_wallet(balance_at.wallet), balance_at.at + interval '1 microsecond') AS balance) b
$$;
COMMENT ON FUNCTION wallet.balance_at IS 'The sum of a wallet''s entries up to a time: its balance, less what it owed. Errors: 22023, 42501, WL003.';

CREATE FUNCTION wallet.statement(
    wallet text, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL,
    OUT line bigint, OUT at timestamptz, OUT kind text, OUT description text, OUT amount numeric, OUT balance numeric)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
    WITH w AS (
        SELECT w.wallet_id, w.time_zone, coalesce(statement."from", w.created_at) AS first,
               coalesce(statement."to", statement_timestamp()) AS last
          FROM wallet.wallets w
         WHERE w.wallet_id = wallet.readable_wallet(statement.wallet)
    ), booked AS (
        SELECT l.*
          FROM w
         CROSS JOIN LATERAL wallet.booked_ids(w.wallet_id, w.first, w.last) r
         -- OFFSET 0 has each range looked up by its ids.
         CROSS JOIN LATERAL (
               SELECT l.* FROM wallet.ledger_all l
                WHERE l.wallet_id = w.wallet_id AND l.entry_id BETWEEN r.first_id AND r.last_id
                  AND l.created_at >= w.first AND l.created_at < w.last
               OFFSET 0) l
    ), movements AS (
        -- Charges of a day and a model are one line.
        SELECT max(l.created_at) AS at, 'charge' AS kind,
               format('%s, %s %s', coalesce(l.model, l.service, 'usage'), count(*),
                      CASE count(*) WHEN 1 THEN 'charge' ELSE 'charges' END) AS description,
               sum(l.amount) AS amount
          FROM booked l, w
         WHERE l.kind = 'c'
         GROUP BY (l.created_at AT TIME ZONE w.time_zone)::date, coalesce(l.model, l.service, 'usage')
         UNION ALL
        SELECT e.created_at, e.kind, concat_ws(', ', e.contra, e.reference, e.reason), e.amount
          FROM booked l
         CROSS JOIN LATERAL (
               SELECT e.* FROM wallet.entries e WHERE e.wallet = l.wallet_id AND e.entry_id = l.entry_id
               OFFSET 0) e
         WHERE l.kind <> 'c'
    ), lines AS (
        SELECT 0 AS part, w.first AS at, 'opening' AS kind, 'opening balance' AS description, NULL::numeric AS amount,
               wallet.booked_before(w.wallet_id, w.first) AS change
          FROM w
         UNION ALL
        SELECT 1, m.at, m.kind, m.description, m.amount, m.amount FROM movements m
         UNION ALL
        SELECT 2, w.last, 'closing', 'closing balance', NULL, 0 FROM w
    )
    SELECT row_number() OVER in_order, l.at, l.kind, l.description,
           round(l.amount, greatest(min_scale(l.amount), 2)),
           round(sum(l.change) OVER in_order, greatest(min_scale(sum(l.change) OVER in_order), 2))
      FROM lines l
    WINDOW in_order AS (ORDER BY l.part, l.at, l.kind, l.description ROWS UNBOUNDED PRECEDING)
     ORDER BY l.part, l.at, l.kind, l.description
$$;
COMMENT ON FUNCTION wallet.statement IS 'Opening balance, movements and closing balance of a time, by the time of booking; charges are summed per day and model. Errors: 22023, 42501, WL003.';

CREATE FUNCTION wallet.forecast(
    wallet text, days integer DEFAULT 30,
    OUT daily_burn numeric, OUT days_left numeric, OUT runs_out_at timestamptz, OUT earliest timestamptz,
    OUT latest timestamptz, OUT suggested_topup numeric, OUT basis text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
DECLARE
    zone text;
    today date;
    there numeric;
    history numeric[];
    n integer;
    spread numeric;
    weekdays numeric[];
    patterned boolean;
BEGIN
    PERFORM wallet.readable_wallet(forecast.wallet);
    SELECT w.time_zone, (statement_timestamp() AT TIME ZONE w.time_zone)::date, b.available + b.credit_limit
      INTO zone, today, there
      FROM wallet.wallets w JOIN wallet.balances b ON b.wallet = w.wallet_id
     WHERE w.wallet_id = forecast.wallet;
    -- Whole days, the newest first, back to the first use and eight weeks at most.
    SELECT array_agg(coalesce(u.net, 0) ORDER BY d.day DESC) INTO history
      FROM (SELECT min(s.day) AS first, array_agg(s.day) AS days, array_agg(s.net) AS nets
              FROM (SELECT u.day, sum(u.cost - u.refunded) AS net
                      FROM wallet.usage_days u
                     WHERE u.wallet = forecast.wallet AND u.day >= today - 56
                     GROUP BY 1) s) f
     CROSS JOIN LATERAL generate_series(
           CASE WHEN EXISTS (SELECT FROM wallet.usage_days u WHERE u.wallet = forecast.wallet AND u.day < today - 56)
                THEN today - 56 ELSE f.first END, today - 1, interval '1 day') AS d(day)
      LEFT JOIN LATERAL unnest(f.days, f.nets) AS u(day, net) ON u.day = d.day::date;
    n := coalesce(array_length(history, 1), 0);
    IF n < 3 THEN
        basis := 'not enough data';
        RETURN;
    END IF;
    -- A day weighs half of what it weighs a week later.
    SELECT sum(h.net * power(0.5, (h.i - 1) / 7.0)) / sum(power(0.5, (h.i - 1) / 7.0)) INTO daily_burn
      FROM unnest(history) WITH ORDINALITY AS h(net, i);
    daily_burn := round(greatest(daily_burn, 0), 6);
    SELECT coalesce(stddev_samp(h.net), 0) / sqrt(n) INTO spread FROM unnest(history) AS h(net);
    patterned := n >= 28;
    IF patterned THEN
        SELECT array_agg(coalesce(p.mean / nullif(a.mean, 0), 1) ORDER BY p.weekday) INTO weekdays
          FROM (SELECT extract(isodow FROM today - h.i::integer)::integer AS weekday, avg(h.net) AS mean
                  FROM unnest(history) WITH ORDINALITY AS h(net, i) GROUP BY 1) p,
               (SELECT avg(h.net) AS mean FROM unnest(history) AS h(net)) a;
    END IF;
    basis := format('weighted mean of %s days', n) || CASE WHEN patterned THEN ', with the pattern of the week' ELSE '' END;
    suggested_topup := round(greatest(ceil((daily_burn * forecast.days - there) * 100) / 100, 0), 2);
    IF daily_burn = 0 THEN
        RETURN;
    END IF;
    IF patterned THEN
        -- Day by day, each with its own burn; at most ten years.
        SELECT min(d.i - 1 + (there - d.before) / nullif(d.burn, 0)) INTO days_left
          FROM (SELECT i, burn, sum(burn) OVER (ORDER BY i) - burn AS before
                  FROM (SELECT i, daily_burn * weekdays[extract(isodow FROM today + i - 1)::integer] AS burn
                          FROM generate_series(1, 3653) i) b) d
         WHERE d.before + d.burn >= there AND d.before <= there;
    END IF;
    days_left := round(greatest(coalesce(days_left, there / daily_burn), 0), 1);
    -- A hundred years from now nothing is foretold.
    IF days_left > 36500 THEN
        days_left := NULL;
        RETURN;
    END IF;
    -- In hours: how long a day is in the session's time zone, where a clock is put forward, says nothing here.
    runs_out_at := statement_timestamp() + days_left * interval '24 hours';
    earliest := statement_timestamp() + least(days_left, there / (daily_burn + 1.28 * spread)) * interval '24 hours';
    IF daily_burn > 1.28 * spread THEN
        latest := statement_timestamp() + greatest(days_left, least(there / (daily_burn - 1.28 * spread), 36500)) * interval '24 hours';
    END IF;
END
$$;
COMMENT ON FUNCTION wallet.forecast IS 'How long the balance lasts at the rate of the last eight weeks, and what would make it last so many days. Errors: 22023, 42501, WL003.';

CREATE FUNCTION wallet.savings(
    wallet text, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL, models text[] DEFAULT '{}',
    OUT kind text, OUT description text, OUT actual numeric, OUT alternative numeric, OUT saved numeric)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
    WITH charged AS (
        SELECT e.entry_id, e.model, e.usage, e.lines, e.service_tier, -e.amount AS cost,
               -- Prices are asked for at times that are finite.
               least(greatest(e.event_at, '4713-02-01Z BC'), '294276-11-30Z') AS event_at
          FROM wallet.entries e
         WHERE e.wallet = wallet.readable_wallet(savings.wallet) AND e.kind = 'charge' AND e.lines IS NOT NULL
           AND (savings."from" IS NULL OR e.event_at >= savings."from")
           AND (savings."to" IS NULL OR e.event_at < savings."to")
    ), found AS (
        SELECT 'cache' AS kind, 'cached input, beside its price as plain input' AS description,
               sum((c.line ->> 'amount')::numeric) AS actual,
               sum(round((c.line ->> 'quantity')::numeric * (i.line ->> 'unit_price')::numeric / (i.line ->> 'per')::numeric, 12)) AS alternative
          FROM charged x
         CROSS JOIN LATERAL jsonb_array_elements(x.lines) c(line)
         CROSS JOIN LATERAL jsonb_array_elements(x.lines) i(line)
         WHERE c.line ->> 'meter' = 'cache_read_tokens' AND i.line ->> 'meter' = 'input_tokens'
         UNION ALL
        SELECT 'tier', t.tier || ' instead of the standard tier', sum(x.cost), sum(p.cost)
          FROM charged x
         CROSS JOIN (VALUES ('batch'), ('flex')) t(tier)
         CROSS JOIN LATERAL wallet.price_usage(x.usage, wallet => savings.wallet, model => x.model, service_tier => t.tier, at => x.event_at) p
         WHERE x.service_tier IS NULL AND x.usage ->> 'service_tier' IS NULL
         GROUP BY t.tier
         UNION ALL
        SELECT 'model', format('%s for every charge', m.model), sum(x.cost), sum(m.cost)
          FROM charged x
         CROSS JOIN LATERAL wallet.compare_models(x.usage, savings.models, wallet => savings.wallet, at => x.event_at) m
         WHERE cardinality(savings.models) > 0
         GROUP BY m.model
    )
    SELECT f.kind, f.description,
           round(f.actual, greatest(min_scale(f.actual), 2)),
           round(f.alternative, greatest(min_scale(f.alternative), 2)),
           round(s.saved, greatest(min_scale(s.saved), 2))
      FROM found f
     -- What the cache saved is saved already; of the others it is what they would save.
     CROSS JOIN LATERAL (SELECT CASE f.kind WHEN 'cache' THEN f.alternative - f.actual ELSE f.actual - f.alternative END AS saved) s
     WHERE f.actual IS NOT NULL
     ORDER BY s.saved DESC, f.kind, f.description
$$;
COMMENT ON FUNCTION wallet.savings IS 'What cached input saved, and what batch or flex or each of a list of models would have saved. Errors: 22023, 42501, WL003.';

CREATE FUNCTION wallet.report(wallet text, days integer DEFAULT 30) RETURNS SETOF text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    b record;
    f record;
    zone text;
    today date;
BEGIN
    PERFORM wallet.readable_wallet(report.wallet);
    IF days IS NULL OR days NOT BETWEEN 1 AND 366 THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'days is out of range',
            DETAIL = format('It is %s; 1 to 366 are allowed.', coalesce(days::text, 'NULL')),
            HINT = 'Leave it out for 30 days.';
    END IF;
    SELECT * INTO b FROM wallet.balances WHERE wallet = report.wallet;
    SELECT w.time_zone, (statement_timestamp() AT TIME ZONE w.time_zone)::date INTO zone, today
      FROM wallet.wallets w WHERE w.wallet_id = report.wallet;
    RETURN NEXT format('%s   %s   %s', report.wallet, b.status, to_char(statement_timestamp() AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI ') || zone);
    RETURN NEXT '';
    RETURN NEXT format('balance    %14s %s', b.balance, b.currency);
    IF b.held <> 0 THEN RETURN NEXT format('held       %14s', b.held); END IF;
    RETURN NEXT format('available  %14s', b.available);
    IF b.credit_limit <> 0 THEN RETURN NEXT format('credit     %14s', b.credit_limit); END IF;
    IF b.debt <> 0 THEN RETURN NEXT format('debt       %14s', b.debt); END IF;
    IF cardinality(b.low_balance) > 0 THEN
        RETURN NEXT 'alerts at  ' || (SELECT string_agg(trim_scale(t) || CASE WHEN b.available < t THEN ' (below)' ELSE '' END, ', ' ORDER BY t DESC) FROM unnest(b.low_balance) t);
    END IF;
    SELECT * INTO f FROM wallet.forecast(report.wallet);
    RETURN NEXT CASE
        WHEN f.daily_burn IS NULL THEN 'forecast   ' || f.basis
        WHEN f.daily_burn = 0 THEN format('forecast   nothing is spent (%s)', f.basis)
        WHEN f.days_left IS NULL THEN format('forecast   %s a day, lasts for more than a hundred years (%s)', round(f.daily_burn, 2), f.basis)
        ELSE format('forecast   %s a day, %s days left, until %s (%s)', round(f.daily_burn, 2), f.days_left,
                    to_char(f.runs_out_at AT TIME ZONE zone, 'YYYY-MM-DD'), f.basis) END;
    RETURN NEXT '';
    RETURN NEXT format('Spent in %s days', days);
    RETURN QUERY
        -- The use of a large wallet is read once for all that is shown of it.
        WITH used AS MATERIALIZED (
            SELECT u.day, u.model, u.user_id, u.team, grouping(u.day, u.model, u.user_id, u.team) AS without, sum(u.cost) AS cost
              FROM wallet.usage_days u
             WHERE u.wallet = report.wallet AND u.day > today - report.days
             GROUP BY GROUPING SETS ((u.day), (u.model), (u.user_id), (u.team))
        ), top AS (
            SELECT s.n, g.value, g.cost, g.cost / nullif(sum(g.cost) OVER (PARTITION BY s.n), 0) AS share,
                   row_number() OVER (PARTITION BY s.n ORDER BY g.cost DESC, g.value) AS place
              FROM used u
              JOIN (VALUES (1, 11), (2, 13), (3, 14)) s(n, without) USING (without)
             CROSS JOIN LATERAL (SELECT coalesce(u.model, u.user_id, u.team) AS value, u.cost) g
        )
        SELECT r.text
          FROM (SELECT 0 AS n, d.day - today AS place,
                       format('  %s %12s  %s', to_char(d.day, 'YYYY-MM-DD'), round(d.cost, 2),
                              repeat('#', CASE WHEN max(d.cost) OVER () > 0 THEN ceil(40 * d.cost / max(d.cost) OVER ())::integer ELSE 0 END)) AS text
                  FROM (SELECT g.day::date AS day, coalesce(u.cost, 0) AS cost
                          FROM generate_series(today - report.days + 1, today, interval '1 day') g(day)
                          LEFT JOIN used u ON u.without = 7 AND u.day = g.day::date) d
                 UNION ALL
                SELECT s.n, 0, '' FROM (VALUES (1), (2), (3)) s(n)
                 UNION ALL
                SELECT s.n, 1, s.title FROM (VALUES (1, 'Models'), (2, 'Users'), (3, 'Teams')) s(n, title)
                 UNION ALL
                SELECT t.n, 1 + t.place,
                       format('  %-32s %12s  %5s %%', left(coalesce(t.value, '(none)'), 32), round(t.cost, 2), round(100 * coalesce(t.share, 0), 1))
                  FROM top t WHERE t.place <= 5) r
         ORDER BY r.n, r.place;
    IF EXISTS (SELECT FROM wallet.limits_status l WHERE l.wallet = report.wallet AND NOT l.paused) THEN
        RETURN NEXT '';
        RETURN NEXT 'Limits';
    END IF;
    RETURN QUERY
        SELECT format('  %-40s %12s of %-12s %5s %%', left(concat_ws(' ', l.scope, nullif(l.subject, '*'), l.period, nullif(l.metric, 'amount')), 40),
                      l.used + l.held, l.max, coalesce(l.percent, 100))
          FROM wallet.limits_status l WHERE l.wallet = report.wallet AND NOT l.paused
         ORDER BY l.percent DESC NULLS FIRST, l.scope, l.subject LIMIT 8;
    RETURN QUERY
        SELECT x.text FROM (
            SELECT 1 AS n, '' AS text WHERE EXISTS (SELECT FROM wallet.holds h WHERE h.wallet = report.wallet AND h.status = 'open')
             UNION ALL
            SELECT 2, format('Open holds: %s, %s held', count(*), sum(h.held)) FROM wallet.holds h
             WHERE h.wallet = report.wallet AND h.status = 'open' HAVING count(*) > 0
             UNION ALL
            SELECT 3, format('Top-up requested: %s by %s since %s', t.amount, t.method, to_char(t.created_at AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI'))
              FROM wallet.topups t WHERE t.wallet = report.wallet AND t.status = 'requested') x
         ORDER BY x.n;
END
$$;
COMMENT ON FUNCTION wallet.report IS 'A page for a person in psql: balance, alerts, forecast, spend per day, top models, users and teams, limits, open holds and top-ups. Errors: 22023, 42501, WL003.';

-- FOCUS 1.2. What a wallet has was bought before it is used: a top-up is the purchase and is billed,
-- its use is the effective cost.
CREATE VIEW wallet.focus WITH (security_invoker = true) AS
SELECT NULL::text AS "AvailabilityZone",
       trim_scale(CASE WHEN l.kind = 'f' THEN l.amount WHEN l.kind = 'b' THEN l.amount ELSE 0 END) AS "BilledCost",
       l.wallet_id AS "BillingAccountId",
       l.wallet_id AS "BillingAccountName",
       w.currency AS "BillingCurrency",
       (date_trunc('month', p.at AT TIME ZONE w.time_zone) + interval '1 month') AT TIME ZONE w.time_zone AS "BillingPeriodEnd",
       date_trunc('month', p.at AT TIME ZONE w.time_zone) AT TIME ZONE w.time_zone AS "BillingPeriodStart",
       CASE l.kind WHEN 'c' THEN 'Usage' WHEN 'f' THEN 'Purchase' WHEN 'r' THEN 'Credit' ELSE 'Adjustment' END AS "ChargeCategory",
       CASE WHEN l.kind = 'b' OR l.call = 'p' THEN 'Correction' END AS "ChargeClass",
       CASE l.kind WHEN 'c' THEN concat_ws(' ', coalesce(l.model, l.service, 'usage'), l.reason)
                   ELSE concat_ws(', ', e.contra, l.reason) END AS "ChargeDescription",
       CASE l.kind WHEN 'c' THEN 'Usage-Based' ELSE 'One-Time' END AS "ChargeFrequency",
       p.at + interval '1 microsecond' AS "ChargePeriodEnd",
       p.at AS "ChargePeriodStart",
       CASE WHEN l.kind = 'c' THEN u.tokens END AS "ConsumedQuantity",
       CASE WHEN l.kind = 'c' THEN 'Tokens' END AS "ConsumedUnit",
       trim_scale(CASE WHEN l.kind IN ('f', 'b') THEN l.amount WHEN l.kind = 'c' THEN -l.amount ELSE 0 END) AS "ContractedCost",
       trim_scale(CASE WHEN l.kind IN ('c', 'r') THEN -l.amount ELSE 0 END) AS "EffectiveCost",
       l.reference AS "InvoiceId",
       coalesce(l.provider, 'wallet') AS "InvoiceIssuerName",
       trim_scale(CASE WHEN l.kind IN ('f', 'b') THEN l.amount WHEN l.kind = 'c' THEN -l.amount ELSE 0 END) AS "ListCost",
       CASE WHEN l.kind = 'c' THEN 'Standard' END AS "PricingCategory",
       CASE WHEN l.kind = 'c' THEN u.tokens END AS "PricingQuantity",
       CASE WHEN l.kind = 'c' THEN 'Tokens' END AS "PricingUnit",
       coalesce(l.provider, 'wallet') AS "ProviderName",
       coalesce(l.provider, 'wallet') AS "PublisherName",
       l.region AS "RegionId",
       l.region AS "RegionName",
       l.model AS "ResourceId",
       l.model AS "ResourceName",
       CASE WHEN l.model IS NOT NULL THEN 'Model' END AS "ResourceType",
       'AI and Machine Learning' AS "ServiceCategory",
       coalesce(l.service, 'AI usage') AS "ServiceName",
       'Generative AI' AS "ServiceSubcategory",
       concat_ws('/', l.provider, coalesce(l.model, l.service)) AS "SkuId",
       l.team AS "SubAccountId",
       l.team AS "SubAccountName",
       coalesce(l.tags, '{}') || jsonb_strip_nulls(jsonb_build_object('user_id', l.user_id)) AS "Tags",
       l.entry_id AS "x_EntryId"
  FROM wallet.ledger_all l
  JOIN wallet.wallets w ON w.wallet_id = l.wallet_id
  JOIN wallet.entries e ON e.wallet = l.wallet_id AND e.entry_id = l.entry_id
  LEFT JOIN wallet.usage_entries u ON u.wallet = l.wallet_id AND u.entry_id = l.entry_id
 -- Not where the calendar ends: the period around it must have an end.
 CROSS JOIN LATERAL (SELECT least(greatest(coalesce(l.event_at, l.created_at), '4713-02-01Z BC'), '294276-11-30Z') AS at) p;
COMMENT ON VIEW wallet.focus IS 'The ledger in the columns of FOCUS 1.2: use is billed at zero with its cost as EffectiveCost, a top-up is a Purchase the other way round.';

-- Upkeep that nothing depends on: rows that no call looks at any more.
CREATE FUNCTION wallet.maintain(OUT task text, OUT done bigint) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
BEGIN
    task := 'wallets whose holds or grants had expired';
    done := wallet.sweep_expired();
    RETURN NEXT;
    task := 'roll-ups of closed days';
    done := wallet.roll_up();
    RETURN NEXT;
    task := 'alerts that money runs out';
    done := wallet.announce_run_outs();
    RETURN NEXT;
    task := 'limit windows that ended a month ago';
    done := wallet.prune_windows();
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION wallet.maintain IS 'Books what expired, rolls up closed days, tells who asked that money runs out, and removes what no call looks at any more; optional, no rule needs it. Errors: 42501.';
