//! An expired hold that is released: the statements that select it, its columns, and the payload
//! of its event.

use crate::error::Result;
use crate::ledger::grants::burn::Burn;
use crate::ledger::grants::course::Holding;
use crate::money::Amount;
use crate::outbox::Field;
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Rows, statement};
use crate::storage::rows::{AllowanceId, BALANCE};

/// Selects expired holds, which an index has in this order.
macro_rules! expired_query {
    ($and:literal, $clause:literal) => {
        concat!(
            "SELECT r.hold_id, r.lane, r.held, r.created_at, r.expires_at, r.window_ids, r.window_amounts,
                    r.scoped_ids, r.scoped_amounts
               FROM wallet.reservations r
              WHERE r.wallet_id = $1 AND r.status = 'open' AND r.expires_at <= $2 AND NOT r.charge_on_expiry
                AND ($3 IS NULL OR r.hold_id <> $3)
                AND ($4 IS NULL OR r.created_at >= $4 AND r.scoped_ids = '{}') ",
            $and,
            " ORDER BY r.wallet_id, r.expires_at ",
            $clause
        )
    };
}

statement!(
    /// The first holds.
    pub(super) FIRST,
    [TEXTOID, TIMESTAMPTZOID, UUIDOID, TIMESTAMPTZOID, INT8OID],
    expired_query!("", "LIMIT $5")
);

statement!(
    /// Locks holds. A settlement locks the row of its hold. Locked rows are skipped and left to it.
    pub(super) LOCK,
    [TEXTOID, TIMESTAMPTZOID, UUIDOID, TIMESTAMPTZOID],
    expired_query!("", "FOR NO KEY UPDATE SKIP LOCKED")
);

statement!(
    /// Locks holds that reserve something in the given windows. Others are left to other calls.
    pub(super) LOCK_IN_WINDOWS,
    [
        TEXTOID,
        TIMESTAMPTZOID,
        UUIDOID,
        TIMESTAMPTZOID,
        UUIDARRAYOID
    ],
    expired_query!("AND r.window_ids && $5", "FOR NO KEY UPDATE SKIP LOCKED")
);

/// The columns of an expired hold that matter here.
pub(super) struct ExpiredHold {
    pub(super) id: [u8; 16],
    pub(super) lane: i16,
    held: Amount,
    created_at: Timestamp,
    expires_at: Timestamp,
    pub(super) windows: Vec<(AllowanceId, Amount)>,
    pub(super) scoped: Vec<Burn>,
}

impl ExpiredHold {
    /// Reads a row of these statements.
    pub(super) fn of(rows: &Rows, row: usize) -> Result<ExpiredHold> {
        let pairs = |ids: i32| -> Result<Vec<(AllowanceId, Amount)>> {
            let amounts = rows.amounts(row, ids + 1)?;
            Ok(rows.uuids(row, ids).into_iter().zip(amounts).collect())
        };
        let burn = |(id, amount)| Burn { id, amount };
        Ok(ExpiredHold {
            id: rows.need(row, 0)?,
            lane: rows.need(row, 1)?,
            held: rows.amount(row, 2)?,
            created_at: rows.need(row, 3)?,
            expires_at: rows.need(row, 4)?,
            windows: pairs(5)?,
            scoped: pairs(7)?.into_iter().map(burn).collect(),
        })
    }

    /// The part of the hold that is reserved in the lanes, in units.
    pub(super) fn general(&self) -> i128 {
        let scoped = self.scoped.iter().map(|part| part.amount.units());
        self.held.units() - scoped.sum::<i128>()
    }

    /// The hold's amounts by window, grant and balance.
    pub(super) fn parts(&self) -> impl Iterator<Item = (AllowanceId, i128)> {
        let windows = self
            .windows
            .iter()
            .map(|(id, amount)| (*id, amount.units()));
        let scoped = self
            .scoped
            .iter()
            .map(|part| (part.id, part.amount.units()));
        std::iter::once((BALANCE, self.general()))
            .chain(windows)
            .chain(scoped)
    }

    /// The amounts that the hold reserved, for the course of the wallet's credit.
    pub(super) fn holding(self) -> Holding {
        Holding::new(
            self.created_at,
            Some(self.expires_at),
            self.held,
            self.scoped,
        )
    }

    /// The payload of the hold's event.
    pub(super) fn payload(&self) -> Vec<(&'static str, Field<'static>)> {
        payload(self.id, self.held, self.expires_at)
    }
}

/// The payload of the event about a hold that was neither settled nor voided in time.
pub fn payload(
    id: [u8; 16],
    amount: Amount,
    expires_at: Timestamp,
) -> Vec<(&'static str, Field<'static>)> {
    vec![
        ("hold_id", Field::Id(id)),
        ("amount", Field::Amount(amount)),
        ("expires_at", Field::Time(Some(expires_at))),
    ]
}
