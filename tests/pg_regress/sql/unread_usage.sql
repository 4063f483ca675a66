-- Numbers of a usage object that nothing reads: recorded with the charge, or refused.
SET datestyle = ISO;
SET timezone = 'UTC';
SELECT wallet FROM wallet.create_wallet('ur');
SELECT balance FROM wallet.fund('ur', 100);
SELECT count(wallet.set_price('ur-m', m, price, conditions => conditions, provider => 'ur-p', effective_from => '2025-01-01Z'))
  FROM (VALUES ('input_tokens', 0.001, '{}'::jsonb), ('ur_units', 0.1, '{}'), ('images', 1, '{"quality":2}'),
               ('images', 2, '{"size":{"w":512}}')) AS p (m, price, conditions);
CREATE VIEW ur AS
SELECT provider, mapping, path, model, charges, example, first_seen <= last_seen AS in_order FROM wallet.unread_usage WHERE wallet = 'ur';
CREATE VIEW ur_events AS
SELECT count(*), array_agg(payload->>'path' ORDER BY id) AS paths FROM wallet.events WHERE wallet = 'ur' AND event = 'usage_unread';

-- Known meters, keys with a price or in a condition of one, totals, the cost and zeros are read.
SELECT cost FROM wallet.charge('ur', '{"model":"ur-m","input_tokens":100,"total_tokens":100,"cost":0.5,"ur_units":2,"quality":2,"size":{"w":512},"steps":0,"note":"7","none":null,"parts":[{"n":0}]}');
SELECT * FROM ur;
-- Other numbers are recorded once, with one event each. The charge is booked.
SELECT cost FROM wallet.charge('ur', '{"model":"ur-m","input_tokens":100,"steps":30,"more":{"cached":5,"parts":[{"n":0},{"n":1.50},{"n":-2}]}}', idempotency_key => 'first') AS c;
SELECT * FROM ur ORDER BY path;
SELECT e.event, e.threshold, e.payload - 'entry_id' AS payload, l.idempotency_key AS first_charge
  FROM wallet.events e JOIN wallet.entries l ON l.wallet = e.wallet AND l.entry_id = (e.payload->>'entry_id')::uuid
 WHERE e.wallet = 'ur' AND e.event = 'usage_unread' ORDER BY e.id;
-- Again: nothing is written, and the ledger counts the charges. A replay is not a charge.
SELECT cost FROM wallet.charge('ur', '{"model":"ur-m","input_tokens":100,"steps":31}');
SELECT cost FROM wallet.charge('ur', '{"model":"ur-m","input_tokens":100,"steps":0}');
SELECT cost FROM wallet.charge('ur', '{"model":"ur-m","input_tokens":100,"steps":"32"}');
SELECT replayed FROM wallet.charge('ur', '{"model":"ur-m","input_tokens":100,"steps":30,"more":{"cached":5,"parts":[{"n":0},{"n":1.50},{"n":-2}]}}', idempotency_key => 'first') AS c;
SELECT path, charges, example FROM ur ORDER BY path;
SELECT * FROM ur_events;
-- A path belongs to one model and provider.
SELECT wallet.set_price('ur-n', 'input_tokens', 0) IS NOT NULL AS set;
SELECT cost FROM wallet.charge('ur', '{"model":"ur-n","input_tokens":100,"steps":7,"provider":"other"}');
SELECT provider, path, model, charges, example FROM ur WHERE path = 'steps' ORDER BY model;
SELECT * FROM ur_events;

-- Calls that book nothing record nothing, and neither does a refused call.
SELECT cost FROM wallet.price_usage('{"model":"ur-m","input_tokens":100,"asked":1}', wallet => 'ur');
SELECT allowed FROM wallet.check_limits('ur', usage => '{"model":"ur-m","input_tokens":100,"asked":1}');
SELECT regress.outcome($$ SELECT wallet.charge('ur', '{"model":"ur-m","input_tokens":10000000,"asked":1}') $$);
SELECT amount FROM wallet.hold('ur', usage => '{"model":"ur-m","input_tokens":100,"asked":1}', idempotency_key => 'held');
SELECT count(*) FROM ur WHERE path = 'asked';
-- Every call that books does, by either way to access the tables.
SELECT cost FROM wallet.settle('ur', (SELECT hold_id FROM wallet.holds WHERE wallet = 'ur'), '{"model":"ur-m","input_tokens":90,"settled":1}');
SELECT hold_id FROM wallet.hold('ur', amount => 1) \gset
SELECT cost FROM wallet.settle('ur', :'hold_id', '{"model":"ur-m","input_tokens":90,"in_parts":1}', final => false);
SELECT cost FROM wallet.settle('ur', :'hold_id', '{"model":"ur-m","input_tokens":90,"in_parts":2}', over => 'debt');
SELECT sum(cost) FROM wallet.charge_batch('ur', '[{"usage":{"model":"ur-m","input_tokens":1,"batch":1}},{"usage":{"model":"ur-m","input_tokens":1,"batch":2}},{"amount":1}]');
SET wallet.storage = spi;
SELECT cost FROM wallet.charge('ur', '{"model":"ur-m","input_tokens":1,"spi":1}');
SELECT cost FROM wallet.charge('ur', '{"model":"ur-m","input_tokens":1,"spi":1,"batch":1}');
RESET wallet.storage;
SELECT cost FROM wallet.charge('ur', '{"model":"ur-m","input_tokens":1,"spi":1,"batch":1}');
SELECT path, charges, example FROM ur WHERE path IN ('asked', 'settled', 'in_parts', 'batch', 'spi') ORDER BY path;

