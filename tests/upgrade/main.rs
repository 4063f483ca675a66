//! ALTER EXTENSION … UPDATE turns a database of an older version with data into what a fresh
//! database of this version is.
//!
//! `releases/` contains the released versions: the installation script and a dump of a database
//! with data. A rehearsal derives an older version from this one, also before the first release, to
//! prove what the test can detect.

mod files;
mod rehearsal;
mod releases;

use postgres::Client;
use wallet_tests::Database;

/// What the extension has in the catalog of a database, one line per fact.
fn catalog(client: &mut Client) -> Vec<String> {
    // The search path is empty, so that names are always printed in the same way.
    client
        .batch_execute("SET search_path = pg_catalog")
        .expect("a setting");
    let facts = client
        .query(include_str!("catalog.sql"), &[])
        .expect("the catalog");
    assert!(facts.len() > 500, "{} facts", facts.len());
    facts.iter().map(|row| row.get(0)).collect()
}

/// The lines that only one of the two has.
fn differences(fresh: &[String], upgraded: &[String]) -> Vec<String> {
    let missing = fresh
        .iter()
        .filter(|fact| !upgraded.contains(fact))
        .map(|fact| format!("only fresh: {fact}"));
    let surplus = upgraded
        .iter()
        .filter(|fact| !fresh.contains(fact))
        .map(|fact| format!("only upgraded: {fact}"));
    missing.chain(surplus).collect()
}

fn fresh() -> Vec<String> {
    catalog(&mut Database::new().connect())
}
