//! Events `usage_charged`: each charge reaches its webhook once, in order, whenever it commits and
//! whatever becomes of the workers. Wallets without such a webhook cost nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use postgres::{Client, GenericClient};
use serde_json::Value;
use wallet_tests::{Database, Roles, Seed, pages, state_of};

use crate::changes::{WALLETS, setup, upkeep, write};

fn webhook(client: &mut impl GenericClient, wallet: &str, events: &str) {
    let set = "SELECT name FROM wallet.set_destination($1, 'webhook', 'https://example.com', $2::text::text[], 'usage')";
    client.query(set, &[&wallet, &events]).unwrap();
}

/// The charges of a payload, by their ids.
fn charges(payload: &Value) -> Vec<String> {
    let charges = payload["charges"].as_array().unwrap();
    let id = |charge: &Value| charge["entry_id"].as_str().unwrap().to_owned();
    charges.iter().map(id).collect()
}

/// Claims what is due. Returns wallet, id of the delivery and payload of each batch.
fn claim(client: &mut impl GenericClient) -> Vec<(String, String, Value)> {
    let claim =
        "SELECT wallet, delivery_id::text, payload FROM wallet.claim_deliveries(lease => '50 ms')
                  WHERE event = 'usage_charged'";
    let rows = client.query(claim, &[]).unwrap();
    let read = |row: &postgres::Row| (row.get(0), row.get(1), row.get(2));
    rows.iter().map(read).collect()
}

fn finish(client: &mut impl GenericClient, wallet: &str, delivery: &str) {
    let finish = "SELECT wallet.finish_delivery($1, $2::text::uuid)";
    client.query(finish, &[&wallet, &delivery]).unwrap();
}

/// A worker that often stops between two steps.
fn work(mut client: Client, mut seed: Seed, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        let mut transaction = client.transaction().unwrap();
        let claimed = claim(&mut transaction);
        match seed.below(4) {
            // It ends before its commit.
            0 => transaction.rollback().unwrap(),
            // Its leases run out.
            1 => transaction.commit().unwrap(),
            _ => {
                transaction.commit().unwrap();
                for (wallet, delivery, _) in claimed {
                    if seed.below(3) == 0 {
                        let retry = "SELECT wallet.retry_delivery($1, $2::text::uuid, '10 ms')";
                        client.query(retry, &[&wallet, &delivery]).unwrap();
                    } else {
                        finish(&mut client, &wallet, &delivery);
                    }
                }
            }
        }
        thread::sleep(Duration::from_millis(seed.below(20)));
    }
}

/// Finishes everything. The time is that of a lease or a pause.
fn drain(client: &mut Client) {
    let waiting = "SELECT count(*) FROM wallet.delivery_list WHERE status = 'waiting'";
    let mut empty = 0;
    while empty < 2 {
        let claimed = claim(client);
        for (wallet, delivery, _) in &claimed {
            finish(client, wallet, delivery);
        }
        let left: i64 = client.query_one(waiting, &[]).unwrap().get(0);
        empty = if claimed.is_empty() && left == 0 {
            empty + 1
        } else {
            0
        };
        thread::sleep(Duration::from_millis(10));
    }
}

/// The charges of each wallet's batches, in the order of the events.
fn delivered(client: &mut Client) -> BTreeMap<String, Vec<String>> {
    let query =
        "SELECT wallet, payload FROM wallet.events WHERE event = 'usage_charged' ORDER BY id";
    let mut delivered = BTreeMap::<String, Vec<String>>::new();
    for row in client.query(query, &[]).unwrap() {
        let found = charges(&row.get(1));
        assert!(!found.is_empty(), "a batch has charges");
        delivered.entry(row.get(0)).or_default().extend(found);
    }
    delivered
}

