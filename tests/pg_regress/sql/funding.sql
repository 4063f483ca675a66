-- Funding: amounts, references, idempotency, bounds, and what is refused.
SELECT wallet FROM wallet.create_wallet('fund_a');
SELECT wallet FROM wallet.create_wallet('fund_eur', currency => 'EUR', credit_limit => 10);

-- The columns of the result.
SELECT entry_id IS NOT NULL AS has_id, amount, currency, balance, status, replayed
  FROM wallet.fund('fund_a', 100);
SELECT amount, currency, balance FROM wallet.fund('fund_a', 0.000000000001, 'bank', 'ref-1', actor => 'ada', metadata => '{"invoice": 7}');
SELECT amount, balance FROM wallet.fund('fund_a', 12.5, method => 'invoice', reference => 'INV-7');
SELECT amount, balance, currency FROM wallet.fund('fund_eur', 20, currency => 'EUR');
-- The largest amounts that fit.
SELECT wallet FROM wallet.create_wallet('fund_max');
SELECT amount, balance FROM wallet.fund('fund_max', 9999999999999999.999999999999);
CALL regress.fails($$ SELECT wallet.fund('fund_max', 0.000000000001) $$);
SELECT balance FROM wallet.balances WHERE wallet = 'fund_max';

-- The rows that are written.
SELECT kind, amount, contra, reference, actor, metadata, lane, seq, lane_balance, event_at = created_at AS at_once
  FROM wallet.entries WHERE wallet = 'fund_a' ORDER BY seq;
SELECT f.amount, f.currency, f.method, f.reference, f.status, f.created_at = e.created_at AS same_time
  FROM wallet.fundings f JOIN wallet.entries e USING (wallet, entry_id) WHERE f.wallet = 'fund_a' ORDER BY e.seq;

-- A repeated key returns the first result. A key belongs to one call and one wallet.
SELECT balance, replayed FROM wallet.fund('fund_a', 5, 'card', 'pay-1', idempotency_key => 'k1');
SELECT balance, replayed FROM wallet.fund('fund_a', 5.00, 'card', 'pay-1', idempotency_key => 'k1');
SELECT balance, replayed FROM wallet.fund('fund_eur', 5, 'card', 'pay-1', idempotency_key => 'k1');
CALL regress.fails($$ SELECT wallet.fund('fund_a', 6, 'card', 'pay-1', idempotency_key => 'k1') $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 5, 'bank', 'pay-1', idempotency_key => 'k1') $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 5, 'card', 'pay-2', idempotency_key => 'k1') $$);
-- Actor and metadata are not part of the request.
SELECT balance, replayed FROM wallet.fund('fund_a', 5, 'card', 'pay-1', idempotency_key => 'k1', actor => 'bob', metadata => '{"try": 2}');

-- One payment is credited once per wallet, whatever the key is.
SELECT balance, replayed FROM wallet.fund('fund_a', 5, 'card', 'pay-1');
SELECT balance, replayed FROM wallet.fund('fund_a', 5, 'card', 'pay-1', idempotency_key => 'k2');
CALL regress.fails($$ SELECT wallet.fund('fund_a', 7, 'card', 'pay-1') $$);
-- The same reference with another method is another payment. No reference means no payment to
-- compare with.
SELECT balance, replayed FROM wallet.fund('fund_a', 5, 'bank', 'pay-1');
SELECT balance, replayed FROM wallet.fund('fund_a', 1);
SELECT balance, replayed FROM wallet.fund('fund_a', 1);

-- Arguments that are refused.
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
-- Another currency needs a rate. The wallet's own needs none.
CALL regress.fails($$ SELECT wallet.fund('fund_a', 1, currency => 'EUR', rate => 0) $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 1, currency => 'EUR', rate => 'NaN') $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 1, currency => 'EUR', rate => 1.2345678901234567) $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 1, currency => 'USD', rate => 1.1) $$);

-- The bounds of the wallet. Both bounds are allowed amounts.
SELECT wallet FROM wallet.update_wallet('fund_a', funding_min => 5, funding_max => 500);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 4.99) $$);
CALL regress.fails($$ SELECT wallet.fund('fund_a', 500.01) $$);
SELECT balance FROM wallet.fund('fund_a', 5);
SELECT balance FROM wallet.fund('fund_a', 500);

-- A refused funding leaves no trace, and neither does one in a transaction that is rolled back.
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

