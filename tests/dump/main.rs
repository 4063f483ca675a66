//! A dump restores everything and books nothing.

mod erased;
mod onward;
mod rights;

use std::process::{Command, Stdio};

use wallet_tests::{
    Charge, Database, Decimal, Listener, audit, balance, charge, create, dec, fund, limit, noon,
    price, usage,
};

const TABLES: &[&str] = &[
    "wallets",
    "allowances",
    "thresholds",
    "requests",
    "ledger",
    "ledger_archive",
    "carried_forward",
    "unpriced_charges",
    "unread_paths",
    "funding_requests",
    "bonus_rules",
    "grant_lots",
    "grant_burns",
    "grant_marks",
    "kept_credit",
    "recurring_grants",
    "fx_rates",
    "vouchers",
    "outbox",
    "topup_rules",
    "topup_requests",
    "prices",
    "markups",
    "usage_mappings",
    "metric_weights",
    "retention_rules",
    "closed_periods",
    "limits",
    "reservations",
    "refunds",
    "chargeback_rules",
    "rollup_states",
    "rollup_chunks",
    "usage_rollups",
    "entry_lists",
    "run_out_alerts",
    "role_grants",
    "members",
    "api_keys",
    "origin_rules",
    "model_rules",
    "plan_versions",
    "plan_rules",
    "destinations",
    "deliveries",
    "audit_log",
];

/// Every row of every table and view, as text.
fn contents(client: &mut postgres::Client) -> Vec<String> {
    let mut all = Vec::new();
    for name in TABLES.iter().chain(&[
        "holds",
        "limits_status",
        "default_limits",
        "metrics",
        "grants",
        "grant_payments",
        "balances",
        "entries",
        "unpriced",
        "unread_usage",
        "fundings",
        "bonuses",
        "events",
        "topups",
    ]) {
        let sql = format!(
            "SELECT coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '') FROM wallet.{name} t"
        );
        let text: String = client.query_one(&sql, &[]).unwrap().get(0);
        all.push(format!("{name}\n{text}"));
    }
    all
}

