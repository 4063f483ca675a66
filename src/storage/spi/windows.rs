//! Windows of limits.

use crate::error::Result;
use crate::money::Amount;
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::{AllowanceId, Changed, Counted, NewWindow, Part, Taking, Used, Window};

// A limit without a cap only warns. `allotted` follows the cap, so that the table's CHECK refuses a
// usage above it.
statement!(
    TAKE,
    [
        TEXTOID, UUIDOID, INT2OID, NUMERICOID, NUMERICOID, BOOLOID, BOOLOID
    ],
    "UPDATE wallet.allowances
        SET spent = CASE WHEN $6 THEN spent ELSE spent + $4 END,
            held = CASE WHEN $6 THEN held + $4 ELSE held END,
            allotted = CASE WHEN $3 > 0 AND allotted IS NOT NULL THEN greatest(allotted, spent + held + $4)
                            WHEN $3 = 0 AND $5 IS NOT NULL THEN greatest($5, spent + held + $4) END
      WHERE wallet_id = $1 AND allowance_id = $2 AND lane = $3
        AND ($7 OR CASE WHEN $3 > 0 THEN spent + held + $4 < watermark
                        ELSE $5 IS NULL OR spent + held + $4 <= $5 END)
  RETURNING spent + held, recheck_done"
);

// Returning an amount lowers `allotted` to the limit's maximum, if the maximum was lowered below
// the usage before.
statement!(
    GIVE_BACK,
    [TEXTOID, UUIDOID, INT2OID, NUMERICOID, NUMERICOID, BOOLOID],
    "UPDATE wallet.allowances a
        SET spent = n.spent, held = n.held,
            allotted = CASE WHEN $3 > 0 THEN a.allotted WHEN $5 IS NOT NULL THEN greatest($5, n.spent + n.held) END
       FROM (SELECT CASE WHEN $6 THEN o.spent ELSE greatest(o.spent - $4, 0) END AS spent,
                    CASE WHEN $6 THEN greatest(o.held - $4, 0) ELSE o.held END AS held
               FROM wallet.allowances o
              WHERE o.wallet_id = $1 AND o.allowance_id = $2 AND o.lane = $3
                FOR NO KEY UPDATE) n
      WHERE a.wallet_id = $1 AND a.allowance_id = $2 AND a.lane = $3"
);

// Uses the row of the hold's lane, if the window was spread at the time of the hold and has not
// been gathered since.
statement!(
    RELEASE,
    [TEXTOID, UUIDOID, NUMERICOID, INT2OID],
    "UPDATE wallet.allowances SET held = held - $3
      WHERE wallet_id = $1 AND allowance_id = $2 AND held >= $3
        AND lane = (SELECT max(lane) FROM wallet.allowances
                     WHERE wallet_id = $1 AND allowance_id = $2 AND lane IN (0, $4) AND held >= $3)
  RETURNING lane"
);

statement!(
    READ_COUNTED,
    [TEXTOID, UUIDOID, INT2OID],
    "SELECT spent, spent + held, watermark, recheck_done
       FROM wallet.allowances
      WHERE wallet_id = $1 AND allowance_id = $2 AND lane = $3"
);

statement!(
    READ_WINDOW,
    [TEXTOID, UUIDOID],
    "SELECT sum(spent), sum(held), max(recheck_done), (array_agg(slices ORDER BY lane))[1]
       FROM wallet.allowances
      WHERE wallet_id = $1 AND allowance_id = $2
     HAVING count(*) > 0"
);

statement!(
    LOCK_WINDOW,
    [TEXTOID, UUIDOID],
    "SELECT spent, held, recheck_done, slices
       FROM wallet.allowances
      WHERE wallet_id = $1 AND allowance_id = $2 AND lane = 0
        FOR NO KEY UPDATE"
);

statement!(
    WRITE_WINDOW,
    [
        TEXTOID, UUIDOID, NUMERICOID, NUMERICOID, NUMERICOID, INT8OID, BYTEAOID
    ],
    "UPDATE wallet.allowances
        SET spent = $3, held = $4, recheck_done = $6, slices = $7,
            allotted = CASE WHEN $5 IS NOT NULL THEN greatest($5, $3 + $4) END
      WHERE wallet_id = $1 AND allowance_id = $2 AND lane = 0"
);

statement!(
    SET_LEVELS,
    [TEXTOID, UUIDOID, INT8OID],
    "UPDATE wallet.allowances SET recheck_done = $3
      WHERE wallet_id = $1 AND allowance_id = $2 AND lane = 0"
);

statement!(
    OPEN_WINDOW,
    [
        TEXTOID, UUIDOID, NUMERICOID, NUMERICOID, NUMERICOID, UUIDOID, TEXTOID, TIMESTAMPTZOID,
        TIMESTAMPTZOID, INT8OID, BYTEAOID
    ],
    "INSERT INTO wallet.allowances
        (wallet_id, allowance_id, lane, allotted, spent, held, limit_id, subject, window_start, window_end,
         recheck_done, slices)
     VALUES ($1, $2, 0, CASE WHEN $3 IS NOT NULL THEN greatest($3, $4 + $5) END, $4, $5, $6, $7, $8, $9, $10, $11)
     ON CONFLICT DO NOTHING
  RETURNING lane"
);

