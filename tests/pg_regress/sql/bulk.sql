-- Calls for many: wallets, members, limits and keys. All items or none.
SELECT * FROM wallet.create_wallets('[{"wallet": "bk"}, {"wallet": "bk_two", "currency": "EUR", "credit_limit": 5.5, "low_balance": [1, 20], "time_zone": "Asia/Tokyo", "lanes": 3, "metadata": {"crm": 71}}, {"wallet": "bk_three"}]', 'import 1', actor => 'ops');
SELECT * FROM wallet.create_wallets('[{"wallet": "bk"}, {"wallet": "bk_two", "currency": "EUR", "credit_limit": 5.5, "low_balance": [1, 20], "time_zone": "Asia/Tokyo", "lanes": 3, "metadata": {"crm": 71}}, {"wallet": "bk_three"}]', 'import 1');
CALL regress.fails($$ SELECT wallet.create_wallets('[{"wallet": "bk"}]', 'import 1') $$);
-- They are as create_wallet() makes them.
SELECT wallet FROM wallet.create_wallet('bk_one');
SELECT wallet FROM wallet.create_wallet('bk_2', 'EUR', 5.5, '{20,1}', 'Asia/Tokyo', 3, '{"crm": 71}');
SELECT a.wallet_id, (to_jsonb(a) - '{wallet_id,created_at,defaults_from}'::text[]) = (to_jsonb(b) - '{wallet_id,created_at,defaults_from}'::text[]) AS same,
       (SELECT count(*) FROM wallet.allowances l WHERE l.wallet_id = a.wallet_id) = (SELECT count(*) FROM wallet.allowances l WHERE l.wallet_id = b.wallet_id) AS same_lanes,
       (SELECT array_agg((kind, threshold, state) ORDER BY kind, threshold) FROM wallet.thresholds t WHERE t.wallet_id = a.wallet_id)
           = (SELECT array_agg((kind, threshold, state) ORDER BY kind, threshold) FROM wallet.thresholds t WHERE t.wallet_id = b.wallet_id) AS same_thresholds
  FROM wallet.wallets a JOIN wallet.wallets b ON (a.wallet_id, b.wallet_id) IN (('bk', 'bk_one'), ('bk_two', 'bk_2')) ORDER BY 1;
SELECT wallet, action, actor, subject, before IS NULL AS is_new FROM wallet.audit WHERE wallet LIKE 'bk%' ORDER BY wallet;
CALL regress.fails($$ SELECT wallet.create_wallets('[{"wallet": "bk_new"}, {"wallet": "bk"}]') $$);
CALL regress.fails($$ SELECT wallet.create_wallets('[{"wallet": "bk_new"}, {"wallet": "bk_new"}]') $$);
CALL regress.fails($$ SELECT wallet.create_wallets('[{"wallet": "bk_new"}, {"wallet": "*"}]') $$);
CALL regress.fails($$ SELECT wallet.create_wallets('[{"wallet": "bk_new", "lanes": 0}]') $$);
CALL regress.fails($$ SELECT wallet.create_wallets('[{"wallet": "bk_new", "lanes": 1.5}]') $$);
CALL regress.fails($$ SELECT wallet.create_wallets('[{"wallet": "bk_new", "low_balance": [1, -1]}]') $$);
CALL regress.fails($$ SELECT wallet.create_wallets('[{"wallet": "bk_new", "credit_limit": "5"}]') $$);
CALL regress.fails($$ SELECT wallet.create_wallets('[{"wallet": "bk_new", "metadata": [1]}]') $$);
CALL regress.fails($$ SELECT wallet.create_wallets('[{"wallet": "bk_new", "metadata": 1}]') $$);
CALL regress.fails($$ SELECT wallet.create_wallets('[{"wallet": "bk_new", "time_zone": "Mars"}]') $$);
SELECT count(*) FROM wallet.wallets WHERE wallet_id = 'bk_new';

