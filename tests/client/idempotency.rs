//! A call with an idempotency key is booked exactly once.

use postgres::{Client, IsolationLevel};
use wallet_tests::{
    Charge, Database, audit, balance, charge, create, crowd, dec, detail, entries, expect, fund,
    limit, noon, price, state_of, together,
};

fn keyed(amount: &str) -> Charge<'static> {
    Charge {
        amount: dec(amount),
        user: Some("alice"),
        key: Some("key"),
    }
}

#[test]
fn sixteen_concurrent_charges_with_one_key_book_once() {
    let _crowd = crowd();
    for lanes in [1, 16] {
        let database = Database::new();
        let mut client = database.connect();
        for round in 0..10 {
            let wallet = format!("acme {round}");
            create(&mut client, &wallet, lanes, &[dec("50")], dec("60"));
            // The same key at the same moment, in a charge that crosses a threshold.
            let results = together(&database, 16, |_, client| {
                keyed("12.5").on(client, &wallet).expect("a charge")
            });
            let booked = results.iter().filter(|result| !result.replayed).count();
            assert_eq!(booked, 1, "{lanes} lanes");
            for result in &results {
                assert_eq!(result.entry_id, results[0].entry_id);
                assert_eq!(result.cost, dec("12.5"));
                assert_eq!(result.balance, results[0].balance);
            }
            assert_eq!(entries(&mut client, &wallet), 2);
            assert_eq!(balance(&mut client, &wallet), dec("47.5"));
            audit(&mut client, &wallet);
        }
    }
}

#[test]
fn sixteen_concurrent_fundings_with_one_key_book_once() {
    let _crowd = crowd();
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 4, &[], dec("0"));
    let results = together(&database, 16, |_, client| -> bool {
        client
            .query_one(
                "SELECT replayed FROM wallet.fund('acme', 10, idempotency_key => 'key')",
                &[],
            )
            .expect("fund")
            .get(0)
    });
    assert_eq!(results.iter().filter(|replayed| !**replayed).count(), 1);
    assert_eq!(balance(&mut client, "acme"), dec("10"));
    audit(&mut client, "acme");
}

#[test]
fn a_replay_answers_whatever_the_state_of_the_wallet() {
    let database = Database::new();
    let mut client = database.connect();
    for lanes in [1, 4] {
        let wallet = format!("acme {lanes}");
        create(&mut client, &wallet, lanes, &[], dec("20"));
        let first = keyed("12.5").on(&mut client, &wallet).unwrap();
        charge(&mut client, &wallet, dec("7.5")).unwrap();
        let check = |client: &mut Client, state: &str| {
            let again = keyed("12.50").on(client, &wallet).unwrap();
            assert!(again.replayed, "{state}");
            assert_eq!(again.entry_id, first.entry_id, "{state}");
            assert_eq!(again.balance, first.balance, "{state}");
            expect(keyed("12.4").on(client, &wallet), "WL006");
        };
        check(&mut client, "exhausted");
        client
            .query_one("SELECT wallet.freeze_wallet($1)", &[&wallet])
            .unwrap();
        check(&mut client, "frozen");
        check(&mut database.connect(), "frozen, in a new backend");
        client
            .query_one("SELECT wallet.unfreeze_wallet($1)", &[&wallet])
            .unwrap();
        client
            .query_one(
                "SELECT wallet.set_limit($1, 0, 'day', scope => 'user')",
                &[&wallet],
            )
            .unwrap();
        check(&mut client, "limited");
        client
            .query_one("SELECT wallet.close_wallet($1)", &[&wallet])
            .unwrap();
        check(&mut client, "closed");
        assert_eq!(entries(&mut client, &wallet), 3);
        audit(&mut client, &wallet);
    }
}

