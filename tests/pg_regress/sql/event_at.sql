-- The time of usage: its bounds. Times outside the bounds that are stored already can still be
-- read.
SET TimeZone = 'UTC';
SELECT wallet FROM wallet.create_wallet('ev', time_zone => 'Pacific/Kiritimati');
SELECT balance FROM wallet.fund('ev', 1000);
SELECT wallet.set_price('ev-model', 'input_tokens', 1, 1000000, effective_from => '2000-01-01') IS NOT NULL AS priced;

-- The bounds, and one second beyond each.
SELECT balance FROM wallet.charge('ev', amount => 1, event_at => '2000-01-01 00:00:00Z');
CALL regress.fails($$ SELECT wallet.charge('ev', amount => 1, event_at => '1999-12-31 23:59:59Z') $$);
SELECT balance FROM wallet.charge('ev', amount => 1, event_at => now() + interval '23:59:59');
-- The latest allowed time depends on the clock.
CREATE FUNCTION regress.said(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE more text; help text;
BEGIN
    EXECUTE statement;
    RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS more = PG_EXCEPTION_DETAIL, help = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n', SQLSTATE || ' ' || SQLERRM,
                     regexp_replace(more, '(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z)([,;] |\.$)', '<time>\3', 'g'), help);
END
$$;
SELECT regress.said($$ SELECT wallet.charge('ev', amount => 1, event_at => now() + interval '1 day 1 minute') $$);
-- Milliseconds given as seconds, and the end of the calendar.
SELECT regress.said($$ SELECT wallet.charge('ev', amount => 1, event_at => to_timestamp(1764423000000)) $$);
SELECT regress.said($$ SELECT wallet.charge('ev', amount => 1, event_at => '294276-12-31 23:59:59.999999Z') $$);
SELECT regress.said($$ SELECT wallet.charge('ev', amount => 1, event_at => '4714-11-24 BC') $$);
-- Every call that takes a time of usage.
SELECT regress.outcome(format(q, t)) AS outcome, t, q
  FROM unnest(ARRAY['infinity', '-infinity', '57882-05-07', '1999-12-31']) t,
       unnest(ARRAY[$$ SELECT wallet.charge('ev', amount => 1, event_at => %L) $$,
                    $$ SELECT wallet.check_limits('ev', amount => 1, event_at => %L) $$,
                    $$ SELECT wallet.hold('ev', amount => 1, event_at => %L) $$,
                    $$ SELECT wallet.settle('ev', gen_random_uuid(), amount => 1, event_at => %L) $$,
                    $$ SELECT wallet.charge_batch('ev', jsonb_build_array(jsonb_build_object('amount', 1, 'event_at', %L))) $$]) q;
SELECT item, sqlstate, message FROM wallet.charge_batch('ev', '[{"amount": 1, "event_at": "infinity"}, {"amount": 1, "event_at": "57882-05-07T00:00:00Z"},
    {"amount": 1, "event_at": "1999-12-31T23:59:59.999Z"}, {"amount": 1, "event_at": "2026-01-01T00:00:00Z"}]', on_error => 'skip');
-- The settings, which only a superuser may change.
SELECT name, setting, unit, context FROM pg_settings WHERE name LIKE 'wallet.event_at%' ORDER BY 1;
CALL regress.fails($$ SET wallet.event_at_min = 'yesterday' $$);
CALL regress.fails($$ SET wallet.event_at_min = '2000-01-01T15:00:00' $$);
CALL regress.fails($$ SET wallet.event_at_max_ahead = '-1' $$);
SET wallet.event_at_min = '1980-01-01T00:00:00+01';
SET wallet.event_at_max_ahead = 0;
SELECT balance FROM wallet.charge('ev', amount => 1, event_at => '1980-01-01 00:00:00+01');
SELECT regress.said($$ SELECT wallet.charge('ev', amount => 1, event_at => '1979-12-31 22:59:59Z') $$);
SELECT regress.outcome($$ SELECT wallet.charge('ev', amount => 1, event_at => clock_timestamp() + interval '1 minute') $$);
RESET wallet.event_at_min;
RESET wallet.event_at_max_ahead;
SELECT regress.outcome($$ SELECT wallet.charge('ev', amount => 1, event_at => '1980-01-01 00:00:00+01') $$);
-- Other stored times are within the years that every program can read.
SELECT regress.said($$ SELECT wallet.fund('ev', 1, expires_at => '10000-01-01Z') $$);
SELECT regress.outcome($$ SELECT wallet.create_voucher('EV', 1, expires_at => '57882-01-01') $$) AS voucher,
       regress.outcome($$ SELECT wallet.set_fx_rate('AAA', 'USD', 1, '0001-12-31 BC') $$) AS rate,
       regress.outcome($$ SELECT wallet.set_price('ev-model', 'input_tokens', 1, 1, effective_from => '57882-01-01') $$) AS price,
       regress.outcome($$ SELECT wallet.create_key('ev', expires_at => '57882-01-01') $$) AS key,
       regress.outcome($$ SELECT wallet.price_usage('{"model": "ev-model", "input_tokens": 1}', at => '57882-01-01') $$) AS only_asked;

