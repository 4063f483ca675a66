-- Limits on a single request.
SELECT wallet FROM wallet.create_wallet('lr');
SELECT balance FROM wallet.fund('lr', 1000);
SELECT wallet.set_price('lr-model', 'output_tokens', 1, per => 1000, effective_from => '2025-01-01Z') IS NOT NULL AS set;
CREATE FUNCTION regress.lr_check(usage jsonb DEFAULT NULL, amount numeric DEFAULT 0, user_id text DEFAULT NULL) RETURNS TABLE (scope text, period text, metric text, max numeric, used numeric, remaining numeric, allowed boolean, reason text, max_per_request numeric) LANGUAGE sql AS $$
    SELECT scope, period, metric, max, used, remaining, allowed, reason, max_per_request FROM wallet.check_limits('lr', usage => $1, amount => CASE WHEN $1 IS NULL THEN $2 END, user_id => $3)
$$;

SELECT wallet.set_limit('lr', 5, 'request') AS "limit" \gset
SELECT wallet.set_limit('lr', 2, 'request', scope => 'user', subject => 'ann') IS NOT NULL AS set;
SELECT wallet.set_limit('lr', 3000, 'request', metric => 'tokens') IS NOT NULL AS set;
SELECT wallet.set_limit('lr', 6, 'day') IS NOT NULL AS set;
CALL regress.fails($$ SELECT wallet.set_limit('lr', 5, 'request', anchor => 1) $$);
-- A charge may take exactly the maximum.
SELECT cost FROM wallet.charge('lr', amount => 5);
CALL regress.fails($$ SELECT wallet.charge('lr', amount => 5.000000000001) $$);
CALL regress.fails($$ SELECT wallet.charge('lr', amount => 2.01, user_id => 'ann') $$);
CALL regress.fails($$ SELECT wallet.charge('lr', '{"model": "lr-model", "output_tokens": 3001}') $$);
CALL regress.fails($$ SELECT wallet.hold('lr', amount => 5.01) $$);
-- The limit of the day refuses next; it counts, the limit on a request does not.
CALL regress.fails($$ SELECT wallet.charge('lr', amount => 1.01) $$);
SELECT * FROM regress.lr_check();
SELECT * FROM regress.lr_check(amount => 2.5, user_id => 'ann');
SELECT * FROM regress.lr_check('{"model": "lr-model", "output_tokens": 4000}');
SELECT scope, subject, period, metric, max, used, held, remaining FROM wallet.limits_status WHERE wallet = 'lr' ORDER BY scope, period, metric;
-- In a batch, each charge is compared on its own.
SELECT wallet.drop_limit('lr', limit_id) FROM wallet.limits WHERE wallet_id = 'lr' AND period = 'day';
SELECT item, cost, sqlstate FROM wallet.charge_batch('lr', '[{"amount": 5}, {"amount": 5.01}, {"amount": 4}]', on_error => 'skip');
-- A replay is not refused by a limit that came later.
SELECT cost FROM wallet.charge('lr', amount => 5, idempotency_key => 'once');
SELECT wallet.set_limit('lr', 4, 'request') = :'limit' AS same_limit;
SELECT cost, replayed FROM wallet.charge('lr', amount => 5, idempotency_key => 'once');
-- A hold may shrink to the maximum.
SELECT hold_id AS "hold", amount FROM wallet.hold('lr', amount => 100, allow_partial => true) \gset
SELECT :amount AS amount;
-- A settlement up to the held amount fits; above it, the limit decides as the argument over says.
CALL regress.fails(format($$ SELECT wallet.settle('lr', %L, amount => 4.01) $$, :'hold'));
SELECT cost FROM wallet.settle('lr', :'hold', amount => 4.01, over => 'debt');
SELECT hold_id AS "hold" FROM wallet.hold('lr', amount => 4) \gset
SELECT wallet.set_limit('lr', 1, 'request') = :'limit' AS same_limit;
SELECT cost FROM wallet.settle('lr', :'hold', amount => 4);
-- The settlements of a hold are one request: their costs count together.
SELECT wallet.set_limit('lr', 4, 'request') = :'limit' AS same_limit;
SELECT hold_id AS "hold" FROM wallet.hold('lr', amount => 4) \gset
SELECT cost FROM wallet.settle('lr', :'hold', amount => 3, final => false);
CALL regress.fails(format($$ SELECT wallet.settle('lr', %L, amount => 1.01, final => false) $$, :'hold'));
SELECT cost FROM wallet.settle('lr', :'hold', amount => 1);
-- Also with the charge of an expired hold, and its correction.
SELECT hold_id AS "hold" FROM wallet.hold('lr', amount => 3, ttl => '0.1 s', on_expiry => 'charge') \gset
SELECT pg_sleep(0.15);
SELECT count(*) > 0 AS maintained FROM wallet.maintain();
CALL regress.fails(format($$ SELECT wallet.settle('lr', %L, amount => 4.01) $$, :'hold'));
SELECT cost FROM wallet.settle('lr', :'hold', amount => 4);
-- A hold was made for so many tokens, whatever the limit is now.
SELECT hold_id AS "hold" FROM wallet.hold('lr', usage => '{"model": "lr-model", "output_tokens": 2000}') \gset
SELECT wallet.set_limit('lr', 500, 'request', metric => 'tokens') IS NOT NULL AS lowered;
CALL regress.fails(format($$ SELECT wallet.settle('lr', %L, '{"output_tokens": 2001}') $$, :'hold'));
SELECT cost FROM wallet.settle('lr', :'hold', '{"output_tokens": 2000}');
-- A late price belongs to a request that was booked before.
SELECT (wallet.update_wallet('lr', unknown_price => 'unpriced')).wallet IS NOT NULL AS changed;
SELECT cost FROM wallet.charge('lr', '{"model": "lr-late", "pages": 100}');
SELECT wallet.set_price('lr-late', 'pages', 1, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT priced FROM (SELECT count(*) AS priced FROM wallet.price_unpriced('lr')) p;
SELECT (wallet.update_wallet('lr', unknown_price => 'reject')).wallet IS NOT NULL AS changed;
-- A maximum of zero refuses everything that costs, and does not shrink a hold to nothing.
SELECT wallet.set_limit('lr', 0, 'request') = :'limit' AS same_limit;
CALL regress.fails($$ SELECT wallet.charge('lr', amount => 0.01) $$);
CALL regress.fails($$ SELECT wallet.hold('lr', amount => 1, allow_partial => true) $$);
SELECT cost FROM wallet.charge('lr', amount => 0);
-- A raise counts, as in every limit.
SELECT wallet.raise_limit('lr', :'limit', 3, until => now() + interval '1 hour');
SELECT cost FROM wallet.charge('lr', amount => 3);
-- A soft limit writes an event for each request above the maximum.
SELECT wallet.set_limit('lr', 2, 'request', mode => 'soft') = :'limit' AS same_limit;
SELECT cost FROM wallet.charge('lr', amount => 2);
SELECT cost FROM wallet.charge('lr', amount => 3);
SELECT amount FROM wallet.hold('lr', amount => 4);
SELECT count(*) AS booked FROM wallet.charge_batch('lr', '[{"amount": 2}, {"amount": 2.5}]');
-- The settlements of a hold are one request: the second one exceeds the maximum, the third one did
-- before. A hold above the maximum had its event when it was made.
SELECT hold_id AS "hold" FROM wallet.hold('lr', amount => 1) \gset
SELECT cost FROM wallet.settle('lr', :'hold', amount => 1.5, final => false);
SELECT cost FROM wallet.settle('lr', :'hold', amount => 0.75, final => false);
SELECT cost FROM wallet.settle('lr', :'hold', amount => 0.5);
SELECT hold_id AS "hold" FROM wallet.hold('lr', amount => 1) \gset
SELECT cost FROM wallet.settle('lr', :'hold', amount => 2.75);
SELECT hold_id AS "hold" FROM wallet.hold('lr', amount => 5) \gset
SELECT cost FROM wallet.settle('lr', :'hold', amount => 5.5);
SELECT event, payload ->> 'period' AS period, payload ->> 'max' AS max, payload ->> 'used' AS used, payload ->> 'resets_at' AS resets_at
  FROM wallet.events WHERE wallet = 'lr' AND event LIKE 'limit%' AND payload ->> 'period' = 'request' ORDER BY id;
SELECT count(*) FILTER (WHERE NOT ok) AS broken FROM wallet.verify('lr');
DROP FUNCTION regress.lr_check;
