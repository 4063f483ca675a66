//! The state after a crash: every crossing has its event, once and in order, and its top-up, and
//! every acknowledged charge is booked.

mod single;
mod torture;

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use postgres::Client;
use wallet_tests::{
    Database, Decimal, Heard, Seed, audit, balance, charge, create, crowd, dec, recorded, scale,
};

const CONNECTIONS: usize = 64;

/// Stops the server as a power failure would, and starts it again.
fn crash() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/server.sh");
    let output = Command::new(script)
        .arg("crash")
        .output()
        .expect("server.sh");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn connect(database: &Database) -> Client {
    for _ in 0..600 {
        if let Ok(client) = database.config().connect(postgres::NoTls) {
            return client;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the server does not come back");
}

/// Charges until no money is left, across all crashes. Returns what was certainly booked, and what
/// may have been booked when the connection broke.
fn spend(database: &Database, mut seed: Seed, booked: &AtomicUsize) -> (Decimal, Decimal) {
    let (mut certain, mut unknown) = (Decimal::ZERO, Decimal::ZERO);
    let mut client = connect(database);
    let mut most = 60;
    while most > 0 {
        let amount = seed.cents(1, most);
        match charge(&mut client, "acme", amount) {
            Ok(_) => {
                certain += amount;
                booked.fetch_add(1, Ordering::Relaxed);
            }
            Err(error)
                if error
                    .as_db_error()
                    .is_some_and(|e| e.code().code() == "WL001") =>
            {
                most /= 2;
            }
            Err(_) => {
                unknown += amount;
                client = connect(database);
            }
        }
    }
    (certain, unknown)
}

#[test]
fn crossings_survive_crashes() {
    // These tests share one server, and each of them stops it.
    let _crowd = crowd();
    let seed = Seed::of("crossings_survive_crashes");
    let database = Database::new();
    let mut client = database.connect();
    let money = Decimal::from(scale(600));
    create(
        &mut client,
        "acme",
        16,
        &[50, 20, 10, 0].map(Decimal::from),
        money,
    );
    let rule = "SELECT wallet.set_topup_rule('acme', '{\"threshold\":30,\"amount\":100}')";
    client.batch_execute(rule).unwrap();
    let booked = AtomicUsize::new(0);
    let spent: Vec<(Decimal, Decimal)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let (seed, booked, database) = (seed.thread(number), &booked, &database);
                scope.spawn(move || spend(database, seed, booked))
            })
            .collect();
        // During the charges, the last crash among the thresholds.
        for after in [200, 600, 1000, 1300] {
            while booked.load(Ordering::Relaxed) < scale(after) {
                if threads.iter().all(|thread| thread.is_finished()) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            crash();
        }
        threads
            .into_iter()
            .map(|t| t.join().expect("a client"))
            .collect()
    });
    let mut client = connect(&database);
    let (certain, unknown) = spent.iter().fold(
        (Decimal::ZERO, Decimal::ZERO),
        |(c, u), (certain, unknown)| (c + certain, u + unknown),
    );
    assert_eq!(balance(&mut client, "acme"), dec("0"));
    assert!(
        certain <= money && money <= certain + unknown,
        "{certain} and {unknown} of {money}"
    );
    let expected: Vec<Heard> = [50, 20, 10]
        .map(|at| ("wallet_balance_low".to_owned(), Decimal::from(at)))
        .into_iter()
        .chain([("wallet_depleted".to_owned(), Decimal::ZERO)])
        .collect();
    let of_balance = |events: Vec<Heard>| -> Vec<Heard> {
        let balance = |event: &Heard| event.0.starts_with("wallet_");
        events.into_iter().filter(balance).collect()
    };
    assert_eq!(
        of_balance(recorded(&mut client, "acme")),
        expected,
        "each once, in order"
    );
    let sql = "SELECT event FROM wallet.events WHERE event LIKE 'topup%'";
    let topups: Vec<String> = client
        .query(sql, &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(topups, ["topup_requested"]);
    let open = "SELECT count(*) FROM wallet.topups WHERE status = 'requested'";
    assert_eq!(client.query_one(open, &[]).unwrap().get::<_, i64>(0), 1);
    audit(&mut client, "acme");
}
