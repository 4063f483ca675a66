-- Optional upkeep: books expired holds and grants, rolls up closed days, and deletes rows that no
-- call needs any more or whose retention has ended.

CREATE FUNCTION wallet.maintain(OUT task text, OUT done bigint) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, wallet, pg_temp
SET jit = off
AS $$
BEGIN
    task := 'wallets whose holds or grants had expired';
    done := wallet.sweep_expired();
    RETURN NEXT;
    task := 'roll-ups of closed days';
    done := wallet.roll_up();
    RETURN NEXT;
    task := 'alerts that money runs out';
    done := wallet.announce_run_outs();
    RETURN NEXT;
    task := 'limit windows that ended a month ago';
    done := wallet.prune_windows();
    RETURN NEXT;
    task := 'rows that were kept long enough';
    done := (SELECT coalesce(sum(d.dropped), 0) FROM wallet.drop_old() d);
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION wallet.maintain IS 'Books expired holds and grants, rolls up closed days, emits run-out alerts, and deletes rows that no call needs any more. It is optional; no rule depends on it. Errors: 42501.';

-- A procedure with a SET clause cannot commit, so all names and operators are qualified instead.
CREATE PROCEDURE wallet.upkeep(portion integer DEFAULT 500)
LANGUAGE plpgsql
AS $$
DECLARE
    after text := '';
BEGIN
    IF portion IS NULL OR portion OPERATOR(pg_catalog.<) 1 THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'portion is out of range',
            DETAIL = pg_catalog.format('It is %s; 1 or more is allowed.', coalesce(portion::pg_catalog.text, 'NULL')),
            HINT = 'Leave it out for 500.';
    END IF;
    WHILE wallet.sweep_expired(portion) OPERATOR(pg_catalog.>) 0 LOOP
        COMMIT;
    END LOOP;
    COMMIT;
    WHILE wallet.roll_up(max_wallets => portion) OPERATOR(pg_catalog.>) 0 LOOP
        COMMIT;
    END LOOP;
    COMMIT;
    WHILE after IS NOT NULL LOOP
        PERFORM wallet.announce_run_outs(after, portion);
        -- The last wallet of the portion; NULL if the portion was not full.
        after := (SELECT r.wallet_id
                    FROM wallet.run_out_alerts r
                    JOIN wallet.wallets w ON w.wallet_id OPERATOR(pg_catalog.=) r.wallet_id
                                         AND w.status OPERATOR(pg_catalog.<>) 'closed'
                   WHERE r.wallet_id OPERATOR(pg_catalog.>) after
                   ORDER BY r.wallet_id OFFSET portion OPERATOR(pg_catalog.-) 1 LIMIT 1);
        COMMIT;
    END LOOP;
    PERFORM wallet.prune_windows();
    COMMIT;
    WHILE EXISTS (SELECT FROM wallet.drop_old(portion) d WHERE d.dropped OPERATOR(pg_catalog.>) 0) LOOP
        COMMIT;
    END LOOP;
    COMMIT;
END
$$;
COMMENT ON PROCEDURE wallet.upkeep IS 'Does the work of maintain() in portions of a given number of holds or wallets, with a commit after each portion. It holds only the locks of the current portion. Errors: 22023, 42501, 2D000 inside a transaction block.';

-- On a large ledger, JIT compilation takes longer than execution.
ALTER FUNCTION wallet.roll_up(timestamptz, integer) SET jit = off;
