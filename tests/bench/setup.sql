-- Two ways to do the same durable work: the extension, and SQL that an application would write by
-- hand, with the same keys and indexes.
CREATE EXTENSION wallet;

SELECT wallet.set_price('gpt-4o', 'input_tokens', 2.50, 1000000, provider => 'openai', effective_from => '2024-01-01');
SELECT wallet.set_price('gpt-4o', 'output_tokens', 10.00, 1000000, provider => 'openai', effective_from => '2024-01-01');

SELECT count(wallet.create_wallet('w' || n)) FROM generate_series(1, 10000) n;
SELECT count(wallet.fund('w' || n, 100000)) FROM generate_series(1, 10000) n;
SELECT count(wallet.set_limit('w' || n, 100000, 'day', 'user')) FROM generate_series(1, 10000) n;
SELECT wallet.create_wallet('hot', lanes => 16, low_balance => '{50,20}');
SELECT wallet.fund('hot', 10000000);
SELECT wallet.set_limit('hot', 100000, 'day', 'user');

-- The same with an additional limit of the whole wallet.
SELECT wallet.create_wallet('hot_lim', lanes => 16, low_balance => '{50,20}');
SELECT wallet.fund('hot_lim', 10000000);
SELECT wallet.set_limit('hot_lim', 100000, 'day', 'user');
SELECT wallet.set_limit('hot_lim', 5000000, 'month');

-- The same wallets with four limits that apply to every charge (l), without limits (n), with one
-- limit per user (u), and with an additional limit of the whole wallet (m).
SELECT count(wallet.create_wallet(k || n)), count(wallet.fund(k || n, 100000))
  FROM generate_series(1, 2000) n, (VALUES ('l'), ('n'), ('u'), ('m')) k (k);
SELECT count(wallet.set_limit(k || n, 100000, 'day', 'user')) FROM generate_series(1, 2000) n, (VALUES ('u'), ('m')) k (k);
SELECT count(wallet.set_limit('m' || n, 100000, 'month')) FROM generate_series(1, 2000) n;
SELECT count(wallet.set_limit('l' || n, 100000, 'month')),
       count(wallet.set_limit('l' || n, 100000, 'month', 'team')),
       count(wallet.set_limit('l' || n, 100000, 'day', 'user')),
       count(wallet.set_limit('l' || n, 1000000, 'minute', 'user', metric => 'requests'))
  FROM generate_series(1, 2000) n;

-- Alerts: one half has thresholds.
SELECT count(wallet.create_wallet('un' || n)) FROM generate_series(1, 1000) n;
SELECT count(wallet.create_wallet('ar' || n, low_balance => '{50,20,10,0}')) FROM generate_series(1, 1000) n;
SELECT wallet.create_wallet('hot_un', lanes => 16);
SELECT wallet.create_wallet('hot_ar', lanes => 16, low_balance => '{50,20,10,0}');
SELECT count(wallet.fund(w.wallet, 1000000)) FROM wallet.balances w WHERE w.wallet ~ '^(un|ar|hot_un|hot_ar)';
SELECT count(wallet.set_topup_rule(w.wallet, '{"threshold":30,"amount":100}')) FROM wallet.balances w WHERE w.wallet ~ '^(ar|hot_ar)';

