//! High availability as docs/high-availability.md describes it: Patroni, etcd and HAProxy with the
//! files of examples/high-availability, two nodes, and clients that send the same call with the
//! same key when a connection breaks.
//!
//! With synchronous replication nothing that was acknowledged is lost. With asynchronous
//! replication that stalls, the digest names what is lost, and the keys repair it.
//!
//! The short form of `make test` has a switchover, a primary whose PostgreSQL is killed, and the
//! same with stalled asynchronous replication. `WALLET_HA=long` (`make test-ha`) also loses whole
//! machines, which takes the 20 seconds of Patroni's lease each.

mod cancel;
mod checks;
mod client;
mod cluster;
mod lost;
mod programs;
mod rules;
mod workload;

use std::time::Instant;

use cluster::{Cluster, Node};
use rules::Kept;
use wallet_tests::{Seed, crowd};
use workload::{Book, during};

/// What happens to the primary.
type Event = fn(&Cluster, &Node, &Node);

/// Prints how long a scene was without service, and what its clients saw.
fn report(name: &str, book: &Book, since: Instant, more: &str) {
    let seen = std::mem::take(&mut *book.seen.lock().expect("a list"));
    let calls = book.count();
    println!(
        "{name}: {:.1} s without service, {calls} calls so far, {more}; clients saw {seen:?}",
        book.silence(since).as_secs_f64()
    );
}

/// A failover that loses nothing.
fn scene(cluster: &Cluster, book: &Book, seed: &Seed, number: usize, name: &str, event: Event) {
    cluster.wait_for_standby(true);
    let (old, new) = cluster.roles();
    let kept_session = Kept::open(cluster, number);
    let mut client = cluster.administrator();
    let (kept, since) = during(cluster, book, seed, name, || {
        let kept = checks::digest(&mut client);
        // A disk that was slow for seconds ends synchronous replication.
        cluster.wait_for_standby(true);
        let since = Instant::now();
        event(cluster, old, new);
        cluster::wait_for("the standby is promoted", || new.is_primary().then_some(()));
        kept_session.follows_the_last_rules(book);
        book.wait_for(100);
        (kept, since)
    });
    report(name, book, since, "none lost");
    checks::nothing_lost(cluster, book, &kept);
    if old.is_lost() {
        cluster.restart(old);
    }
    cluster.wait_for_standby(true);
    checks::same_digest(cluster);
}

fn run(long: bool) {
    let seed = Seed::of("high_availability");
    let begun = Instant::now();
    let (cluster, book) = (Cluster::new(), Book::default());
    workload::prepare(&cluster);
    cluster.wait_for_standby(true);
    println!(
        "the cluster is made after {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    let mut events: Vec<(&str, Event)> = vec![
        ("switchover", |cluster, old, new| {
            cluster.switchover(old, new)
        }),
        ("kill", |_, old, _| old.kill_postgres()),
    ];
    if long {
        events.push(("machine", |_, old, _| old.kill_all()));
        events.push(("switchover-again", |cluster, old, new| {
            cluster.switchover(old, new)
        }));
        events.push(("kill-again", |_, old, _| old.kill_postgres()));
    }
    for (number, (name, event)) in events.into_iter().enumerate() {
        scene(&cluster, &book, &seed, number, name, event);
        println!("  after {:.1} s", begun.elapsed().as_secs_f64());
    }
    cancel::scene(&cluster, &book);
    lost::scene(
        &cluster,
        &book,
        &seed,
        0,
        "stalled-kill",
        Node::kill_postgres,
    );
    if long {
        lost::scene(&cluster, &book, &seed, 1, "stalled-machine", Node::kill_all);
    }
    println!("all took {:.1} s", begun.elapsed().as_secs_f64());
}

#[test]
fn failovers() {
    let missing = programs::missing();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        assert!(
            std::env::var("CI").is_err(),
            "{missing}: missing; make setup installs it"
        );
        println!("SKIPPED: high availability is not tested, because there is no {missing}");
        return;
    }
    let _crowd = crowd();
    run(std::env::var("WALLET_HA").is_ok_and(|form| form == "long"));
}
