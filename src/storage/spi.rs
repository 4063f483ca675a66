//! The hot tables through SPI: every statement that touches a lane, a window or the ledger.
//!
//! Writes to a lane carry the version that was read. When another transaction came first the
//! write changes nothing and says so, and the caller reads again: no answer rests on a row that
//! was not locked when it was changed.

use crate::error::{Error, Result};
use crate::money::Amount;
use crate::statement;
use crate::storage::clock::Timestamp;
use crate::storage::jsonb::Jsonb;
use crate::storage::plan::{Rows, Run, Value};
use crate::storage::rows::{
    AllowanceId, Call, Counted, Entry, Hash, Lane, LimitRow, Link, Markup, Part, PriceRow,
    RuleRows, Taking, ThresholdRow, Used, WalletRow, Window,
};

macro_rules! lane_query {
    ($($clause:literal)*) => {
        concat!(
            "SELECT lane, version, epoch, seq, allotted, spent, held, watermark, booked, hash, attended, look_at,
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
            epoch = $8, seq = $9, booked = $10, hash = $11, attended = $12, look_at = $13, waits = $14,
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

// A limit without a cap only warns. `allotted` follows the cap, so that the table itself refuses
// what would pass it.
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
  RETURNING spent + held, attended"
);

// What is given back lowers what may be spent in all to the limit's maximum, where that was
// lowered below what was used.
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

// In the row of the hold's lane, if the window was spread then and has not been gathered since.
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
    "SELECT spent, spent + held, watermark, attended
       FROM wallet.allowances
      WHERE wallet_id = $1 AND allowance_id = $2 AND lane = $3"
);

statement!(
    READ_WINDOW,
    [TEXTOID, UUIDOID],
    "SELECT sum(spent), sum(held), max(attended), (array_agg(slices ORDER BY lane))[1]
       FROM wallet.allowances
      WHERE wallet_id = $1 AND allowance_id = $2
     HAVING count(*) > 0"
);

statement!(
    LOCK_WINDOW,
    [TEXTOID, UUIDOID],
    "SELECT spent, held, attended, slices
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
        SET spent = $3, held = $4, attended = $6, slices = $7,
            allotted = CASE WHEN $5 IS NOT NULL THEN greatest($5, $3 + $4) END
      WHERE wallet_id = $1 AND allowance_id = $2 AND lane = 0"
);

statement!(
    SET_LEVELS,
    [TEXTOID, UUIDOID, INT8OID],
    "UPDATE wallet.allowances SET attended = $3
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
         attended, slices)
     VALUES ($1, $2, 0, CASE WHEN $3 IS NOT NULL THEN greatest($3, $4 + $5) END, $4, $5, $6, $7, $8, $9, $10, $11)
     ON CONFLICT DO NOTHING
  RETURNING lane"
);

statement!(
    APPEND,
    [
        TEXTOID,
        UUIDOID,
        TIMESTAMPTZOID,
        TIMESTAMPTZOID,
        INT2OID,
        INT8OID,
        CHAROID,
        CHAROID,
        NUMERICOID,
        NUMERICOID,
        NUMERICOID,
        BYTEAOID,
        TEXTOID,
        UUIDOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        BYTEAOID,
        JSONBOID,
        JSONBOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        JSONBOID,
        UUIDOID,
        UUIDOID
    ],
    "INSERT INTO wallet.ledger
        (wallet_id, entry_id, created_at, event_at, lane, seq, kind, call,
         amount, lane_balance, balance, hash, idempotency_key, fingerprint, user_id, team, provider,
         model, service, region, service_tier, lines, usage, tags, contra, reference,
         reason, actor, metadata, related_id, key_id)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
             $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31)
     ON CONFLICT (wallet_id, idempotency_key, call) DO NOTHING"
);

statement!(
    HAS_KEY,
    [TEXTOID, TEXTOID, CHAROID],
    "SELECT FROM wallet.ledger WHERE wallet_id = $1 AND idempotency_key = $2 AND call = $3"
);

statement!(
    HAS_ARCHIVED_KEY,
    [TEXTOID, TEXTOID, CHAROID],
    "SELECT FROM wallet.ledger_archive WHERE wallet_id = $1 AND idempotency_key = $2 AND call = $3"
);

