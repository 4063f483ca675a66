-- Several recurring grants of one wallet, each by its name, and their first day.
CREATE VIEW regress.lots AS
SELECT wallet_id AS wallet, recurring AS name, amount, remaining, status, scope,
       row_number() OVER (PARTITION BY wallet_id ORDER BY created_at, grant_id) AS n
  FROM wallet.grant_lots;
-- As if some days had passed.
CREATE FUNCTION regress.days_later(of_wallet text, days integer) RETURNS void LANGUAGE sql AS $$
    UPDATE wallet.recurring_grants SET started_at = started_at - days * interval '24 hours', next_at = next_at - days * interval '24 hours'
     WHERE wallet_id = of_wallet;
    UPDATE wallet.grant_lots SET created_at = created_at - days * interval '24 hours', expires_at = expires_at - days * interval '24 hours',
           warn_at = warn_at - days * interval '24 hours' WHERE wallet_id = of_wallet;
    UPDATE wallet.wallets SET grants_due = grants_due - days * interval '24 hours' WHERE wallet_id = of_wallet $$;

SELECT wallet FROM wallet.create_wallet('rg');
SELECT name, amount, balance FROM wallet.set_recurring_grant('rg', 10, '7 days', expires_after => '7 days');
SELECT name, amount, balance FROM wallet.set_recurring_grant('rg', 3, 'day', name => 'images', scope => '{"services":["images"]}');
SELECT name, amount, balance FROM wallet.set_recurring_grant('rg', 4, '7 days', expires_after => '7 days', name => 'welcome');
SELECT name, amount, period FROM wallet.recurring_grants WHERE wallet_id = 'rg' ORDER BY name;
-- Setting one again, or stopping one, leaves the others alone.
SELECT name, amount, balance FROM wallet.set_recurring_grant('rg', 5, '7 days', expires_after => '7 days', name => 'welcome');
SELECT name, grant_id, next_at, balance FROM wallet.set_recurring_grant('rg', 0, name => 'nothing');
SELECT name, amount, turn FROM wallet.recurring_grants WHERE wallet_id = 'rg' ORDER BY name;
-- A week later all are due: 1 of default, 1 of welcome and 7 of images.
SELECT regress.days_later('rg', 7);
SELECT balance FROM wallet.balances WHERE wallet = 'rg';
SELECT balance FROM wallet.charge('rg', amount => 1);
SELECT name, status, count(*), sum(amount) AS amount, sum(remaining) AS remaining FROM regress.lots WHERE wallet = 'rg' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT name, turn FROM wallet.recurring_grants WHERE wallet_id = 'rg' ORDER BY name;
SELECT name, grant_id, next_at, balance FROM wallet.set_recurring_grant('rg', 0, name => 'images');
SELECT name FROM wallet.recurring_grants WHERE wallet_id = 'rg' ORDER BY name;

-- Only the credit of the same recurring grant is rolled over.
SELECT wallet FROM wallet.create_wallet('rg_roll');
SELECT balance FROM wallet.set_recurring_grant('rg_roll', 10, 'day', expires_after => '1 day', rollover_max => 4, name => 'a');
SELECT balance FROM wallet.set_recurring_grant('rg_roll', 6, 'day', expires_after => '1 day', rollover_max => 1, name => 'b');
SELECT balance FROM wallet.fund('rg_roll', 100);
SELECT regress.days_later('rg_roll', 1);
SELECT balance FROM wallet.balances WHERE wallet = 'rg_roll';
SELECT balance FROM wallet.charge('rg_roll', amount => 1);
SELECT name, amount, remaining, status FROM regress.lots WHERE wallet = 'rg_roll' ORDER BY name, n;

-- Many that are due at the same moments, more than are read at once: those of one moment come before
-- the ends of that moment, so that each rolls over.
SELECT wallet FROM wallet.create_wallet('rg_many');
SELECT sum(amount) FROM generate_series(1, 3) n,
       wallet.set_recurring_grant('rg_many', 10, 'day', expires_after => '1 day', rollover_max => 5, name => 'n' || n, starts_on => (now() AT TIME ZONE 'UTC')::date + 1);
SELECT regress.days_later('rg_many', 60);
SELECT balance FROM wallet.balances WHERE wallet = 'rg_many';
SELECT balance FROM wallet.charge('rg_many', amount => 1);
SELECT name, count(*), sum(remaining) AS remaining FROM regress.lots WHERE wallet = 'rg_many' GROUP BY 1 ORDER BY 1;
SELECT kind, sum(amount) FROM wallet.entries WHERE wallet = 'rg_many' GROUP BY 1 ORDER BY 1;

