-- Counters of windows whose digits change in number, without the executor and with it: both ways
-- store the same rows, and the rows are the sums of what was charged and held.
CREATE TEMP TABLE lc_ways AS SELECT unnest(ARRAY['auto', 'spi']) AS way;
SELECT wallet FROM lc_ways, wallet.create_wallet('lc-' || way);
SELECT balance FROM lc_ways, wallet.fund('lc-' || way, 1000000000000);
-- Names of all lengths: short ones, one too long to be remembered, one too long to be copied.
CREATE TEMP TABLE lc_users AS
SELECT n, rpad('user ' || n, n, 'ä') AS user_id FROM unnest(ARRAY[6, 40, 43, 84, 85, 240]) n;
SELECT count(wallet.set_limit('lc-' || way, 500000000000, 'lifetime')),
       count(wallet.set_limit('lc-' || way, 400000000000, 'month', 'user')),
       count(wallet.set_limit('lc-' || way, 100000, 'day', 'user', metric => 'requests')),
       count(wallet.set_limit('lc-' || way, 100, 'lifetime', mode => 'soft', metric => 'images')),
       count(wallet.set_limit('lc-' || way, 450000000000, 'rolling 1 day')),
       count(wallet.set_limit('lc-' || way, 300000000000, 'rolling 6 hours', 'user'))
  FROM lc_ways;

-- The rows of one way next to those of the other, and next to the ledger and the holds.
CREATE FUNCTION regress.differing_counters()
RETURNS TABLE (metric text, period text, subject text, auto text, spi text, counted text)
LANGUAGE sql AS $$
    WITH windows AS (
        SELECT a.wallet_id, l.metric, l.scope, l.period, a.subject, a.spent, a.held,
               concat_ws(' ', a.allotted, a.spent, a.held, a.watermark, a.recheck_done,
                         pg_column_size(a.spent), pg_column_size(a.held)) AS stored
          FROM wallet.allowances a JOIN wallet.limits l USING (wallet_id, limit_id)
         WHERE a.wallet_id LIKE 'lc-%' AND a.lane = 0
    ), spending AS (
        SELECT wallet_id, user_id, -sum(amount) AS spent
          FROM wallet.ledger WHERE wallet_id LIKE 'lc-%' AND kind IN ('c', 'r') GROUP BY 1, 2
    ), holding AS (
        SELECT wallet_id, user_id, sum(held) AS held
          FROM wallet.reservations WHERE wallet_id LIKE 'lc-%' AND status = 'open' GROUP BY 1, 2
    ), compared AS (
        SELECT w.*,
               (SELECT coalesce(sum(s.spent), 0) FROM spending s
                 WHERE s.wallet_id = w.wallet_id AND (w.scope = 'wallet' OR s.user_id = w.subject)) AS in_ledger,
               (SELECT coalesce(sum(h.held), 0) FROM holding h
                 WHERE h.wallet_id = w.wallet_id AND (w.scope = 'wallet' OR h.user_id = w.subject)) AS in_holds
          FROM windows w
    )
    SELECT metric, period, left(subject, 20), a.stored, s.stored,
           a.in_ledger || ' ' || a.in_holds
      FROM (SELECT * FROM compared WHERE wallet_id = 'lc-auto') a
      FULL JOIN (SELECT * FROM compared WHERE wallet_id = 'lc-spi') s USING (metric, scope, period, subject)
     WHERE a.stored IS DISTINCT FROM s.stored
        OR a.metric = 'amount' AND (a.spent, a.held) IS DISTINCT FROM (a.in_ledger, a.in_holds)
        OR s.metric = 'amount' AND (s.spent, s.held) IS DISTINCT FROM (s.in_ledger, s.in_holds)
$$;

-- Charges, one after the other, of amounts that add, move and remove digits. Each is compared.
CREATE PROCEDURE regress.charge_counters(amounts numeric[]) LANGUAGE plpgsql AS $$
DECLARE
    asked numeric; ways record; who record; differing record;
BEGIN
    FOREACH asked IN ARRAY amounts LOOP
        FOR who IN SELECT * FROM lc_users ORDER BY n LOOP
            FOR ways IN SELECT * FROM lc_ways LOOP
                PERFORM set_config('wallet.storage', ways.way, true);
                PERFORM wallet.charge('lc-' || ways.way, amount => asked, user_id => who.user_id);
            END LOOP;
        END LOOP;
        SELECT * INTO differing FROM regress.differing_counters() LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'after %: %', asked, differing;
        END IF;
    END LOOP;
END
$$;
CALL regress.charge_counters(ARRAY[
    0.5, 0.5, 0.000000000001, 0.999999999999, 1, 9997, 1, 0.0001, 0.9999, 90000, 0.00000001,
    0.99999999, 1, 9900000, 123.456, 0.000044, 0.543956, 99999999.999999999999, 0.000000000001,
    1000000000, 8999999999, 7, 0.07, 0.93]);
SELECT metric, scope, period, count(*), sum(used) FROM wallet.limits_status WHERE wallet = 'lc-auto' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

