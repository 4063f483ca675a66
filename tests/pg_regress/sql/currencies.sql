-- Prices, wallets and payments in several currencies, and custom units.
SET datestyle = ISO;
SET timezone = 'UTC';
-- A charge's cost and lines, and the same computed from the lines in SQL.
CREATE FUNCTION regress.converted(lines jsonb)
RETURNS TABLE (meter text, quantity numeric, unit_price numeric, per numeric, currency text, rate numeric, inverse boolean, amount numeric, by_hand numeric)
LANGUAGE sql AS $$
    SELECT x.meter, x.quantity, x.unit_price, x.per, x.currency, x.rate, x.inverse, x.amount,
           trim_scale(round(x.quantity * x.unit_price * CASE WHEN x.inverse THEN 1 ELSE coalesce(x.rate, 1) END
                            / (x.per * CASE WHEN x.inverse THEN x.rate ELSE 1 END), 12))
      FROM jsonb_to_recordset(lines) x (meter text, quantity numeric, unit_price numeric, per numeric, currency text, rate numeric, inverse boolean, amount numeric)
$$;
SELECT count(wallet.set_price(m, meter, price, 1000000, effective_from => '2025-01-01'))
  FROM (VALUES ('cu-gpt', 'input_tokens', 2.5), ('cu-gpt', 'output_tokens', 10), ('cu-gpt', 'cache_read_tokens', 0.6667), ('cu-free', 'input_tokens', 0)) p (m, meter, price);
SELECT count(b.wallet) FROM (VALUES ('cu_usd', 'USD'), ('cu_chf', 'CHF'), ('cu_yen', 'JPY'), ('cu_coins', 'cu_coins')) w (name, currency),
       LATERAL wallet.create_wallet(w.name, w.currency) b;
SELECT sum((wallet.fund(name, 1000)).amount) FROM unnest('{cu_usd,cu_chf,cu_yen,cu_coins}'::text[]) name;

-- Valid and invalid currencies.
CALL regress.fails($$ SELECT wallet.create_wallet('cu_bad', 'usd') $$);
CALL regress.fails($$ SELECT wallet.create_wallet('cu_bad', 'Eur') $$);
CALL regress.fails($$ SELECT wallet.create_wallet('cu_bad', 'EURO') $$);
CALL regress.fails($$ SELECT wallet.create_wallet('cu_bad', 'a_unit_of_more_than_16') $$);
CALL regress.fails($$ SELECT wallet.fund('cu_usd', 1, currency => 'eur', rate => 1) $$);
CALL regress.fails($$ SELECT wallet.set_fx_rate('USD', 'Chf', 1) $$);
CALL regress.fails($$ SELECT wallet.set_price('cu-x', 'pages', 1, currency => 'US') $$);
CALL regress.fails($$ SELECT wallet.set_price('cu-x', 'pages', 1, currency => NULL) $$);
CALL regress.fails($$ SELECT wallet.set_markup('cu-list', 1, currency => 'dollars!') $$);
CALL regress.fails($$ SELECT wallet.import_prices('litellm', '{}', currency => 'eur') $$);
CALL regress.fails($$ SELECT wallet.price_usage('{"model":"cu-gpt","input_tokens":1}', currency => 'chf') $$);
CALL regress.fails($$ SELECT wallet.create_voucher('cu-code-12345678', 1, 'Gbp') $$);

