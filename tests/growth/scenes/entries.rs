//! Scenes with many entries: as booked, rolled up, archived, refunded, on many lanes.

use crate::scene::{CONSTANT, LINEAR, Scene, call};

/// Charges of 50 users in 10 teams over 80 days, with models, tags and keys.
const CHARGES: &str = r#"CALL growth.repeat($q$
    SELECT count(*) FROM wallet.charge_batch('w', (
        SELECT jsonb_agg(jsonb_build_object('usage', '{"model":"m","input_tokens":1000}'::jsonb, 'user_id', 'u' || i % 50, 'team', 't' || i % 10,
                   'event_at', now() - '1 day'::interval * (i % 80), 'idempotency_key', 'k' || $1 * 100 + i))
          FROM generate_series(0, 99) i))
$q$, {n} / 100)"#;

const LANES: &str = "SELECT wallet.set_lanes('w', 256)";
/// As if an hour had passed since then: entries of the last hour are read again.
const ROLLED: &str = "SELECT wallet.roll_up(now() + '1 day'::interval); UPDATE wallet.rollup_states SET floor_id = growth.id(clock_timestamp(), 0)";
const REFUNDS: &str = "CALL growth.repeat($q$ SELECT wallet.refund('w', (SELECT entry_id FROM wallet.ledger WHERE wallet_id = 'w' AND kind = 'c' AND idempotency_key = 'k' || $1 + 99)) $q$, {n})";
const ARCHIVED: &str =
    "CALL growth.repeat($q$ SELECT wallet.archive('w', clock_timestamp(), 20) $q$, {n} / 20)";
const DIGEST: &[(&str, &str)] = &[("digest", "SELECT wallet.digest()::text")];
const LIMITED: &[&str] = &[
    "SELECT wallet.set_limit('w', 1000000, 'hour', scope => 'user'); SELECT wallet.set_limit('w', 1000000, 'month', scope => 'user'); SELECT wallet.set_limit('w', 1000000, 'rolling 30 days')",
    // A different user for each charge, so one window each.
    r#"CALL growth.repeat($q$
        SELECT count(*) FROM wallet.charge_batch('w', (
            SELECT jsonb_agg(jsonb_build_object('usage', '{"model":"m","input_tokens":1000}'::jsonb, 'user_id', 'u' || $1 * 100 + i)) FROM generate_series(0, 99) i))
    $q$, {n} / 100)"#,
];

