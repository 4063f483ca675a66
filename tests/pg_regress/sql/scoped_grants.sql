-- Grants for certain models or services: which charges may use them, and how they are reported.
SELECT wallet FROM wallet.create_wallet('scoped', low_balance => '{5}');
SELECT balance FROM wallet.fund('scoped', 10);
SELECT balance FROM wallet.fund('scoped', 6, promotional => true, scope => '{"models": ["gpt-4*", "openai/o3"]}');
SELECT balance FROM wallet.fund('scoped', 4, priority => 50, scope => '{"services": ["images"]}');
SELECT balance, held, available, scoped FROM wallet.balances WHERE wallet = 'scoped';
SELECT amount, remaining, priority, promotional, scope, status FROM wallet.grants WHERE wallet = 'scoped' ORDER BY created_at;

-- The money that a call may use depends on its model and service. check_limits agrees.
CREATE FUNCTION regress.may_spend(model text, service text DEFAULT NULL) RETURNS numeric LANGUAGE sql AS
$$ SELECT remaining FROM wallet.check_limits('scoped', model => $1, service => $2) WHERE scope = 'balance' $$;
SELECT regress.may_spend('gpt-4o') AS gpt, regress.may_spend('o3') AS o3, regress.may_spend('dall-e-3', 'images') AS images,
       regress.may_spend('gpt-4o', 'images') AS both, regress.may_spend(NULL) AS nothing;
CALL regress.fails($$ SELECT wallet.charge('scoped', amount => 10.01, model => 'claude') $$);
CALL regress.fails($$ SELECT wallet.charge('scoped', amount => 16.01, model => 'gpt-4o') $$);
CALL regress.fails($$ SELECT wallet.hold('scoped', amount => 10.01) $$);

-- Matching grants burn in the order of all grants. Who paid what is reported.
SELECT balance FROM wallet.charge('scoped', amount => 11, model => 'gpt-4o', service => 'images', user_id => 'a');
SELECT balance FROM wallet.charge('scoped', amount => 5, model => 'claude', user_id => 'b');
SELECT e.user_id, f.scope, p.amount FROM wallet.grant_payments p JOIN wallet.entries e USING (wallet, entry_id) JOIN wallet.grants f USING (wallet, grant_id)
 WHERE wallet = 'scoped' ORDER BY 1, 2 NULLS FIRST;
SELECT remaining, scope, status FROM wallet.grants WHERE wallet = 'scoped' ORDER BY created_at;
-- Thresholds compare the money that every charge may use.
SELECT event, threshold FROM wallet.events WHERE wallet = 'scoped' ORDER BY id;

-- A refund returns to the same grants, up to what they paid.
SELECT balance FROM wallet.refund('scoped', (SELECT entry_id FROM wallet.entries WHERE wallet = 'scoped' AND user_id = 'a'), 3);
SELECT remaining, scope, status FROM wallet.grants WHERE wallet = 'scoped' ORDER BY created_at;
SELECT balance, held, available, scoped FROM wallet.balances WHERE wallet = 'scoped';
SELECT * FROM regress.broken('scoped');

-- A hold reserves scoped credit. A settlement takes from it first, and voiding releases it.
SELECT hold_id AS hold, amount, balance FROM wallet.hold('scoped', amount => 4, model => 'gpt-4o', ttl => '1 hour') \gset
SELECT balance, held, available, scoped FROM wallet.balances WHERE wallet = 'scoped';
SELECT amount, held FROM wallet.holds WHERE wallet = 'scoped';
SELECT regress.may_spend('gpt-4o') AS gpt, regress.may_spend('claude') AS claude;
SELECT cost, balance FROM wallet.settle('scoped', :'hold', amount => 1, final => false);
SELECT balance, held, available, scoped FROM wallet.balances WHERE wallet = 'scoped';
SELECT amount, balance FROM wallet.void('scoped', :'hold');
SELECT balance, held, available, scoped FROM wallet.balances WHERE wallet = 'scoped';
SELECT amount, balance FROM wallet.hold('scoped', amount => 50, model => 'gpt-4o', allow_partial => true, ttl => '0.7 seconds');
SELECT balance, held, available, scoped FROM wallet.balances WHERE wallet = 'scoped';
SELECT pg_sleep(0.75);
SELECT balance, held, available, scoped FROM wallet.balances WHERE wallet = 'scoped';
SELECT regress.may_spend('gpt-4o') AS gpt, regress.may_spend('claude') AS claude;
SELECT balance FROM wallet.charge('scoped', amount => 0.5, model => 'gpt-4o');
SELECT * FROM regress.broken('scoped');

