//! `charge_batch` books what the same charges would book one by one.

use postgres::{Client, GenericClient};
use serde_json::{Value, json};
use wallet_tests::{
    Database, Decimal, Seed, audit, balance, create, crowd, dec, recorded, scale, state_of,
    together,
};

/// The outcome of an item: cost and replayed, or the SQLSTATE.
type Outcome = Result<(Decimal, bool), String>;

fn batch(
    client: &mut impl GenericClient,
    wallet: &str,
    items: &[Value],
    on_error: &str,
) -> Result<Vec<Outcome>, String> {
    let rows = client
        .query(
            "SELECT item, cost, sqlstate, replayed FROM wallet.charge_batch($1, $2, on_error => $3) ORDER BY item",
            &[&wallet, &Value::from(items.to_vec()), &on_error],
        )
        .map_err(|error| state_of(&error))?;
    assert_eq!(rows.len(), items.len());
    Ok(rows
        .iter()
        .map(|row| match row.get::<_, Option<String>>("sqlstate") {
            None => Ok((row.get("cost"), row.get("replayed"))),
            Some(state) => Err(state),
        })
        .collect())
}

/// One charge in its own savepoint.
fn single(client: &mut impl GenericClient, wallet: &str, item: &Value) -> Outcome {
    let mut savepoint = client.transaction().expect("SAVEPOINT");
    let amount = item["amount"]
        .as_str()
        .map(|text| text.parse::<Decimal>().expect("an amount"));
    let usage = item.get("usage").cloned();
    let (user, key) = (item["user_id"].as_str(), item["idempotency_key"].as_str());
    let result = savepoint.query_one(
        "SELECT cost, replayed FROM wallet.charge($1, $2, $3, user_id => $4, idempotency_key => $5)",
        &[&wallet, &usage, &amount, &user, &key],
    );
    match result {
        Ok(row) => {
            savepoint.commit().expect("RELEASE");
            Ok((row.get(0), row.get(1)))
        }
        Err(error) => {
            savepoint.rollback().expect("ROLLBACK");
            Err(state_of(&error))
        }
    }
}

fn item(seed: &mut Seed) -> Value {
    let user = ["ann", "bob", "cyd"][seed.below(3) as usize];
    let mut item = json!({ "user_id": user });
    match seed.below(12) {
        0 => item["usage"] = json!({ "model": "no-such-model", "input_tokens": 5 }),
        1 => item["usage"] = json!({ "model": "m" }),
        2..6 => item["usage"] = json!({ "model": "m", "input_tokens": seed.below(3000) }),
        // As text, which must be converted.
        _ => item["amount"] = seed.cents(0, 300).to_string().into(),
    }
    if seed.below(3) == 0 {
        item["idempotency_key"] = format!("k{}", seed.below(30)).into();
    }
    item
}

