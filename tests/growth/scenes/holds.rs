//! Scenes with many holds: open, and expired but not swept.

use crate::scene::{CONSTANT, LINEAR, Scene, call};

const HOLDS: &str = "CALL growth.repeat($q$ SELECT wallet.hold('w', amount => 1, ttl => '1 day', user_id => 'u' || $1 % 50) $q$, {n})";
const LIMITS: &str = "SELECT wallet.set_limit('w', 900000, 'month'); SELECT wallet.set_limit('w', 900000, 'month', scope => 'user')";
const EXPIRED: &str = "UPDATE wallet.reservations SET expires_at = now() - '1 second'::interval WHERE wallet_id = 'w'";
const CLOSED: &str = "CALL growth.repeat($q$ SELECT wallet.settle('w', (wallet.hold('w', amount => 1)).hold_id, amount => 1) $q$, {n})";

/// The scenes.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "open holds",
        setup: &[LIMITS, HOLDS],
        size: 500,
        short: 200,
        ids: &[],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call(
                "holds",
                "",
                LINEAR,
                "SELECT * FROM wallet.holds WHERE wallet = 'w'",
            ),
            call("verify", "", LINEAR, "SELECT * FROM wallet.verify('w')"),
            call(
                "limits_status",
                "",
                CONSTANT,
                "SELECT * FROM wallet.limits_status WHERE wallet = 'w'",
            ),
            call(
                "limits_status",
                "of another wallet",
                CONSTANT,
                "SELECT * FROM wallet.limits_status WHERE wallet = 'peer'",
            ),
            call("health", "", LINEAR, "SELECT * FROM wallet.health"),
            call(
                "set_lanes",
                "16",
                CONSTANT,
                "SELECT * FROM wallet.set_lanes('w', 16)",
            ),
            call("maintain", "", CONSTANT, "SELECT * FROM wallet.maintain()"),
            call(
                "forecast",
                "",
                CONSTANT,
                "SELECT * FROM wallet.forecast('w')",
            ),
        ],
    },
    Scene {
        name: "closed holds",
        setup: &[LIMITS, CLOSED],
        size: 500,
        short: 200,
        ids: &[],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[call(
            "holds",
            "open",
            CONSTANT,
            "SELECT * FROM wallet.holds WHERE wallet = 'w' AND status = 'open'",
        )],
    },
    Scene {
        name: "expired holds",
        setup: &[LIMITS, HOLDS, EXPIRED],
        size: 500,
        short: 200,
        ids: &[],
        everyday: Some("w"),
        linear: &[
            "void",
            "refund",
            "reverse_funding",
            "adjust",
            "transfer",
            "set_lanes, 4",
            "update_wallet",
            "freeze_wallet",
            "set_limit",
        ],
        pending: &[],
        calls: &[
            call(
                "charge",
                "refused",
                CONSTANT,
                "SELECT * FROM wallet.charge('w', amount => 900000000000)",
            )
            .refused("WL001"),
            call(
                "charge",
                "refused by a limit",
                CONSTANT,
                "SELECT * FROM wallet.charge('w', amount => 900001, user_id => 'ann')",
            )
            .refused("WL002"),
            call(
                "charge",
                "of money that is swept",
                LINEAR,
                "SELECT * FROM wallet.charge('w', amount => 899990 - 1, user_id => 'ann')",
            ),
            call("maintain", "", LINEAR, "SELECT * FROM wallet.maintain()"),
            call(
                "balances",
                "",
                LINEAR,
                "SELECT * FROM wallet.balances WHERE wallet = 'w'",
            ),
            call(
                "limits_status",
                "",
                LINEAR,
                "SELECT * FROM wallet.limits_status WHERE wallet = 'w'",
            ),
            call(
                "balances",
                "of another wallet",
                CONSTANT,
                "SELECT * FROM wallet.balances WHERE wallet = 'peer'",
            ),
            call(
                "limits_status",
                "of another wallet",
                CONSTANT,
                "SELECT * FROM wallet.limits_status WHERE wallet = 'peer'",
            ),
            call(
                "report",
                "of another wallet",
                CONSTANT,
                "SELECT * FROM wallet.report('peer')",
            ),
            call(
                "check_limits",
                "of another wallet",
                CONSTANT,
                "SELECT * FROM wallet.check_limits('peer', 'ann', amount => 1)",
            ),
            call(
                "check_limits",
                "",
                LINEAR,
                "SELECT * FROM wallet.check_limits('w', 'ann', amount => 1)",
            ),
        ],
    },
];
