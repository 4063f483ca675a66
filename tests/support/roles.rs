//! Database roles of a test.

use postgres::{Client, NoTls};

use crate::Database;

/// Roles that can log in, dropped at the end. Declare the value after the database, so that it is
/// dropped first.
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

    /// Creates a role. Its name begins with the database's, because roles belong to the whole
    /// cluster.
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
            // During a failing test a second panic would hide the first one.
            if let Err(error) = client.batch_execute(&drop) {
                eprintln!("{role} was not dropped: {error}");
            }
        }
    }
}
