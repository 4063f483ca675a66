//! `set_recurring_grant`: grants that are repeated every period.

use crate::error::{Error, Result};
use crate::idempotency::call::IdempotentCall;
use crate::ledger::grants::locked_lots::LockedLots;
use crate::ledger::grants::recurrence::Occurrence;
use crate::ledger::grants::scope::Scope;
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::document::Document;
use crate::pg::jsonb::{Builder, Json, Jsonb};
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::uuid_text;
use crate::storage::wallet_row::lock_wallet;

statement!(
    SET,
    [
        TEXTOID,
        NUMERICOID,
        TEXTOID,
        TEXTOID,
        NUMERICOID,
        TIMESTAMPTZOID,
        TEXTOID,
        JSONBOID,
        JSONBOID
    ],
    "INSERT INTO wallet.recurring_grants AS r
        (wallet_id, amount, period, expires_after, rollover_max, started_at, next_at, actor, metadata,
         scope)
     SELECT $1, $2, $3::interval, $4::interval, $5, $6,
            ($6 AT TIME ZONE w.time_zone + $3::interval) AT TIME ZONE w.time_zone, $7, $8, $9
       FROM wallet.wallets w WHERE w.wallet_id = $1
     ON CONFLICT (wallet_id) DO UPDATE
        SET amount = excluded.amount, period = excluded.period,
            expires_after = excluded.expires_after, rollover_max = excluded.rollover_max,
            started_at = excluded.started_at, turn = 0, next_at = excluded.next_at,
            actor = excluded.actor, metadata = excluded.metadata, scope = excluded.scope
     RETURNING next_at,
               (SELECT ($6 AT TIME ZONE w.time_zone + date_trunc('day', r.expires_after)) AT TIME ZONE w.time_zone
                       + (r.expires_after - date_trunc('day', r.expires_after))
                  FROM wallet.wallets w WHERE w.wallet_id = $1)"
);

statement!(
    STOP,
    [TEXTOID],
    "DELETE FROM wallet.recurring_grants WHERE wallet_id = $1"
);

statement!(
    NEXT,
    [TEXTOID],
    "SELECT next_at FROM wallet.recurring_grants WHERE wallet_id = $1"
);

/// The arguments of `set_recurring_grant`.
pub struct NewRecurring<'a> {
    /// Id of the wallet, which has at most one recurring grant.
    pub wallet: &'a str,
    /// The amount of each grant; zero stops the recurring grant.
    pub amount: Amount,
    /// The period, as an interval.
    pub period: &'a str,
    /// How long each grant can be spent, as an interval; `None` if it does not expire.
    pub expires_after: Option<&'a str>,
    /// The most that may be rolled over from earlier grants.
    pub rollover_max: Option<Amount>,
    /// The models and services that each grant may pay for; `None` for all.
    pub scope: Option<Jsonb>,
    /// The person or program that makes the call.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
}

/// The result of `set_recurring_grant`.
pub struct Recurring {
    /// The first grant; `None` if the recurring grant was stopped.
    pub grant_id: Option<[u8; 16]>,
    /// The amount of each grant.
    pub amount: Amount,
    /// The wallet's balance after the first grant.
    pub balance: Amount,
    /// When the next grant is due; `None` if there is none.
    pub next_at: Option<Timestamp>,
    /// True if an earlier call produced this result.
    pub replayed: bool,
}

/// Grants now and then every period, or stops the recurring grant. The first answer is looked for
/// under the lock, so that of two calls with one key the second sees the first. The first
/// occurrence is granted at once; later ones are counted from it.
pub fn set(new: &NewRecurring<'_>, call: IdempotentCall<'_>) -> Result<Recurring> {
    let wallet = new.wallet;
    lock_wallet(wallet)?;
    if let Some(answer) = call.answered()? {
        return first_answer(new, answer.result());
    }
    let mut locked_lots = LockedLots::open(wallet)?;
    let now = clock::now();
    locked_lots.rules().require_open(wallet)?;
    let result = if new.amount.is_zero() {
        STOP.run(&[Value::Text(wallet)])?;
        Recurring {
            grant_id: None,
            amount: new.amount,
            balance: locked_lots.balance()?,
            next_at: None,
            replayed: false,
        }
    } else {
        let rows = SET.run(&[
            Value::Text(wallet),
            Value::Amount(new.amount),
            Value::Text(new.period),
            Value::OptText(new.expires_after),
            Value::OptAmount(new.rollover_max),
            Value::Time(now),
            Value::OptText(new.actor),
            Value::OptJsonb(new.metadata.as_ref().map(|document| document.value)),
            Value::OptJsonb(new.scope),
        ])?;
        let first = Occurrence {
            at: now,
            amount: new.amount,
            expires_at: rows.get(0, 1),
            rollover_max: new.rollover_max,
            actor: new.actor.map(str::to_owned),
            scope: new.scope.map(Scope::stored).transpose()?,
            stored_scope: new.scope,
        };
        let entry = first.entry(wallet, new.metadata.clone());
        let (id, terms) = (entry.entry_id, first.terms());
        let balance = locked_lots.grant(&entry, new.amount, &terms, true, Amount::ZERO)?;
        Recurring {
            grant_id: Some(id),
            amount: new.amount,
            balance,
            next_at: rows.get(0, 0),
            replayed: false,
        }
    };
    locked_lots.close()?;
    let mut json = Builder::default();
    json.begin_object();
    json.text("balance", Some(&result.balance.to_fixed()));
    json.text("grant_id", result.grant_id.map(uuid_text).as_deref());
    call.remember(Some(json.finish_object()))?;
    Ok(result)
}

fn first_answer(new: &NewRecurring<'_>, answer: Option<Jsonb>) -> Result<Recurring> {
    let lost = || Error::internal("an answer was not kept");
    let json = answer.ok_or_else(lost)?.reread("result")?;
    let text = |name: &str| {
        let (_, value) = json.as_object()?.iter().find(|(key, _)| key == name)?;
        match value {
            Json::String(text) => Some(text.as_str()),
            _ => None,
        }
    };
    let balance = text("balance")
        .and_then(|balance| Amount::from_decimal(balance.parse().ok()?).ok())
        .ok_or_else(lost)?;
    let grant_id = text("grant_id").and_then(|id| uuid::Uuid::parse_str(id).ok());
    let rows = NEXT.run(&[Value::Text(new.wallet)])?;
    Ok(Recurring {
        grant_id: grant_id.map(uuid::Uuid::into_bytes),
        amount: new.amount,
        balance,
        next_at: if rows.is_empty() {
            None
        } else {
            rows.get(0, 0)
        },
        replayed: true,
    })
}
