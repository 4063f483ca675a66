-- Funding: amounts, references, idempotency, bounds, and what is refused.
SELECT wallet FROM wallet.create_wallet('fund_a');
SELECT wallet FROM wallet.create_wallet('fund_eur', currency => 'EUR', credit_limit => 10);

-- The result's columns.
SELECT entry_id IS NOT NULL AS has_id, amount, currency, balance, status, replayed
  FROM wallet.fund('fund_a', 100);
SELECT amount, currency, balance FROM wallet.fund('fund_a', 0.000000000001, 'bank', 'ref-1', actor => 'ada', metadata => '{"invoice": 7}');
SELECT amount, balance FROM wallet.fund('fund_a', 12.5, method => 'invoice', reference => 'INV-7');
SELECT amount, balance, currency FROM wallet.fund('fund_eur', 20, currency => 'EUR');
-- The greatest amounts that fit.
SELECT wallet FROM wallet.create_wallet('fund_max');
SELECT amount, balance FROM wallet.fund('fund_max', 9999999999999999.999999999999);
CALL regress.fails($$ SELECT wallet.fund('fund_max', 0.000000000001) $$);
SELECT balance FROM wallet.balances WHERE wallet = 'fund_max';

-- What is written.
SELECT kind, amount, contra, reference, actor, metadata, lane, seq, lane_balance, event_at = created_at AS at_once
  FROM wallet.entries WHERE wallet = 'fund_a' ORDER BY seq;
SELECT f.amount, f.currency, f.method, f.reference, f.status, f.created_at = e.created_at AS same_time
  FROM wallet.fundings f JOIN wallet.entries e USING (wallet, entry_id) WHERE f.wallet = 'fund_a' ORDER BY e.seq;

-- The same key: the first answer. The key is for this call and this wallet only.
SELECT balance, replayed FROM wallet.fund('fund_a', 5, 'card', 'pay-1', idempotency_key => 'k1');
SELECT balance, replayed FROM wallet.fund('fund_a', 5.00, 'card', 'pay-1', idempotency_key => 'k1');
SELECT balance, replayed FROM wallet.fund('fund_eur', 5, 'card', 'pay-1', idempotency_key => 'k1');
CALL regress.fails($$ SELECT wallet.fund('fund_a', 6, 'card', 'pay-1', idempotency_key => 'k1') $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 5, 'bank', 'pay-1', idempotency_key => 'k1') $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 5, 'card', 'pay-2', idempotency_key => 'k1') $$);
-- Actor and metadata are not part of the request.
SELECT balance, replayed FROM wallet.fund('fund_a', 5, 'card', 'pay-1', idempotency_key => 'k1', actor => 'bob', metadata => '{"try": 2}');

-- One payment is credited once per wallet, whatever the key says.
SELECT balance, replayed FROM wallet.fund('fund_a', 5, 'card', 'pay-1');
SELECT balance, replayed FROM wallet.fund('fund_a', 5, 'card', 'pay-1', idempotency_key => 'k2');
CALL regress.fails($$ SELECT wallet.fund('fund_a', 7, 'card', 'pay-1') $$);
-- Another method's reference is another payment, and no reference is none.
SELECT balance, replayed FROM wallet.fund('fund_a', 5, 'bank', 'pay-1');
SELECT balance, replayed FROM wallet.fund('fund_a', 1);
SELECT balance, replayed FROM wallet.fund('fund_a', 1);

-- What is refused.
CALL regress.fails($$ SELECT wallet.fund('fund_nobody', 1) $$);
CALL regress.fails($$ SELECT wallet.fund(NULL, 1) $$);
SELECT regress.outcome($$ SELECT wallet.fund('fund_a', NULL) $$);
SELECT regress.outcome($$ SELECT wallet.fund('fund_a', 0) $$);
SELECT regress.outcome($$ SELECT wallet.fund('fund_a', -1) $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 'NaN') $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 'Infinity') $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', '-Infinity') $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 10000000000000000) $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 1e100) $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 0.0000000000001) $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 1, method => '') $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 1, method => NULL) $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 1, reference => repeat('x', 256)) $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 1, currency => 'EUR') $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 1, status => 'paid') $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 1, metadata => '"text"') $$);
-- Another currency needs a rate, and the wallet's own none.
CALL regress.fails($$ SELECT wallet.fund('fund_a', 1, currency => 'EUR', rate => 0) $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 1, currency => 'EUR', rate => 'NaN') $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 1, currency => 'EUR', rate => 1.2345678901234567) $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 1, currency => 'USD', rate => 1.1) $$);

