//! Random calls from many connections at once, with limits that refuse and with shared keys.
//! Acknowledged calls add up, and the chain is complete in every snapshot taken meanwhile.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use postgres::Client;
use wallet_tests::{
    Charge, Database, Decimal, Seed, alternating, archive, audit, balance, check_snapshot, create,
    crowd, dec, fund, limit, recorded, scale, state_of, together,
};

const CONNECTIONS: usize = 10;
const KEYS: u64 = 40;
const USERS: [&str; 3] = ["alice", "bob", "carol"];

/// The answers that one connection received.
#[derive(Default)]
struct Told {
    funded: Decimal,
    spent: Decimal,
    by_user: HashMap<&'static str, Decimal>,
    keys: Vec<u64>,
    replays: usize,
}

/// Every key has one request, whichever connection makes it.
fn request_of(key: u64) -> (Decimal, &'static str) {
    let mut seed = Seed::of_value(key);
    let amount = seed.cents(1, 900);
    (amount, USERS[seed.below(3) as usize])
}

fn allowed(error: &postgres::Error) {
    let state = state_of(error);
    assert!(["WL001", "WL002"].contains(&&*state), "{error:?}");
}

fn step(client: &mut Client, seed: &mut Seed, told: &mut Told) {
    let user = USERS[seed.below(3) as usize];
    match seed.below(100) {
        0..15 => {
            let amount = seed.cents(1, 3000);
            fund(client, "acme", amount).expect("fund");
            told.funded += amount;
        }
        15..65 => {
            let amount = seed.cents(0, 700);
            let charge = Charge {
                amount,
                user: Some(user),
                key: None,
            };
            match charge.on(client, "acme") {
                Ok(_) => told.note(user, amount),
                Err(error) => allowed(&error),
            }
        }
        65..90 => {
            let key = seed.below(KEYS);
            let (amount, user) = request_of(key);
            let name = format!("key {key}");
            let charge = Charge {
                amount,
                user: Some(user),
                key: Some(&name),
            };
            match charge.on(client, "acme") {
                Ok(charged) if charged.replayed => told.replays += 1,
                Ok(_) => {
                    told.note(user, amount);
                    told.keys.push(key);
                }
                Err(error) => allowed(&error),
            }
        }
        // A transaction that is rolled back.
        90..94 => {
            let mut transaction = client.transaction().expect("BEGIN");
            let amount = seed.cents(1, 500);
            match wallet_tests::charge(&mut transaction, "acme", amount) {
                Ok(_) => transaction.rollback().expect("ROLLBACK"),
                Err(error) => allowed(&error),
            }
        }
        94..96 => {
            let lanes = 1 + seed.below(12) as i32;
            client
                .query_one("SELECT wallet.set_lanes('acme', $1)", &[&lanes])
                .expect("set_lanes");
        }
        96..98 => {
            let most = 1 + seed.below(60) as i64;
            archive(client, "acme", Some(most)).expect("archive");
        }
        _ => {
            let max = seed.cents(1000, 20_000);
            limit(client, "acme", max, "lifetime", "UTC");
        }
    }
}

impl Told {
    fn note(&mut self, user: &'static str, amount: Decimal) {
        self.spent += amount;
        *self.by_user.entry(user).or_default() += amount;
    }
}

#[test]
fn acknowledged_calls_add_up_in_every_snapshot() {
    let _crowd = crowd();
    let seed = Seed::of("acknowledged_calls_add_up_in_every_snapshot");
    let database = Database::new();
    let mut client = database.connect();
    let thresholds = [dec("50"), dec("20")];
    create(&mut client, "acme", 4, &thresholds, dec("100"));
    let done = AtomicBool::new(false);
    let told = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut client = database.connect();
            let mut looks = 0_usize;
            while !done.load(Ordering::Relaxed) {
                // The whole chain from time to time.
                if looks % 50 == 49 {
                    audit(&mut client, "acme");
                } else {
                    check_snapshot(&mut client, "acme");
                }
                looks += 1;
            }
        });
        let told = together(&database, CONNECTIONS, |number, client| {
            let (mut seed, mut told) = (seed.thread(number), Told::default());
            // Both ways to access the tables at once: they must respect each other's locks.
            let storage = ["auto", "spi"][number % 2];
            client
                .batch_execute(&format!("SET wallet.storage = {storage}"))
                .expect("SET");
            for _ in 0..scale(250) {
                step(client, &mut seed, &mut told);
            }
            told
        });
        done.store(true, Ordering::Relaxed);
        reader.join().expect("the reader");
        told
    });

    let sum = |of: fn(&Told) -> Decimal| told.iter().map(of).sum::<Decimal>();
    let expected = dec("100") + sum(|t| t.funded) - sum(|t| t.spent);
    assert_eq!(balance(&mut client, "acme"), expected);
    let mut keys: Vec<u64> = told.iter().flat_map(|t| t.keys.clone()).collect();
    keys.sort_unstable();
    let booked = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), booked, "a key was booked twice");
    assert!(told.iter().any(|t| t.replays > 0), "nothing was replayed");
    for user in USERS {
        let expected: Decimal = told.iter().filter_map(|t| t.by_user.get(user)).sum();
        let booked: Decimal = client
            .query_one(
                "SELECT -coalesce(sum(amount), 0) FROM wallet.entries WHERE user_id = $1",
                &[&user],
            )
            .expect("entries")
            .get(0);
        assert_eq!(booked, expected, "{user}");
    }
    let events = recorded(&mut client, "acme");
    for threshold in thresholds {
        alternating(&events, threshold);
    }
    audit(&mut client, "acme");
}
