-- Models without a price: refused, priced like another model, or booked at zero and priced later.
SET datestyle = ISO;
SET timezone = 'UTC';
SELECT wallet FROM wallet.create_wallet('up');
SELECT balance FROM wallet.fund('up', 10);
SELECT count(wallet.set_price(m, 'input_tokens', price, 1000, effective_from => '2025-01-01'))
  FROM (VALUES ('up-known', 2), ('up-free', 0)) AS p (m, price);
-- Refused, unless the wallet allows it.
CALL regress.fails($$ SELECT wallet.charge('up', '{"model":"up-new","input_tokens":1000}') $$);
CALL regress.fails($$ SELECT wallet.update_wallet('up', unknown_price => 'free') $$);
CALL regress.fails($$ SELECT wallet.update_wallet('up', unknown_price => 'price_of:') $$);

-- Priced like another model, and marked.
SELECT wallet FROM wallet.update_wallet('up', unknown_price => 'price_of:up-known');
SELECT cost, model FROM wallet.price_usage('{"model":"up-new","input_tokens":500}', wallet => 'up');
SELECT regress.outcome($$ SELECT wallet.price_usage('{"model":"up-new","input_tokens":500}') $$) AS without_the_wallet;
SELECT cost, balance, model, total_tokens, jsonb_array_length(lines) AS lines FROM wallet.charge('up', '{"model":"up-new","input_tokens":500}');
SELECT remaining, allowed, reason FROM wallet.check_limits('up', usage => '{"model":"up-new","input_tokens":5000}');
SELECT amount, contra, model, usage, reason FROM wallet.entries WHERE wallet = 'up' AND kind = 'charge';
-- A model with a price is charged by it, and a free model is not unknown.
SELECT cost FROM wallet.charge('up', '{"model":"up-known","input_tokens":100}');
SELECT cost FROM wallet.charge('up', '{"model":"up-free","input_tokens":100}');
SELECT count(*) FROM wallet.entries WHERE wallet = 'up' AND reason IS NOT NULL;
-- The other model must have a price for every meter.
CALL regress.fails($$ SELECT wallet.charge('up', '{"model":"up-new","images":1}') $$);

-- Booked at zero, marked and listed. One meter without a price leaves the whole charge unpriced.
SELECT wallet FROM wallet.update_wallet('up', unknown_price => 'unpriced');
SELECT cost, lines FROM wallet.price_usage('{"model":"up-new","input_tokens":500}', wallet => 'up');
SELECT cost, balance, model, total_tokens, lines, replayed
  FROM wallet.charge('up', '{"model":"up-new","input_tokens":500}', user_id => 'ann', team => 'red', tags => '{"job":"7"}', event_at => '2026-01-05Z', idempotency_key => 'first');
SELECT cost, balance, model, total_tokens, lines, replayed
  FROM wallet.charge('up', '{"model":"up-new","input_tokens":500}', user_id => 'ann', team => 'red', tags => '{"job":"7"}', event_at => '2026-01-05Z', idempotency_key => 'first');
SELECT cost FROM wallet.charge('up', '{"input_tokens":1000,"images":2}', model => 'up-known', region => 'eu', event_at => '2026-01-06Z');
SELECT cost FROM wallet.charge('up', '{"model":"up-never","input_tokens":1}', event_at => '2026-01-07Z');
SELECT cost FROM wallet.charge('up', '{"model":"up-free","input_tokens":1}');
SELECT allowed, reason FROM wallet.check_limits('up', usage => '{"model":"up-new","input_tokens":500}');
SELECT model, usage, user_id, team, region, tags, event_at FROM wallet.unpriced WHERE wallet = 'up' ORDER BY event_at;
SELECT amount, model, reason, lines FROM wallet.entries WHERE wallet = 'up' AND reason = 'unpriced' ORDER BY event_at;
SELECT name, value FROM wallet.entries e, wallet.usage_headers('up', e.entry_id) WHERE e.idempotency_key = 'first' AND e.wallet = 'up' AND name IN ('X-Usage-Cost', 'X-Total-Tokens');

-- No price exists yet.
SELECT count(*) FROM wallet.price_unpriced('up');
-- If prices began only after the usage, the first one applies. A price of the time of usage takes
-- precedence.
SELECT count(wallet.set_price('up-new', 'input_tokens', price, 1000, effective_from => since))
  FROM (VALUES (4, '2026-01-10Z'::timestamptz), (5, '2026-02-01Z')) AS p (price, since);
SELECT wallet.set_price('up-known', 'images', 0.25, effective_from => '2026-01-01Z') IS NOT NULL AS set;
SELECT wallet.set_price('up-known', 'images', 9, effective_from => '2026-02-01Z') IS NOT NULL AS set;
-- Only the usage in the period, whose end is excluded.
SELECT count(*) FROM wallet.price_unpriced('up', '2026-01-05Z'::timestamptz + interval '1 second', "to" => '2026-01-06Z');
SELECT p.model, p.cost, c.reason AS charge_is
  FROM wallet.price_unpriced('up', "from" => '2026-01-01Z', "to" => '2026-01-07Z', idempotency_key => 'january', actor => 'job', metadata => '{"run":1}') p
  JOIN wallet.entries c ON c.entry_id = p.related_id
 ORDER BY p.cost;
