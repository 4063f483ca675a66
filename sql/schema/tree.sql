-- Trees of wallets. Who may read a wallet may read those below it: row-level security says so.

CREATE FUNCTION wallet.descendants(
    wallet text, OUT child text, OUT parent text, OUT share text, OUT depth integer)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH RECURSIVE down (wallet_id, parent, share, depth) AS (
            SELECT w.wallet_id, w.parent, w.share, 0
              FROM wallet.wallets w WHERE w.wallet_id = wallet.readable_wallet($1)
             UNION ALL
            SELECT w.wallet_id, w.parent, w.share, d.depth + 1
              FROM down d JOIN wallet.wallets w ON w.parent = d.wallet_id
        )
        SELECT d.wallet_id, d.parent, d.share, d.depth FROM down d ORDER BY d.depth, d.wallet_id;
END
$$;
COMMENT ON FUNCTION wallet.descendants IS 'Returns a wallet and those below it, with their depth below it. Errors: 22023, 42501, WL003.';

-- Each wallet has its own time zone, in which its days are counted. A use is counted once, in the
-- wallet that was charged: money that is lent to a child is no use of the parent.
CREATE FUNCTION wallet.usage_by_child(
    wallet text, from_day date DEFAULT NULL, to_day date DEFAULT NULL,
    OUT child text, OUT parent text, OUT share text, OUT depth integer, OUT currency text,
    OUT requests bigint, OUT tokens bigint, OUT cost numeric, OUT refunded numeric,
    OUT total_cost numeric, OUT total_refunded numeric)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH RECURSIVE tree AS MATERIALIZED (
            SELECT d.child AS wallet, d.parent, d.share, d.depth, w.currency,
                   coalesce(u.requests, 0) AS requests, coalesce(u.tokens, 0) AS tokens,
                   coalesce(u.cost, 0) AS cost, coalesce(u.refunded, 0) AS refunded
              FROM wallet.descendants($1) d
              JOIN wallet.wallets w ON w.wallet_id = d.child
             CROSS JOIN LATERAL (
                    SELECT sum(y.requests)::bigint AS requests, sum(y.input_tokens + y.output_tokens)::bigint AS tokens,
                           sum(y.cost) AS cost, sum(y.refunded) AS refunded
                      FROM wallet.usage_days y
                     WHERE y.wallet = d.child
                       AND ($2 IS NULL OR y.day >= $2) AND ($3 IS NULL OR y.day <= $3)) u
        ), below AS (
            SELECT t.wallet AS root, t.wallet, t.currency, t.cost, t.refunded FROM tree t
             UNION ALL
            SELECT b.root, t.wallet, b.currency, t.cost, t.refunded
              FROM below b JOIN tree t ON t.parent = b.wallet AND t.currency = b.currency
        ), totals AS (
            SELECT b.root, sum(b.cost) AS cost, sum(b.refunded) AS refunded FROM below b GROUP BY b.root
        )
        SELECT t.wallet, t.parent, t.share, t.depth, t.currency, t.requests, t.tokens,
               round(t.cost, greatest(min_scale(t.cost), 2)), round(t.refunded, greatest(min_scale(t.refunded), 2)),
               round(s.cost, greatest(min_scale(s.cost), 2)), round(s.refunded, greatest(min_scale(s.refunded), 2))
          FROM tree t JOIN totals s ON s.root = t.wallet
         ORDER BY t.depth, t.wallet;
END
$$;
COMMENT ON FUNCTION wallet.usage_by_child IS 'Returns the usage of a wallet and of each wallet below it, by the days of use, with totals over each branch. Errors: 22023, 42501, WL003.';