fn fill(database: &Database) {
    let mut client = database.connect();
    client
        .batch_execute("CREATE TABLE answers (entry_id uuid)")
        .unwrap();
    price(&mut client, "m", "input_tokens", dec("0.000001"));
    create(&mut client, "acme", 1, &[dec("50"), dec("20")], dec("100"));
    create(&mut client, "hot", 8, &[], dec("100"));
    limit(&mut client, "acme", dec("90"), "day", &noon());
    limit(&mut client, "acme", dec("900"), "month", "UTC");
    for number in 0..20 {
        let charge = Charge {
            amount: Decimal::new(250 + number, 2),
            user: Some("ann"),
            key: Some(&number.to_string()),
        };
        charge.on(&mut client, "acme").unwrap();
        usage(
            &mut client,
            "hot",
            &serde_json::json!({"model": "m", "input_tokens": 1000 + number}),
        )
        .unwrap();
    }
    fund(&mut client, "acme", dec("30")).unwrap();
    // One top-up is open, another rule waits for its time.
    client
        .batch_execute(
            "SELECT wallet.set_destination('acme', 'webhook', 'https://example.com/hook'),
                    wallet.set_destination('acme', 'webhook', 'https://example.com/usage', '{usage_charged}', 'usage'),
                    wallet.set_destination('*', 'email', 'events@example.com', '{topup_requested}');
             SELECT wallet.create_wallet('org', lanes => 2), wallet.create_wallet('team');
             SELECT wallet.fund('org', 50), wallet.set_parent('team', 'org');
             SELECT wallet.charge('team', amount => 3), wallet.hold('team', amount => 1, ttl => '1 day');
             SELECT wallet.set_topup_rule('acme', '{\"threshold\":200,\"amount\":10}');
             SELECT wallet.fund('acme', 200), wallet.charge('acme', amount => 200);
             SELECT wallet.set_topup_rule('acme', '{\"threshold\":100,\"amount\":20}', name => 'covered');
             SELECT wallet.set_topup_rule('hot', '{\"interval\":\"weekly\",\"amount\":10}')",
        )
        .unwrap();
    client
        .batch_execute(
            "SELECT wallet.charge('hot', '{\"model\": \"m\", \"input_tokens\": 5, \"note\": \"Ω\\n\"}',
                                  tags => '{\"t\": \"[1, null] Ω\\n\"}', metadata => '{}', event_at => now() + interval '1 hour');
             SELECT wallet.set_markup('reseller', 20, 0.001, metadata => '{\"by\": \"sales\"}');
             SELECT wallet.use_price_list('hot', 'reseller');
             SELECT wallet.set_metric('points', '{\"input_tokens\": 0.5}'),
                    wallet.set_metric('weighted_tokens', '{\"input_tokens\": 1}', metadata => '{}');
             SELECT wallet.set_limit('hot', 900000, 'year', metric => 'points'),
                    wallet.set_limit('hot', 900000, 'year', metric => 'weighted_tokens', mode => 'soft');
             SELECT wallet.update_wallet('hot', unknown_price => 'unpriced');
             SELECT wallet.charge('hot', '{\"model\": \"late\", \"pages\": 1}'),
                    wallet.charge('hot', '{\"model\": \"never\", \"pages\": 1}'),
                    wallet.charge('hot', '{\"model\": \"m\", \"input_tokens\": 7, \"steps\": 3}');
             SELECT wallet.set_price('late', 'pages', 0.01);
             SELECT wallet.price_unpriced('hot');
             SELECT wallet.freeze_wallet('hot', 'under \"review\"');
             SELECT wallet.create_wallet('gifts', lanes => 2);
             SELECT wallet.fund('gifts', 9, scope => '{\"models\": [\"m\"]}', expires_at => now() + interval '1 day'),
                    wallet.set_recurring_grant('gifts', 4, scope => '{\"services\": [\"images\"]}'),
                    wallet.set_recurring_grant('gifts', 2, 'week', name => 'later', starts_on => current_date + 5);
             SELECT wallet.hold('gifts', amount => 2, model => 'm', ttl => '1 day');
             SELECT wallet.charge('gifts', amount => 3, model => 'm'),
                    wallet.create_voucher('GIFT-9QX', 1, scope => '{\"models\": [\"m\"]}');
             SELECT wallet.set_limit('*', 900000, 'month', rollover_max => 5), wallet.set_limit('*', 900000, 'week', time_zone => 'Asia/Tokyo');
             SELECT wallet.drop_limit('*', limit_id) FROM wallet.default_limits WHERE period = 'week';
             SELECT wallet.create_wallet('more'), wallet.set_bonus('*', '[{\"from\": 0, \"percent\": 1}]', 'EUR'),
                    wallet.set_bonus('more', '[{\"from\": 5, \"percent\": 12.5}]', expires_in => '1 month', metadata => '{}');
             SELECT wallet.fund('more', 50, reference => 'b1', idempotency_key => 'b1'), wallet.charge('more', amount => 2);
             SELECT wallet.reverse_funding('more', entry_id, amount => 20) FROM wallet.fundings WHERE wallet = 'more';
             SELECT wallet.set_plan('pro', '{\"limits\": [{\"max\": 900000, \"period\": \"month\"}], \"lanes\": 2}', metadata => '{}'),
                    wallet.set_plan('pro', '{}', now() + interval '1 day');
             SELECT wallet.create_wallet('planned', plan => 'pro'), wallet.assign_plan('more', 'pro', now() + interval '1 day');
             SELECT wallet.set_lanes('planned', 3);
             SELECT wallet.set_plan('pro', '{\"limits\": [{\"max\": 900001, \"period\": \"month\"}]}');
             SELECT wallet.archive('acme', statement_timestamp(), 12), wallet.archive('hot', statement_timestamp())",
        )
        .unwrap();
}