#[test]
fn each_charge_is_in_one_batch_whenever_it_commits_and_whatever_the_workers_do() {
    let seed = Seed::of("each_charge_is_in_one_batch");
    let database = Database::new();
    let mut client = database.connect();
    setup(&mut client);
    for (wallet, _) in WALLETS {
        webhook(&mut client, wallet, "{usage_charged}");
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|number| {
                let (client, seed) = (database.connect(), seed.thread(number));
                scope.spawn(move || write(client, seed, number))
            })
            .collect();
        let done = &done;
        for number in [10, 11] {
            let (client, seed) = (database.connect(), seed.thread(number));
            scope.spawn(move || work(client, seed, done));
        }
        let (other, its_seed) = (database.connect(), seed.thread(99));
        scope.spawn(move || upkeep(other, its_seed, done));
        while writers.iter().any(|writer| !writer.is_finished()) {
            thread::sleep(Duration::from_millis(10));
        }
        done.store(true, Ordering::Relaxed);
    });
    drain(&mut client);
    let delivered = delivered(&mut client);
    let query = "SELECT entry_id::text, lane, seq FROM wallet.entries WHERE wallet = $1 AND kind = 'charge'";
    for (wallet, _) in WALLETS {
        let rows = client.query(query, &[&wallet]).unwrap();
        assert!(!rows.is_empty());
        let places: BTreeMap<String, (i32, i64)> = rows
            .iter()
            .map(|row| (row.get(0), (row.get(1), row.get(2))))
            .collect();
        let found = delivered.get(wallet).map_or(&[][..], Vec::as_slice);
        assert_eq!(found.len(), places.len(), "{wallet}: once each");
        let mut last = BTreeMap::new();
        for id in found {
            let (lane, seq) = places[id];
            assert!(
                last.insert(lane, seq).is_none_or(|before| before < seq),
                "{wallet}: lane {lane} is in order"
            );
        }
    }
}

#[test]
fn a_webhook_begins_with_the_charges_after_it_and_names_the_event() {
    let database = Database::new();
    let mut client = database.connect();
    setup(&mut client);
    client
        .batch_execute("SELECT wallet.charge('a', amount => 1)")
        .unwrap();
    webhook(&mut client, "a", "{usage_charged,wallet_depleted}");
    let all = "SELECT wallet.set_destination('b', 'webhook', 'https://example.com')";
    client.batch_execute(all).unwrap();
    let late = "SELECT wallet.charge('b', amount => 1, user_id => 'ada'), wallet.charge('a', amount => 2.5, user_id => 'ada')";
    let mut other = database.connect();
    let mut open = other.transaction().unwrap();
    open.batch_execute(late).unwrap();
    assert_eq!(claim(&mut client), []);
    open.commit().unwrap();
    let claimed = claim(&mut client);
    assert_eq!(claimed.len(), 1, "all events are not this one: {claimed:?}");
    let (wallet, delivery, payload) = &claimed[0];
    let charge = &payload["charges"][0];
    assert_eq!(
        (wallet.as_str(), charges(payload).len(), &charge["cost"]),
        ("a", 1, &Value::from("2.50"))
    );
    assert_eq!(payload["balance"], "996.50");
    assert_eq!(charge["user_id"], "ada");
    // One more batch only when this one has ended, and no refund. A change keeps the cursor.
    client
        .batch_execute(
            "SELECT wallet.charge('a', amount => 3);
             SELECT wallet.refund('a', entry_id) FROM wallet.entries
              WHERE wallet = 'a' AND kind = 'charge' AND amount = -1",
        )
        .unwrap();
    webhook(&mut client, "a", "{usage_charged}");
    thread::sleep(Duration::from_millis(60));
    // The person is erased between two attempts.
    client
        .batch_execute("SELECT wallet.erase_user('ada')")
        .unwrap();
    let again = claim(&mut client);
    assert_eq!((again.len(), &again[0].1), (1, delivery));
    assert_eq!(charges(&again[0].2), charges(payload));
    assert_ne!(again[0].2["charges"][0]["user_id"], "ada");
    finish(&mut client, "a", delivery);
    let next = claim(&mut client);
    assert_eq!(next[0].2["charges"][0]["cost"], "3.00");
    assert_eq!(charges(&next[0].2).len(), 1);
    // No worker of the outbox gets it. Without the event, nothing more is made.
    let events = "SELECT count(*) FROM wallet.claim_events() WHERE event = 'usage_charged'";
    assert_eq!(client.query_one(events, &[]).unwrap().get::<_, i64>(0), 0);
    finish(&mut client, "a", &next[0].1);
    webhook(&mut client, "a", "{wallet_depleted}");
    client
        .batch_execute("SELECT wallet.charge('a', amount => 1)")
        .unwrap();
    assert_eq!(claim(&mut client), []);
}

