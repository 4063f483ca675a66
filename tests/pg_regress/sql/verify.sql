-- verify() finds what a superuser has changed with triggers off.
SELECT wallet FROM wallet.create_wallet('proof');
SELECT balance FROM wallet.fund('proof', 100);
SELECT wallet.set_limit('proof', 80, 'day', scope => 'user') IS NOT NULL AS set;
SELECT count(wallet.charge('proof', amount => 2, user_id => 'ann')) FROM generate_series(1, 10);
SELECT entry_id FROM wallet.charge('proof', amount => 5, user_id => 'ann') \gset
SELECT amount FROM wallet.refund('proof', :'entry_id', 3);
SELECT amount FROM wallet.hold('proof', amount => 7);
SELECT "check", ok, detail FROM wallet.verify('proof', wallet.digest());
SELECT wallet.digest() AS digest \gset
SELECT wallet.digest()::text = :'digest' AS same_text;
SELECT cost FROM wallet.charge('proof', amount => 1);
SELECT bool_and(ok) AS later_too FROM wallet.verify('proof', :'digest');
-- Each way of tampering, and what verify reports.
CREATE FUNCTION regress.tampered(what text, kept jsonb DEFAULT NULL) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    found text[];
BEGIN
    BEGIN
        SET LOCAL session_replication_role = replica;
        EXECUTE what;
        SELECT array_agg(v."check" || ': ' || regexp_replace(v.detail, '[0-9a-f]{8}-[0-9a-f-]{27}', '<uuid>')) INTO found
          FROM wallet.verify('proof', kept) v WHERE NOT v.ok;
        RAISE SQLSTATE 'RBACK';
    EXCEPTION WHEN SQLSTATE 'RBACK' THEN NULL;
    END;
    RETURN QUERY SELECT coalesce(f, 'nothing found') FROM unnest(coalesce(found, '{NULL}')) f;
END
$$;
SELECT * FROM regress.tampered($$ UPDATE wallet.ledger SET amount = -1 WHERE wallet_id = 'proof' AND kind = 'c' AND amount = -5 $$);
SELECT * FROM regress.tampered($$ UPDATE wallet.ledger SET user_id = 'ben' WHERE wallet_id = 'proof' AND kind = 'c' AND amount = -5 $$);
SELECT * FROM regress.tampered($$ DELETE FROM wallet.ledger WHERE wallet_id = 'proof' AND kind = 'c' AND amount = -5 $$);
SELECT * FROM regress.tampered($$ UPDATE wallet.ledger SET seq = 1003 - seq WHERE wallet_id = 'proof' AND seq IN (2, 3) $$);
SELECT * FROM regress.tampered($$ INSERT INTO wallet.ledger SELECT gen_random_uuid(), created_at, event_at, seq + 1000, fingerprint, related_id, key_id, lane, kind, call, wallet_id, amount, lane_balance, balance, hash FROM wallet.ledger WHERE wallet_id = 'proof' AND amount = -5 $$);
-- The tail is cut off and the lane's head restored: only the digest reveals it.
SELECT * FROM regress.tampered($$ WITH gone AS (DELETE FROM wallet.ledger l WHERE wallet_id = 'proof' AND (lane, seq) IN (SELECT lane, max(seq) FROM wallet.ledger WHERE wallet_id = 'proof' GROUP BY lane) RETURNING *)
    UPDATE wallet.allowances a SET seq = p.seq, hash = p.hash, booked = p.lane_balance, spent = a.spent + g.amount
      FROM gone g JOIN wallet.ledger p ON p.wallet_id = g.wallet_id AND p.lane = g.lane AND p.seq = g.seq - 1
     WHERE a.wallet_id = g.wallet_id AND a.lane = g.lane AND a.allowance_id = '00000000-0000-0000-0000-000000000000' AND g.kind = 'c' $$, wallet.digest());
SELECT * FROM regress.tampered($$ UPDATE wallet.allowances SET allotted = allotted + 50 WHERE wallet_id = 'proof' AND lane = 0 AND limit_id IS NULL $$);
SELECT * FROM regress.tampered($$ UPDATE wallet.allowances SET spent = 0 WHERE wallet_id = 'proof' AND limit_id IS NOT NULL $$);
-- Limits changed behind the functions: charges continue under the limits they have cached.
SELECT * FROM regress.tampered($$ UPDATE wallet.limits SET max = max + 1 WHERE wallet_id = 'proof' $$);
SELECT * FROM regress.tampered($$ UPDATE wallet.reservations SET held = 1 WHERE wallet_id = 'proof' $$);
SELECT * FROM regress.tampered($$ UPDATE wallet.refunds SET refunded = 0 WHERE wallet_id = 'proof' $$);
SELECT bool_and(ok) AS untouched FROM wallet.verify('proof', :'digest');
SELECT name, value >= 0 AS has_value FROM wallet.health ORDER BY name;
BEGIN READ ONLY;
SELECT count(*) FROM wallet.verify('proof');
COMMIT;
CALL regress.fails($$ SELECT * FROM wallet.verify('proof_none') $$);
-- Every wallet of these tests is sound.
SELECT w.wallet, v."check", v.detail FROM wallet.balances w, wallet.verify(w.wallet) v WHERE NOT v.ok;
