-- Top-up rules: when they request money, how much, and why not.
CREATE FUNCTION regress.told(of_wallet text) RETURNS TABLE (n bigint, event text, threshold numeric, what text)
LANGUAGE sql AS $$
    SELECT row_number() OVER (ORDER BY id), event, threshold,
           concat_ws(' ', payload->>'reason', payload->>'amount', payload->>'currency', payload->>'method', payload->>'reference',
                     CASE WHEN payload->>'retry_at' IS NOT NULL THEN 'later' END)
      FROM wallet.events WHERE wallet = of_wallet AND event LIKE 'topup%' $$;
CREATE FUNCTION regress.open_topup(of_wallet text) RETURNS uuid
LANGUAGE sql AS $$ SELECT topup_id FROM wallet.topups WHERE wallet = of_wallet AND status = 'requested' $$;

-- As if two months had passed, for a rule by time.
CREATE FUNCTION regress.wound_back(of_wallet text) RETURNS void LANGUAGE sql AS $$
    UPDATE wallet.topup_rules SET created_at = created_at - interval '2 months', next_at = next_at - interval '2 months',
           evaluate_at = evaluate_at - interval '2 months' WHERE wallet_id = of_wallet;
    UPDATE wallet.allowances SET evaluate_at = evaluate_at - interval '2 months' WHERE wallet_id = of_wallet $$;

-- The rule works with its own threshold. The charge that crosses it requests a top-up, once.
SELECT wallet FROM wallet.create_wallet('tu');
SELECT balance FROM wallet.fund('tu', 50);
SELECT wallet.set_topup_rule('tu', '{"event":"wallet_balance_low","threshold":20,"action":"auto_top_up","amount":100,"method":"card"}');
SELECT balance FROM wallet.charge('tu', amount => 30);
SELECT count(*) FROM wallet.topups WHERE wallet = 'tu';
SELECT balance FROM wallet.charge('tu', amount => 0.01);
SELECT balance FROM wallet.charge('tu', amount => 1);
SELECT wallet, amount, method, status, reason, reference, finished_at, cause, entry_id FROM wallet.topups WHERE wallet = 'tu';
SELECT * FROM regress.told('tu');
-- Completed once, however often and by whomever it is reported.
SELECT topup_id AS topup FROM wallet.topups WHERE wallet = 'tu' \gset
SELECT amount, status, reference, entry_id IS NOT NULL AS has_entry, balance, replayed FROM wallet.complete_topup('tu', :'topup', 'pay_1');
SELECT amount, status, reference, entry_id IS NOT NULL AS has_entry, balance, replayed FROM wallet.complete_topup('tu', :'topup', 'pay_1');
SELECT status, balance, replayed FROM wallet.complete_topup('tu', :'topup');
CALL regress.fails(format('SELECT wallet.complete_topup(''tu'', %L, ''pay_2'')', :'topup'));
CALL regress.fails(format('SELECT wallet.fail_topup(''tu'', %L)', :'topup'));
SELECT amount, method, reference, status FROM wallet.fundings WHERE wallet = 'tu' ORDER BY created_at;
SELECT * FROM regress.told('tu');
-- The next crossing requests one again.
SELECT balance FROM wallet.charge('tu', amount => 110);
SELECT status, count(*) FROM wallet.topups WHERE wallet = 'tu' GROUP BY 1 ORDER BY 1;
-- A charge that is rolled back has requested nothing.
SELECT status FROM wallet.complete_topup('tu', regress.open_topup('tu'), 'pay_3');
BEGIN;
SELECT balance FROM wallet.charge('tu', amount => 100);
SELECT regress.open_topup('tu') IS NOT NULL AS open;
ROLLBACK;
SELECT regress.open_topup('tu') IS NOT NULL AS open;

