//! A database for each test.

use std::sync::atomic::{AtomicU32, Ordering};

use postgres::{Client, Config, NoTls};

/// A fresh database with the extension, dropped at the end.
pub struct Database {
    name: String,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run this with scripts/run"))
}

/// The port of the server that all tests share.
pub(crate) fn main_port() -> u16 {
    variable("PGPORT").parse().expect("PGPORT is a number")
}

/// The configuration for a connection to the server on this port.
pub(crate) fn config_at(port: u16, database: &str) -> Config {
    let mut config = Config::new();
    config
        .host(&variable("PGHOST"))
        .user(&variable("PGUSER"))
        .port(port)
        .dbname(database);
    config
}

fn config(database: &str) -> Config {
    config_at(main_port(), database)
}

impl Database {
    /// A connection to the cluster, for statements that concern no test database.
    pub fn administrator() -> Client {
        config("postgres").connect(NoTls).expect("the server runs")
    }

    /// A database with the extension.
    pub fn new() -> Database {
        let database = Database::empty();
        database
            .connect()
            .batch_execute("CREATE EXTENSION wallet")
            .expect("the extension is installed");
        database
    }

    /// A database without the extension, to restore into.
    pub fn empty() -> Database {
        // template0 never has connections that would block the copy.
        Database::made("template0 ENCODING 'UTF8'")
    }

    /// A copy of another database, which must have no connections.
    pub fn like(template: &Database) -> Database {
        Database::made(template.name())
    }

    fn made(template: &str) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("wallet_test_{}_{number}", std::process::id());
        let mut administrator = Database::administrator();
        // A killed run may have left a database with the same process id.
        let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        administrator.batch_execute(&drop).expect("drop database");
        let create = format!("CREATE DATABASE {name} TEMPLATE {template}");
        administrator
            .batch_execute(&create)
            .expect("create database");
        Database { name }
    }

    /// Its name, for programs that connect by themselves.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How to connect.
    pub fn config(&self) -> Config {
        config(&self.name)
    }

    /// A new connection, hence a new backend.
    pub fn connect(&self) -> Client {
        self.config().connect(NoTls).expect("a connection")
    }
}

impl Default for Database {
    fn default() -> Database {
        Database::new()
    }
}

/// Drops the roles of levels whose database no longer exists, unless objects of a copy depend on
/// them, or another test drops them at the same time.
const DROP_LEVEL_ROLES: &str = r"
    DO $$ DECLARE name text; BEGIN
        FOR name IN
            SELECT r.rolname FROM pg_roles r
             WHERE r.rolname ~ '^wallet_[0-9]+_[a-z]+$'
               AND NOT EXISTS (SELECT FROM pg_database d WHERE d.oid::text = split_part(r.rolname, '_', 2))
        LOOP
            BEGIN
                EXECUTE format('DROP ROLE %I', name);
            EXCEPTION WHEN OTHERS THEN NULL;
            END;
        END LOOP;
    END $$";

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let mut administrator = Database::administrator();
        // During a failing test a second panic would hide the first one.
        if let Err(error) = administrator.batch_execute(&drop) {
            eprintln!("{} was not dropped: {error}", self.name);
        }
        if let Err(error) = administrator.batch_execute(DROP_LEVEL_ROLES) {
            eprintln!("the roles of its levels were not dropped: {error}");
        }
    }
}
