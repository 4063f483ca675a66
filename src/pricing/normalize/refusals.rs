//! Errors (WL007) that say why a usage object is refused. Pure.

use std::fmt::Write;

use rust_decimal::Decimal;

use crate::error::{Error, quoted};
use crate::pricing::usage::{Unread, Usage, invalid};

/// The HINT for an object that contradicts itself.
pub const AS_IT_CAME: &str = "Pass the provider's object as it came. Where a provider counts differently, \
     say so with set_usage_mapping().";

/// The path of a meter leads to something that is not a number.
pub fn not_a_number(path: &str) -> Error {
    invalid(format!("usage key {} is not a number", quoted(path)))
        .detail("Meters are JSON numbers.")
        .hint(AS_IT_CAME)
}

/// The path of an attribute leads to something that is not a string.
pub fn not_a_string(path: &str) -> Error {
    invalid(format!("usage key {} is not a string", quoted(path)))
        .detail("model, provider, region and service_tier are JSON strings.")
        .hint(AS_IT_CAME)
}

/// Two paths for the same number lead to different numbers.
pub fn alternatives_differ(
    (one, first): (&str, Decimal),
    (other, second): (&str, Decimal),
) -> Error {
    let (one, other) = (quoted(one), quoted(other));
    invalid(format!(
        "usage keys {one} and {other} contradict each other"
    ))
    .detail(format!(
        "Both stand for the same number; {one} is {first}, {other} is {second}."
    ))
    .hint(AS_IT_CAME)
}

/// Parts add up to more than their whole, or their whole is missing.
pub fn exceeded(whole_name: &str, whole: Option<Decimal>, parts: &[(String, Decimal)]) -> Error {
    let mut names = String::new();
    let mut numbers = String::new();
    for (name, value) in parts.iter().filter(|(_, value)| !value.is_zero()) {
        let name = quoted(name);
        let comma = if names.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(names, "{comma}{name}");
        let _ = write!(numbers, "{comma}{name} is {value}");
    }
    let several = names.contains(", ");
    let whole_number = match whole {
        Some(value) => format!("is {value}"),
        None => "is missing".to_owned(),
    };
    invalid(if several {
        format!(
            "usage parts {names} add up to more than {}",
            quoted(whole_name)
        )
    } else {
        format!(
            "usage part {names} is greater than its whole {}",
            quoted(whole_name)
        )
    })
    .detail(format!("{numbers}; {} {whole_number}.", quoted(whole_name)))
    .hint(AS_IT_CAME)
}

/// A total that is not the sum of its parts.
pub fn contradiction(
    total: &str,
    value: Decimal,
    sum: Decimal,
    parts: &[(String, Decimal)],
) -> Error {
    let numbers: Vec<String> = parts
        .iter()
        .map(|(name, value)| format!("{} is {value}", quoted(name)))
        .collect();
    let name = quoted(total);
    invalid(format!("usage total {name} is not the sum of its parts"))
        .detail(format!(
            "{name} is {value}; its parts add up to {sum}: {}.",
            if numbers.is_empty() {
                "none is there".to_owned()
            } else {
                numbers.join(", ")
            }
        ))
        .hint(AS_IT_CAME)
}

/// A key outside of the provider's usage object has a meter's name. Counting it might count
/// something twice, and ignoring it might lose it.
pub fn outside_object(key: &str, mapping: &str) -> Error {
    invalid(format!("usage has the meter {} next to a provider's usage object", quoted(key)))
        .detail(format!(
            "The object is read as {}, which says nothing of {}.",
            quoted(mapping),
            quoted(key)
        ))
        .hint(format!(
            "Put what comes on top into the key extra: {{\"extra\": {{{key:?}: …}}}}, or pass the provider's object as it came."
        ))
}

/// A number that the mapping does not read, but another mapping or the flat form does.
pub fn foreign(mapping: &str, unread: &Unread, knows: &str) -> Error {
    invalid("usage is in the form of no one provider")
        .detail(format!(
            "{} comes close, but says nothing of {}, which is {}; {} does.",
            quoted(mapping),
            quoted(&unread.path),
            unread.value,
            knows
        ))
        .hint("Pass the provider's object as it came, or name the meters: {\"model\": \"gpt-4o\", \"input_tokens\": 1000}. set_usage_mapping() adds a form of your own.")
}

/// Two mappings that read the same object differently.
pub fn ambiguous(one: &Usage, other: &Usage) -> Error {
    let shown = |usage: &Usage| {
        let numbers = usage.numbers.iter();
        let meters: Vec<String> = numbers
            .filter_map(|(meter, quantity)| Some((meter, quantity.as_ref().ok()?)))
            .filter(|(_, quantity)| !quantity.is_zero())
            .map(|(meter, quantity)| format!("{meter} {quantity}"))
            .collect();
        format!(
            "{} reads {}",
            quoted(usage.mapping.as_deref().unwrap_or_default()),
            meters.join(", ")
        )
    };
    invalid("usage may be read in two ways")
        .detail(format!("{}; {}.", shown(one), shown(other)))
        .hint("Say whose object it is: add its key \"provider\", or pass the whole response instead of the usage object alone.")
}

/// A reported cost does not include a part that the request has.
pub fn partial_cost(cost: &str, part: &str) -> Error {
    invalid("usage reports a part of its cost only")
        .detail(format!(
            "{} is not the whole cost of this request, and {} is missing.",
            quoted(cost),
            quoted(part)
        ))
        .hint("Leave cost_from out, so that the usage is priced.")
}
