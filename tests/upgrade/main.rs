//! A database of an older version with data becomes, by ALTER EXTENSION … UPDATE, what a fresh one of this version is.
//!
//! `releases/` has what was released: the installation script and a dump of a database with data. As long as there is
//! nothing, and afterwards too, a rehearsal makes an older version out of this one, so that what the test can see
//! is known.

mod files;
mod rehearsal;
mod releases;

use postgres::Client;
use wallet_tests::Database;

/// What the extension has in the catalog of a database, a line a fact.
fn catalog(client: &mut Client) -> Vec<String> {
    // Nothing is on the path, so that names are printed alike.
    client
        .batch_execute("SET search_path = pg_catalog")
        .expect("a setting");
    let facts = client
        .query(include_str!("catalog.sql"), &[])
        .expect("the catalog");
    assert!(facts.len() > 500, "{} facts", facts.len());
    facts.iter().map(|row| row.get(0)).collect()
}

/// What only one of the two has.
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
