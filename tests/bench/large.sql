-- The ledger of `make bench-large`: a few wallets with most of the charges, 200 users each, 40
-- models, the last 18 months.
--
-- The extension creates the wallets, prices, fundings and one charge of each shape. The other
-- charges are copies with other wallets, users and times. They differ from real entries only in
-- their hashes, which only verify() reads. Rows are inserted in the order of time, as in
-- production.
SET synchronous_commit = off;
SET session_replication_role = replica;
SET work_mem = '256MB';
CREATE SCHEMA large;
CREATE TABLE large.settings AS SELECT :charges::bigint AS charges, :wallets AS wallets, now() - interval '18 months' AS first;

SELECT count(wallet.set_price('model-' || m, meter, price * (1 + m % 7), per => 1000000, effective_from => '2020-01-01Z'))
  FROM generate_series(1, 40) m, (VALUES ('input_tokens', 2.5), ('cache_read_tokens', 1.25), ('output_tokens', 10)) AS p (meter, price);
SELECT count(wallet.create_wallet('w' || n, time_zone => (ARRAY['UTC', 'Europe/Berlin', 'America/New_York'])[1 + n % 3]))
  FROM large.settings, generate_series(1, wallets) n;
SELECT count(wallet.fund('w' || n, 100000000)) FROM large.settings, generate_series(1, wallets) n;
UPDATE wallet.ledger SET created_at = first - interval '1 minute' FROM large.settings;

-- Twenty charges of each model.
SELECT (wallet.create_wallet('shapes')).wallet IS NOT NULL AS made, (wallet.fund('shapes', 1000000)).status;
SELECT count(wallet.charge('shapes', jsonb_build_object('model', 'model-' || m, 'input_tokens', 100 * n * n, 'cache_read_tokens', 50 * n, 'output_tokens', 20 * n)))
  FROM generate_series(1, 40) m, generate_series(1, 20) n;
CREATE TABLE large.shapes AS
SELECT substr(model, 7)::integer AS model, row_number() OVER (PARTITION BY model ORDER BY entry_id)::integer AS shape, amount, model AS name, lines
  FROM wallet.ledger WHERE wallet_id = 'shapes' AND kind = 'c';
ALTER TABLE large.shapes ADD PRIMARY KEY (model, shape);
ANALYZE large.shapes;

CREATE PROCEDURE large.fill(parts integer) LANGUAGE plpgsql AS $$
DECLARE
    s large.settings;
    part integer;
BEGIN
    SELECT * INTO s FROM large.settings;
    -- The same random numbers every time.
    PERFORM setseed(0.42);
    FOR part IN 0 .. parts - 1 LOOP
        CREATE TEMP TABLE made ON COMMIT DROP AS
        SELECT n,
               s.first + (now() - s.first) * (n::double precision / s.charges) AS at,
               -- The first wallet gets every tenth charge, the thousandth one in seven thousand.
               'w' || floor(exp(random() * ln(s.wallets + 1)))::integer AS wallet_id,
               1 + floor(200 * random() ^ 2)::integer AS person,
               1 + floor(40 * random() ^ 2)::integer AS model,
               1 + floor(20 * random())::integer AS shape
          FROM generate_series(s.charges * part / parts + 1, s.charges * (part + 1) / parts) n;
        ANALYZE made;
        WITH booked AS (
            INSERT INTO wallet.ledger
                   (entry_id, created_at, seq, fingerprint, lane, kind, call, wallet_id, amount, lane_balance, hash, idempotency_key,
                    user_id, team, provider, model, service, region, lines)
            SELECT (lpad(to_hex((extract(epoch FROM b.at) * 1000)::bigint), 12, '0') || '7' || substr(md5(b.n::text), 1, 3) || '8' || substr(md5(b.n::text), 4, 15))::uuid,
                   b.at, b.seq, md5(b.n::text)::uuid, 0, 'c', 'c', b.wallet_id, b.amount, b.lane_balance, '\x', 'request-' || md5(b.n::text),
                   'user-' || b.person, CASE WHEN b.person % 13 > 0 THEN 'team-' || b.person % 13 END, NULL, b.name, NULL,
                   CASE WHEN b.n % 3 > 0 THEN 'eu' END, b.lines
              FROM (SELECT m.*, x.amount, x.name, x.lines,
                           a.seq + row_number() OVER chain AS seq, a.booked + sum(x.amount) OVER chain AS lane_balance
                      FROM made m
                      JOIN large.shapes x ON x.model = m.model AND x.shape = m.shape
                      JOIN wallet.allowances a ON a.wallet_id = m.wallet_id AND a.allowance_id = '00000000-0000-0000-0000-000000000000' AND a.lane = 0
                    WINDOW chain AS (PARTITION BY m.wallet_id ORDER BY m.n ROWS UNBOUNDED PRECEDING)) b
             ORDER BY b.n
            RETURNING wallet_id, seq, amount
        )
        UPDATE wallet.allowances a
           SET seq = b.seq, booked = a.booked + b.amount, spent = a.spent - b.amount
          FROM (SELECT wallet_id, max(seq) AS seq, sum(amount) AS amount FROM booked GROUP BY 1) b
         WHERE a.wallet_id = b.wallet_id AND a.allowance_id = '00000000-0000-0000-0000-000000000000' AND a.lane = 0;
        COMMIT;
    END LOOP;
END
$$;
CALL large.fill(18);
RESET session_replication_role;
VACUUM (ANALYZE) wallet.ledger;
VACUUM (ANALYZE) wallet.allowances;