-- Batches, prices and late pricing follow the same rules.
SELECT item, cost, sqlstate FROM wallet.charge_batch('scoped', '[{"amount": 0.25, "model": "gpt-4o"}, {"amount": 99, "model": "gpt-4o"}, {"amount": 0.25, "model": "claude"}]', on_error => 'skip');
SELECT remaining, scope, status FROM wallet.grants WHERE wallet = 'scoped' ORDER BY created_at;

-- Money that leaves the wallet, or pays a debt, is never scoped credit.
SELECT wallet FROM wallet.create_wallet('elsewhere');
CALL regress.fails($$ SELECT wallet.transfer('scoped', 'elsewhere', 9) $$);
CALL regress.fails($$ SELECT wallet.adjust('scoped', -9) $$);
CALL regress.fails($$ SELECT wallet.close_wallet('scoped') $$);
SELECT wallet FROM wallet.create_wallet('owing');
SELECT entry_id AS paid FROM wallet.fund('owing', 10) \gset
SELECT balance FROM wallet.charge('owing', amount => 8);
SELECT entry_id AS given, balance FROM wallet.fund('owing', 5, scope => '{"models": ["m"]}') \gset
SELECT taken, debt, balance FROM wallet.reverse_funding('owing', :'paid');
SELECT balance FROM wallet.fund('owing', 2, scope => '{"models": ["m"]}');
SELECT balance, debt, scoped FROM wallet.balances WHERE wallet = 'owing';
SELECT balance FROM wallet.charge('owing', amount => 1, model => 'm');
SELECT taken, debt, balance FROM wallet.reverse_funding('owing', :'given');
SELECT w.scoped FROM wallet.wallets w WHERE wallet_id = 'owing';
SELECT balance FROM wallet.fund('owing', 20);
SELECT balance, debt, scoped FROM wallet.balances WHERE wallet = 'owing';
SELECT remaining, scope, status FROM wallet.grants WHERE wallet = 'owing' ORDER BY created_at;
SELECT * FROM regress.broken('owing');

-- Expiry, voiding, vouchers, recurrence.
SELECT wallet FROM wallet.create_wallet('ends', credit_limit => 5);
SELECT balance FROM wallet.charge('ends', amount => 3);
SELECT balance FROM wallet.fund('ends', 4, scope => '{"models": ["m"]}', expires_at => clock_timestamp() + interval '1 second');
SELECT entry_id AS gift, balance FROM wallet.fund('ends', 2, scope => '{"services": ["s"]}') \gset
SELECT balance FROM wallet.charge('ends', amount => 1, model => 'm');
SELECT pg_sleep(1.05);
SELECT balance, available, scoped FROM wallet.balances WHERE wallet = 'ends';
SELECT remaining FROM wallet.check_limits('ends', model => 'm') WHERE scope = 'balance';
SELECT balance FROM wallet.charge('ends', amount => 1, model => 'm');
SELECT kind, amount FROM wallet.entries WHERE wallet = 'ends' ORDER BY created_at, seq;
SELECT amount, balance FROM wallet.void_grant('ends', :'gift');
SELECT remaining, scope, status FROM wallet.grants WHERE wallet = 'ends' ORDER BY created_at;
SELECT scoped FROM wallet.wallets WHERE wallet_id = 'ends';
SELECT wallet.create_voucher('FOR-IMAGES', 3, scope => '{"services": ["images"]}') IS NOT NULL AS made;
SELECT balance FROM wallet.redeem_voucher('ends', 'FOR-IMAGES');
SELECT amount, balance FROM wallet.set_recurring_grant('ends', 7, 'month', scope => '{"models": ["m"]}');
SELECT balance FROM wallet.charge('ends', amount => 7.5, model => 'm');
SELECT remaining, scope, promotional, status FROM wallet.grants WHERE wallet = 'ends' AND status <> 'voided' ORDER BY created_at;
SELECT balance, scoped FROM wallet.balances WHERE wallet = 'ends';
SELECT * FROM regress.broken('ends');
SELECT "check", ok, detail FROM wallet.verify('ends') WHERE "check" = 'scoped';

