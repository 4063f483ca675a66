//! `reprice`: what the charges of a time would have cost with another price list.

use crate::error::{Code, Result};
use crate::ledger::past::{self, Span};
use crate::ledger::rules;
use crate::money::Amount;
use crate::pricing::book::{Shelf, require_list};
use crate::pricing::rate::rate_from;
use crate::storage::clock::Timestamp;
use crate::storage::plan::{Run, Value};
use crate::{past_usage_columns, statement};

// A page of the wallet's charges by usage, in the order of booking. What a charge that was booked
// without a price has been charged since belongs to it.
statement!(
    PAGE,
    [TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, UUIDOID, INT8OID],
    concat!(
        "SELECT l.entry_id,
                -(l.amount + coalesce((SELECT p.amount
                                         FROM wallet.unpriced_charges u
                                         JOIN wallet.ledger_all p
                                           ON p.wallet_id = u.wallet_id AND p.entry_id = u.priced_id
                                        WHERE u.wallet_id = l.wallet_id
                                          AND u.entry_id = l.entry_id), 0)), ",
        past_usage_columns!(),
        " FROM wallet.ledger_all l
         WHERE l.wallet_id = $1 AND l.kind = 'c' AND l.call <> 'p' AND l.lines IS NOT NULL
           AND l.model IS NOT NULL
           AND ($2 IS NULL OR coalesce(l.event_at, l.created_at) >= $2)
           AND ($3 IS NULL OR coalesce(l.event_at, l.created_at) < $3)
           AND l.entry_id > $4
         ORDER BY l.entry_id
         LIMIT $5"
    )
);

/// Charges that are read at once.
const PAGE_SIZE: i64 = 1000;

/// A charge and what it would have cost.
pub struct Repriced {
    /// The charge.
    pub entry_id: [u8; 16],
    /// Its model.
    pub model: String,
    /// What it cost.
    pub cost: Amount,
    /// What it would have cost; nothing where the list has no price for it.
    pub new_cost: Option<Amount>,
}

/// The charges by usage of a time, each priced at its time of use: with the prices of the list that
/// is tried out or, without one, of the wallet's own.
pub fn reprice(wallet: &str, span: Span, list: Option<&str>) -> Result<Vec<Repriced>> {
    let rules = rules::read(wallet)?;
    list.map_or(Ok(()), require_list)?;
    let mut repriced = Vec::new();
    let mut last = [0; 16];
    loop {
        let rows = PAGE.run(&[
            Value::Text(wallet),
            Value::OptTime(span.from),
            Value::OptTime(span.to),
            Value::Uuid(last),
            Value::Int8(PAGE_SIZE),
        ])?;
        for row in 0..rows.len() {
            let (usage, model, at) = past::usage(&rows, row, 2)?;
            let provider = usage.provider.as_deref();
            let shelf = match list {
                Some(list) => Shelf::tried_out(list, &model, provider)?,
                None => Shelf::of(&rules.price_list, &model, provider)?,
            };
            last = rows.need(row, 0)?;
            repriced.push(Repriced {
                entry_id: last,
                cost: rows.amount(row, 1)?,
                new_cost: new_cost(&usage, &model, &shelf, at)?,
                model,
            });
        }
        if (rows.len() as i64) < PAGE_SIZE {
            return Ok(repriced);
        }
    }
}

fn new_cost(
    usage: &crate::pricing::usage::Usage,
    model: &str,
    shelf: &Shelf,
    at: Timestamp,
) -> Result<Option<Amount>> {
    match rate_from(usage, model, shelf, at) {
        Ok(priced) => Ok(Some(priced.cost)),
        // No price for the model or one of its meters, or none that makes a meter of a key.
        Err(error) if matches!(error.code, Code::PriceNotFound | Code::InvalidUsage) => Ok(None),
        Err(error) => Err(error),
    }
}
