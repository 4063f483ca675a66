//! A server whose clock stands still until the test moves it. clock.c is loaded before its
//! programs; the extension has no code for it.

use std::path::{Path, PathBuf};

use postgres::{Client, SimpleQueryMessage};
use wallet_tests::Server;

use crate::calendar::At;

/// The server and its clock.
pub struct Clock {
    server: Server,
    file: PathBuf,
    number: std::cell::Cell<u32>,
}

/// Written in place, because the server's processes have mapped the file.
fn write(file: &Path, at: At) {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(false).open(file);
    let mut opened = opened.expect("the clock's file");
    let micros = (at * 1_000_000).to_ne_bytes();
    opened.write_all(&micros).expect("the clock's file");
}

impl Clock {
    /// Starts the server at a time. `None` if this system cannot do that.
    pub fn start(at: At) -> Option<Clock> {
        let (server, file) = Server::with_clock("simulation", |file| write(file, at))?;
        let clock = Clock {
            server,
            file,
            number: std::cell::Cell::new(0),
        };
        clock.check(at);
        let mut client = clock.server.connect("postgres");
        client
            .batch_execute("CREATE DATABASE simulation TEMPLATE template0")
            .expect("a database");
        let mut client = clock.server.connect("simulation");
        client
            .batch_execute("CREATE EXTENSION wallet")
            .expect("the extension");
        clock.check_ids(&mut client, at);
        Some(clock)
    }

    /// Moves the clock.
    pub fn set(&self, at: At) {
        write(&self.file, at);
    }

    /// A new database at a time, with the extension.
    pub fn database(&self, at: At) -> Client {
        self.set(at);
        let number = self.number.get() + 1;
        self.number.set(number);
        let mut client = self.server.connect("postgres");
        if number > 1 {
            let drop = format!("DROP DATABASE IF EXISTS run_{} WITH (FORCE)", number - 1);
            client.batch_execute(&drop).expect("drop database");
        }
        client
            .batch_execute(&format!("CREATE DATABASE run_{number} TEMPLATE simulation"))
            .expect("a database");
        self.server.connect(&format!("run_{number}"))
    }

    /// All clocks that the extension reads follow: PostgreSQL's three, and Rust's, which UUIDs use.
    fn check(&self, start: At) {
        for at in [start, start + 90_000] {
            self.set(at);
            let mut client = self.server.connect("postgres");
            let sql = "SELECT extract(epoch FROM now())::bigint, extract(epoch FROM statement_timestamp())::bigint,
                              extract(epoch FROM clock_timestamp())::bigint";
            let row = client.query_one(sql, &[]).expect("the time");
            let shown: [i64; 3] = [row.get(0), row.get(1), row.get(2)];
            assert_eq!(shown, [at; 3], "now, statement_timestamp, clock_timestamp");
        }
        self.set(start);
    }

    /// The ids that Rust code in the server generates contain the time that it reads.
    fn check_ids(&self, client: &mut Client, at: At) {
        self.set(at);
        let sql = "SELECT left(replace(wallet.set_price('clock', 'input_tokens', 1)::text, '-', ''), 12) AS id";
        let rows = client.simple_query(sql).expect("set_price");
        let Some(SimpleQueryMessage::Row(row)) = rows
            .iter()
            .find(|m| matches!(m, SimpleQueryMessage::Row(_)))
        else {
            panic!("no row");
        };
        let millis = i64::from_str_radix(row.get("id").expect("an id"), 16).expect("an id");
        assert_eq!(millis, at * 1000, "the clock of the ids");
    }
}
