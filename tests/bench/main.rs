//! `make bench`: the extension compared with hand-written SQL for the same durable work. The two
//! alternate in one run, because machines differ and are noisy: the ratio is what counts.
//!
//! `WALLET_BENCH_ROUNDS` (5) and `WALLET_BENCH_SECONDS` (4) set the duration. `WALLET_BENCH_ONLY`
//! selects the workloads whose name contains the text.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use postgres::{Client, NoTls};

/// A workload: its name, the number of clients, the script to compare with and our own script. A
/// suffix after `@` is the value of `wallet.storage`.
struct Workload {
    name: &'static str,
    clients: u32,
    hand: &'static str,
    ours: &'static str,
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "charge, 10,000 wallets, 1 client",
        clients: 1,
        hand: "hand_many",
        ours: "charge_many",
    },
    Workload {
        name: "charge, 10,000 wallets, 32 clients",
        clients: 32,
        hand: "hand_many",
        ours: "charge_many",
    },
    Workload {
        name: "charge through SPI, 10,000 wallets, 1 client",
        clients: 1,
        hand: "hand_many",
        ours: "charge_many@spi",
    },
    Workload {
        name: "charge through SPI, 32 clients",
        clients: 32,
        hand: "hand_many",
        ours: "charge_many@spi",
    },
    Workload {
        name: "one wallet, 16 lanes, 32 clients",
        clients: 32,
        hand: "hand_hot",
        ours: "charge_hot",
    },
    Workload {
        name: "one wallet, 16 lanes, 5 ms in the transaction",
        clients: 32,
        hand: "hand_hot_work",
        ours: "charge_hot_work",
    },
    Workload {
        name: "one wallet, 16 lanes, with a limit of its own",
        clients: 32,
        hand: "hand_hot",
        ours: "charge_hot_limit",
    },
    Workload {
        name: "16 lanes, limit of its own, 5 ms of work",
        clients: 32,
        hand: "hand_hot_work",
        ours: "charge_hot_limit_work",
    },
    Workload {
        name: "a month limit besides the user's, 1 client",
        clients: 1,
        hand: "charge_user_limit",
        ours: "charge_month_limit",
    },
    Workload {
        name: "a month limit besides the user's, 32 clients",
        clients: 32,
        hand: "charge_user_limit",
        ours: "charge_month_limit",
    },
    Workload {
        name: "four limits vs none",
        clients: 1,
        hand: "charge_no_limits",
        ours: "charge_limits",
    },
    Workload {
        name: "four limits vs four conditional updates",
        clients: 1,
        hand: "hand_limits",
        ours: "charge_limits",
    },
    Workload {
        name: "the same with 32 clients",
        clients: 32,
        hand: "hand_limits",
        ours: "charge_limits",
    },
    Workload {
        name: "hold and settle vs a charge, 1 client",
        clients: 1,
        hand: "charge_no_limits",
        ours: "hold_settle",
    },
    Workload {
        name: "hold and settle, 32 clients",
        clients: 32,
        hand: "charge_no_limits",
        ours: "hold_settle",
    },
    Workload {
        name: "alerts and a top-up rule vs none",
        clients: 32,
        hand: "charge_unarmed",
        ours: "charge_armed",
    },
    Workload {
        name: "the same on one wallet with 16 lanes",
        clients: 32,
        hand: "charge_hot_unarmed",
        ours: "charge_hot_armed",
    },
];

