//! Holds: their Rust types, and access through SPI. The table is `wallet.reservations`.

use std::rc::Rc;

use sha2::{Digest, Sha256};

use crate::attribution::{Attribution, StoredUse, UseContext};
use crate::error::Result;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::document::Document;
use crate::pg::jsonb::Jsonb;
use crate::storage::direct::write::RowAsRead;
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::{AllowanceId, Burn};

macro_rules! hold_query {
    ($clause:literal) => {
        concat!(
            "SELECT hold_id, status, amount, held, settled, lane, created_at, expires_at,
                    window_ids, window_amounts, key_id, user_id, team, model, service, region,
                    service_tier, tags, balance, affordable_tokens, fingerprint,
                    scoped_ids, scoped_amounts, provider, usage, priced_as, event_at,
                    charge_on_expiry, expiry_entry_id, approval::text, spender
               FROM wallet.reservations WHERE wallet_id = $1 AND ",
            $clause
        )
    };
}

statement!(
    LOCK,
    [TEXTOID, UUIDOID],
    hold_query!("hold_id = $2 FOR NO KEY UPDATE")
);
statement!(
    BY_KEY,
    [TEXTOID, UUIDOID, TEXTOID],
    hold_query!("hold_id = $2 AND idempotency_key = $3")
);

statement!(
    INSERT,
    [
        TEXTOID, UUIDOID, NUMERICOID, INT2OID, NUMERICOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID,
        UUIDARRAYOID, NUMERICARRAYOID, TEXTOID, UUIDOID, UUIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
        TEXTOID, TEXTOID, JSONBOID, JSONBOID, TEXTOID, JSONBOID, UUIDARRAYOID, NUMERICARRAYOID,
        TEXTOID, TEXTOID, TIMESTAMPTZOID, BOOLOID, CHAROID, TEXTOID
    ],
    "INSERT INTO wallet.reservations
        (wallet_id, hold_id, status, amount, held, lane, balance, affordable_tokens, created_at,
         expires_at, window_ids, window_amounts, idempotency_key, fingerprint, key_id, user_id, team,
         model, service, region, service_tier, tags, usage, actor, metadata, scoped_ids, scoped_amounts,
         provider, priced_as, event_at, charge_on_expiry, approval, spender)
     VALUES ($1, $2, 'open', $3, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
             $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31)
     ON CONFLICT (wallet_id, hold_id) DO NOTHING"
);

statement!(
    UPDATE,
    [
        TEXTOID,
        UUIDOID,
        TEXTOID,
        NUMERICOID,
        NUMERICOID,
        NUMERICARRAYOID,
        TIMESTAMPTZOID,
        TEXTOID,
        UUIDARRAYOID,
        NUMERICARRAYOID
    ],
    "UPDATE wallet.reservations
        SET status = $3, held = $4, settled = $5, window_amounts = $6,
            closed_at = $7, reason = coalesce($8, reason), scoped_ids = $9, scoped_amounts = $10
      WHERE wallet_id = $1 AND hold_id = $2"
);

/// The attributes of the usage for which a hold was made.
pub struct About {
    /// Attribution and context of the use. The provider is the one that the estimate names.
    pub stored: StoredUse,
    /// The estimated usage. The hold keeps its datum alive.
    pub usage: Option<Jsonb>,
    /// The argument `model`, if given. A settlement with a provider's response is priced as this
    /// model.
    pub priced_as: Option<String>,
    /// The time of use, if the caller gave one.
    pub event_at: Option<Timestamp>,
}

/// The state of a hold that needs approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    /// It waits. Its amount is reserved, but the hold cannot be settled.
    Waits {
        /// Whether the amount is charged when the hold expires, once it is approved.
        charge_on_expiry: bool,
    },
    /// It was approved.
    Given,
}

impl Approval {
    /// The letter in the column.
    pub(in crate::storage) fn letter(self) -> u8 {
        match self {
            Approval::Waits {
                charge_on_expiry: false,
            } => b'w',
            Approval::Waits {
                charge_on_expiry: true,
            } => b'c',
            Approval::Given => b'a',
        }
    }

