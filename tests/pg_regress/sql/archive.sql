-- archive() moves old entries without changing any result. First a wallet of its own, with every
-- kind of entry.
SELECT wallet FROM wallet.create_wallet('arc', low_balance => '{20}', time_zone => 'Europe/Berlin');
SELECT wallet.set_price('arc-m', meter, price, per => 1000, provider => 'prov', effective_from => '2025-01-01Z') IS NOT NULL AS set
  FROM (VALUES ('input_tokens', 1), ('output_tokens', 3)) p (meter, price);
SELECT balance FROM wallet.fund('arc', 100, 'bank', 'arc-1', idempotency_key => 'fund-1');
SELECT entry_id AS waiting FROM wallet.fund('arc', 5, 'bank', 'arc-2', status => 'pending') \gset
SELECT cost FROM wallet.charge('arc', '{"model":"arc-m","input_tokens":1000,"output_tokens":500}', user_id => 'ann', team => 'red', tags => '{"project":"moon"}', event_at => '2026-03-10T12:00Z', idempotency_key => 'c-1');
SELECT entry_id AS charged FROM wallet.charge('arc', amount => 10, user_id => 'ben', idempotency_key => 'c-2') \gset
SELECT amount FROM wallet.refund('arc', :'charged', 3, idempotency_key => 'r-1');
SELECT balance FROM wallet.settle_funding('arc', :'waiting');
SELECT hold_id FROM wallet.hold('arc', amount => 8, user_id => 'ann', idempotency_key => 'h-1') \gset
SELECT cost FROM wallet.settle('arc', :'hold_id', amount => 6, idempotency_key => 's-1');
SELECT hold_id FROM wallet.hold('arc', amount => 4) \gset
SELECT amount FROM wallet.adjust('arc', -1, 'correction', idempotency_key => 'a-1');
SELECT sum(cost) FROM wallet.charge_batch('arc', '[{"amount":1,"idempotency_key":"b-1"},{"amount":2,"idempotency_key":"b-2"}]');
SELECT wallet.digest() AS kept \gset

-- Arguments that archive() refuses.
CALL regress.fails($$ SELECT wallet.archive(NULL, now()) $$);
CALL regress.fails($$ SELECT wallet.archive('arc', NULL) $$);
CALL regress.fails($$ SELECT wallet.archive('arc', 'infinity') $$);
CALL regress.fails($$ SELECT wallet.archive('arc', now() + interval '1 day') $$);
CALL regress.fails($$ SELECT wallet.archive('arc', now(), 0) $$);
CALL regress.fails($$ SELECT wallet.archive('arc_nobody', now()) $$);

-- No entry is that old. Then the first five entries. Then the same key again, for the same request
-- and for another one.
SELECT * FROM wallet.archive('arc', '2020-01-01Z');
SELECT statement_timestamp() AS day \gset
SELECT * FROM wallet.archive('arc', :'day', 5, idempotency_key => 'arc-a', actor => 'ada');
SELECT * FROM wallet.archive('arc', :'day', 5, idempotency_key => 'arc-a');
CALL regress.fails(format($$ SELECT wallet.archive('arc', %L, 6, idempotency_key => 'arc-a') $$, :'day'));
SELECT (SELECT count(*) FROM wallet.ledger WHERE wallet_id = 'arc') AS ledger,
       (SELECT count(*) FROM wallet.ledger_archive WHERE wallet_id = 'arc') AS archive,
       (SELECT count(*) FROM wallet.entries WHERE wallet = 'arc') AS entries;
SELECT * FROM wallet.archive('arc', :'day');
SELECT * FROM wallet.archive('arc', :'day');
SELECT lane, seq, amount, actor FROM wallet.carried_forward WHERE wallet_id = 'arc' ORDER BY seq;
SELECT action, actor, after - 'before' AS after FROM wallet.audit WHERE wallet = 'arc' AND action = 'archive' ORDER BY at;
SELECT "check", ok, detail FROM wallet.verify('arc', :'kept');