/// Statements that run in a loop inside the server: name, SQL of one statement, calls per
/// statement.
const LOOPS: &[(&str, &str, u32)] = &[
    (
        "price_usage of a cached model",
        "SELECT sum((wallet.price_usage(
                '{\"model\":\"gpt-4o\",\"input_tokens\":1000,\"output_tokens\":450}')).cost)
           FROM generate_series(1, 20000)",
        20_000,
    ),
    (
        "price_usage of an OpenAI response",
        "SELECT sum((wallet.price_usage(
                '{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"gpt-4o\",
                  \"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hello\"},\"finish_reason\":\"stop\"}],
                  \"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":450,\"total_tokens\":1450,
                             \"prompt_tokens_details\":{\"cached_tokens\":200,\"audio_tokens\":0},
                             \"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0}}}')).cost)
           FROM generate_series(1, 20000)",
        20_000,
    ),
    (
        "charge",
        "SELECT sum((wallet.charge('w' || 1 + n % 10000,
                '{\"model\":\"gpt-4o\",\"input_tokens\":1000,\"output_tokens\":450}',
                user_id => 'u1', idempotency_key => gen_random_uuid()::text)).cost)
           FROM generate_series(1, 20000) n",
        20_000,
    ),
    (
        "check_limits with four limits",
        "SELECT count(*) FROM generate_series(1, 5000) n, LATERAL wallet.check_limits(
                'l' || 1 + n % 2000, user_id => 'u1', team => 'red', amount => 1 + n * 0)",
        5_000,
    ),
    (
        "charge in SQL by hand",
        "DO $$ BEGIN FOR n IN 1..20000 LOOP
            WITH b AS (
                UPDATE hand.balances SET balance = balance - 0.007
                 WHERE wallet_id = 'w' || 1 + n % 10000 AND balance >= 0.007
                RETURNING wallet_id, balance
            ), l AS (
                UPDATE hand.limits SET used = used + 0.007
                 WHERE wallet_id = 'w' || 1 + n % 10000 AND user_id = 'u1'
                   AND day = current_date AND used + 0.007 <= max
                RETURNING user_id
            )
            INSERT INTO hand.entries (wallet_id, call, amount, balance, idempotency_key, user_id,
                                      provider, model, usage)
            SELECT b.wallet_id, 'c', -0.007, b.balance, gen_random_uuid()::text, l.user_id,
                   'openai', 'gpt-4o',
                   '{\"model\":\"gpt-4o\",\"input_tokens\":1000,\"output_tokens\":450}'
              FROM b, l;
         END LOOP; END $$",
        20_000,
    ),
];

const DATABASE: &str = "wallet_bench";

fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

fn connect(database: &str) -> Client {
    let host = std::env::var("PGHOST").expect("PGHOST: run this with scripts/run bench");
    let port = std::env::var("PGPORT").expect("PGPORT");
    let config = format!("host={host} port={port} user=postgres dbname={database}");
    Client::connect(&config, NoTls).expect("the private server answers")
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bench")
}