/// Which of the keys have made an entry that is committed or this transaction's own, and stands in the
/// ledger or in its archive.
pub fn taken_keys(in_archive: bool, wallet: &str, keys: &[&str], call: Call) -> Result<Vec<usize>> {
    let has_key = if in_archive {
        &HAS_ARCHIVED_KEY
    } else {
        &HAS_KEY
    };
    let mut taken = Vec::new();
    for (place, key) in keys.iter().enumerate() {
        let call = Value::Char(call as u8);
        if !has_key
            .run(&[Value::Text(wallet), Value::Text(key), call])?
            .is_empty()
        {
            taken.push(place);
        }
    }
    Ok(taken)
}

// One statement, hence one snapshot: rules and epoch belong together.
statement!(
    RULES,
    [TEXTOID],
    "SELECT w.currency, w.credit_limit, w.status, w.status_reason, w.lanes, w.price_list,
            w.attention, l.epoch, l.attended,
            r.limit_id, r.scope, r.subject, r.period, r.max, r.time_zone,
            w.unknown_price, r.anchor, r.metric, r.mode = 'hard', r.warn_at, r.paused, r.raised_by,
            r.raised_until, w.grants_due, w.members_only, w.guarded, w.scoped, w.archived,
            w.lanes = 1 AND EXISTS (
                SELECT FROM wallet.allowances o
                 WHERE o.wallet_id = w.wallet_id AND o.allowance_id = l.allowance_id
                   AND o.lane <> l.lane AND o.allotted <> o.spent),
            coalesce(l.armed, false)
       FROM wallet.wallets w
       JOIN wallet.allowances l
         ON l.wallet_id = w.wallet_id
        AND l.allowance_id = '00000000-0000-0000-0000-000000000000'
        AND l.lane = CASE WHEN w.lanes = 1 THEN 0 ELSE 1 END
       LEFT JOIN wallet.limits r ON r.wallet_id = w.wallet_id
      WHERE w.wallet_id = $1"
);

/// What a charge must know of a wallet, or nothing when there is none of that name.
pub fn read_rules(wallet: &str) -> Result<Option<RuleRows>> {
    let rows = RULES.run(&[Value::Text(wallet)])?;
    if rows.is_empty() {
        return Ok(None);
    }
    let has_limits = rows.get::<[u8; 16]>(0, 9).is_some();
    let limit = |row: usize| -> Result<LimitRow> {
        Ok(LimitRow {
            id: rows.need(row, 9)?,
            scope: rows.need(row, 10)?,
            subject: rows.need(row, 11)?,
            period: rows.need(row, 12)?,
            max: rows.amount(row, 13)?,
            time_zone: rows.need(row, 14)?,
            anchor: rows.get(row, 16),
            metric: rows.need(row, 17)?,
            is_hard: rows.need(row, 18)?,
            warn_at: rows.amounts(row, 19)?,
            paused: rows.need(row, 20)?,
            raised_by: rows.amounts(row, 21)?,
            raised_until: rows.times(row, 22),
        })
    };
    let limits = if has_limits { rows.len() } else { 0 };
    Ok(Some(RuleRows {
        wallet: WalletRow {
            currency: rows.need(0, 0)?,
            credit_limit: rows.amount(0, 1)?,
            status: rows.need(0, 2)?,
            status_reason: rows.get(0, 3),
            lanes: rows.need(0, 4)?,
            price_list: rows.need(0, 5)?,
            unknown_price: rows.need(0, 15)?,
            attention: rows.need(0, 6)?,
            grants_due: rows.get(0, 23),
            members_only: rows.need(0, 24)?,
            guarded: rows.need(0, 25)?,
            scoped: rows.need(0, 26)?,
            archived: rows.need(0, 27)?,
        },
        epoch: rows.need(0, 7)?,
        attended: rows.need(0, 8)?,
        lane: None,
        beside: rows.need(0, 28)?,
        armed: rows.need(0, 29)?,
        limits: (0..limits).map(limit).collect::<Result<_>>()?,
    }))
}

macro_rules! price_query {
    ($condition:literal) => {
        concat!(
            "SELECT price_id, model, meter, unit_price, per, provider, service, region, service_tier,
                    above_input_tokens, conditions, effective_from
               FROM wallet.prices
              WHERE price_list = $1 AND ",
            $condition
        )
    };
}

