-- Who may spend: members, models, keys, addresses, devices.
\set VERBOSITY verbose
\set SHOW_CONTEXT never
SELECT wallet FROM wallet.create_wallet('mem_a');
SELECT balance FROM wallet.fund('mem_a', 100);

-- Members: the wallet decides the team, and a blocked member cannot do anything.
SELECT wallet.set_member('mem_a', 'ana', team => 'research');
SELECT wallet.set_member('mem_a', 'vic', 'viewer');
SELECT wallet.set_member('mem_a', 'bill', 'billing');
SELECT wallet.set_member('mem_a', 'olga', 'owner');
SELECT cost FROM wallet.charge('mem_a', amount => 1, user_id => 'ana');
SELECT user_id, team, amount FROM wallet.entries WHERE wallet = 'mem_a' AND kind = 'charge';
SELECT cost FROM wallet.charge('mem_a', amount => 1, user_id => 'ana', team => 'sales');
SELECT cost FROM wallet.charge('mem_a', amount => 1, user_id => 'vic');
SELECT cost FROM wallet.charge('mem_a', amount => 1, user_id => 'bill');
SELECT cost FROM wallet.charge('mem_a', amount => 1, user_id => 'stranger');
SELECT wallet.set_member('mem_a', 'ana', blocked => true);
SELECT cost FROM wallet.charge('mem_a', amount => 1, user_id => 'ana');
SELECT wallet.set_member('mem_a', 'ana', blocked => false);
SELECT user_id, role, team, blocked FROM wallet.members WHERE wallet_id = 'mem_a' ORDER BY 1;
SELECT wallet FROM wallet.update_wallet('mem_a', members_only => true);
SELECT cost FROM wallet.charge('mem_a', amount => 1, user_id => 'stranger');
SELECT cost FROM wallet.charge('mem_a', amount => 1);
SELECT hold_id FROM wallet.hold('mem_a', amount => 1, user_id => 'stranger');
SELECT scope, allowed, reason FROM wallet.check_limits('mem_a', user_id => 'stranger', amount => 1);
SELECT scope, allowed, reason FROM wallet.check_limits('mem_a', user_id => 'ana', amount => 1);

-- What each role may do as the actor.
SELECT cost FROM wallet.charge('mem_a', amount => 1, user_id => 'ana', actor => 'vic');
SELECT balance FROM wallet.fund('mem_a', 1, actor => 'ana');
SELECT balance FROM wallet.fund('mem_a', 1, actor => 'bill');
SELECT wallet.set_limit('mem_a', 5, 'day', actor => 'bill');
SELECT wallet.set_member('mem_a', 'olga', 'member', actor => 'ana');
SELECT wallet.set_member('mem_a', 'adam', 'admin', actor => 'olga');
SELECT wallet.drop_member('mem_a', 'olga', actor => 'adam');
SELECT wallet.drop_member('mem_a', 'vic', actor => 'adam');
SELECT wallet.drop_member('mem_a', 'vic');
SELECT wallet.set_member('mem_a', 'x', 'king');
SELECT wallet FROM wallet.update_wallet('mem_a', members_only => false);

-- Models.
SELECT wallet.set_price(m, 'input_tokens', 1, per => 1000000) IS NOT NULL AS set FROM unnest(ARRAY['mem-gpt-4o', 'mem-haiku']) m;
SELECT wallet.set_model_rules('mem_a', 'wallet', allowed => '{mem-*}', blocked => '{mem-gpt-4*}');
SELECT cost FROM wallet.charge('mem_a', '{"model":"mem-haiku","input_tokens":10}');
SELECT cost FROM wallet.charge('mem_a', '{"model":"mem-gpt-4o","input_tokens":10}');
SELECT cost FROM wallet.charge('mem_a', '{"model":"other","input_tokens":10}');
SELECT cost FROM wallet.charge('mem_a', amount => 1);
SELECT wallet.set_model_rules('mem_a');
SELECT wallet.set_member('mem_a', 'ana', allowed_models => '{mem-haiku}');
SELECT cost FROM wallet.charge('mem_a', '{"model":"mem-gpt-4o","input_tokens":10}', user_id => 'ana');
SELECT wallet.set_model_rules('mem_a', 'team', 'research', blocked => '{mem-haiku}');
SELECT cost FROM wallet.charge('mem_a', '{"model":"mem-haiku","input_tokens":10}', user_id => 'ana');
SELECT wallet.set_model_rules('mem_a', 'team', 'research');
SELECT wallet.set_model_rules('mem_a', 'wallet', 'other', allowed => '{x}');