-- Many random charges.
SELECT setseed(0.32);
SELECT array_agg(round((10 ^ (random() * 9 - 8))::numeric, (random() * 12)::int) + 0.000000000001) AS random FROM generate_series(1, 60) \gset
CALL regress.charge_counters(:'random');

-- Holds, and their ends: the held amount grows, falls and becomes zero.
CREATE PROCEDURE regress.hold_counters(amounts numeric[]) LANGUAGE plpgsql AS $$
DECLARE
    asked numeric; ways record; who record; differing record; held uuid; place int := 0;
BEGIN
    FOREACH asked IN ARRAY amounts LOOP
        place := place + 1;
        FOR who IN SELECT * FROM lc_users ORDER BY n LOOP
            FOR ways IN SELECT * FROM lc_ways LOOP
                PERFORM set_config('wallet.storage', ways.way, true);
                SELECT hold_id INTO held FROM wallet.hold('lc-' || ways.way, amount => asked, user_id => who.user_id);
                IF place % 3 = 1 THEN
                    PERFORM wallet.void('lc-' || ways.way, held);
                ELSIF place % 3 = 2 THEN
                    PERFORM wallet.settle('lc-' || ways.way, held, amount => asked / 2);
                END IF;
            END LOOP;
        END LOOP;
        SELECT * INTO differing FROM regress.differing_counters() LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'after a hold of %: %', asked, differing;
        END IF;
    END LOOP;
END
$$;
CALL regress.hold_counters(ARRAY[0.5, 0.5, 9999, 1, 0.000000000002, 12.34, 100000000, 0.02, 0.98, 7]);
SELECT scope, period, sum(held) FROM wallet.limits_status WHERE wallet = 'lc-auto' AND metric = 'amount' GROUP BY 1, 2 ORDER BY 1, 2;

-- A refund, and a maximum that is lifted, set again and raised: allotted becomes NULL and returns.
SELECT sum(r.amount) FROM lc_ways, LATERAL (
    SELECT g.wallet_id, g.entry_id FROM wallet.ledger g
     WHERE g.wallet_id = 'lc-' || way AND g.kind = 'c' ORDER BY g.seq LIMIT 5) e,
    wallet.refund(e.wallet_id, e.entry_id) r;
SELECT * FROM regress.differing_counters();
SELECT count(wallet.set_limit('lc-' || way, 500000000000, 'lifetime', mode => 'soft')) FROM lc_ways;
CALL regress.charge_counters(ARRAY[1, 0.25]);
SELECT count(wallet.set_limit('lc-' || way, 400000000000, 'lifetime')) FROM lc_ways;
CALL regress.charge_counters(ARRAY[0.75, 1]);
SELECT count(wallet.raise_limit(wallet_id, limit_id, 7, until => now() + interval '1 day')::text) FROM wallet.limits
 WHERE wallet_id LIKE 'lc-%' AND scope = 'wallet' AND period = 'lifetime' AND metric = 'amount';
CALL regress.charge_counters(ARRAY[0.125, 10]);
SELECT DISTINCT allotted, spent FROM wallet.allowances WHERE wallet_id LIKE 'lc-%' AND subject = '*' AND allotted IS NOT NULL ORDER BY 1;
-- A charge that does not fit by the last digit.
SELECT max - used - held AS room FROM wallet.limits_status WHERE wallet = 'lc-auto' AND scope = 'wallet' AND period = 'lifetime' AND metric = 'amount' \gset
SET wallet.storage = auto;
CALL regress.fails(format($$SELECT wallet.charge('lc-auto', amount => %s + 0.000000000001, user_id => 'last')$$, :'room'));
SET wallet.storage = spi;
CALL regress.fails(format($$SELECT wallet.charge('lc-spi', amount => %s + 0.000000000001, user_id => 'last')$$, :'room'));
RESET wallet.storage;
SELECT count(*) FROM wallet.allowances WHERE wallet_id LIKE 'lc-%' AND subject = 'last';

-- A trigger of someone else on new rows is not passed over.
CREATE TABLE regress.lc_seen (subject text);
CREATE FUNCTION regress.lc_see() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO regress.lc_seen VALUES (NEW.subject);
    RETURN NEW;
END
$$;
CREATE TRIGGER see BEFORE INSERT ON wallet.allowances FOR EACH ROW EXECUTE FUNCTION regress.lc_see();
SELECT cost FROM wallet.charge('lc-auto', amount => 1, user_id => 'seen');
SELECT subject, count(*) FROM regress.lc_seen GROUP BY 1 ORDER BY 1;
DROP TRIGGER see ON wallet.allowances;
SELECT cost FROM wallet.charge('lc-auto', amount => 1, user_id => 'unseen');
SELECT subject, count(*) FROM regress.lc_seen GROUP BY 1 ORDER BY 1;
DROP FUNCTION regress.lc_see;
DROP TABLE regress.lc_seen;

SELECT * FROM lc_ways, wallet.verify('lc-' || way);
DROP PROCEDURE regress.charge_counters, regress.hold_counters;
DROP FUNCTION regress.differing_counters;
