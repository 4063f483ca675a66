//! Several connections charge, fund, replay and change the number of lanes. An independent reader
//! checks every snapshot it can get. Every acknowledged call must be booked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use wallet_tests::{
    Charge, Charged, Database, Decimal, Seed, archive, audit, balance, check_snapshot, create, dec,
    fund, scale, state_of, together,
};

/// The acknowledged calls of a connection.
#[derive(Default)]
struct Acknowledged {
    funded: Decimal,
    spent: Decimal,
    by_key: HashMap<String, Charged>,
}

fn work(client: &mut postgres::Client, mut seed: Seed, number: usize) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    for step in 0..scale(80) {
        match seed.below(20) {
            0..3 => {
                acknowledged.funded += fund(client, "acme", seed.cents(1, 900)).unwrap().amount;
            }
            3 => {
                let lanes = 1 + seed.below(8) as i32;
                client
                    .query_one("SELECT wallet.set_lanes('acme', $1)", &[&lanes])
                    .unwrap();
            }
            4 => {
                // A generous limit: nobody is refused, but every backend must notice the change.
                let max = seed.cents(100_000_000, 200_000_000);
                client
                    .query_one(
                        "SELECT wallet.set_limit('acme', $1, 'day', 'user')",
                        &[&max],
                    )
                    .unwrap();
            }
            5 => {
                client.batch_execute("BEGIN").unwrap();
                // The transaction is rolled back: nothing of it may remain.
                let charge = Charge {
                    amount: seed.cents(1, 300),
                    user: Some("z"),
                    key: None,
                };
                let _ = charge.on(client, "acme");
                client.batch_execute("ROLLBACK").unwrap();
            }
            6 => {
                archive(client, "acme", None).unwrap();
            }
            7..10 if !acknowledged.by_key.is_empty() => {
                let mut known: Vec<_> = acknowledged.by_key.iter().collect();
                known.sort_by_key(|(key, _)| key.as_str());
                let (key, first) = known[seed.below(known.len() as u64) as usize];
                let charge = Charge {
                    amount: first.cost,
                    user: Some("u"),
                    key: Some(key),
                };
                let again = charge.on(client, "acme").unwrap();
                assert_eq!(
                    Charged {
                        replayed: false,
                        ..again
                    },
                    *first
                );
            }
            _ => {
                let key = format!("{number}-{step}");
                let charge = Charge {
                    amount: seed.cents(1, 700),
                    user: Some("u"),
                    key: Some(&key),
                };
                match charge.on(client, "acme") {
                    Ok(charged) => {
                        acknowledged.spent += charged.cost;
                        acknowledged.by_key.insert(key, charged);
                    }
                    Err(error) => assert_eq!(state_of(&error), "WL001", "{error:?}"),
                }
            }
        }
    }
    acknowledged
}

fn storm(storage: &str) {
    let seed = Seed::of("threads");
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 2, &[dec("50"), dec("20")], dec("100"));
    let done = AtomicBool::new(false);
    let all = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut reader = database.connect();
            while !done.load(Ordering::Relaxed) {
                check_snapshot(&mut reader, "acme");
            }
        });
        // The reader must also end if a thread panics.
        let all = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            together(&database, 12, |number, client| {
                client
                    .batch_execute(&format!("SET wallet.storage = {storage}"))
                    .unwrap();
                work(client, seed.thread(number), number)
            })
        }));
        done.store(true, Ordering::Relaxed);
        all.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let funded: Decimal = all.iter().map(|one| one.funded).sum();
    let spent: Decimal = all.iter().map(|one| one.spent).sum();
    assert_eq!(balance(&mut client, "acme"), dec("100") + funded - spent);
    let keys: usize = all.iter().map(|one| one.by_key.len()).sum();
    let charges: i64 = client
        .query_one(
            "SELECT count(*) FROM wallet.entries WHERE kind = 'charge'",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(
        charges, keys as i64,
        "each acknowledged charge once, and no other"
    );
    audit(&mut client, "acme");
}

#[test]
fn acknowledged_calls_are_booked_without_the_executor() {
    storm("auto");
}

#[test]
fn acknowledged_calls_are_booked_through_spi() {
    storm("spi");
}
