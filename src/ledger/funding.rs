//! `fund` and what becomes of a funding: settled at once or later, failed.
//!
//! A pending funding is a row of `funding_requests` and nothing else: no entry, no money. The entry
//! that credits it has its id. One provider's reference is credited once, whatever the keys say.

use crate::access::rights::{Level, enter_as};
use crate::error::{Code, Error, Result, quoted};
use crate::ledger::credit::{Credit, credit};
use crate::ledger::fx::{self, Original};
use crate::ledger::grants::{self, Ledge, NewLot, Terms};
use crate::ledger::once::Once;
use crate::ledger::replay::{by_key, conflict};
use crate::ledger::request::Fingerprint;
use crate::ledger::rules::{self, Rules};
use crate::money::Amount;
use crate::statement;
use crate::storage::clock::{self, Timestamp};
use crate::storage::jsonb::{Builder, Json, Jsonb};
use crate::storage::plan::{Rows, Run, Value};
use crate::storage::rows::{Call, Document, Entry, Kind, uuid_text};
use crate::storage::store;
use rust_decimal::Decimal;

statement!(
    LOCK_WALLET,
    [TEXTOID],
    "SELECT 1 FROM wallet.wallets WHERE wallet_id = $1 FOR NO KEY UPDATE"
);

statement!(
    TERMS,
    [TEXTOID],
    "SELECT w.funding_min, w.funding_max, w.debt,
            w.grants_due IS NOT NULL AND EXISTS (
                SELECT FROM wallet.grant_lots g
                 WHERE g.wallet_id = $1 AND g.status = 'active' AND g.priority > 100)
       FROM wallet.wallets w WHERE w.wallet_id = $1"
);

statement!(
    PAY_DEBT,
    [TEXTOID, NUMERICOID],
    "UPDATE wallet.wallets SET debt = debt - $2 WHERE wallet_id = $1"
);

macro_rules! request_query {
    ($condition:literal) => {
        concat!(
            "SELECT f.entry_id, f.amount, f.method, f.reference, f.status,
                    f.original_amount, f.original_currency, f.rate, f.rounding,
                    coalesce(l.balance, l.lane_balance), f.reversal_id, f.metadata,
                    f.expires_at, f.priority, f.promotional, f.scope
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
        JSONBOID
    ],
    "INSERT INTO wallet.funding_requests
        (wallet_id, entry_id, amount, method, reference, status, created_at,
         original_amount, original_currency, rate, rounding, actor, metadata,
         expires_at, priority, promotional, scope)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
);

statement!(
    FINISH,
    [TEXTOID, UUIDOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, UUIDOID],
    "UPDATE wallet.funding_requests
        SET status = $3, finished_at = $4, reason = coalesce($5, reason), reversal_id = $6
      WHERE wallet_id = $1 AND entry_id = $2"
);

/// The level that calls on fundings need.
pub const LEVEL: Level = Level::Billing;

/// A checked funding.
pub struct Funding<'a> {
    /// The wallet.
    pub wallet: &'a str,
    /// How much, above zero, in the currency of the payment.
    pub amount: Amount,
    /// How it was paid.
    pub method: &'a str,
    /// The payment provider's reference.
    pub reference: Option<&'a str>,
    /// Currency of the payment, if it was given.
    pub currency: Option<&'a str>,
    /// What one unit of that currency is worth, if it was given.
    pub rate: Option<Decimal>,
    /// True when the money is still on its way.
    pub pending: bool,
    /// What distinguishes it from a plain funding.
    pub terms: Terms,
    /// False where the wallet's bounds do not apply.
    pub bounded: bool,
    /// Idempotency key.
    pub key: Option<&'a str>,
    /// Who acts.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
}

/// What calls on fundings return.
pub struct Funded {
    /// The entry, or what will be its id.
    pub entry_id: [u8; 16],
    /// What is credited.
    pub amount: Amount,
    /// The wallet's currency.
    pub currency: String,
    /// The wallet's balance after it.
    pub balance: Amount,
    /// `pending`, `settled`, `failed`, `reversed`
    pub status: String,
    /// True when an earlier call did it.
    pub replayed: bool,
}

