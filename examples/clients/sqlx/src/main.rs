//! Charges a wallet in the transaction that stores the answer, with sqlx.
//!
//!     cargo run --package wallet-example-sqlx
//!
//! The connection is configured by PGHOST, PGDATABASE and so on.

use std::time::Duration;

use rust_decimal::Decimal;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgListener, PgPool};

/// True for a conflict with another transaction: run it again with the same key.
fn is_retryable(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("40001" | "40P01"))
}

async fn try_charge(
    db: &PgPool,
    request: &str,
    answer: &str,
    cost: Decimal,
) -> Result<(Decimal, Decimal), sqlx::Error> {
    let mut transaction = db.begin().await?;
    let charged = sqlx::query_as(
        "SELECT cost, balance FROM wallet.charge('acme', amount => $1, idempotency_key => $2)",
    )
    .bind(cost)
    .bind(request)
    .fetch_one(&mut *transaction)
    .await?;
    sqlx::query("INSERT INTO answers (request, answer) VALUES ($1, $2)")
        .bind(request)
        .bind(answer)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(charged)
}

/// Stores the charge and the answer, or neither. NUMERIC is a Decimal of 28 digits, never a float.
async fn charge(
    db: &PgPool,
    request: &str,
    answer: &str,
    cost: Decimal,
) -> Result<(Decimal, Decimal), sqlx::Error> {
    for attempt in 1..5 {
        match try_charge(db, request, answer, cost).await {
            Err(error) if is_retryable(&error) => {
                tokio::time::sleep(Duration::from_millis(10 << attempt)).await
            }
            done => return done,
        }
    }
    try_charge(db, request, answer, cost).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = PgPool::connect_with(PgConnectOptions::new()).await?;
    // LISTEN needs a connection of its own, open as long as the program listens.
    let mut listener = PgListener::connect_with(&db).await?;
    listener.listen("wallet_events").await?;

    let (cost, balance) = charge(&db, "req-1", "forty-two", Decimal::new(1, 12)).await?;
    println!("charged {cost}, {balance} is left");

    let heard = listener.recv().await?;
    let event: serde_json::Value = serde_json::from_str(heard.payload())?;
    println!(
        "heard {} of {}",
        event["event"].as_str().unwrap_or("?"),
        event["wallet"].as_str().unwrap_or("?")
    );

    match charge(
        &db,
        "req-2",
        "too dear",
        Decimal::from(2_000_000_000_000_000_u64),
    )
    .await
    {
        Ok(_) => println!("charged"),
        Err(sqlx::Error::Database(error)) => {
            let error = error.downcast_ref::<PgDatabaseError>();
            println!("{}: {}", error.code(), error.message());
            println!("DETAIL: {}", error.detail().unwrap_or_default());
            println!("HINT: {}", error.hint().unwrap_or_default());
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
