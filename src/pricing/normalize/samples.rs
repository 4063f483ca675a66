//! JSON from text, for the tests: as PostgreSQL's `jsonb` gives it.

use crate::storage::jsonb::Json;
use crate::storage::numeric::Number;

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
