//! The caches of a backend are never stale after a commit, and keep nothing that was rolled back.

use postgres::Client;
use wallet_tests::{Database, Decimal, charge, create, dec, expect, price};

fn cost(client: &mut impl postgres::GenericClient) -> Decimal {
    client
        .query_one(
            "SELECT cost FROM wallet.price_usage('{\"model\": \"m\", \"images\": 1}')",
            &[],
        )
        .unwrap()
        .get(0)
}

fn set_up() -> (Database, Client, Client) {
    let database = Database::new();
    let (mut one, mut two) = (database.connect(), database.connect());
    create(&mut one, "acme", 1, &[], dec("100"));
    price(&mut one, "m", "images", dec("1"));
    assert_eq!(
        (cost(&mut one), cost(&mut two)),
        (dec("1"), dec("1")),
        "both are warm"
    );
    charge(&mut two, "acme", dec("1")).unwrap();
    (database, one, two)
}

#[test]
fn a_price_of_another_backend_applies_once_committed() {
    let (_database, mut one, mut two) = set_up();
    price(&mut one, "m", "images", dec("2"));
    assert_eq!(cost(&mut two), dec("2"));
    let mut transaction = one.transaction().unwrap();
    price(&mut transaction, "m", "images", dec("3"));
    assert_eq!(cost(&mut transaction), dec("3"), "its own change");
    assert_eq!(cost(&mut two), dec("2"), "not committed");
    transaction.commit().unwrap();
    assert_eq!(cost(&mut two), dec("3"));
}

#[test]
fn a_rolled_back_price_leaves_no_trace() {
    let (_database, mut one, mut two) = set_up();
    let mut transaction = one.transaction().unwrap();
    price(&mut transaction, "m", "images", dec("2"));
    assert_eq!(cost(&mut transaction), dec("2"));
    transaction.rollback().unwrap();
    assert_eq!((cost(&mut one), cost(&mut two)), (dec("1"), dec("1")));

    let mut transaction = one.transaction().unwrap();
    let mut savepoint = transaction.savepoint("s").unwrap();
    price(&mut savepoint, "m", "images", dec("2"));
    assert_eq!(cost(&mut savepoint), dec("2"));
    savepoint.rollback().unwrap();
    assert_eq!(cost(&mut transaction), dec("1"));
    transaction.commit().unwrap();
    assert_eq!(cost(&mut one), dec("1"));
}

#[test]
fn prices_and_rules_of_an_old_snapshot_are_not_cached() {
    let (_database, mut one, mut two) = set_up();
    two.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        .unwrap();
    price(&mut one, "m", "images", dec("2"));
    one.batch_execute("SELECT wallet.set_limit('acme', 1, 'day')")
        .unwrap();
    assert_eq!(cost(&mut two), dec("1"), "as its snapshot has it");
    two.query("SELECT * FROM wallet.check_limits('acme')", &[])
        .unwrap();
    two.batch_execute("COMMIT").unwrap();
    assert_eq!(cost(&mut two), dec("2"));
    expect(charge(&mut two, "acme", dec("5")), "WL002");
}

#[test]
fn changed_rules_apply_in_a_warm_backend() {
    let (_database, mut one, mut two) = set_up();
    one.batch_execute("SELECT wallet.freeze_wallet('acme')")
        .unwrap();
    expect(charge(&mut two, "acme", dec("1")), "WL004");
    one.batch_execute("SELECT wallet.unfreeze_wallet('acme')")
        .unwrap();
    charge(&mut two, "acme", dec("1")).unwrap();
    one.batch_execute("SELECT wallet.update_wallet('acme', credit_limit => 50)")
        .unwrap();
    charge(&mut two, "acme", dec("120")).unwrap();
    one.batch_execute("SELECT wallet.set_limit('acme', 125, 'day')")
        .unwrap();
    expect(charge(&mut two, "acme", dec("5")), "WL002");
    one.batch_execute("SELECT wallet.set_limit('acme', 1000, 'day')")
        .unwrap();
    charge(&mut two, "acme", dec("5")).unwrap();
    // A change that is rolled back, with the rules read in between, is forgotten.
    two.batch_execute("BEGIN; SELECT wallet.set_limit('acme', 1, 'month')")
        .unwrap();
    expect(charge(&mut two, "acme", dec("5")), "WL002");
    two.batch_execute("ROLLBACK").unwrap();
    charge(&mut two, "acme", dec("5")).unwrap();
    one.batch_execute("SELECT wallet.set_lanes('acme', 8)")
        .unwrap();
    charge(&mut two, "acme", dec("5")).unwrap();
}