fn run(command: &mut Command) -> std::process::Output {
    let output = command
        .stderr(Stdio::piped())
        .output()
        .expect("the program starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn restored(plain: bool) {
    let (from, to) = (Database::new(), Database::empty());
    fill(&from);
    let mut listener = Listener::new(&to);
    let file = std::env::temp_dir().join(format!("{}.dump", from.name()));
    let format = if plain { "plain" } else { "custom" };
    run(Command::new("pg_dump")
        .args(["--format", format, "--file"])
        .arg(&file)
        .arg(from.name()));
    if plain {
        let quiet = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to.name(), "-f"];
        run(Command::new("psql")
            .args(quiet)
            .arg(&file)
            .stdout(Stdio::null()));
    } else {
        run(Command::new("pg_restore")
            .args(["--exit-on-error", "-d", to.name()])
            .arg(&file));
    }
    std::fs::remove_file(&file).unwrap();

    let (mut before, mut after) = (from.connect(), to.connect());
    for (old, new) in contents(&mut before).into_iter().zip(contents(&mut after)) {
        assert_eq!(old, new);
    }
    assert_eq!(
        listener.payloads(),
        Vec::<String>::new(),
        "a restore notifies nobody"
    );
    for wallet in ["acme", "hot", "more"] {
        audit(&mut after, wallet);
    }
    // The bonus still belongs to its payment, with the percentage that it had.
    let sql = "SELECT f.replayed, f.bonus, f.balance, r.bonus, r.balance, r.debt
                 FROM wallet.fund('more', 50, reference => 'b1', idempotency_key => 'b1') f
                CROSS JOIN LATERAL wallet.reverse_funding('more', f.entry_id) r";
    let row = after.query_one(sql, &[]).unwrap();
    assert!(row.get::<_, bool>(0));
    let numbers: Vec<Decimal> = (1..6).map(|column| row.get(column)).collect();
    let expected = ["6.25", "56.25", "3.75", "0", "2"].map(dec);
    assert_eq!(numbers, expected);

    // The copy continues where the original was: replays, limits, chain.
    let first = Charge {
        amount: dec("2.50"),
        user: Some("ann"),
        key: Some("0"),
    };
    assert!(first.on(&mut after, "acme").unwrap().replayed);
    let error = Charge {
        amount: dec("60"),
        user: Some("ann"),
        key: None,
    }
    .on(&mut after, "acme");
    wallet_tests::expect(error, "WL002");
    wallet_tests::expect(charge(&mut after, "hot", dec("1")), "WL004");
    after
        .batch_execute("SELECT wallet.unfreeze_wallet('hot')")
        .unwrap();
    let held = balance(&mut after, "hot");
    charge(&mut after, "hot", dec("70")).unwrap();
    assert_eq!(balance(&mut after, "hot"), held - dec("70"));
    charge(&mut after, "acme", dec("1")).unwrap();
    for wallet in ["acme", "hot"] {
        audit(&mut after, wallet);
    }
}

#[test]
fn a_plain_dump_restores_everything() {
    restored(true);
}

#[test]
fn a_custom_dump_restores_everything() {
    restored(false);
}

/// A table that a new version adds must be part of dumps and of this test.
#[test]
fn every_table_is_dumped() {
    let database = Database::new();
    let mut client = database.connect();
    let rows = client
        .query(
            "SELECT c.relname, c.oid = ANY (e.extconfig)
               FROM pg_class c JOIN pg_extension e ON e.extname = 'wallet'
              WHERE c.relnamespace = 'wallet'::regnamespace AND c.relkind = 'r'",
            &[],
        )
        .unwrap();
    assert_eq!(rows.len(), TABLES.len());
    for row in rows {
        let (name, dumped): (String, bool) = (row.get(0), row.get(1));
        assert!(dumped && TABLES.contains(&name.as_str()), "{name}");
    }
}
