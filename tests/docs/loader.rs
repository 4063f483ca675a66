//! The program of the page on recipes that copies entries: its file has each entry once, with the
//! amounts of the ledger, also if a run is stopped in the middle.

use std::path::Path;
use std::process::Command;

use wallet_tests::{Database, charge, create, dec, python_with};

use crate::page::{Page, run_shell};

/// Runs the page's command with another file. Returns what it printed.
fn load(database: &Database, file: &Path) -> String {
    let command = Page::read("docs/recipes.md")
        .shell("load_entries.py")
        .replace("copy.sqlite", file.to_str().expect("a file"))
        .replace("python3", python_with("psycopg"));
    let output = run_shell(&command, database);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The entries of the file, in an order of their own.
fn copied(file: &Path) -> String {
    let query = "import sqlite3, sys
for row in sqlite3.connect(sys.argv[1]).execute('SELECT entry_id, wallet, amount, seq FROM entries ORDER BY entry_id'):
    print('|'.join(row))";
    let output = Command::new(python_with("sqlite3"))
        .args(["-c", query])
        .arg(file)
        .output()
        .expect("Python starts");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_loader_copies_each_entry_once() {
    let database = Database::new();
    let mut client = database.connect();
    let file = std::env::temp_dir().join(format!("{}.sqlite", database.name()));
    let _ = std::fs::remove_file(&file);
    create(&mut client, "acme", 2, &[], dec("100"));
    create(&mut client, "globex", 1, &[], dec("100"));
    let mut loaded = 0;
    for round in 1..4 {
        for _ in 0..round * 3 {
            charge(&mut client, "acme", dec("0.000000000001")).expect("a charge");
        }
        charge(&mut client, "globex", dec("2.5")).expect("a charge");
        let before: i64 = client
            .query_one("SELECT count(*) FROM wallet.entries", &[])
            .expect("entries")
            .get(0);
        let said = load(&database, &file);
        assert_eq!(said.trim(), format!("{{\"loaded\": {}}}", before - loaded));
        loaded = before;
        let ledger: String = client
            .query_one(
                "SELECT string_agg(concat_ws('|', entry_id, wallet, amount, seq) || E'\\n', '' ORDER BY entry_id::text) FROM wallet.entries",
                &[],
            )
            .expect("the ledger")
            .get(0);
        assert_eq!(copied(&file), ledger);
    }
    assert_eq!(load(&database, &file).trim(), "{\"loaded\": 0}");
    std::fs::remove_file(&file).expect("the file is removed");
}
