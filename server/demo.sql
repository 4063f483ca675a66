-- Demo data for `make serve`: the wallet acme with three months of usage by three teams, limits, a
-- grant that ends, and an open hold. The usage is the same in every run, relative to today.
\set ON_ERROR_STOP on
\o /dev/null
SELECT wallet.create_wallet('acme', low_balance => '{100,25}', time_zone => 'Europe/Berlin');
SELECT wallet.fund('acme', 900, 'card', reference => 'pi_demo_1');
SELECT wallet.fund('acme', 50, 'promotion', promotional => true, expires_at => now() + interval '20 days');
\ir ../examples/prices.sql
SELECT wallet.set_markup('acme-terms', percent => 12, effective_from => now() - interval '120 days');
SELECT wallet.use_price_list('acme', 'acme-terms');

SELECT wallet.set_member('acme', user_id, role, team => team)
  FROM (VALUES ('olga', 'owner', NULL), ('alice', 'member', 'research'), ('bob', 'member', 'sales'),
               ('carol', 'member', 'support')) AS m (user_id, role, team);
-- One batch per day: less on weekends, more from month to month, and a busy week six weeks ago.
CREATE TEMPORARY TABLE demo_day AS
SELECT d.days_ago, pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
           'usage', pg_catalog.jsonb_build_object(
               'model', CASE n.number % 5 WHEN 0 THEN 'claude-3-haiku' WHEN 1 THEN 'gpt-4o-mini' ELSE 'gpt-4o' END,
               'input_tokens', 2000 + 900 * r.random, 'output_tokens', 300 + 170 * r.random),
           'user_id', (ARRAY['alice', 'bob', 'carol'])[1 + n.number % 3],
           'service', (ARRAY['chat', 'search'])[1 + r.random % 2],
           'tags', pg_catalog.jsonb_build_object('project', (ARRAY['apollo', 'hermes', 'zephyr'])[1 + r.random % 3]),
           'event_at', now() - pg_catalog.make_interval(days => d.days_ago, mins => 11 * n.number + r.random),
           'idempotency_key', pg_catalog.format('demo %s/%s', d.days_ago, n.number))) AS charges
  FROM generate_series(1, 91) AS d (days_ago)
 CROSS JOIN LATERAL (SELECT extract(isodow FROM now() - pg_catalog.make_interval(days => d.days_ago)) AS weekday) w
 CROSS JOIN LATERAL generate_series(1, CASE WHEN w.weekday > 5 THEN 4 WHEN d.days_ago BETWEEN 40 AND 46 THEN 45 ELSE 26 - d.days_ago / 8 END) AS n (number)
 CROSS JOIN LATERAL (SELECT abs(pg_catalog.hashtext(pg_catalog.format('%s/%s', d.days_ago, n.number))) % 60 AS random) r
 GROUP BY d.days_ago;
SELECT count(b.entry_id) FROM demo_day d, wallet.charge_batch('acme', d.charges) b;
-- Limits count usage when it is booked, so today's windows have all of it.
SELECT wallet.set_limit('acme', 400, 'month', actor => 'olga');
SELECT wallet.set_limit('acme', 120, 'month', scope => 'user', actor => 'olga');
SELECT wallet.set_limit('acme', 5, 'request', actor => 'olga');
SELECT wallet.set_limit('acme', 2000000, 'day', scope => 'model', subject => 'gpt-4o', metric => 'tokens', mode => 'soft', actor => 'olga');
SELECT wallet.refund('acme', e.entry_id, reason => 'the answer was empty')
  FROM (SELECT entry_id FROM wallet.entries WHERE wallet = 'acme' AND kind = 'charge' ORDER BY entry_id LIMIT 3) e;
SELECT wallet.hold('acme', amount => 1.50, user_id => 'alice', ttl => '1 hour');
SELECT wallet.maintain();

-- Another tenant, which the keys of acme cannot see.
SELECT wallet.create_wallet('globex', 'EUR');
SELECT wallet.fund('globex', 500, 'card', reference => 'pi_demo_2');
\o
-- The keys: of an owner, of a member, and of a program without a user.
\pset format unaligned
\pset tuples_only on
\pset fieldsep ' '
SELECT name, k.secret
  FROM (VALUES ('olga'), ('alice'), (NULL)) AS u (user_id)
 CROSS JOIN LATERAL (SELECT coalesce(u.user_id, 'program') AS name) n
 CROSS JOIN LATERAL wallet.create_key('acme', u.user_id, n.name, actor => 'olga') k;
