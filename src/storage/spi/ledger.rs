//! Entries and their keys.

use crate::error::Result;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::{Call, Entry, Link};

statement!(
    APPEND,
    [
        TEXTOID,
        UUIDOID,
        TIMESTAMPTZOID,
        TIMESTAMPTZOID,
        INT2OID,
        INT8OID,
        CHAROID,
        CHAROID,
        NUMERICOID,
        NUMERICOID,
        NUMERICOID,
        BYTEAOID,
        TEXTOID,
        UUIDOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        BYTEAOID,
        JSONBOID,
        JSONBOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        JSONBOID,
        UUIDOID,
        UUIDOID,
        BYTEAOID,
        BYTEAOID,
        TIMESTAMPTZOID
    ],
    "INSERT INTO wallet.ledger
        (wallet_id, entry_id, created_at, event_at, lane, seq, kind, call,
         amount, lane_balance, balance, hash, idempotency_key, fingerprint, user_id, team, provider,
         model, service, region, service_tier, lines, usage, tags, contra, reference,
         reason, actor, metadata, related_id, key_id, person_proof, payload_proof,
         used_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
             $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34)
     ON CONFLICT (wallet_id, idempotency_key, call) DO NOTHING"
);

statement!(
    HAS_KEY,
    [TEXTOID, TEXTOID, CHAROID],
    "SELECT FROM wallet.ledger WHERE wallet_id = $1 AND idempotency_key = $2 AND call = $3"
);

statement!(
    HAS_ARCHIVED_KEY,
    [TEXTOID, TEXTOID, CHAROID],
    "SELECT FROM wallet.ledger_archive WHERE wallet_id = $1 AND idempotency_key = $2 AND call = $3"
);

/// Returns the indexes of those keys that already have an entry in the ledger or its archive,
/// committed or written by this transaction.
pub fn taken_keys(in_archive: bool, wallet: &str, keys: &[&str], call: Call) -> Result<Vec<usize>> {
    let has_key = if in_archive {
        &HAS_ARCHIVED_KEY
    } else {
        &HAS_KEY
    };
    let mut taken = Vec::new();
    for (place, key) in keys.iter().enumerate() {
        let call = Value::Char(call as u8);
        if !has_key
            .run(&[Value::Text(wallet), Value::Text(key), call])?
            .is_empty()
        {
            taken.push(place);
        }
    }
    Ok(taken)
}

/// Writes the entry. Returns false if its idempotency key is taken. Waits for a transaction that is
/// using the same key.
pub fn append(entry: &Entry<'_>, link: &Link) -> Result<bool> {
    let rows = APPEND.run(&[
        Value::Text(entry.wallet),
        Value::Uuid(entry.entry_id),
        Value::Time(entry.created_at),
        Value::OptTime(entry.event_at),
        Value::Int2(link.lane),
        Value::Int8(link.seq),
        Value::Char(entry.kind as u8),
        Value::Char(entry.call as u8),
        Value::Amount(entry.amount),
        Value::Amount(link.lane_balance),
        Value::OptAmount((link.balance != link.lane_balance).then_some(link.balance)),
        Value::Bytes(&link.hash),
        Value::OptText(entry.key),
        Value::OptUuid(entry.fingerprint),
        Value::OptText(entry.attribution.user_id),
        Value::OptText(entry.attribution.team),
        Value::OptText(entry.context.provider),
        Value::OptText(entry.context.model),
        Value::OptText(entry.context.service),
        Value::OptText(entry.context.region),
        Value::OptText(entry.context.service_tier),
        Value::OptBytes(entry.lines),
        Value::OptJsonb(entry.usage.as_ref().map(|document| document.value)),
        Value::OptJsonb(entry.context.tags.map(|document| document.value)),
        Value::OptText(entry.contra),
        Value::OptText(entry.reference),
        Value::OptText(entry.reason),
        Value::OptText(entry.actor),
        Value::OptJsonb(entry.metadata.as_ref().map(|document| document.value)),
        Value::OptUuid(entry.related_id),
        Value::OptUuid(entry.attribution.key_id),
        Value::OptBytes(link.person_proof.bytes()),
        Value::OptBytes(link.payload_proof.bytes()),
        Value::OptTime(entry.used_at),
    ])?;
    Ok(!rows.is_empty())
}