-- Declined: a pause, then again at the next charge. After max_declines the rule stops.
SELECT wallet FROM wallet.create_wallet('tu_declined', low_balance => '{20}');
SELECT balance FROM wallet.fund('tu_declined', 25);
SELECT wallet.set_topup_rule('tu_declined', '{"threshold":20,"amount":100,"max_declines":2,"back_off":0.3}') IS NOT NULL AS set;
SELECT balance FROM wallet.charge('tu_declined', amount => 6);
SELECT status, reason, replayed FROM wallet.fail_topup('tu_declined', regress.open_topup('tu_declined'), 'card declined');
SELECT balance FROM wallet.charge('tu_declined', amount => 1);
SELECT balance FROM wallet.charge('tu_declined', amount => 1);
SELECT regress.open_topup('tu_declined') IS NOT NULL AS open;
SELECT pg_sleep(0.3);
SELECT balance FROM wallet.charge('tu_declined', amount => 1);
SELECT topup_id AS topup FROM wallet.topups WHERE wallet = 'tu_declined' AND status = 'requested' \gset
SELECT status FROM wallet.fail_topup('tu_declined', :'topup', 'card declined');
SELECT status, replayed FROM wallet.fail_topup('tu_declined', :'topup', 'card declined');
SELECT balance FROM wallet.charge('tu_declined', amount => 1);
SELECT * FROM regress.told('tu_declined');
-- Paid after all: credited, and the rule continues.
SELECT status, reason, balance FROM wallet.complete_topup('tu_declined', :'topup', 'pay_late');
SELECT balance FROM wallet.charge('tu_declined', amount => 100);
SELECT regress.open_topup('tu_declined') IS NOT NULL AS open;
-- Setting the rule again resets it.
SELECT event, threshold FROM wallet.events WHERE wallet = 'tu_declined' ORDER BY id;

-- A cool-down that ends while the wallet is still low: the next charge requests a top-up without a
-- crossing.
SELECT wallet FROM wallet.create_wallet('tu_cool', lanes => 4);
SELECT balance FROM wallet.fund('tu_cool', 25);
SELECT wallet.set_topup_rule('tu_cool', '{"threshold":20,"amount":10,"cooldown":"1 second"}') IS NOT NULL AS set;
SELECT balance FROM wallet.charge('tu_cool', amount => 6);
SELECT status, balance FROM wallet.complete_topup('tu_cool', regress.open_topup('tu_cool'), 'a');
SELECT balance FROM wallet.charge('tu_cool', amount => 10);
SELECT regress.open_topup('tu_cool') IS NOT NULL AS open;
SELECT pg_sleep(1);
SELECT balance FROM wallet.charge('tu_cool', amount => 1);
SELECT regress.open_topup('tu_cool') IS NOT NULL AS open;
SELECT * FROM regress.told('tu_cool');

-- One payment closes the whole gap: a multiple of the amount, or up to the target, in cents.
SELECT wallet FROM wallet.create_wallet('tu_gap', credit_limit => 100);
SELECT balance FROM wallet.fund('tu_gap', 25);
SELECT wallet.set_topup_rule('tu_gap', '{"threshold":20,"amount":10}') IS NOT NULL AS set;
SELECT balance FROM wallet.charge('tu_gap', amount => 40);
SELECT amount FROM wallet.topups WHERE wallet = 'tu_gap';
SELECT status, balance FROM wallet.complete_topup('tu_gap', regress.open_topup('tu_gap'));
SELECT wallet.set_topup_rule('tu_gap', '{"threshold":20,"amount":10,"target_balance":150}') IS NOT NULL AS set;
SELECT balance FROM wallet.charge('tu_gap', amount => 9.123456);
SELECT amount FROM wallet.topups WHERE wallet = 'tu_gap' AND status = 'requested';

-- Caps per period.
SELECT wallet FROM wallet.create_wallet('tu_caps');
SELECT balance FROM wallet.fund('tu_caps', 30);
SELECT wallet.set_topup_rule('tu_caps', '{"threshold":20,"amount":100,"max_count":1,"period":"year"}') IS NOT NULL AS set;
SELECT balance FROM wallet.charge('tu_caps', amount => 20);
SELECT status FROM wallet.complete_topup('tu_caps', regress.open_topup('tu_caps'));
SELECT balance FROM wallet.charge('tu_caps', amount => 100);
SELECT wallet.set_topup_rule('tu_caps', '{"threshold":20,"amount":100,"max_amount":150,"period":"lifetime"}') IS NOT NULL AS set;
SELECT (wallet.update_wallet('tu_caps', funding_max => 50)).wallet IS NOT NULL AS set;
SELECT wallet.set_topup_rule('tu_caps', '{"threshold":20,"amount":100}') IS NOT NULL AS set;
SELECT (wallet.update_wallet('tu_caps', funding_max => 500)).wallet IS NOT NULL AS set;
SELECT * FROM regress.told('tu_caps');

