-- The cost of each team in a month, and how unallocated usage is distributed. By the time of use.
-- The values of a tag can take the place of teams.

CREATE TABLE wallet.chargeback_rules (
    wallet_id    text NOT NULL REFERENCES wallet.wallets,
    rule         text NOT NULL CHECK (rule IN ('none', 'even', 'use', 'fixed')),
    shares       jsonb NOT NULL DEFAULT '{}',
    changed_at   timestamptz NOT NULL,
    dimension    text NOT NULL DEFAULT 'team' CHECK (dimension = 'team' OR dimension LIKE 'tag:_%'),
    effective_from   date NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (wallet_id, dimension, effective_from)
);
COMMENT ON TABLE wallet.chargeback_rules IS 'How the unallocated cost of a wallet is distributed across its teams, or across the values of a tag.';
COMMENT ON COLUMN wallet.chargeback_rules.rule IS 'none: the cost remains unallocated; even: equal shares; use: in proportion to each team''s direct cost; fixed: by shares.';
COMMENT ON COLUMN wallet.chargeback_rules.shares IS 'Only for fixed: the fraction of each team. The remainder stays unallocated.';
COMMENT ON COLUMN wallet.chargeback_rules.effective_from IS 'The first day of the first month to which the rule applies. It applies until the next one begins.';
COMMENT ON COLUMN wallet.chargeback_rules.dimension IS 'team, or tag:NAME for the values of a tag.';