-- Calls whose keys were moved are replayed and book nothing. Other requests with these keys are
-- refused.
SELECT cost, balance, total_tokens, replayed FROM wallet.charge('arc', '{"model":"arc-m","input_tokens":1000,"output_tokens":500}', user_id => 'ann', team => 'red', tags => '{"project":"moon"}', event_at => '2026-03-10T12:00Z', idempotency_key => 'c-1');
SELECT cost, balance, replayed FROM wallet.charge('arc', amount => 10, user_id => 'ben', idempotency_key => 'c-2');
SET wallet.storage = spi;
SELECT cost, balance, replayed FROM wallet.charge('arc', amount => 10, user_id => 'ben', idempotency_key => 'c-2');
SELECT item, cost, replayed FROM wallet.charge_batch('arc', '[{"amount":1,"idempotency_key":"b-1"},{"amount":2,"idempotency_key":"b-2"}]');
RESET wallet.storage;
CALL regress.fails($$ SELECT wallet.charge('arc', amount => 11, user_id => 'ben', idempotency_key => 'c-2') $$);
SELECT item, cost, replayed FROM wallet.charge_batch('arc', '[{"amount":1,"idempotency_key":"b-1"},{"amount":2,"idempotency_key":"b-2"}]');
SELECT item, cost, replayed FROM wallet.charge_batch('arc', '[{"amount":0.5,"idempotency_key":"b-3"},{"amount":0.25,"idempotency_key":"b-4"},{"amount":2,"idempotency_key":"b-2"}]');
SELECT amount, balance, replayed FROM wallet.fund('arc', 100, 'bank', 'arc-1', idempotency_key => 'fund-1');
SELECT amount, balance, replayed FROM wallet.fund('arc', 100, 'bank', 'arc-1');
SELECT amount, balance, replayed FROM wallet.settle_funding('arc', :'waiting');
SELECT amount, balance, replayed FROM wallet.refund('arc', :'charged', 3, idempotency_key => 'r-1');
SELECT amount, balance, replayed FROM wallet.adjust('arc', -1, 'correction', idempotency_key => 'a-1');
SELECT cost, balance, replayed FROM wallet.settle('arc', (SELECT hold_id FROM wallet.holds WHERE wallet = 'arc' AND status = 'settled'), amount => 6, idempotency_key => 's-1');
-- With another hold, a key that was moved is another request.
CALL regress.fails(format($$ SELECT wallet.settle('arc', %L, amount => 1, idempotency_key => 's-1') $$, :'hold_id'));
SELECT count(*) AS booked_since FROM wallet.ledger WHERE wallet_id = 'arc';

-- A charge that was moved can be refunded, up to its amount.
SELECT amount, replayed FROM wallet.refund('arc', :'charged', 4);
CALL regress.fails(format($$ SELECT wallet.refund('arc', %L, 3.5) $$, :'charged'));
SELECT amount, replayed FROM wallet.refund('arc', :'charged');
CALL regress.fails(format($$ SELECT wallet.refund('arc', %L) $$, :'charged'));
SELECT name, value FROM wallet.usage_headers('arc', (SELECT entry_id FROM wallet.entries WHERE wallet = 'arc' AND idempotency_key = 'c-1')) WHERE name IN ('X-Usage-Cost', 'X-Total-Tokens');
-- A limit also counts what the archived entries of its current window have spent.
SELECT wallet.set_limit('arc', 50, 'lifetime', scope => 'user') IS NOT NULL AS set;
SELECT subject, used FROM wallet.limits_status WHERE wallet = 'arc' ORDER BY subject;
SELECT bool_and(ok) AS sound FROM wallet.verify('arc', :'kept');
SELECT * FROM regress.broken('arc');