-- verify() finds values that differ from what they should be.
BEGIN;
UPDATE wallet.grant_lots SET remaining = remaining - 1 WHERE wallet_id = 'ends' AND scope IS NOT NULL AND remaining > 1;
SELECT "check", ok, detail FROM wallet.verify('ends') WHERE NOT ok;
ROLLBACK;

-- The same key with another scope is another request.
SELECT balance, replayed FROM wallet.fund('elsewhere', 1, scope => '{"models": ["m"]}', idempotency_key => 'k');
SELECT balance, replayed FROM wallet.fund('elsewhere', 1, scope => '{"models": ["m"]}', idempotency_key => 'k');
CALL regress.fails($$ SELECT wallet.fund('elsewhere', 1, scope => '{"models": ["n"]}', idempotency_key => 'k') $$);
-- A pending funding is credited with its scope.
SELECT entry_id AS coming FROM wallet.fund('elsewhere', 2, 'bank', status => 'pending', scope => '{"services": ["s"]}') \gset
SELECT balance FROM wallet.settle_funding('elsewhere', :'coming');
SELECT amount, scope FROM wallet.fundings WHERE wallet = 'elsewhere' ORDER BY created_at;
SELECT balance, scoped FROM wallet.balances WHERE wallet = 'elsewhere';

CALL regress.fails($$ SELECT wallet.fund('elsewhere', 1, scope => '[]') $$);
CALL regress.fails($$ SELECT wallet.fund('elsewhere', 1, scope => '{}') $$);
CALL regress.fails($$ SELECT wallet.fund('elsewhere', 1, scope => '{"users": ["ann"]}') $$);
CALL regress.fails($$ SELECT wallet.fund('elsewhere', 1, scope => '{"models": "gpt-4o"}') $$);
CALL regress.fails($$ SELECT wallet.fund('elsewhere', 1, scope => '{"models": []}') $$);
CALL regress.fails($$ SELECT wallet.fund('elsewhere', 1, scope => '{"models": [4]}') $$);
CALL regress.fails($$ SELECT wallet.set_recurring_grant('elsewhere', 1, scope => '{"services": [""]}') $$);
CALL regress.fails($$ SELECT wallet.create_voucher('X', 1, scope => '"m"') $$);

-- Once scoped credit is spent, charges no longer look for it.
SELECT wallet FROM wallet.create_wallet('spent');
SELECT balance FROM wallet.fund('spent', 1, scope => '{"models": ["m"]}');
SELECT balance FROM wallet.fund('spent', 5);
SELECT scoped FROM wallet.wallets WHERE wallet_id = 'spent';
SELECT balance FROM wallet.charge('spent', amount => 2, model => 'm');
SELECT scoped FROM wallet.wallets WHERE wallet_id = 'spent';
SELECT balance FROM wallet.charge('spent', amount => 2, model => 'm');
SELECT remaining, scope, status FROM wallet.grants WHERE wallet = 'spent' ORDER BY created_at;