/// Takes an amount from a window. Changes nothing if the row has too little left.
pub fn take(wallet: &str, window: AllowanceId, taking: &Taking) -> Result<Changed<Used>> {
    let rows = TAKE.run(&[
        Value::Text(wallet),
        Value::Uuid(window),
        Value::Int2(taking.lane),
        Value::Amount(taking.need),
        Value::OptAmount(taking.cap),
        Value::Bool(taking.part == Part::Held),
        Value::Bool(taking.forced),
    ])?;
    if rows.is_empty() {
        return Ok(match read_counted(wallet, window, taking.lane)? {
            Some(_) => Changed::Unchanged,
            None => Changed::Missing,
        });
    }
    Ok(Changed::Done(Used {
        after: rows.amount(0, 0)?,
        levels: rows.need(0, 1)?,
    }))
}

/// Returns an amount that was taken, at most as much as the row still contains.
pub fn give_back(wallet: &str, window: AllowanceId, taking: &Taking) -> Result<()> {
    GIVE_BACK
        .run(&[
            Value::Text(wallet),
            Value::Uuid(window),
            Value::Int2(taking.lane),
            Value::Amount(taking.need),
            Value::OptAmount(taking.cap),
            Value::Bool(taking.part == Part::Held),
        ])
        .map(drop)
}

/// Releases from a window the amount of a hold that was made in a lane. Returns the lane of the
/// row; `None` if no row holds as much.
pub fn release_window(
    wallet: &str,
    window: AllowanceId,
    amount: Amount,
    lane: i16,
) -> Result<Option<i16>> {
    let rows = RELEASE.run(&[
        Value::Text(wallet),
        Value::Uuid(window),
        Value::Amount(amount),
        Value::Int2(lane),
    ])?;
    Ok(rows.get(0, 0))
}

/// The counters of a window's row, as last committed or changed by this transaction.
pub fn read_counted(wallet: &str, window: AllowanceId, lane: i16) -> Result<Option<Counted>> {
    let rows = READ_COUNTED.run(&[Value::Text(wallet), Value::Uuid(window), Value::Int2(lane)])?;
    if rows.is_empty() {
        return Ok(None);
    }
    Ok(Some(Counted {
        spent: rows.amount(0, 0)?,
        used: rows.amount(0, 1)?,
        watermark: rows.amount(0, 2)?,
        levels: rows.need(0, 3)?,
    }))
}

fn window_of(rows: &Rows) -> Result<Option<Window>> {
    if rows.is_empty() {
        return Ok(None);
    }
    Ok(Some(Window {
        spent: rows.amount(0, 0)?,
        held: rows.amount(0, 1)?,
        levels: rows.need(0, 2)?,
        slices: rows.get(0, 3),
    }))
}

/// A window as it was last committed.
pub fn read_window(wallet: &str, window: AllowanceId) -> Result<Option<Window>> {
    window_of(&READ_WINDOW.run(&[Value::Text(wallet), Value::Uuid(window)])?)
}

/// A window, with its row locked. Waits for the transaction that has it locked.
pub fn lock_window(wallet: &str, window: AllowanceId) -> Result<Option<Window>> {
    window_of(&LOCK_WINDOW.run(&[Value::Text(wallet), Value::Uuid(window)])?)
}

/// Writes a window that is locked. Without a cap, its limit only warns.
pub fn write_window(
    wallet: &str,
    id: AllowanceId,
    window: &Window,
    cap: Option<Amount>,
) -> Result<()> {
    WRITE_WINDOW
        .run(&[
            Value::Text(wallet),
            Value::Uuid(id),
            Value::Amount(window.spent),
            Value::Amount(window.held),
            Value::OptAmount(cap),
            Value::Int8(window.levels),
            Value::OptBytes(window.slices.as_deref()),
        ])
        .map(drop)
}

/// Locks a window's row, has `work` change it, and writes it. Writes nothing if `work` returns
/// `None`.
pub fn change_window<T>(
    wallet: &str,
    id: AllowanceId,
    cap: Option<Amount>,
    work: impl FnOnce(&mut Window) -> Result<Option<T>>,
) -> Result<Changed<T>> {
    let Some(mut window) = lock_window(wallet, id)? else {
        return Ok(Changed::Missing);
    };
    let Some(answer) = work(&mut window)? else {
        return Ok(Changed::Unchanged);
    };
    write_window(wallet, id, &window, cap)?;
    Ok(Changed::Done(answer))
}

/// Stores how many of the limit's warning levels have been reported in a window.
pub fn set_levels(wallet: &str, window: AllowanceId, levels: i64) -> Result<()> {
    SET_LEVELS
        .run(&[
            Value::Text(wallet),
            Value::Uuid(window),
            Value::Int8(levels),
        ])
        .map(drop)
}

/// Adds a window. Returns false if it already exists or another transaction added it first.
pub fn open_window(wallet: &str, new: &NewWindow<'_>) -> Result<bool> {
    let made = OPEN_WINDOW.run(&[
        Value::Text(wallet),
        Value::Uuid(new.id),
        Value::OptAmount(new.cap),
        Value::Amount(new.window.spent),
        Value::Amount(new.window.held),
        Value::Uuid(new.limit_id),
        Value::Text(new.subject),
        Value::OptTime(new.start),
        Value::OptTime(new.end),
        Value::Int8(new.levels),
        Value::OptBytes(new.window.slices.as_deref()),
    ])?;
    Ok(!made.is_empty())
}
