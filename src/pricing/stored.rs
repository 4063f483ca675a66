//! Reads the lines of entries, with the unit prices by which they were priced.

use std::cell::RefCell;
use std::rc::Rc;

use foldhash::HashMap;
use rust_decimal::Decimal;

use crate::currency::Currency;
use crate::error::{Error, Result};
use crate::money::Rate;
use crate::pg::clock::Timestamp;
use crate::pg::invalidation;
use crate::pg::jsonb::Jsonb;
use crate::pg::jsonb_rows::{Leaf, array_of_objects, array_of_sparse_objects};
use crate::pg::numeric::Encoded;
use crate::pricing::lines::{Exchange, Line, StoredExchange, StoredLine, decode};
use crate::pricing::markup::MARKUP_FEE;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::uuid_text;

statement!(
    PRICE_BY_ID,
    [UUIDOID, BOOLOID],
    "SELECT unit_price, per, currency FROM wallet.prices WHERE price_id = $1
     UNION ALL
     SELECT CASE WHEN $2 THEN fixed ELSE percent END, CASE WHEN $2 THEN 1 ELSE 100 END, currency
       FROM wallet.markups WHERE markup_id = $1"
);

statement!(
    RATE_BY_ID,
    [UUIDOID],
    "SELECT from_currency, to_currency, rate, effective_from FROM wallet.fx_rates WHERE rate_id = $1"
);

/// The maximum number of rows of each kind that a backend caches. Beyond it, the cache is emptied.
/// The extension never changes such a row. If somebody else changes one, the cache is dropped, as
/// that of the price book is.
const MAX_KEPT: usize = 4096;

/// Id of a price, or of one of the two parts of a markup. True means the fixed part.
type PriceKey = ([u8; 16], bool);

/// The price of a line, from its row.
#[derive(Clone, Copy, Debug)]
pub struct FoundPrice {
    /// Price of `per` units, or a percentage.
    pub unit_price: Decimal,
    /// The number of units that `unit_price` pays for.
    pub per: Decimal,
    /// Currency of `unit_price`.
    pub currency: Currency,
}

/// The exchange rate of a line, from its row.
#[derive(Clone, Copy, Debug)]
pub struct FoundRate {
    /// The rate with its id and the currency from which it converts.
    pub exchange: Exchange,
    /// The currency into which it converts.
    pub to: Currency,
    /// When the rate began.
    pub effective_from: Timestamp,
}

