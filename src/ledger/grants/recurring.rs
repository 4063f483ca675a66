//! `set_recurring_grant`: grants that are repeated every period.

use crate::error::{Error, Result, quoted};
use crate::idempotency::call::IdempotentCall;
use crate::ledger::grants::locked_lots::LockedLots;
use crate::ledger::grants::recurrence::Occurrence;
use crate::ledger::grants::scope::Scope;
use crate::ledger::wallets::following;
use crate::ledger::wallets::plan_marks::{self, RuleKind};
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::document::Document;
use crate::pg::jsonb::{Builder, Json, Jsonb};
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::uuid_text;
use crate::storage::wallet_row::lock_wallet;
use pgrx::datum::Date;

/// The most recurring grants of a wallet. A call that finds the due ones looks at all of them.
const MAX_GRANTS: i64 = 100;

statement!(
    /// Where the periods begin, how many of them have begun after the first one, when a grant of
    /// the running period ends, how many days ago the first day was, today, and the number of other
    /// recurring grants. Only on the first day can a period run that began before the call.
    BEGIN,
    [TEXTOID, TEXTOID, DATEOID, TEXTOID, TEXTOID, TIMESTAMPTZOID],
    "SELECT s.started_at, b.turn,
            (p.begins AT TIME ZONE w.time_zone + date_trunc('day', $5::interval)) AT TIME ZONE w.time_zone
                + ($5::interval - date_trunc('day', $5::interval)),
            t.today - $3, t.today::text,
            (SELECT count(*) FROM wallet.recurring_grants r WHERE r.wallet_id = $1 AND r.name <> $2)
       FROM wallet.wallets w
      CROSS JOIN LATERAL (
            SELECT ($6 AT TIME ZONE w.time_zone)::date AS today) t
      CROSS JOIN LATERAL (
            SELECT coalesce($3::timestamp AT TIME ZONE w.time_zone, $6) AS started_at) s
      CROSS JOIN LATERAL (
            SELECT CASE WHEN $3 IS NULL THEN 0 ELSE coalesce((
                   SELECT max(n)
                     FROM generate_series(0, (93600 / extract(epoch FROM $4::interval))::bigint) n
                    WHERE (s.started_at AT TIME ZONE w.time_zone + n * $4::interval) AT TIME ZONE w.time_zone <= $6),
                   -1) END AS turn) b
      CROSS JOIN LATERAL (
            SELECT CASE b.turn WHEN 0 THEN s.started_at
                   ELSE (s.started_at AT TIME ZONE w.time_zone + b.turn * $4::interval) AT TIME ZONE w.time_zone
                   END AS begins) p
      WHERE w.wallet_id = $1"
);

statement!(
    SET,
    [
        TEXTOID,
        TEXTOID,
        NUMERICOID,
        TEXTOID,
        TEXTOID,
        NUMERICOID,
        TIMESTAMPTZOID,
        INT8OID,
        TEXTOID,
        JSONBOID,
        JSONBOID
    ],
    "INSERT INTO wallet.recurring_grants
        (wallet_id, name, amount, period, expires_after, rollover_max, started_at, turn, next_at,
         actor, metadata, scope)
     SELECT $1, $2, $3, $4::interval, $5::interval, $6, $7, $8,
            CASE $8 WHEN -1 THEN $7
                    ELSE ($7 AT TIME ZONE w.time_zone + ($8 + 1) * $4::interval) AT TIME ZONE w.time_zone END,
            $9, $10, $11
       FROM wallet.wallets w WHERE w.wallet_id = $1
     ON CONFLICT (wallet_id, name) DO UPDATE
        SET amount = excluded.amount, period = excluded.period,
            expires_after = excluded.expires_after, rollover_max = excluded.rollover_max,
            started_at = excluded.started_at, turn = excluded.turn, next_at = excluded.next_at,
            actor = excluded.actor, metadata = excluded.metadata, scope = excluded.scope
     RETURNING next_at"
);

