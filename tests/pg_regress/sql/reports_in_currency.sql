-- Reports in another currency. The comments compute the figures by hand.
SET datestyle = ISO;
SET timezone = 'UTC';
SELECT wallet FROM wallet.create_wallet('re_acme', 'EUR', time_zone => 'Europe/Zurich');
SELECT balance FROM wallet.fund('re_acme', 100);
SELECT balance FROM wallet.charge('re_acme', amount => 10, model => 're-a', team => 're-red', event_at => '2026-03-10 12:00Z');
SELECT balance FROM wallet.charge('re_acme', amount => 3.333333333333, model => 're-b', team => 're-blue', event_at => '2026-03-20 12:00Z');
SELECT balance FROM wallet.charge('re_acme', amount => 1, model => 're-b', event_at => '2026-03-20 13:00Z');
SELECT amount FROM wallet.refund('re_acme', (SELECT entry_id FROM wallet.entries WHERE wallet = 're_acme' AND model = 're-a' AND kind = 'charge'), 2.5);
SELECT balance FROM wallet.charge('re_acme', amount => 5, model => 're-a', event_at => '2026-04-02 12:00Z');
-- Only a test can book in the past.
SET session_replication_role = replica;
UPDATE wallet.wallets SET created_at = '2026-02-20Z' WHERE wallet_id = 're_acme';
UPDATE wallet.ledger l SET created_at = t.at::timestamptz, event_at = CASE WHEN l.event_at IS NOT NULL THEN t.at::timestamptz END
  FROM (VALUES (1, '2026-03-01 09:00Z'), (2, '2026-03-10 12:00Z'), (3, '2026-03-20 12:00Z'), (4, '2026-03-20 13:00Z'), (5, '2026-03-21 12:00Z'), (6, '2026-04-02 12:00Z')) AS t(seq, at)
 WHERE l.wallet_id = 're_acme' AND l.seq = t.seq;
RESET session_replication_role;
-- A euro in dollars: 1.1, from the middle of March 1.2, and 1.25 from the first moment of April in
-- Zurich. A yen is 0.008 euros.
SELECT count(*) FROM (VALUES ('EUR', 'USD', 1.1, '2026-02-25'), ('EUR', 'USD', 1.2, '2026-03-15 11:00'), ('EUR', 'USD', 1.25, '2026-03-31 22:00'), ('JPY', 'EUR', 0.008, '2026-01-01'),
                             ('re_half', 'EUR', 2, '2026-01-01')) AS r(one, other, rate, at), LATERAL wallet.set_fx_rate(r.one, r.other, r.rate, r.at::timestamptz);

-- A statement: each line at the rate of its time. The opening balance is zero and needs no rate.
-- 100 * 1.1 = 110; 90 * 1.1 = 99; 3.333333333333 * 1.2 = 3.9999999999996, rounded 4;
-- 86.666666666667 * 1.2 = 104.0000000000004; 85.666666666667 * 1.2 = 102.8000000000004;
-- 88.166666666667 * 1.2 = 105.8000000000004; 83.166666666667 * 1.25 = 103.95833333333375.
SELECT line, at, kind, description, amount, balance, currency, rate, inverse FROM wallet.statement('re_acme', to_day => '2026-05-01', currency => 'USD');
-- The end of March has the rate of March.
SELECT line, at, kind, amount, balance, currency, rate, inverse FROM wallet.statement('re_acme', from_day => '2026-03-15', to_day => '2026-04-01', currency => 'USD');
-- By the inverse: 100 / 0.008 = 12500.
SELECT line, kind, amount, balance, currency, rate, inverse FROM wallet.statement('re_acme', to_day => '2026-05-01', currency => 'JPY');
-- In its own currency nothing changes.
SELECT count(*) AS lines, count(*) FILTER (WHERE (s.line, s.at, s.kind, s.description, s.amount::text, s.balance::text) IS DISTINCT FROM (o.line, o.at, o.kind, o.description, o.amount::text, o.balance::text)) AS differ,
       count(o.rate) AS rates, count(o.inverse) AS inverses, min(o.currency) AS currency
  FROM wallet.statement('re_acme', to_day => '2026-05-01') s JOIN wallet.statement('re_acme', to_day => '2026-05-01', currency => 'EUR') o USING (line);
