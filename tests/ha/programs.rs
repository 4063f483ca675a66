//! The programs of the cluster: where they are, as whom they run, and how they end.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The programs that the test needs, apart from PostgreSQL.
const NEEDED: [&str; 3] = ["etcd", "patroni", "haproxy"];

/// The place of a program. Debian has HAProxy where the PATH of users does not lead.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// The programs that are missing.
pub fn missing() -> Vec<&'static str> {
    NEEDED
        .into_iter()
        .filter(|program| find(program).is_none())
        .collect()
}

/// A port of 127.0.0.1 that nobody uses now. No client gets one of these as the port of its own end.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id();
    loop {
        let next = first + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + u16::try_from(next % 12_000).expect("a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn number(option: &str, user: &str) -> u32 {
    let output = Command::new("id").arg(option).arg(user).output();
    let output = output.expect("id").stdout;
    let text = String::from_utf8_lossy(&output);
    text.trim().parse().expect("the number of a user")
}

/// As the user of the server where the test runs as root: PostgreSQL refuses to run as root.
pub fn as_server(command: &mut Command) -> &mut Command {
    let user = std::env::var("SERVER_USER").expect("SERVER_USER is set by scripts/run");
    let me = Command::new("id").arg("-un").output().expect("id").stdout;
    if String::from_utf8_lossy(&me).trim() == user {
        return command;
    }
    command.uid(number("-u", &user)).gid(number("-g", &user))
}

/// A directory that the server's user owns.
pub fn directory(path: &Path) {
    fs::create_dir_all(path).expect("a directory");
    let user = std::env::var("SERVER_USER").expect("SERVER_USER is set by scripts/run");
    std::os::unix::fs::chown(path, Some(number("-u", &user)), Some(number("-g", &user)))
        .expect("the owner of a directory");
}

/// Starts a program in a directory, where its output goes to `log`.
pub fn start(name: &str, directory: &Path, arguments: &[&str], variables: &[(String, String)]) {
    let program = find(name).unwrap_or_else(|| panic!("{name} is missing: make setup"));
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(directory.join("log"))
        .expect("a log");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log);
    // Nothing of the private server's environment leads the cluster's programs elsewhere.
    for name in ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGDATA"] {
        command.env_remove(name);
    }
    for (name, value) in variables {
        command.env(name, value);
    }
    let mut child = as_server(&mut command).spawn().expect("a program starts");
    // Somebody must collect it when it was killed.
    std::thread::spawn(move || child.wait());
}

/// The processes that work in a directory or below it, which is all that belongs to a node.
pub fn processes_in(directory: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(directory))
        })
        .collect()
}

/// Kills with SIGKILL, all at once.
pub fn kill(pids: &[u32]) {
    if pids.is_empty() {
        return;
    }
    let mut command = Command::new("kill");
    command.arg("-9").args(pids.iter().map(u32::to_string));
    // Some may have ended by themselves.
    command.stderr(Stdio::null()).status().expect("kill");
}

/// Kills what works in a directory until nothing does.
pub fn sweep(directory: &Path) {
    for _ in 0..200 {
        let pids = processes_in(directory);
        if pids.is_empty() {
            return;
        }
        kill(&pids);
        std::thread::sleep(Duration::from_millis(50));
    }
    eprintln!("processes in {} do not end", directory.display());
}
