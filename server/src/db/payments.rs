//! The ledger's side of payments, with the worker's role: one transaction per payment, and the
//! claims of top-ups.

use std::time::Duration;

use deadpool_postgres::{Object, Transaction};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::error::{DbError, Trouble};
use super::pool::Connections;

const SETTINGS: &str = "SELECT pg_catalog.set_config('statement_timeout', $1, true), \
     pg_catalog.set_config('idle_in_transaction_session_timeout', $2, true)";
const LOCK: &str = "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1, 7203))";
const FUNDINGS: &str = "SELECT entry_id::text, status, original_amount::text, original_currency, \
            reversed_original::text, reference \
       FROM wallet.fundings \
      WHERE wallet = $1 AND (reference = $2 OR pg_catalog.starts_with(reference, $2 || ':restored:')) \
      ORDER BY created_at, entry_id";
const TOPUP: &str = "SELECT t.status, t.amount::text, b.currency \
       FROM wallet.topups t JOIN wallet.balances b ON b.wallet = t.wallet \
      WHERE t.wallet = $1 AND t.topup_id = $2::text::uuid";
const FUND: &str = "SELECT status FROM wallet.fund($1, $2::text::numeric, method => $3, reference => $4, \
     currency => $5, status => $6, idempotency_key => $7, metadata => $8::text::jsonb)";
const SETTLE: &str = "SELECT status FROM wallet.settle_funding($1, $2::text::uuid)";
const FAIL: &str = "SELECT status FROM wallet.fail_funding($1, $2::text::uuid, reason => $3)";
const TAKE: &str = "SELECT status FROM wallet.reverse_funding($1, $2::text::uuid, reason => $3, \
     amount => $4::text::numeric, idempotency_key => $5)";
const COMPLETE: &str =
    "SELECT status FROM wallet.complete_topup($1, $2::text::uuid, reference => $3)";
const FAIL_TOPUP: &str = "SELECT status FROM wallet.fail_topup($1, $2::text::uuid, reason => $3)";
const CLAIM: &str = "SELECT c.id::text, c.wallet, c.payload ->> 'topup_id', c.attempts \
       FROM wallet.claim_events(1, $1::text::interval, ARRAY['topup_requested']) c";
const REQUESTED: &str = "SELECT t.status, t.amount::text, b.currency, t.method \
       FROM wallet.topups t JOIN wallet.balances b ON b.wallet = t.wallet \
      WHERE t.wallet = $1 AND t.topup_id = $2::text::uuid";
const SAVED: &str = "SELECT f.metadata ->> 'customer', f.metadata ->> 'payment_method' \
       FROM wallet.fundings f \
      WHERE f.wallet = $1 AND f.method = $2 AND f.status = 'settled' AND f.metadata ? 'customer' \
        AND (f.metadata ? 'payment_method' OR NOT $3) \
      ORDER BY f.created_at DESC, f.entry_id DESC LIMIT 1";
const CUSTOMERS: &str = "SELECT DISTINCT f.metadata ->> 'customer' FROM wallet.fundings f \
      WHERE f.wallet = $1 AND f.method = $2 AND f.metadata ? 'customer'";
const FINISH: &str = "SELECT wallet.finish_event($1::text::uuid)::text";
const RETRY: &str =
    "SELECT wallet.retry_event($1::text::uuid, after => $2::text::interval, error => $3)::text";

/// Connections for payments.
#[derive(Clone)]
pub struct PaymentLedger {
    connections: Connections,
    statement_timeout: Duration,
    /// How long a transaction may wait for the provider.
    patience: Duration,
}

/// A top-up event that is claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedTopup {
    /// The event.
    pub event_id: String,
    /// The wallet.
    pub wallet: String,
    /// The top-up.
    pub topup_id: String,
    /// How often the event was claimed, this time included.
    pub attempts: i32,
}

impl PaymentLedger {
    /// Calls on these connections, in transactions that wait for a provider for so long.
    pub fn new(connections: Connections, statement: Duration, patience: Duration) -> PaymentLedger {
        PaymentLedger {
            connections,
            statement_timeout: statement,
            patience,
        }
    }

