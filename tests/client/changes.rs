//! `changes` returns each entry exactly once, whatever is booked, when it commits and in which
//! order, and costs what it returns.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use postgres::Client;
use serde_json::Value;
use uuid::Uuid;
use wallet_tests::{Database, Roles, Seed, pages, scale};

pub const WALLETS: [(&str, u32); 4] = [("a", 1), ("b", 4), ("c", 2), ("d", 1)];

/// A reader with its copy of the ledger.
#[derive(Default)]
struct Copy {
    cursor: Option<Value>,
    /// The text of each entry.
    entries: HashMap<Uuid, String>,
    /// The number of the last entry of each lane.
    lanes: BTreeMap<(String, i32), i64>,
}

impl Copy {
    /// One call. Returns the number of new entries.
    fn pull(&mut self, client: &mut Client, max: i32) -> usize {
        let rows = client
            .query(
                "SELECT (c.entry).entry_id, (c.entry).wallet, (c.entry).lane, (c.entry).seq, c.entry::text, c.cursor
                   FROM wallet.changes($1, $2) c",
                &[&self.cursor, &max],
            )
            .unwrap();
        assert!(rows.len() <= max as usize);
        for (place, row) in rows.iter().enumerate() {
            let (id, wallet, lane, seq): (Uuid, String, i32, i64) =
                (row.get(0), row.get(1), row.get(2), row.get(3));
            let said = self.entries.insert(id, row.get(4));
            assert_eq!(said, None, "{wallet} {lane} {seq} was returned before");
            let last = self.lanes.entry((wallet, lane)).or_default();
            assert_eq!(seq, *last + 1, "a lane has no gap");
            *last = seq;
            let cursor: Option<Value> = row.get(5);
            assert_eq!(
                cursor.is_some(),
                place + 1 == rows.len(),
                "the last row has the cursor"
            );
            self.cursor = cursor.or(self.cursor.take());
        }
        rows.len()
    }

    /// The copy is the ledger.
    fn check(&self, client: &mut Client) {
        let rows = client
            .query("SELECT e.entry_id, e::text FROM wallet.entries e", &[])
            .unwrap();
        let ledger: HashMap<Uuid, String> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert!(
            self.entries == ledger,
            "{} of {}",
            self.entries.len(),
            ledger.len()
        );
    }
}

/// Books in transactions that stay open for a while and often roll back.
pub fn write(mut client: Client, mut seed: Seed, number: usize) {
    client
        .batch_execute("SET deadlock_timeout = '20ms'")
        .unwrap();
    for round in 0..scale(40) {
        let mut transaction = client.transaction().unwrap();
        let mut ok = true;
        for call in 0..=seed.below(3) {
            let (wallet, _) = WALLETS[seed.below(4) as usize];
            let sql = match seed.below(8) {
                0 => format!("SELECT wallet.fund('{wallet}', 1, method => 'bank', reference => 'r-{number}-{round}-{call}', status => 'pending')"),
                1 => format!(
                    "SELECT wallet.settle_funding(f.wallet, f.entry_id)
                       FROM (SELECT * FROM wallet.fundings f WHERE f.wallet = '{wallet}' AND f.status = 'pending' ORDER BY f.entry_id LIMIT 1) f"
                ),
                2 => format!("SELECT wallet.transfer('{wallet}', '{}', 0.01)", WALLETS[seed.below(4) as usize].0),
                _ => format!("SELECT wallet.charge('{wallet}', amount => 0.001, user_id => 'u-{}')", seed.below(9)),
            };
            if transaction.batch_execute(&sql).is_err() {
                ok = false;
                break;
            }
            thread::sleep(Duration::from_millis(seed.below(4) * seed.below(10)));
        }
        match ok && seed.below(4) > 0 {
            // A deadlock may end the transaction at any time.
            true => drop(transaction.commit()),
            false => drop(transaction.rollback()),
        }
    }
}

