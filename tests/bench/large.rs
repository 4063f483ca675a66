//! `make bench-large`: reports, charges and balances on a ledger of 10,000,000 charges, and charges
//! compared with those on an empty ledger. `WALLET_LARGE` sets another number of charges, and
//! `WALLET_LARGE_WALLETS` another number of wallets than 1000: with one wallet, it has all charges.
//!
//! The database remains, so that a second run only measures. `WALLET_LARGE_ANEW=1` creates it
//! again.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};

const EMPTY: &str = "wallet_large_empty";
const ROUNDS: usize = 5;
const CHARGES: usize = 1500;

fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run this with make bench-large"))
}

fn connect(database: &str) -> Client {
    let mut config = postgres::Config::new();
    config
        .host(&variable("PGHOST"))
        .user(&variable("PGUSER"))
        .port(variable("PGPORT").parse().expect("PGPORT is a number"))
        .dbname(database);
    config.connect(NoTls).expect("a connection")
}

fn fill(database: &str, charges: u64, wallets: u64) {
    let mut administrator = connect("postgres");
    for sql in [
        format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"),
        format!("CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8'"),
    ] {
        administrator.batch_execute(&sql).expect("a new database");
    }
    connect(database)
        .batch_execute("CREATE EXTENSION wallet")
        .expect("the extension is installed");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/large.sql");
    let begun = Instant::now();
    let status = Command::new("psql")
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database])
        .args(["-v", &format!("charges={charges}")])
        .args(["-v", &format!("wallets={wallets}"), "-f", script])
        .stdout(Stdio::null())
        .status()
        .expect("psql starts");
    assert!(status.success(), "{script}");
    println!(
        "made {charges} charges in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The median time of several runs of a query.
fn time(client: &mut Client, sql: &str, times: usize) -> Duration {
    client.simple_query(sql).expect(sql);
    let one = |_| {
        let begun = Instant::now();
        client.simple_query(sql).expect(sql);
        begun.elapsed()
    };
    median((0..times).map(one).collect())
}

fn row(name: &str, value: &str, wanted: &str) {
    println!("| {name} | {value} | {wanted} |");
}

/// The time that a report may take with roll-ups.
fn wanted_of(name: &str) -> &'static str {
    match name {
        name if name.contains("page") => "5 ms",
        "usage_daily of a user" => "10 ms",
        name if name.starts_with("usage of") => "500 ms",
        _ => "300 ms",
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// The time of each of many charges on random wallets.
fn charges(client: &mut Client, number: usize, wallets: u64, seed: &mut u64) -> Vec<Duration> {
    let charge = client
        .prepare(
            "SELECT cost FROM wallet.charge($1, '{\"model\":\"model-7\",\"input_tokens\":1000,\"output_tokens\":450}',
                                            user_id => $2, team => 'team-1', idempotency_key => $3)",
        )
        .expect("the statement");
    let mut next = || {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    };
    (0..number)
        .map(|_| {
            let most = wallets as f64 + 1.0;
            let wallet = (next() as f64 / u64::MAX as f64 * most.ln()).exp() as u64;
            let wallet = format!("w{}", wallet.clamp(1, wallets));
            let (user, key) = (
                format!("user-{}", next() % 200),
                format!("k{:x}z{:x}", next() as u32, next() as u32),
            );
            let begun = Instant::now();
            client
                .query(&charge, &[&wallet, &user, &key])
                .expect("a charge");
            begun.elapsed()
        })
        .collect()
}

fn main() {
    let wanted: u64 = std::env::var("WALLET_LARGE").map_or(10_000_000, |text| {
        text.parse().expect("WALLET_LARGE is a whole number")
    });
    let wallets: u64 = std::env::var("WALLET_LARGE_WALLETS").map_or(1000, |text| {
        text.parse()
            .expect("WALLET_LARGE_WALLETS is a whole number")
    });
    let large = format!("wallet_large_{wanted}_{wallets}");
    let is_there = connect("postgres")
        .query_opt("SELECT FROM pg_database WHERE datname = $1", &[&large])
        .expect("pg_database")
        .is_some();
    if !is_there || std::env::var("WALLET_LARGE_ANEW").is_ok() {
        fill(&large, wanted, wallets);
    }
    fill(EMPTY, 0, wallets);
    let mut client = connect(&large);
    let entries = client
        .query_one("SELECT count(*), pg_size_pretty(pg_total_relation_size('wallet.ledger')) FROM wallet.ledger WHERE wallet_id = 'w1'", &[])
        .expect("the ledger");
    println!(
        "the largest wallet has {} entries; the ledger with its indexes {}\n",
        entries.get::<_, i64>(0),
        entries.get::<_, String>(1)
    );
    // A past month.
    let month = "(date_trunc('month', now()) - interval '1 month')::date";
    let first = "date_trunc('month', now() - interval '1 month', 'Europe/Berlin'), date_trunc('month', now(), 'Europe/Berlin')";
    let reports = [
        (
            "chargeback of a month",
            format!("SELECT * FROM wallet.chargeback('w1', {month})"),
        ),
        (
            "usage_by user of a month",
            format!("SELECT * FROM wallet.usage_by('w1', 'user', {first})"),
        ),
        (
            "usage_by model of a month",
            format!("SELECT * FROM wallet.usage_by('w1', 'model', {first})"),
        ),
        (
            "usage_daily of a month",
            format!(
                "SELECT * FROM wallet.usage_daily WHERE wallet = 'w1' AND date_trunc('month', day)::date = date_trunc('month', {month})::date AND day >= date_trunc('month', {month})::date AND day < date_trunc('month', now())::date"
            ),
        ),
        (
            "statement of a month",
            format!("SELECT * FROM wallet.statement('w1', {first})"),
        ),
        (
            "statement_html of a month",
            format!("SELECT wallet.statement_html('w1', {month})"),
        ),
        (
            "report of 30 days",
            "SELECT * FROM wallet.report('w1')".to_owned(),
        ),
        ("forecast", "SELECT * FROM wallet.forecast('w1')".to_owned()),
        (
            "usage of a month by user and model",
            format!("SELECT * FROM wallet.usage('{{w1}}', '{{user,model}}', {first})"),
        ),
        (
            "usage of a month by team, model and day",
            format!("SELECT * FROM wallet.usage('{{w1}}', '{{team,model,day}}', {first})"),
        ),
        (
            "usage of a month by user and day, as of a week ago",
            format!("SELECT * FROM wallet.usage('{{w1}}', '{{user,day}}', {first}, as_of => now() - interval '7 days')"),
        ),
        (
            "usage of a day by hour and tag",
            "SELECT * FROM wallet.usage('{w1}', '{hour,tag:project}', from_day => current_date - 40, to_day => current_date - 39)".to_owned(),
        ),
        (
            "usage of a month by hour",
            format!("SELECT * FROM wallet.usage('{{w1}}', '{{hour}}', {first})"),
        ),
        (
            "usage of everything by model and month",
            "SELECT * FROM wallet.usage('{w1}', '{model,month}')".to_owned(),
        ),
        (
            "usage_daily of a user of a month",
            format!("SELECT * FROM wallet.usage_daily WHERE wallet = 'w1' AND user_id = 'user-150' AND day >= date_trunc('month', {month})::date AND day < date_trunc('month', now())::date"),
        ),
        (
            "usage_daily of a user",
            "SELECT * FROM wallet.usage_daily WHERE wallet = 'w1' AND user_id = 'user-150'".to_owned(),
        ),
        (
            "the first page of transactions",
            "SELECT * FROM wallet.transactions('w1')".to_owned(),
        ),
        (
            "a page of transactions a year ago",
            "SELECT * FROM wallet.transactions('w1', before => (SELECT (lpad(to_hex((extract(epoch FROM now() - interval '1 year') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid))".to_owned(),
        ),
        (
            "a page of a user",
            "SELECT * FROM wallet.transactions('w1', user_id => 'user-150')".to_owned(),
        ),
        (
            "a page of a user a year ago",
            "SELECT * FROM wallet.transactions('w1', user_id => 'user-150', before => (SELECT (lpad(to_hex((extract(epoch FROM now() - interval '1 year') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid))".to_owned(),
        ),
        (
            "a page of an unknown user",
            "SELECT * FROM wallet.transactions('w1', user_id => 'nobody')".to_owned(),
        ),
        (
            "the first 1000 changes",
            "SELECT * FROM wallet.changes(max => 1000, wallets => '{w1}')".to_owned(),
        ),
        (
            "balance_at a month ago",
            "SELECT wallet.balance_at('w1', now() - interval '1 month')".to_owned(),
        ),
    ];
    client
        .batch_execute("DELETE FROM wallet.usage_rollups; DELETE FROM wallet.rollup_chunks; DELETE FROM wallet.rollup_states; DELETE FROM wallet.entry_lists")
        .expect("no roll-ups");
    let answers = |client: &mut Client| -> Vec<String> {
        let texts = reports[..6].iter().map(|(_, sql)| {
            let sql =
                format!("SELECT md5(string_agg(q::text, E'\\n' ORDER BY q::text)) FROM ({sql}) q");
            client.query_one(&sql, &[]).expect(&sql).get(0)
        });
        texts.collect()
    };
    let live = answers(&mut client);
    let without: Vec<Duration> = reports
        .iter()
        .map(|(_, sql)| time(&mut client, sql, 1))
        .collect();
    let begun = Instant::now();
    client
        .batch_execute("SELECT wallet.roll_up()")
        .expect("roll_up");
    let all = begun.elapsed();
    for table in ["usage_rollups", "rollup_chunks", "entry_lists"] {
        let vacuum = format!("VACUUM (ANALYZE) wallet.{table}");
        client.batch_execute(&vacuum).expect("vacuum");
    }
    assert_eq!(live, answers(&mut client), "roll-ups change no number");

    println!("| largest wallet | with roll-ups | without | wanted |\n| --- | --- | --- | --- |");
    for ((name, sql), without) in reports.iter().zip(without) {
        let with = time(&mut client, sql, 7);
        println!(
            "| {name} | {} | {} | {} |",
            milliseconds(with),
            milliseconds(without),
            wanted_of(name)
        );
    }
    println!("\n| | | wanted |\n| --- | --- | --- |");
    let size = client
        .query_one("SELECT pg_size_pretty(pg_total_relation_size('wallet.usage_rollups')), count(*)::text FROM wallet.usage_rollups", &[])
        .expect("the size");
    row(
        "roll-up of everything",
        &format!("{:.0} s", all.as_secs_f64()),
        "",
    );
    row(
        "rows of roll-ups",
        &format!("{}, {}", size.get::<_, String>(1), size.get::<_, String>(0)),
        "",
    );
    let balances = time(
        &mut client,
        "SELECT * FROM wallet.balances WHERE wallet = 'w1'",
        300,
    );
    row("balances of one wallet", &milliseconds(balances), "1 ms");

    let mut empty = connect(EMPTY);
    let (mut on_large, mut on_empty) = (Vec::new(), Vec::new());
    let mut seed = Instant::now().elapsed().as_nanos() as u64 ^ 0x9E37_79B9_7F4A_7C15;
    for client in [&mut client, &mut empty] {
        client
            .batch_execute("SET synchronous_commit = off")
            .expect("SET");
        charges(client, 3000, wallets, &mut seed);
    }
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let here = charges(&mut client, CHARGES, wallets, &mut seed);
        let there = charges(&mut empty, CHARGES, wallets, &mut seed);
        ratios.push(median(here.clone()).as_secs_f64() / median(there.clone()).as_secs_f64());
        on_large.extend(here);
        on_empty.extend(there);
    }
    ratios.sort_by(f64::total_cmp);
    let (here, there) = (median(on_large), median(on_empty));
    row(
        "a charge, and one on an empty ledger",
        &format!(
            "{:.3} ({:.3} to {:.3}; {:.0} and {:.0} µs)",
            ratios[ROUNDS / 2],
            ratios[0],
            ratios[ROUNDS - 1],
            here.as_secs_f64() * 1e6,
            there.as_secs_f64() * 1e6
        ),
        "1.15",
    );
}
