-- The data for the counted statements. A server in single-user mode reads it: one statement per
-- line.
CREATE EXTENSION wallet
SELECT wallet.set_price('gpt-4o', 'input_tokens', 2.50, 1000000, provider => 'openai', effective_from => '2024-01-01')
SELECT wallet.set_price('gpt-4o', 'output_tokens', 10.00, 1000000, provider => 'openai', effective_from => '2024-01-01')
SELECT count(wallet.create_wallet('w' || n)) FROM generate_series(1, 100) n
SELECT count(wallet.create_wallet('hot' || n, lanes => 16)) FROM generate_series(1, 4) n
SELECT count(wallet.create_wallet('month' || n)) FROM generate_series(1, 100) n
SELECT count(wallet.create_wallet('euro' || n, 'EUR')) FROM generate_series(1, 100) n
SELECT wallet.set_fx_rate('USD', 'EUR', 0.9216, '2024-01-01')
SELECT count(wallet.create_wallet('plain' || n)) FROM generate_series(1, 100) n
SELECT count(wallet.create_wallet('first' || n)) FROM generate_series(1, 1000) n
SELECT count(wallet.fund(w.wallet, 100000)) FROM wallet.balances w
SELECT count(wallet.set_limit(w.wallet, 100000, 'day', 'user')) FROM wallet.balances w WHERE w.wallet NOT LIKE 'plain%'
SELECT count(wallet.set_limit(w.wallet, 100000, 'month')) FROM wallet.balances w WHERE w.wallet LIKE 'month%'
SELECT count(wallet.charge('first' || n, amount => 0.007, user_id => 'u1')) FROM generate_series(1, 1000) n
SELECT count(wallet.create_wallet('four' || n)) FROM generate_series(1, 100) n
SELECT count(wallet.fund('four' || n, 100000)) FROM generate_series(1, 100) n
SELECT count(wallet.set_limit(w.wallet, 100000, 'day', 'user')), count(wallet.set_limit(w.wallet, 100000, 'month')), count(wallet.set_limit(w.wallet, 100000, 'month', 'model')), count(wallet.set_limit(w.wallet, 1000000, 'minute', 'user', metric => 'requests')) FROM wallet.balances w WHERE w.wallet LIKE 'four%'
CREATE ROLE bench_granted
CREATE ROLE bench_claimed
SELECT wallet.grant_access('bench_granted', 'charger'), wallet.grant_access('bench_claimed', 'charger', claimed => true)
SELECT wallet.create_wallet('payer', lanes => 16), wallet.fund('payer', 100000)
SELECT count(wallet.create_wallet('child' || n)), count(wallet.set_parent('child' || n, 'payer')) FROM generate_series(1, 10) n
SELECT wallet.set_plan('bench', '{"limits": [{"max": 100000, "period": "day", "scope": "user"}]}')
SELECT count(wallet.create_wallet('p' || n, plan => 'bench')) FROM generate_series(1, 100) n
SELECT count(wallet.fund('p' || n, 100000)) FROM generate_series(1, 100) n
SELECT count(wallet.create_wallet('own' || n)), count(wallet.fund('own' || n, 100000)) FROM generate_series(1, 100) n
SELECT count(wallet.set_limit('own' || n, 100000, 'day', 'user')) FROM generate_series(1, 100) n
