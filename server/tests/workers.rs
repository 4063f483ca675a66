//! Several workers, and workers that end in the middle.

use std::collections::BTreeMap;
use std::time::Duration;

use wallet_tests::Seed;

use crate::deliveries::{LOCAL, WAITING, events, pairs, wait_for, webhook};
use crate::support::{Receiver, Reply, Walletd, World, with_settings};

fn another(world: &World) -> Walletd {
    let settings: Vec<(&str, &str)> = world
        .settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    Walletd::start(&settings)
}

/// The shortest lease.
const QUICK: [(&str, &str); 3] = [
    ("WALLETD_WORKER__TIMEOUT", "2s"),
    ("WALLETD_WORKER__CONNECT_TIMEOUT", "2s"),
    ("WALLETD_WORKER__LEASE", "7s"),
];

#[test]
fn three_workers_send_nothing_twice_and_everything_in_order() {
    // Each makes one delivery at a time, so that the others are needed.
    let settings = [LOCAL[0], LOCAL[1], ("WALLETD_WORKER__CONCURRENCY", "1")];
    with_settings(&settings, |world| {
        let others = [another(world), another(world)];
        world.sql("SELECT wallet.update_wallet('globex', low_balance => '{20}'); SELECT wallet.fund('globex', 50)");
        let receiver = Receiver::start();
        // Long enough that another worker could take the next one too early.
        receiver.answers(|_| Reply::status(200).after(Duration::from_millis(30)));
        for (wallet, path) in [("acme", "/acme"), ("globex", "/globex"), ("*", "/all")] {
            webhook(world, wallet, &receiver.url(path));
        }
        std::thread::scope(|scope| {
            for wallet in ["acme", "globex"] {
                let database = world.database;
                scope.spawn(move || {
                    let mut session = database.connect();
                    let pair = format!(
                        "SELECT wallet.charge('{wallet}', amount => 90); SELECT wallet.fund('{wallet}', 90)"
                    );
                    for _ in 0..20 {
                        session.batch_execute(&pair).unwrap();
                    }
                });
            }
        });
        wait_for(world, WAITING, "0");
        let mut arrived: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for hook in receiver.hooks() {
            let wallet = hook.json()["data"]["wallet"].as_str().unwrap().to_owned();
            let queue = (hook.path.clone(), wallet);
            arrived.entry(queue).or_default().push(hook.id());
        }
        assert_eq!(arrived.len(), 4, "{arrived:?}");
        for ((path, wallet), ids) in &arrived {
            assert_eq!(ids, &events(world, wallet), "{path} {wallet}");
            assert_eq!(ids.len(), 40);
        }
        let made = |walletd: &Walletd| walletd.log().matches(r#""message":"delivered""#).count();
        let shares = [made(&world.walletd), made(&others[0]), made(&others[1])];
        assert_eq!(shares.iter().sum::<usize>(), 160, "{shares:?}");
        assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
    });
}

#[test]
fn a_worker_that_is_killed_between_request_and_record_loses_nothing() {
    let settings = [LOCAL[0], LOCAL[1], QUICK[0], QUICK[1], QUICK[2]];
    with_settings(&settings, |world| {
        let receiver = Receiver::start();
        webhook(world, "acme", &receiver.url("/"));
        receiver.answers(|_| Reply::status(200).after(Duration::from_millis(1500)));
        pairs(world, "acme", 2);
        receiver.wait(1, Duration::from_secs(10));
        world.walletd.signal("KILL");
        world.walletd.wait(Duration::from_secs(5)).unwrap();
        assert_eq!(world.value(WAITING), "4", "nothing is recorded");
        receiver.answers(|_| Reply::status(200));
        let walletd = another(world);
        // Nobody takes it before its lease ends.
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(receiver.hooks().len(), 1);
        wait_for(world, WAITING, "0");
        let ids: Vec<String> = receiver.hooks().iter().map(|hook| hook.id()).collect();
        let all = events(world, "acme");
        assert_eq!(ids, [0, 0, 1, 2, 3].map(|at: usize| all[at].clone()));
        let hooks = receiver.hooks();
        assert_eq!(hooks[0].body, hooks[1].body, "the repetition says the same");
        drop(walletd);
    });
}

#[test]
fn workers_that_are_killed_again_and_again_lose_nothing() {
    const KILLS: usize = 6;
    let mut seed = Seed::of("workers_that_are_killed_again_and_again_lose_nothing");
    let settings = [LOCAL[0], LOCAL[1], QUICK[0], QUICK[1], QUICK[2]];
    with_settings(&settings, |world| {
        world.sql(
            "SELECT wallet.update_wallet('globex', low_balance => '{20}');
             SELECT wallet.fund('globex', 50)",
        );
        let receiver = Receiver::start();
        receiver.answers(|_| Reply::status(200).after(Duration::from_millis(80)));
        for (wallet, path) in [("acme", "/acme"), ("globex", "/globex"), ("*", "/all")] {
            webhook(world, wallet, &receiver.url(path));
        }
        let mut others = vec![another(world), another(world)];
        std::thread::scope(|scope| {
            for wallet in ["acme", "globex"] {
                scope.spawn(|| pairs(world, wallet, 25));
            }
            for _ in 0..KILLS {
                std::thread::sleep(Duration::from_millis(300 + seed.below(1500)));
                // Dropping a process kills it.
                drop(others.remove(0));
                others.push(another(world));
            }
        });
        wait_for(world, WAITING, "0");
        let mut arrived: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for hook in receiver.hooks() {
            let wallet = hook.json()["data"]["wallet"].as_str().unwrap().to_owned();
            arrived
                .entry((hook.path.clone(), wallet))
                .or_default()
                .push(hook.id());
        }
        assert_eq!(arrived.len(), 4);
        let mut repetitions = 0;
        for ((path, wallet), mut ids) in arrived {
            let all = ids.len();
            // A repetition comes before the next event of its queue.
            ids.dedup();
            repetitions += all - ids.len();
            assert_eq!(ids, events(world, &wallet), "{path} {wallet}");
            assert_eq!(ids.len(), 50);
        }
        println!("{repetitions} repetitions after {KILLS} kills");
        assert!(repetitions <= 4 * KILLS, "{repetitions}");
    });
}

#[test]
fn sigterm_ends_what_is_being_sent_and_begins_nothing() {
    with_settings(&LOCAL, |world| {
        let receiver = Receiver::start();
        webhook(world, "acme", &receiver.url("/"));
        receiver.answers(|_| Reply::status(200).after(Duration::from_millis(1500)));
        pairs(world, "acme", 2);
        receiver.wait(1, Duration::from_secs(10));
        world.walletd.signal("TERM");
        let status = world.walletd.wait(Duration::from_secs(10)).unwrap();
        assert!(status.success(), "{status}");
        assert_eq!(receiver.hooks().len(), 1);
        assert_eq!(world.value(WAITING), "3", "the one is recorded");
        // The others have no lease: the next worker makes them at once.
        let _walletd = another(world);
        receiver.wait(4, Duration::from_secs(12));
    });
}

#[test]
fn a_delivery_that_is_cut_off_is_made_by_the_next_worker_at_once() {
    let settings = [LOCAL[0], LOCAL[1], ("WALLETD_HTTP__DRAIN", "300ms")];
    with_settings(&settings, |world| {
        let receiver = Receiver::start();
        webhook(world, "acme", &receiver.url("/"));
        receiver.answers(|_| Reply::status(200).after(Duration::from_secs(12)));
        pairs(world, "acme", 1);
        receiver.wait(1, Duration::from_secs(10));
        world.walletd.signal("TERM");
        let status = world.walletd.wait(Duration::from_secs(8)).expect("it ends");
        assert_eq!(status.code(), Some(1), "a delivery was cut off");
        let reason = "SELECT min(last_error) FROM wallet.delivery_list";
        assert!(world.value(reason).starts_with("walletd stopped"));
        receiver.answers(|_| Reply::status(200));
        // The lease of a minute has ended with the process.
        let _walletd = another(world);
        receiver.wait(3, Duration::from_secs(15));
        wait_for(world, WAITING, "0");
        assert_eq!(
            world.value("SELECT count(*) FROM wallet.delivery_list WHERE dead_at IS NOT NULL"),
            "0"
        );
    });
}

#[test]
fn figures_that_wait_in_postgresql_do_not_hold_up_deliveries() {
    with_settings(&LOCAL, |world| {
        let receiver = Receiver::start();
        webhook(world, "acme", &receiver.url("/"));
        let mut blocking = world.database.connect();
        // The figures read this table, and deliveries do not.
        blocking
            .batch_execute("BEGIN; LOCK TABLE wallet.unread_paths IN ACCESS EXCLUSIVE MODE")
            .unwrap();
        for _ in 0..5 {
            let text = world.ops().get("/metrics").expect(200).text;
            assert!(text.contains("\nwallet_up 0\n"), "{text}");
        }
        let begun = std::time::Instant::now();
        pairs(world, "acme", 1);
        receiver.wait(2, Duration::from_secs(10));
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{:?}",
            begun.elapsed()
        );
        blocking.batch_execute("ROLLBACK").unwrap();
        let text = world.ops().get("/metrics").expect(200).text;
        assert!(text.contains("\nwallet_up 1\n"), "{text}");
    });
}

