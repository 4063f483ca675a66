-- At least one case of every SQLSTATE that this version raises, with everything that the client
-- sees, and the order of precedence that the comment of charge promises.
SELECT wallet FROM wallet.create_wallet('er', credit_limit => 1);
SELECT balance FROM wallet.fund('er', 10, 'card', 'pay', idempotency_key => 'f');
SELECT wallet.set_price('er-model', 'requests', 3, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT wallet.set_limit('er', 8, 'month') IS NOT NULL AS set;
CREATE ROLE regress_err;

-- WL001 insufficient_funds
CALL regress.fails($$ SELECT wallet.charge('er', amount => 11.01) $$);
-- The message names what is held: what can be spent, and what is held or for other use, add up to
-- balance and credit.
BEGIN;
SELECT amount FROM wallet.hold('er', amount => 3);
SELECT amount FROM wallet.fund('er', 2, scope => '{"models": ["er-*"]}');
SELECT amount FROM wallet.hold('er', amount => 0.5, model => 'er-model');
CALL regress.fails($$ SELECT wallet.charge('er', amount => 8.01) $$);
CALL regress.fails($$ SELECT wallet.adjust('er', -8.01) $$);
ROLLBACK;
CALL regress.fails($$ UPDATE wallet.allowances SET allotted = -1 WHERE wallet_id = 'er' AND limit_id IS NULL $$);
-- WL002 limit_exceeded
CALL regress.fails($$ SELECT wallet.charge('er', amount => 8.01) $$);
-- Waiting helps if the request fits into the maximum. If the maximum is zero, only a change of the
-- limit does.
BEGIN;
SELECT cost FROM wallet.charge('er', amount => 1);
CALL regress.fails($$ SELECT wallet.charge('er', amount => 8) $$);
SELECT wallet.set_limit('er', 0, 'month') IS NOT NULL AS set;
CALL regress.fails($$ SELECT wallet.charge('er', amount => 1) $$);
ROLLBACK;
-- WL003 wallet_not_found
CALL regress.fails($$ SELECT wallet.charge('er_nobody', amount => 1) $$);
-- WL004 wallet_not_active
SELECT status FROM wallet.freeze_wallet('er', 'unpaid invoice');
CALL regress.fails($$ SELECT wallet.charge('er', amount => 1) $$);
SELECT status FROM wallet.unfreeze_wallet('er');
-- WL005 price_not_found
CALL regress.fails($$ SELECT wallet.charge('er', '{"model":"er-none","requests":1}') $$);
CALL regress.fails($$ SELECT wallet.charge('er', '{"model":"er-model","images":1}') $$);
-- WL006 idempotency_conflict
CALL regress.fails($$ SELECT wallet.fund('er', 11, 'card', 'pay', idempotency_key => 'f') $$);
CALL regress.fails($$ SELECT wallet.fund('er', 11, 'card', 'pay') $$);
-- WL007 invalid_usage
SELECT regress.outcome($$ SELECT wallet.charge('er', '{"requests":1}') $$);
CALL regress.fails($$ SELECT wallet.charge('er', '{"model":"er-model","requests":-1}') $$);
-- A quantity that is too large for a limit on it to count.
BEGIN;
SELECT wallet.set_price('er-fine', 'audio_seconds', 1, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT wallet.set_limit('er', 8, 'month', metric => 'audio_seconds') IS NOT NULL AS set;
CALL regress.fails($$ SELECT wallet.charge('er', '{"model":"er-fine","audio_seconds":0.0000000000001}') $$);
ROLLBACK;
CALL regress.fails($$ SELECT wallet.charge('er', '{"model":"er-model","requests":1}', model => 'other') $$);
-- WL009 not_permitted
CALL regress.fails($$ SELECT wallet.charge('er', amount => 1, key => 'sk-1') $$);
-- WL010 immutable_ledger
CALL regress.fails($$ DELETE FROM wallet.ledger $$);
-- WL012 invalid_amount
CALL regress.fails($$ SELECT wallet.charge('er', amount => 'NaN') $$);
SELECT regress.outcome($$ SELECT wallet.charge('er', amount => -1) $$);
CALL regress.fails($$ SELECT wallet.charge('er', amount => 0.0000000000001) $$);
-- 22023 invalid_parameter_value
CALL regress.fails($$ SELECT wallet.charge('er') $$);
CALL regress.fails($$ SELECT wallet.charge('er', '{}', 1) $$);
CALL regress.fails($$ SELECT wallet.charge('er', amount => 1, user_id => '') $$);
CALL regress.fails($$ SELECT wallet.charge('er', amount => 1, tags => '[]') $$);
CALL regress.fails($$ SELECT wallet.charge('er', amount => 1, tags => '{"a": "1", "b": 2}') $$);
CALL regress.fails($$ SELECT wallet.check_limits('er', tags => '{"a": null}') $$);
CALL regress.fails($$ SELECT wallet.charge('er', amount => 1, metadata => jsonb_build_object('a', repeat('x', 70000))) $$);
CALL regress.fails($$ SELECT wallet.charge('er', (repeat('{"a":', 70) || '1' || repeat('}', 70))::jsonb) $$);
-- 23505 unique_violation
CALL regress.fails($$ SELECT wallet.create_wallet('er') $$);
-- 42501 insufficient_privilege: without any grant PostgreSQL refuses, with a grant on another
-- wallet the extension does.
SET ROLE regress_err;
CALL regress.fails($$ SELECT wallet.charge('er', amount => 1) $$);
RESET ROLE;
SELECT wallet.grant_access('regress_err', 'reader', 'er');
SET ROLE regress_err;
CALL regress.fails($$ SELECT wallet.charge('er', amount => 1) $$);
SELECT regress.outcome($$ SELECT * FROM wallet.check_limits('er_other') $$);
RESET ROLE;
-- 42704 undefined_object
CALL regress.fails($$ SELECT wallet.revoke_access('regress_err', 'admin', 'er') $$);

-- The order of precedence of charge: one call with every possible error, corrected step by step.
SELECT obj_description('wallet.charge'::regproc, 'pg_proc') AS promise;
SELECT wallet FROM wallet.create_wallet('er_order');
SELECT balance FROM wallet.fund('er_order', 10);
SELECT wallet.set_limit('er_order', 1, 'month') IS NOT NULL AS set;
SELECT cost FROM wallet.charge('er_order', amount => 1, idempotency_key => 'used');
SELECT status FROM wallet.freeze_wallet('er_order', 'order of precedence');
SELECT wallet.grant_access('regress_err', 'charger', 'er');
SET ROLE regress_err;
-- 22023: both amount and usage are given.
SELECT regress.outcome($$ SELECT wallet.charge('er_order', '{"model":"er-none","requests":-1}', 'NaN', user_id => 'u', idempotency_key => 'used') $$);
-- WL012 before anything that needs a lookup: the role has no right, and the wallet is frozen.
SELECT regress.outcome($$ SELECT wallet.charge('er_order', amount => 'NaN', idempotency_key => 'used') $$);
-- WL007, too.
SELECT regress.outcome($$ SELECT wallet.charge('er_order', '{"model":"er-none","requests":-1}', idempotency_key => 'used') $$);
-- 42501: a role without a right does not learn whether the wallet exists.
SELECT regress.outcome($$ SELECT wallet.charge('er_order', '{"model":"er-none","requests":1}', idempotency_key => 'used') $$),
       regress.outcome($$ SELECT wallet.charge('er_none', '{"model":"er-none","requests":1}', idempotency_key => 'used') $$);
RESET ROLE;
-- WL003.
SELECT regress.outcome($$ SELECT wallet.charge('er_none', '{"model":"er-none","requests":1}', idempotency_key => 'used') $$);
-- WL006: the wallet exists.
SELECT regress.outcome($$ SELECT wallet.charge('er_order', '{"model":"er-none","requests":1}', idempotency_key => 'used') $$);
-- WL004: the key is new.
SELECT regress.outcome($$ SELECT wallet.charge('er_order', '{"model":"er-none","requests":1}', idempotency_key => 'new') $$);
-- WL009: the wallet is active, and the given key is not one of its keys.
SELECT status FROM wallet.unfreeze_wallet('er_order');
SELECT regress.outcome($$ SELECT wallet.charge('er_order', '{"model":"er-none","requests":1}', key => 'k', idempotency_key => 'new') $$);
-- WL005: the caller may spend.
SELECT regress.outcome($$ SELECT wallet.charge('er_order', '{"model":"er-none","requests":1}', idempotency_key => 'new') $$);
-- WL001: the model has a price.
SELECT regress.outcome($$ SELECT wallet.charge('er_order', '{"model":"er-model","requests":4}', idempotency_key => 'new') $$);
-- WL002: the balance has the money.
SELECT regress.outcome($$ SELECT wallet.charge('er_order', '{"model":"er-model","requests":3}', idempotency_key => 'new') $$);
-- And no error: the limit allows it.
SELECT wallet.set_limit('er_order', 10, 'month') IS NOT NULL AS set;
SELECT regress.outcome($$ SELECT wallet.charge('er_order', '{"model":"er-model","requests":3}', idempotency_key => 'new') $$);

-- PL/pgSQL catches the errors by their codes.
DO $$
BEGIN
    PERFORM wallet.charge('er_order', amount => 100);
EXCEPTION WHEN SQLSTATE 'WL001' THEN
    RAISE NOTICE 'not enough money';
END
$$;
SELECT wallet.revoke_access('regress_err', 'reader', 'er');
SELECT wallet.revoke_access('regress_err', 'charger', 'er');
DROP ROLE regress_err;
