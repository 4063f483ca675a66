//! The rows of kept credit, and the amounts that open holds reserve.

use crate::allowance::lanes::range;
use crate::error::Result;
use crate::ledger::grants::burn::{Burn, Rank};
use crate::ledger::grants::course::{Holding, Kept};
use crate::ledger::grants::{burns, lots};
use crate::ledger::wallets::config::Basis;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Run, Value, statement};

statement!(
    KEPT,
    [TEXTOID],
    "SELECT k.grant_id, k.ended_at, k.amount, g.priority, g.expires_at, g.promotional, g.created_at
       FROM wallet.kept_credit k
       JOIN wallet.grant_lots g ON g.wallet_id = k.wallet_id AND g.grant_id = k.grant_id
      WHERE k.wallet_id = $1"
);

statement!(
    KEEP,
    [TEXTOID, UUIDOID, TIMESTAMPTZOID, NUMERICOID],
    "INSERT INTO wallet.kept_credit (wallet_id, grant_id, ended_at, amount) VALUES ($1, $2, $3, $4)
     ON CONFLICT (wallet_id, grant_id, ended_at) DO UPDATE SET amount = excluded.amount"
);

statement!(
    LET_GO,
    [TEXTOID, UUIDOID, TIMESTAMPTZOID],
    "DELETE FROM wallet.kept_credit WHERE wallet_id = $1 AND grant_id = $2 AND ended_at = $3"
);

statement!(
    OPEN_HOLDS,
    [TEXTOID, UUIDOID],
    "SELECT r.created_at, CASE WHEN r.charge_on_expiry THEN 'infinity' ELSE r.expires_at END,
            r.held, r.scoped_ids, r.scoped_amounts
       FROM wallet.reservations r WHERE r.wallet_id = $1 AND r.status = 'open' AND ($2 IS NULL OR r.hold_id <> $2)"
);

/// The kept credit of a wallet.
pub fn read(wallet: &str) -> Result<Vec<Kept>> {
    let rows = KEPT.run(&[Value::Text(wallet)])?;
    (0..rows.len())
        .map(|row| {
            Ok(Kept {
                rank: Rank {
                    priority: rows.need(row, 3)?,
                    expires_at: rows.get(row, 4).map_or(i64::MAX, |at: Timestamp| at.0),
                    paid: !rows.need::<bool>(row, 5)?,
                    created_at: rows.need::<Timestamp>(row, 6)?.0,
                    id: rows.need(row, 0)?,
                },
                ended_at: rows.need(row, 1)?,
                amount: rows.amount(row, 2)?,
            })
        })
        .collect()
}

/// The kept credit of a wallet, read only if the rules say that there is any.
pub fn of(wallet: &str, rules: &Basis) -> Result<Vec<Kept>> {
    match rules.keeps {
        true => read(wallet),
        false => Ok(Vec::new()),
    }
}

/// The part of `general` that belongs to lots that have not ended.
pub fn without(general: Amount, kept: &[Kept]) -> Result<Amount> {
    let kept = kept.iter().map(|kept| kept.amount.units());
    Amount::from_units(general.units() - kept.sum::<i128>()).map_err(range)
}

/// Updates the rows to the current kept credit.
pub fn write(wallet: &str, before: &[Kept], now: &[Kept]) -> Result<()> {
    let same = |a: &Kept, b: &Kept| a.rank.id == b.rank.id && a.ended_at == b.ended_at;
    for gone in before
        .iter()
        .filter(|old| !now.iter().any(|new| same(old, new)))
    {
        LET_GO.run(&[
            Value::Text(wallet),
            Value::Uuid(gone.rank.id),
            Value::Time(gone.ended_at),
        ])?;
    }
    for kept in now.iter().filter(|kept| !before.contains(kept)) {
        KEEP.run(&[
            Value::Text(wallet),
            Value::Uuid(kept.rank.id),
            Value::Time(kept.ended_at),
            Value::Amount(kept.amount),
        ])?;
    }
    Ok(())
}

/// Marks a lot with a scope as ended with nothing left, because its rest has expired.
pub fn ended(wallet: &str, id: [u8; 16], entry: [u8; 16]) -> Result<()> {
    lots::end(wallet, id, "expired", Some(entry))
}

/// Stores the amounts that ended grants paid for an entry.
pub fn spent(wallet: &str, parts: &[Burn], entry: [u8; 16]) -> Result<()> {
    burns::record(wallet, parts, Some(entry))
}

/// The amounts that the open holds of a wallet reserve, except the hold `except`. With `by`, holds
/// that have expired by then release their amounts within the course. Without `by`, another call is
/// settling them.
pub fn holdings(
    wallet: &str,
    by: Option<Timestamp>,
    except: Option<[u8; 16]>,
) -> Result<Vec<Holding>> {
    let rows = OPEN_HOLDS.run(&[Value::Text(wallet), Value::OptUuid(except)])?;
    (0..rows.len())
        .map(|row| {
            let ends: Timestamp = rows.need(row, 1)?;
            let ids = rows.uuids(row, 3).into_iter();
            let scoped: Vec<Burn> = ids
                .zip(rows.amounts(row, 4)?)
                .map(|(id, amount)| Burn { id, amount })
                .collect();
            Ok(Holding::new(
                rows.need(row, 0)?,
                by.filter(|by| ends <= *by).map(|_| ends),
                rows.amount(row, 2)?,
                scoped,
            ))
        })
        .collect()
}
