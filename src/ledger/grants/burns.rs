//! The rows that note what was burnt: which lot paid how much of what, and what of it came back.
//!
//! What charges use of lots is not noted with the charge. It is noted when the lots are settled, in the order in which
//! it was burnt, and the charges in theirs cover the same stretch of money: `upto` says where on it a burn ends. A
//! charge's place there is what went out before it ([`marks`]). What is paid for one entry alone (`entry_id`) is no part of that
//! stretch: what a lot with a scope has paid, and what is or was a debt ([`debts`](super::debts)).
//!
//! The stretch never changes where something is burnt. A refund leaves it as it is and notes what came back beside it.
//! What of the charge credit has paid and no lot has made up for stands behind all that is burnt: a refund cuts it out.

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

// Where the charge ends on the stretch, and how much of it is there, at first with what refunds have cut out and then
// without. What lies behind all that was burnt is what credit has paid.
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

// The lot that comes last in burn order comes first: it gets its money back first.
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

/// Notes what was burnt: of use in general, or for one entry.
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

/// Who paid what of a charge that was not refunded before.
pub(super) struct Paid {
    /// Lots; the last one in burn order comes first.
    pub lots: Vec<Burn>,
    /// What credit has paid and no lot has made up for.
    pub credit: Amount,
    /// What is a debt still.
    pub owed: Amount,
    /// Where the charge ends, whatever was cut out.
    whole: String,
}

/// Who has paid a charge. The lots are settled, and so much is used on credit.
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

/// A refund, of which charge.
#[derive(Clone, Copy)]
pub(super) struct Refund<'a> {
    pub wallet: &'a str,
    pub entry: [u8; 16],
    pub charge: [u8; 16],
}

impl Refund<'_> {
    /// Notes what of it goes back where a lot had paid, or nobody yet, and which lot has it now.
    pub fn returned(self, lot: Option<[u8; 16]>, amount: Amount, to: [u8; 16]) -> Result<()> {
        self.note(lot, amount, Some(to), None)
    }

    /// Notes what of it credit had paid.
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
