//! Usage objects as providers and frameworks return them, with the expected meters: the files in
//! `samples`.
//!
//! The expected meters were worked out by hand from the documentation of each provider.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::builtin::FILES;
use super::explain::explain;
use super::mapping::{Mappings, builtin, header_of};
use super::reading::Role;
use super::samples::{self, Sample, json};
use crate::error::Code;
use crate::pricing::lines::is_known_meter;
use crate::pricing::reported::worth;
use crate::pricing::usage::Usage;

fn meters_of(usage: &Usage) -> BTreeMap<String, String> {
    let numbers = usage.numbers.iter();
    numbers
        .map(|(meter, quantity)| (meter.clone(), *quantity.as_ref().unwrap()))
        .filter(|(_, quantity)| !quantity.is_zero())
        .map(|(meter, quantity)| (meter, quantity.normalize().to_string()))
        .collect()
}

/// The differences between the usage and the sample's expectation.
fn wrong(sample: &Sample, mappings: &Rc<Mappings>) -> Option<String> {
    let provider = sample.provider.as_deref();
    let read = Usage::read_as(json(&sample.usage), provider, || Ok(mappings.clone()));
    let usage = match (read, &sample.error) {
        (Err(error), Some(_)) if error.code == Code::InvalidUsage => return None,
        (Err(error), _) => {
            return Some(format!(
                "{} ({})",
                error.message,
                error.detail.unwrap_or_default()
            ));
        }
        (Ok(usage), Some(_)) => {
            return Some(format!("{:?} reads {:?}", usage.mapping, meters_of(&usage)));
        }
        (Ok(usage), None) => usage,
    };
    let mut wrong = Vec::new();
    let meters = meters_of(&usage);
    let expected: BTreeMap<String, String> = sample
        .meters
        .iter()
        .flatten()
        .map(|(meter, value)| (meter.clone(), value.to_string()))
        .collect();
    if meters != expected {
        wrong.push(format!("meters {meters:?}, expected {expected:?}"));
    }
    for (name, stated, expected) in [
        ("model", &usage.model, &sample.model),
        ("service_tier", &usage.service_tier, &sample.service_tier),
        ("region", &usage.region, &sample.region),
    ] {
        if expected.is_some() && stated != expected {
            wrong.push(format!("{name} {stated:?}, expected {expected:?}"));
        }
    }
    let mut unread: Vec<&str> = usage.unread.iter().map(|one| &*one.path).collect();
    unread.sort_unstable();
    let mut expected: Vec<&str> = sample.unread.iter().map(String::as_str).collect();
    expected.sort_unstable();
    if unread != expected {
        wrong.push(format!("unread {unread:?}, expected {expected:?}"));
    }
    if let Some(expected) = &sample.cost {
        let cost = match usage.reported_amount().and_then(|cost| worth(cost, None)) {
            Ok(cost) => cost.to_string(),
            Err(_) => "refused".to_owned(),
        };
        if cost != *expected {
            wrong.push(format!("cost {cost}, expected {expected}"));
        }
    }
    // The explanation has the same quantities as the charge.
    let rows = explain(
        json(&sample.usage),
        provider,
        || Ok(mappings.clone()),
        |name| Ok(is_known_meter(name)),
    );
    match rows {
        Err(error) => wrong.push(format!("explain: {}", error.message)),
        Ok(rows) => {
            let mut explained: BTreeMap<String, rust_decimal::Decimal> = BTreeMap::new();
            for row in &rows {
                if let (Some(meter), Some(quantity)) = (&row.meter, row.quantity) {
                    *explained.entry(meter.clone()).or_default() += quantity;
                }
            }
            let mut explained: BTreeMap<String, String> = explained
                .into_iter()
                .filter(|(_, quantity)| !quantity.is_zero())
                .map(|(meter, quantity)| (meter, quantity.normalize().to_string()))
                .collect();
            // The rest of a total belongs to no single number.
            if rows.iter().any(|row| row.role == Role::Total) {
                for (meter, quantity) in &meters {
                    if meter == "reasoning_tokens" {
                        explained
                            .entry(meter.clone())
                            .or_insert_with(|| quantity.clone());
                    }
                }
            }
            if explained != meters {
                wrong.push(format!("explained {explained:?}, charged {meters:?}"));
            }
        }
    }
    (!wrong.is_empty()).then(|| format!("by {:?}: {}", usage.mapping, wrong.join("; ")))
}

#[test]
fn samples_are_read_as_expected() {
    let mappings = Rc::new(Mappings::new(builtin().unwrap()));
    let samples = samples::all();
    let failed: Vec<String> = samples
        .iter()
        .filter_map(|sample| Some(format!("{}: {}", sample.name, wrong(sample, &mappings)?)))
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {}:\n{}",
        failed.len(),
        samples.len(),
        failed.join("\n")
    );
}

/// Every mapping can be read, and says whose objects it is for.
#[test]
fn every_mapping_can_be_read() {
    for mapping in Mappings::new(builtin().unwrap()).all() {
        mapping.body().unwrap();
        for shape in &mapping.shapes {
            shape.check().unwrap();
        }
        for name in &mapping.otherwise {
            assert!(
                FILES.iter().any(|(known, _)| known == name),
                "{}: otherwise {name}",
                mapping.name
            );
        }
    }
}

/// The header must come before the meters, because `header_of` cuts the text there.
#[test]
fn the_header_comes_before_the_meters() {
    const HEADER: &[&str] = &[
        "about",
        "providers",
        "dotted",
        "by_name",
        "shapes",
        "otherwise",
    ];
    for (name, text) in FILES {
        let whole: serde_json::Value = serde_json::from_str(text).unwrap();
        let header = header_of(text).unwrap_or_else(|| panic!("{name} has no meters"));
        let header: serde_json::Value = serde_json::from_str(&header).unwrap();
        for key in HEADER {
            assert_eq!(whole.get(key), header.get(key), "{name}: {key}");
        }
    }
}
