//! A second server in addition to the shared one. At most one exists at a time, and it is removed
//! at the end.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use postgres::{Client, NoTls};

use crate::database::{config_at, main_port};

/// A server for one test. It has the programs of the first one and so the extension.
pub struct Server {
    name: &'static str,
    /// Whether a file sets its clock.
    clock: bool,
}

impl Server {
    /// A hot standby of the first server.
    pub fn standby() -> Server {
        Server::made("standby", "standby")
    }

    /// A server without any database of the tests.
    pub fn fresh(name: &'static str) -> Server {
        Server::made(name, "start")
    }

    /// A server whose clock shows the time in the file, which is written before the server starts.
    /// `None` if this system cannot do that.
    pub fn with_clock(name: &'static str, set: impl FnOnce(&Path)) -> Option<(Server, PathBuf)> {
        let server = Server { name, clock: true };
        let file = PathBuf::from(server.try_to("clock").ok()?.trim());
        server.run("remove");
        set(&file);
        server.run("start");
        Some((server, file))
    }

    fn made(name: &'static str, how: &str) -> Server {
        let server = Server { name, clock: false };
        // A killed run may have left a server.
        server.run("remove");
        server.run(how);
        server
    }

    /// The port, which is only part of the name of the socket.
    pub fn port(&self) -> u16 {
        main_port() + 1
    }

    /// A connection to a database.
    pub fn connect(&self, database: &str) -> Client {
        config_at(self.port(), database)
            .connect(NoTls)
            .expect("a connection to the second server")
    }

    /// Waits until a standby has what the first server has written so far.
    pub fn catch_up(&self, primary: &mut Client, database: &str) -> Client {
        let written: String = primary
            .query_one("SELECT pg_current_wal_flush_lsn()::text", &[])
            .expect("the position of the first server")
            .get(0);
        let mut standby = self.connect(database);
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        for _ in 0..1200 {
            if standby.query_one(&replayed, &[]).expect("a standby").get(0) {
                return standby;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the standby does not catch up with {written}");
    }

    /// Ends recovery: the standby becomes a server that writes.
    pub fn promote(&self) {
        self.run("promote");
    }

    fn run(&self, command: &str) {
        if let Err(problem) = self.try_to(command) {
            panic!("{command}: {problem}");
        }
    }

    fn try_to(&self, command: &str) -> Result<String, String> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/server.sh");
        let mut program = Command::new(script);
        program.arg(command).env("WALLET_SERVER", self.name);
        if self.clock {
            program.env("WALLET_CLOCK", "yes");
        }
        let output = program.output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // During a failing test a second panic would hide the first one.
        if let Err(problem) = self.try_to("remove") {
            eprintln!("the server {} was not removed: {problem}", self.name);
        }
    }
}