-- A wallet below the threshold requests a top-up when the rule is set, whether or not it was ever
-- above. It does so once, however often the rule is set.
SELECT wallet FROM wallet.create_wallet('tu_low');
SELECT wallet FROM wallet.create_wallet('tu_empty');
SELECT wallet FROM wallet.create_wallet('tu_at');
SELECT wallet FROM wallet.create_wallet('tu_credit', credit_limit => 100);
SELECT balance FROM wallet.fund('tu_low', 8);
SELECT balance FROM wallet.fund('tu_at', 10);
SELECT wallet.set_topup_rule(w, '{"threshold":10,"amount":50}') IS NOT NULL AS set FROM unnest('{tu_low,tu_empty,tu_at,tu_credit}'::text[]) w;
SELECT w, (SELECT count(*) FROM wallet.topups t WHERE t.wallet = w) AS topups, (SELECT amount FROM wallet.topups t WHERE t.wallet = w) AS amount
  FROM unnest('{tu_low,tu_empty,tu_at,tu_credit}'::text[]) w;
SELECT * FROM regress.told('tu_low');
SELECT wallet.set_topup_rule('tu_low', '{"threshold":10,"amount":50}') IS NOT NULL AS set;
SELECT wallet.set_topup_rule('tu_low', '{"threshold":9,"amount":60}') IS NOT NULL AS set;
SELECT balance FROM wallet.charge('tu_low', amount => 1);
SELECT regress.outcome($$ SELECT wallet.charge('tu_empty', amount => 1) $$);
SELECT wallet.request_due_topups('tu_low'), wallet.request_due_topups('tu_empty');
SELECT wallet, amount, status FROM wallet.topups WHERE wallet IN ('tu_low', 'tu_empty') ORDER BY wallet DESC;
SELECT * FROM regress.told('tu_low');
-- Completed, the rule continues like any other.
SELECT status, balance FROM wallet.complete_topup('tu_low', regress.open_topup('tu_low'));
SELECT balance FROM wallet.charge('tu_low', amount => 40);
SELECT regress.open_topup('tu_low') IS NOT NULL AS open;
SELECT balance FROM wallet.charge('tu_low', amount => 10);
SELECT amount, status FROM wallet.topups WHERE wallet = 'tu_low' ORDER BY created_at;
-- Exactly at the threshold the wallet is not low. One cent less and it is.
SELECT balance FROM wallet.charge('tu_at', amount => 0.01);
SELECT count(*) FROM wallet.topups WHERE wallet = 'tu_at';
-- If the threshold moves above the balance, the rule requests a top-up. If it moves below, it does
-- not.
SELECT wallet FROM wallet.create_wallet('tu_moves');
SELECT balance FROM wallet.fund('tu_moves', 20);
SELECT wallet.set_topup_rule('tu_moves', '{"threshold":10,"amount":50}') IS NOT NULL AS set;
SELECT count(*) FROM wallet.topups WHERE wallet = 'tu_moves';
SELECT wallet.set_topup_rule('tu_moves', '{"threshold":30,"amount":50}') IS NOT NULL AS set;
SELECT amount, status FROM wallet.topups WHERE wallet = 'tu_moves';
-- Dropped and set again during an open top-up: still one top-up.
SELECT wallet.set_topup_rule('tu_moves', NULL);
SELECT wallet.set_topup_rule('tu_moves', '{"threshold":30,"amount":50}') IS NOT NULL AS set;
SELECT status FROM wallet.fail_topup('tu_moves', regress.open_topup('tu_moves'), 'declined');
SELECT wallet.set_topup_rule('tu_moves', '{"threshold":15,"amount":50}') IS NOT NULL AS set;
SELECT regress.open_topup('tu_moves') IS NOT NULL AS open;
-- The obstacle is reported. When it is gone, the wallet requests a top-up.
SELECT wallet FROM wallet.create_wallet('tu_ice');
SELECT status FROM wallet.freeze_wallet('tu_ice');
SELECT wallet.set_topup_rule('tu_ice', '{"threshold":10,"amount":50}') IS NOT NULL AS set;
SELECT * FROM regress.told('tu_ice');
SELECT status FROM wallet.unfreeze_wallet('tu_ice');
SELECT * FROM regress.told('tu_ice');
SELECT wallet FROM wallet.create_wallet('tu_max');
SELECT wallet.set_topup_rule('tu_max', '{"threshold":10,"amount":50,"max_amount":40,"period":"month"}') IS NOT NULL AS set;
SELECT wallet.set_topup_rule('tu_max', '{"threshold":10,"amount":50,"max_amount":50,"period":"month"}') IS NOT NULL AS set;
SELECT status FROM wallet.complete_topup('tu_max', regress.open_topup('tu_max'));
SELECT balance FROM wallet.charge('tu_max', amount => 45);
SELECT wallet.set_topup_rule('tu_max', '{"threshold":10,"amount":50,"max_amount":50,"period":"month"}') IS NOT NULL AS set;
SELECT * FROM regress.told('tu_max');
-- Scoped credit does not count, nor does expired credit or money that expired holds reserve.
SELECT wallet FROM wallet.create_wallet('tu_scoped');
SELECT balance FROM wallet.fund('tu_scoped', 90, scope => '{"models": ["m"]}');
SELECT wallet.set_topup_rule('tu_scoped', '{"threshold":10,"amount":50}') IS NOT NULL AS set;
SELECT wallet FROM wallet.create_wallet('tu_ended');
SELECT balance FROM wallet.fund('tu_ended', 90, expires_at => clock_timestamp() + interval '0.3 seconds');
SELECT wallet FROM wallet.create_wallet('tu_held');
SELECT balance FROM wallet.fund('tu_held', 90);
SELECT amount FROM wallet.hold('tu_held', amount => 85, ttl => '0.3 seconds');
SELECT pg_sleep(0.4);
SELECT wallet.set_topup_rule(w, '{"threshold":10,"amount":50}') IS NOT NULL AS set FROM unnest('{tu_ended,tu_held}'::text[]) w;
SELECT w, (SELECT count(*) FROM wallet.topups t WHERE t.wallet = w) AS topups FROM unnest('{tu_scoped,tu_ended,tu_held}'::text[]) w;
-- With several lanes, some of them empty.
SELECT wallet FROM wallet.create_wallet('tu_lanes', lanes => 4);
SELECT balance FROM wallet.fund('tu_lanes', 8);
SELECT wallet.set_topup_rule('tu_lanes', '{"threshold":10,"target_balance":20}') IS NOT NULL AS set;
SELECT amount, status FROM wallet.topups WHERE wallet = 'tu_lanes';

