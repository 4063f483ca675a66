-- Wallets: create, update, freeze, unfreeze, close; each replays by its idempotency key.
CREATE VIEW regress.wallet_rows AS
SELECT wallet, currency, balance, held, available, credit_limit, debt, status, lanes, low_balance FROM wallet.balances;

-- Defaults, and all arguments.
SELECT wallet, currency, balance, held, available, credit_limit, debt, status, lanes, low_balance,
       created_at BETWEEN now() - interval '1 minute' AND clock_timestamp() AS created_now
  FROM wallet.create_wallet('w_plain');
SELECT wallet, currency, balance, available, credit_limit, status, lanes, low_balance
  FROM wallet.create_wallet('w_full', currency => 'EUR', credit_limit => 25.50, low_balance => '{5,50,5.0,20}',
                            time_zone => 'Europe/Berlin', lanes => 4, metadata => '{"plan":"pro"}', actor => 'ada');
SELECT currency, time_zone, metadata, price_list, unknown_price FROM wallet.wallets WHERE wallet_id = 'w_full';
-- Names are any text: case, spaces, quotes, emoji.
SELECT wallet FROM wallet.create_wallet('W_Plain');
SELECT wallet FROM wallet.create_wallet('w ''quoted" 💳');
-- A name that cannot be read or written down is refused.
CALL regress.fails($$ SELECT wallet.create_wallet('   ') $$);
CALL regress.fails($$ SELECT wallet.create_wallet(E'\t\n') $$);
CALL regress.fails($$ SELECT wallet.create_wallet(' w') $$);
CALL regress.fails($$ SELECT wallet.create_wallet('w ') $$);
CALL regress.fails($$ SELECT wallet.create_wallet(U&'w\00A0') $$);
CALL regress.fails($$ SELECT wallet.create_wallet(E'w\nx') $$);
CALL regress.fails($$ SELECT wallet.create_wallet(U&'w\200Bx') $$);
CALL regress.fails($$ SELECT wallet.create_wallet(U&'\FEFFw') $$);
SELECT wallet, currency FROM wallet.create_wallet('w_credits', 'credits');

-- Arguments that create_wallet refuses.
CALL regress.fails($$ SELECT wallet.create_wallet('w_plain') $$);
CALL regress.fails($$ SELECT wallet.create_wallet(NULL) $$);
CALL regress.fails($$ SELECT wallet.create_wallet('') $$);
CALL regress.fails($$ SELECT wallet.create_wallet('*') $$);
CALL regress.fails($$ SELECT wallet.create_wallet(repeat('x', 256)) $$);
CALL regress.fails($$ SELECT wallet.create_wallet('w_bad', currency => 'US Dollar') $$);
CALL regress.fails($$ SELECT wallet.create_wallet('w_bad', currency => NULL) $$);
CALL regress.fails($$ SELECT wallet.create_wallet('w_bad', credit_limit => -1) $$);
CALL regress.fails($$ SELECT wallet.create_wallet('w_bad', credit_limit => 'NaN') $$);
CALL regress.fails($$ SELECT wallet.create_wallet('w_bad', credit_limit => NULL) $$);
SELECT regress.outcome($$ SELECT wallet.create_wallet('w_bad', low_balance => '{10,NULL}') $$);
CALL regress.fails($$ SELECT wallet.create_wallet('w_bad', low_balance => '{-1}') $$);
CALL regress.fails($$ SELECT wallet.create_wallet('w_bad', low_balance => (SELECT array_agg(n) FROM generate_series(1, 33) n)) $$);
CALL regress.fails($$ SELECT wallet.create_wallet('w_bad', time_zone => 'Mars/Olympus') $$);
CALL regress.fails($$ SELECT wallet.create_wallet('w_bad', lanes => 0) $$);
CALL regress.fails($$ SELECT wallet.create_wallet('w_bad', lanes => 257) $$);
CALL regress.fails($$ SELECT wallet.create_wallet('w_bad', metadata => '[1]') $$);
SELECT count(*) AS left_behind FROM wallet.wallets WHERE wallet_id = 'w_bad';

-- The same key and arguments return the first result, whatever happened since.
SELECT wallet, balance, status FROM wallet.create_wallet('w_once', idempotency_key => 'k1');
SELECT balance FROM wallet.fund('w_once', 10);
SELECT wallet, balance, status FROM wallet.create_wallet('w_once', idempotency_key => 'k1');
CALL regress.fails($$ SELECT wallet.create_wallet('w_once', credit_limit => 1, idempotency_key => 'k1') $$);
CALL regress.fails($$ SELECT wallet.create_wallet('w_once', idempotency_key => 'k2') $$);
SELECT * FROM regress.wallet_rows WHERE wallet = 'w_once';

