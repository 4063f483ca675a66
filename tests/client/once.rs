//! Exactly once.

use serde_json::json;
use wallet_tests::{
    Charge, Database, audit, balance, charge, create, crowd, dec, entries, expect, price, together,
};

#[test]
fn one_of_sixteen_with_the_same_key_books() {
    let _turn = crowd();
    for lanes in [1, 16] {
        let database = Database::new();
        let mut client = database.connect();
        create(&mut client, "acme", lanes, &[], dec("100"));
        let results = together(&database, 16, |_, client| {
            let charge = Charge {
                amount: dec("3"),
                user: Some("ann"),
                key: Some("k"),
            };
            charge.on(client, "acme").unwrap()
        });
        assert_eq!(
            results.iter().filter(|charged| !charged.replayed).count(),
            1
        );
        assert!(
            results
                .iter()
                .all(|charged| charged.entry_id == results[0].entry_id)
        );
        assert!(
            results
                .iter()
                .all(|charged| charged.balance == results[0].balance)
        );
        assert_eq!(balance(&mut client, "acme"), dec("97"));
        assert_eq!(entries(&mut client, "acme"), 2);
        audit(&mut client, "acme");
    }
}

#[test]
fn a_replay_answers_when_nothing_else_would() {
    for lanes in [1, 4] {
        let database = Database::new();
        let mut client = database.connect();
        create(&mut client, "acme", lanes, &[], dec("10"));
        let first = Charge {
            amount: dec("4"),
            user: Some("ann"),
            key: Some("k"),
        };
        let booked = first.on(&mut client, "acme").unwrap();
        charge(&mut client, "acme", dec("6")).unwrap();
        let replayed = first.on(&mut client, "acme").unwrap();
        assert!(replayed.replayed && replayed.balance == booked.balance);
        client
            .batch_execute("SELECT wallet.fund('acme', 5); SELECT wallet.freeze_wallet('acme')")
            .unwrap();
        assert!(first.on(&mut client, "acme").unwrap().replayed);
        let other = Charge {
            amount: dec("4.01"),
            ..first
        };
        expect(other.on(&mut client, "acme"), "WL006");
        client
            .batch_execute("SELECT wallet.unfreeze_wallet('acme')")
            .unwrap();
        client
            .batch_execute("SELECT wallet.set_limit('acme', 0, 'day', 'user')")
            .unwrap();
        assert!(
            first.on(&mut client, "acme").unwrap().replayed,
            "also where a limit refuses"
        );
        assert_eq!(balance(&mut client, "acme"), dec("5"));
        audit(&mut client, "acme");
    }
}

#[test]
fn the_first_answer_comes_again_whole() {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 1, &[], dec("100"));
    price(&mut client, "m", "input_tokens", dec("0.25"));
    let sql = "SELECT cost, balance, model, total_tokens, lines::text, entry_id::text
                 FROM wallet.charge('acme', $1, idempotency_key => 'k')";
    let first = client
        .query_one(sql, &[&json!({"model": "m", "input_tokens": 3})])
        .unwrap();
    // The order of keys and trailing zeros do not count.
    let text = "SELECT cost, balance, model, total_tokens, lines::text, entry_id::text FROM wallet.charge('acme',
                '{\"input_tokens\": 3.00, \"model\": \"m\"}', idempotency_key => 'k')";
    let again = client.query_one(text, &[]).unwrap();
    for column in 0..2 {
        assert_eq!(
            first.get::<_, wallet_tests::Decimal>(column),
            again.get(column)
        );
    }
    for column in [2, 4, 5] {
        assert_eq!(
            first.get::<_, String>(column),
            again.get::<_, String>(column)
        );
    }
    assert_eq!(first.get::<_, i64>(3), again.get::<_, i64>(3));
}

#[test]
fn each_field_that_changes_money_or_attribution_counts() {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 1, &[], dec("100"));
    create(&mut client, "other", 1, &[], dec("100"));
    let call = |extra: &str| {
        format!(
            "SELECT wallet.charge('acme', amount => 1.5, user_id => 'ann', tags => '{{\"a\": 1}}',
                                  idempotency_key => 'k' {extra})"
        )
    };
    client.batch_execute(&call("")).unwrap();
    client
        .batch_execute(&call(", actor => 'me', metadata => '{\"x\": 1}'"))
        .unwrap();
    for (extra, field) in [
        (", team => 't'", "team"),
        (", model => 'm'", "model"),
        (", service => 's'", "service"),
        (", region => 'eu'", "region"),
        (", service_tier => 'batch'", "service_tier"),
        (", event_at => '2026-01-01'", "event_at"),
    ] {
        let error = expect(client.batch_execute(&call(extra)), "WL006");
        let detail = wallet_tests::detail(&error).to_owned();
        assert!(
            detail.contains(&format!("differs in {field}.")),
            "{extra}: {detail}"
        );
    }
    for (sql, field) in [
        (call("").replace("1.5", "1.51"), "amount"),
        (call("").replace("ann", "bob"), "user_id"),
        (call("").replace("\"a\": 1", "\"a\": 2"), "tags"),
    ] {
        let error = expect(client.batch_execute(&sql), "WL006");
        assert!(wallet_tests::detail(&error).contains(field), "{sql}");
    }
    client
        .batch_execute(&call("").replace("1.5", "1.50"))
        .unwrap();
    client
        .batch_execute(&call("").replace("acme", "other"))
        .unwrap();
    assert_eq!(balance(&mut client, "acme"), dec("98.5"));
    assert_eq!(
        balance(&mut client, "other"),
        dec("98.5"),
        "another wallet, another key"
    );
}
