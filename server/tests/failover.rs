//! A server that only reads: a standby, its promotion, and a database that was set so.

use std::time::{Duration, Instant};

use wallet_tests::{Server, crowd};

use crate::support::{Client, Walletd, World, with};

const CHARGE: &str = r#"{"amount": "1"}"#;

/// Waits for a status of `/readyz`.
#[track_caller]
fn wait_until_ready(ops: &Client, status: u16, told: &str) {
    let begun = Instant::now();
    loop {
        let answer = ops.get("/readyz");
        if answer.status == status && answer.text.contains(told) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", answer.text);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// walletd with the connections of the world, to another port.
fn at_port(world: &World, port: u16) -> Walletd {
    let here = format!("port={}", std::env::var("PGPORT").unwrap());
    let settings: Vec<(String, String)> = world
        .settings
        .iter()
        .map(|(name, value)| (name.clone(), value.replace(&here, &format!("port={port}"))))
        .collect();
    let given: Vec<(&str, &str)> = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    Walletd::start(&given)
}

#[test]
fn a_standby_reads_and_books_nothing_until_it_is_promoted() {
    let _crowd = crowd();
    with(|world| {
        let server = Server::standby();
        let mut primary = world.database.connect();
        drop(server.catch_up(&mut primary, world.database.name()));
        let walletd = at_port(world, server.port());
        let acme = Client::new(walletd.http, world.acme.key.as_deref());
        let ops = Client::new(walletd.ops, None);
        wait_until_ready(&ops, 503, "read-only");
        acme.get("/v1/wallet").expect(200);
        let refused = acme.post_once("/v1/charges", "k", CHARGE);
        let refused = refused.problem(503, "unavailable");
        assert!(refused.header("retry-after").is_some());
        assert!(!refused.text.contains("recovery"), "{}", refused.text);
        server.promote();
        wait_until_ready(&ops, 200, "ready");
        acme.post_once("/v1/charges", "k", CHARGE).expect(201);
        assert_eq!(world.charges("acme"), 0, "the primary has none of it");
    });
}

#[test]
fn a_database_that_only_reads_is_not_ready() {
    with(|world| {
        let ops = world.ops();
        wait_until_ready(&ops, 200, "ready");
        let name = world.database.name();
        let set = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
        world.sql(&set);
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'walletd'";
        world.value(end);
        wait_until_ready(&ops, 503, "read-only");
        let mut session = world.database.connect();
        let writes = "SET default_transaction_read_only = off";
        session.batch_execute(writes).unwrap();
        let reset = format!("ALTER DATABASE {name} RESET default_transaction_read_only");
        session.batch_execute(&reset).unwrap();
        world.value(end);
        wait_until_ready(&ops, 200, "ready");
    });
}

#[test]
fn a_role_of_tenants_that_cannot_connect_is_not_ready() {
    with(|world| {
        let ops = world.ops();
        wait_until_ready(&ops, 200, "ready");
        let tenants = &world.settings[0].1;
        let role = tenants.split("user=").nth(1).unwrap();
        let role = role.split(' ').next().unwrap();
        world.sql(&format!("ALTER ROLE {role} NOLOGIN"));
        world.value(&format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
              WHERE datname = current_database() AND usename = '{role}'"
        ));
        wait_until_ready(&ops, 503, "cannot be reached");
        world.acme.get("/v1/wallet").problem(503, "unavailable");
        world.sql(&format!("ALTER ROLE {role} LOGIN"));
        wait_until_ready(&ops, 200, "ready");
    });
}