-- By time: the next charge, or request_due_topups(), requests a top-up when it is due.
SELECT wallet FROM wallet.create_wallet('tu_time');
SELECT wallet.set_topup_rule('tu_time', '{"interval":"monthly","amount":100}') IS NOT NULL AS set;
SELECT balance FROM wallet.fund('tu_time', 10);
SELECT balance FROM wallet.charge('tu_time', amount => 1);
SELECT count(*) FROM wallet.topups WHERE wallet = 'tu_time';
SELECT next_at AT TIME ZONE 'UTC' = created_at AT TIME ZONE 'UTC' + interval '1 month' AS in_a_month, evaluate_at = next_at AS looks FROM wallet.topup_rules WHERE wallet_id = 'tu_time';
SELECT regress.wound_back('tu_time');
SELECT balance FROM wallet.charge('tu_time', amount => 1);
SELECT amount, cause, status FROM wallet.topups WHERE wallet = 'tu_time';
SELECT next_at > now() AND next_at AT TIME ZONE 'UTC' <= now() AT TIME ZONE 'UTC' + interval '1 month' AS next_month FROM wallet.topup_rules WHERE wallet_id = 'tu_time';
SELECT status FROM wallet.complete_topup('tu_time', regress.open_topup('tu_time'), 'm1');
SELECT regress.wound_back('tu_time');
SELECT wallet.request_due_topups('tu_time'), wallet.request_due_topups('tu_time');
SELECT count(*) FROM wallet.topups WHERE wallet = 'tu_time';

