//! `reverse_funding`: a settled funding failed late or was charged back.
//!
//! The entry takes all of it back, so that the ledger says what happened. What is still there
//! leaves the balance; the rest becomes a debt beside it, which the next funding pays first. Credit
//! and what open holds have set aside are left alone.

use crate::allowance::lanes::range;
use crate::allowance::outbox;
use crate::error::Result;
use crate::ledger::funding::fx::Original;
use crate::ledger::funding::request::Change;
use crate::ledger::funding::rows::{self, Found, not_open};
use crate::ledger::grants::due;
use crate::ledger::grants::ledge::Ledge;
use crate::ledger::lock::lock_wallet;
use crate::ledger::replay::{by_key, conflict};
use crate::ledger::request::Fingerprint;
use crate::ledger::rules::{self, Status};
use crate::money::Amount;
use crate::statement;
use crate::storage::plan::{Run, Value};
use crate::storage::rows::{Call, Entry, Kind};

statement!(
    OWE,
    [TEXTOID, NUMERICOID],
    "UPDATE wallet.wallets SET debt = debt + $2 WHERE wallet_id = $1 RETURNING debt"
);

statement!(
    FREEZE,
    [TEXTOID, TEXTOID],
    "UPDATE wallet.wallets SET status = 'frozen', status_reason = $2
      WHERE wallet_id = $1 AND status = 'active' AND freeze_on_chargeback"
);

statement!(
    REVERSAL,
    [TEXTOID, UUIDOID],
    "SELECT l.amount, coalesce(l.balance, l.lane_balance), w.debt
       FROM wallet.ledger_all l
       JOIN wallet.wallets w ON w.wallet_id = l.wallet_id
      WHERE l.wallet_id = $1 AND l.entry_id = $2"
);

/// What `reverse_funding` returns.
pub struct Reversed {
    /// The entry that takes it back.
    pub entry_id: [u8; 16],
    /// How much in all.
    pub amount: Amount,
    /// The wallet's currency.
    pub currency: String,
    /// The wallet's balance after it.
    pub balance: Amount,
    /// True when an earlier call did it.
    pub replayed: bool,
    /// How much of it left the balance; not known of an earlier call.
    pub taken: Option<Amount>,
    /// What the wallet owes.
    pub debt: Amount,
}

/// Takes a settled funding back, once however often it is called.
pub fn reverse(change: &Change<'_>, key: Option<&str>) -> Result<Reversed> {
    let wallet = change.wallet;
    lock_wallet(wallet)?;
    let mut fingerprint = Fingerprint::new(Call::Reverse as u8);
    fingerprint.field(
        "entry_id",
        Some(&crate::storage::rows::uuid_text(change.entry_id)),
    );
    let fingerprint = fingerprint.finish();
    if let Some(rows) = by_key(wallet, key, Call::Reverse)? {
        if rows.need::<[u8; 16]>(0, 1)? != fingerprint {
            return Err(conflict(key.unwrap_or_default(), "entry_id"));
        }
        return replay(wallet, rows.need(0, 0)?);
    }
    let found = Found::of(wallet, change.entry_id)?;
    match found.status.as_str() {
        "settled" => {}
        "reversed" => {
            let missing = || crate::error::Error::internal("a reversal has no entry");
            return replay(wallet, found.reversal_id().ok_or_else(missing)?);
        }
        "pending" => {
            let hint = "Nothing was credited: end it with fail_funding().";
            return Err(not_open(change.entry_id, "pending", hint));
        }
        status => {
            let hint = "Nothing was credited, so there is nothing to take back.";
            return Err(not_open(change.entry_id, status, hint));
        }
    }
    // What has expired is not there to be taken.
    due::sweep(wallet)?;
    let mut ledge = Ledge::open(wallet)?;
    let (currency, active) = {
        let rules = ledge.rules();
        (rules.currency.clone(), rules.status == Status::Active)
    };
    let amount = found.amount()?;
    let scoped = amount.min(ledge.scoped_available(change.entry_id));
    let general = amount.minus(scoped).map_err(range)?.min(ledge.available()?);
    let taken = general.plus(scoped).map_err(range)?;
    let (method, reference, original) = (found.method()?, found.reference(), found.original()?);
    let contra = format!("funding:{method}");
    let entry = Entry {
        key,
        fingerprint: key.map(|_| fingerprint),
        related_id: Some(change.entry_id),
        usage: original.as_ref().map(Original::document),
        reference: reference.as_deref(),
        reason: change.reason,
        actor: change.actor,
        metadata: change.metadata.clone(),
        ..Entry::of_money(
            wallet,
            Kind::Chargeback,
            Call::Reverse,
            amount.negated(),
            &contra,
        )
    };
    let balance = ledge.book(&entry, general.negated(), scoped.negated())?;
    ledge.take_back(change.entry_id, general, scoped, entry.entry_id)?;
    let owed = amount.minus(taken).map_err(range)?;
    let debt = OWE
        .run(&[Value::Text(wallet), Value::Amount(owed)])?
        .amount(0, 0)?;
    let frozen = active
        && !FREEZE
            .run(&[
                Value::Text(wallet),
                Value::Text(change.reason.unwrap_or("chargeback")),
            ])?
            .is_empty();
    rows::finish(change, "reversed", entry.created_at, Some(entry.entry_id))?;
    ledge.close_with(rules::new_epoch())?;
    if frozen {
        outbox::announce(wallet, outbox::Name::WalletFrozen)?;
    }
    Ok(Reversed {
        entry_id: entry.entry_id,
        amount,
        currency,
        balance,
        replayed: false,
        taken: Some(taken),
        debt,
    })
}

/// What the first call answered; the debt is today's.
fn replay(wallet: &str, entry_id: [u8; 16]) -> Result<Reversed> {
    let rows = REVERSAL.run(&[Value::Text(wallet), Value::Uuid(entry_id)])?;
    Ok(Reversed {
        entry_id,
        amount: rows.amount(0, 0)?.negated(),
        currency: rules::read(wallet)?.currency.clone(),
        balance: rows.amount(0, 1)?,
        replayed: true,
        taken: None,
        debt: rows.amount(0, 2)?,
    })
}
