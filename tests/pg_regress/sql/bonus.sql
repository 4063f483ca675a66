-- A bonus on funding: what is credited in addition to payments, and what becomes of it.
SELECT wallet FROM wallet.create_wallet('bon'), wallet.create_wallet('bon_eur', currency => 'EUR') e (other);
SELECT wallet.set_bonus('bon', '[{"from": 50, "percent": 5}, {"from": 100, "percent": 10}]', actor => 'ada', metadata => '{"campaign": "spring"}');
SELECT wallet, currency, tiers, expires_in, actor, metadata, created_at <= now() AS was_set FROM wallet.bonuses;

-- The highest tier that a payment reaches applies to the whole payment.
SELECT amount, balance, status, bonus, bonus_entry_id IS NOT NULL AS has_entry FROM wallet.fund('bon', 49.99);
SELECT amount, balance, status, bonus, bonus_entry_id IS NOT NULL AS has_entry FROM wallet.fund('bon', 50);
SELECT amount, balance, bonus FROM wallet.fund('bon', 99.999999999999);
SELECT amount, balance, bonus FROM wallet.fund('bon', 100, 'card', 'pay-1', idempotency_key => 'k1', actor => 'eve');
-- The payment is booked as paid, and the bonus as promotional credit that belongs to it.
SELECT kind, amount, contra, reference, actor, related_id = first_value(entry_id) OVER (ORDER BY seq) AS of_the_payment
  FROM wallet.entries WHERE wallet = 'bon' AND actor = 'eve' ORDER BY seq;
SELECT g.amount, g.remaining, g.promotional, g.priority, g.expires_at, g.status
  FROM wallet.grants g JOIN wallet.fundings f ON f.wallet = g.wallet AND g.grant_id = f.bonus_entry_id
 WHERE f.reference = 'pay-1';
SELECT amount, bonus, bonus_percent, bonus_reversed, promotional FROM wallet.fundings WHERE wallet = 'bon' ORDER BY created_at;
SELECT "ChargeCategory", "BilledCost", "x_Amount" FROM wallet.focus WHERE "BillingAccountId" = 'bon' ORDER BY "x_EntryId";

-- A repeated key or reference returns the first result, whatever the rule is by then.
SELECT wallet.set_bonus('bon', '[{"from": 0, "percent": 50}]', expires_in => '1 day') IS NOT NULL AS set;
SELECT amount, balance, replayed, bonus FROM wallet.fund('bon', 100, 'card', 'pay-1', idempotency_key => 'k1', actor => 'eve');
SELECT amount, balance, replayed, bonus FROM wallet.fund('bon', 100, 'card', 'pay-1');
-- A pending funding has no bonus until it is settled. Then the rule of that moment applies.
SELECT entry_id AS pending, balance, bonus IS NULL AS none FROM wallet.fund('bon', 10, 'bank', status => 'pending', idempotency_key => 'k2') \gset
SELECT :'balance' AS balance, :'none' AS none;
SELECT wallet.set_bonus('bon', '[{"from": 0, "percent": 20}]') IS NOT NULL AS set;
SELECT amount, balance, status, replayed, bonus FROM wallet.settle_funding('bon', :'pending');
SELECT amount, balance, status, replayed, bonus FROM wallet.settle_funding('bon', :'pending');
SELECT amount, status, replayed, bonus FROM wallet.fund('bon', 10, 'bank', status => 'pending', idempotency_key => 'k2');
-- A pending funding that fails has none.
SELECT entry_id AS pending FROM wallet.fund('bon', 10, 'bank', status => 'pending') \gset
SELECT status, bonus, bonus_entry_id FROM wallet.fail_funding('bon', :'pending');