#[test]
fn a_conflict_names_the_field() {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 1, &[], dec("1000"));
    for meter in ["input_tokens", "output_tokens"] {
        price(&mut client, "m", meter, dec("0.01"));
        price(&mut client, "n", meter, dec("0.01"));
    }
    let call = |arguments: &str| {
        format!(
            "SELECT entry_id, replayed FROM wallet.charge('acme', {arguments}, idempotency_key => 'key')"
        )
    };
    let by_amount = "amount => 5, user_id => 'u', team => 't', model => 'm', service => 's', \
                     region => 'r', service_tier => 'b', tags => '{\"a\": \"1\", \"b\": \"2\"}', \
                     event_at => '2026-01-01 00:00+00'";
    client.query_one(&call(by_amount), &[]).unwrap();
    for (from, to, field) in [
        ("amount => 5", "amount => 5.000000000001", "amount"),
        ("'u'", "'v'", "user_id"),
        ("user_id => 'u', ", "", "user_id"),
        ("'t'", "'v'", "team"),
        ("'m'", "'n'", "model"),
        ("'s'", "'v'", "service"),
        ("'r'", "'v'", "region"),
        ("'b'", "'v'", "service_tier"),
        ("\"b\": \"2\"", "\"b\": \"3\"", "tags"),
        ("01-01", "01-02", "event_at"),
    ] {
        let other = by_amount.replace(from, to);
        assert_ne!(other, by_amount);
        let error = expect(client.query(&call(&other), &[]), "WL006");
        assert!(detail(&error).contains(field), "{field}: {error:?}");
    }
    // The same request: another form of a number, another order of keys, another actor.
    let same = by_amount.replace("amount => 5", "amount => 5.00").replace(
        "{\"a\": \"1\", \"b\": \"2\"}",
        "{\"b\": \"2\", \"a\": \"1\"}",
    ) + ", actor => 'somebody else', metadata => '{\"try\": 2}'";
    let replayed: bool = client.query_one(&call(&same), &[]).unwrap().get(1);
    assert!(replayed);
    assert_eq!(entries(&mut client, "acme"), 2);
}

#[test]
fn usage_is_compared_by_meaning() {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 1, &[], dec("1000"));
    for meter in ["input_tokens", "output_tokens"] {
        price(&mut client, "m", meter, dec("0.01"));
    }
    let call = |usage: &str| {
        format!(
            "SELECT replayed, cost FROM wallet.charge('acme', '{usage}', idempotency_key => 'key')"
        )
    };
    client
        .query_one(
            &call(r#"{"model":"m","input_tokens":10,"output_tokens":2}"#),
            &[],
        )
        .unwrap();
    let row = client
        .query_one(
            &call(r#"{"output_tokens":2.0,"input_tokens":10,"model":"m"}"#),
            &[],
        )
        .unwrap();
    assert!(row.get::<_, bool>(0));
    assert_eq!(row.get::<_, wallet_tests::Decimal>(1), dec("0.12"));
    for other in [
        r#"{"model":"m","input_tokens":11,"output_tokens":2}"#,
        r#"{"model":"m","input_tokens":10}"#,
        r#"{"model":"m","input_tokens":10,"output_tokens":2,"note":"x"}"#,
    ] {
        let error = expect(client.query(&call(other), &[]), "WL006");
        assert!(detail(&error).contains("usage"), "{error:?}");
    }
    // By amount instead of by usage.
    let by_amount = "SELECT * FROM wallet.charge('acme', amount => 0.12, model => 'm', \
                     idempotency_key => 'key')";
    expect(client.query(by_amount, &[]), "WL006");
    assert_eq!(entries(&mut client, "acme"), 2);
}

#[test]
fn the_same_key_in_another_wallet_or_call_is_another_request() {
    let database = Database::new();
    let mut client = database.connect();
    for wallet in ["one", "two"] {
        create(&mut client, wallet, 1, &[], dec("20"));
        assert!(!keyed("5").on(&mut client, wallet).unwrap().replayed);
    }
    let sql = "SELECT replayed FROM wallet.fund('one', 5, idempotency_key => 'key')";
    let replayed: bool = client.query_one(sql, &[]).unwrap().get(0);
    assert!(!replayed, "fund and charge have keys of their own");
    assert_eq!(balance(&mut client, "one"), dec("20"));
    assert_eq!(balance(&mut client, "two"), dec("15"));
}

#[test]
fn a_payment_is_credited_once() {
    let _crowd = crowd();
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 1, &[], dec("0"));
    create(&mut client, "other", 1, &[], dec("0"));
    let pay = |client: &mut Client, wallet: &str, amount: &str, method: &str, key: String| {
        client
            .query_one(
                "SELECT entry_id, replayed FROM wallet.fund($1, $2, $3, 'pi_1', idempotency_key => $4)",
                &[&wallet, &dec(amount), &method, &key],
            )
            .map(|row| (row.get::<_, uuid::Uuid>(0), row.get::<_, bool>(1)))
    };
    let results = together(&database, 8, |number, client| {
        pay(client, "acme", "10", "card", format!("key {number}")).expect("fund")
    });
    assert_eq!(results.iter().filter(|(_, replayed)| !replayed).count(), 1);
    assert!(results.iter().all(|(id, _)| *id == results[0].0));
    assert_eq!(balance(&mut client, "acme"), dec("10"));
    let again = pay(&mut client, "acme", "11", "card", "key".to_owned());
    expect(again, "WL006");
    // Another method or another wallet has its own references.
    assert!(
        !pay(&mut client, "acme", "1", "bank", "b".to_owned())
            .unwrap()
            .1
    );
    assert!(
        !pay(&mut client, "other", "10", "card", "c".to_owned())
            .unwrap()
            .1
    );
    fund(&mut client, "acme", dec("1")).unwrap();
    assert_eq!(balance(&mut client, "acme"), dec("12"));
    audit(&mut client, "acme");
}

