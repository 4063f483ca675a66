//! Top-up rules, and the results of the top-ups that they request.
//!
//! Completing and failing a top-up lock the wallet's row, as a funding does, and never wait for a
//! charge. After both, the next charge evaluates the rule again.

use crate::access::rights::{Need, reach};
use crate::allowance::all_lanes::{read_thresholds, write_thresholds};
use crate::allowance::thresholds::{Kind, State, Threshold};
use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::call::IdempotentCall;
use crate::ledger::balance::credit::ask_for_attention;
use crate::ledger::balance::locked::LockedBalance;
use crate::ledger::funding::fund::fund;
use crate::ledger::funding::request::Funding;
use crate::ledger::grants::due;
use crate::ledger::grants::terms::Terms;
use crate::ledger::wallets::config;
use crate::ledger::wallets::settings::split_lanes;
use crate::money::Amount;
use crate::outbox::{Event, Field, Name, emit_event};
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::document::Document;
use crate::pg::jsonb::Jsonb;
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::uuid_text;
use crate::storage::session::Session;
use crate::storage::wallet_row::lock_wallet;

statement!(
    SET,
    [
        TEXTOID,
        JSONBOID,
        NUMERICOID,
        NUMERICOID,
        NUMERICOID,
        TEXTOID,
        INT8OID,
        INT8OID,
        INT8OID,
        NUMERICOID,
        TEXTOID,
        INT8OID,
        TEXTOID,
        TIMESTAMPTZOID
    ],
    "INSERT INTO wallet.topup_rules AS r
        (wallet_id, rule, threshold, amount, target_balance, method, cooldown, back_off, max_count,
         max_amount, period, max_declines, step, created_at, next_at)
     SELECT $1, $2, $3, $4, $5, $6, $7 * interval '1 microsecond', $8 * interval '1 microsecond',
            $9, $10, $11, $12, $13::interval, $14,
            timezone(w.time_zone, timezone(w.time_zone, $14) + $13::interval)
       FROM wallet.wallets w
      WHERE w.wallet_id = $1
     ON CONFLICT (wallet_id) DO UPDATE
        SET rule = excluded.rule, threshold = excluded.threshold, amount = excluded.amount,
            target_balance = excluded.target_balance, method = excluded.method,
            cooldown = excluded.cooldown, back_off = excluded.back_off,
            max_count = excluded.max_count, max_amount = excluded.max_amount,
            period = excluded.period, max_declines = excluded.max_declines, step = excluded.step,
            created_at = excluded.created_at, next_at = excluded.next_at,
            refused = NULL, evaluate_at = NULL"
);

statement!(
    DROP,
    [TEXTOID],
    "DELETE FROM wallet.topup_rules WHERE wallet_id = $1"
);

statement!(
    DROP_THRESHOLD,
    [TEXTOID, NUMERICOID],
    "DELETE FROM wallet.thresholds
      WHERE wallet_id = $1 AND kind = 'topup' AND ($2 IS NULL OR threshold <> $2)"
);

statement!(
    FIND,
    [TEXTOID, UUIDOID],
    "SELECT amount, method, status, reason, reference, created_at, finished_at, entry_id
       FROM wallet.topup_requests
      WHERE wallet_id = $1 AND topup_id = $2"
);

statement!(
    FINISH,
    [TEXTOID, UUIDOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID],
    "UPDATE wallet.topup_requests
        SET status = $3, reason = $4, reference = $5, finished_at = $6
      WHERE wallet_id = $1 AND topup_id = $2"
);

statement!(
    CREDITED,
    [TEXTOID, UUIDOID, UUIDOID],
    "UPDATE wallet.topup_requests SET entry_id = $3 WHERE wallet_id = $1 AND topup_id = $2"
);

statement!(
    DECLINES,
    [TEXTOID],
    "SELECT r.threshold, r.max_declines::bigint, count(t.topup_id)
       FROM wallet.topup_rules r
       LEFT JOIN wallet.topup_requests t
         ON t.wallet_id = r.wallet_id AND t.status = 'failed' AND t.finished_at >= r.created_at
        AND t.finished_at > coalesce(
                (SELECT max(s.finished_at) FROM wallet.topup_requests s
                  WHERE s.wallet_id = $1 AND s.status = 'succeeded'), '-infinity')
      WHERE r.wallet_id = $1
      GROUP BY r.threshold, r.max_declines"
);

