//! The rows of `grant_burns`: the amounts that each lot paid, and the amounts that were returned.
//!
//! Charges do not store which lots pay them. The rows are written when the lots are settled, in
//! burn order. Think of all spending as one line: the burns and the charges cover the same line,
//! each in their own order. `upto` is the point where a burn ends. A charge begins at the point
//! where all earlier spending ends ([`usage_marks`]). Payments for one entry (`entry_id`) are not
//! on the line: payments by a lot with a scope, and amounts that are or were a debt
//! ([`debts`](super::debts)).
//!
//! Burns on the line never change. A refund leaves them unchanged and writes rows of its own for
//! the returned amounts. The part of a charge that was paid on credit, and that no lot has repaid
//! yet, is after the last burn on the line. A refund cuts that part out.

use crate::error::Result;
use crate::ledger::grants::burn::Burn;
use crate::ledger::grants::usage_marks;
use crate::money::Amount;
use crate::storage::plan::{Run, Value, statement};

statement!(
    USED,
    [TEXTOID, UUIDOID, UUIDOID, NUMERICOID],
    "INSERT INTO wallet.grant_burns (wallet_id, burn_id, grant_id, amount, upto)
     SELECT $1, $2, $3, $4,
            $4 + coalesce((SELECT max(u.upto) FROM wallet.grant_burns u
                            WHERE u.wallet_id = $1 AND u.entry_id IS NULL), 0)"
);

statement!(
    NOTED,
    [TEXTOID, UUIDOID, UUIDOID, NUMERICOID, UUIDOID],
    "INSERT INTO wallet.grant_burns (wallet_id, burn_id, grant_id, amount, entry_id)
     VALUES ($1, $2, $3, $4, $5)"
);

// The point on the line where the charge ends, and its length, first with the parts that refunds
// have cut out and then without. The part after the last burn was paid on credit.
statement!(
    PLACE,
    [TEXTOID, UUIDOID, TEXTOID],
    "WITH own AS MATERIALIZED (
         SELECT $3::numeric
                + coalesce((SELECT sum(u.amount) FROM wallet.grant_burns u
                             WHERE u.wallet_id = $1 AND u.grant_id IS NULL AND u.upto <= $3::numeric), 0) AS upto,
                (SELECT -c.amount FROM wallet.ledger_all c WHERE c.wallet_id = $1 AND c.entry_id = $2)
                - coalesce((SELECT sum(u.amount) FROM wallet.grant_burns u
                             WHERE u.wallet_id = $1 AND u.entry_id = $2 AND u.amount > 0), 0)
                + coalesce((SELECT sum(u.amount) FROM wallet.grant_burns u
                             WHERE u.wallet_id = $1 AND u.related_id = $2 AND u.grant_id IS NULL
                               AND u.given_to IS NULL), 0) AS amount,
                coalesce((SELECT max(u.upto) FROM wallet.grant_burns u
                           WHERE u.wallet_id = $1 AND u.entry_id IS NULL), 0) AS burnt,
                coalesce((SELECT sum(u.amount) FROM wallet.grant_burns u
                           WHERE u.wallet_id = $1 AND u.entry_id = $2 AND u.grant_id IS NULL), 0)
                + coalesce((SELECT sum(u.amount) FROM wallet.grant_burns u
                             WHERE u.wallet_id = $1 AND u.related_id = $2 AND u.grant_id IS NULL
                               AND u.given_to IS NOT NULL), 0) AS owed
     )
     SELECT (o.upto - o.amount)::text, o.upto::text,
            least(o.amount, greatest(o.upto - o.burnt, 0)), o.owed
       FROM own o"
);

// The lot that comes last in burn order is first, because its money is returned first.
statement!(
    PAID_BY,
    [TEXTOID, UUIDOID, TEXTOID, TEXTOID],
    "SELECT p.grant_id, sum(p.amount)
       FROM (SELECT u.grant_id,
                    least(u.upto, $4::numeric) - greatest(u.upto - u.amount, $3::numeric) AS amount
               FROM wallet.grant_burns u
              WHERE u.wallet_id = $1 AND u.entry_id IS NULL AND u.upto > $3::numeric
                AND u.upto - u.amount < $4::numeric
                AND u.upto <= coalesce((SELECT min(b.upto) FROM wallet.grant_burns b
                                         WHERE b.wallet_id = $1 AND b.entry_id IS NULL
                                           AND b.upto >= $4::numeric), 'infinity')
             UNION ALL
             SELECT u.grant_id, u.amount FROM wallet.grant_burns u
              WHERE u.wallet_id = $1 AND u.entry_id = $2 AND u.grant_id IS NOT NULL
             UNION ALL
             SELECT u.grant_id, u.amount FROM wallet.grant_burns u
              WHERE u.wallet_id = $1 AND u.related_id = $2 AND u.grant_id IS NOT NULL) p
       JOIN wallet.grant_lots g ON g.wallet_id = $1 AND g.grant_id = p.grant_id
      GROUP BY p.grant_id, g.priority, g.expires_at, g.promotional, g.created_at, g.grant_id
     HAVING sum(p.amount) > 0
      ORDER BY g.priority DESC, g.expires_at DESC NULLS FIRST, g.promotional, g.created_at DESC,
               g.grant_id DESC"
);

