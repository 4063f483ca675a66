//! A client as docs/high-availability.md wants it: where the connection may be broken or leads to a
//! server that cannot write, it drops the connection and sends the same call with the same key.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use postgres::{Client, Config, Error, NoTls};
use uuid::Uuid;
use wallet_tests::{Decimal, state_of};

/// A call of an application.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Charge,
    /// A charge and a row of the application in one transaction.
    Own,
    /// A hold, and its settlement.
    Settle,
    Fund,
}

/// A call with all its arguments.
#[derive(Clone, Debug)]
pub struct Call {
    pub kind: Kind,
    pub wallet: &'static str,
    pub amount: Decimal,
    pub key: String,
}

/// What a call returned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    pub entry: Uuid,
    pub amount: Decimal,
    pub replayed: bool,
}

/// What clients were told in place of an answer, by SQLSTATE.
pub type Seen = Mutex<BTreeMap<String, usize>>;

const CHARGE: &str =
    "SELECT entry_id, cost, replayed FROM wallet.charge($1, amount => $2, idempotency_key => $3)";
const FUND: &str =
    "SELECT entry_id, amount, replayed FROM wallet.fund($1, $2, idempotency_key => $3)";
const HOLD: &str = "SELECT hold_id FROM wallet.hold($1, amount => $2, idempotency_key => $3)";
const SETTLE: &str = "SELECT entry_id, cost, replayed FROM wallet.settle($1, $2, amount => $3, idempotency_key => $4)";
const OWN: &str = "INSERT INTO app.requests (key, entry_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";

impl Call {
    /// Makes the call once.
    pub fn on(&self, client: &mut Client) -> Result<Answer, Error> {
        let (wallet, amount, key) = (&self.wallet, &self.amount, &self.key);
        let row = match self.kind {
            Kind::Charge => client.query_one(CHARGE, &[wallet, amount, key])?,
            Kind::Fund => client.query_one(FUND, &[wallet, amount, key])?,
            Kind::Settle => {
                let reserved = amount + Decimal::ONE;
                let hold_key = format!("{key}-hold");
                let hold: Uuid = client
                    .query_one(HOLD, &[wallet, &reserved, &hold_key])?
                    .get(0);
                client.query_one(SETTLE, &[wallet, &hold, amount, key])?
            }
            Kind::Own => {
                let mut transaction = client.transaction()?;
                let row = transaction.query_one(CHARGE, &[wallet, amount, key])?;
                transaction.execute(OWN, &[key, &row.get::<_, Uuid>(0)])?;
                transaction.commit()?;
                row
            }
        };
        Ok(Answer {
            entry: row.get(0),
            amount: row.get(1),
            replayed: row.get(2),
        })
    }
}

/// Whether the same call may be sent again on another connection.
fn is_lost(error: &Error) -> bool {
    let Some(state) = error.code().map(|code| code.code()) else {
        // No server said anything: the connection is broken.
        return true;
    };
    // 25006: the connection leads to a primary that became a standby.
    ["57P01", "57P02", "57P03", "25006", "40001", "40P01"].contains(&state)
        || state.starts_with("08")
}

/// One client with one connection at a time.
pub struct Session<'a> {
    config: Config,
    client: Option<Client>,
    seen: &'a Seen,
}

impl<'a> Session<'a> {
    pub fn new(config: Config, seen: &'a Seen) -> Session<'a> {
        Session {
            config,
            client: None,
            seen,
        }
    }

    fn note(&self, error: &Error) {
        let what = match error.code() {
            Some(code) => code.code().to_owned(),
            None => "broken connection".to_owned(),
        };
        *self.seen.lock().expect("a list").entry(what).or_default() += 1;
    }

    /// Does that until it succeeds, on a new connection after each failure of a connection. A
    /// refusal is returned as its SQLSTATE.
    pub fn keep<T>(&mut self, work: impl Fn(&mut Client) -> Result<T, Error>) -> Result<T, String> {
        let begun = Instant::now();
        loop {
            let client = match self.client.take() {
                Some(client) => Ok(client),
                None => self.config.connect(NoTls),
            };
            // Without a connection the call was not sent.
            if let Ok(mut client) = client {
                match work(&mut client) {
                    Ok(answer) => {
                        self.client = Some(client);
                        return Ok(answer);
                    }
                    Err(error) if is_lost(&error) => self.note(&error),
                    Err(error) => {
                        self.client = Some(client);
                        return Err(state_of(&error));
                    }
                }
            }
            assert!(
                begun.elapsed() < Duration::from_secs(300),
                "no service for too long"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn call(&mut self, call: &Call) -> Result<Answer, String> {
        self.keep(|client| call.on(client))
    }
}