statement!(
    BALANCE,
    [TEXTOID],
    "SELECT balance FROM wallet.balances WHERE wallet = $1"
);

// Finds rules whose time has come, and wallets without an open top-up that are low, or that may be
// low once due movements are booked.
statement!(
    DUE,
    [TEXTARRAYOID, TIMESTAMPTZOID, TEXTOID],
    "SELECT r.wallet_id
       FROM wallet.topup_rules r
      WHERE ($1 IS NULL OR r.wallet_id = ANY ($1))
        AND ($3 IS NULL OR r.wallet_id = $3)
        AND (r.evaluate_at <= $2
             OR r.evaluate_at IS NULL AND EXISTS (
                SELECT FROM wallet.thresholds t
                 WHERE t.wallet_id = r.wallet_id AND t.kind = 'topup' AND t.state = 'fired')
             OR EXISTS (
                SELECT FROM wallet.wallets w WHERE w.wallet_id = r.wallet_id AND w.grants_due <= $2))
        AND NOT EXISTS (
                SELECT FROM wallet.topup_requests q
                 WHERE q.wallet_id = r.wallet_id AND q.status = 'requested')
      ORDER BY r.wallet_id"
);

statement!(
    IS_OPEN,
    [TEXTOID],
    "SELECT 1 FROM wallet.topup_requests WHERE wallet_id = $1 AND status = 'requested'"
);

/// A rule whose values have been checked.
pub struct Rule<'a> {
    /// The JSON as the caller passed it.
    pub given: Jsonb,
    /// The available amount below which the rule requests money; `None` for a rule by time.
    pub threshold: Option<Amount>,
    /// The amount to request. The rule requests a multiple of it if one is not enough.
    pub amount: Option<Amount>,
    /// The amount to fill up to, as an alternative to `amount`.
    pub target: Option<Amount>,
    /// The payment method, as the application names it; `card` if the rule names none.
    pub method: &'a str,
    /// Pause after a successful top-up, in microseconds.
    pub cooldown: i64,
    /// Pause after the first decline, in microseconds.
    pub back_off: i64,
    /// The most top-ups in a period; `None` for no limit.
    pub max_count: Option<i64>,
    /// The most money in a period; `None` for no limit.
    pub max_amount: Option<Amount>,
    /// The period of `max_count` and `max_amount`.
    pub period: &'a str,
    /// The number of consecutive declines that stops the rule.
    pub max_declines: i64,
    /// The interval of a rule by time; `None` for other rules.
    pub step: Option<&'a str>,
}

/// Sets or drops the wallet's rule. If the wallet is low, the rule requests a top-up at once.
pub fn set(wallet: &str, rule: Option<&Rule<'_>>, call: IdempotentCall<'_>) -> Result<()> {
    lock_wallet(wallet)?;
    if call.answered()?.is_some() {
        return Ok(());
    }
    let (rules, _) = config::lock_to_change(wallet)?;
    rules.require_open(wallet)?;
    let threshold = rule.and_then(|rule| rule.threshold);
    DROP_THRESHOLD.run(&[Value::Text(wallet), Value::OptAmount(threshold)])?;
    match rule {
        None => drop(DROP.run(&[Value::Text(wallet)])?),
        Some(rule) => {
            SET.run(&[
                Value::Text(wallet),
                Value::Jsonb(rule.given),
                Value::OptAmount(rule.threshold),
                Value::OptAmount(rule.amount),
                Value::OptAmount(rule.target),
                Value::Text(rule.method),
                Value::Int8(rule.cooldown),
                Value::Int8(rule.back_off),
                Value::OptInt8(rule.max_count),
                Value::OptAmount(rule.max_amount),
                Value::Text(rule.period),
                Value::Int8(rule.max_declines),
                Value::OptText(rule.step),
                Value::Time(clock::now()),
            ])?;
        }
    }
    if let Some(at) = threshold {
        let stored = read_thresholds(wallet, rules.credit_limit)?;
        if stored.iter().all(|old| old.kind != Kind::Topup) {
            // The threshold begins as fired, as if the balance had just fallen below it. A wallet
            // below it must request a top-up; for a wallet above it, the evaluation below arms the
            // threshold.
            let (kind, state) = (Kind::Topup, State::Fired);
            write_thresholds(wallet, &stored, &[Threshold { kind, at, state }])?;
        }
    }
    // Expired credit no longer counts, and the amounts of expired holds are available again.
    due::sweep(wallet)?;
    let mut locked = LockedBalance::open(wallet)?;
    locked.sweep()?;
    locked.close()?;
    split_lanes(wallet, rules.credit_limit)?;
    call.remember(None)
}

