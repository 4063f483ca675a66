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
-- What this version cannot do it refuses rather than ignores.
CALL regress.fails($$ SELECT wallet.fund('fund_a', 1, currency => 'EUR', rate => 1.08) $$);
SELECT regress.outcome($$ SELECT wallet.fund('fund_a', 1, status => 'pending') $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 1, expires_at => '2999-01-01') $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 1, priority => 1) $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 1, promotional => true) $$);

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
