-- Grants refer to the role, not to its name: a renamed role keeps its rights, and another role that
-- takes over the name gets none. A dump contains names nevertheless, because regrole is written and
-- read as a name.
CREATE TABLE wallet.role_grants (
    wallet_id    text NOT NULL,
    role         regrole NOT NULL,
    level        text NOT NULL CHECK (level IN ('reader', 'auditor', 'charger', 'billing', 'worker', 'admin')),
    created_at   timestamptz NOT NULL,
    proof        text NOT NULL DEFAULT 'none' CHECK (proof IN ('none', 'claim', 'key')),
    PRIMARY KEY (wallet_id, role, level)
);
-- A call looks up the grants of its own role, however many roles there are.
CREATE INDEX role_grants_role ON wallet.role_grants (role, level, proof, wallet_id);
COMMENT ON TABLE wallet.role_grants IS 'Which level each database role has on which wallet. wallet_id * means all wallets. The view access_grants shows the roles by name.';
COMMENT ON COLUMN wallet.role_grants.proof IS 'The proof that a call must have: none, claim (wallet.claim or wallet.key names the wallet), or key (wallet.key has a key of the wallet).';

CREATE VIEW wallet.access_grants WITH (security_invoker = true) AS
SELECT g.wallet_id, r.rolname::text AS db_role, g.level, g.created_at,
       g.proof = 'claim' AS claimed, g.proof = 'key' AS keyed
  FROM wallet.role_grants g
  JOIN pg_roles r ON r.oid = g.role;
COMMENT ON VIEW wallet.access_grants IS 'Which level each database role has on which wallet. wallet_id * means all wallets. A role that was dropped has no row.';
COMMENT ON COLUMN wallet.access_grants.claimed IS 'True if the role reaches only the wallets that wallet.claim names, or the wallet of the key in wallet.key.';
COMMENT ON COLUMN wallet.access_grants.keyed IS 'True if the role reaches only the wallet of the key in wallet.key.';

