//! The entry of a settlement, and the first result of its key.

use crate::error::Result;
use crate::idempotency::call::conflict;
use crate::idempotency::entry_by_key::{by_key, is_of_other};
use crate::ledger::charges::job::Job;
use crate::ledger::charges::replay;
use crate::ledger::charges::replay::Charged;
use crate::ledger::charges::request::Request;
use crate::ledger::holds::differs;
use crate::ledger::holds::request::Settlement;
use crate::ledger::wallets::config;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::{Call, Entry};

statement!(
    CHARGED,
    [TEXTOID, UUIDOID, UUIDOID],
    "UPDATE wallet.reservations SET expiry_entry_id = $3 WHERE wallet_id = $1 AND hold_id = $2"
);

/// Stores the charge of an expired hold.
pub fn note_expiry(wallet: &str, hold: [u8; 16], charge: [u8; 16]) -> Result<()> {
    CHARGED
        .run(&[Value::Text(wallet), Value::Uuid(hold), Value::Uuid(charge)])
        .map(drop)
}

/// The entry of a settlement.
pub fn entry<'a>(
    settlement: &Settlement<'_>,
    job: &'a Job<'_>,
    hold: [u8; 16],
) -> Result<Entry<'a>> {
    let entry = job.entry_as(Call::Settle, || settlement.fingerprint)?;
    Ok(Entry {
        related_id: Some(hold),
        reason: match settlement.is_expiry {
            true => Some("expired hold"),
            false => entry.reason,
        },
        ..entry
    })
}

/// The first result for this key. Returns WL006 if the key belongs to another settlement.
pub fn replayed(settlement: &Settlement<'_>, request: &Request<'_>) -> Result<Option<Charged>> {
    let rows = by_key(settlement.wallet, request.key, Call::Settle)?;
    let Some(rows) = rows else {
        return Ok(None);
    };
    let key = request.key.unwrap_or_default();
    if is_of_other(&rows, settlement.fingerprint) {
        let field = differs::in_settlement(settlement, &rows)?;
        return Err(conflict(key, field));
    }
    let currency = config::known(settlement.wallet)?.currency;
    replay::charged(request, &rows, &currency).map(Some)
}