-- Credit that is not paid has no bonus: promotional credit, vouchers, recurring grants,
-- adjustments, transfers, refunds.
SELECT balance AS before FROM wallet.balances WHERE wallet = 'bon' \gset
SELECT bonus FROM wallet.fund('bon', 100, promotional => true);
SELECT wallet.create_voucher('BONUS-1', 100) IS NOT NULL AS made;
SELECT amount, bonus FROM wallet.redeem_voucher('bon', 'BONUS-1');
SELECT bonus FROM wallet.fund('bon', 100, 'voucher');
SELECT amount FROM wallet.set_recurring_grant('bon', 100);
SELECT amount FROM wallet.set_recurring_grant('bon', 0);
SELECT amount FROM wallet.adjust('bon', 100);
SELECT entry_id AS charge FROM wallet.charge('bon', amount => 100) \gset
SELECT amount FROM wallet.refund('bon', :'charge');
SELECT balance - :before AS more FROM wallet.balances WHERE wallet = 'bon';
-- A top-up is a payment, and so is a paid grant with a scope. The bonus can be spent on any use.
SELECT wallet FROM wallet.create_wallet('bon_up');
SELECT wallet.set_bonus('bon_up', '[{"from": 0, "percent": 20}]') IS NOT NULL AS set;
SELECT wallet.set_topup_rule('bon_up', '{"threshold": 20, "amount": 50}') IS NOT NULL AS set;
SELECT topup_id AS topup FROM wallet.topups WHERE wallet = 'bon_up' \gset
SELECT amount, status, balance FROM wallet.complete_topup('bon_up', :'topup', 'pi_1');
SELECT amount, bonus, reference FROM wallet.fundings WHERE wallet = 'bon_up';
SELECT amount, bonus, balance FROM wallet.fund('bon_up', 10, priority => 5, scope => '{"models": ["m"]}');
SELECT amount, remaining, promotional, priority, scope FROM wallet.grants WHERE wallet = 'bon_up' ORDER BY created_at;

-- A bonus that rounds to zero is not booked. Halves are rounded to even.
SELECT wallet.set_bonus('bon_up', '[{"from": 0, "percent": 50}]') IS NOT NULL AS set;
SELECT amount, bonus, bonus_entry_id FROM wallet.fund('bon_up', 0.000000000001);
SELECT amount, bonus FROM wallet.fund('bon_up', 0.000000000003);
SELECT amount, bonus FROM wallet.fund('bon_up', 0.000000000005);
-- The bounds of a payment apply to the amount paid, in the wallet's currency, and so do the tiers.
SELECT funding_max FROM wallet.wallets WHERE wallet_id = 'bon_up' AND (wallet.update_wallet('bon_up', funding_max => 100)).wallet IS NOT NULL;
SELECT amount, bonus FROM wallet.fund('bon_up', 100);
SELECT regress.outcome($$ SELECT wallet.fund('bon_up', 100.01) $$) AS too_much;
SELECT wallet.set_bonus('bon_up', '[{"from": 50, "percent": 50}]') IS NOT NULL AS set;
SELECT amount, bonus FROM wallet.fund('bon_up', 49, currency => 'XTS', rate => 2);
SELECT amount, bonus FROM wallet.fund('bon_up', 98, currency => 'XTS', rate => 0.5);
-- A bonus that does not fit is refused, and nothing is booked.
SELECT wallet FROM wallet.create_wallet('bon_max');
SELECT wallet.set_bonus('bon_max', '[{"from": 0, "percent": 1000}]') IS NOT NULL AS set;
CALL regress.fails($$ SELECT wallet.fund('bon_max', 9999999999999999.999999999999) $$);
CALL regress.fails($$ SELECT wallet.fund('bon_max', 999999999999999) $$);
SELECT balance, (SELECT count(*) FROM wallet.entries WHERE wallet = 'bon_max') AS entries FROM wallet.balances WHERE wallet = 'bon_max';

-- A bonus for all wallets of a currency, except those with a rule of their own, even one of zero
-- percent.
SELECT wallet FROM wallet.create_wallet('bon_own', currency => 'XTS'), wallet.create_wallet('bon_none', currency => 'XTS') n (other), wallet.create_wallet('bon_all', currency => 'XTS') a (third);
SELECT wallet.set_bonus('*', '[{"from": 0, "percent": 1}]', 'XTS', actor => 'ada');
SELECT wallet.set_bonus('bon_own', '[{"from": 10, "percent": 2}]');
SELECT wallet.set_bonus('bon_none', '[{"from": 0, "percent": 0}]', 'XTS');
SELECT w, (wallet.fund(w, 100)).bonus, (wallet.fund(w, 5)).bonus AS less FROM unnest('{bon_all,bon_own,bon_none,bon_eur}'::text[]) w;
-- The default currency is USD.
SELECT wallet.set_bonus('*', '[{"from": 1000000, "percent": 1}]');
SELECT wallet, currency, tiers FROM wallet.bonuses ORDER BY 1, 2;
SELECT wallet.set_bonus('*', '[]'), wallet.set_bonus('bon_own', NULL), wallet.set_bonus('*', NULL, 'XXX') AS not_there;
SELECT (wallet.fund('bon_own', 100)).bonus;
-- Once per key. Setting the same rule again changes nothing and leaves no audit row.
SELECT wallet.set_bonus('bon_own', '[{"from": 1, "percent": 3}]', idempotency_key => 'b1');
SELECT wallet.set_bonus('bon_own', '[{"from": 1, "percent": 4}]');
SELECT wallet.set_bonus('bon_own', '[{"from": 1.0, "percent": 3}]', idempotency_key => 'b1');
SELECT wallet.set_bonus('bon_own', '[{"from": 1, "percent": 4}]', actor => 'eve');
CALL regress.fails($$ SELECT wallet.set_bonus('bon_own', '[{"from": 1, "percent": 4}]', idempotency_key => 'b1') $$);
SELECT wallet.set_bonus('*', '[{"from": 1, "percent": 3}]', 'XTS', idempotency_key => 'b1');
CALL regress.fails($$ SELECT wallet.set_bonus('*', '[{"from": 1, "percent": 3}]', 'XXX', idempotency_key => 'b1') $$);
SELECT wallet, action, subject, actor, before -> 'tiers' AS before, after -> 'tiers' AS after
  FROM wallet.audit WHERE action = 'set_bonus' AND (wallet IN ('bon', 'bon_own') OR subject = 'XTS') ORDER BY at;

