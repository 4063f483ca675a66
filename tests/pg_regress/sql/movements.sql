-- Refunds, adjustments, transfers, batches.
SELECT wallet FROM wallet.create_wallet('moves');
SELECT balance FROM wallet.fund('moves', 100);
SELECT wallet.set_limit('moves', 50, 'day') IS NOT NULL AS set;
SELECT entry_id FROM wallet.charge('moves', amount => 40, user_id => 'ann', team => 'red', model => 'm') \gset
-- A charge is refunded in parts, up to its amount, and the limit is credited.
SELECT amount, balance, replayed FROM wallet.refund('moves', :'entry_id', 15, 'slow', idempotency_key => 'r1');
SELECT amount, balance, replayed FROM wallet.refund('moves', :'entry_id', 15, 'slow', idempotency_key => 'r1');
CALL regress.fails(format($$ SELECT wallet.refund('moves', %L, 16, 'slow', idempotency_key => 'r1') $$, :'entry_id'));
SELECT used, remaining FROM wallet.limits_status WHERE wallet = 'moves';
CALL regress.fails(format($$ SELECT wallet.refund('moves', %L, 25.01) $$, :'entry_id'));
SELECT amount, balance FROM wallet.refund('moves', :'entry_id');
CALL regress.fails(format($$ SELECT wallet.refund('moves', %L) $$, :'entry_id'));
SELECT used, remaining FROM wallet.limits_status WHERE wallet = 'moves';
SELECT kind, amount, user_id, team, model, contra, reason, related_id = :'entry_id' AS of_charge FROM wallet.entries WHERE wallet = 'moves' AND kind = 'refund' ORDER BY created_at;
-- A new limit also counts refunds.
SELECT entry_id FROM wallet.charge('moves', amount => 20, user_id => 'ben') \gset
SELECT amount FROM wallet.refund('moves', :'entry_id', 5);
SELECT wallet.set_limit('moves', 50, 'month', scope => 'user') IS NOT NULL AS set;
SELECT scope, subject, used FROM wallet.limits_status WHERE wallet = 'moves' ORDER BY 1, 2;
-- If a limit was lowered below its usage, a refund frees at most the maximum.
SELECT wallet.set_limit('moves', 10, 'day') IS NOT NULL AS set;
SELECT amount FROM wallet.refund('moves', :'entry_id', 10);
SELECT used, remaining FROM wallet.limits_status WHERE wallet = 'moves' AND scope = 'wallet';
CALL regress.fails($$ SELECT wallet.charge('moves', amount => 5.01) $$);
SELECT cost FROM wallet.charge('moves', amount => 5);

-- Money that a grant had paid returns to the grant.
SELECT wallet FROM wallet.create_wallet('moves_grant');
SELECT balance FROM wallet.fund('moves_grant', 10, expires_at => now() + interval '1 day', promotional => true);
SELECT balance FROM wallet.fund('moves_grant', 10);
SELECT entry_id FROM wallet.charge('moves_grant', amount => 12) \gset
SELECT promotional, amount, remaining, status FROM wallet.grants WHERE wallet = 'moves_grant' ORDER BY 1 DESC;
SELECT amount, balance FROM wallet.refund('moves_grant', :'entry_id', 5);
SELECT promotional, amount, remaining, status FROM wallet.grants WHERE wallet = 'moves_grant' ORDER BY 1 DESC;
SELECT amount, balance FROM wallet.refund('moves_grant', :'entry_id');
SELECT promotional, amount, remaining, status FROM wallet.grants WHERE wallet = 'moves_grant' ORDER BY 1 DESC;

-- Adjustments of either sign.
SELECT amount, balance, replayed FROM wallet.adjust('moves', -10, 'counted twice', idempotency_key => 'a1');
SELECT amount, balance, replayed FROM wallet.adjust('moves', -10, 'counted twice', idempotency_key => 'a1');
SELECT amount, balance FROM wallet.adjust('moves', 3.5, 'goodwill');
CALL regress.fails($$ SELECT wallet.adjust('moves', -1000) $$);
CALL regress.fails($$ SELECT wallet.adjust('moves', 0) $$);
CALL regress.fails($$ SELECT wallet.adjust('moves', NULL) $$);