#[test]
fn a_default_limit_applies_in_a_warm_backend() {
    let (_database, mut one, mut two) = set_up();
    let charge = |client: &mut Client, amount: &str| charge(client, "acme", dec(amount));
    one.batch_execute("SELECT wallet.set_limit('*', 10, 'lifetime')")
        .unwrap();
    expect(charge(&mut two, "11"), "WL002");
    charge(&mut two, "10").unwrap();
    // Its own change applies at once, and is forgotten when it is rolled back.
    two.batch_execute("BEGIN; SELECT wallet.set_limit('*', 20, 'lifetime')")
        .unwrap();
    charge(&mut two, "5").unwrap();
    let sql = "SELECT max FROM wallet.check_limits('acme') WHERE scope = 'wallet'";
    let max: Decimal = one.query_one(sql, &[]).unwrap().get(0);
    assert_eq!(max, dec("10"), "not committed");
    two.batch_execute("ROLLBACK").unwrap();
    expect(charge(&mut two, "5"), "WL002");
    two.batch_execute("BEGIN; SAVEPOINT s; SELECT wallet.set_limit('*', 20, 'lifetime')")
        .unwrap();
    two.batch_execute("SELECT * FROM wallet.check_limits('acme'); ROLLBACK TO s; COMMIT")
        .unwrap();
    expect(charge(&mut two, "5"), "WL002");
    // An old snapshot does not see the end of the limit, and leaves nothing in the cache.
    two.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        .unwrap();
    one.batch_execute("SELECT wallet.drop_limit('*', limit_id) FROM wallet.default_limits")
        .unwrap();
    let sql = "SELECT count(*) FROM wallet.check_limits('acme')";
    assert_eq!(two.query_one(sql, &[]).unwrap().get::<_, i64>(0), 2);
    two.batch_execute("COMMIT").unwrap();
    charge(&mut two, "5").unwrap();
}

/// A session that has set a default limit prepares the transaction. Nobody has the limit before it
/// is committed, and everybody has it then.
#[test]
fn a_prepared_default_limit_applies_once_it_is_committed() {
    for commit in [true, false] {
        let (_database, mut one, mut two) = set_up();
        let name: String = one
            .query_one("SELECT current_database() || ' default'", &[])
            .unwrap()
            .get(0);
        one.batch_execute(&format!(
            "BEGIN; SELECT wallet.set_limit('*', 1, 'lifetime');
             SELECT * FROM wallet.check_limits('acme'); PREPARE TRANSACTION '{name}'"
        ))
        .unwrap();
        for client in [&mut one, &mut two] {
            charge(client, "acme", dec("5")).unwrap();
        }
        let end = if commit { "COMMIT" } else { "ROLLBACK" };
        two.batch_execute(&format!("{end} PREPARED '{name}'"))
            .unwrap();
        for client in [&mut one, &mut two] {
            match commit {
                true => drop(expect(charge(client, "acme", dec("5")), "WL002")),
                false => drop(charge(client, "acme", dec("5")).unwrap()),
            }
        }
    }
}

#[test]
fn a_warm_backend_notices_rebuilt_indexes() {
    let (_database, mut one, mut two) = set_up();
    for table in [
        "wallets",
        "allowances",
        "limits",
        "ledger",
        "reservations",
        "thresholds",
        "prices",
    ] {
        one.batch_execute(&format!("REINDEX TABLE CONCURRENTLY wallet.{table}"))
            .unwrap();
        charge(&mut two, "acme", dec("1")).unwrap();
        two.batch_execute(
            "SELECT wallet.settle('acme', (wallet.hold('acme', amount => 1)).hold_id, amount => 1);
             SELECT wallet.void('acme', (wallet.hold('acme', amount => 1)).hold_id)",
        )
        .unwrap();
        cost(&mut two);
    }
}

#[test]
fn a_truncated_page_is_not_read() {
    let (database, mut one, mut two) = set_up();
    let pages = |client: &mut Client| -> i64 {
        let sql =
            "SELECT pg_relation_size('wallet.allowances') / current_setting('block_size')::bigint";
        client.query_one(sql, &[]).unwrap().get(0)
    };
    one.batch_execute(
        "SELECT count(wallet.create_wallet('w' || n)), count(wallet.fund('w' || n, 10))
           FROM generate_series(1, 300) n",
    )
    .unwrap();
    let before = pages(&mut one);
    // The first charge finds the row with the index, the second with its cached TID.
    for _ in 0..2 {
        charge(&mut two, "w300", dec("1")).unwrap();
    }
    one.batch_execute(
        "SET session_replication_role = replica;
         CREATE TEMP TABLE kept AS SELECT * FROM wallet.allowances WHERE wallet_id = 'w300';
         DELETE FROM wallet.allowances WHERE wallet_id ~ '^w'",
    )
    .unwrap();
    one.batch_execute("VACUUM wallet.allowances").unwrap();
    assert!(pages(&mut one) < before, "VACUUM has cut pages off");
    one.batch_execute("INSERT INTO wallet.allowances SELECT * FROM kept")
        .unwrap();
    charge(&mut two, "w300", dec("1")).unwrap();
    drop(database);
}

