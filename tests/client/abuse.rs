//! Bad input is refused with a clear error, nothing is booked, and the backend survives.

use postgres::Client;
use wallet_tests::{Database, balance, create, dec, entries, price, state_of};

fn set_up() -> (Database, Client) {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 1, &[], dec("100"));
    price(&mut client, "m", "input_tokens", dec("0.01"));
    (database, client)
}

/// The statement must fail with this code, explain the extension's own errors further, and change
/// nothing.
#[track_caller]
fn refused(client: &mut Client, sql: &str, expected: &str) {
    let shown: String = sql.chars().take(200).collect();
    let error = client.batch_execute(sql).expect_err(&shown);
    assert_eq!(state_of(&error), expected, "{shown}: {error:?}");
    let wordy = error
        .as_db_error()
        .is_some_and(|e| e.detail().is_some() && e.hint().is_some());
    // PostgreSQL explains the errors that it raises before it calls the extension.
    assert!(
        wordy || expected.starts_with("22P"),
        "{shown}: no DETAIL or no HINT in {error:?}"
    );
    assert_eq!(balance(client, "acme"), dec("100"), "{shown}");
    assert_eq!(entries(client, "acme"), 1, "{shown}");
}

#[test]
fn a_bad_amount_is_refused_with_a_clear_error() {
    let (_database, mut client) = set_up();
    for amount in [
        "'NaN'",
        "'Infinity'",
        "'-Infinity'",
        "-1",
        "1e40",
        "1e-13",
        "NULL",
        "10000000000000000",
    ] {
        for sql in [
            format!("SELECT wallet.charge('acme', amount => {amount})"),
            format!("SELECT wallet.fund('acme', {amount})"),
            format!("SELECT wallet.set_limit('acme', {amount}, 'day')"),
            format!("SELECT wallet.create_wallet('new', credit_limit => {amount})"),
            format!(
                "SELECT wallet.create_wallet('new', low_balance => ARRAY[{amount}]::numeric[])"
            ),
            format!("SELECT wallet.set_price('m', 'images', 1, per => {amount})")
                .replace("1e-13", "-3")
                .replace("10000000000000000", "0"),
        ] {
            if !sql.contains("set_price") || !sql.contains("1e40") {
                // A charge may have no amount. Then it needs a usage.
                let expected = match sql.contains("charge") && amount == "NULL" {
                    true => "22023",
                    false => "WL012",
                };
                refused(&mut client, &sql, expected);
            }
        }
    }
    refused(&mut client, "SELECT wallet.fund('acme', 0)", "WL012");
    for price in ["'NaN'", "'Infinity'", "-1", "1.2345678901234567"] {
        refused(
            &mut client,
            &format!("SELECT wallet.set_price('m', 'images', {price})"),
            "WL012",
        );
    }
}