-- Rows that an older version or a superuser may have left, with a correct chain.
CREATE PROCEDURE regress.book_at(of_wallet text, at timestamptz, of_entry uuid) LANGUAGE plpgsql AS $$
DECLARE
    l wallet.ledger;
    head wallet.allowances;
BEGIN
    SELECT * INTO l FROM wallet.ledger WHERE wallet_id = of_wallet AND entry_id = of_entry;
    -- After the last.
    l.entry_id := overlay(gen_random_uuid()::text PLACING left((wallet.charge(of_wallet, amount => 0)).entry_id::text, 18) FROM 1)::uuid;
    SELECT * INTO head FROM wallet.allowances
     WHERE wallet_id = of_wallet AND allowance_id = '00000000-0000-0000-0000-000000000000' AND lane = 0;
    l.event_at := at; l.created_at := clock_timestamp(); l.lane := 0; l.seq := head.seq + 1; l.balance := NULL;
    l.idempotency_key := NULL; l.fingerprint := NULL; l.lane_balance := head.booked + l.amount;
    l.hash := sha256(
        head.hash || wallet.person_digest(l.person_proof, l.user_id, l.actor, l.fingerprint)
        || wallet.payload_digest(l.payload_proof, l.usage, l.tags, l.metadata, l.reference, l.reason)
        || convert_to(jsonb_build_array(
            l.wallet_id, l.lane::text, l.seq::text, l.entry_id::text, l.kind::text, l.call::text,
            l.amount::text, l.lane_balance::text, l.balance::text, (extract(epoch FROM l.created_at) * 1000000)::bigint::text,
            -- As large as a bigint, and minus infinity as it is hashed.
            least(greatest(extract(epoch FROM l.event_at) * 1000000, -9222425352054775808), 9223372036854775807)::bigint::text,
            l.idempotency_key, l.related_id::text, l.key_id::text, l.team, l.provider, l.model, l.service,
            l.region, l.service_tier, encode(l.lines, 'hex'), l.contra)::text, 'UTF8'));
    SET LOCAL session_replication_role = replica;
    INSERT INTO wallet.ledger SELECT l.*;
    UPDATE wallet.allowances SET seq = l.seq, hash = l.hash, booked = l.lane_balance, spent = spent - l.amount, version = version + 1
     WHERE wallet_id = of_wallet AND allowance_id = '00000000-0000-0000-0000-000000000000' AND lane = 0;
    IF EXISTS (SELECT FROM wallet.unpriced_charges u WHERE u.wallet_id = of_wallet AND u.entry_id = of_entry) THEN
        INSERT INTO wallet.unpriced_charges (wallet_id, entry_id) VALUES (of_wallet, l.entry_id);
    END IF;
    SET LOCAL session_replication_role = origin;
END
$$;
SELECT wallet FROM wallet.update_wallet('ev', unknown_price => 'unpriced');
SELECT entry_id AS priced, cost FROM wallet.charge('ev', '{"model": "ev-model", "input_tokens": 2000000}', user_id => 'ada', team => 'red', tags => '{"x": "y"}') \gset
SELECT entry_id AS unpriced, cost FROM wallet.charge('ev', '{"model": "ev-later", "input_tokens": 1000000}') \gset
CALL regress.book_at('ev', '294276-12-31 23:59:59.999999Z', :'priced');
CALL regress.book_at('ev', '57882-05-07Z', :'priced');
CALL regress.book_at('ev', '1999-12-31Z', :'priced');
CALL regress.book_at('ev', '4714-11-24 00:00:00Z BC', :'priced');
CALL regress.book_at('ev', 'infinity', :'priced');
CALL regress.book_at('ev', '-infinity', :'priced');
CALL regress.book_at('ev', '57882-05-07Z', :'unpriced');
CALL regress.book_at('ev', '294276-12-31 23:59:59.999999Z', :'unpriced');
SELECT kind, event_at, amount FROM wallet.entries WHERE wallet = 'ev' AND event_at NOT BETWEEN '2000-01-01Z' AND now() + interval '1 day' ORDER BY seq;
-- References to them can be read, too.
SELECT count(r.amount) AS refunds FROM wallet.entries e CROSS JOIN LATERAL wallet.refund('ev', e.entry_id, 0.25) r
 WHERE e.wallet = 'ev' AND e.amount = -2 AND e.event_at NOT BETWEEN '2000-01-01Z' AND now() + interval '1 day';
