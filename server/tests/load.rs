//! How many charges per second, and how much memory.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::support::with;

const CHARGE: &str = r#"{"amount": "0.0001"}"#;

/// One connection that sends charges until the time is over. Returns how many were booked.
fn charges(address: SocketAddr, key: &str, until: Instant) -> u64 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let request = format!(
        "POST /v1/charges HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{CHARGE}",
        CHARGE.len()
    );
    let mut booked = 0;
    let (mut line, mut body) = (String::new(), Vec::new());
    while Instant::now() < until {
        stream.write_all(request.as_bytes()).unwrap();
        let (mut length, mut status) = (0, String::new());
        loop {
            line.clear();
            answers.read_line(&mut line).unwrap();
            if status.is_empty() {
                line.clone_into(&mut status);
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        body.resize(length, 0);
        answers.read_exact(&mut body).unwrap();
        assert!(
            status.starts_with("HTTP/1.1 201"),
            "{status}{}",
            String::from_utf8_lossy(&body)
        );
        booked += 1;
    }
    booked
}

/// Charges per second of so many connections, one wallet each.
fn rate(address: SocketAddr, keys: &[String], duration: Duration) -> f64 {
    let until = Instant::now() + duration;
    let booked: u64 = std::thread::scope(|scope| {
        let start = |key| scope.spawn(move || charges(address, key, until));
        let threads: Vec<_> = keys.iter().map(String::as_str).map(start).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    booked as f64 / duration.as_secs_f64()
}

/// Transactions per second of pgbench, with the same charge as the same role and the same settings.
fn pgbench(url: &str, script: &str, clients: usize, duration: Duration) -> f64 {
    let path = std::env::temp_dir().join(format!("walletd_{}.pgbench", std::process::id()));
    std::fs::write(&path, script).unwrap();
    let output = std::process::Command::new("pgbench")
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
        .arg(format!("--client={clients}"))
        .arg(format!("--time={}", duration.as_secs()))
        .arg(format!("--file={}", path.display()))
        .arg(url)
        .output()
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("tps = "));
    let line = line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    line.split_whitespace().nth(2).unwrap().parse().unwrap()
}

/// `scripts/run walletd-load` measures a build with optimizations; this only has to work in any.
#[test]
fn many_connections_charge_at_once_in_little_memory() {
    measure(Duration::from_secs(2));
}

#[test]
#[ignore = "takes a minute: scripts/run walletd-load"]
fn charges_per_second_compared_with_pgbench() {
    let (api, direct) = measure(Duration::from_secs(15));
    assert!(
        api >= 0.5 * direct,
        "{api:.0} of {direct:.0} charges per second"
    );
}

fn measure(duration: Duration) -> (f64, f64) {
    let mut rates = (0.0, 0.0);
    with(|world| {
        let wallets = 16;
        let mut keys = Vec::new();
        for number in 0..wallets {
            let wallet = format!("load{number}");
            world.sql(&format!(
                "SELECT wallet.create_wallet('{wallet}'); SELECT wallet.fund('{wallet}', 1000)"
            ));
            keys.push(world.new_key(&wallet, ""));
        }
        rate(world.walletd.http, &keys, Duration::from_millis(500));
        let api = rate(world.walletd.http, &keys, duration);
        // The key is an argument of pgbench's script by its client's number.
        let mut script = String::new();
        for (number, key) in keys.iter().enumerate() {
            let word = if number == 0 { "if" } else { "elif" };
            script.push_str(&format!(
                "\\{word} :client_id = {number}\n\\set n {number}\nBEGIN;\n"
            ));
            script.push_str(&format!("SELECT set_config('wallet.key', '{key}', true), set_config('statement_timeout', '5000', true);\n"));
            script.push_str(&format!("SELECT to_json(c)::text FROM wallet.key_owner('{key}') o CROSS JOIN LATERAL wallet.charge(o.wallet, amount => 0.0001) c;\nCOMMIT;\n"));
        }
        script.push_str("\\endif\n");
        let direct = pgbench(&world.settings[0].1, &script, wallets, duration);
        let memory = world.walletd.memory();
        eprintln!(
            "walletd: {api:.0} charges per second, pgbench: {direct:.0}, {:.2} of it; at most {} MiB",
            api / direct,
            memory / 1024
        );
        assert!(memory < 100 * 1024, "{memory} KiB");
        world.verify();
        rates = (api, direct);
    });
    rates
}
