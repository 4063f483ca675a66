//! `price_unpriced`: books the cost of unpriced charges once they have a price.
//!
//! The cost is booked as an entry of its own, like a charge of that amount: same lanes, same
//! limits, same errors. The list stores the id of that entry, so that each charge is priced once.
//! Calls on one wallet queue on the wallet's row.

use crate::attribution::Attribution;
use crate::error::{Code, Error, Result};
use crate::idempotency::call::{Answer, IdempotentCall};
use crate::ledger::charges::past_usage::{Span, past_usage_columns};
use crate::ledger::charges::request::{Asked, Request};
use crate::ledger::charges::{charge, past_usage};
use crate::ledger::wallets::branches::lock_for_uses;
use crate::ledger::wallets::config;
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::document::Document;
use crate::pg::jsonb::{Json, Jsonb};
use crate::pg::jsonb_rows::{Leaf, array_of_objects};
use crate::pricing::book::MatchedPrices;
use crate::pricing::rate::{Priced, Terms, rate_from};
use crate::pricing::usage::Usage;
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::uuid_text;
use crate::storage::wallet_row::lock_wallet;

statement!(
    PENDING,
    [TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID],
    concat!(
        "SELECT l.entry_id, l.user_id, l.team, l.service, l.tags, ",
        past_usage_columns!(),
        ", u.most FROM wallet.unpriced_charges u
          JOIN wallet.ledger_all l ON l.wallet_id = u.wallet_id AND l.entry_id = u.entry_id
         WHERE u.wallet_id = $1 AND u.priced_id IS NULL
           AND ($2 IS NULL OR coalesce(l.event_at, l.created_at) >= $2)
           AND ($3 IS NULL OR coalesce(l.event_at, l.created_at) < $3)
         ORDER BY l.entry_id
           FOR NO KEY UPDATE OF u"
    )
);

statement!(
    PRICED,
    [TEXTOID, UUIDOID, UUIDOID],
    "UPDATE wallet.unpriced_charges SET priced_id = $3 WHERE wallet_id = $1 AND entry_id = $2"
);

/// An entry that prices an earlier charge.
#[derive(Debug, PartialEq, Eq)]
pub struct LatePrice {
    /// Id of the new entry, which books the cost.
    pub entry_id: [u8; 16],
    /// The unpriced charge.
    pub related_id: [u8; 16],
    /// The model of the charge.
    pub model: String,
    /// The cost of the charge, in the wallet's currency.
    pub cost: Amount,
}

/// The arguments of `price_unpriced`.
pub struct Pricing<'a> {
    /// Id of the wallet whose unpriced charges are priced.
    pub wallet: &'a str,
    /// The time of use of the charges.
    pub span: Span,
    /// The person or program that makes the call.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
}

/// Prices the charges of the span that have a price by now. The others stay listed.
pub fn price(pricing: &Pricing<'_>, call: IdempotentCall<'_>) -> Result<Vec<LatePrice>> {
    let wallet = pricing.wallet;
    // A concurrent call on the same charges waits here for the first one, and then finds none.
    lock_wallet(wallet)?;
    if let Some(answer) = call.answered()? {
        return first_answer(&answer);
    }
    let rules = config::read(wallet)?;
    let rows = PENDING.run(&[
        Value::Text(wallet),
        Value::OptTime(pricing.span.from),
        Value::OptTime(pricing.span.to),
    ])?;
    lock_for_uses(wallet, rows.len())?;
    let mut booked = Vec::new();
    for row in 0..rows.len() {
        let (usage, model, used_at) = past_usage::usage(&rows, row, 5)?;
        if let Some(mut priced) = first_price(&usage, &model, &rules.terms(used_at))? {
            if let Some(most) = rows.opt_amount(row, 10)? {
                priced.cost = priced.cost.min(most);
            }
            booked.push(book(pricing, &rows, row, model, used_at, priced)?);
        }
    }
    call.remember(Some(answer(&booked)))?;
    Ok(booked)
}

