//! Calls of the worker's role: whether the database is ready, and the figures for monitoring.

use deadpool_postgres::Object;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::error::{DbError, Trouble};
use super::pool::Connections;
use super::retry;

const READY: &str = "SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'wallet'";
const HEALTH: &str = "SELECT name, value::text, meaning FROM wallet.health";
const BALANCES: &str = "SELECT wallet, currency, balance::text, held::text, available::text, debt::text \
     FROM wallet.balances ORDER BY wallet LIMIT $1";

/// A row of the view `health`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its name, such as `holds_open`.
    pub name: String,
    /// An exact number.
    pub value: String,
    /// A sentence for people.
    pub meaning: String,
}

/// The money of a wallet, as exact numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletFigure {
    /// The wallet.
    pub wallet: String,
    /// Its currency.
    pub currency: String,
    /// Its balance.
    pub balance: String,
    /// The part of it that holds reserve.
    pub held: String,
    /// The rest.
    pub available: String,
    /// Its debt.
    pub debt: String,
}

/// The connections of the worker's role.
#[derive(Clone)]
pub struct Worker {
    connections: Connections,
}

impl Worker {
    /// Calls on these connections.
    pub fn new(connections: Connections) -> Worker {
        Worker { connections }
    }

    /// The connections, for gauges.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// The version of the extension. `None`: the database has no extension.
    pub async fn version(&self) -> Result<Option<String>, DbError> {
        let rows = self.rows(READY, &[], true).await?;
        rows.first().map(|row| text(row, 0)).transpose()
    }

    /// The view `health`.
    pub async fn health(&self) -> Result<Vec<Figure>, DbError> {
        let rows = self.rows(HEALTH, &[], true).await?;
        let read = |row: &Row| {
            Ok(Figure {
                name: text(row, 0)?,
                value: text(row, 1)?,
                meaning: text(row, 2)?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// The money of so many wallets, by name.
    pub async fn balances(&self, most: i64) -> Result<Vec<WalletFigure>, DbError> {
        let rows = self.rows(BALANCES, &[&most], true).await?;
        let read = |row: &Row| {
            Ok(WalletFigure {
                wallet: text(row, 0)?,
                currency: text(row, 1)?,
                balance: text(row, 2)?,
                held: text(row, 3)?,
                available: text(row, 4)?,
                debt: text(row, 5)?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Runs a statement. Runs it again if nothing was done, or if it may run twice.
    pub(super) async fn rows(
        &self,
        statement: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
        is_repeatable: bool,
    ) -> Result<Vec<Row>, DbError> {
        let mut made = 0;
        loop {
            let error = match self.attempt(statement, parameters).await {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            made += 1;
            match retry::pause(&error, made, is_repeatable) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
        }
    }

    async fn attempt(
        &self,
        statement: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DbError> {
        let client = self.connections.get().await?;
        let rows = query(&client, statement, parameters).await;
        if let Err(DbError::Unavailable(Trouble::Lost(_)) | DbError::Unknown(_)) = rows {
            // If it leads to a standby, it would still do so at the next call.
            drop(Object::take(client));
        }
        rows
    }
}

async fn query(
    client: &Object,
    statement: &'static str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, DbError> {
    let prepared = client.prepare_cached(statement).await;
    let prepared = prepared.map_err(|error| DbError::before(&error))?;
    let rows = client.query(&prepared, parameters).await;
    rows.map_err(|error| match error.as_db_error() {
        Some(error) => DbError::rolled_back(error),
        None => DbError::Unknown(Trouble::Lost(error.to_string())),
    })
}

pub(super) fn text(row: &Row, column: usize) -> Result<String, DbError> {
    row.try_get(column)
        .map_err(|error| DbError::Garbled(error.to_string()))
}
