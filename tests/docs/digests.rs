//! The digests that the page on operations stores outside of the database, with its script: what
//! matches is stored, what does not match is reported.

use std::path::Path;

use postgres::Client;
use wallet_tests::{Database, charge, create, dec};

use crate::page::{Page, run_shell};

/// Runs the page's command with another directory. Returns its status and what it printed.
fn store(database: &Database, directory: &Path) -> (bool, String) {
    let block = Page::read("docs/operations.md").shell("store_digest.sh");
    let command = block.replace(
        "/backup/wallet-digests",
        directory.to_str().expect("a directory"),
    );
    assert_ne!(command, block, "the page names the directory");
    let output = run_shell(&command, database);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), said)
}

fn stored(directory: &Path) -> usize {
    let files = std::fs::read_dir(directory).expect("the directory");
    files.count()
}

/// Changes the ledger as a superuser who has turned off the triggers.
fn tamper(client: &mut Client, sql: &str) {
    let sql = format!("BEGIN; SET LOCAL session_replication_role = replica; {sql}; COMMIT");
    client.batch_execute(&sql).expect("a change");
}

#[test]
fn digests_carried_away_show_what_was_changed() {
    let database = Database::new();
    let mut client = database.connect();
    let directory = std::env::temp_dir().join(format!("{}_digests", database.name()));
    let _ = std::fs::remove_dir_all(&directory);
    create(&mut client, "acme", 2, &[], dec("100"));
    create(&mut client, "globex", 1, &[], dec("100"));
    for _ in 0..5 {
        charge(&mut client, "acme", dec("1")).expect("a charge");
    }
    let (ok, said) = store(&database, &directory);
    assert!(ok && said.starts_with("stored"), "{said}");
    let (ok, said) = store(&database, &directory);
    assert!(ok && said.starts_with("unchanged"), "{said}");
    assert_eq!(stored(&directory), 1);

    // The names have seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    charge(&mut client, "globex", dec("3")).expect("a charge");
    let (ok, said) = store(&database, &directory);
    assert!(ok && said.starts_with("stored"), "{said}");
    assert_eq!(stored(&directory), 2);

    // The last entry of a wallet is removed, with all traces in the sums.
    tamper(
        &mut client,
        "WITH gone AS (
             DELETE FROM wallet.ledger l WHERE wallet_id = 'globex' AND kind = 'c' RETURNING *
         )
         UPDATE wallet.allowances a SET seq = a.seq - 1, spent = a.spent + g.amount, booked = a.booked - g.amount,
                hash = (SELECT l.hash FROM wallet.ledger l WHERE l.wallet_id = 'globex' AND l.seq = g.seq - 1 AND l.lane = g.lane)
           FROM gone g
          WHERE a.wallet_id = 'globex' AND a.lane = g.lane AND a.allowance_id = '00000000-0000-0000-0000-000000000000'",
    );
    let found = "SELECT count(*) FROM wallet.verify('globex') WHERE NOT ok";
    let found: i64 = client.query_one(found, &[]).expect("verify").get(0);
    assert_eq!(found, 0, "without the digest nothing shows it");
    let (ok, said) = store(&database, &directory);
    assert!(!ok && said.contains("globex: digest:"), "{said}");
    assert_eq!(stored(&directory), 2, "nothing more is stored");

    // A wallet is removed.
    tamper(
        &mut client,
        "DELETE FROM wallet.ledger WHERE wallet_id = 'globex'; DELETE FROM wallet.wallets WHERE wallet_id = 'globex'",
    );
    let (ok, said) = store(&database, &directory);
    assert!(
        !ok && said.contains("wallet \"globex\" does not exist"),
        "{said}"
    );
    std::fs::remove_dir_all(&directory).expect("the directory is removed");
}