-- Rolled back with the transaction or a savepoint, and recorded by the next charge.
BEGIN;
SELECT cost FROM wallet.charge('ur', '{"model":"ur-m","input_tokens":1,"undone":1}');
SELECT cost FROM wallet.charge('ur', '{"model":"ur-m","input_tokens":1,"undone":2}');
SELECT path, charges, example FROM ur WHERE path = 'undone';
ROLLBACK;
SELECT count(*) FROM ur WHERE path = 'undone';
BEGIN;
SAVEPOINT one;
SELECT cost FROM wallet.charge('ur', '{"model":"ur-m","input_tokens":1,"undone":3}');
SELECT cost FROM wallet.charge('ur', '{"model":"ur-m","input_tokens":1,"undone":4}');
ROLLBACK TO one;
SELECT cost FROM wallet.charge('ur', '{"model":"ur-m","input_tokens":1,"undone":5}');
COMMIT;
SELECT path, charges, example FROM ur WHERE path = 'undone';
SELECT count(*) FROM wallet.events WHERE wallet = 'ur' AND payload->>'path' = 'undone';

-- Any key makes a path that finds its number, and long keys fit.
SELECT cost FROM wallet.charge('ur', jsonb_build_object('model', 'ur-m', 'input_tokens', 1, E'ö "q" \\ \n\t\x01 $.[*]', 1e40, repeat('long', 5000), 1));
SELECT to_json(left(path, 24)) AS path, charges, example, length(path) FROM ur WHERE path LIKE 'ö%' OR path LIKE 'long%' ORDER BY length(path);
-- One transaction records a part of many paths, and the next one others. A wallet has a bounded
-- number.
SELECT wallet FROM wallet.create_wallet('ur_many');
SELECT balance FROM wallet.fund('ur_many', 10);
SELECT jsonb_object_agg('k' || n, n) || '{"model":"ur-m","input_tokens":1}' AS many FROM generate_series(1, 200) n \gset
SELECT cost FROM wallet.charge('ur_many', :'many');
SELECT count(*), sum(charges) FROM wallet.unread_usage WHERE wallet = 'ur_many';
SELECT cost FROM wallet.charge('ur_many', :'many');
SELECT count(*), sum(charges) FROM wallet.unread_usage WHERE wallet = 'ur_many';
SELECT count(*) FROM wallet.events WHERE wallet = 'ur_many';
INSERT INTO wallet.unread_paths (wallet_id, path_id, entry_id, first_seen, path, jsonpath, example)
SELECT 'ur_many', gen_random_uuid(), gen_random_uuid(), now(), 'x', '$', '1' FROM generate_series(129, 999);
SELECT cost FROM wallet.charge('ur_many', :'many');
SELECT cost FROM wallet.charge('ur_many', :'many');
SELECT count(*) FROM wallet.unread_paths WHERE wallet_id = 'ur_many';
DELETE FROM wallet.unread_paths WHERE wallet_id = 'ur_many';

