//! The data file of genai-prices: providers, each with models and their prices. Pure.
//!
//! Prices are per million tokens or per thousand requests. A price is a number, or a base with
//! tiers that begin above a number of input tokens. A model has one set of prices, or several sets
//! with constraints: a date from which the set applies, or hours of the day. The last set whose
//! constraint is met applies.

use std::collections::HashSet;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::args::MAX_NAME;
use crate::error::Result;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Json;
use crate::pricing::import::number::{Read, price};
use crate::pricing::import::{Feed, Quote, matching, not_a_feed};
use rust_decimal::Decimal;

/// The name of the source.
pub const SOURCE: &str = "genai-prices";

/// Fields by name: the meter, and the number of units that the price pays for.
const FIELDS: &[(&str, &str, u32)] = &[
    ("input_mtok", "input_tokens", MILLION),
    ("output_mtok", "output_tokens", MILLION),
    ("cache_read_mtok", "cache_read_tokens", MILLION),
    ("cache_write_mtok", "cache_write_tokens", MILLION),
    ("cache_write_1h_mtok", "cache_write_1h_tokens", MILLION),
    ("output_reasoning_mtok", "reasoning_tokens", MILLION),
    ("output_citation_mtok", "citation_tokens", MILLION),
    ("input_audio_mtok", "input_audio_tokens", MILLION),
    ("output_audio_mtok", "output_audio_tokens", MILLION),
    ("cache_audio_read_mtok", "cache_read_audio_tokens", MILLION),
    ("input_image_mtok", "input_image_tokens", MILLION),
    ("output_image_mtok", "output_image_tokens", MILLION),
    ("input_video_mtok", "input_video_tokens", MILLION),
    ("output_video_mtok", "output_video_tokens", MILLION),
    ("input_mchars", "input_characters", MILLION),
    ("audio_hours", "audio_seconds", 3_600),
    ("input_audio_hours", "audio_seconds", 3_600),
    ("input_document_kpages", "pages", 1_000),
    ("input_annotated_document_kpages", "annotated_pages", 1_000),
    ("web_searches_kcount", "queries", 1_000),
    ("requests_kcount", "requests", 1_000),
];

const MILLION: u32 = 1_000_000;

/// Fields of providers that are not prices, with the reason why they are skipped.
const OF_PROVIDERS: &[(&str, &str)] = &[
    (
        "provider_match",
        "a usage names the provider by its id in the file",
    ),
    (
        "fallback_model_providers",
        "a model has the prices of the provider that lists it",
    ),
];

/// Ways of processing that have their own prices, as service tiers.
const TIERS: &[&str] = &["batch", "flex", "priority"];

/// When the prices of a set apply.
#[derive(Clone, Default)]
struct Constraint {
    from: Option<Timestamp>,
    conditions: Map<String, Value>,
    tier: Option<String>,
}

fn member<'a>(object: &'a Json, key: &str) -> Option<&'a Json> {
    let entries = object.as_object()?;
    entries
        .iter()
        .find(|(name, _)| name == key)
        .map(|(_, value)| value)
        .filter(|value| !matches!(value, Json::Null))
}

fn text<'a>(object: &'a Json, key: &str) -> Option<&'a str> {
    match member(object, key)? {
        Json::String(text) => Some(text),
        _ => None,
    }
}

/// Reads the whole file: an array of providers, or an object that has one. The ids of all models
/// are taken before other names are, so that no alias replaces a model's own prices. The aliases of
/// a model with a fault keep their prices, as the model does.
pub fn read(document: &Json) -> Result<Feed> {
    let shape = || {
        not_a_feed(
            SOURCE,
            "It is an array of providers, or an object whose key providers has one; each has an id and models.",
        )
    };
    let providers = match document {
        Json::Array(providers) => providers,
        object => match member(object, "providers") {
            Some(Json::Array(providers)) => providers,
            _ => return Err(shape()),
        },
    };
    if providers.is_empty() {
        return Err(shape());
    }
    let mut feed = Feed::default();
    for provider in providers {
        let (Some(name), Some(Json::Array(models))) =
            (text(provider, "id"), member(provider, "models"))
        else {
            return Err(shape());
        };
        for (key, why) in OF_PROVIDERS {
            if member(provider, key).is_some() {
                feed.skip(name, key, *why);
            }
        }
        let mut taken: HashSet<String> = models
            .iter()
            .filter_map(|model| text(model, "id").map(str::to_owned))
            .collect();
        for model in models {
            match text(model, "id") {
                Some(id) if !id.is_empty() && id.chars().count() <= MAX_NAME => {
                    let (quotes, faults) = (feed.quotes.len(), feed.faults.len());
                    read_model(&mut feed, name, id, model);
                    let names = other_names(&mut feed, providers, name, model, &mut taken);
                    if feed.faults.len() > faults {
                        feed.kept.extend(names);
                    } else {
                        repeat(&mut feed, quotes, id, &names);
                    }
                }
                _ => feed.fault(name, "id", "a model has no id, or one that is too long"),
            }
        }
    }
    Ok(feed)
}