    /// A connection, for the transaction of a payment.
    pub async fn connection(&self) -> Result<Object, DbError> {
        self.connections.get().await
    }

    /// Begins the transaction of a payment. Until it ends, no other one looks at this payment.
    pub async fn begin<'a>(
        &self,
        connection: &'a mut Object,
        payment: &str,
    ) -> Result<Booking<'a>, DbError> {
        let transaction = connection.transaction().await;
        let booking = Booking(transaction.map_err(|error| DbError::before(&error))?);
        // Another transaction may hold the lock for as long as it waits for the provider.
        let wait = (self.statement_timeout + self.patience).as_millis();
        let idle = (self.patience * 2).as_millis().to_string();
        booking.rows(SETTINGS, &[&wait.to_string(), &idle]).await?;
        booking.rows(LOCK, &[&payment]).await?;
        Ok(booking)
    }

    /// Claims one requested top-up, for as long as the lease lasts.
    pub async fn claim(&self, lease: Duration) -> Result<Option<ClaimedTopup>, DbError> {
        let lease = format!("{} milliseconds", lease.as_millis());
        let rows = self.rows(CLAIM, &[&lease]).await?;
        let read = |row: &Row| {
            Ok(ClaimedTopup {
                event_id: text(row, 0)?,
                wallet: text(row, 1)?,
                topup_id: text(row, 2)?,
                attempts: row.try_get(3).map_err(garbled)?,
            })
        };
        rows.first().map(read).transpose()
    }

    /// Status, amount, currency and method of a top-up.
    pub async fn topup(&self, wallet: &str, id: &str) -> Result<Option<[String; 4]>, DbError> {
        let rows = self.rows(REQUESTED, &[&wallet, &id]).await?;
        let read = |row: &Row| Ok([text(row, 0)?, text(row, 1)?, text(row, 2)?, text(row, 3)?]);
        rows.first().map(read).transpose()
    }

    /// The customer of the last payment that has one, and its payment method if that was saved.
    pub async fn saved(
        &self,
        wallet: &str,
        method: &str,
        with_payment_method: bool,
    ) -> Result<Option<(String, Option<String>)>, DbError> {
        let rows = self
            .rows(SAVED, &[&wallet, &method, &with_payment_method])
            .await?;
        let read = |row: &Row| Ok((text(row, 0)?, row.try_get(1).map_err(garbled)?));
        rows.first().map(read).transpose()
    }

    /// Every customer that ever saved a payment method for a wallet, also with a payment that was
    /// refunded since.
    pub async fn customers(&self, wallet: &str, method: &str) -> Result<Vec<String>, DbError> {
        let rows = self.rows(CUSTOMERS, &[&wallet, &method]).await?;
        rows.iter().map(|row| text(row, 0)).collect()
    }

    /// Records that a top-up was not paid.
    pub async fn fail_topup(&self, wallet: &str, id: &str, reason: &str) -> Result<(), DbError> {
        self.rows(FAIL_TOPUP, &[&wallet, &id, &reason])
            .await
            .map(drop)
    }

    /// Marks an event as done.
    pub async fn finish(&self, event: &str) -> Result<(), DbError> {
        self.rows(FINISH, &[&event]).await.map(drop)
    }

    /// Returns an event to the queue, after a pause or, without one, after one that doubles.
    pub async fn retry(
        &self,
        event: &str,
        after: Option<Duration>,
        error: &str,
    ) -> Result<(), DbError> {
        let after = after.map(|after| format!("{} milliseconds", after.as_millis()));
        self.rows(RETRY, &[&event, &after, &error]).await.map(drop)
    }

    /// The connections, for gauges.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    async fn rows(
        &self,
        statement: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DbError> {
        let client = self.connections.get().await?;
        let prepared = client.prepare_cached(statement).await;
        let prepared = prepared.map_err(|error| DbError::before(&error))?;
        let rows = client.query(&prepared, parameters).await;
        rows.map_err(|error| failed(&error))
    }
}

