-- Windows of limits: on which day and at which time of day they begin, and what is carried from one
-- into the next.

-- A month that begins on the 31st begins on the last day of a shorter month.
SELECT at::date, wallet.period_end('month', 31, 'UTC', at) AS last_day, wallet.period_end('month', 29, 'UTC', at) AS day_29
  FROM unnest('{2027-01-30,2027-02-27,2027-02-28,2027-03-31,2028-02-28,2028-02-29}'::timestamptz[]) at;
-- A day, month or year that begins at nine.
SELECT period, wallet.period_end(period, anchor, 'UTC', '2027-02-28 08:59:59Z', '09:00') AS before, wallet.period_end(period, anchor, 'UTC', '2027-02-28 09:00Z', '09:00') AS after
  FROM (VALUES ('day', NULL), ('week', 7), ('month', 31), ('quarter', NULL), ('year', NULL)) p (period, anchor);
-- In Berlin, 02:30 was skipped on 2026-03-29 and came twice on 2026-10-25.
SELECT at, wallet.period_end('day', NULL, 'Europe/Berlin', at, '02:30') FROM unnest('{2026-03-28 12:00Z,2026-03-29 12:00Z,2026-10-24 12:00Z,2026-10-25 00:40Z,2026-10-25 01:40Z}'::timestamptz[]) at;

SELECT wallet FROM wallet.create_wallet('at_nine');
SELECT wallet.set_limit('at_nine', 10, 'day', anchor_time => '09:00') IS NOT NULL AS set;
SELECT period, resets_at = wallet.period_end('day', NULL, 'UTC', now(), '09:00') AS at_nine, anchor_time FROM wallet.limits_status WHERE wallet = 'at_nine';
-- Left out it is midnight again, as the day of an anchor would be the first again.
SELECT wallet.set_limit('at_nine', 10, 'day') IS NOT NULL AS set;
SELECT resets_at = wallet.period_end('day', NULL, 'UTC', now()) AS at_midnight, anchor_time FROM wallet.limits_status WHERE wallet = 'at_nine';
-- Windows that begin at another time are counted again.
SELECT balance FROM wallet.fund('at_nine', 100);
SELECT cost FROM wallet.charge('at_nine', amount => 4);
SELECT wallet.set_limit('at_nine', 10, 'day', anchor_time => date_trunc('minute', now() AT TIME ZONE 'UTC' - interval '5 seconds')::time) IS NOT NULL AS set;
SELECT used FROM wallet.limits_status WHERE wallet = 'at_nine';
SELECT wallet.set_limit('at_nine', 10, 'day', anchor_time => '24:00') IS NOT NULL AS set;
SELECT used, anchor_time FROM wallet.limits_status WHERE wallet = 'at_nine';
CALL regress.fails($$ SELECT wallet.set_limit('at_nine', 10, 'hour', anchor_time => '00:30') $$);
CALL regress.fails($$ SELECT wallet.set_limit('at_nine', 10, 'lifetime', anchor_time => '00:00') $$);
CALL regress.fails($$ SELECT wallet.set_limit('at_nine', 10, 'rolling 5 hours', anchor_time => '09:00') $$);

-- An open hold keeps its row in the window before. It is not a window of the limit any longer.
SELECT wallet FROM wallet.create_wallet('moved');
SELECT balance FROM wallet.fund('moved', 100);
SELECT wallet.set_limit('moved', 10, 'year', time_zone => 'UTC') AS yearly \gset
SELECT cost FROM wallet.charge('moved', amount => 4);
SELECT hold_id FROM wallet.hold('moved', amount => 2) \gset
SELECT wallet.set_limit('moved', 10, 'year', time_zone => 'Asia/Tokyo') = :'yearly' AS same;
SELECT count(*) AS kept FROM wallet.allowances WHERE wallet_id = 'moved' AND limit_id = :'yearly';
SELECT used, held, resets_at = wallet.period_end('year', NULL, 'Asia/Tokyo', now()) AS at_end FROM wallet.limits_status WHERE wallet = 'moved';
SELECT "check", ok, detail FROM wallet.verify('moved') WHERE "check" = 'limits';
SELECT cost FROM wallet.settle('moved', :'hold_id', amount => 2);
SELECT "check", ok, detail FROM wallet.verify('moved') WHERE "check" = 'limits';
-- A row that stays because its window begins as before ends when the window ends now, also if the
-- window had ended before.
SELECT hold_id FROM wallet.hold('moved', amount => 1) \gset
SELECT wallet.set_limit('moved', 10, 'year', paused => true) = :'yearly' AS same;
UPDATE wallet.allowances SET window_end = window_end - interval '1 year' WHERE wallet_id = 'moved' AND limit_id = :'yearly';
SELECT wallet.set_limit('moved', 10, 'year', paused => false) = :'yearly' AS same;
SELECT a.spent, a.held, a.window_end = wallet.period_end('year', NULL, 'Asia/Tokyo', now()) AS at_end
  FROM wallet.allowances a WHERE wallet_id = 'moved' AND limit_id = :'yearly' AND held > 0;
