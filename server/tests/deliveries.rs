//! Deliveries of one worker: order, failures, signatures, and what it refuses to reach.

use std::time::Duration;

use crate::support::{Hook, Receiver, Reply, World, localhost, with_settings};

/// Receivers of the tests are on this machine. The poll is long: notifications wake the worker.
pub const LOCAL: [(&str, &str); 2] = [
    ("WALLETD_WORKER__ALLOWED_NETWORKS", r#"["127.0.0.0/8"]"#),
    ("WALLETD_WORKER__POLL", "2s"),
];
const SOON: Duration = Duration::from_secs(10);

/// Sets a webhook. Returns its secret.
pub fn webhook(world: &World, wallet: &str, url: &str) -> String {
    world.value(&format!(
        "SELECT secret FROM wallet.set_destination('{wallet}', 'webhook', '{url}')"
    ))
}

/// Makes so many pairs of events: the balance is low, and recovers.
pub fn pairs(world: &World, wallet: &str, number: usize) {
    for _ in 0..number {
        world.sql(&format!(
            "SELECT wallet.charge('{wallet}', amount => 90); SELECT wallet.fund('{wallet}', 90)"
        ));
    }
}

/// The ids of the events of a wallet, in order.
pub fn events(world: &World, wallet: &str) -> Vec<String> {
    let ids = world.value(&format!(
        "SELECT string_agg(id::text, ' ' ORDER BY id) FROM wallet.events WHERE wallet = '{wallet}'"
    ));
    ids.split_whitespace().map(str::to_owned).collect()
}

/// Waits until a query returns the text.
#[track_caller]
pub fn wait_for(world: &World, query: &str, expected: &str) {
    let begun = std::time::Instant::now();
    loop {
        let found = world.value(query);
        if found == expected {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{query}: {found} and not {expected}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub const WAITING: &str = "SELECT count(*) FROM wallet.delivery_list WHERE status = 'waiting'";

fn ids(hooks: &[Hook]) -> Vec<String> {
    hooks.iter().map(Hook::id).collect()
}

#[test]
fn events_arrive_in_order_signed_and_soon() {
    // Only notifications can wake the worker in time.
    let settings = [LOCAL[0], ("WALLETD_WORKER__POLL", "1h")];
    with_settings(&settings, |world| {
        let receiver = Receiver::start();
        let secret = webhook(world, "acme", &receiver.url("/hook?token=a"));
        pairs(world, "acme", 5);
        let hooks = receiver.wait(10, SOON);
        assert_eq!(ids(&hooks), events(world, "acme"));
        wait_for(world, WAITING, "0");
        assert_eq!(receiver.hooks().len(), 10, "something was sent twice");
        world.sql("CREATE EXTENSION pgcrypto");
        for hook in &hooks {
            assert_eq!(hook.path, "/hook?token=a");
            assert_eq!(hook.header("content-type"), "application/json");
            assert!(hook.header("user-agent").starts_with("walletd/"));
            assert_eq!(
                hook.header("webhook-signature"),
                signature(world, &secret, hook)
            );
            let json = hook.json();
            assert_eq!(json["data"]["wallet"], "acme");
            assert_eq!(json["data"]["id"], hook.id());
            assert_eq!(json["data"]["threshold"], "20.00");
            assert!(
                json["type"]
                    .as_str()
                    .unwrap()
                    .starts_with("wallet_balance_")
            );
        }
        let text = world.ops().get("/metrics").expect(200).text;
        for line in [
            r#"walletd_deliveries_total{kind="webhook",outcome="delivered"} 10"#,
            r#"walletd_delivery_duration_seconds_count{kind="webhook"} 10"#,
            "walletd_deliveries_running 0",
            "wallet_deliveries_due 0",
            "wallet_oldest_delivery_seconds 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        let log = world.walletd.log();
        for hidden in [&secret[6..], "token", "threshold"] {
            assert!(!log.contains(hidden), "{hidden} in {log}");
        }
    });
}

/// The signature that PostgreSQL computes.
pub fn signature(world: &World, secret: &str, hook: &Hook) -> String {
    let signed = format!(
        "{}.{}.{}",
        hook.id(),
        hook.header("webhook-timestamp"),
        hook.body
    );
    world.value(&format!(
        "SELECT 'v1,' || encode(hmac(convert_to($s${signed}$s$, 'UTF8'), decode('{}', 'base64'), 'sha256'), 'base64')",
        &secret[6..]
    ))
}

#[test]
fn during_a_rotation_both_secrets_sign() {
    with_settings(&LOCAL, |world| {
        world.sql("CREATE EXTENSION pgcrypto");
        let receiver = Receiver::start();
        let old = webhook(world, "acme", &receiver.url("/"));
        let new = world
            .value("SELECT secret FROM wallet.rotate_destination('acme', overlap => '6 seconds')");
        pairs(world, "acme", 1);
        for hook in receiver.wait(2, SOON) {
            let both = [&new, &old].map(|secret| signature(world, secret, &hook));
            assert_eq!(hook.header("webhook-signature"), both.join(" "));
        }
        std::thread::sleep(Duration::from_secs(6));
        pairs(world, "acme", 1);
        for hook in &receiver.wait(4, SOON)[2..] {
            assert_eq!(
                hook.header("webhook-signature"),
                signature(world, &new, hook)
            );
        }
    });
}

#[test]
fn a_failure_holds_up_its_own_queue_alone_and_is_made_again() {
    with_settings(&LOCAL, |world| {
        let (receiver, other) = (Receiver::start(), Receiver::start());
        world.sql("SELECT wallet.update_wallet('globex', low_balance => '{20}')");
        webhook(world, "acme", &receiver.url("/"));
        webhook(world, "globex", &other.url("/"));
        receiver.answers(|_| Reply::status(503));
        pairs(world, "acme", 1);
        let first = receiver.wait(1, SOON)[0].id();
        let failed =
            "SELECT attempts || ' ' || last_error FROM wallet.delivery_list WHERE attempts > 0";
        wait_for(world, failed, "1 the receiver answered 503");
        // The other queue goes on, and the second event of this one waits for the first.
        world.sql("SELECT wallet.fund('globex', 50)");
        pairs(world, "globex", 1);
        other.wait(2, SOON);
        assert_eq!(ids(&receiver.hooks()), std::slice::from_ref(&first));
        receiver.answers(|_| Reply::status(200));
        wait_for(world, WAITING, "0");
        let both = events(world, "acme");
        assert_eq!(
            ids(&receiver.hooks()),
            [0, 0, 1].map(|at: usize| both[at].clone())
        );
    });
}

#[test]
fn what_no_attempt_can_change_is_dead_at_once_with_a_reason() {
    with_settings(&LOCAL, |world| {
        let receiver = Receiver::start();
        webhook(world, "acme", &receiver.url("/"));
        for status in [410, 404, 400] {
            receiver.answers(move |_| Reply::status(status));
            pairs(world, "acme", 1);
            wait_for(world, WAITING, "0");
            let dead = format!(
                "SELECT count(*) FROM wallet.delivery_list WHERE status = 'dead' AND attempts = 1
                    AND last_error = 'the receiver answered {status}'"
            );
            assert_eq!(world.value(&dead), "2", "{status}");
        }
        assert_eq!(receiver.hooks().len(), 6);
        let text = world.ops().get("/metrics").expect(200).text;
        let line = r#"walletd_deliveries_total{kind="webhook",outcome="dead"} 6"#;
        assert!(text.lines().any(|found| found == line), "{text}");
        // The dead letter is sent again when somebody says so, with the same id.
        receiver.answers(|_| Reply::status(200));
        world.sql(
            "SELECT wallet.resend_delivery('acme', delivery_id) FROM wallet.delivery_list
              WHERE last_error LIKE '%410'",
        );
        wait_for(
            world,
            "SELECT count(*) FROM wallet.delivery_list WHERE status = 'delivered'",
            "2",
        );
        assert_eq!(ids(&receiver.hooks())[6..], events(world, "acme")[..2]);
    });
}

#[test]
fn the_last_attempt_is_that_of_the_settings() {
    let settings = [LOCAL[0], LOCAL[1], ("WALLETD_WORKER__MAX_ATTEMPTS", "1")];
    with_settings(&settings, |world| {
        let receiver = Receiver::start();
        receiver.answers(|_| Reply::status(500));
        webhook(world, "acme", &receiver.url("/"));
        pairs(world, "acme", 1);
        wait_for(
            world,
            "SELECT count(*) FROM wallet.delivery_list WHERE status = 'dead'",
            "2",
        );
    });
}

#[test]
fn a_receiver_says_when_to_come_again() {
    with_settings(&LOCAL, |world| {
        let receiver = Receiver::start();
        receiver.answers(|_| Reply::status(429).with("retry-after", "600"));
        webhook(world, "acme", &receiver.url("/"));
        pairs(world, "acme", 1);
        let pause = "SELECT count(*) FROM wallet.delivery_list WHERE attempts = 1
                       AND next_at - now() BETWEEN '580 seconds' AND '600 seconds'";
        wait_for(world, pause, "1");
    });
}

#[test]
fn a_slow_receiver_is_given_up_in_time() {
    let settings = [
        LOCAL[0],
        LOCAL[1],
        ("WALLETD_WORKER__TIMEOUT", "1s"),
        ("WALLETD_WORKER__CONNECT_TIMEOUT", "1s"),
    ];
    with_settings(&settings, |world| {
        let receiver = Receiver::start();
        receiver.answers(|_| Reply::status(200).after(Duration::from_secs(20)));
        webhook(world, "acme", &receiver.url("/"));
        pairs(world, "acme", 1);
        let failed = "SELECT last_error FROM wallet.delivery_list WHERE attempts > 0";
        wait_for(world, failed, "no answer within 1 s");
    });
}

#[test]
fn the_network_of_walletd_is_out_of_reach() {
    with_settings(&[LOCAL[1]], |world| {
        let receiver = Receiver::start();
        let port = receiver.address.port();
        for (number, host) in [
            "127.0.0.1",
            "localhost",
            "2130706433",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ]
        .into_iter()
        .enumerate()
        {
            for scheme in ["http", "https"] {
                world.sql(&format!(
                    "SELECT wallet.set_destination('acme', 'webhook', '{scheme}://{host}:{port}/',
                        name => '{scheme}{number}')"
                ));
            }
        }
        pairs(world, "acme", 1);
        wait_for(world, WAITING, "0");
        let reasons = "SELECT string_agg(DISTINCT status || ': ' || last_error, '; ') FROM wallet.delivery_list";
        assert_eq!(world.value(reasons), "dead: the host has no public address");
        assert!(receiver.hooks().is_empty(), "{:?}", receiver.hooks());
    });
}

#[test]
fn a_redirect_and_a_proxy_lead_nowhere() {
    let inside = Receiver::start();
    let proxy = inside.url("");
    let settings = [
        ("WALLETD_WORKER__ALLOWED_NETWORKS", r#"["127.0.0.0/8"]"#),
        ("HTTP_PROXY", proxy.as_str()),
        ("http_proxy", proxy.as_str()),
        ("ALL_PROXY", proxy.as_str()),
    ];
    with_settings(&settings, |world| {
        let receiver = Receiver::start();
        let location = inside.url("/secret");
        receiver.answers(move |_| Reply::status(307).with("location", &location));
        webhook(world, "acme", &receiver.url("/"));
        pairs(world, "acme", 1);
        let failed = "SELECT last_error FROM wallet.delivery_list WHERE attempts > 0";
        wait_for(world, failed, "the receiver answered 307");
        assert!(inside.hooks().is_empty(), "{:?}", inside.hooks());
    });
}

#[test]
fn https_needs_a_certificate_that_names_the_host() {
    let (tls, file) = localhost(&format!("walletd-hook-{}", std::process::id()));
    let path = file.to_str().unwrap();
    for (root, host, expected) in [
        (path, "localhost", "delivered"),
        (path, "127.0.0.1", "waiting: TLS"),
        ("", "localhost", "waiting: TLS"),
    ] {
        let settings = [
            LOCAL[0],
            LOCAL[1],
            ("WALLETD_WORKER__ROOT_CERTIFICATES", root),
        ];
        with_settings(&settings, |world| {
            let receiver = Receiver::with_tls(tls.clone());
            let url = format!("https://{host}:{}/", receiver.address.port());
            webhook(world, "acme", &url);
            pairs(world, "acme", 1);
            let became = "SELECT status || coalesce(': ' || split_part(last_error, ':', 1), '')
                FROM wallet.delivery_list WHERE attempts > 0 OR status = 'delivered' LIMIT 1";
            wait_for(world, became, expected);
            assert_eq!(receiver.hooks().is_empty(), expected != "delivered");
        });
    }
    std::fs::remove_file(file).unwrap();
}
