//! A pool of connections of one role.

use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
    Timeouts,
};
use tokio_postgres::NoTls;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::conninfo::{Target, TargetError};
use super::error::{DbError, Trouble};
use super::retry;
use super::tls::{self, TlsError};
use crate::config::{Database, Secret};

/// A standby is always read-only. So is a server that its operator has set so.
const READ_ONLY: &str = "SELECT pg_catalog.current_setting('transaction_read_only') = 'on'";

/// Connections of one role, made when they are needed.
#[derive(Clone)]
pub struct Connections {
    pool: Pool,
}

/// Connections that can never be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The connection string.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// TLS.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The pool.
    #[error("{0}")]
    Pool(#[from] deadpool_postgres::BuildError),
}

impl Connections {
    /// A pool for a connection string. Connects to nothing yet.
    pub fn new(url: &Secret, size: usize, config: &Database) -> Result<Connections, SetupError> {
        let mut target = Target::read(url)?;
        let connect = config.connect_timeout.get();
        target.driver.connect_timeout(connect);
        // A peer that is gone without a word is noticed before the request's time is over.
        target
            .driver
            .tcp_user_timeout(config.statement_timeout.get() + connect)
            .keepalives_idle(Duration::from_secs(5))
            .keepalives_interval(Duration::from_secs(2))
            .keepalives_retries(2);
        let recycling_method = RecyclingMethod::Fast;
        let settings = ManagerConfig { recycling_method };
        // A socket of this machine has no TLS, as in libpq.
        let manager = match target.has_no_tls() {
            true => Manager::from_config(target.driver, NoTls, settings),
            false => {
                let tls = MakeRustlsConnect::new(tls::client(&target)?);
                Manager::from_config(target.driver, tls, settings)
            }
        };
        let timeouts = Timeouts {
            wait: Some(config.wait_timeout.get()),
            create: Some(connect),
            recycle: Some(connect),
        };
        // A call that sets no other one has this bound.
        let bound = format!(
            "SET statement_timeout = {}",
            config.statement_timeout.get().as_millis()
        );
        let bounded = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
            let bound = bound.clone();
            Box::pin(async move {
                let set = client.batch_execute(&bound).await;
                set.map_err(HookError::Backend)
            })
        });
        let builder = Pool::builder(manager).max_size(size);
        let pool = builder
            .post_create(bounded)
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()?;
        Ok(Connections { pool })
    }

    /// A connection that nobody uses.
    pub async fn get(&self) -> Result<Object, DbError> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Timeout(deadpool_postgres::TimeoutType::Wait) => {
                DbError::Unavailable(Trouble::Busy)
            }
            PoolError::Backend(error) => match error.as_db_error() {
                Some(server) => DbError::Unavailable(Trouble::Lost(format!(
                    "{}: {}",
                    server.code().code(),
                    server.message()
                ))),
                None => DbError::Unavailable(Trouble::Lost(with_causes(&error))),
            },
            error => DbError::Unavailable(Trouble::Lost(error.to_string())),
        })
    }

    /// Whether the server accepts changes. One whose connections are all in use does.
    pub async fn is_writable(&self) -> Result<bool, DbError> {
        let mut made = 0;
        loop {
            let error = match self.look_whether_writable().await {
                Ok(is_writable) => return Ok(is_writable),
                Err(error) => error,
            };
            made += 1;
            // A connection that nobody used may have ended without a word.
            match retry::pause(&error, made, true) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
        }
    }

    async fn look_whether_writable(&self) -> Result<bool, DbError> {
        let client = match self.get().await {
            Ok(client) => InUse::new(client),
            Err(DbError::Unavailable(Trouble::Busy)) => return Ok(true),
            Err(error) => return Err(error),
        };
        let row = client.query_one(READ_ONLY, &[]).await;
        let is_read_only = row.and_then(|row| row.try_get::<_, bool>(0));
        let is_read_only = is_read_only.map_err(|error| DbError::before(&error))?;
        client.end();
        Ok(!is_read_only)
    }

    /// Connections that are open, and those of them that nobody uses.
    pub fn counts(&self) -> (usize, usize) {
        let status = self.pool.status();
        (status.size, status.available)
    }

    /// Closes what nobody uses. Nobody gets a connection any more.
    pub fn close(&self) {
        self.pool.close();
    }
}

/// A connection that is in use. If the caller gives up, it is closed: the next user would wait for
/// the statement that still runs on it.
pub(super) struct InUse(Option<Object>);

impl InUse {
    /// Begins.
    pub fn new(client: Object) -> InUse {
        InUse(Some(client))
    }

    /// Nothing runs any more: another one may use the connection.
    pub fn end(mut self) {
        drop(self.0.take());
    }
}

impl std::ops::Deref for InUse {
    type Target = Object;

    fn deref(&self) -> &Object {
        match &self.0 {
            Some(client) => client,
            None => unreachable!("end() consumes it"),
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Object::take(client));
        }
    }
}

/// An error with its causes. The driver's have addresses and no passwords.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