-- Without a rate there is no charge, in either currency, and never a free one.
CALL regress.fails($$ SELECT wallet.charge('cu_chf', '{"model":"cu-gpt","input_tokens":1000}', event_at => '2026-03-01 12:00Z') $$);
CALL regress.fails($$ SELECT wallet.hold('cu_chf', usage => '{"model":"cu-gpt","input_tokens":1000}', event_at => '2026-03-01 12:00Z') $$);
CALL regress.fails($$ SELECT wallet.price_usage('{"model":"cu-gpt","input_tokens":1000}', 'cu_chf', at => '2026-03-01 12:00Z') $$);
CALL regress.fails($$ SELECT wallet.check_limits('cu_chf', usage => '{"model":"cu-gpt","input_tokens":1000}') $$);
CALL regress.fails($$ SELECT wallet.compare_models('{"input_tokens":1000}', '{cu-gpt}', 'cu_chf', '2026-03-01 12:00Z') $$);
CALL regress.fails($$ SELECT wallet.convert_amount(1, 'USD', 'CHF', '2026-03-01 12:00Z') $$);
-- Nor is it booked as unpriced: the meter has a price.
SELECT wallet FROM wallet.update_wallet('cu_chf', unknown_price => 'unpriced');
CALL regress.fails($$ SELECT wallet.charge('cu_chf', '{"model":"cu-gpt","input_tokens":1000}', event_at => '2026-03-01 12:00Z') $$);
SELECT wallet FROM wallet.update_wallet('cu_chf', unknown_price => 'reject');
-- A missing price is reported first, even if another meter would need a rate. So is usage that
-- cannot be read.
CALL regress.fails($$ SELECT wallet.charge('cu_chf', '{"model":"cu-gpt","input_tokens":1000,"images":1}', event_at => '2026-03-01 12:00Z') $$);
CALL regress.fails($$ SELECT wallet.charge('cu_chf', '{"model":"cu-none","input_tokens":1000}') $$);
CALL regress.fails($$ SELECT wallet.charge('cu_chf', '{"model":"cu-gpt","input_tokens":-1}') $$);
-- A price of zero is zero in every currency. Zero usage costs nothing.
SELECT cost, currency, (lines->0) - 'price_id' AS line FROM wallet.charge('cu_chf', '{"model":"cu-free","input_tokens":1000}');
SELECT cost, currency FROM wallet.price_usage('{"model":"cu-gpt","input_tokens":0}', 'cu_chf');

-- The rate at the time of usage applies, whatever rate has begun since.
SELECT wallet.set_fx_rate('USD', 'CHF', 0.88, '2026-02-01') IS NOT NULL AS set;
SELECT wallet.set_fx_rate('USD', 'CHF', 0.8125123, '2026-03-01') IS NOT NULL AS set;
SELECT wallet.set_fx_rate('USD', 'CHF', 0.79, '2026-04-01') IS NOT NULL AS set;
SELECT wallet.set_fx_rate('CHF', 'JPY', 187.31, '2026-02-01') IS NOT NULL AS set;
SELECT at, p.cost, p.currency FROM unnest('{2026-02-01,2026-02-28 23:59:59.999999,2026-03-01,2026-03-31,2026-04-01}'::timestamptz[]) at,
       LATERAL wallet.price_usage('{"model":"cu-gpt","input_tokens":1000,"output_tokens":450}', 'cu_chf', at => at) p;
SELECT l.*, l.amount = l.by_hand AS right FROM wallet.charge('cu_chf', '{"model":"cu-gpt","input_tokens":1000,"cache_read_tokens":77,"output_tokens":450}', event_at => '2026-03-15', idempotency_key => 'march') c,
       regress.converted(c.lines) l;
-- The ledger shows the same lines, the replay returns them, and they add up.
SELECT e.amount, r.cost, r.replayed, r.lines = e.lines AS same_lines, -e.amount = (SELECT sum((l->>'amount')::numeric) FROM jsonb_array_elements(e.lines) l) AS adds_up,
       (SELECT count(*) FROM jsonb_array_elements(e.lines) l JOIN wallet.fx_rates f ON f.rate_id = (l->>'rate_id')::uuid WHERE f.rate = 0.8125123) AS lines_by_that_rate
  FROM wallet.charge('cu_chf', '{"model":"cu-gpt","input_tokens":1000,"cache_read_tokens":77,"output_tokens":450}', event_at => '2026-03-15', idempotency_key => 'march') r
  JOIN wallet.entries e ON e.entry_id = r.entry_id;
