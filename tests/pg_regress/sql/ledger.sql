-- The ledger: no statement changes it, plain SQL can check the chain of every lane, headers for
-- HTTP.
SELECT wallet FROM wallet.create_wallet('lg', lanes => 2);
SELECT wallet.set_price('lg-model', meter, price, 1000, provider => 'prov', effective_from => '2025-01-01Z') IS NOT NULL AS set
  FROM (VALUES ('input_tokens', 1), ('output_tokens', 3)) p (meter, price);
SELECT balance FROM wallet.fund('lg', 20, 'bank', 'Ä"1\2', actor => 'ada', metadata => '{"b": [1, 2.50, "ü\n\u0001"], "a": null}');
SELECT cost FROM wallet.charge('lg', '{"model":"lg-model","input_tokens":100,"output_tokens":10}', user_id => E'tab\there', team => 'te"am', tags => '{"k": "v"}',
                               event_at => '2026-01-01 00:00:00.000001Z', idempotency_key => 'key', metadata => '{}');
SELECT cost FROM wallet.charge('lg', '{"model":"lg-model","input_tokens":1,"note":"\u0007"}', region => 'eu', service_tier => 'flex', service => 's');
SELECT count(c.cost) FROM generate_series(1, 40) n, wallet.charge('lg', amount => 0.25 + 0 * n) c;
SELECT lanes FROM wallet.set_lanes('lg', 1);
SELECT cost FROM wallet.charge('lg', amount => 5);
SELECT lanes FROM wallet.set_lanes('lg', 3);
SELECT cost FROM wallet.charge('lg', amount => 4.8);
SELECT balance FROM wallet.fund('lg', 0.000000000001);

-- No statement changes an entry, not even a superuser's.
CALL regress.fails($$ UPDATE wallet.ledger SET amount = 0 WHERE wallet_id = 'lg' $$);
CALL regress.fails($$ DELETE FROM wallet.ledger WHERE wallet_id = 'lg' AND idempotency_key = 'key' $$);
CALL regress.fails($$ TRUNCATE wallet.ledger $$);
CALL regress.fails($$ TRUNCATE wallet.ledger CASCADE $$);
CALL regress.fails($$ INSERT INTO wallet.ledger SELECT * FROM wallet.ledger WHERE wallet_id = 'lg' ON CONFLICT (wallet_id, entry_id) DO UPDATE SET actor = 'eve' $$);
CALL regress.fails($$ MERGE INTO wallet.ledger l USING (SELECT 1) s ON l.wallet_id = 'lg' WHEN MATCHED THEN DELETE $$);
-- The view is read-only.
SELECT regress.outcome($$ UPDATE wallet.entries SET amount = 0 $$), regress.outcome($$ DELETE FROM wallet.entries $$);

-- seq has no gaps within a lane, and lane_balance is the running total of its amounts.
SELECT bool_and(seq = n) AS no_gaps, bool_and(lane_balance = total) AS totals
  FROM (SELECT seq, lane_balance, row_number() OVER w AS n, sum(amount) OVER w AS total
          FROM wallet.entries WHERE wallet = 'lg' WINDOW w AS (PARTITION BY lane ORDER BY seq)) e;
SELECT * FROM regress.broken('lg');

-- The chain: each hash is SHA-256 over the previous hash of its lane and the row in form 1.
CREATE FUNCTION regress.chain(of_wallet text) RETURNS TABLE (entries bigint, good bigint, heads_match boolean) LANGUAGE sql AS $$
    WITH linked AS (
        SELECT l.*, coalesce(lag(hash) OVER (PARTITION BY lane ORDER BY seq), decode(repeat('00', 32), 'hex')) AS previous
          FROM wallet.ledger l WHERE wallet_id = of_wallet
    ), checked AS (
        SELECT lane, seq, hash,
               hash = sha256(
                   previous
                   || CASE WHEN num_nonnulls(user_id, actor, fingerprint) = 0 THEN decode(repeat('00', 32), 'hex')
                           ELSE sha256(person_proof || decode(lpad(coalesce(replace(fingerprint::text, '-', ''), ''), 32, '0'), 'hex')
                                       || convert_to(jsonb_build_array(user_id, actor)::text, 'UTF8')) END
                   || CASE WHEN num_nonnulls(usage, tags, metadata, reference, reason) = 0 THEN decode(repeat('00', 32), 'hex')
                           ELSE sha256(payload_proof || convert_to(jsonb_build_array(usage::text, tags::text, metadata::text, reference, reason)::text, 'UTF8')) END
                   || convert_to(jsonb_build_array(
                       wallet_id, lane::text, seq::text, entry_id::text, kind::text, call::text,
                       amount::text, lane_balance::text, balance::text,
                       (extract(epoch FROM created_at) * 1000000)::bigint::text, (extract(epoch FROM event_at) * 1000000)::bigint::text,
                       idempotency_key, related_id::text, key_id::text,
                       team, provider, model, service, region, service_tier, encode(lines, 'hex'),
                       contra)::text, 'UTF8')) AS good
          FROM linked
    )
    SELECT count(*), count(*) FILTER (WHERE good),
           (SELECT bool_and(a.hash = c.hash) FROM checked c
             JOIN wallet.allowances a ON a.wallet_id = of_wallet AND a.limit_id IS NULL AND a.lane = c.lane AND a.seq = c.seq)
      FROM checked
$$;
SELECT * FROM regress.chain('lg');
-- All wallets of the tests before this one.
SELECT wallet_id, entries - good AS broken, heads_match FROM wallet.wallets, regress.chain(wallet_id)
 WHERE entries <> good OR NOT heads_match;
-- The chain reveals changes that bypass the trigger.
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE wallet.ledger SET actor = 'eve' WHERE wallet_id = 'lg' AND idempotency_key = 'key';
SELECT entries - good AS broken FROM regress.chain('lg');
ROLLBACK;

-- Headers: cost, tokens and model of the entry; balance and the tightest limit as they are now.
SELECT wallet FROM wallet.create_wallet('lg_head');
SELECT balance FROM wallet.fund('lg_head', 10);
SELECT entry_id FROM wallet.charge('lg_head', '{"model":"lg-model","input_tokens":100,"output_tokens":10}', user_id => 'u') \gset
SELECT * FROM wallet.usage_headers('lg_head', :'entry_id');
SELECT wallet.set_limit('lg_head', 8, 'day') IS NOT NULL AND wallet.set_limit('lg_head', 3, 'day', scope => 'user') IS NOT NULL AS set;
SELECT * FROM wallet.usage_headers('lg_head', :'entry_id');
SELECT entry_id FROM wallet.charge('lg_head', amount => 2) \gset
SELECT * FROM wallet.usage_headers('lg_head', :'entry_id');
CALL regress.fails($$ SELECT * FROM wallet.usage_headers('lg_head', '00000000-0000-0000-0000-000000000001') $$);
CALL regress.fails(format($$ SELECT * FROM wallet.usage_headers('lg', %L) $$, :'entry_id'));
CALL regress.fails($$ SELECT * FROM wallet.usage_headers('lg_nobody', '00000000-0000-0000-0000-000000000001') $$);
CALL regress.fails($$ SELECT * FROM wallet.usage_headers(NULL, '00000000-0000-0000-0000-000000000001') $$);
SELECT regress.outcome($$ SELECT * FROM wallet.usage_headers('lg', NULL) $$);