/// A used key is repeated under a snapshot that is older than a window of its limit. The call had
/// written its lane, could not write the window, and still returned the first result, so that the
/// money left the lane without an entry.
#[test]
fn a_replay_under_an_old_snapshot_takes_nothing() {
    for storage in ["auto", "spi"] {
        let database = Database::new();
        let (mut client, mut other) = (database.connect(), database.connect());
        let storage = format!("SET wallet.storage = {storage}");
        client.batch_execute(&storage).unwrap();
        create(&mut other, "acme", 4, &[], dec("100"));
        limit(&mut other, "acme", dec("50"), "day", &noon());
        let first = keyed("2").on(&mut other, "acme").unwrap();
        let mut transaction = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .start()
            .unwrap();
        // Takes the snapshot.
        balance(&mut transaction, "acme");
        let by_alice = Charge {
            amount: dec("1"),
            user: Some("alice"),
            key: None,
        };
        by_alice.on(&mut other, "acme").unwrap();
        match keyed("2").on(&mut transaction, "acme") {
            Ok(again) => {
                assert!(again.replayed);
                assert_eq!(again.entry_id, first.entry_id);
                transaction.commit().unwrap();
            }
            Err(error) => {
                assert_eq!(state_of(&error), "40001", "{error:?}");
                transaction.rollback().unwrap();
            }
        }
        assert_eq!(balance(&mut other, "acme"), dec("97"));
        audit(&mut other, "acme");
    }
}

