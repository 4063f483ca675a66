-- The statement of a month on one page. PostgreSQL's XML functions create every element and escape
-- the text in it. The page loads nothing from elsewhere.
CREATE FUNCTION wallet.statement_html(wallet text, month date) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
-- On a large ledger, JIT compilation takes longer than execution.
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    w record;
    first timestamptz;
    last timestamptz;
    first_day date;
    next_day date;
    by_days boolean;
    style CONSTANT text := '
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5d6b7c; --line: #d9dfe7; --back: #ffffff; --bar: #2f6fde; --strong: #eef2f8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf2; --soft: #9aa8ba; --line: #303a47; --back: #12171e; --bar: #6ea0ff; --strong: #1c2531; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px; max-width: 860px; background: var(--back); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 24px; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 16px; margin: 28px 0 8px; } p { margin: 2px 0; color: var(--soft); }
dl { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0 12px; }
dl div { flex: 1 1 150px; border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; } dl .sum { background: var(--strong); }
dt { color: var(--soft); font-size: 13px; } dd { margin: 0; font-size: 19px; font-variant-numeric: tabular-nums; white-space: nowrap; }
table { width: 100%; border-collapse: collapse; } th { text-align: left; font-weight: 600; color: var(--soft); font-size: 13px; }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; } td.d { white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; } tr.sum td { font-weight: 600; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { background: var(--bar); height: 9px; border-radius: 3px; min-width: 1px; margin-top: 6px; } .w { width: 30%; } .name { min-width: 8em; } .use .name { width: 36%; }
svg { width: 100%; height: auto; display: block; } rect { fill: var(--bar); } line { stroke: var(--line); } text { fill: var(--soft); font-size: 9px; }
@media screen and (max-width: 520px) {
body { padding: 16px; } text { font-size: 16px; } dl { gap: 8px; } dl div { flex-basis: 140px; padding: 8px 10px; } dd { font-size: 17px; }
table, tbody { display: block; } td { border: 0; padding: 0; min-width: 0; }
tr { display: grid; gap: 0 12px; padding: 7px 0; border-bottom: 1px solid var(--line); }
.use tr { grid-template-columns: minmax(90px, 1fr) auto; } .use .name { grid-area: 1 / 1; } .use .w { grid-area: 2 / 1; width: auto; } .use .n { grid-area: 2 / 2; } .use .n:last-child { grid-area: 1 / 2; } .use tr .name { width: auto; }
.moves tr { display: flex; flex-wrap: wrap; } .moves .name { flex: 1 0 100%; } .moves .d + .d { margin-left: auto; } .head.head { display: none; }
td[data-label]::before { content: attr(data-label) ": "; color: var(--soft); font-size: 13px; } .moves .n:last-child { margin-left: auto; }
}
@media print { @page { size: A4; margin: 16mm; } body { padding: 0; max-width: none; font-size: 11px; } tr { break-inside: avoid; } }
';
    page xml;
BEGIN
    PERFORM wallet.readable_wallet(statement_html.wallet);
    IF month IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'month must not be null',
            DETAIL = 'The argument month is NULL or was not given.', HINT = 'Give any day of the month.';
    END IF;
    IF month NOT BETWEEN '0001-01-01' AND '9999-12-31' THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'month is out of range',
            DETAIL = format('It is %s; the calendar of reports has the years 1 to 9999.', month), HINT = 'Give any day of the month.';
    END IF;
    SELECT x.wallet_id, x.currency, x.time_zone INTO w FROM wallet.wallets x WHERE x.wallet_id = statement_html.wallet;
    first_day := date_trunc('month', month::timestamp);
    next_day := date_trunc('month', month::timestamp) + interval '1 month';
    first := wallet.day_begins(first_day, w.time_zone);
    last := wallet.day_begins(next_day, w.time_zone);
    -- If the month begins near a clock change, its usage is separated entry by entry.
    by_days := coalesce(wallet.day_begun(first, w.time_zone) = first_day AND wallet.day_begun(last, w.time_zone) = next_day, false);
    WITH all_of_it AS MATERIALIZED (
        SELECT l.* FROM wallet.statement_lines(statement_html.wallet, first, last, first_day, next_day) l
    ), lines AS NOT MATERIALIZED (
        SELECT a.line, a.at, a.kind, a.description, a.amount, a.balance FROM all_of_it a WHERE a.line IS NOT NULL
    ), daily AS MATERIALIZED (
        SELECT d.day::date AS day, coalesce(a.cost, 0) AS cost
          FROM generate_series(first_day::timestamp, next_day::timestamp - interval '1 day', interval '1 day') d(day)
          LEFT JOIN all_of_it a ON a.dimension = 'day' AND a.day = d.day::date
    ), top AS (
        SELECT greatest(max(d.cost), 0.01) AS cost, sum(d.cost) AS total FROM daily d
    ), tiles AS (
        -- The tiles add up: the opening balance plus the sums by kind of movement is the closing
        -- balance. A kind without movements is omitted, except in the first four tiles.
        SELECT t.n, t.sign, t.name, CASE WHEN t.sign = '-' THEN -t.value ELSE t.value END AS value
          FROM (SELECT 1 AS n, '' AS sign, 'Opening balance' AS name, (SELECT l.balance FROM lines l WHERE l.kind = 'opening') AS value
                 UNION ALL
                SELECT k.n, k.sign, k.name, coalesce(m.amount, 0.00)
                  FROM (VALUES (2, 'funding', '+', 'Money in'), (3, 'charge', '-', 'Spent'), (4, 'refund', '+', 'Refunded'),
                               (5, 'transfer', '+', 'Transfers'), (6, 'chargeback', '-', 'Chargebacks'),
                               (7, 'adjustment', '+', 'Adjustments'), (8, 'expiry', '-', 'Expired or voided')) k(n, kind, sign, name)
                  LEFT JOIN (SELECT l.kind, sum(l.amount) AS amount FROM lines l GROUP BY 1) m USING (kind)
                 WHERE k.n <= 4 OR m.amount <> 0
                 UNION ALL
                SELECT 9, '=', 'Closing balance', (SELECT l.balance FROM lines l WHERE l.kind = 'closing')) t
    ), ranked AS (
        SELECT s.n, s.title, t.value, t.cost, t.share, t.requests, row_number() OVER (PARTITION BY s.n ORDER BY t.cost DESC, t.value) AS place,
               count(*) OVER (PARTITION BY s.n) AS count
          FROM (VALUES (1, 'By model', 'model'), (2, 'By team', 'team'), (3, 'By user', 'user')) s(n, title, dimension)
         CROSS JOIN LATERAL (
               SELECT a.value, a.cost, a.requests,
                      -- Running sums are rounded, so that the shares add up to one.
                      round(sum(a.cost) OVER in_order / nullif(sum(a.cost) OVER (), 0), 6)
                      - round((sum(a.cost) OVER in_order - a.cost) / nullif(sum(a.cost) OVER (), 0), 6) AS share
                 FROM all_of_it a
                WHERE by_days AND a.dimension = s.dimension
               WINDOW in_order AS (ORDER BY a.cost DESC, a.value ROWS UNBOUNDED PRECEDING)
                UNION ALL
               SELECT u.value, u.cost, u.requests, u.share FROM wallet.usage_rows(statement_html.wallet, s.dimension, first, last) u WHERE NOT by_days) t
    ), bars AS (
        SELECT r.n, r.title, r.place, coalesce(r.value, '(none)') AS value, r.cost, r.share, r.requests
          FROM ranked r WHERE r.place <= CASE WHEN r.count > 12 THEN 11 ELSE 12 END
         UNION ALL
        SELECT r.n, r.title, 12, format('(%s more)', count(*)), sum(r.cost), sum(r.share), sum(r.requests)
          FROM ranked r WHERE r.count > 12 AND r.place > 11 GROUP BY r.n, r.title
         UNION ALL
        SELECT r.n, r.title, 13, 'All', sum(r.cost), NULL, sum(r.requests) FROM ranked r GROUP BY r.n, r.title
    )
    SELECT xmlelement(name html, xmlattributes('en' AS lang),
        xmlelement(name head,
            xmlelement(name meta, xmlattributes('utf-8' AS charset)),
            xmlelement(name meta, xmlattributes('viewport' AS name, 'width=device-width, initial-scale=1' AS content)),
            xmlelement(name title, w.wallet_id || ', ' || to_char(month, 'YYYY-MM')),
            xmlelement(name style, style)),
        xmlelement(name body,
            xmlelement(name h1, w.wallet_id),
            xmlelement(name p, format('Statement for %s, in %s, times in %s', to_char(month, 'YYYY-MM'), w.currency, w.time_zone)),
            xmlelement(name dl, (SELECT xmlagg(xmlelement(name div, xmlattributes(CASE WHEN t.n IN (1, 9) THEN 'sum' END AS class),
                                            xmlelement(name dt, concat_ws(' ', nullif(t.sign, ''), t.name)), xmlelement(name dd, round(t.value, greatest(min_scale(t.value), 2)))) ORDER BY t.n) FROM tiles t)),
            xmlelement(name p, 'The balance goes by the time of booking, and so does what was spent of it. All use below goes by the time of use.'),
            xmlelement(name h2, (SELECT format('Use per day, in all %s %s', round(t.total, greatest(min_scale(t.total), 2)), w.currency) FROM top t)),
            xmlelement(name svg, xmlattributes('0 -6 620 152' AS "viewBox", 'img' AS role, 'Cost of use per day' AS "aria-label"),
                xmlelement(name line, xmlattributes(0 AS x1, 121 AS y1, 620 AS x2, 121 AS y2)),
                (SELECT xmlagg(xmlelement(name rect, xmlattributes(
                            (extract(day FROM d.day) - 1) * 20 AS x, round(120 - 105 * d.cost / t.cost, 2) AS y, 15 AS width, round(105 * d.cost / t.cost, 2) AS height),
                            xmlelement(name title, format('%s: %s %s', to_char(d.day, 'YYYY-MM-DD'), round(d.cost, greatest(min_scale(d.cost), 2)), w.currency))) ORDER BY d.day)
                   FROM daily d, top t),
                -- The highest bar is labelled with its value.
                (SELECT xmlelement(name text, xmlattributes(CASE WHEN d.day_of_month > 15 THEN (d.day_of_month - 1) * 20 + 15 ELSE (d.day_of_month - 1) * 20 END AS x, 11 AS y,
                                                            CASE WHEN d.day_of_month > 15 THEN 'end' END AS "text-anchor"), round(d.cost, 2)::text)
                   FROM (SELECT extract(day FROM d.day)::integer AS day_of_month, d.cost FROM daily d WHERE d.cost > 0 ORDER BY d.cost DESC, d.day LIMIT 1) d),
                (SELECT xmlagg(xmlelement(name text, xmlattributes((extract(day FROM d.day) - 1) * 20 + 3 AS x, 138 AS y), extract(day FROM d.day)::text) ORDER BY d.day)
                   FROM daily d WHERE extract(day FROM d.day)::integer % 5 = 1)),
            (SELECT xmlagg(xmlconcat(
                        xmlelement(name h2, b.title),
                        xmlelement(name div, xmlattributes('use' AS class), xmlelement(name table,
                            xmlelement(name tr, xmlattributes('head' AS class), xmlelement(name th, ''), xmlelement(name th, ''),
                                       xmlelement(name th, xmlattributes('n' AS class), 'Requests'), xmlelement(name th, xmlattributes('n' AS class), 'Cost')),
                            b.rows))) ORDER BY b.n)
               FROM (SELECT b.n, b.title, xmlagg(xmlelement(name tr, xmlattributes(CASE b.place WHEN 13 THEN 'sum' END AS class),
                            xmlelement(name td, xmlattributes('name' AS class), b.value),
                            xmlelement(name td, xmlattributes('w' AS class), CASE WHEN b.place < 13 THEN
                                xmlelement(name div, xmlattributes('bar' AS class, format('width:%s%%', round(100 * coalesce(b.share, 0), 1)) AS style), '') END),
                            xmlelement(name td, xmlattributes('n' AS class, 'Requests' AS "data-label"), b.requests),
                            xmlelement(name td, xmlattributes('n' AS class), round(b.cost, greatest(min_scale(b.cost), 2)))) ORDER BY b.place) AS rows
                       FROM bars b GROUP BY b.n, b.title) b),
            xmlelement(name h2, 'Movements'),
            xmlelement(name div, xmlattributes('moves' AS class), xmlelement(name table,
                xmlelement(name tr, xmlattributes('head' AS class), xmlelement(name th, 'Date'), xmlelement(name th, 'Kind'), xmlelement(name th, 'Description'),
                           xmlelement(name th, xmlattributes('n' AS class), 'Amount'), xmlelement(name th, xmlattributes('n' AS class), 'Balance')),
                (SELECT xmlagg(xmlelement(name tr,
                            -- The opening line has the last moment before the month.
                            xmlelement(name td, xmlattributes('d' AS class),
                                       to_char((CASE l.kind WHEN 'opening' THEN l.at + interval '1 microsecond' ELSE l.at END) AT TIME ZONE w.time_zone, 'YYYY-MM-DD')),
                            xmlelement(name td, xmlattributes('d' AS class), l.kind),
                            xmlelement(name td, xmlattributes('name' AS class), l.description),
                            xmlelement(name td, xmlattributes('n' AS class, CASE WHEN l.amount IS NOT NULL THEN 'Amount' END AS "data-label"), coalesce(l.amount::text, '')),
                            xmlelement(name td, xmlattributes('n' AS class, 'Balance' AS "data-label"), l.balance)) ORDER BY l.line)
                   FROM lines l)))))
      INTO page;
    RETURN '<!DOCTYPE html>' || E'\n' || page::text;
END
$$;
COMMENT ON FUNCTION wallet.statement_html IS 'Returns the statement of a month as one self-contained HTML page: totals, usage per day, by model, team and user, and movements. Errors: 22023, 42501, WL003.';
