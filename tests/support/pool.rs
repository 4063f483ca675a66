//! PgBouncer in transaction mode.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postgres::{Client, Config, NoTls};

use crate::Database;
use crate::database::main_port;

/// A pool for the roles that exist when it starts, with one server connection per role. It is
/// stopped at the end.
pub struct Pool {
    process: Child,
    directory: PathBuf,
    database: String,
}

impl Pool {
    /// A pool for a database.
    ///
    /// # Panics
    /// When pgbouncer is missing: `make setup` installs it.
    pub fn new(database: &Database) -> Pool {
        let name = database.name().to_owned();
        let directory = std::env::temp_dir().join(format!("{name}_pool"));
        fs::create_dir_all(&directory).expect("a directory");
        let host = std::env::var("PGHOST").expect("PGHOST is set by scripts/run");
        let at = directory.display();
        // As root it continues as the server's user, who can reach the server's socket.
        let user = match unix_user() == "root" {
            true => format!(
                "user = {}\n",
                std::env::var("SERVER_USER").expect("SERVER_USER")
            ),
            false => String::new(),
        };
        let settings = format!(
            "[databases]\n{name} = host={host} port={port}\n\
             [pgbouncer]\nlisten_addr =\nunix_socket_dir = {at}\nlisten_port = 6432\nauth_type = trust\nauth_file = {at}/users\n\
             pool_mode = transaction\ndefault_pool_size = 1\nmax_client_conn = 100\nlogfile = {at}/log\n\
             ignore_startup_parameters = extra_float_digits\n{user}",
            port = main_port(),
        );
        let names = "SELECT string_agg(format('\"%s\" \"\"', rolname), E'\\n') || E'\\n' FROM pg_roles WHERE rolname !~ '\"'";
        let users: String = database
            .connect()
            .query_one(names, &[])
            .expect("pg_roles")
            .get(0);
        fs::write(directory.join("users"), users).expect("the users");
        fs::write(directory.join("pool.ini"), settings).expect("the settings");
        open_to_all(&directory);
        let process = Command::new("pgbouncer")
            .arg(directory.join("pool.ini"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer starts ('make setup' installs it)");
        Pool {
            process,
            directory,
            database: name,
        }
    }

    /// A connection of a client as that role.
    ///
    /// # Panics
    /// When the pool accepts no connection for ten seconds.
    pub fn connect(&self, role: &str) -> Client {
        let mut config = Config::new();
        config
            .host_path(&self.directory)
            .port(6432)
            .user(role)
            .dbname(&self.database);
        let begun = Instant::now();
        loop {
            match config.connect(NoTls) {
                Ok(client) => return client,
                Err(error) if begun.elapsed() > Duration::from_secs(10) => {
                    let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                    panic!("no connection to the pool: {error}\n{log}");
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

fn unix_user() -> String {
    let output = Command::new("id").arg("-un").output().expect("id");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::Permissions::from_mode(0o777);
    fs::set_permissions(directory, mode).expect("permissions");
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            eprintln!("pgbouncer was not stopped: {error}");
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}