SELECT used, held, resets_at = wallet.period_end('year', NULL, 'Asia/Tokyo', now()) AS at_end FROM wallet.limits_status WHERE wallet = 'moved';
SELECT * FROM regress.broken('moved');

-- rollover_max: what is left of a year is carried into the next one. Here, years pass by making all
-- windows older.
CREATE PROCEDURE regress.pass(of_wallet text, years int) LANGUAGE plpgsql AS $$
DECLARE
    w record; past interval := make_interval(years => years); new_id uuid;
BEGIN
    FOR w IN SELECT * FROM wallet.allowances WHERE wallet_id = of_wallet AND limit_id IS NOT NULL ORDER BY window_start LOOP
        new_id := regress.window_id(w.limit_id, w.window_start - past, w.subject);
        UPDATE wallet.allowances SET allowance_id = new_id, window_start = window_start - past, window_end = window_end - past
         WHERE wallet_id = of_wallet AND allowance_id = w.allowance_id;
        UPDATE wallet.reservations SET window_ids = array_replace(window_ids, w.allowance_id, new_id) WHERE wallet_id = of_wallet;
    END LOOP;
    UPDATE wallet.reservations SET created_at = created_at - past WHERE wallet_id = of_wallet;
    UPDATE wallet.limits SET carry_from = carry_from - past WHERE wallet_id = of_wallet;
    -- A change that changes nothing makes the other sessions read the limits again.
    PERFORM wallet.set_limit(wallet_id, max, period, scope, subject, metric, mode, warn_at, time_zone, anchor, paused => paused, anchor_time => anchor_time, rollover_max => rollover_max)
       FROM wallet.limits WHERE wallet_id = of_wallet;
END
$$;
-- What the view and check_limits say, which must be the same.
CREATE FUNCTION regress.carried(of_wallet text, of_user text = NULL)
RETURNS TABLE (max numeric, carried numeric, used numeric, held numeric, remaining numeric, checked text) LANGUAGE sql AS $$
    SELECT s.max, s.carried, s.used, s.held, s.remaining,
           CASE WHEN (c.max, c.used, c.held, c.remaining) = (s.max, s.used, s.held, s.remaining) THEN 'the same' ELSE c::text END
      FROM wallet.limits_status s, wallet.check_limits(of_wallet, user_id => of_user) c
     WHERE s.wallet = of_wallet AND c.limit_id = s.limit_id AND (of_user IS NULL OR s.subject = of_user)
$$;

SELECT wallet FROM wallet.create_wallet('carry');
SELECT balance FROM wallet.fund('carry', 1000);
SELECT wallet.set_limit('carry', 10, 'year', rollover_max => 15) IS NOT NULL AS set;
-- The first year carries nothing in. 4 of 10 are used.
SELECT cost FROM wallet.charge('carry', amount => 4);
SELECT * FROM regress.carried('carry');
-- In the next year 6 more can be used, and not a unit beyond.
CALL regress.pass('carry', 1);
SELECT * FROM regress.carried('carry');
CALL regress.fails($$ SELECT wallet.charge('carry', amount => 16.000000000001) $$);
SELECT cost FROM wallet.charge('carry', amount => 7);
SELECT * FROM regress.carried('carry');
CALL regress.fails($$ SELECT wallet.charge('carry', amount => 9.01) $$);
SELECT cost FROM wallet.charge('carry', amount => 9);
SELECT event, threshold, payload ->> 'max' AS max, payload ->> 'used' AS used FROM wallet.events WHERE wallet = 'carry' AND event LIKE 'limit%' ORDER BY id;
-- Nothing is left to be carried.
CALL regress.pass('carry', 1);
SELECT * FROM regress.carried('carry');
-- A year in which nothing was used carries all of it; more such years up to 15, and no more.
CALL regress.pass('carry', 1);
SELECT * FROM regress.carried('carry');
CALL regress.pass('carry', 1);
SELECT * FROM regress.carried('carry');
CALL regress.pass('carry', 20);
SELECT * FROM regress.carried('carry');
-- 1 used, a year unused: the years before still count.
SELECT cost FROM wallet.charge('carry', amount => 24);
CALL regress.pass('carry', 2);
SELECT * FROM regress.carried('carry');

