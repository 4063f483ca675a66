//! The rows of `funding_requests`, for settled fundings and for those whose money has not arrived.

use crate::error::{Code, Error, Result, quoted};
use crate::ledger::funding::bonus::Booked;
use crate::ledger::funding::fx::Original;
use crate::ledger::funding::request::{Change, Funding};
use crate::ledger::grants::terms::{PLAIN_PRIORITY, Terms};
use crate::ledger::wallets::config::WalletConfig;
use crate::money::{Amount, Rate};
use crate::pg::clock::Timestamp;
use crate::pg::document::Document;
use crate::pg::jsonb::Jsonb;
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::uuid_text;
use rust_decimal::Decimal;

macro_rules! request_query {
    ($condition:literal) => {
        concat!(
            "SELECT f.entry_id, f.amount, f.method, f.reference, f.status,
                    f.original_amount, f.original_currency, f.rate, f.rounding,
                    coalesce(l.balance, l.lane_balance), f.reversal_id, f.metadata,
                    f.expires_at, f.priority, f.promotional, f.scope, f.reversed, f.reversed_original,
                    f.bonus, f.bonus_id, f.bonus_percent, f.bonus_reversed, f.inverse
               FROM wallet.funding_requests f
               LEFT JOIN wallet.ledger_all l ON l.wallet_id = f.wallet_id AND l.entry_id = f.entry_id
              WHERE f.wallet_id = $1 AND ",
            $condition
        )
    };
}

statement!(
    BY_REFERENCE,
    [TEXTOID, TEXTOID, TEXTOID],
    request_query!("f.method = $2 AND f.reference = $3 AND f.status <> 'failed'")
);

statement!(BY_ID, [TEXTOID, UUIDOID], request_query!("f.entry_id = $2"));

statement!(
    RECORD,
    [
        TEXTOID,
        UUIDOID,
        NUMERICOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TIMESTAMPTZOID,
        NUMERICOID,
        TEXTOID,
        NUMERICOID,
        NUMERICOID,
        TEXTOID,
        JSONBOID,
        TIMESTAMPTZOID,
        INT4OID,
        BOOLOID,
        JSONBOID,
        NUMERICOID,
        UUIDOID,
        NUMERICOID,
        BOOLOID
    ],
    "INSERT INTO wallet.funding_requests
        (wallet_id, entry_id, amount, method, reference, status, created_at,
         original_amount, original_currency, rate, rounding, actor, metadata,
         expires_at, priority, promotional, scope, bonus, bonus_id, bonus_percent, inverse)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)"
);

statement!(
    FINISH,
    [
        TEXTOID,
        UUIDOID,
        TEXTOID,
        TIMESTAMPTZOID,
        TEXTOID,
        NUMERICOID,
        UUIDOID,
        NUMERICOID
    ],
    "UPDATE wallet.funding_requests
        SET status = $3, finished_at = $4, reason = coalesce($5, reason),
            bonus = $6, bonus_id = $7, bonus_percent = $8
      WHERE wallet_id = $1 AND entry_id = $2"
);

statement!(
    TAKE_BACK,
    [
        TEXTOID,
        UUIDOID,
        TEXTOID,
        TIMESTAMPTZOID,
        TEXTOID,
        UUIDOID,
        NUMERICOID,
        NUMERICOID,
        NUMERICOID
    ],
    "UPDATE wallet.funding_requests
        SET status = $3, finished_at = $4, reason = coalesce($5, reason),
            reversal_id = coalesce($6, reversal_id),
            reversed = reversed + $7, reversed_original = reversed_original + $8,
            bonus_reversed = bonus_reversed + $9
      WHERE wallet_id = $1 AND entry_id = $2"
);

/// A row of `funding_requests` that a call has read.
pub(super) struct Found {
    rows: Rows,
    /// `pending`, `settled`, `failed` or `reversed`.
    pub status: String,
}

