-- FOCUS: paid money is billed cost, usage is effective cost, promotional credit is neither. One row
-- per meter.
SET datestyle = ISO;
SET timezone = 'America/New_York';
SELECT wallet FROM wallet.create_wallet('foc');
SELECT balance FROM wallet.fund('foc', 100, 'card', reference => 'foc_in_1');
SELECT balance FROM wallet.fund('foc', 20, 'bonus', promotional => true, expires_at => now() + interval '30 days');
SELECT entry_id AS used FROM wallet.charge('foc', amount => 30, model => 'foc-m', tags => '{"note":"a, \"b\"\nc","n":"1","user_id":"theirs"}', user_id => 'ann', team => 'red') \gset
SELECT amount FROM wallet.refund('foc', :'used', amount => 5);
SELECT entry_id AS bounced FROM wallet.fund('foc', 50, 'card', reference => 'foc_in_2') \gset
SELECT balance FROM wallet.reverse_funding('foc', :'bounced');
SELECT trim_scale(sum("BilledCost")) AS billed, trim_scale(sum("EffectiveCost")) AS effective,
       trim_scale(sum("BilledCost") FILTER (WHERE "ChargeCategory" = 'Usage')) AS usage_billed, trim_scale(sum("EffectiveCost") FILTER (WHERE "ChargeCategory" = 'Usage')) AS usage_effective,
       trim_scale(sum("BilledCost") FILTER (WHERE "InvoiceId" = 'foc_in_1')) AS purchase_billed, trim_scale(sum("EffectiveCost") FILTER (WHERE "InvoiceId" = 'foc_in_1')) AS purchase_effective
  FROM wallet.focus WHERE "BillingAccountId" = 'foc';
-- Promotional credit too: a voucher, a bonus that is reversed, recurring credit, credit that
-- expires, what another wallet has bought, corrections.
SELECT wallet.create_voucher('FOCUS-VOUCHER-7', 7) IS NOT NULL AS made;
SELECT balance FROM wallet.redeem_voucher('foc', 'FOCUS-VOUCHER-7');
SELECT entry_id AS bonus FROM wallet.fund('foc', 3, 'bonus', promotional => true) \gset
SELECT balance FROM wallet.reverse_funding('foc', :'bonus');
SELECT amount FROM wallet.set_recurring_grant('foc', 2, '1 day');
SELECT entry_id AS short FROM wallet.fund('foc', 4, 'card', reference => 'foc_in_3', expires_at => now() + interval '10 days') \gset
SELECT amount FROM wallet.void_grant('foc', :'short');
SELECT wallet FROM wallet.create_wallet('foc-other');
SELECT amount FROM wallet.transfer('foc', 'foc-other', 6);
SELECT amount FROM wallet.adjust('foc', 1, reason => 'gift');
SELECT amount FROM wallet.adjust('foc', -1.5, reason => 'correction');
SELECT "ChargeCategory" AS category, "ChargeDescription" AS description, "BilledCost" AS billed, "EffectiveCost" AS effective, "ListCost" AS listed, "ConsumedQuantity" AS consumed, "ConsumedUnit" AS unit,
       "PricingQuantity" AS priced, "ListUnitPrice" AS unit_price, "SkuId" AS sku, regexp_replace("x_Reference", '[0-9a-f]{8}-[0-9a-f-]{27}', '<uuid>') AS reference, "x_Amount" AS amount
  FROM wallet.focus WHERE "BillingAccountId" = 'foc' ORDER BY "x_EntryId";
-- Meters have different units.
SELECT count(wallet.set_price('foc-all', meter, price, per, effective_from => '2025-01-01Z', provider => 'foc-p'))
  FROM (VALUES ('input_tokens', 2.5, 1000000), ('output_tokens', 10, 1000000), ('images', 0.04, 1), ('audio_seconds', 0.006, 60), ('input_characters', 15, 1000000), ('pages', 1, 3), ('my_own_meter', 0.5, 1), ('requests', 0.001, 1)) AS p (meter, price, per);
SELECT cost FROM wallet.charge('foc', '{"model":"foc-all","input_tokens":1000,"output_tokens":333,"images":2,"audio_seconds":61.5,"input_characters":1234,"pages":7,"my_own_meter":0.25}', region => 'eu', event_at => '2026-10-31T23:59:59.75Z');
SELECT "SkuMeter", "ConsumedQuantity", "ConsumedUnit", "ListUnitPrice", "ListCost", "EffectiveCost", "BilledCost", "SkuId", "ChargePeriodStart", "ChargePeriodEnd", "BillingPeriodStart", "BillingPeriodEnd"
  FROM wallet.focus WHERE "BillingAccountId" = 'foc' AND "ResourceId" = 'foc-all' ORDER BY "SkuMeter";