-- Two more reasons: a top-up is open when the wallet falls again, and the wallet is frozen when its
-- last hold is settled.
SELECT wallet FROM wallet.create_wallet('tu_open');
SELECT balance FROM wallet.fund('tu_open', 30);
SELECT wallet.set_topup_rule('tu_open', '{"threshold":20,"amount":100}') IS NOT NULL AS set;
SELECT balance FROM wallet.charge('tu_open', amount => 15);
SELECT balance FROM wallet.fund('tu_open', 10);
SELECT balance FROM wallet.charge('tu_open', amount => 6);
SELECT * FROM regress.told('tu_open');
SELECT count(*) FROM wallet.topups WHERE wallet = 'tu_open';
SELECT wallet FROM wallet.create_wallet('tu_frozen');
SELECT balance FROM wallet.fund('tu_frozen', 30);
SELECT wallet.set_topup_rule('tu_frozen', '{"threshold":20,"amount":100}') IS NOT NULL AS set;
SELECT hold_id AS hold FROM wallet.hold('tu_frozen', amount => 5) \gset
SELECT status FROM wallet.freeze_wallet('tu_frozen');
SELECT balance FROM wallet.settle('tu_frozen', :'hold', amount => 15);
SELECT * FROM regress.told('tu_frozen');
SELECT status FROM wallet.unfreeze_wallet('tu_frozen');
SELECT balance FROM wallet.charge('tu_frozen', amount => 1);
SELECT count(*) FROM wallet.topups WHERE wallet = 'tu_frozen';

-- Arguments that are refused.
CALL regress.fails($$ SELECT wallet.set_topup_rule('tu', '[]') $$);
CALL regress.fails($$ SELECT wallet.set_topup_rule('tu', '{"threshold":20}') $$);
CALL regress.fails($$ SELECT wallet.set_topup_rule('tu', '{"amount":20}') $$);
CALL regress.fails($$ SELECT wallet.set_topup_rule('tu', '{"threshold":20,"amount":1,"treshold":1}') $$);
CALL regress.fails($$ SELECT wallet.set_topup_rule('tu', '{"threshold":20,"amount":-1}') $$);
CALL regress.fails($$ SELECT wallet.set_topup_rule('tu', '{"threshold":20,"amount":0}') $$);
CALL regress.fails($$ SELECT wallet.set_topup_rule('tu', '{"threshold":20,"amount":"ten"}') $$);
CALL regress.fails($$ SELECT wallet.set_topup_rule('tu', '{"threshold":20,"target_balance":10}') $$);
CALL regress.fails($$ SELECT wallet.set_topup_rule('tu', '{"threshold":20,"amount":1,"cooldown":"soon"}') $$);
CALL regress.fails($$ SELECT wallet.set_topup_rule('tu', '{"threshold":20,"amount":1,"max_count":1.5}') $$);
CALL regress.fails($$ SELECT wallet.set_topup_rule('tu', '{"threshold":20,"amount":1,"period":"fortnight"}') $$);
CALL regress.fails($$ SELECT wallet.set_topup_rule('tu', '{"interval":"hourly","amount":1}') $$);
CALL regress.fails($$ SELECT wallet.set_topup_rule('tu', '{"threshold":20,"amount":1,"event":"limit_near"}') $$);
CALL regress.fails($$ SELECT wallet.set_topup_rule('tu_nobody', '{"threshold":20,"amount":1}') $$);
CALL regress.fails($$ SELECT wallet.complete_topup('tu', '00000000-0000-0000-0000-000000000001') $$);
CALL regress.fails($$ SELECT wallet.complete_topup('tu', NULL) $$);
SELECT * FROM regress.broken('tu') UNION ALL SELECT * FROM regress.broken('tu_declined') UNION ALL SELECT * FROM regress.broken('tu_cool')
UNION ALL SELECT * FROM regress.broken('tu_gap') UNION ALL SELECT * FROM regress.broken('tu_caps') UNION ALL SELECT * FROM regress.broken('tu_time')
UNION ALL SELECT regress.broken(w) FROM unnest('{tu_low,tu_empty,tu_at,tu_credit,tu_moves,tu_ice,tu_max,tu_scoped,tu_ended,tu_held,tu_lanes}'::text[]) w;
