-- Destinations of events, and the deliveries to them.
SELECT wallet FROM wallet.create_wallet('de_a', low_balance => '{20,10}');
SELECT wallet FROM wallet.create_wallet('de_b', low_balance => '{20}');
SELECT name, length(secret), left(secret, 6) AS begins, replayed
  FROM wallet.set_destination('de_a', 'webhook', 'https://example.com/hook?token=t', idempotency_key => 'hook');
-- The secret is shown once.
SELECT name, secret, replayed
  FROM wallet.set_destination('de_a', 'webhook', 'https://example.com/hook?token=t', idempotency_key => 'hook');
SELECT name, secret, replayed FROM wallet.set_destination('de_a', 'slack', 'https://hooks.slack.com/services/T0/B0/x', '{wallet_balance_low}', 'ops');
SELECT name, secret FROM wallet.set_destination('de_a', 'email', 'billing@example.com', '{wallet_balance_recovered}', 'mail');
SELECT name, secret IS NOT NULL AS signed FROM wallet.set_destination('*', 'webhook', 'http://127.0.0.1:8080/all', '{wallet_balance_low,wallet_depleted}', 'operator');
SELECT wallet, name, kind, address, events, previous_until FROM wallet.destination_list WHERE wallet LIKE 'de%' OR wallet = '*' ORDER BY 1, 2;
-- Each event makes a delivery for each destination that wants it, in the same transaction.
SELECT balance FROM wallet.fund('de_a', 30);
SELECT balance FROM wallet.fund('de_b', 30);
BEGIN;
SELECT balance FROM wallet.charge('de_a', amount => 25);
ROLLBACK;
SELECT count(*) FROM wallet.delivery_list WHERE wallet LIKE 'de%';
SELECT balance FROM wallet.charge('de_a', amount => 25);
SELECT balance FROM wallet.charge('de_b', amount => 25);
SELECT wallet, event, set_for, destination, status, attempts FROM wallet.delivery_list WHERE wallet LIKE 'de%' ORDER BY wallet, set_for, destination, event_id;
-- The first delivery of each queue; with batch, those that follow too. The current secret comes first.
SELECT wallet, set_for, destination, kind, target, cardinality(secrets) AS secrets, attempts, event, threshold
  FROM wallet.claim_deliveries(2) ORDER BY set_for, destination, wallet;
SELECT wallet, set_for, destination, event, threshold FROM wallet.claim_deliveries(batch => 2) ORDER BY set_for, destination, wallet;
SELECT count(*) FROM wallet.claim_deliveries();
-- A delivery is made once.
SELECT delivery_id AS first FROM wallet.delivery_list WHERE wallet = 'de_a' AND destination = 'default' ORDER BY event_id LIMIT 1 \gset
SELECT wallet.finish_delivery('de_a', :'first');
SELECT wallet.finish_delivery('de_a', :'first');
SELECT wallet.retry_delivery('de_a', :'first');
-- A failed attempt delays the rest of its queue and no other one.
SELECT delivery_id AS failing FROM wallet.delivery_list WHERE wallet = 'de_a' AND destination = 'ops' ORDER BY event_id LIMIT 1 \gset
SELECT round(extract(epoch FROM wallet.retry_delivery('de_a', :'failing', error => 'the hook answered 503') - clock_timestamp())) AS pause;
SELECT round(extract(epoch FROM wallet.retry_delivery('de_a', :'failing', error => 'the hook answered 503') - clock_timestamp())) AS pause;
SELECT destination, status, attempts, last_error, next_at IS NOT NULL AS is_due FROM wallet.delivery_list WHERE wallet = 'de_a' AND destination = 'ops' ORDER BY event_id;
SELECT wallet.retry_delivery('de_a', :'failing', '0 seconds', 'again') <= clock_timestamp() AS now;
SELECT destination, attempts, last_error, threshold FROM wallet.claim_deliveries(batch => 5) WHERE wallet = 'de_a';
-- The last attempt. The next delivery of the queue is its first one then.
SELECT wallet.retry_delivery('de_a', :'failing', error => 'gone', max_attempts => 4);
SELECT wallet.retry_delivery('de_a', :'failing');
SELECT destination, status, attempts, last_error, next_at FROM wallet.delivery_list WHERE delivery_id = :'failing';
SELECT wallet.resend_delivery('de_a', :'failing');
-- Nobody else gets it while a worker has the one that follows. An event that is committed late comes first, too.
SELECT destination, attempts, last_error FROM wallet.claim_deliveries() WHERE wallet = 'de_a';
SELECT destination, wallet.finish_delivery('de_a', delivery_id) AS finished FROM wallet.delivery_list
 WHERE wallet = 'de_a' AND set_for = 'de_a' AND delivery_id NOT IN (:'first', :'failing') ORDER BY 1;
