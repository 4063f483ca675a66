//! Several charges in one transaction, some of them rolled back.

use wallet_tests::{
    Charge, Database, audit, balance, charge, create, dec, entries, expect, limit, noon,
};

fn wallet_of(lanes: i32) -> (Database, postgres::Client) {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", lanes, &[dec("50")], dec("100"));
    limit(&mut client, "acme", dec("80"), "day", &noon());
    (database, client)
}

fn alice(amount: &str) -> Charge<'_> {
    Charge {
        amount: dec(amount),
        user: Some("alice"),
        key: None,
    }
}

#[test]
fn charges_rolled_back_to_a_savepoint_do_not_count() {
    for lanes in [1, 4] {
        let (database, mut client) = wallet_of(lanes);
        let mut transaction = client.transaction().unwrap();
        alice("10").on(&mut transaction, "acme").unwrap();
        for amount in ["60", "30", "70"] {
            let mut savepoint = transaction.savepoint("s").unwrap();
            alice(amount).on(&mut savepoint, "acme").unwrap();
            savepoint.rollback().unwrap();
        }
        let last = alice("5").on(&mut transaction, "acme").unwrap();
        assert_eq!(last.balance, dec("85"));
        transaction.commit().unwrap();
        assert_eq!(balance(&mut client, "acme"), dec("85"));
        assert_eq!(entries(&mut client, "acme"), 3);
        audit(&mut client, "acme");
        alice("65").on(&mut database.connect(), "acme").unwrap();
        expect(alice("0.01").on(&mut client, "acme"), "WL002");
        audit(&mut client, "acme");
    }
}

#[test]
fn a_transaction_sees_its_own_charges() {
    for lanes in [1, 2, 16] {
        let (_database, mut client) = wallet_of(lanes);
        let mut transaction = client.transaction().unwrap();
        for number in 1..=40 {
            let charged = charge(&mut transaction, "acme", dec("2")).unwrap();
            let left = dec("100") - dec("2") * wallet_tests::Decimal::from(number);
            assert_eq!(
                charged.balance, left,
                "its own charges count, {lanes} lanes"
            );
        }
        transaction.commit().unwrap();
        charge(&mut client, "acme", dec("20")).unwrap();
        audit(&mut client, "acme");
    }
}

/// A key belongs to the transaction, too: after a rollback it is free again.
#[test]
fn a_key_that_was_rolled_back_is_free() {
    let (_database, mut client) = wallet_of(4);
    let keyed = |amount: &str| Charge {
        amount: dec(amount),
        user: None,
        key: Some("key"),
    };
    let mut transaction = client.transaction().unwrap();
    keyed("10").on(&mut transaction, "acme").unwrap();
    assert!(keyed("10").on(&mut transaction, "acme").unwrap().replayed);
    transaction.rollback().unwrap();
    assert!(!keyed("11").on(&mut client, "acme").unwrap().replayed);
    assert_eq!(balance(&mut client, "acme"), dec("89"));
    audit(&mut client, "acme");
}

/// Two transactions repeatedly charge two wallets in opposite order.
#[test]
fn two_wallets_in_opposite_order_may_deadlock_but_lose_nothing() {
    let database = Database::new();
    let mut client = database.connect();
    for wallet in ["one", "two"] {
        create(&mut client, wallet, 1, &[], dec("1000"));
    }
    let done = wallet_tests::together(&database, 2, |number, client| {
        let order = if number == 0 {
            ["one", "two"]
        } else {
            ["two", "one"]
        };
        let mut done = 0_i64;
        for _ in 0..5 {
            let mut transaction = client.transaction().unwrap();
            let result = order
                .iter()
                .try_for_each(|wallet| charge(&mut transaction, wallet, dec("1")).map(drop));
            match result {
                Ok(()) => {
                    transaction.commit().unwrap();
                    done += 1;
                }
                Err(error) => assert_eq!(wallet_tests::state_of(&error), "40P01"),
            }
        }
        done
    });
    let spent = wallet_tests::Decimal::from(done.iter().sum::<i64>());
    for wallet in ["one", "two"] {
        assert_eq!(balance(&mut client, wallet), dec("1000") - spent);
        audit(&mut client, wallet);
    }
}