-- Rounded once, half to even, after the conversion: half a unit of the last decimal rounds down at
-- an even digit, up at an odd one.
SELECT wallet.set_price('cu-small', 'pages', 0.000000000001, effective_from => '2025-01-01') IS NOT NULL AS set;
SELECT wallet.set_fx_rate('USD', 'cu_halves', 0.5, '2025-01-01') IS NOT NULL AS set;
SELECT pages, cost FROM generate_series(1, 5) pages, LATERAL wallet.price_usage(jsonb_build_object('model', 'cu-small', 'pages', pages), currency => 'cu_halves') ORDER BY 1;

-- The inverse of the opposite pair, divided exactly. There is no chain through a third currency:
-- USD to JPY has no rate.
CALL regress.fails($$ SELECT wallet.charge('cu_yen', '{"model":"cu-gpt","input_tokens":1000}') $$);
SELECT wallet.set_fx_rate('JPY', 'USD', 0.0067, '2026-01-01') IS NOT NULL AS set;
SELECT l.*, l.amount = l.by_hand AS right FROM wallet.charge('cu_yen', '{"model":"cu-gpt","input_tokens":1001,"output_tokens":450}') c, regress.converted(c.lines) l;
SELECT amount, rate, inverse FROM wallet.convert_amount(100, 'USD', 'JPY');
SELECT amount, rate, inverse FROM wallet.convert_amount(-100, 'JPY', 'USD');
SELECT amount, rate, inverse, rate_id FROM wallet.convert_amount(100, 'JPY', 'JPY');
-- The direct pair takes precedence, however old it is.
SELECT wallet.set_fx_rate('USD', 'JPY', 150, '2025-06-01') IS NOT NULL AS set;
SELECT at, p.cost FROM unnest('{2025-07-01,2026-06-01}'::timestamptz[]) at, LATERAL wallet.price_usage('{"model":"cu-gpt","input_tokens":1000}', 'cu_yen', at => at) p;

-- A custom unit: 100 coins per dollar.
SELECT wallet.set_fx_rate('USD', 'cu_coins', 100, '2026-01-01') IS NOT NULL AS set;
SELECT cost, currency, balance FROM wallet.charge('cu_coins', '{"model":"cu-gpt","input_tokens":1000}');
-- A price in coins needs no rate in a wallet in coins, and a rate in a wallet in dollars.
SELECT wallet.set_price('cu-own', 'pages', 3, currency => 'cu_coins', effective_from => '2026-01-01') IS NOT NULL AS set;
SELECT cost, currency FROM wallet.price_usage('{"model":"cu-own","pages":2}', 'cu_coins');
SELECT cost, currency FROM wallet.price_usage('{"model":"cu-own","pages":2}', 'cu_usd');
-- Without a wallet, the result is in the currency of the prices. If the prices have several, the
-- currency must be given.
SELECT cost, currency FROM wallet.price_usage('{"model":"cu-own","pages":2}');
SELECT cost, currency FROM wallet.price_usage('{"model":"cu-own","pages":0}');
SELECT cost, currency FROM wallet.price_usage('{"model":"cu-gpt","input_tokens":1000}', currency => 'CHF', at => '2026-03-15');
SELECT cost, currency FROM wallet.price_usage('{"model":"cu-gpt","input_tokens":1000}', 'cu_yen', currency => 'CHF', at => '2026-03-15');
SELECT wallet.set_price('cu-own', 'input_tokens', 1, 1000000, effective_from => '2026-01-01') IS NOT NULL AS set;
CALL regress.fails($$ SELECT wallet.price_usage('{"model":"cu-own","pages":2,"input_tokens":1000}') $$);
SELECT cost, currency FROM wallet.price_usage('{"model":"cu-own","pages":2,"input_tokens":1000}', currency => 'cu_coins');
CALL regress.fails($$ SELECT wallet.compare_models('{"pages":2}', '{cu-own,cu-small}') $$);
SELECT model, cost, ratio, currency FROM wallet.compare_models('{"pages":2}', '{cu-own,cu-small}', 'cu_coins');
SELECT model, cost, ratio, currency FROM wallet.compare_models('{"pages":2}', '{cu-own,cu-small}', currency => 'USD');
-- A later price in another currency replaces the earlier one.
SELECT wallet.set_price('cu-own', 'pages', 0.04, effective_from => '2026-05-01') IS NOT NULL AS set;
SELECT at, cost, currency FROM unnest('{2026-04-30,2026-05-01}'::timestamptz[]) at, LATERAL wallet.price_usage('{"model":"cu-own","pages":2}', at => at);
-- The same price set twice is one row. In another currency it is another price.
SELECT wallet.set_price('cu-same', 'pages', 1, effective_from => '2026-01-01') = wallet.set_price('cu-same', 'pages', 1, effective_from => '2026-01-01') AS same,
       wallet.set_price('cu-same', 'pages', 1, effective_from => '2026-01-01', currency => 'CHF') = wallet.set_price('cu-same', 'pages', 1, effective_from => '2026-01-01') AS other;

