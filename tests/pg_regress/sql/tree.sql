-- Trees of wallets: an organisation pays for its teams, and a team's users spend within limits.
SELECT FROM wallet.create_wallet('tree_org');
SELECT FROM wallet.create_wallet('tree_team');
SELECT FROM wallet.create_wallet('tree_user');
SELECT FROM wallet.create_wallet('tree_other', currency => 'EUR');
SELECT FROM wallet.fund('tree_org', 100, 'card');
SELECT FROM wallet.set_price('tree-model', 'input_tokens', 2, per => 1000000);
CREATE FUNCTION regress.tree(OUT wallet text, OUT balance numeric, OUT held numeric, OUT sum numeric, OUT ok boolean)
RETURNS SETOF record LANGUAGE sql AS $$
    SELECT b.wallet, b.balance, b.held,
           (SELECT coalesce(sum(e.amount), 0) FROM wallet.entries e WHERE e.wallet = b.wallet),
           (SELECT bool_and(v.ok) FROM wallet.verify(b.wallet) v)
      FROM wallet.balances b WHERE b.wallet LIKE 'tree\_%' AND b.wallet <> 'tree_other' ORDER BY 1
$$;

-- Who may be below whom.
SELECT wallet, parent, share FROM wallet.set_parent('tree_team', 'tree_org', idempotency_key => 'p1');
SELECT wallet, parent, share FROM wallet.set_parent('tree_team', 'tree_org', idempotency_key => 'p1');
SELECT wallet, parent, share FROM wallet.set_parent('tree_user', 'tree_team');
CALL regress.fails($$SELECT wallet.set_parent('tree_team', 'tree_other', idempotency_key => 'p1')$$);
CALL regress.fails($$SELECT wallet.set_parent(NULL, 'tree_org')$$);
CALL regress.fails($$SELECT wallet.set_parent('tree_team', 'tree_org', share => 'half')$$);
CALL regress.fails($$SELECT wallet.set_parent('tree_team', 'tree_nobody')$$);
CALL regress.fails($$SELECT wallet.set_parent('tree_nobody', 'tree_org')$$);
CALL regress.fails($$SELECT wallet.set_parent('tree_org', 'tree_org')$$);
CALL regress.fails($$SELECT wallet.set_parent('tree_org', 'tree_user', share => 'own')$$);
CALL regress.fails($$SELECT wallet.set_parent('tree_other', 'tree_org')$$);
CALL regress.fails($$SELECT wallet.set_parent('tree_org', 'tree_other')$$);

-- A pooled wallet has no money and gets none.
CALL regress.fails($$SELECT wallet.fund('tree_user', 1, 'card')$$);
CALL regress.fails($$SELECT wallet.adjust('tree_user', 1, 'why')$$);
CALL regress.fails($$SELECT wallet.transfer('tree_org', 'tree_user', 1)$$);
CALL regress.fails($$SELECT wallet.transfer('tree_user', 'tree_org', 1)$$);
CALL regress.fails($$SELECT wallet.update_wallet('tree_user', credit_limit => 5)$$);
CALL regress.fails($$SELECT wallet.set_recurring_grant('tree_user', 5, 'month')$$);
CALL regress.fails($$SELECT wallet.set_topup_rule('tree_user', '{"threshold": 5, "amount": 10, "method": "card"}')$$);
CALL regress.fails($$SELECT wallet.close_wallet('tree_team')$$);
SELECT FROM wallet.create_wallet('tree_rich', credit_limit => 1);
CALL regress.fails($$SELECT wallet.set_parent('tree_rich', 'tree_org')$$);
SELECT FROM wallet.update_wallet('tree_rich', credit_limit => 0);
SELECT FROM wallet.fund('tree_rich', 3, 'card');
CALL regress.fails($$SELECT wallet.set_parent('tree_rich', 'tree_org')$$);
SELECT wallet, parent, share, balance FROM wallet.set_parent('tree_rich', 'tree_org', share => 'own');
SELECT cost, balance FROM wallet.charge('tree_rich', amount => 1);

