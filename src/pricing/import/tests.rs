//! Reads any JSON as a price feed. It is read, or refused with 22023. Every price in the result is
//! one that a list can have. Every cost per unit in the feed becomes a price, a skip with a reason,
//! or a fault.

use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::{Feed, fields, genai, litellm};
use crate::error::Code;
use crate::money::{PRICE_DIGITS, significant_digits};
use crate::pricing::normalize::samples;

/// A number as feeds have them, or as they never should.
fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (0_u32..100_000, 0_u32..14).prop_map(|(digits, scale)| {
            serde_json::from_str(&format!("{digits}e-{scale}")).expect("a number")
        }),
        1 => any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => prop::sample::select(vec!["1e40", "1e-40", "2.9999900000000002e-06", "-0", "1e9", "0.1234567890123456789"])
            .prop_map(|text| serde_json::from_str(text).expect("a number")),
    ]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => number(),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        2 => prop::sample::select(vec!["chat", "image_generation", "audio_speech", "openai", "anthropic", "2026-01-01",
            "2026-13-99", "09:00:00", "UTC", "batch", "base", ""]).prop_map(Value::from),
        1 => "\\PC{0,8}".prop_map(Value::from),
    ]
}

/// Values of the given keys, nested down to a depth.
fn value(keys: Vec<&'static str>) -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => prop::collection::vec((prop::sample::select(keys.clone()), inner), 0..6).prop_map(object),
        ]
    })
}

fn object(entries: Vec<(impl Into<String>, Value)>) -> Value {
    let entries = entries.into_iter().map(|(key, value)| (key.into(), value));
    Value::Object(entries.collect::<Map<_, _>>())
}

/// A field of LiteLLM's file: a known one, perhaps with an ending, or any name.
fn litellm_field() -> impl Strategy<Value = String> {
    let known: Vec<&'static str> = fields::FIELDS.iter().map(|(name, _)| *name).collect();
    let ending = prop::sample::select(vec![
        "",
        "",
        "",
        "_above_200k_tokens",
        "_above_128k_tokens",
        "_above_1hr_above_200k_tokens",
        "_batches",
        "_priority",
        "_flex",
        "_above_0k_tokens",
        "_above_99999999999999999999k_tokens",
    ]);
    let other = prop::sample::select(vec![
        "mode",
        "litellm_provider",
        "tiered_pricing",
        "search_context_cost_per_query",
        "off_peak_pricing",
        "provider_specific_entry",
        "regional_processing_uplift_multiplier_eu",
        "cost",
        "price_of_nothing",
        "x",
    ]);
    prop_oneof![
        4 => (prop::sample::select(known), ending).prop_map(|(name, ending)| format!("{name}{ending}")),
        1 => other.prop_map(str::to_owned),
        1 => "[a-z_]{0,12}",
    ]
}

fn litellm_feed() -> impl Strategy<Value = Value> {
    let inner = value(vec![
        "range",
        "search_context_size_low",
        "search_context_size_high",
        "input_cost_per_token",
        "output_cost_per_token",
        "us",
        "fast",
        "start",
        "end",
        "hours",
        "time_zone",
    ]);
    let entry = prop::collection::vec((litellm_field(), inner), 0..8).prop_map(object);
    let entry = prop_oneof![8 => entry, 1 => leaf()];
    prop::collection::vec(("[a-z/*]{0,6}", entry), 0..6).prop_map(object)
}

const GENAI_KEYS: [&str; 22] = [
    "providers",
    "id",
    "models",
    "prices",
    "constraint",
    "start_date",
    "start_time",
    "end_time",
    "time_zone",
    "tiers",
    "base",
    "start",
    "price",
    "price_variants",
    "input_mtok",
    "output_mtok",
    "cache_read_mtok",
    "input_audio_mtok",
    "requests_kcount",
    "match",
    "processing",
    "when",
];

fn genai_feed() -> impl Strategy<Value = Value> {
    let anything = value(GENAI_KEYS.to_vec());
    let prices = value(GENAI_KEYS[4..].to_vec());
    let well_formed = prop::collection::vec(("[a-z]{0,4}", prices), 0..4).prop_map(|models| {
        let models: Vec<Value> = models
            .into_iter()
            .map(|(id, prices)| json!({"id": id, "match": {"equals": id}, "prices": prices}))
            .collect();
        json!([{"id": "p", "models": models}])
    });
    prop_oneof![1 => anything, 3 => well_formed]
}

/// True for a value that cannot be a price: null, zero, or a list or object of such values.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(values) => values.iter().all(is_empty),
        Value::Object(values) => values.values().all(is_empty),
        _ => false,
    }
}

fn sound(feed: &Feed) -> Result<(), TestCaseError> {
    for quote in &feed.quotes {
        if let Some(price) = quote.unit_price {
            prop_assert!(price >= Decimal::ZERO, "{:?}", quote);
            prop_assert!(significant_digits(price) <= PRICE_DIGITS, "{:?}", quote);
        }
        prop_assert!(quote.per > Decimal::ZERO, "{:?}", quote);
        prop_assert!(
            !quote.model.is_empty() && !quote.meter.is_empty(),
            "{:?}",
            quote
        );
        prop_assert!(
            quote.above_input_tokens.is_none_or(|above| above >= 0),
            "{:?}",
            quote
        );
    }
    for skip in &feed.skips {
        prop_assert!(!skip.reason.is_empty(), "{:?}", skip);
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_json_is_a_feed_of_litellm_or_22023(document in litellm_feed()) {
        match litellm::read(&samples::json(&document)) {
            Err(error) => prop_assert_eq!(error.code, Code::InvalidParameter),
            Ok(feed) => {
                sound(&feed)?;
                // No field about money is lost without a message.
                for (model, entry) in document.as_object().expect("a feed") {
                    for field in entry.as_object().into_iter().flatten().map(|(field, _)| field) {
                        let told = feed.skips.iter().any(|skip| skip.model == *model && skip.field.starts_with(field.as_str()))
                            || feed.faults.iter().any(|fault| fault.model == *model && (fault.field.is_empty() || fault.field.starts_with(field.as_str())))
                            || feed.quotes.iter().any(|quote| quote.note.split([' ', ',']).any(|word| word.starts_with(field.as_str())));
                        // A factor may have no price to multiply, and a zero may come in addition
                        // to a price.
                        let is_price = field.contains("cost_per") && !is_empty(&entry[field]);
                        prop_assert!(told || !is_price, "{} of {}: {:?}", field, model, feed);
                    }
                }
            }
        }
    }

    #[test]
    fn any_json_is_a_feed_of_genai_prices_or_22023(document in genai_feed()) {
        match genai::read(&samples::json(&document)) {
            Err(error) => prop_assert_eq!(error.code, Code::InvalidParameter),
            Ok(feed) => sound(&feed)?,
        }
    }
}