#[derive(Default)]
struct Kept {
    generation: u64,
    prices: HashMap<PriceKey, FoundPrice>,
    rates: HashMap<StoredExchange, FoundRate>,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// Uses the cache, after dropping it if it is of an earlier generation.
fn kept<T>(work: impl FnOnce(&mut Kept) -> T) -> T {
    let generation = invalidation::generation();
    KEPT.with_borrow_mut(|kept| {
        let size = kept.prices.len().max(kept.rates.len());
        if kept.generation != generation || size >= MAX_KEPT {
            *kept = Kept {
                generation,
                ..Kept::default()
            };
        }
        work(kept)
    })
}

/// The price of a line; `None` if its row does not exist.
pub fn found_price(line: &StoredLine) -> Result<Option<FoundPrice>> {
    let key = (line.price_id, line.meter == MARKUP_FEE);
    if let Some(known) = kept(|kept| kept.prices.get(&key).copied()) {
        return Ok(Some(known));
    }
    let generation = invalidation::generation();
    let (id, fixed) = key;
    let rows = PRICE_BY_ID.run(&[Value::Uuid(id), Value::Bool(fixed)])?;
    if rows.is_empty() {
        return Ok(None);
    }
    let found = FoundPrice {
        unit_price: rows.decimal(0, 0)?,
        per: rows.decimal(0, 1)?,
        currency: Currency::of_row(&rows.need::<String>(0, 2)?)?,
    };
    invalidation::note_caching();
    // Nothing is cached if a change arrived while the row was being read.
    if generation == invalidation::generation() {
        kept(|kept| kept.prices.insert(key, found));
    }
    Ok(Some(found))
}

/// Unit price of a line, and the number of units that it pays for.
pub fn price_of(line: &StoredLine) -> Result<(Decimal, Decimal)> {
    let id = line.price_id;
    let found = found_price(line)?
        .ok_or_else(|| damaged(format!("There is no price {}.", uuid_text(id))))?;
    Ok((found.unit_price, found.per))
}

/// The exchange of a line; `None` if the row of its rate does not exist.
pub fn found_exchange(stored: StoredExchange) -> Result<Option<FoundRate>> {
    if let Some(known) = kept(|kept| kept.rates.get(&stored).copied()) {
        return Ok(Some(known));
    }
    let generation = invalidation::generation();
    let rows = RATE_BY_ID.run(&[Value::Uuid(stored.rate_id)])?;
    if rows.is_empty() {
        return Ok(None);
    }
    let currency = |column: bool| Currency::of_row(&rows.need::<String>(0, i32::from(column))?);
    let found = FoundRate {
        exchange: Exchange {
            from: currency(stored.is_inverse)?,
            rate: Rate {
                value: rows.decimal(0, 2)?,
                is_inverse: stored.is_inverse,
            },
            rate_id: stored.rate_id,
        },
        to: currency(!stored.is_inverse)?,
        effective_from: rows.need(0, 3)?,
    };
    invalidation::note_caching();
    if generation == invalidation::generation() {
        kept(|kept| kept.rates.insert(stored, found));
    }
    Ok(Some(found))
}

/// The exchange by which a line was converted.
pub fn exchange_of(line: &StoredLine) -> Result<Option<Exchange>> {
    let found = |stored: StoredExchange| {
        let id = stored.rate_id;
        let lost = || damaged(format!("There is no exchange rate {}.", uuid_text(id)));
        found_exchange(stored)?
            .map(|found| found.exchange)
            .ok_or_else(lost)
    };
    line.exchange.map(found).transpose()
}

/// The lines of a compact form, without their prices. The bytes may come from any reader, so they
/// may be invalid.
pub fn parts(bytes: &[u8]) -> Result<Vec<StoredLine>> {
    decode(bytes).ok_or_else(|| damaged("They cannot be read."))
}

/// The error for bytes that are not the lines of an entry.
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
            let exchange = exchange_of(&line)?;
            Ok(Line {
                meter: line.meter,
                quantity: line.quantity,
                unit_price,
                per,
                amount: line.amount,
                price_id: line.price_id,
                exchange,
            })
        })
        .collect()
}

/// The lines as functions return them: an array of objects. A converted line has the currency of
/// its price and the rate.
pub fn to_jsonb(lines: &[Line]) -> Jsonb {
    if lines.iter().any(|line| line.exchange.is_some()) {
        return converted_to_jsonb(lines);
    }
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

fn converted_to_jsonb(lines: &[Line]) -> Jsonb {
    // Most lines of a charge have the same rate.
    let mut last: Option<([u8; 16], Rc<str>)> = None;
    let mut rate_text = |id: [u8; 16]| match &last {
        Some((known, text)) if *known == id => text.clone(),
        _ => {
            let text: Rc<str> = uuid_text(id).into();
            last = Some((id, text.clone()));
            text
        }
    };
    let ids: Vec<(String, Option<Rc<str>>)> = lines
        .iter()
        .map(|line| {
            let rate_id = line.exchange.map(|exchange| rate_text(exchange.rate_id));
            (uuid_text(line.price_id), rate_id)
        })
        .collect();
    array_of_sparse_objects(
        [
            "per",
            "rate",
            "meter",
            "amount",
            "inverse",
            "rate_id",
            "currency",
            "price_id",
            "quantity",
            "unit_price",
        ],
        lines.iter().zip(&ids).map(|(line, (price_id, rate_id))| {
            let [rate, inverse, rate_id, currency] =
                match line.exchange.as_ref().zip(rate_id.as_ref()) {
                    None => [const { Leaf::Absent }; 4],
                    Some((exchange, rate_id)) => [
                        Leaf::Number(Encoded::decimal(exchange.rate.value)),
                        match exchange.rate.is_inverse {
                            true => Leaf::True,
                            false => Leaf::Absent,
                        },
                        Leaf::Text(rate_id),
                        Leaf::Text(&exchange.from),
                    ],
                };
            [
                Leaf::Number(Encoded::decimal(line.per)),
                rate,
                Leaf::Text(&line.meter),
                Leaf::Number(Encoded::amount(line.amount)),
                inverse,
                rate_id,
                currency,
                Leaf::Text(price_id),
                Leaf::Number(Encoded::decimal(line.quantity)),
                Leaf::Number(Encoded::decimal(line.unit_price)),
            ]
        }),
    )
}