-- A charge of the user: the organisation pays, and each ledger adds up.
SELECT cost, balance, replayed FROM wallet.charge('tree_user', amount => 10, user_id => 'ann', idempotency_key => 'c1');
SELECT cost, balance, replayed FROM wallet.charge('tree_user', amount => 10, user_id => 'ann', idempotency_key => 'c1');
CALL regress.fails($$SELECT wallet.charge('tree_user', amount => 11, user_id => 'ann', idempotency_key => 'c1')$$);
SELECT cost, total_tokens FROM wallet.charge('tree_user', usage => '{"model": "tree-model", "input_tokens": 500000}', team => 'red');
SELECT e.wallet, e.kind, e.amount, e.contra, e.user_id, e.team, e.model
  FROM wallet.entries e WHERE e.wallet IN ('tree_org', 'tree_team', 'tree_user') ORDER BY e.wallet, e.seq;
SELECT count(DISTINCT e.entry_id), count(*) FROM wallet.entries e
 WHERE e.wallet LIKE 'tree\_%' AND e.amount = -10;
SELECT * FROM regress.tree();

-- Limits of every level count the use, and each refuses.
SELECT FROM wallet.set_limit('tree_user', 40, 'lifetime');
SELECT FROM wallet.set_limit('tree_team', 30, 'lifetime', 'user', 'ann');
SELECT FROM wallet.set_limit('tree_org', 1000000, 'lifetime', 'team', 'red', metric => 'tokens');
SELECT wallet, scope, subject, metric, max, used FROM wallet.limits_status WHERE wallet LIKE 'tree\_%' ORDER BY 1, 2, 5;
CALL regress.fails($$SELECT wallet.charge('tree_user', amount => 29.5)$$);
CALL regress.fails($$SELECT wallet.charge('tree_user', amount => 20.5, user_id => 'ann')$$);
CALL regress.fails($$SELECT wallet.charge('tree_user', usage => '{"model": "tree-model", "input_tokens": 600000}', team => 'red')$$);
CALL regress.fails($$SELECT wallet.charge('tree_team', amount => 300)$$);
SELECT scope, subject, metric, max, used, held, remaining, allowed, reason, in_wallet
  FROM wallet.check_limits('tree_user', user_id => 'ann', amount => 20.5);
SELECT model, cost, allowed, reason, remaining, chosen
  FROM wallet.choose_model('tree_user', '{"input_tokens": 500000}', '{tree-model}', user_id => 'ann');
SELECT * FROM regress.tree();

-- Model rules of a wallet above apply.
SELECT wallet.set_model_rules('tree_team', 'wallet', '*', blocked => '{tree-*}');
CALL regress.fails($$SELECT wallet.charge('tree_user', usage => '{"model": "tree-model", "input_tokens": 1}')$$);
SELECT scope, allowed, reason, in_wallet FROM wallet.check_limits('tree_user', usage => '{"model": "tree-model", "input_tokens": 1}');
SELECT wallet.set_model_rules('tree_team', 'wallet', '*');

