-- Plans: what can be in them, how a wallet takes a version over, and how its own rules override.
SET datestyle = ISO;
SET timezone = 'UTC';

-- Every part is checked as by the single call, and the error says where it is.
CALL regress.fails($$SELECT wallet.set_plan('pl-x', NULL)$$);
CALL regress.fails($$SELECT wallet.set_plan(NULL, '{}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '[]')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"limit": []}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"limits": {}}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"limits": [1]}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"limits": [{"max": 1, "period": "day"}, {"max": 1, "period": "fortnight"}]}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"limits": [{"max": 1, "period": "day"}, {"max": 2, "period": "day"}]}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"limits": [{"max": -1, "period": "day"}]}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"limits": [{"max": 1, "period": "day", "metric": "wishes"}]}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"limits": [{"max": 1, "period": "day", "time_zone": "Mars"}]}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"recurring_grants": [{"period": "month"}]}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"recurring_grants": [{"amount": 0}]}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"recurring_grants": [{"amount": 1, "starts_on": "2030-01-01"}]}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"recurring_grants": [{"amount": 1, "expires_after": "soon"}]}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"recurring_grants": [{"amount": 1}, {"amount": 2}]}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"topup_rules": [{"name": "a"}]}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"topup_rules": [{"name": "a", "rule": {"threshold": 1}}]}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"topup_rule": {"threshold": 1, "amount": 1}, "topup_rules": [{"rule": {"threshold": 1, "amount": 1}}]}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"model_rules": [{"scope": "user", "subject": "ann"}]}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"model_rules": [{"scope": "planet", "allowed": ["a"]}]}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"allowed_models": ["a"], "model_rules": [{"allowed": ["b"]}]}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"price_list": "pl-none"}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"lanes": 0}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"lanes": "two"}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"low_balance": [-1]}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"unknown_price": "free"}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{"unread_usage": "ignore"}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{}', '2020-01-01')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-x', '{}', 'infinity')$$);
SELECT count(*) FROM wallet.plan_versions;

-- A plan, and a wallet on it. Both calls may be repeated with their key.
SELECT wallet.set_plan('pl-pro', '{"limits": [{"max": 5, "period": "lifetime"}, {"max": 2, "period": "lifetime", "scope": "user"}],
                                   "recurring_grants": [{"name": "m", "amount": 10}], "allowed_models": ["gpt*"],
                                   "topup_rule": {"threshold": 1, "amount": 5}, "low_balance": [3, 1], "lanes": 2}', idempotency_key => 'k');
SELECT wallet.set_plan('pl-pro', '{"limits": [{"max": 5, "period": "lifetime"}, {"max": 2, "period": "lifetime", "scope": "user"}],
                                   "recurring_grants": [{"name": "m", "amount": 10}], "allowed_models": ["gpt*"],
                                   "topup_rule": {"threshold": 1, "amount": 5}, "low_balance": [3, 1], "lanes": 2}', idempotency_key => 'k');
CALL regress.fails($$SELECT wallet.set_plan('pl-pro', '{}', idempotency_key => 'k')$$);
CALL regress.fails($$SELECT wallet.create_wallet('pl-a', plan => 'pl-none')$$);
SELECT wallet, balance, lanes FROM wallet.create_wallet('pl-a', plan => 'pl-pro');
SELECT item, wallet FROM wallet.create_wallets('[{"wallet": "pl-b", "plan": "pl-pro", "lanes": 3}, {"wallet": "pl-c"}]');
CALL regress.fails($$SELECT * FROM wallet.create_wallets('[{"wallet": "pl-d"}, {"wallet": "pl-e", "plan": "pl-none"}]')$$);
SELECT kind, name, rule, source, plan, version FROM wallet.plan_of('pl-a');
SELECT kind, name, rule, source FROM wallet.plan_of('pl-b') WHERE kind = 'setting';
SELECT kind, source FROM wallet.plan_of('pl-c');
CALL regress.fails($$SELECT * FROM wallet.plan_of('pl-none')$$);
CALL regress.fails($$SELECT * FROM wallet.plan_of(NULL)$$);
SELECT scope, max, used FROM wallet.limits_status WHERE wallet = 'pl-a' ORDER BY 1;
SELECT cost, balance FROM wallet.charge('pl-a', amount => 1, user_id => 'ann', model => 'gpt-5');
CALL regress.fails($$SELECT * FROM wallet.charge('pl-a', amount => 1, user_id => 'ann', model => 'claude')$$);
CALL regress.fails($$SELECT * FROM wallet.charge('pl-a', amount => 1.5, user_id => 'ann', model => 'gpt-5')$$);

-- The next version is in force with the next call. What it does not change stays as it is: the
-- grant is not repeated. A check says what the next charge does, and changes nothing.
SELECT wallet.set_plan('pl-pro', '{"limits": [{"max": 7, "period": "lifetime"}], "recurring_grants": [{"name": "m", "amount": 10}],
                                   "low_balance": [3, 1], "unknown_price": "unpriced"}');
SELECT plan, version, in_force, wallets, taken_over FROM wallet.plans WHERE plan LIKE 'pl-%' ORDER BY 1, 2;
SELECT kind, name, rule, source, version FROM wallet.plan_of('pl-a');
SELECT scope, max, used, remaining, allowed FROM wallet.check_limits('pl-a', user_id => 'ann', model => 'claude', amount => 1.5);
SELECT plan_version, lanes FROM wallet.wallets WHERE wallet_id = 'pl-a';
BEGIN;
SELECT cost, balance FROM wallet.charge('pl-a', amount => 1.5, user_id => 'ann', model => 'claude');
SELECT plan_version, lanes FROM wallet.wallets WHERE wallet_id = 'pl-a';
ROLLBACK;
SELECT plan_version, lanes FROM wallet.wallets WHERE wallet_id = 'pl-a';
SELECT cost, balance FROM wallet.charge('pl-a', amount => 1.5, user_id => 'ann', model => 'claude');
SELECT plan_version, lanes, unknown_price FROM wallet.wallets WHERE wallet_id = 'pl-a';
SELECT scope, max, used FROM wallet.limits_status WHERE wallet = 'pl-a' ORDER BY 1;
SELECT count(*) FROM wallet.topup_rule_list WHERE wallet = 'pl-a';

-- maintain() does it for wallets that nobody calls.
SELECT plan_version FROM wallet.wallets WHERE wallet_id = 'pl-b';
SELECT count(*) > 0 AS maintained FROM wallet.maintain();
SELECT plan_version, lanes FROM wallet.wallets WHERE wallet_id = 'pl-b';

-- Rules of the wallet's own override, also those of versions that come later. They have the rows
-- that the plan's had.
SELECT wallet.set_limit('pl-a', 9, 'lifetime') IS NOT NULL AS set;
SELECT recurring.amount FROM wallet.set_recurring_grant('pl-a', 3, name => 'm') recurring;
SELECT wallet FROM wallet.update_wallet('pl-a', low_balance => '{2}');
SELECT wallet.set_plan('pl-pro', '{"limits": [{"max": 8, "period": "lifetime"}], "recurring_grants": [{"name": "m", "amount": 20}],
                                   "low_balance": [4], "price_list": "default"}');
SELECT cost, balance FROM wallet.charge('pl-a', amount => 0);
SELECT kind, name, rule, source, version FROM wallet.plan_of('pl-a');
SELECT max, used FROM wallet.limits_status WHERE wallet = 'pl-a';

-- Without the rule of its own, the plan's returns in the same call. That one cannot be dropped.
SELECT limit_id AS own FROM wallet.limits WHERE wallet_id = 'pl-a' \gset
SELECT wallet.drop_limit('pl-a', :'own');
SELECT max, used FROM wallet.limits_status WHERE wallet = 'pl-a';
SELECT stopped.amount FROM wallet.set_recurring_grant('pl-a', 0, name => 'm') stopped;
SELECT name, amount FROM wallet.recurring_grant_list WHERE wallet = 'pl-a';
CALL regress.fails($$SELECT wallet.drop_limit('pl-a', limit_id) FROM wallet.limits WHERE wallet_id = 'pl-a'$$);
CALL regress.fails($$SELECT * FROM wallet.set_recurring_grant('pl-a', 0, name => 'm')$$);
SELECT wallet.set_plan('pl-pro', '{"limits": [{"max": 8, "period": "lifetime"}], "recurring_grants": [{"name": "m", "amount": 20}],
                                   "low_balance": [4], "allowed_models": ["gpt*"], "topup_rule": {"threshold": 1, "amount": 5}}');
SELECT cost FROM wallet.charge('pl-a', amount => 0, model => 'gpt-5');
CALL regress.fails($$SELECT wallet.set_model_rules('pl-a')$$);
CALL regress.fails($$SELECT wallet.set_topup_rule('pl-a', NULL)$$);
SELECT wallet.set_model_rules('pl-a', allowed => '{any*}');
SELECT wallet.set_topup_rule('pl-a', '{"threshold": 2, "amount": 6}');
SELECT kind, rule, source FROM wallet.plan_of('pl-a') WHERE kind IN ('model_rule', 'topup_rule');
SELECT wallet.set_model_rules('pl-a');
SELECT wallet.set_topup_rule('pl-a', NULL) IS NULL AS dropped;
SELECT kind, rule, source FROM wallet.plan_of('pl-a') WHERE kind IN ('model_rule', 'topup_rule');
-- A permanent raise is a change of the wallet's own, a temporary one is not.
SELECT wallet.raise_limit('pl-a', limit_id, 1, now() + '1 hour') FROM wallet.limits WHERE wallet_id = 'pl-a';
SELECT source FROM wallet.plan_of('pl-a') WHERE kind = 'limit';
SELECT wallet.raise_limit('pl-a', limit_id, 1) FROM wallet.limits WHERE wallet_id = 'pl-a';
SELECT source FROM wallet.plan_of('pl-a') WHERE kind = 'limit';
-- Settings of its own are forgotten on demand.
SELECT name, rule, source FROM wallet.plan_of('pl-a') WHERE name = 'low_balance';
SELECT wallet.assign_plan('pl-a', 'pl-pro', reset_settings => true);
SELECT name, rule, source FROM wallet.plan_of('pl-a') WHERE name = 'low_balance';

-- Another plan, now or later, or none.
SELECT wallet.set_plan('pl-basic', '{"limits": [{"max": 3, "period": "day", "scope": "user"}]}');
CALL regress.fails($$SELECT wallet.assign_plan('pl-a', 'pl-none')$$);
CALL regress.fails($$SELECT wallet.assign_plan('pl-none', 'pl-basic')$$);
CALL regress.fails($$SELECT wallet.assign_plan('pl-a', 'pl-basic', '2020-01-01')$$);
CALL regress.fails($$SELECT wallet.assign_plan('pl-a', 'pl-basic', now() + '1 day', reset_settings => true)$$);
SELECT wallet.assign_plan('pl-a', 'pl-basic', clock_timestamp() + '300 milliseconds', idempotency_key => 'later');
SELECT plan, next_plan FROM wallet.wallets WHERE wallet_id = 'pl-a';
SELECT pg_sleep(0.35);
SELECT plan, version FROM wallet.plan_of('pl-a') WHERE source = 'plan';
SELECT cost FROM wallet.charge('pl-a', amount => 0);
SELECT plan, plan_version, next_plan, next_plan_at FROM wallet.wallets WHERE wallet_id = 'pl-a';
SELECT scope, period, max FROM wallet.limits_status WHERE wallet = 'pl-a' ORDER BY 1;
SELECT wallet.assign_plan('pl-a', NULL);
SELECT kind, name, source FROM wallet.plan_of('pl-a') WHERE source <> 'default';
SELECT plan, plan_version FROM wallet.wallets WHERE wallet_id = 'pl-a';
SELECT kind, name FROM wallet.plan_rules WHERE wallet_id = 'pl-a';

-- A version that begins later.
SELECT wallet.assign_plan('pl-c', 'pl-basic');
SELECT wallet.set_plan('pl-basic', '{"limits": [{"max": 4, "period": "day", "scope": "user"}]}', clock_timestamp() + '300 milliseconds');
SELECT max FROM wallet.check_limits('pl-c', user_id => 'ann') WHERE scope = 'user';
SELECT version, in_force FROM wallet.plans WHERE plan = 'pl-basic' ORDER BY 1;
SELECT pg_sleep(0.35);
SELECT max FROM wallet.check_limits('pl-c', user_id => 'ann') WHERE scope = 'user';
SELECT version, in_force FROM wallet.plans WHERE plan = 'pl-basic' ORDER BY 1;
BEGIN READ ONLY;
SELECT max FROM wallet.check_limits('pl-c', user_id => 'ann') WHERE scope = 'user';
ROLLBACK;

-- A closed wallet takes nothing over. A metric that a plan has cannot be dropped.
SELECT wallet.assign_plan('pl-c', NULL);
SELECT status FROM wallet.close_wallet('pl-c');
CALL regress.fails($$SELECT wallet.assign_plan('pl-c', 'pl-basic')$$);
SELECT wallet.set_metric('pl_credits', '{"input_tokens": 2}');
SELECT wallet.set_plan('pl-metered', '{"limits": [{"max": 4, "period": "day", "metric": "pl_credits"}]}');
CALL regress.fails($$SELECT wallet.drop_metric('pl_credits')$$);
SELECT wallet.set_plan('pl-metered', '{}');
SELECT wallet.drop_metric('pl_credits');

-- Versions are never changed. The audit trail has each of them, and each taking over.
CALL regress.fails($$UPDATE wallet.plan_versions SET definition = '{}'$$);
CALL regress.fails($$DELETE FROM wallet.plan_versions WHERE plan = 'pl-pro' AND version = 1$$);
SELECT action, subject, after ->> 'plan' AS plan, after ->> 'version' AS version FROM wallet.audit
 WHERE wallet IN ('pl-a', '*') AND action IN ('set_plan', 'take_over_plan', 'assign_plan') AND (subject LIKE 'pl-%') ORDER BY at;

-- A role sees the plans of its wallets.
CREATE ROLE regress_plans;
SELECT wallet.grant_access('regress_plans', 'admin', 'pl-b');
SET ROLE regress_plans;
SELECT DISTINCT plan, wallets FROM wallet.plans;
SELECT kind, source FROM wallet.plan_of('pl-b') WHERE kind = 'limit';
CALL regress.fails($$SELECT * FROM wallet.plan_of('pl-a')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-pro', '{}')$$);
CALL regress.fails($$SELECT wallet.assign_plan('pl-a', 'pl-pro')$$);
-- A plan that none of its wallets has looks like one that does not exist. Its own can be assigned.
CALL regress.fails($$SELECT wallet.assign_plan('pl-b', 'pl-basic')$$);
CALL regress.fails($$SELECT wallet.assign_plan('pl-b', 'pl-none')$$);
SELECT wallet.assign_plan('pl-b', (SELECT plan FROM wallet.plans LIMIT 1));
RESET ROLE;
SELECT wallet.revoke_access('regress_plans', 'admin', 'pl-b');
DROP ROLE regress_plans;
SELECT * FROM regress.broken('pl-a');
SELECT count(*) FILTER (WHERE ok) AS ok, count(*) FROM wallet.verify('pl-a');

-- Settings that were reset and that the plan does not have are the built-in ones.
SELECT wallet FROM wallet.create_wallet('pl-e', plan => 'pl-metered', low_balance => '{5}', lanes => 4);
SELECT wallet FROM wallet.update_wallet('pl-e', unknown_price => 'unpriced', unread_usage => 'reject');
SELECT wallet FROM wallet.use_price_list('pl-e', 'default');
SELECT name, rule, source FROM wallet.plan_of('pl-e') WHERE kind = 'setting';
SELECT wallet.set_plan('pl-lanes', '{"lanes": 2}');
SELECT wallet.assign_plan('pl-e', 'pl-lanes', reset_settings => true);
SELECT name, rule, source FROM wallet.plan_of('pl-e') WHERE kind = 'setting';
SELECT price_list, low_balance, lanes, unknown_price, unread_usage FROM wallet.wallets WHERE wallet_id = 'pl-e';

-- A wallet whose parent pays has no grants and top-up rules of its plan.
SELECT wallet.set_plan('pl-paying', '{"limits": [{"max": 9, "period": "day"}], "recurring_grants": [{"name": "included", "amount": 2}],
    "topup_rule": {"threshold": 1, "amount": 5}}');
SELECT wallet FROM wallet.create_wallet('pl-e/child', plan => 'pl-paying');
SELECT kind, name, source FROM wallet.plan_of('pl-e/child') WHERE source = 'plan';
SELECT wallet FROM wallet.create_wallet('pl-e/poor', plan => 'pl-metered');
SELECT wallet FROM wallet.set_parent('pl-e/poor', 'pl-e');
SELECT wallet.assign_plan('pl-e/poor', 'pl-paying');
SELECT kind, name, source FROM wallet.plan_of('pl-e/poor') WHERE source = 'plan';

-- A grant of a plan lives for a hundred years at most, like that of a single call.
CALL regress.fails($$SELECT wallet.set_plan('pl-long', '{"recurring_grants": [{"name": "a", "amount": 2, "expires_after": "101 years"}]}')$$);
CALL regress.fails($$SELECT wallet.set_plan('pl-long', '{"recurring_grants": [{"name": "a", "amount": 2, "expires_after": "65535 weeks"}]}')$$);
SELECT wallet.set_plan('pl-long', '{"recurring_grants": [{"name": "a", "amount": 2, "expires_after": "100 years"}]}');