/// Transactions per second of one pgbench run.
fn pgbench(script: &str, clients: u32, seconds: u32) -> f64 {
    let (script, storage) = script.split_once('@').unwrap_or((script, "auto"));
    let output = Command::new("pgbench")
        .env("PGOPTIONS", format!("-c wallet.storage={storage}"))
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
        .args([
            "--client",
            &clients.to_string(),
            "--time",
            &seconds.to_string(),
        ])
        .arg("--file")
        .arg(scripts().join(format!("{script}.pgbench")))
        .arg(DATABASE)
        .output()
        .expect("pgbench runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tps = text
        .lines()
        .find_map(|line| line.strip_prefix("tps = "))
        .expect("a tps line");
    tps.split(' ')
        .next()
        .and_then(|tps| tps.parse().ok())
        .expect("a number")
}

/// Whether this run measures the workload.
fn is_asked(name: &str) -> bool {
    std::env::var("WALLET_BENCH_ONLY").map_or(true, |text| name.contains(&text))
}

/// A batch of events, compared with the plain insertion of the rows it made into a table with the
/// same columns, indexes and number of rows.
fn batch(client: &mut Client, rounds: u32, name: &str, wallet: &str) {
    const EVENTS: i32 = 8_190;
    client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS hand.copy (LIKE wallet.ledger);
             ALTER TABLE hand.copy DROP CONSTRAINT IF EXISTS copy_key, DROP CONSTRAINT IF EXISTS copy_once;
             ALTER TABLE hand.copy ADD CONSTRAINT copy_key PRIMARY KEY (wallet_id, entry_id),
                                   ADD CONSTRAINT copy_once UNIQUE (wallet_id, idempotency_key, call);
             TRUNCATE hand.copy;
             INSERT INTO hand.copy SELECT * FROM wallet.ledger",
        )
        .expect("a table like the ledger");
    client
        .batch_execute("VACUUM ANALYZE hand.copy")
        .expect("VACUUM");
    let (mut hand, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..=rounds {
        client
            .batch_execute(&format!(
                "DROP TABLE IF EXISTS pg_temp.asked;
                 CREATE TEMP TABLE asked AS
                 SELECT jsonb_agg(jsonb_build_object('wallet', {wallet}, 'user_id', 'u' || n % 200,
                            'usage', jsonb_build_object('model', 'gpt-4o', 'input_tokens', 1000 + n, 'output_tokens', 450),
                            'idempotency_key', gen_random_uuid())) AS events
                   FROM generate_series(1, {EVENTS}) n;
                 CHECKPOINT"
            ))
            .expect("events");
        let begun = Instant::now();
        client
            .batch_execute("SELECT count(*) FROM pg_temp.asked, wallet.charge_batch(events)")
            .expect("charge_batch");
        ours.push(begun.elapsed().as_secs_f64() * 1e3);
        client
            .batch_execute(
                "DROP TABLE IF EXISTS pg_temp.rows;
                 CREATE TEMP TABLE rows AS
                 SELECT l.* FROM wallet.ledger l
                  WHERE idempotency_key IN (SELECT jsonb_array_elements(events) ->> 'idempotency_key' FROM pg_temp.asked);
                 CHECKPOINT",
            )
            .expect("the rows");
        let begun = Instant::now();
        client
            .batch_execute("INSERT INTO hand.copy SELECT * FROM pg_temp.rows")
            .expect("bare insertion");
        hand.push(begun.elapsed().as_secs_f64() * 1e3);
        ratios.push(hand[hand.len() - 1] / ours[ours.len() - 1]);
    }
    // The first round fills caches.
    let rest = |values: Vec<f64>| median(values[1..].to_vec());
    println!(
        "{name:<44} {:>6.1} ms {:>6.1} ms {:>7.2}",
        rest(hand),
        rest(ours),
        rest(ratios)
    );
}

/// Imports a published price file, so that every price is looked up among many. Returns the number
/// of models.
fn import_prices(client: &mut Client) -> i64 {
    let packed = include_bytes!("../data/litellm_model_prices.json.gz");
    let mut feed = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed[..]), &mut feed)
        .expect("the price file");
    let begun = Instant::now();
    let sql = "SELECT count(*) FROM wallet.import_prices('litellm', $1::text::jsonb, effective_from => '2024-01-01Z')";
    client.query_one(sql, &[&feed]).expect("import_prices");
    println!(
        "{:<44} {:>9.0}",
        "ms for the import of a price file",
        begun.elapsed().as_secs_f64() * 1e3
    );
    let sql = "SELECT count(DISTINCT model) FROM wallet.prices";
    client.query_one(sql, &[]).expect("models").get(0)
}

/// Usage by its tokens, and the same in an OpenAI response.
const BY_TOKENS: &str = r#"{"model":"MODEL","input_tokens":10}"#;
const RESPONSE: &str = r#"{"model":"MODEL","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":3}}}"#;

