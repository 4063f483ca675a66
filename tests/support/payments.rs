//! A payment provider that cannot be relied on, and a receiver of webhooks, on 127.0.0.1.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::{Database, Seed};

/// What the provider has in its own books: wallet, amount and reference by idempotency key.
pub type Paid = HashMap<String, (String, Decimal, String)>;

/// A webhook as it came.
pub struct Hook {
    /// `X-Wallet-Event`
    pub id: String,
    /// `X-Wallet-Signature`
    pub signature: String,
    /// The body.
    pub body: Vec<u8>,
}

#[derive(Default)]
struct Books {
    paid: Mutex<Paid>,
    hooks: Mutex<Vec<Hook>>,
    faults: Mutex<HashMap<&'static str, usize>>,
    honest: AtomicBool,
}

/// The server; it lives until the test's process ends.
pub struct Provider {
    port: u16,
    books: Arc<Books>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Provider {
    /// Starts it; `slow` is longer than the worker waits. Where it "answers twice", it says so a
    /// second time by a call of its own, as providers do by a webhook.
    pub fn start(database: &Database, mut seed: Seed, slow: Duration) -> Provider {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let books = Arc::new(Books::default());
        let (config, shared) = (database.config(), books.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (books, config, chance) = (shared.clone(), config.clone(), seed.below(8));
                std::thread::spawn(move || {
                    // A worker that has gone away is a fault like others.
                    let _ = answer(stream, &books, &config, chance, slow);
                });
            }
        });
        Provider { port, books }
    }

    /// The address below which it answers.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// No more faults from now on.
    pub fn be_honest(&self) {
        self.books.honest.store(true, Ordering::Relaxed);
    }

    /// Its books.
    pub fn paid(&self) -> Paid {
        lock(&self.books.paid).clone()
    }

    /// Faults so far.
    pub fn faults(&self) -> HashMap<&'static str, usize> {
        lock(&self.books.faults).clone()
    }

    /// The webhooks that came.
    pub fn hooks(&self) -> Vec<Hook> {
        std::mem::take(&mut lock(&self.books.hooks))
    }
}

fn answer(
    mut stream: TcpStream,
    books: &Books,
    config: &postgres::Config,
    chance: u64,
    slow: Duration,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut path = String::new();
    reader.read_line(&mut path)?;
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
    let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let chance = if books.honest.load(Ordering::Relaxed) {
        7
    } else {
        chance
    };
    let fault = |name| *lock(&books.faults).entry(name).or_default() += 1;
    let mut say = |status: &str, text: Value| {
        let text = text.to_string();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        )
    };
    if path.contains("/hook") {
        if chance == 0 {
            fault("hook refused");
            return say("503 Busy", json!({}));
        }
        let (id, signature) = (header("x-wallet-event"), header("x-wallet-signature"));
        lock(&books.hooks).push(Hook {
            id,
            signature,
            body,
        });
        return say("200 OK", json!({}));
    }
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let key = header("idempotency-key");
    let known = lock(&books.paid).contains_key(&key);
    match chance {
        0 if !known => {
            fault("declined");
            return say("402 Payment Required", json!({"reason": "card declined"}));
        }
        1 => {
            fault("no answer, not paid");
            std::thread::sleep(slow);
            return Ok(());
        }
        _ => {}
    }
    let wallet = asked["wallet"].as_str().unwrap_or_default().to_owned();
    let amount: Decimal = asked["amount"]
        .to_string()
        .trim_matches('"')
        .parse()
        .expect("an amount");
    let reference = format!("pay_{key}");
    lock(&books.paid)
        .entry(key.clone())
        .or_insert((wallet.clone(), amount, reference.clone()));
    match chance {
        2 => {
            fault("paid, no answer");
            std::thread::sleep(slow);
            return Ok(());
        }
        3 => {
            fault("paid, died half-way");
            return Ok(());
        }
        4 => {
            fault("answered twice");
            let sql = "SELECT wallet.complete_topup($1, $2::text::uuid, $3)";
            let mut client = config.connect(postgres::NoTls).expect("a connection");
            client
                .execute(sql, &[&wallet, &key, &reference])
                .expect("complete_topup");
        }
        _ => {}
    }
    say("200 OK", json!({"reference": reference}))
}
