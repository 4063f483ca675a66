-- Holds: money and limits reserved, settled fully or in part, voided, expired.
SELECT wallet FROM wallet.create_wallet('holds', low_balance => '{50}');
SELECT balance FROM wallet.fund('holds', 100);
SELECT wallet.set_price('hold-model', 'input_tokens', 1, per => 1000, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT wallet.set_price('hold-model', 'output_tokens', 4, per => 1000, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT wallet.set_limit('holds', 60, 'day', scope => 'user') IS NOT NULL AS set;
SELECT wallet.set_limit('holds', 3, 'day', scope => 'user', metric => 'requests') IS NOT NULL AS set;

-- An estimate is priced and reserved. Balance and limits show it as held.
SELECT amount, balance, expires_at > now() + interval '9 minutes' AS later, replayed, affordable_tokens
  FROM wallet.hold('holds', usage => '{"model": "hold-model", "input_tokens": 2000, "output_tokens": 5000}', user_id => 'ann', idempotency_key => 'h1');
SELECT hold_id FROM wallet.holds WHERE wallet = 'holds' \gset
SELECT hold_id = :'hold_id' AS same, amount, replayed FROM wallet.hold('holds', usage => '{"model": "hold-model", "input_tokens": 2000, "output_tokens": 5000}', user_id => 'ann', idempotency_key => 'h1');
CALL regress.fails($$ SELECT wallet.hold('holds', amount => 1, idempotency_key => 'h1') $$);
SELECT balance, held, available FROM wallet.balances WHERE wallet = 'holds';
SELECT scope, metric, used, held, remaining FROM wallet.check_limits('holds', user_id => 'ann') ORDER BY scope, metric;
SELECT metric, used, held, remaining FROM wallet.limits_status WHERE wallet = 'holds' ORDER BY metric;
SELECT amount, settled, status, user_id, model, held FROM wallet.holds WHERE wallet = 'holds';
-- It is settled with the actual usage. What the settlement leaves out is taken from the hold.
SELECT cost, balance, model, total_tokens, replayed FROM wallet.settle('holds', :'hold_id', usage => '{"model": "hold-model", "input_tokens": 2000, "output_tokens": 1000}', idempotency_key => 's1');
SELECT cost, balance, model, total_tokens, replayed FROM wallet.settle('holds', :'hold_id', usage => '{"model": "hold-model", "input_tokens": 2000, "output_tokens": 1000}', idempotency_key => 's1');
CALL regress.fails(format($$ SELECT wallet.settle('holds', %L, amount => 1, idempotency_key => 's1') $$, :'hold_id'));
CALL regress.fails(format($$ SELECT wallet.settle('holds', %L, amount => 1) $$, :'hold_id'));
CALL regress.fails(format($$ SELECT wallet.void('holds', %L) $$, :'hold_id'));
CALL regress.fails(format($$ SELECT wallet.extend_hold('holds', %L) $$, :'hold_id'));
SELECT balance, held, available FROM wallet.balances WHERE wallet = 'holds';
SELECT scope, metric, used, held, remaining FROM wallet.check_limits('holds', user_id => 'ann') ORDER BY scope, metric;
SELECT amount, settled, status, held FROM wallet.holds WHERE wallet = 'holds';
SELECT kind, amount, user_id, model, related_id = :'hold_id' AS of_hold FROM wallet.entries WHERE wallet = 'holds' AND kind = 'charge';

-- In parts: each part is booked, and the last one releases the rest. The request counts once.
SELECT hold_id FROM wallet.hold('holds', amount => 20, user_id => 'ann', model => 'hold-model') \gset
SELECT cost, balance FROM wallet.settle('holds', :'hold_id', amount => 5, final => false);
SELECT cost, balance FROM wallet.settle('holds', :'hold_id', amount => 6, final => false);
SELECT settled, status, held FROM wallet.holds WHERE hold_id = :'hold_id';
SELECT metric, used, held, remaining FROM wallet.limits_status WHERE wallet = 'holds' ORDER BY metric;
SELECT cost, balance FROM wallet.settle('holds', :'hold_id', amount => 1);
SELECT settled, status, held FROM wallet.holds WHERE hold_id = :'hold_id';
SELECT metric, used, held, remaining FROM wallet.limits_status WHERE wallet = 'holds' ORDER BY metric;

-- A hold is voided completely.
SELECT hold_id FROM wallet.hold('holds', amount => 10, user_id => 'ben') \gset
SELECT amount, balance, replayed FROM wallet.void('holds', :'hold_id', reason => 'provider failed', idempotency_key => 'v1');
SELECT amount, balance, replayed FROM wallet.void('holds', :'hold_id', reason => 'provider failed', idempotency_key => 'v1');
CALL regress.fails(format($$ SELECT wallet.settle('holds', %L, amount => 1) $$, :'hold_id'));
SELECT status, reason FROM wallet.holds WHERE hold_id = :'hold_id';
SELECT balance, held FROM wallet.balances WHERE wallet = 'holds';

-- A hold is bounded by what may be spent, limits included. A partial hold is reduced to it.
CALL regress.fails($$ SELECT wallet.hold('holds', amount => 82.01) $$);
CALL regress.fails($$ SELECT wallet.hold('holds', amount => 61, user_id => 'cy') $$);
SELECT amount, affordable_tokens FROM wallet.hold('holds', usage => '{"model": "hold-model", "input_tokens": 2000, "output_tokens": 100000}', user_id => 'cy', allow_partial => true);
SELECT amount FROM wallet.hold('holds', amount => 500, allow_partial => true);
SELECT balance, held, available FROM wallet.balances WHERE wallet = 'holds';
CALL regress.fails($$ SELECT wallet.hold('holds', amount => 1, allow_partial => true) $$);
CALL regress.fails($$ SELECT wallet.charge('holds', amount => 1) $$);
SELECT event, threshold FROM wallet.events WHERE wallet = 'holds' AND event LIKE 'wallet%' ORDER BY id;
SELECT count(wallet.void('holds', hold_id)) FROM wallet.holds WHERE wallet = 'holds' AND status = 'open';
SELECT event, threshold FROM wallet.events WHERE wallet = 'holds' AND event LIKE 'wallet%' ORDER BY id;

-- More than was held: taken like a charge, capped, or owed.
SELECT wallet FROM wallet.create_wallet('over');
SELECT balance FROM wallet.fund('over', 10);
SELECT hold_id FROM wallet.hold('over', amount => 4) \gset
CALL regress.fails(format($$ SELECT wallet.settle('over', %L, amount => 10.01) $$, :'hold_id'));
SELECT cost, balance FROM wallet.settle('over', :'hold_id', amount => 6);
SELECT hold_id FROM wallet.hold('over', amount => 2) \gset
SELECT cost, balance FROM wallet.settle('over', :'hold_id', amount => 3, over => 'cap');
SELECT hold_id FROM wallet.hold('over', amount => 1) \gset
SELECT cost, balance FROM wallet.settle('over', :'hold_id', amount => 5, over => 'debt');
SELECT balance, held, debt FROM wallet.balances WHERE wallet = 'over';
SELECT balance FROM wallet.fund('over', 10);
SELECT balance, held, debt FROM wallet.balances WHERE wallet = 'over';
-- A frozen wallet settles and voids holds, and accepts no new one.
SELECT hold_id FROM wallet.hold('over', amount => 1) \gset one
SELECT hold_id FROM wallet.hold('over', amount => 1) \gset two
SELECT status FROM wallet.freeze_wallet('over');
CALL regress.fails($$ SELECT wallet.hold('over', amount => 1) $$);
SELECT cost FROM wallet.settle('over', :'onehold_id', amount => 1);
SELECT amount FROM wallet.void('over', :'twohold_id');
SELECT status FROM wallet.unfreeze_wallet('over');

-- An expired hold stops counting immediately. A call that needs the money releases it.
SELECT hold_id FROM wallet.hold('over', amount => 5, ttl => '0.2 seconds') \gset
SELECT hold_id FROM wallet.hold('over', amount => 1, ttl => '0.2 seconds') \gset late
SELECT balance, held, available FROM wallet.balances WHERE wallet = 'over';
SELECT pg_sleep(0.3);
SELECT balance, held, available FROM wallet.balances WHERE wallet = 'over';
SELECT status, held FROM wallet.holds WHERE hold_id = :'hold_id';
SELECT remaining, held FROM wallet.check_limits('over', amount => 5);
CALL regress.fails(format($$ SELECT wallet.extend_hold('over', %L) $$, :'hold_id'));
SELECT cost FROM wallet.charge('over', amount => 4);
SELECT event, payload -> 'amount' AS amount FROM wallet.events WHERE wallet = 'over' AND event = 'hold_expired' ORDER BY id;
CALL regress.fails(format($$ SELECT wallet.void('over', %L) $$, :'hold_id'));
-- A late settlement is booked if the money is available, because the provider was paid.
SELECT balance FROM wallet.balances WHERE wallet = 'over';
SELECT cost, balance FROM wallet.settle('over', :'latehold_id', amount => 1);
CALL regress.fails(format($$ SELECT wallet.settle('over', %L, amount => 1) $$, :'latehold_id'));
SELECT hold_id FROM wallet.hold('over', amount => 0.5) \gset
SELECT expires_at > now() + interval '50 minutes' AS later FROM wallet.extend_hold('over', :'hold_id', '1 hour');
SELECT amount FROM wallet.void('over', :'hold_id');

-- So is the settlement of an expired hold that no call has released. An expired hold cannot be
-- voided.
SELECT hold_id FROM wallet.hold('over', amount => 1, ttl => '0.1 seconds') \gset
SELECT pg_sleep(0.2);
SELECT cost, balance FROM wallet.settle('over', :'hold_id', amount => 0.5);
SELECT hold_id FROM wallet.hold('over', amount => 0.25, ttl => '0.1 seconds') \gset
SELECT pg_sleep(0.2);
CALL regress.fails(format($$ SELECT wallet.void('over', %L) $$, :'hold_id'));
SELECT status, settled, held FROM wallet.holds WHERE hold_id = :'hold_id';
SELECT balance, held FROM wallet.balances WHERE wallet = 'over';

-- On many lanes.
SELECT wallet FROM wallet.create_wallet('lanes_held', lanes => 8);
SELECT balance FROM wallet.fund('lanes_held', 80);
SELECT hold_id FROM wallet.hold('lanes_held', amount => 30) \gset
SELECT count(wallet.charge('lanes_held', amount => 1)) FROM generate_series(1, 40);
SELECT lanes FROM wallet.set_lanes('lanes_held', 2);
SELECT balance, held, available FROM wallet.balances WHERE wallet = 'lanes_held';
SELECT cost, balance FROM wallet.settle('lanes_held', :'hold_id', amount => 12.5);
SELECT balance, held, available FROM wallet.balances WHERE wallet = 'lanes_held';

-- A hold of zero can be settled when its lane no longer exists.
SELECT wallet FROM wallet.create_wallet('lanes_none', lanes => 2);
SELECT hold_id FROM wallet.hold('lanes_none', amount => 0) \gset
SELECT lanes FROM wallet.set_lanes('lanes_none', 1);
SELECT cost FROM wallet.settle('lanes_none', :'hold_id', amount => 0);

-- Reservations in lanes that no longer exist are part of the balance that every call returns: 97,
-- 96 and 95.
SELECT wallet FROM wallet.create_wallet('lanes_one', lanes => 2);
SELECT balance FROM wallet.fund('lanes_one', 100);
SELECT hold_id FROM wallet.hold('lanes_one', amount => 10) \gset
SELECT lanes FROM wallet.set_lanes('lanes_one', 1);
SELECT hold_id AS other FROM wallet.hold('lanes_one', amount => 5) \gset
SELECT cost, balance FROM wallet.settle('lanes_one', :'other', amount => 3);
SELECT cost, balance FROM wallet.charge('lanes_one', amount => 1);
SET wallet.storage = spi;
SELECT cost, balance FROM wallet.charge('lanes_one', amount => 1);
RESET wallet.storage;
SELECT balance, held, available FROM wallet.balances WHERE wallet = 'lanes_one';
SELECT cost, balance FROM wallet.settle('lanes_one', :'hold_id', amount => 4);
SELECT cost, balance FROM wallet.charge('lanes_one', amount => 1);

-- Arguments that are refused.
CALL regress.fails($$ SELECT wallet.hold('over') $$);
CALL regress.fails($$ SELECT wallet.hold('over', amount => 1, ttl => '0') $$);
CALL regress.fails($$ SELECT wallet.settle('over', NULL, amount => 1) $$);
CALL regress.fails(format($$ SELECT wallet.settle('over', %L) $$, :'hold_id'));
CALL regress.fails(format($$ SELECT wallet.settle('over', %L, amount => 1, over => 'more') $$, :'hold_id'));
CALL regress.fails($$ SELECT wallet.settle('over', '00000000-0000-7000-8000-000000000000', amount => 1) $$);
CALL regress.fails($$ SELECT wallet.hold('over', usage => '{"model": "hold-none", "input_tokens": 1}') $$);
SELECT * FROM regress.broken('holds');
SELECT * FROM regress.broken('over');
SELECT * FROM regress.broken('lanes_held');
SELECT * FROM regress.broken('lanes_one');
-- A retry returns the first result and the current state of the hold.
SELECT wallet FROM wallet.create_wallet('ho_now');
SELECT balance FROM wallet.fund('ho_now', 100);
SELECT amount, replayed, status FROM wallet.hold('ho_now', amount => 10, ttl => '1 hour', idempotency_key => 'a');
SELECT amount, replayed, status FROM wallet.hold('ho_now', amount => 10, ttl => '1 hour', idempotency_key => 'a');
SELECT hold_id AS a FROM wallet.holds WHERE wallet = 'ho_now' \gset
SELECT amount, status FROM wallet.extend_hold('ho_now', :'a', '2 hours', idempotency_key => 'longer');
SELECT cost FROM wallet.settle('ho_now', :'a', amount => 4, final => false);
SELECT amount, replayed, status FROM wallet.hold('ho_now', amount => 10, ttl => '1 hour', idempotency_key => 'a');
SELECT cost FROM wallet.settle('ho_now', :'a', amount => 5);
SELECT amount, replayed, status FROM wallet.hold('ho_now', amount => 10, ttl => '1 hour', idempotency_key => 'a');
SELECT amount, replayed, status FROM wallet.extend_hold('ho_now', :'a', '2 hours', idempotency_key => 'longer');
SELECT hold_id AS b, status FROM wallet.hold('ho_now', amount => 10, ttl => '1 hour', idempotency_key => 'b') \gset
SELECT amount, replayed, status FROM wallet.void('ho_now', :'b', idempotency_key => 'v');
SELECT amount, replayed, status FROM wallet.void('ho_now', :'b', idempotency_key => 'v');
SELECT amount, replayed, status FROM wallet.hold('ho_now', amount => 10, ttl => '1 hour', idempotency_key => 'b');
-- Expired holds, before the expiry is booked and after.
SELECT status FROM wallet.hold('ho_now', amount => 90, ttl => '0.2 seconds', idempotency_key => 'c');
SELECT pg_sleep(0.3);
SELECT amount, replayed, status FROM wallet.hold('ho_now', amount => 90, ttl => '0.2 seconds', idempotency_key => 'c');
SELECT status FROM wallet.reservations WHERE wallet_id = 'ho_now' AND idempotency_key = 'c';
SELECT balance FROM wallet.charge('ho_now', amount => 50);
SELECT status FROM wallet.reservations WHERE wallet_id = 'ho_now' AND idempotency_key = 'c';
SELECT amount, replayed, status FROM wallet.hold('ho_now', amount => 90, ttl => '0.2 seconds', idempotency_key => 'c');
-- The other way to access the tables gives the same result, and so does a hold across all lanes.
SET wallet.storage = 'spi';
SELECT amount, replayed, status FROM wallet.hold('ho_now', amount => 90, ttl => '0.2 seconds', idempotency_key => 'c');
SELECT amount, replayed, status FROM wallet.hold('ho_now', amount => 10, ttl => '1 hour', idempotency_key => 'b');
SELECT amount, replayed, status FROM wallet.hold('ho_now', amount => 10, ttl => '1 hour', idempotency_key => 'd');
RESET wallet.storage;
SELECT amount, replayed, status FROM wallet.hold('ho_now', amount => 99, ttl => '1 hour', allow_partial => true, idempotency_key => 'e');
SELECT * FROM regress.broken('ho_now');
-- Expired credit is not held, even if this connection cached the wallet before it had an expiring
-- grant.
SELECT wallet FROM wallet.create_wallet('ho_known');
SELECT balance FROM wallet.fund('ho_known', 10);
SELECT balance FROM wallet.fund('ho_known', 10, expires_at => clock_timestamp() + interval '0.2 seconds');
SELECT pg_sleep(0.3);
SELECT amount, balance FROM wallet.hold('ho_known', amount => 15, ttl => '1 hour', allow_partial => true);
SELECT wallet FROM wallet.create_wallet('ho_known2');
SELECT balance FROM wallet.fund('ho_known2', 10, expires_at => clock_timestamp() + interval '0.2 seconds');
SELECT hold_id AS hold FROM wallet.hold('ho_known2', amount => 6, ttl => '1 hour') \gset
SELECT pg_sleep(0.3);
SELECT amount FROM wallet.void('ho_known2', :'hold');
SELECT balance, available FROM wallet.balances WHERE wallet = 'ho_known2';
SELECT regress.outcome($$ SELECT wallet.charge('ho_known2', amount => 1) $$);
SELECT regress.broken(w) FROM unnest('{ho_known,ho_known2}'::text[]) w;

-- A retried void answers as the first one: neither returns the tokens that the hold could afford.
SELECT hold_id AS hold, affordable_tokens IS NOT NULL AS affords FROM wallet.hold('holds', usage => '{"model": "hold-model", "input_tokens": 10, "output_tokens": 10}') \gset
SELECT :'affords' AS affords;
SELECT status, affordable_tokens, replayed FROM wallet.void('holds', :'hold', idempotency_key => 'void-once');
SELECT status, affordable_tokens, replayed FROM wallet.void('holds', :'hold', idempotency_key => 'void-once');
