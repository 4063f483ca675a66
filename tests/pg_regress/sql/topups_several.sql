-- Several top-up rules of one wallet, each by its name.
CREATE FUNCTION regress.asked(of_wallet text)
RETURNS TABLE (n bigint, event text, rule text, threshold numeric, what text)
LANGUAGE sql AS $$
    SELECT row_number() OVER (ORDER BY id), event, payload->>'rule_name', threshold,
           concat_ws(' ', payload->>'reason', payload->>'amount', payload->>'method', payload->>'reference')
      FROM wallet.events WHERE wallet = of_wallet AND event LIKE 'topup%' $$;
CREATE FUNCTION regress.open_topup(of_wallet text, rule text) RETURNS uuid
LANGUAGE sql AS $$ SELECT topup_id FROM wallet.topups WHERE wallet = of_wallet AND rule_name = rule AND status = 'requested' $$;
CREATE FUNCTION regress.topups_of(of_wallet text)
RETURNS TABLE (rule_name text, amount numeric, method text, status text, cause text)
LANGUAGE sql AS $$
    SELECT t.rule_name, t.amount, t.method, t.status, t.cause FROM wallet.topups t
     WHERE t.wallet = of_wallet ORDER BY t.created_at, t.topup_id $$;

-- Each rule has a threshold, an amount and an open top-up of its own.
SELECT wallet FROM wallet.create_wallet('ts');
SELECT balance FROM wallet.fund('ts', 100);
SELECT wallet.set_topup_rule('ts', '{"threshold":50,"amount":10}', name => 'early') IS NOT NULL AS set;
SELECT wallet.set_topup_rule('ts', '{"threshold":20,"amount":100,"method":"invoice"}', name => 'late') IS NOT NULL AS set;
SELECT name, threshold, amount, method FROM wallet.topup_rules WHERE wallet_id = 'ts' ORDER BY name;
SELECT balance FROM wallet.charge('ts', amount => 55);
SELECT * FROM regress.topups_of('ts');
-- 15 and the 10 that are on their way are more than 20: the second rule is covered. It requests a
-- top-up with the charge after which they no longer are.
SELECT balance FROM wallet.charge('ts', amount => 30);
SELECT * FROM regress.topups_of('ts');
SELECT balance FROM wallet.charge('ts', amount => 5);
SELECT * FROM regress.topups_of('ts');
SELECT kind, threshold, state FROM wallet.thresholds WHERE wallet_id = 'ts' ORDER BY kind, threshold;
SELECT balance FROM wallet.charge('ts', amount => 0.01);
SELECT * FROM regress.topups_of('ts');
SELECT kind, threshold, state FROM wallet.thresholds WHERE wallet_id = 'ts' ORDER BY kind, threshold;
SELECT * FROM regress.asked('ts');
SELECT amount, status, balance, rule_name FROM wallet.complete_topup('ts', regress.open_topup('ts', 'late'), 'l1');
SELECT amount, status, balance, rule_name FROM wallet.complete_topup('ts', regress.open_topup('ts', 'early'), 'e1');
SELECT kind, threshold, state FROM wallet.thresholds WHERE wallet_id = 'ts' ORDER BY kind, threshold;

-- One charge that crosses both thresholds: the higher one comes first, and its top-up reaches above
-- the lower one too. If it is declined, the other rule requests its own with the next charge.
SELECT balance FROM wallet.charge('ts', amount => 110);
SELECT rule_name, amount FROM regress.topups_of('ts') WHERE status = 'requested';
SELECT status, rule_name FROM wallet.fail_topup('ts', regress.open_topup('ts', 'early'), 'card declined');
SELECT balance FROM wallet.charge('ts', amount => 1);
SELECT rule_name, amount, method FROM regress.topups_of('ts') WHERE status = 'requested';
SELECT * FROM regress.asked('ts') WHERE n > 4;
-- A debt is paid first, so a top-up that covered another rule may no longer do so.
SELECT wallet FROM wallet.create_wallet('ts_debt');
SELECT entry_id AS paid FROM wallet.fund('ts_debt', 30) \gset
SELECT wallet.set_topup_rule('ts_debt', '{"threshold":20,"amount":10}', name => 'early') IS NOT NULL AS set;
SELECT wallet.set_topup_rule('ts_debt', '{"threshold":5,"amount":100}', name => 'late') IS NOT NULL AS set;
SELECT balance FROM wallet.charge('ts_debt', amount => 28);
SELECT rule_name, amount FROM regress.topups_of('ts_debt') WHERE status = 'requested';
SELECT debt, balance FROM wallet.reverse_funding('ts_debt', :'paid', 'charged back');
SELECT wallet.request_due_topups('ts_debt');
SELECT rule_name, amount FROM regress.topups_of('ts_debt') WHERE status = 'requested';
SELECT rule_name, balance FROM wallet.complete_topup('ts_debt', regress.open_topup('ts_debt', 'early'));
SELECT rule_name, balance FROM wallet.complete_topup('ts_debt', regress.open_topup('ts_debt', 'late'));

