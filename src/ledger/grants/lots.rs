//! The rows of lots.

use std::collections::HashMap;
use std::rc::Rc;

use crate::error::Result;
use crate::ledger::grants::burn::{Lot, Rank};
use crate::ledger::grants::scope::Scope;
use crate::ledger::grants::terms::Terms;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::storage::cursor::Portions;
use crate::storage::plan::{Rows, Run, Value, statement};

/// The longest time before its end at which a grant's end is announced.
const NOTICE: i64 = 7 * 24 * 3600 * 1_000_000;

statement!(
    ACTIVE,
    [TEXTOID],
    "SELECT grant_id, remaining, priority, expires_at, promotional, created_at, warn_at, recurring,
            scope, held
       FROM wallet.grant_lots WHERE wallet_id = $1 AND status = 'active'"
);

statement!(
    /// In burn order, which an index has.
    IN_ORDER,
    [TEXTOID],
    "SELECT grant_id, remaining, priority, expires_at, promotional, created_at, warn_at, recurring,
            scope, held
       FROM wallet.grant_lots WHERE wallet_id = $1 AND status = 'active'
      ORDER BY wallet_id, priority, expires_at, promotional DESC, created_at, grant_id"
);

statement!(
    PLAIN_TOTAL,
    [TEXTOID],
    "SELECT coalesce(sum(remaining), 0) FROM wallet.grant_lots
      WHERE wallet_id = $1 AND status = 'active' AND scope IS NULL"
);

statement!(
    ADD,
    [
        TEXTOID,
        UUIDOID,
        NUMERICOID,
        NUMERICOID,
        TIMESTAMPTZOID,
        TIMESTAMPTZOID,
        INT4OID,
        BOOLOID,
        TEXTOID,
        JSONBOID,
        TIMESTAMPTZOID
    ],
    "INSERT INTO wallet.grant_lots
        (wallet_id, grant_id, amount, remaining, expires_at, warn_at, priority, promotional,
         recurring, scope, created_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
);

statement!(
    SET_REMAINING,
    [TEXTOID, UUIDOID, NUMERICOID],
    "UPDATE wallet.grant_lots
        SET remaining = $3, status = CASE WHEN $3 = 0 THEN 'depleted' ELSE 'active' END
      WHERE wallet_id = $1 AND grant_id = $2"
);

statement!(
    END,
    [TEXTOID, UUIDOID, TEXTOID, UUIDOID],
    "UPDATE wallet.grant_lots SET remaining = 0, status = $3, ended_id = $4
      WHERE wallet_id = $1 AND grant_id = $2"
);

statement!(
    WARNED,
    [TEXTOID, UUIDOID],
    "UPDATE wallet.grant_lots SET warn_at = NULL WHERE wallet_id = $1 AND grant_id = $2"
);

statement!(
    EXTEND,
    [TEXTOID, UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID],
    "UPDATE wallet.grant_lots SET expires_at = $3, warn_at = $4
      WHERE wallet_id = $1 AND grant_id = $2"
);

statement!(
    RETURN,
    [TEXTOID, UUIDOID, NUMERICOID],
    "UPDATE wallet.grant_lots SET remaining = remaining + $3, status = 'active', ended_id = NULL
      WHERE wallet_id = $1 AND grant_id = $2 AND status NOT IN ('voided', 'reversed')
        AND remaining + $3 <= amount
      RETURNING scope IS NOT NULL"
);

/// The values of a row that is added to `wallet.grant_lots`.
pub struct NewLot<'a> {
    /// The entry that grants it. Its id is the id of the lot.
    pub id: [u8; 16],
    /// The granted amount, which never changes; `remaining` does.
    pub amount: Amount,
    /// The rest of the lot at the beginning.
    pub remaining: Amount,
    /// Its expiry, priority and scope.
    pub terms: &'a Terms,
    /// The name of the recurring grant that made it; `None` for any other lot.
    pub recurring: Option<&'a str>,
    /// When it was granted.
    pub created_at: Timestamp,
}

/// Stores a lot.
pub fn add(wallet: &str, lot: &NewLot<'_>) -> Result<()> {
    let terms = lot.terms;
    ADD.run(&[
        Value::Text(wallet),
        Value::Uuid(lot.id),
        Value::Amount(lot.amount),
        Value::Amount(lot.remaining),
        Value::OptTime(terms.expires_at),
        Value::OptTime(terms.expires_at.map(|end| warn_at(lot.created_at, end))),
        Value::Int4(terms.priority),
        Value::Bool(terms.promotional),
        Value::OptText(lot.recurring),
        Value::OptJsonb(terms.scope),
        Value::Time(lot.created_at),
    ])
    .map(drop)
}

/// A week before the end, or when a quarter of the lot's life is left, whichever is later.
pub(super) fn warn_at(created_at: Timestamp, end: Timestamp) -> Timestamp {
    let life = end.0.saturating_sub(created_at.0);
    Timestamp(end.0 - NOTICE.min(life / 4))
}

/// A lot that has not ended.
#[derive(Clone)]
pub struct Active {
    /// The lot's place in burn order, and its rest.
    pub lot: Lot,
    /// When the lot ends; `None` if it does not expire.
    pub expires_at: Option<Timestamp>,
    /// When its end is to be announced; `None` once it was announced.
    pub(super) warn_at: Option<Timestamp>,
    /// The name of the recurring grant that made it; `None` for any other lot.
    pub recurring: Option<Rc<str>>,
    /// The models and services that it may pay for; `None` for all.
    pub scope: Option<Rc<Scope>>,
    /// The amount that holds reserve of it. Zero for a lot without a scope.
    pub held: Amount,
}