    /// The state of that letter.
    pub(in crate::storage) fn of(letter: &[u8]) -> Option<Approval> {
        match letter {
            b"w" => Some(Approval::Waits {
                charge_on_expiry: false,
            }),
            b"c" => Some(Approval::Waits {
                charge_on_expiry: true,
            }),
            b"a" => Some(Approval::Given),
            _ => None,
        }
    }
}

/// A row of `wallet.reservations`, with the attributes that its settlement inherits.
pub struct Hold {
    /// UUIDv7, or UUIDv8 if the hold has an idempotency key (see [`new_id`]).
    pub id: [u8; 16],
    /// `open`, `settled`, `voided` or `expired`.
    pub status: String,
    /// The amount that was originally held.
    pub amount: Amount,
    /// The amount that is still held.
    pub held: Amount,
    /// The amount that was booked by settlements.
    pub settled: Amount,
    /// The part that is held in grants with a scope. The rest is held in the lane.
    pub scoped: Vec<Burn>,
    /// The lane in which the hold is.
    pub lane: i16,
    /// When the hold was made.
    pub created_at: Timestamp,
    /// When the hold no longer reserves its amount.
    pub expires_at: Timestamp,
    /// The windows of limits in which the hold counts, and the amount in each.
    pub windows: Vec<(AllowanceId, Amount)>,
    /// Whether the amount is charged when the hold expires.
    pub charge_on_expiry: bool,
    /// The charge that booked the amount after the hold had expired.
    pub expiry_entry: Option<[u8; 16]>,
    /// The state of its approval; `None` if it needs none.
    pub approval: Option<Approval>,
    /// The attributes of the usage.
    pub about: Rc<About>,
    /// The balance that `hold` returned.
    pub balance: Amount,
    /// The number of output tokens that the hold pays for, if it was computed.
    pub affordable_tokens: Option<i64>,
    /// Fingerprint of the request; `None` without an idempotency key.
    pub fingerprint: Option<[u8; 16]>,
    /// The child whose hold it is; `None` for a hold of the wallet itself.
    pub spender: Option<String>,
    /// Where the hold was read. Keeps the datums of tags and usage alive.
    pub source: Source,
}

impl Hold {
    /// The amounts that are held in the windows of limits, in the order of `windows`.
    pub(in crate::storage) fn window_amounts(&self) -> Vec<Amount> {
        self.windows.iter().map(|(_, amount)| *amount).collect()
    }

    /// The parts in grants with a scope, without the part that the parent holds.
    pub fn of_grants(&self) -> Vec<Burn> {
        let own = self.scoped.iter().filter(|part| part.id != OF_PARENT);
        own.cloned().collect()
    }

    /// Whether the parent holds the money.
    pub fn is_pooled(&self) -> bool {
        self.scoped.iter().any(|part| part.id == OF_PARENT)
    }

    /// Whether the hold waits for approval.
    pub fn waits(&self) -> bool {
        matches!(self.approval, Some(Approval::Waits { .. }))
    }

    /// The ids of the grants with a scope in which a part is held, and the amounts.
    pub(in crate::storage) fn scoped_parts(&self) -> (Vec<[u8; 16]>, Vec<Amount>) {
        self.scoped
            .iter()
            .map(|part| (part.id, part.amount))
            .unzip()
    }
}

/// Where a hold was read.
pub enum Source {
    /// By a statement.
    Statement {
        /// The rows into which the datums point.
        _rows: Rc<Rows>,
    },
    /// By direct access; with the row's copy and TID.
    Table(RowAsRead),
}