-- Another currency: the entry stores the paid amount, the rate and the rounding.
SELECT wallet FROM wallet.create_wallet('fx');
SELECT amount, currency, balance, status FROM wallet.fund('fx', 100, 'card', 'p1', currency => 'EUR', rate => 1.08);
SELECT amount, balance FROM wallet.fund('fx', 0.333333333333, 'card', 'p2', currency => 'EUR', rate => 1.0835);
SELECT amount, contra, original, usage FROM wallet.entries WHERE wallet = 'fx' ORDER BY seq;
SELECT amount, currency, original_amount, original_currency, rate, status FROM wallet.fundings WHERE wallet = 'fx' ORDER BY created_at;
-- The same payment again, also after a change of the rate. Another amount or currency is another
-- request.
SELECT amount, replayed FROM wallet.fund('fx', 100, 'card', 'p1', currency => 'EUR', rate => 1.09);
CALL regress.fails($$ SELECT wallet.fund('fx', 100, 'card', 'p1') $$);
CALL regress.fails($$ SELECT wallet.fund('fx', 101, 'card', 'p1', currency => 'EUR', rate => 1.08) $$);
-- Dated rates.
SELECT wallet.set_fx_rate('GBP', 'USD', 1.20, '2020-01-01') IS NOT NULL AS id,
       wallet.set_fx_rate('GBP', 'USD', 1.25, now() - interval '1 day') IS NOT NULL AS id,
       wallet.set_fx_rate('GBP', 'USD', 9, now() + interval '1 day') IS NOT NULL AS id;
SELECT amount FROM wallet.fund('fx', 10, currency => 'GBP');
SELECT wallet.set_fx_rate('GBP', 'USD', 1.26, '2020-01-01') = wallet.set_fx_rate('GBP', 'USD', 1.260, '2020-01-01') AS same;
SELECT count(*) FROM wallet.fx_rates WHERE from_currency = 'GBP';
CALL regress.fails($$ SELECT wallet.fund('fx', 10, currency => 'JPY') $$);
CALL regress.fails($$ SELECT wallet.set_fx_rate('GBP', 'GBP', 1) $$);
CALL regress.fails($$ SELECT wallet.set_fx_rate('GBP', 'USD', -1) $$);
CALL regress.fails($$ SELECT wallet.set_fx_rate('GBP', NULL, 1) $$);
-- A payment that is worth nothing in the wallet's currency is refused, and so is one that does not
-- fit.
CALL regress.fails($$ SELECT wallet.fund('fx', 0.000000000001, currency => 'XXX', rate => 0.1) $$);
CALL regress.fails($$ SELECT wallet.fund('fx', 9999999999999999, currency => 'XXX', rate => 1000) $$);
-- A wallet in a custom unit.
SELECT wallet, currency FROM wallet.create_wallet('points', 'credits');
SELECT amount, currency, balance FROM wallet.fund('points', 5, currency => 'USD', rate => 1000);

