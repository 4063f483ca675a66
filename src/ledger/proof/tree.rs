//! Compares the money that a wallet drew from its parent, or lent to its children, with the ledgers
//! on the other side.

use crate::error::Result;
use crate::storage::plan::{Run, Value, statement};

// The entry of a use has the same id on both sides; that of the draw has its last bit flipped.
statement!(
    WRONG,
    [TEXTOID],
    "WITH own AS MATERIALIZED (
         SELECT l.entry_id, l.call, l.amount, substr(l.contra, 6) AS other, l.related_id
           FROM wallet.ledger_all l WHERE l.wallet_id = $1 AND l.call IN ('d', 'l', 'm', 'n', 'u')
     ), pairs AS (
         SELECT o.entry_id, o.amount, o.other, CASE o.call WHEN 'd' THEN o.related_id ELSE
                encode(set_byte(uuid_send(o.entry_id), 15, get_byte(uuid_send(o.entry_id), 15) # 1), 'hex')::uuid END AS pair
           FROM own o WHERE o.call <> 'u'
     ), sums AS (
         SELECT o.other, sum(o.amount) AS amount FROM own o GROUP BY 1
     )
     SELECT f.problem
       FROM (SELECT 1 AS place, format('entry %s: wallet %s has no counterpart', p.entry_id, p.other) AS problem
               FROM pairs p
               LEFT JOIN LATERAL (
                    SELECT l.amount FROM wallet.ledger_all l
                     WHERE l.wallet_id = p.other AND l.entry_id = p.pair AND l.call IN ('d', 'l', 'm', 'n')
                    OFFSET 0) c ON true
              WHERE c.amount IS DISTINCT FROM -p.amount
             UNION ALL
             SELECT 2, format('entries with wallet %s add up to %s here and to %s there', s.other, s.amount, c.amount)
               FROM sums s
              CROSS JOIN LATERAL (
                    SELECT coalesce(sum(l.amount), 0) AS amount FROM wallet.ledger_all l
                     WHERE l.wallet_id = s.other AND l.call IN ('d', 'l', 'm', 'n', 'u') AND l.contra = 'pool:' || $1) c
              WHERE c.amount <> -s.amount) f
      ORDER BY f.place LIMIT 1"
);

/// The error; `None` if both sides agree.
pub fn problem(wallet: &str) -> Result<Option<String>> {
    Ok(WRONG.read(&[Value::Text(wallet)])?.get(0, 0))
}
