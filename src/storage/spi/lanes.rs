//! Lanes of the balance.
//!
//! A write to a lane carries the version that was read. If another transaction has changed the lane
//! in the meantime, the write changes nothing and returns false, and the caller reads the lane
//! again. So no result depends on a row that was not locked when it was changed.

use crate::error::{Error, Result};
use crate::money::Amount;
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::{Hash, Lane};

macro_rules! lane_query {
    ($($clause:literal)*) => {
        concat!(
            "SELECT lane, version, epoch, seq, allotted, spent, held, watermark, booked, hash, recheck_done, evaluate_at,
                    waits, coalesce(armed, false)
               FROM wallet.allowances
              WHERE wallet_id = $1
                AND allowance_id = '00000000-0000-0000-0000-000000000000'",
            $($clause),*
        )
    };
}

statement!(READ_LANE, [TEXTOID, INT2OID], lane_query!(" AND lane = $2"));

statement!(
    LOCK_LANE,
    [TEXTOID, INT2OID],
    lane_query!(" AND lane = $2 FOR NO KEY UPDATE")
);

statement!(
    TRY_LANE,
    [TEXTOID, INT2OID],
    lane_query!(" AND lane = $2 FOR NO KEY UPDATE SKIP LOCKED")
);

statement!(READ_LANES, [TEXTOID], lane_query!(" ORDER BY lane"));

statement!(
    OTHERS_CREDITED,
    [TEXTOID, INT2OID],
    "SELECT coalesce(sum(allotted - spent), 0)
       FROM wallet.allowances
      WHERE wallet_id = $1
        AND allowance_id = '00000000-0000-0000-0000-000000000000'
        AND lane <> $2"
);

statement!(
    WRITE_LANE,
    [
        TEXTOID, INT2OID, INT8OID, NUMERICOID, NUMERICOID, NUMERICOID, NUMERICOID, INT8OID,
        INT8OID, NUMERICOID, BYTEAOID, INT8OID, TIMESTAMPTZOID, INT8OID, BOOLOID
    ],
    "UPDATE wallet.allowances
        SET allotted = $4, spent = $5, held = $6, watermark = $7,
            epoch = $8, seq = $9, booked = $10, hash = $11, recheck_done = $12, evaluate_at = $13, waits = $14,
            armed = $15, version = version + 1
      WHERE wallet_id = $1
        AND allowance_id = '00000000-0000-0000-0000-000000000000'
        AND lane = $2 AND version = $3"
);

statement!(
    NEW_LANE,
    [TEXTOID, INT2OID, INT8OID],
    "INSERT INTO wallet.allowances
        (wallet_id, allowance_id, lane, version, epoch, seq, allotted, booked, hash, waits)
     VALUES ($1, '00000000-0000-0000-0000-000000000000', $2, 0, $3, 0, 0, 0, '', 0)"
);

fn lane_of(rows: &Rows, row: usize) -> Result<Lane> {
    let hash: Vec<u8> = rows.need(row, 9)?;
    let hash: Hash = if hash.is_empty() {
        None
    } else {
        Some(
            hash.try_into()
                .map_err(|_| Error::internal("a lane's hash is not 32 bytes long"))?,
        )
    };
    Ok(Lane {
        lane: rows.need(row, 0)?,
        version: rows.need(row, 1)?,
        epoch: rows.need(row, 2)?,
        seq: rows.need(row, 3)?,
        allotted: rows.amount(row, 4)?,
        spent: rows.amount(row, 5)?,
        held: rows.amount(row, 6)?,
        watermark: rows.amount(row, 7)?,
        booked: rows.amount(row, 8)?,
        hash,
        recheck_done: rows.need(row, 10)?,
        evaluate_at: rows.get(row, 11),
        waits: rows.need(row, 12)?,
        armed: rows.need(row, 13)?,
        place: None,
    })
}

fn one_lane(rows: Rows) -> Result<Option<Lane>> {
    if rows.is_empty() {
        Ok(None)
    } else {
        lane_of(&rows, 0).map(Some)
    }
}

/// The lane as it was last committed (or changed by this transaction), without a lock.
pub fn read_lane(wallet: &str, lane: i16) -> Result<Option<Lane>> {
    one_lane(READ_LANE.run(&[Value::Text(wallet), Value::Int2(lane)])?)
}

/// The lane, with its row locked. Waits for the transaction that has it locked.
pub fn lock_lane(wallet: &str, lane: i16) -> Result<Option<Lane>> {
    one_lane(LOCK_LANE.run(&[Value::Text(wallet), Value::Int2(lane)])?)
}

/// The lane, with its row locked; `None` if another transaction has it locked.
pub fn try_lane(wallet: &str, lane: i16) -> Result<Option<Lane>> {
    one_lane(TRY_LANE.run(&[Value::Text(wallet), Value::Int2(lane)])?)
}

/// All lanes of the balance in ascending order, without a lock.
pub fn read_lanes(wallet: &str) -> Result<Vec<Lane>> {
    let rows = READ_LANES.run(&[Value::Text(wallet)])?;
    (0..rows.len()).map(|row| lane_of(&rows, row)).collect()
}

/// The sum of balance and credit in all lanes except one, as last committed.
pub fn credited_elsewhere(wallet: &str, lane: i16) -> Result<Amount> {
    OTHERS_CREDITED
        .run(&[Value::Text(wallet), Value::Int2(lane)])?
        .amount(0, 0)
}

/// Writes a lane if it still has the version that was read. Returns false if another transaction
/// has changed it.
pub fn write_lane(wallet: &str, lane: &Lane) -> Result<bool> {
    let rows = WRITE_LANE.run(&[
        Value::Text(wallet),
        Value::Int2(lane.lane),
        Value::Int8(lane.version),
        Value::Amount(lane.allotted),
        Value::Amount(lane.spent),
        Value::Amount(lane.held),
        Value::Amount(lane.watermark),
        Value::Int8(lane.epoch),
        Value::Int8(lane.seq),
        Value::Amount(lane.booked),
        Value::Bytes(lane.hash.as_ref().map_or(&[], |hash| hash.as_slice())),
        Value::Int8(lane.recheck_done),
        Value::OptTime(lane.evaluate_at),
        Value::Int8(lane.waits),
        Value::Bool(lane.armed),
    ])?;
    Ok(!rows.is_empty())
}

/// Adds an empty lane.
pub fn new_lane(wallet: &str, lane: i16, epoch: i64) -> Result<()> {
    NEW_LANE
        .run(&[Value::Text(wallet), Value::Int2(lane), Value::Int8(epoch)])
        .map(drop)
}