fn limits(client: &mut Client, wallet: &str) -> Vec<(String, String, Decimal)> {
    client
        .query(
            "SELECT scope, subject, used FROM wallet.limits_status WHERE wallet = $1 ORDER BY 1, 2",
            &[&wallet],
        )
        .expect("limits_status")
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

#[test]
fn a_batch_books_what_its_charges_would_one_by_one() {
    let mut seed = Seed::of("a_batch_books_what_its_charges_would_one_by_one");
    let database = Database::new();
    let mut client = database.connect();
    wallet_tests::price(&mut client, "m", "input_tokens", dec("0.001"));
    for case in 0..scale(24) {
        let lanes = [1, 1, 4][case % 3];
        let storage = ["auto", "spi"][case % 2];
        client
            .batch_execute(&format!("SET wallet.storage = {storage}"))
            .expect("SET");
        let (one, all) = (format!("one{case}"), format!("all{case}"));
        let money = seed.cents(1_000, 20_000);
        let max = seed.cents(500, 15_000);
        for wallet in [&one, &all] {
            create(
                &mut client,
                wallet,
                lanes,
                &[dec("50"), dec("20"), dec("5")],
                money,
            );
            if case % 4 != 0 {
                wallet_tests::limit(&mut client, wallet, max, "lifetime", "UTC");
            }
        }
        for _ in 0..3 {
            let items: Vec<Value> = (0..seed.below(60) + 1).map(|_| item(&mut seed)).collect();
            let mut transaction = client.transaction().expect("BEGIN");
            let singles: Vec<Outcome> = items
                .iter()
                .map(|item| single(&mut transaction, &one, item))
                .collect();
            let together =
                batch(&mut transaction, &all, &items, "skip").expect("a batch that skips");
            assert_eq!(together, singles, "case {case}");
            transaction.commit().expect("COMMIT");
            assert_eq!(balance(&mut client, &all), balance(&mut client, &one));
            assert_eq!(
                recorded(&mut client, &all),
                recorded(&mut client, &one),
                "events of case {case}"
            );
            assert_eq!(limits(&mut client, &all), limits(&mut client, &one));
        }
        // All or nothing: the first error is the error of the call.
        let items: Vec<Value> = (0..20).map(|_| item(&mut seed)).collect();
        let before = balance(&mut client, &all);
        let mut transaction = client.transaction().expect("BEGIN");
        let first = items
            .iter()
            .map(|item| single(&mut transaction, &one, item))
            .find_map(Result::err);
        transaction.rollback().expect("ROLLBACK");
        let answer = batch(&mut client, &all, &items, "fail");
        assert_eq!(answer.as_ref().err(), first.as_ref(), "case {case}");
        if first.is_some() {
            assert_eq!(balance(&mut client, &all), before);
        }
        audit(&mut client, &all);
    }
}

#[test]
fn a_batch_sent_concurrently_is_booked_once() {
    let _crowd = crowd();
    let database = Database::new();
    let mut client = database.connect();
    for lanes in [1, 4] {
        let wallet = format!("lanes{lanes}");
        create(&mut client, &wallet, lanes, &[], dec("1000"));
        let items: Vec<Value> = (0..200)
            .map(|n| json!({ "amount": 0.5, "idempotency_key": format!("i{n}") }))
            .collect();
        let fresh: usize = together(&database, 8, |_, client| {
            let answers = batch(client, &wallet, &items, "fail").expect("a batch");
            answers
                .iter()
                .filter(|answer| **answer == Ok((dec("0.5"), false)))
                .count()
        })
        .into_iter()
        .sum();
        assert_eq!(fresh, 200);
        assert_eq!(balance(&mut client, &wallet), dec("900"));
        audit(&mut client, &wallet);
    }
}

/// Each call lists the wallets in a different order. They are booked in one order, so that no two
/// calls deadlock.
#[test]
fn batches_over_the_same_wallets_never_deadlock() {
    let _crowd = crowd();
    let seed = Seed::of("batches_over_the_same_wallets_never_deadlock");
    let database = Database::new();
    let mut client = database.connect();
    for wallet in 0..10 {
        create(
            &mut client,
            &format!("w{wallet}"),
            1 + wallet % 2 * 2,
            &[],
            dec("1000"),
        );
    }
    together(&database, 8, |number, client| {
        let mut seed = seed.thread(number);
        for _ in 0..scale(20) {
            let items: Vec<Value> = (0..40)
                .map(|_| json!({ "wallet": format!("w{}", seed.below(10)), "amount": 0.01 }))
                .collect();
            client
                .execute(
                    "SELECT * FROM wallet.charge_batch($1)",
                    &[&Value::from(items)],
                )
                .expect("a batch");
        }
    });
    let left: Decimal = (0..10)
        .map(|wallet| balance(&mut client, &format!("w{wallet}")))
        .sum();
    assert_eq!(
        left,
        dec("10000") - Decimal::new((8 * scale(20) * 40) as i64, 2)
    );
}

/// An error that no item caused ends the call. Otherwise the item would be lost as if it could not
/// be booked.
#[test]
fn an_error_that_no_item_caused_ends_the_call() {
    let database = Database::new();
    let mut client = database.connect();
    for lanes in [1, 3] {
        for limited in [false, true] {
            let wallet = format!("w{lanes}{limited}");
            create(&mut client, &wallet, lanes, &[], dec("100"));
            if limited {
                wallet_tests::limit(&mut client, &wallet, dec("90"), "lifetime", "UTC");
            }
            let items = [
                json!({ "amount": 1 }),
                json!({ "amount": 1000 }),
                json!({ "amount": 1 }),
            ];
            let mut other = database.connect();
            let mut transaction = other.transaction().expect("BEGIN");
            // Another transaction holds every lane.
            transaction
                .execute("SELECT wallet.freeze_wallet($1)", &[&wallet])
                .expect("freeze_wallet");
            for (setting, state) in [("lock_timeout", "55P03"), ("statement_timeout", "57014")] {
                client
                    .batch_execute(&format!("SET {setting} = '100ms'"))
                    .expect("SET");
                for on_error in ["skip", "fail"] {
                    let answer = batch(&mut client, &wallet, &items, on_error);
                    assert_eq!(answer, Err(state.to_owned()), "{wallet} {on_error}");
                }
                client
                    .batch_execute(&format!("RESET {setting}"))
                    .expect("RESET");
            }
            transaction.rollback().expect("ROLLBACK");
            client
                .batch_execute("SET default_transaction_read_only = on")
                .expect("SET");
            let answer = batch(&mut client, &wallet, &items, "skip");
            assert_eq!(answer, Err("25006".to_owned()));
            client
                .batch_execute("RESET default_transaction_read_only")
                .expect("RESET");
            assert_eq!(balance(&mut client, &wallet), dec("100"));
            let answer = batch(&mut client, &wallet, &items, "skip").expect("a batch");
            assert_eq!(answer[1], Err("WL001".to_owned()));
            assert_eq!(balance(&mut client, &wallet), dec("98"));
            audit(&mut client, &wallet);
        }
    }
}
