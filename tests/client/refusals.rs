//! The exact code for each bad argument. No row of any table changes, and the same backend answers
//! afterwards.

use postgres::{Client, SimpleQueryMessage};
use wallet_tests::{Database, audit, create, dec, limit, price};

/// Row counts and money that a refused call must not change.
const STATE: &str = "SELECT pg_backend_pid(),
        (SELECT count(*) FROM wallet.ledger), (SELECT sum(amount) FROM wallet.ledger),
        (SELECT count(*) FROM wallet.wallets), (SELECT count(*) FROM wallet.prices),
        (SELECT count(*) FROM wallet.limits), (SELECT count(*) FROM wallet.outbox),
        (SELECT count(*) FROM wallet.funding_requests), (SELECT count(*) FROM wallet.requests),
        (SELECT sum(spent) FROM wallet.allowances), (SELECT sum(version) FROM wallet.allowances)";

fn state(client: &mut Client) -> Vec<Option<String>> {
    let messages = client.simple_query(STATE).expect("the backend is alive");
    messages
        .iter()
        .find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|i| row.get(i).map(str::to_owned))
                    .collect(),
            ),
            _ => None,
        })
        .expect("a row")
}

struct Victim {
    _database: Database,
    client: Client,
    before: Vec<Option<String>>,
}

impl Victim {
    fn new() -> Victim {
        let database = Database::new();
        let mut client = database.connect();
        create(&mut client, "acme", 4, &[dec("50")], dec("100"));
        create(&mut client, "other", 1, &[], dec("100"));
        limit(&mut client, "acme", dec("1000"), "month", "UTC");
        price(&mut client, "m", "input_tokens", dec("0.001"));
        price(&mut client, "m", "output_tokens", dec("0.001"));
        let before = state(&mut client);
        Victim {
            _database: database,
            client,
            before,
        }
    }

    /// Makes the call, which must be refused with this code.
    fn refuses_as(&mut self, sql: &str, expected: &str) {
        let shown: String = sql.chars().take(200).collect();
        let error = match self.client.simple_query(sql) {
            Ok(_) => panic!("accepted: {shown}"),
            Err(error) => error,
        };
        match error.as_db_error() {
            Some(refusal) => assert_eq!(refusal.code().code(), expected, "{shown}: {refusal:?}"),
            None => panic!("{shown} broke the connection: {error}"),
        }
        assert_eq!(state(&mut self.client), self.before, "after {shown}");
    }
}

const NOT_AMOUNTS: [&str; 10] = [
    "'NaN'::numeric",
    "'Infinity'::numeric",
    "'-Infinity'::numeric",
    "-1",
    "-0.000000000001",
    "1e40",
    "1e16",
    "1e-13",
    "0.1234567890123",
    "1e1000",
];

#[test]
fn a_bad_amount_is_refused_with_its_code_and_changes_nothing() {
    let mut victim = Victim::new();
    for amount in NOT_AMOUNTS.into_iter().chain(["1e131071"]) {
        for call in [
            format!("SELECT wallet.charge('acme', amount => {amount}, user_id => 'alice')"),
            format!("SELECT wallet.fund('acme', {amount})"),
            format!("SELECT wallet.set_limit('acme', {amount}, 'day')"),
            format!("SELECT wallet.create_wallet('new', credit_limit => {amount})"),
            format!("SELECT wallet.create_wallet('new', low_balance => ARRAY[1, {amount}])"),
            format!("SELECT wallet.update_wallet('acme', credit_limit => {amount})"),
            format!("SELECT wallet.update_wallet('acme', low_balance => ARRAY[{amount}])"),
            format!("SELECT wallet.update_wallet('acme', funding_min => {amount})"),
            format!("SELECT * FROM wallet.check_limits('acme', amount => {amount})"),
        ] {
            victim.refuses_as(&call, "WL012");
        }
    }
    for call in [
        "SELECT wallet.fund('acme', NULL)",
        "SELECT wallet.fund('acme', 0)",
        "SELECT wallet.set_limit('acme', NULL, 'day')",
        "SELECT wallet.create_wallet('new', credit_limit => NULL)",
        "SELECT wallet.create_wallet('new', low_balance => '{NULL}')",
    ] {
        victim.refuses_as(call, "WL012");
    }
    victim.refuses_as("SELECT wallet.charge('acme', amount => NULL)", "22023");
    victim.refuses_as("SELECT wallet.charge('acme')", "22023");
    victim.refuses_as("SELECT wallet.charge('acme', '{}', 1)", "22023");
    // The amount is in range, but the sum of the wallet would not be.
    victim.refuses_as("SELECT wallet.fund('acme', 9999999999999999)", "WL012");
    audit(&mut victim.client, "acme");
}

