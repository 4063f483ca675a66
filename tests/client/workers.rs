//! The workers of examples/ against a provider that declines, does not answer, breaks connections,
//! answers twice and charges back, while workers are killed and connections are terminated.
//! Afterwards its books agree with the wallets', and every request for a top-up was carried out.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use postgres::Client;
use wallet_tests::{
    Charge, Database, Decimal, Provider, Seed, audit, create, crowd, dec, python_with, scale,
};

/// A process that ends with the test, even if the test fails.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn worker(program: &str, script: &str, database: &Database, pay_url: &str) -> Worker {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let child = Command::new(program)
        .arg(examples.join(script))
        .env("PGDATABASE", database.name())
        .env("PAY_URL", pay_url)
        .envs([("TIMEOUT", "0.2"), ("POLL", "0.2")])
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    Worker(child)
}

fn pending(client: &mut Client) -> i64 {
    let sql =
        "SELECT count(*) FROM wallet.events WHERE event = 'topup_requested' AND done_at IS NULL";
    client.query_one(sql, &[]).unwrap().get(0)
}

/// Repeatedly terminates a random connection of the database: of workers, of spending connections
/// and of the provider.
fn end_backends(database: &Database, mut seed: Seed, over: &AtomicBool, spare: i32) -> usize {
    let mut client = database.connect();
    let mut ended = 0;
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100 + seed.below(400)));
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM (
                      SELECT pid FROM pg_stat_activity
                       WHERE datname = current_database() AND backend_type = 'client backend'
                         AND pid NOT IN (pg_backend_pid(), $1)
                       ORDER BY random() LIMIT 1) a";
        let row = client.query_one(sql, &[&spare]).expect("a row");
        ended += row.get::<_, i64>(0) as usize;
    }
    ended
}