-- A tenant's list: own prices in francs, a discount on the others, a fee in euros.
SELECT wallet.set_fx_rate('CHF', 'EUR', 1.05, '2026-01-01') IS NOT NULL AS set;
SELECT wallet.set_price('cu-gpt', 'output_tokens', 8, 1000000, price_list => 'cu-list', currency => 'CHF', effective_from => '2026-01-01') IS NOT NULL AS set;
SELECT wallet.set_markup('cu-list', -8, 0.0005, currency => 'EUR', effective_from => '2026-01-01') IS NOT NULL AS set;
SELECT wallet FROM wallet.use_price_list('cu_chf', 'cu-list');
SELECT l.*, l.amount = l.by_hand AS right FROM wallet.charge('cu_chf', '{"model":"cu-gpt","input_tokens":1000,"output_tokens":450}', event_at => '2026-03-15') c, regress.converted(c.lines) l;
CALL regress.fails($$ SELECT wallet.set_markup('cu-list', -100) $$);
SELECT wallet.set_markup('cu-all-but', -99.99, effective_from => '2026-01-01') IS NOT NULL AS set;
SELECT cost, lines->1->'amount' AS discount FROM wallet.use_price_list('cu_usd', 'cu-all-but') w, LATERAL wallet.price_usage('{"model":"cu-gpt","input_tokens":1000}', w.wallet) p;
SELECT cost FROM wallet.use_price_list('cu_usd', 'cu-all-but') w, LATERAL wallet.price_usage('{"model":"cu-small","pages":1}', w.wallet) p;
SELECT wallet FROM wallet.use_price_list('cu_usd', 'default');
-- A fee per request and a minimum quantity are converted like other prices.
SELECT count(wallet.set_price('cu-fees', meter, price, conditions => c, effective_from => '2026-01-01'))
  FROM (VALUES ('requests', 0.01, '{}'::jsonb), ('audio_seconds', 0.001, '{"minimum": 60}')) p (meter, price, c);
SELECT l.*, l.amount = l.by_hand AS right FROM wallet.price_usage('{"model":"cu-fees","audio_seconds":3}', currency => 'CHF', at => '2026-03-15') c, regress.converted(c.lines) l;

-- Holds, settlements and batches use the rate at the time of usage. Headers name the currency.
SELECT wallet FROM wallet.use_price_list('cu_chf', 'default');
SELECT amount, status, affordable_tokens FROM wallet.hold('cu_chf', usage => '{"model":"cu-gpt","input_tokens":1000,"output_tokens":450}', event_at => '2026-03-15', idempotency_key => 'h');
SELECT s.cost, s.currency FROM wallet.holds h, LATERAL wallet.settle('cu_chf', h.hold_id, usage => '{"model":"cu-gpt","input_tokens":1000,"output_tokens":45}') s WHERE h.wallet = 'cu_chf' AND h.status = 'open';
SELECT cost, sqlstate FROM wallet.charge_batch('[{"wallet":"cu_chf","usage":{"model":"cu-gpt","input_tokens":1000},"event_at":"2026-02-15Z"},{"wallet":"cu_chf","usage":{"model":"cu-gpt","input_tokens":1000},"event_at":"2026-03-15Z"},{"wallet":"cu_yen","usage":{"model":"cu-gpt","input_tokens":1000},"event_at":"2025-02-15Z"}]', on_error => 'skip');
SELECT h.* FROM wallet.entries e, LATERAL wallet.usage_headers('cu_chf', e.entry_id) h WHERE e.wallet = 'cu_chf' AND e.event_at = '2026-02-15Z';
SELECT scope, remaining, allowed FROM wallet.check_limits('cu_chf', usage => '{"model":"cu-gpt","input_tokens":1000}');

