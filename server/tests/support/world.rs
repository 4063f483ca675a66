//! A database with two tenants, the roles of walletd, and walletd itself.

use postgres::Client as Session;
use wallet_tests::{Database, Roles};

use super::{Client, Walletd};

/// All that a test needs.
pub struct World<'a> {
    /// The database.
    pub database: &'a Database,
    /// walletd.
    pub walletd: Walletd,
    /// Its settings, for another one.
    pub settings: Vec<(String, String)>,
    /// A client of the wallet `acme`, with a key of alice.
    pub acme: Client,
    /// A client of the wallet `globex`, with a key of nobody.
    pub globex: Client,
}

const SETUP: &str = "
    SELECT wallet.create_wallet('acme', low_balance => '{20}');
    SELECT wallet.create_wallet('globex');
    SELECT wallet.fund('acme', 100);
    SELECT wallet.fund('globex', 50);
    SELECT wallet.set_price('gpt-4o', 'input_tokens', 2.50, per => 1000000, effective_from => '2024-05-13');
    SELECT wallet.set_price('gpt-4o', 'output_tokens', 10.00, per => 1000000, effective_from => '2024-05-13');";

/// The secret of sessions and links.
pub const SECRET: &str = "a secret of thirty-two characters, or more";

/// Runs a test with walletd.
pub fn with(test: impl FnOnce(&mut World)) {
    with_settings(&[], test);
}

/// Runs a test with walletd, with settings of its own.
pub fn with_settings(extra: &[(&str, &str)], test: impl FnOnce(&mut World)) {
    let database = Database::new();
    let mut roles = Roles::new(&database);
    let (tenants, worker) = (roles.add("tenants"), roles.add("worker"));
    let page = roles.add("page");
    let mut session = database.connect();
    session.batch_execute(SETUP).unwrap();
    let grants = include_str!("../../sql/roles.sql");
    let grants = grants
        .replace("walletd_tenants", &tenants)
        .replace("walletd_page", &page)
        .replace("walletd_worker", &worker);
    session.batch_execute(&grants).unwrap();
    let mut settings = vec![
        (
            "WALLETD_DATABASE__TENANTS".to_owned(),
            url(&database, &tenants),
        ),
        (
            "WALLETD_DATABASE__WORKER".to_owned(),
            url(&database, &worker),
        ),
        ("WALLETD_PAGE__DATABASE".to_owned(), url(&database, &page)),
        ("WALLETD_PAGE__SECRETS".to_owned(), format!("[{SECRET:?}]")),
    ];
    for (name, value) in extra {
        settings.push(((*name).to_owned(), (*value).to_owned()));
    }
    let given: Vec<(&str, &str)> = settings
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let walletd = Walletd::start(&given);
    let acme = key(&mut session, "acme", Some("alice"));
    let globex = key(&mut session, "globex", None);
    let mut world = World {
        database: &database,
        acme: Client::new(walletd.http, Some(&acme)),
        globex: Client::new(walletd.http, Some(&globex)),
        walletd,
        settings,
    };
    test(&mut world);
}

/// A connection string for a role.
pub fn url(database: &Database, role: &str) -> String {
    let host = std::env::var("PGHOST").expect("PGHOST: run this with scripts/run");
    let port = std::env::var("PGPORT").expect("PGPORT: run this with scripts/run");
    format!(
        "host={host} port={port} user={role} dbname={}",
        database.name()
    )
}

fn key(session: &mut Session, wallet: &str, user: Option<&str>) -> String {
    let row = session.query_one(
        "SELECT secret FROM wallet.create_key($1, $2)",
        &[&wallet, &user],
    );
    row.unwrap().get(0)
}

impl World<'_> {
    /// Runs SQL as superuser.
    pub fn sql(&self, statements: &str) {
        self.database.connect().batch_execute(statements).unwrap();
    }

    /// A value as text, read as superuser.
    pub fn value(&self, query: &str) -> String {
        let row = self
            .database
            .connect()
            .query_one(&format!("SELECT ({query})::text"), &[]);
        row.unwrap().get::<_, Option<String>>(0).unwrap_or_default()
    }

    /// A key with these further arguments of `create_key`.
    pub fn new_key(&self, wallet: &str, arguments: &str) -> String {
        self.value(&format!(
            "SELECT secret FROM wallet.create_key('{wallet}'{arguments})"
        ))
    }

    /// A client with another key.
    pub fn client(&self, key: &str) -> Client {
        Client::new(self.walletd.http, Some(key))
    }

    /// A client of the operator's endpoints.
    pub fn ops(&self) -> Client {
        Client::new(self.walletd.ops, None)
    }

    /// The number of charges of a wallet.
    pub fn charges(&self, wallet: &str) -> u64 {
        let query = format!(
            "SELECT count(*) FROM wallet.entries WHERE wallet = '{wallet}' AND kind = 'charge'"
        );
        self.value(&query).parse().unwrap()
    }

    /// A session that holds the only lane of a wallet, until it ends or rolls back.
    pub fn block(&self, wallet: &str) -> Session {
        let mut session = self.database.connect();
        let charge = format!("BEGIN; SELECT wallet.charge('{wallet}', amount => 0.01)");
        session.batch_execute(&charge).unwrap();
        session
    }

    /// Waits until so many sessions of walletd wait for a lock.
    pub fn wait_for_waiting(&self, sessions: i64) {
        let mut session = self.database.connect();
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                       AND application_name = 'walletd' AND wait_event_type = 'Lock'";
        for _ in 0..400 {
            if session.query_one(waiting, &[]).unwrap().get::<_, i64>(0) >= sessions {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        panic!("{sessions} sessions do not wait");
    }

    /// Every wallet is right, by the extension's own proof.
    pub fn verify(&self) {
        let wrong =
            "SELECT count(*) FROM wallet.balances b, wallet.verify(b.wallet) v WHERE NOT v.ok";
        assert_eq!(self.value(wrong), "0");
    }
}