#[test]
fn a_bad_price_is_refused_with_its_code_and_changes_nothing() {
    let mut victim = Victim::new();
    for number in [
        "'NaN'",
        "'Infinity'",
        "-1",
        "1e40",
        "1.234567890123456789",
        "1e-40",
    ] {
        victim.refuses_as(
            &format!("SELECT wallet.set_price('m', 'input_tokens', {number}::numeric)"),
            "WL012",
        );
        victim.refuses_as(
            &format!("SELECT wallet.set_price('m', 'input_tokens', 1, per => {number}::numeric)"),
            "WL012",
        );
    }
    for (call, expected) in [
        (
            "SELECT wallet.set_price('m', 'input_tokens', 1, per => 0)",
            "WL012",
        ),
        (
            "SELECT wallet.set_price('m', 'input_tokens', 1, per => NULL)",
            "WL012",
        ),
        ("SELECT wallet.set_price(NULL, 'input_tokens', 1)", "22023"),
        ("SELECT wallet.set_price('', 'input_tokens', 1)", "22023"),
        ("SELECT wallet.set_price('m', NULL, 1)", "22023"),
        ("SELECT wallet.set_price('m', '', 1)", "22023"),
        (
            "SELECT wallet.set_price('m', 'input_tokens', 1, conditions => '[1]')",
            "22023",
        ),
        (
            "SELECT wallet.set_price('m', 'input_tokens', 1, above_input_tokens => -1)",
            "22023",
        ),
        (
            "SELECT wallet.set_price('m', 'input_tokens', 1, effective_from => 'infinity')",
            "22023",
        ),
        (
            "SELECT wallet.set_price('m', 'input_tokens', 1, price_list => NULL)",
            "22023",
        ),
        (
            "SELECT wallet.set_price(repeat('m', 10000), 'input_tokens', 1)",
            "22023",
        ),
        (
            "SELECT wallet.set_price('m', repeat('m', 10000), 1)",
            "22023",
        ),
    ] {
        victim.refuses_as(call, expected);
    }
}

