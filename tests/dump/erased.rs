//! An erased person is in no dump and, after the steps of docs/operations.md, in no file of the
//! database.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use postgres::Client;
use wallet_tests::{Database, audit};

const PERSON: &str = "gone-7f3a9c@example.com";

/// Somebody else, to show that the search finds what is there.
const OTHER: &str = "here-7f3a9c@example.com";

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

/// The files below a directory that contain a text.
fn files_with(directory: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("a file").path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if contains(&std::fs::read(&path).expect("a file"), text) {
            found.push(path.display().to_string());
        }
    }
    found
}

fn dump(database: &Database) -> Vec<u8> {
    let output = Command::new("pg_dump")
        .arg(database.name())
        .output()
        .expect("pg_dump");
    assert!(output.status.success());
    output.stdout
}

/// A base backup without the WAL, which has what was written before.
fn backup(to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let output = Command::new("pg_basebackup")
        .args(["--wal-method=none", "--checkpoint=fast", "--no-sync", "-D"])
        .arg(to)
        .output()
        .expect("pg_basebackup");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Waits until no other session, such as autovacuum, uses the database.
fn alone(client: &mut Client) {
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let deadline = Instant::now() + Duration::from_secs(120);
    while client.query_one(others, &[]).unwrap().get::<_, i64>(0) > 0 {
        assert!(
            Instant::now() < deadline,
            "another session uses the database"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Removes what no session sees any more from all files of the database.
fn rewrite(client: &mut Client) {
    let tables = "SELECT format('wallet.%I', relname) FROM pg_class WHERE relnamespace = 'wallet'::regnamespace AND relkind = 'r'
                   UNION ALL SELECT 'pg_catalog.pg_statistic'";
    client.batch_execute("ANALYZE").unwrap();
    alone(client);
    for row in client.query(tables, &[]).unwrap() {
        client
            .batch_execute(&format!("VACUUM FULL {}", row.get::<_, String>(0)))
            .unwrap();
    }
    client.batch_execute("CHECKPOINT").unwrap();
}

/// The relations whose files contain the person, named for whoever reads the failure.
fn relations(client: &mut Client, files: &[String]) -> Vec<String> {
    let name = |file: &String| {
        let number = file.rsplit('/').next().unwrap_or_default();
        let number: u32 = number
            .split('.')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        let row = client
            .query_one(
                "SELECT coalesce(pg_filenode_relation(0, $1)::text, 'no relation')",
                &[&number],
            )
            .unwrap();
        format!("{file}: {}", row.get::<_, String>(0))
    };
    files.iter().map(name).collect()
}

#[test]
fn nothing_of_an_erased_person_is_in_a_dump_or_a_backup() {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute("SELECT wallet.create_wallet('acme'); SELECT wallet.fund('acme', 100)")
        .unwrap();
    for user in [PERSON, OTHER] {
        client
            .batch_execute(&format!(
                "SELECT wallet.set_member('acme', '{user}', 'admin');
                 SELECT wallet.create_key('acme', '{user}', 'of {user}');
                 SELECT wallet.set_limit('acme', 40, 'month', 'user', '{user}', actor => '{user}');
                 SELECT wallet.charge('acme', amount => 0.1, user_id => '{user}', tags => '{{\"user\": \"{user}\"}}',
                                      actor => '{user}', metadata => '{{\"by\": \"{user}\"}}')
                   FROM generate_series(1, 100);
                 SELECT wallet.hold('acme', amount => 1, user_id => '{user}', ttl => '1 day');
                 SELECT wallet.roll_up(now() + interval '1 day');"
            ))
            .unwrap();
        client
            .batch_execute("SELECT wallet.archive('acme', now(), 60); ANALYZE")
            .unwrap();
    }
    assert!(contains(&dump(&database), PERSON));
    let row = client
        .query_one("SELECT rows FROM wallet.erase_user($1)", &[&PERSON])
        .unwrap();
    assert!(row.get::<_, i64>(0) > 100);
    let text = dump(&database);
    assert!(contains(&text, OTHER) && !contains(&text, PERSON));
    // VACUUM keeps the rows that another session, such as autovacuum, may still see. Such a session
    // can begin at any time.
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("erased");
    let mut found = Vec::new();
    for _ in 0..5 {
        rewrite(&mut client);
        backup(&directory);
        assert!(!files_with(&directory, OTHER).is_empty());
        found = files_with(&directory, PERSON);
        if found.is_empty() {
            break;
        }
    }
    assert_eq!(relations(&mut client, &found), Vec::<String>::new());
    std::fs::remove_dir_all(&directory).expect("the backup is removed");
    audit(&mut client, "acme");
}
