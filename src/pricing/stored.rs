//! The lines of entries, spelled out again with the unit prices that they were priced with.

use std::cell::RefCell;

use foldhash::HashMap;
use rust_decimal::Decimal;

use crate::error::{Error, Result};
use crate::pricing::lines::{Line, StoredLine, decode};
use crate::pricing::markup::MARKUP_FEE;
use crate::statement;
use crate::storage::jsonb::Jsonb;
use crate::storage::jsonb_rows::{Leaf, array_of_objects};
use crate::storage::numeric::Encoded;
use crate::storage::plan::{Run, Value};
use crate::storage::rows::uuid_text;

statement!(
    PRICE_BY_ID,
    [UUIDOID, BOOLOID],
    "SELECT unit_price, per FROM wallet.prices WHERE price_id = $1
     UNION ALL
     SELECT CASE WHEN $2 THEN fixed ELSE percent END, CASE WHEN $2 THEN 1 ELSE 100 END
       FROM wallet.markups WHERE markup_id = $1"
);

/// Prices that a backend keeps; beyond, it starts anew. Rows never change, so they are never
/// stale; a row of a transaction that was rolled back is never asked for again.
const MAX_PRICES: usize = 4096;

/// A price, or one of the two parts of a markup: true for the fixed one.
type PriceKey = ([u8; 16], bool);

thread_local! {
    static PRICES: RefCell<HashMap<PriceKey, (Decimal, Decimal)>> = RefCell::default();
}

fn price(key: PriceKey) -> Result<(Decimal, Decimal)> {
    if let Some(known) = PRICES.with_borrow(|prices| prices.get(&key).copied()) {
        return Ok(known);
    }
    let (id, fixed) = key;
    let rows = PRICE_BY_ID.run(&[Value::Uuid(id), Value::Bool(fixed)])?;
    if rows.is_empty() {
        return Err(damaged(format!("There is no price {}.", uuid_text(id))));
    }
    let found = (rows.decimal(0, 0)?, rows.decimal(0, 1)?);
    PRICES.with_borrow_mut(|prices| {
        if prices.len() >= MAX_PRICES {
            prices.clear();
        }
        prices.insert(key, found);
    });
    Ok(found)
}

/// Unit price and unit of a line.
pub fn price_of(line: &StoredLine) -> Result<(Decimal, Decimal)> {
    price((line.price_id, line.meter == MARKUP_FEE))
}

/// The lines of a compact form, without their prices. Anybody who may read can ask with bytes of his own.
pub fn parts(bytes: &[u8]) -> Result<Vec<StoredLine>> {
    decode(bytes).ok_or_else(|| damaged("They cannot be read."))
}

/// What is not the lines of an entry.
pub fn damaged(detail: impl Into<String>) -> Error {
    Error::argument("these are not the lines of an entry")
        .detail(detail)
        .hint("Pass the column lines of wallet.ledger as it is; verify() checks what is stored.")
}

/// The lines of a compact form.
pub fn read(bytes: &[u8]) -> Result<Vec<Line>> {
    parts(bytes)?
        .into_iter()
        .map(|line| {
            let (unit_price, per) = price_of(&line)?;
            Ok(Line {
                meter: line.meter,
                quantity: line.quantity,
                unit_price,
                per,
                amount: line.amount,
                price_id: line.price_id,
            })
        })
        .collect()
}

/// The lines as functions return them: an array of objects.
pub fn to_jsonb(lines: &[Line]) -> Jsonb {
    let ids: Vec<String> = lines.iter().map(|line| uuid_text(line.price_id)).collect();
    array_of_objects(
        [
            "per",
            "meter",
            "amount",
            "price_id",
            "quantity",
            "unit_price",
        ],
        lines.iter().zip(&ids).map(|(line, id)| {
            [
                Leaf::Number(Encoded::decimal(line.per)),
                Leaf::Text(&line.meter),
                Leaf::Number(Encoded::amount(line.amount)),
                Leaf::Text(id),
                Leaf::Number(Encoded::decimal(line.quantity)),
                Leaf::Number(Encoded::decimal(line.unit_price)),
            ]
        }),
    )
}