-- Every function that reads them, in three time zones.
CREATE TEMP TABLE readers (place serial, reader text);
INSERT INTO readers (reader)
SELECT format('SELECT count(*) FROM %s', q) FROM unnest(ARRAY[
    $$wallet.entries e$$, $$wallet.usage_entries e$$, $$wallet.usage_days e$$, $$wallet.usage_daily e$$, $$wallet.focus e$$, $$wallet.unpriced e$$,
    $$wallet.balances e$$, $$wallet.grants e$$, $$wallet.grant_payments e$$, $$wallet.fundings e$$, $$wallet.limits_status e$$, $$wallet.events e$$,
    $$wallet.holds e$$, $$wallet.health e$$, $$wallet.lane_waits e$$,
    $$wallet.verify('ev') e$$, $$wallet.verify_chain('ev') e$$, $$wallet.digest() e$$, $$wallet.verify('ev', wallet.digest()) e$$,
    $$wallet.chargeback('ev', current_date) e$$, $$wallet.statement('ev') e$$, $$wallet.statement('ev', '2000-01-01', now()) e$$,
    $$wallet.balance_at('ev', now()) e$$, $$wallet.forecast('ev') e$$, $$wallet.report('ev') e$$,
    $$wallet.statement_html('ev', current_date) e$$, $$wallet.savings('ev', models => '{ev-model}') e$$,
    $$wallet.journal('ev') e$$, $$wallet.journal('ev', format => 'beancount') e$$, $$wallet.reprice('ev', price_list => 'default') e$$,
    $$wallet.check_limits('ev', amount => 1) e$$, $$wallet.unrolled_days e$$, $$wallet.unrolled_from('ev') e$$,
    $$wallet.due_balance('ev', now()) e$$, $$wallet.due_entries('ev', now()) e$$, $$wallet.due_lots('ev', now()) e$$, $$wallet.lots_at('ev', now()) e$$]) q;
INSERT INTO readers (reader)
SELECT format('SELECT count(*) FROM wallet.usage_by(%L, %L) e', 'ev', d)
  FROM unnest(ARRAY['user', 'team', 'model', 'service', 'region', 'key', 'hour', 'day', 'tag:x']) d;
INSERT INTO readers (reader) VALUES
    ($$SELECT count(*) FROM wallet.usage_by('ev', 'day', '2000-01-01', '2100-01-01') e$$),
    ($$SELECT count(*) FROM wallet.usage_by('ev', 'model', '4000-01-01 BC', '294276-01-01') e$$),
    ($$SELECT count(*) FROM wallet.usage_by('ev', 'day', from_day => '2000-01-01', to_day => '9999-12-31') e$$),
    ($$SELECT count(*) FROM wallet.usage_headers('ev', (SELECT entry_id FROM wallet.entries WHERE wallet = 'ev' AND event_at = '57882-05-07Z' LIMIT 1)) e$$);
CREATE FUNCTION pg_temp.failures() RETURNS TABLE (zone text, reader text, said text) LANGUAGE plpgsql AS $$
DECLARE
    r record;
    n bigint;
BEGIN
    FOREACH zone IN ARRAY ARRAY['UTC', 'Pacific/Kiritimati', 'Pacific/Pago_Pago'] LOOP
        PERFORM set_config('TimeZone', zone, true);
        FOR r IN SELECT * FROM readers ORDER BY place LOOP
            BEGIN
                reader := r.reader;
                -- All columns are computed.
                EXECUTE replace(r.reader, 'count(*)', 'count(e::text)') INTO n;
                said := CASE n WHEN 0 THEN NULL END;
            EXCEPTION WHEN OTHERS THEN
                said := SQLSTATE || ' ' || SQLERRM;
                RETURN NEXT;
            END;
        END LOOP;
    END LOOP;
    PERFORM set_config('TimeZone', 'UTC', true);
END
$$;
SELECT * FROM pg_temp.failures();
SELECT * FROM wallet.verify('ev');
\getenv here PG_ABS_SRCDIR
\set chain :here '/../../docs/verify_chain.sql'
\set wallet ev
\set ECHO none
\i :chain
\set ECHO all
-- Their usage is counted: 6 charges of 2.00 in addition to the first, and the unpriced one once it
-- has a price.
SELECT value, requests, cost FROM wallet.usage_by('ev', 'model');
SELECT wallet.set_price('ev-later', 'input_tokens', 3, 1000000, effective_from => '2000-01-01') IS NOT NULL AS priced;
SELECT model, cost, count(*) FROM wallet.price_unpriced('ev') GROUP BY 1, 2;
SELECT count(*), sum(f."EffectiveCost") AS cost, bool_and(f."ChargePeriodStart" BETWEEN '2000-01-01' AND now() + interval '1 day') AS in_calendar
  FROM wallet.focus f JOIN wallet.entries e ON e.wallet = f."BillingAccountId" AND e.entry_id = f."x_EntryId"
 WHERE f."BillingAccountId" = 'ev' AND e.event_at > '57882-01-01';
-- All of it again after roll-up and archiving.
SELECT count(*) > 0 AS maintained FROM wallet.maintain();
SELECT wallet.roll_up(clock_timestamp()) > 0 AS rolled_up;
SELECT count(*) > 0 AS rolled FROM wallet.usage_rollups WHERE wallet_id = 'ev';
SELECT * FROM pg_temp.failures();
SELECT archived > 0 AS archived, complete FROM wallet.archive('ev', now());
SELECT * FROM pg_temp.failures();
SELECT * FROM wallet.verify('ev');
\set ECHO none
\i :chain
\set ECHO all
SELECT value, requests, cost FROM wallet.usage_by('ev', 'model');
RESET TimeZone;