-- The first day: nothing before it, then one grant, and periods from the beginning of the day.
SELECT wallet FROM wallet.create_wallet('rg_day', time_zone => 'Asia/Tokyo');
SELECT (now() AT TIME ZONE 'Asia/Tokyo')::date AS today \gset
SELECT grant_id, amount, balance, next_at = (:'today'::date + 3)::timestamp AT TIME ZONE 'Asia/Tokyo' AS on_the_day, replayed
  FROM wallet.set_recurring_grant('rg_day', 10, 'month', starts_on => :'today'::date + 3, idempotency_key => 'k');
SELECT grant_id, balance, next_at = (:'today'::date + 3)::timestamp AT TIME ZONE 'Asia/Tokyo' AS on_the_day, replayed
  FROM wallet.set_recurring_grant('rg_day', 10, 'month', starts_on => :'today'::date + 3, idempotency_key => 'k');
CALL regress.fails(format('SELECT wallet.set_recurring_grant(%L, 10, %L, starts_on => %L, idempotency_key => %L)', 'rg_day', 'month', :'today'::date + 4, 'k'));
SELECT turn, next_at = started_at AS waits FROM wallet.recurring_grants WHERE wallet_id = 'rg_day';
SELECT balance FROM wallet.fund('rg_day', 1);
SELECT regress.days_later('rg_day', 2);
SELECT balance FROM wallet.charge('rg_day', amount => 0.1);
SELECT regress.days_later('rg_day', 1);
SELECT balance FROM wallet.balances WHERE wallet = 'rg_day';
SELECT balance FROM wallet.charge('rg_day', amount => 0.1);
SELECT turn, next_at = ((:'today'::date)::timestamp + interval '1 month') AT TIME ZONE 'Asia/Tokyo' AS in_a_month
  FROM wallet.recurring_grants WHERE wallet_id = 'rg_day';
SELECT kind, amount, event_at = :'today'::timestamp AT TIME ZONE 'Asia/Tokyo' AS at_midnight
  FROM wallet.entries WHERE wallet = 'rg_day' AND contra = 'funding:grant';
-- Today: now, and again one period after the beginning of the day. The grant of an hour that has
-- passed is not given.
SELECT wallet FROM wallet.create_wallet('rg_today');
SELECT current_setting('TimeZone') AS zone \gset
SET TIME ZONE 'UTC';
SELECT balance, next_at = (current_date + 1)::timestamptz AS tomorrow
  FROM wallet.set_recurring_grant('rg_today', 10, 'day', expires_after => '1 day', starts_on => current_date);
SELECT expires_at = (current_date + 1)::timestamptz AS until_tomorrow FROM wallet.grants WHERE wallet = 'rg_today';
SELECT balance, next_at > now() AND next_at <= now() + interval '1 hour' AS within_the_hour
  FROM wallet.set_recurring_grant('rg_today', 1, 'hour', name => 'hourly', starts_on => current_date);
SELECT balance FROM wallet.balances WHERE wallet = 'rg_today';
CALL regress.fails($$ SELECT wallet.set_recurring_grant('rg_today', 1, 'day', expires_after => '1 microsecond', starts_on => current_date) $$);
SET TIME ZONE :'zone';

-- Arguments that are refused.
CALL regress.fails($$ SELECT wallet.set_recurring_grant('rg_today', 1, starts_on => 'infinity') $$);
CALL regress.fails($$ SELECT wallet.set_recurring_grant('rg_today', 1, starts_on => '0044-03-15 BC') $$);
CALL regress.fails($$ SELECT wallet.set_recurring_grant('rg_today', 1, name => NULL) $$);
CALL regress.fails($$ SELECT wallet.set_recurring_grant('rg_today', 1, name => E'a\tb') $$);
DO $$ BEGIN
    PERFORM wallet.set_recurring_grant('rg_today', 1, starts_on => (now() AT TIME ZONE 'UTC')::date - 1);
EXCEPTION WHEN SQLSTATE '22023' THEN RAISE NOTICE '%', SQLERRM;
END $$;
SELECT wallet FROM wallet.create_wallet('rg_full');
SELECT sum(amount) FROM generate_series(1, 100) n, wallet.set_recurring_grant('rg_full', 1, name => 'n' || n);
CALL regress.fails($$ SELECT wallet.set_recurring_grant('rg_full', 1, name => 'n101') $$);
SELECT amount FROM wallet.set_recurring_grant('rg_full', 2, name => 'n100');
-- The audit trail names it.
SELECT action, subject, before ->> 'amount' AS before, after ->> 'amount' AS after FROM wallet.audit WHERE wallet = 'rg' AND action = 'set_recurring_grant' ORDER BY at;
SELECT * FROM regress.broken('rg') UNION ALL SELECT * FROM regress.broken('rg_roll') UNION ALL SELECT * FROM regress.broken('rg_many')
UNION ALL SELECT * FROM regress.broken('rg_day') UNION ALL SELECT * FROM regress.broken('rg_today') UNION ALL SELECT * FROM regress.broken('rg_full');
DROP FUNCTION regress.days_later(text, integer);
DROP VIEW regress.lots;
