//! Calls that cost the same whatever the database contains. Every scene measures them on one of its
//! wallets.

use crate::scene::{CONSTANT, Call, call};

/// Ids of what `everyday.sql` has created.
pub const IDS: &[(&str, &str)] = &[
    (
        "held",
        "SELECT hold_id::text FROM wallet.holds WHERE wallet = '{w}' AND status = 'open' AND amount = 1 ORDER BY created_at DESC LIMIT 1",
    ),
    (
        "waiting",
        "SELECT hold_id::text FROM wallet.holds WHERE wallet = 'asks' AND status = 'waiting'",
    ),
    (
        "charged",
        "SELECT entry_id::text FROM wallet.entries WHERE wallet = '{w}' AND idempotency_key = 'everyday' AND kind = 'charge'",
    ),
    (
        "coming",
        "SELECT entry_id::text FROM wallet.fundings WHERE wallet = '{w}' AND status = 'pending' AND reference = 'everyday'",
    ),
    (
        "funded",
        "SELECT entry_id::text FROM wallet.fundings WHERE wallet = '{w}' AND reference = 'plain'",
    ),
];

const USE: &str = r#"SELECT * FROM wallet.charge('{w}', '{"model":"m","input_tokens":500}', user_id => 'ann', idempotency_key => 'new')"#;

/// The calls. `{w}` is the wallet of the scene.
pub const CALLS: &[Call] = &[
    call("charge", "", CONSTANT, USE),
    call(
        "charge",
        "replayed",
        CONSTANT,
        "SELECT * FROM wallet.charge('{w}', amount => 1, idempotency_key => 'everyday')",
    ),
    call(
        "charge",
        "refused",
        CONSTANT,
        "SELECT * FROM wallet.charge('{w}', amount => 900000000000)",
    )
    .refused("WL001"),
    call(
        "charge_batch(wallet)",
        "of 10",
        CONSTANT,
        r#"SELECT * FROM wallet.charge_batch('{w}', (SELECT jsonb_agg('{"amount":1}'::jsonb) FROM generate_series(1, 10)))"#,
    ),
    call(
        "charge_batch(charges)",
        "of 10",
        CONSTANT,
        r#"SELECT * FROM wallet.charge_batch((SELECT jsonb_agg('{"wallet":"{w}","amount":1}'::jsonb) FROM generate_series(1, 10)))"#,
    ),
    call(
        "check_limits",
        "",
        CONSTANT,
        "SELECT * FROM wallet.check_limits('{w}', 'ann', amount => 1)",
    ),
    call(
        "choose_model",
        "",
        CONSTANT,
        r#"SELECT * FROM wallet.choose_model('{w}', '{"input_tokens":5}', '{none,m}', 'ann')"#,
    ),
    call(
        "hold",
        "",
        CONSTANT,
        "SELECT * FROM wallet.hold('{w}', amount => 1, user_id => 'ann')",
    ),
    call(
        "settle",
        "",
        CONSTANT,
        "SELECT * FROM wallet.settle('{w}', '{held}', amount => 0.5)",
    ),
    call(
        "void",
        "",
        CONSTANT,
        "SELECT * FROM wallet.void('{w}', '{held}')",
    ),
    call(
        "extend_hold",
        "",
        CONSTANT,
        "SELECT * FROM wallet.extend_hold('{w}', '{held}', '2 days')",
    ),
    call(
        "approve_hold",
        "",
        CONSTANT,
        "SELECT * FROM wallet.approve_hold('asks', '{waiting}')",
    ),
    call(
        "deny_hold",
        "",
        CONSTANT,
        "SELECT * FROM wallet.deny_hold('asks', '{waiting}')",
    ),
    call(
        "refund",
        "",
        CONSTANT,
        "SELECT * FROM wallet.refund('{w}', '{charged}')",
    ),
    call(
        "usage_headers",
        "",
        CONSTANT,
        "SELECT * FROM wallet.usage_headers('{w}', '{charged}')",
    ),
    call("fund", "", CONSTANT, "SELECT * FROM wallet.fund('{w}', 1)"),
    call(
        "fund",
        "pending",
        CONSTANT,
        "SELECT * FROM wallet.fund('{w}', 1, status => 'pending')",
    ),
    call(
        "settle_funding",
        "",
        CONSTANT,
        "SELECT * FROM wallet.settle_funding('{w}', '{coming}')",
    ),
    call(
        "fail_funding",
        "",
        CONSTANT,
        "SELECT * FROM wallet.fail_funding('{w}', '{coming}', 'bounced')",
    ),
    call(
        "reverse_funding",
        "",
        CONSTANT,
        "SELECT * FROM wallet.reverse_funding('{w}', '{funded}', 'bounced')",
    ),
    call(
        "adjust",
        "",
        CONSTANT,
        "SELECT * FROM wallet.adjust('{w}', 1)",
    ),
    call(
        "transfer",
        "",
        CONSTANT,
        "SELECT * FROM wallet.transfer('{w}', 'third', 1)",
    ),
    call(
        "set_limit",
        "",
        CONSTANT,
        "SELECT wallet.set_limit('{w}', 500000, 'month', scope => 'user', subject => 'new')",
    ),
    call(
        "set_member",
        "",
        CONSTANT,
        "SELECT * FROM wallet.set_member('{w}', 'new', team => 'red')",
    ),
    call(
        "create_key",
        "",
        CONSTANT,
        "SELECT * FROM wallet.create_key('{w}', 'ann')",
    ),
    call(
        "set_lanes",
        "4",
        CONSTANT,
        "SELECT * FROM wallet.set_lanes('{w}', 4)",
    ),
    call(
        "update_wallet",
        "",
        CONSTANT,
        "SELECT * FROM wallet.update_wallet('{w}', credit_limit => 5)",
    ),
    call(
        "freeze_wallet",
        "",
        CONSTANT,
        "SELECT * FROM wallet.freeze_wallet('{w}')",
    ),
    call(
        "balances",
        "",
        CONSTANT,
        "SELECT * FROM wallet.balances WHERE wallet = '{w}'",
    ),
    call(
        "lane_waits",
        "",
        CONSTANT,
        "SELECT * FROM wallet.lane_waits WHERE wallet = '{w}'",
    ),
    call(
        "entries",
        "by id",
        CONSTANT,
        "SELECT * FROM wallet.entries WHERE wallet = '{w}' AND entry_id = '{charged}'",
    ),
    call(
        "holds",
        "by id",
        CONSTANT,
        "SELECT * FROM wallet.holds WHERE wallet = '{w}' AND hold_id = '{held}'",
    ),
    call(
        "fundings",
        "by id",
        CONSTANT,
        "SELECT * FROM wallet.fundings WHERE wallet = '{w}' AND entry_id = '{coming}'",
    ),
    call(
        "price_usage",
        "",
        CONSTANT,
        r#"SELECT * FROM wallet.price_usage('{"model":"m","input_tokens":5}', '{w}')"#,
    ),
];
