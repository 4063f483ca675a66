//! `fund`: adds money that has arrived, or records money that is on its way.

use crate::error::Result;
use crate::ledger::funding::booking::{self, Paid, Payee};
use crate::ledger::funding::fx;
use crate::ledger::funding::replay::{answer, replay};
use crate::ledger::funding::request::{Funded, Funding};
use crate::ledger::funding::rows::{self, Noted};
use crate::ledger::grants::due;
use crate::ledger::wallets::config;
use crate::pg::clock;
use crate::storage::wallet_row::lock_wallet;

/// Credits the wallet or records a pending funding, or replays an earlier call. The replay precedes
/// the check of the status: a retry gets its answer even if the wallet was closed since. Grants
/// that are due are booked before the money, and the rules are then read again.
pub fn fund(funding: &Funding<'_>) -> Result<Funded> {
    let wallet = funding.wallet;
    lock_wallet(wallet)?;
    let mut rules = config::read(wallet)?;
    if let Some(funded) = replay(funding, &rules)? {
        return Ok(funded);
    }
    rows::require_payable(&rules, wallet)?;
    if rules.is_due() {
        due::sweep(wallet)?;
        rules = config::read(wallet)?;
    }
    let (amount, original) = fx::into_wallet(
        funding.amount,
        funding.currency.unwrap_or(&rules.currency),
        funding.rate,
        &rules.currency,
    )?;
    let payee = Payee::of(wallet)?;
    if funding.bounded {
        payee.check(amount)?;
    }
    let entry_id = uuid::Uuid::now_v7().into_bytes();
    let (balance, created_at, bonus) = if funding.pending {
        let balance = booking::balance(wallet, &rules)?;
        funding.once().remember(Some(answer(entry_id, balance)))?;
        (balance, clock::now(), None)
    } else {
        let paid = Paid {
            entry_id,
            amount,
            method: funding.method,
            reference: funding.reference,
            original: original.as_ref(),
            terms: &funding.terms,
            key: funding.key,
            fingerprint: funding.key.map(|_| funding.fingerprint()),
            actor: funding.actor,
            metadata: funding.metadata.clone(),
        };
        let booked = booking::book(wallet, &paid, &payee, &rules)?;
        (booked.balance, booked.at, booked.bonus)
    };
    let status = if funding.pending {
        "pending"
    } else {
        "settled"
    };
    let noted = Noted {
        entry_id,
        amount,
        status,
        created_at,
        original: original.as_ref(),
        bonus: bonus.as_ref(),
    };
    rows::record(funding, &noted)?;
    Ok(Funded {
        entry_id,
        amount,
        currency: rules.currency.to_string(),
        balance,
        status: status.to_owned(),
        replayed: false,
        bonus: bonus.map(|bonus| (bonus.amount, bonus.entry_id)),
    })
}
