//! `settle_funding` and `fail_funding`: the end of a pending funding.

use crate::error::Result;
use crate::idempotency::call::IdempotentCall;
use crate::ledger::funding::booking::{self, Paid, Payee};
use crate::ledger::funding::request::{Change, Funded};
use crate::ledger::funding::rows::{self, Found, not_open};
use crate::ledger::grants::due;
use crate::ledger::wallets::config;
use crate::ledger::wallets::config::WalletConfig;
use crate::pg::clock;
use crate::storage::wallet_row::lock_wallet;

/// Credits a pending funding. A second call returns the result of the first, whatever its key.
pub fn settle(change: &Change<'_>, call: IdempotentCall<'_>) -> Result<Funded> {
    let wallet = change.wallet;
    lock_wallet(wallet)?;
    let answered = call.answered()?.is_some();
    let mut rules = config::read(wallet)?;
    let found = Found::of(wallet, change.entry_id)?;
    let result = match found.status.as_str() {
        "pending" => {
            rows::require_payable(&rules, wallet)?;
            if rules.is_due() {
                due::sweep(wallet)?;
                // The sweep has written a new epoch of the rules into the lanes.
                rules = config::read(wallet)?;
            }
            let original = found.original()?;
            let (method, reference) = (found.method()?, found.reference());
            let paid = Paid {
                entry_id: change.entry_id,
                amount: found.amount()?,
                method: &method,
                reference: reference.as_deref(),
                original: original.as_ref(),
                terms: &found.terms(),
                key: None,
                fingerprint: None,
                actor: change.actor,
                metadata: change.metadata.clone().or_else(|| found.metadata()),
            };
            let payee = Payee::of(wallet)?;
            let booked = booking::book(wallet, &paid, &payee, &rules)?;
            rows::finish(change, "settled", booked.at, booked.bonus.as_ref())?;
            Funded {
                balance: booked.balance,
                bonus: booked.bonus.map(|bonus| (bonus.amount, bonus.entry_id)),
                status: "settled".to_owned(),
                replayed: false,
                ..funded(&found, change, &rules)?
            }
        }
        "failed" => {
            return Err(not_open(
                change.entry_id,
                "failed",
                "If the money has come after all, fund() it again; the reference is free.",
            ));
        }
        _ => funded(&found, change, &rules)?,
    };
    if !answered {
        call.remember(None)?;
    }
    Ok(result)
}

/// Ends a pending funding without crediting it.
pub fn fail(change: &Change<'_>, call: IdempotentCall<'_>) -> Result<Funded> {
    let wallet = change.wallet;
    lock_wallet(wallet)?;
    let answered = call.answered()?.is_some();
    let rules = config::read(wallet)?;
    let found = Found::of(wallet, change.entry_id)?;
    let result = match found.status.as_str() {
        "pending" => {
            rows::finish(change, "failed", clock::now(), None)?;
            Funded {
                status: "failed".to_owned(),
                replayed: false,
                ..funded(&found, change, &rules)?
            }
        }
        "failed" => funded(&found, change, &rules)?,
        status => {
            return Err(not_open(
                change.entry_id,
                status,
                "Take back what was credited with reverse_funding().",
            ));
        }
    };
    if !answered {
        call.remember(None)?;
    }
    Ok(result)
}

/// The result of an earlier call.
fn funded(found: &Found, change: &Change<'_>, rules: &WalletConfig) -> Result<Funded> {
    let balance = match found.balance()? {
        Some(balance) => balance,
        None => booking::balance(change.wallet, rules)?,
    };
    Ok(Funded {
        entry_id: change.entry_id,
        amount: found.amount()?,
        currency: rules.currency.to_string(),
        balance,
        status: found.status.clone(),
        replayed: true,
        bonus: found.bonus()?.map(|bonus| (bonus.amount, bonus.entry_id)),
    })
}