CREATE SCHEMA hand;
CREATE TABLE hand.balances (
    wallet_id   text PRIMARY KEY,
    balance     numeric(28,12) NOT NULL CHECK (balance >= 0)
) WITH (fillfactor = 50);
CREATE TABLE hand.limits (
    wallet_id   text NOT NULL,
    user_id     text NOT NULL,
    day         date NOT NULL,
    used        numeric(28,12) NOT NULL,
    max         numeric(28,12) NOT NULL,
    CHECK (used <= max),
    PRIMARY KEY (wallet_id, user_id, day)
) WITH (fillfactor = 50);
-- Four limits like those of the wallets l: per subject and window, of an amount or of requests.
CREATE TABLE hand.four_limits (
    wallet_id    text NOT NULL,
    scope        text NOT NULL,
    subject      text NOT NULL,
    metric       text NOT NULL,
    window_start timestamptz NOT NULL,
    used         numeric(28,12) NOT NULL,
    max          numeric(28,12) NOT NULL,
    CHECK (used <= max),
    PRIMARY KEY (wallet_id, scope, subject, metric, window_start)
) WITH (fillfactor = 50);
CREATE TABLE hand.entries (
    entry_id          uuid NOT NULL DEFAULT gen_random_uuid(),
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    wallet_id         text NOT NULL,
    call              "char" NOT NULL,
    amount            numeric(28,12) NOT NULL,
    balance           numeric(28,12) NOT NULL,
    idempotency_key   text,
    user_id           text,
    provider          text,
    model             text,
    usage             jsonb,
    PRIMARY KEY (wallet_id, entry_id),
    UNIQUE (wallet_id, idempotency_key, call)
);
INSERT INTO hand.balances SELECT 'w' || n, 100000 FROM generate_series(1, 10000) n;
INSERT INTO hand.balances VALUES ('hot', 10000000);
INSERT INTO hand.limits
SELECT b.wallet_id, u.user_id, current_date, 0, 100000
  FROM hand.balances b, (VALUES ('u1'), ('u2'), ('u3'), ('u4')) u (user_id);
INSERT INTO hand.balances SELECT 'l' || n, 100000 FROM generate_series(1, 2000) n;
INSERT INTO hand.four_limits
SELECT 'l' || n, l.scope, l.subject, l.metric, l.window_start, 0, 1000000
  FROM generate_series(1, 2000) n,
       (SELECT 'wallet' AS scope, '*' AS subject, 'amount' AS metric, date_trunc('month', now()) AS window_start
         UNION ALL SELECT 'team', 'red', 'amount', date_trunc('month', now())
         UNION ALL SELECT 'user', 'u' || u, 'amount', date_trunc('day', now()) FROM generate_series(1, 4) u
         -- Only one window, so that this side is not measured while it makes new ones.
         UNION ALL SELECT 'user', 'u' || u, 'requests', date_trunc('day', now()) FROM generate_series(1, 4) u) l;
INSERT INTO hand.limits
SELECT 'hot', 'h' || n, current_date, 0, 100000 FROM generate_series(1, 64) n;

-- Both sides already have their rows of today: the benchmark measures charging, not the first
-- charge of a day.
SELECT count(wallet.charge('w' || n, amount => 0.007, user_id => 'u' || u, idempotency_key => gen_random_uuid()::text))
  FROM generate_series(1, 10000) n, generate_series(1, 4) u;
SELECT count(wallet.charge(k || n, amount => 0.007, user_id => 'u' || u, team => 'red', idempotency_key => gen_random_uuid()::text))
  FROM generate_series(1, 2000) n, generate_series(1, 4) u, (VALUES ('l'), ('u'), ('m')) k (k);
SELECT count(wallet.charge('hot_lim', amount => 0.007, user_id => 'h' || u, idempotency_key => gen_random_uuid()::text))
  FROM generate_series(1, 64) u;
SELECT count(wallet.charge('hot', amount => 0.007, user_id => 'h' || u, idempotency_key => gen_random_uuid()::text))
  FROM generate_series(1, 64) u;
INSERT INTO hand.entries (wallet_id, call, amount, balance, idempotency_key, user_id, provider, model, usage)
SELECT 'w' || n, 'c', -0.007, 100000, gen_random_uuid()::text, 'u' || u, 'openai', 'gpt-4o',
       '{"model":"gpt-4o","input_tokens":1000,"output_tokens":450}'
  FROM generate_series(1, 10000) n, generate_series(1, 4) u;
-- Both sides begin with compact tables: the extension's have grown row by row above, the others
-- were filled at once.
VACUUM (FULL) wallet.wallets, wallet.allowances, hand.balances, hand.limits, hand.four_limits;
VACUUM ANALYZE;