-- update_wallet changes the given settings, and no others.
SELECT credit_limit, available, low_balance FROM wallet.update_wallet('w_full', credit_limit => 100);
SELECT credit_limit, available, low_balance FROM wallet.update_wallet('w_full', low_balance => '{7}');
SELECT credit_limit, available, low_balance FROM wallet.update_wallet('w_full', low_balance => '{}', metadata => '{"plan":"free"}');
SELECT wallet FROM wallet.update_wallet('w_full', time_zone => 'America/New_York', unknown_price => 'reject',
                                        members_only => false, freeze_on_chargeback => false);
SELECT wallet FROM wallet.update_wallet('w_full');
SELECT credit_limit, low_balance, time_zone, unknown_price, metadata FROM wallet.wallets WHERE wallet_id = 'w_full';
SELECT * FROM regress.broken('w_full');
-- A credit limit can be lowered only to the credit in use.
SELECT cost, balance FROM wallet.charge('w_full', amount => 30.25);
CALL regress.fails($$ SELECT wallet.update_wallet('w_full', credit_limit => 30.24) $$);
SELECT credit_limit, balance FROM wallet.update_wallet('w_full', credit_limit => 30.25);
CALL regress.fails($$ SELECT wallet.charge('w_full', amount => 0.000000000001) $$);
SELECT * FROM regress.broken('w_full');
CALL regress.fails($$ SELECT wallet.update_wallet('w_nobody', credit_limit => 1) $$);
CALL regress.fails($$ SELECT wallet.update_wallet('w_full', time_zone => 'nowhere') $$);
CALL regress.fails($$ SELECT wallet.update_wallet('w_full', unknown_price => 'sometimes') $$);
CALL regress.fails($$ SELECT wallet.update_wallet('w_full', funding_min => -5) $$);
-- Replays.
SELECT credit_limit FROM wallet.update_wallet('w_full', credit_limit => 40, idempotency_key => 'up');
SELECT credit_limit FROM wallet.update_wallet('w_full', credit_limit => 50);
SELECT credit_limit FROM wallet.update_wallet('w_full', credit_limit => 40, idempotency_key => 'up');
SELECT credit_limit FROM wallet.balances WHERE wallet = 'w_full';
CALL regress.fails($$ SELECT wallet.update_wallet('w_full', credit_limit => 41, idempotency_key => 'up') $$);

-- Frozen: no charge, but funding. Unfrozen: as before.
SELECT status, balance FROM wallet.freeze_wallet('w_once', 'under review', idempotency_key => 'f1', actor => 'ada');
CALL regress.fails($$ SELECT wallet.charge('w_once', amount => 1) $$);
SELECT balance FROM wallet.fund('w_once', 5);
SELECT allowed, reason, remaining FROM wallet.check_limits('w_once', amount => 1);
SELECT status FROM wallet.freeze_wallet('w_once', 'again');
CALL regress.fails($$ SELECT wallet.charge('w_once', amount => 1) $$);
SELECT status, balance FROM wallet.unfreeze_wallet('w_once', idempotency_key => 'u1');
SELECT balance FROM wallet.charge('w_once', amount => 1);
SELECT status FROM wallet.unfreeze_wallet('w_once');
-- A replayed freeze does not freeze again: it returns the first result.
SELECT status, balance FROM wallet.freeze_wallet('w_once', 'under review', idempotency_key => 'f1');
SELECT status, balance FROM wallet.balances WHERE wallet = 'w_once';
CALL regress.fails($$ SELECT wallet.freeze_wallet('w_once', 'other reason', idempotency_key => 'f1') $$);
SELECT status FROM wallet.freeze_wallet('w_once');
CALL regress.fails($$ SELECT wallet.charge('w_once', amount => 1) $$);
SELECT status FROM wallet.unfreeze_wallet('w_once');
CALL regress.fails($$ SELECT wallet.freeze_wallet('w_nobody') $$);
CALL regress.fails($$ SELECT wallet.unfreeze_wallet(NULL) $$);
CALL regress.fails($$ SELECT wallet.freeze_wallet('w_once', repeat('x', 2001)) $$);