/// Charges the wallets in turn, each charge until it is answered. Returns the total that was
/// charged.
fn spend(database: &Database, mut seed: Seed, over: &AtomicBool, number: usize) -> Decimal {
    let mut client = database.connect();
    let (mut spent, mut step) = (Decimal::ZERO, 0);
    while !over.load(Ordering::Relaxed) {
        step += 1;
        let (wallet, key) = (WALLETS[step % WALLETS.len()], format!("s{number} {step}"));
        let charge = Charge {
            amount: seed.cents(1, 300),
            key: Some(&key),
            ..Charge::default()
        };
        loop {
            match charge.on(&mut client, wallet) {
                Ok(charged) => spent += charged.cost,
                // A charge beyond the balance is refused. The top-up is under way.
                Err(error) if error.code().is_some_and(|state| state.code() == "WL001") => {}
                Err(_) => {
                    client = database.connect();
                    continue;
                }
            }
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    spent
}

/// Waits until every request is done and no top-up is open.
fn come_to_rest(client: &mut Client) {
    let patience = Instant::now();
    let open = "SELECT count(*) FROM wallet.topups WHERE status = 'requested'";
    while pending(client) + client.query_one(open, &[]).unwrap().get::<_, i64>(0) > 0 {
        assert!(
            patience.elapsed() < Duration::from_secs(90),
            "{} events wait",
            pending(client)
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

const WALLETS: [&str; 3] = ["one", "many", "poor"];

/// The least numbers of payments and of kinds of faults for a meaningful test.
const LEAST_PAYMENTS: usize = 11;
const LEAST_FAULTS: usize = 6;

/// An hour of faults at three hundred times the speed: pauses, back-offs, time-outs.
/// `WALLET_TEST_SCALE=300` makes it a real hour.
fn an_hour_of_faults(test: &str, program: &str, script: &str) {
    let _crowd = crowd();
    let seed = Seed::of(test);
    let database = Database::new();
    let mut client = database.connect();
    for (wallet, lanes) in WALLETS.into_iter().zip([1, 8, 1]) {
        create(&mut client, wallet, lanes, &[dec("20")], dec("50"));
        // Fifteen seconds after a decline, six after a payment.
        let rule = "SELECT wallet.set_topup_rule($1,
            '{\"threshold\":20,\"amount\":30,\"back_off\":0.05,\"cooldown\":0.02,\"max_declines\":100000}')";
        client.execute(rule, &[&wallet]).unwrap();
    }
    let provider = Provider::start(&database, seed.thread(1), Duration::from_millis(400));
    let pay_url = provider.url("/payments");
    let start = || worker(program, script, &database, &pay_url);
    let mut workers = vec![start(), start()];
    let over = AtomicBool::new(false);
    let ours: i32 = client
        .query_one("SELECT pg_backend_pid()", &[])
        .unwrap()
        .get(0);
    let (spent, ended, killed) = std::thread::scope(|scope| {
        let spenders: Vec<_> = (0..4)
            .map(|number| {
                let (database, over, seed) = (&database, &over, seed.thread(10 + number));
                scope.spawn(move || spend(database, seed, over, number))
            })
            .collect();
        let ending = scope.spawn(|| end_backends(&database, seed.thread(2), &over, ours));
        // Six times a worker is killed in the middle of its work, and another one takes its place.
        let killed = 6;
        for _ in 0..=killed {
            std::thread::sleep(Duration::from_secs(scale(12) as u64) / (killed + 1));
            workers.remove(0);
            workers.push(start());
        }
        // A slow machine needs longer until enough has happened.
        let patience = Instant::now();
        while (provider.paid().len() < LEAST_PAYMENTS || provider.faults().len() < LEAST_FAULTS)
            && patience.elapsed() < Duration::from_secs(60)
        {
            std::thread::sleep(Duration::from_millis(100));
        }
        over.store(true, Ordering::Relaxed);
        let spent: Decimal = spenders
            .into_iter()
            .map(|spender| spender.join().expect("a spender"))
            .sum();
        (spent, ending.join().expect("no thread panics"), killed)
    });
    provider.be_honest();
    // A late chargeback may request another payment.
    come_to_rest(&mut client);
    provider.finish();
    come_to_rest(&mut client);
    drop(workers);

    // The payments that the provider took are those credited to the wallets, one by one, and its
    // chargebacks were taken from them.
    let theirs: BTreeMap<String, (String, Decimal)> = provider
        .paid()
        .into_values()
        .map(|(wallet, amount, reference)| (reference, (wallet, amount)))
        .collect();
    let sql =
        "SELECT reference, wallet, amount, status FROM wallet.fundings WHERE reference IS NOT NULL";
    let rows = client.query(sql, &[]).unwrap();
    let ours: BTreeMap<String, (String, Decimal)> = rows
        .iter()
        .map(|row| (row.get(0), (row.get(1), row.get(2))))
        .collect();
    println!(
        "{} payments; {ended} backends ended, {killed} workers killed; faults: {:?}",
        theirs.len(),
        provider.faults()
    );
    assert_eq!(theirs, ours);
    assert_eq!(rows.len(), ours.len(), "a payment was credited twice");
    let reversed = rows
        .iter()
        .filter(|row| row.get::<_, String>(3) == "reversed");
    let reversed: HashSet<String> = reversed.map(|row| row.get(0)).collect();
    assert_eq!(reversed, provider.returned());
    assert!(theirs.len() >= LEAST_PAYMENTS, "{} payments", theirs.len());
    assert!(
        provider.faults().len() >= LEAST_FAULTS,
        "{:?}",
        provider.faults()
    );
    assert!(ended > 5, "only {ended} backends were ended");
    // The total: money in, minus chargebacks and charges.
    let sum = |of: &HashSet<String>| -> Decimal { of.iter().map(|one| theirs[one].1).sum() };
    let paid = sum(&theirs.keys().cloned().collect()) - sum(&reversed);
    let sql = "SELECT sum(balance - debt) FROM wallet.balances";
    let left: Decimal = client.query_one(sql, &[]).unwrap().get(0);
    assert_eq!(left, dec("150") + paid - spent);

    for wallet in WALLETS {
        audit(&mut client, wallet);
    }
}

#[test]
fn the_python_worker_survives_an_hour_of_faults() {
    an_hour_of_faults(
        "the_python_worker_survives_an_hour_of_faults",
        python_with("psycopg"),
        "worker.py",
    );
}

#[test]
fn the_node_worker_survives_an_hour_of_faults() {
    an_hour_of_faults(
        "the_node_worker_survives_an_hour_of_faults",
        "node",
        "worker.js",
    );
}

/// A worker whose connection leads to a server that cannot write looks for another one.
fn a_while_on_a_standby(program: &str, script: &str) {
    let database = Database::new();
    let mut client = database.connect();
    let can_only_read = |value: &str| {
        let name = database.name();
        let sql = format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}");
        let mut client = database.connect();
        client
            .batch_execute("SET default_transaction_read_only = off")
            .unwrap();
        client.batch_execute(&sql).expect("a setting");
    };
    can_only_read("on");
    let mut worker = worker(program, script, &database, "http://127.0.0.1:1/");
    // It calls at once, and then after a second.
    std::thread::sleep(Duration::from_secs(3));
    assert!(worker.0.try_wait().unwrap().is_none(), "{script} has ended");
    can_only_read("off");
    let begun = Instant::now();
    let claims = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()
                     AND query LIKE '%claim_events%'";
    while client.query_one(claims, &[]).unwrap().get::<_, i64>(0) == 0 {
        let waited = begun.elapsed();
        assert!(waited < Duration::from_secs(60), "{script} claims nothing");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_python_worker_survives_a_standby() {
    a_while_on_a_standby(python_with("psycopg"), "worker.py");
}

#[test]
fn the_node_worker_survives_a_standby() {
    a_while_on_a_standby("node", "worker.js");
}

#[test]
fn each_worker_is_short() {
    for script in [
        include_str!("../../examples/worker.py"),
        include_str!("../../examples/worker.js"),
    ] {
        assert!(script.lines().count() < 90);
    }
}
