//! Unpriced charges that several callers price at the same moment.

use postgres::Client;
use serde_json::json;
use wallet_tests::{
    Database, Decimal, audit, balance, create, crowd, dec, entries, price, together, usage,
};

fn unpriced(client: &mut Client, wallet: &str, lanes: i32, charges: i64) {
    create(client, wallet, lanes, &[], dec("100"));
    client
        .query_one(
            "SELECT wallet.update_wallet($1, unknown_price => 'unpriced')",
            &[&wallet],
        )
        .unwrap();
    for pages in 1..=charges {
        let asked = json!({"model": wallet, "pages": pages});
        assert_eq!(usage(client, wallet, &asked).unwrap().cost, dec("0"));
    }
}

fn price_all(client: &mut Client, wallet: &str, key: Option<&str>) -> Vec<Decimal> {
    client
        .query(
            "SELECT cost FROM wallet.price_unpriced($1, idempotency_key => $2)",
            &[&wallet, &key],
        )
        .expect("price_unpriced")
        .iter()
        .map(|row| row.get(0))
        .collect()
}

#[test]
fn eight_callers_price_each_charge_once() {
    let _crowd = crowd();
    let database = Database::new();
    let mut client = database.connect();
    for lanes in [1, 8] {
        let wallet = format!("acme {lanes}");
        unpriced(&mut client, &wallet, lanes, 10);
        price(&mut client, &wallet, "pages", dec("0.5"));
        // Other connections continue to charge meanwhile.
        let priced = together(&database, 8, |number, client| {
            if number < 6 {
                return price_all(client, &wallet, None);
            }
            for _ in 0..10 {
                usage(client, &wallet, &json!({"model": wallet, "pages": 1})).expect("a charge");
            }
            Vec::new()
        });
        let costs: Vec<Decimal> = priced.into_iter().flatten().collect();
        assert_eq!(costs.len(), 10, "{lanes} lanes");
        assert_eq!(costs.iter().sum::<Decimal>(), dec("27.5"));
        assert_eq!(balance(&mut client, &wallet), dec("62.5"));
        assert_eq!(entries(&mut client, &wallet), 1 + 10 + 10 + 20);
        audit(&mut client, &wallet);
    }
}

#[test]
fn a_key_answers_all_callers_with_the_first_result() {
    let _crowd = crowd();
    let database = Database::new();
    let mut client = database.connect();
    unpriced(&mut client, "acme", 4, 3);
    price(&mut client, "acme", "pages", dec("1"));
    let priced = together(&database, 6, |_, client| {
        price_all(client, "acme", Some("key"))
    });
    for costs in priced {
        assert_eq!(costs, [dec("1"), dec("2"), dec("3")]);
    }
    assert_eq!(balance(&mut client, "acme"), dec("94"));
    audit(&mut client, "acme");
}

/// A call that is rolled back has priced nothing. A caller that waited for it prices the charges.
#[test]
fn a_caller_prices_what_a_rolled_back_call_left() {
    let _crowd = crowd();
    let database = Database::new();
    let (mut first, mut client) = (database.connect(), database.connect());
    unpriced(&mut client, "acme", 1, 2);
    price(&mut client, "acme", "pages", dec("1"));
    let mut transaction = first.transaction().unwrap();
    let rows = transaction
        .query("SELECT cost FROM wallet.price_unpriced('acme')", &[])
        .unwrap();
    assert_eq!(rows.len(), 2);
    let second = std::thread::spawn(move || price_all(&mut client, "acme", None));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!second.is_finished(), "it waits");
    transaction.rollback().unwrap();
    assert_eq!(second.join().unwrap(), [dec("1"), dec("2")]);
    assert_eq!(balance(&mut first, "acme"), dec("97"));
    audit(&mut first, "acme");
}

/// A markup and a rule that another backend changes apply to the next call of a warm one.
#[test]
fn a_markup_and_a_rule_reach_other_backends() {
    let database = Database::new();
    let (mut warm, mut other) = (database.connect(), database.connect());
    create(&mut other, "acme", 2, &[], dec("100"));
    price(&mut other, "m", "pages", dec("1"));
    let cost = |client: &mut Client, model: &str| {
        usage(client, "acme", &json!({"model": model, "pages": 1})).map(|charged| charged.cost)
    };
    assert_eq!(cost(&mut warm, "m").unwrap(), dec("1"));
    let run = |client: &mut Client, sql: &str| {
        client.query_one(sql, &[]).expect(sql);
    };
    run(&mut other, "SELECT wallet.set_markup('gold', 0)");
    run(&mut other, "SELECT wallet.use_price_list('acme', 'gold')");
    assert_eq!(cost(&mut warm, "m").unwrap(), dec("1"));
    run(&mut other, "SELECT wallet.set_markup('gold', 50)");
    assert_eq!(cost(&mut warm, "m").unwrap(), dec("1.5"));
    wallet_tests::expect(cost(&mut warm, "n"), "WL005");
    run(
        &mut other,
        "SELECT wallet.update_wallet('acme', unknown_price => 'price_of:m')",
    );
    assert_eq!(cost(&mut warm, "n").unwrap(), dec("1.5"));
    run(
        &mut other,
        "SELECT wallet.use_price_list('acme', 'default')",
    );
    assert_eq!(cost(&mut warm, "n").unwrap(), dec("1"));
    audit(&mut warm, "acme");
}
