//! `void` and `extend_hold`.

use crate::error::{Error, Result};
use crate::idempotency::call::IdempotentCall;
use crate::ledger::balance::locked::LockedBalance;
use crate::ledger::grants::asof;
use crate::ledger::holds::expiry::give_back;
use crate::ledger::holds::held::Held;
use crate::ledger::holds::parents;
use crate::ledger::holds::row::{self, Hold};
use crate::ledger::wallets::config;
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::{Builder, Json, Jsonb};
use crate::storage::plan::{Run, Value, statement};
use crate::storage::store;

statement!(
    EXTEND,
    [TEXTOID, UUIDOID, TIMESTAMPTZOID],
    "UPDATE wallet.reservations SET expires_at = $3 WHERE wallet_id = $1 AND hold_id = $2"
);

/// Releases everything that a hold still reserves.
pub fn void(
    wallet: &str,
    id: [u8; 16],
    reason: Option<&str>,
    call: IdempotentCall<'_>,
) -> Result<Held> {
    void_if(wallet, id, reason, call, require_open)
}

/// Releases everything that a hold still reserves, if `may` does not refuse it.
pub(super) fn void_if(
    wallet: &str,
    id: [u8; 16],
    reason: Option<&str>,
    call: IdempotentCall<'_>,
    may: impl FnOnce(&mut Hold) -> Result<()>,
) -> Result<Held> {
    let mut hold = row::lock(wallet, id)?;
    if let Some(answer) = call.answered()? {
        return answered(&hold, answer.result(), None);
    }
    may(&mut hold)?;
    let mut locked = LockedBalance::open_for(wallet, Some(hold.id))?;
    let amount = hold.held;
    give_back(wallet, &mut locked.whole, &mut hold)?;
    hold.status = "voided".to_owned();
    store::write_hold(&mut hold, wallet, Some(clock::now()), reason)?;
    locked.lapse(clock::now(), None)?;
    let balance = locked.balance()?;
    let rules = locked.rules.clone();
    locked.close()?;
    parents::void(&rules, id, reason)?;
    let held = Held {
        hold_id: id,
        amount,
        balance,
        expires_at: hold.expires_at,
        replayed: false,
        affordable_tokens: None,
        status: "voided".into(),
    };
    call.remember(Some(answer(&held)))?;
    Ok(held)
}

/// Extends a hold to now plus `ttl`; never shortens it.
pub fn extend(wallet: &str, id: [u8; 16], ttl: i64, call: IdempotentCall<'_>) -> Result<Held> {
    let mut hold = row::lock(wallet, id)?;
    if let Some(answer) = call.answered()? {
        return answered(&hold, answer.result(), hold.affordable_tokens);
    }
    require_open(&mut hold)?;
    let end = Timestamp(clock::now().0.saturating_add(ttl));
    hold.expires_at = hold.expires_at.max(end);
    EXTEND.run(&[
        Value::Text(wallet),
        Value::Uuid(id),
        Value::Time(hold.expires_at),
    ])?;
    parents::extend(config::read(wallet)?.as_ref(), id, hold.expires_at)?;
    let held = as_it_is(wallet, &hold, false)?;
    call.remember(Some(answer(&held)))?;
    Ok(held)
}

/// The result of a call that leaves the amount of a hold as it is.
pub(super) fn as_it_is(wallet: &str, hold: &Hold, replayed: bool) -> Result<Held> {
    let rules = config::read(wallet)?;
    Ok(Held {
        hold_id: hold.id,
        amount: hold.held,
        balance: asof::balance(wallet, &rules)?,
        expires_at: hold.expires_at,
        replayed,
        affordable_tokens: hold.affordable_tokens,
        status: row::status_now(hold).to_owned().into(),
    })
}

/// Returns WL008 unless the hold is open and has not expired, whether or not its expiry is booked.
fn require_open(hold: &mut Hold) -> Result<()> {
    hold.status = row::status_now(hold).to_owned();
    if ["open", row::WAITING].contains(&&*hold.status) {
        Ok(())
    } else {
        Err(row::not_open(hold))
    }
}

/// The answer that is stored with an idempotency key.
pub(super) fn answer(held: &Held) -> Jsonb {
    let mut json = Builder::default();
    json.begin_object();
    json.amount("amount", held.amount);
    json.amount("balance", held.balance);
    json.text("expires_at", Some(&held.expires_at.0.to_string()));
    json.finish_object()
}

/// The answer of the first call, with the tokens that it returned.
pub(super) fn answered(
    hold: &Hold,
    answer: Option<Jsonb>,
    affordable_tokens: Option<i64>,
) -> Result<Held> {
    let lost = || Error::internal("an answer was not kept");
    let json = answer.ok_or_else(lost)?.reread("result")?;
    let value = |name: &str| {
        let found = json.as_object()?.iter().find(|(key, _)| key == name)?;
        Some(&found.1)
    };
    let amount = |name: &str| -> Option<Amount> {
        match value(name)? {
            Json::Number(number) => number.to_amount().ok(),
            _ => None,
        }
    };
    let expires_at = match value("expires_at") {
        Some(Json::String(text)) => text.parse().ok(),
        _ => None,
    };
    Ok(Held {
        hold_id: hold.id,
        amount: amount("amount").ok_or_else(lost)?,
        balance: amount("balance").ok_or_else(lost)?,
        expires_at: Timestamp(expires_at.ok_or_else(lost)?),
        replayed: true,
        affordable_tokens,
        status: row::status_now(hold).to_owned().into(),
    })
}