-- Holds: each level has a part.
SELECT hold_id AS hold FROM wallet.hold('tree_user', amount => 8, user_id => 'ann', idempotency_key => 'h1') \gset
SELECT hold_id = :'hold' AS same, amount, replayed FROM wallet.hold('tree_user', amount => 8, user_id => 'ann', idempotency_key => 'h1');
SELECT wallet, amount, held, status, spender FROM wallet.holds WHERE hold_id = :'hold' ORDER BY 1;
SELECT * FROM regress.tree();
CALL regress.fails(format('SELECT wallet.settle(''tree_org'', %L, amount => 1)', :'hold'));
CALL regress.fails(format('SELECT wallet.void(''tree_team'', %L)', :'hold'));
CALL regress.fails($$SELECT wallet.set_parent('tree_user', NULL)$$);
CALL regress.fails($$SELECT wallet.set_parent('tree_team', 'tree_rich')$$);
SELECT cost FROM wallet.settle('tree_user', :'hold', amount => 2, final => false);
SELECT wallet, held, settled, status FROM wallet.holds WHERE hold_id = :'hold' ORDER BY 1;
SELECT cost, balance, replayed FROM wallet.settle('tree_user', :'hold', amount => 3, idempotency_key => 's1');
SELECT cost, balance, replayed FROM wallet.settle('tree_user', :'hold', amount => 3, idempotency_key => 's1');
SELECT wallet, held, settled, status FROM wallet.holds WHERE hold_id = :'hold' ORDER BY 1;
SELECT wallet, scope, subject, metric, used, held FROM wallet.limits_status WHERE wallet LIKE 'tree\_%' ORDER BY 1, 2;
SELECT * FROM regress.tree();

-- void, extend_hold, a partial hold.
SELECT hold_id AS hold FROM wallet.hold('tree_user', amount => 4) \gset
SELECT expires_at > now() + interval '50 minutes' AS extended FROM wallet.extend_hold('tree_user', :'hold', '1 hour');
SELECT wallet, expires_at > now() + interval '50 minutes' AS extended FROM wallet.holds WHERE hold_id = :'hold' ORDER BY 1;
SELECT amount, status FROM wallet.void('tree_user', :'hold', 'not needed');
SELECT wallet, held, status, reason FROM wallet.holds WHERE hold_id = :'hold' ORDER BY 1;
SELECT hold_id AS hold, amount FROM wallet.hold('tree_team', amount => 500, allow_partial => true) \gset
SELECT :'amount';
SELECT FROM wallet.void('tree_team', :'hold');
SELECT * FROM regress.tree();

-- Expiry: each wallet releases its part by itself, in any order; a late settlement books in all.
SELECT hold_id AS first FROM wallet.hold('tree_user', amount => 5, ttl => '1 microsecond') \gset
SELECT hold_id AS second FROM wallet.hold('tree_user', amount => 6, ttl => '1 microsecond') \gset
SELECT FROM wallet.adjust('tree_org', -1, 'makes the payer sweep');
SELECT * FROM regress.tree();
SELECT cost FROM wallet.settle('tree_user', :'first', amount => 2);
CALL regress.fails(format('SELECT wallet.void(''tree_user'', %L)', :'second'));
SELECT count(*) > 3 AS kept_up FROM wallet.maintain();
SELECT cost FROM wallet.settle('tree_user', :'second', amount => 1);
SELECT wallet, status, settled FROM wallet.holds WHERE hold_id IN (:'first', :'second') ORDER BY 1, 3;
SELECT * FROM regress.tree();
-- Charged on expiry: by the child's next hold of this kind, or by the maintenance. Until then the
-- parts stay reserved. A later settlement corrects.
SELECT hold_id AS hold FROM wallet.hold('tree_user', amount => 5, ttl => '1 microsecond', on_expiry => 'charge', user_id => 'ann') \gset
SELECT FROM wallet.hold('tree_org', amount => 1, ttl => '1 microsecond', on_expiry => 'charge');
SELECT wallet, held, settled, status, expiry_entry_id IS NOT NULL AS charged FROM wallet.holds WHERE hold_id = :'hold' ORDER BY 1;
SELECT count(*) > 3 AS kept_up FROM wallet.maintain();
SELECT wallet, held, settled, status, expiry_entry_id IS NOT NULL AS charged FROM wallet.holds WHERE hold_id = :'hold' ORDER BY 1;
SELECT * FROM regress.tree();
SELECT cost FROM wallet.settle('tree_user', :'hold', amount => 3);
SELECT wallet, held, settled, status FROM wallet.holds WHERE hold_id = :'hold' ORDER BY 1;
SELECT wallet, scope, subject, metric, used, held FROM wallet.limits_status WHERE wallet LIKE 'tree\_%' ORDER BY 1, 2;
SELECT * FROM regress.tree();