-- Members: created, changed, unchanged.
SELECT * FROM wallet.set_members('bk', '[{"user_id": "ann", "role": "owner"}, {"user_id": "bob", "team": "red", "allowed_models": ["gpt-4*", "o3"], "blocked": true}]', actor => 'ops');
SELECT * FROM wallet.set_members('bk', '[{"user_id": "carl"}, {"user_id": "bob", "blocked": false}, {"user_id": "ann", "role": "owner"}]', 'm2');
SELECT * FROM wallet.set_members('bk', '[{"user_id": "carl"}, {"user_id": "bob", "blocked": false}, {"user_id": "ann", "role": "owner"}]', 'm2');
SELECT user_id, role, team, allowed_models, blocked FROM wallet.members WHERE wallet_id = 'bk' ORDER BY user_id;
SELECT action, subject, actor, before ->> 'blocked' AS before, after ->> 'blocked' AS after FROM wallet.audit WHERE wallet = 'bk' AND action = 'set_members' ORDER BY at, subject;
SELECT * FROM wallet.set_members('bk', '[]');
-- The rules of the single call: only an owner names an owner, and a role must allow the call.
CALL regress.fails($$ SELECT wallet.set_members('bk', '[{"user_id": "dora"}, {"user_id": "carl", "role": "owner"}]', actor => 'bob') $$);
SELECT outcome FROM wallet.set_members('bk', '[{"user_id": "bob", "role": "admin"}]', actor => 'ann');
CALL regress.fails($$ SELECT wallet.set_members('bk', '[{"user_id": "dora"}, {"user_id": "carl", "role": "owner"}]', actor => 'bob') $$);
CALL regress.fails($$ SELECT wallet.set_members('bk', '[{"user_id": "dora"}]', 'm2') $$);
CALL regress.fails($$ SELECT wallet.set_members('bk', NULL) $$);
CALL regress.fails($$ SELECT wallet.set_members('bk', '{"user_id": "dora"}') $$);
CALL regress.fails($$ SELECT wallet.set_members('bk', '["dora"]') $$);
CALL regress.fails($$ SELECT wallet.set_members('bk', '[{"user_id": "dora"}, {"user_id": "emil", "rol": "admin"}]') $$);
CALL regress.fails($$ SELECT wallet.set_members('bk', '[{"user_id": "dora"}, {"role": "admin"}]') $$);
CALL regress.fails($$ SELECT wallet.set_members('bk', '[{"user_id": "dora"}, {"user_id": "emil", "role": "boss"}]') $$);
CALL regress.fails($$ SELECT wallet.set_members('bk', '[{"user_id": "dora", "role": null}]') $$);
CALL regress.fails($$ SELECT wallet.set_members('bk', '[{"user_id": 7}]') $$);
CALL regress.fails($$ SELECT wallet.set_members('bk', '[{"user_id": "dora", "allowed_models": ["m", 1]}]') $$);
CALL regress.fails($$ SELECT wallet.set_members('bk', '[{"user_id": "dora", "allowed_models": ["m", ""]}]') $$);
CALL regress.fails($$ SELECT wallet.set_members('bk', '[{"user_id": "dora", "blocked": "yes"}]') $$);
CALL regress.fails($$ SELECT wallet.set_members('bk', '[{"user_id": "dora"}, {"user_id": "emil"}, {"user_id": "dora"}]') $$);
CALL regress.fails($$ SELECT wallet.set_members('bk', (SELECT jsonb_agg(jsonb_build_object('user_id', n)) FROM generate_series(1, 100001) n)) $$);
CALL regress.fails($$ SELECT wallet.set_members('bk_nobody', '[{"user_id": "dora"}]') $$);
SELECT count(*) FROM wallet.members WHERE wallet_id LIKE 'bk%' AND user_id IN ('dora', 'emil');
-- A charge in another place sees the new rules with its next call.
SELECT balance FROM wallet.fund('bk', 100);
SELECT balance FROM wallet.charge('bk', amount => 1, user_id => 'carl', model => 'm');
SELECT outcome FROM wallet.set_members('bk', '[{"user_id": "carl", "allowed_models": ["o3"]}]');
CALL regress.fails($$ SELECT wallet.charge('bk', amount => 1, user_id => 'carl', model => 'm') $$);

-- Limits.
SELECT item, outcome, replayed FROM wallet.set_limits('bk', '[{"max": 90, "period": "month"}, {"max": 10, "period": "day", "scope": "user"}, {"max": 2.5, "period": "day", "scope": "user", "subject": "ann", "mode": "soft", "warn_at": [0.9, 0.5], "time_zone": "Asia/Tokyo", "anchor_time": "06:30", "rollover_max": 5},
    {"max": 9, "period": "week", "anchor": 7, "metric": "requests", "paused": true}]', 'l1');