#[test]
fn a_bad_usage_is_refused_with_a_clear_error() {
    let (_database, mut client) = set_up();
    let big = format!(
        "{{\"model\": \"m\", \"x\": \"{}\"}}",
        "y".repeat(10_000_000)
    );
    let deep = format!(
        "{{\"model\": \"m\", \"input_tokens\": 1, \"x\": {}{}}}",
        "[".repeat(1000),
        "]".repeat(1000)
    );
    let deeper = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (usage, expected) in [
        ("{\"model\": \"m\", \"input_tokens\": -1}", "WL007"),
        ("{\"model\": \"m\", \"input_tokens\": 1.5}", "WL007"),
        ("{\"model\": \"m\", \"input_tokens\": \"many\"}", "WL007"),
        ("{\"model\": \"m\", \"input_tokens\": [1]}", "WL007"),
        ("{\"model\": \"m\", \"input_tokens\": 1e400}", "WL007"),
        ("{\"model\": \"m\", \"input_tokens\": 1e15}", "WL007"),
        ("{\"model\": \"m\", \"unknown_meter\": 5}", "WL007"),
        ("{\"model\": \"m\", \"images\": 5}", "WL005"),
        (
            "{\"model\": \"nobody-knows\", \"input_tokens\": 5}",
            "WL005",
        ),
        ("{\"model\": \"m\"}", "WL007"),
        ("{\"model\": 7, \"input_tokens\": 1}", "WL007"),
        ("{\"model\": \"\", \"input_tokens\": 1}", "22023"),
        ("{\"input_tokens\": 1}", "WL007"),
        ("{}", "WL007"),
        ("[]", "WL007"),
        ("7", "WL007"),
        ("null", "WL007"),
        ("\"text\"", "WL007"),
        (&big, "22023"),
        (&deep, "22023"),
        (&deeper, "22023"),
    ] {
        refused(
            &mut client,
            &format!("SELECT wallet.charge('acme', '{usage}')"),
            expected,
        );
        refused(
            &mut client,
            &format!("SELECT wallet.price_usage('{usage}')"),
            expected,
        );
    }
    refused(&mut client, "SELECT wallet.charge('acme')", "22023");
    refused(
        &mut client,
        "SELECT wallet.charge('acme', '{}', 1)",
        "22023",
    );
    refused(&mut client, "SELECT wallet.price_usage(NULL)", "22023");
    refused(
        &mut client,
        "SELECT wallet.charge('acme', amount => 1, tags => '[1]')",
        "22023",
    );
    refused(
        &mut client,
        "SELECT wallet.charge('acme', amount => 1, event_at => 'infinity')",
        "22023",
    );
    refused(
        &mut client,
        "SELECT wallet.charge('acme', amount => 1, key => 'another wallet''s')",
        "WL009",
    );
}

#[test]
fn a_bad_name_is_refused_with_a_clear_error() {
    let (_database, mut client) = set_up();
    let long = format!("'{}'", "w".repeat(10_000));
    for name in ["''", "NULL", long.as_str()] {
        for sql in [
            format!("SELECT wallet.charge({name}, amount => 1)"),
            format!("SELECT wallet.fund({name}, 1)"),
            format!("SELECT wallet.create_wallet({name})"),
            format!("SELECT wallet.freeze_wallet({name})"),
            format!("SELECT wallet.set_lanes({name}, 2)"),
            format!("SELECT wallet.set_limit({name}, 1, 'day')"),
            format!("SELECT wallet.check_limits({name})"),
            format!("SELECT wallet.set_price({name}, 'images', 1)"),
            format!("SELECT wallet.usage_headers({name}, NULL)"),
            format!("SELECT wallet.grant_access({name}, 'reader')"),
        ] {
            refused(&mut client, &sql, "22023");
        }
    }
    for (sql, expected) in [
        (
            format!("SELECT wallet.charge('acme', amount => 1, user_id => {long})"),
            "22023",
        ),
        (
            format!("SELECT wallet.charge('acme', amount => 1, idempotency_key => {long})"),
            "22023",
        ),
        (
            "SELECT wallet.charge('nobody', amount => 1)".to_owned(),
            "WL003",
        ),
        ("SELECT wallet.set_lanes('acme', 0)".to_owned(), "22023"),
        (
            "SELECT wallet.set_lanes('acme', 100000)".to_owned(),
            "22023",
        ),
        (
            "SELECT wallet.set_limit('acme', 1, 'fortnight')".to_owned(),
            "22023",
        ),
        (
            "SELECT wallet.create_wallet('new', time_zone => 'Mars/Olympus')".to_owned(),
            "22023",
        ),
        (
            "SELECT wallet.create_wallet('new', currency => 'US DOLLAR')".to_owned(),
            "22023",
        ),
        ("SELECT wallet.create_wallet('*')".to_owned(), "22023"),
    ] {
        refused(&mut client, &sql, expected);
    }
    client
        .batch_execute("SELECT wallet.create_wallet('👛 ''; --')")
        .unwrap();
    client
        .batch_execute("SELECT wallet.fund('👛 ''; --', 1)")
        .unwrap();
}
