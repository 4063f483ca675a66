//! More roles than PostgreSQL can store privileges for on one object, each with a grant of its own.

use std::time::Instant;

use postgres::Client;
use wallet_tests::{Database, create, dec, expect, scale};

/// Drops the roles of the test.
struct Crowd<'a>(&'a Database);

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        let sql = format!(
            "DO $$ DECLARE name text; BEGIN
                 FOR name IN SELECT rolname FROM pg_roles WHERE starts_with(rolname, '{}_t') LOOP EXECUTE format('DROP ROLE %I', name); END LOOP;
             END $$",
            self.0.name()
        );
        if let Err(error) = self.0.connect().batch_execute(&sql) {
            eprintln!("the roles were not dropped: {error}");
        }
    }
}

/// The seconds of processor time that the backend has used.
fn processor_time(client: &mut Client) -> f64 {
    let sql = "SELECT (s[1]::float8 + s[2]::float8) / 100
                 FROM regexp_match(pg_read_file('/proc/self/stat'), '\\) (?:\\S+ ){11}(\\d+) (\\d+)') s";
    client.query_one(sql, &[]).expect("/proc/self/stat").get(0)
}

/// The privileges of about 2,440 roles fit into a row of `pg_class`. `WALLET_TEST_SCALE=8` makes
/// 20,000 roles.
#[test]
fn thousands_of_roles_have_grants() {
    let database = Database::new();
    let _crowd = Crowd(&database);
    let mut client = database.connect();
    let count = i32::try_from(scale(2_500)).expect("a number");
    create(&mut client, "own", 1, &[], dec("100000"));
    create(&mut client, "other", 1, &[], dec("1"));
    let name = database.name();
    client
        .batch_execute(&format!(
            "DO $$ BEGIN FOR i IN 1 .. {count} LOOP EXECUTE format('CREATE ROLE {name}_t%s', i); END LOOP; END $$"
        ))
        .expect("roles");
    // Each grant in a transaction of its own, as separate calls make it. A grant takes about 1.5 ms
    // of processor time; the limit of 6 ms, 10,000 in a minute, is for a machine that is idle.
    let grant = client
        .prepare("SELECT wallet.grant_access($1, 'charger', 'own')")
        .expect("a statement");
    client
        .batch_execute("SET synchronous_commit = off")
        .expect("a setting");
    let mut halves = Vec::new();
    for half in [1..=count / 2, count / 2 + 1..=count] {
        let (begun, before) = (Instant::now(), processor_time(&mut client));
        for number in half {
            client
                .execute(&grant, &[&format!("{name}_t{number}")])
                .expect("grant_access");
        }
        let used = processor_time(&mut client) - before;
        halves.push(used / (f64::from(count) / 2.0));
        println!(
            "{} grants in {:?}, {used} s of processor time",
            count / 2,
            begun.elapsed()
        );
    }
    assert!(
        halves.iter().all(|each| *each < 0.006),
        "a grant takes {halves:?} seconds"
    );
    assert!(
        halves[1] < halves[0] * 1.5,
        "the more roles, the slower: {halves:?}"
    );
    for number in [1, count / 2, count] {
        let charge = |wallet: &str| {
            let mut client = database.connect();
            client
                .batch_execute(&format!("SET ROLE {name}_t{number}"))
                .expect("SET ROLE");
            client.execute("SELECT wallet.charge($1, amount => 1)", &[&wallet])
        };
        charge("own").expect("a charge");
        expect(charge("other"), "42501");
    }
    // A role that is dropped takes its rights along, and the others keep theirs.
    client
        .batch_execute(&format!(
            "SELECT wallet.revoke_access('{name}_t1', 'charger', 'own'); DROP ROLE {name}_t2;
             SET ROLE {name}_t3; SELECT wallet.charge('own', amount => 1); RESET ROLE"
        ))
        .expect("revoke_access");
    let left: i64 = client
        .query_one("SELECT count(*) FROM wallet.access_grants", &[])
        .expect("access_grants")
        .get(0);
    assert_eq!(left, i64::from(count) - 2);
    client
        .batch_execute(&format!("SET ROLE {name}_t1"))
        .expect("SET ROLE");
    expect(
        client.execute("SELECT wallet.charge('own', amount => 1)", &[]),
        "42501",
    );
}
