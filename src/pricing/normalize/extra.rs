//! Meters that a caller adds to a usage, in the key `extra`. Pure.

use crate::error::{Result, quoted};
use crate::pg::jsonb::Json;
use crate::pricing::lines::is_known_meter;
use crate::pricing::usage::invalid;

const EXTRA: &str = "extra";

/// Removes the added meters from an object and returns them. A key `extra` without a number and
/// without a meter's name is the provider's own and stays.
pub fn take_extra(object: &mut Vec<(String, Json)>) -> Result<Vec<(String, Json)>> {
    let Some(place) = object.iter().position(|(key, _)| key == EXTRA) else {
        return Ok(Vec::new());
    };
    if !may_count(&object[place].1) {
        return Ok(Vec::new());
    }
    let Json::Object(mut meters) = object.remove(place).1 else {
        return Err(invalid("usage key \"extra\" is not an object of meters")
            .detail(ABOUT_EXTRA)
            .hint(NAME_METERS));
    };
    meters.retain(|(_, json)| *json != Json::Null);
    let odd = meters
        .iter()
        .find(|(_, json)| !matches!(json, Json::Number(_)));
    if let Some((meter, _)) = odd {
        return Err(invalid(format!(
            "usage key {} is not a number",
            quoted(format!("extra.{meter}"))
        ))
        .detail(ABOUT_EXTRA)
        .hint(NAME_METERS));
    }
    Ok(meters)
}

const ABOUT_EXTRA: &str = "The key extra has meters and their quantities, which are charged in addition to the rest of the usage.";
const NAME_METERS: &str = "Name meters as in the flat form: {\"extra\": {\"gpu_seconds\": 5}}.";

/// Whether the JSON contains a number or the name of a meter at any depth.
fn may_count(json: &Json) -> bool {
    match json {
        Json::Number(_) => true,
        Json::Array(items) => items.iter().any(may_count),
        Json::Object(entries) => entries
            .iter()
            .any(|(key, json)| is_known_meter(key) || may_count(json)),
        Json::Null | Json::Bool(_) | Json::String(_) => false,
    }
}