-- A bank transfer: pending, then settled. There is no entry before it is settled.
SELECT wallet FROM wallet.create_wallet('bank', low_balance => '{10}');
SELECT amount, balance, status, replayed FROM wallet.fund('bank', 40, 'bank', 'T1', status => 'pending', idempotency_key => 'b1', metadata => '{"iban": "x"}');
SELECT amount, balance, status, replayed FROM wallet.fund('bank', 40, 'bank', 'T1', status => 'pending', idempotency_key => 'b1');
SELECT amount, balance, status, replayed FROM wallet.fund('bank', 40, 'bank', 'T1', status => 'pending');
SELECT amount, balance, status, replayed FROM wallet.fund('bank', 40, 'bank', 'T1');
CALL regress.fails($$ SELECT wallet.fund('bank', 41, 'bank', 'T1', status => 'pending', idempotency_key => 'b1') $$);
CALL regress.fails($$ SELECT wallet.fund('bank', 41, 'bank', 'T1', status => 'pending') $$);
SELECT count(*) FROM wallet.entries WHERE wallet = 'bank';
SELECT balance FROM wallet.balances WHERE wallet = 'bank';
SELECT entry_id AS t1 FROM wallet.fundings WHERE wallet = 'bank' \gset
SELECT entry_id = :'t1' AS same_id, amount, balance, status, replayed FROM wallet.settle_funding('bank', :'t1', idempotency_key => 's1', actor => 'ada');
SELECT entry_id = :'t1' AS same_id, amount, balance, status, replayed FROM wallet.settle_funding('bank', :'t1', idempotency_key => 's1');
SELECT amount, balance, status, replayed FROM wallet.settle_funding('bank', :'t1');
SELECT amount, balance, status, replayed FROM wallet.fund('bank', 40, 'bank', 'T1', status => 'pending', idempotency_key => 'b1');
SELECT entry_id = :'t1' AS same_id, kind, amount, contra, reference, actor, metadata FROM wallet.entries WHERE wallet = 'bank';
CALL regress.fails(format($$ SELECT wallet.fail_funding('bank', %L, 'late') $$, :'t1'));
CALL regress.fails(format($$ SELECT wallet.settle_funding('bank', %L, idempotency_key => 's1') $$, gen_random_uuid()));
CALL regress.fails($$ SELECT wallet.settle_funding('bank', gen_random_uuid()) $$);
CALL regress.fails($$ SELECT wallet.settle_funding('bank', NULL) $$);
-- Or it fails. Then the reference is free again.
SELECT entry_id AS t2 FROM wallet.fund('bank', 7, 'bank', 'T2', status => 'pending') \gset
SELECT amount, balance, status, replayed FROM wallet.fail_funding('bank', :'t2', 'rejected');
SELECT amount, balance, status, replayed FROM wallet.fail_funding('bank', :'t2', 'rejected');
CALL regress.fails(format($$ SELECT wallet.settle_funding('bank', %L) $$, :'t2'));
CALL regress.fails(format($$ SELECT wallet.reverse_funding('bank', %L) $$, :'t2'));
SELECT amount, balance, status, replayed FROM wallet.fund('bank', 7, 'bank', 'T2');
SELECT amount, method, reference, status, reason, finished_at IS NOT NULL AS finished FROM wallet.fundings WHERE wallet = 'bank' ORDER BY created_at;

-- A chargeback takes the available money. The rest is a debt that the next funding pays.
SELECT balance FROM wallet.charge('bank', amount => 17);
SELECT amount, balance, status, replayed, taken, debt FROM wallet.reverse_funding('bank', :'t1', 'disputed', idempotency_key => 'r1');
SELECT amount, balance, status, replayed, taken, debt FROM wallet.reverse_funding('bank', :'t1', 'disputed', idempotency_key => 'r1');
SELECT amount, balance, status, replayed, taken, debt FROM wallet.reverse_funding('bank', :'t1');
SELECT balance, available, debt, status FROM wallet.balances WHERE wallet = 'bank';
SELECT kind, amount, contra, reference, reason, related_id = :'t1' AS of_t1 FROM wallet.entries WHERE wallet = 'bank' AND kind = 'chargeback';
SELECT regress.outcome($$ SELECT wallet.charge('bank', amount => 0.01) $$);
SELECT amount, balance FROM wallet.fund('bank', 4);
SELECT balance, debt FROM wallet.balances WHERE wallet = 'bank';
SELECT amount, balance FROM wallet.fund('bank', 20);
SELECT balance, debt FROM wallet.balances WHERE wallet = 'bank';
SELECT * FROM regress.broken('bank');
-- The chargeback freezes the wallet if the wallet says so. It takes no credit, and the reference is
-- not free again.
SELECT wallet FROM wallet.create_wallet('strict', credit_limit => 50);
SELECT wallet FROM wallet.update_wallet('strict', freeze_on_chargeback => true);
SELECT entry_id AS c1 FROM wallet.fund('strict', 100, 'card', 'C1') \gset
SELECT balance FROM wallet.charge('strict', amount => 120);
SELECT amount, balance, taken, debt FROM wallet.reverse_funding('strict', :'c1', 'fraud');
SELECT balance, debt, status FROM wallet.balances WHERE wallet = 'strict';
CALL regress.fails($$ SELECT wallet.charge('strict', amount => 1) $$);
SELECT event, threshold FROM wallet.events WHERE wallet = 'strict' ORDER BY created_at;
SELECT amount, balance, status, replayed FROM wallet.fund('strict', 100, 'card', 'C1');
SELECT * FROM regress.broken('strict');