statement!(MODEL_PRICES, [TEXTOID, TEXTOID], price_query!("model = $2"));
statement!(PATTERN_PRICES, [TEXTOID], price_query!("model LIKE '%*%'"));
statement!(
    MARKUPS,
    [TEXTOID],
    "SELECT markup_id, percent, fixed, effective_from FROM wallet.markups WHERE price_list = $1"
);
statement!(
    THRESHOLDS,
    [TEXTOID],
    "SELECT kind, threshold, state FROM wallet.thresholds WHERE wallet_id = $1"
);
statement!(
    MAPPINGS,
    [],
    "SELECT name, mapping::text FROM wallet.usage_mappings ORDER BY name"
);

/// All prices of an exact name in a list.
pub fn read_prices(list: &str, model: &str) -> Result<Vec<PriceRow>> {
    prices_of(&MODEL_PRICES.run(&[Value::Text(list), Value::Text(model)])?)
}

/// All prices of a list whose model is a pattern.
pub fn read_pattern_prices(list: &str) -> Result<Vec<PriceRow>> {
    prices_of(&PATTERN_PRICES.run(&[Value::Text(list)])?)
}

fn prices_of(rows: &Rows) -> Result<Vec<PriceRow>> {
    (0..rows.len())
        .map(|row| {
            let conditions = rows
                .datum(row, 10)
                .ok_or_else(|| Error::internal("a price has no conditions"))?;
            Ok(PriceRow {
                id: rows.need(row, 0)?,
                model: rows.need(row, 1)?,
                meter: rows.need(row, 2)?,
                unit_price: rows.opt_decimal(row, 3)?,
                per: rows.decimal(row, 4)?,
                provider: rows.get(row, 5),
                service: rows.get(row, 6),
                region: rows.get(row, 7),
                service_tier: rows.get(row, 8),
                above_input_tokens: rows.get(row, 9),
                conditions: Jsonb(conditions).reread("conditions")?,
                effective_from: rows.need(row, 11)?,
            })
        })
        .collect()
}

/// All markups of a list.
pub fn read_markups(list: &str) -> Result<Vec<Markup>> {
    let rows = MARKUPS.run(&[Value::Text(list)])?;
    (0..rows.len())
        .map(|row| {
            Ok(Markup {
                id: rows.need(row, 0)?,
                percent: rows.opt_decimal(row, 1)?,
                fixed: rows.opt_decimal(row, 2)?,
                effective_from: rows.need(row, 3)?,
            })
        })
        .collect()
}

/// All thresholds of a wallet.
pub fn read_thresholds(wallet: &str) -> Result<Vec<ThresholdRow>> {
    let rows = THRESHOLDS.run(&[Value::Text(wallet)])?;
    (0..rows.len())
        .map(|row| {
            Ok(ThresholdRow {
                kind: rows.need(row, 0)?,
                threshold: rows.amount(row, 1)?,
                state: rows.need(row, 2)?,
            })
        })
        .collect()
}

/// Names and texts of the mappings that were set, by name.
pub fn read_mappings() -> Result<Vec<(String, String)>> {
    let rows = MAPPINGS.run(&[])?;
    (0..rows.len())
        .map(|row| Ok((rows.need(row, 0)?, rows.need(row, 1)?)))
        .collect()
}

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
        attended: rows.need(row, 10)?,
        look_at: rows.get(row, 11),
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

/// The lane with its row locked, waiting for whoever has it.
pub fn lock_lane(wallet: &str, lane: i16) -> Result<Option<Lane>> {
    one_lane(LOCK_LANE.run(&[Value::Text(wallet), Value::Int2(lane)])?)
}

/// The lane with its row locked, or nothing when another transaction has it.
pub fn try_lane(wallet: &str, lane: i16) -> Result<Option<Lane>> {
    one_lane(TRY_LANE.run(&[Value::Text(wallet), Value::Int2(lane)])?)
}

/// All lanes of the balance in ascending order, without a lock.
pub fn read_lanes(wallet: &str) -> Result<Vec<Lane>> {
    let rows = READ_LANES.run(&[Value::Text(wallet)])?;
    (0..rows.len()).map(|row| lane_of(&rows, row)).collect()
}

