//! Card data is stored neither in the database nor in the error nor in the server's log.

use std::fs;
use std::path::Path;

use postgres::Client;
use wallet_tests::{Database, create, dec, expect, price};

/// A test number of Visa in parts, so that this file does not contain it.
fn card() -> String {
    ["4242", "4242", "4242", "4242"].concat()
}

fn log_of(client: &mut postgres::Client) -> String {
    let data: String = client.query_one("SHOW data_directory", &[]).unwrap().get(0);
    let log = Path::new(&data).parent().unwrap().join("postgres.log");
    String::from_utf8_lossy(&fs::read(log).expect("the server's log")).into_owned()
}

#[test]
fn card_data_is_in_neither_the_error_nor_the_log() {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 1, &[], dec("100"));
    client
        .batch_execute(
            "SET log_parameter_max_length_on_error = -1;
             SET log_error_verbosity = verbose;
             CREATE FUNCTION pay(note text) RETURNS void LANGUAGE plpgsql AS $$
             BEGIN
                 EXECUTE format('SELECT wallet.fund(''acme'', 1, reference => %L)', note);
             END $$",
        )
        .unwrap();
    let card = card();
    let spaced = "4242 4242-4242 4242";
    let object = format!(r#"{{"a": [{{"note": "{card}"}}]}}"#);
    let statements = [
        format!("SELECT wallet.fund('acme', 1, reference => '{card}')"),
        format!("SELECT wallet.fund('acme', 1, reference => 'paid by {spaced}.')"),
        format!("SELECT pay('{card}')"),
        format!("SELECT wallet.charge('acme', amount => 1, metadata => '{object}')"),
        format!("SELECT wallet.charge('acme', amount => 1, tags => '{{\"n\": {card}}}')"),
        format!("SELECT wallet.freeze_wallet('acme', metadata => '{object}')"),
        format!("SELECT wallet.charge('{card}', amount => 1)"),
        format!("SELECT wallet.charge('acme', '{{\"model\": \"m\", \"note\": \"{card}\"}}')"),
    ];
    let marker = "card data";
    let seen = log_of(&mut client).matches(marker).count();
    for statement in &statements {
        let error = client.batch_execute(statement).unwrap_err();
        let error = error.as_db_error().expect("an error of the server");
        assert_eq!(error.code().code(), "WL011", "{error}");
        let all = format!("{error:?}");
        assert!(!all.contains(&card) && !all.contains(spaced), "{all}");
    }
    // As a parameter, which the log would print.
    let error = client
        .query("SELECT wallet.fund('acme', 1, reference => $1)", &[&card])
        .unwrap_err();
    assert_eq!(error.code().unwrap().code(), "WL011");
    let log = log_of(&mut client);
    assert!(
        log.matches(marker).count() > seen + statements.len(),
        "it is logged"
    );
    assert!(
        !log.contains(&card) && !log.contains(spaced),
        "the log repeats it"
    );
    let kept: i64 = client
        .query_one(
            "SELECT count(*) FROM wallet.entries WHERE wallet = 'acme'",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(kept, 1, "the funding of the beginning");
    // The transaction continues after a rollback to a savepoint, as after every other error.
    let mut transaction = client.transaction().unwrap();
    let mut savepoint = transaction.savepoint("s").unwrap();
    savepoint.batch_execute(&statements[0]).unwrap_err();
    savepoint.rollback().unwrap();
    transaction
        .batch_execute("SELECT wallet.fund('acme', 1)")
        .unwrap();
    transaction.commit().unwrap();
}

/// A unique secret, so that the log can be searched for it.
fn secret(client: &mut Client, what: &str) -> String {
    let random: String = client
        .query_one("SELECT md5(random()::text || clock_timestamp())", &[])
        .unwrap()
        .get(0);
    format!("{what}_{random}")
}

/// For every reason to refuse a call with a secret, the log has the error and not the statement.
#[test]
fn a_refused_call_with_a_secret_is_not_logged() {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 1, &[], dec("100"));
    price(&mut client, "m", "input_tokens", dec("0.001"));
    let (key, code) = (secret(&mut client, "wk"), secret(&mut client, "GIFT"));
    client
        .batch_execute(
            "SET log_parameter_max_length_on_error = -1;
             SET log_error_verbosity = verbose;
             CREATE FUNCTION spend(secret text) RETURNS void LANGUAGE plpgsql AS $$
             BEGIN
                 EXECUTE format('SELECT wallet.charge(''acme'', amount => 1, key => %L)', secret);
             END $$",
        )
        .unwrap();
    let usage = r#"{"model": "m", "input_tokens": 1}"#;
    let refused = [
        (
            format!("SELECT wallet.charge('acme', amount => 1, key => '{key}')"),
            "WL009",
        ),
        (
            format!("SELECT wallet.charge('acme', amount => -1, key => '{key}')"),
            "WL012",
        ),
        (
            format!("SELECT wallet.charge('acme', key => '{key}')"),
            "22023",
        ),
        (
            format!("SELECT wallet.charge('nobody', '{usage}', key => '{key}')"),
            "WL003",
        ),
        (
            format!("SELECT wallet.hold('acme', amount => 1, key => '{key}')"),
            "WL009",
        ),
        (
            format!("SELECT wallet.hold('acme', amount => 1, ttl => '0', key => '{key}')"),
            "22023",
        ),
        (
            format!("SELECT * FROM wallet.check_limits('acme', amount => -1, key => '{key}')"),
            "WL012",
        ),
        (
            format!("SELECT * FROM wallet.choose_model('acme', '{usage}', '{{}}', key => '{key}')"),
            "22023",
        ),
        (format!("SELECT spend('{key}')"), "WL009"),
        (
            format!(
                "SELECT wallet.charge_batch('acme', '[{{\"amount\": 1, \"key\": \"{key}\"}}]')"
            ),
            "WL009",
        ),
        (
            format!(
                "SELECT wallet.charge_batch('acme', '[{{\"amount\": -1}}, {{\"amount\": 1, \"key\": \"{key}\"}}]')"
            ),
            "WL012",
        ),
        (
            format!(
                "SELECT wallet.charge_batch('acme', '[7, {{\"amount\": 1, \"key\": \"{key}\"}}]')"
            ),
            "22023",
        ),
        (
            format!(
                "SELECT wallet.charge_batch('acme', '[{{\"key\": \"{key}\"}}]', on_error => 'never')"
            ),
            "22023",
        ),
        (
            format!("SELECT wallet.redeem_voucher('acme', '{code}')"),
            "WL014",
        ),
        (
            format!("SELECT wallet.redeem_voucher('nobody', '{code}')"),
            "WL003",
        ),
        (
            format!("SELECT wallet.create_voucher('{code}', 0)"),
            "WL012",
        ),
        (
            format!("SELECT wallet.create_voucher('{code}', 1, max_redemptions => 0)"),
            "22023",
        ),
    ];
    for (statement, expected) in &refused {
        expect(client.batch_execute(statement), expected);
    }
    // As parameters, which the log would print.
    for sql in [
        "SELECT wallet.charge('acme', amount => 1, key => $1)",
        "SELECT wallet.redeem_voucher('acme', $1)",
    ] {
        client.query(sql, &[&key]).unwrap_err();
    }
    // Statements with errors of PostgreSQL itself are hidden, too.
    let secret: String = client
        .query_one("SELECT secret FROM wallet.create_key('acme')", &[])
        .unwrap()
        .get(0);
    client.batch_execute("SET lock_timeout = '50ms'").unwrap();
    let mut other = database.connect();
    let mut transaction = other.transaction().unwrap();
    transaction
        .batch_execute("SELECT wallet.charge('acme', amount => 1)")
        .unwrap();
    let waits = format!("SELECT wallet.charge('acme', amount => 1, key => '{secret}')");
    expect(client.batch_execute(&waits), "55P03");
    let batch =
        format!("SELECT wallet.charge_batch('acme', '[{{\"amount\": 1, \"key\": \"{secret}\"}}]')");
    expect(client.batch_execute(&batch), "55P03");
    transaction.rollback().unwrap();
    // A string of several statements that sets the key is the statement of all of them.
    client.batch_execute("RESET lock_timeout").unwrap();
    let set = self::secret(&mut client, "wk");
    let several = format!(
        "BEGIN; SET LOCAL wallet.key = '{set}'; SELECT wallet.charge('acme', amount => 1000); COMMIT"
    );
    expect(client.batch_execute(&several), "WL009");
    client.batch_execute("ROLLBACK").unwrap();
    let log = log_of(&mut client);
    for kept in [&key, &code, &secret, &set] {
        let at = log.find(kept.as_str());
        let line = at.map(|at| log[..at].lines().last().unwrap_or_default().to_owned());
        assert_eq!(line, None, "the log repeats a secret");
    }
    // A call without a secret is logged as usual.
    let marker = self::secret(&mut client, "u");
    let plain = format!("SELECT wallet.charge('acme', amount => 1000, user_id => '{marker}')");
    expect(client.batch_execute(&plain), "WL001");
    let plain = format!(
        "SELECT wallet.charge_batch('acme', '[{{\"amount\": 1000, \"user_id\": \"{marker}b\"}}]')"
    );
    expect(client.batch_execute(&plain), "WL001");
    let log = log_of(&mut client);
    assert!(log.contains(&format!("'{marker}'")) && log.contains(&format!("{marker}b")));
}