#[test]
fn a_worker_goes_on_after_its_connections_were_ended() {
    let settings = [LOCAL[0], ("WALLETD_WORKER__POLL", "1h")];
    with_settings(&settings, |world| {
        let receiver = Receiver::start();
        webhook(world, "acme", &receiver.url("/"));
        pairs(world, "acme", 1);
        receiver.wait(2, Duration::from_secs(10));
        for round in 2..5 {
            world.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE datname = current_database() AND application_name = 'walletd'",
            );
            pairs(world, "acme", 1);
            receiver.wait(round * 2, Duration::from_secs(15));
        }
        wait_for(world, WAITING, "0");
        let ids: Vec<String> = receiver.hooks().iter().map(|hook| hook.id()).collect();
        assert_eq!(ids, events(world, "acme"));
    });
}

#[test]
fn a_delivery_whose_record_fails_is_recorded_later_and_sent_once() {
    let settings = [LOCAL[0], LOCAL[1], ("WALLETD_WORKER__LEASE", "40s")];
    with_settings(&settings, |world| {
        let receiver = Receiver::start();
        webhook(world, "acme", &receiver.url("/"));
        receiver.answers(|_| Reply::status(200).after(Duration::from_millis(800)));
        pairs(world, "acme", 1);
        receiver.wait(1, Duration::from_secs(10));
        // While the request runs, no new session is let in and the old ones end.
        let name = world.database.name().to_owned();
        let mut administrator = wallet_tests::Database::administrator();
        administrator
            .batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
            .unwrap();
        let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = $1 AND application_name = 'walletd'";
        administrator.query_one(ended, &[&name]).unwrap();
        std::thread::sleep(Duration::from_secs(4));
        administrator
            .batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
            .unwrap();
        wait_for(world, WAITING, "0");
        let ids: Vec<String> = receiver.hooks().iter().map(|hook| hook.id()).collect();
        assert_eq!(ids, events(world, "acme"));
    });
}

#[test]
fn a_process_without_a_worker_delivers_nothing() {
    let settings = [LOCAL[0], LOCAL[1], ("WALLETD_WORKER__ENABLED", "false")];
    with_settings(&settings, |world| {
        let receiver = Receiver::start();
        webhook(world, "acme", &receiver.url("/"));
        pairs(world, "acme", 1);
        std::thread::sleep(Duration::from_secs(3));
        assert!(receiver.hooks().is_empty());
        let text = world.ops().get("/metrics").expect(200).text;
        assert!(text.contains("\nwallet_deliveries_due 1\n"), "{text}");
    });
}