/// The scenes.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "entries",
        setup: &[CHARGES],
        size: 600,
        short: 400,
        ids: DIGEST,
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call("verify", "", LINEAR, "SELECT * FROM wallet.verify('w')"),
            call(
                "verify",
                "with a digest",
                LINEAR,
                "SELECT * FROM wallet.verify('w', '{digest}')",
            ),
            call(
                "verify",
                "of another wallet",
                CONSTANT,
                "SELECT * FROM wallet.verify('peer')",
            ),
            call(
                "verify_chain",
                "",
                LINEAR,
                "SELECT * FROM wallet.verify_chain('w')",
            ),
            call(
                "statement",
                "",
                LINEAR,
                "SELECT * FROM wallet.statement('w')",
            ),
            call(
                "statement",
                "of another wallet",
                CONSTANT,
                "SELECT * FROM wallet.statement('peer')",
            ),
            call(
                "statement_html",
                "",
                LINEAR,
                "SELECT wallet.statement_html('w', current_date)",
            ),
            call(
                "balances_in",
                "",
                CONSTANT,
                "SELECT * FROM wallet.balances_in('USD')",
            ),
            call(
                "journal_summary",
                "",
                LINEAR,
                "SELECT * FROM wallet.journal_summary(ARRAY['w'])",
            ),
            call(
                "balances_at",
                "",
                LINEAR,
                "SELECT * FROM wallet.balances_at(now() - '1 hour'::interval)",
            ),
            call("journal", "", LINEAR, "SELECT * FROM wallet.journal('w')"),
            call(
                "balance_at",
                "",
                LINEAR,
                "SELECT wallet.balance_at('w', now() - '1 hour'::interval)",
            ),
            call(
                "usage_by",
                "",
                LINEAR,
                "SELECT * FROM wallet.usage_by('w', 'user')",
            ),
            call(
                "usage",
                "by tag and hour",
                LINEAR,
                "SELECT * FROM wallet.usage(ARRAY['w'], '{tag:a,hour,user}')",
            ),
            call(
                "usage",
                "of another wallet",
                CONSTANT,
                "SELECT * FROM wallet.usage(ARRAY['peer'], '{user,day}')",
            ),
            call(
                "usage_by",
                "of another wallet",
                CONSTANT,
                "SELECT * FROM wallet.usage_by('peer', 'user')",
            ),
            call(
                "chargeback(wallet)",
                "",
                LINEAR,
                "SELECT * FROM wallet.chargeback('w', current_date)",
            ),
            call("forecast", "", LINEAR, "SELECT * FROM wallet.forecast('w')"),
            call("report", "", LINEAR, "SELECT * FROM wallet.report('w')"),
            call(
                "savings",
                "",
                LINEAR,
                "SELECT * FROM wallet.savings('w', models => '{m}')",
            ),
            call("reprice", "", LINEAR, "SELECT * FROM wallet.reprice('w')"),
            call(
                "focus_csv",
                "",
                LINEAR,
                "SELECT * FROM wallet.focus_csv(NULL, NULL, 'w')",
            ),
            call(
                "focus_csv",
                "of another wallet",
                CONSTANT,
                "SELECT * FROM wallet.focus_csv(NULL, NULL, 'peer')",
            ),
            call("focus", "", LINEAR, "SELECT * FROM wallet.focus"),
            call(
                "usage_entries",
                "",
                LINEAR,
                "SELECT * FROM wallet.usage_entries WHERE wallet = 'w'",
            ),
            call(
                "usage_daily",
                "",
                LINEAR,
                "SELECT * FROM wallet.usage_daily WHERE wallet = 'w'",
            ),
            call(
                "usage_daily",
                "of another wallet",
                CONSTANT,
                "SELECT * FROM wallet.usage_daily WHERE wallet = 'peer'",
            ),
            call(
                "entries",
                "",
                LINEAR,
                "SELECT * FROM wallet.entries WHERE wallet = 'w'",
            ),
            call(
                "grants",
                "",
                CONSTANT,
                "SELECT * FROM wallet.grants WHERE wallet = 'w'",
            ),
            call(
                "grant_payments",
                "",
                LINEAR,
                "SELECT * FROM wallet.grant_payments WHERE wallet = 'w'",
            ),
            call("maintain", "", LINEAR, "SELECT * FROM wallet.maintain()"),
            call(
                "archive",
                "of 100 entries",
                CONSTANT,
                "SELECT * FROM wallet.archive('w', now(), 100)",
            ),
            call("digest", "", CONSTANT, "SELECT wallet.digest()"),
            call("periods", "", CONSTANT, "SELECT * FROM wallet.periods"),
            call(
                "close_period",
                "",
                CONSTANT,
                "SELECT wallet.close_period('w', '2020-01-01Z')",
            ),
            call(
                "reopen_period",
                "",
                CONSTANT,
                "SELECT wallet.reopen_period('w')",
            ),
            call("retention", "", CONSTANT, "SELECT * FROM wallet.retention"),
            call(
                "set_retention",
                "",
                CONSTANT,
                "SELECT wallet.set_retention('events', '30 days')",
            ),
            call(
                "erase_user",
                "",
                LINEAR,
                "SELECT * FROM wallet.erase_user('nobody', 'w')",
            ),
            call(
                "changes",
                "",
                CONSTANT,
                "SELECT * FROM wallet.changes(max => 50)",
            ),
        ],
    },
    Scene {
        name: "rolled up",
        setup: &[CHARGES, ROLLED],
        size: 800,
        // 50 users have used something on each of 80 days.
        short: 800,
        ids: &[],
        everyday: Some("w"),
        // Up to a thousand entries are read between two marks, and a new limit counts the usage of
        // its window.
        linear: &["refund", "set_limit"],
        pending: &[],
        calls: &[
            call(
                "transactions",
                "",
                CONSTANT,
                "SELECT * FROM wallet.transactions('w')",
            ),
            // The scene books many entries in each millisecond, and the more the faster it gets. A
            // page reads all entries of the milliseconds that it finds. tests/client/pages.rs has
            // entries over years.
            call(
                "transactions",
                "of a user",
                LINEAR,
                "SELECT * FROM wallet.transactions('w', user_id => 'u1', max => 10)",
            ),
            call(
                "usage_daily",
                "of a user",
                CONSTANT,
                "SELECT * FROM wallet.usage_daily WHERE wallet = 'w' AND user_id = 'u1'",
            ),
            call(
                "statement",
                "",
                LINEAR,
                "SELECT * FROM wallet.statement('w')",
            ),
            call(
                "balance_at",
                "",
                CONSTANT,
                "SELECT wallet.balance_at('w', now() - '1 hour'::interval)",
            ),
            call(
                "usage_by",
                "",
                CONSTANT,
                "SELECT * FROM wallet.usage_by('w', 'user')",
            ),
            call(
                "usage",
                "of all wallets",
                CONSTANT,
                "SELECT * FROM wallet.usage(by => '{user,day}')",
            ),
            call(
                "chargeback(wallets)",
                "",
                CONSTANT,
                "SELECT * FROM wallet.chargeback(ARRAY['w', 'peer'], current_date)",
            ),
            call(
                "chargeback(wallet)",
                "",
                CONSTANT,
                "SELECT * FROM wallet.chargeback('w', current_date)",
            ),
            call(
                "forecast",
                "",
                CONSTANT,
                "SELECT * FROM wallet.forecast('w')",
            ),
            call("report", "", CONSTANT, "SELECT * FROM wallet.report('w')"),
            call(
                "usage_daily",
                "",
                CONSTANT,
                "SELECT * FROM wallet.usage_daily WHERE wallet = 'w'",
            ),
            call(
                "usage_daily",
                "of all wallets",
                CONSTANT,
                "SELECT * FROM wallet.usage_daily",
            ),
            call("maintain", "", CONSTANT, "SELECT * FROM wallet.maintain()"),
        ],
    },
    Scene {
        name: "archived",
        setup: &[CHARGES, ARCHIVED],
        size: 500,
        short: 200,
        ids: &[(
            "old",
            "SELECT entry_id::text FROM wallet.ledger_archive WHERE wallet_id = 'w' AND kind = 'c' ORDER BY entry_id LIMIT 1",
        )],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call("verify", "", LINEAR, "SELECT * FROM wallet.verify('w')"),
            call(
                "verify_chain",
                "",
                LINEAR,
                "SELECT * FROM wallet.verify_chain('w')",
            ),
            call(
                "archive",
                "of none",
                CONSTANT,
                "SELECT * FROM wallet.archive('w', now(), 20)",
            ),
            call(
                "refund",
                "of an archived charge",
                CONSTANT,
                "SELECT * FROM wallet.refund('w', '{old}')",
            ),
            call(
                "usage_headers",
                "of an archived charge",
                CONSTANT,
                "SELECT * FROM wallet.usage_headers('w', '{old}')",
            ),
            call(
                "entries",
                "archived, by id",
                CONSTANT,
                "SELECT * FROM wallet.entries WHERE wallet = 'w' AND entry_id = '{old}'",
            ),
            call(
                "statement",
                "",
                LINEAR,
                "SELECT * FROM wallet.statement('w')",
            ),
        ],
    },
    Scene {
        name: "refunds",
        setup: &[
            CHARGES,
            "SELECT wallet.charge('w', amount => 1, idempotency_key => 'last')",
            REFUNDS,
        ],
        size: 500,
        short: 200,
        ids: &[(
            "last",
            "SELECT entry_id::text FROM wallet.entries WHERE wallet = 'w' AND idempotency_key = 'last'",
        )],
        everyday: Some("w"),
        // A new limit counts the usage of its window, and looks up the charge of each refund.
        linear: &["set_limit"],
        pending: &[],
        calls: &[
            call(
                "refund",
                "of an older charge",
                CONSTANT,
                "SELECT * FROM wallet.refund('w', '{last}')",
            ),
            call("verify", "", LINEAR, "SELECT * FROM wallet.verify('w')"),
            call(
                "grants",
                "",
                CONSTANT,
                "SELECT * FROM wallet.grants WHERE wallet = 'w'",
            ),
            call(
                "grant_payments",
                "",
                LINEAR,
                "SELECT * FROM wallet.grant_payments WHERE wallet = 'w'",
            ),
            call(
                "usage_by",
                "",
                LINEAR,
                "SELECT * FROM wallet.usage_by('w', 'user')",
            ),
            call("savings", "", LINEAR, "SELECT * FROM wallet.savings('w')"),
        ],
    },
    Scene {
        name: "256 lanes",
        setup: &[LANES, LIMITED[0], LIMITED[1]],
        size: 600,
        short: 400,
        ids: DIGEST,
        everyday: Some("w"),
        // The receiving wallet allocates its spend to lots.
        linear: &["transfer"],
        pending: &[],
        calls: &[
            call("verify", "", LINEAR, "SELECT * FROM wallet.verify('w')"),
            call(
                "verify",
                "with a digest",
                LINEAR,
                "SELECT * FROM wallet.verify('w', '{digest}')",
            ),
            call(
                "verify_chain",
                "",
                LINEAR,
                "SELECT * FROM wallet.verify_chain('w')",
            ),
            call(
                "limits_status",
                "",
                LINEAR,
                "SELECT * FROM wallet.limits_status WHERE wallet = 'w'",
            ),
        ],
    },
];