-- Before the first rate there is none. An amount of zero needs none.
CALL regress.fails($$ SELECT * FROM wallet.statement('re_acme', to_day => '2026-05-01', currency => 'PLN') $$);
SELECT line, kind, balance, currency, rate FROM wallet.statement('re_acme', '2026-02-20', '2026-02-24', currency => 'USD');

-- Usage: all of it at the rate of the last moment. Until the middle of March it is 1.1, for all of
-- March 1.2, until now 1.25. 4.333333333333 * 1.2 = 5.1999999999996, rounded 5.2; * 1.25 =
-- 5.41666666666625; half of that is 2.708333333333125.
SELECT value, requests, cost, average_cost, share, refunded, currency, rate, inverse FROM wallet.usage_by('re_acme', 'model', from_day => '2026-03-01', to_day => '2026-03-15', currency => 'USD');
SELECT value, requests, cost, average_cost, share, refunded, currency, rate, inverse FROM wallet.usage_by('re_acme', 'model', from_day => '2026-03-01', to_day => '2026-04-01', currency => 'USD');
SELECT value, requests, cost, average_cost, share, refunded, currency, rate, inverse FROM wallet.usage_by('re_acme', 'model', from_day => '2026-03-01', to_day => '2027-01-01', currency => 'USD');
-- 10 / 0.008 = 1250; 4.333333333333 / 0.008 = 541.666666666625, and half of it 270.8333333333125,
-- rounded 270.833333333312.
SELECT value, requests, cost, average_cost, share, refunded, currency, rate, inverse FROM wallet.usage_by('re_acme', 'model', from_day => '2026-03-01', to_day => '2026-04-01', currency => 'JPY');
SELECT value, requests, cost, average_cost, share, refunded, currency, rate, inverse FROM wallet.usage_by('re_acme', 'model', from_day => '2026-03-01', to_day => '2026-04-01');
-- Halves of the last decimal: 3.333333333333 / 2 = 1.6666666666665 is rounded down to the even
-- digit.
SELECT value, cost, rate, inverse FROM wallet.usage_by('re_acme', 'team', from_day => '2026-03-01', to_day => '2026-04-01', currency => 're_half');
SELECT amount, wallet.exchanged(amount, 0.5, false) AS half, wallet.exchanged(amount, 2, true) AS by_two, wallet.exchanged(-amount, 0.5, false) AS negative, wallet.exchanged(amount, 1, false, 2) AS part
  FROM generate_series(0.000000000001, 0.000000000005, 0.000000000001) amount;
SELECT wallet.exchanged(NULL, 1, false) IS NULL AS nothing;
CALL regress.fails($$ SELECT wallet.exchanged('NaN', 1, false) $$);
CALL regress.fails($$ SELECT wallet.exchanged(1, 0, false) $$);
CALL regress.fails($$ SELECT wallet.exchanged(9999999999999999, 10, false) $$);
CALL regress.fails($$ SELECT * FROM wallet.usage_by('re_acme', 'model', currency => 'PLN') $$);
CALL regress.fails($$ SELECT * FROM wallet.usage_by('re_acme', 'model', currency => 'usd') $$);
-- Also without anything to convert.
CALL regress.fails($$ SELECT * FROM wallet.usage_by('re_acme', 'model', to_day => '2026-02-01', currency => 'USD') $$);
CALL regress.fails($$ SELECT * FROM wallet.usage_by('re_none', 'model', currency => 'USD') $$);

