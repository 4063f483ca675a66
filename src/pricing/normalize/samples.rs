//! The files in `samples`, and JSON from text, as PostgreSQL's `jsonb` gives it. For the tests.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::pg::jsonb::Json;
use crate::pg::numeric::Number;
use crate::pricing::normalize::apply::choose;
use crate::pricing::normalize::mapping::Mappings;

/// A usage object and the expected meters.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    pub name: String,
    pub usage: Value,
    pub provider: Option<String>,
    pub meters: Option<BTreeMap<String, Value>>,
    pub model: Option<String>,
    pub service_tier: Option<String>,
    pub region: Option<String>,
    #[serde(default)]
    pub unread: Vec<String>,
    pub error: Option<String>,
    pub cost: Option<String>,
}

/// All samples; the name of each begins with its file's.
pub fn all() -> Vec<Sample> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/pricing/normalize/samples");
    let mut all = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let samples: Vec<Sample> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        all.extend(samples.into_iter().map(|sample| Sample {
            name: format!("{name}, {}", sample.name),
            ..sample
        }));
    }
    all
}

/// The JSON pointer to the usage object of a sample. `None` if no mapping reads it or it is in an
/// array.
pub fn usage_of(mappings: &Mappings, sample: &Sample) -> Option<String> {
    let Json::Object(root) = json(&sample.usage) else {
        return None;
    };
    let (fit, _) = choose(mappings, &root, sample.provider.as_deref()).ok()??;
    let keys = fit
        .shape
        .at
        .as_ref()
        .map(|at| at.keys().collect::<Option<Vec<_>>>());
    match keys {
        None => Some(String::new()),
        Some(keys) => Some(keys?.iter().map(|key| format!("/{key}")).collect()),
    }
}

/// A number as the digits in base 10000 that `numeric` has.
fn number(text: &str) -> Number {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let mut scale: i32 = -exponent.parse::<i32>().unwrap();
    let negative = mantissa.starts_with('-');
    let mut digits = String::new();
    let mut fraction = false;
    for character in mantissa.chars() {
        match character {
            '.' => fraction = true,
            '0'..='9' => {
                digits.push(character);
                scale += i32::from(fraction);
            }
            _ => {}
        }
    }
    while scale < 0 {
        digits.push('0');
        scale += 1;
    }
    while scale % 4 != 0 {
        digits.push('0');
        scale += 1;
    }
    while !digits.len().is_multiple_of(4) {
        digits.insert(0, '0');
    }
    let digits: Vec<u16> = digits
        .as_bytes()
        .chunks(4)
        .map(|four| std::str::from_utf8(four).unwrap().parse().unwrap())
        .collect();
    Number::Finite {
        negative,
        weight: digits.len() as i32 - 1 - scale / 4,
        digits,
    }
}

/// Reads JSON into the form in which an argument arrives.
pub fn json(value: &serde_json::Value) -> Json {
    match value {
        serde_json::Value::Null => Json::Null,
        serde_json::Value::Bool(value) => Json::Bool(*value),
        serde_json::Value::Number(value) => Json::Number(number(&value.to_string())),
        serde_json::Value::String(text) => Json::String(text.clone()),
        serde_json::Value::Array(items) => Json::Array(items.iter().map(json).collect()),
        serde_json::Value::Object(entries) => {
            let mut entries: Vec<(String, Json)> = entries
                .iter()
                .map(|(key, value)| (key.clone(), json(value)))
                .collect();
            entries.sort_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
            Json::Object(entries)
        }
    }
}

/// The entries of an object.
pub fn object(text: &str) -> Vec<(String, Json)> {
    match json(&serde_json::from_str(text).unwrap()) {
        Json::Object(entries) => entries,
        other => panic!("{other:?} is not an object"),
    }
}