/// The price at the time of use. If there was none, the first price after it applies, because the
/// model had no other before. The exchange rate is that of the time of use.
fn first_price(usage: &Usage, model: &str, terms: &Terms<'_>) -> Result<Option<Priced>> {
    let matched = MatchedPrices::of(terms.list, model, usage.provider.as_deref())?;
    let later = matched.beginnings(terms.at, clock::now());
    for at in std::iter::once(terms.at).chain(later) {
        match rate_from(usage, model, &matched, at, terms.conversion()) {
            Ok(priced) => return Ok(Some(priced)),
            Err(error) if matches!(error.code, Code::PriceNotFound | Code::InvalidUsage) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Books the cost of the charge in a row, attributed like the charge. The charge has no idempotency
/// key: `PENDING` has locked its row, and `PRICED` marks the row in the same transaction, so no
/// other call prices the charge again.
fn book(
    pricing: &Pricing<'_>,
    rows: &Rows,
    row: usize,
    model: String,
    used_at: Timestamp,
    priced: Priced,
) -> Result<LatePrice> {
    let related_id: [u8; 16] = rows.need(row, 0)?;
    let text = |column: i32| rows.get::<String>(row, column);
    let (user_id, team, service) = (text(1), text(2), text(3));
    let tags = rows.datum(row, 4).map(|datum| Document::of(Jsonb(datum)));
    let charged = charge::charge(&Request {
        priced_as: None,
        wallet: pricing.wallet,
        asked: Asked::Late(Box::new(priced), related_id),
        model: Some(model.clone()),
        attribution: Attribution {
            user_id: user_id.as_deref(),
            team: team.as_deref(),
            key_id: None,
        },
        service: service.as_deref(),
        region: text(6),
        service_tier: text(7),
        tags,
        event_at: Some(used_at),
        key: None,
        secret: None,
        client_ip: None,
        device: None,
        actor: pricing.actor,
        metadata: pricing.metadata.clone(),
        reported: None,
        passed: None,
    })?;
    PRICED.run(&[
        Value::Text(pricing.wallet),
        Value::Uuid(related_id),
        Value::Uuid(charged.entry_id),
    ])?;
    Ok(LatePrice {
        entry_id: charged.entry_id,
        related_id,
        model,
        cost: charged.cost,
    })
}

/// The rows in the form in which an idempotency key stores them.
fn answer(booked: &[LatePrice]) -> Jsonb {
    let texts: Vec<[String; 3]> = booked
        .iter()
        .map(|row| {
            let [entry_id, related_id] = [row.entry_id, row.related_id].map(uuid_text);
            [row.cost.to_fixed(), entry_id, related_id]
        })
        .collect();
    array_of_objects(
        ["cost", "model", "entry_id", "related_id"],
        booked
            .iter()
            .zip(&texts)
            .map(|(row, [cost, entry_id, related_id])| {
                [cost, &row.model, entry_id, related_id].map(|text| Leaf::Text(text))
            }),
    )
}

fn first_answer(answer: &Answer) -> Result<Vec<LatePrice>> {
    let lost = || Error::internal("an answer was not kept");
    match answer.result().ok_or_else(lost)?.reread("result")? {
        Json::Array(rows) => rows
            .iter()
            .map(|row| late_price(row).ok_or_else(lost))
            .collect(),
        _ => Err(lost()),
    }
}

fn late_price(row: &Json) -> Option<LatePrice> {
    let text = |name: &str| {
        let (_, value) = row.as_object()?.iter().find(|(key, _)| key == name)?;
        match value {
            Json::String(text) => Some(text.as_str()),
            _ => None,
        }
    };
    let id = |name: &str| Some(uuid::Uuid::parse_str(text(name)?).ok()?.into_bytes());
    Some(LatePrice {
        entry_id: id("entry_id")?,
        related_id: id("related_id")?,
        model: text("model")?.to_owned(),
        cost: Amount::from_decimal(text("cost")?.parse().ok()?).ok()?,
    })
}
