//! Scenes with many limits, and with limits of many windows.

use crate::scene::{CONSTANT, LINEAR, Scene, call};

const LIMITS: &str = "CALL growth.repeat($q$ SELECT wallet.set_limit('w', 900000, 'month', scope => 'user', subject => 'u' || $1) $q$, {n})";
const LIMIT: &[(&str, &str)] = &[(
    "limit",
    "SELECT limit_id::text FROM wallet.limits_status WHERE wallet = 'w' ORDER BY limit_id LIMIT 1",
)];

/// The scenes.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "limits",
        setup: &[LIMITS],
        size: 100,
        short: 40,
        ids: LIMIT,
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call(
                "charge",
                "of a user with one",
                CONSTANT,
                "SELECT * FROM wallet.charge('w', amount => 1, user_id => 'u7')",
            ),
            call(
                "limits_status",
                "",
                LINEAR,
                "SELECT * FROM wallet.limits_status WHERE wallet = 'w'",
            ),
            call(
                "limits_status",
                "of one limit",
                CONSTANT,
                "SELECT * FROM wallet.limits_status WHERE wallet = 'w' AND limit_id = '{limit}'",
            ),
            call(
                "raise_limit",
                "",
                CONSTANT,
                "SELECT wallet.raise_limit('w', '{limit}', 1)",
            ),
            call(
                "drop_limit",
                "",
                CONSTANT,
                "SELECT * FROM wallet.drop_limit('w', '{limit}')",
            ),
            call(
                "set_limit",
                "that is there",
                CONSTANT,
                "SELECT wallet.set_limit('w', 800000, 'month', scope => 'user', subject => 'u7')",
            ),
            call(
                "set_limits",
                "of 3",
                CONSTANT,
                r#"SELECT * FROM wallet.set_limits('w', '[{"max": 8, "period": "month", "scope": "user", "subject": "u7"}, {"max": 8, "period": "month", "scope": "user", "subject": "new"}, {"max": 900000, "period": "year"}]')"#,
            ),
        ],
    },
    // The rows that the call changes stay behind when it is rolled back, and other calls would read
    // them.
    Scene {
        name: "limits set at once",
        setup: &[LIMITS],
        size: 250,
        short: 100,
        ids: &[],
        everyday: None,
        linear: &[],
        pending: &[],
        calls: &[call(
            "set_limits",
            "of all",
            LINEAR,
            "SELECT * FROM wallet.set_limits('w', (SELECT jsonb_agg(jsonb_build_object('max', 800000, 'period', 'month', 'scope', 'user', 'subject', 'u' || i)) FROM generate_series(1, {n}) i))",
        )],
    },
    Scene {
        name: "default limits",
        setup: &[
            "CALL growth.repeat($q$ SELECT wallet.set_limit('*', 900000, 'month', scope => 'user', subject => 'u' || $1) $q$, {n})",
        ],
        size: 100,
        short: 40,
        ids: &[(
            "default",
            "SELECT limit_id::text FROM wallet.default_limits ORDER BY limit_id LIMIT 1",
        )],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call(
                "charge",
                "of a user with one",
                CONSTANT,
                "SELECT * FROM wallet.charge('w', amount => 1, user_id => 'u7')",
            ),
            call(
                "default_limits",
                "",
                LINEAR,
                "SELECT * FROM wallet.default_limits",
            ),
            call(
                "limits_status",
                "",
                LINEAR,
                "SELECT * FROM wallet.limits_status WHERE wallet = 'w'",
            ),
            call(
                "set_limit",
                "a default that is there",
                CONSTANT,
                "SELECT wallet.set_limit('*', 800000, 'month', scope => 'user', subject => 'u7')",
            ),
            call(
                "raise_limit",
                "a default",
                CONSTANT,
                "SELECT wallet.raise_limit('*', '{default}', 1)",
            ),
            call(
                "drop_limit",
                "a default",
                CONSTANT,
                "SELECT * FROM wallet.drop_limit('*', '{default}')",
            ),
        ],
    },
    Scene {
        name: "windows",
        setup: &[
            "SELECT wallet.set_limit('w', 900000, 'month', scope => 'user')",
            "CALL growth.repeat($q$ SELECT wallet.charge('w', amount => 1, user_id => 'u' || $1) $q$, {n})",
        ],
        size: 500,
        short: 200,
        ids: LIMIT,
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call(
                "limits_status",
                "",
                LINEAR,
                "SELECT * FROM wallet.limits_status WHERE wallet = 'w'",
            ),
            call(
                "limits_status",
                "of another wallet",
                CONSTANT,
                "SELECT * FROM wallet.limits_status WHERE wallet = 'peer'",
            ),
            call(
                "drop_limit",
                "",
                LINEAR,
                "SELECT * FROM wallet.drop_limit('w', '{limit}')",
            ),
            call(
                "raise_limit",
                "",
                LINEAR,
                "SELECT wallet.raise_limit('w', '{limit}', 1)",
            ),
            call("verify", "", LINEAR, "SELECT * FROM wallet.verify('w')"),
        ],
    },
    Scene {
        name: "ended windows",
        setup: &[
            "SELECT wallet.set_limit('w', 900000, 'day', scope => 'user')",
            "CALL growth.repeat($q$ SELECT wallet.charge('w', amount => 1, user_id => 'u' || $1) $q$, {n})",
            "UPDATE wallet.allowances SET window_start = window_start - '90 days'::interval, window_end = window_end - '90 days'::interval WHERE wallet_id = 'w' AND window_end IS NOT NULL",
        ],
        size: 500,
        short: 200,
        ids: &[],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[call(
            "maintain",
            "",
            LINEAR,
            "SELECT * FROM wallet.maintain()",
        )],
    },
    Scene {
        name: "metrics",
        setup: &[
            r#"CALL growth.repeat($q$ SELECT wallet.set_metric('points' || $1, '{"input_tokens": 1, "output_tokens": 4}') $q$, {n})"#,
        ],
        size: 500,
        short: 200,
        ids: &[],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call(
                "set_metric",
                "",
                CONSTANT,
                r#"SELECT wallet.set_metric('points7', '{"input_tokens": 1, "output_tokens": 5}')"#,
            ),
            call(
                "drop_metric",
                "",
                CONSTANT,
                "SELECT wallet.drop_metric('points8')",
            ),
            call("metrics", "", LINEAR, "SELECT * FROM wallet.metrics"),
            call(
                "metrics",
                "of one name",
                CONSTANT,
                "SELECT * FROM wallet.metrics WHERE name = 'points9'",
            ),
            call(
                "set_limit",
                "of a weighted metric",
                CONSTANT,
                "SELECT wallet.set_limit('w', 800000, 'month', metric => 'points9')",
            ),
        ],
    },
];
