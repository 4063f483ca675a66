//! docs/verify_chain.sql works in psql as its first lines say.

use std::process::Command;

use wallet_tests::{Database, charge, create, dec};

#[test]
fn verify_chain_runs_in_psql() {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "it's", 2, &[], dec("10"));
    charge(&mut client, "it's", dec("3")).unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/verify_chain.sql");
    let output = Command::new("psql")
        .args(["-X", "-At", "-v", "ON_ERROR_STOP=1", "-v", "wallet=it's"])
        .args(["-d", database.name(), "-f", file])
        .output()
        .expect("psql starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let printed = String::from_utf8(output.stdout).expect("text");
    let oks: Vec<_> = printed.lines().map(|line| line.split('|').nth(3)).collect();
    assert_eq!(oks, [Some("t"); 3], "lanes 0, 1 and 2:\n{printed}");
}
