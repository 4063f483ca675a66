-- Reports. Usage, chargeback and forecast go by the time of use, balances and statements by the time of booking; what
-- time itself causes (the end of a grant, a turn of a recurring one) counts from when it was due.
-- Plans are made for the wallet that is asked of (plan_cache_mode): one that was made for an average wallet, or before
-- there were roll-ups, may take minutes on a large one.
-- Each function asks readable_wallet() first, which raises where the wallet is not the caller's to
-- read; the rows come through the views, under row-level security.

CREATE FUNCTION wallet.usage_rows(
    wallet text, dimension text, first timestamptz, last timestamptz,
    OUT value text, OUT requests bigint, OUT tokens bigint, OUT cost numeric, OUT average_cost numeric,
    OUT share numeric, OUT refunded numeric)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
-- On a large ledger compiling takes longer than running.
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
            MESSAGE = format('dimension %s is not known', coalesce('"' || dimension || '"', 'NULL')),
            DETAIL = 'Known are: user, team, model, service, region, key, hour, day, tag:NAME.',
            HINT = 'Give one of these as dimension.';
    END IF;
    SELECT w.time_zone INTO zone FROM wallet.wallets w WHERE w.wallet_id = usage_rows.wallet;
    first_day := coalesce(wallet.day_begun(first, zone), CASE WHEN first IS NULL THEN '-infinity'::date END);
    next_day := coalesce(wallet.day_begun(last, zone), CASE WHEN last IS NULL THEN 'infinity'::date END);
    -- Roll-ups know whole days, and neither hours nor tags.
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
                               -- The hour that comes twice when clocks are put back is two.
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
COMMENT ON FUNCTION wallet.usage_rows IS 'What usage_by() says, in the wallet''s currency. Errors: 22023, 42501, WL003.';

-- The rate is that of the last moment of the span: the one that a statement of it closes with.
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
COMMENT ON FUNCTION wallet.usage_by IS 'Use of a wallet by user, team, model, service, region, key, hour, day or a tag, the dearest first. Errors: 22023, 42501, WL003, WL015, WL012.';

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

