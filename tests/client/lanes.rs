//! What the number of lanes changes, and what it does not.

use wallet_tests::{
    Charge, Database, Decimal, Seed, alternating, audit, balance, charge, create, crowd, dec,
    expect, fund, price, recorded, scale, state_of, together,
};

#[test]
fn no_charge_is_lost_while_the_number_of_lanes_changes() {
    let _turn = crowd();
    let seed = Seed::of("no_charge_is_lost_while_the_number_of_lanes_changes");
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 1, &[dec("500")], dec("1000"));
    let spent = together(&database, 17, |number, client| {
        let mut seed = seed.thread(number);
        let mut spent = Decimal::ZERO;
        for _ in 0..scale(40) {
            if number == 0 {
                let lanes = 1 + seed.below(16) as i32;
                client
                    .query_one("SELECT wallet.set_lanes('acme', $1)", &[&lanes])
                    .unwrap();
            } else {
                match charge(client, "acme", seed.cents(1, 200)) {
                    Ok(charged) => spent += charged.cost,
                    Err(error) => assert_eq!(state_of(&error), "WL001", "{error:?}"),
                }
            }
        }
        spent
    });
    assert_eq!(
        balance(&mut client, "acme"),
        dec("1000") - spent.iter().sum::<Decimal>()
    );
    let events = recorded(&mut client, "acme");
    assert_eq!(alternating(&events, dec("500")), Some("wallet_balance_low"));
    audit(&mut client, "acme");
}

#[test]
fn a_threshold_crossed_by_a_funding_during_a_charge_is_reported() {
    let database = Database::new();
    let (mut client, mut other) = (database.connect(), database.connect());
    create(&mut client, "acme", 1, &[dec("50")], dec("60"));
    charge(&mut client, "acme", dec("20")).unwrap();
    let mut transaction = other.transaction().unwrap();
    charge(&mut transaction, "acme", dec("1")).unwrap();
    // 39 and 30: back above 50, which cannot be decided while the charge is open.
    fund(&mut client, "acme", dec("30")).unwrap();
    transaction.commit().unwrap();
    charge(&mut client, "acme", dec("1")).unwrap();
    charge(&mut client, "acme", dec("30")).unwrap();
    let events: Vec<String> = recorded(&mut client, "acme")
        .into_iter()
        .map(|(event, _)| event)
        .collect();
    assert_eq!(
        events,
        [
            "wallet_balance_low",
            "wallet_balance_recovered",
            "wallet_balance_low"
        ]
    );
    audit(&mut client, "acme");
}

#[test]
fn charges_on_different_lanes_do_not_wait() {
    let database = Database::new();
    let (mut client, mut other) = (database.connect(), database.connect());
    create(&mut client, "acme", 4, &[], dec("100"));
    let mut transaction = other.transaction().unwrap();
    charge(&mut transaction, "acme", dec("1")).unwrap();
    client
        .batch_execute("SET statement_timeout = '2s'")
        .unwrap();
    charge(&mut client, "acme", dec("1")).unwrap();
    // More than one lane has, and less than the free lanes have together.
    charge(&mut client, "acme", dec("60")).unwrap();
    transaction.commit().unwrap();
    assert_eq!(balance(&mut client, "acme"), dec("38"));
    audit(&mut client, "acme");
}

#[test]
fn a_replay_answers_on_an_empty_or_frozen_wallet() {
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
fn a_replay_returns_the_whole_first_answer() {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 1, &[], dec("100"));
    price(&mut client, "m", "input_tokens", dec("0.25"));
    let sql = "SELECT cost, balance, model, total_tokens, lines::text, entry_id::text
                 FROM wallet.charge('acme', $1, idempotency_key => 'k')";
    let first = client
        .query_one(
            sql,
            &[&serde_json::json!({"model": "m", "input_tokens": 3})],
        )
        .unwrap();
    // The order of keys and trailing zeros do not matter.
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

/// A charge updates its lane and its window in place (HOT): no index gets an entry, and the next
/// update prunes the page.
#[test]
fn lanes_and_windows_are_updated_in_place() {
    let database = Database::new();
    let mut client = database.connect();
    for storage in ["auto", "spi"] {
        let wallet = format!("hot_{storage}");
        create(&mut client, &wallet, 1, &[], dec("1000"));
        wallet_tests::limit(&mut client, &wallet, dec("1000"), "lifetime", "UTC");
        client
            .batch_execute(&format!("SET wallet.storage = {storage}"))
            .expect("SET");
        let updates = |client: &mut postgres::Client| -> (i64, i64) {
            client
                .batch_execute("SELECT pg_stat_force_next_flush()")
                .expect("statistics");
            let sql = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'wallet.allowances'::regclass";
            let row = client.query_one(sql, &[]).expect("statistics");
            (row.get(0), row.get(1))
        };
        let before = updates(&mut client);
        let charges = 500;
        for _ in 0..charges {
            let charge = Charge {
                amount: dec("0.01"),
                user: Some("ann"),
                key: None,
            };
            charge.on(&mut client, &wallet).expect("charge");
        }
        let after = updates(&mut client);
        let (all, hot) = (after.0 - before.0, after.1 - before.1);
        // The lane every time, and the window every time except the first, which inserted it.
        assert_eq!(all, 2 * charges - 1);
        assert!(
            hot * 100 >= all * 95,
            "{hot} of {all} updates in place, {storage}"
        );
    }
}
