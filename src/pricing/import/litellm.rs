//! LiteLLM's price file: an object of models, each an object of fields. Pure.
//!
//! The fields of a model fill a [`Grid`] of prices by meter, tier and threshold. Then the tables of
//! ranges are added, and the prices of certain hours. The factors of regions come last, because
//! they multiply every token price of the model.

use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use serde_json::{Map, Value};

use crate::error::Result;
use crate::pg::jsonb::Json;
use crate::pricing::import::expand::{Cell, Grid};
use crate::pricing::import::fields::{self, Field, Meaning, field};
use crate::pricing::import::number::{Read, cut, price};
use crate::pricing::import::{Feed, Quote, not_a_feed, table};

/// The name of the source.
pub const SOURCE: &str = "litellm";

/// The entry that describes the format.
const SAMPLE: &str = "sample_spec";

/// Reads the whole file.
pub fn read(document: &Json) -> Result<Feed> {
    let shape = || {
        not_a_feed(
            SOURCE,
            "It is an object whose keys are models and whose values are objects of their prices.",
        )
    };
    let models = document.as_object().ok_or_else(shape)?;
    if models.is_empty() {
        return Err(shape());
    }
    let mut feed = Feed::default();
    for (name, entry) in models {
        let Some(entry) = entry.as_object() else {
            feed.fault(name, "", "the model is not an object");
            continue;
        };
        if name == SAMPLE {
            for (key, _) in entry.iter().filter(|(key, _)| fields::is_price(key)) {
                feed.skip(name, key, "this entry describes the format and is no model");
            }
            continue;
        }
        if name.is_empty() || name.chars().count() > crate::args::MAX_NAME {
            feed.fault(name, "", "the model's name is empty or too long");
            continue;
        }
        Model::new(name, entry, &mut feed).read();
    }
    Ok(feed)
}

/// The provider and the mode of an entry, and the prices read so far.
struct Model<'a> {
    name: &'a str,
    entry: &'a [(String, Json)],
    provider: Option<&'a str>,
    mode: &'a str,
    feed: &'a mut Feed,
    grid: Grid,
    /// Prices with other conditions.
    others: Vec<(String, Cell, Map<String, Value>)>,
    /// Regions, or keys of the usage, with the factor on all token prices.
    factors: Vec<(Place, Decimal, String)>,
}

/// Where a factor applies.
enum Place {
    Region(String),
    Key(&'static str, &'static str),
}

/// The note of a price that a field gave.
fn note(field: &str, read: &Read) -> String {
    match read.noise {
        Some(noise) => format!("from {field}, cut from {noise}"),
        None => format!("from {field}"),
    }
}

fn text<'a>(entry: &'a [(String, Json)], key: &str) -> Option<&'a str> {
    entry.iter().find_map(|(name, value)| match value {
        Json::String(text) if name == key => Some(text.as_str()),
        _ => None,
    })
}