#[test]
fn a_hold_conflict_names_the_field() {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 1, &[], dec("1000"));
    client
        .batch_execute(
            "SELECT wallet.set_price(model, 'input_tokens', 0.01, effective_from => '2025-01-01Z')
               FROM unnest('{m,n}'::text[]) model",
        )
        .unwrap();
    let call = |arguments: &str, key: &str| {
        format!(
            "SELECT hold_id, replayed FROM wallet.hold('acme', {arguments}, idempotency_key => '{key}')"
        )
    };
    let about = "user_id => 'u', team => 't', model => 'm', service => 's', region => 'r', service_tier => 'b', \
                 tags => '{\"a\": \"1\"}', ttl => '7 minutes', allow_partial => false, event_at => '2026-01-01 00:00+00'";
    let usage = "usage => '{\"model\": \"m\", \"input_tokens\": 100}'";
    let by_amount = format!("amount => 5, {about}");
    let by_usage = format!("{usage}, {about}");
    client.query_one(&call(&by_amount, "a"), &[]).unwrap();
    client.query_one(&call(&by_usage, "u"), &[]).unwrap();
    for (key, first, from, to, field) in [
        ("a", &by_amount, "amount => 5", "amount => 5.01", "amount"),
        ("a", &by_amount, "amount => 5", usage, "usage"),
        ("u", &by_usage, usage, "amount => 1", "amount"),
        ("u", &by_usage, "100", "101", "usage"),
        ("u", &by_usage, "'u'", "'v'", "user_id"),
        ("u", &by_usage, "user_id => 'u', ", "", "user_id"),
        ("u", &by_usage, "'t'", "'v'", "team"),
        ("a", &by_amount, "'m'", "'n'", "model"),
        ("u", &by_usage, "'s'", "'v'", "service"),
        ("u", &by_usage, "'r'", "'v'", "region"),
        ("u", &by_usage, "'b'", "'v'", "service_tier"),
        ("u", &by_usage, "\"1\"", "\"2\"", "tags"),
        ("u", &by_usage, "7 minutes", "8 minutes", "ttl"),
        ("u", &by_usage, "false", "true", "allow_partial"),
        ("u", &by_usage, "01-01", "01-02", "event_at"),
    ] {
        let other = first.replace(from, to);
        assert_ne!(other, *first);
        let error = expect(client.query(&call(&other, key), &[]), "WL006");
        assert!(
            detail(&error).starts_with(&format!("The first request differs in {field}")),
            "{field}: {error:?}"
        );
    }
    for (key, same) in [("a", &by_amount), ("u", &by_usage)] {
        let replayed: bool = client.query_one(&call(same, key), &[]).unwrap().get(1);
        assert!(replayed);
    }
}

#[test]
fn a_settlement_conflict_names_the_field() {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 1, &[], dec("1000"));
    client
        .batch_execute(
            "SELECT wallet.set_price('m', 'input_tokens', 0.01, effective_from => '2025-01-01Z')",
        )
        .unwrap();
    let mut hold = || -> String {
        client
            .query_one(
                "SELECT hold_id::text FROM wallet.hold('acme', amount => 9, model => 'm')",
                &[],
            )
            .unwrap()
            .get(0)
    };
    let holds = [hold(), hold(), hold()];
    let call = |arguments: &str, key: &str| {
        format!(
            "SELECT replayed FROM wallet.settle('acme', {arguments}, idempotency_key => '{key}')"
        )
    };
    let rest =
        "final => true, over => 'charge', event_at => '2026-01-01 00:00+00', cost_from => 'prices'";
    let usage = "usage => '{\"model\": \"m\", \"input_tokens\": 100, \"cost\": 1}'";
    let by_amount = format!("'{}', amount => 5, {rest}", holds[0]);
    let by_usage = format!("'{}', {usage}, {rest}", holds[1]);
    client.query_one(&call(&by_amount, "a"), &[]).unwrap();
    client.query_one(&call(&by_usage, "u"), &[]).unwrap();
    for (key, first, from, to, field) in [
        ("a", &by_amount, "amount => 5", "amount => 5.01", "amount"),
        ("a", &by_amount, "amount => 5", usage, "usage"),
        ("u", &by_usage, usage, "amount => 1", "amount"),
        ("u", &by_usage, "100", "101", "usage"),
        ("u", &by_usage, "'prices'", "'provider'", "cost_from"),
        (
            "a",
            &by_amount,
            holds[0].as_str(),
            holds[2].as_str(),
            "hold_id",
        ),
        ("a", &by_amount, "true", "false", "final"),
        ("u", &by_usage, "'charge'", "'cap'", "over"),
        ("u", &by_usage, "'charge'", "'debt'", "over"),
        ("u", &by_usage, "01-01", "01-02", "event_at"),
    ] {
        let other = first.replace(from, to);
        assert_ne!(other, *first);
        let error = expect(client.query(&call(&other, key), &[]), "WL006");
        assert_eq!(
            detail(&error),
            format!("The first request differs in {field}."),
            "{error:?}"
        );
    }
    for (key, same) in [("a", &by_amount), ("u", &by_usage)] {
        let replayed: bool = client.query_one(&call(same, key), &[]).unwrap().get(0);
        assert!(replayed);
    }
}
