//! The calls that write most, interrupted anywhere: the backend is killed or the server stops at a
//! random moment during one call. Afterwards the call has happened completely or not at all.

use std::io::Read;
use std::process::Command;
use std::time::{Duration, Instant};

use postgres::Client;
use wallet_tests::{Database, Seed, check_snapshot, create, crowd, dec, scale};

use crate::torture::sound;
use crate::{connect, crash};

const ITEMS: usize = 3_000;

/// The entries of the person who is erased.
const PERSONAL: i64 = 2000;

fn feed() -> String {
    let packed: &[u8] = include_bytes!("../data/litellm_model_prices.json.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed)
        .read_to_string(&mut text)
        .expect("the price file");
    text
}

fn count(client: &mut Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).expect(sql).get(0)
}

/// Makes the call and interrupts it after a while, in one of two ways. Returns whether the caller
/// got its answer.
fn cut_off(database: &Database, sql: &str, after: Duration, kills: bool) -> bool {
    let mut client = connect(database);
    let pid = count(&mut client, "SELECT pg_backend_pid()::bigint");
    std::thread::scope(|scope| {
        let call = scope.spawn(move || client.batch_execute(sql));
        std::thread::sleep(after);
        if kills {
            let mut witness = connect(database);
            let killed = Command::new("kill")
                .args(["-9", &pid.to_string()])
                .output()
                .expect("kill");
            // After a backend crash the postmaster restarts all processes, unless the call had
            // ended and its process was only waiting to be reaped.
            for _ in 0..500 {
                if !killed.status.success() || witness.simple_query("SELECT 1").is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        } else {
            crash();
        }
        call.join().expect("the thread ends").is_ok()
    })
}

/// A call, the statements before it, and a number that the complete call changes by `step`.
struct Cut<'a> {
    name: &'a str,
    before: &'a str,
    call: &'a str,
    state: &'a str,
    step: i64,
}

impl Cut<'_> {
    /// Interrupts the call in many places. After each, the call has changed the state completely or
    /// not at all.
    fn whole_or_nothing(&self, database: &Database, seed: &mut Seed) {
        let Cut { name, step, .. } = self;
        let mut client = connect(database);
        client.batch_execute(self.before).expect(self.before);
        let old = count(&mut client, self.state);
        let begun = Instant::now();
        client.batch_execute(self.call).expect(name);
        let mut takes = begun.elapsed();
        assert_eq!(count(&mut client, self.state), old + step, "{name}");
        drop(client);
        let (mut nothing, mut whole, mut answered) = (0, 0, 0);
        for round in 0..scale(6) {
            let mut client = connect(database);
            client.batch_execute(self.before).expect(self.before);
            let old = count(&mut client, self.state);
            drop(client);
            let after = takes.mul_f64(seed.below(1000) as f64 / 900.0);
            let told = cut_off(database, self.call, after, round % 2 == 0);
            let change = count(&mut connect(database), self.state) - old;
            assert!(
                change == 0 || change == *step,
                "{name} was cut off after {after:?} of {takes:?}: {change} of {step}"
            );
            assert!(
                !told || change == *step,
                "{name}: what was answered is there"
            );
            answered += usize::from(told);
            // The first call may have been slow: the next ones are interrupted within the time it
            // takes now.
            if told {
                takes = takes.min(after);
            }
            *(if change == 0 {
                &mut nothing
            } else {
                &mut whole
            }) += 1;
        }
        println!(
            "{name} ({takes:?}): {nothing} times nothing, {whole} times all, {answered} answered"
        );
        assert!(nothing > 0, "{name} was never cut off");
    }
}

#[test]
fn an_interrupted_large_call_happens_completely_or_not_at_all() {
    let _crowd = crowd();
    let mut seed = Seed::of("an_interrupted_large_call_happens_completely_or_not_at_all");
    let database = Database::new();
    let mut client = connect(&database);
    create(&mut client, "wide", 2, &[], dec("1000000"));
    create(&mut client, "peer", 4, &[dec("5")], dec("1000000"));
    client
        .batch_execute(
            "SELECT wallet.set_limit(w, 900000, 'lifetime') FROM unnest(ARRAY['wide', 'peer']) w",
        )
        .expect("limits");
    // Each import has its own price list.
    let import = format!(
        "SELECT count(*) FROM wallet.import_prices('litellm', $feed${}$feed$,
                'list ' || (SELECT count(DISTINCT price_list) FROM wallet.prices))",
        feed()
    );
    client.batch_execute(&import).expect("import");
    let prices = "SELECT count(*) FROM wallet.prices";
    let imported = count(&mut client, prices);
    assert!(imported > 5_000);
    drop(client);
    let items: Vec<String> = (0..ITEMS)
        .map(|item| {
            format!(
                "{{\"wallet\":\"{}\",\"amount\":0.01}}",
                ["wide", "peer"][item % 2]
            )
        })
        .collect();
    let batch = format!(
        "SELECT count(*) FROM generate_series(1, 5) n, LATERAL wallet.charge_batch(('[{}]' || repeat('', n))::jsonb)",
        items.join(",")
    );
    let used = format!(
        "SELECT wallet.erase_user('gone@example.com');
         SELECT count(*) FROM wallet.charge_batch((
             SELECT jsonb_agg(jsonb_build_object('wallet', (ARRAY['wide', 'peer'])[1 + n % 2], 'amount', 0.01, 'user_id', 'gone@example.com'))
               FROM generate_series(1, {PERSONAL}) n));
         SELECT wallet.archive('wide', clock_timestamp(), {PERSONAL} / 4)"
    );
    for cut in [
        Cut {
            name: "import_prices",
            before: "SELECT 1",
            call: &import,
            state: prices,
            step: imported,
        },
        Cut {
            name: "charge_batch",
            before: "SELECT 1",
            call: &batch,
            state: "SELECT count(*) FROM wallet.entries",
            step: 5 * ITEMS as i64,
        },
        // Many changes in one transaction, the last of which leaves 64 lanes.
        Cut {
            name: "set_lanes",
            before: "SELECT wallet.set_lanes('wide', 2)",
            call: "SELECT wallet.set_lanes('wide', 2 + n % 63) FROM generate_series(1, 62) n",
            state: "SELECT lanes::bigint FROM wallet.balances WHERE wallet = 'wide'",
            step: 62,
        },
        // A person of whom each entry, archived or not, has the identifier.
        Cut {
            name: "erase_user",
            before: &used,
            call: "SELECT wallet.erase_user('gone@example.com')",
            state: "SELECT count(*) FROM wallet.entries WHERE user_id = 'gone@example.com'",
            step: -PERSONAL,
        },
    ] {
        cut.whole_or_nothing(&database, &mut seed);
        let mut client = connect(&database);
        for wallet in ["wide", "peer"] {
            check_snapshot(&mut client, wallet);
            let broken = "SELECT count(*) FROM wallet.verify($1) WHERE NOT ok";
            let broken: i64 = client.query_one(broken, &[&wallet]).expect("verify").get(0);
            assert_eq!(broken, 0, "{wallet} after {}", cut.name);
        }
    }
    sound(&database);
}
