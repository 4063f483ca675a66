//! Database roles of a test's own.

use postgres::{Client, NoTls};

use crate::Database;

/// Roles that can log in, dropped at the end: declare it after the database, so that it goes first.
pub struct Roles<'a> {
    database: &'a Database,
    names: Vec<String>,
}

impl Roles<'_> {
    /// No roles yet.
    pub fn new(database: &Database) -> Roles<'_> {
        Roles {
            database,
            names: Vec::new(),
        }
    }

    /// Makes one; its name begins with the database's, for roles belong to the whole server.
    pub fn add(&mut self, name: &str) -> String {
        let role = format!("{}_{name}", self.database.name());
        self.database
            .connect()
            .batch_execute(&format!(
                "DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN"
            ))
            .expect("a role");
        self.names.push(role.clone());
        role
    }

    /// A connection as that role.
    pub fn connect(&self, role: &str) -> Client {
        let mut config = self.database.config();
        config.user(role);
        config.connect(NoTls).expect("a connection")
    }
}

impl Drop for Roles<'_> {
    fn drop(&mut self) {
        let mut client = self.database.connect();
        for role in &self.names {
            let drop = format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}");
            // While a test fails a second panic would hide the first one.
            if let Err(error) = client.batch_execute(&drop) {
                eprintln!("{role} was not dropped: {error}");
            }
        }
    }
}
