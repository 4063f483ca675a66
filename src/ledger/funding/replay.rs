//! Exactly once: finds the first result for an idempotency key, or for a payment.

use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::call::{conflict, lost};
use crate::idempotency::entry_by_key::{by_key, is_of_other};
use crate::ledger::funding::booking::balance;
use crate::ledger::funding::request::{Funded, Funding};
use crate::ledger::funding::rows::Found;
use crate::ledger::wallets::config::WalletConfig;
use crate::money::Amount;
use crate::pg::jsonb::{Builder, Json, Jsonb};
use crate::storage::rows::{Call, uuid_text};

/// The answer that is stored with the idempotency key of a pending funding.
pub(super) fn answer(entry_id: [u8; 16], balance: Amount) -> Jsonb {
    let mut json = Builder::default();
    json.begin_object();
    json.text("entry_id", Some(&uuid_text(entry_id)));
    json.text("balance", Some(&balance.to_fixed()));
    json.finish_object()
}

fn read_answer(answer: Jsonb) -> Result<([u8; 16], Amount)> {
    let json = answer.reread("result")?;
    let text = |name: &str| {
        let (_, value) = json.as_object()?.iter().find(|(key, _)| key == name)?;
        match value {
            Json::String(text) => Some(text.as_str()),
            _ => None,
        }
    };
    let read = || {
        let id = uuid::Uuid::parse_str(text("entry_id")?).ok()?;
        let balance = Amount::from_decimal(text("balance")?.parse().ok()?).ok()?;
        Some((id.into_bytes(), balance))
    };
    read().ok_or_else(lost)
}

/// The first result for this key, or for this payment. A payment reference is credited once,
/// whatever the key.
pub(super) fn replay(funding: &Funding<'_>, rules: &WalletConfig) -> Result<Option<Funded>> {
    let wallet = funding.wallet;
    let funded = |entry_id, amount, balance, found: &Found| {
        let bonus = found.bonus()?;
        Ok(Some(Funded {
            entry_id,
            amount,
            currency: rules.currency.to_string(),
            balance,
            status: found.status.clone(),
            replayed: true,
            bonus: bonus.map(|bonus| (bonus.amount, bonus.entry_id)),
        }))
    };
    if let Some(rows) = by_key(wallet, funding.key, Call::Fund)? {
        if is_of_other(&rows, funding.fingerprint()) {
            let same = rows.amount(0, 2)? == funding.amount;
            let field = if same {
                "method, reference, currency, rate, status, expires_at, priority, promotional or scope"
            } else {
                "amount"
            };
            return Err(conflict(funding.key.unwrap_or_default(), field));
        }
        // The funding may have been reversed in the meantime.
        let found = Found::of(wallet, rows.need(0, 0)?)?;
        return funded(
            rows.need(0, 0)?,
            rows.amount(0, 2)?,
            rows.amount(0, 3)?,
            &found,
        );
    }
    let once = funding.once();
    let answered = once.answered()?;
    if let Some(answer) = answered.as_ref().and_then(|answer| answer.result()) {
        let (entry_id, balance) = read_answer(answer)?;
        let found = Found::of(wallet, entry_id)?;
        return funded(entry_id, found.amount()?, balance, &found);
    }
    let Some(reference) = funding.reference else {
        return Ok(None);
    };
    let Some(found) = Found::by_reference(wallet, funding.method, reference)? else {
        return Ok(None);
    };
    same_payment(funding, reference, &found, rules)?;
    // The key came with a payment that was already credited, so no entry stores the key.
    if answered.is_none() {
        once.remember(None)?;
    }
    let balance = match found.balance()? {
        Some(balance) => balance,
        None => balance(wallet, rules)?,
    };
    let (id, amount) = (found.entry_id()?, found.amount()?);
    funded(id, amount, balance, &found)
}

/// Returns WL006 if the reference is used again for a different payment.
fn same_payment(
    funding: &Funding<'_>,
    reference: &str,
    found: &Found,
    rules: &WalletConfig,
) -> Result<()> {
    let (amount, currency) = (found.paid()?, found.currency());
    let currency = currency.as_deref().unwrap_or(&rules.currency);
    let given = funding.currency.unwrap_or(&rules.currency);
    if (amount, currency) == (funding.amount, given) {
        return Ok(());
    }
    let was = if found.status == "pending" {
        "noted"
    } else {
        "credited"
    };
    let detail = if currency == given {
        format!(
            "It was {was} with {amount}; this call says {}.",
            funding.amount
        )
    } else {
        format!(
            "It was {was} with {amount} {currency}; this call says {} {given}.",
            funding.amount
        )
    };
    Err(Error::new(
        Code::IdempotencyConflict,
        format!(
            "payment {} was {was} with another amount",
            quoted(reference)
        ),
    )
    .detail(detail)
    .hint("Check the reference: every payment of a method has its own.")
    .constraint("funding_requests", "funding_reference"))
}
