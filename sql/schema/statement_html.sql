-- The month on one page. Every element is made by PostgreSQL's own XML functions, which escape what
-- stands in names; nothing is loaded from elsewhere.
CREATE FUNCTION wallet.statement_html(wallet text, month date) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
-- On a large ledger compiling takes longer than running.
SET jit = off
AS $$
DECLARE
    w record;
    first timestamptz;
    last timestamptz;
    style CONSTANT text := '
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5d6b7c; --line: #d9dfe7; --back: #ffffff; --bar: #2f6fde; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf2; --soft: #9aa8ba; --line: #303a47; --back: #12171e; --bar: #6ea0ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px; max-width: 860px; background: var(--back); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 24px; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 16px; margin: 28px 0 8px; } p { margin: 2px 0; color: var(--soft); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 20px 0 0; }
dl div { border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; } dt { color: var(--soft); font-size: 13px; } dd { margin: 0; font-size: 19px; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
table { width: 100%; border-collapse: collapse; } th { text-align: left; font-weight: 600; color: var(--soft); font-size: 13px; }
th, td { padding: 5px 8px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; } td.d { white-space: nowrap; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; } .scroll { overflow-x: auto; }
.bar { background: var(--bar); height: 9px; border-radius: 3px; min-width: 1px; margin-top: 6px; } .w { width: 40%; } .name { min-width: 8em; }
svg { width: 100%; height: auto; display: block; } rect { fill: var(--bar); } text { fill: var(--soft); font-size: 9px; }
@media (max-width: 520px) { body { padding: 16px; } .w { width: 15%; } text { font-size: 16px; } }
@media print { @page { size: A4; margin: 16mm; } body { padding: 0; max-width: none; font-size: 11px; } tr { break-inside: avoid; } }
';
    page xml;
BEGIN
    PERFORM wallet.readable_wallet(statement_html.wallet);
    IF month IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'month is missing',
            DETAIL = 'The argument month is NULL or was not given.', HINT = 'Give any day of the month.';
    END IF;
    SELECT x.wallet_id, x.currency, x.time_zone INTO w FROM wallet.wallets x WHERE x.wallet_id = statement_html.wallet;
    first := date_trunc('month', month::timestamp) AT TIME ZONE w.time_zone;
    last := (date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE w.time_zone;
    WITH lines AS MATERIALIZED (
        SELECT * FROM wallet.statement(statement_html.wallet, first, last)
    ), daily AS MATERIALIZED (
        SELECT d.day::date AS day, coalesce(sum(u.cost), 0) AS cost
          FROM generate_series(date_trunc('month', month::timestamp), date_trunc('month', month::timestamp) + interval '1 month - 1 day', interval '1 day') d(day)
          LEFT JOIN (SELECT u.day, sum(u.cost) AS cost FROM wallet.usage_days u
                      WHERE u.wallet = statement_html.wallet AND u.day >= date_trunc('month', month::timestamp)::date
                        AND u.day < (date_trunc('month', month::timestamp) + interval '1 month')::date
                      GROUP BY 1) u ON u.day = d.day::date
         GROUP BY 1
    ), top AS (
        SELECT greatest(max(d.cost), 0.01) AS cost FROM daily d
    ), tiles AS (
        SELECT * FROM (VALUES
            (1, 'Opening balance', (SELECT l.balance FROM lines l WHERE l.kind = 'opening')),
            (2, 'Money in', (SELECT coalesce(sum(l.amount), 0.00) FROM lines l WHERE l.amount > 0 AND l.kind <> 'refund')),
            (3, 'Spent', (SELECT coalesce(-sum(l.amount), 0.00) FROM lines l WHERE l.kind = 'charge')),
            (4, 'Refunded', (SELECT coalesce(sum(l.amount), 0.00) FROM lines l WHERE l.kind = 'refund')),
            (5, 'Closing balance', (SELECT l.balance FROM lines l WHERE l.kind = 'closing'))) t(n, name, value)
    ), bars AS (
        SELECT s.n, s.title, t.value, t.cost, t.share, t.requests
          FROM (VALUES (1, 'By model', 'model'), (2, 'By team', 'team'), (3, 'By user', 'user')) s(n, title, dimension)
         CROSS JOIN LATERAL (SELECT * FROM wallet.usage_by(statement_html.wallet, s.dimension, first, last) LIMIT 12) t
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
            xmlelement(name dl, (SELECT xmlagg(xmlelement(name div, xmlelement(name dt, t.name), xmlelement(name dd, t.value)) ORDER BY t.n) FROM tiles t)),
            xmlelement(name h2, 'Use per day'),
            xmlelement(name svg, xmlattributes('0 0 620 150' AS "viewBox", 'img' AS role, 'Cost of use per day' AS "aria-label"),
                (SELECT xmlagg(xmlelement(name rect, xmlattributes(
                            (extract(day FROM d.day) - 1) * 20 AS x, round(120 - 115 * d.cost / t.cost, 2) AS y, 15 AS width, round(115 * d.cost / t.cost, 2) AS height),
                            xmlelement(name title, format('%s: %s %s', d.day, round(d.cost, greatest(min_scale(d.cost), 2)), w.currency))) ORDER BY d.day)
                   FROM daily d, top t),
                (SELECT xmlagg(xmlelement(name text, xmlattributes((extract(day FROM d.day) - 1) * 20 + 3 AS x, 136 AS y), extract(day FROM d.day)::text) ORDER BY d.day)
                   FROM daily d WHERE extract(day FROM d.day)::integer % 5 = 1)),
            (SELECT xmlagg(xmlconcat(
                        xmlelement(name h2, b.title),
                        xmlelement(name div, xmlattributes('scroll' AS class), xmlelement(name table, b.rows))) ORDER BY b.n)
               FROM (SELECT b.n, b.title, xmlagg(xmlelement(name tr,
                            xmlelement(name td, xmlattributes('name' AS class), coalesce(b.value, '(none)')),
                            xmlelement(name td, xmlattributes('w' AS class), xmlelement(name div, xmlattributes('bar' AS class, format('width:%s%%', round(100 * coalesce(b.share, 0), 1)) AS style), '')),
                            xmlelement(name td, xmlattributes('n' AS class), b.requests),
                            xmlelement(name td, xmlattributes('n' AS class), b.cost)) ORDER BY b.cost DESC, b.value) AS rows
                       FROM bars b GROUP BY b.n, b.title) b),
            xmlelement(name h2, 'Movements'),
            xmlelement(name div, xmlattributes('scroll' AS class), xmlelement(name table,
                xmlelement(name tr, xmlelement(name th, 'Date'), xmlelement(name th, 'Kind'), xmlelement(name th, 'Description'),
                           xmlelement(name th, xmlattributes('n' AS class), 'Amount'), xmlelement(name th, xmlattributes('n' AS class), 'Balance')),
                (SELECT xmlagg(xmlelement(name tr,
                            xmlelement(name td, xmlattributes('d' AS class), to_char(l.at AT TIME ZONE w.time_zone, 'YYYY-MM-DD')),
                            xmlelement(name td, xmlattributes('d' AS class), l.kind),
                            xmlelement(name td, xmlattributes('name' AS class), l.description),
                            xmlelement(name td, xmlattributes('n' AS class), coalesce(l.amount::text, '')),
                            xmlelement(name td, xmlattributes('n' AS class), l.balance)) ORDER BY l.line)
                   FROM lines l)))))
      INTO page;
    RETURN '<!DOCTYPE html>' || E'\n' || page::text;
END
$$;
COMMENT ON FUNCTION wallet.statement_html IS 'The statement of a month as one self-contained HTML page: sums, use per day, by model, team and user, movements. Errors: 22023, 42501, WL003.';
