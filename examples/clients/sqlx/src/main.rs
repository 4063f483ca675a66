//! Charges a wallet in the transaction that stores the answer, with sqlx.
//!
//!     cargo run --package wallet-example-sqlx
//!
//! The connection is configured by PGHOST, PGDATABASE and so on.

use std::time::Duration;

use rust_decimal::Decimal;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError, PgListener, PgPool};

/// The way to go on after an error.
enum Next {
    /// A conflict with another transaction: run it again with the same key.
    Again,
    /// The connection broke, or leads to a server that stops, starts, or is a standby: the same on
    /// another connection.
    Elsewhere,
    /// The wallet refused it.
    Refused,
}

fn next(error: &sqlx::Error) -> Next {
    let code = error.as_database_error().and_then(|error| error.code());
    match code.as_deref() {
        Some("40001" | "40P01") => Next::Again,
        Some("57P01" | "57P02" | "57P03" | "25006") => Next::Elsewhere,
        Some(code) if code.starts_with("08") => Next::Elsewhere,
        Some(_) => Next::Refused,
        None => match error {
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::PoolTimedOut => {
                Next::Elsewhere
            }
            _ => Next::Refused,
        },
    }
}

async fn try_charge(
    connection: &mut PgConnection,
    request: &str,
    answer: &str,
    cost: Decimal,
) -> Result<(Decimal, Decimal), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let charged = sqlx::query_as(
        "SELECT cost, balance FROM wallet.charge('acme', amount => $1, idempotency_key => $2)",
    )
    .bind(cost)
    .bind(request)
    .fetch_one(&mut *transaction)
    .await?;
    // A first attempt may have been committed although its answer did not arrive.
    sqlx::query("INSERT INTO answers (request, answer) VALUES ($1, $2) ON CONFLICT DO NOTHING")
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
    let mut attempt = 0;
    loop {
        let error = match db.acquire().await {
            Ok(mut connection) => {
                match try_charge(&mut connection, request, answer, cost).await {
                    Ok(charged) => return Ok(charged),
                    Err(error) => {
                        if matches!(next(&error), Next::Elsewhere) {
                            // The pool must not hand it out again.
                            connection.close_on_drop();
                        }
                        error
                    }
                }
            }
            Err(error) => error,
        };
        attempt += 1;
        // Half a minute is long enough for a failover.
        if attempt == 20 || matches!(next(&error), Next::Refused) {
            return Err(error);
        }
        // Again, with the same key.
        tokio::time::sleep(Duration::from_millis((10 << attempt).min(2000))).await;
    }
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