impl Funding<'_> {
    fn fingerprint(&self) -> [u8; 16] {
        let mut fingerprint = Fingerprint::new(Call::Fund as u8);
        fingerprint.field("amount", Some(&self.amount.to_fixed()));
        fingerprint.field("method", Some(self.method));
        fingerprint.field("reference", self.reference);
        fingerprint.field("currency", self.currency);
        let rate = self.rate.map(|rate| rate.normalize().to_string());
        fingerprint.field("rate", rate.as_deref());
        fingerprint.field("status", self.pending.then_some("pending"));
        if !self.terms.plain() {
            let expires_at = self.terms.expires_at.map(|at| at.0.to_string());
            fingerprint.field("expires_at", expires_at.as_deref());
            fingerprint.field("priority", Some(&self.terms.priority.to_string()));
            let promotional = self.terms.promotional.then_some("promotional");
            fingerprint.field("promotional", promotional);
            if let Some(scope) = self.terms.scope {
                fingerprint.field("scope", Some(&scope.to_text()));
            }
        }
        fingerprint.finish()
    }

    fn once(&self) -> Once<'_> {
        Once {
            wallet: self.wallet,
            call: "fund",
            key: self.key,
            fingerprint: self.fingerprint(),
        }
    }
}

/// Locks the wallet's row: calls that change its money from outside or its rules queue on it.
pub fn lock_wallet(wallet: &str) -> Result<()> {
    if LOCK_WALLET.run(&[Value::Text(wallet)])?.is_empty() {
        return Err(Error::wallet_not_found(wallet));
    }
    Ok(())
}

/// Credits the wallet or notes that money is on its way, or replays.
pub fn fund(funding: &Funding<'_>) -> Result<Funded> {
    let wallet = funding.wallet;
    lock_wallet(wallet)?;
    let mut rules = rules::read(wallet)?;
    if let Some(funded) = replay(funding, &rules)? {
        return Ok(funded);
    }
    rules.require_open(wallet)?;
    if rules.grants_are_due() {
        grants::sweep(wallet)?;
        rules = rules::read(wallet)?;
    }
    let (amount, original) = fx::into_wallet(
        funding.amount,
        funding.currency.unwrap_or(&rules.currency),
        funding.rate,
        &rules.currency,
    )?;
    let terms = TERMS.run(&[Value::Text(wallet)])?;
    if funding.bounded {
        check_bounds(amount, &terms)?;
    }
    let entry_id = uuid::Uuid::now_v7().into_bytes();
    let (balance, created_at) = if funding.pending {
        let balance = balance(wallet, &rules)?;
        funding.once().remember(Some(answer(entry_id, balance)))?;
        (balance, clock::now())
    } else {
        let paid = Paid {
            entry_id,
            amount,
            method: funding.method,
            reference: funding.reference,
            original: original.as_ref(),
            terms: &funding.terms,
            key: funding.key,
            fingerprint: funding.key.map(|_| funding.fingerprint()),
            actor: funding.actor,
            metadata: funding.metadata.clone(),
        };
        book(wallet, &paid, &terms, &rules)?
    };
    let status = if funding.pending {
        "pending"
    } else {
        "settled"
    };
    let decimal = |value: Option<Decimal>| value.map_or(Value::Null, Value::Decimal);
    RECORD.run(&[
        Value::Text(wallet),
        Value::Uuid(entry_id),
        Value::Amount(amount),
        Value::Text(funding.method),
        Value::OptText(funding.reference),
        Value::Text(status),
        Value::Time(created_at),
        Value::OptAmount(original.as_ref().map(|original| original.amount)),
        Value::OptText(original.as_ref().map(|original| original.currency.as_str())),
        decimal(original.as_ref().map(|original| original.rate)),
        decimal(original.as_ref().map(|original| original.rounding)),
        Value::OptText(funding.actor),
        Value::OptJsonb(funding.metadata.as_ref().map(|document| document.value)),
        Value::OptTime(funding.terms.expires_at),
        Value::Int4(funding.terms.priority),
        Value::Bool(funding.terms.promotional),
        Value::OptJsonb(funding.terms.scope),
    ])?;
    Ok(Funded {
        entry_id,
        amount,
        currency: rules.currency.clone(),
        balance,
        status: status.to_owned(),
        replayed: false,
    })
}

/// What a payment says of its entry.
struct Paid<'a> {
    entry_id: [u8; 16],
    amount: Amount,
    method: &'a str,
    reference: Option<&'a str>,
    original: Option<&'a Original>,
    terms: &'a Terms,
    key: Option<&'a str>,
    fingerprint: Option<[u8; 16]>,
    actor: Option<&'a str>,
    metadata: Option<Document>,
}

