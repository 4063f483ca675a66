//! `void_grant`: takes the rest of a grant back.

use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::call::{IdempotentCall, conflict};
use crate::idempotency::entry_by_key::{by_key, is_of_other};
use crate::ledger::grants::due;
use crate::ledger::grants::locked_lots::LockedLots;
use crate::ledger::grants::lot_end::Ending;
use crate::money::Amount;
use crate::pg::document::Document;
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::{Call, uuid_text};
use crate::storage::wallet_row::lock_wallet;

statement!(
    FIND,
    [TEXTOID, UUIDOID],
    "SELECT g.status, g.ended_id, l.amount, coalesce(l.balance, l.lane_balance)
       FROM wallet.grant_lots g
       LEFT JOIN wallet.ledger_all l ON l.wallet_id = g.wallet_id AND l.entry_id = g.ended_id
      WHERE g.wallet_id = $1 AND g.grant_id = $2"
);

/// The arguments of `void_grant`.
pub struct Void<'a> {
    /// Id of the wallet that has the grant.
    pub wallet: &'a str,
    /// Id of the grant, which is also the id of its entry.
    pub grant_id: [u8; 16],
    /// The reason that the caller gives; `None` if there is none.
    pub reason: Option<&'a str>,
    /// Idempotency key; `None` if the call has none.
    pub key: Option<&'a str>,
    /// Half a SHA-256 of the arguments, compared if the key is used again.
    pub fingerprint: [u8; 16],
    /// The person or program that makes the call.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
}

/// The result of `void_grant`.
pub struct Voided {
    /// The entry; `None` if nothing was left.
    pub entry_id: Option<[u8; 16]>,
    /// The amount that was taken back.
    pub amount: Amount,
    /// The wallet's balance after the call.
    pub balance: Amount,
    /// True if an earlier call produced this result.
    pub replayed: bool,
}

/// Takes the rest of a grant back. Repeated calls take nothing more.
pub fn void(void: &Void<'_>) -> Result<Voided> {
    let wallet = void.wallet;
    lock_wallet(wallet)?;
    if let Some(rows) = by_key(wallet, void.key, Call::Grant)? {
        if is_of_other(&rows, void.fingerprint) {
            let key = void.key.unwrap_or_default();
            return Err(conflict(key, "its arguments"));
        }
        return Ok(Voided {
            entry_id: rows.get(0, 0),
            amount: rows.amount(0, 2)?.negated(),
            balance: rows.amount(0, 3)?,
            replayed: true,
        });
    }
    // A void that took nothing writes no entry to store its key.
    let call = IdempotentCall {
        wallet,
        call: "void_grant",
        key: void.key,
        fingerprint: void.fingerprint,
    };
    let answered = call.answered()?.is_some();
    due::sweep(wallet)?;
    let found = find(void)?;
    let status: String = found.need(0, 0)?;
    if status == "voided" {
        if !answered {
            call.remember(None)?;
        }
        return replay(wallet, &found);
    }
    if status == "expired" || status == "reversed" {
        return Err(
            Error::new(Code::FundingNotOpen, format!("the grant is {status}"))
                .detail(format!("The grant_id is {}.", uuid_text(void.grant_id)))
                .hint("Nothing of it is left to take back."),
        );
    }
    let mut locked_lots = LockedLots::open(wallet)?;
    let ending = Ending {
        status: "voided",
        call: Call::Grant,
        at: None,
        key: void.key,
        fingerprint: void.key.map(|_| void.fingerprint),
        reason: void.reason,
        actor: void.actor,
        metadata: void.metadata.clone(),
    };
    let (entry_id, amount) = locked_lots.finish(void.grant_id, &ending)?;
    let balance = locked_lots.balance()?;
    locked_lots.close()?;
    if entry_id.is_none() {
        call.remember(None)?;
    }
    Ok(Voided {
        entry_id,
        amount,
        balance,
        replayed: false,
    })
}

/// The row of the grant, or the error 42704.
fn find(void: &Void<'_>) -> Result<Rows> {
    let found = FIND.run(&[Value::Text(void.wallet), Value::Uuid(void.grant_id)])?;
    if found.is_empty() {
        return Err(Error::new(
            Code::ObjectNotFound,
            format!("wallet {} has no such grant", quoted(void.wallet)),
        )
        .detail(format!("The grant_id is {}.", uuid_text(void.grant_id)))
        .hint("The view grants shows what there is."));
    }
    Ok(found)
}

/// The result of the call that voided the grant.
fn replay(wallet: &str, found: &Rows) -> Result<Voided> {
    let locked_lots = LockedLots::open(wallet)?;
    let balance = locked_lots.balance()?;
    // Opening the balance may have released expired holds. That is written.
    locked_lots.close()?;
    Ok(Voided {
        entry_id: found.get(0, 1),
        amount: found.opt_amount(0, 2)?.unwrap_or_default().negated(),
        balance: found.opt_amount(0, 3)?.unwrap_or(balance),
        replayed: true,
    })
}
