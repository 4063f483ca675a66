-- The savings from cached input, and those that other service tiers or models would have brought.

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
           SELECT CASE c.kind WHEN 'cache' THEN 'cached input, compared with plain input price'
                              WHEN 'tier' THEN c.name || ' instead of the standard tier'
                              ELSE c.name || ' for ' || CASE WHEN c.charges = c.of THEN 'every charge' ELSE format('%s of %s charges', c.charges, c.of) END
                  END) d(description)
     -- The cache has already saved its amount; the other alternatives would save theirs.
     CROSS JOIN LATERAL (SELECT CASE c.kind WHEN 'cache' THEN c.alternative - c.actual ELSE c.actual - c.alternative END) s(saved)
     ORDER BY s.saved DESC, c.kind, d.description
$$;
COMMENT ON FUNCTION wallet.compare_charges IS 'Compares the cost of past charges with their cost under alternatives. savings() calls it. Errors: 22023, 42501, WL003.';
COMMENT ON FUNCTION wallet.savings IS 'Shows what cached input saved, and what batch, flex or each of the given models would have saved, for the charges that have a price for it. Errors: 22023, 42501, WL003, WL015.';
