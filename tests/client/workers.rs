//! The workers of examples/ against a provider that declines, stays silent, dies half-way and
//! answers twice: in the end its books and the wallets' agree, and every event was told.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use postgres::Client;
use wallet_tests::{
    Database, Decimal, Provider, Seed, audit, charge, create, crowd, dec, python_with, scale,
};

const SECRET: &str = "whsec";

/// Ends with the test, also with one that fails.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn worker(program: &str, script: &str, database: &Database, provider: &Provider) -> Worker {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let child = Command::new(program)
        .arg(examples.join(script))
        .env("PGDATABASE", database.name())
        .env("PAY_URL", provider.url("/payments"))
        .env("HOOK_URL", provider.url("/hook"))
        .env("HOOK_SECRET", SECRET)
        .envs([("TIMEOUT", "0.2"), ("POLL", "0.2")])
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    Worker(child)
}

fn pending(client: &mut Client) -> i64 {
    let sql = "SELECT count(*) FROM wallet.events WHERE done_at IS NULL";
    client.query_one(sql, &[]).unwrap().get(0)
}

/// The signature as PostgreSQL would make it, which knows nothing of the worker.
fn signature(client: &mut Client, body: &[u8]) -> String {
    let sql = "SELECT 'sha256=' || encode(hmac($1::bytea, $2::bytea, 'sha256'), 'hex')";
    client
        .query_one(sql, &[&body, &SECRET.as_bytes()])
        .unwrap()
        .get(0)
}

fn unreliable(test: &str, program: &str, script: &str) {
    let _crowd = crowd();
    let seed = Seed::of(test);
    let database = Database::new();
    let mut client = database.connect();
    client.batch_execute("CREATE EXTENSION pgcrypto").unwrap();
    let wallets = ["one", "many", "poor"];
    for (wallet, lanes) in wallets.into_iter().zip([1, 8, 1]) {
        create(&mut client, wallet, lanes, &[dec("20")], dec("50"));
        let rule = "SELECT wallet.set_topup_rule($1,
            '{\"threshold\":20,\"amount\":30,\"back_off\":0.05,\"cooldown\":0.02,\"max_declines\":1000}')";
        client.execute(rule, &[&wallet]).unwrap();
    }
    let provider = Provider::start(&database, seed.thread(1), Duration::from_millis(400));
    let mut workers = vec![
        worker(program, script, &database, &provider),
        worker(program, script, &database, &provider),
    ];
    let begun = Instant::now();
    let lasts = Duration::from_secs(scale(12) as u64);
    let mut spending = seed.thread(2);
    let mut killed = false;
    while begun.elapsed() < lasts {
        for wallet in wallets {
            // What the wallet has not is refused; the top-up is on its way.
            let _ = charge(&mut client, wallet, spending.cents(1, 400));
        }
        if !killed && begun.elapsed() > lasts / 2 {
            // A worker that dies, with whatever it has in hand; another one takes its place.
            workers.remove(0);
            workers.push(worker(program, script, &database, &provider));
            killed = true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    provider.be_honest();
    let patience = Instant::now();
    let mut open = 1_i64;
    while pending(&mut client) + open > 0 {
        assert!(
            patience.elapsed() < Duration::from_secs(90),
            "{} events wait",
            pending(&mut client)
        );
        std::thread::sleep(Duration::from_millis(100));
        let sql = "SELECT count(*) FROM wallet.topups WHERE status = 'requested'";
        open = client.query_one(sql, &[]).unwrap().get(0);
    }
    drop(workers);

    // What the provider has taken is what the wallets were credited with, payment by payment.
    let theirs: BTreeMap<String, (String, Decimal)> = provider
        .paid()
        .into_values()
        .map(|(wallet, amount, reference)| (reference, (wallet, amount)))
        .collect();
    let sql = "SELECT reference, wallet, amount FROM wallet.fundings WHERE reference IS NOT NULL";
    let ours: BTreeMap<String, (String, Decimal)> = client
        .query(sql, &[])
        .unwrap()
        .iter()
        .map(|row| (row.get(0), (row.get(1), row.get(2))))
        .collect();
    println!("{} payments, faults: {:?}", theirs.len(), provider.faults());
    assert_eq!(theirs, ours);
    assert!(theirs.len() > 3, "only {} payments", theirs.len());
    assert!(provider.faults().len() > 3, "{:?}", provider.faults());
    let twice = "SELECT count(*) FROM wallet.fundings WHERE reference IS NOT NULL GROUP BY reference HAVING count(*) > 1";
    assert!(client.query(twice, &[]).unwrap().is_empty());

    // Every event was told, at least once, and signed.
    let mut told = HashSet::new();
    for hook in provider.hooks() {
        assert_eq!(hook.signature, signature(&mut client, &hook.body));
        let body: serde_json::Value = serde_json::from_slice(&hook.body).unwrap();
        assert_eq!(body["id"], hook.id.as_str());
        told.insert(hook.id);
    }
    for row in client
        .query("SELECT id::text, event FROM wallet.events", &[])
        .unwrap()
    {
        let (id, event): (String, String) = (row.get(0), row.get(1));
        assert!(told.contains(&id), "{event} {id} was not told");
    }
    for wallet in wallets {
        audit(&mut client, wallet);
    }
}

#[test]
fn python_worker() {
    unreliable("python_worker", python_with("psycopg"), "worker.py");
}

#[test]
fn node_worker() {
    unreliable("node_worker", "node", "worker.js");
}

#[test]
fn workers_are_short() {
    for script in [
        include_str!("../../examples/worker.py"),
        include_str!("../../examples/worker.js"),
    ] {
        assert!(script.lines().count() < 100);
    }
}
