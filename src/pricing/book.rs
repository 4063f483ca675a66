//! The price book: the prices that this backend has used, cached until any price changes.
//!
//! Only the first look-up of a model costs a query, even if the model has no price. The cache is
//! dropped when the generation of [`invalidation`] advances. That happens in every backend when a
//! change is committed. In the changing transaction it happens at once, and again if the
//! transaction rolls back.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::rc::Rc;

use foldhash::HashMap;

use crate::error::{Code, Error, Result, quoted};
use crate::pattern::matches;
use crate::pg::clock::Timestamp;
use crate::pg::invalidation;
use crate::pg::jsonb::Json;
use crate::pricing::chains::Prices;
use crate::pricing::conditions::Conditions;
use crate::pricing::markup::{Markup, Markups};
use crate::pricing::select::{Price, Situation};
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::PriceRow;
use crate::storage::store;

/// The list whose prices apply if the wallet's own list has none.
pub const DEFAULT_LIST: &str = "default";

statement!(
    LIST_EXISTS,
    [TEXTOID],
    "SELECT 1 WHERE EXISTS (SELECT FROM wallet.prices WHERE price_list = $1)
                 OR EXISTS (SELECT FROM wallet.markups WHERE price_list = $1)"
);

/// Returns 42704 unless the list has a price or a markup, or is the default list, which always
/// exists.
pub fn require_list(list: &str) -> Result<()> {
    if list == DEFAULT_LIST || !LIST_EXISTS.run(&[Value::Text(list)])?.is_empty() {
        return Ok(());
    }
    Err(no_list(list))
}

/// The error 42704 for a price list that does not exist, or that the caller may not see.
pub fn no_list(list: &str) -> Error {
    Error::new(
        Code::ObjectNotFound,
        format!("price list {} does not exist", quoted(list)),
    )
    .detail("No price and no markup was set for a list of that name.")
    .hint("Make it first with set_price(), import_prices() or set_markup(), or check the name.")
}

/// The maximum number of cached rows and look-ups. Beyond it, the cache is emptied.
const MAX_SIZE: usize = 1 << 18;

type Patterns = Rc<[(String, Rc<Prices>)]>;

/// The prices of a model, and the provider for which they were collected.
type Kept = (Option<String>, Rc<MatchedPrices>);

#[derive(Default)]
struct Book {
    generation: u64,
    /// The prices of each model, by list and model.
    by_model: HashMap<String, HashMap<String, Vec<Kept>>>,
    /// The rows of each model name, by list and name.
    names: HashMap<String, HashMap<String, Rc<Prices>>>,
    /// The patterns and their prices, by list.
    patterns: HashMap<String, Patterns>,
    /// The markups, by list.
    markups: HashMap<String, Rc<Markups>>,
    size: usize,
}

thread_local! {
    static BOOK: RefCell<Book> = RefCell::default();
}

/// Drops the cache if it may be stale, and returns the current generation.
fn refresh() -> u64 {
    let generation = invalidation::generation();
    BOOK.with_borrow_mut(|book| {
        if book.generation != generation || book.size > MAX_SIZE {
            *book = Book {
                generation,
                ..Book::default()
            };
        }
    });
    generation
}

/// Caches rows, unless a change arrived while they were being read.
fn keep(generation: u64, size: usize, store: impl FnOnce(&mut Book)) {
    invalidation::note_caching();
    BOOK.with_borrow_mut(|book| {
        if book.generation == generation && invalidation::generation() == generation {
            book.size += size + 1;
            store(book);
        }
    });
}

fn price_of(row: PriceRow, list: &str) -> Result<Price> {
    let Json::Object(entries) = row.conditions else {
        return Err(Error::internal("the conditions of a price are no object"));
    };
    let conditions = Conditions::read(entries)?;
    Ok(Price {
        id: row.id,
        meter: row.meter,
        unit_price: row.unit_price,
        per: row.per,
        currency: row.currency,
        provider: row.provider,
        service: row.service,
        region: row.region,
        service_tier: row.service_tier,
        above_input_tokens: row.above_input_tokens,
        conditions: conditions.keys,
        window: conditions.window,
        minimum: conditions.minimum,
        effective_from: row.effective_from,
        negotiated: list != DEFAULT_LIST,
    })
}

