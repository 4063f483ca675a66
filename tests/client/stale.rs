//! The less obvious ways to a stale cache: changes behind the functions, many in a row, an old
//! snapshot that reads late, rules that were rolled back.

use postgres::{Client, IsolationLevel};
use serde_json::json;
use wallet_tests::{
    Database, Decimal, audit, charge, create, dec, expect, fund, limit, noon, price, recorded,
    usage,
};

/// The current price of a thousand units of the model `m`.
fn cost(client: &mut impl postgres::GenericClient) -> Decimal {
    client
        .query_one(
            r#"SELECT cost FROM wallet.price_usage('{"model": "m", "input_tokens": 1000}')"#,
            &[],
        )
        .expect("price_usage")
        .get(0)
}

fn cost_of_a_charge(client: &mut Client) -> Decimal {
    usage(client, "acme", &json!({"model": "m", "input_tokens": 1000}))
        .expect("charge")
        .cost
}

fn priced() -> (Database, Client, Client) {
    let database = Database::new();
    let (mut warm, mut other) = (database.connect(), database.connect());
    create(&mut other, "acme", 2, &[], dec("1000"));
    price(&mut other, "m", "input_tokens", dec("0.001"));
    assert_eq!(cost_of_a_charge(&mut warm), dec("1"));
    assert_eq!(cost(&mut warm), dec("1"));
    (database, warm, other)
}

#[test]
fn a_price_that_another_backend_changes_applies_to_the_next_call() {
    let (_database, mut warm, mut other) = priced();
    for step in 2..20 {
        let unit = Decimal::new(step, 3);
        price(&mut other, "m", "input_tokens", unit);
        assert_eq!(cost_of_a_charge(&mut warm), Decimal::from(step));
        assert_eq!(cost(&mut warm), Decimal::from(step));
    }
    // Changes behind the functions, too.
    other
        .batch_execute(
            "INSERT INTO wallet.prices (price_id, price_list, model, meter, unit_price, per,
                                        effective_from, created_at)
             VALUES ('ffffffff-ffff-7fff-8fff-ffffffffffff', 'default', 'm', 'input_tokens', 1, 1,
                     now(), now())",
        )
        .unwrap();
    assert_eq!(cost(&mut warm), dec("1000"));
    other.batch_execute("TRUNCATE wallet.prices").unwrap();
    let no_price = warm.query(
        r#"SELECT * FROM wallet.price_usage('{"model": "m", "input_tokens": 1000}')"#,
        &[],
    );
    expect(no_price, "WL005");
}

/// The snapshot is older than the change, and the backend receives the invalidation before it
/// reads.
#[test]
fn a_late_read_under_an_old_snapshot_is_not_cached() {
    let (_database, mut reader, mut other) = priced();
    limit(&mut other, "acme", dec("500"), "day", &noon());
    let mut transaction = reader
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .start()
        .unwrap();
    transaction.query_one("SELECT 1", &[]).unwrap();
    price(&mut other, "m", "input_tokens", dec("0.005"));
    other
        .query_one(
            "SELECT wallet.update_wallet('acme', low_balance => '{900}')",
            &[],
        )
        .unwrap();
    assert_eq!(cost(&mut transaction), dec("1"), "its snapshot");
    // Its rules are read, and the row that it wants to update has changed since.
    let stale = charge(&mut transaction, "acme", dec("1"));
    expect(stale, "40001");
    drop(transaction);
    assert_eq!(cost(&mut reader), dec("5"));
    assert_eq!(cost_of_a_charge(&mut reader), dec("5"));
    charge(&mut reader, "acme", dec("120")).unwrap();
    assert_eq!(recorded(&mut reader, "acme").len(), 1, "the new threshold");
    audit(&mut reader, "acme");
}