-- A provider's cost in dollars: the reason of the entry says how it was converted.
SELECT cost, currency FROM wallet.charge('cu_chf', '{"model":"cu-gpt","usage":{"prompt_tokens":5,"completion_tokens":1,"cost":0.0123}}', cost_from => 'provider', event_at => '2026-03-15');
SELECT cost, currency FROM wallet.charge('cu_yen', '{"model":"cu-gpt","usage":{"prompt_tokens":5,"completion_tokens":1,"cost":0}}', cost_from => 'provider', event_at => '2024-03-15');
SELECT wallet, amount, regress.mask(reason) AS reason FROM wallet.entries WHERE wallet IN ('cu_chf', 'cu_yen') AND reason LIKE 'cost reported%' ORDER BY wallet;

-- Unpriced charges are priced at the rate of their time, and so are repriced ones.
SELECT wallet FROM wallet.update_wallet('cu_chf', unknown_price => 'unpriced');
SELECT cost FROM wallet.charge('cu_chf', '{"model":"cu-late","pages":7}', event_at => '2026-03-15');
SELECT wallet.set_price('cu-late', 'pages', 1, effective_from => '2026-04-15') IS NOT NULL AS set;
SELECT model, cost FROM wallet.price_unpriced('cu_chf');
SELECT model, cost, new_cost, new_cost - cost AS difference FROM wallet.reprice('cu_chf', '2026-03-01', '2026-03-16');
SELECT model, cost, new_cost FROM wallet.reprice('cu_chf', '2026-02-01', '2026-02-28', 'cu-list');
SELECT kind, actual, alternative FROM wallet.savings('cu_chf', '2026-03-01', '2026-03-16', '{cu-free}') WHERE kind <> 'tier';

-- A cost with more than twelve decimals is rounded once, after the conversion. If the prices of a
-- model have no rate, the charge has no lines, and the reported cost applies.
SELECT cost FROM wallet.charge('cu_coins', '{"model":"cu-none","images":1,"cost":0.00000000000149}', cost_from => 'provider');
SELECT wallet.set_price('cu-far', 'images', 1, currency => 'cu_far', effective_from => '2026-01-01') IS NOT NULL AS set;
SELECT cost, currency, lines FROM wallet.charge('cu_coins', '{"model":"cu-far","images":1,"cost":0.5}', cost_from => 'provider');
-- A free meter is free next to prices in another currency, too.
SELECT wallet.set_price('cu-far', 'input_tokens', 0, effective_from => '2026-01-01') IS NOT NULL AS set;
SELECT cost, currency FROM wallet.price_usage('{"model":"cu-far","images":1,"input_tokens":5}');

