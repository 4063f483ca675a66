//! Every kind of call from many connections while backends are terminated or killed and the server
//! is stopped. An acknowledged call is booked once. A call that was not acknowledged is booked at
//! most once, and exactly once after a retry with its key. No hold leaks, the chains and the sums
//! agree, and the files of the tables and indexes are intact.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use postgres::Client;
use uuid::Uuid;
use wallet_tests::{Database, Decimal, Seed, audit, create, crowd, dec, scale};

use crate::{connect, crash};

const CONNECTIONS: usize = 32;
/// One lane, several lanes, and a wallet for transfers in both directions.
const WALLETS: [(&str, i32); 3] = [("solo", 1), ("wide", 8), ("peer", 2)];
const USERS: [&str; 4] = ["ann", "bob", "cyd", "dan"];

/// What a thread knows to be booked: the sum of the entries by wallet.
#[derive(Default)]
struct Known {
    sums: BTreeMap<String, Decimal>,
    /// Keys of entries, with their wallet and amount.
    entries: Vec<(String, String, Decimal)>,
    charges: Vec<(String, Uuid)>,
    open: Vec<(String, Uuid)>,
    refused: usize,
}

impl Known {
    fn book(&mut self, wallet: &str, key: &str, amount: Decimal) {
        *self.sums.entry(wallet.to_owned()).or_default() += amount;
        self.entries
            .push((wallet.to_owned(), key.to_owned(), amount));
    }
}

/// The answer to a call: its id and amount, or the SQLSTATE that refused it.
type Answer = Result<(Uuid, Decimal), String>;

/// Repeats the call until its answer arrives, whatever happens to the connection.
fn call(database: &Database, client: &mut Client, sql: &str) -> Answer {
    for _ in 0..1_000 {
        match client.query_one(sql, &[]) {
            Ok(row) => return Ok((row.get(0), row.get(1))),
            Err(error) => match error
                .as_db_error()
                .map(|error| error.code().code().to_owned())
            {
                // Deadlocks and serialization failures are retried, and so are interrupted calls.
                Some(state) if ["40001", "40P01"].contains(&state.as_str()) => {}
                Some(state) if !state.starts_with("57P") && !state.starts_with("08") => {
                    return Err(state);
                }
                _ => *client = connect(database),
            },
        }
    }
    panic!("never answered: {sql}");
}

struct Worker<'a> {
    database: &'a Database,
    number: usize,
    seed: Seed,
    done: &'a AtomicUsize,
}

