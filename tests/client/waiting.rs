//! A funding never waits for a charge.

use wallet_tests::{Database, audit, balance, charge, create, dec, fund, recorded};

#[test]
fn a_funding_does_not_wait_for_charges_under_way() {
    for lanes in [1, 2] {
        let database = Database::new();
        let mut client = database.connect();
        create(&mut client, "acme", lanes, &[dec("50")], dec("60"));
        // Every active lane is held by a transaction that stays open.
        let mut charging: Vec<_> = (0..lanes).map(|_| database.connect()).collect();
        let mut open: Vec<_> = charging
            .iter_mut()
            .map(|client| {
                let mut transaction = client.transaction().unwrap();
                charge(&mut transaction, "acme", dec("2")).unwrap();
                transaction
            })
            .collect();
        client
            .batch_execute("SET statement_timeout = '2s'")
            .unwrap();
        fund(&mut client, "acme", dec("40")).unwrap();
        fund(&mut client, "acme", dec("1")).unwrap();
        open.drain(..)
            .for_each(|transaction| transaction.commit().unwrap());
        let money = dec("101") - dec("2") * wallet_tests::Decimal::from(lanes);
        assert_eq!(balance(&mut client, "acme"), money);
        // The next charge may use all of it.
        charge(&mut client, "acme", money).unwrap();
        assert_eq!(balance(&mut client, "acme"), dec("0"));
        audit(&mut client, "acme");
    }
}

#[test]
fn what_such_a_funding_crosses_is_reported() {
    let database = Database::new();
    let (mut client, mut other) = (database.connect(), database.connect());
    create(&mut client, "acme", 1, &[dec("50")], dec("60"));
    charge(&mut client, "acme", dec("20")).unwrap();
    let mut transaction = other.transaction().unwrap();
    charge(&mut transaction, "acme", dec("1")).unwrap();
    // 39 and 30: back above 50, which nobody can know for sure while the charge is open.
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
    // More than one lane has, and less than the free ones have together.
    charge(&mut client, "acme", dec("60")).unwrap();
    transaction.commit().unwrap();
    assert_eq!(balance(&mut client, "acme"), dec("38"));
    audit(&mut client, "acme");
}