CREATE FUNCTION wallet.chargeback_rows(
    wallet text, month date, dimension text, as_of timestamptz,
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
    IF chargeback_rows.dimension IS NULL OR chargeback_rows.dimension <> 'team' AND chargeback_rows.dimension NOT LIKE 'tag:_%' THEN
        RAISE EXCEPTION USING ERRCODE = '22023',
            MESSAGE = format('unrecognized dimension %s', coalesce('"' || chargeback_rows.dimension || '"', 'NULL')),
            DETAIL = 'It is not a valid value of dimension.', HINT = 'Valid values are: team, tag:NAME.';
    END IF;
    IF month IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'month must not be null',
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
               wallet.day_begins((m.month + interval '1 month')::date, w.time_zone) AS last
          FROM wallet.wallets w
         CROSS JOIN LATERAL (SELECT date_trunc('month', chargeback_rows.month::timestamp) AS month) m
         WHERE w.wallet_id = chargeback_rows.wallet
    ), direct AS MATERIALIZED (
        SELECT u.value AS team, u.requests, u.tokens, u.cost, u.refunded
          FROM bounds b CROSS JOIN LATERAL wallet.usage_rows(chargeback_rows.wallet, chargeback_rows.dimension, b.first, b.last, chargeback_rows.as_of) u
    ), late AS MATERIALIZED (
        -- Refunds of the shared cost of other months. They go to the teams that bore that cost.
        SELECT c.month, sum(e.amount) AS amount
          FROM bounds b
         CROSS JOIN LATERAL wallet.booked_ids(chargeback_rows.wallet, b.first, b.last) i
         CROSS JOIN LATERAL (
               SELECT l.amount, l.related_id FROM wallet.ledger_all l
                WHERE l.wallet_id = chargeback_rows.wallet AND l.entry_id BETWEEN i.first_id AND i.last_id
                  AND l.kind = 'r'
                  AND CASE chargeback_rows.dimension WHEN 'team' THEN l.team ELSE l.tags ->> substr(chargeback_rows.dimension, 5) END IS NULL AND l.created_at >= b.first AND l.created_at < b.last
                  AND (chargeback_rows.as_of IS NULL OR l.created_at <= chargeback_rows.as_of)
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
    ), ruled AS MATERIALIZED (
        -- Each month has the rule that was in force in it.
        SELECT p.month, p.cost, coalesce(r.rule, 'none') AS rule, coalesce(r.shares, '{}') AS shares
          FROM pools p
          LEFT JOIN LATERAL (
               SELECT r.rule, r.shares FROM wallet.chargeback_rules r
                WHERE r.wallet_id = chargeback_rows.wallet AND r.dimension = chargeback_rows.dimension AND r.effective_from <= p.month
                ORDER BY r.effective_from DESC
                LIMIT 1) r ON true
    ), users AS (
        SELECT b.month, d.team, d.cost FROM bounds b, direct d WHERE d.team IS NOT NULL
         UNION ALL
        SELECT l.month, u.value, u.cost
          FROM bounds b CROSS JOIN late l
         CROSS JOIN LATERAL wallet.usage_rows(chargeback_rows.wallet, chargeback_rows.dimension, wallet.day_begins(l.month::date, b.time_zone),
                                              wallet.day_begins((l.month + interval '1 month')::date, b.time_zone), chargeback_rows.as_of) u
         WHERE u.value IS NOT NULL
         UNION ALL
        SELECT p.month, k.team, 0 FROM ruled p CROSS JOIN LATERAL jsonb_object_keys(p.shares) k(team)
         WHERE p.rule = 'fixed'
    ), teams AS (
        SELECT t.month, t.team, p.cost,
               CASE p.rule WHEN 'even' THEN 1 WHEN 'fixed' THEN coalesce((p.shares ->> t.team)::numeric, 0)
                           WHEN 'use' THEN CASE WHEN sum(t.cost) OVER (PARTITION BY t.month) > 0 THEN t.cost ELSE 1 END
                           ELSE 0 END AS weight,
               p.rule IN ('even', 'use') AS all_of_it
          FROM (SELECT u.month, u.team, sum(u.cost) AS cost FROM users u GROUP BY 1, 2) t
          JOIN ruled p ON p.month = t.month
    ), split AS (
        -- Running sums are rounded rather than shares, so that the parts add up exactly.
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
COMMENT ON FUNCTION wallet.chargeback_rows IS 'Returns the rows of chargeback() in the wallet''s currency. Errors: 22023, 42501, WL003.';

CREATE FUNCTION wallet.chargeback(
    wallet text, month date, currency text DEFAULT NULL, dimension text DEFAULT 'team', as_of timestamptz DEFAULT NULL,
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
      -- A month outside of the calendar of reports is refused by chargeback_rows().
      FROM wallet.span_of(chargeback.wallet, NULL, NULL, NULL,
                          CASE WHEN chargeback.month BETWEEN '0001-01-01' AND '9999-12-31'
                               THEN (date_trunc('month', chargeback.month::timestamp) + interval '1 month')::date END) s
     CROSS JOIN LATERAL wallet.exchange_rates(chargeback.wallet, chargeback.currency,
                                              ARRAY[least(s.last - interval '1 microsecond', statement_timestamp())]) x
     CROSS JOIN LATERAL wallet.chargeback_rows(x.wallet, chargeback.month, chargeback.dimension, chargeback.as_of) WITH ORDINALITY
           AS c(team, requests, tokens, direct_cost, shared_cost, total_cost, share, refunded, n)
     ORDER BY c.n
$$;
COMMENT ON FUNCTION wallet.chargeback(text, date, text, text, timestamptz) IS 'Allocates the cost of a month to the teams of one or several wallets, or to the values of a tag. The row with a NULL team is the unallocated cost. The totals add up to the charges. Refunded shared cost is not distributed; if it was distributed in an earlier month, the refund goes to the teams that bore it. Errors: 22023, 42501, WL003, WL015, WL012.';

-- Each wallet is allocated by its own rule and in its own time zone. So the totals add up exactly.
CREATE FUNCTION wallet.chargeback(
    wallets text[], month date, dimension text DEFAULT 'team', as_of timestamptz DEFAULT NULL,
    OUT team text, OUT requests bigint, OUT tokens bigint, OUT direct_cost numeric, OUT shared_cost numeric,
    OUT total_cost numeric, OUT share numeric, OUT refunded numeric, OUT currency text)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
    WITH named AS MATERIALIZED (
        SELECT wallet.reported_wallets(chargeback.wallets) AS wallets
    ), rows AS (
        SELECT w.currency, c.team, sum(c.requests)::bigint AS requests, sum(c.tokens)::bigint AS tokens, sum(c.direct_cost) AS direct,
               sum(c.shared_cost) AS shared, sum(c.total_cost) AS total, sum(c.refunded) AS refunded
          FROM named n
          JOIN wallet.wallets w ON n.wallets IS NULL OR w.wallet_id = ANY (n.wallets)
         CROSS JOIN LATERAL wallet.chargeback_rows(w.wallet_id, chargeback.month, chargeback.dimension, chargeback.as_of) c
         GROUP BY 1, 2
    )
    SELECT r.team, r.requests, r.tokens, round(r.direct, greatest(min_scale(r.direct), 2)), round(r.shared, greatest(min_scale(r.shared), 2)),
           round(r.total, greatest(min_scale(r.total), 2)),
           -- Running sums are rounded, so that the shares of a currency add up to one.
           trim_scale(round(sum(r.total) OVER in_order / nullif(sum(r.total) OVER (PARTITION BY r.currency), 0), 6)
                      - round((sum(r.total) OVER in_order - r.total) / nullif(sum(r.total) OVER (PARTITION BY r.currency), 0), 6)),
           round(r.refunded, greatest(min_scale(r.refunded), 2)), r.currency
      FROM rows r
    WINDOW in_order AS (PARTITION BY r.currency ORDER BY r.team NULLS LAST ROWS UNBOUNDED PRECEDING)
     ORDER BY r.currency, r.team NULLS LAST
$$;
COMMENT ON FUNCTION wallet.chargeback(text[], date, text, timestamptz) IS 'Allocates the cost of a month to the teams of one or several wallets, or to the values of a tag. The row with a NULL team is the unallocated cost. The totals add up to the charges. Refunded shared cost is not distributed; if it was distributed in an earlier month, the refund goes to the teams that bore it. Errors: 22023, 42501, WL003, WL015, WL012.';
