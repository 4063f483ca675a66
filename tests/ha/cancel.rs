//! A COMMIT that waits for the standby must not be cancelled: it returns as if it had been
//! replicated, with a warning only.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};
use wallet_tests::dec;

use crate::cluster::{Cluster, wait_for};
use crate::workload::{Book, charge};

/// Each statement by itself: ALTER SYSTEM is not for transactions.
fn set(administrator: &mut Client, setting: &str) {
    let alter = format!("ALTER SYSTEM {setting}");
    for sql in [&alter, "SELECT pg_reload_conf()"] {
        administrator.batch_execute(sql).expect("a setting");
    }
}

/// A cancelled wait, and a timeout of the server, which does not cancel it.
pub fn scene(cluster: &Cluster, book: &Book) {
    let mut administrator = cluster.administrator();
    administrator
        .batch_execute("SELECT wallet.create_wallet('patient'), wallet.fund('patient', 10)")
        .expect("a wallet");
    // As if the standby were gone and Patroni had to wait for it, too.
    cluster.configure(&serde_json::json!({"pause": true}));
    wait_for("COMMIT waits for a standby that is not there", || {
        let waits = "SELECT current_setting('synchronous_standby_names') = 'nobody'";
        set(
            &mut administrator,
            "SET synchronous_standby_names = 'nobody'",
        );
        administrator
            .query_one(waits, &[])
            .expect("a setting")
            .get::<_, bool>(0)
            .then_some(())
    });
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&warnings);
    let mut config = cluster.config("app", false);
    config.notice_callback(move |notice| {
        let told = (notice.code().code().to_owned(), notice.message().to_owned());
        heard.lock().expect("a list").push(told);
    });
    let mut client = config.connect(NoTls).expect("the primary");
    client
        .batch_execute("SET statement_timeout = '3s'")
        .expect("a setting");
    let id: i32 = client
        .query_one("SELECT pg_backend_pid()", &[])
        .expect("a process")
        .get(0);
    let token = client.cancel_token();
    let mut watcher = cluster.administrator();
    let canceller = std::thread::spawn(move || {
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'SyncRep')";
        wait_for("COMMIT waits", || {
            let waiting = watcher.query_one(waits, &[&id]).expect("a process");
            waiting.get::<_, bool>(0).then_some(())
        });
        std::thread::sleep(Duration::from_millis(3200));
        token.cancel_query(NoTls).expect("a request to cancel");
    });
    let begun = Instant::now();
    let call = charge("patient", dec("1"), "cancelled");
    let answer = call.on(&mut client);
    let waited = begun.elapsed();
    canceller.join().expect("the request");
    book.add(
        call,
        answer.expect("the cancelled COMMIT looks like a success"),
    );
    assert!(
        waited > Duration::from_millis(3100),
        "statement_timeout ended it: {waited:?}"
    );
    let warnings = warnings.lock().expect("a list");
    assert!(
        warnings
            .iter()
            .any(|(state, text)| state == "01000" && text.contains("synchronous replication")),
        "{warnings:?}"
    );
    println!("  a cancelled COMMIT returns with {warnings:?}");
    set(&mut administrator, "RESET synchronous_standby_names");
    cluster.configure(&serde_json::json!({"pause": null}));
}