/// A few limits are copied into the wallet's row, where a charge reads them without the executor.
/// Otherwise they are read from their table.
#[test]
fn a_few_limits_are_read_from_the_wallets_row() {
    let database = Database::new();
    let mut admin = database.connect();
    create(&mut admin, "acme", 1, &[], dec("100"));
    // Changes the table behind the functions, so that the two differ.
    admin
        .batch_execute(
            "SELECT wallet.set_limit('acme', 5, 'lifetime'); UPDATE wallet.limits SET max = 50",
        )
        .unwrap();
    let charged = |storage: &str| {
        let mut client = database.connect();
        client
            .batch_execute(&format!("SET wallet.storage = {storage}"))
            .unwrap();
        charge(&mut client, "acme", dec("10"))
    };
    expect(charged("auto"), "WL002");
    charged("spi").expect("what the table says");
    expect(charged("auto"), "WL002");
    admin
        .batch_execute("UPDATE wallet.wallets SET known_limits = NULL")
        .unwrap();
    charged("auto").expect("what the table says");
}

/// A session that has changed members and cached its own rules prepares the transaction, and does
/// not see the change until it is committed. What it reads in between must not be cached as the
/// rules after the commit.
fn during_a_prepared_change(lanes: i32, commit: bool) {
    let database = Database::new();
    let (mut one, mut two) = (database.connect(), database.connect());
    create(&mut one, "acme", lanes, &[], dec("100"));
    let charge_of = |client: &mut Client, user: &str| {
        client.query_one(
            "SELECT cost FROM wallet.charge('acme', amount => 1, user_id => $1)",
            &[&user],
        )
    };
    one.batch_execute("SELECT wallet.set_member('acme', 'ann'), wallet.set_member('acme', 'bob')")
        .unwrap();
    let name: String = one
        .query_one("SELECT current_database() || ' bob'", &[])
        .unwrap()
        .get(0);
    one.batch_execute("BEGIN; SELECT wallet.set_member('acme', 'bob', blocked => true)")
        .unwrap();
    charge_of(&mut one, "ann").expect("known by the new rules");
    one.batch_execute(&format!("PREPARE TRANSACTION '{name}'"))
        .unwrap();
    let pid: i32 = one
        .query_one("SELECT pg_backend_pid()", &[])
        .unwrap()
        .get(0);
    let waiting = std::thread::spawn(move || charge_of(&mut one, "bob"));
    loop {
        let waits: bool = two
            .query_one(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)",
                &[&pid],
            )
            .unwrap()
            .get(0);
        if waits {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let end = if commit { "COMMIT" } else { "ROLLBACK" };
    two.batch_execute(&format!("{end} PREPARED '{name}'"))
        .unwrap();
    let charged = waiting.join().unwrap();
    if commit {
        expect(charged, "WL009");
    } else {
        charged.expect("nobody is blocked");
    }
}

#[test]
fn a_prepared_change_of_members_is_not_read_before_it_is_committed() {
    during_a_prepared_change(1, true);
    during_a_prepared_change(2, true);
    during_a_prepared_change(1, false);
    during_a_prepared_change(2, false);
}

/// The cache of members is bounded. Members beyond the bound are read again.
#[test]
fn members_beyond_the_bound_of_the_cache_are_read_again() {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 1, &[], dec("100000"));
    client
        .batch_execute(
            "SELECT count(wallet.set_member('acme', 'user ' || n,
                          allowed_models => (SELECT array_agg(repeat('m', 200) || n || '-' || m) || ARRAY['gpt*'] FROM generate_series(1, 1000) m)))
               FROM generate_series(1, 120) n",
        )
        .unwrap();
    let memory = |client: &mut Client| -> u64 {
        let pid: i32 = client
            .query_one("SELECT pg_backend_pid()", &[])
            .unwrap()
            .get(0);
        let status = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        let pages = status
            .split(' ')
            .nth(5)
            .and_then(|pages| pages.parse().ok());
        pages.unwrap_or(0) * 4096
    };
    let mut round = |first: u32, last: u32| {
        for n in first..=last {
            let sql = "SELECT cost FROM wallet.charge('acme', amount => 1, user_id => $1, model => 'gpt-4o')";
            client.query_one(sql, &[&format!("user {n}")]).unwrap();
        }
        memory(&mut client)
    };
    let first = round(1, 120);
    let mut last = first;
    for _ in 0..4 {
        last = round(1, 120);
    }
    // 120 members take about 27 MB. Each round reads all of them again, and frees the memory.
    assert!(
        last < first + (32 << 20),
        "{first} bytes have become {last}"
    );
}