-- A partial reversal of a payment takes the same share of the bonus. The parts add up.
SELECT wallet FROM wallet.create_wallet('bon_back');
SELECT wallet.set_bonus('bon_back', '[{"from": 0, "percent": 10}]');
SELECT entry_id AS paid, bonus, balance FROM wallet.fund('bon_back', 100) \gset
SELECT amount, balance, status, taken, debt, bonus FROM wallet.reverse_funding('bon_back', :'paid', amount => 33.333333333333, idempotency_key => 'r1');
SELECT amount, balance, status, taken, debt, bonus, replayed FROM wallet.reverse_funding('bon_back', :'paid', amount => 33.333333333333, idempotency_key => 'r1');
SELECT amount, balance, status, bonus FROM wallet.reverse_funding('bon_back', :'paid', amount => 33.333333333333);
SELECT reversed, bonus, bonus_reversed FROM wallet.fundings WHERE wallet = 'bon_back';
SELECT amount, balance, status, bonus FROM wallet.reverse_funding('bon_back', :'paid');
SELECT reversed, bonus, bonus_reversed FROM wallet.fundings WHERE wallet = 'bon_back';
SELECT kind, amount, contra, related_id IS NOT NULL AS related FROM wallet.entries WHERE wallet = 'bon_back' ORDER BY seq;
SELECT amount, remaining, promotional, status FROM wallet.grants WHERE wallet = 'bon_back' ORDER BY created_at;

-- The spent part of a bonus is owed like the spent part of a payment: pay, spend and reverse gains
-- nothing.
SELECT wallet FROM wallet.create_wallet('bon_gain');
SELECT wallet.set_bonus('bon_gain', '[{"from": 0, "percent": 10}]');
SELECT n, f.bonus, c.cost, r.taken, r.bonus AS bonus_back, r.balance, r.debt
  FROM generate_series(1, 3) n
 CROSS JOIN LATERAL wallet.fund('bon_gain', 100 + 0 * n) f
 CROSS JOIN LATERAL wallet.charge('bon_gain', amount => CASE WHEN f.balance > 10 THEN 10 ELSE 0 END) c
 CROSS JOIN LATERAL wallet.reverse_funding('bon_gain', CASE WHEN c.cost >= 0 THEN f.entry_id END) r;
SELECT sum(amount) FILTER (WHERE kind = 'charge') AS used, sum(amount) AS all FROM wallet.entries WHERE wallet = 'bon_gain';
-- Nor does a partial reversal: 50 are paid, 5 are the bonus, 10 are used.
SELECT wallet FROM wallet.create_wallet('bon_part');
SELECT wallet.set_bonus('bon_part', '[{"from": 0, "percent": 10}]');
SELECT entry_id AS paid FROM wallet.fund('bon_part', 100) \gset
SELECT balance FROM wallet.charge('bon_part', amount => 10);
SELECT amount, taken, bonus, balance, debt FROM wallet.reverse_funding('bon_part', :'paid', amount => 50);
-- A debt is paid by the payment first, then by the bonus. Reversing both restores the whole debt.
SELECT balance FROM wallet.charge('bon_part', amount => 45);
SELECT amount, taken, bonus, balance, debt FROM wallet.reverse_funding('bon_part', :'paid');
SELECT entry_id AS paid, bonus, balance FROM wallet.fund('bon_part', 50) \gset
SELECT :'bonus' AS bonus, :'balance' AS balance, debt FROM wallet.balances WHERE wallet = 'bon_part';
SELECT amount, taken, bonus, balance, debt FROM wallet.reverse_funding('bon_part', :'paid');