-- Vouchers: once per wallet, up to their maximum in total. The code itself is not stored.
SELECT wallet.create_voucher('SPRING-25', 25, expires_at => now() + interval '1 hour', max_redemptions => 2) IS NOT NULL AS id;
SELECT wallet.create_voucher('OLD', 5, expires_at => now() - interval '1 hour') IS NOT NULL AS id;
SELECT wallet.create_voucher('POUND', 5, 'GBP', idempotency_key => 'v1') = wallet.create_voucher('POUND', 5, 'GBP', idempotency_key => 'v1') AS same;
CALL regress.fails($$ SELECT wallet.create_voucher('POUND', 6, 'GBP') $$);
CALL regress.fails($$ SELECT wallet.create_voucher('NONE', 6, max_redemptions => 0) $$);
SELECT amount, currency, balance, status, replayed FROM wallet.redeem_voucher('fx', 'SPRING-25', idempotency_key => 'rv');
SELECT amount, currency, balance, status, replayed FROM wallet.redeem_voucher('fx', 'SPRING-25', idempotency_key => 'rv');
CALL regress.fails($$ SELECT wallet.redeem_voucher('fx', 'SPRING-25') $$);
SELECT amount FROM wallet.redeem_voucher('bank', 'SPRING-25');
CALL regress.fails($$ SELECT wallet.redeem_voucher('fund_a', 'SPRING-25') $$);
CALL regress.fails($$ SELECT wallet.redeem_voucher('fund_a', 'OLD') $$);
CALL regress.fails($$ SELECT wallet.redeem_voucher('fund_a', 'spring-25') $$);
SELECT amount FROM wallet.redeem_voucher('fx', 'POUND');
SELECT regress.outcome($$ SELECT wallet.redeem_voucher('fund_a', NULL) $$);
SELECT kind, amount, contra, original FROM wallet.entries WHERE wallet = 'fx' AND contra = 'funding:voucher' ORDER BY seq;
SELECT * FROM regress.broken('fx');

-- A partial reversal: 30 of 50 are charged back, of which 10 were spent. The balance covers it.
CREATE FUNCTION regress.money(of_wallet text) RETURNS TABLE (balance numeric, debt numeric, entries numeric) LANGUAGE sql AS $$
    SELECT b.balance, b.debt, (SELECT round(sum(e.amount), 2) FROM wallet.entries e WHERE e.wallet = b.wallet)
      FROM wallet.balances b WHERE b.wallet = of_wallet $$;