-- Bounds of the wallet. Both are allowed amounts.
SELECT wallet FROM wallet.update_wallet('fund_a', funding_min => 5, funding_max => 500);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 4.99) $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 500.01) $$);
SELECT balance FROM wallet.fund('fund_a', 5);
SELECT balance FROM wallet.fund('fund_a', 500);

-- Nothing that was refused left a trace; funding within a transaction that is rolled back neither.
SELECT balance FROM wallet.balances WHERE wallet = 'fund_a';
BEGIN;
SELECT balance FROM wallet.fund('fund_a', 50, idempotency_key => 'gone');
ROLLBACK;
SELECT balance, replayed FROM wallet.fund('fund_a', 50, idempotency_key => 'gone');
BEGIN;
SAVEPOINT s;
SELECT balance FROM wallet.fund('fund_a', 70, idempotency_key => 'gone too');
ROLLBACK TO s;
SELECT balance, replayed FROM wallet.fund('fund_a', 70, idempotency_key => 'gone too');
COMMIT;
SELECT * FROM regress.broken('fund_a');
SELECT * FROM regress.broken('fund_eur');

-- Another currency: what was paid, the rate and the rounding stay with the entry.
SELECT wallet FROM wallet.create_wallet('fx');
SELECT amount, currency, balance, status FROM wallet.fund('fx', 100, 'card', 'p1', currency => 'EUR', rate => 1.08);
SELECT amount, balance FROM wallet.fund('fx', 0.333333333333, 'card', 'p2', currency => 'EUR', rate => 1.0835);
SELECT amount, contra, original, usage FROM wallet.entries WHERE wallet = 'fx' ORDER BY seq;
SELECT amount, currency, original_amount, original_currency, rate, status FROM wallet.fundings WHERE wallet = 'fx' ORDER BY created_at;
-- The same payment again, also when the rate has changed since; another amount or currency is another.
SELECT amount, replayed FROM wallet.fund('fx', 100, 'card', 'p1', currency => 'EUR', rate => 1.09);
CALL regress.fails($$ SELECT wallet.fund('fx', 100, 'card', 'p1') $$);
CALL regress.fails($$ SELECT wallet.fund('fx', 101, 'card', 'p1', currency => 'EUR', rate => 1.08) $$);
-- Dated rates.
SELECT wallet.set_fx_rate('GBP', 'USD', 1.20, '2020-01-01') IS NOT NULL AS id,
       wallet.set_fx_rate('GBP', 'USD', 1.25, now() - interval '1 day') IS NOT NULL AS id,
       wallet.set_fx_rate('GBP', 'USD', 9, now() + interval '1 day') IS NOT NULL AS id;
SELECT amount FROM wallet.fund('fx', 10, currency => 'GBP');
SELECT wallet.set_fx_rate('GBP', 'USD', 1.26, '2020-01-01') = wallet.set_fx_rate('GBP', 'USD', 1.260, '2020-01-01') AS same;
SELECT count(*) FROM wallet.fx_rates WHERE from_currency = 'GBP';
CALL regress.fails($$ SELECT wallet.fund('fx', 10, currency => 'JPY') $$);
CALL regress.fails($$ SELECT wallet.set_fx_rate('GBP', 'GBP', 1) $$);
CALL regress.fails($$ SELECT wallet.set_fx_rate('GBP', 'USD', -1) $$);
CALL regress.fails($$ SELECT wallet.set_fx_rate('GBP', NULL, 1) $$);
-- What is worth nothing in the wallet's currency is refused, and what does not fit.
CALL regress.fails($$ SELECT wallet.fund('fx', 0.000000000001, currency => 'XXX', rate => 0.1) $$);
CALL regress.fails($$ SELECT wallet.fund('fx', 9999999999999999, currency => 'XXX', rate => 1000) $$);
-- A wallet in a unit of one's own.
SELECT wallet, currency FROM wallet.create_wallet('points', 'credits');
SELECT amount, currency, balance FROM wallet.fund('points', 5, currency => 'USD', rate => 1000);