/// The next charge of a warm backend applies rules that other backends have changed.
#[test]
fn rules_that_another_backend_changes_apply_to_the_next_charge() {
    for lanes in [1, 4] {
        let database = Database::new();
        let (mut warm, mut other) = (database.connect(), database.connect());
        create(&mut other, "acme", lanes, &[], dec("100"));
        let by_alice = {
            let sql = "SELECT * FROM wallet.charge('acme', amount => $1, user_id => 'alice')";
            move |client: &mut Client, amount: &str| {
                client.query(sql, &[&dec(amount)]).map(|rows| rows.len())
            }
        };
        for _ in 0..3 {
            by_alice(&mut warm, "1").unwrap();
        }
        let run = |client: &mut Client, sql: &str| {
            client.query_one(sql, &[]).expect(sql);
        };
        run(&mut other, "SELECT wallet.freeze_wallet('acme', 'because')");
        expect(by_alice(&mut warm, "1"), "WL004");
        run(&mut other, "SELECT wallet.unfreeze_wallet('acme')");
        by_alice(&mut warm, "1").unwrap();

        // The limit counts the four that were spent.
        limit(&mut other, "acme", dec("5"), "day", &noon());
        by_alice(&mut warm, "1").unwrap();
        expect(by_alice(&mut warm, "0.01"), "WL002");
        limit(&mut other, "acme", dec("50"), "day", &noon());
        by_alice(&mut warm, "5").unwrap();

        run(
            &mut other,
            "SELECT wallet.update_wallet('acme', low_balance => '{80}')",
        );
        by_alice(&mut warm, "15").unwrap();
        assert_eq!(recorded(&mut warm, "acme").len(), 1, "below 80");

        run(
            &mut other,
            "SELECT wallet.update_wallet('acme', credit_limit => 30)",
        );
        limit(&mut other, "acme", dec("1000"), "day", &noon());
        by_alice(&mut warm, "105").unwrap();
        expect(by_alice(&mut warm, "0.01"), "WL001");
        fund(&mut other, "acme", dec("30")).unwrap();
        by_alice(&mut warm, "10").unwrap();
        let narrower = "SELECT wallet.update_wallet('acme', credit_limit => 9)";
        expect(other.query(narrower, &[]), "WL001");
        run(
            &mut other,
            "SELECT wallet.update_wallet('acme', credit_limit => 10)",
        );
        expect(by_alice(&mut warm, "0.01"), "WL001");

        run(&mut other, "SELECT wallet.set_lanes('acme', 7)");
        fund(&mut other, "acme", dec("30")).unwrap();
        by_alice(&mut warm, "29").unwrap();
        run(&mut other, "SELECT wallet.set_lanes('acme', 1)");
        by_alice(&mut warm, "1").unwrap();
        expect(by_alice(&mut warm, "0.01"), "WL001");
        audit(&mut warm, "acme");
    }
}

/// Rules that were rolled back apply nowhere, not even in the backend that set them.
#[test]
fn rules_that_were_rolled_back_apply_to_nobody() {
    for lanes in [1, 4] {
        let database = Database::new();
        let (mut warm, mut other) = (database.connect(), database.connect());
        create(&mut other, "acme", lanes, &[], dec("100"));
        charge(&mut warm, "acme", dec("1")).unwrap();
        for by_savepoint in [false, true] {
            let mut transaction = other.transaction().unwrap();
            let sql = "SELECT wallet.freeze_wallet('acme')";
            if by_savepoint {
                let mut savepoint = transaction.savepoint("s").unwrap();
                savepoint.query_one(sql, &[]).unwrap();
                expect(charge(&mut savepoint, "acme", dec("1")), "WL004");
                drop(savepoint);
                charge(&mut transaction, "acme", dec("1")).unwrap();
                transaction.commit().unwrap();
            } else {
                transaction.query_one(sql, &[]).unwrap();
                expect(charge(&mut transaction, "acme", dec("1")), "WL004");
                transaction.rollback().unwrap();
            }
            charge(&mut other, "acme", dec("1")).unwrap();
            charge(&mut warm, "acme", dec("1")).unwrap();
        }
        audit(&mut warm, "acme");
    }
}
