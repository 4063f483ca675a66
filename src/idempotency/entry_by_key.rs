//! Finds the entry with an idempotency key, in the ledger or its archive.

use crate::error::Result;
use crate::idempotency::fingerprint::differs;
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::Call;
use crate::storage::store;

macro_rules! by_key_query {
    ($table:literal) => {
        concat!(
            "SELECT entry_id, fingerprint, amount, coalesce(balance, lane_balance), model, lines,
                    user_id, team, service, region, service_tier, tags,
                    coalesce(used_at, event_at)
               FROM ",
            $table,
            " WHERE wallet_id = $1 AND idempotency_key = $2 AND call = $3"
        )
    };
}

statement!(
    BY_KEY,
    [TEXTOID, TEXTOID, CHAROID],
    by_key_query!("wallet.ledger")
);
statement!(
    BY_ARCHIVED_KEY,
    [TEXTOID, TEXTOID, CHAROID],
    by_key_query!("wallet.ledger_archive")
);

/// Whether an entry belongs to another request than the one with this fingerprint. An entry whose
/// fingerprint was erased is taken for the entry of the request: a key books only once.
pub fn is_of_other(entry: &Rows, fingerprint: [u8; 16]) -> bool {
    differs(entry.get(0, 1), fingerprint)
}

/// The entry with a key, if there is one.
pub fn by_key(wallet: &str, key: Option<&str>, call: Call) -> Result<Option<Rows>> {
    let Some(key) = key else {
        return Ok(None);
    };
    let values = [
        Value::Text(wallet),
        Value::Text(key),
        Value::Char(call as u8),
    ];
    let rows = BY_KEY.run(&values)?;
    if !rows.is_empty() {
        return Ok(Some(rows));
    }
    // The ledger is read first: an entry that has left the ledger by then is in the archive.
    if !store::is_archived(wallet, key, call)? {
        return Ok(None);
    }
    let rows = BY_ARCHIVED_KEY.run(&values)?;
    Ok((!rows.is_empty()).then_some(rows))
}
