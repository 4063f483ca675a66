//! A funding never waits for a charge, and its money is available immediately.

use std::time::Instant;

use postgres::Client;
use wallet_tests::{
    Database, Decimal, Heard, audit, balance, charge, create, dec, expect, fund, recorded,
};

fn event(name: &str, at: &str) -> Heard {
    (name.to_owned(), dec(at))
}

/// A connection whose statements may not wait.
fn impatient(database: &Database) -> Client {
    let mut client = database.connect();
    client
        .batch_execute("SET statement_timeout = '2s'")
        .expect("SET");
    client
}

/// `busy` open transactions have charged. A funding in between must not wait for any of them.
fn during_open_charges(lanes: i32, busy: usize) {
    let database = Database::new();
    let mut client = impatient(&database);
    create(&mut client, "acme", lanes, &[dec("50")], dec("60"));
    charge(&mut client, "acme", dec("20")).unwrap();
    let low = event("wallet_balance_low", "50");
    assert_eq!(recorded(&mut client, "acme"), std::slice::from_ref(&low));

    let mut holders: Vec<Client> = (0..busy).map(|_| impatient(&database)).collect();
    for holder in &mut holders {
        holder.batch_execute("BEGIN").unwrap();
        charge(holder, "acme", dec("1")).unwrap();
    }
    let begun = Instant::now();
    fund(&mut client, "acme", dec("100")).unwrap();
    fund(&mut client, "acme", dec("7")).unwrap();
    assert!(begun.elapsed().as_millis() < 1500, "it waited");
    assert_eq!(balance(&mut client, "acme"), dec("147"), "there at once");
    audit(&mut client, "acme");
    for holder in &mut holders {
        holder.batch_execute("COMMIT").unwrap();
    }
    let left = dec("147") - Decimal::from(busy);
    // Charged at once. The crossing by the funding is reported now at the latest.
    charge(&mut client, "acme", left - dec("60")).unwrap();
    let recovered = event("wallet_balance_recovered", "50");
    assert_eq!(
        recorded(&mut client, "acme"),
        [low.clone(), recovered.clone()]
    );
    charge(&mut client, "acme", dec("60")).unwrap();
    let depleted = event("wallet_depleted", "0");
    assert_eq!(
        recorded(&mut client, "acme"),
        [low.clone(), recovered, low, depleted]
    );
    expect(charge(&mut client, "acme", dec("0.01")), "WL001");
    audit(&mut client, "acme");
}

#[test]
fn a_funding_does_not_wait_for_a_charge_on_the_only_lane() {
    during_open_charges(1, 1);
}

#[test]
fn a_funding_does_not_wait_for_charges_on_both_lanes() {
    during_open_charges(2, 2);
}

#[test]
fn a_funding_does_not_wait_for_a_charge_on_one_of_two_lanes() {
    during_open_charges(2, 1);
}

#[test]
fn a_funding_does_not_wait_for_a_charge_on_one_of_four_lanes() {
    during_open_charges(4, 1);
}

/// The funding is reported although only the lanes know of it: the charge that finds the money is
/// made by a backend with warm caches.
#[test]
fn a_warm_backend_finds_the_money_in_a_spare_lane() {
    for lanes in [1, 2] {
        let database = Database::new();
        let mut client = impatient(&database);
        create(&mut client, "acme", lanes, &[], dec("10"));
        let mut warm = impatient(&database);
        charge(&mut warm, "acme", dec("1")).unwrap();
        let mut holder = impatient(&database);
        // More than one lane has, so that it locks all.
        holder.batch_execute("BEGIN").unwrap();
        charge(&mut holder, "acme", dec("8.5")).unwrap();
        fund(&mut client, "acme", dec("100")).unwrap();
        holder.batch_execute("COMMIT").unwrap();
        let charged = charge(&mut warm, "acme", dec("100.5")).unwrap();
        assert_eq!(charged.balance, dec("0"), "{lanes} lanes");
        audit(&mut client, "acme");
    }
}

/// Waits for lanes are counted by wallet, until the number of lanes is set again. Calls that do not
/// wait are not counted.
#[test]
fn waits_for_lanes_are_counted() {
    for storage in ["auto", "spi"] {
        let database = Database::new();
        let mut client = database.connect();
        create(&mut client, "acme", 1, &[], dec("60"));
        let waits = |client: &mut Client| -> (i64, String) {
            let row = client
                .query_one(
                    "SELECT waits::bigint, (SELECT value::text FROM wallet.health WHERE name = 'lanes_waited_for')
                       FROM wallet.lane_waits WHERE wallet = 'acme'",
                    &[],
                )
                .expect("lane_waits");
            (row.get(0), row.get(1))
        };
        // As many open transactions as there are lanes, and one that arrives after them.
        let crowd = |busy: usize| {
            let mut holders: Vec<Client> = (0..busy).map(|_| database.connect()).collect();
            for holder in &mut holders {
                holder
                    .batch_execute(&format!("SET wallet.storage = {storage}; BEGIN"))
                    .unwrap();
                charge(holder, "acme", dec("1")).unwrap();
            }
            let mut late = database.connect();
            late.batch_execute(&format!("SET wallet.storage = {storage}"))
                .unwrap();
            let waiting = std::thread::spawn(move || charge(&mut late, "acme", dec("1")));
            std::thread::sleep(std::time::Duration::from_millis(500));
            for holder in &mut holders {
                holder.batch_execute("COMMIT").unwrap();
            }
            waiting.join().expect("the thread ends").unwrap();
        };
        crowd(1);
        assert_eq!(waits(&mut client), (1, "1".to_owned()), "{storage}");
        client
            .batch_execute("SELECT wallet.set_lanes('acme', 2)")
            .unwrap();
        assert_eq!(waits(&mut client), (0, "0".to_owned()), "{storage}");
        crowd(1);
        assert_eq!(waits(&mut client).0, 0, "a lane was free: {storage}");
        crowd(2);
        assert_eq!(waits(&mut client).0, 1, "{storage}");
        audit(&mut client, "acme");
    }
}

/// A funding that is rolled back leaves nothing, and an uncommitted one cannot be spent.
#[test]
fn an_uncommitted_funding_cannot_be_spent() {
    let database = Database::new();
    let mut client = impatient(&database);
    create(&mut client, "acme", 2, &[dec("5")], dec("10"));
    charge(&mut client, "acme", dec("8")).unwrap();
    let mut funder = database.connect();
    let mut transaction = funder.transaction().unwrap();
    fund(&mut transaction, "acme", dec("100")).unwrap();
    assert_eq!(balance(&mut client, "acme"), dec("2"));
    transaction.rollback().unwrap();
    expect(charge(&mut client, "acme", dec("3")), "WL001");
    charge(&mut client, "acme", dec("2")).unwrap();
    assert_eq!(
        recorded(&mut client, "acme"),
        [
            event("wallet_balance_low", "5"),
            event("wallet_depleted", "0")
        ]
    );
    audit(&mut client, "acme");
}