-- A chargeback: each team bears half of the shared euro, which is split evenly. 10.5 * 1.2 = 12.6;
-- 3.833333333333 * 1.2 = 4.5999999999996. The refund was red's.
SELECT wallet.set_chargeback_rule('re_acme', 'even');
SELECT * FROM wallet.chargeback('re_acme', '2026-03-01', 'USD');
SELECT * FROM wallet.chargeback('re_acme', '2026-03-01');
SELECT sum(total_cost) AS all, sum(share) AS shares FROM wallet.chargeback('re_acme', '2026-03-01', 'USD');
SELECT team, total_cost, currency, rate, inverse FROM wallet.chargeback('re_acme', '2026-04-15', 'JPY');
CALL regress.fails($$ SELECT * FROM wallet.chargeback('re_acme', '2026-03-01', 'PLN') $$);
CALL regress.fails($$ SELECT * FROM wallet.chargeback('re_acme', 'infinity', 'USD') $$);
CALL regress.fails($$ SELECT * FROM wallet.chargeback('re_acme', NULL, 'USD') $$);

-- A page. Of a limit of 50 EUR and one of 300 requests, only the first is money.
SELECT wallet.set_limit('re_acme', 50, 'lifetime') IS NOT NULL AS set;
SELECT wallet.set_limit('re_acme', 300, 'lifetime', metric => 'requests') IS NOT NULL AS set;
SELECT hold_id IS NOT NULL AS held FROM wallet.hold('re_acme', amount => 4);
SELECT balance FROM wallet.charge('re_acme', amount => 0.166666666667, model => 're-a', user_id => 're-ann');
SELECT wallet FROM wallet.update_wallet('re_acme', low_balance => '{100,20}', credit_limit => 8);
-- 83 * 1.25 = 103.75, 4 * 1.25 = 5, 0.166666666667 * 1.25 = 0.20833333333375.
SELECT regress.mask(r) AS report FROM wallet.report('re_acme', 1, currency => 'USD') WITH ORDINALITY x(r, n) WHERE n > 1 AND r !~ '^(forecast|  \d{4}-\d\d-\d\d)';
SELECT regexp_replace(r, '\d{4}-\d\d-\d\d', '<day>') AS spent FROM wallet.report('re_acme', 1, currency => 'USD') r WHERE r ~ '^  \d{4}-\d\d-\d\d';
SELECT r FROM wallet.report('re_acme', 1, currency => 'JPY') r WHERE r ~ '^(balance|rate|available)';
SELECT count(*) FILTER (WHERE a.r IS DISTINCT FROM b.r) AS differ FROM wallet.report('re_acme', 1) WITH ORDINALITY a(r, n) FULL JOIN wallet.report('re_acme', 1, 'EUR') WITH ORDINALITY b(r, n) USING (n) WHERE n > 1;
CALL regress.fails($$ SELECT * FROM wallet.report('re_acme', currency => 'PLN') $$);

