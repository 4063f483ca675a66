//! The amounts of a grant that left it by other calls than a reversal, or that have ended.

use crate::error::Result;
use crate::money::Amount;
use crate::storage::plan::{Run, Value, statement};

statement!(
    ENDED,
    [TEXTOID, UUIDOID, BOOLOID],
    "SELECT coalesce(sum(u.amount), 0)
       FROM wallet.grant_burns u
       JOIN wallet.ledger_all l ON l.wallet_id = u.wallet_id AND l.entry_id = u.entry_id
      WHERE u.wallet_id = $1 AND u.grant_id = $2 AND l.kind = 'x' AND (NOT $3 OR l.contra = 'voided:grant')"
);

// Few wallets have adjustments. The grants that paid them are computed only if there is one.
statement!(
    ADJUSTED,
    [TEXTOID, UUIDOID],
    "SELECT CASE WHEN EXISTS (
                     SELECT FROM wallet.ledger_all l
                      WHERE l.wallet_id = $1 AND l.entry_id > $2 AND l.kind = 'a' AND l.amount < 0)
                 THEN (SELECT coalesce(sum(p.amount), 0)
                         FROM wallet.payments_of($1) p
                         JOIN wallet.ledger_all l ON l.wallet_id = $1 AND l.entry_id = p.entry_id
                         JOIN wallet.ledger_all f ON f.wallet_id = $1 AND f.entry_id = $2
                        WHERE p.grant_id = $2 AND l.kind = 'a' AND l.created_at > f.created_at)
                 ELSE 0 END"
);

/// The amount of a grant that was voided.
pub(super) fn voided(wallet: &str, grant: [u8; 16]) -> Result<Amount> {
    sum(wallet, grant, true)
}

/// The amount of a grant that was voided, or whose expiry is booked.
pub(super) fn ended(wallet: &str, grant: [u8; 16]) -> Result<Amount> {
    sum(wallet, grant, false)
}

fn sum(wallet: &str, grant: [u8; 16], voided: bool) -> Result<Amount> {
    ENDED
        .run(&[Value::Text(wallet), Value::Uuid(grant), Value::Bool(voided)])?
        .amount(0, 0)
}

/// The amount that adjustments have taken out of a grant since it was granted.
pub(super) fn adjusted(wallet: &str, grant: [u8; 16]) -> Result<Amount> {
    ADJUSTED
        .run(&[Value::Text(wallet), Value::Uuid(grant)])?
        .amount(0, 0)
}
