//! Asynchronous replication that stalls before the primary is lost: the digest names the lost tail,
//! and the clients' keys book again what the world still allows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use postgres::Client;
use wallet_tests::{Seed, audit, dec};

use crate::checks::{broken, digest, entries, exactly_once, same_digest, whole};
use crate::client::{Seen, Session};
use crate::cluster::{Cluster, Node, wait_for};
use crate::report;
use crate::workload::{Book, Done, charge, during, wallets};

/// How the primary is lost.
pub type Loss = fn(&Node);

/// The wallet whose money somebody else spends before the lost charges are sent again.
const SHORT: [&str; 4] = ["short0", "short1", "short2", "short3"];

/// Nothing reaches the standby from here on: it may not connect again.
fn stall(primary: &mut Client) {
    primary
        .batch_execute("ALTER ROLE replicator NOLOGIN")
        .expect("a role");
    wait_for("no standby streams", || {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_replication";
        primary
            .query(sql, &[])
            .expect("pg_stat_replication")
            .is_empty()
            .then_some(())
    });
}

/// Sends all calls again. Returns what is booked now, and the calls that were refused.
fn repair(
    cluster: &Cluster,
    done: &[Done],
    lost: &BTreeSet<String>,
) -> (Vec<Done>, BTreeMap<String, String>) {
    let (seen, mut booked, mut refused) = (Seen::default(), Vec::new(), BTreeMap::new());
    let mut session = Session::new(cluster.config("app", true), &seen);
    for done in done {
        match session.call(&done.call) {
            Ok(answer) => {
                let is_lost = lost.contains(&done.call.key);
                assert_eq!(answer.replayed, !is_lost, "{done:?}");
                assert!(
                    is_lost || answer.entry == done.answer.entry,
                    "{done:?}: {answer:?}"
                );
                booked.push(Done {
                    answer,
                    ..done.clone()
                });
            }
            Err(state) => {
                refused.insert(done.call.key.clone(), state);
            }
        }
    }
    (booked, refused)
}

/// What of the acknowledged calls is gone.
fn missing(client: &mut Client, done: &[Done]) -> BTreeSet<String> {
    let entries = entries(client);
    let keys = done.iter().map(|done| done.call.key.clone());
    keys.filter(|key| !entries.contains_key(key)).collect()
}

/// The digest names each wallet that lost a call which was acknowledged before the digest was
/// taken, and none that lost nothing.
fn is_named(
    client: &mut Client,
    kept: &str,
    before: &[Done],
    lost: &BTreeSet<String>,
    short: &str,
) {
    let named = broken(client, kept);
    for (wallet, what) in &named {
        println!("  the digest names {wallet}: {what}");
    }
    for done in before.iter().filter(|done| lost.contains(&done.call.key)) {
        assert!(
            named.contains_key(done.call.wallet),
            "{done:?} is not named: {named:?}"
        );
    }
    let others = wallets().into_iter().chain([short]);
    let may_be: BTreeSet<&str> = others.collect();
    assert!(
        named.keys().all(|wallet| may_be.contains(wallet.as_str())),
        "{named:?}"
    );
}

/// One failover that loses calls.
pub fn scene(cluster: &Cluster, book: &Book, seed: &Seed, number: usize, name: &str, lose: Loss) {
    let short = SHORT[number];
    let mut client = cluster.administrator();
    client
        .batch_execute(&format!(
            "SELECT wallet.create_wallet('{short}'), wallet.fund('{short}', 100)"
        ))
        .expect("a wallet");
    cluster.configure(&serde_json::json!({
        "synchronous_mode": false,
        // Otherwise Patroni would rather have no primary than one that lost more than a megabyte.
        "maximum_lag_on_failover": 1 << 30,
    }));
    cluster.wait_for_standby(false);
    same_digest(cluster);
    let (old, new) = cluster.roles();
    let (mut before, mut kept) = (Vec::new(), String::new());
    let since = during(cluster, book, seed, name, || {
        stall(&mut client);
        let mut session = Session::new(cluster.config("app", true), &book.seen);
        for key in ["first", "second"] {
            let call = charge(short, dec("40"), &format!("{name}-short-{key}"));
            let answer = session.call(&call).expect("enough money");
            book.add(call, answer);
        }
        book.wait_for(200);
        before = book.done();
        kept = digest(&mut client);
        book.wait_for(20);
        let since = Instant::now();
        lose(old);
        wait_for("the standby is promoted", || new.is_primary().then_some(()));
        let call = charge(short, dec("100"), &format!("{name}-short-other"));
        let answer = session.call(&call).expect("the money is there again");
        book.add(call, answer);
        book.wait_for(100);
        since
    });
    let mut client = cluster.administrator();
    client
        .batch_execute("ALTER ROLE replicator LOGIN")
        .expect("a role");
    let done = book.done();
    let lost = missing(&mut client, &done);
    report(
        name,
        book,
        since,
        &format!("{} acknowledged calls lost", lost.len()),
    );
    assert!(
        lost.len() >= 200,
        "{} calls were acknowledged without the standby",
        lost.len()
    );
    whole(&mut client, &done);
    is_named(&mut client, &kept, &before, &lost, short);
    let (booked, refused) = repair(cluster, &done, &lost);
    for (key, state) in &refused {
        println!("  cannot be booked again: {key}, refused with {state}");
    }
    let expected =
        ["first", "second"].map(|key| (format!("{name}-short-{key}"), "WL001".to_owned()));
    assert_eq!(refused, BTreeMap::from(expected));
    exactly_once(&mut client, &booked);
    whole(&mut client, &booked);
    for wallet in wallets() {
        audit(&mut client, wallet);
    }
    book.replace(booked);
    if old.is_lost() {
        cluster.restart(old);
    }
    cluster.wait_for_standby(false);
    same_digest(cluster);
}