/// Balance and credit that stand in all lanes but one, as last committed.
pub fn others_credited(wallet: &str, lane: i16) -> Result<Amount> {
    OTHERS_CREDITED
        .run(&[Value::Text(wallet), Value::Int2(lane)])?
        .amount(0, 0)
}

/// Writes a lane if it still has the version that was read; false when another came first.
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
        Value::Int8(lane.attended),
        Value::OptTime(lane.look_at),
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

/// Takes from a window; nothing when it is not there or has not that much left.
pub fn take(wallet: &str, window: AllowanceId, taking: &Taking) -> Result<Option<Used>> {
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
        return Ok(None);
    }
    Ok(Some(Used {
        after: rows.amount(0, 0)?,
        levels: rows.need(0, 1)?,
    }))
}

/// Puts back what was taken, as far as it is there.
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

/// Gives back what a hold that was made in a lane has set aside in a window; the row that had it, or
/// nothing when none has that much.
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

/// What a row of a window has counted, as last committed or by this transaction.
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

/// A window with its row locked, waiting for whoever has it.
pub fn lock_window(wallet: &str, window: AllowanceId) -> Result<Option<Window>> {
    window_of(&LOCK_WINDOW.run(&[Value::Text(wallet), Value::Uuid(window)])?)
}

/// Writes a window that is locked; without a cap it only warns.
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

/// Notes how many of the limit's levels a window has come to.
pub fn set_levels(wallet: &str, window: AllowanceId, levels: i64) -> Result<()> {
    SET_LEVELS
        .run(&[
            Value::Text(wallet),
            Value::Uuid(window),
            Value::Int8(levels),
        ])
        .map(drop)
}

/// What a window is made with.
pub struct NewWindow<'a> {
    /// Its id.
    pub id: AllowanceId,
    /// The limit's maximum, if it refuses.
    pub cap: Option<Amount>,
    /// What it has counted.
    pub window: &'a Window,
    /// The limit.
    pub limit_id: [u8; 16],
    /// The subject.
    pub subject: &'a str,
    /// Its first moment, if it has one.
    pub start: Option<Timestamp>,
    /// The first moment after it, if it has one.
    pub end: Option<Timestamp>,
}

/// Makes a window; false when it is there, or another transaction made it first.
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
        Value::Int8(new.window.levels),
        Value::OptBytes(new.window.slices.as_deref()),
    ])?;
    Ok(!made.is_empty())
}

/// Writes the entry; false when its idempotency key is taken. Waits for a transaction that is
/// using the same key.
pub fn append(entry: &Entry<'_>, link: &Link) -> Result<bool> {
    let rows = APPEND.run(&[
        Value::Text(entry.wallet),
        Value::Uuid(entry.entry_id),
        Value::Time(entry.created_at),
        Value::OptTime(entry.event_at),
        Value::Int2(link.lane),
        Value::Int8(link.seq),
        Value::Char(entry.kind as u8),
        Value::Char(entry.call as u8),
        Value::Amount(entry.amount),
        Value::Amount(link.lane_balance),
        Value::OptAmount((link.balance != link.lane_balance).then_some(link.balance)),
        Value::Bytes(&link.hash),
        Value::OptText(entry.key),
        Value::OptUuid(entry.fingerprint),
        Value::OptText(entry.user_id),
        Value::OptText(entry.team),
        Value::OptText(entry.provider),
        Value::OptText(entry.model),
        Value::OptText(entry.service),
        Value::OptText(entry.region),
        Value::OptText(entry.service_tier),
        Value::OptBytes(entry.lines),
        Value::OptJsonb(entry.usage.as_ref().map(|document| document.value)),
        Value::OptJsonb(entry.tags.as_ref().map(|document| document.value)),
        Value::OptText(entry.contra),
        Value::OptText(entry.reference),
        Value::OptText(entry.reason),
        Value::OptText(entry.actor),
        Value::OptJsonb(entry.metadata.as_ref().map(|document| document.value)),
        Value::OptUuid(entry.related_id),
        Value::OptUuid(entry.key_id),
    ])?;
    Ok(!rows.is_empty())
}