-- Payments: a given rate, a direct rate, and an inverse, by which the amount is divided and rounded
-- once.
SELECT amount, currency FROM wallet.fund('cu_chf', 100, currency => 'USD', rate => 0.9);
SELECT amount, currency FROM wallet.fund('cu_chf', 100, currency => 'USD');
SELECT amount, currency FROM wallet.fund('cu_chf', 1000, currency => 'EUR');
SELECT original_amount, original_currency, rate, inverse FROM wallet.fundings WHERE wallet = 'cu_chf' AND original_currency = 'EUR';
SELECT original FROM wallet.entries WHERE wallet = 'cu_chf' AND original IS NOT NULL ORDER BY seq;
-- Divided by the rate, not multiplied by a rounded third: the whole, its parts, and a rate whose
-- inverse is not finite.
SELECT wallet.set_fx_rate('cu_coins', 'cu_thirds', 3, '2026-01-01') IS NOT NULL AS set;
SELECT f.entry_id AS paid, f.amount, c.amount = f.amount AS as_converted FROM wallet.fund('cu_coins', 3000000, currency => 'cu_thirds', reference => 'thirds') f, wallet.convert_amount(3000000, 'cu_thirds', 'cu_coins') c \gset thirds_
SELECT :thirds_amount AS amount, :'thirds_as_converted' AS as_converted;
SELECT amount FROM wallet.reverse_funding('cu_coins', :'thirds_paid', amount => 1000000);
SELECT amount FROM wallet.reverse_funding('cu_coins', :'thirds_paid', amount => 1000000);
SELECT amount FROM wallet.reverse_funding('cu_coins', :'thirds_paid', amount => 1000000);
SELECT reversed, reversed_original, amount FROM wallet.fundings WHERE wallet = 'cu_coins' AND entry_id = :'thirds_paid';
SELECT sum((original->>'amount')::numeric) AS paid, sum(amount) AS credited FROM wallet.entries WHERE wallet = 'cu_coins' AND kind = 'chargeback';
SELECT wallet.set_fx_rate('cu_coins', 'cu_dust', 600000000000000, '2026-01-01') IS NOT NULL AS set;
SELECT amount FROM wallet.fund('cu_coins', 6000000000000000, currency => 'cu_dust');
CALL regress.fails($$ SELECT wallet.fund('cu_coins', 0.000000000001, currency => 'cu_dust') $$);
SELECT * FROM regress.broken('cu_coins');
-- A rate of 16 digits of which 15 are zeros has one that counts. A NULL rate ends the pair, and the
-- inverse replaces it.
SELECT wallet.set_fx_rate('cu_a', 'cu_b', 7000000000000000, '2026-01-01') IS NOT NULL AS set, wallet.set_fx_rate('cu_b', 'cu_a', 4, '2026-01-01') IS NOT NULL AS back;
SELECT wallet.set_fx_rate('cu_a', 'cu_b', NULL, '2026-02-01') = wallet.set_fx_rate('cu_a', 'cu_b', NULL, '2026-02-01') AS once;
SELECT wallet.set_fx_rate('cu_a', 'cu_b', 5, '2026-03-01') IS NOT NULL AS set;
SELECT at, amount, rate, inverse FROM unnest('{2026-01-31,2026-02-01,2026-02-28,2026-03-01}'::timestamptz[]) at, LATERAL wallet.convert_amount(1, 'cu_a', 'cu_b', at);
SELECT wallet.set_fx_rate('cu_b', 'cu_a', NULL, '2026-02-15') IS NOT NULL AS set;
SELECT amount FROM wallet.convert_amount(1, 'cu_a', 'cu_b', '2026-02-14');
CALL regress.fails($$ SELECT wallet.convert_amount(1, 'cu_a', 'cu_b', '2026-02-15') $$);
CALL regress.fails($$ SELECT wallet.fund('cu_coins', 1, currency => 'JPY') $$);

