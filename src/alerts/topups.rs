//! The results of the top-ups that rules request.
//!
//! Completing and failing a top-up lock the wallet's row, as a funding does, and never wait for a
//! charge. After both, the next charge evaluates the rule again.

use crate::access::rights::{Need, reach};
use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::call::IdempotentCall;
use crate::ledger::balance::credit::ask_for_attention;
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
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::uuid_text;
use crate::storage::session::Session;
use crate::storage::wallet_row::lock_wallet;

statement!(
    FIND,
    [TEXTOID, UUIDOID],
    "SELECT amount, method, status, reason, reference, created_at, finished_at, entry_id, rule_name
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
    [TEXTOID, TEXTOID],
    "SELECT r.threshold, r.max_declines::bigint, count(t.topup_id)
       FROM wallet.topup_rules r
       LEFT JOIN wallet.topup_requests t
         ON t.wallet_id = r.wallet_id AND t.rule_name = r.name AND t.status = 'failed'
        AND t.finished_at >= r.created_at
        AND t.finished_at > coalesce(
                (SELECT max(s.finished_at) FROM wallet.topup_requests s
                  WHERE s.wallet_id = $1 AND s.rule_name = $2 AND s.status = 'succeeded'), '-infinity')
      WHERE r.wallet_id = $1 AND r.name = $2
      GROUP BY r.threshold, r.max_declines"
);

statement!(
    BALANCE,
    [TEXTOID],
    "SELECT balance FROM wallet.balances WHERE wallet = $1"
);

// Finds the wallets of rules whose time has come, and of rules without an open top-up that are low,
// or that may be low once due movements are booked.
statement!(
    DUE,
    [TEXTARRAYOID, TIMESTAMPTZOID, TEXTOID],
    "SELECT DISTINCT r.wallet_id
       FROM wallet.topup_rules r
      WHERE ($1 IS NULL OR r.wallet_id = ANY ($1))
        AND ($3 IS NULL OR r.wallet_id = $3)
        AND (r.evaluate_at <= $2
             OR r.evaluate_at IS NULL AND EXISTS (
                SELECT FROM wallet.thresholds t
                 WHERE t.wallet_id = r.wallet_id AND t.kind = 'topup' AND t.threshold = r.threshold
                   AND t.state = 'fired')
             OR EXISTS (
                SELECT FROM wallet.wallets w WHERE w.wallet_id = r.wallet_id AND w.grants_due <= $2))
        AND NOT EXISTS (
                SELECT FROM wallet.topup_requests q
                 WHERE q.wallet_id = r.wallet_id AND q.rule_name = r.name AND q.status = 'requested')
      ORDER BY r.wallet_id"
);

statement!(
    OPEN,
    [TEXTOID],
    "SELECT count(*) FROM wallet.topup_requests WHERE wallet_id = $1 AND status = 'requested'"
);

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
    /// The name of the rule that requested it.
    pub rule_name: String,
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
        rule_name: rows.need(0, 8)?,
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
    let (status, rule_name): (String, String) = (rows.need(0, 2)?, rows.need(0, 8)?);
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
                ("rule_name", Field::Text(&rule_name)),
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
    let (status, rule_name): (String, String) = (rows.need(0, 2)?, rows.need(0, 8)?);
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
                ("rule_name", Field::Text(&rule_name)),
            ],
        },
    )?;
    let rows = DECLINES.run(&[Value::Text(wallet), Value::Text(&rule_name)])?;
    if !rows.is_empty() && rows.need::<i64>(0, 2)? >= rows.need::<i64>(0, 1)? {
        emit_event(
            wallet,
            &Event {
                name: Name::TopupRuleStopped,
                threshold: rows.opt_amount(0, 0)?,
                payload: &[
                    ("reason", Field::Text("max_declines")),
                    ("declines", Field::Count(rows.need(0, 2)?)),
                    ("rule_name", Field::Text(&rule_name)),
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
        // With all lanes locked, no charge requests a top-up in between.
        lock_wallet(&wallet)?;
        config::lock_to_change(&wallet)?;
        let before = open(&wallet)?;
        due::sweep(&wallet)?;
        let credit = config::read_basis(&wallet)?.credit_limit;
        split_lanes(&wallet, credit)?;
        requested += open(&wallet)? - before;
    }
    Ok(requested)
}

/// The number of open top-ups of a wallet.
fn open(wallet: &str) -> Result<i64> {
    OPEN.run(&[Value::Text(wallet)])?.need(0, 0)
}
