//! The debt of a wallet, and the entries that caused it: chargebacks, and usage that cost more than
//! was available. The next funding pays the debt, the oldest part first.
//!
//! A debt is not spending of lots. It is a row of `grant_burns` for its own entry that names no
//! lot. The lot that pays the debt replaces it.

use crate::allowance::lanes::range;
use crate::error::Result;
use crate::money::Amount;
use crate::storage::plan::{Run, Value, statement};

statement!(
    OWE,
    [TEXTOID, NUMERICOID],
    "UPDATE wallet.wallets SET debt = debt + $2 WHERE wallet_id = $1 RETURNING debt"
);

statement!(
    NOTE,
    [TEXTOID, UUIDOID, NUMERICOID, UUIDOID],
    "INSERT INTO wallet.grant_burns (wallet_id, burn_id, amount, entry_id) VALUES ($1, $2, $3, $4)"
);

statement!(
    OPEN,
    [TEXTOID],
    "SELECT burn_id, entry_id, amount FROM wallet.grant_burns
      WHERE wallet_id = $1 AND grant_id IS NULL AND upto IS NULL AND amount > 0
      ORDER BY burn_id"
);

// The part of the debt that was refunded before it was paid.
statement!(
    REFUNDED,
    [TEXTOID, UUIDOID],
    "SELECT burn_id, -amount FROM wallet.grant_burns
      WHERE wallet_id = $1 AND related_id = $2 AND grant_id IS NULL AND given_to IS NOT NULL
      ORDER BY burn_id"
);

// The paid part of a row without a lot gets one.
statement!(
    TAKE_PLACE,
    [TEXTOID, UUIDOID, UUIDOID, NUMERICOID, UUIDOID],
    "WITH was AS (
         DELETE FROM wallet.grant_burns u WHERE u.wallet_id = $1 AND u.burn_id = $2 RETURNING u.*
     )
     INSERT INTO wallet.grant_burns
         (wallet_id, burn_id, grant_id, amount, entry_id, related_id, given_to)
     SELECT w.wallet_id, CASE p.place WHEN 1 THEN $5 ELSE $2 END, CASE p.place WHEN 1 THEN $3 END,
            p.amount * sign(w.amount), w.entry_id, w.related_id, w.given_to
       FROM was w
      CROSS JOIN LATERAL (VALUES (1, $4), (2, abs(w.amount) - $4)) AS p(place, amount)
      WHERE p.amount > 0"
);

/// Adds the amount that an entry left unpaid to the wallet's debt; returns the total debt. The
/// caller holds the wallet's row lock.
pub fn owe(wallet: &str, entry: [u8; 16], amount: Amount) -> Result<Amount> {
    if !amount.is_zero() {
        NOTE.run(&[
            Value::Text(wallet),
            Value::Uuid(uuid::Uuid::now_v7().into_bytes()),
            Value::Amount(amount),
            Value::Uuid(entry),
        ])?;
    }
    OWE.run(&[Value::Text(wallet), Value::Amount(amount)])?
        .amount(0, 0)
}

/// Pays debts out of a lot, which is stored with the entries that caused them. The caller holds the
/// wallet's row lock.
pub fn pay(wallet: &str, lot: [u8; 16], amount: Amount) -> Result<()> {
    OWE.run(&[Value::Text(wallet), Value::Amount(amount.negated())])?;
    let open = OPEN.run(&[Value::Text(wallet)])?;
    let mut left = amount;
    for row in 0..open.len() {
        let part = open.amount(row, 2)?.min(left);
        if part.is_zero() {
            break;
        }
        left = left.minus(part).map_err(range)?;
        take_place(wallet, open.need(row, 0)?, lot, part)?;
        let refunded = REFUNDED.run(&[
            Value::Text(wallet),
            Value::Uuid(open.need::<[u8; 16]>(row, 1)?),
        ])?;
        let mut rest = part;
        for row in 0..refunded.len() {
            let part = refunded.amount(row, 1)?.min(rest);
            if part.is_zero() {
                break;
            }
            rest = rest.minus(part).map_err(range)?;
            take_place(wallet, refunded.need(row, 0)?, lot, part)?;
        }
    }
    Ok(())
}

fn take_place(wallet: &str, row: [u8; 16], lot: [u8; 16], amount: Amount) -> Result<()> {
    TAKE_PLACE
        .run(&[
            Value::Text(wallet),
            Value::Uuid(row),
            Value::Uuid(lot),
            Value::Amount(amount),
            Value::Uuid(uuid::Uuid::now_v7().into_bytes()),
        ])
        .map(drop)
}