/// Books the payment: a debt is paid first, the rest may be spent.
fn book(
    wallet: &str,
    paid: &Paid<'_>,
    wallet_terms: &Rows,
    rules: &Rules,
) -> Result<(Amount, Timestamp)> {
    let contra = format!("funding:{}", paid.method);
    let entry = Entry {
        entry_id: paid.entry_id,
        created_at: clock::now(),
        event_at: None,
        wallet,
        kind: Kind::Funding,
        call: Call::Fund,
        amount: paid.amount,
        key: paid.key,
        fingerprint: paid.fingerprint,
        related_id: None,
        user_id: None,
        key_id: None,
        team: None,
        provider: None,
        model: None,
        service: None,
        region: None,
        service_tier: None,
        lines: None,
        usage: paid.original.map(Original::document),
        tags: None,
        contra: Some(&contra),
        reference: paid.reference,
        reason: None,
        actor: paid.actor,
        metadata: paid.metadata.clone(),
    };
    // What is for some use only pays no debt.
    let paying = if paid.terms.scope.is_some() {
        Amount::ZERO
    } else {
        wallet_terms.amount(0, 2)?.min(paid.amount)
    };
    if !paying.is_zero() {
        PAY_DEBT.run(&[Value::Text(wallet), Value::Amount(paying)])?;
    }
    let spendable = paid
        .amount
        .minus(paying)
        .map_err(crate::allowance::lanes::range)?;
    // A plain lot comes last in burn order, unless a grant of low priority is there.
    if !paid.terms.plain() || rules.scoped || wallet_terms.need::<bool>(0, 3)? {
        let mut ledge = Ledge::open(wallet)?;
        let balance = ledge.grant(&entry, spendable, paid.terms, false)?;
        ledge.close()?;
        return Ok((balance, entry.created_at));
    }
    let booked = Credit {
        entry: &entry,
        spendable,
    };
    let balance = credit(&booked, rules)?;
    grants::add(
        wallet,
        &NewLot {
            id: entry.entry_id,
            amount: paid.amount,
            remaining: spendable,
            terms: paid.terms,
            recurring: false,
            created_at: entry.created_at,
        },
    )?;
    Ok((balance, entry.created_at))
}

/// The wallet's balance, as last committed.
fn balance(wallet: &str, rules: &Rules) -> Result<Amount> {
    store::others_credited(wallet, i16::MIN)?
        .minus(rules.credit_limit)
        .map_err(crate::allowance::lanes::range)
}

/// What an idempotency key remembers of a pending funding.
fn answer(entry_id: [u8; 16], balance: Amount) -> Jsonb {
    let mut json = Builder::default();
    json.begin_object();
    json.text("entry_id", Some(&uuid_text(entry_id)));
    json.text("balance", Some(&balance.to_fixed()));
    json.finish_object()
}

fn read_answer(answer: Jsonb) -> Result<([u8; 16], Amount)> {
    let json = answer.reread("result")?;
    let text = |name: &str| {
        let (_, value) = json.as_object()?.iter().find(|(key, _)| key == name)?;
        match value {
            Json::String(text) => Some(text.as_str()),
            _ => None,
        }
    };
    let read = || {
        let id = uuid::Uuid::parse_str(text("entry_id")?).ok()?;
        let balance = Amount::from_decimal(text("balance")?.parse().ok()?).ok()?;
        Some((id.into_bytes(), balance))
    };
    read().ok_or_else(|| Error::internal("an answer was not kept"))
}