-- A bank transfer: on its way, then there. No entry exists before.
SELECT wallet FROM wallet.create_wallet('bank', low_balance => '{10}');
SELECT amount, balance, status, replayed FROM wallet.fund('bank', 40, 'bank', 'T1', status => 'pending', idempotency_key => 'b1', metadata => '{"iban": "x"}');
SELECT amount, balance, status, replayed FROM wallet.fund('bank', 40, 'bank', 'T1', status => 'pending', idempotency_key => 'b1');
SELECT amount, balance, status, replayed FROM wallet.fund('bank', 40, 'bank', 'T1', status => 'pending');
SELECT amount, balance, status, replayed FROM wallet.fund('bank', 40, 'bank', 'T1');
CALL regress.fails($$ SELECT wallet.fund('bank', 41, 'bank', 'T1', status => 'pending', idempotency_key => 'b1') $$);
CALL regress.fails($$ SELECT wallet.fund('bank', 41, 'bank', 'T1', status => 'pending') $$);
SELECT count(*) FROM wallet.entries WHERE wallet = 'bank';
SELECT balance FROM wallet.balances WHERE wallet = 'bank';
SELECT entry_id AS t1 FROM wallet.fundings WHERE wallet = 'bank' \gset
SELECT entry_id = :'t1' AS same_id, amount, balance, status, replayed FROM wallet.settle_funding('bank', :'t1', idempotency_key => 's1', actor => 'ada');
SELECT entry_id = :'t1' AS same_id, amount, balance, status, replayed FROM wallet.settle_funding('bank', :'t1', idempotency_key => 's1');
SELECT amount, balance, status, replayed FROM wallet.settle_funding('bank', :'t1');
SELECT amount, balance, status, replayed FROM wallet.fund('bank', 40, 'bank', 'T1', status => 'pending', idempotency_key => 'b1');
SELECT entry_id = :'t1' AS same_id, kind, amount, contra, reference, actor, metadata FROM wallet.entries WHERE wallet = 'bank';
CALL regress.fails(format($$ SELECT wallet.fail_funding('bank', %L, 'late') $$, :'t1'));
CALL regress.fails(format($$ SELECT wallet.settle_funding('bank', %L, idempotency_key => 's1') $$, gen_random_uuid()));
CALL regress.fails($$ SELECT wallet.settle_funding('bank', gen_random_uuid()) $$);
CALL regress.fails($$ SELECT wallet.settle_funding('bank', NULL) $$);
-- Or it fails; then the reference is free again.
SELECT entry_id AS t2 FROM wallet.fund('bank', 7, 'bank', 'T2', status => 'pending') \gset
SELECT amount, balance, status, replayed FROM wallet.fail_funding('bank', :'t2', 'rejected');
SELECT amount, balance, status, replayed FROM wallet.fail_funding('bank', :'t2', 'rejected');
CALL regress.fails(format($$ SELECT wallet.settle_funding('bank', %L) $$, :'t2'));
CALL regress.fails(format($$ SELECT wallet.reverse_funding('bank', %L) $$, :'t2'));
SELECT amount, balance, status, replayed FROM wallet.fund('bank', 7, 'bank', 'T2');
SELECT amount, method, reference, status, reason, finished_at IS NOT NULL AS finished FROM wallet.fundings WHERE wallet = 'bank' ORDER BY created_at;

