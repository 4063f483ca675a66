-- The journal as rows: two postings per day, wallet and contra account, whose debits and credits
-- are equal. journal() has the single entries.

CREATE FUNCTION wallet.journal_summary(
    wallets text[] DEFAULT '{*}', "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL,
    from_day date DEFAULT NULL, to_day date DEFAULT NULL, as_of timestamptz DEFAULT NULL,
    OUT wallet text, OUT day date, OUT account text, OUT contra text, OUT entries bigint,
    OUT debit numeric, OUT credit numeric, OUT currency text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
    reached CONSTANT text[] := wallet.reported_wallets(wallets);
BEGIN
    RETURN QUERY
    WITH zones AS MATERIALIZED (
        SELECT z.time_zone, coalesce(s.first, '-infinity') AS first, least(coalesce(s.last, 'infinity'), journal_summary.as_of + interval '1 microsecond') AS last
          FROM (SELECT DISTINCT w.time_zone FROM wallet.wallets w WHERE reached IS NULL OR w.wallet_id = ANY (reached)) z
         CROSS JOIN LATERAL wallet.span_in(z.time_zone, journal_summary."from", journal_summary."to", journal_summary.from_day, journal_summary.to_day) s
    ), booked AS (
        SELECT w.wallet_id, w.currency, (e.at AT TIME ZONE w.time_zone)::date AS day, e.contra, count(*) AS entries,
               -- Money that enters the wallet is a debit of its account.
               sum(greatest(e.amount, 0)) AS received, sum(greatest(-e.amount, 0)) AS given
          FROM wallet.wallets w
          JOIN zones z ON z.time_zone = w.time_zone
         CROSS JOIN LATERAL (
               SELECT e.effective_at AS at, e.contra, e.amount
                 FROM wallet.booked_ids(w.wallet_id, z.first, z.last) i
                CROSS JOIN LATERAL (
                      SELECT e.effective_at, e.contra, e.amount FROM wallet.entries e
                       WHERE e.wallet = w.wallet_id AND e.entry_id BETWEEN i.first_id AND i.last_id
                         AND e.effective_at >= z.first AND e.effective_at < z.last
                      OFFSET 0) e
                UNION ALL
               SELECT d.at, d.contra, d.amount FROM wallet.due_entries(w.wallet_id, statement_timestamp()) d
                WHERE w.grants_due <= statement_timestamp() AND d.at >= z.first AND d.at < z.last
               OFFSET 0) e
         WHERE reached IS NULL OR w.wallet_id = ANY (reached)
         GROUP BY 1, 2, 3, 4
    )
    SELECT b.wallet_id, b.day, p.account, p.contra, b.entries,
           round(p.debit, greatest(min_scale(p.debit), 2)), round(p.credit, greatest(min_scale(p.credit), 2)), b.currency
      FROM booked b
     CROSS JOIN LATERAL (VALUES ('wallet:' || b.wallet_id, b.contra, b.received, b.given),
                                (b.contra, 'wallet:' || b.wallet_id, b.given, b.received)) AS p(account, contra, debit, credit)
     ORDER BY b.wallet_id, b.day, b.contra, p.account <> 'wallet:' || b.wallet_id;
END
$$;
COMMENT ON FUNCTION wallet.journal_summary IS 'Sums the journal of wallets per day and contra account: two rows, of the wallet''s account and of the contra account, with equal debits and credits. Errors: 22023, 42501, WL003.';