-- All rates of a day at once: an object of rates, or a document that contains one.
SELECT to_currency, rate, added FROM wallet.set_fx_rates('cu_base', '{"SEK": 11.23, "NOK": "11.8", "cu_base": 1}', '2026-05-01', 'ECB');
SELECT to_currency, rate, added FROM wallet.set_fx_rates('cu_base', '{"base": "cu_base", "date": "2026-05-01", "rates": {"SEK": 11.23, "NOK": 11.9}}', '2026-05-01', 'ECB', idempotency_key => 'rates');
SELECT to_currency, rate, added FROM wallet.set_fx_rates('cu_base', '{"base": "cu_base", "date": "2026-05-01", "rates": {"SEK": 11.23, "NOK": 11.9}}', '2026-05-01', 'ECB', idempotency_key => 'rates');
SELECT to_currency, rate, effective_from, source FROM wallet.fx_rates WHERE from_currency = 'cu_base' ORDER BY to_currency, rate_id;
SELECT action, subject, after FROM wallet.audit WHERE action = 'set_fx_rates' AND subject LIKE 'cu%' ORDER BY at;
CALL regress.fails($$ SELECT wallet.set_fx_rates('EUR', '{"base": "USD", "rates": {"SEK": 11.23}}') $$);
CALL regress.fails($$ SELECT wallet.set_fx_rates('EUR', '{"SEK": "many"}') $$);
CALL regress.fails($$ SELECT wallet.set_fx_rates('EUR', '{"SEK": null}') $$);
CALL regress.fails($$ SELECT wallet.set_fx_rates('EUR', '{"SEK": "1_1"}') $$);
CALL regress.fails($$ SELECT wallet.set_fx_rates('EUR', '{"base": 17, "rates": {"SEK": 11.23}}') $$);
CALL regress.fails($$ SELECT wallet.set_fx_rates('EUR', '{"SEK": 0}') $$);
CALL regress.fails($$ SELECT wallet.set_fx_rates('EUR', '{"SEK": 1.2345678901234567}') $$);
CALL regress.fails($$ SELECT wallet.set_fx_rates('EUR', '{"sek": 11.23}') $$);
CALL regress.fails($$ SELECT wallet.set_fx_rates('EUR', '{"EUR": 2}') $$);
CALL regress.fails($$ SELECT wallet.set_fx_rates('EUR', '{}') $$);
CALL regress.fails($$ SELECT wallet.set_fx_rates('EUR', '[1]') $$);
CALL regress.fails($$ SELECT wallet.set_fx_rates('EUR', NULL) $$);
CALL regress.fails($$ SELECT wallet.set_fx_rates('EUR', '{"SEK": 1}', NULL) $$);
-- A new rate is used by the next call, also in the same transaction. A rate that was rolled back is
-- not.
BEGIN;
SELECT wallet.set_fx_rate('USD', 'CHF', 2, '2026-03-10') IS NOT NULL AS set;
SELECT cost FROM wallet.price_usage('{"model":"cu-gpt","input_tokens":1000}', 'cu_chf', at => '2026-03-15');
ROLLBACK;
SELECT cost FROM wallet.price_usage('{"model":"cu-gpt","input_tokens":1000}', 'cu_chf', at => '2026-03-15');
-- verify() recomputes the lines with the rates that they name.
SELECT * FROM wallet.verify('cu_chf') WHERE "check" = 'prices';
UPDATE wallet.fx_rates SET rate = 0.8125124 WHERE rate = 0.8125123;
\c -
SET timezone = 'UTC';
SELECT "check", ok, regress.mask(detail) AS detail FROM wallet.verify('cu_chf') WHERE NOT ok;
UPDATE wallet.fx_rates SET rate = 0.8125123 WHERE rate = 0.8125124;
-- It also finds a rate of other currencies, a rate that had not begun, and a price of another
-- currency.
UPDATE wallet.fx_rates SET from_currency = 'SEK' WHERE rate = 0.8125123;
SELECT "check", regress.mask(detail) AS detail FROM wallet.verify('cu_chf') WHERE NOT ok;
UPDATE wallet.fx_rates SET from_currency = 'USD', effective_from = '2099-01-01' WHERE rate = 0.8125123;
SELECT "check", regress.mask(detail) AS detail FROM wallet.verify('cu_chf') WHERE NOT ok;
UPDATE wallet.fx_rates SET effective_from = '2026-03-01' WHERE rate = 0.8125123;
UPDATE wallet.prices SET currency = 'SEK' WHERE model = 'cu-gpt' AND currency = 'CHF';
SELECT "check", regress.mask(detail) AS detail FROM wallet.verify('cu_chf') WHERE NOT ok;
UPDATE wallet.prices SET currency = 'CHF' WHERE model = 'cu-gpt' AND currency = 'SEK';
\c -
SELECT * FROM regress.broken('cu_chf');
SELECT * FROM regress.broken('cu_yen');
