-- A tenant's own prices: lists on top of the default list, markups, and what other models would
-- cost.
SET datestyle = ISO;
SET timezone = 'UTC';
SELECT wallet FROM wallet.create_wallet('pl');
SELECT balance FROM wallet.fund('pl', 100);
SELECT count(wallet.set_price(m, meter, price, 1000000, effective_from => '2025-01-01'))
  FROM (VALUES ('pl-big', 'input_tokens', 2.5), ('pl-big', 'output_tokens', 10), ('pl-small', 'input_tokens', 0.15),
               ('pl-small', 'output_tokens', 0.6), ('pl-free', 'input_tokens', 0), ('pl-free', 'output_tokens', 0)) AS p (m, meter, price);
-- What a wallet pays for a thousand input tokens and 450 output tokens, line by line.
CREATE FUNCTION regress.pays(model text, at timestamptz DEFAULT now(), of_wallet text DEFAULT 'pl')
RETURNS TABLE (meter text, quantity numeric, price text, amount numeric, cost numeric) LANGUAGE sql AS $$
    SELECT l->>'meter', (l->>'quantity')::numeric, (l->>'unit_price') || ' per ' || (l->>'per'), (l->>'amount')::numeric, p.cost
      FROM wallet.price_usage(jsonb_build_object('model', model, 'input_tokens', 1000, 'output_tokens', 450), wallet => of_wallet, at => at) p
      LEFT JOIN LATERAL jsonb_array_elements(p.lines) l ON true
$$;

-- A list with a markup and no prices: the default prices plus a fifth.
SELECT wallet.set_markup('pl-gold', 20, effective_from => '2025-02-01') IS NOT NULL AS set;
SELECT * FROM regress.pays('pl-big');
SELECT wallet, status FROM wallet.use_price_list('pl', 'pl-gold');
SELECT * FROM regress.pays('pl-big');
-- It applies from its date, like prices.
SELECT cost FROM regress.pays('pl-big', '2025-01-31') LIMIT 1;
-- Without a wallet, the default list.
SELECT cost FROM wallet.price_usage('{"model":"pl-big","input_tokens":1000,"output_tokens":450}');
-- A negotiated price is final: only the output is marked up here.
SELECT wallet.set_price('pl-big', 'input_tokens', 2, 1000000, price_list => 'pl-gold', effective_from => '2025-02-01') IS NOT NULL AS set;
SELECT * FROM regress.pays('pl-big');
-- A fixed part is added once, whatever the prices are. A meter with zero usage costs nothing.
SELECT wallet.set_markup('pl-gold', 20, 0.001, effective_from => '2025-03-01') IS NOT NULL AS set;
SELECT * FROM regress.pays('pl-big');
SELECT * FROM regress.pays('pl-free');
SELECT cost, lines FROM wallet.price_usage('{"model":"pl-big","input_tokens":0}', wallet => 'pl');
-- The charge: its lines add up to its amount, and the ledger shows them again.
SELECT cost, balance, total_tokens, jsonb_array_length(lines) AS lines
  FROM wallet.charge('pl', '{"model":"pl-big","input_tokens":1000,"output_tokens":450}', idempotency_key => 'marked up');
SELECT e.amount, e.usage, l->>'meter' AS meter, l->'quantity' AS quantity, l->'unit_price' AS unit_price, l->'per' AS per, l->'amount' AS amount
  FROM wallet.entries e, jsonb_array_elements(e.lines) l WHERE e.wallet = 'pl' AND e.kind = 'charge';
SELECT r.replayed, r.lines = e.lines AS same_lines, -e.amount = (SELECT sum((l->>'amount')::numeric) FROM jsonb_array_elements(e.lines) l) AS adds_up
  FROM wallet.charge('pl', '{"model":"pl-big","input_tokens":1000,"output_tokens":450}', idempotency_key => 'marked up') r
  JOIN wallet.entries e ON e.entry_id = r.entry_id;
-- The markup amount is rounded once, at the twelfth decimal, for any quantity.
SELECT wallet.set_markup('pl-odd', 33.3333) IS NOT NULL AS set;
SELECT wallet FROM wallet.create_wallet('pl-odd');
SELECT wallet FROM wallet.use_price_list('pl-odd', 'pl-odd');
SELECT count(*) AS wrong
  FROM generate_series(1, 2000) n, wallet.price_usage(jsonb_build_object('model', 'pl-small', 'input_tokens', n), wallet => 'pl-odd') p
 WHERE abs(p.cost - 0.15 * n / 1000000 * 1.333333) > 0.0000000000005 OR scale(p.cost) > 12;
