//! Promotion of a standby, with no charge under way and during charges.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use wallet_tests::{Database, Server, audit, crowd, dec};

use crate::{broken, digest, fill, goes_on};

#[test]
fn a_promoted_standby_continues() {
    let _crowd = crowd();
    let database = Database::new();
    let mut primary = database.connect();
    fill(&mut primary);
    let server = Server::standby();
    let mut standby = server.catch_up(&mut primary, database.name());

    // The cached prices and rules of a backend on the standby follow the primary's commits.
    let price = "SELECT cost::text FROM wallet.price_usage('{\"model\":\"m\",\"input_tokens\":1000}', 'acme')";
    let cost = |client: &mut postgres::Client| -> String {
        client.query_one(price, &[]).expect("a price").get(0)
    };
    assert_eq!(cost(&mut standby), "1.00");
    primary
        .batch_execute(
            "SELECT wallet.set_price('m', 'input_tokens', 0.003);
             SELECT wallet.freeze_wallet('acme')",
        )
        .expect("rules change");
    server.catch_up(&mut primary, database.name());
    assert_eq!(cost(&mut standby), "3.00");
    let reason = "SELECT reason FROM wallet.check_limits('acme', amount => 1) LIMIT 1";
    let told: Option<String> = standby.query_one(reason, &[]).expect("check_limits").get(0);
    let here: Option<String> = primary.query_one(reason, &[]).expect("check_limits").get(0);
    assert!(told.is_some() && told == here, "{told:?} and {here:?}");
    primary
        .batch_execute("SELECT wallet.unfreeze_wallet('acme')")
        .expect("unfreeze");

    let kept = digest(&mut primary);
    drop(server.catch_up(&mut primary, database.name()));
    server.promote();
    // The backend that could only read can write now.
    assert_eq!(broken(&mut standby, &kept), Vec::<String>::new());
    goes_on(&mut standby);
    assert_eq!(broken(&mut standby, &kept), Vec::<String>::new());
    // The primary is unchanged.
    assert_eq!(broken(&mut primary, &kept), Vec::<String>::new());
}

#[test]
fn a_standby_that_is_promoted_while_charges_run_has_whole_transactions() {
    let _crowd = crowd();
    let database = Database::new();
    let mut primary = database.connect();
    fill(&mut primary);
    let server = Server::standby();
    let (over, booked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (database, over, booked) = (&database, &over, &booked);
            scope.spawn(move || {
                let mut client = database.connect();
                // Two wallets in one transaction: both charges or neither.
                let mut number = 0;
                while !over.load(Ordering::Relaxed) {
                    let key = format!("t{thread} n{number}");
                    let sql = format!(
                        "BEGIN;
                         SELECT wallet.charge('acme', amount => 0.01, user_id => 'ann', idempotency_key => '{key}');
                         SELECT wallet.charge('hot', amount => 0.01, idempotency_key => '{key}');
                         COMMIT"
                    );
                    client.batch_execute(&sql).expect("two charges");
                    booked.fetch_add(1, Ordering::Relaxed);
                    number += 1;
                }
            });
        }
        let mut standby = server.connect(database.name());
        let arrived = "SELECT count(*) FROM wallet.entries WHERE wallet = 'acme' AND idempotency_key LIKE 't% n%'";
        while standby
            .query_one(arrived, &[])
            .expect("entries")
            .get::<_, i64>(0)
            < 100
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        server.promote();
        over.store(true, Ordering::Relaxed);
    });
    let mut promoted = server.connect(database.name());
    let halves = "SELECT count(*) FILTER (WHERE wallets <> 2), count(*)
                    FROM (SELECT count(*) AS wallets FROM wallet.entries WHERE idempotency_key LIKE 't% n%'
                           GROUP BY idempotency_key) s";
    let row = promoted.query_one(halves, &[]).expect("entries");
    let (halves, whole): (i64, i64) = (row.get(0), row.get(1));
    assert_eq!(halves, 0);
    println!(
        "{whole} transactions of {} were there",
        booked.load(Ordering::Relaxed)
    );
    assert!(whole >= 100);
    for wallet in ["acme", "hot"] {
        audit(&mut promoted, wallet);
    }
    let kept = digest(&mut promoted);
    assert_eq!(broken(&mut promoted, &kept), Vec::<String>::new());
    goes_on(&mut promoted);
    // The first server is ahead of the kept digest, and agrees with it.
    assert_eq!(broken(&mut primary, &kept), Vec::<String>::new());
    // After the servers have diverged, the digest of one does not match the other.
    let apart = digest(&mut promoted);
    wallet_tests::charge(&mut primary, "hot", dec("1")).expect("a charge");
    assert!(!broken(&mut primary, &apart).is_empty());
}