-- A chargeback takes what is there; the rest is a debt that the next funding pays.
SELECT balance FROM wallet.charge('bank', amount => 17);
SELECT amount, balance, status, replayed, taken, debt FROM wallet.reverse_funding('bank', :'t1', 'disputed', idempotency_key => 'r1');
SELECT amount, balance, status, replayed, taken, debt FROM wallet.reverse_funding('bank', :'t1', 'disputed', idempotency_key => 'r1');
SELECT amount, balance, status, replayed, taken, debt FROM wallet.reverse_funding('bank', :'t1');
SELECT balance, available, debt, status FROM wallet.balances WHERE wallet = 'bank';
SELECT kind, amount, contra, reference, reason, related_id = :'t1' AS of_t1 FROM wallet.entries WHERE wallet = 'bank' AND kind = 'chargeback';
SELECT regress.outcome($$ SELECT wallet.charge('bank', amount => 0.01) $$);
SELECT amount, balance FROM wallet.fund('bank', 4);
SELECT balance, debt FROM wallet.balances WHERE wallet = 'bank';
SELECT amount, balance FROM wallet.fund('bank', 20);
SELECT balance, debt FROM wallet.balances WHERE wallet = 'bank';
SELECT * FROM regress.broken('bank');
-- It freezes the wallet where the wallet says so. Credit is not taken, nor is a reference free again.
SELECT wallet FROM wallet.create_wallet('strict', credit_limit => 50);
SELECT wallet FROM wallet.update_wallet('strict', freeze_on_chargeback => true);
SELECT entry_id AS c1 FROM wallet.fund('strict', 100, 'card', 'C1') \gset
SELECT balance FROM wallet.charge('strict', amount => 120);
SELECT amount, balance, taken, debt FROM wallet.reverse_funding('strict', :'c1', 'fraud');
SELECT balance, debt, status FROM wallet.balances WHERE wallet = 'strict';
CALL regress.fails($$ SELECT wallet.charge('strict', amount => 1) $$);
SELECT event, threshold FROM wallet.events WHERE wallet = 'strict' ORDER BY created_at;
SELECT amount, balance, status, replayed FROM wallet.fund('strict', 100, 'card', 'C1');
SELECT * FROM regress.broken('strict');

-- Vouchers: once each wallet, as often in all as they say; the code itself is not kept.
SELECT wallet.create_voucher('SPRING-25', 25, expires_at => now() + interval '1 hour', max_redemptions => 2) IS NOT NULL AS id;
SELECT wallet.create_voucher('OLD', 5, expires_at => now() - interval '1 hour') IS NOT NULL AS id;
SELECT wallet.create_voucher('POUND', 5, 'GBP', idempotency_key => 'v1') = wallet.create_voucher('POUND', 5, 'GBP', idempotency_key => 'v1') AS same;
CALL regress.fails($$ SELECT wallet.create_voucher('POUND', 6, 'GBP') $$);
CALL regress.fails($$ SELECT wallet.create_voucher('NONE', 6, max_redemptions => 0) $$);
SELECT amount, currency, balance, status, replayed FROM wallet.redeem_voucher('fx', 'SPRING-25', idempotency_key => 'rv');
SELECT amount, currency, balance, status, replayed FROM wallet.redeem_voucher('fx', 'SPRING-25', idempotency_key => 'rv');
CALL regress.fails($$ SELECT wallet.redeem_voucher('fx', 'SPRING-25') $$);
SELECT amount FROM wallet.redeem_voucher('bank', 'SPRING-25');
CALL regress.fails($$ SELECT wallet.redeem_voucher('fund_a', 'SPRING-25') $$);
CALL regress.fails($$ SELECT wallet.redeem_voucher('fund_a', 'OLD') $$);
CALL regress.fails($$ SELECT wallet.redeem_voucher('fund_a', 'spring-25') $$);
SELECT amount FROM wallet.redeem_voucher('fx', 'POUND');
SELECT regress.outcome($$ SELECT wallet.redeem_voucher('fund_a', NULL) $$);
SELECT kind, amount, contra, original FROM wallet.entries WHERE wallet = 'fx' AND contra = 'funding:voucher' ORDER BY seq;
SELECT * FROM regress.broken('fx');
