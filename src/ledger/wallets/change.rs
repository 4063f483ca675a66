//! Changes of a wallet's rules. No charge runs during a change, and every charge after it sees the
//! new rules.

use crate::error::Result;
use crate::idempotency::call::IdempotentCall;
use crate::ledger::wallets::config;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::uuid_text;
use crate::storage::wallet_row::lock_wallet;

statement!(
    TOUCH_EPOCH,
    [TEXTOID, INT8OID],
    "UPDATE wallet.allowances SET epoch = $2, version = version + 1
      WHERE wallet_id = $1 AND allowance_id = '00000000-0000-0000-0000-000000000000'"
);

statement!(
    /// Charges read the spending policy only if the wallet has one.
    NOTE_GUARD,
    [TEXTOID],
    "UPDATE wallet.wallets w SET guarded = now_guarded
       FROM (SELECT members_only
                 OR EXISTS (SELECT FROM wallet.members WHERE wallet_id = $1)
                 OR EXISTS (SELECT FROM wallet.api_keys WHERE wallet_id = $1)
                 OR EXISTS (SELECT FROM wallet.origin_rules WHERE wallet_id = $1)
                 OR EXISTS (SELECT FROM wallet.model_rules WHERE wallet_id = $1) AS now_guarded
               FROM wallet.wallets WHERE wallet_id = $1) g
      WHERE w.wallet_id = $1 AND w.guarded <> g.now_guarded"
);

/// Changes rules of a wallet while no charge is running. The caller has locked the wallet's row.
pub fn change<T>(wallet: &str, change: impl FnOnce(Timestamp) -> Result<T>) -> Result<T> {
    let (rules, _) = config::lock_to_change(wallet)?;
    rules.require_open(wallet)?;
    let changed = change(clock::now())?;
    NOTE_GUARD.run(&[Value::Text(wallet)])?;
    // Charges with the old rules find another epoch in their lane, and read the rules again.
    move_epoch(wallet)?;
    Ok(changed)
}

/// Sets a new version of the rules in all lanes, which the caller has locked.
pub fn move_epoch(wallet: &str) -> Result<()> {
    TOUCH_EPOCH
        .run(&[Value::Text(wallet), Value::Int8(config::new_epoch())])
        .map(drop)
}

/// Changes the rules for a call without a result, once per idempotency key.
pub fn change_once(call: IdempotentCall<'_>, work: impl FnOnce() -> Result<()>) -> Result<()> {
    // A call with the same key waits here for the first one, and then finds its answer.
    lock_wallet(call.wallet)?;
    if call.answered()?.is_some() {
        return Ok(());
    }
    change(call.wallet, |_| work())?;
    call.remember(None)
}

/// Changes the rules once for a call that creates or changes a row with an id. A replay returns
/// only the id of the first call. Secrets of the first result are not stored.
pub fn change_for_id<T>(
    call: IdempotentCall<'_>,
    id: [u8; 16],
    work: impl FnOnce() -> Result<T>,
) -> Result<([u8; 16], Option<T>)> {
    lock_wallet(call.wallet)?;
    if let Some(answer) = call.answered()? {
        return Ok((answer.id()?, None));
    }
    let seen = change(call.wallet, |_| work())?;
    call.remember_text("key_id", &uuid_text(id))?;
    Ok((id, Some(seen)))
}