-- The functions and relations that each level may use. The base "events" is what both worker and
-- billing do.
CREATE FUNCTION wallet.privileges(OUT level text, OUT object_kind text, OUT object text)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, wallet, pg_temp
AS $$
    SELECT l.level, o.kind, o.object
      FROM (VALUES
            ('reader',  'FUNCTION', 'price_usage'),
            ('reader',  'FUNCTION', 'compare_models'),
            ('reader',  'FUNCTION', 'reprice'),
            ('reader',  'FUNCTION', 'normalize_usage'),
            ('reader',  'FUNCTION', 'explain_usage'),
            ('reader',  'FUNCTION', 'check_limits'),
            ('reader',  'FUNCTION', 'choose_model'),
            ('reader',  'FUNCTION', 'period_end'),
            ('reader',  'FUNCTION', 'limits_now'),
            ('reader',  'FUNCTION', 'expired_held'),
            ('reader',  'FUNCTION', 'usage_headers'),
            ('reader',  'FUNCTION', 'convert_amount'),
            ('reader',  'FUNCTION', 'entry_lines'),
            ('reader',  'FUNCTION', 'entry_usage'),
            ('reader',  'FUNCTION', 'person_digest'),
            ('reader',  'FUNCTION', 'payload_digest'),
            ('reader',  'FUNCTION', 'readable_wallets'),
            ('reader',  'FUNCTION', 'key_owner'),
            ('reader',  'FUNCTION', 'readable_price_lists'),
            ('reader',  'TABLE',    'price_lists'),
            ('reader',  'TABLE',    'plans'),
            ('reader',  'TABLE',    'plan_versions'),
            ('reader',  'TABLE',    'plan_rules'),
            ('reader',  'FUNCTION', 'plan_of'),
            ('reader',  'FUNCTION', 'rules_of'),
            ('reader',  'TABLE',    'markup_list'),
            ('reader',  'TABLE',    'member_list'),
            ('reader',  'TABLE',    'model_rule_list'),
            ('reader',  'TABLE',    'topup_rule_list'),
            ('reader',  'TABLE',    'recurring_grant_list'),
            ('admin',   'TABLE',    'voucher_list'),
            ('reader',  'FUNCTION', 'error_codes'),
            ('reader',  'TABLE',    'balances'),
            ('reader',  'TABLE',    'entries'),
            ('reader',  'TABLE',    'fundings'),
            ('reader',  'TABLE',    'unpriced'),
            ('reader',  'TABLE',    'unread_usage'),
            ('reader',  'TABLE',    'limits_status'),
            ('reader',  'TABLE',    'events'),
            ('reader',  'TABLE',    'wallets'),
            ('reader',  'TABLE',    'allowances'),
            ('reader',  'TABLE',    'ledger'),
            ('reader',  'TABLE',    'ledger_all'),
            ('reader',  'TABLE',    'ledger_archive'),
            ('reader',  'TABLE',    'carried_forward'),
            ('reader',  'TABLE',    'unpriced_charges'),
            ('reader',  'TABLE',    'unread_paths'),
            ('reader',  'TABLE',    'funding_requests'),
            ('reader',  'TABLE',    'outbox'),
            ('reader',  'TABLE',    'limits'),
            ('reader',  'TABLE',    'default_limits'),
            ('reader',  'TABLE',    'prices'),
            ('reader',  'TABLE',    'markups'),
            ('reader',  'TABLE',    'usage_mappings'),
            ('reader',  'TABLE',    'metric_weights'),
            ('reader',  'TABLE',    'retention_rules'),
            ('reader',  'TABLE',    'retention'),
            ('reader',  'TABLE',    'closed_periods'),
            ('reader',  'TABLE',    'periods'),
            ('reader',  'TABLE',    'metrics'),
            ('reader',  'TABLE',    'fx_rates'),
            ('reader',  'TABLE',    'bonus_rules'),
            ('reader',  'TABLE',    'bonuses'),
            ('reader',  'FUNCTION', 'lots_now'),
            ('reader',  'FUNCTION', 'lots_at'),
            ('reader',  'FUNCTION', 'due_entries'),
            ('reader',  'FUNCTION', 'due_lots'),
            ('reader',  'FUNCTION', 'due_balance'),
            ('reader',  'FUNCTION', 'payments_of'),
            ('reader',  'TABLE',    'grants'),
            ('reader',  'TABLE',    'grant_payments'),
            ('reader',  'TABLE',    'grant_lots'),
            ('reader',  'TABLE',    'grant_burns'),
            ('reader',  'TABLE',    'kept_credit'),
            ('reader',  'TABLE',    'grant_marks'),
            ('reader',  'TABLE',    'recurring_grants'),
            ('reader',  'TABLE',    'holds'),
            ('reader',  'TABLE',    'reservations'),
            ('reader',  'TABLE',    'refunds'),
            ('reader',  'FUNCTION', 'readable_wallet'),
            ('reader',  'FUNCTION', 'verify'),
            ('reader',  'FUNCTION', 'verify_chain'),
            ('reader',  'FUNCTION', 'recount'),
            ('reader',  'FUNCTION', 'digest'),
            ('reader',  'TABLE',    'health'),
            ('reader',  'FUNCTION', 'entry_tokens'),
            ('reader',  'FUNCTION', 'unrolled_from'),
            ('reader',  'FUNCTION', 'day_begun'),
            ('reader',  'FUNCTION', 'hour_of'),
            ('reader',  'FUNCTION', 'day_begins'),
            ('reader',  'FUNCTION', 'span_of'),
            ('reader',  'FUNCTION', 'rolled_before'),
            ('reader',  'FUNCTION', 'booked_before'),
            ('reader',  'FUNCTION', 'booked_ids'),
            ('reader',  'TABLE',    'rollup_states'),
            ('reader',  'TABLE',    'rollup_chunks'),
            ('reader',  'TABLE',    'usage_rollups'),
            ('reader',  'TABLE',    'rolled_lanes'),
            ('reader',  'TABLE',    'rolled_wallets'),
            ('reader',  'TABLE',    'counted_entries'),
            ('reader',  'TABLE',    'unrolled_days'),
            ('reader',  'TABLE',    'usage_days'),
            ('reader',  'TABLE',    'entry_lists'),
            ('reader',  'FUNCTION', 'newest_unrolled'),
            ('reader',  'FUNCTION', 'newest_rolled'),
            ('reader',  'FUNCTION', 'transactions'),
            ('worker',  'FUNCTION', 'roll_up'),
            ('reader',  'TABLE',    'lane_waits'),
            ('reader',  'FUNCTION', 'exchange_rates'),
            ('reader',  'FUNCTION', 'exchanged'),
            ('reader',  'FUNCTION', 'balances_in'),
            ('reader',  'FUNCTION', 'reported_wallets'),
            ('reader',  'FUNCTION', 'check_cursor'),
            ('reader',  'FUNCTION', 'changes'),
            ('reader',  'FUNCTION', 'journal_summary'),
            ('reader',  'FUNCTION', 'promotional_at'),
            ('reader',  'FUNCTION', 'balances_at'),
            ('reader',  'FUNCTION', 'span_in'),
            ('reader',  'FUNCTION', 'check_dimensions'),
            ('reader',  'FUNCTION', 'usage_groups'),
            ('reader',  'FUNCTION', 'usage'),
            ('reader',  'FUNCTION', 'usage_by'),
            ('reader',  'FUNCTION', 'usage_rows'),
            ('reader',  'FUNCTION', 'usage_attributes'),
            ('reader',  'FUNCTION', 'chargeback'),
            ('reader',  'FUNCTION', 'chargeback_rows'),
            ('reader',  'FUNCTION', 'balance_at'),
            ('reader',  'FUNCTION', 'statement'),
            ('reader',  'FUNCTION', 'statement_lines'),
            ('reader',  'FUNCTION', 'forecast'),
            ('reader',  'FUNCTION', 'savings'),
            ('reader',  'FUNCTION', 'compare_charges'),
            ('reader',  'FUNCTION', 'report'),
            ('reader',  'FUNCTION', 'statement_html'),
            ('reader',  'TABLE',    'usage_entries'),
            ('reader',  'TABLE',    'usage_daily'),
            ('reader',  'TABLE',    'focus'),
            ('reader',  'FUNCTION', 'focus_csv'),
            ('reader',  'TABLE',    'chargeback_rules'),
            ('billing', 'FUNCTION', 'set_chargeback_rule'),
            ('reader',  'TABLE',    'run_out_alerts'),
            ('billing', 'FUNCTION', 'set_run_out_alert'),
            ('worker',  'FUNCTION', 'announce_run_outs'),
            ('worker',  'FUNCTION', 'prune_windows'),
            ('worker',  'FUNCTION', 'drop_old'),
            ('worker',  'FUNCTION', 'sweep_expired'),
            ('worker',  'FUNCTION', 'maintain'),
            ('admin',   'FUNCTION', 'upkeep'),
            ('charger', 'FUNCTION', 'charge'),
            ('charger', 'FUNCTION', 'charge_batch'),
            ('charger', 'FUNCTION', 'hold'),
            ('charger', 'FUNCTION', 'settle'),
            ('charger', 'FUNCTION', 'void'),
            ('charger', 'FUNCTION', 'extend_hold'),
            ('billing', 'FUNCTION', 'approve_hold'),
            ('billing', 'FUNCTION', 'deny_hold'),
            ('billing', 'FUNCTION', 'refund'),
            ('admin',   'FUNCTION', 'adjust'),
            ('admin',   'FUNCTION', 'transfer'),
            ('billing', 'FUNCTION', 'fund'),
            ('billing', 'FUNCTION', 'settle_funding'),
            ('billing', 'FUNCTION', 'fail_funding'),
            ('billing', 'FUNCTION', 'reverse_funding'),
            ('billing', 'FUNCTION', 'redeem_voucher'),
            ('billing', 'FUNCTION', 'void_grant'),
            ('billing', 'FUNCTION', 'set_recurring_grant'),
            ('billing', 'FUNCTION', 'price_unpriced'),
            ('reader',  'FUNCTION', 'journal'),
            ('reader',  'TABLE',    'topups'),
            ('reader',  'TABLE',    'topup_requests'),
            ('reader',  'TABLE',    'topup_rules'),
            ('billing', 'FUNCTION', 'set_topup_rule'),
            ('events',  'FUNCTION', 'complete_topup'),
            ('events',  'FUNCTION', 'fail_topup'),
            ('events',  'FUNCTION', 'request_due_topups'),
            ('events',  'FUNCTION', 'claim_events'),
            ('events',  'FUNCTION', 'finish_event'),
            ('events',  'FUNCTION', 'retry_event'),
            ('reader',  'COLUMNS',  'destinations'),
            ('reader',  'TABLE',    'destination_list'),
            ('reader',  'TABLE',    'deliveries'),
            ('reader',  'TABLE',    'delivery_list'),
            ('admin',   'FUNCTION', 'set_destination'),
            ('admin',   'FUNCTION', 'rotate_destination'),
            ('admin',   'FUNCTION', 'drop_destination'),
            ('events',  'FUNCTION', 'claim_deliveries'),
            ('events',  'FUNCTION', 'finish_delivery'),
            ('events',  'FUNCTION', 'retry_delivery'),
            ('billing', 'FUNCTION', 'resend_delivery'),
            ('admin',   'FUNCTION', 'create_wallet'),
            ('admin',   'FUNCTION', 'create_wallets'),
            ('admin',   'FUNCTION', 'update_wallet'),
            ('admin',   'FUNCTION', 'freeze_wallet'),
            ('admin',   'FUNCTION', 'unfreeze_wallet'),
            ('admin',   'FUNCTION', 'close_wallet'),
            ('admin',   'FUNCTION', 'set_lanes'),
            ('admin',   'FUNCTION', 'set_parent'),
            ('reader',  'FUNCTION', 'descendants'),
            ('reader',  'FUNCTION', 'usage_by_child'),
            ('admin',   'FUNCTION', 'archive'),
            ('admin',   'FUNCTION', 'set_plan'),
            ('admin',   'FUNCTION', 'assign_plan'),
            ('admin',   'FUNCTION', 'erase_user'),
            ('admin',   'FUNCTION', 'set_retention'),
            ('admin',   'FUNCTION', 'close_period'),
            ('admin',   'FUNCTION', 'reopen_period'),
            ('admin',   'FUNCTION', 'set_price'),
            ('admin',   'FUNCTION', 'import_prices'),
            ('admin',   'FUNCTION', 'set_markup'),
            ('admin',   'FUNCTION', 'use_price_list'),
            ('admin',   'FUNCTION', 'set_usage_mapping'),
            ('admin',   'FUNCTION', 'set_metric'),
            ('admin',   'FUNCTION', 'drop_metric'),
            ('admin',   'FUNCTION', 'set_limit'),
            ('admin',   'FUNCTION', 'set_limits'),
            ('admin',   'FUNCTION', 'raise_limit'),
            ('admin',   'FUNCTION', 'drop_limit'),
            ('admin',   'FUNCTION', 'grant_access'),
            ('admin',   'FUNCTION', 'revoke_access'),
            ('admin',   'FUNCTION', 'set_member'),
            ('admin',   'FUNCTION', 'set_members'),
            ('admin',   'FUNCTION', 'drop_member'),
            ('admin',   'FUNCTION', 'set_model_rules'),
            ('admin',   'FUNCTION', 'create_key'),
            ('admin',   'FUNCTION', 'create_keys'),
            ('admin',   'FUNCTION', 'write_key'),
            ('admin',   'FUNCTION', 'rotate_key'),
            ('admin',   'FUNCTION', 'revoke_key'),
            ('admin',   'FUNCTION', 'set_ip_rules'),
            ('admin',   'FUNCTION', 'write_ip_rules'),
            ('admin',   'FUNCTION', 'set_devices'),
            ('admin',   'TABLE',    'api_keys'),
            ('auditor', 'COLUMNS',  'api_keys'),
            ('auditor', 'TABLE',    'keys'),
            ('auditor', 'TABLE',    'audit'),
            ('auditor', 'TABLE',    'audit_log'),
            ('reader',  'TABLE',    'members'),
            ('reader',  'TABLE',    'origin_rules'),
            ('reader',  'TABLE',    'model_rules'),
            ('admin',   'FUNCTION', 'set_fx_rate'),
            ('admin',   'FUNCTION', 'set_fx_rates'),
            ('admin',   'FUNCTION', 'set_bonus'),
            ('admin',   'FUNCTION', 'create_voucher'),
            ('admin',   'COLUMNS',  'vouchers'),
            ('admin',   'TABLE',    'role_grants'),
            ('admin',   'TABLE',    'access_grants')
           ) AS o (base, kind, object)
      JOIN (VALUES
            ('reader', 'reader'),
            ('auditor', 'reader'), ('auditor', 'auditor'),
            ('charger', 'reader'), ('charger', 'charger'),
            ('billing', 'reader'), ('billing', 'billing'), ('billing', 'events'),
            ('worker', 'events'), ('worker', 'worker'),
            ('admin', 'reader'), ('admin', 'auditor'), ('admin', 'charger'), ('admin', 'billing'), ('admin', 'events'),
            ('admin', 'worker'), ('admin', 'admin')
           ) AS l (level, base) ON l.base = o.base
