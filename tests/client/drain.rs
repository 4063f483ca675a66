//! Many connections spend one wallet down to zero. No money is lost, no reader sees a wrong sum,
//! and no event is missed.

use std::sync::atomic::{AtomicBool, Ordering};

use postgres::Client;
use wallet_tests::{
    Database, Decimal, Heard, Listener, Seed, alternating, audit, balance, charge, check_snapshot,
    create, crowd, dec, fund, recorded, scale, state_of, together,
};

const THRESHOLDS: [i64; 3] = [50, 20, 10];

fn thresholds() -> [Decimal; 3] {
    THRESHOLDS.map(Decimal::from)
}

/// Charges random amounts until not even a cent is left, or until `stop` is set after a refusal.
/// Returns the total that was charged.
fn spend(client: &mut Client, mut seed: Seed, most: i64, stop: &AtomicBool) -> Decimal {
    let mut spent = Decimal::ZERO;
    let mut most = most;
    while most > 0 {
        let amount = seed.cents(1, most);
        match charge(client, "acme", amount) {
            Ok(charged) => {
                assert_eq!(charged.cost, amount);
                assert!(charged.balance >= Decimal::ZERO);
                spent += amount;
            }
            Err(error) => {
                assert_eq!(state_of(&error), "WL001", "{error:?}");
                if stop.load(Ordering::Relaxed) {
                    // Smaller and smaller amounts, so that it ends at zero.
                    most /= 2;
                }
            }
        }
    }
    spent
}

/// Checks the wallet repeatedly until `done`. Returns how often.
fn watch(database: &Database, done: &AtomicBool) -> usize {
    let mut client = database.connect();
    let mut looks = 0;
    while !done.load(Ordering::Relaxed) {
        check_snapshot(&mut client, "acme");
        looks += 1;
    }
    looks
}

fn drain(test: &str, lanes: i32, connections: usize) {
    let _crowd = crowd();
    let seed = Seed::of(test);
    let database = Database::new();
    let money = Decimal::from(scale(200));
    let mut client = database.connect();
    create(&mut client, "acme", lanes, &thresholds(), money);
    let mut listener = Listener::new(&database);
    let (done, stop) = (AtomicBool::new(false), AtomicBool::new(true));
    let (spent, looks) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| watch(&database, &done));
        let spent = together(&database, connections, |number, client| {
            spend(client, seed.thread(number), 60, &stop)
        });
        done.store(true, Ordering::Relaxed);
        (spent, reader.join().expect("the reader"))
    });
    assert!(looks > 3, "only {looks} looks");
    assert_eq!(spent.iter().sum::<Decimal>(), money, "every cent is spent");
    assert_eq!(balance(&mut client, "acme"), Decimal::ZERO);
    let heard = listener.heard();
    let expected: Vec<Heard> = thresholds()
        .map(|at| ("wallet_balance_low".to_owned(), at))
        .into_iter()
        .chain([("wallet_depleted".to_owned(), Decimal::ZERO)])
        .collect();
    assert_eq!(heard, expected, "each once, in order");
    assert_eq!(recorded(&mut client, "acme"), expected);
    audit(&mut client, "acme");
}

#[test]
fn sixteen_lanes_are_drained_exactly_by_64_connections() {
    drain(
        "sixteen_lanes_are_drained_exactly_by_64_connections",
        16,
        64,
    );
}

#[test]
fn one_lane_is_drained_exactly_by_32_connections() {
    drain("one_lane_is_drained_exactly_by_32_connections", 1, 32);
}

/// More lanes than cents at the end, so that lanes are combined and rebalanced all the time.
#[test]
fn a_hundred_lanes_are_drained_exactly_by_16_connections() {
    drain(
        "a_hundred_lanes_are_drained_exactly_by_16_connections",
        100,
        16,
    );
}

fn with_fundings(test: &str, lanes: i32) {
    let _crowd = crowd();
    let seed = Seed::of(test);
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", lanes, &thresholds(), dec("30"));
    let mut listener = Listener::new(&database);
    let (done, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let (funded, spent) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| watch(&database, &done));
        let funder = scope.spawn(|| {
            let (mut client, mut seed) = (database.connect(), seed.thread(1000));
            let mut funded = Decimal::ZERO;
            for _ in 0..scale(60) {
                let amount = seed.cents(1, 4000);
                fund(&mut client, "acme", amount).expect("fund");
                funded += amount;
                std::thread::sleep(std::time::Duration::from_millis(seed.below(30)));
            }
            stop.store(true, Ordering::Relaxed);
            funded
        });
        let spent = together(&database, 16, |number, client| {
            spend(client, seed.thread(number), 500, &stop)
        });
        let funded = funder.join().expect("the funder");
        done.store(true, Ordering::Relaxed);
        reader.join().expect("the reader");
        (funded, spent)
    });
    let spent: Decimal = spent.iter().sum();
    let left = balance(&mut client, "acme");
    assert_eq!(dec("30") + funded - spent, left, "money in - money out");
    assert_eq!(left, Decimal::ZERO);
    audit(&mut client, "acme");
    let heard = listener.heard();
    for threshold in thresholds() {
        let last = alternating(&heard, threshold);
        // 50 may never have been reached.
        if last.is_some() || threshold <= dec("30") {
            assert_eq!(last, Some("wallet_balance_low"), "{threshold} at the end");
        }
    }
    let (_, last) = heard.split_at(heard.len().saturating_sub(1));
    assert_eq!(last, [("wallet_depleted".to_owned(), Decimal::ZERO)]);
    let mut recorded = recorded(&mut client, "acme");
    let mut heard = heard;
    // Events of the same millisecond have ids in any order.
    recorded.sort();
    heard.sort();
    assert_eq!(recorded, heard);
}

#[test]
fn one_lane_is_drained_exactly_during_fundings() {
    with_fundings("one_lane_is_drained_exactly_during_fundings", 1);
}

#[test]
fn eight_lanes_are_drained_exactly_during_fundings() {
    with_fundings("eight_lanes_are_drained_exactly_during_fundings", 8);
}