-- Unpriced, and late: a key that has a price by then is read in new charges.
SELECT wallet FROM wallet.update_wallet('ur', unknown_price => 'unpriced');
SELECT cost FROM wallet.charge('ur', '{"model":"ur-late","input_tokens":1,"pixels":9}');
SELECT cost FROM wallet.charge('ur', '{"model":"ur-m","input_tokens":1,"pages":1,"ur_units":1}');
SELECT path, model, charges FROM ur WHERE model = 'ur-late' OR path = 'ur_units';
SELECT count(wallet.set_price('ur-late', m, 0.01, effective_from => '2025-01-01Z')) FROM unnest('{input_tokens,pixels}'::text[]) m;
SELECT wallet.set_price('ur-m', 'pages', 0, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT model, cost FROM wallet.price_unpriced('ur') ORDER BY model;
SELECT cost FROM wallet.charge('ur', '{"model":"ur-new","input_tokens":1}');
SELECT wallet FROM wallet.update_wallet('ur', unknown_price => 'price_of:ur-m');
SELECT cost FROM wallet.charge('ur', '{"model":"ur-other","input_tokens":1,"ur_units":1,"ur_more":1}');
SELECT path, model, charges FROM ur WHERE model = 'ur-other';
SELECT cost, total_tokens FROM wallet.charge('ur', '{"model":"ur-m","input_tokens":1,"cost":0.25,"ur_more":1}', cost_from => 'provider');
SELECT path, model, charges FROM ur WHERE path = 'ur_more' ORDER BY model;

-- Refused: every call raises the same error.
SELECT wallet FROM wallet.update_wallet('ur', unread_usage => 'reject', idempotency_key => 'ur-reject', actor => 'ada');
CALL regress.fails($$ SELECT wallet.update_wallet('ur', unread_usage => 'note', idempotency_key => 'ur-reject') $$);
SELECT before->>'unread_usage' AS before, after->>'unread_usage' AS after, actor FROM wallet.audit WHERE wallet = 'ur' AND action = 'update_wallet' ORDER BY at DESC LIMIT 1;
CALL regress.fails($$ SELECT wallet.charge('ur', '{"model":"ur-m","input_tokens":1,"steps":30,"more":{"cached":5}}') $$);
CALL regress.fails($$ SELECT wallet.charge('ur', '{"model":"ur-m","input_tokens":1,"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"j":10}') $$);
CALL regress.fails($$ SELECT wallet.price_usage('{"model":"ur-m","input_tokens":1,"steps":30}', wallet => 'ur') $$);
CALL regress.fails($$ SELECT wallet.check_limits('ur', usage => '{"model":"ur-m","input_tokens":1,"steps":30}') $$);
CALL regress.fails($$ SELECT wallet.hold('ur', usage => '{"model":"ur-m","input_tokens":1,"steps":30}') $$);
SELECT hold_id FROM wallet.hold('ur', usage => '{"model":"ur-m","input_tokens":100}') \gset
CALL regress.fails(format($$ SELECT wallet.settle('ur', %L, '{"model":"ur-m","input_tokens":1,"steps":30}') $$, :'hold_id'));
CALL regress.fails($$ SELECT wallet.charge_batch('ur', '[{"usage":{"model":"ur-m","input_tokens":1,"steps":30}}]') $$);
SELECT item, cost, sqlstate, message FROM wallet.charge_batch('ur', '[{"usage":{"model":"ur-m","input_tokens":1}},{"usage":{"model":"ur-m","input_tokens":1,"steps":30}},{"usage":{"model":"ur-m","input_tokens":2}}]', on_error => 'skip');
SET wallet.storage = spi;
SELECT regress.outcome($$ SELECT wallet.charge('ur', '{"model":"ur-m","input_tokens":1,"steps":30}') $$);
RESET wallet.storage;
-- Numbers that are read are accepted, and so is a request for a price alone. A replay returns its
-- result.
SELECT cost FROM wallet.settle('ur', :'hold_id', '{"model":"ur-m","input_tokens":1,"ur_units":1,"steps":0}');
SELECT cost FROM wallet.price_usage('{"model":"ur-m","input_tokens":1,"steps":30}');
SELECT replayed FROM wallet.charge('ur', '{"model":"ur-m","input_tokens":100,"steps":30,"more":{"cached":5,"parts":[{"n":0},{"n":1.50},{"n":-2}]}}', idempotency_key => 'first') AS c;
SELECT amount, replayed FROM wallet.hold('ur', usage => '{"model":"ur-m","input_tokens":100,"asked":1}', idempotency_key => 'held');
-- A missing price takes precedence over it, too little money does not.
SELECT regress.outcome($$ SELECT wallet.charge('ur', '{"model":"ur-m","video_seconds":1,"steps":30}') $$) AS no_price,
       regress.outcome($$ SELECT wallet.charge('ur', '{"model":"ur-m","input_tokens":100000000,"steps":30}') $$) AS much;
CALL regress.fails($$ SELECT wallet.update_wallet('ur', unread_usage => 'ignore') $$);
CALL regress.fails($$ SELECT wallet.update_wallet('ur', unread_usage => '') $$);
SELECT wallet FROM wallet.update_wallet('ur', unread_usage => 'note');
SELECT cost FROM wallet.charge('ur', '{"model":"ur-m","input_tokens":1,"steps":30}');
SELECT charges FROM ur WHERE path = 'steps' AND model = 'ur-m';

-- Archived charges count, and health reports the number of paths.
SELECT sum(charges) AS before FROM ur \gset
SELECT moved > 0 AS moved FROM wallet.archive('ur', statement_timestamp()) AS a (moved);
SELECT sum(charges) = :before AS same FROM ur;
SELECT value = (SELECT count(*) FROM wallet.unread_usage) AS all_of_them, meaning FROM wallet.health WHERE name = 'usage_unread';
SELECT * FROM regress.broken('ur');
DROP VIEW ur, ur_events;