impl Found {
    /// The funding with that id, or the error 42704. The caller holds the wallet's row lock.
    pub fn of(wallet: &str, entry_id: [u8; 16]) -> Result<Found> {
        let rows = BY_ID.run(&[Value::Text(wallet), Value::Uuid(entry_id)])?;
        Found::first(rows)?.ok_or_else(|| {
            Error::new(
                Code::ObjectNotFound,
                format!("wallet {} has no such funding", quoted(wallet)),
            )
            .detail(format!("The entry_id is {}.", uuid_text(entry_id)))
            .hint("The view fundings shows what there is.")
        })
    }

    /// The funding with that payment reference, unless it failed.
    pub fn by_reference(wallet: &str, method: &str, reference: &str) -> Result<Option<Found>> {
        let values = [wallet, method, reference].map(Value::Text);
        Found::first(BY_REFERENCE.run(&values)?)
    }

    fn first(rows: Rows) -> Result<Option<Found>> {
        if rows.is_empty() {
            return Ok(None);
        }
        let status = rows.need(0, 4)?;
        Ok(Some(Found { rows, status }))
    }

    /// The entry, or the id that its entry will have.
    pub fn entry_id(&self) -> Result<[u8; 16]> {
        self.rows.need(0, 0)
    }

    /// The amount that is or will be credited.
    pub fn amount(&self) -> Result<Amount> {
        self.rows.amount(0, 1)
    }

    /// The payment method.
    pub fn method(&self) -> Result<String> {
        self.rows.need(0, 2)
    }

    /// The payment provider's reference.
    pub fn reference(&self) -> Option<String> {
        self.rows.get(0, 3)
    }

    /// The amount that was taken back before, in the wallet's currency and in the currency of the
    /// payment.
    pub fn reversed(&self) -> Result<(Amount, Amount)> {
        Ok((self.rows.amount(0, 16)?, self.rows.amount(0, 17)?))
    }

    /// The bonus on the payment, if any.
    pub fn bonus(&self) -> Result<Option<Booked>> {
        Booked::read(&self.rows, 18)
    }

    /// The last entry that reversed a part of the funding.
    pub fn reversal_id(&self) -> Option<[u8; 16]> {
        self.rows.get(0, 10)
    }

    /// The original payment, if its currency is not the wallet's.
    pub fn original(&self) -> Result<Option<Original>> {
        let Some(amount) = self.rows.opt_amount(0, 5)? else {
            return Ok(None);
        };
        Ok(Some(Original {
            amount,
            currency: self.rows.need(0, 6)?,
            rate: Rate {
                value: self.rows.decimal(0, 7)?,
                is_inverse: self.rows.need(0, 22)?,
            },
            rounding: self.rows.decimal(0, 8)?,
        }))
    }

    /// The currency of the payment, if it is not the wallet's.
    pub fn currency(&self) -> Option<String> {
        self.rows.get(0, 6)
    }

    /// The amount in the currency of the payment.
    pub fn paid(&self) -> Result<Amount> {
        match self.rows.opt_amount(0, 5)? {
            Some(amount) => Ok(amount),
            None => self.amount(),
        }
    }

    /// The balance after the funding was credited; `None` if it was not.
    pub fn balance(&self) -> Result<Option<Amount>> {
        self.rows.opt_amount(0, 9)
    }

    /// The expiry, priority and scope of the grant.
    pub fn terms(&self) -> Terms {
        Terms {
            expires_at: self.rows.get(0, 12),
            priority: self.rows.get(0, 13).unwrap_or(PLAIN_PRIORITY),
            promotional: self.rows.get(0, 14).unwrap_or(false),
            scope: self.rows.datum(0, 15).map(Jsonb),
        }
    }

    /// The caller's own data.
    pub fn metadata(&self) -> Option<Document> {
        self.rows
            .datum(0, 11)
            .map(|datum| Document::of(Jsonb(datum)))
    }
}

/// Returns WL004 if the wallet is closed, and WL016 if its parent pays for it. The payment must
/// then be refunded or credited to another wallet.
pub(super) fn require_payable(rules: &WalletConfig, wallet: &str) -> Result<()> {
    rules.require_open(wallet).map_err(|error| {
        error.hint(
            "Nothing is credited. Give the payment back, or fund() another wallet with its reference.",
        )
    })?;
    rules.require_own_money(wallet)
}

