//! Reads usage in any form: the flat form, or an object that a mapping knows.

use std::rc::Rc;

use crate::error::{Code, Error, Result, quoted};
use crate::pg::jsonb::Json;
use crate::pricing::lines::is_known_meter;
use crate::pricing::normalize::mapping::Mappings;
use crate::pricing::normalize::path::Object;
use crate::pricing::normalize::whole::{BATCH, Whole};
use crate::pricing::normalize::{apply, store};
use crate::pricing::usage::{Usage, invalid};

impl Usage {
    /// Reads usage in any form, with the mappings of this backend.
    pub fn read(json: Json) -> Result<Usage> {
        Usage::read_as(json, None, store::mappings)
    }

    /// Reads the usage object of an entry. It was understood when it was booked. If the mapping
    /// that read it is gone or has changed since, no number in it is a meter.
    pub fn of_entry(json: Json) -> Result<Usage> {
        match Usage::read(json.clone()) {
            Err(error) if error.code == Code::InvalidUsage => Ok(Usage {
                object: match json {
                    Json::Object(object) => object,
                    _ => Vec::new(),
                },
                ..Usage::default()
            }),
            other => other,
        }
    }

    /// Reads usage. `provider` decides if several mappings fit.
    pub fn read_as(
        json: Json,
        provider: Option<&str>,
        mappings: impl Fn() -> Result<Rc<Mappings>>,
    ) -> Result<Usage> {
        let whole = Whole::of(json, provider, &mappings)?;
        let mut usage = Usage::of_whole(&whole, provider, mappings)?;
        for unread in &mut usage.unread {
            whole.locate(unread);
        }
        if whole.is_batch {
            usage.service_tier = Some(BATCH.to_owned());
            usage.is_standard_tier = false;
        }
        usage.add(&whole.extra)?;
        if usage.object.is_empty() {
            usage.object = whole.object;
        } else {
            usage.object.extend(whole.object);
        }
        Ok(usage)
    }

    /// Reads one object, without the keys that conditions of prices compare.
    fn of_whole(
        whole: &Whole,
        provider: Option<&str>,
        mappings: impl Fn() -> Result<Rc<Mappings>>,
    ) -> Result<Usage> {
        let object = &whole.object;
        if !whole.is_plain {
            let mappings = mappings()?;
            if let Some(usage) = apply::read(&mappings, object, provider)? {
                return Ok(usage);
            }
            if !has_meters(&mappings, object) {
                return Err(unknown_shape(object, &mappings.near_misses(object)));
            }
        }
        Ok(Usage {
            is_plain: whole.is_plain,
            ..Usage::flat(object)?
        })
    }
}

/// Whether an object can be the flat form: it has a known meter, or it has a number and no object
/// inside it that a mapping would have to know.
fn has_meters(mappings: &Mappings, object: &Object) -> bool {
    let is_number = |(_, value): &(String, Json)| matches!(value, Json::Number(_));
    let is_container = |(key, value): &(String, Json)| {
        matches!(value, Json::Object(_)) && mappings.is_telltale(key)
    };
    object.iter().any(|(key, _)| is_known_meter(key))
        || object.iter().any(is_number) && !object.iter().any(is_container)
}

/// Most mappings that a message names as close to an object.
const MAX_NEAR: usize = 3;

/// WL007: no mapping fits the object, and no key in it is a meter.
pub fn unknown_shape(object: &Object, near: &[(&str, String)]) -> Error {
    let mut keys: Vec<String> = object.iter().take(12).map(|(key, _)| quoted(key)).collect();
    if object.len() > keys.len() {
        keys.push("…".to_owned());
    }
    let mut detail = match keys.is_empty() {
        true => "The object is empty.".to_owned(),
        false => format!(
            "No mapping fits an object with the keys {}, and none is a meter.",
            keys.join(", ")
        ),
    };
    for (name, miss) in near.iter().take(MAX_NEAR) {
        detail.push_str(&format!(" For {} it {miss}.", quoted(name)));
    }
    invalid("usage has no known shape")
        .detail(detail)
        .hint("Pass a provider's response or its usage object as it came, or name the meters: {\"model\": \"gpt-4o\", \"input_tokens\": 1000}. set_usage_mapping() adds the shape of another provider.")
}
