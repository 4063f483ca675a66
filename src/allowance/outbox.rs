//! Events: a row in the outbox and a NOTIFY, both in the transaction that causes them.

use crate::allowance::thresholds::Crossing;
use crate::error::Result;
use crate::money::Amount;
use crate::statement;
use crate::storage::clock;
use crate::storage::plan::{Run, Value};

statement!(
    EMIT,
    [TEXTOID, UUIDOID, TEXTOID, NUMERICOID, TIMESTAMPTZOID],
    "INSERT INTO wallet.outbox (wallet_id, event_id, event, threshold, created_at)
     VALUES ($1, $2, $3, $4, $5)"
);

// The payload names the event, never a balance: whoever may LISTEN may read it.
statement!(
    NOTIFY,
    [TEXTOID, UUIDOID, TEXTOID, NUMERICOID],
    "SELECT pg_notify('wallet_events',
            format('{\"id\":%s,\"event\":%s,\"wallet\":%s,\"threshold\":%s}',
                   to_json($2), to_json($3), to_json($1), coalesce(to_json(trim_scale($4)), 'null')))"
);

/// Writes the events of a change, in their order.
pub fn emit(wallet: &str, crossings: &[Crossing]) -> Result<()> {
    for crossing in crossings {
        let (event, threshold) = match *crossing {
            Crossing::Low(at) => ("wallet_balance_low", at),
            Crossing::Recovered(at) => ("wallet_balance_recovered", at),
            Crossing::Depleted => ("wallet_depleted", Amount::ZERO),
        };
        let id = uuid::Uuid::now_v7().into_bytes();
        let (wallet, event) = (Value::Text(wallet), Value::Text(event));
        let (id, threshold) = (Value::Uuid(id), Value::Amount(threshold));
        EMIT.run(&[wallet, id, event, threshold, Value::Time(clock::now())])?;
        NOTIFY.run(&[wallet, id, event, threshold])?;
    }
    Ok(())
}

/// Writes an event that has no threshold.
pub fn announce(wallet: &str, event: &str) -> Result<()> {
    let id = Value::Uuid(uuid::Uuid::now_v7().into_bytes());
    let (wallet, event) = (Value::Text(wallet), Value::Text(event));
    EMIT.run(&[wallet, id, event, Value::Null, Value::Time(clock::now())])?;
    NOTIFY.run(&[wallet, id, event, Value::Null]).map(drop)
}
