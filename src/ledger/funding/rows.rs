//! The rows of fundings, also of those whose money has not come.

use crate::error::{Code, Error, Result, quoted};
use crate::ledger::funding::bonus::Booked;
use crate::ledger::funding::fx::Original;
use crate::ledger::funding::request::{Change, Funding};
use crate::ledger::grants::terms::{PLAIN_PRIORITY, Terms};
use crate::ledger::wallets::config::WalletConfig;
use crate::money::{Amount, Rate};
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::{Document, uuid_text};
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

/// A row of `funding_requests` as a call on it finds it.
pub(super) struct Found {
    rows: Rows,
    /// `pending`, `settled`, `failed`, `reversed`
    pub status: String,
}

impl Found {
    /// The funding, or 42704. The caller holds the wallet's row.
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

    /// The funding by a payment of that reference, unless it failed.
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

    /// Its entry, or what will be its id.
    pub fn entry_id(&self) -> Result<[u8; 16]> {
        self.rows.need(0, 0)
    }

    /// What is or was credited.
    pub fn amount(&self) -> Result<Amount> {
        self.rows.amount(0, 1)
    }

    /// How it was paid.
    pub fn method(&self) -> Result<String> {
        self.rows.need(0, 2)
    }

    /// The payment provider's reference.
    pub fn reference(&self) -> Option<String> {
        self.rows.get(0, 3)
    }

    /// How much was taken back before, and how much of what was paid in another currency.
    pub fn reversed(&self) -> Result<(Amount, Amount)> {
        Ok((self.rows.amount(0, 16)?, self.rows.amount(0, 17)?))
    }

    /// What came on top of it.
    pub fn bonus(&self) -> Result<Option<Booked>> {
        Booked::read(&self.rows, 18)
    }

    /// The last entry that took some of it back.
    pub fn reversal_id(&self) -> Option<[u8; 16]> {
        self.rows.get(0, 10)
    }

    /// What was paid, where that was in another currency.
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

    /// The currency of the payment, where that was another.
    pub fn currency(&self) -> Option<String> {
        self.rows.get(0, 6)
    }

    /// How much was paid, in the currency of the payment.
    pub fn paid(&self) -> Result<Amount> {
        match self.rows.opt_amount(0, 5)? {
            Some(amount) => Ok(amount),
            None => self.amount(),
        }
    }

    /// The balance after it was credited, where it was.
    pub fn balance(&self) -> Result<Option<Amount>> {
        self.rows.opt_amount(0, 9)
    }

    /// What distinguishes it from a plain funding.
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
        self.rows.datum(0, 11).map(|datum| {
            let value = Jsonb(datum);
            let text = value.to_text();
            Document { value, text }
        })
    }
}

/// WL004 where the wallet is closed: a payment that comes all the same belongs elsewhere.
pub(super) fn require_payable(rules: &WalletConfig, wallet: &str) -> Result<()> {
    rules.require_open(wallet).map_err(|error| {
        error.hint(
            "Nothing is credited. Give the payment back, or fund() another wallet with its reference.",
        )
    })
}

/// WL013: the funding is past the point where the call makes sense.
pub(super) fn not_open(entry_id: [u8; 16], status: &str, hint: &str) -> Error {
    Error::new(Code::FundingNotOpen, format!("the funding is {status}"))
        .detail(format!("The entry_id is {}.", uuid_text(entry_id)))
        .hint(hint)
}

/// Notes what became of a funding.
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

/// What is taken back of a funding.
pub(super) struct TakenBack<'a> {
    /// Its status from now on.
    pub status: &'a str,
    /// When.
    pub at: Timestamp,
    /// The entry; none where nothing was left to take.
    pub reversal: Option<[u8; 16]>,
    /// How much.
    pub amount: Amount,
    /// How much of what was paid in another currency.
    pub original: Amount,
    /// How much of its bonus goes with it.
    pub bonus: Amount,
}

/// Notes what was taken back of a funding.
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

/// A funding as it is noted.
pub(super) struct Noted<'a> {
    pub entry_id: [u8; 16],
    pub amount: Amount,
    pub status: &'a str,
    pub created_at: Timestamp,
    pub original: Option<&'a Original>,
    pub bonus: Option<&'a Booked>,
}

/// Notes a funding.
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