-- NULL removes a markup, zero sets an explicit one of zero.
SELECT wallet.set_markup('pl-gold', effective_from => '2025-04-01') IS NOT NULL AS reset;
SELECT cost FROM regress.pays('pl-big') LIMIT 1;
SELECT cost FROM regress.pays('pl-big', '2025-03-31') LIMIT 1;
-- A markup of the default list applies to every wallet whose list has none.
BEGIN;
SELECT wallet.set_markup('default', 10) IS NOT NULL AS set;
SELECT cost FROM wallet.price_usage('{"model":"pl-small","input_tokens":1000000}');
SELECT cost FROM wallet.price_usage('{"model":"pl-small","input_tokens":1000000}', wallet => 'pl');
SELECT wallet.set_markup('pl-gold', 0) IS NOT NULL AS set;
SELECT cost FROM wallet.price_usage('{"model":"pl-small","input_tokens":1000000}', wallet => 'pl');
ROLLBACK;
SELECT cost FROM wallet.price_usage('{"model":"pl-small","input_tokens":1000000}', wallet => 'pl');
-- The same markup again adds no row.
SELECT wallet.set_markup('pl-odd', 33.33330) = wallet.set_markup('pl-odd', 33.3333) AS same_id;
SELECT count(*) FROM wallet.markups WHERE price_list = 'pl-odd';
-- Back to the default list. A retry with the key changes nothing.
SELECT wallet FROM wallet.use_price_list('pl', 'default', idempotency_key => 'back');
SELECT wallet FROM wallet.use_price_list('pl', 'pl-gold');
SELECT wallet FROM wallet.use_price_list('pl', 'default', idempotency_key => 'back');
SELECT price_list FROM wallet.wallets WHERE wallet_id = 'pl';
SELECT wallet FROM wallet.use_price_list('pl', 'default');
-- Arguments that are refused.
CALL regress.fails($$ SELECT wallet.set_markup(NULL, 20) $$);
CALL regress.fails($$ SELECT wallet.set_markup('pl-gold', -100) $$);
CALL regress.fails($$ SELECT wallet.set_markup('pl-gold', -8.1234567890123456) $$);
CALL regress.fails($$ SELECT wallet.set_markup('pl-gold', fixed => 0.0000000000001) $$);
CALL regress.fails($$ SELECT wallet.set_markup('pl-gold', 'NaN') $$);
CALL regress.fails($$ SELECT wallet.set_markup('pl-gold', 20, effective_from => NULL) $$);
CALL regress.fails($$ SELECT wallet.use_price_list('pl', NULL) $$);
CALL regress.fails($$ SELECT wallet.use_price_list('pl-none', 'default') $$);
CALL regress.fails($$ SELECT wallet.use_price_list('pl', 'pl-gold', idempotency_key => 'back') $$);
CALL regress.fails($$ SELECT wallet.set_price('pl-big', 'markup', 1) $$);
-- A list that does not exist can be used neither for paying nor for comparing.
CALL regress.fails($$ SELECT wallet.use_price_list('pl', 'pl-glod') $$);
CALL regress.fails($$ SELECT * FROM wallet.reprice('pl', price_list => 'pl-glod') $$);
SELECT wallet, price_list FROM wallet.use_price_list('pl', 'pl-gold');
SELECT wallet, price_list FROM wallet.balances WHERE wallet IN ('pl', 'pl-odd') ORDER BY 1;
SELECT price_list FROM wallet.use_price_list('pl', 'default');

-- The same usage with other models: the cheapest first, those without a price last.
SELECT * FROM wallet.compare_models('{"model":"pl-big","input_tokens":1000,"output_tokens":450}', '{pl-big,pl-none,pl-small,pl-big}');
-- Compared with a free model, no other has a ratio.
SELECT * FROM wallet.compare_models('{"input_tokens":1000,"output_tokens":450}', '{pl-small,pl-free}');
-- A model without a price for a meter has no cost. At another time, with a wallet's list.
SELECT * FROM wallet.compare_models('{"input_tokens":1000,"images":1}', '{pl-small}');
SELECT * FROM wallet.compare_models('{"input_tokens":1000}', '{pl-small,pl-big}', at => '2024-12-31');
SELECT * FROM wallet.compare_models('{"input_tokens":1000}', '{pl-small,pl-big}', wallet => 'pl-odd');
SELECT count(*) FROM wallet.compare_models('{"input_tokens":1000}', '{}');
CALL regress.fails($$ SELECT wallet.compare_models(NULL, '{a}') $$);
CALL regress.fails($$ SELECT wallet.compare_models('{"input_tokens":1}', NULL) $$);
CALL regress.fails($$ SELECT wallet.compare_models('{"input_tokens":1}', '{NULL}') $$);
SELECT regress.outcome($$ SELECT wallet.compare_models('{"input_tokens":-1}', '{pl-small}') $$),
       regress.outcome($$ SELECT wallet.compare_models('{"input_tokens":1}', '{pl-small}', wallet => 'pl-none') $$),
       regress.outcome($$ SELECT wallet.compare_models('{"input_tokens":1}', array_fill('m'::text, '{1001}')) $$);
SELECT * FROM regress.broken('pl');
DROP FUNCTION regress.pays;