-- Closed: only with a zero balance, and permanently.
SELECT regress.outcome($$ SELECT wallet.close_wallet('w_once') $$);
SELECT balance FROM wallet.charge('w_once', amount => 14);
SELECT status, balance FROM wallet.close_wallet('w_once', 'account deleted', idempotency_key => 'c1');
SELECT status, balance FROM wallet.close_wallet('w_once', 'account deleted', idempotency_key => 'c1');
SELECT regress.outcome($$ SELECT wallet.close_wallet('w_once') $$);
CALL regress.fails($$ SELECT wallet.charge('w_once', amount => 0) $$);
CALL regress.fails($$ SELECT wallet.fund('w_once', 1) $$);
CALL regress.fails($$ SELECT wallet.freeze_wallet('w_once') $$);
CALL regress.fails($$ SELECT wallet.unfreeze_wallet('w_once') $$);
CALL regress.fails($$ SELECT wallet.set_limit('w_once', 5, 'day') $$);
CALL regress.fails($$ SELECT wallet.create_wallet('w_once') $$);
-- A wallet that uses its credit limit is not empty either.
SELECT regress.outcome($$ SELECT wallet.close_wallet('w_full') $$);
SELECT status, balance, available FROM wallet.close_wallet('w_plain');
SELECT * FROM regress.broken('w_once');
-- Everything that prevents closing is named: first a debt and pending money, then everything
-- together.
SELECT wallet FROM wallet.create_wallet('w_shut');
SELECT entry_id AS bounced FROM wallet.fund('w_shut', 40, 'card', 'pi_1') \gset
SELECT balance FROM wallet.charge('w_shut', amount => 15);
SELECT taken, debt FROM wallet.reverse_funding('w_shut', :'bounced');
CALL regress.fails($$ SELECT wallet.close_wallet('w_shut') $$);
SELECT entry_id AS coming FROM wallet.fund('w_shut', 60, 'bank', 'T1', status => 'pending') \gset
CALL regress.fails($$ SELECT wallet.close_wallet('w_shut') $$);
SELECT balance FROM wallet.fund('w_shut', 16, scope => '{"models": ["m"]}');
SELECT wallet.set_topup_rule('w_shut', '{"threshold": 5, "amount": 10}') IS NOT NULL AS set;
SELECT hold_id AS hold FROM wallet.hold('w_shut', amount => 4, model => 'm', ttl => '1 hour') \gset
SELECT wallet FROM wallet.update_wallet('w_shut', unknown_price => 'unpriced', credit_limit => 50);
SELECT cost FROM wallet.charge('w_shut', '{"model": "w-unknown", "input_tokens": 1}');
SELECT cost FROM wallet.charge('w_shut', '{"model": "w-unknown", "input_tokens": 2}');
SELECT balance FROM wallet.charge('w_shut', amount => 3);
SELECT entry_id AS second FROM wallet.fund('w_shut', 1, 'bank', 'T2', status => 'pending') \gset
CALL regress.fails($$ SELECT wallet.close_wallet('w_shut') $$);
SELECT status FROM wallet.balances WHERE wallet = 'w_shut';
-- One obstacle after the other is removed.
SELECT amount FROM wallet.void('w_shut', :'hold');
SELECT status FROM wallet.fail_funding('w_shut', :'coming', 'closing');
SELECT status FROM wallet.fail_funding('w_shut', :'second', 'closing');
SELECT topup_id AS topup FROM wallet.topups WHERE wallet = 'w_shut' \gset
SELECT status FROM wallet.fail_topup('w_shut', :'topup', 'closing');
SELECT amount FROM wallet.void_grant('w_shut', (SELECT grant_id FROM wallet.grants WHERE wallet = 'w_shut' AND scope IS NOT NULL));
SELECT balance FROM wallet.fund('w_shut', 18, 'write_off');
SELECT wallet.set_price('w-unknown', 'input_tokens', 0, 1, effective_from => '2000-01-01') IS NOT NULL AS priced;
SELECT count(*) FROM wallet.price_unpriced('w_shut');
-- A top-up requested meanwhile would prevent closing, too. A recurring grant and the top-up rule do
-- not: they end.
SELECT amount, balance FROM wallet.set_recurring_grant('w_shut', 2, '1 month');
SELECT wallet.set_topup_rule('w_shut', NULL);
SELECT wallet.set_topup_rule('w_shut', '{"interval": "monthly", "amount": 10}') IS NOT NULL AS set;
SELECT amount FROM wallet.void_grant('w_shut', (SELECT grant_id FROM wallet.grants WHERE wallet = 'w_shut' AND status = 'active'));
SELECT balance, debt, available FROM wallet.balances WHERE wallet = 'w_shut';
SELECT status FROM wallet.close_wallet('w_shut', idempotency_key => 'shut');
SELECT count(*) FROM wallet.topup_rules WHERE wallet_id = 'w_shut' UNION ALL SELECT count(*) FROM wallet.recurring_grants WHERE wallet_id = 'w_shut';
-- A payment that arrives anyway is not credited: it is returned, or moved to another wallet.
CALL regress.fails(format($$ SELECT wallet.settle_funding('w_shut', %L) $$, :'coming'));
CALL regress.fails($$ SELECT wallet.fund('w_shut', 60, 'bank', 'T1') $$);
CALL regress.fails(format($$ SELECT wallet.complete_topup('w_shut', %L, 'pi_2') $$, :'topup'));
SELECT wallet FROM wallet.create_wallet('w_next');
SELECT amount, balance, replayed FROM wallet.fund('w_next', 60, 'bank', 'T1', metadata => '{"closed": "w_shut"}');
SELECT amount, balance, replayed FROM wallet.fund('w_next', 60, 'bank', 'T1', metadata => '{"closed": "w_shut"}');
-- A chargeback is still booked, and leaves a debt. A retry of an earlier call returns its first
-- result.
SELECT taken, debt FROM wallet.reverse_funding('w_shut', (SELECT entry_id FROM wallet.fundings WHERE wallet = 'w_shut' AND method = 'write_off'), 'late');
SELECT status, balance, debt FROM wallet.balances WHERE wallet = 'w_shut';
SELECT status, debt FROM wallet.close_wallet('w_shut', idempotency_key => 'shut');
-- Expired items do not prevent closing, whether or not the expiry is booked.
SELECT wallet FROM wallet.create_wallet('w_ended');
SELECT balance FROM wallet.fund('w_ended', 9, expires_at => clock_timestamp() + interval '0.3 seconds');
CALL regress.fails($$ SELECT wallet.close_wallet('w_ended') $$);
SELECT wallet FROM wallet.create_wallet('w_held', credit_limit => 10);
SELECT amount FROM wallet.hold('w_held', amount => 4, ttl => '0.2 seconds');
CALL regress.fails($$ SELECT wallet.close_wallet('w_held') $$);
SELECT pg_sleep(0.4);
SELECT status, balance FROM wallet.close_wallet('w_ended');
SELECT status, balance FROM wallet.close_wallet('w_held');
SELECT * FROM wallet.verify('w_ended') WHERE NOT ok;
SELECT * FROM regress.broken('w_shut') UNION ALL SELECT * FROM regress.broken('w_ended') UNION ALL SELECT * FROM regress.broken('w_held');

