//! Health, metrics, and the end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{with, with_settings};

const CHARGE: &str = r#"{"amount": "1"}"#;

#[test]
fn health_and_metrics_have_the_figures_of_the_database() {
    with(|world| {
        let ops = world.ops();
        ops.get("/healthz").expect(200);
        ops.get("/readyz").expect(200);
        world.acme.post("/v1/charges", CHARGE).expect(201);
        world
            .acme
            .post("/v1/charges", r#"{"amount": "1000"}"#)
            .expect(402);
        let answer = ops.get("/metrics").expect(200);
        for line in [
            r#"walletd_request_duration_seconds_count{method="POST",route="/v1/charges",status="201"} 1"#,
            r#"walletd_refusals_total{sqlstate="WL001"} 1"#,
            r#"walletd_pool_connections{pool="tenants"} 1"#,
            r#"walletd_pool_connections{pool="page"} 0"#,
            r#"walletd_pool_connections_idle{pool="page"} 0"#,
            "walletd_requests_running 0",
            "wallet_up 1",
            "wallet_wallets 2",
        ] {
            assert!(
                answer.text.lines().any(|found| found == line),
                "{line} in {}",
                answer.text
            );
        }
        let health = world.value("SELECT string_agg(name, ',') FROM wallet.health");
        for name in health.split(',') {
            assert!(answer.text.contains(&format!("\nwallet_{name} ")), "{name}");
        }
        // The balances are nobody's business unless the operator says so.
        assert!(!answer.text.contains("acme"));
        assert!(answer.text.ends_with("# EOF\n"));
        for path in ["/metrics", "/readyz", "/v1/wallet"] {
            let other = if path == "/v1/wallet" {
                &ops
            } else {
                &world.acme
            };
            assert_eq!(other.get(path).status, 404, "{path}");
        }
    });
}

#[test]
fn the_balances_of_wallets_are_metrics_if_the_operator_says_so() {
    with_settings(&[("WALLETD_OPS__WALLETS", "true")], |world| {
        world
            .acme
            .post("/v1/charges", r#"{"amount": "0.000000000001"}"#)
            .expect(201);
        let text = world.ops().get("/metrics").expect(200).text;
        let line = r#"wallet_balance{wallet="acme",currency="USD"} 99.999999999999"#;
        assert!(text.lines().any(|found| found == line), "{text}");
    });
}

#[test]
fn sigterm_lets_requests_end_and_accepts_no_others() {
    with(|world| {
        let mut blocking = world.block("acme");
        let client = world.acme.clone();
        let waiting = std::thread::spawn(move || client.post("/v1/charges", CHARGE));
        world.wait_for_waiting(1);
        world.walletd.signal("TERM");
        let ready = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            world.ops().get("/readyz").status == 503
        });
        assert!(ready, "walletd is ready while it stops");
        assert!(
            TcpStream::connect(world.walletd.http).is_err(),
            "it still accepts"
        );
        blocking.batch_execute("ROLLBACK").unwrap();
        waiting.join().unwrap().expect(201);
        let status = world
            .walletd
            .wait(Duration::from_secs(10))
            .expect("it ends");
        assert!(status.success(), "{status}");
        assert_eq!(world.charges("acme"), 1);
        // No session of its own is left.
        std::thread::sleep(Duration::from_millis(200));
        let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'walletd' AND datname = current_database()";
        assert_eq!(world.value(left), "0");
    });
}

#[test]
fn a_request_that_does_not_end_is_cut_off() {
    with_settings(&[("WALLETD_HTTP__DRAIN", "500ms")], |world| {
        let mut blocking = world.block("acme");
        let client = world.acme.clone();
        let waiting = std::thread::spawn(move || {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                client.post("/v1/charges", CHARGE)
            }))
        });
        world.wait_for_waiting(1);
        world.walletd.signal("TERM");
        let status = world.walletd.wait(Duration::from_secs(8)).expect("it ends");
        assert_eq!(status.code(), Some(1));
        assert!(waiting.join().unwrap().is_err(), "the connection was cut");
        blocking.batch_execute("ROLLBACK").unwrap();
        world.verify();
    });
}

#[test]
fn connections_that_do_nothing_do_not_keep_others_out() {
    let settings = [
        ("WALLETD_HTTP__CONNECTIONS", "3"),
        ("WALLETD_HTTP__TIMEOUT", "2s"),
        ("WALLETD_DATABASE__STATEMENT_TIMEOUT", "500ms"),
        ("WALLETD_DATABASE__WAIT_TIMEOUT", "500ms"),
    ];
    with_settings(&settings, |world| {
        // Three take all places: one says nothing, one stops in a header, one after a request.
        let connect = |text: &str| {
            let mut stream = TcpStream::connect(world.walletd.http).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
            stream
        };
        let idle = [
            connect(""),
            connect("GET /openapi.json HTTP/1.1\r\nx"),
            connect("GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n"),
        ];
        let begun = Instant::now();
        world.acme.get("/v1/wallet").expect(200);
        assert!(begun.elapsed() < Duration::from_secs(10));
        for mut stream in idle {
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            // The end, or a reset: the connection is closed.
            let _ = stream.read_to_end(&mut Vec::new());
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
    });
}

/// The names in a text that look like metrics of ours.
fn metrics_in(text: &str) -> std::collections::BTreeSet<&str> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = text.split(|character| !is_part(character));
    words
        .filter(|word| word.starts_with("wallet_") || word.starts_with("walletd_"))
        .collect()
}

#[test]
fn rules_and_board_use_metrics_that_exist() {
    with_settings(&[("WALLETD_OPS__WALLETS", "true")], |world| {
        world
            .acme
            .post("/v1/charges", r#"{"amount": "1000"}"#)
            .expect(402);
        let text = world.ops().get("/metrics").expect(200).text;
        let known = metrics_in(&text);
        let board = include_str!("../../monitoring/board.json");
        serde_json::from_str::<serde_json::Value>(board).unwrap();
        let rules = include_str!("../../monitoring/rules.yml");
        for (file, text, least) in [("board.json", board, 15), ("rules.yml", rules, 8)] {
            let used = metrics_in(text);
            assert!(used.len() >= least, "{file}: {used:?}");
            for name in used {
                assert!(known.contains(name), "{file}: there is no {name}");
            }
        }
    });
}