statement!(
    RETURNED,
    [
        TEXTOID, UUIDOID, UUIDOID, NUMERICOID, UUIDOID, UUIDOID, UUIDOID, TEXTOID
    ],
    "INSERT INTO wallet.grant_burns
        (wallet_id, burn_id, grant_id, amount, entry_id, related_id, given_to, upto)
     VALUES ($1, $2, $3, -$4, $5, $6, $7, $8::numeric)"
);

/// Stores burns, of general spending or for one entry.
pub(super) fn record(wallet: &str, burns: &[Burn], entry: Option<[u8; 16]>) -> Result<()> {
    for burn in burns {
        let values = [
            Value::Text(wallet),
            Value::Uuid(uuid::Uuid::now_v7().into_bytes()),
            Value::Uuid(burn.id),
            Value::Amount(burn.amount),
            Value::OptUuid(entry),
        ];
        match entry {
            None => USED.run(&values[..4])?,
            Some(_) => NOTED.run(&values)?,
        };
    }
    Ok(())
}

/// Who paid the part of a charge that has not been refunded.
pub(super) struct Paid {
    /// The amounts that lots paid. The last lot in burn order comes first.
    pub lots: Vec<Burn>,
    /// The amount on credit that no lot has repaid.
    pub credit: Amount,
    /// The amount that is still a debt.
    pub owed: Amount,
    /// The point where the charge ends, including the parts that were cut out.
    whole: String,
}

/// Determines who paid a charge. The lots are settled, and `on_credit` is currently used on credit.
pub(super) fn paid_by(wallet: &str, charge: [u8; 16], on_credit: Amount) -> Result<Paid> {
    let whole = usage_marks::used_up_to(wallet, charge, on_credit)?;
    let place = PLACE.run(&[
        Value::Text(wallet),
        Value::Uuid(charge),
        Value::Text(&whole),
    ])?;
    let (from, upto): (String, String) = (place.need(0, 0)?, place.need(0, 1)?);
    let rows = PAID_BY.run(&[
        Value::Text(wallet),
        Value::Uuid(charge),
        Value::Text(&from),
        Value::Text(&upto),
    ])?;
    let lots = (0..rows.len()).map(|row| {
        Ok(Burn {
            id: rows.need(row, 0)?,
            amount: rows.amount(row, 1)?,
        })
    });
    Ok(Paid {
        lots: lots.collect::<Result<_>>()?,
        credit: place.amount(0, 2)?,
        owed: place.amount(0, 3)?,
        whole,
    })
}

/// A refund and its charge.
#[derive(Clone, Copy)]
pub(super) struct Refund<'a> {
    pub wallet: &'a str,
    pub entry: [u8; 16],
    pub charge: [u8; 16],
}

impl Refund<'_> {
    /// Stores an amount that returns to the lot `to`. `lot` has paid it; `None` if nobody had.
    pub fn returned(self, lot: Option<[u8; 16]>, amount: Amount, to: [u8; 16]) -> Result<()> {
        self.note(lot, amount, Some(to), None)
    }

    /// Stores an amount that was paid on credit.
    pub fn cut_out(self, paid: &Paid, amount: Amount) -> Result<()> {
        self.note(None, amount, None, Some(&paid.whole))
    }

    fn note(
        self,
        lot: Option<[u8; 16]>,
        amount: Amount,
        to: Option<[u8; 16]>,
        upto: Option<&str>,
    ) -> Result<()> {
        if amount.is_zero() {
            return Ok(());
        }
        RETURNED
            .run(&[
                Value::Text(self.wallet),
                Value::Uuid(uuid::Uuid::now_v7().into_bytes()),
                Value::OptUuid(lot),
                Value::Amount(amount),
                Value::Uuid(self.entry),
                Value::Uuid(self.charge),
                Value::OptUuid(to),
                Value::OptText(upto),
            ])
            .map(drop)
    }
}
