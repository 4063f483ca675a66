//! Scenes with many prices, a long history of one, mappings, rates, vouchers, and unpriced charges.

use crate::scene::{CONSTANT, LINEAR, Scene, call};

/// The scenes.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "prices",
        setup: &[
            "CALL growth.repeat($q$ SELECT wallet.set_price('x' || $1, 'input_tokens', 1) $q$, {n})",
        ],
        size: 500,
        short: 200,
        ids: &[],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call(
                "set_price",
                "",
                CONSTANT,
                "SELECT wallet.set_price('new', 'input_tokens', 1)",
            ),
            call(
                "set_markup",
                "",
                CONSTANT,
                "SELECT wallet.set_markup('list', 10)",
            ),
            call(
                "compare_models",
                "",
                CONSTANT,
                r#"SELECT * FROM wallet.compare_models('{"input_tokens":5}', '{m,x1,x2,none}')"#,
            ),
            call(
                "import_prices",
                "of one model",
                LINEAR,
                r#"SELECT * FROM wallet.import_prices('litellm', '{"fx":{"input_cost_per_token":1e-6,"mode":"chat"}}', 'imported')"#,
            ),
            call(
                "import_prices",
                "of all models",
                LINEAR,
                r#"SELECT count(*) FROM wallet.import_prices('litellm', (SELECT jsonb_object_agg('y' || i, '{"input_cost_per_token":1e-6,"mode":"chat"}'::jsonb) FROM generate_series(1, {n}) i), 'imported')"#,
            ),
            call(
                "normalize_usage",
                "",
                CONSTANT,
                r#"SELECT * FROM wallet.normalize_usage('{"model":"m","input_tokens":5}')"#,
            ),
            call(
                "explain_usage",
                "",
                CONSTANT,
                r#"SELECT * FROM wallet.explain_usage('{"model":"m","input_tokens":5}')"#,
            ),
            call(
                "usage_attributes",
                "",
                CONSTANT,
                "SELECT wallet.usage_attributes('[]', 'm')",
            ),
            call(
                "error_codes",
                "",
                CONSTANT,
                "SELECT * FROM wallet.error_codes()",
            ),
        ],
    },
    Scene {
        name: "history of prices",
        setup: &[
            "CALL growth.repeat($q$ SELECT wallet.set_price('m', 'input_tokens', 2.5, per => 1000000, effective_from => now() - $1 * '1 hour'::interval) $q$, {n})",
            "SELECT wallet.set_price('l', 'input_tokens', 1, price_list => 'list')",
        ],
        size: 500,
        short: 200,
        ids: &[],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call(
                "price_usage",
                "of a moment",
                CONSTANT,
                r#"SELECT * FROM wallet.price_usage('{"model":"m","input_tokens":5}', at => now() - '1 day'::interval)"#,
            ),
            call(
                "set_price",
                "of another model",
                CONSTANT,
                "SELECT wallet.set_price('new', 'input_tokens', 1)",
            ),
            call(
                "use_price_list",
                "",
                CONSTANT,
                "SELECT * FROM wallet.use_price_list('w', 'list')",
            ),
            call("reprice", "", CONSTANT, "SELECT * FROM wallet.reprice('w')"),
        ],
    },
    Scene {
        name: "mappings",
        setup: &[
            r#"CALL growth.repeat($q$ SELECT wallet.set_usage_mapping('p' || $1, jsonb_build_object('providers', ARRAY['p' || $1], 'shapes', '[{"at":"bill","all":["tokens_in"]}]'::jsonb, 'model', '{"path":"engine"}'::jsonb, 'meters', '[{"path":"tokens_in","meter":"input_tokens"}]'::jsonb)) $q$, {n})"#,
        ],
        size: 50,
        short: 20,
        ids: &[],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call(
                "set_usage_mapping",
                "",
                LINEAR,
                "SELECT wallet.set_usage_mapping('p1', NULL)",
            ),
            call(
                "normalize_usage",
                "of a provider",
                CONSTANT,
                r#"SELECT * FROM wallet.normalize_usage('{"engine":"e","bill":{"tokens_in":7}}', 'p7')"#,
            ),
            call(
                "explain_usage",
                "of a provider",
                CONSTANT,
                r#"SELECT * FROM wallet.explain_usage('{"engine":"e","bill":{"tokens_in":7}}', 'p7')"#,
            ),
        ],
    },
    Scene {
        name: "rates",
        setup: &[
            "CALL growth.repeat($q$ SELECT wallet.set_fx_rate('EUR', 'USD', 1.1, now() - $1 * '1 hour'::interval) $q$, {n})",
        ],
        size: 500,
        short: 200,
        ids: &[],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call(
                "set_fx_rate",
                "",
                CONSTANT,
                "SELECT wallet.set_fx_rate('EUR', 'USD', 1.2)",
            ),
            call(
                "set_fx_rates",
                "",
                CONSTANT,
                r#"SELECT * FROM wallet.set_fx_rates('EUR', '{"USD": 1.2, "CHF": 0.9}')"#,
            ),
            call(
                "convert_amount",
                "",
                CONSTANT,
                "SELECT * FROM wallet.convert_amount(1, 'EUR', 'USD')",
            ),
            call(
                "convert_amount",
                "by an inverse",
                CONSTANT,
                "SELECT * FROM wallet.convert_amount(1, 'USD', 'EUR')",
            ),
            call(
                "balances_in",
                "",
                CONSTANT,
                "SELECT * FROM wallet.balances_in('EUR')",
            ),
            call(
                "usage_by",
                "in another currency",
                CONSTANT,
                "SELECT * FROM wallet.usage_by('w', 'user', currency => 'EUR')",
            ),
            call(
                "statement",
                "in another currency",
                CONSTANT,
                "SELECT * FROM wallet.statement('w', currency => 'EUR')",
            ),
            call(
                "report",
                "in another currency",
                CONSTANT,
                "SELECT * FROM wallet.report('w', currency => 'EUR')",
            ),
            call(
                "journal",
                "with prices",
                CONSTANT,
                "SELECT wallet.journal('w')",
            ),
            call(
                "fund",
                "in another currency",
                CONSTANT,
                "SELECT * FROM wallet.fund('w', 10, currency => 'EUR')",
            ),
        ],
    },
    Scene {
        name: "vouchers",
        setup: &[
            "CALL growth.repeat($q$ SELECT wallet.create_voucher('code-' || $1, 1) $q$, {n})",
            "SELECT wallet.create_voucher('many', 1, max_redemptions => 1000000)",
            "CALL growth.repeat($q$ SELECT wallet.create_wallet('x' || $1) $q$, {n})",
            "CALL growth.repeat($q$ SELECT wallet.redeem_voucher('x' || $1, 'many') $q$, {n})",
        ],
        size: 250,
        short: 100,
        ids: &[],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call(
                "create_voucher",
                "",
                CONSTANT,
                "SELECT wallet.create_voucher('new', 1)",
            ),
            call(
                "redeem_voucher",
                "",
                CONSTANT,
                "SELECT * FROM wallet.redeem_voucher('w', 'code-1')",
            ),
            call(
                "redeem_voucher",
                "that many have redeemed",
                CONSTANT,
                "SELECT * FROM wallet.redeem_voucher('w', 'many')",
            ),
        ],
    },
    Scene {
        name: "unread",
        setup: &[
            r#"CALL growth.repeat($q$ SELECT wallet.charge('w', '{"model":"m","input_tokens":1,"steps":1}') $q$, {n})"#,
        ],
        size: 500,
        short: 200,
        ids: &[],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call(
                "unread_usage",
                "",
                LINEAR,
                "SELECT * FROM wallet.unread_usage WHERE wallet = 'w'",
            ),
            call(
                "unread_usage",
                "of another wallet",
                CONSTANT,
                "SELECT * FROM wallet.unread_usage WHERE wallet = 'peer'",
            ),
        ],
    },
    Scene {
        name: "unpriced",
        setup: &[
            "SELECT wallet.update_wallet('w', unknown_price => 'unpriced')",
            r#"CALL growth.repeat($q$ SELECT wallet.charge('w', '{"model":"late","pages":1}') $q$, {n})"#,
            "SELECT wallet.set_price('late', 'pages', 0.01, effective_from => '2020-01-01Z')",
        ],
        size: 500,
        short: 200,
        ids: &[],
        everyday: Some("w"),
        linear: &[],
        // With statistics of three entries, the index of the keys seems as good as that of the ids.
        pending: &["unpriced"],
        calls: &[
            call(
                "unpriced",
                "",
                LINEAR,
                "SELECT * FROM wallet.unpriced WHERE wallet = 'w'",
            ),
            call(
                "unpriced",
                "of another wallet",
                CONSTANT,
                "SELECT * FROM wallet.unpriced WHERE wallet = 'peer'",
            ),
            call(
                "price_unpriced",
                "",
                LINEAR,
                "SELECT * FROM wallet.price_unpriced('w')",
            ),
        ],
    },
];