/// The result of a top-up, as a call reports it.
pub struct End<'a> {
    /// Id of the wallet whose rule requested the top-up.
    pub wallet: &'a str,
    /// Id of the top-up.
    pub topup_id: [u8; 16],
    /// The payment provider's reference; `None` if the payment failed.
    pub reference: Option<&'a str>,
    /// The reason for a failure; `None` if the payment succeeded.
    pub reason: Option<&'a str>,
    /// The person or program that makes the call.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
    /// The call with its idempotency key.
    pub call: IdempotentCall<'a>,
}

/// A top-up as a call returns it.
pub struct Topup {
    /// The requested amount, in the wallet's currency.
    pub amount: Amount,
    /// The payment method that the rule had when it requested the top-up.
    pub method: String,
    /// `requested`, `succeeded` or `failed`.
    pub status: String,
    /// Why the payment failed; `None` otherwise.
    pub reason: Option<String>,
    /// The payment provider's reference, once it is paid.
    pub reference: Option<String>,
    /// When the top-up was requested.
    pub created_at: Timestamp,
    /// When the top-up ended; `None` while it is open.
    pub finished_at: Option<Timestamp>,
    /// The ledger entry that credited the top-up.
    pub entry_id: Option<[u8; 16]>,
    /// The wallet's balance.
    pub balance: Amount,
    /// True if an earlier call had already ended the top-up with this result.
    pub replayed: bool,
}

fn find(end: &End<'_>) -> Result<Rows> {
    let rows = FIND.run(&[Value::Text(end.wallet), Value::Uuid(end.topup_id)])?;
    if rows.is_empty() {
        return Err(Error::new(
            Code::ObjectNotFound,
            format!("wallet {} has no such top-up", quoted(end.wallet)),
        )
        .detail(format!("There is no top-up {}.", uuid_text(end.topup_id)))
        .hint("Pass the topup_id of the event topup_requested."));
    }
    Ok(rows)
}

fn topup(end: &End<'_>, replayed: bool) -> Result<Topup> {
    let rows = find(end)?;
    Ok(Topup {
        amount: rows.amount(0, 0)?,
        method: rows.need(0, 1)?,
        status: rows.need(0, 2)?,
        reason: rows.get(0, 3),
        reference: rows.get(0, 4),
        created_at: rows.need(0, 5)?,
        finished_at: rows.get(0, 6),
        entry_id: rows.get(0, 7),
        balance: BALANCE.run(&[Value::Text(end.wallet)])?.amount(0, 0)?,
        replayed,
    })
}

fn mark(end: &End<'_>, status: &str) -> Result<()> {
    FINISH
        .run(&[
            Value::Text(end.wallet),
            Value::Uuid(end.topup_id),
            Value::Text(status),
            Value::OptText(end.reason),
            Value::OptText(end.reference),
            Value::Time(clock::now()),
        ])
        .map(drop)
}

