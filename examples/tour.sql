-- A tour of the wallet with real prices. `make demo` runs it in a fresh database, with a second
-- session that listens for notifications; $WALLET_LISTENER is the input of that session.
\set ON_ERROR_STOP on
\pset footer off
\pset null '-'
\set VERBOSITY verbose

\echo
\echo '1. A wallet with alerts at 50 and 20, and 100 USD by card'
\echo
SELECT wallet, currency, balance, low_balance FROM wallet.create_wallet('acme', low_balance => '{50,20}');
SELECT amount, currency, balance, status FROM wallet.fund('acme', 100, 'card', reference => 'pi_3QK', idempotency_key => 'fund-1');

\echo '2. Real prices, in the units in which they are quoted'
\echo
\ir prices.sql

\echo '3. The cost of text, an embedding, images, speech and fine-tuning, without a charge'
\echo
SELECT u.service, p.cost, p.currency, p.model, p.total_tokens
  FROM (VALUES
    ('text',        '{"model": "gpt-4o", "input_tokens": 1000, "cache_read_tokens": 200, "output_tokens": 450}'::jsonb),
    ('text',        '{"model": "claude-3-haiku", "input_tokens": 1000, "output_tokens": 450}'),
    ('embedding',   '{"model": "text-embedding-3-small", "input_tokens": 8000}'),
    ('image',       '{"model": "dall-e-3", "images": 2, "size": "1024x1024", "quality": "hd"}'),
    ('speech',      '{"model": "whisper-1", "audio_seconds": 61.5}'),
    ('fine-tuning', '{"model": "ft:gpt-4o", "gpu_seconds": 5400}')
  ) AS u (service, usage)
 CROSS JOIN LATERAL wallet.price_usage(u.usage) AS p;

\echo 'The price lines explain every cent:'
\echo
SELECT l.meter, l.quantity, l.unit_price, l.per, l.amount
  FROM wallet.price_usage('{"model": "gpt-4o", "input_tokens": 1000, "cache_read_tokens": 200, "output_tokens": 450}') AS p,
       jsonb_to_recordset(p.lines) AS l (meter text, quantity numeric, unit_price numeric, per numeric, amount numeric);

\echo '4. A limit of 30 USD per day for Alice, and requests of Alice and Bob'
\echo
SELECT 'set' AS "limit" FROM wallet.set_limit('acme', 30, 'day', scope => 'user', subject => 'alice');
SELECT user_id, cost, balance, model, total_tokens
  FROM (VALUES
    ('alice', '{"model": "gpt-4o", "input_tokens": 400000, "output_tokens": 120000}'::jsonb, 'req-1'),
    ('bob',   '{"model": "ft:gpt-4o", "gpu_seconds": 28800}', 'req-2'),
    ('alice', '{"model": "gpt-4o", "input_tokens": 4000000, "output_tokens": 1300000}', 'req-3')
  ) AS r (user_id, usage, key)
 CROSS JOIN LATERAL wallet.charge('acme', r.usage, user_id => r.user_id, idempotency_key => r.key) AS c;

\echo 'The next request of Alice exceeds her limit and is refused. Nothing is booked:'
\echo
\set ON_ERROR_STOP off
SELECT * FROM wallet.charge('acme', '{"model": "gpt-4o", "input_tokens": 2000000, "output_tokens": 500000}', user_id => 'alice', idempotency_key => 'req-4');
\set refused :SQLSTATE
\set ON_ERROR_STOP on

\echo
\echo 'The limits that apply to Alice, and the remaining amounts:'
\echo
SELECT scope, subject, period, max, used, remaining, resets_at, allowed, reason FROM wallet.check_limits('acme', user_id => 'alice', amount => 10);

\echo '5. Bob''s next request takes the balance below 50, and the listening session is notified'
\echo
SELECT cost, balance FROM wallet.charge('acme', '{"model": "dall-e-3", "images": 75, "size": "1024x1024"}', user_id => 'bob', idempotency_key => 'req-5');
\! sleep 0.2; echo "SELECT 'listening' AS second_session;" > "$WALLET_LISTENER"; sleep 0.5
SELECT event, threshold, created_at IS NOT NULL AS in_the_outbox FROM wallet.events WHERE wallet = 'acme';

\echo '6. The same request again, as after a lost connection: it returns the first result and books nothing'
\echo
SELECT cost, balance, replayed FROM wallet.charge('acme', '{"model": "dall-e-3", "images": 75, "size": "1024x1024"}', user_id => 'bob', idempotency_key => 'req-5');

\echo '7. A charge in the application''s transaction is rolled back with the application''s row'
\echo
CREATE TABLE answers (id int PRIMARY KEY, answer text, entry_id uuid);
BEGIN;
INSERT INTO answers SELECT 1, 'forty-two', c.entry_id FROM wallet.charge('acme', '{"model": "gpt-4o-mini", "input_tokens": 5000, "output_tokens": 800}', user_id => 'bob') AS c;
SELECT balance FROM wallet.balances WHERE wallet = 'acme';
ROLLBACK;
SELECT (SELECT count(*) FROM answers) AS answers, balance FROM wallet.balances WHERE wallet = 'acme';

\echo '8. The balance and the ledger'
\echo
SELECT wallet, currency, balance, held, available, status, lanes FROM wallet.balances;
SELECT kind, amount, contra, user_id, seq, lane_balance, left(encode(hash, 'hex'), 12) AS hash FROM wallet.entries WHERE wallet = 'acme' ORDER BY seq;

\echo 'Headers for the HTTP response to Bob:'
\echo
SELECT h.* FROM wallet.entries e, wallet.usage_headers('acme', e.entry_id) h WHERE e.idempotency_key = 'req-5';

-- The tour is also a test: the results must be as announced.
SELECT :'refused' = 'WL002'
       AND (SELECT balance FROM wallet.balances WHERE wallet = 'acme') = 47.8
       AND (SELECT count(*) FROM wallet.entries) = 5
       AND (SELECT array_agg(event ORDER BY event) FROM wallet.events) = '{limit_near,wallet_balance_low}'
       AND (SELECT count(*) FROM answers) = 0 AS as_expected \gset
\if :as_expected
    \echo 'Done. "make psql" opens a session. README.md and docs/guide.md explain the rest.'
\else
    \warn 'The results of the tour are not as expected.'
    SELECT 1 / 0 AS the_tour_failed;
\endif