CREATE FUNCTION wallet.chargeback_rows(
    wallet text, month date,
    OUT team text, OUT requests bigint, OUT tokens bigint, OUT direct_cost numeric, OUT shared_cost numeric,
    OUT total_cost numeric, OUT share numeric, OUT refunded numeric)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
    PERFORM wallet.readable_wallet(chargeback_rows.wallet);
    IF month IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'month is missing',
            DETAIL = 'The argument month is NULL or was not given.', HINT = 'Give any day of the month.';
    END IF;
    IF month NOT BETWEEN '0001-01-01' AND '9999-12-31' THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'month is out of range',
            DETAIL = format('It is %s; the calendar of reports has the years 1 to 9999.', month), HINT = 'Give any day of the month.';
    END IF;
    RETURN QUERY
    WITH bounds AS (
        SELECT m.month, w.time_zone,
               wallet.day_begins(m.month::date, w.time_zone) AS first,
               wallet.day_begins((m.month + interval '1 month')::date, w.time_zone) AS last,
               coalesce(r.rule, 'none') AS rule, coalesce(r.shares, '{}') AS shares
          FROM wallet.wallets w LEFT JOIN wallet.chargeback_rules r ON r.wallet_id = w.wallet_id
         CROSS JOIN LATERAL (SELECT date_trunc('month', chargeback_rows.month::timestamp) AS month) m
         WHERE w.wallet_id = chargeback_rows.wallet
    ), direct AS MATERIALIZED (
        SELECT u.value AS team, u.requests, u.tokens, u.cost, u.refunded
          FROM bounds b CROSS JOIN LATERAL wallet.usage_rows(chargeback_rows.wallet, 'team', b.first, b.last) u
    ), late AS MATERIALIZED (
        -- What was given back of the shared cost of other months. It goes to those who bore that cost.
        SELECT c.month, sum(e.amount) AS amount
          FROM bounds b
         CROSS JOIN LATERAL wallet.booked_ids(chargeback_rows.wallet, b.first, b.last) i
         CROSS JOIN LATERAL (
               SELECT l.amount, l.related_id FROM wallet.ledger_all l
                WHERE l.wallet_id = chargeback_rows.wallet AND l.entry_id BETWEEN i.first_id AND i.last_id
                  AND l.kind = 'r' AND l.team IS NULL AND l.created_at >= b.first AND l.created_at < b.last
               OFFSET 0) e
         CROSS JOIN LATERAL (
               SELECT date_trunc('month', CASE WHEN l.event_at >= '0001-01-01Z' AND l.event_at < '9999-01-01Z' THEN l.event_at ELSE l.created_at END AT TIME ZONE b.time_zone) AS month
                 FROM wallet.ledger_all l WHERE l.wallet_id = chargeback_rows.wallet AND l.entry_id = e.related_id
               OFFSET 0) c
         WHERE EXISTS (SELECT FROM direct d WHERE d.team IS NULL AND d.refunded <> 0) AND c.month <> b.month
         GROUP BY c.month
    ), pools AS (
        SELECT b.month, coalesce(sum(d.cost - d.refunded), 0) + coalesce((SELECT sum(l.amount) FROM late l), 0) AS cost
          FROM bounds b LEFT JOIN direct d ON d.team IS NULL
         GROUP BY b.month
         UNION ALL
        SELECT l.month, -l.amount FROM late l
    ), users AS (
        SELECT b.month, d.team, d.cost FROM bounds b, direct d WHERE d.team IS NOT NULL
         UNION ALL
        SELECT l.month, u.value, u.cost
          FROM bounds b CROSS JOIN late l
         CROSS JOIN LATERAL wallet.usage_rows(chargeback_rows.wallet, 'team', wallet.day_begins(l.month::date, b.time_zone),
                                              wallet.day_begins((l.month + interval '1 month')::date, b.time_zone)) u
         WHERE u.value IS NOT NULL
         UNION ALL
        SELECT p.month, k.team, 0 FROM bounds b CROSS JOIN pools p CROSS JOIN LATERAL jsonb_object_keys(b.shares) k(team)
         WHERE b.rule = 'fixed'
    ), teams AS (
        SELECT t.month, t.team, p.cost,
               CASE b.rule WHEN 'even' THEN 1 WHEN 'fixed' THEN coalesce((b.shares ->> t.team)::numeric, 0)
                           WHEN 'use' THEN CASE WHEN sum(t.cost) OVER (PARTITION BY t.month) > 0 THEN t.cost ELSE 1 END
                           ELSE 0 END AS weight,
               b.rule IN ('even', 'use') AS all_of_it
          FROM bounds b
         CROSS JOIN (SELECT u.month, u.team, sum(u.cost) AS cost FROM users u GROUP BY 1, 2) t
          JOIN pools p ON p.month = t.month
    ), split AS (
        -- Running sums are rounded, not shares, so that the parts add up to the last digit.
        SELECT c.team, sum(round(c.cost * c.upto / c.whole, 12) - round(c.cost * (c.upto - c.weight) / c.whole, 12)) AS cost
          FROM (SELECT t.team, t.cost, t.weight,
                       sum(t.weight) OVER (PARTITION BY t.month ORDER BY t.team ROWS UNBOUNDED PRECEDING) AS upto,
                       CASE WHEN t.all_of_it THEN sum(t.weight) OVER (PARTITION BY t.month) ELSE 1 END AS whole
                  FROM teams t) c
         GROUP BY c.team
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
           trim_scale(round(sum(r.direct + r.shared) OVER in_order / nullif(sum(r.direct + r.shared) OVER (), 0), 6)
                      - round((sum(r.direct + r.shared) OVER in_order - r.direct - r.shared) / nullif(sum(r.direct + r.shared) OVER (), 0), 6)),
           round(r.refunded, greatest(min_scale(r.refunded), 2))
      FROM rows r
    WINDOW in_order AS (ORDER BY r.team NULLS LAST ROWS UNBOUNDED PRECEDING)
     ORDER BY r.team NULLS LAST;
END
$$;
COMMENT ON FUNCTION wallet.chargeback_rows IS 'What chargeback() says, in the wallet''s currency. Errors: 22023, 42501, WL003.';

CREATE FUNCTION wallet.chargeback(
    wallet text, month date, currency text DEFAULT NULL,
    OUT team text, OUT requests bigint, OUT tokens bigint, OUT direct_cost numeric, OUT shared_cost numeric,
    OUT total_cost numeric, OUT share numeric, OUT refunded numeric, OUT currency text, OUT rate numeric, OUT inverse boolean)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
    SELECT c.team, c.requests, c.tokens,
           coalesce(wallet.exchanged(c.direct_cost, x.rate, x.inverse), c.direct_cost),
           coalesce(wallet.exchanged(c.shared_cost, x.rate, x.inverse), c.shared_cost),
           coalesce(wallet.exchanged(c.total_cost, x.rate, x.inverse), c.total_cost),
           c.share,
           coalesce(wallet.exchanged(c.refunded, x.rate, x.inverse), c.refunded),
           x.currency, x.rate, x.inverse
      -- A month that no calendar of reports has is refused by the rows.
      FROM wallet.span_of(chargeback.wallet, NULL, NULL, NULL,
                          CASE WHEN chargeback.month BETWEEN '0001-01-01' AND '9999-12-31'
                               THEN (date_trunc('month', chargeback.month::timestamp) + interval '1 month')::date END) s
     CROSS JOIN LATERAL wallet.exchange_rates(chargeback.wallet, chargeback.currency,
                                              ARRAY[least(s.last - interval '1 microsecond', statement_timestamp())]) x
     CROSS JOIN LATERAL wallet.chargeback_rows(x.wallet, chargeback.month) WITH ORDINALITY
           AS c(team, requests, tokens, direct_cost, shared_cost, total_cost, share, refunded, n)
     ORDER BY c.n
$$;
COMMENT ON FUNCTION wallet.chargeback IS 'What each team of a wallet cost in a month; a NULL team is the unallocated. The totals add up to the wallet''s charges; what was refunded of the shared cost is not split, or goes back to those who bore it. Errors: 22023, 42501, WL003, WL015, WL012.';

CREATE FUNCTION wallet.balance_at(wallet text, at timestamptz) RETURNS numeric
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
DECLARE
    balance numeric;
BEGIN
    PERFORM wallet.readable_wallet(balance_at.wallet);
    IF at IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'at is missing',
            DETAIL = 'The argument at is NULL or was not given.', HINT = 'Give a point in time, such as now().';
    END IF;
    balance := wallet.booked_before(balance_at.wallet, at + interval '1 microsecond');
    RETURN round(balance, greatest(min_scale(balance), 2));
END
$$;
COMMENT ON FUNCTION wallet.balance_at IS 'The sum of a wallet''s entries up to and including a time: its balance, less what it owed. What grants gave and lost by themselves counts from when it was due, whether or not a call has booked it. Errors: 22023, 42501, WL003.';

-- What is not rolled up is read once for all: what was booked within the time and before, and use, which goes by days. Lines have a
-- number; of use there is a row for each day, model, team and user, each apart, if first_day is given.
CREATE FUNCTION wallet.statement_lines(
    wallet text, "from" timestamptz, "to" timestamptz, first_day date, next_day date,
    OUT line bigint, OUT at timestamptz, OUT kind text, OUT description text, OUT amount numeric, OUT balance numeric,
    OUT dimension text, OUT day date, OUT value text, OUT requests bigint, OUT cost numeric)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
    zone text;
    first timestamptz;
    last timestamptz;
    with_use CONSTANT boolean := first_day IS NOT NULL;
BEGIN
    PERFORM wallet.readable_wallet(statement_lines.wallet);
    SELECT w.time_zone, coalesce("from", w.created_at),
           -- Of the future nothing is known.
           least("to", statement_timestamp() + interval '1 microsecond')
      INTO zone, first, last
      FROM wallet.wallets w
     WHERE w.wallet_id = statement_lines.wallet;
    first := least(first, last);
    RETURN QUERY
    WITH rolled AS MATERIALIZED (
        SELECT r.* FROM wallet.rolled_wallets r WHERE r.wallet = statement_lines.wallet
    ), near AS MATERIALIZED (
        SELECT c.*
          FROM rolled r
         CROSS JOIN LATERAL unnest(r.first_ids, r.last_ids) AS i(first_id, last_id)
         -- OFFSET 0 has each range looked up by its ids.
         CROSS JOIN LATERAL (
               SELECT c.entry_id, c.kind, c.effective_at AS at, c.amount, coalesce(c.model, c.service, 'usage') AS name,
                      CASE WHEN with_use AND c.kind IN ('c', 'r') THEN (c.event_at AT TIME ZONE zone)::date END AS day,
                      CASE WHEN with_use THEN c.model END AS model, CASE WHEN with_use THEN c.team END AS team,
                      CASE WHEN with_use THEN c.user_id END AS user_id, CASE WHEN with_use THEN c.requests END AS requests
                 FROM wallet.counted_entries c
                WHERE c.wallet = r.wallet AND c.entry_id BETWEEN i.first_id AND i.last_id AND c.seq > coalesce(r.seqs[c.lane + 2], 0)
               OFFSET 0) c
    ), rest AS MATERIALIZED (
        SELECT c.*
          FROM rolled r
         CROSS JOIN LATERAL (
               SELECT c.entry_id, c.kind, c.effective_at AS at, c.amount, coalesce(c.model, c.service, 'usage') AS name,
                      CASE WHEN with_use AND c.kind IN ('c', 'r') THEN (c.event_at AT TIME ZONE zone)::date END AS day,
                      CASE WHEN with_use THEN c.model END AS model, CASE WHEN with_use THEN c.team END AS team,
                      CASE WHEN with_use THEN c.user_id END AS user_id, CASE WHEN with_use THEN c.requests END AS requests
                 FROM wallet.counted_entries c
                WHERE (SELECT count(*) FROM near) <> r.entries
                  AND c.wallet = r.wallet AND c.entry_id >= '00000000-0000-0000-0000-000000000000' AND c.entry_id < r.floor_id
                  AND c.entry_id <> ALL (r.first_ids) AND c.seq > coalesce(r.seqs[c.lane + 2], 0)
               OFFSET 0) c
    ), unrolled AS NOT MATERIALIZED (
        SELECT n.* FROM near n UNION ALL SELECT r.* FROM rest r
    ), chunks AS MATERIALIZED (
        SELECT c.* FROM wallet.rollup_chunks c WHERE c.wallet_id = statement_lines.wallet AND EXISTS (SELECT FROM rolled r WHERE cardinality(r.seqs) > 0)
    ), span AS MATERIALIZED (
        SELECT (array_agg(c.first_id ORDER BY c.first_id))[1] AS first_id, (array_agg(c.last_id ORDER BY c.last_id DESC))[1] AS last_id
          FROM chunks c WHERE c.first_at < last AND c.last_at >= first
    ), earlier AS MATERIALIZED (
        SELECT l.*
          FROM rolled r
         CROSS JOIN (SELECT s.first_id, s.last_id FROM span s
                      UNION ALL
                     -- What counts from another time than that of its booking has the id of its booking.
                     SELECT d.entry_id, d.entry_id
                       FROM chunks c CROSS JOIN LATERAL unnest(c.dated_ids, c.dated_at) AS d(entry_id, at) CROSS JOIN span s
                      WHERE c.dated_ids IS NOT NULL AND d.at >= first AND d.at < last AND (d.entry_id BETWEEN s.first_id AND s.last_id) IS NOT TRUE) i
         CROSS JOIN LATERAL (
               SELECT l.entry_id, l.kind, l.effective_at AS at, l.amount, coalesce(l.model, l.service, 'usage') AS name
                 FROM wallet.ledger_all l
                WHERE l.wallet_id = r.wallet AND l.entry_id BETWEEN i.first_id AND i.last_id AND l.seq <= r.seqs[l.lane + 2]
                  AND l.effective_at >= first AND l.effective_at < last
               OFFSET 0) l
    ), booked AS NOT MATERIALIZED (
        SELECT u.entry_id, u.kind, u.at, u.amount, u.name FROM unrolled u WHERE u.at >= first AND u.at < last
         UNION ALL
        SELECT e.* FROM earlier e
    ), others AS MATERIALIZED (
        SELECT b.at, e.kind, concat_ws(', ', e.contra, e.reference, e.reason) AS description, b.amount
          FROM booked b
         CROSS JOIN LATERAL (
               SELECT e.kind, e.contra, e.reference, e.reason FROM wallet.entries e
                WHERE e.wallet = statement_lines.wallet AND e.entry_id = b.entry_id
               OFFSET 0) e
         WHERE b.kind <> 'c'
         UNION ALL
        SELECT d.at, d.kind, d.contra, d.amount
          FROM wallet.due_entries(statement_lines.wallet, statement_timestamp()) d
         WHERE d.at >= first AND d.at < last
    ), cuts AS MATERIALIZED (
        -- Charges are summed between them: other movements, and midnights.
        SELECT coalesce(array_agg(c.at ORDER BY c.at), '{}') AS at
          FROM (SELECT o.at + interval '1 microsecond' AS at FROM others o
                 UNION
                SELECT d.day AT TIME ZONE zone
                  FROM (SELECT min(b.at) AT TIME ZONE zone AS first, max(b.at) AT TIME ZONE zone AS last FROM booked b WHERE b.kind = 'c') s
                 CROSS JOIN LATERAL generate_series(date_trunc('day', s.first), s.last, interval '1 day') d(day)) c
    ), charges AS (
        SELECT width_bucket(b.at, c.at) AS piece, b.name, max(b.at) AS at, count(*) AS count, sum(b.amount) AS amount
          FROM booked b CROSS JOIN cuts c
         WHERE b.kind = 'c'
         GROUP BY 1, 2
    ), lines AS (
        SELECT 0 AS part, first - interval '1 microsecond' AS at, 'opening' AS kind, 'opening balance' AS description,
               NULL::numeric AS amount,
               wallet.rolled_before(statement_lines.wallet, first)
               + coalesce((SELECT sum(u.amount) FROM unrolled u WHERE u.at < first), 0)
               + coalesce((SELECT sum(d.amount) FROM wallet.due_entries(statement_lines.wallet, statement_timestamp()) d WHERE d.at < first), 0) AS change
         UNION ALL
        SELECT 1, o.at, o.kind, o.description, o.amount, o.amount FROM others o
         UNION ALL
        -- The balance is known at the end of a piece, when all models were charged.
        SELECT 1, max(c.at) OVER (PARTITION BY c.piece), 'charge',
               format('%s, %s %s', c.name, c.count, CASE c.count WHEN 1 THEN 'charge' ELSE 'charges' END),
               c.amount, c.amount
          FROM charges c
         UNION ALL
        SELECT 2, last - interval '1 microsecond', 'closing', 'closing balance', NULL, 0
    ), used AS (
        SELECT u.day, u.model, u.team, u.user_id, u.requests, CASE u.kind WHEN 'c' THEN -u.amount ELSE 0 END AS cost
          FROM unrolled u
         WHERE with_use AND u.day >= first_day AND u.day < next_day
         UNION ALL
        SELECT o.day, o.model, o.team, o.user_id, o.requests, o.cost
          FROM wallet.usage_rollups o
         WHERE with_use AND o.wallet_id = statement_lines.wallet AND o.day >= first_day AND o.day < next_day
           AND EXISTS (SELECT FROM rolled r WHERE cardinality(r.seqs) > 0)
    )
    SELECT row_number() OVER (ORDER BY l.part, l.at, l.kind, l.description), l.at, l.kind, l.description,
           round(l.amount, greatest(min_scale(l.amount), 2)),
           round(sum(l.change) OVER upto, greatest(min_scale(sum(l.change) OVER upto), 2)),
           NULL, NULL::date, NULL, NULL::bigint, NULL::numeric
      FROM lines l
    -- Lines of the same moment have the balance after all of them.
    WINDOW upto AS (ORDER BY l.part, l.at RANGE UNBOUNDED PRECEDING)
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL,
           CASE grouping(u.day, u.model, u.team, u.user_id) WHEN 7 THEN 'day' WHEN 11 THEN 'model' WHEN 13 THEN 'team' ELSE 'user' END,
           u.day, coalesce(u.model, u.team, u.user_id), sum(u.requests)::bigint, sum(u.cost)
      FROM used u
     WHERE with_use
     GROUP BY GROUPING SETS ((u.day), (u.model), (u.team), (u.user_id));
END
$$;
COMMENT ON FUNCTION wallet.statement_lines IS 'The lines of a statement and, for a page that shows both, the use of days by day, model, team and user. Errors: 22023, 42501, WL003.';

-- Each line has the rate of its own time. Nothing is nothing in every currency: such a line needs no rate.
CREATE FUNCTION wallet.statement(
    wallet text, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL,
    from_day date DEFAULT NULL, to_day date DEFAULT NULL, currency text DEFAULT NULL,
    OUT line bigint, OUT at timestamptz, OUT kind text, OUT description text, OUT amount numeric, OUT balance numeric,
    OUT currency text, OUT rate numeric, OUT inverse boolean)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
    WITH lines AS MATERIALIZED (
        SELECT l.line, l.at, l.kind, l.description, l.amount, l.balance
          FROM wallet.span_of(statement.wallet, statement."from", statement."to", statement.from_day, statement.to_day) s
         CROSS JOIN LATERAL wallet.statement_lines(statement.wallet, s.first, s.last, NULL, NULL) l
    )
    SELECT l.line, l.at, l.kind, l.description,
           coalesce(wallet.exchanged(l.amount, x.rate, x.inverse), l.amount),
           coalesce(wallet.exchanged(l.balance, x.rate, x.inverse), l.balance),
           x.currency, x.rate, x.inverse
      FROM lines l
      -- Lines are numbered from one on.
      JOIN wallet.exchange_rates(statement.wallet, statement.currency,
                                 ARRAY(SELECT CASE WHEN n.amount <> 0 OR n.balance <> 0 THEN n.at END FROM lines n ORDER BY n.line))
           WITH ORDINALITY AS x(wallet, currency, rate, inverse, line) ON x.line = l.line
     ORDER BY l.line
$$;
COMMENT ON FUNCTION wallet.statement IS 'Opening balance, movements and closing balance of a time. The balance of a line is balance_at() its time. Charges are summed per day and model, between other movements. Errors: 22023, 42501, WL003, WL015, WL012.';

-- On a large ledger compiling takes longer than running.
ALTER FUNCTION wallet.forecast(text, integer) SET jit = off;
ALTER FUNCTION wallet.announce_run_outs(text, integer) SET jit = off;
ALTER FUNCTION wallet.roll_up(timestamptz, integer) SET jit = off;
ALTER FUNCTION wallet.balances_in(text, timestamptz) SET jit = off;
COMMENT ON FUNCTION wallet.exchange_rates IS 'The currency in which figures of a wallet are read, and the rates of some times, in their order: none where it is the wallet''s own, nor for a time that is NULL. Errors: 22023, 42501, WL003, WL015.';
COMMENT ON FUNCTION wallet.exchanged IS 'An amount, or its part of so many, at a rate: rounded once, half to even, at the twelfth decimal. Errors: WL012.';
COMMENT ON FUNCTION wallet.balances_in IS 'The balances of all wallets that the caller may read, in one currency, at the rate of a time. Errors: 22023, 42501, WL015, WL012.';
COMMENT ON FUNCTION wallet.forecast IS 'How long the money of a wallet lasts that its use may spend, by the use of the last eight weeks, and what would make it last so many days. Errors: 22023, 42501, WL003.';

CREATE FUNCTION wallet.savings(
    wallet text, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL, models text[] DEFAULT '{}',
    OUT kind text, OUT description text, OUT actual numeric, OUT alternative numeric, OUT saved numeric)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
    SELECT c.kind, d.description,
           round(c.actual, greatest(min_scale(c.actual), 2)),
           round(c.alternative, greatest(min_scale(c.alternative), 2)),
           round(s.saved, greatest(min_scale(s.saved), 2))
      FROM wallet.compare_charges(wallet.readable_wallet(savings.wallet), savings."from", savings."to", savings.models) c
     CROSS JOIN LATERAL (
           SELECT CASE c.kind WHEN 'cache' THEN 'cached input, beside its price as plain input'
                              WHEN 'tier' THEN c.name || ' instead of the standard tier'
                              ELSE c.name || ' for ' || CASE WHEN c.charges = c.of THEN 'every charge' ELSE format('%s of %s charges', c.charges, c.of) END
                  END) d(description)
     -- What the cache saved is saved already; of the others it is what they would save.
     CROSS JOIN LATERAL (SELECT CASE c.kind WHEN 'cache' THEN c.alternative - c.actual ELSE c.actual - c.alternative END) s(saved)
     ORDER BY s.saved DESC, c.kind, d.description
$$;
COMMENT ON FUNCTION wallet.compare_charges IS 'Charges of a time beside what they would have cost otherwise; savings() asks it. Errors: 22023, 42501, WL003.';
COMMENT ON FUNCTION wallet.savings IS 'What cached input saved, and what batch or flex or each of a list of models would have saved, of the charges that have a price for it. Errors: 22023, 42501, WL003, WL015.';

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
    -- All of it at one rate, that of now.
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
        -- The use of a large wallet is read once for all that is shown of it.
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
         -- Requests and tokens are no money.
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
COMMENT ON FUNCTION wallet.report IS 'A page for a person in psql: balance, alerts, forecast, spend per day, top models, users and teams, limits, open holds and top-ups. Errors: 22023, 42501, WL003, WL015, WL012.';

-- FOCUS 1.2, all its columns. What a wallet has was bought before it is used: a top-up is the purchase and is billed, its use is
-- the effective cost. docs/reference/views.md says what each kind of entry is.
CREATE VIEW wallet.focus WITH (security_invoker = true) AS
SELECT NULL::text AS "AvailabilityZone",
       trim_scale(CASE WHEN t.paid THEN l.amount ELSE 0 END) AS "BilledCost",
       l.wallet_id AS "BillingAccountId",
       l.wallet_id AS "BillingAccountName",
       w.currency AS "BillingCurrency",
       (t.month + interval '1 month') AT TIME ZONE w.time_zone AS "BillingPeriodEnd",
       t.month AT TIME ZONE w.time_zone AS "BillingPeriodStart",
       t.category AS "ChargeCategory",
       -- Of a period that is over: of the one that runs it is no correction in the standard's sense.
       CASE WHEN t.month > t.related_month THEN 'Correction' END AS "ChargeClass",
       CASE l.kind WHEN 'c' THEN concat_ws(' ', coalesce(l.model, l.service, 'usage'), u.meter, l.reason)
                   ELSE concat_ws(', ', coalesce(l.contra, 'usage:' || concat_ws('/', l.provider, coalesce(l.model, l.service, 'other'))), l.reason) END AS "ChargeDescription",
       CASE l.kind WHEN 'c' THEN 'Usage-Based' ELSE 'One-Time' END AS "ChargeFrequency",
       t.at + interval '1 second' AS "ChargePeriodEnd",
       t.at AS "ChargePeriodStart",
       u.quantity AS "ConsumedQuantity",
       u.unit AS "ConsumedUnit",
       c.listed AS "ContractedCost",
       c.effective AS "EffectiveCost",
       CASE WHEN l.kind IN ('f', 'b') THEN l.reference END AS "InvoiceId",
       coalesce(l.provider, 'wallet') AS "InvoiceIssuerName",
       c.listed AS "ListCost",
       CASE WHEN t.category IN ('Usage', 'Purchase') THEN 'Standard' END AS "PricingCategory",
       p.quantity AS "PricingQuantity",
       p.unit AS "PricingUnit",
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
       k.sku AS "SkuId",
       l.team AS "SubAccountId",
       l.team AS "SubAccountName",
       -- Values are texts, numbers or truth values; a tag of the user's own goes before ours.
       jsonb_strip_nulls(jsonb_build_object('user_id', l.user_id))
           || coalesce((SELECT jsonb_object_agg(g.key, CASE WHEN jsonb_typeof(g.value) IN ('object', 'array') THEN to_jsonb(g.value::text) ELSE g.value END)
                          FROM jsonb_each(l.tags) g), '{}') AS "Tags",
       l.entry_id AS "x_EntryId",
       NULL::text AS "CapacityReservationId",
       NULL::text AS "CapacityReservationStatus",
       NULL::text AS "CommitmentDiscountCategory",
       NULL::text AS "CommitmentDiscountId",
       NULL::text AS "CommitmentDiscountName",
       NULL::numeric AS "CommitmentDiscountQuantity",
       NULL::text AS "CommitmentDiscountStatus",
       NULL::text AS "CommitmentDiscountType",
       NULL::text AS "CommitmentDiscountUnit",
       p.unit_price AS "ContractedUnitPrice",
       p.unit_price AS "ListUnitPrice",
       'Wallet' AS "BillingAccountType",
       CASE WHEN l.team IS NOT NULL THEN 'Team' END AS "SubAccountType",
       coalesce(u.currency, w.currency) AS "PricingCurrency",
       p.priced_at AS "PricingCurrencyContractedUnitPrice",
       -- What the price makes; of a share of it as much as makes the share.
       CASE WHEN u.rate IS NULL THEN c.effective
            WHEN c.effective = u.amount THEN trim_scale(wallet.exchanged(u.quantity, u.price, false, u.per))
            ELSE trim_scale(wallet.exchanged(c.effective, u.rate, NOT u.inverse)) END AS "PricingCurrencyEffectiveCost",
       p.priced_at AS "PricingCurrencyListUnitPrice",
       CASE WHEN k.sku IS NOT NULL THEN coalesce(u.meter, 'amount') END AS "SkuMeter",
       NULL::jsonb AS "SkuPriceDetails",
       CASE WHEN k.sku IS NOT NULL THEN concat_ws('/', k.sku, u.price_id) END AS "SkuPriceId",
       l.reference AS "x_Reference",
       l.user_id AS "x_UserId",
       trim_scale(CASE l.kind WHEN 'c' THEN -c.effective ELSE l.amount END) AS "x_Amount"
  FROM (SELECT l.wallet_id, l.entry_id, l.created_at, l.event_at, l.related_id, l.kind, l.call, l.amount, l.user_id, l.team, l.provider,
               l.model, l.service, l.region, l.lines, l.tags, l.contra, l.reference, l.reason
          FROM wallet.ledger_all l
         UNION ALL
        -- What is due counts, whether or not it is booked.
        SELECT o.wallet_id, NULL, d.at, d.at, d.grant_id, CASE d.kind WHEN 'expiry' THEN 'x' ELSE 'f' END::"char",
               CASE d.kind WHEN 'expiry' THEN 'x' ELSE 'g' END::"char", d.amount, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, d.contra, NULL, NULL
          FROM wallet.wallets o
         CROSS JOIN LATERAL wallet.due_entries(o.wallet_id, statement_timestamp()) d
         WHERE o.grants_due <= statement_timestamp()) l
  JOIN wallet.wallets w ON w.wallet_id = l.wallet_id
 CROSS JOIN LATERAL (
       -- The entry that this one gives back, takes back or prices, and when that was.
       SELECT CASE WHEN l.kind IN ('r', 'b') OR l.call = 'p' THEN
                  (SELECT date_trunc('month', CASE WHEN r.event_at >= '0001-01-01Z' AND r.event_at < '9999-01-01Z' THEN r.event_at ELSE r.created_at END AT TIME ZONE w.time_zone)
                     FROM wallet.ledger_all r WHERE r.wallet_id = l.wallet_id AND r.entry_id = l.related_id) END AS related_month,
              -- Neither the standard nor a calendar goes further.
              CASE WHEN l.event_at >= '0001-01-01Z' AND l.event_at < '9999-01-01Z' THEN l.event_at ELSE l.created_at END AS at,
              -- What was given was not bought, nor was what a voucher is worth.
              CASE l.kind WHEN 'f' THEN l.entry_id IS NOT NULL AND l.contra <> 'funding:voucher' AND NOT coalesce((SELECT g.promotional FROM wallet.grant_lots g WHERE g.wallet_id = l.wallet_id AND g.grant_id = l.entry_id), false)
                          WHEN 'b' THEN l.contra <> 'funding:voucher' AND NOT coalesce((SELECT g.promotional FROM wallet.grant_lots g WHERE g.wallet_id = l.wallet_id AND g.grant_id = l.related_id), false)
                          ELSE false END AS paid
       -- Asked once a row, however many columns need it.
       OFFSET 0) o
 CROSS JOIN LATERAL (
       SELECT o.related_month, o.paid, date_trunc('second', o.at) AS at, date_trunc('month', o.at AT TIME ZONE w.time_zone) AS month,
              CASE WHEN l.kind = 'c' THEN 'Usage' WHEN l.kind = 'f' AND o.paid THEN 'Purchase' WHEN l.kind IN ('f', 'r') THEN 'Credit' ELSE 'Adjustment' END AS category) t
 -- A charge is a row for each of its meters, and one row where it has none.
  LEFT JOIN LATERAL (
       SELECT x.meter, x.quantity, x.price, x.per, x.amount, x.price_id, x.currency, x.rate, x.inverse, x.n,
              sum(x.amount) OVER (ORDER BY x.n) AS upto, sum(x.amount) OVER () AS "all",
              CASE WHEN x.meter LIKE E'%\\_tokens' THEN 'Tokens' WHEN x.meter LIKE '%images' THEN 'Images' WHEN x.meter LIKE '%pages' THEN 'Pages'
                   WHEN x.meter LIKE '%pixels' THEN 'Pixels' WHEN x.meter LIKE '%characters' THEN 'Characters' WHEN x.meter LIKE '%seconds' THEN 'Seconds'
                   WHEN x.meter = 'markup' THEN w.currency WHEN x.meter = 'markup_fee' THEN 'Requests'
                   ELSE initcap(replace(x.meter, '_', ' ')) END AS unit
         FROM (SELECT e.n, e.line ->> 'meter' AS meter, trim_scale((e.line ->> 'quantity')::numeric) AS quantity,
                      (e.line ->> 'unit_price')::numeric AS price, (e.line ->> 'per')::numeric AS per,
                      trim_scale((e.line ->> 'amount')::numeric) AS amount, e.line ->> 'price_id' AS price_id,
                      e.line ->> 'currency' AS currency, (e.line ->> 'rate')::numeric AS rate,
                      coalesce((e.line ->> 'inverse')::boolean, false) AS inverse
                 FROM jsonb_array_elements(wallet.entry_lines(l.lines)) WITH ORDINALITY e(line, n)) x) u ON l.kind = 'c'
 CROSS JOIN LATERAL (
       SELECT CASE WHEN t.category = 'Usage' THEN concat_ws('/', l.provider, coalesce(l.model, l.service, 'usage'), u.meter)
                   WHEN t.category = 'Purchase' THEN 'prepaid' END AS sku) k
 CROSS JOIN LATERAL (
       -- What its prices make of a charge, and what was booked for it, which is less where it was capped and another sum where the
       -- provider reported it: then each line has its share, so that they add up.
       SELECT trim_scale(CASE l.kind WHEN 'c' THEN coalesce(u.amount, -l.amount) WHEN 'r' THEN -l.amount ELSE CASE WHEN t.paid THEN l.amount ELSE 0 END END) AS listed,
              trim_scale(CASE WHEN l.kind = 'r' THEN -l.amount
                              WHEN l.kind <> 'c' THEN 0
                              WHEN u."all" IS NULL THEN -l.amount
                              WHEN u."all" = -l.amount THEN u.amount
                              WHEN u."all" > 0 THEN round(-l.amount * u.upto / u."all", 12) - round(-l.amount * (u.upto - u.amount) / u."all", 12)
                              WHEN u.n = 1 THEN -l.amount
                              ELSE 0 END) AS effective) c
 CROSS JOIN LATERAL (
       -- What has no meter is priced as one piece. No unit price of the standard is below zero: of a discount the quantity is.
       SELECT CASE WHEN u.meter IS NOT NULL THEN CASE WHEN u.price < 0 THEN -u.quantity ELSE u.quantity END
                   WHEN t.category IN ('Usage', 'Purchase') THEN 1 END AS quantity,
              CASE WHEN u.meter IS NOT NULL THEN u.unit WHEN t.category IN ('Usage', 'Purchase') THEN 'Units' END AS unit,
              CASE WHEN u.meter IS NOT NULL
                   THEN trim_scale(CASE WHEN u.rate IS NULL THEN abs(u.price) / u.per
                                        WHEN u.inverse THEN u.price / (u.per * u.rate) ELSE u.price * u.rate / u.per END)
                   WHEN t.category IN ('Usage', 'Purchase') THEN c.listed END AS unit_price,
              CASE WHEN u.meter IS NOT NULL THEN trim_scale(abs(u.price) / u.per)
                   WHEN t.category IN ('Usage', 'Purchase') THEN c.listed END AS priced_at) p;
COMMENT ON VIEW wallet.focus IS 'The ledger in the columns of FOCUS 1.2: use is billed at zero with its cost as EffectiveCost, a row for each meter; a top-up is a Purchase the other way round. focus_csv() makes a file of it.';
COMMENT ON COLUMN wallet.focus."BilledCost" IS 'Of a paid funding what was paid, of its chargeback less that; zero for all else, also for promotional credit and vouchers.';
COMMENT ON COLUMN wallet.focus."EffectiveCost" IS 'Of use what was booked for it, of a refund less that; zero for all else.';
COMMENT ON COLUMN wallet.focus."ConsumedQuantity" IS 'How much of SkuMeter was used; NULL of what no meter measured.';
COMMENT ON COLUMN wallet.focus."PricingQuantity" IS 'As ConsumedQuantity, but below zero for a discount, whose unit price is what it takes off.';
COMMENT ON COLUMN wallet.focus."PricingCurrency" IS 'Currency of the price, which the columns with this name in theirs are in; the wallet''s where no price of another made the row. Other unit prices and costs are converted by the rate of the charge.';
COMMENT ON COLUMN wallet.focus."x_Amount" IS 'The row''s part of the ledger''s amount: they add up to the wallet''s balance, less what it owes.';

CREATE FUNCTION wallet.focus_csv("from" timestamptz, "to" timestamptz, wallet text DEFAULT NULL) RETURNS SETOF text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
-- The standard's times are in UTC.
SET timezone = 'UTC'
SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
    IF focus_csv.wallet IS NOT NULL THEN
        PERFORM wallet.readable_wallet(focus_csv.wallet);
    END IF;
    IF focus_csv."from" > focus_csv."to" THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = '"from" is after "to"',
            DETAIL = 'The span of time ends before it begins.', HINT = 'Give the earlier time as "from"; "to" is not included.';
    END IF;
    RETURN NEXT (SELECT string_agg(a.attname, ',' ORDER BY a.attnum)
                   FROM pg_attribute a
                  WHERE a.attrelid = 'wallet.focus'::regclass AND a.attnum > 0 AND NOT a.attisdropped);
    RETURN QUERY
        SELECT (SELECT string_agg(CASE WHEN v.value ~ '[",\r\n]' OR v.value = '' THEN '"' || replace(v.value, '"', '""') || '"' ELSE coalesce(v.value, '') END, ',' ORDER BY v.n)
                  FROM (SELECT CASE -- A payment's reference is no invoice of its own, and validators want an id for all rows or for none.
                                    WHEN c.name = 'InvoiceId' THEN NULL
                                    WHEN c.name LIKE '%Period%' THEN replace(c.value, '+00:00', 'Z')
                                    -- A reader that guesses types takes a column without a point for whole numbers.
                                    WHEN c.name ~ '(Cost|Quantity|UnitPrice|Amount)$' AND c.value !~ '[.]' THEN c.value || '.0'
                                    ELSE c.value END AS value, c.n
                          FROM json_each_text(row_to_json(f)) WITH ORDINALITY c(name, value, n)) v)
          FROM wallet.focus f
         WHERE (focus_csv.wallet IS NULL OR f."BillingAccountId" = focus_csv.wallet)
           AND (focus_csv."from" IS NULL OR f."ChargePeriodStart" >= focus_csv."from")
           AND (focus_csv."to" IS NULL OR f."ChargePeriodStart" < focus_csv."to")
         ORDER BY f."BillingAccountId", f."ChargePeriodStart", f."x_EntryId", f."SkuMeter";
END
$$;
COMMENT ON FUNCTION wallet.focus_csv IS 'The view focus as a file: CSV with a header, a line a row, times in ISO 8601 and UTC; of the wallets that the caller may read, or of one. Errors: 22023, 42501, WL003.';
