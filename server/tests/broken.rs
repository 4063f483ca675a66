//! Connections to PostgreSQL that break, are busy, or wait for too long.

use std::time::{Duration, Instant};

use crate::support::{Answer, Client, Proxy, World, with, with_settings};

const CHARGE: &str = r#"{"amount": "1"}"#;

fn send(client: &Client, key: Option<&str>) -> Answer {
    match key {
        Some(key) => client.post_once("/v1/charges", key, CHARGE),
        None => client.post("/v1/charges", CHARGE),
    }
}

#[test]
fn a_session_that_is_terminated_rolls_back_and_the_request_runs_again() {
    with(|world| {
        for (number, key) in [(1, None), (2, Some("k"))] {
            let mut blocking = world.block("acme");
            let client = world.acme.clone();
            let waiting = std::thread::spawn(move || send(&client, key));
            world.wait_for_waiting(1);
            world.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE application_name = 'walletd' AND wait_event_type = 'Lock'
                    AND datname = current_database()",
            );
            // The second attempt waits again, on a new connection.
            world.wait_for_waiting(1);
            blocking.batch_execute("ROLLBACK").unwrap();
            waiting.join().unwrap().expect(201);
            assert_eq!(world.charges("acme"), number);
        }
        world.verify();
    });
}

/// walletd behind a proxy that can lose answers, with one connection that has its statements.
fn behind_proxy(test: impl FnOnce(&World, &Proxy, &Client)) {
    with(|world| {
        let proxy = Proxy::start();
        let port = format!("port={}", proxy.port);
        let url = world.settings[0].1.replace("port=54329", &port);
        let host = std::env::var("PGHOST").unwrap();
        let url = url.replace(&format!("host={host}"), "host=127.0.0.1 sslmode=disable");
        let walletd = crate::support::Walletd::start(&[
            ("WALLETD_DATABASE__TENANTS", &url),
            ("WALLETD_DATABASE__WORKER", &world.settings[1].1),
            ("WALLETD_DATABASE__TENANTS_POOL", "1"),
        ]);
        let client = Client::new(walletd.http, world.acme.key.as_deref());
        client.post("/v1/charges", CHARGE).expect(201);
        client.get("/v1/wallet").expect(200);
        test(world, &proxy, &client);
    });
}

#[test]
fn an_answer_that_is_lost_after_the_commit_is_found_again_with_a_key() {
    behind_proxy(|world, proxy, client| {
        proxy.lose(1);
        let answer = send(client, Some("k")).expect(200);
        assert_eq!(answer.json["replayed"], true);
        assert_eq!(world.charges("acme"), 2);
        assert_eq!(answer.json["balance"], "98.00");
    });
}

#[test]
fn an_answer_that_is_lost_without_a_key_is_told_and_never_sent_again() {
    behind_proxy(|world, proxy, client| {
        proxy.lose(1);
        let answer = send(client, None).problem(503, "unknown_outcome");
        assert!(answer.header("retry-after").is_some());
        assert!(
            answer.json["hint"]
                .as_str()
                .unwrap()
                .contains("Idempotency-Key")
        );
        // It was booked, once.
        assert_eq!(world.charges("acme"), 2);
        send(client, None).expect(201);
    });
}

#[test]
fn a_read_that_is_lost_is_read_again_and_a_dead_database_is_told() {
    behind_proxy(|_, proxy, client| {
        proxy.lose(1);
        client.get("/v1/wallet").expect(200);
        proxy.lose(1000);
        let answer = client.get("/v1/wallet");
        assert_eq!(answer.status, 503, "{}", answer.text);
        assert!(answer.header("retry-after").is_some());
        let answer = send(client, Some("k"));
        assert_eq!(answer.status, 503, "{}", answer.text);
        proxy.lose(0);
        client.get("/v1/wallet").expect(200);
    });
}

/// walletd with other connections for tenants.
fn started(world: &World, tenants: &str) -> (crate::support::Walletd, Client) {
    let walletd = crate::support::Walletd::start(&[
        ("WALLETD_DATABASE__TENANTS", tenants),
        ("WALLETD_DATABASE__WORKER", &world.settings[1].1),
    ]);
    let client = Client::new(walletd.http, world.acme.key.as_deref());
    (walletd, client)
}

#[test]
fn a_standby_is_a_503_until_it_is_the_primary() {
    with(|world| {
        let standby = wallet_tests::Server::standby();
        let port = format!("port={}", standby.port());
        let url = &world.settings[0].1;
        // The standby is named first: the driver must go on to the primary.
        let host = std::env::var("PGHOST").unwrap();
        let both = url
            .replace(&format!("host={host}"), &format!("host={host},{host}"))
            .replace("port=54329", &format!("{port},54329"));
        let (_both, client) = started(world, &format!("{both} target_session_attrs=read-write"));
        send(&client, Some("k")).expect(201);

        let (_alone, client) = started(world, &url.replace("port=54329", &port));
        wait_for_reads(&client);
        let answer = send(&client, Some("k")).problem(503, "unavailable");
        assert!(answer.header("retry-after").is_some());
        standby.promote();
        let answer = send(&client, Some("k")).expect(200);
        assert_eq!(answer.json["replayed"], true);
        send(&client, Some("promoted")).expect(201);
        world.verify();
    });
}

/// Until the standby has replayed the charge.
fn wait_for_reads(client: &Client) {
    for _ in 0..400 {
        let answer = client.get("/v1/wallet");
        if answer.status == 200 && answer.json["balance"] == "99.00" {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the standby does not answer");
}

#[test]
fn a_lock_that_is_held_too_long_is_a_503_and_books_nothing() {
    let settings = [("WALLETD_DATABASE__STATEMENT_TIMEOUT", "400ms")];
    with_settings(&settings, |world| {
        let mut blocking = world.block("acme");
        let begun = Instant::now();
        let answer = send(&world.acme, None).problem(503, "unavailable");
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(answer.header("retry-after").is_some());
        blocking.batch_execute("ROLLBACK").unwrap();
        assert_eq!(world.charges("acme"), 0);
        send(&world.acme, None).expect(201);
    });
}

#[test]
fn a_pool_without_a_free_connection_is_a_503() {
    let settings = [
        ("WALLETD_DATABASE__TENANTS_POOL", "1"),
        ("WALLETD_DATABASE__WAIT_TIMEOUT", "200ms"),
    ];
    with_settings(&settings, |world| {
        let mut blocking = world.block("acme");
        let client = world.acme.clone();
        let waiting = std::thread::spawn(move || send(&client, None));
        world.wait_for_waiting(1);
        world.globex.get("/v1/wallet").problem(503, "unavailable");
        blocking.batch_execute("ROLLBACK").unwrap();
        waiting.join().unwrap().expect(201);
        world.globex.get("/v1/wallet").expect(200);
    });
}

#[test]
fn a_client_that_leaves_does_not_stop_its_charge() {
    use std::io::Write;
    with_settings(&[("WALLETD_DATABASE__TENANTS_POOL", "1")], |world| {
        let mut blocking = world.block("acme");
        let mut stream = std::net::TcpStream::connect(world.walletd.http).unwrap();
        let key = world.acme.key.as_deref().unwrap();
        write!(
            stream,
            "POST /v1/charges HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{CHARGE}",
            CHARGE.len()
        )
        .unwrap();
        world.wait_for_waiting(1);
        drop(stream);
        blocking.batch_execute("ROLLBACK").unwrap();
        // The only connection is free again, and in order.
        assert_eq!(
            world.globex.get("/v1/wallet").expect(200).json["wallet"],
            "globex"
        );
        assert_eq!(world.charges("acme"), 1);
    });
}