impl<'a> Model<'a> {
    fn new(name: &'a str, entry: &'a [(String, Json)], feed: &'a mut Feed) -> Model<'a> {
        Model {
            name,
            entry,
            provider: text(entry, "litellm_provider").map(fields::provider),
            mode: text(entry, "mode").unwrap_or_default(),
            feed,
            grid: Grid::default(),
            others: Vec::new(),
            factors: Vec::new(),
        }
    }

    /// The keys of an entry have no order. The prices are sorted by rank, because the first that is
    /// not zero applies. The ranges follow, then `spread` adds the prices that the feed leaves out,
    /// and off-peak hours and `write` come last.
    fn read(mut self) {
        let mut candidates = Vec::new();
        let (mut tiers, mut hours) = (None, None);
        for (key, value) in self.entry {
            if matches!(value, Json::Null) {
                continue;
            }
            let Some(known) = field(key) else {
                if fields::is_price(key) {
                    self.feed
                        .skip(self.name, key, "this version does not know the field");
                }
                continue;
            };
            match known.meaning {
                Meaning::Meter(meter, per) => candidates.push((known, key, value, meter, per)),
                Meaning::ByMode(modes) => {
                    let meter = modes
                        .iter()
                        .find(|(mode, _)| *mode == self.mode || mode.is_empty());
                    candidates.push((known, key, value, meter.map_or("", |(_, meter)| *meter), 1));
                }
                Meaning::MeterIf(meter, name, given) => {
                    if let Some(read) = self.price(key, value) {
                        let keys = Map::from_iter([(name.to_owned(), Value::from(given))]);
                        self.other(meter, keys, key, &read, 1);
                    }
                }
                Meaning::SearchContext => self.search_context(key, value),
                Meaning::Tiers => tiers = Some((key, value)),
                Meaning::OffPeak => hours = Some((key, value)),
                Meaning::Uplift(region) => {
                    if let Some(read) = self.price(key, value) {
                        let place = Place::Region(region.to_owned());
                        self.factors.push((place, read.price, key.clone()));
                    }
                }
                Meaning::Factors => self.named_factors(key, value),
                Meaning::Skip(reason) => self.feed.skip(self.name, key, reason),
            }
        }
        candidates.sort_by_key(|(known, ..)| known.rank);
        for (known, key, value, meter, per) in candidates {
            if let Some(read) = self.price(key, value) {
                self.candidate(known, key, &read, meter, per);
            }
        }
        if let Some((key, value)) = tiers {
            self.tiers(key, value);
        }
        self.grid.spread();
        if let Some((key, value)) = hours {
            self.off_peak(key, value);
        }
        self.write();
    }

    /// The price in a field. A value that is not a price is a fault.
    fn price(&mut self, key: &str, value: &Json) -> Option<Read> {
        price(value)
            .map_err(|wrong| self.feed.fault(self.name, key, wrong))
            .ok()
    }

    /// Notes a field that prices a meter. The first that is not zero applies.
    fn candidate(&mut self, known: Field, key: &str, read: &Read, meter: &str, per: u32) {
        let inclusive = self
            .provider
            .is_some_and(|provider| fields::INCLUSIVE_THRESHOLDS.contains(&provider));
        let above = known.above.map(|tokens| tokens - i64::from(inclusive));
        let slot = (meter.to_owned(), known.tier.map(str::to_owned), above);
        let cell = Cell {
            price: read.price,
            per,
            note: note(key, read),
        };
        match self.grid.0.get_mut(&slot) {
            None => drop(self.grid.0.insert(slot, cell)),
            Some(first) => {
                let replaces = first.price.is_zero() && !cell.price.is_zero();
                let (kept, left) = if replaces {
                    (
                        cell,
                        std::mem::replace(
                            first,
                            Cell {
                                price: Decimal::ZERO,
                                per,
                                note: String::new(),
                            },
                        ),
                    )
                } else {
                    (first.clone(), cell)
                };
                let reason = format!("the same {meter} are priced {}", kept.note);
                let field = left.note.trim_start_matches("from ").split(',').next();
                self.feed.skip(self.name, field.unwrap_or(key), reason);
                *first = kept;
            }
        }
    }

    fn other(&mut self, meter: &str, keys: Map<String, Value>, key: &str, read: &Read, per: u32) {
        let cell = Cell {
            price: read.price,
            per,
            note: note(key, read),
        };
        self.others.push((meter.to_owned(), cell, keys));
    }

    /// The price of a search, by the size of its context. The usual size has no condition. The
    /// other sizes get rows if their price differs.
    fn search_context(&mut self, key: &str, value: &Json) {
        const PREFIX: &str = "search_context_size_";
        let Some(sizes) = value.as_object() else {
            // Some entries have one price for all sizes.
            if let Some(read) = self.price(key, value) {
                self.other("queries", Map::new(), key, &read, 1);
            }
            return;
        };
        let mut prices = Vec::new();
        for (size, value) in sizes {
            match size.strip_prefix(PREFIX) {
                Some(size) => {
                    if let Some(read) = self.price(key, value) {
                        prices.push((size, read));
                    }
                }
                None => self.feed.skip(
                    self.name,
                    &format!("{key}.{size}"),
                    "it names no size of context",
                ),
            }
        }
        let usual = fields::usual_search_context(self.provider.unwrap_or_default());
        let base = prices
            .iter()
            .find(|(size, _)| *size == usual)
            .or_else(|| prices.first())
            .map(|(_, read)| read.clone());
        let Some(base) = base else {
            return;
        };
        self.other("queries", Map::new(), key, &base, 1);
        for (size, read) in prices {
            if read != base {
                let keys = Map::from_iter([("search_context_size".to_owned(), Value::from(size))]);
                self.other("queries", keys, key, &read, 1);
            }
        }
    }

    /// Anthropic's factors: a region, or `fast` for the key `speed`.
    fn named_factors(&mut self, key: &str, value: &Json) {
        let numbers: Vec<_> = value
            .as_object()
            .unwrap_or_default()
            .iter()
            .filter(|(_, value)| matches!(value, Json::Number(_)))
            .collect();
        if self.provider != Some("anthropic") {
            if !numbers.is_empty() {
                self.feed.skip(
                    self.name,
                    key,
                    "what its factors multiply is known for Anthropic only",
                );
            }
            return;
        }
        for (name, value) in numbers {
            let field = format!("{key}.{name}");
            if let Some(read) = self.price(&field, value) {
                let place = match name.as_str() {
                    "fast" => Place::Key("speed", "fast"),
                    region => Place::Region(region.to_owned()),
                };
                self.factors.push((place, read.price, field));
            }
        }
    }

    /// Ranges of input tokens. Each is a threshold above which the whole request has another price.
    /// If a range leaves out a price, the price of its input applies; for reasoning, that of its
    /// output.
    fn tiers(&mut self, key: &str, value: &Json) {
        if table::of_other_things(value) {
            self.feed
                .skip(self.name, key, "its ranges are not of input tokens");
            return;
        }
        let Some(ranges) = table::ranges(value) else {
            self.feed.fault(
                self.name,
                key,
                "it is not a list of ranges with a first and a last number of tokens",
            );
            return;
        };
        let mut read = Vec::new();
        for range in &ranges {
            let mut prices = Vec::new();
            for (name, value) in &range.fields {
                match field(name) {
                    Some(Field {
                        meaning: Meaning::Meter(meter, per),
                        above: None,
                        tier: None,
                        ..
                    }) => {
                        if let Some(price) = self.price(&format!("{key}.{name}"), value) {
                            prices.push((meter, per, price));
                        }
                    }
                    _ if fields::is_price(name) => self.feed.skip(
                        self.name,
                        &format!("{key}.{name}"),
                        "this version does not know the field inside a range",
                    ),
                    _ => {}
                }
            }
            read.push((range.above, prices));
        }
        for meter in table::replaced_by_ranges(&read) {
            let flat: Vec<_> = self
                .grid
                .0
                .keys()
                .filter(|slot| slot.0 == meter)
                .cloned()
                .collect();
            for slot in flat {
                if let Some(cell) = self.grid.0.remove(&slot) {
                    let field = cell.note.trim_start_matches("from ").to_owned();
                    self.feed
                        .skip(self.name, &field, format!("{key} is used instead"));
                }
            }
        }
        for (meter, above, per, price) in table::filled(&read) {
            let cell = Cell {
                price: price.price,
                per,
                note: note(key, &price),
            };
            self.grid.0.insert((meter.to_owned(), None, above), cell);
        }
    }

    /// Prices of certain hours replace all others, whatever the threshold or tier.
    fn off_peak(&mut self, key: &str, value: &Json) {
        let Some(entries) = value.as_object() else {
            self.feed.fault(self.name, key, "it is not an object");
            return;
        };
        let Some(windows) = table::windows(entries, |zone| TimeZone::get(zone).ok()) else {
            self.feed
                .skip(self.name, key, "its hours cannot be said in one time zone");
            return;
        };
        for (name, value) in entries {
            let Some(Field {
                meaning: Meaning::Meter(meter, per),
                above: None,
                tier: None,
                ..
            }) = field(name)
            else {
                if fields::is_price(name) {
                    self.feed.skip(
                        self.name,
                        &format!("{key}.{name}"),
                        "this version does not know it inside hours",
                    );
                }
                continue;
            };
            let name = format!("{key}.{name}");
            if let Some(read) = self.price(&name, value) {
                for window in &windows {
                    self.other(meter, window.clone(), &name, &read, per);
                }
            }
        }
    }

    /// Writes the rows: all prices, and all token prices again for each combination of factors.
    fn write(self) {
        let service = Some(fields::service(self.mode)).filter(|service| !service.is_empty());
        let quote = |meter: &str, cell: &Cell| {
            let per = Decimal::from(cell.per);
            Quote {
                model: self.name.to_owned(),
                meter: meter.to_owned(),
                provider: self.provider.map(str::to_owned),
                service: service.map(str::to_owned),
                region: None,
                service_tier: None,
                above_input_tokens: None,
                conditions: Map::new(),
                unit_price: Some((cell.price * per).normalize()),
                per,
                effective_from: None,
                note: cell.note.clone(),
            }
        };
        let mut quotes = Vec::new();
        for ((meter, tier, above), cell) in &self.grid.0 {
            quotes.push(Quote {
                service_tier: tier.clone(),
                above_input_tokens: *above,
                ..quote(meter, cell)
            });
        }
        for (meter, cell, keys) in &self.others {
            quotes.push(Quote {
                conditions: keys.clone(),
                ..quote(meter, cell)
            });
        }
        // Regions exclude each other. A key of the usage applies in addition to each region.
        let (regions, keys): (Vec<_>, Vec<_>) = self
            .factors
            .iter()
            .partition(|(place, ..)| matches!(place, Place::Region(_)));
        for group in [regions, keys] {
            let plain = quotes.clone();
            for (place, factor, field) in group {
                for quote in plain
                    .iter()
                    .filter(|quote| quote.meter.ends_with("_tokens"))
                {
                    let price = quote.unit_price.map(|price| cut(price * *factor).price);
                    let mut quote = Quote {
                        unit_price: price,
                        note: format!("{}, times {factor} from {field}", quote.note),
                        ..quote.clone()
                    };
                    match place {
                        Place::Region(region) => quote.region = Some(region.clone()),
                        Place::Key(key, value) => {
                            drop(
                                quote
                                    .conditions
                                    .insert((*key).to_owned(), Value::from(*value)),
                            );
                        }
                    }
                    quotes.push(quote);
                }
            }
        }
        self.feed.quotes.extend(quotes);
    }
}
