-- What charges would have cost otherwise, if the cost is not the price of the usage: capped,
-- reported by the provider, priced as another model, priced late, held before a change of prices.
-- If no price changed, reprice() finds no difference.
SET datestyle = ISO;
SET timezone = 'UTC';
SELECT wallet FROM wallet.create_wallet('sav');
SELECT balance FROM wallet.fund('sav', 1000);
SELECT count(wallet.set_price('sav-a', meter, price, 1000, effective_from => '2025-01-01Z'))
  FROM (VALUES ('input_tokens', 4), ('cache_read_tokens', 1), ('output_tokens', 8)) AS p (meter, price);
SELECT wallet.set_price('sav-plain', 'input_tokens', 4, 1000, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT wallet.set_price('sav-batch', meter, price, 1000, service_tier => tier, effective_from => '2025-01-01Z') IS NOT NULL AS set
  FROM (VALUES ('input_tokens', 4, NULL), ('output_tokens', 8, NULL), ('input_tokens', 2, 'batch')) AS p (meter, price, tier);
CREATE FUNCTION regress.sav(list text DEFAULT NULL) RETURNS TABLE (model text, cost numeric, new_cost numeric, difference numeric) LANGUAGE sql AS $$
    SELECT r.model, r.cost, r.new_cost, r.difference FROM wallet.reprice('sav', price_list => list) r
$$;
-- A settlement that cost 12 and was capped at the held 5. Without its cache it would have cost 24,
-- and 5 would have been paid.
SELECT hold_id FROM wallet.hold('sav', amount => 5) \gset
SELECT cost FROM wallet.settle('sav', :'hold_id', usage => '{"model":"sav-a","input_tokens":1000,"cache_read_tokens":4000,"output_tokens":500}', over => 'cap');
SELECT * FROM regress.sav();
SELECT * FROM wallet.savings('sav', models => '{sav-a}');
-- Twice the price is capped at the hold. A quarter of it is below.
SELECT count(wallet.set_price('sav-a', meter, price, 1000, price_list => 'sav-dear'))
  FROM (VALUES ('input_tokens', 8), ('cache_read_tokens', 2), ('output_tokens', 16)) AS p (meter, price);
SELECT count(wallet.set_price('sav-a', meter, price, 1000, price_list => 'sav-cheap'))
  FROM (VALUES ('input_tokens', 1), ('cache_read_tokens', 0.25), ('output_tokens', 2)) AS p (meter, price);
SELECT * FROM regress.sav('sav-dear');
SELECT * FROM regress.sav('sav-cheap');
-- A tier without prices saves nothing and is not listed. If it has some, meters without a price in
-- it are not counted.
SELECT cost FROM wallet.charge('sav', '{"model":"sav-plain","input_tokens":1000}');
SELECT * FROM wallet.savings('sav');
SELECT cost FROM wallet.charge('sav', '{"model":"sav-batch","input_tokens":1000,"output_tokens":1000}');
SELECT cost FROM wallet.charge('sav', '{"model":"sav-batch","input_tokens":1000}', service_tier => 'default');
SELECT cost FROM wallet.charge('sav', '{"model":"sav-batch","input_tokens":1000}', service_tier => 'batch');
SELECT * FROM wallet.savings('sav');
-- A model is compared for the charges that it has a price for.
SELECT * FROM wallet.savings('sav', models => '{sav-plain,sav-none}') WHERE kind = 'model';
-- If the whole input was cached, the price of plain input is still known.
SELECT cost FROM wallet.charge('sav', '{"model":"sav-a","cache_read_tokens":2000}');
SELECT * FROM wallet.savings('sav') WHERE kind = 'cache';
-- A hold from before a price change is settled at the price of its time.
SELECT hold_id FROM wallet.hold('sav', usage => '{"model":"sav-plain","input_tokens":5000}') \gset
SELECT wallet.set_price('sav-plain', 'input_tokens', 40, 1000) IS NOT NULL AS dearer;
SELECT cost FROM wallet.settle('sav', :'hold_id', usage => '{"model":"sav-plain","input_tokens":1000}');
SELECT cost FROM wallet.charge('sav', '{"model":"sav-plain","input_tokens":1000}');
-- A cost that the provider reported depends on no price. A charge priced as another model depends
-- on the prices of that model.
SELECT cost FROM wallet.charge('sav', '{"model":"sav-a","input_tokens":1000,"cost":0.5}', cost_from => 'provider');
SELECT wallet FROM wallet.update_wallet('sav', unknown_price => 'price_of:sav-plain');
SELECT cost FROM wallet.charge('sav', '{"model":"sav-new","input_tokens":1000}');
-- Priced late, and not priced yet.
SELECT wallet FROM wallet.update_wallet('sav', unknown_price => 'unpriced');
SELECT cost FROM wallet.charge('sav', '{"model":"sav-late","input_tokens":1000}');
SELECT wallet.set_price('sav-late', 'input_tokens', 3, 1000, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT cost FROM wallet.price_unpriced('sav');
SELECT cost FROM wallet.charge('sav', '{"model":"sav-never","input_tokens":1000}');
SELECT * FROM regress.sav();
SELECT count(*) AS changed FROM regress.sav() WHERE difference <> 0;
SELECT * FROM wallet.savings('sav', models => '{sav-late}');
-- With a price for all usage, the sums are those of the compared charges.
SELECT s.description, s.actual, (SELECT sum(r.cost) FROM regress.sav() r WHERE r.model <> 'sav-never') AS paid
  FROM wallet.savings('sav', models => '{sav-batch}') s WHERE s.kind = 'model';
SELECT * FROM wallet.savings('sav', models => NULL) WHERE kind = 'model';
CALL regress.fails($$ SELECT * FROM wallet.savings('sav', models => '{sav-a,NULL}') $$);
CALL regress.fails($$ SELECT * FROM wallet.savings('sav', '2026-02-01', '2026-01-01') $$);
CALL regress.fails($$ SELECT * FROM wallet.savings('sav_none') $$);