SELECT wallet FROM wallet.create_wallet('part');
SELECT entry_id AS paid FROM wallet.fund('part', 50, 'card', 'pi_part') \gset
SELECT balance FROM wallet.charge('part', amount => 10);
SELECT amount, balance, status, replayed, taken, debt FROM wallet.reverse_funding('part', :'paid', 'dispute 1', amount => 30, idempotency_key => 'd1');
SELECT amount, balance, status, replayed, taken, debt FROM wallet.reverse_funding('part', :'paid', 'dispute 1', amount => 30, idempotency_key => 'd1');
CALL regress.fails(format($$ SELECT wallet.reverse_funding('part', %L, amount => 29, idempotency_key => 'd1') $$, :'paid'));
CALL regress.fails(format($$ SELECT wallet.reverse_funding('part', %L, idempotency_key => 'd1') $$, :'paid'));
SELECT status, amount, reversed, reversed_original, reason, reversal_id IS NOT NULL AS has_entry FROM wallet.fundings WHERE wallet = 'part';
-- The rest can be spent, and is still a grant.
SELECT amount, remaining, status FROM wallet.grants WHERE wallet = 'part';
SELECT balance FROM wallet.charge('part', amount => 6);
-- At most the rest can be reversed: 20.
CALL regress.fails(format($$ SELECT wallet.reverse_funding('part', %L, amount => 20.01) $$, :'paid'));
CALL regress.fails(format($$ SELECT wallet.reverse_funding('part', %L, amount => 0) $$, :'paid'));
CALL regress.fails(format($$ SELECT wallet.reverse_funding('part', %L, amount => -1) $$, :'paid'));
CALL regress.fails(format($$ SELECT wallet.reverse_funding('part', %L, amount => 'NaN') $$, :'paid'));
-- The rest: 4 are available, 16 were spent and become a debt.
SELECT amount, balance, status, replayed, taken, debt FROM wallet.reverse_funding('part', :'paid', 'dispute 2');
SELECT amount, balance, status, replayed, taken, debt FROM wallet.reverse_funding('part', :'paid', 'dispute 2');
SELECT amount, balance, status, replayed, taken, debt FROM wallet.reverse_funding('part', :'paid', amount => 30, idempotency_key => 'd1');
CALL regress.fails(format($$ SELECT wallet.reverse_funding('part', %L, amount => 0.01) $$, :'paid'));
SELECT status, amount, reversed, reversed_original FROM wallet.fundings WHERE wallet = 'part';
SELECT amount, remaining, status FROM wallet.grants WHERE wallet = 'part';
SELECT kind, amount, contra, reference, reason FROM wallet.entries WHERE wallet = 'part' ORDER BY seq;
SELECT * FROM regress.money('part');
-- The first call's key returns the current state of the funding.
SELECT wallet FROM wallet.create_wallet('since');
SELECT entry_id AS paid, status FROM wallet.fund('since', 9, 'card', 'pi_since', idempotency_key => 'f1') \gset
SELECT amount, status FROM wallet.reverse_funding('since', :'paid', amount => 4);
SELECT status, replayed FROM wallet.fund('since', 9, 'card', 'pi_since', idempotency_key => 'f1');
SELECT amount, status FROM wallet.reverse_funding('since', :'paid');
SELECT status, replayed FROM wallet.fund('since', 9, 'card', 'pi_since', idempotency_key => 'f1');
SELECT entry_id AS coming FROM wallet.fund('since', 5, 'bank', 'T1', status => 'pending', idempotency_key => 'f2') \gset
SELECT status, replayed FROM wallet.fund('since', 5, 'bank', 'T1', status => 'pending', idempotency_key => 'f2');
SELECT status FROM wallet.settle_funding('since', :'coming', idempotency_key => 's1');
SELECT status, balance, replayed FROM wallet.fund('since', 5, 'bank', 'T1', status => 'pending', idempotency_key => 'f2');
SELECT status FROM wallet.reverse_funding('since', :'coming');
SELECT status, replayed FROM wallet.settle_funding('since', :'coming', idempotency_key => 's1');
SELECT entry_id AS coming FROM wallet.fund('since', 5, 'bank', 'T2', status => 'pending', idempotency_key => 'f3') \gset
SELECT status FROM wallet.fail_funding('since', :'coming');
SELECT status, replayed FROM wallet.fund('since', 5, 'bank', 'T2', status => 'pending', idempotency_key => 'f3');
-- 20 were paid back with adjust(). A dispute over the rest takes 30, and nothing is owed.
SELECT wallet FROM wallet.create_wallet('repaid');
SELECT entry_id AS paid FROM wallet.fund('repaid', 50, 'card', 'pi_r') \gset
SELECT balance FROM wallet.adjust('repaid', -20, 'refund re_1 of pi_r');
SELECT amount, balance, status, taken, debt FROM wallet.reverse_funding('repaid', :'paid', 'dispute');
SELECT status, amount, reversed FROM wallet.fundings WHERE wallet = 'repaid';
-- If the adjustment was not a repayment, an amount says so. The bound is the paid amount.
SELECT amount, balance, status, taken, debt FROM wallet.reverse_funding('repaid', :'paid', 'the whole after all', amount => 20);
CALL regress.fails(format($$ SELECT wallet.reverse_funding('repaid', %L, amount => 0.01) $$, :'paid'));
SELECT * FROM regress.money('repaid');
-- Spent money is owed: 50 paid, 20 given back, 12 used. Of the dispute over 30, 18 are available.
SELECT wallet FROM wallet.create_wallet('spent_card');
SELECT entry_id AS paid FROM wallet.fund('spent_card', 50, 'card', 'pi_u') \gset
SELECT balance FROM wallet.charge('spent_card', amount => 12);
SELECT balance FROM wallet.adjust('spent_card', -20);
SELECT amount, balance, taken, debt FROM wallet.reverse_funding('spent_card', :'paid');
SELECT * FROM regress.money('spent_card');
-- So is money that was transferred to another wallet.
SELECT wallet FROM wallet.create_wallet('passed_on');
SELECT entry_id AS paid FROM wallet.fund('passed_on', 50, 'card', 'pi_m') \gset
SELECT balance FROM wallet.transfer('passed_on', 'spent_card', 20);
SELECT amount, balance, taken, debt FROM wallet.reverse_funding('passed_on', :'paid');
-- Adjustments of another funding's grant, or from before, do not count. Voided parts of this one
-- do.
SELECT wallet FROM wallet.create_wallet('beside_card');
SELECT entry_id AS first FROM wallet.fund('beside_card', 50, 'card', 'pi_1') \gset
SELECT balance FROM wallet.adjust('beside_card', -20);
SELECT entry_id AS second FROM wallet.fund('beside_card', 40, 'card', 'pi_2') \gset
SELECT amount, balance, taken, debt FROM wallet.reverse_funding('beside_card', :'second');
SELECT amount, balance FROM wallet.void_grant('beside_card', :'first');
SELECT amount, balance, status, taken, debt, entry_id FROM wallet.reverse_funding('beside_card', :'first', idempotency_key => 'none');
SELECT amount, balance, status, replayed, taken, debt, entry_id FROM wallet.reverse_funding('beside_card', :'first', idempotency_key => 'none');
CALL regress.fails(format($$ SELECT wallet.reverse_funding('beside_card', %L, idempotency_key => 'none') $$, :'second'));
SELECT method, status, amount, reversed, reversal_id IS NOT NULL AS has_entry FROM wallet.fundings WHERE wallet = 'beside_card' ORDER BY created_at;
SELECT * FROM regress.money('beside_card');
-- In another currency the amount is the payment's. The parts add up to the credited amount, to the
-- last digit.
SELECT wallet FROM wallet.create_wallet('part_fx');
SELECT entry_id AS paid, amount FROM wallet.fund('part_fx', 10, 'card', 'pi_fx', currency => 'EUR', rate => 1.0333333333333) \gset
SELECT amount, status FROM wallet.reverse_funding('part_fx', :'paid', amount => 3.333333333333);
SELECT amount, status FROM wallet.reverse_funding('part_fx', :'paid', amount => 3.333333333333);
SELECT status, amount, original_amount, original_currency, reversed, reversed_original FROM wallet.fundings WHERE wallet = 'part_fx';
CALL regress.fails(format($$ SELECT wallet.reverse_funding('part_fx', %L, amount => 3.333333333335) $$, :'paid'));
SELECT amount, balance, status, debt FROM wallet.reverse_funding('part_fx', :'paid', amount => 3.333333333334);
SELECT kind, amount, original FROM wallet.entries WHERE wallet = 'part_fx' ORDER BY seq;
SELECT kind, sum(amount) AS amount, sum((original ->> 'amount')::numeric) AS paid,
       bool_and(abs(amount) = (original ->> 'amount')::numeric * (original ->> 'rate')::numeric + (original ->> 'rounding')::numeric) AS exact
  FROM wallet.entries WHERE wallet = 'part_fx' GROUP BY kind ORDER BY kind;