-- A bonus that ended unused is not owed: it was voided, or it expired.
SELECT wallet FROM wallet.create_wallet('bon_end');
SELECT wallet.set_bonus('bon_end', '[{"from": 0, "percent": 10}]', expires_in => '1 second');
SELECT entry_id AS paid, bonus_entry_id AS bonus, balance FROM wallet.fund('bon_end', 100) \gset
SELECT expires_at = created_at + interval '1 second' AS ends FROM wallet.grants WHERE grant_id = :'bonus';
SELECT balance FROM wallet.charge('bon_end', amount => 4);
SELECT pg_sleep(1.1);
SELECT balance FROM wallet.balances WHERE wallet = 'bon_end';
SELECT amount, taken, bonus, balance, debt FROM wallet.reverse_funding('bon_end', :'paid', amount => 50);
SELECT amount, taken, bonus, balance, debt FROM wallet.reverse_funding('bon_end', :'paid');
-- Two times that are equal to PostgreSQL can end at different moments.
SELECT wallet.set_bonus('bon_end', '[{"from": 0, "percent": 10}]', expires_in => '30 days');
SELECT wallet.set_bonus('bon_end', '[{"from": 0, "percent": 10}]', expires_in => '1 mon');
SELECT expires_in FROM wallet.bonuses WHERE wallet = 'bon_end';
SELECT wallet.set_bonus('bon_end', '[{"from": 0, "percent": 10}]', expires_in => '1 mon 2 days 03:00:00');
SELECT entry_id AS paid, bonus_entry_id AS bonus, balance FROM wallet.fund('bon_end', 100) \gset
SELECT expires_at AT TIME ZONE 'UTC' = created_at AT TIME ZONE 'UTC' + interval '1 mon 2 days 03:00:00' AS ends FROM wallet.grants WHERE grant_id = :'bonus';
SELECT amount FROM wallet.void_grant('bon_end', :'bonus');
SELECT amount, taken, bonus, balance, debt FROM wallet.reverse_funding('bon_end', :'paid');
-- If no amount is given, what an adjustment took out of the payment counts as given back.
SELECT wallet FROM wallet.create_wallet('bon_adj');
SELECT wallet.set_bonus('bon_adj', '[{"from": 0, "percent": 10}]');
SELECT entry_id AS paid FROM wallet.fund('bon_adj', 100) \gset
SELECT balance FROM wallet.adjust('bon_adj', -20, reason => 'card refund');
SELECT amount, taken, bonus, balance, debt FROM wallet.reverse_funding('bon_adj', :'paid');
SELECT entry_id AS paid FROM wallet.fund('bon_adj', 100) \gset
SELECT balance FROM wallet.adjust('bon_adj', -20, reason => 'use elsewhere');
SELECT amount, taken, bonus, balance, debt FROM wallet.reverse_funding('bon_adj', :'paid', amount => 100);
-- Money that a hold reserves remains reserved. The payment and its bonus are owed.
SELECT wallet FROM wallet.create_wallet('bon_hold', lanes => 4);
SELECT wallet.set_bonus('bon_hold', '[{"from": 0, "percent": 10}]');
SELECT entry_id AS paid, balance FROM wallet.fund('bon_hold', 100) \gset
SELECT hold_id AS hold FROM wallet.hold('bon_hold', amount => 105) \gset
SELECT amount, taken, bonus, balance, debt FROM wallet.reverse_funding('bon_hold', :'paid');
SELECT cost, balance FROM wallet.settle('bon_hold', :'hold', amount => 60);
SELECT balance, debt FROM wallet.balances WHERE wallet = 'bon_hold';
-- Nothing is left of the payment, but the bonus is.
SELECT wallet FROM wallet.create_wallet('bon_rest');
SELECT wallet.set_bonus('bon_rest', '[{"from": 0, "percent": 10}]');
SELECT entry_id AS paid FROM wallet.fund('bon_rest', 100) \gset
SELECT amount FROM wallet.void_grant('bon_rest', :'paid');
SELECT entry_id, amount, status, bonus, balance, debt FROM wallet.reverse_funding('bon_rest', :'paid', idempotency_key => 'r1');
SELECT entry_id, amount, status, bonus, balance, debt, replayed FROM wallet.reverse_funding('bon_rest', :'paid', idempotency_key => 'r1');
-- A bonus is a grant, not a funding of its own.
SELECT bonus_entry_id AS bonus FROM wallet.fund('bon_rest', 100) \gset
CALL regress.fails(format($$ SELECT wallet.reverse_funding('bon_rest', %L) $$, :'bonus'));