impl Worker<'_> {
    fn pick<'t, T>(&mut self, from: &'t [T]) -> Option<&'t T> {
        let count = u64::try_from(from.len()).unwrap_or(0);
        (count > 0).then(|| &from[self.seed.below(count) as usize])
    }

    fn work(mut self, steps: usize) -> Known {
        let mut known = Known::default();
        let mut client = connect(self.database);
        for step in 0..steps {
            let key = format!("t{} s{step}", self.number);
            let result = self.step(&mut client, &mut known, &key);
            if let Err(state) = result {
                assert!(
                    ["WL001", "WL002", "WL008", "WL012"].contains(&state.as_str()),
                    "{key} was refused with {state}"
                );
                known.refused += 1;
            }
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        known
    }

    fn step(&mut self, client: &mut Client, known: &mut Known, key: &str) -> Result<(), String> {
        let (wallet, _) = WALLETS[self.seed.below(3) as usize];
        let user = USERS[self.seed.below(4) as usize];
        let amount = self.seed.cents(1, 400);
        let database = self.database;
        let mut ask = |sql: String| call(database, client, &sql);
        match self.seed.below(20) {
            0..6 => {
                let (id, cost) = ask(format!(
                    "SELECT entry_id, cost FROM wallet.charge('{wallet}', amount => {amount}, user_id => '{user}', idempotency_key => '{key}')"
                ))?;
                known.book(wallet, key, -cost);
                known.charges.push((wallet.to_owned(), id));
            }
            6 | 7 => {
                let (id, cost) = ask(format!(
                    "SELECT entry_id, cost FROM wallet.charge('{wallet}', '{{\"model\":\"m\",\"input_tokens\":{}}}', user_id => '{user}', idempotency_key => '{key}')",
                    self.seed.below(3000)
                ))?;
                known.book(wallet, key, -cost);
                known.charges.push((wallet.to_owned(), id));
            }
            8 | 9 => {
                let (_, amount) = ask(format!(
                    "SELECT entry_id, amount FROM wallet.fund('{wallet}', {amount}, idempotency_key => '{key}')"
                ))?;
                known.book(wallet, key, amount);
            }
            10..13 => {
                let (id, _) = ask(format!(
                    "SELECT hold_id, amount FROM wallet.hold('{wallet}', amount => {amount}, user_id => '{user}', ttl => '1 hour', idempotency_key => '{key}')"
                ))?;
                known.open.push((wallet.to_owned(), id));
            }
            13..16 => {
                let Some(place) = known.open.len().checked_sub(1) else {
                    return Ok(());
                };
                let (wallet, hold) = known.open[place].clone();
                let is_last = self.seed.below(3) > 0;
                let answer = ask(format!(
                    "SELECT entry_id, cost FROM wallet.settle('{wallet}', '{hold}', amount => {amount}, final => {is_last}, idempotency_key => '{key}')"
                ));
                if is_last && answer.is_ok() {
                    known.open.pop();
                }
                let (id, cost) = answer?;
                known.book(&wallet, key, -cost);
                known.charges.push((wallet, id));
            }
            16 => {
                let Some((wallet, hold)) = known.open.pop() else {
                    return Ok(());
                };
                ask(format!(
                    "SELECT hold_id, amount FROM wallet.void('{wallet}', '{hold}', idempotency_key => '{key}')"
                ))?;
            }
            17 => {
                let Some((wallet, charge)) = self.pick(&known.charges).cloned() else {
                    return Ok(());
                };
                let (_, amount) = ask(format!(
                    "SELECT entry_id, amount FROM wallet.refund('{wallet}', '{charge}', 0.01, idempotency_key => '{key}')"
                ))?;
                known.book(&wallet, key, amount);
            }
            18 => {
                let to = WALLETS
                    .map(|(name, _)| name)
                    .into_iter()
                    .find(|name| *name != wallet)
                    .unwrap_or("solo");
                let (_, amount) = ask(format!(
                    "SELECT entry_id, amount FROM wallet.transfer('{wallet}', '{to}', {amount}, idempotency_key => '{key}')"
                ))?;
                known.book(wallet, key, amount);
                *known.sums.entry(to.to_owned()).or_default() -= amount;
            }
            _ if self.seed.below(5) == 0 => {
                let max = 2_500 + self.seed.below(1_000);
                ask(format!(
                    "SELECT wallet.set_limit('{wallet}', {max}, 'month'), 0::numeric"
                ))?;
            }
            _ if self.seed.below(4) == 0 => {
                let most = 1 + self.seed.below(200);
                ask(format!(
                    "SELECT gen_random_uuid(), carried_forward FROM wallet.archive('{wallet}', statement_timestamp(), {most})"
                ))?;
            }
            _ if self.seed.below(4) == 0 => {
                let lanes = 2 + self.seed.below(9);
                ask(format!(
                    "SELECT gen_random_uuid(), balance FROM wallet.set_lanes('wide', {lanes})"
                ))?;
            }
            _ => {
                let items: Vec<String> = (0..20)
                    .map(|item| format!("{{\"wallet\":\"{}\",\"amount\":0.03,\"user_id\":\"{user}\",\"idempotency_key\":\"{key} i{item}\"}}", WALLETS[item % 3].0))
                    .collect();
                ask(format!(
                    "SELECT gen_random_uuid(), sum(cost) FROM wallet.charge_batch('[{}]')",
                    items.join(",")
                ))?;
                for item in 0..20 {
                    known.book(WALLETS[item % 3].0, &format!("{key} i{item}"), -dec("0.03"));
                }
            }
        }
        Ok(())
    }
}