SELECT destination, attempts, last_error FROM wallet.claim_deliveries(batch => 5) WHERE wallet = 'de_a';
-- A webhook's secret is rotated. During the overlap both sign.
SELECT name, left(secret, 6) AS begins, replayed FROM wallet.rotate_destination('de_a', overlap => '1 hour');
SELECT wallet.resend_delivery('de_a', :'first');
SELECT destination, cardinality(secrets) AS secrets, secrets[1] <> secrets[2] AS differ FROM wallet.claim_deliveries() WHERE wallet = 'de_a';
SELECT name, left(secret, 6) AS begins FROM wallet.rotate_destination('de_a', overlap => '0');
SELECT wallet.resend_delivery('de_a', :'first');
SELECT destination, cardinality(secrets) AS secrets FROM wallet.claim_deliveries() WHERE wallet = 'de_a';
-- A secret of the caller's own; it stays when the destination is changed.
SELECT name, secret FROM wallet.set_destination('de_a', 'webhook', 'https://example.com/hook', secret => 'whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=');
SELECT name, secret FROM wallet.set_destination('de_a', 'webhook', 'https://example.org/hook');
SELECT wallet.resend_delivery('de_a', :'first');
SELECT target, secrets FROM wallet.claim_deliveries() WHERE wallet = 'de_a';
-- The audit trail has no secrets.
SELECT action, subject, after ->> 'address' AS address, coalesce(before, '{}')::text || coalesce(after, '{}')::text ~ 'whsec|token|services' AS tells
  FROM wallet.audit WHERE wallet = 'de_a' AND action LIKE '%destination' ORDER BY at;
-- Dropped: what waits is given up, and cannot be sent again.
SELECT wallet.drop_destination('de_a', 'ops');
SELECT destination, status, last_error FROM wallet.delivery_list WHERE wallet = 'de_a' AND destination = 'ops' ORDER BY event_id;
CALL regress.fails(format('SELECT wallet.resend_delivery(%L, %L)', 'de_a', :'failing'));
-- Nobody reads the secrets, and a role of one wallet sees nothing of the destinations of all.
CREATE ROLE regress_postman;
SELECT wallet.grant_access('regress_postman', 'billing', 'de_a');
SET ROLE regress_postman;
SELECT wallet, name FROM wallet.destination_list ORDER BY 1, 2;
SELECT DISTINCT set_for FROM wallet.delivery_list;
SELECT regress.outcome('SELECT target_secret FROM wallet.destinations'), regress.outcome('SELECT signing_secret FROM wallet.destinations'),
       regress.outcome('SELECT previous_secret FROM wallet.destinations'), regress.outcome('SELECT address FROM wallet.destinations');
SELECT wallet, set_for, destination FROM wallet.claim_deliveries(lease => '0');
RESET ROLE;
SELECT delivery_id AS others FROM wallet.delivery_list WHERE wallet = 'de_b' LIMIT 1 \gset
SELECT delivery_id AS operators FROM wallet.delivery_list WHERE wallet = 'de_a' AND set_for = '*' LIMIT 1 \gset
SET ROLE regress_postman;
SELECT regress.outcome(format('SELECT wallet.finish_delivery(%L, %L)', 'de_b', :'others')) AS others,
       regress.outcome(format('SELECT wallet.finish_delivery(%L, %L)', 'de_a', :'operators')) AS operators,
       regress.outcome(format('SELECT wallet.resend_delivery(%L, %L)', 'de_a', :'operators')) AS resent,
       regress.outcome($$ SELECT wallet.set_destination('de_a', 'email', 'a@example.com') $$) AS set;