-- Reports separate paid and promotional credit.
SELECT kind, description, amount, balance FROM wallet.statement('bon_part') ORDER BY line;
SELECT "ChargeCategory", count(*), sum("BilledCost") AS billed, sum("x_Amount") AS amount
  FROM wallet.focus WHERE "BillingAccountId" IN ('bon_back', 'bon_gain', 'bon_part') GROUP BY 1 ORDER BY 1;
SELECT count(*) FILTER (WHERE line LIKE '%Equity:Funding:Bonus%') AS bonuses, count(*) FILTER (WHERE line LIKE '%= 0.00 USD') AS asserted
  FROM regexp_split_to_table(wallet.journal('bon_back'), E'\n') line;

-- Arguments that are refused.
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '{"from": 0, "percent": 5}') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '"5 %"') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[5]') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[{"from": 0, "percent": 5, "fixed": 1}]') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[{"percent": 5}]') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[{"from": 0}]') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[{"from": "0", "percent": 5}]') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[{"from": 0, "percent": null}]') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[{"from": 0, "percent": 5}, {"from": -1, "percent": 5}]') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[{"from": 0.0000000000001, "percent": 5}]') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[{"from": 1e16, "percent": 5}]') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[{"from": 0, "percent": -0.5}]') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[{"from": 0, "percent": 1000.000001}]') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[{"from": 0, "percent": 1.0000001}]') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[{"from": 0, "percent": 1e40}]') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[{"from": 5, "percent": 1}, {"from": 1, "percent": 1}, {"from": 5.00, "percent": 2}]') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', (SELECT jsonb_agg(jsonb_build_object('from', n, 'percent', 1)) FROM generate_series(1, 33) n)) $$);
SELECT jsonb_array_length(wallet.set_bonus('bon', (SELECT jsonb_agg(jsonb_build_object('from', n, 'percent', 1000)) FROM generate_series(1, 32) n))) AS most;
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[{"from": 0, "percent": 5}]', 'EUR') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[{"from": 0, "percent": 5}]', '12') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[{"from": 0, "percent": 5}]', expires_in => '0') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[{"from": 0, "percent": 5}]', expires_in => '-1 day') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[{"from": 0, "percent": 5}]', expires_in => '200 years') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[]', expires_in => '1 day') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon_nobody', '[{"from": 0, "percent": 5}]') $$);
CALL regress.fails($$ SELECT wallet.set_bonus(NULL, '[{"from": 0, "percent": 5}]') $$);
SELECT wallet FROM wallet.create_wallet('bon_shut');
SELECT status FROM wallet.close_wallet('bon_shut');
CALL regress.fails($$ SELECT wallet.set_bonus('bon_shut', '[{"from": 0, "percent": 5}]') $$);
-- A role that may read a wallet sees the bonus rule of the wallet and of all wallets. Setting the
-- latter needs the right on all wallets.
CREATE ROLE regress_bonus;
SELECT wallet.grant_access('regress_bonus', 'admin', 'bon_own') IS NOT NULL AS granted;
SET ROLE regress_bonus;
SELECT wallet, currency, tiers FROM wallet.bonuses;
SELECT wallet.set_bonus('bon_own', '[{"from": 1, "percent": 7}]');
CALL regress.fails($$ SELECT wallet.set_bonus('*', '[{"from": 0, "percent": 5}]') $$);
CALL regress.fails($$ SELECT wallet.set_bonus('bon', '[{"from": 0, "percent": 5}]') $$);
RESET ROLE;
SELECT wallet.revoke_access('regress_bonus', 'admin', 'bon_own') IS NOT NULL AS revoked;
DROP ROLE regress_bonus;
SELECT wallet.set_bonus('*', NULL, 'XTS');

SELECT w, b FROM (SELECT wallet AS w FROM wallet.balances WHERE wallet LIKE 'bon%') x CROSS JOIN LATERAL regress.broken(w) b;
SELECT w, v."check", v.detail FROM (SELECT wallet AS w FROM wallet.balances WHERE wallet LIKE 'bon%') x CROSS JOIN LATERAL wallet.verify(w) v WHERE NOT v.ok;
