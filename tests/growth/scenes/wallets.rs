//! Scenes with many wallets, and with many requests of one.

use crate::scene::{CONSTANT, LINEAR, Scene, call};

const WALLETS: &str = "CALL growth.repeat($q$ SELECT wallet.create_wallet('x' || $1) $q$, {n})";
const FUNDED: &str = "CALL growth.repeat($q$ SELECT wallet.fund('x' || $1, 10) $q$, {n})";
const USED: &str = "CALL growth.repeat($q$ SELECT wallet.charge('x' || $1, amount => 1) $q$, {n})";

/// The scenes.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "wallets",
        setup: &[WALLETS, FUNDED, USED, "SELECT wallet.create_wallet('empty'); SELECT wallet.create_wallet('frozen'); SELECT wallet.freeze_wallet('frozen')"],
        size: 500,
        short: 150,
        ids: &[("digest", "SELECT wallet.digest()::text")],
        everyday: Some("w"),
        linear: &[],
        // Tables of a few pages are read completely for each wallet, which is cheaper than using
        // their indexes.
        pending: &["grants, of all", "grant_payments, of all"],
        calls: &[
            call("create_wallet", "", CONSTANT, "SELECT * FROM wallet.create_wallet('new')"),
            call("create_wallets", "of 2", CONSTANT, r#"SELECT * FROM wallet.create_wallets('[{"wallet": "new"}, {"wallet": "newer"}]')"#),
            call("create_wallets", "of as many", LINEAR, "SELECT * FROM wallet.create_wallets((SELECT jsonb_agg(jsonb_build_object('wallet', 'y' || i)) FROM generate_series(1, {n}) i))"),
            call("close_wallet", "", CONSTANT, "SELECT * FROM wallet.close_wallet('empty')"),
            call("unfreeze_wallet", "", CONSTANT, "SELECT * FROM wallet.unfreeze_wallet('frozen')"),
            call("set_chargeback_rule", "", CONSTANT, "SELECT wallet.set_chargeback_rule('w', 'even')"),
            call("set_run_out_alert", "", CONSTANT, "SELECT wallet.set_run_out_alert('w', 7)"),
            call("balances", "of all", LINEAR, "SELECT * FROM wallet.balances"),
            call("balances_in", "", LINEAR, "SELECT * FROM wallet.balances_in('USD')"),
            call("balances_in", "of the past", LINEAR, "SELECT * FROM wallet.balances_in('USD', now() - '1 second'::interval)"),
            call("lane_waits", "of all", LINEAR, "SELECT * FROM wallet.lane_waits"),
            call("limits_status", "of all", CONSTANT, "SELECT * FROM wallet.limits_status"),
            call("grants", "of all", LINEAR, "SELECT * FROM wallet.grants"),
            call("grant_payments", "of all", LINEAR, "SELECT * FROM wallet.grant_payments"),
            call("usage_daily", "of all", LINEAR, "SELECT * FROM wallet.usage_daily"),
            call("usage_daily", "", CONSTANT, "SELECT * FROM wallet.usage_daily WHERE wallet = 'w'"),
            call("usage_entries", "", CONSTANT, "SELECT * FROM wallet.usage_entries WHERE wallet = 'w'"),
            call("focus", "of one", CONSTANT, "SELECT * FROM wallet.focus WHERE \"SubAccountId\" = 'w'"),
            call("health", "", LINEAR, "SELECT * FROM wallet.health"),
            call("digest", "", LINEAR, "SELECT wallet.digest()"),
            call("verify", "with a digest", LINEAR, "SELECT * FROM wallet.verify('w', '{digest}')"),
            call("verify", "", CONSTANT, "SELECT * FROM wallet.verify('w')"),
            call("maintain", "", LINEAR, "SELECT * FROM wallet.maintain()"),
            call("request_due_topups", "", CONSTANT, "SELECT wallet.request_due_topups()"),
            call("statement", "", CONSTANT, "SELECT * FROM wallet.statement('w')"),
            call("report", "", CONSTANT, "SELECT * FROM wallet.report('w')"),
        ],
    },
    Scene {
        name: "alerted wallets",
        setup: &[WALLETS, FUNDED, USED,
                 "SELECT wallet.roll_up(now() + '1 day'::interval)",
                 "CALL growth.repeat($q$ SELECT wallet.set_run_out_alert('x' || $1, 30) $q$, {n})",
                 "CALL growth.repeat($q$ SELECT wallet.set_recurring_grant('x' || $1, 1, 'day') $q$, {n})"],
        size: 250,
        short: 100,
        ids: &[],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[call("maintain", "", LINEAR, "SELECT * FROM wallet.maintain()")],
    },
    Scene {
        name: "due wallets",
        setup: &[WALLETS, "CALL growth.repeat($q$ SELECT wallet.set_recurring_grant('x' || $1, 1, 'day') $q$, {n})",
                 "UPDATE wallet.recurring_grants SET started_at = started_at - '1 day'::interval, next_at = next_at - '1 day'::interval;
                  UPDATE wallet.wallets w SET grants_due = r.next_at FROM wallet.recurring_grants r WHERE r.wallet_id = w.wallet_id"],
        size: 250,
        short: 100,
        ids: &[],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call("maintain", "", LINEAR, "SELECT * FROM wallet.maintain()"),
            call("balances", "of all", LINEAR, "SELECT * FROM wallet.balances"),
            call("balances_in", "", LINEAR, "SELECT * FROM wallet.balances_in('USD')"),
            call("grants", "of all", LINEAR, "SELECT * FROM wallet.grants"),
        ],
    },
    Scene {
        name: "bonuses",
        setup: &[WALLETS, "CALL growth.repeat($q$ SELECT wallet.set_bonus('x' || $1, '[{\"from\":0,\"percent\":5}]') $q$, {n})",
                 "CALL growth.repeat($q$ SELECT wallet.set_bonus('*', '[{\"from\":1,\"percent\":5}]', 'c' || $1) $q$, {n})",
                 "SELECT wallet.set_bonus('*', '[{\"from\":1,\"percent\":5}]')"],
        size: 250,
        short: 100,
        ids: &[],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call("set_bonus", "", CONSTANT, "SELECT wallet.set_bonus('w', '[{\"from\":0,\"percent\":5}]')"),
            call("set_bonus", "of all", CONSTANT, "SELECT wallet.set_bonus('*', '[{\"from\":0,\"percent\":7}]')"),
            call("bonuses", "", CONSTANT, "SELECT * FROM wallet.bonuses WHERE wallet = 'w'"),
            call("bonuses", "of all", LINEAR, "SELECT * FROM wallet.bonuses"),
        ],
    },
    Scene {
        name: "bonus fundings",
        setup: &["SELECT wallet.set_bonus('w', '[{\"from\":0,\"percent\":5}]')",
                 "CALL growth.repeat($q$ SELECT wallet.fund('w', 100) $q$, {n})"],
        size: 300,
        short: 100,
        ids: &[],
        everyday: Some("w"),
        // The bonus precedes the payments in burn order, so that all lots are read.
        linear: &["fund", "settle_funding", "reverse_funding", "refund", "adjust"],
        pending: &[],
        calls: &[
            call("fundings", "", LINEAR, "SELECT * FROM wallet.fundings WHERE wallet = 'w'"),
            call("grants", "", LINEAR, "SELECT * FROM wallet.grants WHERE wallet = 'w'"),
        ],
    },
    Scene {
        name: "fundings",
        setup: &["CALL growth.repeat($q$ SELECT wallet.fund('w', 1, status => 'pending', idempotency_key => 'f' || $1) $q$, {n})"],
        size: 500,
        short: 200,
        ids: &[],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call("fundings", "", LINEAR, "SELECT * FROM wallet.fundings WHERE wallet = 'w'"),
            call("fundings", "of another wallet", CONSTANT, "SELECT * FROM wallet.fundings WHERE wallet = 'peer'"),
            call("usage_by", "", CONSTANT, "SELECT * FROM wallet.usage_by('w', 'user')"),
            call("statement", "", CONSTANT, "SELECT * FROM wallet.statement('w')"),
        ],
    },
];