-- Refunds return the money to the organisation, and the amounts to the limits of every level.
SELECT entry_id AS charge FROM wallet.entries WHERE wallet = 'tree_user' AND kind = 'charge' AND amount = -10 \gset
SELECT amount, balance FROM wallet.refund('tree_user', :'charge', 4, idempotency_key => 'r1');
SELECT amount, balance, replayed FROM wallet.refund('tree_user', :'charge', 4, idempotency_key => 'r1');
CALL regress.fails(format('SELECT wallet.refund(''tree_user'', %L, 7)', :'charge'));
CALL regress.fails(format('SELECT wallet.refund(''tree_org'', %L, 1)', :'charge'));
SELECT wallet, scope, subject, metric, used, held FROM wallet.limits_status WHERE wallet LIKE 'tree\_%' ORDER BY 1, 2;
SELECT * FROM regress.tree();

-- Capped, and as a debt of the payer.
SELECT hold_id AS hold FROM wallet.hold('tree_user', amount => 2) \gset
SELECT cost FROM wallet.settle('tree_user', :'hold', amount => 3, over => 'cap');
SELECT hold_id AS hold FROM wallet.hold('tree_team', amount => 1) \gset
SELECT cost FROM wallet.settle('tree_team', :'hold', amount => 83, over => 'debt');
SELECT wallet, balance, debt FROM wallet.balances WHERE wallet IN ('tree_org', 'tree_team') ORDER BY 1;
SELECT * FROM regress.tree();
SELECT FROM wallet.fund('tree_org', 100, 'card');

-- A batch, and a late price.
SELECT item, cost, sqlstate FROM wallet.charge_batch('tree_user', '[{"amount": 1, "idempotency_key": "b1"}, {"amount": 900}, {"amount": 2}]', on_error => 'skip');
SELECT FROM wallet.update_wallet('tree_user', unknown_price => 'unpriced');
SELECT cost FROM wallet.charge('tree_user', usage => '{"model": "tree-late", "input_tokens": 100000}', team => 'red');
SELECT FROM wallet.set_price('tree-late', 'input_tokens', 10, per => 1000000, effective_from => '2020-01-01');
CALL regress.fails($$SELECT wallet.set_parent('tree_user', NULL)$$);
-- Nor can the wallet in between change its payer, which pays the late price.
CALL regress.fails($$SELECT wallet.set_parent('tree_team', NULL)$$);
SELECT model, cost FROM wallet.price_unpriced('tree_user');
SELECT * FROM regress.tree();

-- Frozen above: nobody below spends.
SELECT FROM wallet.freeze_wallet('tree_org', 'audit');
CALL regress.fails($$SELECT wallet.charge('tree_user', amount => 1)$$);
SELECT scope, allowed, reason, in_wallet FROM wallet.check_limits('tree_user', amount => 1) LIMIT 1;
SELECT FROM wallet.unfreeze_wallet('tree_org');

-- Reports.
SELECT * FROM wallet.descendants('tree_org');
SELECT child, depth, requests, tokens, cost, refunded, total_cost, total_refunded FROM wallet.usage_by_child('tree_org');
SELECT value, requests, cost FROM wallet.usage_by('tree_org', 'user');

