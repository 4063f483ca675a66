//! The price book: the prices that this backend has used, kept until any price changes.
//!
//! A look-up after the first costs no query. The cache is dropped when `invalidation` counts on,
//! which happens in every backend at the commit of a change, and in the changing transaction at
//! once and again when it rolls back.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::pricing::select::{Price, Situation, matches, pick};
use crate::statement;
use crate::storage::invalidation;
use crate::storage::jsonb::{Json, Jsonb};
use crate::storage::plan::{Rows, Run, Value};

/// The list that stands behind every other.
pub const DEFAULT_LIST: &str = "default";

/// Models that a backend keeps; beyond, it starts anew.
const MAX_MODELS: usize = 4096;

macro_rules! price_query {
    ($condition:literal) => {
        concat!(
            "SELECT price_id, meter, unit_price, per, provider, service, region, service_tier,
                    above_input_tokens, conditions, effective_from, model
               FROM wallet.prices
              WHERE price_list = $1 AND ",
            $condition
        )
    };
}

statement!(MODEL_PRICES, [TEXTOID, TEXTOID], price_query!("model = $2"));
statement!(
    PATTERN_PRICES,
    [TEXTOID],
    price_query!("model LIKE '%*%' ORDER BY length(model) DESC, model")
);

type Prices = Rc<[Price]>;
type Patterns = Rc<[(String, Prices)]>;

#[derive(Default)]
struct Book {
    generation: u64,
    models: HashMap<String, HashMap<String, Prices>>,
    patterns: HashMap<String, Patterns>,
    count: usize,
}

thread_local! {
    static BOOK: RefCell<Book> = RefCell::default();
}

/// Drops what may be stale and gives the present generation.
fn refresh() -> u64 {
    let generation = invalidation::generation();
    BOOK.with_borrow_mut(|book| {
        if book.generation != generation || book.count > MAX_MODELS {
            *book = Book {
                generation,
                ..Book::default()
            };
        }
    });
    generation
}

/// Stores what was read, unless a change arrived while it was being read.
fn keep(generation: u64, store: impl FnOnce(&mut Book)) {
    invalidation::note_caching();
    BOOK.with_borrow_mut(|book| {
        if book.generation == generation && invalidation::generation() == generation {
            book.count += 1;
            store(book);
        }
    });
}

fn price_of(rows: &Rows, row: usize) -> Result<Price> {
    let conditions = match rows.datum(row, 9) {
        Some(datum) => match Jsonb(datum).read("conditions", usize::MAX)? {
            Json::Object(entries) => entries,
            _ => return Err(Error::internal("the conditions of a price are no object")),
        },
        None => Vec::new(),
    };
    Ok(Price {
        id: rows.need(row, 0)?,
        meter: rows.need(row, 1)?,
        unit_price: match rows.datum(row, 2) {
            Some(_) => Some(rows.decimal(row, 2)?),
            None => None,
        },
        per: rows.decimal(row, 3)?,
        provider: rows.get(row, 4),
        service: rows.get(row, 5),
        region: rows.get(row, 6),
        service_tier: rows.get(row, 7),
        above_input_tokens: rows.get(row, 8),
        conditions,
        effective_from: rows.need(row, 10)?,
    })
}

/// All prices of an exact model name in a list, of all times.
fn model_prices(list: &str, model: &str) -> Result<Prices> {
    let generation = refresh();
    let cached = BOOK.with_borrow(|book| {
        book.models
            .get(list)
            .and_then(|models| models.get(model))
            .cloned()
    });
    if let Some(prices) = cached {
        return Ok(prices);
    }
    let rows = MODEL_PRICES.run(&[Value::Text(list), Value::Text(model)])?;
    let prices: Prices = (0..rows.len())
        .map(|row| price_of(&rows, row))
        .collect::<Result<Vec<_>>>()?
        .into();
    keep(generation, |book| {
        book.models
            .entry(list.to_owned())
            .or_default()
            .insert(model.to_owned(), prices.clone());
    });
    Ok(prices)
}

/// All prices of the patterns of a list, the longest pattern first.
fn pattern_prices(list: &str) -> Result<Patterns> {
    let generation = refresh();
    let cached = BOOK.with_borrow(|book| book.patterns.get(list).cloned());
    if let Some(patterns) = cached {
        return Ok(patterns);
    }
    let rows = PATTERN_PRICES.run(&[Value::Text(list)])?;
    let mut patterns: Vec<(String, Vec<Price>)> = Vec::new();
    for row in 0..rows.len() {
        let (pattern, price) = (rows.need::<String>(row, 11)?, price_of(&rows, row)?);
        match patterns.last_mut() {
            Some((last, prices)) if *last == pattern => prices.push(price),
            _ => patterns.push((pattern, vec![price])),
        }
    }
    let patterns: Patterns = patterns
        .into_iter()
        .map(|(pattern, prices)| (pattern, prices.into()))
        .collect();
    keep(generation, |book| {
        book.patterns.insert(list.to_owned(), patterns.clone());
    });
    Ok(patterns)
}

/// What the book knows of one model, in the order of precedence: the wallet's list before the
/// default list; the exact model, then provider/model, then patterns, the longest first.
pub struct Shelf(Vec<Prices>);

impl Shelf {
    /// Collects the prices of a model.
    pub fn of(list: &str, model: &str, provider: Option<&str>) -> Result<Shelf> {
        let mut shelf = Vec::new();
        let lists = [Some(list), (list != DEFAULT_LIST).then_some(DEFAULT_LIST)];
        for list in lists.into_iter().flatten() {
            shelf.push(model_prices(list, model)?);
            let qualified = provider.map(|provider| format!("{provider}/{model}"));
            if let Some(qualified) = &qualified {
                shelf.push(model_prices(list, qualified)?);
            }
            for (pattern, prices) in pattern_prices(list)?.iter() {
                let fits = matches(pattern, model)
                    || qualified
                        .as_ref()
                        .is_some_and(|name| matches(pattern, name));
                if fits {
                    shelf.push(prices.clone());
                }
            }
        }
        shelf.retain(|prices| !prices.is_empty());
        Ok(Shelf(shelf))
    }

    /// True when no price of any meter and any time is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The price of a meter.
    pub fn price(&self, meter: &str, situation: &Situation<'_>) -> Option<&Price> {
        self.0
            .iter()
            .find_map(|prices| pick(prices, meter, situation))
    }
}