/// The other names of a model, from its `match` rule. A name that several providers may serve
/// becomes `provider/name`. Otherwise a request that names no provider would get the price of the
/// first one. If several models of a provider have the same name, the first keeps it.
fn other_names(
    feed: &mut Feed,
    providers: &[Json],
    provider: &str,
    model: &Json,
    taken: &mut HashSet<String>,
) -> Vec<String> {
    let (Some(id), Some(rule)) = (text(model, "id"), member(model, "match")) else {
        return Vec::new();
    };
    let found = matching::names(rule);
    for why in found.left {
        feed.skip(id, "match", why);
    }
    let mut names = Vec::new();
    for known in found.names {
        let bare = known.trim_matches('*');
        let home = providers.iter().find(|provider| {
            member(provider, "model_match").is_some_and(|rule| matching::holds(rule, bare))
        });
        let name = match home.and_then(|home| text(home, "id")) {
            Some(home) if home == provider => known.clone(),
            _ => format!("{provider}/{known}"),
        };
        if name.chars().count() > MAX_NAME {
            feed.skip(id, "match", "a name is too long");
        } else if taken.insert(known) {
            names.push(name);
        }
    }
    names
}

/// Repeats the quotes of a model for each of its other names.
fn repeat(feed: &mut Feed, first: usize, id: &str, names: &[String]) {
    let quotes = feed.quotes[first..].to_vec();
    for name in names {
        feed.quotes.extend(quotes.iter().map(|quote| Quote {
            model: name.clone(),
            note: format!("{}, as {id}", quote.note),
            ..quote.clone()
        }));
    }
}

fn read_model(feed: &mut Feed, provider: &str, id: &str, model: &Json) {
    if let Some(Json::Array(variants)) = member(model, "price_variants") {
        for variant in variants {
            read_variant(feed, provider, id, variant);
        }
    }
    match member(model, "prices") {
        Some(set @ Json::Object(_)) => read_set(feed, provider, id, set, &Constraint::default()),
        Some(Json::Array(sets)) => {
            let dated = sets.len() > 1;
            let mut before = Vec::new();
            for set in sets {
                let prices = member(set, "prices").unwrap_or(set);
                match constraint(member(set, "constraint")) {
                    Ok(mut found) => {
                        if dated && found.from.is_none() && found.conditions.is_empty() {
                            // This set applied before the dated ones.
                            found.from = Some(Timestamp::from_unix_micros(0));
                        }
                        let first = feed.quotes.len();
                        read_set(feed, provider, id, prices, &found);
                        if found.conditions.is_empty() {
                            before = end_others(feed, first, before, found.from);
                        }
                    }
                    Err(why) => feed.skip(id, "constraint", why),
                }
            }
        }
        Some(_) => feed.fault(id, "prices", "it is neither an object nor an array"),
        None => feed.skip(id, "prices", "the model has no prices"),
    }
}

/// Ends prices of earlier sets that this set does not have, when this set begins. Returns the
/// prices of this set, which are the quotes from `first` on.
fn end_others(
    feed: &mut Feed,
    first: usize,
    before: Vec<Quote>,
    from: Option<Timestamp>,
) -> Vec<Quote> {
    let now: Vec<Quote> = feed.quotes[first..].to_vec();
    let goes_on = |old: &Quote| {
        now.iter()
            .any(|new| new.meter == old.meter && new.above_input_tokens == old.above_input_tokens)
    };
    for old in before.into_iter().filter(|old| !goes_on(old)) {
        feed.quotes.push(Quote {
            unit_price: None,
            effective_from: from.map(|at| at.unix_micros()),
            note: "no longer in the prices that follow".to_owned(),
            ..old
        });
    }
    now
}

