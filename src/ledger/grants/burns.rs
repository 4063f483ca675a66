//! The rows that note what was burnt: which lot paid how much of what.

use crate::error::Result;
use crate::ledger::grants::burn::Burn;
use crate::statement;
use crate::storage::plan::{Run, Value};

statement!(
    BURNT,
    [TEXTOID, UUIDOID, UUIDOID, NUMERICOID, UUIDOID],
    "INSERT INTO wallet.grant_burns (wallet_id, burn_id, grant_id, amount, entry_id)
     VALUES ($1, $2, $3, $4, $5)"
);

// The lot that was burnt last comes first: it gets its money back first. The lots are settled, so what
// was burnt up to now covers all charges but those that credit paid; wallet.payments_of() says the same of
// all charges.
statement!(
    PAID_BY,
    [TEXTOID, UUIDOID],
    "WITH noted AS MATERIALIZED (
        SELECT u.entry_id, u.grant_id, u.amount, c.created_at, c.lane, c.seq
          FROM wallet.grant_burns u
          JOIN wallet.ledger_all c ON c.wallet_id = $1 AND c.entry_id = u.entry_id AND c.kind = 'c'
         WHERE u.wallet_id = $1
     ), debit AS MATERIALIZED (
        SELECT -c.amount - (SELECT coalesce(sum(n.amount), 0) FROM noted n WHERE n.entry_id = $2) AS amount,
               (SELECT sum(-l.amount)
                  FROM wallet.ledger_all l
                 WHERE l.wallet_id = $1 AND l.amount < 0 AND l.kind IN ('c', 'a', 't')
                   AND (l.created_at, l.lane, l.seq) <= (c.created_at, c.lane, c.seq))
               - (SELECT coalesce(sum(n.amount), 0) FROM noted n
                   WHERE (n.created_at, n.lane, n.seq) <= (c.created_at, c.lane, c.seq)) AS upto
          FROM wallet.ledger_all c
         WHERE c.wallet_id = $1 AND c.entry_id = $2 AND c.amount < 0
     ), burns AS MATERIALIZED (
        SELECT u.grant_id, u.amount, sum(u.amount) OVER (ORDER BY u.burn_id) AS upto
          FROM wallet.grant_burns u
         WHERE u.wallet_id = $1 AND u.entry_id IS NULL
     )
     SELECT p.grant_id, sum(p.amount)
       FROM (SELECT b.grant_id,
                    least(b.upto, d.upto) - greatest(b.upto - b.amount, d.upto - d.amount) AS amount
               FROM debit d
               JOIN burns b ON b.upto > d.upto - d.amount AND b.upto - b.amount < d.upto
             UNION ALL
             SELECT n.grant_id, n.amount FROM noted n WHERE n.entry_id = $2) p
       JOIN wallet.grant_lots g ON g.wallet_id = $1 AND g.grant_id = p.grant_id
      GROUP BY p.grant_id, g.priority, g.expires_at, g.promotional, g.created_at, g.grant_id
      ORDER BY g.priority DESC, g.expires_at DESC NULLS FIRST, g.promotional, g.created_at DESC,
               g.grant_id DESC"
);

/// Notes what was burnt.
pub(super) fn record(wallet: &str, burns: &[Burn], entry: Option<[u8; 16]>) -> Result<()> {
    for burn in burns {
        BURNT.run(&[
            Value::Text(wallet),
            Value::Uuid(uuid::Uuid::now_v7().into_bytes()),
            Value::Uuid(burn.id),
            Value::Amount(burn.amount),
            Value::OptUuid(entry),
        ])?;
    }
    Ok(())
}

/// Which lots paid a charge, and how much of it each; the one that was burnt last comes first.
pub(super) fn paid_by(wallet: &str, charge: [u8; 16]) -> Result<Vec<Burn>> {
    let rows = PAID_BY.run(&[Value::Text(wallet), Value::Uuid(charge)])?;
    (0..rows.len())
        .map(|row| {
            Ok(Burn {
                id: rows.need(row, 0)?,
                amount: rows.amount(row, 1)?,
            })
        })
        .collect()
}
