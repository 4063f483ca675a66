//! Holds that are charged when they expire: `on_expiry => 'charge'`.
//!
//! The process that made such a hold may have died after its provider was paid. From `expires_at`
//! on, the amount counts as spent. It stays reserved in the balance and in limits until the charge
//! is booked, so it does not matter for anybody else's money when that happens. The charge is
//! booked by the next hold of this kind, by `maintain` and by `close_wallet`.
//!
//! A settlement that comes later books only the difference.

use crate::error::Result;
use crate::ledger::balance::locked::LockedBalance;
use crate::ledger::charges::request::Request;
use crate::ledger::holds::request::{OveragePolicy, Settlement};
use crate::ledger::holds::row::Hold;
use crate::ledger::holds::{context, expired, expiry_job, settle};
use crate::ledger::wallets::branches::lock_for_uses;
use crate::money::Amount;
use crate::outbox::{self, Field, Name};
use crate::pg::clock;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::store;
use crate::storage::wallet_row::lock_wallet;

statement!(
    /// The first expired holds that are to be charged. Parts of a child's holds are charged by the
    /// child, whose locks come first.
    DUE,
    [TEXTOID, TIMESTAMPTZOID, INT8OID],
    "SELECT r.hold_id FROM wallet.reservations r
      WHERE r.wallet_id = $1 AND r.status = 'open' AND r.expires_at <= $2 AND r.charge_on_expiry
        AND r.spender IS NULL
      ORDER BY r.wallet_id, r.expires_at LIMIT $3"
);

statement!(
    /// Locks holds. A settlement locks the row of its hold. Locked rows are skipped and left to it.
    /// A hold that was extended in the meantime is left out.
    LOCK,
    [TEXTOID, UUIDARRAYOID, TIMESTAMPTZOID],
    "SELECT r.hold_id FROM wallet.reservations r
      WHERE r.wallet_id = $1 AND r.hold_id = ANY ($2) AND r.status = 'open' AND r.expires_at <= $3
      ORDER BY r.expires_at, r.hold_id FOR NO KEY UPDATE SKIP LOCKED"
);

/// How many expired holds a new hold charges, if no limit needs them all.
pub const FEW: i64 = 16;

/// How many expired holds are found at once if all are charged.
const MANY: i64 = 1000;

/// Charges all expired holds of a wallet that are to be charged, so that limits on open holds count
/// them no longer. Returns whether there were any.
pub fn charge_all_expired(wallet: &str) -> Result<bool> {
    let mut any = false;
    loop {
        // Those that others have locked are found again, so a portion without others is the last.
        let charged = charge_expired(wallet, MANY)?;
        any |= charged > 0;
        if charged == 0 {
            return Ok(any);
        }
    }
}

/// Charges the expired holds of a wallet that are to be charged, at most `most` of them. Returns
/// their number.
pub fn charge_expired(wallet: &str, most: i64) -> Result<i64> {
    let now = Value::Time(clock::now());
    let due = DUE.run_in_order(&[Value::Text(wallet), now, Value::Int8(most)])?;
    if due.is_empty() {
        return Ok(0);
    }
    let ids: Vec<[u8; 16]> = (0..due.len())
        .map(|row| due.need(row, 0))
        .collect::<Result<_>>()?;
    // The order of locks: the wallet's row, holds, lanes.
    lock_wallet(wallet)?;
    let locked = LOCK.run(&[Value::Text(wallet), Value::Uuids(&ids), now])?;
    lock_for_uses(wallet, locked.len())?;
    for row in 0..locked.len() {
        if let Some(mut hold) = store::lock_hold(wallet, locked.need(row, 0)?)? {
            charge(wallet, &mut hold)?;
        }
    }
    Ok(locked.len() as i64)
}

/// Books the amount of an expired hold that is locked, with the hold's attribution and context.
fn charge(wallet: &str, hold: &mut Hold) -> Result<()> {
    let amount = hold.held;
    let about = hold.about.clone();
    let settlement = Settlement {
        wallet,
        hold_id: hold.id,
        request: Request {
            event_at: Some(about.event_at.unwrap_or(hold.expires_at)),
            ..Request::of_amount(wallet, amount)
        },
        is_final: true,
        // The hold reserves the whole amount, so there is no debt.
        over: OveragePolicy::Debt,
        is_expiry: true,
        fingerprint: [0; 16],
    };
    let locked = LockedBalance::open_for(wallet, Some(hold.id))?;
    let rules = locked.rules.clone();
    let (request, _kept) = context::complete(&settlement.request, &about, &rules.price_list)?;
    let job = expiry_job::charge_job(&request, &rules, hold)?;
    let charged = settle::book(&settlement, hold, &job, locked, Amount::ZERO)?;
    let mut payload = expired::payload(hold.id, amount, hold.expires_at);
    payload.push(("entry_id", Field::Id(charged.entry_id)));
    outbox::emit_all(wallet, Name::HoldExpired, None, &[payload])
}