/// The transaction of a payment. It rolls back unless it is committed.
pub struct Booking<'a>(Transaction<'a>);

impl Booking<'_> {
    /// The fundings of a payment: id, status, amount, currency, amount taken back, reference.
    pub async fn fundings(&self, wallet: &str, payment: &str) -> Result<Vec<[String; 6]>, DbError> {
        let rows = self.rows(FUNDINGS, &[&wallet, &payment]).await?;
        let read = |row: &Row| {
            Ok([
                text(row, 0)?,
                text(row, 1)?,
                text(row, 2)?,
                text(row, 3)?,
                text(row, 4)?,
                text(row, 5)?,
            ])
        };
        rows.iter().map(read).collect()
    }

    /// Status, amount and currency of a top-up.
    pub async fn topup(&self, wallet: &str, id: &str) -> Result<Option<[String; 3]>, DbError> {
        let rows = self.rows(TOPUP, &[&wallet, &id]).await?;
        let read = |row: &Row| Ok([text(row, 0)?, text(row, 1)?, text(row, 2)?]);
        rows.first().map(read).transpose()
    }

    /// Calls `fund`. The arguments are those of the statement.
    pub async fn fund(&self, arguments: [&str; 8]) -> Result<(), DbError> {
        let [
            wallet,
            amount,
            method,
            reference,
            currency,
            status,
            key,
            metadata,
        ] = arguments;
        self.rows(
            FUND,
            &[
                &wallet, &amount, &method, &reference, &currency, &status, &key, &metadata,
            ],
        )
        .await
        .map(drop)
    }

    /// Calls `settle_funding`.
    pub async fn settle(&self, wallet: &str, entry_id: &str) -> Result<(), DbError> {
        self.rows(SETTLE, &[&wallet, &entry_id]).await.map(drop)
    }

    /// Calls `fail_funding`.
    pub async fn fail(&self, wallet: &str, entry_id: &str, reason: &str) -> Result<(), DbError> {
        self.rows(FAIL, &[&wallet, &entry_id, &reason])
            .await
            .map(drop)
    }

    /// Calls `reverse_funding`: wallet, funding, reason, amount, idempotency key.
    pub async fn take(&self, arguments: [&str; 5]) -> Result<(), DbError> {
        let [wallet, entry_id, reason, amount, key] = arguments;
        self.rows(TAKE, &[&wallet, &entry_id, &reason, &amount, &key])
            .await
            .map(drop)
    }

    /// Calls `complete_topup`.
    pub async fn complete_topup(
        &self,
        wallet: &str,
        id: &str,
        reference: &str,
    ) -> Result<(), DbError> {
        self.rows(COMPLETE, &[&wallet, &id, &reference])
            .await
            .map(drop)
    }

    /// Calls `fail_topup`.
    pub async fn fail_topup(&self, wallet: &str, id: &str, reason: &str) -> Result<(), DbError> {
        self.rows(FAIL_TOPUP, &[&wallet, &id, &reason])
            .await
            .map(drop)
    }

    /// Ends the transaction.
    pub async fn commit(self) -> Result<(), DbError> {
        self.0.commit().await.map_err(|error| failed(&error))
    }

    async fn rows(
        &self,
        statement: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DbError> {
        let prepared = self.0.prepare_cached(statement).await;
        let prepared = prepared.map_err(|error| failed(&error))?;
        let rows = self.0.query(&prepared, parameters).await;
        rows.map_err(|error| failed(&error))
    }
}

fn failed(error: &tokio_postgres::Error) -> DbError {
    match error.as_db_error() {
        Some(error) => DbError::rolled_back(error),
        None => DbError::Unknown(Trouble::Lost(error.to_string())),
    }
}

fn text(row: &Row, column: usize) -> Result<String, DbError> {
    row.try_get(column).map_err(garbled)
}

fn garbled(error: tokio_postgres::Error) -> DbError {
    DbError::Garbled(error.to_string())
}