$$;
COMMENT ON FUNCTION wallet.privileges IS 'Lists the functions and relations that each level may use. COLUMNS means a table without the secrets and hashes in it.';

-- The privileges of a level belong to a role of that level, and every role with the level is a
-- member of it. PostgreSQL stores the privileges of all roles on an object in one row, so
-- privileges of their own would end at about 2,400 roles. A level's role belongs to one database:
-- its name has the database's oid, because the last grant of a role in one database must not affect
-- another.
CREATE FUNCTION wallet.level_role(level text) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, wallet, pg_temp
AS $$
    SELECT format('wallet_%s_%s', d.oid, level_role.level) FROM pg_database d WHERE d.datname = current_database()
$$;
COMMENT ON FUNCTION wallet.level_role IS 'Returns the name of the role that has the privileges of a level in this database.';

-- Row-level security and the functions decide which wallets the role can access.
CREATE FUNCTION wallet.set_privileges(db_role text, levels text[]) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, wallet, pg_temp
AS $$
DECLARE
    privilege record;
BEGIN
    EXECUTE format('REVOKE ALL ON SCHEMA wallet FROM %I', db_role);
    IF levels <> '{}' THEN
        EXECUTE format('GRANT USAGE ON SCHEMA wallet TO %I', db_role);
    END IF;
    -- All overloads of a function get the privilege.
    FOR privilege IN
        SELECT p.object_kind, coalesce(f.oid::regprocedure::text, format('wallet.%I', p.object)) AS object,
               bool_or(p.level = ANY (levels)) AS granted
          FROM wallet.privileges() p
          LEFT JOIN pg_proc f
            ON p.object_kind = 'FUNCTION' AND f.proname = p.object
           AND f.pronamespace = (SELECT n.oid FROM pg_namespace n WHERE n.nspname = 'wallet')
         GROUP BY 1, 2
         -- Revoking a table also revokes its columns, so columns come last.
         ORDER BY 1 DESC
    LOOP
        EXECUTE format(
            CASE WHEN privilege.granted THEN 'GRANT %s ON %s %s TO %I'
                 ELSE 'REVOKE %s ON %s %s FROM %I' END,
            CASE privilege.object_kind
                WHEN 'FUNCTION' THEN 'EXECUTE'
                WHEN 'TABLE' THEN 'SELECT'
                -- The columns without secrets and their hashes.
                ELSE (SELECT format('SELECT (%s)', string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum))
                        FROM pg_attribute a
                       WHERE a.attrelid = privilege.object::regclass AND a.attnum > 0 AND NOT a.attisdropped
                         AND a.attname !~ '_(hash|secret)$')
            END,
            -- GRANT ... ON FUNCTION does not accept a procedure; ROUTINE accepts both.
            CASE privilege.object_kind WHEN 'FUNCTION' THEN 'ROUTINE' ELSE 'TABLE' END,
            privilege.object, db_role);
    END LOOP;