/// Terminates backends, kills them, and stops the server, until the work is done. Returns how often
/// each happened.
fn chaos(
    database: &Database,
    mut seed: Seed,
    done: &AtomicUsize,
    total: usize,
    over: &AtomicBool,
) -> [usize; 3] {
    let mut count = [0; 3];
    let pids = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let mut next = total / 20;
    while !over.load(Ordering::Relaxed) {
        if done.load(Ordering::Relaxed) < next {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        next += total / 20 + 1;
        let kind = match seed.below(10) {
            0..6 => 0,
            6..8 => 1,
            _ => 2,
        };
        count[kind] += 1;
        if kind == 2 {
            crash();
            continue;
        }
        let mut client = connect(database);
        let Ok(backends) = client.query(pids, &[]) else {
            continue;
        };
        let Some(row) = backends.get(seed.below(backends.len().max(1) as u64) as usize) else {
            continue;
        };
        let pid: i32 = row.get(0);
        if kind == 0 {
            let _ = client.execute("SELECT pg_terminate_backend($1)", &[&pid]);
        } else {
            // The postmaster then restarts all processes, as after any crash of a backend.
            let status = Command::new("kill")
                .args(["-9", &pid.to_string()])
                .status()
                .expect("kill");
            if !status.success() {
                count[kind] -= 1;
            }
        }
    }
    count
}

fn sum_of(client: &mut Client, wallet: &str) -> Decimal {
    let sql = "SELECT coalesce(sum(amount), 0) FROM wallet.entries WHERE wallet = $1";
    client.query_one(sql, &[&wallet]).expect("entries").get(0)
}

#[test]
fn every_call_survives_kills_and_crashes() {
    let _crowd = crowd();
    let seed = Seed::of("every_call_survives_kills_and_crashes");
    let database = Database::new();
    let mut client = database.connect();
    wallet_tests::price(&mut client, "m", "input_tokens", dec("0.001"));
    for (wallet, lanes) in WALLETS {
        create(
            &mut client,
            wallet,
            lanes,
            &[dec("200"), dec("50")],
            dec("400"),
        );
        wallet_tests::limit(&mut client, wallet, dec("2000"), "month", "UTC");
        client
            .execute("SELECT wallet.set_limit($1, 3000, 'month')", &[&wallet])
            .expect("set_limit");
    }
    // Scoped credit, which charges by usage may spend.
    let given = "SELECT wallet.fund('peer', 100, scope => '{\"models\": [\"m\"]}')";
    client.batch_execute(given).expect("fund");
    drop(client);
    let steps = scale(60);
    let (done, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let total = steps * CONNECTIONS;
    let (known, count) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let worker = Worker {
                    database: &database,
                    number,
                    seed: seed.thread(number),
                    done: &done,
                };
                scope.spawn(move || worker.work(steps))
            })
            .collect();
        let chaos = scope.spawn(|| chaos(&database, seed.thread(CONNECTIONS), &done, total, &over));
        let known: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        over.store(true, Ordering::Relaxed);
        let count = chaos.join().expect("no thread panics");
        let known: Vec<Known> = known
            .into_iter()
            .map(|known| known.expect("no worker panics"))
            .collect();
        (known, count)
    });
    let refused: usize = known.iter().map(|known| known.refused).sum();
    println!(
        "{total} calls, {refused} refused; {} backends ended, {} killed, {} stops of the server",
        count[0], count[1], count[2]
    );
    assert!(refused < total / 2, "most calls must get through");

    let mut client = connect(&database);
    let keys: BTreeMap<(String, String), (i64, Decimal)> = client
        .query(
            "SELECT wallet_id, idempotency_key, count(*), sum(amount) FROM wallet.ledger_all
              WHERE idempotency_key IS NOT NULL GROUP BY 1, 2",
            &[],
        )
        .expect("the ledger")
        .iter()
        .map(|row| ((row.get(0), row.get(1)), (row.get(2), row.get(3))))
        .collect();
    let mut acknowledged = 0;
    for (wallet, key, amount) in known.iter().flat_map(|known| &known.entries) {
        assert_eq!(
            keys.get(&(wallet.clone(), key.clone())),
            Some(&(1, *amount)),
            "{key} of {wallet}"
        );
        acknowledged += 1;
    }
    assert_eq!(keys.len(), acknowledged, "entries that nobody was told of");
    for (wallet, _) in WALLETS {
        let booked: Decimal = known
            .iter()
            .filter_map(|known| known.sums.get(wallet))
            .sum();
        let given = dec(if wallet == "peer" { "500" } else { "400" });
        assert_eq!(
            sum_of(&mut client, wallet),
            given + booked,
            "sum of {wallet}"
        );
    }
    // No hold leaks: the open holds are those that no thread closed.
    let mut open: Vec<(String, Uuid)> = known.into_iter().flat_map(|known| known.open).collect();
    open.sort();
    let shown: Vec<(String, Uuid)> = client
        .query(
            "SELECT wallet, hold_id FROM wallet.holds WHERE status = 'open' ORDER BY 1, 2",
            &[],
        )
        .expect("holds")
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert_eq!(shown, open);
    for (wallet, hold) in open {
        client
            .execute("SELECT wallet.void($1, $2)", &[&wallet, &hold])
            .expect("void");
    }
    let held = "SELECT coalesce(sum(held), 0) FROM wallet.allowances";
    assert_eq!(
        client
            .query_one(held, &[])
            .expect("held")
            .get::<_, Decimal>(0),
        Decimal::ZERO
    );
    for (wallet, _) in WALLETS {
        audit(&mut client, wallet);
        let broken = client
            .query(
                "SELECT \"check\", detail FROM wallet.verify($1) WHERE NOT ok",
                &[&wallet],
            )
            .expect("verify");
        let broken: Vec<(String, String)> =
            broken.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert!(broken.is_empty(), "{wallet}: {broken:?}");
    }
    sound(&database);
}

/// Checks tables and indexes with PostgreSQL's pg_amcheck.
pub fn sound(database: &Database) {
    let mut client = connect(database);
    client
        .batch_execute("CREATE EXTENSION amcheck")
        .expect("amcheck");
    let output = Command::new("pg_amcheck")
        .args([
            "--heapallindexed",
            "--parent-check",
            "--rootdescend",
            "--schema=wallet",
        ])
        .arg(format!(
            "--username={}",
            std::env::var("PGUSER").expect("PGUSER")
        ))
        .arg(database.name())
        .output()
        .expect("pg_amcheck runs");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
