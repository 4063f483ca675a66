-- Limits: scopes, periods, overrides, changes during a window, what check_limits reports, and that
-- no path bypasses them.
SELECT wallet FROM wallet.create_wallet('lim', time_zone => 'Europe/Berlin');
SELECT balance FROM wallet.fund('lim', 1000);
-- The rows without columns that differ from run to run.
CREATE FUNCTION regress.limits(of_wallet text, of_user text = NULL, of_amount numeric = 0)
RETURNS TABLE (scope text, subject text, period text, metric text, mode text, max numeric, used numeric, held numeric,
               remaining numeric, allowed boolean, reason text)
LANGUAGE sql AS $$
    SELECT scope, subject, period, metric, mode, max, used, held, remaining, allowed, reason
      FROM wallet.check_limits(of_wallet, user_id => of_user, amount => of_amount)
$$;

-- Without a limit only the balance is reported.
SELECT * FROM regress.limits('lim');
-- Limits on the wallet per day and lifetime, and on each user per month. Each is created once.
SELECT wallet.set_limit('lim', 50, 'day') = wallet.set_limit('lim', 60, 'day') AS same_limit;
SELECT wallet.set_limit('lim', 500, 'lifetime') IS NOT NULL AS set;
SELECT wallet.set_limit('lim', 20, 'month', scope => 'user') IS NOT NULL AS set;
SELECT wallet.set_limit('lim', 22, 'month', scope => 'user', subject => 'boss') IS NOT NULL AS set;
SELECT scope, subject, period, metric, mode, max, time_zone FROM wallet.limits WHERE wallet_id = 'lim' ORDER BY 1, 2, 3;
-- The balance first, then by scope and period. Only limits that apply are listed.
SELECT * FROM regress.limits('lim');
SELECT * FROM regress.limits('lim', 'ann', 25);
SELECT * FROM regress.limits('lim', 'boss', 22);
SELECT * FROM regress.limits('lim', 'boss', 1001);
-- The reset times: the next midnight and the next first of a month in the limit's time zone.
SELECT scope, period,
       resets_at = (date_trunc(period, now() AT TIME ZONE 'Europe/Berlin') + ('1 ' || period)::interval) AT TIME ZONE 'Europe/Berlin' AS in_its_zone
  FROM wallet.check_limits('lim', user_id => 'ann') WHERE period IN ('day', 'month');
SELECT scope, period, resets_at FROM wallet.check_limits('lim') WHERE period = 'lifetime';

-- Each user has a separate amount, and a named user another one. One more digit is too much.
SELECT cost FROM wallet.charge('lim', amount => 20, user_id => 'ann');
CALL regress.fails($$ SELECT wallet.charge('lim', amount => 0.000000000001, user_id => 'ann') $$);
SELECT cost FROM wallet.charge('lim', amount => 15, user_id => 'ben');
SELECT cost FROM wallet.charge('lim', amount => 20.5, user_id => 'boss');
CALL regress.fails($$ SELECT wallet.charge('lim', amount => 1.51, user_id => 'boss') $$);
-- The wallet's daily limit is 60. Without a user the user limits do not apply.
CALL regress.fails($$ SELECT wallet.charge('lim', amount => 4.51) $$);
SELECT cost FROM wallet.charge('lim', amount => 4.5);
CALL regress.fails($$ SELECT wallet.charge('lim', amount => 0.01, user_id => 'ben') $$);
-- If several limits refuse, the one that resets last is named: a lifetime limit before a monthly
-- one.
SELECT regress.outcome($$ SELECT wallet.charge('lim', amount => 501, user_id => 'ann') $$);
SELECT * FROM regress.limits('lim', 'ann', 1);
-- A free request passes.
SELECT cost FROM wallet.charge('lim', amount => 0, user_id => 'ann');
SELECT balance FROM wallet.balances WHERE wallet = 'lim';

-- check_limits agrees with charge for every user and amount.
SELECT u, a, bool_and(allowed) AS checked, regress.outcome(format('DO $do$ BEGIN PERFORM wallet.charge(''lim'', amount => %s, user_id => %L); RAISE SQLSTATE ''RBACK''; END $do$', a, u)) AS charged
  FROM unnest(ARRAY['ann', 'ben', 'boss', 'new']) u, unnest(ARRAY[0, 0.01, 5, 20, 1000]) a, wallet.check_limits('lim', user_id => u, amount => a)
 GROUP BY u, a ORDER BY u, a;
-- With usage, priced as charge prices it.
SELECT wallet.set_price('lim-model', 'requests', 3, effective_from => '2025-01-01Z') IS NOT NULL AS set;
SELECT wallet.set_limit('lim', 62, 'day') IS NOT NULL AS set;
SELECT scope, period, remaining, allowed, reason FROM wallet.check_limits('lim', usage => '{"model":"lim-model","requests":1}');
CALL regress.fails($$ SELECT wallet.charge('lim', '{"model":"lim-model","requests":1}') $$);
CALL regress.fails($$ SELECT * FROM wallet.check_limits('lim', usage => '{"model":"lim-none","requests":1}') $$);