impl Active {
    /// A new lot that is not empty.
    pub(super) fn new(new: &NewLot<'_>) -> Result<Active> {
        let terms = new.terms;
        Ok(Active {
            lot: Lot {
                rank: Rank {
                    priority: terms.priority,
                    expires_at: terms.expires_at.map_or(i64::MAX, |at| at.0),
                    paid: !terms.promotional,
                    created_at: new.created_at.0,
                    id: new.id,
                },
                remaining: new.remaining,
            },
            expires_at: terms.expires_at,
            warn_at: terms.expires_at.map(|end| warn_at(new.created_at, end)),
            recurring: new.recurring.map(Rc::from),
            scope: terms.scope.map(Scope::stored).transpose()?.map(Rc::new),
            held: Amount::ZERO,
        })
    }

    /// A lot that every charge may use.
    #[cfg(test)]
    pub(super) fn plain(lot: Lot, expires_at: Option<Timestamp>) -> Active {
        Active {
            lot,
            expires_at,
            warn_at: None,
            recurring: None,
            scope: None,
            held: Amount::ZERO,
        }
    }

    /// The lot with the part that holds do not reserve.
    pub fn free(&self) -> Lot {
        let units = self.lot.remaining.units() - self.held.units();
        Lot {
            remaining: Amount::from_units(units.max(0)).unwrap_or_default(),
            ..self.lot.clone()
        }
    }
}

/// The active lots of a wallet, as they were last settled.
pub(super) fn read_active(wallet: &str) -> Result<Vec<Active>> {
    active_of(&ACTIVE.run(&[Value::Text(wallet)])?)
}

/// The active lots of a wallet in burn order, to be read as far as needed.
pub(super) fn in_order(wallet: &str) -> Result<Portions> {
    Portions::open(&IN_ORDER, &[Value::Text(wallet)])
}

/// The total of the lots without a scope, as they were last settled.
pub(super) fn plain_total(wallet: &str) -> Result<Amount> {
    PLAIN_TOTAL.run(&[Value::Text(wallet)])?.amount(0, 0)
}

pub(super) fn active_of(rows: &Rows) -> Result<Vec<Active>> {
    // Many lots have the same scope.
    let mut scopes: HashMap<Vec<u8>, Rc<Scope>> = HashMap::new();
    let mut scope_of = |row: usize| -> Result<Option<Rc<Scope>>> {
        let (Some(bytes), Some(datum)) = (rows.get::<Vec<u8>>(row, 8), rows.datum(row, 8)) else {
            return Ok(None);
        };
        if let Some(scope) = scopes.get(&bytes) {
            return Ok(Some(scope.clone()));
        }
        let scope = Rc::new(Scope::stored(Jsonb(datum))?);
        scopes.insert(bytes, scope.clone());
        Ok(Some(scope))
    };
    (0..rows.len())
        .map(|row| {
            let expires_at = rows.get::<Timestamp>(row, 3);
            let created_at: Timestamp = rows.need(row, 5)?;
            Ok(Active {
                lot: Lot {
                    rank: Rank {
                        priority: rows.need(row, 2)?,
                        expires_at: expires_at.map_or(i64::MAX, |at| at.0),
                        paid: !rows.need::<bool>(row, 4)?,
                        created_at: created_at.0,
                        id: rows.need(row, 0)?,
                    },
                    remaining: rows.amount(row, 1)?,
                },
                expires_at,
                warn_at: rows.get(row, 6),
                recurring: rows.get::<String>(row, 7).map(Rc::from),
                scope: scope_of(row)?,
                held: rows.amount(row, 9)?,
            })
        })
        .collect()
}

/// Stores the rest of a lot.
pub(super) fn set_remaining(wallet: &str, id: [u8; 16], remaining: Amount) -> Result<()> {
    SET_REMAINING
        .run(&[
            Value::Text(wallet),
            Value::Uuid(id),
            Value::Amount(remaining),
        ])
        .map(drop)
}

/// Marks a lot as ended with nothing left, and stores the entry that ended it.
pub(super) fn end(wallet: &str, id: [u8; 16], status: &str, entry: Option<[u8; 16]>) -> Result<()> {
    END.run(&[
        Value::Text(wallet),
        Value::Uuid(id),
        Value::Text(status),
        Value::OptUuid(entry),
    ])
    .map(drop)
}

/// Records that a lot's end was announced.
pub(super) fn warned(wallet: &str, id: [u8; 16]) -> Result<()> {
    WARNED
        .run(&[Value::Text(wallet), Value::Uuid(id)])
        .map(drop)
}

/// Changes a lot's end.
pub(super) fn extend(wallet: &str, id: [u8; 16], end: Timestamp, warn_at: Timestamp) -> Result<()> {
    EXTEND
        .run(&[
            Value::Text(wallet),
            Value::Uuid(id),
            Value::Time(end),
            Value::Time(warn_at),
        ])
        .map(drop)
}

/// Returns money to a lot, and says whether the lot has a scope. `None` if no money may return to
/// the lot.
pub(super) fn give_back(wallet: &str, id: [u8; 16], amount: Amount) -> Result<Option<bool>> {
    let rows = RETURN.run(&[Value::Text(wallet), Value::Uuid(id), Value::Amount(amount)])?;
    if rows.is_empty() {
        return Ok(None);
    }
    rows.need(0, 0).map(Some)
}