-- The same key in different calls is not the same request.
SELECT status FROM wallet.freeze_wallet('w_credits', idempotency_key => 'same');
SELECT status FROM wallet.unfreeze_wallet('w_credits', idempotency_key => 'same');
SELECT lanes FROM wallet.set_lanes('w_credits', 2, idempotency_key => 'same');
SELECT balance FROM wallet.fund('w_credits', 3, idempotency_key => 'same');
SELECT balance FROM wallet.charge('w_credits', amount => 1, idempotency_key => 'same');

-- * means all wallets, and is none.
CALL regress.fails($$ SELECT wallet.update_wallet('*', time_zone => 'Europe/Berlin') $$);
CALL regress.fails($$ SELECT wallet.update_wallet('*', credit_limit => 4) $$);
CALL regress.fails($$ SELECT wallet.set_lanes('*', 2) $$);
CALL regress.fails($$ SELECT wallet.freeze_wallet('*') $$);
CALL regress.fails($$ SELECT wallet.unfreeze_wallet('*') $$);
CALL regress.fails($$ SELECT wallet.close_wallet('*') $$);
CALL regress.fails($$ SELECT wallet.fund('*', 1) $$);
CALL regress.fails($$ SELECT wallet.charge('*', amount => 1) $$);
CALL regress.fails($$ SELECT wallet.hold('*', amount => 1) $$);
CALL regress.fails($$ SELECT wallet.set_member('*', 'ann') $$);
CALL regress.fails($$ SELECT wallet.set_model_rules('*', blocked => '{gpt}') $$);
CALL regress.fails($$ SELECT wallet.create_key('*', 'ci') $$);