-- Between wallets of one currency: two entries.
SELECT wallet FROM wallet.create_wallet('moves_b', low_balance => '{1}');
SELECT wallet FROM wallet.create_wallet('moves_eur', currency => 'EUR');
SELECT amount, balance, replayed FROM wallet.transfer('moves', 'moves_b', 25, idempotency_key => 't1');
SELECT amount, balance, replayed FROM wallet.transfer('moves', 'moves_b', 25, idempotency_key => 't1');
SELECT wallet, balance FROM wallet.balances WHERE wallet IN ('moves', 'moves_b') ORDER BY 1;
SELECT e.wallet, e.kind, e.amount, e.contra, o.wallet AS other FROM wallet.entries e JOIN wallet.entries o ON o.entry_id = e.related_id WHERE e.kind = 'transfer' AND e.wallet LIKE 'moves%' ORDER BY 1;
CALL regress.fails($$ SELECT wallet.transfer('moves_b', 'moves', 25.01) $$);
CALL regress.fails($$ SELECT wallet.transfer('moves_b', 'moves_eur', 1) $$);
CALL regress.fails($$ SELECT wallet.transfer('moves_b', 'moves_b', 1) $$);
CALL regress.fails($$ SELECT wallet.transfer('moves_b', 'moves_none', 1) $$);
CALL regress.fails($$ SELECT wallet.transfer('moves_b', 'moves', -1) $$);
CALL regress.fails($$ SELECT wallet.refund('moves', '00000000-0000-7000-8000-000000000000') $$);
CALL regress.fails($$ SELECT wallet.refund('moves', NULL) $$);

-- Many charges in one call: all or nothing.
SELECT wallet.set_price('batch-model', 'input_tokens', 1, per => 1000, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT item, entry_id IS NOT NULL AS booked, cost, sqlstate, message, replayed
  FROM wallet.charge_batch('moves_b', '[{"usage": {"model": "batch-model", "input_tokens": 1000}, "user_id": "ann", "idempotency_key": "i1"},
                                        {"amount": 2.5, "team": "red", "tags": {"a": "1"}, "event_at": "2026-01-01T00:00:00Z"}]', idempotency_key => 'b1');
SELECT item, cost, replayed FROM wallet.charge_batch('moves_b', '[{"usage": {"model": "batch-model", "input_tokens": 1000}, "user_id": "ann", "idempotency_key": "i1"},
                                        {"amount": 2.5, "team": "red", "tags": {"a": "1"}, "event_at": "2026-01-01T00:00:00Z"}]', idempotency_key => 'b1');
SELECT cost, replayed FROM wallet.charge('moves_b', '{"model": "batch-model", "input_tokens": 1000}', user_id => 'ann', idempotency_key => 'i1');
SELECT balance FROM wallet.balances WHERE wallet = 'moves_b';
CALL regress.fails($$ SELECT * FROM wallet.charge_batch('moves_b', '[{"amount": 1}, {"amount": 1000}]') $$);
SELECT balance FROM wallet.balances WHERE wallet = 'moves_b';
-- Or every item that can be booked.
SELECT item, entry_id IS NOT NULL AS booked, cost, sqlstate, message, replayed
  FROM wallet.charge_batch('moves_b', '[{"amount": 1}, {"amount": 1000}, {"usage": {"model": "batch-none", "input_tokens": 1}}, {"amount": 0.5}]', on_error => 'skip');
SELECT balance FROM wallet.balances WHERE wallet = 'moves_b';
-- Over several wallets.
SELECT item, cost, sqlstate FROM wallet.charge_batch('[{"wallet": "moves_b", "amount": 1}, {"wallet": "moves", "amount": 0}, {"wallet": "moves_none", "amount": 1}]', on_error => 'skip');
-- An item that cannot be read is an error of that item.
SELECT item, entry_id IS NOT NULL AS booked, cost, sqlstate, message
  FROM wallet.charge_batch('[{"amount": 0.1}, {"wallet": "moves_b", "amount": 0.1}, 7, {"wallet": 7, "amount": 1}, {"wallet": "moves_b", "amuont": 1},
                             {"wallet": "moves_b", "amount": "much"}, {"wallet": "", "amount": 1}, {"wallet": "moves_b", "amount": 0.2, "tags": {"a": null}},
                             {"wallet": "moves_b", "amount": 0.2}]', on_error => 'skip');
SELECT item, sqlstate FROM wallet.charge_batch('moves_b', '[{"wallet": "moves", "amount": 0.1}, {"amount": 0.3}]', on_error => 'skip');
SELECT balance FROM wallet.balances WHERE wallet = 'moves_b';
CALL regress.fails($$ SELECT * FROM wallet.charge_batch('moves_b', '{"amount": 1}') $$);
CALL regress.fails($$ SELECT * FROM wallet.charge_batch('moves_b', '[{"amuont": 1}]') $$);
CALL regress.fails($$ SELECT * FROM wallet.charge_batch('moves_b', '[[1]]') $$);
CALL regress.fails($$ SELECT * FROM wallet.charge_batch('moves_b', '[{"amount": 1, "wallet": "moves"}]') $$);
CALL regress.fails($$ SELECT * FROM wallet.charge_batch('[{"amount": 1}]') $$);
CALL regress.fails($$ SELECT * FROM wallet.charge_batch('moves_b', '[]', on_error => 'maybe') $$);
SELECT count(*) FROM wallet.charge_batch('moves_b', '[]');
SELECT * FROM regress.broken('moves');
SELECT * FROM regress.broken('moves_b');
