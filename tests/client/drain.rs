//! Many connections spend one wallet down to nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use wallet_tests::{
    Database, Decimal, Seed, alternating, audit, balance, charge, check_snapshot, create, crowd,
    dec, fund, recorded, scale, state_of, together,
};

/// Charges until the wallet refuses three times; gives what was acknowledged.
fn spend(client: &mut postgres::Client, mut seed: Seed) -> Decimal {
    let (mut spent, mut refusals) = (Decimal::ZERO, 0);
    while refusals < 3 {
        match charge(client, "acme", seed.cents(1, 60)) {
            Ok(charged) => spent += charged.cost,
            Err(error) => {
                assert_eq!(state_of(&error), "WL001", "{error:?}");
                refusals += 1;
            }
        }
    }
    spent
}

fn drained(connections: usize, lanes: i32) {
    let _turn = crowd();
    let seed = Seed::of("drain");
    let database = Database::new();
    let mut client = database.connect();
    let money = dec("200") * Decimal::from(scale(1));
    create(
        &mut client,
        "acme",
        lanes,
        &[dec("50"), dec("20"), dec("10")],
        money,
    );
    let done = AtomicBool::new(false);
    let spent: Decimal = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut reader = database.connect();
            while !done.load(Ordering::Relaxed) {
                assert!(check_snapshot(&mut reader, "acme") >= Decimal::ZERO);
            }
        });
        let spent = together(&database, connections, |number, client| {
            spend(client, seed.thread(number))
        });
        done.store(true, Ordering::Relaxed);
        spent.iter().sum()
    });
    assert_eq!(balance(&mut client, "acme"), money - spent, "every cent");
    let low: Vec<Decimal> = recorded(&mut client, "acme")
        .into_iter()
        .filter(|(event, _)| event == "wallet_balance_low")
        .map(|(_, threshold)| threshold)
        .collect();
    assert_eq!(
        low,
        [dec("50"), dec("20"), dec("10")],
        "each threshold once, in order"
    );
    audit(&mut client, "acme");
}

#[test]
fn sixty_four_connections_on_sixteen_lanes() {
    drained(64, 16);
}

#[test]
fn thirty_two_connections_on_one_lane() {
    drained(32, 1);
}

#[test]
fn with_fundings_at_the_same_time() {
    let _turn = crowd();
    let seed = Seed::of("drain and fund");
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 8, &[dec("50"), dec("20")], dec("60"));
    let moved = together(&database, 24, |number, client| {
        let mut seed = seed.thread(number);
        let (mut sum, mut failures) = (Decimal::ZERO, 0);
        for _ in 0..scale(60) {
            if number % 6 == 0 {
                sum += fund(client, "acme", seed.cents(1, 400)).unwrap().amount;
            } else {
                match charge(client, "acme", seed.cents(1, 120)) {
                    Ok(charged) => sum -= charged.cost,
                    Err(error) => {
                        assert_eq!(state_of(&error), "WL001", "{error:?}");
                        failures += 1;
                    }
                }
            }
        }
        (sum, failures)
    });
    let sum: Decimal = moved.iter().map(|(sum, _)| sum).sum();
    assert_eq!(balance(&mut client, "acme"), dec("60") + sum);
    let mut events = recorded(&mut client, "acme");
    // Ids of one millisecond made by two backends stand in any order: count instead.
    for threshold in [dec("50"), dec("20")] {
        let count = |name: &str| {
            events
                .iter()
                .filter(|(e, t)| e == name && *t == threshold)
                .count()
        };
        let (low, recovered) = (
            count("wallet_balance_low"),
            count("wallet_balance_recovered"),
        );
        assert!(
            low == recovered || low == recovered + 1,
            "{threshold}: {low} low, {recovered}"
        );
    }
    audit(&mut client, "acme");
    // One connection brings it to rest: what is reported agrees with where the balance is.
    fund(&mut client, "acme", dec("100")).unwrap();
    events = recorded(&mut client, "acme");
    assert_ne!(
        events.last().map(|(event, _)| event.as_str()),
        Some("wallet_balance_low")
    );
}

#[test]
fn while_the_lanes_are_cut_anew() {
    let _turn = crowd();
    let seed = Seed::of("drain and cut");
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