-- Lowering a limit below its usage blocks charges and breaks nothing. Raising it allows them again.
SELECT wallet.set_limit('lim', 10, 'day') IS NOT NULL AS set;
SELECT * FROM regress.limits('lim') WHERE period = 'day';
CALL regress.fails($$ SELECT wallet.charge('lim', amount => 0.01) $$);
SELECT wallet.set_limit('lim', 61, 'day') IS NOT NULL AS set;
SELECT * FROM regress.limits('lim', of_amount => 1) WHERE period = 'day';
SELECT cost FROM wallet.charge('lim', amount => 1);
CALL regress.fails($$ SELECT wallet.charge('lim', amount => 0.01) $$);
SELECT wallet.set_limit('lim', 0, 'day') IS NOT NULL AS set;
CALL regress.fails($$ SELECT wallet.charge('lim', amount => 0.01) $$);
SELECT wallet.set_limit('lim', 100, 'day') IS NOT NULL AS set;
-- The override lowered as well.
SELECT wallet.set_limit('lim', 5, 'month', scope => 'user', subject => 'boss') IS NOT NULL AS set;
CALL regress.fails($$ SELECT wallet.charge('lim', amount => 1, user_id => 'boss') $$);
SELECT cost FROM wallet.charge('lim', amount => 1, user_id => 'ben');

-- A new limit counts what its current window has spent: by the wallet, by each user, by one user.
SELECT wallet.set_limit('lim', 70, 'month') IS NOT NULL AS set;
SELECT wallet.set_limit('lim', 25, 'lifetime', scope => 'user') IS NOT NULL AS set;
SELECT wallet.set_limit('lim', 18, 'day', scope => 'user', subject => 'ben') IS NOT NULL AS set;
SELECT u AS user, l.scope, l.period, l.max, l.used, l.remaining
  FROM unnest(ARRAY['ann', 'ben', 'boss', 'new']) u, regress.limits('lim', u) l WHERE l.max IN (70, 25, 18) ORDER BY 1, 2, 3;
CALL regress.fails($$ SELECT wallet.charge('lim', amount => 9, user_id => 'new') $$);
CALL regress.fails($$ SELECT wallet.charge('lim', amount => 3, user_id => 'ben') $$);
-- A funding is not spending. Usage of another day counts for the day on which it is booked.
SELECT balance FROM wallet.fund('lim', 5);
SELECT cost FROM wallet.charge('lim', amount => 2, event_at => '2025-01-01Z');
SELECT l.used FROM regress.limits('lim') l WHERE period = 'month';

-- A charge that a limit refuses takes nothing from other limits or the balance.
SELECT balance, (SELECT sum(spent) FROM wallet.allowances WHERE wallet_id = 'lim') AS spent FROM wallet.balances WHERE wallet = 'lim' \gset
CALL regress.fails($$ SELECT wallet.charge('lim', amount => 3, user_id => 'ben') $$);
SELECT balance = :balance AS same_balance, (SELECT sum(spent) = :spent FROM wallet.allowances WHERE wallet_id = 'lim') AS same_spent
  FROM wallet.balances WHERE wallet = 'lim';
-- Nor does a charge that is rolled back.
BEGIN;
SELECT cost FROM wallet.charge('lim', amount => 1);
ROLLBACK;
SELECT (SELECT sum(spent) = :spent FROM wallet.allowances WHERE wallet_id = 'lim') AS same_spent;

-- A trigger on the table refuses changes, also from a superuser.
CALL regress.fails($$ UPDATE wallet.allowances SET spent = allotted + 1 WHERE wallet_id = 'lim' AND allowance_id = '00000000-0000-0000-0000-000000000000' $$);
SELECT regress.outcome($$ UPDATE wallet.allowances a SET spent = 1000 FROM wallet.limits l
                       WHERE a.wallet_id = 'lim' AND l.limit_id = a.limit_id AND l.scope = 'wallet' AND l.period = 'day' $$);
CALL regress.fails($$ UPDATE wallet.allowances a SET allotted = 0 FROM wallet.limits l
                       WHERE a.wallet_id = 'lim' AND l.limit_id = a.limit_id AND l.scope = 'user' AND a.subject = 'ann' AND l.period = 'month' $$);

-- A repeated key returns the same limit and changes nothing.
SELECT wallet.set_limit('lim', 90, 'day', idempotency_key => 'k') IS NOT NULL AS set;
SELECT wallet.set_limit('lim', 95, 'day') IS NOT NULL AS set;
SELECT wallet.set_limit('lim', 90, 'day', idempotency_key => 'k') = (SELECT limit_id FROM wallet.limits WHERE wallet_id = 'lim' AND scope = 'wallet' AND period = 'day') AS same;
SELECT max FROM regress.limits('lim') WHERE period = 'day';
CALL regress.fails($$ SELECT wallet.set_limit('lim', 91, 'day', idempotency_key => 'k') $$);

