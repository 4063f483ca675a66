-- What charges would have cost with other prices. Nothing is booked.
SET datestyle = ISO;
SET timezone = 'UTC';
SELECT wallet FROM wallet.create_wallet('rp');
SELECT balance FROM wallet.fund('rp', 1000);
SELECT count(wallet.set_price('rp-a', meter, price, 1000, effective_from => since))
  FROM (VALUES ('input_tokens', 1, '2025-01-01Z'::timestamptz), ('output_tokens', 4, '2025-01-01Z'), ('input_tokens', 2, '2025-06-01Z')) AS p (meter, price, since);
SELECT wallet.set_price('rp-a', 'input_tokens', 0.5, 1000, region => 'eu', effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT wallet.set_price('rp-b', 'images', 0.04, conditions => '{"size":"large"}', effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT cost FROM wallet.charge('rp', '{"model":"rp-a","input_tokens":1000,"output_tokens":100}', event_at => '2025-03-01Z');
SELECT cost FROM wallet.charge('rp', '{"model":"rp-a","input_tokens":1000,"output_tokens":100}', event_at => '2025-07-01Z');
SELECT cost FROM wallet.charge('rp', '{"input_tokens":1000}', model => 'rp-a', region => 'eu', event_at => '2025-07-02Z');
SELECT cost FROM wallet.charge('rp', '{"model":"rp-b","images":2,"size":"large"}', event_at => '2025-07-03Z');
-- Charged by amount: there is nothing to price again.
SELECT cost FROM wallet.charge('rp', amount => 3, model => 'rp-a', event_at => '2025-07-04Z');
CREATE FUNCTION regress.repriced(since timestamptz, until timestamptz, list text)
RETURNS TABLE (event_at timestamptz, model text, cost numeric, new_cost numeric, difference numeric) LANGUAGE sql AS $$
    SELECT e.event_at, r.model, r.cost, r.new_cost, r.difference
      FROM wallet.reprice('rp', "from" => since, "to" => until, price_list => list) r JOIN wallet.entries e USING (entry_id)
     WHERE e.wallet = 'rp'
$$;
-- With its own list every charge costs the same, each at its time.
SELECT * FROM regress.repriced(NULL, NULL, NULL);
-- The period is that of the time of usage. Its end is excluded.
SELECT * FROM regress.repriced('2025-07-01Z', '2025-07-02Z', NULL);
SELECT count(*) FROM wallet.reprice('rp', '-infinity', 'infinity');
-- A correction of past prices shows.
BEGIN;
SELECT wallet.set_price('rp-a', 'input_tokens', 3, 1000, effective_from => '2025-06-01Z') IS NOT NULL AS corrected;
SELECT * FROM regress.repriced('2025-06-01Z', '2025-07-02Z', NULL);
ROLLBACK;
-- A list that was created today on top of the default list: its prices apply from the beginning.
SELECT wallet.set_price('rp-a', 'input_tokens', 1.5, 1000, price_list => 'rp-try') IS NOT NULL AS set;
SELECT * FROM regress.repriced('2025-01-01Z', '2026-01-01Z', 'rp-try');
SELECT wallet.set_markup('rp-try', 10, 0.01) IS NOT NULL AS set;
SELECT * FROM regress.repriced('2025-01-01Z', '2026-01-01Z', 'rp-try');
-- A model that has lost its price since, or has none in this state of the price book.
BEGIN;
SELECT wallet.set_price('rp-b', 'images', NULL, conditions => '{"size":"large"}', effective_from => '2025-02-01Z') IS NOT NULL AS ended;
SELECT * FROM regress.repriced('2025-07-03Z', '2025-07-04Z', 'default');
ROLLBACK;
-- A charge that was priced late costs what it was priced with.
SELECT wallet FROM wallet.update_wallet('rp', unknown_price => 'unpriced');
SELECT cost FROM wallet.charge('rp', '{"model":"rp-c","pages":3}', event_at => '2025-08-01Z');
SELECT * FROM regress.repriced('2025-08-01Z', NULL, 'rp-try');
SELECT wallet.set_price('rp-c', 'pages', 0.1, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT * FROM regress.repriced('2025-08-01Z', NULL, NULL);
SELECT cost FROM wallet.price_unpriced('rp');
SELECT * FROM regress.repriced('2025-08-01Z', NULL, NULL);
-- More charges than one page.
SELECT wallet FROM wallet.create_wallet('rp-many');
SELECT balance FROM wallet.fund('rp-many', 10000);
SELECT count(wallet.charge('rp-many', jsonb_build_object('model', 'rp-a', 'input_tokens', n))) FROM generate_series(1, 2500) n;
SELECT count(*), sum(cost), sum(new_cost), sum(difference) FROM wallet.reprice('rp-many', price_list => 'rp-try');
-- Nothing was booked.
SELECT count(*) FROM wallet.entries WHERE wallet = 'rp';
SELECT * FROM regress.broken('rp');
CALL regress.fails($$ SELECT * FROM wallet.reprice(NULL) $$);
CALL regress.fails($$ SELECT * FROM wallet.reprice('rp-none') $$);
CALL regress.fails($$ SELECT * FROM wallet.reprice('rp', '2026-02-01', '2026-01-01') $$);
DROP FUNCTION regress.repriced;