SELECT reversed = amount AS all_of_it, reversed_original = original_amount AS all_that_was_paid FROM wallet.fundings WHERE wallet = 'part_fx';
-- Any parts at any rate add up, in the credited and the paid amount. Every entry says how its
-- amount was computed.
CREATE FUNCTION regress.parts(seed double precision, OUT seed_used double precision, OUT fundings integer, OUT parts integer, OUT wrong integer)
LANGUAGE plpgsql AS $$
DECLARE
    paid uuid; whole numeric; rate numeric; rest numeric; part numeric;
BEGIN
    PERFORM setseed(seed);
    seed_used := seed; fundings := 0; parts := 0;
    FOR n IN 1..60 LOOP
        rate := round((0.001 + 3 * random())::numeric, 3 + floor(12 * random())::integer);
        whole := round((1 + 1000 * random())::numeric, floor(13 * random())::integer);
        SELECT f.entry_id INTO paid FROM wallet.fund('part_any', whole, 'card', n::text, currency => 'EUR', rate => rate) f;
        rest := whole; fundings := fundings + 1;
        FOR k IN 1..floor(5 * random())::integer LOOP
            part := round((rest * random()::numeric), 1 + floor(12 * random())::integer);
            CONTINUE WHEN part <= 0 OR part >= rest;
            PERFORM wallet.reverse_funding('part_any', paid, amount => part);
            rest := rest - part; parts := parts + 1;
        END LOOP;
        PERFORM wallet.reverse_funding('part_any', paid, amount => CASE WHEN random() < 0.5 THEN rest END);
    END LOOP;
    SELECT count(*) INTO wrong
      FROM wallet.fundings f
     CROSS JOIN LATERAL (SELECT -sum(e.amount) AS amount, sum((e.original ->> 'amount')::numeric) AS original,
                                bool_and(-e.amount = (e.original ->> 'amount')::numeric * f.rate + (e.original ->> 'rounding')::numeric) AS exact
                           FROM wallet.entries e WHERE e.wallet = f.wallet AND e.kind = 'chargeback' AND e.related_id = f.entry_id) e
     WHERE f.wallet = 'part_any'
       AND NOT ((f.status, f.reversed, f.reversed_original) = ('reversed', f.amount, f.original_amount)
                AND (e.amount, e.original) = (f.amount, f.original_amount) AND e.exact);
