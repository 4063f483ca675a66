//! Calls of the worker's role that are due from time to time.

use super::error::DbError;
use super::worker::{Worker, text};

const MAINTAIN: &str = "SELECT pg_catalog.count(*)::text FROM wallet.maintain()";
const TOPUPS: &str = "SELECT wallet.request_due_topups()::text";
/// psql prints the same text, so files of walletd and of `examples/store_digest.sh` agree.
const DIGEST: &str = "SELECT wallet.digest()::text";

impl Worker {
    /// Books what is due, and drops what may be dropped.
    pub async fn maintain(&self) -> Result<(), DbError> {
        self.task(MAINTAIN).await.map(drop)
    }

    /// Evaluates the rules of top-ups whose time has come. Returns how many requested one.
    pub async fn request_due_topups(&self) -> Result<String, DbError> {
        self.one(TOPUPS).await
    }

    /// The heads of the chains of all wallets.
    pub async fn digest(&self) -> Result<String, DbError> {
        self.one(DIGEST).await
    }

    async fn one(&self, statement: &'static str) -> Result<String, DbError> {
        let rows = self.task(statement).await?;
        match rows.first() {
            Some(row) => text(row, 0),
            None => Err(DbError::Garbled("no row".to_owned())),
        }
    }
}
