//! The transaction of a tenant's request: the key, one call, and the end, in one round trip.
//!
//! Four messages are sent at once: `BEGIN`, the key and the timeout as settings of the transaction,
//! the call, and `COMMIT`. If one fails, PostgreSQL skips the rest and `COMMIT` rolls back. A
//! dropped request therefore never leaves a transaction open, and the key never outlives it.
//!
//! If `BEGIN` itself failed, the call would run without the key. The role then reaches no wallet,
//! because all its grants are keyed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::Object;
use futures_util::future::join4;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};

use super::error::{DbError, Trouble};
use super::pool::Connections;
use super::retry;
use crate::config::{Database, Secret};

/// Whether a call writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads.
    Read,
    /// It writes.
    Write,
}

/// A statement with its arguments. All of them are text, which the statement casts. `$1` is the
/// key. The statement returns one text, in one row, or no row if the key is not valid.
#[derive(Clone, Debug)]
pub struct Call {
    /// The statement.
    pub statement: &'static str,
    /// `$2` and those after it.
    pub arguments: Vec<Option<String>>,
    /// Whether it writes.
    pub access: Access,
    /// Whether a second run has the result of the first one: it reads, or has an idempotency key.
    pub is_repeatable: bool,
}

impl Call {
    /// A call that reads.
    pub fn read(statement: &'static str, arguments: Vec<Option<String>>) -> Call {
        Call {
            statement,
            arguments,
            access: Access::Read,
            is_repeatable: true,
        }
    }

    /// A call that writes. With an idempotency key it is repeatable.
    pub fn write(
        statement: &'static str,
        arguments: Vec<Option<String>>,
        is_repeatable: bool,
    ) -> Call {
        Call {
            statement,
            arguments,
            access: Access::Write,
            is_repeatable,
        }
    }
}

const READ: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY";
const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
/// Compiling the plan of a report takes seconds, and running it milliseconds: hence no JIT.
const SETTINGS: &str = "SELECT set_config('wallet.key', $1, true), set_config('statement_timeout', $2, true), \
     set_config('TimeZone', 'UTC', true), set_config('jit', 'off', true)";
/// For an error that a revoked key would cause too.
const KEY_IS_VALID: &str = "SELECT 'yes' FROM wallet.key_owner($1)";

/// The pool of tenants' requests.
#[derive(Clone)]
pub struct Tenants {
    connections: Connections,
    statement_timeout: Duration,
    /// After it a connection that does not answer is given up.
    patience: Duration,
    /// After it no other attempt begins.
    deadline: Duration,
}

impl Tenants {
    /// Calls on these connections.
    pub fn new(connections: Connections, config: &Database, deadline: Duration) -> Tenants {
        let statement_timeout = config.statement_timeout.get();
        Tenants {
            connections,
            statement_timeout,
            patience: statement_timeout + Duration::from_secs(1),
            deadline,
        }
    }

    /// The connections, for gauges.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Runs a call to its end, even if the caller does not wait for it. Returns its text.
    pub async fn call(&self, key: Secret, call: Call) -> Result<Option<String>, DbError> {
        let tenants = self.clone();
        let running = tokio::spawn(async move { tenants.run(&key, &Arc::new(call)).await });
        running
            .await
            .unwrap_or_else(|error| Err(DbError::Garbled(format!("the call did not end: {error}"))))
    }