#[test]
fn a_bad_usage_is_refused_with_its_code_and_changes_nothing() {
    let mut victim = Victim::new();
    for (usage, expected) in [
        (r#"{"model":"m","input_tokens":-1}"#, "WL007"),
        (r#"{"model":"m","input_tokens":1.5}"#, "WL007"),
        (r#"{"model":"m","input_tokens":1e400}"#, "WL007"),
        (r#"{"model":"m","input_tokens":1e13}"#, "WL007"),
        (r#"{"model":"m","input_tokens":1e-400}"#, "WL007"),
        (r#"{"model":"m","input_tokens":"1000"}"#, "WL007"),
        (r#"{"model":"m","input_tokens":true}"#, "WL007"),
        (r#"{"model":"m","input_tokens":[1]}"#, "WL007"),
        (r#"{"model":"m","input_tokens":{"a":1}}"#, "WL007"),
        (r#"{"model":"m","unheard_of":5}"#, "WL007"),
        (r#"{"model":"m","unheard_of":"5"}"#, "WL007"),
        (r#"{"model":"m"}"#, "WL007"),
        (r#"{"model":"m","input_tokens":null}"#, "WL007"),
        (r#"{"input_tokens":5}"#, "WL007"),
        (r#"{"model":7,"input_tokens":5}"#, "WL007"),
        (r#"{"model":null,"input_tokens":5}"#, "WL007"),
        (r#"{"model":["m"],"input_tokens":5}"#, "WL007"),
        (r#"{"model":"","input_tokens":5}"#, "22023"),
        (r#"{"model":"unpriced","input_tokens":5}"#, "WL005"),
        (r#"{"model":"m","images":5}"#, "WL005"),
        ("{}", "WL007"),
        ("[]", "WL007"),
        (r#"[{"model":"m","input_tokens":5}]"#, "WL007"),
        ("5", "WL007"),
        (r#""m""#, "WL007"),
        ("null", "WL007"),
        ("true", "WL007"),
        ("{", "22P02"),
        (r#"{"model":"\u0000","input_tokens":5}"#, "22P05"),
    ] {
        victim.refuses_as(
            &format!("SELECT wallet.charge('acme', '{usage}')"),
            expected,
        );
        victim.refuses_as(
            &format!("SELECT * FROM wallet.price_usage('{usage}')"),
            expected,
        );
        victim.refuses_as(
            &format!("SELECT * FROM wallet.check_limits('acme', usage => '{usage}')"),
            expected,
        );
    }
    // Twelve digits of tokens at 0.001 exceed the balance, but not the range of numbers.
    let much = r#"{"model":"m","input_tokens":999999999999}"#;
    victim.refuses_as(&format!("SELECT wallet.charge('acme', '{much}')"), "WL001");
}

#[test]
fn large_or_deep_json_is_refused() {
    let mut victim = Victim::new();
    let long =
        r#"jsonb_build_object('model', 'm', 'input_tokens', 1, 'note', repeat('x', 10000000))"#;
    let wide = "(SELECT jsonb_object_agg('key' || i, i) || '{\"model\": \"m\", \"input_tokens\": 1}' \
                FROM generate_series(1, 300000) i)";
    let depth = 10_000;
    let deep = format!(
        "'{{\"model\":\"m\",\"input_tokens\":1,\"note\":{}{}}}'::jsonb",
        "[".repeat(depth),
        "]".repeat(depth)
    );
    let objects = format!("'{}1{}'::jsonb", "{\"a\":".repeat(depth), "}".repeat(depth));
    // PostgreSQL itself refuses what is nested too deeply for it.
    for (document, expected) in [
        (long, "22023"),
        (wide, "22023"),
        (&deep, "22023"),
        (&objects, "22023"),
    ] {
        for call in [
            format!("SELECT wallet.charge('acme', {document})"),
            format!("SELECT * FROM wallet.price_usage({document})"),
            format!("SELECT wallet.charge('acme', amount => 1, tags => {document})"),
            format!("SELECT wallet.charge('acme', amount => 1, metadata => {document})"),
            format!("SELECT wallet.fund('acme', 1, metadata => {document})"),
            format!("SELECT wallet.create_wallet('new', metadata => {document})"),
            format!("SELECT wallet.set_price('m', 'input_tokens', 1, conditions => {document})"),
        ] {
            victim.refuses_as(&call, expected);
        }
    }
    for document in ["'[]'", "'1'", "'\"a\"'", "'null'"] {
        for argument in ["tags", "metadata"] {
            victim.refuses_as(
                &format!("SELECT wallet.charge('acme', amount => 1, {argument} => {document})"),
                "22023",
            );
        }
    }
}

#[test]
fn a_bad_name_is_refused_with_its_code_and_changes_nothing() {
    let mut victim = Victim::new();
    for (wallet, expected) in [
        ("''", "22023"),
        ("NULL", "22023"),
        ("repeat('x', 10000)", "22023"),
        ("repeat('🪙', 10000)", "22023"),
        ("'🪙'", "WL003"),
        ("'acme '", "WL003"),
        ("' '", "WL003"),
        ("'ACME'", "WL003"),
        ("'*'", "WL003"),
        ("'%'", "WL003"),
        (r"E'acme\n'", "WL003"),
    ] {
        for call in [
            format!("SELECT wallet.charge({wallet}, amount => 1)"),
            format!(r#"SELECT wallet.charge({wallet}, '{{"model": "m", "input_tokens": 1}}')"#),
            format!("SELECT wallet.fund({wallet}, 1)"),
            format!("SELECT wallet.set_limit({wallet}, 1, 'day')"),
            format!("SELECT wallet.update_wallet({wallet}, credit_limit => 1)"),
            format!("SELECT wallet.set_lanes({wallet}, 3)"),
            format!("SELECT wallet.freeze_wallet({wallet})"),
            format!("SELECT * FROM wallet.check_limits({wallet})"),
        ] {
            // That sets a default limit.
            if wallet == "'*'" && call.contains("set_limit") {
                continue;
            }
            victim.refuses_as(&call, expected);
        }
        // Some names are valid for no wallet.
        if expected == "22023" || ["' '", "'acme '", "'*'", r"E'acme\n'"].contains(&wallet) {
            victim.refuses_as(&format!("SELECT wallet.create_wallet({wallet})"), "22023");
        }
    }
    for argument in [
        "user_id",
        "team",
        "model",
        "service",
        "region",
        "service_tier",
        "device",
        "idempotency_key",
        "actor",
    ] {
        for value in ["''", "repeat('x', 10000)"] {
            victim.refuses_as(
                &format!("SELECT wallet.charge('acme', amount => 1, {argument} => {value})"),
                "22023",
            );
        }
    }
    for call in [
        "SELECT wallet.fund('acme', 1, '')",
        "SELECT wallet.fund('acme', 1, NULL)",
        "SELECT wallet.fund('acme', 1, reference => '')",
        "SELECT wallet.fund('acme', 1, currency => '')",
        "SELECT wallet.create_wallet('*')",
        "SELECT wallet.create_wallet('new', currency => 'no currency')",
        "SELECT wallet.create_wallet('new', time_zone => 'Mars/Olympus')",
        "SELECT wallet.create_wallet('new', lanes => 0)",
        "SELECT wallet.create_wallet('new', lanes => 1000000)",
        "SELECT wallet.create_wallet('new', lanes => NULL)",
        "SELECT wallet.set_limit('acme', 1, 'fortnight')",
        "SELECT wallet.set_limit('acme', 1, 'day', scope => 'planet')",
        "SELECT wallet.set_limit('acme', 1, 'day', scope => 'user', subject => '')",
        "SELECT wallet.charge('acme', amount => 1, event_at => 'infinity')",
    ] {
        victim.refuses_as(call, "22023");
    }
}

/// A name is stored unchanged, whatever it looks like.
#[test]
fn an_odd_name_is_stored_as_it_is() {
    let mut victim = Victim::new();
    for wallet in [
        "🪙",
        "a'; DROP TABLE wallet.ledger; --",
        "null",
        "a b",
        "%",
        "x/y:z",
    ] {
        create(&mut victim.client, wallet, 2, &[], dec("10"));
        wallet_tests::charge(&mut victim.client, wallet, dec("3")).unwrap();
        assert_eq!(wallet_tests::balance(&mut victim.client, wallet), dec("7"));
        audit(&mut victim.client, wallet);
    }
    audit(&mut victim.client, "acme");
}

#[test]
fn a_key_of_no_member_of_the_wallet_is_refused() {
    let mut victim = Victim::new();
    for key in ["'secret'", "'acme'", "'other'"] {
        victim.refuses_as(
            &format!("SELECT wallet.charge('acme', amount => 1, key => {key})"),
            "WL009",
        );
    }
}

/// Bytes that no entry has are a bad argument like any other.
#[test]
fn bytes_of_no_entry_are_an_invalid_argument() {
    let database = Database::new();
    let mut client = database.connect();
    for bytes in [
        "",
        "\\x00",
        "\\x01ff",
        "\\x0101000580e8eda1ba0101a20d433c2d74f1b3e359031f55c496",
    ] {
        for call in ["entry_lines($1)", "entry_usage('m', $1)"] {
            let sql = format!("SELECT wallet.{}", call.replace("$1", "$1::text::bytea"));
            // The price is only looked up when prices are shown.
            if let Err(error) = client.query(&sql, &[&bytes]) {
                assert_eq!(wallet_tests::state_of(&error), "22023", "{sql} of {bytes}");
            } else {
                assert!(
                    bytes.len() > 50 && call.starts_with("entry_usage"),
                    "{sql} of {bytes}"
                );
            }
        }
    }
}