-- Calls that refer to an entry that was moved: late pricing, a voided grant, a chargeback.
SELECT wallet FROM wallet.create_wallet('arc_late');
SELECT unnest(low_balance) FROM wallet.update_wallet('arc_late', unknown_price => 'unpriced');
SELECT entry_id AS paid FROM wallet.fund('arc_late', 50, reference => 'arc-3') \gset
SELECT entry_id AS granted FROM wallet.fund('arc_late', 15, promotional => true, expires_at => '2999-01-01Z') \gset
SELECT cost FROM wallet.charge('arc_late', '{"model":"arc-late","pages":3}', idempotency_key => 'late');
SELECT cost FROM wallet.charge('arc_late', amount => 4);
SELECT archived, complete FROM wallet.archive('arc_late', now());
SELECT wallet.set_price('arc-late', 'pages', 2, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT model, usage FROM wallet.unpriced WHERE wallet = 'arc_late';
SELECT model, cost FROM wallet.price_unpriced('arc_late');
SELECT cost, new_cost FROM wallet.reprice('arc_late');
SELECT amount, balance FROM wallet.void_grant('arc_late', :'granted');
SELECT amount, taken, debt, status FROM wallet.reverse_funding('arc_late', :'paid');
SELECT cost, replayed FROM wallet.charge('arc_late', '{"model":"arc-late","pages":3}', idempotency_key => 'late');
SELECT bool_and(ok) AS sound FROM wallet.verify('arc_late');

-- No statement changes or deletes an archived entry, and no entry leaves the ledger without being
-- archived.
CALL regress.fails($$ UPDATE wallet.ledger_archive SET amount = 0 WHERE wallet_id = 'arc' $$);
CALL regress.fails($$ DELETE FROM wallet.ledger_archive WHERE wallet_id = 'arc' AND seq = 3 $$);
CALL regress.fails($$ TRUNCATE wallet.ledger_archive $$);
CALL regress.fails($$ UPDATE wallet.carried_forward SET amount = 0 WHERE wallet_id = 'arc' $$);
CALL regress.fails($$ DELETE FROM wallet.carried_forward WHERE wallet_id = 'arc' $$);
CALL regress.fails($$ TRUNCATE wallet.carried_forward $$);
CALL regress.fails($$ DELETE FROM wallet.ledger WHERE wallet_id = 'arc' $$);
CALL regress.fails($$ WITH moved AS (DELETE FROM wallet.ledger WHERE wallet_id = 'arc' RETURNING *) INSERT INTO wallet.ledger_archive SELECT * FROM moved $$);
-- A copy that differs is refused as a copy, and so is one of a wallet that is not marked as having
-- an archive.
CREATE FUNCTION regress.moved(changed text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO wallet.ledger_archive SELECT * FROM wallet.ledger WHERE wallet_id = 'arc';
    INSERT INTO wallet.carried_forward SELECT 'arc', gen_random_uuid(), lane, seq, lane_balance, hash, now() FROM wallet.ledger WHERE wallet_id = 'arc';
    SET LOCAL session_replication_role = replica;
    EXECUTE changed;
    SET LOCAL session_replication_role = origin;
    DELETE FROM wallet.ledger WHERE wallet_id = 'arc';
    RAISE SQLSTATE 'RBACK';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;
SELECT regress.moved('SELECT') AS as_it_is,
       regress.moved($$ UPDATE wallet.ledger_archive SET metadata = '{}' WHERE wallet_id = 'arc' AND metadata IS NULL $$) AS changed,
       regress.moved($$ UPDATE wallet.ledger_archive SET usage = '{"model":"x","y":1.0}' WHERE wallet_id = 'arc'; UPDATE wallet.ledger SET usage = '{"model":"x","y":1.00}' WHERE wallet_id = 'arc' $$) AS in_one_digit,
       regress.moved($$ DELETE FROM wallet.carried_forward WHERE wallet_id = 'arc' $$) AS not_carried,
       regress.moved($$ UPDATE wallet.wallets SET archived = false WHERE wallet_id = 'arc' $$) AS not_known;

-- verify() finds what a superuser has changed in the archive with triggers off, and names the
-- place.
CREATE FUNCTION regress.arc_tampered(what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    found text[];
BEGIN
    BEGIN
        SET LOCAL session_replication_role = replica;
        EXECUTE what;
        SELECT array_agg(v."check" || ': ' || regress.mask(v.detail)) INTO found FROM wallet.verify('arc') v WHERE NOT v.ok;
        RAISE SQLSTATE 'RBACK';
    EXCEPTION WHEN SQLSTATE 'RBACK' THEN NULL;
    END;
    RETURN QUERY SELECT coalesce(f, 'nothing found') FROM unnest(coalesce(found, '{NULL}')) f;
END
$$;
SELECT * FROM regress.arc_tampered($$ UPDATE wallet.ledger_archive SET actor = 'eve' WHERE wallet_id = 'arc' AND seq = 3 $$);
SELECT * FROM regress.arc_tampered($$ UPDATE wallet.ledger_archive SET idempotency_key = NULL WHERE wallet_id = 'arc' AND seq = 3 $$);
SELECT * FROM regress.arc_tampered($$ DELETE FROM wallet.ledger_archive WHERE wallet_id = 'arc' AND seq = 4 $$);
SELECT * FROM regress.arc_tampered($$ DELETE FROM wallet.ledger_archive WHERE wallet_id = 'arc' AND seq = (SELECT max(seq) FROM wallet.ledger_archive WHERE wallet_id = 'arc') $$);
SELECT * FROM regress.arc_tampered($$ DELETE FROM wallet.ledger_archive WHERE wallet_id = 'arc' $$);
SELECT * FROM regress.arc_tampered($$ UPDATE wallet.carried_forward SET amount = amount + 1 WHERE wallet_id = 'arc' AND seq = 5 $$);
SELECT * FROM regress.arc_tampered($$ UPDATE wallet.carried_forward SET seq = seq - 1 WHERE wallet_id = 'arc' AND seq > 5 $$);
SELECT * FROM regress.arc_tampered($$ UPDATE wallet.carried_forward SET hash = sha256('x') WHERE wallet_id = 'arc' AND seq > 5 $$);
SELECT * FROM regress.arc_tampered($$ DELETE FROM wallet.carried_forward WHERE wallet_id = 'arc' AND seq > 5 $$);
SELECT * FROM regress.arc_tampered($$ DELETE FROM wallet.carried_forward WHERE wallet_id = 'arc' $$);
SELECT * FROM regress.arc_tampered($$ UPDATE wallet.wallets SET archived = false WHERE wallet_id = 'arc' $$);
SELECT * FROM regress.arc_tampered($$ INSERT INTO wallet.ledger SELECT * FROM wallet.ledger_archive WHERE wallet_id = 'arc' AND seq = 2 $$);
SELECT * FROM regress.arc_tampered($$ WITH back AS (DELETE FROM wallet.ledger_archive WHERE wallet_id = 'arc' AND seq > 5 RETURNING *) INSERT INTO wallet.ledger SELECT * FROM back $$);
SELECT * FROM regress.arc_tampered($$ WITH gone AS (DELETE FROM wallet.ledger WHERE wallet_id = 'arc' RETURNING *) INSERT INTO wallet.ledger_archive SELECT * FROM gone $$);
SELECT bool_and(ok) AS untouched FROM wallet.verify('arc', :'kept');

-- Several lanes: the first entries of each lane, up to an entry that was booked later.
SELECT wallet FROM wallet.create_wallet('arc_lanes', lanes => 3);
SELECT balance FROM wallet.fund('arc_lanes', 100);
SELECT count(wallet.charge('arc_lanes', amount => 0.5, idempotency_key => 'k' || n)) FROM generate_series(1, 30) n;
SELECT lanes FROM wallet.set_lanes('arc_lanes', 1);
SELECT cost FROM wallet.charge('arc_lanes', amount => 80);
SELECT statement_timestamp() AS later \gset
SELECT cost FROM wallet.charge('arc_lanes', amount => 1, idempotency_key => 'later');
SELECT archived, complete FROM wallet.archive('arc_lanes', :'later', 7);
SELECT archived, complete, carried_forward FROM wallet.archive('arc_lanes', :'later');
SELECT idempotency_key FROM wallet.ledger WHERE wallet_id = 'arc_lanes';
SELECT lanes FROM wallet.set_lanes('arc_lanes', 4);
SELECT count(*) FILTER (WHERE c.replayed) AS replayed, count(*) FROM generate_series(1, 31) n, wallet.charge('arc_lanes', amount => 0.5, idempotency_key => 'k' || n) c;
SELECT count(*) FILTER (WHERE replayed) AS replayed, count(*) FROM wallet.charge_batch('arc_lanes', (SELECT jsonb_agg(jsonb_build_object('amount', 0.5, 'idempotency_key', 'k' || n)) FROM generate_series(20, 35) n));
SELECT bool_and(ok) AS sound FROM wallet.verify('arc_lanes');
SELECT * FROM regress.broken('arc_lanes');

-- Frozen and closed wallets can be archived.
SELECT status FROM wallet.freeze_wallet('arc_lanes');
SELECT archived > 0 AS archived FROM wallet.archive('arc_lanes', now());
SELECT status FROM wallet.unfreeze_wallet('arc_lanes');

-- Every view of every wallet of these tests, and every report of those with most kinds of entries,
-- before and after all entries or the first half were moved. It is one statement, so that now() is
-- the same before and after.
CREATE FUNCTION regress.all_reads(of_wallet text, reports boolean) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    name text;
    call text;
    said text[];
BEGIN
    FOR name IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'wallet'::regnamespace AND c.relkind = 'v' ORDER BY 1 LOOP
        RETURN QUERY EXECUTE format('SELECT %L || '' '' || v::text FROM wallet.%I v', name, name)
            || CASE WHEN EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = format('wallet.%I', name)::regclass AND a.attname = 'wallet')
                    THEN ' WHERE v.wallet = $1' WHEN name = 'focus' THEN ' WHERE v."BillingAccountId" = $1'
                    WHEN name = 'ledger_all' THEN ' WHERE v.wallet_id = $1' ELSE ' WHERE $1 IS NULL' END
            || CASE name WHEN 'audit' THEN ' AND v.action <> ''archive''' ELSE '' END
            USING of_wallet;
    END LOOP;
    FOREACH call IN ARRAY CASE WHEN reports THEN ARRAY[
        'balance_at($1, statement_timestamp() - interval ''1 second'')', 'booked_before($1, statement_timestamp())', 'chargeback($1, current_date)', 'chargeback($1, ''2026-03-01'')',
        'check_limits($1, ''ann'', ''rep-big'', ''red'', amount => 1)', 'forecast($1)',
        'journal($1)', 'journal($1, statement_timestamp() - interval ''10 seconds'', statement_timestamp() - interval ''1 second'', ''beancount'')',
        'lots_now($1)', 'payments_of($1)', 'report($1, 366)', 'reprice($1)', 'savings($1, models => ''{rep-big,arc-m}'')',
        'statement($1)', 'statement($1, statement_timestamp() - interval ''5 seconds'')', 'statement_html($1, current_date)', 'unrolled_from($1)',
        'rolled_before($1, statement_timestamp())', 'usage_by($1, ''user'')', 'usage_by($1, ''team'')', 'usage_by($1, ''model'')', 'usage_by($1, ''service'')',
        'usage_by($1, ''region'')', 'usage_by($1, ''key'')', 'usage_by($1, ''hour'')', 'usage_by($1, ''day'')', 'usage_by($1, ''tag:project'')',
        'verify_chain($1)'] ELSE '{}'::text[] END LOOP
        -- Calls that are refused before must be refused after.
        BEGIN
            EXECUTE format('SELECT array_agg(%L || '' '' || r) FROM wallet.%s r', call, call) INTO said USING of_wallet;
        EXCEPTION WHEN OTHERS THEN
            said := ARRAY[call || ' is refused: ' || SQLSTATE];
        END;
        RETURN QUERY SELECT unnest(said);
    END LOOP;
    IF NOT reports THEN RETURN; END IF;
    RETURN QUERY SELECT 'verify ' || v::text FROM wallet.verify(of_wallet, wallet.digest()) v WHERE v."check" <> 'archive';
    RETURN QUERY SELECT 'headers ' || h::text FROM wallet.entries e, wallet.usage_headers(of_wallet, e.entry_id) h WHERE e.wallet = of_wallet AND e.kind = 'charge' AND e.seq <= 20;
END
$$;
CREATE FUNCTION regress.differences(a text[], b text[]) RETURNS SETOF text LANGUAGE sql AS $$
    (SELECT 'was ' || unnest(a) EXCEPT ALL SELECT 'was ' || unnest(b)) UNION ALL (SELECT 'is ' || unnest(b) EXCEPT ALL SELECT 'is ' || unnest(a))
$$;
CREATE PROCEDURE regress.same_after_archiving() LANGUAGE plpgsql AS $$
DECLARE
    w text; said text; before text[]; after text[]; varied text[];
    reads bigint := 0; moved bigint := 0; wallets bigint := 0;
BEGIN
    varied := ARRAY(SELECT wallet_id FROM wallet.ledger GROUP BY 1 ORDER BY count(DISTINCT (kind, call, model, lane)) DESC, 1 LIMIT 20);
    FOR w IN SELECT wallet FROM wallet.balances ORDER BY 1 LOOP
        before := ARRAY(SELECT regress.all_reads(w, w = ANY (varied)));
        moved := moved + (SELECT archived FROM wallet.archive(w, statement_timestamp(),
            CASE WHEN wallets % 2 = 0 THEN (SELECT 1 + count(*) / 2 FROM wallet.ledger WHERE wallet_id = w) END));
        after := ARRAY(SELECT regress.all_reads(w, w = ANY (varied)));
        FOR said IN SELECT regress.differences(before, after) LOOP
            RAISE WARNING '%: %', w, left(said, 300);
        END LOOP;
        reads := reads + cardinality(before);
        wallets := wallets + 1;
    END LOOP;
    RAISE NOTICE 'many wallets, entries and rows: %, %, %', wallets > 50, moved > 500, reads > 10000;
END
$$;
CALL regress.same_after_archiving();
-- Roll-ups of archived entries have the figures of the entries.
CREATE TEMPORARY TABLE unrolled AS SELECT * FROM wallet.usage_daily;
SELECT wallet.roll_up(now()) > 0 AS rolled;
SELECT count(*) FROM ((TABLE unrolled EXCEPT ALL TABLE wallet.usage_daily) UNION ALL (TABLE wallet.usage_daily EXCEPT ALL TABLE unrolled)) d;
-- The view of all entries reads the same relation, column by column.
SELECT count(*) AS different FROM (
    SELECT attnum, attname, atttypid, atttypmod, attnotnull FROM pg_attribute WHERE attrelid = 'wallet.ledger'::regclass AND attnum > 0
     EXCEPT SELECT attnum, attname, atttypid, atttypmod, attnotnull FROM pg_attribute WHERE attrelid = 'wallet.ledger_archive'::regclass) d;