-- Caps, pauses and declines are counted by rule.
SELECT wallet FROM wallet.create_wallet('ts_caps');
SELECT balance FROM wallet.fund('ts_caps', 60);
SELECT wallet.set_topup_rule('ts_caps', '{"threshold":50,"amount":10,"max_count":1,"period":"lifetime","cooldown":"1 hour"}', name => 'once') IS NOT NULL AS set;
SELECT wallet.set_topup_rule('ts_caps', '{"threshold":40,"amount":10,"max_amount":20,"period":"lifetime","max_declines":1}', name => 'twice') IS NOT NULL AS set;
SELECT balance FROM wallet.charge('ts_caps', amount => 15);
SELECT status FROM wallet.complete_topup('ts_caps', regress.open_topup('ts_caps', 'once'));
SELECT balance FROM wallet.charge('ts_caps', amount => 20);
SELECT status FROM wallet.complete_topup('ts_caps', regress.open_topup('ts_caps', 'twice'));
SELECT balance FROM wallet.charge('ts_caps', amount => 10);
SELECT status FROM wallet.fail_topup('ts_caps', regress.open_topup('ts_caps', 'twice'));
SELECT balance FROM wallet.charge('ts_caps', amount => 1);
SELECT * FROM regress.asked('ts_caps');
SELECT * FROM regress.topups_of('ts_caps');

-- By time: it requests its amount whatever else is on its way, and comes before the rules with a
-- threshold, which its top-up may cover.
SELECT wallet FROM wallet.create_wallet('ts_time');
SELECT balance FROM wallet.fund('ts_time', 30);
SELECT wallet.set_topup_rule('ts_time', '{"threshold":20,"amount":50}') IS NOT NULL AS set;
SELECT wallet.set_topup_rule('ts_time', '{"interval":"monthly","amount":40}', name => 'monthly') IS NOT NULL AS set;
UPDATE wallet.topup_rules SET created_at = created_at - interval '40 days', next_at = next_at - interval '40 days',
       evaluate_at = evaluate_at - interval '40 days' WHERE wallet_id = 'ts_time' AND name = 'monthly';
UPDATE wallet.allowances SET evaluate_at = evaluate_at - interval '40 days' WHERE wallet_id = 'ts_time';
SELECT balance FROM wallet.charge('ts_time', amount => 15);
SELECT * FROM regress.topups_of('ts_time');
SELECT balance FROM wallet.charge('ts_time', amount => 14);
SELECT * FROM regress.topups_of('ts_time');
SELECT wallet.request_due_topups('ts_time');

-- Two rules with one threshold: in the order of their names. One replaces the other if it is
-- dropped, also while its top-up is open.
SELECT wallet FROM wallet.create_wallet('ts_same', credit_limit => 50);
SELECT balance FROM wallet.fund('ts_same', 30);
SELECT wallet.set_topup_rule('ts_same', '{"threshold":20,"amount":5}', name => 'b') IS NOT NULL AS set;
SELECT wallet.set_topup_rule('ts_same', '{"threshold":20,"amount":7}', name => 'a') IS NOT NULL AS set;
SELECT kind, threshold, state FROM wallet.thresholds WHERE wallet_id = 'ts_same' ORDER BY kind, threshold;
SELECT balance FROM wallet.charge('ts_same', amount => 12);
SELECT * FROM regress.topups_of('ts_same');
SELECT wallet.set_topup_rule('ts_same', NULL, name => 'a') IS NULL AS dropped;
SELECT kind, threshold, state FROM wallet.thresholds WHERE wallet_id = 'ts_same' ORDER BY kind, threshold;
SELECT balance FROM wallet.charge('ts_same', amount => 10);
SELECT * FROM regress.topups_of('ts_same');
SELECT wallet.set_topup_rule('ts_same', NULL, name => 'b') IS NULL AS dropped;
SELECT kind, threshold, state FROM wallet.thresholds WHERE wallet_id = 'ts_same' ORDER BY kind, threshold;

-- The name belongs to the request of an idempotency key, and to the audit trail.
SELECT wallet FROM wallet.create_wallet('ts_key');
SELECT wallet.set_topup_rule('ts_key', '{"threshold":0,"amount":5}', 'k', name => 'one') IS NOT NULL AS set;
SELECT wallet.set_topup_rule('ts_key', '{"threshold":0,"amount":5}', 'k', name => 'one') IS NOT NULL AS set;
CALL regress.fails($$ SELECT wallet.set_topup_rule('ts_key', '{"threshold":0,"amount":5}', 'k', name => 'two') $$);
SELECT action, subject, before IS NULL AS is_new, after ->> 'name' AS name FROM wallet.audit WHERE wallet = 'ts_key' AND action = 'set_topup_rule';
-- Arguments that are refused.
CALL regress.fails($$ SELECT wallet.set_topup_rule('ts_key', '{"threshold":0,"amount":5}', name => NULL) $$);
CALL regress.fails($$ SELECT wallet.set_topup_rule('ts_key', '{"threshold":0,"amount":5}', name => ' a') $$);
SELECT count(wallet.set_topup_rule('ts_key', '{"threshold":0,"amount":5}', name => 'n' || n)) FROM generate_series(1, 99) n;
CALL regress.fails($$ SELECT wallet.set_topup_rule('ts_key', '{"threshold":0,"amount":5}', name => 'n100') $$);
SELECT wallet.set_topup_rule('ts_key', '{"threshold":0,"amount":6}', name => 'n99') ->> 'amount' AS changed;
SELECT status FROM wallet.close_wallet('ts_key');
SELECT count(*) FROM wallet.topup_rules WHERE wallet_id = 'ts_key';
SELECT * FROM regress.broken('ts') UNION ALL SELECT * FROM regress.broken('ts_caps') UNION ALL SELECT * FROM regress.broken('ts_time')
UNION ALL SELECT * FROM regress.broken('ts_same') UNION ALL SELECT * FROM regress.broken('ts_debt');
DROP FUNCTION regress.asked(text), regress.open_topup(text, text), regress.topups_of(text);