/// The values of a row that is added to `wallet.reservations`.
pub struct NewHold<'a> {
    /// The wallet's id.
    pub wallet: &'a str,
    /// The id, from [`new_id`].
    pub id: [u8; 16],
    /// The amount to hold, in the wallet's currency.
    pub amount: Amount,
    /// The lane in which the hold is made.
    pub lane: i16,
    /// The balance that the call returns.
    pub balance: Amount,
    /// The number of output tokens that the hold pays for, if it was computed.
    pub affordable_tokens: Option<i64>,
    /// When the hold is made.
    pub created_at: Timestamp,
    /// When the hold no longer reserves its amount.
    pub expires_at: Timestamp,
    /// The windows of limits in which the hold counts.
    pub window_ids: Vec<AllowanceId>,
    /// The amount in each of these windows.
    pub window_amounts: Vec<Amount>,
    /// Idempotency key of the call.
    pub key: Option<&'a str>,
    /// Fingerprint of the request; `None` without an idempotency key.
    pub fingerprint: Option<[u8; 16]>,
    /// To whom the use is attributed.
    pub attribution: Attribution<'a>,
    /// The use. The provider is the one that the estimate names.
    pub context: UseContext<'a>,
    /// The argument `model`, if given. A settlement with a provider's response is priced as this
    /// model.
    pub priced_as: Option<&'a str>,
    /// The time of use, if the caller gave one.
    pub event_at: Option<Timestamp>,
    /// The estimated usage; `None` if the amount was given.
    pub usage: Option<Jsonb>,
    /// The actor: the person or program that makes the call.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Jsonb>,
    /// Whether the amount is charged when the hold expires.
    pub charge_on_expiry: bool,
    /// The state of its approval; `None` if it needs none.
    pub approval: Option<Approval>,
    /// The grants with a scope in which a part is held.
    pub scoped_ids: Vec<[u8; 16]>,
    /// The amount in each of these grants.
    pub scoped_amounts: Vec<Amount>,
    /// The child whose hold it is; `None` for a hold of the wallet itself.
    pub spender: Option<&'a str>,
}

/// The id of the part of a hold that the parent holds, among the grants with a scope. No grant has
/// this id.
pub const OF_PARENT: [u8; 16] = [255; 16];

/// The part of a child's hold that its parent holds: all of it.
pub fn held_by_parent(amount: Amount) -> Burn {
    Burn {
        id: OF_PARENT,
        amount,
    }
}

/// The id of a new hold. With an idempotency key it is a UUIDv8, a hash of wallet and key, so that
/// the primary key alone allows one hold per key. Without one it is a UUIDv7.
pub fn new_id(wallet: &str, key: Option<&str>) -> [u8; 16] {
    let Some(key) = key else {
        return uuid::Uuid::now_v7().into_bytes();
    };
    let digest = Sha256::new()
        .chain_update("hold")
        .chain_update((wallet.len() as u64).to_be_bytes())
        .chain_update(wallet)
        .chain_update(key)
        .finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(half)
        .into_uuid()
        .into_bytes()
}

/// Combines a column of lots and a column of amounts.
pub(in crate::storage) fn burns(ids: Vec<[u8; 16]>, amounts: Vec<Amount>) -> Vec<Burn> {
    let parts = ids.into_iter().zip(amounts);
    parts.map(|(id, amount)| Burn { id, amount }).collect()
}

/// The numbers are positions in the column list of the statements that read holds. Tags and usage
/// point into `rows`, which is why the hold keeps them.
fn hold_of(rows: &Rc<Rows>, row: usize) -> Result<Hold> {
    let text = |column: i32| rows.get::<String>(row, column);
    let windows = rows
        .uuids(row, 8)
        .into_iter()
        .zip(rows.amounts(row, 9)?)
        .collect();
    let about = Rc::new(About {
        stored: StoredUse {
            key_id: rows.get(row, 10),
            user_id: text(11),
            team: text(12),
            model: text(13),
            service: text(14),
            region: text(15),
            service_tier: text(16),
            tags: rows.datum(row, 17).map(|datum| Document::of(Jsonb(datum))),
            provider: text(23),
        },
        usage: rows.datum(row, 24).map(Jsonb),
        priced_as: text(25),
        event_at: rows.get(row, 26),
    });
    Ok(Hold {
        id: rows.need(row, 0)?,
        status: rows.need(row, 1)?,
        amount: rows.amount(row, 2)?,
        held: rows.amount(row, 3)?,
        settled: rows.amount(row, 4)?,
        lane: rows.need(row, 5)?,
        created_at: rows.need(row, 6)?,
        expires_at: rows.need(row, 7)?,
        windows,
        scoped: burns(rows.uuids(row, 21), rows.amounts(row, 22)?),
        about,
        balance: rows.amount(row, 18)?,
        affordable_tokens: rows.get(row, 19),
        fingerprint: rows.get(row, 20),
        charge_on_expiry: rows.need(row, 27)?,
        expiry_entry: rows.get(row, 28),
        approval: text(29).and_then(|letter| Approval::of(letter.as_bytes())),
        spender: text(30),
        source: Source::Statement {
            _rows: rows.clone(),
        },
    })
}