SELECT e.kind, e.amount, e.contra, e.user_id, e.team, e.region, e.tags, e.event_at, e.actor, e.metadata, c.model AS of_charge
  FROM wallet.entries e JOIN wallet.entries c ON c.entry_id = e.related_id WHERE e.wallet = 'up' ORDER BY e.event_at;
SELECT e.amount, sum((l->>'amount')::numeric) AS lines FROM wallet.entries e, jsonb_array_elements(e.lines) l
 WHERE e.wallet = 'up' AND e.related_id IS NOT NULL GROUP BY e.entry_id, e.amount ORDER BY 1;
-- Once: a second call finds nothing left, and the key returns the first result.
SELECT count(*) FROM wallet.price_unpriced('up');
SELECT model, cost FROM wallet.price_unpriced('up', "from" => '2026-01-01Z', "to" => '2026-01-07Z', idempotency_key => 'january') ORDER BY cost;
CALL regress.fails($$ SELECT * FROM wallet.price_unpriced('up', idempotency_key => 'january') $$);
SELECT model FROM wallet.unpriced WHERE wallet = 'up';
SELECT balance FROM wallet.balances WHERE wallet = 'up';
-- The replay of the charge still returns the first result.
SELECT cost, total_tokens, lines, replayed
  FROM wallet.charge('up', '{"model":"up-new","input_tokens":500}', user_id => 'ann', team => 'red', tags => '{"job":"7"}', event_at => '2026-01-05Z', idempotency_key => 'first');

-- Too little money, or a limit: nothing is booked, not even the part that the money would cover.
SELECT cost FROM wallet.charge('up', '{"model":"up-late","input_tokens":1000}', user_id => 'ann');
SELECT cost FROM wallet.charge('up', '{"model":"up-late","input_tokens":9000}', user_id => 'ann');
SELECT wallet.set_price('up-late', 'input_tokens', 1, 1000) IS NOT NULL AS set;
CALL regress.fails($$ SELECT * FROM wallet.price_unpriced('up') $$);
SELECT model, usage FROM wallet.unpriced WHERE wallet = 'up' AND model = 'up-late';
SELECT balance FROM wallet.fund('up', 100);
SELECT wallet.set_limit('up', 5, 'lifetime', 'user') IS NOT NULL AS set;
SELECT regress.outcome($$ SELECT * FROM wallet.price_unpriced('up') $$);
SELECT wallet.set_limit('up', 50, 'lifetime', 'user') IS NOT NULL AS set;
SELECT status FROM wallet.freeze_wallet('up');
SELECT regress.outcome($$ SELECT * FROM wallet.price_unpriced('up') $$);
SELECT status FROM wallet.unfreeze_wallet('up');
-- A price of zero is a price: an entry of zero records it.
SELECT wallet.set_price('up-never', 'input_tokens', 0) IS NOT NULL AS set;
SELECT model, cost FROM wallet.price_unpriced('up');
SELECT count(*) FROM wallet.unpriced WHERE wallet = 'up';
SELECT used, remaining FROM wallet.check_limits('up', user_id => 'ann') WHERE scope = 'user';
-- With several lanes, and after a change of the rule.
SELECT wallet FROM wallet.set_lanes('up', 4);
SELECT count(wallet.charge('up', jsonb_build_object('model', 'up-lanes', 'input_tokens', n))) FROM generate_series(1, 10) n;
SELECT wallet FROM wallet.update_wallet('up', unknown_price => 'reject');
SELECT wallet.set_price('up-lanes', 'input_tokens', 0.01) IS NOT NULL AS set;
SELECT count(*), sum(cost) FROM wallet.price_unpriced('up');
SELECT * FROM regress.broken('up');
-- Arguments that are refused.
CALL regress.fails($$ SELECT * FROM wallet.price_unpriced(NULL) $$);
CALL regress.fails($$ SELECT * FROM wallet.price_unpriced('up-none') $$);
CALL regress.fails($$ SELECT * FROM wallet.price_unpriced('up', '2026-02-01', '2026-01-01') $$);
-- A capped charge remains capped when it is priced.
SELECT wallet FROM wallet.create_wallet('capped_late');
SELECT wallet FROM wallet.update_wallet('capped_late', unknown_price => 'unpriced');
SELECT balance FROM wallet.fund('capped_late', 10);
SELECT hold_id FROM wallet.hold('capped_late', amount => 1) \gset
SELECT cost FROM wallet.settle('capped_late', :'hold_id', '{"model": "capped-m", "input_tokens": 3}', over => 'cap');
SELECT hold_id FROM wallet.hold('capped_late', amount => 9) \gset
SELECT cost FROM wallet.settle('capped_late', :'hold_id', '{"model": "capped-m", "input_tokens": 3}', over => 'cap');
SELECT wallet.set_price('capped-m', 'input_tokens', 1, effective_from => '2024-01-01') IS NOT NULL AS set;
SELECT cost, new_cost, difference FROM wallet.reprice('capped_late');
SELECT cost FROM wallet.price_unpriced('capped_late');
SELECT cost, new_cost, difference FROM wallet.reprice('capped_late');
SELECT balance FROM wallet.balances WHERE wallet = 'capped_late';