/// The first answer to this key, or to this payment: the provider's reference is credited once
/// whatever the key says.
fn replay(funding: &Funding<'_>, rules: &Rules) -> Result<Option<Funded>> {
    let wallet = funding.wallet;
    let funded = |entry_id, amount, balance, status: &str| {
        Some(Funded {
            entry_id,
            amount,
            currency: rules.currency.clone(),
            balance,
            status: status.to_owned(),
            replayed: true,
        })
    };
    if let Some(rows) = by_key(wallet, funding.key, Call::Fund)? {
        if rows.need::<[u8; 16]>(0, 1)? != funding.fingerprint() {
            let same = rows.amount(0, 2)? == funding.amount;
            let field = if same {
                "method, reference, currency, rate, status, expires_at, priority, promotional or scope"
            } else {
                "amount"
            };
            return Err(conflict(funding.key.unwrap_or_default(), field));
        }
        return Ok(funded(
            rows.need(0, 0)?,
            rows.amount(0, 2)?,
            rows.amount(0, 3)?,
            "settled",
        ));
    }
    let once = funding.once();
    let answered = once.answered()?;
    if let Some(answer) = answered.as_ref().and_then(|answer| answer.result()) {
        let (entry_id, balance) = read_answer(answer)?;
        let rows = BY_ID.run(&[Value::Text(wallet), Value::Uuid(entry_id)])?;
        return Ok(funded(entry_id, rows.amount(0, 1)?, balance, "pending"));
    }
    let Some(reference) = funding.reference else {
        return Ok(None);
    };
    let values = [wallet, funding.method, reference].map(Value::Text);
    let rows = BY_REFERENCE.run(&values)?;
    if rows.is_empty() {
        return Ok(None);
    }
    same_payment(funding, reference, &rows, rules)?;
    // A key that came with a payment credited before has no entry of its own.
    if answered.is_none() {
        once.remember(None)?;
    }
    let balance = match rows.opt_amount(0, 9)? {
        Some(balance) => balance,
        None => balance(wallet, rules)?,
    };
    let status: String = rows.need(0, 4)?;
    Ok(funded(
        rows.need(0, 0)?,
        rows.amount(0, 1)?,
        balance,
        &status,
    ))
}

/// WL006 when a reference comes again with other money.
fn same_payment(funding: &Funding<'_>, reference: &str, rows: &Rows, rules: &Rules) -> Result<()> {
    let amount = match rows.opt_amount(0, 5)? {
        Some(amount) => amount,
        None => rows.amount(0, 1)?,
    };
    let currency = rows.get::<String>(0, 6);
    let currency = currency.as_deref().unwrap_or(&rules.currency);
    let given = funding.currency.unwrap_or(&rules.currency);
    if (amount, currency) == (funding.amount, given) {
        return Ok(());
    }
    let pending = rows.need::<String>(0, 4)? == "pending";
    let was = if pending { "noted" } else { "credited" };
    let detail = if currency == given {
        format!(
            "It was {was} with {amount}; this call says {}.",
            funding.amount
        )
    } else {
        format!(
            "It was {was} with {amount} {currency}; this call says {} {given}.",
            funding.amount
        )
    };
    Err(Error::new(
        Code::IdempotencyConflict,
        format!(
            "payment {} was {was} with another amount",
            quoted(reference)
        ),
    )
    .detail(detail)
    .hint("Check the reference: every payment of a method has its own.")
    .rule("funding_requests", "funding_reference"))
}

fn check_bounds(amount: Amount, terms: &Rows) -> Result<()> {
    let outside = |bound: &str, limit: Amount| {
        Error::new(
            Code::InvalidAmount,
            format!("amount is {bound} the wallet allows"),
        )
        .detail(format!("The amount is {amount}; the bound is {limit}."))
        .hint("Change funding_min or funding_max with update_wallet().")
    };
    match terms.opt_amount(0, 0)? {
        Some(min) if amount < min => return Err(outside("less than", min)),
        _ => {}
    }
    match terms.opt_amount(0, 1)? {
        Some(max) if amount > max => Err(outside("more than", max)),
        _ => Ok(()),
    }
}

/// A call on a funding that exists.
pub struct Change<'a> {
    /// The wallet.
    pub wallet: &'a str,
    /// The funding.
    pub entry_id: [u8; 16],
    /// Why.
    pub reason: Option<&'a str>,
    /// Who acts.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
}

/// A row of `funding_requests` as a call on it finds it.
pub struct Found {
    rows: Rows,
    /// `pending`, `settled`, `failed`, `reversed`
    pub status: String,
}

impl Found {
    /// The funding, or 42704. The caller holds the wallet's row.
    pub fn of(wallet: &str, entry_id: [u8; 16]) -> Result<Found> {
        let rows = BY_ID.run(&[Value::Text(wallet), Value::Uuid(entry_id)])?;
        if rows.is_empty() {
            return Err(Error::new(
                Code::ObjectNotFound,
                format!("wallet {} has no such funding", quoted(wallet)),
            )
            .detail(format!("The entry_id is {}.", uuid_text(entry_id)))
            .hint("The view fundings shows what there is."));
        }
        let status = rows.need(0, 4)?;
        Ok(Found { rows, status })
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

    /// The entry that took it back.
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
            rate: self.rows.decimal(0, 7)?,
            rounding: self.rows.decimal(0, 8)?,
        }))
    }

    fn funded(&self, change: &Change<'_>, rules: &Rules) -> Result<Funded> {
        let balance = match self.rows.opt_amount(0, 9)? {
            Some(balance) => balance,
            None => balance(change.wallet, rules)?,
        };
        Ok(Funded {
            entry_id: change.entry_id,
            amount: self.amount()?,
            currency: rules.currency.clone(),
            balance,
            status: self.status.clone(),
            replayed: true,
        })
    }
}

