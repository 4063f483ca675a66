-- What the following files share: the extension, and helpers in a schema of their own.
CREATE EXTENSION wallet;
CREATE SCHEMA regress;
GRANT USAGE ON SCHEMA regress TO PUBLIC;
-- Masks what differs from run to run.
CREATE FUNCTION regress.mask(said text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT regexp_replace(
               regexp_replace(said, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', '<uuid>', 'g'),
               '\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d|T\d\d:\d\d:\d\d\.\d+Z)', '<time>', 'g')
$$;
-- Runs a statement that must fail and prints everything that the client sees of the error.
CREATE PROCEDURE regress.fails(statement text) LANGUAGE plpgsql AS $$
DECLARE
    said text; more text; help text; in_schema text; in_table text; rule text;
BEGIN
    BEGIN
        EXECUTE statement;
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, more = PG_EXCEPTION_DETAIL,
            help = PG_EXCEPTION_HINT, in_schema = SCHEMA_NAME, in_table = TABLE_NAME,
            rule = CONSTRAINT_NAME;
        rule := concat_ws(' ', nullif(concat_ws('.', nullif(in_schema, ''), nullif(in_table, '')), ''),
                          nullif(rule, ''));
        said := SQLSTATE || ' ' || said || CASE WHEN rule <> '' THEN format(' [%s]', rule) ELSE '' END;
        IF more = '' AND help = '' THEN
            RAISE NOTICE '%', regress.mask(said);
        ELSIF help = '' THEN
            RAISE NOTICE '%', regress.mask(said) USING DETAIL = regress.mask(more);
        ELSIF more = '' THEN
            RAISE NOTICE '%', regress.mask(said) USING HINT = regress.mask(help);
        ELSE
            RAISE NOTICE '%', regress.mask(said) USING DETAIL = regress.mask(more), HINT = regress.mask(help);
        END IF;
        RETURN;
    END;
    RAISE EXCEPTION 'the statement did not fail: %', statement;
END
$$;
-- Runs a statement and says "ok" or the SQLSTATE.
CREATE FUNCTION regress.outcome(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;
-- The id of a window of a limit.
CREATE FUNCTION regress.window_id(of_limit uuid, start timestamptz, subject text) RETURNS uuid LANGUAGE sql AS $$
    SELECT encode(set_byte(set_byte(substr(uuid_send(of_limit), 14) || substr(h, 4, 13), 6, get_byte(h, 6) & 15 | 128), 8, get_byte(h, 8) & 63 | 128), 'hex')::uuid
      FROM sha256(uuid_send(of_limit) || int8send((extract(epoch FROM start) * 1000000)::bigint) || convert_to(subject, 'UTF8')) h
$$;
-- Rules that apply to a wallet at any time. Any row is a violation.
CREATE FUNCTION regress.broken(of_wallet text) RETURNS SETOF text LANGUAGE sql STABLE AS $$
    SELECT 'balance is not the sum of the entries'
      FROM wallet.balances b
     WHERE b.wallet = of_wallet
       AND b.balance - b.debt IS DISTINCT FROM
           (SELECT coalesce(sum(amount), 0) FROM wallet.ledger_all WHERE wallet_id = of_wallet)
    UNION ALL
    SELECT format('lane %s has a negative remainder or watermark', lane)
      FROM wallet.allowances
     WHERE wallet_id = of_wallet AND (allotted - spent - held < 0 OR watermark < 0 AND NOT (lane = 0 AND limit_id IS NOT NULL))
    UNION ALL
    SELECT format('lane %s is below its watermark', lane)
      FROM wallet.allowances
     WHERE wallet_id = of_wallet AND limit_id IS NULL AND allotted - spent - held < watermark
    UNION ALL
    SELECT format('lane %s: booked or seq is not that of its entries', a.lane)
      FROM wallet.allowances a
      LEFT JOIN (SELECT lane, sum(amount) AS total, max(seq) AS seq, count(*) AS n
                   FROM wallet.ledger_all WHERE wallet_id = of_wallet GROUP BY lane) l ON l.lane = a.lane
     WHERE a.wallet_id = of_wallet AND a.limit_id IS NULL
       AND (a.booked <> coalesce(l.total, 0) OR a.seq <> coalesce(l.seq, 0) OR a.seq <> coalesce(l.n, 0))
    UNION ALL
    SELECT format('entry %s of lane %s: lane_balance is not the running total', seq, lane)
      FROM (SELECT lane, seq, lane_balance, sum(amount) OVER (PARTITION BY lane ORDER BY seq) AS total
              FROM wallet.ledger_all WHERE wallet_id = of_wallet) r
     WHERE lane_balance <> total
$$;