-- Who may read the organisation may read what is below it, and nothing else.
CREATE ROLE regress_tree_reader;
CREATE ROLE regress_tree_claims;
SELECT FROM wallet.grant_access('regress_tree_reader', 'reader', 'tree_team');
SET ROLE regress_tree_reader;
SELECT wallet FROM wallet.balances ORDER BY 1;
SELECT child FROM wallet.descendants('tree_user');
CALL regress.fails($$SELECT wallet.descendants('tree_org')$$);
-- The payer's numbers are not for everybody.
SELECT scope, remaining, allowed, in_wallet FROM wallet.check_limits('tree_user', amount => 1) ORDER BY 4, 1;
RESET ROLE;
SELECT FROM wallet.grant_access('regress_tree_reader', 'charger', 'tree_user');
SET ROLE regress_tree_reader;
CALL regress.fails($$SELECT wallet.charge('tree_user', amount => 5000)$$);
CALL regress.fails($$SELECT wallet.charge('tree_team', amount => 1)$$);
RESET ROLE;
SELECT FROM wallet.drop_limit('tree_user', (SELECT limit_id FROM wallet.limits WHERE wallet_id = 'tree_user'));
SET ROLE regress_tree_reader;
CALL regress.fails($$SELECT wallet.charge('tree_user', amount => 5000)$$);
-- The amount of a partial hold would tell the payer's balance.
CALL regress.fails($$SELECT wallet.hold('tree_user', amount => 5000, allow_partial => true)$$);
CALL regress.fails($$SELECT wallet.hold('tree_user', amount => 1, allow_partial => true)$$);
RESET ROLE;
SELECT FROM wallet.grant_access('regress_tree_reader', 'reader', 'tree_org');
SET ROLE regress_tree_reader;
SELECT amount < 5000 AS partial FROM wallet.hold('tree_user', amount => 5000, allow_partial => true, idempotency_key => 'partial');
SELECT FROM wallet.void('tree_user', (SELECT hold_id FROM wallet.holds WHERE wallet = 'tree_user' AND status = 'open'));
RESET ROLE;
SELECT FROM wallet.revoke_access('regress_tree_reader', 'reader', 'tree_org');

-- A claim of the parent reads the children, and spends from none.
SELECT FROM wallet.grant_access('regress_tree_claims', 'charger', claimed => true);
SET ROLE regress_tree_claims;
SET wallet.claim = 'tree_team';
SELECT wallet FROM wallet.balances ORDER BY 1;
SELECT child, requests > 0 AS used FROM wallet.usage_by_child('tree_team');
CALL regress.fails($$SELECT wallet.charge('tree_user', amount => 1)$$);
CALL regress.fails($$SELECT * FROM wallet.descendants('tree_org')$$);
RESET wallet.claim;
SELECT count(*) FROM wallet.balances;
RESET ROLE;

-- Without the parent the wallet has its own money again; earlier charges are refunded to the payer.
SELECT wallet, parent, share FROM wallet.set_parent('tree_user', NULL);
CALL regress.fails($$SELECT wallet.charge('tree_user', amount => 1)$$);
SELECT FROM wallet.fund('tree_user', 7, 'card');
SELECT cost, balance FROM wallet.charge('tree_user', amount => 2);
SELECT amount, balance FROM wallet.refund('tree_user', :'charge', 1);
SELECT p.amount FROM wallet.grant_payments p WHERE p.wallet = 'tree_user';
CALL regress.fails($$SELECT wallet.set_parent('tree_user', 'tree_team')$$);
SELECT * FROM regress.tree();
SELECT action, before ->> 'parent' AS before, after ->> 'parent' AS after
  FROM wallet.audit WHERE wallet = 'tree_user' AND action = 'set_parent' ORDER BY at;

-- Too many levels.
SELECT count(wallet.create_wallet('tree_l' || n)) FROM generate_series(1, 8) n;
SELECT count(wallet.set_parent('tree_l' || n, 'tree_l' || (n - 1))) FROM generate_series(2, 8) n;
CALL regress.fails($$SELECT wallet.set_parent('tree_l1', 'tree_rich', share => 'own')$$);
SELECT FROM wallet.fund('tree_l1', 10, 'card');
SELECT cost, balance FROM wallet.charge('tree_l8', amount => 1);
SELECT b.wallet, b.balance FROM wallet.balances b WHERE b.wallet IN ('tree_l1', 'tree_l4', 'tree_l8') ORDER BY 1;
DROP OWNED BY regress_tree_reader, regress_tree_claims;
DROP ROLE regress_tree_reader, regress_tree_claims;