SELECT item, outcome, replayed FROM wallet.set_limits('bk', '[{"max": 90, "period": "month"}, {"max": 10, "period": "day", "scope": "user"}, {"max": 2.5, "period": "day", "scope": "user", "subject": "ann", "mode": "soft", "warn_at": [0.9, 0.5], "time_zone": "Asia/Tokyo", "anchor_time": "06:30", "rollover_max": 5},
    {"max": 9, "period": "week", "anchor": 7, "metric": "requests", "paused": true}]', 'l1');
SELECT item, outcome, limit_id = (SELECT l.limit_id FROM wallet.limits l WHERE l.wallet_id = 'bk' AND l.scope = 'wallet' AND l.period = 'month') AS that_one
  FROM wallet.set_limits('bk', '[{"max": 10, "period": "day", "scope": "user"}, {"max": 80, "period": "month"}, {"max": 70, "period": "year"}]');
SELECT scope, subject, period, metric, mode, max, time_zone, anchor, warn_at, paused, anchor_time, rollover_max FROM wallet.limits WHERE wallet_id = 'bk' ORDER BY scope, subject, period;
SELECT used, remaining FROM wallet.limits_status WHERE wallet = 'bk' AND period = 'year';
CALL regress.fails($$ SELECT wallet.charge('bk', amount => 11, user_id => 'bob', model => 'o3') $$);
-- They are as set_limit() makes them.
SELECT count(wallet.set_limit('bk_one', 5, p, scope => s)) FROM unnest('{day,week,month}'::text[]) p, unnest('{wallet,user}'::text[]) s;
SELECT count(*) FROM wallet.set_limits('bk_three', (SELECT jsonb_agg(jsonb_build_object('max', 5, 'period', p, 'scope', s)) FROM unnest('{day,week,month}'::text[]) p, unnest('{wallet,user}'::text[]) s));
SELECT count(*), bool_and(to_jsonb(a) - '{wallet_id,limit_id,created_at}'::text[] = to_jsonb(b) - '{wallet_id,limit_id,created_at}'::text[]) AS same
  FROM wallet.limits a JOIN wallet.limits b USING (scope, subject, period, metric) WHERE a.wallet_id = 'bk_one' AND b.wallet_id = 'bk_three';
SELECT cardinality(known_limits) FROM wallet.wallets WHERE wallet_id = 'bk_three';
CALL regress.fails($$ SELECT wallet.set_limits('bk', '[{"max": 5, "period": "hour"}, {"period": "day"}]') $$);
CALL regress.fails($$ SELECT wallet.set_limits('bk', '[{"max": 5, "period": "hour"}, {"max": -1, "period": "day"}]') $$);
CALL regress.fails($$ SELECT wallet.set_limits('bk', '[{"max": 5, "period": "hour"}, {"max": 1, "period": "fortnight"}]') $$);
CALL regress.fails($$ SELECT wallet.set_limits('bk', '[{"max": 5, "period": "hour", "anchor": 2}]') $$);
CALL regress.fails($$ SELECT wallet.set_limits('bk', '[{"max": 5, "period": "day", "anchor_time": "noon"}]') $$);
CALL regress.fails($$ SELECT wallet.set_limits('bk', '[{"max": 5, "period": "hour", "anchor_time": "12:00"}]') $$);
CALL regress.fails($$ SELECT wallet.set_limits('bk', '[{"max": 5, "period": "day", "warn_at": [2]}]') $$);
CALL regress.fails($$ SELECT wallet.set_limits('bk', '[{"max": 5, "period": "day", "warn_at": "0.5"}]') $$);
CALL regress.fails($$ SELECT wallet.set_limits('bk', '[{"max": 5, "period": "lifetime", "rollover_max": 1}]') $$);
CALL regress.fails($$ SELECT wallet.set_limits('bk', '[{"max": 5, "period": "day", "scope": "galaxy"}]') $$);
CALL regress.fails($$ SELECT wallet.set_limits('bk', '[{"max": 5, "period": "hour"}, {"max": 5, "period": "day", "time_zone": "Mars"}]') $$);
CALL regress.fails($$ SELECT wallet.set_limits('bk', '[{"max": 5, "period": "hour"}, {"max": 6, "period": "hour", "mode": "soft"}]') $$);
SELECT count(*) FROM wallet.limits WHERE wallet_id = 'bk' AND period = 'hour';