/// Microseconds of the first `price_usage()` in a new backend, and of the next model's. Both
/// include the round trip and parsing the statement.
fn first_use(usage: &str) -> (f64, f64) {
    let mut client = connect(DATABASE);
    // The costs that every session has before its first call.
    client
        .batch_execute("SELECT count(*) FROM wallet.prices WHERE false; LOAD 'wallet'")
        .expect("LOAD");
    let mut time = |model: &str| {
        let usage = usage.replace("MODEL", model);
        let sql = format!("SELECT cost FROM wallet.price_usage('{usage}')");
        let begun = Instant::now();
        client.batch_execute(&sql).expect("price_usage");
        begun.elapsed().as_secs_f64() * 1e6
    };
    (time("gpt-4o-mini"), time("o1"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let rounds = setting("WALLET_BENCH_ROUNDS", 5);
    let seconds = setting("WALLET_BENCH_SECONDS", 4);
    let mut admin = connect("postgres");
    admin
        .batch_execute(&format!("DROP DATABASE IF EXISTS {DATABASE}"))
        .expect("drop");
    admin
        .batch_execute(&format!("CREATE DATABASE {DATABASE}"))
        .expect("create");
    println!("Making 10,000 wallets …");
    let setup = Command::new("psql")
        .args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-o",
            "/dev/null",
            "-d",
            DATABASE,
            "-f",
        ])
        .arg(scripts().join("setup.sql"))
        .status()
        .expect("psql runs");
    assert!(setup.success(), "setup.sql failed");
    let mut client = connect(DATABASE);

    println!(
        "{rounds} rounds of {seconds} s a side, alternating; medians, transactions a second.\n"
    );
    println!(
        "{:<44} {:>9} {:>9} {:>7}  of each round",
        "workload", "by hand", "wallet", "ratio"
    );
    for workload in WORKLOADS.iter().filter(|workload| is_asked(workload.name)) {
        let (mut hand, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        // Not before each round: the first write to a page after a checkpoint logs the whole page.
        // A round of seconds would measure little else, while a server has a checkpoint every few
        // minutes.
        client.batch_execute("CHECKPOINT").expect("checkpoint");
        for round in 0..rounds {
            // The sides take turns to be first, so that the after-effects of each affect both.
            for side in [round % 2, (round + 1) % 2] {
                match side {
                    0 => hand.push(pgbench(workload.hand, workload.clients, seconds)),
                    _ => ours.push(pgbench(workload.ours, workload.clients, seconds)),
                }
            }
            ratios.push(ours[ours.len() - 1] / hand[hand.len() - 1]);
        }
        let each: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        println!(
            "{:<44} {:>9.0} {:>9.0} {:>7.2}  {}",
            workload.name,
            median(hand),
            median(ours),
            median(ratios),
            each.join(" ")
        );
    }

    for (name, wallet) in [
        (
            "batch of 8,190 events over 1,000 wallets",
            "'n' || 1 + n % 1000",
        ),
        ("the same on one wallet, in a batch", "'n2000'"),
    ] {
        if is_asked(name) {
            batch(&mut client, rounds, name, wallet);
        }
    }

    println!();
    let models = import_prices(&mut client);
    println!("{models} models");
    for (name, usage) in [("by tokens", BY_TOKENS), ("OpenAI response", RESPONSE)] {
        let (first, next) = (0..=2 * rounds).map(|_| first_use(usage)).unzip();
        for (which, times) in [("first price", first), ("next model's", next)] {
            println!(
                "{:<44} {:>9.0}",
                format!("µs: a new backend's {which}, {name}"),
                median(times)
            );
        }
    }
    println!("\n{:<44} {:>9}", "in a loop inside the server", "µs a call");
    for (name, sql, calls) in LOOPS.iter().filter(|(name, ..)| is_asked(name)) {
        client.batch_execute(sql).expect("warm up");
        let times = (0..rounds)
            .map(|_| {
                let begun = Instant::now();
                client.batch_execute(sql).expect("loop");
                begun.elapsed().as_secs_f64() * 1e6 / f64::from(*calls)
            })
            .collect();
        println!("{name:<44} {:>9.1}", median(times));
    }

    let row = client
        .query_one(
            "SELECT pg_total_relation_size('wallet.ledger')::float8 / count(*),
                    pg_total_relation_size('hand.entries')::float8
                        / (SELECT count(*) FROM hand.entries)
               FROM wallet.ledger",
            &[],
        )
        .expect("sizes");
    let (ours, hand): (f64, f64) = (row.get(0), row.get(1));
    println!("\nbytes an entry with its indexes: wallet {ours:.0}, by hand {hand:.0}");
}
