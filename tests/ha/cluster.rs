//! Two nodes with Patroni and PostgreSQL, one etcd and one HAProxy, with the files of
//! examples/high-availability, on free ports of 127.0.0.1 and in a directory of their own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use postgres::config::{Host, TargetSessionAttrs};
use postgres::{Client, Config, NoTls};
use serde_json::Value;

use crate::programs::{directory, find, free_port, kill, processes_in, start, sweep};

/// The files that docs/high-availability.md explains.
const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/high-availability");
/// The database of the tests, and its password, which is no secret.
pub const DATABASE: &str = "ha";
const PASSWORD: &str = "test";

/// One machine: PostgreSQL and Patroni.
pub struct Node {
    pub name: &'static str,
    directory: PathBuf,
    port: u16,
    api: u16,
}

pub struct Cluster {
    pub nodes: [Node; 2],
    directory: PathBuf,
    etcd: u16,
    primary: u16,
    standbys: u16,
}

/// Waits for an answer, which is expected within a minute and a half.
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ready() {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A request to Patroni, which answers with JSON or a line of text.
fn request(port: u16, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}

impl Node {
    fn variables(&self, etcd: u16) -> Vec<(String, String)> {
        let programs = find("initdb").expect("initdb");
        let programs = programs.parent().expect("a directory").display();
        let (at, port, api) = (self.directory.display(), self.port, self.api);
        [
            ("NAME", self.name.to_owned()),
            ("ETCD3_HOSTS", format!("127.0.0.1:{etcd}")),
            ("RESTAPI_LISTEN", format!("127.0.0.1:{api}")),
            ("RESTAPI_CONNECT_ADDRESS", format!("127.0.0.1:{api}")),
            ("POSTGRESQL_LISTEN", format!("127.0.0.1:{port}")),
            ("POSTGRESQL_CONNECT_ADDRESS", format!("127.0.0.1:{port}")),
            ("POSTGRESQL_DATA_DIR", format!("{at}/data")),
            ("POSTGRESQL_BIN_DIR", programs.to_string()),
            ("POSTGRESQL_PGPASS", format!("{at}/pgpass")),
            ("SUPERUSER_PASSWORD", PASSWORD.to_owned()),
            ("REPLICATION_PASSWORD", PASSWORD.to_owned()),
        ]
        .map(|(name, value)| (format!("PATRONI_{name}"), value))
        .into()
    }

    /// Starts Patroni, which starts PostgreSQL.
    pub fn start(&self, etcd: u16) {
        let file = self.directory.with_file_name("patroni.yml");
        let file = file.display().to_string();
        start("patroni", &self.directory, &[&file], &self.variables(etcd));
    }

    /// Kills every process of PostgreSQL.
    pub fn kill_postgres(&self) {
        kill(&processes_in(&self.directory.join("data")));
    }

    /// Kills all that runs on the machine, at once.
    pub fn kill_all(&self) {
        kill(&processes_in(&self.directory));
    }

    /// Whether Patroni says 200 there.
    fn answers(&self, path: &str) -> bool {
        request(self.api, "GET", path, "").is_some_and(|(status, _)| status == 200)
    }

    pub fn is_primary(&self) -> bool {
        self.answers("/primary")
    }

    /// Whether nothing runs on the machine that would start PostgreSQL again.
    pub fn is_lost(&self) -> bool {
        processes_in(&self.directory).is_empty()
    }

    /// How to connect to this node, whatever it is.
    pub fn config(&self, user: &str) -> Config {
        config_of(&[self.port], user)
    }
}

fn config_of(ports: &[u16], user: &str) -> Config {
    let mut config = Config::new();
    for port in ports {
        config.host("127.0.0.1").port(*port);
    }
    debug_assert!(matches!(config.get_hosts(), [Host::Tcp(_), ..]));
    config
        .user(user)
        .password(PASSWORD)
        .dbname(DATABASE)
        .connect_timeout(Duration::from_secs(3));
    config
}

/// Copies the files, because the server's user may not be able to reach the checkout. Only the
/// creation of the nodes is different: it does not wait for the disk, which takes long on a machine
/// that does other things.
fn configure(directory: &Path) {
    let read = |file: &str| std::fs::read_to_string(format!("{FILES}/{file}")).expect("a file");
    let mut patroni = read("patroni.yml");
    for step in ["    - data-checksums\n", "    - checkpoint: fast\n"] {
        assert!(patroni.contains(step), "{step}");
        patroni = patroni.replace(step, &format!("{step}    - no-sync\n"));
    }
    std::fs::write(directory.join("patroni.yml"), patroni).expect("a file");
    std::fs::write(directory.join("haproxy.cfg"), read("haproxy.cfg")).expect("a file");
}

/// Removes a directory in the background: that takes seconds.
fn remove(directory: &Path) {
    let old = directory.with_extension(std::process::id().to_string());
    if std::fs::rename(directory, &old).is_ok() {
        let mut command = std::process::Command::new("rm");
        let mut removal = command.arg("-rf").arg(&old).spawn().expect("rm starts");
        // It goes on when the test has ended.
        std::thread::spawn(move || removal.wait());
    }
}

impl Cluster {
    /// Makes the cluster. What a killed run has left goes first.
    pub fn new() -> Cluster {
        let sandbox =
            PathBuf::from(std::env::var("SANDBOX").expect("SANDBOX is set by scripts/run"));
        let at = sandbox.join("ha");
        sweep(&at);
        remove(&at);
        for below in ["", "etcd", "haproxy", "a", "b"] {
            directory(&at.join(below));
        }
        configure(&at);
        let node = |name: &'static str| Node {
            name,
            directory: at.join(name),
            port: free_port(),
            api: free_port(),
        };
        let cluster = Cluster {
            nodes: [node("a"), node("b")],
            etcd: free_port(),
            primary: free_port(),
            standbys: free_port(),
            directory: at,
        };
        cluster.start_etcd();
        cluster.nodes[0].start(cluster.etcd);
        wait_for("the first node becomes the primary", || {
            cluster.nodes[0].is_primary().then_some(())
        });
        cluster.start_haproxy();
        cluster.nodes[1].start(cluster.etcd);
        cluster
    }

    fn start_etcd(&self) {
        let (clients, peers) = (self.etcd, free_port());
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let arguments = [
            ("--data-dir", "data".to_owned()),
            ("--listen-client-urls", url(clients)),
            ("--advertise-client-urls", url(clients)),
            ("--listen-peer-urls", url(peers)),
            ("--initial-advertise-peer-urls", url(peers)),
            ("--initial-cluster", format!("default={}", url(peers))),
        ]
        .map(|(name, value)| format!("{name}={value}"));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        start("etcd", &self.directory.join("etcd"), &arguments, &[]);
        wait_for("etcd answers", || request(clients, "GET", "/health", ""));
    }

    fn start_haproxy(&self) {
        let local = |port: u16| format!("127.0.0.1:{port}");
        let mut variables = vec![
            ("LISTEN_PRIMARY".to_owned(), local(self.primary)),
            ("LISTEN_STANDBYS".to_owned(), local(self.standbys)),
        ];
        for node in &self.nodes {
            let name = node.name.to_uppercase();
            variables.push((format!("NODE_{name}"), local(node.port)));
            variables.push((format!("HOST_{name}"), "127.0.0.1".to_owned()));
            variables.push((format!("API_{name}"), node.api.to_string()));
        }
        let variables: Vec<_> = variables
            .into_iter()
            .map(|(name, value)| (format!("WALLET_{name}"), value))
            .collect();
        let file = self.directory.join("haproxy.cfg").display().to_string();
        // -db: in the foreground.
        start(
            "haproxy",
            &self.directory.join("haproxy"),
            &["-db", "-f", &file],
            &variables,
        );
    }

    /// The primary and the standby, as Patroni says. Waits for a primary.
    pub fn roles(&self) -> (&Node, &Node) {
        wait_for("one node is the primary", || {
            match self.nodes.each_ref().map(Node::is_primary) {
                [true, false] => Some((&self.nodes[0], &self.nodes[1])),
                [false, true] => Some((&self.nodes[1], &self.nodes[0])),
                _ => None,
            }
        })
    }

    /// Through HAProxy, or straight to that node of both that can write, as libpq's
    /// target_session_attrs=read-write.
    pub fn config(&self, user: &str, through_proxy: bool) -> Config {
        if through_proxy {
            return config_of(&[self.primary], user);
        }
        let mut config = config_of(&self.nodes.each_ref().map(|node| node.port), user);
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config
    }

    /// A connection of the administrator to the primary.
    pub fn administrator(&self) -> Client {
        wait_for("a connection to the primary", || {
            self.config("postgres", false).connect(NoTls).ok()
        })
    }

    /// Changes settings of the whole cluster, as `patronictl edit-config`.
    pub fn configure(&self, settings: &Value) {
        let answer = request(self.nodes[0].api, "PATCH", "/config", &settings.to_string());
        assert_eq!(answer.map(|(status, _)| status), Some(200), "{settings}");
    }

    /// Asks for a planned change of the primary.
    pub fn switchover(&self, from: &Node, to: &Node) {
        let body = serde_json::json!({"leader": from.name, "candidate": to.name}).to_string();
        let answer = request(from.api, "POST", "/switchover", &body);
        assert!(
            answer.as_ref().is_some_and(|(status, _)| *status == 200),
            "switchover: {answer:?}"
        );
    }

    /// Starts a node again that was lost.
    pub fn restart(&self, node: &Node) {
        node.start(self.etcd);
    }

    /// Waits until the standby streams and, if it must, until COMMIT waits for it and Patroni
    /// would promote it.
    pub fn wait_for_standby(&self, synchronous: bool) {
        let sql = "SELECT count(*) FROM pg_stat_replication
                    WHERE state = 'streaming' AND application_name <> 'pg_basebackup'
                      AND (sync_state = 'sync') = $1";
        wait_for("the standby streams", || {
            let mut client = self.administrator();
            let count: i64 = client.query_one(sql, &[&synchronous]).ok()?.get(0);
            let known = self.nodes.iter().any(|node| node.answers("/synchronous"));
            (count == 1 && known == synchronous).then_some(())
        });
    }

    /// What happened on a node, for a failure.
    pub fn log(&self) -> String {
        let tail = |file: &Path| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(40)..].join("\n")
        };
        ["a", "b"]
            .map(|name| {
                format!(
                    "--- node {name}\n{}",
                    tail(&self.directory.join(name).join("log"))
                )
            })
            .join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        sweep(&self.directory);
        remove(&self.directory);
    }
}
