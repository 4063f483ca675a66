//! Scenes of members, keys, the audit trail, roles, and row-level security.

use crate::scene::{CONSTANT, LINEAR, Scene, call};

/// The scenes.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "members",
        setup: &[
            "CALL growth.repeat($q$ SELECT wallet.set_member('w', 'm' || $1, team => 't' || $1 % 10, allowed_models => '{m}') $q$, {n})",
            "SELECT wallet.set_member('w', 'ann')",
            "CALL growth.repeat($q$ SELECT wallet.set_model_rules('w', 'team', 't' || $1, blocked => '{x}') $q$, {n})",
        ],
        size: 250,
        short: 100,
        ids: &[],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call(
                "charge",
                "of a member",
                CONSTANT,
                "SELECT * FROM wallet.charge('w', amount => 1, user_id => 'm7', model => 'm')",
            ),
            call(
                "set_members",
                "of 3",
                CONSTANT,
                r#"SELECT * FROM wallet.set_members('w', '[{"user_id": "m7", "team": "t"}, {"user_id": "m8"}, {"user_id": "new"}]')"#,
            ),
            call(
                "set_members",
                "of all",
                LINEAR,
                "SELECT * FROM wallet.set_members('w', (SELECT jsonb_agg(jsonb_build_object('user_id', 'm' || i, 'team', 't')) FROM generate_series(1, {n}) i))",
            ),
            call(
                "member_list",
                "",
                LINEAR,
                "SELECT * FROM wallet.member_list WHERE wallet = 'w'",
            ),
            call(
                "member_list",
                "by user",
                CONSTANT,
                "SELECT * FROM wallet.member_list WHERE wallet = 'w' AND user_id = 'm7'",
            ),
            call(
                "model_rule_list",
                "",
                LINEAR,
                "SELECT * FROM wallet.model_rule_list WHERE wallet = 'w'",
            ),
            call(
                "topup_rule_list",
                "",
                CONSTANT,
                "SELECT * FROM wallet.topup_rule_list WHERE wallet = 'w'",
            ),
            call(
                "recurring_grant_list",
                "",
                CONSTANT,
                "SELECT * FROM wallet.recurring_grant_list WHERE wallet = 'w'",
            ),
            call(
                "drop_member",
                "",
                CONSTANT,
                "SELECT * FROM wallet.drop_member('w', 'm7')",
            ),
            call(
                "set_model_rules",
                "",
                CONSTANT,
                "SELECT wallet.set_model_rules('w', 'team', 't1', allowed => '{m}')",
            ),
            call(
                "set_ip_rules",
                "",
                CONSTANT,
                "SELECT wallet.set_ip_rules('w', '{10.0.0.0/8}')",
            ),
            call(
                "set_devices",
                "",
                CONSTANT,
                "SELECT wallet.set_devices('w', '{laptop}')",
            ),
        ],
    },
    Scene {
        name: "keys",
        setup: &[
            "CALL growth.repeat($q$ SELECT wallet.create_key('w', 'ann') $q$, {n})",
            "CREATE TABLE growth.secret AS SELECT * FROM wallet.create_key('w', 'bob')",
        ],
        size: 250,
        short: 100,
        ids: &[
            ("key", "SELECT key_id::text FROM growth.secret"),
            ("secret", "SELECT secret FROM growth.secret"),
        ],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call(
                "charge",
                "with a key",
                CONSTANT,
                "SELECT * FROM wallet.charge('w', amount => 1, key => '{secret}')",
            ),
            call(
                "create_keys",
                "of 3",
                CONSTANT,
                r#"SELECT * FROM wallet.create_keys('w', '[{}, {"user_id": "ann"}, {"user_id": "bob"}]')"#,
            ),
            call(
                "create_keys",
                "of as many",
                LINEAR,
                "SELECT * FROM wallet.create_keys('w', (SELECT jsonb_agg('{\"user_id\": \"ann\"}'::jsonb) FROM generate_series(1, {n})))",
            ),
            call(
                "rotate_key",
                "",
                CONSTANT,
                "SELECT * FROM wallet.rotate_key('w', '{key}')",
            ),
            call(
                "revoke_key",
                "",
                CONSTANT,
                "SELECT * FROM wallet.revoke_key('w', '{key}')",
            ),
            call(
                "key_owner",
                "",
                CONSTANT,
                "SELECT * FROM wallet.key_owner('{secret}')",
            ),
            call(
                "keys",
                "by id",
                CONSTANT,
                "SELECT * FROM wallet.keys WHERE wallet = 'w' AND key_id = '{key}'",
            ),
            call(
                "keys",
                "",
                LINEAR,
                "SELECT * FROM wallet.keys WHERE wallet = 'w'",
            ),
        ],
    },
    Scene {
        name: "audit",
        setup: &[
            "INSERT INTO wallet.audit_log (wallet_id, audit_id, at, action, subject, db_role) SELECT 'w', growth.id(now(), i), now() - i * '1 second'::interval, 'set_limit', 's' || i, 'postgres' FROM generate_series(1, {n}) i",
        ],
        size: 2500,
        short: 500,
        ids: &[],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call(
                "audit",
                "of an hour",
                CONSTANT,
                "SELECT * FROM wallet.audit WHERE wallet = 'w' AND at > now() - '5 minutes'::interval",
            ),
            call(
                "audit",
                "",
                LINEAR,
                "SELECT * FROM wallet.audit WHERE wallet = 'w'",
            ),
        ],
    },
    Scene {
        name: "roles",
        setup: &[
            "DO $$ BEGIN FOR i IN 1 .. {n} LOOP EXECUTE format('CREATE ROLE {role}_%s', i); END LOOP; END $$",
            "CALL growth.repeat($q$ SELECT wallet.grant_access('{role}_' || $1, 'reader', 'w') $q$, {n})",
            "SELECT wallet.grant_access('{role}', 'admin', 'w')",
        ],
        size: 100,
        short: 30,
        ids: &[],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call(
                "grant_access",
                "",
                CONSTANT,
                "SELECT wallet.grant_access('{role}_1', 'charger', 'w')",
            ),
            // PostgreSQL goes through all members of a role to revoke a membership.
            call(
                "revoke_access",
                "",
                LINEAR,
                "SELECT wallet.revoke_access('{role}_1', 'reader', 'w')",
            ),
            call(
                "access_grants",
                "",
                LINEAR,
                "SELECT * FROM wallet.access_grants",
            ),
            call(
                "charge",
                "as a role",
                CONSTANT,
                "SELECT * FROM wallet.charge('w', amount => 1)",
            )
            .as_role(),
            call(
                "balances",
                "as a role",
                CONSTANT,
                "SELECT * FROM wallet.balances WHERE wallet = 'w'",
            )
            .as_role(),
        ],
    },
    Scene {
        name: "granted wallets",
        setup: &[
            "CALL growth.repeat($q$ SELECT wallet.create_wallet('x' || $1) $q$, {n})",
            "CALL growth.repeat($q$ SELECT wallet.fund('x' || $1, 10); $q$, {n})",
            "SELECT wallet.grant_access('{role}', 'admin', 'w')",
            "INSERT INTO wallet.role_grants (wallet_id, role, level, created_at) SELECT 'x' || i, '{role}'::regrole, 'admin', now() FROM generate_series(1, {n}) i",
        ],
        size: 250,
        short: 100,
        ids: &[],
        everyday: Some("w"),
        linear: &[],
        // Each scan of a table checks all wallets that were granted one by one.
        pending: &["grants, of all, as a role"],
        calls: &[
            call(
                "charge",
                "as a role",
                CONSTANT,
                "SELECT * FROM wallet.charge('w', amount => 1)",
            )
            .as_role(),
            call(
                "check_limits",
                "as a role",
                CONSTANT,
                "SELECT * FROM wallet.check_limits('w', amount => 1)",
            )
            .as_role(),
            call(
                "balances",
                "as a role",
                LINEAR,
                "SELECT * FROM wallet.balances WHERE wallet = 'w'",
            )
            .as_role(),
            call(
                "balances",
                "of all, as a role",
                LINEAR,
                "SELECT * FROM wallet.balances",
            )
            .as_role(),
            call(
                "entries",
                "as a role",
                LINEAR,
                "SELECT * FROM wallet.entries WHERE wallet = 'w'",
            )
            .as_role(),
            call(
                "entries",
                "of all, as a role",
                LINEAR,
                "SELECT * FROM wallet.entries",
            )
            .as_role(),
            call(
                "limits_status",
                "of all, as a role",
                LINEAR,
                "SELECT * FROM wallet.limits_status",
            )
            .as_role(),
            call(
                "grants",
                "of all, as a role",
                LINEAR,
                "SELECT * FROM wallet.grants",
            )
            .as_role(),
            call(
                "statement",
                "as a role",
                LINEAR,
                "SELECT * FROM wallet.statement('w')",
            )
            .as_role(),
            call(
                "usage_by",
                "as a role",
                LINEAR,
                "SELECT * FROM wallet.usage_by('w', 'user')",
            )
            .as_role(),
            call(
                "verify",
                "as a role",
                LINEAR,
                "SELECT * FROM wallet.verify('w')",
            )
            .as_role(),
            call(
                "claim_events",
                "as a role",
                LINEAR,
                "SELECT * FROM wallet.claim_events(1)",
            )
            .as_role(),
        ],
    },
];
