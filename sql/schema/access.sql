-- Grants refer to the role, not to its name: a renamed role keeps its rights, and another role that
-- takes over the name gets none. A dump contains names nevertheless, because regrole is written and
-- read as a name.
CREATE TABLE wallet.role_grants (
    wallet_id    text NOT NULL,
    role         regrole NOT NULL,
    level        text NOT NULL CHECK (level IN ('reader', 'charger', 'billing', 'admin')),
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (wallet_id, role, level)
);
COMMENT ON TABLE wallet.role_grants IS 'Which level each database role has on which wallet. wallet_id * means all wallets. The view access_grants shows the roles by name.';

CREATE VIEW wallet.access_grants WITH (security_invoker = true) AS
SELECT g.wallet_id, r.rolname::text AS db_role, g.level, g.created_at
  FROM wallet.role_grants g
  JOIN pg_roles r ON r.oid = g.role;
COMMENT ON VIEW wallet.access_grants IS 'Which level each database role has on which wallet. wallet_id * means all wallets. A role that was dropped has no row.';

-- The functions and relations that each level may use. A level includes everything that its base
-- level includes.
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
            ('reader',  'FUNCTION', 'readable_wallets'),
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
            ('admin',   'FUNCTION', 'roll_up'),
            ('reader',  'TABLE',    'lane_waits'),
            ('reader',  'FUNCTION', 'exchange_rates'),
            ('reader',  'FUNCTION', 'exchanged'),
            ('reader',  'FUNCTION', 'balances_in'),
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
            ('admin',   'FUNCTION', 'announce_run_outs'),
            ('admin',   'FUNCTION', 'prune_windows'),
            ('admin',   'FUNCTION', 'sweep_expired'),
            ('admin',   'FUNCTION', 'maintain'),
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
            ('billing', 'FUNCTION', 'complete_topup'),
            ('billing', 'FUNCTION', 'fail_topup'),
            ('billing', 'FUNCTION', 'request_due_topups'),
            ('billing', 'FUNCTION', 'claim_events'),
            ('billing', 'FUNCTION', 'finish_event'),
            ('billing', 'FUNCTION', 'retry_event'),
            ('admin',   'FUNCTION', 'create_wallet'),
            ('admin',   'FUNCTION', 'create_wallets'),
            ('admin',   'FUNCTION', 'update_wallet'),
            ('admin',   'FUNCTION', 'freeze_wallet'),
            ('admin',   'FUNCTION', 'unfreeze_wallet'),
            ('admin',   'FUNCTION', 'close_wallet'),
            ('admin',   'FUNCTION', 'set_lanes'),
            ('admin',   'FUNCTION', 'archive'),
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
            ('admin',   'TABLE',    'keys'),
            ('admin',   'TABLE',    'audit'),
            ('admin',   'TABLE',    'audit_log'),
            ('reader',  'TABLE',    'members'),
            ('reader',  'TABLE',    'origin_rules'),
            ('reader',  'TABLE',    'model_rules'),
            ('admin',   'FUNCTION', 'set_fx_rate'),
            ('admin',   'FUNCTION', 'set_fx_rates'),
            ('admin',   'FUNCTION', 'set_bonus'),
            ('admin',   'FUNCTION', 'create_voucher'),
            ('admin',   'TABLE',    'vouchers'),
            ('admin',   'TABLE',    'role_grants'),
            ('admin',   'TABLE',    'access_grants')
           ) AS o (base, kind, object)
      JOIN (VALUES
            ('reader', 'reader'),
            ('charger', 'reader'), ('charger', 'charger'),
            ('billing', 'reader'), ('billing', 'billing'),
            ('admin', 'reader'), ('admin', 'charger'), ('admin', 'billing'), ('admin', 'admin')
           ) AS l (level, base) ON l.base = o.base
$$;
COMMENT ON FUNCTION wallet.privileges IS 'Lists the functions and relations that each level may use.';

-- Updates the privileges of a database role to match its grants on any wallet. Row-level security
-- and the functions decide which wallets the role can access.
CREATE FUNCTION wallet.apply_privileges(db_role text) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, wallet, pg_temp
AS $$
DECLARE
    privilege record;
    grantee CONSTANT oid := (SELECT r.oid FROM pg_roles r WHERE r.rolname = apply_privileges.db_role);
    wanted boolean := EXISTS (SELECT FROM wallet.role_grants g WHERE g.role = grantee);
BEGIN
    EXECUTE format('REVOKE ALL ON SCHEMA wallet FROM %I', db_role);
    IF wanted THEN
        EXECUTE format('GRANT USAGE ON SCHEMA wallet TO %I', db_role);
    END IF;
    -- All overloads of a function get the privilege.
    FOR privilege IN
        SELECT p.object_kind, coalesce(f.oid::regprocedure::text, format('wallet.%I', p.object)) AS object,
               bool_or(EXISTS (SELECT FROM wallet.role_grants g
                                WHERE g.role = grantee AND g.level = p.level)) AS granted
          FROM wallet.privileges() p
          LEFT JOIN pg_proc f
            ON p.object_kind = 'FUNCTION' AND f.proname = p.object
           AND f.pronamespace = (SELECT n.oid FROM pg_namespace n WHERE n.nspname = 'wallet')
         GROUP BY 1, 2
    LOOP
        EXECUTE format(
            CASE WHEN privilege.granted THEN 'GRANT %s ON %s %s TO %I'
                 ELSE 'REVOKE %s ON %s %s FROM %I' END,
            CASE privilege.object_kind WHEN 'FUNCTION' THEN 'EXECUTE' ELSE 'SELECT' END,
            -- GRANT ... ON FUNCTION does not accept a procedure; ROUTINE accepts both.
            CASE privilege.object_kind WHEN 'FUNCTION' THEN 'ROUTINE' ELSE privilege.object_kind END,
            privilege.object, db_role);
    END LOOP;
END
$$;
COMMENT ON FUNCTION wallet.apply_privileges IS 'Updates the privileges of a database role to match its grants. grant_access() and revoke_access() call it.';