fn first_of(rows: Rows) -> Result<Option<Hold>> {
    let rows = Rc::new(rows);
    if rows.is_empty() {
        return Ok(None);
    }
    hold_of(&rows, 0).map(Some)
}

/// Locks the hold, waiting for the transaction that has it locked. `None` if there is no hold with
/// that id.
pub fn lock(wallet: &str, id: [u8; 16]) -> Result<Option<Hold>> {
    first_of(LOCK.run(&[Value::Text(wallet), Value::Uuid(id)])?)
}

/// The hold that was made with an idempotency key, if there is one.
pub fn by_key(wallet: &str, key: &str) -> Result<Option<Hold>> {
    first_of(BY_KEY.run(&[
        Value::Text(wallet),
        Value::Uuid(new_id(wallet, Some(key))),
        Value::Text(key),
    ])?)
}

/// Writes the hold. Returns false if its key is taken. Waits for a transaction that is using the
/// same key.
pub fn insert(new: &NewHold<'_>) -> Result<bool> {
    let rows = INSERT.run(&[
        Value::Text(new.wallet),
        Value::Uuid(new.id),
        Value::Amount(new.amount),
        Value::Int2(new.lane),
        Value::Amount(new.balance),
        Value::OptInt8(new.affordable_tokens),
        Value::Time(new.created_at),
        Value::Time(new.expires_at),
        Value::Uuids(&new.window_ids),
        Value::Amounts(&new.window_amounts),
        Value::OptText(new.key),
        Value::OptUuid(new.fingerprint),
        Value::OptUuid(new.attribution.key_id),
        Value::OptText(new.attribution.user_id),
        Value::OptText(new.attribution.team),
        Value::OptText(new.context.model),
        Value::OptText(new.context.service),
        Value::OptText(new.context.region),
        Value::OptText(new.context.service_tier),
        Value::OptJsonb(new.context.tags.map(|tags| tags.value)),
        Value::OptJsonb(new.usage),
        Value::OptText(new.actor),
        Value::OptJsonb(new.metadata),
        Value::Uuids(&new.scoped_ids),
        Value::Amounts(&new.scoped_amounts),
        Value::OptText(new.context.provider),
        Value::OptText(new.priced_as),
        Value::OptTime(new.event_at),
        Value::Bool(new.charge_on_expiry),
        match new.approval {
            Some(approval) => Value::Char(approval.letter()),
            None => Value::Null,
        },
        Value::OptText(new.spender),
    ])?;
    Ok(!rows.is_empty())
}

/// Writes the new state of a hold that this transaction has locked.
pub fn write(
    hold: &Hold,
    wallet: &str,
    closed_at: Option<Timestamp>,
    reason: Option<&str>,
) -> Result<()> {
    let (scoped_ids, scoped_amounts) = hold.scoped_parts();
    UPDATE
        .run(&[
            Value::Text(wallet),
            Value::Uuid(hold.id),
            Value::Text(&hold.status),
            Value::Amount(hold.held),
            Value::Amount(hold.settled),
            Value::Amounts(&hold.window_amounts()),
            Value::OptTime(closed_at),
            Value::OptText(reason),
            Value::Uuids(&scoped_ids),
            Value::Amounts(&scoped_amounts),
        ])
        .map(drop)
}