-- Keys: the secret is shown once, and determines the user.
SELECT key_id AS k, secret AS s, length(secret), replayed FROM wallet.create_key('mem_a', 'ana', 'batch', idempotency_key => 'k1') \gset
SELECT :'k' = key_id::text AS same, secret, replayed FROM wallet.create_key('mem_a', 'ana', 'batch', idempotency_key => 'k1');
SELECT cost FROM wallet.charge('mem_a', amount => 2, model => 'mem-haiku', key => :'s');
SELECT user_id, team, key_id = :'k' AS by_key FROM wallet.entries WHERE wallet = 'mem_a' AND amount = -2;
SELECT ok FROM wallet.verify('mem_a') WHERE "check" = 'chain';
SELECT cost FROM wallet.charge('mem_a', amount => 1, key => 'wrong');
SELECT cost FROM wallet.charge('mem_a', amount => 1, user_id => 'bill', key => :'s');
SELECT wallet.set_limit('mem_a', 3, 'day', scope => 'key', subject => :'k') IS NOT NULL AS limited;
SELECT regress.outcome(format('SELECT wallet.charge(%L, amount => 2, model => %L, key => %L)', 'mem_a', 'mem-haiku', :'s'));
SELECT name, status, user_id FROM wallet.keys WHERE wallet = 'mem_a';
SELECT secret AS s2 FROM wallet.rotate_key('mem_a', :'k') \gset
SELECT cost FROM wallet.charge('mem_a', amount => 0.1, model => 'mem-haiku', key => :'s');
SELECT cost FROM wallet.charge('mem_a', amount => 0.1, model => 'mem-haiku', key => :'s2');
SELECT length(secret) FROM wallet.rotate_key('mem_a', :'k', overlap => '0');
SELECT cost FROM wallet.charge('mem_a', amount => 0.1, model => 'mem-haiku', key => :'s2');
SELECT wallet.revoke_key('mem_a', :'k');
SELECT cost FROM wallet.charge('mem_a', amount => 0.1, model => 'mem-haiku', key => :'s2');
SELECT name, status FROM wallet.keys WHERE wallet = 'mem_a';
SELECT secret FROM wallet.rotate_key('mem_a', :'k');
SELECT wallet.revoke_key('mem_a', '00000000-0000-0000-0000-000000000001');

-- The audit trail.
SELECT action, subject, actor, before ->> 'role' AS before, after ->> 'role' AS after FROM wallet.audit WHERE wallet = 'mem_a' AND action IN ('set_member', 'drop_member') ORDER BY at, after->>'user_id';
SELECT action, before ->> 'revoked_at' IS NULL AS open, after ? 'secret_hash' AS secret FROM wallet.audit WHERE wallet = 'mem_a' AND action LIKE '%key' ORDER BY at;
SELECT action, after ->> 'model' AS model, before FROM wallet.audit WHERE wallet = '*' AND after ->> 'model' LIKE 'mem-%' ORDER BY 2;
SELECT regress.outcome('DELETE FROM wallet.audit_log'), regress.outcome('UPDATE wallet.audit_log SET actor = NULL'), regress.outcome('TRUNCATE wallet.audit_log');

-- Addresses and devices.
SELECT wallet.set_ip_rules('mem_a', '{10.0.0.0/8,2001:db8::/32}');
SELECT cost FROM wallet.charge('mem_a', amount => 0.1);
SELECT cost FROM wallet.charge('mem_a', amount => 0.1, client_ip => '10.1.2.3');
SELECT cost FROM wallet.charge('mem_a', amount => 0.1, client_ip => '2001:db8::1');
SELECT cost FROM wallet.charge('mem_a', amount => 0.1, client_ip => '11.0.0.1');
SELECT cost FROM wallet.charge('mem_a', amount => 0.1, client_ip => '10.0.0.0/8');
SELECT allowed, reason FROM wallet.check_limits('mem_a', amount => 0.1) WHERE scope = 'balance';
SELECT allowed, reason FROM wallet.check_limits('mem_a', amount => 0.1, client_ip => '10.1.2.3') WHERE scope = 'balance';
SELECT wallet.set_ip_rules('mem_a', NULL);
SELECT wallet.set_devices('mem_a', '{laptop-7}');
SELECT cost FROM wallet.charge('mem_a', amount => 0.1);
SELECT cost FROM wallet.charge('mem_a', amount => 0.1, device => 'phone');
SELECT cost FROM wallet.charge('mem_a', amount => 0.1, device => 'laptop-7');
SELECT wallet.set_devices('mem_a', '{}');
SELECT cost FROM wallet.charge('mem_a', amount => 0.1);
