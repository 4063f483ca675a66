//! The rows of holds.

use std::rc::Rc;

use crate::error::{Code, Error, Result, quoted};
use crate::ledger::burn::Burn;
use crate::ledger::rules;
use crate::money::Amount;
use crate::statement;
use crate::storage::clock::Timestamp;
use crate::storage::jsonb::Jsonb;
use crate::storage::plan::{Rows, Run, Value};
use crate::storage::rows::{AllowanceId, Document, uuid_text};

macro_rules! hold_query {
    ($clause:literal) => {
        concat!(
            "SELECT hold_id, status, amount, held, settled, lane, created_at, expires_at,
                    window_ids, window_amounts, key_id, user_id, team, model, service, region,
                    service_tier, tags, balance, affordable_tokens, fingerprint,
                    scoped_ids, scoped_amounts
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
    [TEXTOID, TEXTOID],
    hold_query!("idempotency_key = $2")
);

// Whoever settles a hold has its row locked: it is left to them.
statement!(
    LOCK_EXPIRED,
    [TEXTOID, TIMESTAMPTZOID],
    hold_query!(
        "status = 'open' AND expires_at <= $2 ORDER BY hold_id FOR NO KEY UPDATE SKIP LOCKED"
    )
);

statement!(
    ANY_EXPIRED,
    [TEXTOID, TIMESTAMPTZOID],
    "SELECT FROM wallet.reservations
      WHERE wallet_id = $1 AND status = 'open' AND expires_at <= $2 LIMIT 1"
);

statement!(
    EXPIRED_AMOUNTS,
    [TEXTOID, TIMESTAMPTZOID],
    "SELECT w.id, sum(w.amount)
       FROM wallet.reservations r
      CROSS JOIN LATERAL (
            SELECT '00000000-0000-0000-0000-000000000000'::uuid AS id,
                   r.held - (SELECT coalesce(sum(s), 0) FROM unnest(r.scoped_amounts) s) AS amount
             UNION ALL
            SELECT * FROM unnest(r.window_ids, r.window_amounts)
             UNION ALL
            SELECT * FROM unnest(r.scoped_ids, r.scoped_amounts)) w
      WHERE r.wallet_id = $1 AND r.status = 'open' AND r.expires_at <= $2
      GROUP BY w.id"
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

/// What a hold says of the use that it is for.
pub struct About {
    /// API key.
    pub key_id: Option<[u8; 16]>,
    /// User.
    pub user_id: Option<String>,
    /// Team.
    pub team: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Service.
    pub service: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Service tier.
    pub service_tier: Option<String>,
    /// Tags.
    pub tags: Option<Document>,
}

/// A row of `wallet.reservations`, with what a settlement inherits from it.
pub struct Hold {
    /// Its id.
    pub id: [u8; 16],
    /// `open`, `settled`, `voided`, `expired`
    pub status: String,
    /// What was set aside at first.
    pub amount: Amount,
    /// What still is.
    pub held: Amount,
    /// What was booked of it.
    pub settled: Amount,
    /// The lane in which it is held.
    pub lane: i16,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops counting.
    pub expires_at: Timestamp,
    /// Limits' windows in which it is held, and how much in each.
    pub windows: Vec<(AllowanceId, Amount)>,
    /// Whose use it is.
    pub about: Rc<About>,
    /// The balance that `hold` returned.
    pub balance: Amount,
    /// The output tokens that it pays for.
    pub affordable_tokens: Option<i64>,
    /// Fingerprint of the request.
    pub fingerprint: Option<[u8; 16]>,
    /// What of it is held in grants with a scope; the lane holds the rest.
    pub scoped: Vec<Burn>,
    /// Keeps the tags' datum alive.
    _rows: Rc<Rows>,
}

impl Hold {
    fn of(rows: &Rc<Rows>, row: usize) -> Result<Hold> {
        let text = |column: i32| rows.get::<String>(row, column);
        let windows = rows
            .uuids(row, 8)
            .into_iter()
            .zip(rows.amounts(row, 9)?)
            .collect();
        let about = Rc::new(About {
            key_id: rows.get(row, 10),
            user_id: text(11),
            team: text(12),
            model: text(13),
            service: text(14),
            region: text(15),
            service_tier: text(16),
            tags: rows.datum(row, 17).map(|datum| {
                let value = Jsonb(datum);
                let text = value.to_text();
                Document { value, text }
            }),
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
            about,
            balance: rows.amount(row, 18)?,
            affordable_tokens: rows.get(row, 19),
            fingerprint: rows.get(row, 20),
            scoped: rows
                .uuids(row, 21)
                .into_iter()
                .zip(rows.amounts(row, 22)?)
                .map(|(id, amount)| Burn { id, amount })
                .collect(),
            _rows: rows.clone(),
        })
    }

    /// Locks the hold; 42704 when the wallet has none of that id, WL003 when there is no wallet.
    pub fn lock(wallet: &str, id: [u8; 16]) -> Result<Hold> {
        let rows = Rc::new(LOCK.run(&[Value::Text(wallet), Value::Uuid(id)])?);
        if rows.is_empty() {
            rules::read(wallet)?;
            return Err(Error::new(
                Code::ObjectNotFound,
                format!("wallet {} has no such hold", quoted(wallet)),
            )
            .detail(format!("There is no hold {}.", uuid_text(id)))
            .hint("Pass the hold_id that hold() returned; the view holds shows them."));
        }
        Hold::of(&rows, 0)
    }

    /// The hold that a key has made, if it has.
    pub fn by_key(wallet: &str, key: &str) -> Result<Option<Hold>> {
        let rows = Rc::new(BY_KEY.run(&[Value::Text(wallet), Value::Text(key)])?);
        if rows.is_empty() {
            return Ok(None);
        }
        Hold::of(&rows, 0).map(Some)
    }

    /// Locks the open holds whose time has come, but those that others have locked.
    pub fn lock_expired(wallet: &str, now: Timestamp) -> Result<Vec<Hold>> {
        let rows = Rc::new(LOCK_EXPIRED.run(&[Value::Text(wallet), Value::Time(now)])?);
        (0..rows.len()).map(|row| Hold::of(&rows, row)).collect()
    }

    /// True when the wallet has an open hold whose time has come.
    pub fn any_expired(wallet: &str, now: Timestamp) -> Result<bool> {
        Ok(!ANY_EXPIRED
            .run(&[Value::Text(wallet), Value::Time(now)])?
            .is_empty())
    }

    /// What the holds whose time has come still hold, by allowance, and by grant with a scope.
    pub fn expired_amounts(wallet: &str, now: Timestamp) -> Result<Vec<(AllowanceId, Amount)>> {
        let rows = EXPIRED_AMOUNTS.run(&[Value::Text(wallet), Value::Time(now)])?;
        (0..rows.len())
            .map(|row| Ok((rows.need(row, 0)?, rows.amount(row, 1)?)))
            .collect()
    }

    /// Writes what became of it.
    pub fn write(
        &self,
        wallet: &str,
        closed_at: Option<Timestamp>,
        reason: Option<&str>,
    ) -> Result<()> {
        let amounts: Vec<Amount> = self.windows.iter().map(|(_, amount)| *amount).collect();
        let (scoped_ids, scoped_amounts): (Vec<[u8; 16]>, Vec<Amount>) = self
            .scoped
            .iter()
            .map(|part| (part.id, part.amount))
            .unzip();
        UPDATE
            .run(&[
                Value::Text(wallet),
                Value::Uuid(self.id),
                Value::Text(&self.status),
                Value::Amount(self.held),
                Value::Amount(self.settled),
                Value::Amounts(&amounts),
                Value::OptTime(closed_at),
                Value::OptText(reason),
                Value::Uuids(&scoped_ids),
                Value::Amounts(&scoped_amounts),
            ])
            .map(drop)
    }

    /// WL008.
    pub fn not_open(&self) -> Error {
        let hint = match self.status.as_str() {
            "settled" => "What it paid for is booked; book further use with charge().",
            _ => "Nothing is held any more; book the use with charge().",
        };
        Error::new(Code::HoldNotOpen, "hold is not open")
            .detail(format!("Hold {} is {}.", uuid_text(self.id), self.status))
            .hint(hint)
    }
}
