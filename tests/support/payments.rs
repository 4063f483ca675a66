//! An unreliable payment provider on 127.0.0.1.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use postgres::NoTls;
use postgres::types::ToSql;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::{Database, Seed};

/// The provider's own books: wallet, amount and reference by idempotency key.
pub type Paid = HashMap<String, (String, Decimal, String)>;

#[derive(Default)]
struct Books {
    paid: Mutex<Paid>,
    faults: Mutex<HashMap<&'static str, usize>>,
    returned: Mutex<HashSet<String>>,
    later: Mutex<Vec<JoinHandle<()>>>,
    honest: AtomicBool,
}

impl Books {
    fn fault(&self, name: &'static str) {
        *lock(&self.faults).entry(name).or_default() += 1;
    }
}

/// The number of ways to answer. The last ones do what was requested.
const WAYS: u64 = 14;

/// The server, which runs until the test process ends.
pub struct Provider {
    port: u16,
    books: Arc<Books>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Provider {
    /// Starts the server. `slow` is longer than the worker waits. If the provider answers twice or
    /// too late, it also reports the payment with a call of its own, like a webhook.
    pub fn start(database: &Database, mut seed: Seed, slow: Duration) -> Provider {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let books = Arc::new(Books::default());
        let (config, shared) = (database.config(), books.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (books, config, chance) = (shared.clone(), config.clone(), seed.below(WAYS));
                std::thread::spawn(move || {
                    // A worker that has disconnected is a fault like the others.
                    let _ = answer(stream, &books, &config, chance, slow);
                });
            }
        });
        Provider { port, books }
    }

    /// The URL of a path on the server.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Stops all faults from now on.
    pub fn be_honest(&self) {
        self.books.honest.store(true, Ordering::Relaxed);
    }

    /// Waits for the delayed reports and chargebacks.
    pub fn finish(&self) {
        let later = std::mem::take(&mut *lock(&self.books.later));
        for call in later {
            call.join().expect("the provider's own calls");
        }
    }

    /// The references of the payments that it has charged back.
    pub fn returned(&self) -> HashSet<String> {
        lock(&self.books.returned).clone()
    }

    /// Its books.
    pub fn paid(&self) -> Paid {
        lock(&self.books.paid).clone()
    }

    /// The faults so far.
    pub fn faults(&self) -> HashMap<&'static str, usize> {
        lock(&self.books.faults).clone()
    }
}

fn answer(
    mut stream: TcpStream,
    books: &Arc<Books>,
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
        WAYS
    } else {
        chance
    };
    let mut say = |status: &str, text: Value| {
        let text = text.to_string();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        )
    };
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let key = header("idempotency-key");
    let wallet = asked["wallet"].as_str().unwrap_or_default().to_owned();
    let amount: Decimal = asked["amount"]
        .to_string()
        .trim_matches('"')
        .parse()
        .expect("an amount");
    let payment = Payment {
        books: books.clone(),
        config: config.clone(),
        reference: format!("pay_{key}"),
        key,
        wallet,
        amount,
    };
    let declined = json!({"reason": "card declined"});
    if !lock(&books.paid).contains_key(&payment.key) {
        match chance {
            0 => {
                books.fault("declined");
                return say("402 Payment Required", declined);
            }
            1 => {
                books.fault("no answer, not paid");
                std::thread::sleep(slow);
                return Ok(());
            }
            2 => {
                books.fault("declined, paid later");
                payment.later(slow, Payment::take_and_tell);
                return say("402 Payment Required", declined);
            }
            3 => {
                books.fault("said to be declined, paid");
                payment.take_and_tell();
                return say("402 Payment Required", declined);
            }
            _ => {}
        }
    }
    payment.take();
    let reference = json!({"reference": payment.reference});
    match chance {
        4 => {
            books.fault("paid, no answer");
            std::thread::sleep(slow);
            return Ok(());
        }
        5 => {
            books.fault("paid, died half-way");
            return Ok(());
        }
        6 => {
            books.fault("paid, died in the middle of the answer");
            return write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{{\"refer"
            );
        }
        7 => {
            books.fault("answered twice");
            payment.take_and_tell();
        }
        8 => {
            books.fault("charged back, twice");
            payment.later(slow, Payment::charge_back);
        }
        _ => {}
    }
    say("200 OK", reference)
}

/// A requested payment.
struct Payment {
    books: Arc<Books>,
    config: postgres::Config,
    key: String,
    wallet: String,
    amount: Decimal,
    reference: String,
}

impl Payment {
    /// Takes the money, once.
    fn take(&self) {
        let payment = (self.wallet.clone(), self.amount, self.reference.clone());
        lock(&self.books.paid)
            .entry(self.key.clone())
            .or_insert(payment);
    }

    /// Takes the money and reports it itself, like a webhook.
    fn take_and_tell(&self) {
        self.take();
        self.call(
            "SELECT wallet.complete_topup($1, $2::text::uuid, $3)",
            &[&self.wallet, &self.key, &self.reference],
        );
    }

    /// Returns the money to the payer, and reports that twice after it was credited.
    fn charge_back(&self) {
        lock(&self.books.returned).insert(self.reference.clone());
        let credited = "SELECT FROM wallet.fundings WHERE wallet = $1 AND reference = $2";
        while self.call(credited, &[&self.wallet, &self.reference]) == 0 {
            std::thread::sleep(Duration::from_millis(50));
        }
        let reverse = "SELECT wallet.reverse_funding(wallet, entry_id, 'charged back')
                         FROM wallet.fundings WHERE wallet = $1 AND reference = $2";
        for _ in 0..2 {
            self.call(reverse, &[&self.wallet, &self.reference]);
        }
    }

    /// Repeats a call until it is answered, whatever happens to the connection. Returns the number
    /// of rows.
    fn call(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> u64 {
        loop {
            let result = self
                .config
                .connect(NoTls)
                .and_then(|mut client| client.execute(sql, values));
            match result {
                Ok(rows) => return rows,
                Err(error) => match error.code().map(|state| state.code()) {
                    None | Some("57P01" | "57P03" | "40P01" | "40001") => {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    Some(_) => panic!("{sql}: {error:?}"),
                },
            }
        }
    }

    /// Does this after a pause, whatever happens to the client that requested it.
    fn later(self, pause: Duration, what: fn(&Payment)) {
        let books = self.books.clone();
        let call = std::thread::spawn(move || {
            std::thread::sleep(pause);
            what(&self);
        });
        lock(&books.later).push(call);
    }
}