-- Balances of all wallets that the role may read, at a given time.
SELECT wallet FROM wallet.create_wallet('re_yen', 'JPY');
SELECT balance FROM wallet.fund('re_yen', 12345);
SELECT wallet FROM wallet.create_wallet('re_dollar');
SELECT wallet FROM wallet.create_wallet('re_hidden', 'CHF');
SELECT balance FROM wallet.fund('re_dollar', 60);
SELECT wallet.set_fx_rate('JPY', 'USD', 0.0067, '2026-01-01Z') IS NOT NULL AS set;
CREATE ROLE re_reader;
GRANT USAGE ON SCHEMA regress TO re_reader;
SELECT wallet.grant_access('re_reader', 'reader', w) FROM unnest('{re_acme,re_yen,re_dollar}'::text[]) w;
SET ROLE re_reader;
-- Now: 83 * 1.25 = 103.75; 12345 * 0.0067 = 82.7115.
SELECT * FROM wallet.balances_in('USD');
SELECT * FROM wallet.balances_in('USD', now() + interval '1 day');
-- At the end of March: 88.166666666667 * 1.2. The others were created later.
SELECT * FROM wallet.balances_in('USD', '2026-03-31 21:59:59.999999Z');
SELECT * FROM wallet.balances_in('USD', '2026-03-31 22:00Z') WHERE wallet = 're_acme';
SELECT bool_and(own_balance = wallet.balance_at(wallet, '2026-03-20 12:30Z')) AS as_balance_at FROM wallet.balances_in('USD', '2026-03-20 12:30Z');
-- A dollar is 0.8 euros, a yen 0.008.
SELECT wallet, own_balance, balance, rate, inverse FROM wallet.balances_in('EUR');
SELECT sum(balance) AS all FROM wallet.balances_in('EUR');
-- A wallet without a rate is not left out.
CALL regress.fails($$ SELECT * FROM wallet.balances_in('PLN') $$);
CALL regress.fails($$ SELECT * FROM wallet.balances_in('usd') $$);
CALL regress.fails($$ SELECT * FROM wallet.balances_in(NULL) $$);
CALL regress.fails($$ SELECT * FROM wallet.balances_in('USD', 'infinity') $$);
CALL regress.fails($$ SELECT * FROM wallet.balances_in('USD', '2025-01-01Z') $$);
CALL regress.fails($$ SELECT * FROM wallet.usage_by('re_hidden', 'model', currency => 'USD') $$);
RESET ROLE;
-- A transaction sees what it has booked, and a late reversal is owed. 60 - 75 = -15.
BEGIN;
SELECT entry_id AS late FROM wallet.fund('re_dollar', 30) \gset
SELECT balance FROM wallet.charge('re_dollar', amount => 75);
SELECT balance FROM wallet.reverse_funding('re_dollar', :'late');
SET LOCAL ROLE re_reader;
SELECT wallet, own_balance, balance FROM wallet.balances_in('EUR') WHERE wallet = 're_dollar';
ROLLBACK;
-- Due entries count, whether or not they are booked.
SELECT balance FROM wallet.fund('re_dollar', 40, expires_at => now() + interval '1 second');
SELECT pg_sleep(1.1);
SET ROLE re_reader;
SELECT wallet, own_balance, balance FROM wallet.balances_in('EUR') WHERE wallet = 're_dollar';
RESET ROLE;

-- A journal contains the rates of its period by days of the wallet, in the direction in which they
-- were recorded: the last one of two on a day, the pair's own direction as soon as it exists, and
-- the rates of custom units. The rates of francs are from another test.
SELECT count(*) FROM (VALUES ('EUR', 'USD', 1.21, '2026-03-20 08:00'), ('EUR', 'USD', 1.22, '2026-03-20 22:59'), ('EUR', 'USD', 1.23, '2026-03-20 23:00'), ('re_coin', 'EUR', 0.05, '2026-03-05'),
                             ('SEK', 'EUR', 0.09, '2026-01-01'), ('EUR', 'SEK', 11.2, '2026-03-12'), ('SEK', 'EUR', 0.0888, '2026-03-18'), ('USD', 'SEK', 10, '2026-01-01')) AS r(one, other, rate, at),
     LATERAL wallet.set_fx_rate(r.one, r.other, r.rate, r.at::timestamptz);
SELECT line FROM regexp_split_to_table(wallet.journal('re_acme', from_day => '2026-03-01', to_day => '2026-04-01'), '\n') WITH ORDINALITY j(line, n) WHERE line LIKE 'P %' AND line NOT LIKE '%CHF%' ORDER BY n;
SELECT line FROM regexp_split_to_table(wallet.journal('re_acme', from_day => '2026-03-01', to_day => '2026-04-01', format => 'beancount'), '\n') WITH ORDINALITY j(line, n) WHERE line LIKE '% price %' AND line NOT LIKE '%CHF%' ORDER BY n;
-- From the creation of the wallet until now.
SELECT line FROM regexp_split_to_table(wallet.journal('re_acme'), '\n') WITH ORDINALITY j(line, n) WHERE line LIKE 'P %' AND line LIKE '%USD%' ORDER BY n;
SELECT regexp_replace(wallet.journal('re_acme', from_day => '2026-03-31', to_day => '2026-04-01'), 'P [^\n]*CHF[^\n]*\n', '') AS journal;

