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
SELECT wallet FROM wallet.create_wallet(' w ''quoted" 💳 ');
SELECT wallet, currency FROM wallet.create_wallet('w_credits', 'credits');

-- What create refuses.
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

-- The same key and arguments: the first answer again, whatever happened since.
SELECT wallet, balance, status FROM wallet.create_wallet('w_once', idempotency_key => 'k1');
SELECT balance FROM wallet.fund('w_once', 10);
SELECT wallet, balance, status FROM wallet.create_wallet('w_once', idempotency_key => 'k1');
CALL regress.fails($$ SELECT wallet.create_wallet('w_once', credit_limit => 1, idempotency_key => 'k1') $$);
CALL regress.fails($$ SELECT wallet.create_wallet('w_once', idempotency_key => 'k2') $$);
SELECT * FROM regress.wallet_rows WHERE wallet = 'w_once';

-- update_wallet changes what is given, and nothing else.
SELECT credit_limit, available, low_balance FROM wallet.update_wallet('w_full', credit_limit => 100);
SELECT credit_limit, available, low_balance FROM wallet.update_wallet('w_full', low_balance => '{7}');
SELECT credit_limit, available, low_balance FROM wallet.update_wallet('w_full', low_balance => '{}', metadata => '{"plan":"free"}');
SELECT wallet FROM wallet.update_wallet('w_full', time_zone => 'America/New_York', unknown_price => 'reject',
                                        members_only => false, freeze_on_chargeback => false);
SELECT wallet FROM wallet.update_wallet('w_full');
SELECT credit_limit, low_balance, time_zone, unknown_price, metadata FROM wallet.wallets WHERE wallet_id = 'w_full';
SELECT * FROM regress.broken('w_full');
-- A credit limit that is in use cannot be taken away, only down to what is used.
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
-- A replayed freeze freezes nothing: it answers as it did then.
SELECT status, balance FROM wallet.freeze_wallet('w_once', 'under review', idempotency_key => 'f1');
SELECT status, balance FROM wallet.balances WHERE wallet = 'w_once';
CALL regress.fails($$ SELECT wallet.freeze_wallet('w_once', 'other reason', idempotency_key => 'f1') $$);
SELECT status FROM wallet.freeze_wallet('w_once');
CALL regress.fails($$ SELECT wallet.charge('w_once', amount => 1) $$);
SELECT status FROM wallet.unfreeze_wallet('w_once');
CALL regress.fails($$ SELECT wallet.freeze_wallet('w_nobody') $$);
CALL regress.fails($$ SELECT wallet.unfreeze_wallet(NULL) $$);
CALL regress.fails($$ SELECT wallet.freeze_wallet('w_once', repeat('x', 2001)) $$);

-- Closed: only with a zero balance, and for good.
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
-- A wallet in debt to its credit limit is not empty either.
SELECT regress.outcome($$ SELECT wallet.close_wallet('w_full') $$);
SELECT status, balance, available FROM wallet.close_wallet('w_plain');
SELECT * FROM regress.broken('w_once');

-- The same key in different calls is not the same call.
SELECT status FROM wallet.freeze_wallet('w_credits', idempotency_key => 'same');
SELECT status FROM wallet.unfreeze_wallet('w_credits', idempotency_key => 'same');
SELECT lanes FROM wallet.set_lanes('w_credits', 2, idempotency_key => 'same');
SELECT balance FROM wallet.fund('w_credits', 3, idempotency_key => 'same');
SELECT balance FROM wallet.charge('w_credits', amount => 1, idempotency_key => 'same');