/// Other sessions see the statement of a session in pg_stat_activity and in the report of a
/// deadlock. It contains no secret.
#[test]
fn no_secret_is_in_pg_stat_activity() {
    let database = Database::new();
    let (mut client, mut other) = (database.connect(), database.connect());
    create(&mut client, "acme", 1, &[], dec("10"));
    let secret: String = client
        .query_one("SELECT secret FROM wallet.create_key('acme', 'k')", &[])
        .expect("a key")
        .get(0);
    let pid: i32 = client
        .query_one("SELECT pg_backend_pid()", &[])
        .expect("a number")
        .get(0);
    for call in [
        format!("SELECT wallet.charge('acme', amount => 1, key => '{secret}')"),
        format!("SELECT wallet.hold('acme', amount => 1, key => '{secret}')"),
        format!("SELECT count(*) FROM wallet.check_limits('acme', key => '{secret}')"),
        format!(
            "SELECT count(*) FROM wallet.choose_model('acme', '{{\"requests\": 1}}', '{{m}}', key => '{secret}')"
        ),
        format!(
            "SELECT count(*) FROM wallet.charge_batch('acme', '[{{\"amount\": 1, \"key\": \"{secret}\"}}]')"
        ),
        "SELECT wallet.redeem_voucher('acme', 'SECRET-CODE-12345')".to_owned(),
    ] {
        // An unknown code is refused.
        let _ = client.batch_execute(&call);
        let seen: String = other
            .query_one("SELECT query FROM pg_stat_activity WHERE pid = $1", &[&pid])
            .expect("the session")
            .get(0);
        assert!(
            !seen.contains(&secret) && !seen.contains("SECRET-CODE"),
            "{seen}"
        );
    }
}