/// Credits a paid top-up once. A top-up that was marked as failed is credited too, because the
/// money has arrived.
pub fn complete(end: &End<'_>) -> Result<Topup> {
    let wallet = end.wallet;
    lock_wallet(wallet)?;
    if end.call.answered()?.is_some() {
        return topup(end, true);
    }
    let rows = find(end)?;
    let (amount, method): (Amount, String) = (rows.amount(0, 0)?, rows.need(0, 1)?);
    let status: String = rows.need(0, 2)?;
    if status == "succeeded" {
        let reference: Option<String> = rows.get(0, 4);
        if end.reference.is_some() && end.reference != reference.as_deref() {
            let was = reference
                .as_deref()
                .map_or("no reference".to_owned(), quoted);
            return Err(Error::new(
                Code::IdempotencyConflict,
                "top-up was completed with another reference",
            )
            .detail(format!(
                "It was completed with {was}; this call says {}.",
                quoted(end.reference.unwrap_or_default())
            ))
            .hint("Was it paid twice? Give one payment back, or credit it with fund()."));
        }
        end.call.remember(None)?;
        return topup(end, true);
    }
    // The top-up is marked first: the credit evaluates the rule, which must find no open top-up.
    mark(end, "succeeded")?;
    let funded = fund(&Funding {
        wallet,
        amount,
        method: &method,
        reference: end.reference,
        currency: None,
        rate: None,
        pending: false,
        terms: Terms::default(),
        bounded: false,
        key: None,
        actor: end.actor,
        metadata: end.metadata.clone(),
    })?;
    CREDITED.run(&[
        Value::Text(wallet),
        Value::Uuid(end.topup_id),
        Value::Uuid(funded.entry_id),
    ])?;
    emit_event(
        wallet,
        &Event {
            name: Name::TopupSucceeded,
            threshold: None,
            payload: &[
                ("topup_id", Field::Id(end.topup_id)),
                ("amount", Field::Amount(amount)),
                ("currency", Field::Text(&funded.currency)),
                ("method", Field::Text(&method)),
                ("reference", Field::OptText(end.reference)),
                ("entry_id", Field::Id(funded.entry_id)),
            ],
        },
    )?;
    ask_for_attention(wallet)?;
    end.call.remember(None)?;
    topup(end, false)
}

/// Records that a top-up was not paid. The rule pauses, or stops after too many declines in a row.
/// A top-up that has failed already is answered as a replay, so a decline counts once. The declines
/// are counted after the row is marked, so that they include this one.
pub fn fail(end: &End<'_>) -> Result<Topup> {
    let wallet = end.wallet;
    lock_wallet(wallet)?;
    if end.call.answered()?.is_some() {
        return topup(end, true);
    }
    let rows = find(end)?;
    let status: String = rows.need(0, 2)?;
    if status == "failed" {
        end.call.remember(None)?;
        return topup(end, true);
    }
    if status == "succeeded" {
        return Err(Error::new(
            Code::FundingNotOpen,
            "top-up has succeeded",
        )
        .detail("Its money was credited.")
        .hint("Take it back with reverse_funding() and its entry_id, which the view topups shows."));
    }
    let (amount, method): (Amount, String) = (rows.amount(0, 0)?, rows.need(0, 1)?);
    mark(end, "failed")?;
    emit_event(
        wallet,
        &Event {
            name: Name::TopupFailed,
            threshold: None,
            payload: &[
                ("topup_id", Field::Id(end.topup_id)),
                ("amount", Field::Amount(amount)),
                ("method", Field::Text(&method)),
                ("reason", Field::Text("declined")),
                ("message", Field::OptText(end.reason)),
            ],
        },
    )?;
    let rows = DECLINES.run(&[Value::Text(wallet)])?;
    if !rows.is_empty() && rows.need::<i64>(0, 2)? >= rows.need::<i64>(0, 1)? {
        emit_event(
            wallet,
            &Event {
                name: Name::TopupRuleStopped,
                threshold: rows.opt_amount(0, 0)?,
                payload: &[
                    ("reason", Field::Text("max_declines")),
                    ("declines", Field::Count(rows.need(0, 2)?)),
                ],
            },
        )?;
    }
    ask_for_attention(wallet)?;
    end.call.remember(None)?;
    topup(end, false)
}

/// Evaluates the rules whose time has come, for the wallets that the caller may act on. Returns the
/// number of top-ups requested.
pub fn request_due(session: &Session, only: Option<&str>) -> Result<i64> {
    let reach = reach(session, Need::Events)?;
    let rows = DUE.run(&[
        Value::OptTexts(reach.as_deref()),
        Value::Time(clock::now()),
        Value::OptText(only),
    ])?;
    let mut requested = 0;
    for row in 0..rows.len() {
        let wallet: String = rows.need(row, 0)?;
        due::sweep(&wallet)?;
        let credit = config::read(&wallet)?.credit_limit;
        split_lanes(&wallet, credit)?;
        requested += IS_OPEN.run(&[Value::Text(&wallet)])?.len() as i64;
    }
    Ok(requested)
}