#[test]
fn a_dead_batch_is_sent_again_and_does_not_hold_up_the_next() {
    let database = Database::new();
    let mut client = database.connect();
    setup(&mut client);
    webhook(&mut client, "a", "{usage_charged}");
    let charge = "SELECT wallet.charge('a', amount => 1)";
    client.batch_execute(charge).unwrap();
    let (_, dead, first) = claim(&mut client).remove(0);
    let give_up = "SELECT wallet.retry_delivery('a', $1::text::uuid, max_attempts => 1)";
    client.query(give_up, &[&dead]).unwrap();
    client.batch_execute(charge).unwrap();
    let (_, delivery, second) = claim(&mut client).remove(0);
    assert_ne!(charges(&first), charges(&second));
    finish(&mut client, "a", &delivery);
    let resend = "SELECT wallet.resend_delivery('a', $1::text::uuid)";
    client.query(resend, &[&dead]).unwrap();
    let (_, again, payload) = claim(&mut client).remove(0);
    assert_eq!((again, charges(&payload)), (dead, charges(&first)));
}

#[test]
fn a_worker_gets_the_charges_of_its_wallets_alone() {
    let database = Database::new();
    let mut client = database.connect();
    setup(&mut client);
    let mut roles = Roles::new(&database);
    let role = roles.add("worker");
    for wallet in ["a", "b"] {
        webhook(&mut client, wallet, "{usage_charged}");
    }
    client
        .batch_execute(&format!(
            "SELECT wallet.grant_access('{role}', 'worker', 'b');
             SELECT wallet.charge('a', amount => 1), wallet.charge('b', amount => 1)"
        ))
        .unwrap();
    let mut worker = roles.connect(&role);
    let wallets: Vec<String> = claim(&mut worker).into_iter().map(|one| one.0).collect();
    assert_eq!(wallets, ["b"]);
    let made = "SELECT string_agg(wallet, ',') FROM wallet.events WHERE event = 'usage_charged'";
    let made: Option<String> = client.query_one(made, &[]).unwrap().get(0);
    assert_eq!(made.as_deref(), Some("b"));
    drop(worker);
}

#[test]
fn only_a_webhook_of_one_wallet_gets_charges() {
    let database = Database::new();
    let mut client = database.connect();
    setup(&mut client);
    for (wallet, kind, target) in [
        ("*", "webhook", "https://example.com"),
        ("a", "slack", "https://example.com"),
        ("a", "teams", "https://example.com"),
        ("a", "email", "a@example.com"),
        ("*", "email", "a@example.com"),
    ] {
        let set = "SELECT wallet.set_destination($1, $2, $3, '{wallet_depleted,usage_charged}')";
        let error = client.query(set, &[&wallet, &kind, &target]).unwrap_err();
        assert_eq!(state_of(&error), "22023", "{wallet} {kind}");
        let error = error.as_db_error().unwrap();
        assert!(error.detail().is_some() && error.hint().is_some());
    }
}

#[test]
fn a_claim_costs_nothing_for_other_wallets_and_for_old_charges() {
    let database = Database::new();
    let mut client = database.connect();
    setup(&mut client);
    webhook(&mut client, "a", "{usage_charged}");
    let charge = "SELECT wallet.charge('a', amount => 0.01)";
    let mut measured = Vec::new();
    for step in 0..3 {
        client.batch_execute("ANALYZE").unwrap();
        drain(&mut client);
        let claim = "SELECT * FROM wallet.claim_deliveries(lease => '50 ms')";
        // Autovacuum and other tests delay the removal of dead rows.
        let (mut idle, mut busy) = (u64::MAX, u64::MAX);
        for _ in 0..5 {
            client.batch_execute("VACUUM").unwrap();
            idle = idle.min(pages(&mut client, claim));
            client.batch_execute(charge).unwrap();
            busy = busy.min(pages(&mut client, claim));
            drain(&mut client);
        }
        measured.push((idle, busy));
        client
            .batch_execute(&format!(
                "SELECT count(wallet.create_wallet('w-{step}-' || i)) FROM generate_series(1, 400) i;
                 SELECT count(*) FROM generate_series(1, 400) i, wallet.set_destination('w-{step}-' || i, 'email', 'a@example.com');
                 SELECT count(wallet.charge('a', amount => 0.001)) FROM generate_series(1, 1000)"
            ))
            .unwrap();
    }
    // The first call of a session reads catalogs.
    let (_, (idle, busy), (last_idle, last_busy)) = (measured[0], measured[1], measured[2]);
    assert!(last_idle <= idle + idle / 2 + 10, "{measured:?}");
    assert!(last_busy <= busy + busy / 2 + 20, "{measured:?}");
}
