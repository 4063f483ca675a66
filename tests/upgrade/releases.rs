//! The released versions: `releases/VERSION/` contains the installation script, a dump of a
//! database with data, and the digest of that database. `make freeze` writes them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use postgres::Client;
use wallet_tests::{Database, audit, crowd};

use crate::files::{Files, this_version};
use crate::{catalog, differences, fresh};

/// A plain dump.
pub fn dump(database: &Database) -> String {
    let output = Command::new("pg_dump")
        .arg(database.name())
        .output()
        .expect("pg_dump");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A database with the extension in an older version and the rows of a dump.
pub struct Restored(Database);

impl Restored {
    /// Restores the dump, which uses the version that is installed already.
    pub fn new(version: &str, dump: &str) -> Restored {
        let database = Database::empty();
        database
            .connect()
            .batch_execute(&format!("CREATE EXTENSION wallet VERSION '{version}'"))
            .expect("the older version");
        let file = std::env::temp_dir().join(format!("{}.sql", database.name()));
        std::fs::write(&file, dump).expect("a file");
        let output = Command::new("psql")
            .args([
                "-X",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                database.name(),
                "-f",
            ])
            .arg(&file)
            .stdout(Stdio::null())
            .output()
            .expect("psql");
        std::fs::remove_file(&file).expect("the file");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Restored(database)
    }

    /// A connection.
    pub fn connect(&self) -> Client {
        self.0.connect()
    }

    /// Checks that all data is present, and that a charge continues from it.
    pub fn goes_on(&self, client: &mut Client, digest: &str) {
        client
            .batch_execute("RESET search_path")
            .expect("a setting");
        let broken = "SELECT w.wallet_id || ': ' || v.\"check\" || ' ' || v.detail
                        FROM wallet.wallets w, wallet.verify(w.wallet_id, $1::text::jsonb) v WHERE NOT v.ok";
        let mut verified = || -> Vec<String> {
            let rows = client.query(broken, &[&digest]).expect("verify");
            rows.iter().map(|row| row.get(0)).collect()
        };
        assert_eq!(verified(), Vec::<String>::new());
        client
            .batch_execute(
                "SELECT wallet.charge('hot', amount => 1), wallet.fund('acme', 1), wallet.set_lanes('hot', 2);
                 SELECT wallet.settle('acme', hold_id, amount => 2) FROM wallet.holds WHERE status = 'open'",
            )
            .expect("every call works");
        let replay = "SELECT replayed FROM wallet.charge('acme', amount => 1, user_id => 'ann', idempotency_key => 'k1')";
        assert!(
            client
                .query_one(replay, &[])
                .expect("a replay")
                .get::<_, bool>(0)
        );
    }
}

fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/upgrade/releases"))
}

/// The versions that the changelog lists as released.
fn released() -> BTreeSet<String> {
    include_str!("../../CHANGELOG.md")
        .lines()
        .filter_map(|line| line.strip_prefix("## [")?.split_once(']'))
        .map(|(version, _)| version.to_owned())
        .filter(|version| version != "Unreleased")
        .collect()
}

#[test]
fn every_released_version_upgrades_to_this_one() {
    let _files = crowd();
    let frozen: BTreeSet<String> = std::fs::read_dir(directory())
        .expect("releases")
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(frozen, released(), "releases/ and CHANGELOG.md");
    let fresh = fresh();
    for version in &frozen {
        let read = |name: &str| {
            let path = directory().join(version).join(name);
            std::fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let install = read("install.sql");
        if *version == this_version() {
            // A released version never changes: changes need a new version.
            let name = format!("{version}.frozen");
            let _files = Files::new(&[(format!("wallet--{name}.sql"), &install)]);
            let database = Database::empty();
            let mut client = database.connect();
            client
                .batch_execute(&format!("CREATE EXTENSION wallet VERSION '{name}'"))
                .expect("the frozen version");
            let mut differing = differences(&fresh, &catalog(&mut client));
            differing.retain(|line| !line.contains(": version "));
            assert_eq!(differing, Vec::<String>::new(), "{version} was released");
            continue;
        }
        let _files = Files::new(&[(format!("wallet--{version}.sql"), &install)]);
        let restored = Restored::new(version, &read("data.sql"));
        let mut client = restored.connect();
        client
            .batch_execute("ALTER EXTENSION wallet UPDATE")
            .unwrap_or_else(|error| panic!("from {version}: {error}"));
        assert_eq!(
            differences(&fresh, &catalog(&mut client)),
            Vec::<String>::new(),
            "from {version}"
        );
        restored.goes_on(&mut client, &read("digest.json"));
        for wallet in ["acme", "hot", "peer"] {
            audit(&mut client, wallet);
        }
    }
}