-- Capped, and reported by the provider: the lines share the booked cost.
SELECT hold_id FROM wallet.hold('foc', amount => 0.01) \gset
SELECT cost FROM wallet.settle('foc', :'hold_id', usage => '{"model":"foc-all","images":1,"input_tokens":3333,"output_tokens":1}', over => 'cap');
SELECT cost FROM wallet.charge('foc', '{"model":"foc-all","images":1,"input_tokens":1000,"cost":0.07}', cost_from => 'provider');
SELECT "ChargeDescription", "SkuMeter", "ListCost", "EffectiveCost" FROM wallet.focus
 WHERE "BillingAccountId" = 'foc' AND "ResourceId" = 'foc-all' AND "EffectiveCost" <> "ListCost" ORDER BY "x_EntryId", "SkuMeter";
-- A markup has a row of its own. An unpriced charge costs nothing and has no quantity.
SELECT wallet FROM wallet.create_wallet('foc-marked');
SELECT balance FROM wallet.fund('foc-marked', 10);
SELECT wallet.set_markup('foc-list', 10, 0.01) IS NOT NULL AS set;
SELECT wallet FROM wallet.use_price_list('foc-marked', 'foc-list');
SELECT wallet FROM wallet.update_wallet('foc-marked', unknown_price => 'unpriced');
SELECT cost FROM wallet.charge('foc-marked', '{"model":"foc-all","images":10}');
SELECT cost FROM wallet.charge('foc-marked', '{"model":"foc-new","images":10}');
SELECT "SkuMeter", "ConsumedQuantity", "ConsumedUnit", "ListUnitPrice", "ListCost", "EffectiveCost" FROM wallet.focus WHERE "BillingAccountId" = 'foc-marked' ORDER BY "x_EntryId", "SkuMeter";
-- A correction of a past month is a correction in the sense of the standard.
SELECT entry_id FROM wallet.charge('foc', amount => 2, event_at => now() - interval '40 days') \gset
SELECT amount FROM wallet.refund('foc', :'entry_id', amount => 1);
SELECT "ChargeCategory", "ChargeClass", "EffectiveCost" FROM wallet.focus WHERE "BillingAccountId" = 'foc' AND "ChargeClass" IS NOT NULL;
-- Every entry is present, and its rows add up to it. The costs add up to what usage_by and the
-- fundings report.
SELECT count(*) AS wrong FROM (SELECT f."BillingAccountId", f."x_EntryId", sum(f."x_Amount") AS amount FROM wallet.focus f GROUP BY 1, 2) f FULL JOIN wallet.ledger_all l ON l.entry_id = f."x_EntryId" AND l.wallet_id = f."BillingAccountId" WHERE f.amount IS DISTINCT FROM l.amount;
SELECT (SELECT trim_scale(sum(f."EffectiveCost")) FROM wallet.focus f WHERE f."BillingAccountId" LIKE 'foc%') = (SELECT trim_scale(sum(u.cost - u.refunded)) FROM wallet.usage_entries u WHERE u.wallet LIKE 'foc%') AS effective,
       (SELECT trim_scale(sum(f."BilledCost")) FROM wallet.focus f WHERE f."BillingAccountId" = 'foc') = 100 + 4 AS billed;
-- A file: times in ISO 8601 and UTC in every session time zone, and a header even without rows.
SELECT line FROM wallet.focus_csv('2026-10-31Z', '2026-11-01Z', 'foc') WITH ORDINALITY f(line, n) WHERE n = 1;
SELECT regexp_replace(line, '[0-9a-f]{8}-[0-9a-f-]{27}', '<uuid>', 'g') AS line FROM wallet.focus_csv('2026-10-31Z', '2026-11-01Z', 'foc') line WHERE line LIKE '%images%';
SELECT count(*) FROM wallet.focus_csv('2020-01-01Z', '2020-01-01Z');
SELECT substring(line FROM '"{.*?}"') AS tags FROM wallet.focus_csv(NULL, NULL, 'foc') line WHERE line LIKE '%foc-m%' AND line LIKE '%Usage-Based%';
CALL regress.fails($$ SELECT wallet.focus_csv('2026-02-01Z', '2026-01-01Z') $$);
CALL regress.fails($$ SELECT wallet.focus_csv(NULL, NULL, 'foc_none') $$);