RESET ROLE;
SELECT wallet.revoke_access('regress_postman', 'billing', 'de_a');
DROP ROLE regress_postman;
-- Arguments that are refused.
CALL regress.fails($$ SELECT wallet.set_destination('de_a', 'sms', '+4930') $$);
CALL regress.fails($$ SELECT wallet.set_destination('de_a', 'webhook', 'ftp://example.com') $$);
CALL regress.fails($$ SELECT wallet.set_destination('de_a', 'email', 'nobody') $$);
CALL regress.fails($$ SELECT wallet.set_destination('de_a', 'webhook', NULL) $$);
CALL regress.fails($$ SELECT wallet.set_destination('de_a', 'webhook', 'https://example.com', '{low}') $$);
CALL regress.fails($$ SELECT wallet.set_destination('de_a', 'webhook', 'https://example.com', name => ' x') $$);
CALL regress.fails($$ SELECT wallet.set_destination('de_a', 'webhook', 'https://example.com', secret => 'short') $$);
CALL regress.fails($$ SELECT wallet.set_destination('de_a', 'slack', 'https://example.com', secret => 'whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=') $$);
CALL regress.fails($$ SELECT wallet.set_destination('de_none', 'email', 'a@example.com') $$);
CALL regress.fails($$ SELECT wallet.set_destination('de_a', 'webhook', 'https://example.com/other', idempotency_key => 'hook') $$);
CALL regress.fails($$ SELECT wallet.rotate_destination('de_a', 'mail') $$);
CALL regress.fails($$ SELECT wallet.rotate_destination('de_a', 'none') $$);
CALL regress.fails($$ SELECT wallet.drop_destination('*', 'none') $$);
CALL regress.fails($$ SELECT wallet.claim_deliveries(batch => 0) $$);
CALL regress.fails($$ SELECT wallet.finish_delivery('de_a', NULL) $$);
CALL regress.fails($$ SELECT wallet.finish_delivery('de_a', '00000000-0000-0000-0000-000000000001') $$);
CALL regress.fails(format('SELECT wallet.retry_delivery(%L, %L, max_attempts => 0)', 'de_a', :'first'));
-- Charges in batches, for a webhook that names the event: those after it was set, and no refunds.
SELECT wallet FROM wallet.create_wallet('de_u', lanes => 2);
SELECT balance FROM wallet.fund('de_u', 100);
SELECT balance FROM wallet.charge('de_u', amount => 1);
SELECT name, secret FROM wallet.set_destination('de_u', 'webhook', 'https://example.com', '{usage_charged}', secret => 'whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=');
SELECT count(*) FROM wallet.claim_deliveries() WHERE wallet = 'de_u';
SELECT balance FROM wallet.charge('de_u', amount => 2, user_id => 'ada', team => 'red', tags => '{"task": "t"}');
SELECT entry_id AS second FROM wallet.charge('de_u', amount => 3, idempotency_key => 'k') \gset
SELECT balance FROM wallet.refund('de_u', :'second', 1);
SELECT count(*) FROM wallet.deliveries WHERE wallet_id = 'de_u';
SELECT kind, destination, event, threshold, payload ->> 'balance' AS balance, payload ->> 'currency' AS currency, c ->> 'cost' AS cost,
       c - 'entry_id' - 'at' - 'cost' - 'used_at' AS charge
  FROM wallet.claim_deliveries(), jsonb_array_elements(payload -> 'charges') c WHERE wallet = 'de_u' ORDER BY c ->> 'cost';
SELECT event, done_at = created_at AS done FROM wallet.events WHERE wallet = 'de_u' AND event = 'usage_charged';
SELECT wallet.finish_delivery(wallet, delivery_id) FROM wallet.delivery_list WHERE wallet = 'de_u' AND status = 'waiting';
-- Tokens of every kind.
SELECT count(wallet.set_price('de-model', meter, 1, per => 1000000))
  FROM unnest('{input_tokens,cache_read_tokens,output_tokens,reasoning_tokens}'::text[]) meter;
SELECT cost FROM wallet.charge('de_u', '{"model": "de-model", "input_tokens": 100, "cache_read_tokens": 20, "output_tokens": 7, "reasoning_tokens": 3}');
SELECT c - 'entry_id' - 'at' - 'used_at' - 'lines' AS charge FROM wallet.claim_deliveries(), jsonb_array_elements(payload -> 'charges') c WHERE wallet = 'de_u';
SELECT wallet.finish_delivery(wallet, delivery_id) FROM wallet.delivery_list WHERE wallet = 'de_u' AND status = 'waiting';
-- Archived before it was read.
SELECT cost FROM wallet.charge('de_u', amount => 4);
SELECT count(*) > 0 AS archived FROM wallet.archive('de_u', clock_timestamp());
SELECT c ->> 'cost' AS cost FROM wallet.claim_deliveries(), jsonb_array_elements(payload -> 'charges') c WHERE wallet = 'de_u';
SELECT wallet.drop_destination('de_u');
SELECT status, last_error FROM wallet.delivery_list WHERE wallet = 'de_u' ORDER BY event_id;
CALL regress.fails($$ SELECT wallet.set_destination('*', 'webhook', 'https://example.com', '{usage_charged}') $$);
CALL regress.fails($$ SELECT wallet.set_destination('de_u', 'slack', 'https://example.com', '{usage_charged}') $$);
-- A wallet has at most a hundred.
SELECT count(*) FROM (SELECT wallet.set_destination('de_b', 'email', 'a@example.com', name => 'd' || i) FROM generate_series(1, 100) i) d;
CALL regress.fails($$ SELECT wallet.set_destination('de_b', 'email', 'a@example.com', name => 'one more') $$);
SELECT count(*) FROM (SELECT wallet.drop_destination('de_b', 'd' || i) FROM generate_series(1, 100) i) d;
SELECT wallet.drop_destination('*', 'operator');