    async fn run(&self, key: &Secret, call: &Call) -> Result<Option<String>, DbError> {
        let (mut made, begun) = (0, Instant::now());
        loop {
            let error = match self.attempt(key, call).await {
                Ok(Some(row)) => return read(&row),
                Ok(None) => return Err(DbError::UnknownKey),
                Err(error) => error,
            };
            made += 1;
            let pause = retry::pause(&error, made, call.is_repeatable);
            match pause.filter(|pause| begun.elapsed() + *pause < self.deadline) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(self.explain(key, error).await),
            }
        }
    }

    /// A key that was revoked after the statement began is refused like one that never was.
    async fn explain(&self, key: &Secret, error: DbError) -> DbError {
        let is_denied = matches!(&error, DbError::Refused(refusal)
            if ["42501", "WL009"].contains(&refusal.sqlstate.as_str()));
        if is_denied {
            let call = Call::read(KEY_IS_VALID, Vec::new());
            if let Ok(None) = self.attempt(key, &call).await {
                return DbError::UnknownKey;
            }
        }
        error
    }

    async fn attempt(&self, key: &Secret, call: &Call) -> Result<Option<Row>, DbError> {
        let client = self.connections.get().await?;
        match tokio::time::timeout(self.patience, self.transaction(&client, key, call)).await {
            Ok(Ok(row)) => Ok(row),
            Ok(Err(error)) => {
                if matches!(
                    error,
                    DbError::Unavailable(Trouble::Lost(_)) | DbError::Unknown(_)
                ) {
                    drop(Object::take(client));
                }
                Err(error)
            }
            Err(_) => {
                // Its late answers must not be read as those of another request.
                drop(Object::take(client));
                Err(DbError::Unknown(Trouble::TimedOut))
            }
        }
    }

    async fn transaction(
        &self,
        client: &Object,
        key: &Secret,
        call: &Call,
    ) -> Result<Option<Row>, DbError> {
        let timeout = self.statement_timeout.as_millis().to_string();
        let types = vec![Type::TEXT; call.arguments.len() + 1];
        let settings = client
            .prepare_typed_cached(SETTINGS, &[Type::TEXT, Type::TEXT])
            .await;
        let settings = settings.map_err(|error| DbError::before(&error))?;
        let statement = client.prepare_typed_cached(call.statement, &types).await;
        let statement = statement.map_err(|error| DbError::before(&error))?;
        let key = key.expose();
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&key];
        parameters.extend(call.arguments.iter().map(|one| one as &(dyn ToSql + Sync)));
        let begin = match call.access {
            Access::Read => READ,
            Access::Write => WRITE,
        };
        let settings_parameters: [&(dyn ToSql + Sync); 2] = [&key, &timeout];
        // Polled in this order, each sends its message at the first poll.
        let (begun, set, rows, ended) = join4(
            client.batch_execute(begin),
            client.query(&settings, &settings_parameters),
            client.query(&statement, &parameters),
            client.batch_execute("COMMIT"),
        )
        .await;
        outcome(begun, set.map(drop), rows, ended)
    }
}

/// The result of the transaction.
fn outcome(
    begun: Result<(), Error>,
    set: Result<(), Error>,
    rows: Result<Vec<Row>, Error>,
    ended: Result<(), Error>,
) -> Result<Option<Row>, DbError> {
    // The first error that PostgreSQL reports is the cause of those after it.
    if let Err(error) = begun {
        return Err(match error.as_db_error() {
            Some(error) => DbError::not_begun(error),
            None => DbError::Unknown(Trouble::Lost(error.to_string())),
        });
    }
    if let Err(error) = set {
        return Err(match error.as_db_error() {
            Some(error) => DbError::rolled_back(error),
            None => DbError::Unknown(Trouble::Lost(error.to_string())),
        });
    }
    let rows = rows.map_err(|error| match error.as_db_error() {
        Some(error) => DbError::rolled_back(error),
        None => DbError::Unknown(Trouble::Lost(error.to_string())),
    })?;
    if let Err(error) = ended {
        return Err(match error.as_db_error() {
            // Only a conflict is known to have rolled back. A server that stops may have committed.
            Some(server) if ["40001", "40P01"].contains(&server.code().code()) => {
                DbError::rolled_back(server)
            }
            _ => DbError::Unknown(Trouble::Lost(error.to_string())),
        });
    }
    Ok(rows.into_iter().next())
}

fn read(row: &Row) -> Result<Option<String>, DbError> {
    row.try_get(0)
        .map_err(|error| DbError::Garbled(error.to_string()))
}