-- What holds reserve is not carried. Once the next year was used, what they release is not either.
SELECT wallet FROM wallet.create_wallet('carry_hold');
SELECT balance FROM wallet.fund('carry_hold', 1000);
SELECT wallet.set_limit('carry_hold', 10, 'year', rollover_max => 10, scope => 'user') IS NOT NULL AS set;
SELECT amount FROM wallet.hold('carry_hold', amount => 6, user_id => 'ann', ttl => '1 hour', idempotency_key => 'h1');
CALL regress.pass('carry_hold', 1);
SELECT cost FROM wallet.charge('carry_hold', amount => 1, user_id => 'ann');
SELECT * FROM regress.carried('carry_hold', 'ann');
SELECT cost FROM wallet.settle('carry_hold', (SELECT hold_id FROM wallet.holds WHERE wallet = 'carry_hold' AND status = 'open'), amount => 2);
SELECT * FROM regress.carried('carry_hold', 'ann');
-- What was carried on can no longer be used in the year that it came from.
SELECT amount FROM wallet.hold('carry_hold', amount => 3, user_id => 'ann', ttl => '1 hour');
CALL regress.pass('carry_hold', 1);
SELECT cost FROM wallet.charge('carry_hold', amount => 19, user_id => 'ann');
CALL regress.fails($$ SELECT wallet.settle('carry_hold', (SELECT hold_id FROM wallet.holds WHERE wallet = 'carry_hold' AND status = 'open'), amount => 4) $$);
SELECT cost FROM wallet.settle('carry_hold', (SELECT hold_id FROM wallet.holds WHERE wallet = 'carry_hold' AND status = 'open'), amount => 3);
-- A hold that has expired reserves nothing, whether or not it was released.
SELECT amount FROM wallet.hold('carry_hold', amount => 5, user_id => 'ben', ttl => '1 second');
SELECT pg_sleep(1.1);
CALL regress.pass('carry_hold', 1);
SELECT max FROM wallet.check_limits('carry_hold', user_id => 'ben') WHERE scope = 'user';
SELECT cost FROM wallet.charge('carry_hold', amount => 20, user_id => 'ben');
-- A year of a subject that was counted as unused: only what cannot have been carried on is left.
SELECT wallet FROM wallet.create_wallet('carry_late');
SELECT balance FROM wallet.fund('carry_late', 1000);
SELECT wallet.set_price('late-model', 'requests', 1, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT wallet.set_limit('carry_late', 10, 'year', rollover_max => 6, scope => 'model') IS NOT NULL AS set;
SELECT hold_id AS late FROM wallet.hold('carry_late', amount => 7, ttl => '1 hour') \gset
CALL regress.pass('carry_late', 1);
SELECT cost FROM wallet.charge('carry_late', '{"model": "late-model", "requests": 16}');
CALL regress.fails(format($$ SELECT wallet.settle('carry_late', %L, usage => '{"model": "late-model", "requests": 5}') $$, :'late'));
SELECT cost FROM wallet.settle('carry_late', :'late', usage => '{"model": "late-model", "requests": 4}');
SELECT window_end > now() AS running, spent, watermark FROM wallet.allowances WHERE wallet_id = 'carry_late' AND limit_id IS NOT NULL ORDER BY 1;

-- Usage beyond the maximum of a soft limit carries nothing.
SELECT wallet FROM wallet.create_wallet('carry_soft');
SELECT balance FROM wallet.fund('carry_soft', 1000);
SELECT wallet.set_limit('carry_soft', 10, 'year', rollover_max => 5, mode => 'soft') IS NOT NULL AS set;
SELECT cost FROM wallet.charge('carry_soft', amount => 30);
CALL regress.pass('carry_soft', 1);
SELECT * FROM regress.carried('carry_soft');
SELECT cost FROM wallet.charge('carry_soft', amount => 7);
CALL regress.pass('carry_soft', 1);
SELECT * FROM regress.carried('carry_soft');
SELECT cost FROM wallet.charge('carry_soft', amount => 13);
SELECT event, threshold, payload ->> 'max' AS max, payload ->> 'used' AS used FROM wallet.events WHERE wallet = 'carry_soft' AND event LIKE 'limit%' ORDER BY id;

-- Changes. A raise is not carried. A new maximum or rollover_max keeps what the running year has.
SELECT wallet FROM wallet.create_wallet('carry_change', lanes => 4);
SELECT balance FROM wallet.fund('carry_change', 1000);
SELECT wallet.set_limit('carry_change', 10, 'year', rollover_max => 8) AS limit_id \gset
SELECT wallet.raise_limit('carry_change', :'limit_id', 100, until => now() + interval '1 hour');
SELECT cost FROM wallet.charge('carry_change', amount => 7);
SELECT * FROM regress.carried('carry_change');
CALL regress.pass('carry_change', 1);
SELECT cost FROM wallet.charge('carry_change', amount => 1);
SELECT * FROM regress.carried('carry_change');
SELECT wallet.set_limit('carry_change', 20, 'year', rollover_max => 1) = :'limit_id' AS same;
SELECT * FROM regress.carried('carry_change');
SELECT wallet.set_limit('carry_change', 0.5, 'year', rollover_max => 100) = :'limit_id' AS same;
SELECT * FROM regress.carried('carry_change');
CALL regress.pass('carry_change', 1);
SELECT * FROM regress.carried('carry_change');
CALL regress.pass('carry_change', 3);
SELECT * FROM regress.carried('carry_change');
-- Other windows begin anew, and so does a limit that gets its rollover_max back.
SELECT cost FROM wallet.charge('carry_change', amount => 2);
SELECT wallet.set_limit('carry_change', 15, 'year', rollover_max => 8, time_zone => 'Pacific/Kiritimati') = :'limit_id' AS same;
SELECT * FROM regress.carried('carry_change');
SELECT wallet.set_limit('carry_change', 15, 'year', rollover_max => 8, time_zone => 'UTC') = :'limit_id' AS same;
CALL regress.pass('carry_change', 1);
SELECT cost FROM wallet.charge('carry_change', amount => 12);
SELECT * FROM regress.carried('carry_change');
SELECT wallet.set_limit('carry_change', 15, 'year') = :'limit_id' AS same;
SELECT * FROM regress.carried('carry_change');
SELECT wallet.set_limit('carry_change', 14, 'year', rollover_max => 8) = :'limit_id' AS same;
SELECT * FROM regress.carried('carry_change');
-- The headers have the same remainder.
SELECT h.name, h.value FROM wallet.entries e, wallet.usage_headers('carry_change', e.entry_id) h WHERE e.wallet = 'carry_change' AND e.amount = -12 AND h.name = 'X-Limit-Remaining';

-- A limit that was paused has no carry when it is resumed.
SELECT wallet FROM wallet.create_wallet('carry_pause');
SELECT balance FROM wallet.fund('carry_pause', 1000);
SELECT wallet.set_limit('carry_pause', 10, 'year', rollover_max => 5) IS NOT NULL AS set;
CALL regress.pass('carry_pause', 1);
SELECT cost FROM wallet.charge('carry_pause', amount => 3);
SELECT max, carried, used FROM wallet.limits_status WHERE wallet = 'carry_pause';
SELECT wallet.set_limit('carry_pause', 10, 'year', rollover_max => 5, paused => true) IS NOT NULL AS set;
SELECT max, carried, used FROM wallet.limits_status WHERE wallet = 'carry_pause';
SELECT wallet.set_limit('carry_pause', 10, 'year', rollover_max => 5, paused => false) IS NOT NULL AS set;
SELECT max, carried, used FROM wallet.limits_status WHERE wallet = 'carry_pause';
-- A year before the limit got its rollover_max is counted alone.
SELECT hold_id AS early FROM wallet.hold('carry_pause', amount => 6, ttl => '1 hour') \gset
UPDATE wallet.reservations SET created_at = created_at - interval '1 year' WHERE hold_id = :'early';
SELECT cost FROM wallet.settle('carry_pause', :'early', amount => 10);

-- The last year of a subject stays until no year needs it any longer.
SELECT wallet.prune_windows() >= 0 AS pruned;
CALL regress.pass('carry_change', 3);
SELECT wallet.prune_windows() >= 0 AS pruned;
SELECT count(*) FROM wallet.allowances WHERE wallet_id = 'carry_change' AND limit_id IS NOT NULL AND lane = 0;
CALL regress.pass('carry_change', 1300);
SELECT wallet.prune_windows() >= 0 AS pruned;
SELECT count(*) FROM wallet.allowances WHERE wallet_id = 'carry_change' AND limit_id IS NOT NULL AND lane = 0;

CALL regress.fails($$ SELECT wallet.set_limit('carry', 10, 'lifetime', rollover_max => 5) $$);
CALL regress.fails($$ SELECT wallet.set_limit('carry', 10, 'rolling 5 hours', rollover_max => 5) $$);
CALL regress.fails($$ SELECT wallet.set_limit('carry', 10, 'day', rollover_max => -1) $$);
CALL regress.fails($$ SELECT wallet.set_limit('carry', 10, 'day', rollover_max => 10000.01) $$);
SELECT wallet.set_limit('carry', 10, 'day', rollover_max => 0) IS NOT NULL AS set;
SELECT rollover_max, carried FROM wallet.limits_status WHERE wallet = 'carry' AND period = 'day';
SELECT wallet, b.* FROM unnest('{carry,carry_hold,carry_late,carry_soft,carry_change,at_nine}'::text[]) wallet, regress.broken(wallet) b;
SELECT w, v.check, v.detail FROM unnest('{carry,at_nine}'::text[]) w, wallet.verify(w) v WHERE NOT v.ok;
-- The windows were made older, the ledger was not. The limits are dropped, so that the two are not
-- compared.
SELECT count(wallet.drop_limit(wallet_id, limit_id)) FROM wallet.limits WHERE wallet_id LIKE 'carry%';