END
$$;
COMMENT ON FUNCTION wallet.set_privileges IS 'Gives a role the privileges of the given levels, and no others.';

CREATE FUNCTION wallet.make_level_role(level text) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, wallet, pg_temp
AS $$
DECLARE
    name CONSTANT text := wallet.level_role(level);
    other record;
BEGIN
    -- Two first grants of a level would change the same rows of the catalog.
    PERFORM pg_advisory_xact_lock('pg_authid'::regclass::oid::integer, hashtext(name));
    IF has_schema_privilege((SELECT r.oid FROM pg_roles r WHERE r.rolname = name), 'wallet', 'USAGE') THEN
        RETURN;
    END IF;
    SELECT r.rolcanlogin OR r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls AS is_other
      INTO other FROM pg_roles r WHERE r.rolname = name;
    IF NOT FOUND THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', name);
    ELSIF other.is_other THEN
        RAISE EXCEPTION USING ERRCODE = '42710', MESSAGE = format('role "%s" exists and is not the role of a level', name),
            DETAIL = 'Roles with the level become members of it, and it can log in or has attributes of its own.',
            HINT = 'Rename it with ALTER ROLE.';
    END IF;
    PERFORM wallet.set_privileges(name, ARRAY[level]);
END
$$;
COMMENT ON FUNCTION wallet.make_level_role IS 'Creates the role of a level, unless it exists and has its privileges.';