statement!(
    STOP,
    [TEXTOID, TEXTOID],
    "DELETE FROM wallet.recurring_grants WHERE wallet_id = $1 AND name = $2"
);

statement!(
    FORGET,
    [TEXTOID, TEXTARRAYOID],
    "DELETE FROM wallet.recurring_grants WHERE wallet_id = $1 AND name = ANY ($2)"
);

statement!(
    NAMES,
    [TEXTOID],
    "SELECT name FROM wallet.recurring_grants WHERE wallet_id = $1"
);

statement!(
    NEXT,
    [TEXTOID, TEXTOID],
    "SELECT next_at FROM wallet.recurring_grants WHERE wallet_id = $1 AND name = $2"
);

const OVERRIDE: &str = "Override it with a recurring grant of the wallet's own, of the same name.";

/// The arguments of `set_recurring_grant`.
pub struct NewRecurring<'a> {
    /// Id of the wallet.
    pub wallet: &'a str,
    /// The name of the recurring grant. One of that name is replaced.
    pub name: &'a str,
    /// The day of the first grant, in the wallet's time zone; `None` for now.
    pub starts_on: Option<Date>,
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

impl<'a> NewRecurring<'a> {
    /// Stops the recurring grant of that name.
    pub fn stop(wallet: &'a str, name: &'a str) -> NewRecurring<'a> {
        NewRecurring {
            wallet,
            name,
            starts_on: None,
            amount: Amount::ZERO,
            period: "1 months",
            expires_after: None,
            rollover_max: None,
            scope: None,
            actor: None,
            metadata: None,
        }
    }
}

/// The names of the recurring grants of a wallet.
pub fn names(wallet: &str) -> Result<Vec<String>> {
    let rows = NAMES.run(&[Value::Text(wallet)])?;
    (0..rows.len()).map(|row| rows.need(row, 0)).collect()
}

/// Removes recurring grants without booking the occurrences that are due. The caller has booked
/// those before the end of the recurring grants, and opens the wallet's lots again.
pub fn forget(wallet: &str, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    FORGET
        .run(&[Value::Text(wallet), Value::OptTexts(Some(names))])
        .map(drop)
}