/// Moves entries and lanes meanwhile.
pub fn upkeep(mut client: Client, mut seed: Seed, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        let (wallet, _) = WALLETS[seed.below(4) as usize];
        let sql = match seed.below(3) {
            0 => "SELECT wallet.roll_up(now())".to_owned(),
            1 => format!("SELECT wallet.archive('{wallet}', now(), 10)"),
            _ => format!("SELECT wallet.set_lanes('{wallet}', {})", 1 + seed.below(4)),
        };
        // Others may hold what it needs.
        let _ = client.batch_execute(&format!("SET lock_timeout = '100ms'; {sql}"));
        thread::sleep(Duration::from_millis(seed.below(60)));
    }
}

pub fn setup(client: &mut Client) {
    for (wallet, lanes) in WALLETS {
        client
            .batch_execute(&format!("SELECT wallet.create_wallet('{wallet}', lanes => {lanes}); SELECT wallet.fund('{wallet}', 1000)"))
            .unwrap();
    }
}

#[test]
fn each_entry_is_returned_once_whenever_its_transaction_commits() {
    let mut seed = Seed::of("each_entry_is_returned_once_whenever_its_transaction_commits");
    let database = Database::new();
    let mut client = database.connect();
    setup(&mut client);
    let done = AtomicBool::new(false);
    let mut copies = [Copy::default(), Copy::default()];
    let mut during = 0;
    thread::scope(|scope| {
        let writers: Vec<_> = (0..5)
            .map(|number| {
                let (client, seed) = (database.connect(), seed.thread(number));
                scope.spawn(move || write(client, seed, number))
            })
            .collect();
        let (other, its_seed) = (database.connect(), seed.thread(99));
        let done = &done;
        scope.spawn(move || upkeep(other, its_seed, done));
        while writers.iter().any(|writer| !writer.is_finished()) {
            let level = ["READ COMMITTED", "REPEATABLE READ"][seed.below(2) as usize];
            client
                .batch_execute(&format!(
                    "BEGIN READ ONLY ISOLATION LEVEL {level}; SELECT count(*) FROM wallet.balances"
                ))
                .unwrap();
            thread::sleep(Duration::from_millis(seed.below(15)));
            let copy = &mut copies[seed.below(2) as usize];
            during += copy.pull(&mut client, 1 + seed.below(40) as i32);
            client.batch_execute("COMMIT").unwrap();
            // The ids from which it searches may be anything.
            if let Some(cursor) = copy.cursor.as_mut().filter(|_| seed.below(8) == 0) {
                let id = [
                    "ffffffff-ffff-ffff-ffff-ffffffffffff",
                    "00000000-0000-0000-0000-000000000000",
                ][seed.below(2) as usize];
                for position in cursor["wallets"].as_object_mut().unwrap().values_mut() {
                    position[0] = Value::from(id);
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(during > 100, "{during} entries were read meanwhile");
    for copy in &mut copies {
        while copy.pull(&mut client, 13) > 0 {}
        copy.check(&mut client);
    }
}

#[test]
fn a_busy_wallet_does_not_keep_the_others_waiting() {
    let database = Database::new();
    let mut client = database.connect();
    setup(&mut client);
    let mut copy = Copy::default();
    while copy.pull(&mut client, 100) > 0 {}
    client
        .batch_execute(
            "SELECT wallet.charge('d', amount => 1);
             SELECT count(wallet.charge('a', amount => 0.01)) FROM generate_series(1, 30)",
        )
        .unwrap();
    copy.pull(&mut client, 5);
    for _ in 0..3 {
        // As many as a call returns.
        client
            .batch_execute(
                "SELECT count(wallet.charge('a', amount => 0.01)) FROM generate_series(1, 5)",
            )
            .unwrap();
        copy.pull(&mut client, 5);
    }
    assert_eq!(
        copy.lanes[&("d".to_owned(), 0)],
        2,
        "the charge of d was returned"
    );
}

#[test]
fn a_call_costs_what_it_returns() {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute(
            "SELECT wallet.create_wallet('long', lanes => 2), wallet.create_wallet('other');
             SELECT wallet.fund('long', 1000), wallet.fund('other', 1000);
             DO $$ BEGIN
                 FOR n IN 1..200 LOOP
                     PERFORM wallet.charge_batch('long', (SELECT jsonb_agg('{\"amount\": 0.001}'::jsonb) FROM generate_series(1, 100)));
                 END LOOP;
             END $$;
             ANALYZE",
        )
        .unwrap();
    let mut costs = Vec::new();
    let mut copy = Copy::default();
    while copy.entries.len() < 18_000 {
        copy.pull(&mut client, 1000);
        let cursor = copy.cursor.as_ref().unwrap().to_string();
        costs.push(pages(
            &mut client,
            &format!("SELECT * FROM wallet.changes('{cursor}', 100)"),
        ));
    }
    let (first, last) = (costs[0], costs[costs.len() - 1]);
    assert!(last < first * 3 / 2, "the pages of each call: {costs:?}");
    while copy.pull(&mut client, 1000) > 0 {}
    // A new entry of another wallet.
    client
        .batch_execute("SELECT wallet.charge('other', amount => 1)")
        .unwrap();
    let cursor = copy.cursor.as_ref().unwrap().to_string();
    let cost = pages(
        &mut client,
        &format!("SELECT * FROM wallet.changes('{cursor}')"),
    );
    assert!(cost < first, "{cost} pages, {first} before");
    // An entry with an older id than the cursor expects, such as a funding that was pending.
    client
        .batch_execute("SELECT wallet.charge('long', amount => 0.001)")
        .unwrap();
    let behind = format!(
        "SELECT (c.entry).amount::text FROM wallet.changes(jsonb_set('{cursor}', '{{wallets,long,0}}', '\"ffffffff-ffff-ffff-ffff-ffffffffffff\"')) c"
    );
    let found: Vec<String> = client
        .query(&behind, &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(found.contains(&"-0.001".to_owned()), "{found:?}");
    let cost = pages(&mut client, &behind);
    assert!(cost < first, "{cost} pages, {first} before");
}

#[test]
fn a_role_gets_the_entries_of_its_wallets() {
    let database = Database::new();
    let mut client = database.connect();
    setup(&mut client);
    let mut roles = Roles::new(&database);
    let role = roles.add("reader");
    client
        .batch_execute(&format!(
            "SELECT wallet.grant_access('{role}', 'reader', 'b'); SET ROLE {role}"
        ))
        .unwrap();
    let mut copy = Copy::default();
    assert_eq!(copy.pull(&mut client, 10), 1);
    let error = client
        .query("SELECT * FROM wallet.changes(wallets => '{b,a}')", &[])
        .unwrap_err();
    assert_eq!(wallet_tests::state_of(&error), "42501");
    // The entries of a wallet that is granted later are new.
    client
        .batch_execute(&format!(
            "RESET ROLE; SELECT wallet.grant_access('{role}', 'reader', 'a'); SET ROLE {role}"
        ))
        .unwrap();
    assert_eq!(copy.pull(&mut client, 10), 1);
    assert_eq!(copy.pull(&mut client, 10), 0);
    client.batch_execute("RESET ROLE").unwrap();
}

#[test]
fn wrong_cursors_are_refused() {
    let database = Database::new();
    let mut client = database.connect();
    setup(&mut client);
    let nil = "00000000-0000-0000-0000-000000000000";
    for (since, message) in [
        ("'[]'".to_owned(), "since is not a cursor"),
        ("'{}'".to_owned(), "since is not a cursor"),
        (
            "'{\"wallets\": {\"a\": 1}}'".to_owned(),
            "since is not a cursor",
        ),
        (
            "'{\"wallets\": {\"a\": [\"x\", 1]}}'".to_owned(),
            "since is not a cursor",
        ),
        (
            format!("'{{\"wallets\": {{\"a\": [\"{nil}\", 1.5]}}}}'"),
            "since is not a cursor",
        ),
        (
            format!("'{{\"wallets\": {{\"a\": [\"{nil}\", 0, 7]}}}}'"),
            "the cursor is ahead of the ledger",
        ),
        ("NULL, 0".to_owned(), "max is out of range"),
        ("NULL, NULL".to_owned(), "max is out of range"),
        ("NULL, 100001".to_owned(), "max is out of range"),
    ] {
        let error = client
            .query(&format!("SELECT * FROM wallet.changes({since})"), &[])
            .unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(
            (error.code().code(), error.message()),
            ("22023", message),
            "{since}"
        );
        assert!(error.detail().is_some() && error.hint().is_some());
    }
}