-- Arguments that are refused.
CALL regress.fails($$ SELECT wallet.set_limit('lim_nobody', 1, 'day') $$);
CALL regress.fails($$ SELECT wallet.set_limit('lim', NULL, 'day') $$);
CALL regress.fails($$ SELECT wallet.set_limit('lim', -1, 'day') $$);
CALL regress.fails($$ SELECT wallet.set_limit('lim', 'NaN', 'day') $$);
CALL regress.fails($$ SELECT wallet.set_limit('lim', 1, NULL) $$);
CALL regress.fails($$ SELECT wallet.set_limit('lim', 1, 'fortnight') $$);
CALL regress.fails($$ SELECT wallet.set_limit('lim', 1, 'day', scope => 'planet') $$);
CALL regress.fails($$ SELECT wallet.set_limit('lim', 1, 'day', subject => 'ann') $$);
CALL regress.fails($$ SELECT wallet.set_limit('lim', 1, 'day', scope => 'user', subject => NULL) $$);
CALL regress.fails($$ SELECT wallet.set_limit('lim', 1, 'day', metric => 'smiles') $$);
CALL regress.fails($$ SELECT wallet.set_limit('lim', 1, 'day', mode => 'firm') $$);
CALL regress.fails($$ SELECT wallet.set_limit('lim', 1, 'day', anchor => 15) $$);
CALL regress.fails($$ SELECT wallet.set_limit('lim', 1, 'day', scope => 'user', subject => 'zoe', time_zone => 'Nowhere/Land') $$);
CALL regress.fails($$ SELECT * FROM wallet.check_limits('lim_nobody') $$);
CALL regress.fails($$ SELECT * FROM wallet.check_limits(NULL) $$);
SELECT regress.outcome($$ SELECT * FROM wallet.check_limits('lim', amount => -1) $$);
SELECT scope, allowed, reason FROM wallet.check_limits('lim', key => 'k') WHERE scope = 'balance';
SELECT * FROM regress.broken('lim');

-- A few limits are stored in the wallet's row, many only in their own table. All of them apply,
-- whichever way they are read.
SELECT wallet FROM wallet.create_wallet('lim_many');
SELECT balance FROM wallet.fund('lim_many', 100);
CREATE FUNCTION regress.known() RETURNS TABLE (in_table bigint, beside integer, the_same boolean)
LANGUAGE sql AS $$
    SELECT count(l), cardinality(w.known_limits),
           jsonb_agg(to_jsonb(l) - '{wallet_id,created_at,counts_since,revision,dropped_at}'::text[] ORDER BY l.limit_id) FILTER (WHERE l.limit_id IS NOT NULL) = nullif(to_jsonb(w.known_limits), '[]')
      FROM wallet.wallets w LEFT JOIN wallet.limits l USING (wallet_id) WHERE wallet_id = 'lim_many' GROUP BY w.wallet_id
$$;
SELECT * FROM regress.known();
SELECT count(wallet.set_limit('lim_many', n, 'lifetime', scope => 'user', subject => 'u' || n)) FROM generate_series(1, 8) n;
SELECT * FROM regress.known();
CALL regress.fails($$ SELECT wallet.charge('lim_many', amount => 8.01, user_id => 'u8') $$);
SELECT wallet.set_limit('lim_many', 9, 'lifetime', scope => 'user', subject => 'u9') IS NOT NULL AS set;
SELECT * FROM regress.known();
CALL regress.fails($$ SELECT wallet.charge('lim_many', amount => 8.01, user_id => 'u8') $$);
CALL regress.fails($$ SELECT wallet.charge('lim_many', amount => 9.01, user_id => 'u9') $$);
SELECT wallet.drop_limit('lim_many', limit_id) FROM wallet.limits WHERE wallet_id = 'lim_many' AND subject = 'u1';
SELECT * FROM regress.known();
SELECT cost FROM wallet.charge('lim_many', amount => 1.01, user_id => 'u1');
-- Paused, raised, with warnings and a time zone of its own: as the table has it.
SELECT wallet.set_limit('lim_many', 2, 'lifetime', scope => 'user', subject => 'u2', paused => true) IS NOT NULL AS set;
SELECT wallet.set_limit('lim_many', 4, 'week', scope => 'user', subject => 'u4', time_zone => 'Asia/Tokyo', warn_at => '{0.5,0.75}') IS NOT NULL AS set;
SELECT wallet.drop_limit('lim_many', limit_id) FROM wallet.limits WHERE wallet_id = 'lim_many' AND subject = 'u5';
SELECT wallet.raise_limit('lim_many', limit_id, 0.5, until => now() + interval '1 day') AS max FROM wallet.limits WHERE wallet_id = 'lim_many' AND subject = 'u3';
SELECT * FROM regress.known();
SELECT cost FROM wallet.charge('lim_many', amount => 2.01, user_id => 'u2');
SELECT cost FROM wallet.charge('lim_many', amount => 3.5, user_id => 'u3');
CALL regress.fails($$ SELECT wallet.charge('lim_many', amount => 0.01, user_id => 'u3') $$);
CALL regress.fails($$ SELECT wallet.charge('lim_many', amount => 4.01, user_id => 'u4') $$);