/// The result of `set_recurring_grant`.
pub struct Recurring {
    /// The first grant; `None` if its day is still to come, or if the recurring grant was stopped.
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

/// The beginning of a recurring grant.
struct Start {
    /// The time from which periods are counted.
    at: Timestamp,
    /// The number of periods that have passed; -1 before the first day.
    turn: i64,
    /// When a grant of the running period ends; `None` if it does not expire.
    expires_at: Option<Timestamp>,
}

impl Start {
    fn of(new: &NewRecurring<'_>, now: Timestamp) -> Result<Start> {
        let rows = BEGIN.run(&[
            Value::Text(new.wallet),
            Value::Text(new.name),
            Value::OptDate(new.starts_on),
            Value::Text(new.period),
            Value::OptText(new.expires_after),
            Value::Time(now),
        ])?;
        let start = Start {
            at: rows.need(0, 0)?,
            turn: rows.need(0, 1)?,
            expires_at: rows.get(0, 2),
        };
        if rows.get::<i32>(0, 3).is_some_and(|ago| ago > 0) {
            let today: String = rows.need(0, 4)?;
            return Err(Error::argument("starts_on is a day in the past")
                .detail(format!("In the time zone of the wallet, today is {today}."))
                .hint("Give today or a later day, or leave starts_on out."));
        }
        if new.starts_on.is_some()
            && start.turn >= 0
            && start.expires_at.is_some_and(|end| end <= now)
        {
            return Err(Error::argument("first grant would have expired")
                .detail(
                    "A grant from the beginning of today lives for expires_after, which is over.",
                )
                .hint("Give a later day as starts_on, or leave it out."));
        }
        // A plan has few, whose number was checked when the plan was set.
        if rows.need::<i64>(0, 5)? >= MAX_GRANTS && !following::is_applying() {
            return Err(Error::argument(format!(
                "wallet {} has too many recurring grants",
                quoted(new.wallet)
            ))
            .detail(format!("A wallet has at most {MAX_GRANTS}."))
            .hint("Stop one of them with an amount of zero."));
        }
        Ok(start)
    }
}

/// Grants now, or from the first day on, and then every period, or stops the recurring grant. The
/// first answer is looked for under the lock, so that of two calls with one key the second sees the
/// first.
pub fn set(new: &NewRecurring<'_>, call: IdempotentCall<'_>) -> Result<Recurring> {
    let wallet = new.wallet;
    lock_wallet(wallet)?;
    if let Some(answer) = call.answered()? {
        return first_answer(new, answer.result());
    }
    following::follow(wallet)?;
    let mut locked_lots = LockedLots::open(wallet)?;
    let now = clock::now();
    locked_lots.rules().require_open(wallet)?;
    let has_plan = locked_lots.rules().has_plan && !following::is_applying();
    let stops = new.amount.is_zero();
    if !stops {
        locked_lots.rules().require_own_money(wallet)?;
    }
    if has_plan && stops {
        plan_marks::require_own(wallet, RuleKind::RecurringGrant, new.name, OVERRIDE)?;
    } else if has_plan {
        plan_marks::unmark(wallet, RuleKind::RecurringGrant, &[new.name.to_owned()])?;
    }
    let result = if stops {
        STOP.run(&[Value::Text(wallet), Value::Text(new.name)])?;
        Recurring {
            grant_id: None,
            amount: new.amount,
            balance: locked_lots.balance()?,
            next_at: None,
            replayed: false,
        }
    } else {
        let start = Start::of(new, now)?;
        let rows = SET.run(&[
            Value::Text(wallet),
            Value::Text(new.name),
            Value::Amount(new.amount),
            Value::Text(new.period),
            Value::OptText(new.expires_after),
            Value::OptAmount(new.rollover_max),
            Value::Time(start.at),
            Value::Int8(start.turn),
            Value::OptText(new.actor),
            Value::OptJsonb(new.metadata.as_ref().map(|document| document.value)),
            Value::OptJsonb(new.scope),
        ])?;
        let grant_id = match start.turn {
            -1 => None,
            _ => Some(grant_first(new, &start, now, &mut locked_lots)?),
        };
        Recurring {
            grant_id,
            amount: new.amount,
            balance: locked_lots.balance()?,
            next_at: rows.get(0, 0),
            replayed: false,
        }
    };
    locked_lots.close()?;
    following::restore(wallet, has_plan && stops)?;
    let mut json = Builder::default();
    json.begin_object();
    json.text("balance", Some(&result.balance.to_fixed()));
    json.text("grant_id", result.grant_id.map(uuid_text).as_deref());
    call.remember(Some(json.finish_object()))?;
    Ok(result)
}

/// Grants the amount of the running period. Returns the id of the grant.
fn grant_first(
    new: &NewRecurring<'_>,
    start: &Start,
    now: Timestamp,
    locked_lots: &mut LockedLots<'_>,
) -> Result<[u8; 16]> {
    let first = Occurrence {
        name: new.name.into(),
        at: now,
        amount: new.amount,
        expires_at: start.expires_at,
        rollover_max: new.rollover_max,
        actor: new.actor.map(str::to_owned),
        scope: new.scope.map(Scope::stored).transpose()?,
        stored_scope: new.scope,
    };
    let entry = first.entry(new.wallet, new.metadata.clone());
    let (id, terms) = (entry.entry_id, first.terms());
    locked_lots.grant(&entry, new.amount, &terms, Some(new.name), Amount::ZERO)?;
    Ok(id)
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
    let rows = NEXT.run(&[Value::Text(new.wallet), Value::Text(new.name)])?;
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
