//! Scenes with many grants: plain, expiring, expired without being booked, scoped, recurring.

use crate::scene::{CONSTANT, LINEAR, Scene, call};

const PLAIN: &str = "CALL growth.repeat($q$ SELECT wallet.fund('w', 1) $q$, {n})";
/// Inserts the rows as if each had been granted: granting so many would take longer than the
/// measurement.
macro_rules! ending {
    ($when:literal, $scope:literal) => {
        concat!(
            "INSERT INTO wallet.grant_lots (wallet_id, grant_id, amount, remaining, expires_at, created_at, scope)
             SELECT 'w', growth.id(now() - '1 hour'::interval, i), 10, 10, ",
            $when,
            ", now() - '1 hour'::interval, ",
            $scope,
            " FROM generate_series(1, {n}) i;
             UPDATE wallet.allowances SET allotted = allotted + 10 * {n}
              WHERE wallet_id = 'w' AND lane = CASE WHEN ",
            $scope,
            "::jsonb IS NULL THEN 0 ELSE -1 END AND allowance_id = '00000000-0000-0000-0000-000000000000';
             UPDATE wallet.wallets SET grants_due = least(grants_due, (SELECT min(expires_at) FROM wallet.grant_lots WHERE wallet_id = 'w'))
              WHERE wallet_id = 'w';"
        )
    };
}
const GRANTS: &str = "SELECT * FROM wallet.grants WHERE wallet = 'w'";
const PAYMENTS: &str = "SELECT * FROM wallet.grant_payments WHERE wallet = 'w'";

/// The scenes.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "plain grants",
        setup: &[PLAIN, "SELECT wallet.charge('w', amount => 1000000 + {n} / 2)"],
        size: 500,
        short: 200,
        ids: &[],
        everyday: Some("w"),
        // The first call allocates the spend to the lots, once.
        linear: &["refund", "reverse_funding", "adjust"],
        pending: &[],
        calls: &[
            call("grants", "", LINEAR, GRANTS),
            call("grants", "of another wallet", CONSTANT, "SELECT * FROM wallet.grants WHERE wallet = 'peer'"),
            call("grant_payments", "", LINEAR, PAYMENTS),
            call("fundings", "", LINEAR, "SELECT * FROM wallet.fundings WHERE wallet = 'w'"),
        ],
    },
    Scene {
        name: "ending grants",
        setup: &["SELECT wallet.fund('w', 1, expires_at => now() + '400 days'::interval)", ending!("now() + '1 day'::interval + i * '1 minute'::interval", "NULL"), "SELECT wallet.charge('w', amount => 5 * {n})"],
        size: 500,
        short: 200,
        ids: &[("one", "SELECT grant_id::text FROM wallet.grants WHERE wallet = 'w' AND status = 'active' ORDER BY expires_at DESC LIMIT 1")],
        everyday: Some("w"),
        // It reads the lots and allocates the spend to them.
        linear: &["adjust"],
        pending: &[],
        calls: &[
            call("grants", "", LINEAR, GRANTS),
            call("grant_payments", "", LINEAR, PAYMENTS),
            call("fund", "that ends", LINEAR, "SELECT * FROM wallet.fund('w', 1, expires_at => now() + '3 days'::interval)"),
            call("void_grant", "", LINEAR, "SELECT * FROM wallet.void_grant('w', '{one}')"),
            call("reverse_funding", "", LINEAR, "SELECT * FROM wallet.reverse_funding('w', '{funded}', 'bounced')"),
            call("refund", "", LINEAR, "SELECT * FROM wallet.refund('w', '{charged}')"),
        ],
    },
    Scene {
        name: "ended grants",
        setup: &["SELECT wallet.fund('w', 1, expires_at => now() + '400 days'::interval)", ending!("now() - i * '1 second'::interval", "NULL")],
        size: 500,
        short: 200,
        ids: &[],
        everyday: Some("peer"),
        linear: &[],
        pending: &[],
        calls: &[
            call("grants", "", LINEAR, GRANTS),
            call("grant_payments", "", LINEAR, PAYMENTS),
            call("balances", "with all that is due", LINEAR, "SELECT * FROM wallet.balances WHERE wallet = 'w'"),
            call("check_limits", "with all that is due", LINEAR, "SELECT * FROM wallet.check_limits('w', amount => 1)"),
            call("choose_model", "with all that is due", LINEAR, r#"SELECT * FROM wallet.choose_model('w', '{"input_tokens":5}', '{none,m}')"#),
            call("charge", "that books all that is due", LINEAR, "SELECT * FROM wallet.charge('w', amount => 1)"),
            call("statement", "", LINEAR, "SELECT * FROM wallet.statement('w')"),
            call("balance_at", "", LINEAR, "SELECT wallet.balance_at('w', now())"),
            call("journal", "", LINEAR, "SELECT * FROM wallet.journal('w')"),
            call("forecast", "", LINEAR, "SELECT * FROM wallet.forecast('w')"),
            call("maintain", "", LINEAR, "SELECT * FROM wallet.maintain()"),
        ],
    },
    Scene {
        name: "scoped grants",
        setup: &["SELECT wallet.fund('w', 1, scope => '{\"models\":[\"m\"]}')", ending!("NULL", "'{\"models\":[\"m\"]}'")],
        size: 500,
        short: 200,
        ids: &[("one", "SELECT grant_id::text FROM wallet.grants WHERE wallet = 'w' AND scope IS NOT NULL LIMIT 1")],
        everyday: Some("w"),
        // It reads the lots and allocates the spend to them.
        linear: &["refund"],
        pending: &[],
        calls: &[
            call("grants", "", LINEAR, GRANTS),
            call("grant_payments", "", LINEAR, PAYMENTS),
            call("void_grant", "", CONSTANT, "SELECT * FROM wallet.void_grant('w', '{one}')"),
            call("verify", "", LINEAR, "SELECT * FROM wallet.verify('w')"),
        ],
    },
    Scene {
        name: "missed turns",
        setup: &["SELECT wallet.set_recurring_grant('w', 1, 'day', expires_after => '1 day')",
                 "UPDATE wallet.recurring_grants SET started_at = started_at - {n} * '1 day'::interval, next_at = next_at - {n} * '1 day'::interval + '1 day'::interval WHERE wallet_id = 'w';
                  UPDATE wallet.wallets SET grants_due = (SELECT next_at FROM wallet.recurring_grants WHERE wallet_id = 'w') WHERE wallet_id = 'w'"],
        size: 100,
        short: 30,
        ids: &[],
        everyday: Some("peer"),
        linear: &[],
        pending: &[],
        calls: &[
            call("grants", "", LINEAR, GRANTS),
            call("balances", "with all that is due", LINEAR, "SELECT * FROM wallet.balances WHERE wallet = 'w'"),
            call("charge", "that books all that is due", LINEAR, "SELECT * FROM wallet.charge('w', amount => 1)"),
            call("set_recurring_grant", "", LINEAR, "SELECT * FROM wallet.set_recurring_grant('w', 2)"),
        ],
    },
];
