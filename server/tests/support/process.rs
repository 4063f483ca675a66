//! The process.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A running walletd. It is killed at the end.
pub struct Walletd {
    child: Child,
    /// The address of the API.
    pub http: SocketAddr,
    /// The address of health and metrics.
    pub ops: SocketAddr,
    log: Arc<Mutex<String>>,
}

fn command(settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_walletd"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WALLETD_")) {
        command.env_remove(name);
    }
    command.envs(settings.iter().copied());
    command
}

/// The output of a command that ends.
pub fn output(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    command(settings).args(arguments).output().unwrap()
}

impl Walletd {
    /// Starts it on free ports.
    pub fn start(settings: &[(&str, &str)]) -> Walletd {
        let mut command = command(&[
            ("WALLETD_HTTP__LISTEN", "127.0.0.1:0"),
            ("WALLETD_OPS__LISTEN", "127.0.0.1:0"),
            ("WALLETD_LOG__LEVEL", "debug"),
        ]);
        command.envs(settings.iter().copied()).arg("serve");
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (ready, addresses) = mpsc::channel();
        let stderr = child.stderr.take().unwrap();
        let written = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str::<Value>(&line)
                    && event["message"] == "serving"
                {
                    let address = |name: &str| event[name].as_str().unwrap().parse().unwrap();
                    let _ = ready.send((address("http"), address("ops")));
                }
                let mut log = written.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let Ok((http, ops)) = addresses.recv_timeout(Duration::from_secs(20)) else {
            let _ = child.kill();
            panic!("walletd does not serve: {}", log.lock().unwrap());
        };
        Walletd {
            child,
            http,
            ops,
            log,
        }
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for the end.
    pub fn wait(&mut self, most: Duration) -> Option<ExitStatus> {
        let begun = Instant::now();
        while begun.elapsed() < most {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    /// The memory that the process has in RAM, in KiB.
    pub fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let mut text = String::new();
        std::fs::File::open(path)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        let line = text.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Walletd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the log of walletd:\n{}", self.log());
        }
    }
}
