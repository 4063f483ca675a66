-- Holds that are charged when they expire.
SELECT wallet FROM wallet.create_wallet('he');
SELECT balance FROM wallet.fund('he', 100);
SELECT wallet.set_price('he-model', 'input_tokens', 1, per => 1000, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT wallet.set_limit('he', 60, 'day', scope => 'user') IS NOT NULL AS set;
SELECT wallet.set_limit('he', 9, 'day', scope => 'user', metric => 'requests') IS NOT NULL AS set;
SELECT wallet.set_limit('he', 90000, 'day', scope => 'user', metric => 'tokens') IS NOT NULL AS set;
CREATE VIEW regress.he_state AS
SELECT b.balance, b.held, b.available, b.debt,
       (SELECT string_agg(concat_ws(' ', s.metric, trim_scale(s.used), trim_scale(s.held)), ', ' ORDER BY s.metric) FROM wallet.limits_status s WHERE s.wallet = 'he') AS limits,
       (SELECT string_agg(concat_ws(' ', e.kind, e.amount, e.model, e.user_id, e.team, e.tags, e.reason), '; ' ORDER BY e.seq)
          FROM (SELECT * FROM wallet.entries e WHERE e.wallet = 'he' AND e.kind IN ('charge', 'refund') ORDER BY e.seq DESC LIMIT 3) e) AS last_entries
  FROM wallet.balances b WHERE b.wallet = 'he';
CREATE VIEW regress.he_holds AS
SELECT h.amount, h.settled, h.held, h.status, h.on_expiry, h.expiry_entry_id IS NOT NULL AS charged, h.closed_at = h.expires_at AS closed_at_end
  FROM wallet.holds h WHERE h.wallet = 'he' ORDER BY h.created_at;

CALL regress.fails($$ SELECT wallet.hold('he', amount => 1, on_expiry => 'book') $$);
CALL regress.fails($$ SELECT wallet.hold('he', amount => 1, on_expiry => NULL) $$);
-- It is part of the call: a retry must have it, too.
SELECT hold_id AS first FROM wallet.hold('he', amount => 10, ttl => '0.2 s', user_id => 'ann', team => 'red', model => 'he-model', tags => '{"job": "7"}', on_expiry => 'charge', idempotency_key => 'k') \gset
SELECT hold_id = :'first' AS same, replayed, status FROM wallet.hold('he', amount => 10, ttl => '0.2 s', user_id => 'ann', team => 'red', model => 'he-model', tags => '{"job": "7"}', on_expiry => 'charge', idempotency_key => 'k');
CALL regress.fails($$ SELECT wallet.hold('he', amount => 10, ttl => '0.2 s', user_id => 'ann', team => 'red', model => 'he-model', tags => '{"job": "7"}', idempotency_key => 'k') $$);
SELECT * FROM regress.he_state;
SELECT pg_sleep(0.3);
-- It has expired, and its amount is not available to anybody.
SELECT * FROM regress.he_state;
SELECT * FROM regress.he_holds;
SELECT remaining FROM wallet.check_limits('he', amount => 1, user_id => 'ann') WHERE metric = 'amount' AND scope = 'user';
CALL regress.fails($$ SELECT wallet.charge('he', amount => 90.01, user_id => 'bob') $$);
CALL regress.fails($$ SELECT wallet.charge('he', amount => 50.01, user_id => 'ann') $$);
CALL regress.fails(format($$ SELECT wallet.void('he', %L) $$, :'first'));
CALL regress.fails(format($$ SELECT wallet.extend_hold('he', %L) $$, :'first'));
-- maintain() books it, with the attribution of the hold.
SELECT count(*) > 0 AS maintained FROM wallet.maintain();
SELECT * FROM regress.he_state;
SELECT * FROM regress.he_holds;
SELECT e.event_at = h.expires_at AS at_expiry, e.related_id = h.hold_id AS of_hold, e.entry_id = h.expiry_entry_id AS named
  FROM wallet.holds h JOIN wallet.entries e ON e.entry_id = h.expiry_entry_id WHERE h.hold_id = :'first';
SELECT v.payload ->> 'amount' AS amount, (v.payload ->> 'hold_id')::uuid = h.hold_id AS of_hold, (v.payload ->> 'entry_id')::uuid = h.expiry_entry_id AS names_charge
  FROM wallet.events v JOIN wallet.holds h ON h.hold_id = :'first' WHERE v.wallet = 'he' AND v.event = 'hold_expired';
CALL regress.fails(format($$ SELECT wallet.void('he', %L) $$, :'first'));
-- A settlement that uses less refunds the rest. Its entry has the usage.
CALL regress.fails(format($$ SELECT wallet.settle('he', %L, usage => '{"input_tokens": 4000}', final => false) $$, :'first'));
SELECT cost, balance, total_tokens FROM wallet.settle('he', :'first', usage => '{"input_tokens": 4000}', idempotency_key => 's1');
SELECT cost, balance, total_tokens, replayed FROM wallet.settle('he', :'first', usage => '{"input_tokens": 4000}', idempotency_key => 's1');
SELECT * FROM regress.he_state;
SELECT * FROM regress.he_holds;
CALL regress.fails(format($$ SELECT wallet.settle('he', %L, amount => 1) $$, :'first'));
SELECT * FROM wallet.usage_by('he', 'model');

-- The next hold of the kind books it as well. A settlement that uses more is charged for the rest.
SELECT hold_id AS second FROM wallet.hold('he', amount => 5, ttl => '0.1 s', user_id => 'ann', model => 'he-model', on_expiry => 'charge') \gset
SELECT pg_sleep(0.2);
SELECT amount, balance FROM wallet.hold('he', amount => 1, user_id => 'ann', on_expiry => 'charge');
SELECT * FROM regress.he_holds;
SELECT cost, balance, total_tokens FROM wallet.settle('he', :'second', usage => '{"input_tokens": 12500}');
SELECT * FROM regress.he_state;
-- At twice the price, the settlements would have booked 4 more and 12.5 more.
SELECT wallet.set_price('he-model', 'input_tokens', 2, per => 1000, effective_from => '2025-01-01Z', price_list => 'he-twice') IS NOT NULL AS set;
SELECT cost, new_cost, difference FROM wallet.reprice('he', price_list => 'he-twice') ORDER BY entry_id;
SELECT cost, new_cost, difference FROM wallet.reprice('he') ORDER BY entry_id;
-- So is one that nobody has booked yet: it still has the money.
SELECT hold_id AS third FROM wallet.hold('he', amount => 3, ttl => '0.1 s', user_id => 'ann', model => 'he-model', on_expiry => 'charge') \gset
SELECT cost FROM wallet.settle('he', :'third', amount => 1, final => false);
SELECT pg_sleep(0.2);
SELECT cost, balance FROM wallet.settle('he', :'third', amount => 1.5);
SELECT * FROM regress.he_holds;
-- Parts that were settled in time stay. The rest is charged, and a refund of a part counts.
SELECT hold_id AS fourth FROM wallet.hold('he', amount => 8, ttl => '0.1 s', user_id => 'ann', model => 'he-model', on_expiry => 'charge') \gset
SELECT cost FROM wallet.settle('he', :'fourth', amount => 2, final => false);
SELECT pg_sleep(0.2);
SELECT count(*) > 0 AS maintained FROM wallet.maintain();
SELECT amount FROM wallet.refund('he', (SELECT expiry_entry_id FROM wallet.holds WHERE hold_id = :'fourth'), 1);
SELECT cost, balance FROM wallet.settle('he', :'fourth', amount => 3, over => 'cap');
SELECT * FROM regress.he_state;
SELECT * FROM regress.he_holds;
-- The balance may not pay more, and then nothing changes.
SELECT hold_id AS fifth FROM wallet.hold('he', amount => 2, ttl => '0.1 s', on_expiry => 'charge') \gset
SELECT pg_sleep(0.2);
SELECT count(*) > 0 AS maintained FROM wallet.maintain();
CALL regress.fails(format($$ SELECT wallet.settle('he', %L, amount => 1000) $$, :'fifth'));
SELECT cost, balance FROM wallet.settle('he', :'fifth', amount => 1000, over => 'cap');
SELECT hold_id AS sixth FROM wallet.hold('he', amount => 2, ttl => '0.1 s', on_expiry => 'charge') \gset
SELECT pg_sleep(0.2);
SELECT count(*) > 0 AS maintained FROM wallet.maintain();
SELECT cost, balance FROM wallet.settle('he', :'sixth', amount => 102, over => 'debt');
SELECT * FROM regress.he_state;
SELECT * FROM wallet.verify('he') WHERE NOT ok;

-- A grant that ends after the hold pays for it, also when it is booked later.
SELECT wallet FROM wallet.create_wallet('he-grant');
SELECT balance FROM wallet.fund('he-grant', 10);
SELECT balance FROM wallet.fund('he-grant', 20, expires_at => clock_timestamp() + interval '0.4 s');
SELECT hold_id AS granted FROM wallet.hold('he-grant', amount => 12, ttl => '0.2 s', on_expiry => 'charge') \gset
SELECT pg_sleep(0.6);
SELECT balance, held, available FROM wallet.balances WHERE wallet = 'he-grant';
SELECT count(*) > 0 AS maintained FROM wallet.maintain();
SELECT balance, held, available FROM wallet.balances WHERE wallet = 'he-grant';
SELECT cost, balance FROM wallet.settle('he-grant', :'granted', amount => 13);
SELECT kind, amount, reason FROM wallet.entries WHERE wallet = 'he-grant' ORDER BY seq;
SELECT * FROM wallet.verify('he-grant') WHERE NOT ok;
-- close_wallet() books it, too.
SELECT wallet FROM wallet.create_wallet('he-close');
SELECT balance FROM wallet.fund('he-close', 2);
SELECT amount FROM wallet.hold('he-close', amount => 2, ttl => '0.1 s', on_expiry => 'charge');
SELECT pg_sleep(0.2);
SELECT status FROM wallet.close_wallet('he-close');
SELECT status, settled FROM wallet.holds WHERE wallet = 'he-close';
-- A refund keeps the tags of its charge.
SELECT entry_id AS tagged FROM wallet.charge('he-grant', amount => 1, tags => '{"job": "8"}', user_id => 'cy') \gset
SELECT amount FROM wallet.refund('he-grant', :'tagged');
SELECT kind, amount, user_id, tags FROM wallet.entries WHERE wallet = 'he-grant' AND user_id = 'cy' ORDER BY seq;
-- The charge counts in limits what the hold reserved: tokens, and meters, too. A settlement that comes
-- later counts what was used instead.
SELECT wallet FROM wallet.create_wallet('he-limits', lanes => 4);
SELECT balance FROM wallet.fund('he-limits', 100);
SELECT wallet.set_limit('he-limits', 9000, 'day', metric => 'tokens') IS NOT NULL AS set;
SELECT wallet.set_limit('he-limits', 5, 'day', metric => 'requests') IS NOT NULL AS set;
SELECT wallet.set_limit('he-limits', 8000, 'rolling 1 hour', scope => 'user', metric => 'input_tokens') IS NOT NULL AS set;
CREATE VIEW regress.he_limits AS
SELECT string_agg(concat_ws(' ', s.scope, s.subject, s.metric, trim_scale(s.used), trim_scale(s.held)), ', ' ORDER BY s.scope, s.subject, s.metric, s.period) AS limits
  FROM wallet.limits_status s WHERE s.wallet = 'he-limits';
SELECT hold_id AS counted FROM wallet.hold('he-limits', usage => '{"model": "he-model", "input_tokens": 8000}', user_id => 'ann', ttl => '0.1 s', on_expiry => 'charge') \gset
SELECT * FROM regress.he_limits;
SELECT pg_sleep(0.2);
SELECT count(*) > 0 AS maintained FROM wallet.maintain();
SELECT * FROM regress.he_limits;
CALL regress.fails($$ SELECT wallet.charge('he-limits', usage => '{"model": "he-model", "input_tokens": 2000}', user_id => 'bob') $$);
-- A limit that is counted again counts the same, and one request.
SELECT wallet.set_limit('he-limits', 9000, 'month', metric => 'requests') IS NOT NULL AS set;
SELECT wallet.set_limit('he-limits', 8000, 'day', scope => 'user', metric => 'input_tokens') IS NOT NULL AS set;
SELECT wallet.set_limit('he-limits', 9000, 'day', metric => 'tokens', time_zone => 'Asia/Kolkata') IS NOT NULL AS set;
SELECT wallet.set_limit('he-limits', 9000, 'day', metric => 'tokens', time_zone => 'UTC') IS NOT NULL AS set;
SELECT * FROM regress.he_limits;
SELECT cost, total_tokens FROM wallet.settle('he-limits', :'counted', usage => '{"input_tokens": 5000}');
SELECT * FROM regress.he_limits;
SELECT wallet.set_limit('he-limits', 9000, 'day', metric => 'tokens', time_zone => 'Asia/Kolkata') IS NOT NULL AS set;
SELECT * FROM regress.he_limits;
SELECT * FROM wallet.verify('he-limits') WHERE NOT ok;
-- A service or provider that only the price names is that of the charge. A grant for it pays.
SELECT wallet.set_price('he-chat', 'input_tokens', 1, per => 1000, provider => 'he-ai', service => 'chat', effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT wallet FROM wallet.create_wallet('he-scope', lanes => 2);
SELECT balance FROM wallet.fund('he-scope', 10, scope => '{"services": ["chat"]}');
SELECT wallet.set_limit('he-scope', 9, 'day', scope => 'service') IS NOT NULL AS set;
SELECT hold_id AS scoped FROM wallet.hold('he-scope', usage => '{"model": "he-chat", "input_tokens": 8000}', ttl => '0.1 s', on_expiry => 'charge') \gset
SELECT pg_sleep(0.2);
SELECT count(*) > 0 AS maintained FROM wallet.maintain();
SELECT balance, held, available, debt, scoped FROM wallet.balances WHERE wallet = 'he-scope';
SELECT subject, used, held FROM wallet.limits_status WHERE wallet = 'he-scope';
SELECT cost, balance FROM wallet.settle('he-scope', :'scoped', usage => '{"input_tokens": 9000}');
SELECT kind, amount, provider, service, model, contra FROM wallet.entries WHERE wallet = 'he-scope' AND kind = 'charge' ORDER BY seq;
SELECT * FROM wallet.verify('he-scope') WHERE NOT ok;
DROP VIEW regress.he_limits;
DROP VIEW regress.he_state, regress.he_holds;
