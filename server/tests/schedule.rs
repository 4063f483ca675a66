//! Tasks that are due from time to time: maintenance, top-ups, digests.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::deliveries::{signature, wait_for};
use crate::support::{Receiver, Reply, World, output, with_settings};

#[track_caller]
fn wait_for_metric(world: &World, line: &str) {
    let begun = Instant::now();
    loop {
        let text = world.ops().get("/metrics").expect(200).text;
        if text.lines().any(|found| found.starts_with(line)) {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{line} in {text}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn expired_holds_are_booked_and_due_rules_are_evaluated() {
    let settings = [
        ("WALLETD_WORKER__MAINTAIN", "1s"),
        ("WALLETD_WORKER__TOPUPS", "1s"),
    ];
    with_settings(&settings, |world| {
        world.sql("SELECT wallet.hold('acme', 5, ttl => '1 second')");
        let open = "SELECT status FROM wallet.holds";
        wait_for(world, open, "expired");
        let swept = "SELECT value FROM wallet.health WHERE name = 'holds_expired'";
        wait_for(world, swept, "0");
        for task in ["maintain", "topups"] {
            wait_for_metric(
                world,
                &format!("walletd_tasks_total{{task=\"{task}\",outcome=\"done\"}} 1"),
            );
        }
        world.verify();
    });
}

/// Runs examples/store_digest.sh.
fn store_digest(world: &World, directory: &Path) -> (bool, String) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/store_digest.sh");
    let output = Command::new("sh")
        .args([script, directory.to_str().unwrap()])
        .env("PGDATABASE", world.database.name())
        .output()
        .unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.success(), text)
}

#[test]
fn a_digest_in_a_directory_is_one_that_the_script_verifies() {
    let directory = std::env::temp_dir().join(format!("walletd-digests-{}", std::process::id()));
    let settings = [
        ("WALLETD_WORKER__DIGEST", "1s"),
        ("WALLETD_WORKER__DIGEST_TO", directory.to_str().unwrap()),
    ];
    with_settings(&settings, |world| {
        let files = || {
            let found = std::fs::read_dir(&directory).map(|entries| entries.count());
            found.unwrap_or_default()
        };
        wait_for_metric(
            world,
            "walletd_tasks_total{task=\"digest\",outcome=\"done\"} 3",
        );
        assert_eq!(files(), 1, "nothing was booked since the first one");
        let (is_right, text) = store_digest(world, &directory);
        assert!(is_right && text.contains("unchanged since"), "{text}");
        world.sql("SELECT wallet.charge('acme', amount => 1)");
        let begun = Instant::now();
        while files() < 2 && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(files(), 2);
        let (is_right, text) = store_digest(world, &directory);
        assert!(is_right && text.contains("unchanged since"), "{text}");
        // The script finds by walletd's files that somebody rewrote an entry.
        world.sql(
            "SET session_replication_role = replica;
             UPDATE wallet.ledger SET amount = amount - 1 WHERE ctid = (SELECT max(ctid) FROM wallet.ledger)",
        );
        let (is_right, text) = store_digest(world, &directory);
        assert!(!is_right && text.contains("does not match"), "{text}");
    });
    std::fs::remove_dir_all(directory).unwrap();
}

/// Two, as during a rotation.
const DIGEST_SECRETS: &str =
    r#"["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]"#;

#[test]
fn a_digest_is_posted_until_it_is_accepted() {
    let receiver = Receiver::start();
    receiver.answers(|_| Reply::status(500));
    let url = receiver.url("/digests?token=t0ken");
    let settings = [
        ("WALLETD_WORKER__DIGEST", "1s"),
        ("WALLETD_WORKER__DIGEST_TO", url.as_str()),
        ("WALLETD_WORKER__DIGEST_SECRETS", DIGEST_SECRETS),
    ];
    with_settings(&settings, |world| {
        receiver.wait(1, Duration::from_secs(10));
        wait_for_metric(
            world,
            "walletd_tasks_total{task=\"digest\",outcome=\"failed\"} ",
        );
        receiver.answers(|_| Reply::status(201));
        wait_for_metric(
            world,
            "walletd_tasks_total{task=\"digest\",outcome=\"done\"} 1",
        );
        let hook = receiver.hooks().pop().unwrap();
        assert_eq!(hook.body, world.value("SELECT wallet.digest()"));
        let time = hook.header("x-wallet-digest-time");
        assert!(time.ends_with('Z'));
        let seconds = format!("SELECT floor(extract(epoch FROM '{time}'::timestamptz))");
        assert_eq!(hook.header("webhook-timestamp"), world.value(&seconds));
        world.sql("CREATE EXTENSION pgcrypto");
        // Both secrets sign, and each request has an id of its own.
        let secrets: Vec<String> = serde_json::from_str(DIGEST_SECRETS).unwrap();
        let signed = secrets.iter().map(|secret| signature(world, secret, &hook));
        let signed: Vec<String> = signed.collect();
        assert_eq!(hook.header("webhook-signature"), signed.join(" "));
        assert_ne!(hook.id(), receiver.hooks()[0].id());
        let log = world.walletd.log();
        assert!(log.contains("the receiver answered 500") && !log.contains("t0ken"));
    });
}

#[test]
fn settings_of_the_worker_that_cannot_work_are_told_by_name() {
    with_settings(&[], |world| {
        for (name, value, told) in [
            (
                "WALLETD_WORKER__LEASE",
                "16s",
                "worker.lease must be at least",
            ),
            (
                "WALLETD_WORKER__CONCURRENCY",
                "0",
                "worker.concurrency must be",
            ),
            (
                "WALLETD_WORKER__MAX_ATTEMPTS",
                "0",
                "worker.max_attempts must be",
            ),
            ("WALLETD_WORKER__DIGEST", "1d", "worker.digest_to goes with"),
            (
                "WALLETD_WORKER__DIGEST_SECRETS",
                "hunter2",
                "worker.digest_secrets must be whsec_",
            ),
            (
                "WALLETD_WORKER__DIGEST_SECRETS",
                "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                "worker.digest_to is none",
            ),
            (
                "WALLETD_WORKER__CONNECT_TIMEOUT",
                "1m",
                "worker.connect_timeout must not",
            ),
            (
                "WALLETD_WORKER__ROOT_CERTIFICATES",
                "/nonexistent",
                "worker.root_certificates could not",
            ),
            (
                "WALLETD_WORKER__ALLOWED_NETWORKS",
                r#"["localhost"]"#,
                "allowed_networks",
            ),
            ("WALLETD_MAIL__HOST", "localhost", "mail.from is missing"),
            ("WALLETD_MAIL__TLS", "maybe", "mail.tls"),
        ] {
            let mut given: Vec<(&str, &str)> = world
                .settings
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            given.push((name, value));
            let output = output(&["check"], &given);
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8(text).unwrap().to_lowercase();
            assert!(
                !output.status.success() && text.contains(told),
                "{name}: {text}"
            );
        }
    });
}