-- FOCUS: prices in dollars and a fee in euros, a wallet in francs (re_fra). 1000 * 2.5 / 10^6 =
-- 0.0025 USD are * 0.8125123 = 0.00203128075, 450 * 10 / 10^6 = 0.0045 are 0.00365630535; 8 per
-- cent of both are 0.000455006888; 0.0005 EUR are / 1.05 = 0.000476190476.
SELECT count(wallet.set_price('re-gpt', meter, price, per, effective_from => '2025-01-01Z')) FROM (VALUES ('input_tokens', 2.5, 1000000), ('output_tokens', 10, 1000000), ('images', 0.04, 1)) AS p(meter, price, per);
SELECT wallet.set_markup('re-list', -8, 0.0005, currency => 'EUR', effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT count(*) FROM (VALUES ('USD', 're_fra', 0.8125123), ('re_fra', 'EUR', 1.05)) AS r(one, other, rate), LATERAL wallet.set_fx_rate(r.one, r.other, r.rate, '2025-01-01Z');
SELECT wallet FROM wallet.create_wallet('re_focus', 're_fra');
SELECT balance FROM wallet.fund('re_focus', 100);
SELECT wallet FROM wallet.use_price_list('re_focus', 're-list');
SELECT cost FROM wallet.charge('re_focus', '{"model":"re-gpt","input_tokens":1000,"output_tokens":450}', event_at => '2026-03-15Z');
-- It would cost 0.032500492 - 0.00260003936 + 0.000476190476 = 0.030376643116, and 0.02 is held:
-- each row has its share, 0.02 * 0.032500492 / 0.030376643116 = 0.021398343376 of the image, which
-- are / 0.8125123 = 0.02633602393 USD.
SELECT hold_id FROM wallet.hold('re_focus', amount => 0.02, ttl => '1 hour') \gset
SELECT cost FROM wallet.settle('re_focus', :'hold_id', usage => '{"model":"re-gpt","images":1}', over => 'cap');
SELECT cost FROM wallet.charge('re_focus', amount => 1.5);
SELECT "SkuMeter" AS meter, "ConsumedQuantity" AS consumed, "PricingQuantity" AS priced, "PricingUnit" AS unit, "BillingCurrency" AS billing, "ListUnitPrice" AS unit_price, "ListCost" AS cost, "EffectiveCost" AS effective,
       "PricingCurrency" AS pricing, "PricingCurrencyListUnitPrice" AS its_price, "PricingCurrencyEffectiveCost" AS its_effective, "x_Amount" AS amount
  FROM wallet.focus WHERE "BillingAccountId" = 're_focus' ORDER BY "x_EntryId", "SkuMeter";
-- Unit price times quantity is the cost, no cost is negative, and the rows of an entry add up to
-- it.
SELECT count(*) AS rows, count(*) FILTER (WHERE round("ListUnitPrice" * "PricingQuantity" - "ListCost", 11) <> 0) AS list, count(*) FILTER (WHERE "ContractedUnitPrice" IS DISTINCT FROM "ListUnitPrice" OR "ContractedCost" <> "ListCost") AS contracted,
       count(*) FILTER (WHERE "ListUnitPrice" < 0 OR "PricingCurrencyListUnitPrice" < 0) AS negative FROM wallet.focus WHERE "BillingAccountId" = 're_focus';
SELECT count(*) AS wrong FROM (SELECT f."x_EntryId", sum(f."x_Amount") AS amount FROM wallet.focus f WHERE f."BillingAccountId" = 're_focus' GROUP BY 1) f FULL JOIN (SELECT * FROM wallet.ledger_all WHERE wallet_id = 're_focus') l ON l.entry_id = f."x_EntryId"
 WHERE f.amount IS DISTINCT FROM l.amount;
DROP OWNED BY re_reader;
DROP ROLE re_reader;
