-- The balance at a time, and statements. By the time of booking; the end of a grant and the renewal
-- of a recurring grant count from their due time.

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
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'at must not be null',
            DETAIL = 'The argument at is NULL or was not given.', HINT = 'Give a point in time, such as now().';
    END IF;
    balance := wallet.booked_before(balance_at.wallet, at + interval '1 microsecond');
    RETURN round(balance, greatest(min_scale(balance), 2));
END
$$;
COMMENT ON FUNCTION wallet.balance_at IS 'Returns the sum of a wallet''s entries up to and including a given time, which is balance minus debt. Expiring and recurring grants count from their due time, even if no call has booked them yet. Errors: 22023, 42501, WL003.';

-- Entries that are not rolled up are read once for everything: the entries booked in the period and
-- before it, and the usage, which is grouped by day. Lines have a number. If first_day is given,
-- the result also has one row per day, per model, per team and per user.
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
           -- The future is unknown.
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
         -- OFFSET 0 makes the plan look up each range by its ids.
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
                     -- An entry that does not count from its time of booking has the id of its
                     -- booking.
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
        -- Charges are summed between these times: those of other movements, and midnights.
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
        -- The balance is that at the end of a piece, after the charges of all models.
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
    SELECT row_number() OVER (ORDER BY l.part, l.at, l.kind, l.description, l.amount), l.at, l.kind, l.description,
           round(l.amount, greatest(min_scale(l.amount), 2)),
           round(sum(l.change) OVER upto, greatest(min_scale(sum(l.change) OVER upto), 2)),
           NULL, NULL::date, NULL, NULL::bigint, NULL::numeric
      FROM lines l
    -- Lines of the same time have the balance after all of them.
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
COMMENT ON FUNCTION wallet.statement_lines IS 'Returns the lines of a statement and, for the HTML page, the usage by day, model, team and user. Errors: 22023, 42501, WL003.';

-- Each line uses the rate at its own time. Zero is zero in every currency, so a line of zero needs
-- no rate.
CREATE FUNCTION wallet.statement(
    wallet text, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL,
    from_day date DEFAULT NULL, to_day date DEFAULT NULL, currency text DEFAULT NULL, as_of timestamptz DEFAULT NULL,
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
         -- A movement counts from its booking, so what was known at a time ends at that time.
         CROSS JOIN LATERAL wallet.statement_lines(statement.wallet, s.first, least(s.last, statement.as_of + interval '1 microsecond'), NULL, NULL) l
    )
    SELECT l.line, l.at, l.kind, l.description,
           coalesce(wallet.exchanged(l.amount, x.rate, x.inverse), l.amount),
           coalesce(wallet.exchanged(l.balance, x.rate, x.inverse), l.balance),
           x.currency, x.rate, x.inverse
      FROM lines l
      -- Lines are numbered from 1.
      JOIN wallet.exchange_rates(statement.wallet, statement.currency,
                                 ARRAY(SELECT CASE WHEN n.amount <> 0 OR n.balance <> 0 THEN n.at END FROM lines n ORDER BY n.line))
           WITH ORDINALITY AS x(wallet, currency, rate, inverse, line) ON x.line = l.line
     ORDER BY l.line
$$;
COMMENT ON FUNCTION wallet.statement IS 'Returns opening balance, movements and closing balance of a period. The balance of each line is balance_at() of its time. Charges are summed per day and model between other movements. Errors: 22023, 42501, WL003, WL015, WL012.';