END
$$;
SELECT wallet FROM wallet.create_wallet('part_any');
SELECT fundings, parts > 30 AS parts, CASE WHEN wrong > 0 THEN format('%s with seed %s', wrong, seed_used) ELSE 'none' END AS wrong
  FROM regress.parts(2 * random() - 1);
SELECT * FROM regress.money('part_any');
-- 4 of 10 were given back in the wallet's currency: at the rate, 2 of the 5 that were paid.
SELECT entry_id AS paid FROM wallet.fund('part_fx', 5, 'card', 'pi_fx2', currency => 'GBP', rate => 2) \gset
SELECT balance FROM wallet.adjust('part_fx', -4);
SELECT amount, balance, status, debt FROM wallet.reverse_funding('part_fx', :'paid');
SELECT original FROM wallet.entries WHERE wallet = 'part_fx' ORDER BY seq DESC LIMIT 1;
SELECT amount, reversed, original_amount, reversed_original FROM wallet.fundings WHERE wallet = 'part_fx' AND reference = 'pi_fx2';
-- A part that is worth nothing in the wallet's currency is refused.
SELECT entry_id AS paid FROM wallet.fund('part_fx', 5, 'card', 'pi_fx3', currency => 'JPY', rate => 0.001) \gset
CALL regress.fails(format($$ SELECT wallet.reverse_funding('part_fx', %L, amount => 0.000000000001) $$, :'paid'));
-- A grant with a scope, end and priority: its remaining money first, nothing from holds.
SELECT wallet FROM wallet.create_wallet('part_scope');
SELECT balance FROM wallet.fund('part_scope', 100);
SELECT entry_id AS paid FROM wallet.fund('part_scope', 50, 'card', 'pi_s', priority => 50, scope => '{"models": ["m"]}') \gset
SELECT amount FROM wallet.hold('part_scope', amount => 20, model => 'm', ttl => '1 hour');
SELECT amount, balance, taken, debt FROM wallet.reverse_funding('part_scope', :'paid', amount => 25);
SELECT balance, held, available, scoped FROM wallet.balances WHERE wallet = 'part_scope';
SELECT amount, remaining, scope IS NOT NULL AS scoped, status FROM wallet.grants WHERE wallet = 'part_scope' ORDER BY created_at;
SELECT amount, balance, status, taken, debt FROM wallet.reverse_funding('part_scope', :'paid');
SELECT * FROM wallet.verify('part_scope') WHERE NOT ok;
-- A refund returns to a grant of which a part was reversed.
SELECT wallet FROM wallet.create_wallet('part_refund');
SELECT entry_id AS paid FROM wallet.fund('part_refund', 50, expires_at => now() + interval '1 day') \gset
SELECT entry_id AS used FROM wallet.charge('part_refund', amount => 20) \gset
SELECT taken, debt FROM wallet.reverse_funding('part_refund', :'paid', amount => 30);
SELECT remaining, status FROM wallet.grants WHERE wallet = 'part_refund';
SELECT amount, balance FROM wallet.refund('part_refund', :'spent_card');
SELECT remaining, status, expires_at IS NOT NULL AS ends FROM wallet.grants WHERE wallet = 'part_refund';
-- A partial reversal freezes the wallet too, if the wallet says so.
SELECT wallet FROM wallet.create_wallet('part_ice');
SELECT wallet FROM wallet.update_wallet('part_ice', freeze_on_chargeback => true);
SELECT entry_id AS paid FROM wallet.fund('part_ice', 50) \gset
SELECT taken, debt FROM wallet.reverse_funding('part_ice', :'paid', amount => 1);
SELECT status FROM wallet.balances WHERE wallet = 'part_ice';
SELECT regress.broken(w) FROM unnest('{part,since,repaid,used,moved,other,part_fx,part_scope,part_refund,part_ice}'::text[]) w;