/// The error WL013 for a funding that has already ended.
pub(super) fn not_open(entry_id: [u8; 16], status: &str, hint: &str) -> Error {
    Error::new(Code::FundingNotOpen, format!("the funding is {status}"))
        .detail(format!("The entry_id is {}.", uuid_text(entry_id)))
        .hint(hint)
}

/// Stores the end of a pending funding.
pub(super) fn finish(
    change: &Change<'_>,
    status: &str,
    at: Timestamp,
    bonus: Option<&Booked>,
) -> Result<()> {
    let [amount, id, percent] = bonus_values(bonus);
    FINISH
        .run(&[
            Value::Text(change.wallet),
            Value::Uuid(change.entry_id),
            Value::Text(status),
            Value::Time(at),
            Value::OptText(change.reason),
            amount,
            id,
            percent,
        ])
        .map(drop)
}

/// A bonus as three columns.
fn bonus_values(bonus: Option<&Booked>) -> [Value<'static>; 3] {
    match bonus {
        None => [Value::Null; 3],
        Some(bonus) => [
            Value::Amount(bonus.amount),
            Value::Uuid(bonus.entry_id),
            Value::Decimal(bonus.percent),
        ],
    }
}

/// A reversal of a funding, or of a part of it.
pub(super) struct TakenBack<'a> {
    /// The funding's status after the reversal.
    pub status: &'a str,
    /// The time of the reversal.
    pub at: Timestamp,
    /// The entry of the reversal; `None` if nothing was left to take.
    pub reversal: Option<[u8; 16]>,
    /// The amount in the wallet's currency.
    pub amount: Amount,
    /// The amount in the currency of the payment, if that is another.
    pub original: Amount,
    /// The part of the bonus that is reversed as well.
    pub bonus: Amount,
}

/// Stores a reversal in the row of its funding.
pub(super) fn take_back(change: &Change<'_>, taken: &TakenBack<'_>) -> Result<()> {
    TAKE_BACK
        .run(&[
            Value::Text(change.wallet),
            Value::Uuid(change.entry_id),
            Value::Text(taken.status),
            Value::Time(taken.at),
            Value::OptText(change.reason),
            Value::OptUuid(taken.reversal),
            Value::Amount(taken.amount),
            Value::Amount(taken.original),
            Value::Amount(taken.bonus),
        ])
        .map(drop)
}

/// The properties of a new row in `funding_requests`.
pub(super) struct Noted<'a> {
    pub entry_id: [u8; 16],
    pub amount: Amount,
    pub status: &'a str,
    pub created_at: Timestamp,
    pub original: Option<&'a Original>,
    pub bonus: Option<&'a Booked>,
}

/// Stores a new funding.
pub(super) fn record(funding: &Funding<'_>, noted: &Noted<'_>) -> Result<()> {
    let [bonus, bonus_id, percent] = bonus_values(noted.bonus);
    let decimal = |value: Option<Decimal>| value.map_or(Value::Null, Value::Decimal);
    RECORD
        .run(&[
            Value::Text(funding.wallet),
            Value::Uuid(noted.entry_id),
            Value::Amount(noted.amount),
            Value::Text(funding.method),
            Value::OptText(funding.reference),
            Value::Text(noted.status),
            Value::Time(noted.created_at),
            Value::OptAmount(noted.original.map(|original| original.amount)),
            Value::OptText(noted.original.map(|original| original.currency.as_str())),
            decimal(noted.original.map(|original| original.rate.value)),
            decimal(noted.original.map(|original| original.rounding)),
            Value::OptText(funding.actor),
            Value::OptJsonb(funding.metadata.as_ref().map(|document| document.value)),
            Value::OptTime(funding.terms.expires_at),
            Value::Int4(funding.terms.priority),
            Value::Bool(funding.terms.promotional),
            Value::OptJsonb(funding.terms.scope),
            bonus,
            bonus_id,
            percent,
            Value::Bool(
                noted
                    .original
                    .is_some_and(|original| original.rate.is_inverse),
            ),
        ])
        .map(drop)
}