-- Updates the memberships of a database role to match its grants on any wallet. Two kinds of roles
-- get privileges of their own instead: all, if the owner of the extension may not create roles; and
-- in PostgreSQL 15 a role with NOINHERIT, because there a single membership cannot override that.
-- After a change of kind, privileges and memberships of the other kind are removed.
CREATE FUNCTION wallet.apply_privileges(db_role text) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, wallet, pg_temp
AS $$
DECLARE
    member record;
    step record;
    is_new CONSTANT boolean := current_setting('server_version_num')::integer >= 160000;
    all_levels CONSTANT text[] := '{reader,auditor,charger,billing,worker,admin}';
    levels text[];
BEGIN
    -- Also where nothing is to be changed, like every call that writes.
    IF current_setting('transaction_read_only')::boolean THEN
        RAISE EXCEPTION USING ERRCODE = '25006', MESSAGE = 'cannot execute apply_privileges() in a read-only transaction';
    END IF;
    SELECT r.oid, r.rolinherit INTO STRICT member FROM pg_roles r WHERE r.rolname = db_role;
    SELECT coalesce(array_agg(DISTINCT g.level), '{}') INTO levels FROM wallet.role_grants g WHERE g.role = member.oid;
    IF NOT (is_new OR member.rolinherit)
       OR NOT (SELECT r.rolsuper OR r.rolcreaterole FROM pg_roles r WHERE r.rolname = current_user) THEN
        FOR step IN
            SELECT r.rolname AS name FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
             WHERE m.member = member.oid
               AND r.rolname IN (SELECT wallet.level_role(l) FROM unnest(all_levels) l)
        LOOP
            EXECUTE format('REVOKE %I FROM %I', step.name, db_role);
        END LOOP;
        PERFORM wallet.set_privileges(db_role, levels);
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) a
                WHERE n.nspname = 'wallet' AND a.grantee = member.oid AND n.nspowner <> member.oid) THEN
        PERFORM wallet.set_privileges(db_role, '{}');
    END IF;
    FOR step IN
        SELECT l.level, wallet.level_role(l.level) AS name, l.level = ANY (levels) AS wanted,
               EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = r.oid AND m.member = member.oid) AS is_there,
               coalesce(has_schema_privilege(r.oid, 'wallet', 'USAGE'), false) AS is_ready
          FROM unnest(all_levels) AS l (level)
          LEFT JOIN pg_roles r ON r.rolname = wallet.level_role(l.level)
    LOOP
        IF step.wanted AND NOT step.is_ready THEN
            PERFORM wallet.make_level_role(step.level);
        END IF;
        IF step.wanted AND NOT step.is_there THEN
            EXECUTE format(CASE WHEN is_new THEN 'GRANT %I TO %I WITH INHERIT TRUE, SET FALSE' ELSE 'GRANT %I TO %I' END,
                           step.name, db_role);
        ELSIF step.is_there AND NOT step.wanted THEN
            EXECUTE format('REVOKE %I FROM %I', step.name, db_role);
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION wallet.apply_privileges IS 'Updates the memberships of a database role to match its grants. grant_access() and revoke_access() call it.';