/// All prices of an exact model name in a list, of all times.
fn model_prices(list: &str, model: &str) -> Result<Rc<Prices>> {
    let generation = refresh();
    let cached = BOOK.with_borrow(|book| {
        book.names
            .get(list)
            .and_then(|models| models.get(model))
            .cloned()
    });
    if let Some(prices) = cached {
        return Ok(prices);
    }
    let prices = store::read_prices(list, model)?
        .into_iter()
        .map(|row| price_of(row, list))
        .collect::<Result<Vec<_>>>()?;
    let prices = Rc::new(Prices::new(prices));
    keep(generation, prices.len(), |book| {
        book.names
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
    let mut rows = store::read_pattern_prices(list)?;
    let count = rows.len();
    rows.sort_by_cached_key(|row| (Reverse(row.model.chars().count()), row.model.clone()));
    let mut patterns: Vec<(String, Vec<Price>)> = Vec::new();
    for mut row in rows {
        let pattern = std::mem::take(&mut row.model);
        let price = price_of(row, list)?;
        match patterns.last_mut() {
            Some((last, prices)) if *last == pattern => prices.push(price),
            _ => patterns.push((pattern, vec![price])),
        }
    }
    let patterns: Patterns = patterns
        .into_iter()
        .map(|(pattern, prices)| (pattern, Rc::new(Prices::new(prices))))
        .collect();
    keep(generation, count, |book| {
        book.patterns.insert(list.to_owned(), patterns.clone());
    });
    Ok(patterns)
}

/// All markups of a list, of all times.
fn markups(list: &str) -> Result<Rc<Markups>> {
    let generation = refresh();
    let cached = BOOK.with_borrow(|book| book.markups.get(list).cloned());
    if let Some(markups) = cached {
        return Ok(markups);
    }
    let markups = store::read_markups(list)?;
    let count = markups.len();
    let markups = Rc::new(Markups::new(markups));
    keep(generation, count, |book| {
        book.markups.insert(list.to_owned(), markups.clone());
    });
    Ok(markups)
}

/// The prices and markups that may apply to one model, in order of precedence: the wallet's list
/// before the default list; in each the exact model, then provider/model, then patterns, the
/// longest first.
#[derive(Clone, Debug)]
pub struct MatchedPrices {
    prices: Vec<Rc<Prices>>,
    /// The markups of the wallet's list, then those of the default list.
    markups: Vec<Rc<Markups>>,
}

impl MatchedPrices {
    /// The prices of a model, from the cache if possible.
    pub fn of(list: &str, model: &str, provider: Option<&str>) -> Result<Rc<MatchedPrices>> {
        let generation = refresh();
        let cached = BOOK.with_borrow(|book| {
            let kept = book.by_model.get(list)?.get(model)?;
            kept.iter()
                .find(|(named, _)| named.as_deref() == provider)
                .map(|(_, matched)| matched.clone())
        });
        if let Some(matched) = cached {
            return Ok(matched);
        }
        let matched = Rc::new(MatchedPrices::collect(list, model, provider)?);
        keep(generation, 1, |book| {
            let by_model = book.by_model.entry(list.to_owned()).or_default();
            let kept = (provider.map(str::to_owned), matched.clone());
            by_model.entry(model.to_owned()).or_default().push(kept);
        });
        Ok(matched)
    }

    fn collect(list: &str, model: &str, provider: Option<&str>) -> Result<MatchedPrices> {
        let qualified = provider.map(|provider| format!("{provider}/{model}"));
        let mut prices = Vec::new();
        let mut marks = Vec::new();
        let lists = [Some(list), (list != DEFAULT_LIST).then_some(DEFAULT_LIST)];
        for list in lists.into_iter().flatten() {
            prices.push(model_prices(list, model)?);
            if let Some(qualified) = &qualified {
                prices.push(model_prices(list, qualified)?);
            }
            for (pattern, rows) in pattern_prices(list)?.iter() {
                let fits = matches(pattern, model)
                    || qualified
                        .as_ref()
                        .is_some_and(|name| matches(pattern, name));
                if fits {
                    prices.push(rows.clone());
                }
            }
            marks.push(markups(list)?);
        }
        prices.retain(|rows| !rows.is_empty());
        Ok(MatchedPrices {
            prices,
            markups: marks,
        })
    }

    /// The prices of a model by a list that is being tried out. The list's prices apply from the
    /// beginning, also to usage before the list was made. Prices of the default list apply as
    /// usual.
    pub fn tried_out(list: &str, model: &str, provider: Option<&str>) -> Result<Rc<MatchedPrices>> {
        let matched = MatchedPrices::of(list, model, provider)?;
        if list == DEFAULT_LIST {
            return Ok(matched);
        }
        let early = |rows: &Rc<Prices>| {
            if rows.are_negotiated() {
                Rc::new(rows.always_begun())
            } else {
                rows.clone()
            }
        };
        let prices = matched.prices.iter().map(early).collect();
        let mut markups = matched.markups.clone();
        if let Some(own) = markups.first_mut() {
            *own = Rc::new(own.always_begun());
        }
        Ok(Rc::new(MatchedPrices { prices, markups }))
    }

    /// True if the model has no price of any meter at any time.
    pub fn is_empty(&self) -> bool {
        self.prices.is_empty()
    }

    /// True if a price of the model has a condition on a key of the usage object.
    pub fn asks_for_keys(&self) -> bool {
        self.prices.iter().any(|prices| prices.ask_for_keys())
    }

    /// True if a price of the model, of any time, has a condition on that key.
    pub fn asks_for(&self, key: &str) -> bool {
        self.prices.iter().any(|prices| prices.ask_for(key))
    }

    /// True if a price of the model, of any time, requires that service tier.
    pub fn knows_tier(&self, tier: &str) -> bool {
        self.prices.iter().any(|prices| prices.know_tier(tier))
    }

    /// The price of a meter.
    pub fn price(&self, meter: &str, situation: &Situation<'_>) -> Option<&Price> {
        self.prices
            .iter()
            .find_map(|prices| prices.pick(meter, situation))
    }

    /// The markup that is added to prices of the default list: the markup of the wallet's list, or
    /// otherwise that of the default list.
    pub fn markup(&self, at: Timestamp) -> Option<&Markup> {
        self.markups.iter().find_map(|markups| markups.at(at))
    }

    /// The times after `after` and up to `until` at which prices of the model begin, the earliest
    /// first.
    pub fn beginnings(&self, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        let mut times: Vec<Timestamp> = self
            .prices
            .iter()
            .flat_map(|prices| prices.beginnings())
            .filter(|time| *time > after && *time <= until)
            .collect();
        times.sort_unstable();
        times.dedup();
        times
    }
}