/// WL013: the funding is past the point where the call makes sense.
pub fn not_open(entry_id: [u8; 16], status: &str, hint: &str) -> Error {
    Error::new(Code::FundingNotOpen, format!("the funding is {status}"))
        .detail(format!("The entry_id is {}.", uuid_text(entry_id)))
        .hint(hint)
}

/// Notes what became of a funding.
pub fn finish(
    change: &Change<'_>,
    status: &str,
    at: Timestamp,
    reversal: Option<[u8; 16]>,
) -> Result<()> {
    FINISH
        .run(&[
            Value::Text(change.wallet),
            Value::Uuid(change.entry_id),
            Value::Text(status),
            Value::Time(at),
            Value::OptText(change.reason),
            Value::OptUuid(reversal),
        ])
        .map(drop)
}

/// Credits a pending funding. A second call, of whatever key, answers with what the first did.
pub fn settle(change: &Change<'_>, call: Once<'_>) -> Result<Funded> {
    let wallet = change.wallet;
    lock_wallet(wallet)?;
    let answered = call.answered()?.is_some();
    let rules = rules::read(wallet)?;
    let found = Found::of(wallet, change.entry_id)?;
    let result = match found.status.as_str() {
        "pending" => {
            rules.require_open(wallet)?;
            if rules.grants_are_due() {
                grants::sweep(wallet)?;
            }
            let original = found.original()?;
            let (method, reference) = (found.method()?, found.reference());
            let paid = Paid {
                entry_id: change.entry_id,
                amount: found.amount()?,
                method: &method,
                reference: reference.as_deref(),
                original: original.as_ref(),
                terms: &found.terms(),
                key: None,
                fingerprint: None,
                actor: change.actor,
                metadata: change.metadata.clone().or_else(|| found.metadata()),
            };
            let terms = TERMS.run(&[Value::Text(wallet)])?;
            let (balance, at) = book(wallet, &paid, &terms, &rules)?;
            finish(change, "settled", at, None)?;
            Funded {
                balance,
                status: "settled".to_owned(),
                replayed: false,
                ..found.funded(change, &rules)?
            }
        }
        "failed" => {
            return Err(not_open(
                change.entry_id,
                "failed",
                "If the money has come after all, fund() it again; the reference is free.",
            ));
        }
        _ => found.funded(change, &rules)?,
    };
    if !answered {
        call.remember(None)?;
    }
    Ok(result)
}

impl Found {
    fn terms(&self) -> Terms {
        Terms {
            expires_at: self.rows.get(0, 12),
            priority: self.rows.get(0, 13).unwrap_or(grants::PLAIN_PRIORITY),
            promotional: self.rows.get(0, 14).unwrap_or(false),
            scope: self.rows.datum(0, 15).map(Jsonb),
        }
    }

    fn metadata(&self) -> Option<Document> {
        self.rows.datum(0, 11).map(|datum| {
            let value = Jsonb(datum);
            let text = value.to_text();
            Document { value, text }
        })
    }
}

/// Ends a pending funding without money.
pub fn fail(change: &Change<'_>, call: Once<'_>) -> Result<Funded> {
    let wallet = change.wallet;
    lock_wallet(wallet)?;
    let answered = call.answered()?.is_some();
    let rules = rules::read(wallet)?;
    let found = Found::of(wallet, change.entry_id)?;
    let result = match found.status.as_str() {
        "pending" => {
            finish(change, "failed", clock::now(), None)?;
            Funded {
                status: "failed".to_owned(),
                replayed: false,
                ..found.funded(change, &rules)?
            }
        }
        "failed" => found.funded(change, &rules)?,
        status => {
            return Err(not_open(
                change.entry_id,
                status,
                "Take back what was credited with reverse_funding().",
            ));
        }
    };
    if !answered {
        call.remember(None)?;
    }
    Ok(result)
}

/// Runs a call on a wallet's fundings with the rights that it needs.
pub fn with_rights<T>(
    wallet: &str,
    actor: Option<&str>,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    enter_as(LEVEL, wallet, actor, |_| work())
}