-- Keys: the secrets once.
SELECT item, length(secret) AS length, replayed FROM wallet.create_keys('bk', '[{"user_id": "ann", "name": "laptop", "expires_at": "2999-01-31T00:00:00Z", "allowed_models": ["o3"], "devices": ["d1"]}, {"allowed_ips": ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]}]', 'k1');
SELECT item, secret, key_id = (SELECT k.key_id FROM wallet.keys k WHERE k.wallet = 'bk' AND k.user_id IS NOT DISTINCT FROM CASE item WHEN 1 THEN 'ann' END) AS same, replayed
  FROM wallet.create_keys('bk', '[{"user_id": "ann", "name": "laptop", "expires_at": "2999-01-31T00:00:00Z", "allowed_models": ["o3"], "devices": ["d1"]}, {"allowed_ips": ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]}]', 'k1');
SELECT user_id, name, expires_at AT TIME ZONE 'UTC' AS expires_at, allowed_models, allowed_ips, devices FROM wallet.keys WHERE wallet = 'bk' ORDER BY user_id;
SELECT secret FROM wallet.create_keys('bk', '[{"user_id": "ann"}, {}]') WHERE item = 2 \gset
SELECT balance FROM wallet.charge('bk', amount => 1, user_id => 'bob', model => 'o3', key => :'secret');
SELECT action, count(*), bool_or(after ? 'secret_hash') AS has_hash FROM wallet.audit WHERE wallet = 'bk' AND action = 'create_keys' GROUP BY 1;
CALL regress.fails($$ SELECT wallet.create_keys('bk', '[{"allowed_ips": ["10.0.0.1/8"]}]') $$);
CALL regress.fails($$ SELECT wallet.create_keys('bk', '[{"allowed_ips": ["home"]}]') $$);
CALL regress.fails($$ SELECT wallet.create_keys('bk', '[{"expires_at": "tomorrow"}]') $$);
CALL regress.fails($$ SELECT wallet.create_keys('bk', '[{"expires_at": "-000044-03-15T00:00:00Z"}]') $$);
CALL regress.fails($$ SELECT wallet.create_keys('bk', '[{"secret": "wk_mine"}]') $$);

-- All or none, also with what came before in the transaction; and in a transaction that rolls back
-- to a savepoint, the rules are those of before.
BEGIN;
SELECT count(*) FROM wallet.set_members('bk_one', '[{"user_id": "u1", "allowed_models": ["a"]}]');
SAVEPOINT s;
SELECT count(*) FROM wallet.set_members('bk_one', '[{"user_id": "u1", "allowed_models": ["b"]}]');
SELECT balance FROM wallet.fund('bk_one', 10);
CALL regress.fails($$ SELECT wallet.charge('bk_one', amount => 1, user_id => 'u1', model => 'a') $$);
SELECT balance FROM wallet.charge('bk_one', amount => 1, user_id => 'u1', model => 'b');
ROLLBACK TO s;
SELECT balance FROM wallet.fund('bk_one', 10);
CALL regress.fails($$ SELECT wallet.charge('bk_one', amount => 1, user_id => 'u1', model => 'b') $$);
SELECT balance FROM wallet.charge('bk_one', amount => 1, user_id => 'u1', model => 'a');
-- Several changes of one subtransaction, with charges between them.
SELECT wallet.set_member('bk_one', 'u1', allowed_models => '{c}');
SELECT wallet.set_member('bk_one', 'u1', allowed_models => '{d}');
SELECT balance FROM wallet.charge('bk_one', amount => 1, user_id => 'u1', model => 'd');
SELECT wallet.set_member('bk_one', 'u1', allowed_models => '{e}');
CALL regress.fails($$ SELECT wallet.charge('bk_one', amount => 1, user_id => 'u1', model => 'd') $$);
SELECT balance FROM wallet.charge('bk_one', amount => 1, user_id => 'u1', model => 'e');
SAVEPOINT t;
SELECT wallet.set_member('bk_one', 'u1', allowed_models => '{f}');
SELECT balance FROM wallet.charge('bk_one', amount => 1, user_id => 'u1', model => 'f');
ROLLBACK TO t;
CALL regress.fails($$ SELECT wallet.charge('bk_one', amount => 1, user_id => 'u1', model => 'f') $$);
SELECT balance FROM wallet.charge('bk_one', amount => 1, user_id => 'u1', model => 'e');
ROLLBACK;
SELECT count(*) FROM wallet.members WHERE wallet_id = 'bk_one';
SELECT * FROM regress.broken('bk') UNION ALL SELECT * FROM regress.broken('bk_one');
