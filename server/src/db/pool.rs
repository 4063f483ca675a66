//! A pool of connections of one role.

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use tokio_postgres::NoTls;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::conninfo::{Target, TargetError};
use super::error::{DbError, Trouble};
use super::tls::{self, TlsError};
use crate::config::{Database, Secret};

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
            .tcp_user_timeout(config.statement_timeout.get() + connect);
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
        let builder = Pool::builder(manager).max_size(size);
        let pool = builder
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