/// Reads the prices for another way of processing the same request.
fn read_variant(feed: &mut Feed, provider: &str, id: &str, variant: &Json) {
    let when = member(variant, "when").and_then(Json::as_object);
    let tier = match when {
        Some([(key, Json::String(tier))]) if key == "processing" => {
            TIERS.contains(&tier.as_str()).then_some(tier)
        }
        _ => None,
    };
    let found = constraint(member(variant, "constraint"));
    match (tier, member(variant, "prices"), found) {
        (Some(tier), Some(prices), Ok(found)) => {
            let holds = Constraint {
                tier: Some(tier.clone()),
                ..found
            };
            read_set(feed, provider, id, prices, &holds);
        }
        (Some(_), _, Err(why)) => feed.skip(id, "price_variants", why),
        _ => feed.skip(
            id,
            "price_variants",
            "what they depend on is no part of a usage",
        ),
    }
}

fn constraint(value: Option<&Json>) -> std::result::Result<Constraint, &'static str> {
    let Some(value) = value else {
        return Ok(Constraint::default());
    };
    if let Some(date) = text(value, "start_date") {
        let at = date
            .parse::<Date>()
            .ok()
            .and_then(|date| date.to_zoned(TimeZone::UTC).ok())
            .ok_or("its start_date is no date")?;
        return Ok(Constraint {
            from: Some(Timestamp::from_unix_micros(at.timestamp().as_microsecond())),
            ..Constraint::default()
        });
    }
    let clock = |key| {
        let time = text(value, key)?.strip_suffix('Z')?;
        let (hours, rest) = time.split_once(':')?;
        let minutes = rest.split(':').next()?;
        Some(format!("{hours}:{minutes}"))
    };
    match (clock("start_time"), clock("end_time")) {
        (Some(from), Some(to)) => Ok(Constraint {
            from: None,
            conditions: Map::from_iter([
                (
                    "hours".to_owned(),
                    Value::from(vec![format!("{from}-{to}")]),
                ),
                ("time_zone".to_owned(), Value::from("UTC")),
            ]),
            tier: None,
        }),
        _ => Err("this version does not know the constraint"),
    }
}

/// A fault in one field does not end the reading, so that one import reports all faults. `null`
/// means that the model has no such price.
fn read_set(feed: &mut Feed, provider: &str, id: &str, set: &Json, holds: &Constraint) {
    let Some(fields) = set.as_object() else {
        feed.fault(id, "prices", "it is not an object");
        return;
    };
    for (field, value) in fields {
        if matches!(value, Json::Null) {
            continue;
        }
        let Some((_, meter, per)) = FIELDS.iter().find(|(known, ..)| known == field) else {
            feed.skip(id, field, "this version does not know the field");
            continue;
        };
        let add = |feed: &mut Feed, above: Option<i64>, read: Read| {
            feed.quotes.push(Quote {
                model: id.to_owned(),
                meter: (*meter).to_owned(),
                provider: Some(provider.to_owned()),
                service: None,
                region: None,
                service_tier: holds.tier.clone(),
                above_input_tokens: above,
                conditions: holds.conditions.clone(),
                unit_price: Some(read.price),
                per: Decimal::from(*per),
                effective_from: holds.from.map(|at| at.unix_micros()),
                note: match read.noise {
                    Some(noise) => format!("from {field}, cut from {noise}"),
                    None => format!("from {field}"),
                },
            });
        };
        let (base, tiers) = match value {
            Json::Object(_) => (member(value, "base"), member(value, "tiers")),
            number => (Some(number), None),
        };
        match base.map(price) {
            Some(Ok(read)) => add(feed, None, read),
            Some(Err(wrong)) => feed.fault(id, field, wrong),
            None => feed.fault(id, field, "it has no base price"),
        }
        let Some(Json::Array(tiers)) = tiers else {
            continue;
        };
        for tier in tiers {
            let start = match member(tier, "start") {
                Some(Json::Number(start)) => start
                    .to_decimal()
                    .filter(Decimal::is_integer)
                    .and_then(|start| i64::try_from(start).ok()),
                _ => None,
            };
            match (start, member(tier, "price").map(price)) {
                (Some(start), Some(Ok(read))) if start >= 0 => add(feed, Some(start), read),
                (_, Some(Err(wrong))) => feed.fault(id, field, wrong),
                _ => feed.fault(id, field, "a tier has no start or no price"),
            }
        }
    }
}
