//! A mapping applied to an object: disjoint meters that add up to the provider's totals. Pure.

use std::fmt::Write;

use rust_decimal::Decimal;

use crate::error::{Error, Result, quoted};
use crate::money::{QUANTITY_DIGITS, significant_digits};
use crate::pricing::normalize::mapping::{Attribute, Fit, Mapping, Mappings, Node};
use crate::pricing::normalize::path::{Object, Path, Value, member};
use crate::pricing::usage::{Usage, invalid, quantity};
use crate::storage::jsonb::Json;

const AS_IT_CAME: &str = "Pass the provider's object as it came. Where a provider counts differently, \
     say so with set_usage_mapping().";

/// Reads an object that has the shape of a mapping; nothing when it has none.
pub fn read(mappings: &Mappings, root: &Object, provider: Option<&str>) -> Result<Option<Usage>> {
    let named = match member(root, "provider") {
        Some(Json::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let provider = provider.or(named);
    let mut fitting = None;
    for mapping in mappings.for_provider(provider) {
        if let Some(fit) = fit(mapping, root)? {
            fitting = Some((mapping, fit));
            break;
        }
    }
    let Some((mapping, found)) = fitting else {
        return Ok(None);
    };
    let read = Reading {
        mapping,
        root,
        fit: found,
    }
    .read();
    let Err(refused) = read else {
        return read.map(Some);
    };
    // The numbers contradict this mapping. One that counts otherwise may explain them all.
    for name in &mapping.otherwise {
        if let Some(mapping) = mappings.named(name)
            && let Some(fit) = fit(mapping, root)?
            && let Ok(read) = (Reading { mapping, root, fit }).read()
        {
            return Ok(Some(read));
        }
    }
    Err(refused)
}

fn fit<'a>(mapping: &'a Mapping, root: &'a Object) -> Result<Option<Fit<'a>>> {
    mapping
        .fit(root)
        .map_err(|error| damaged(&format!("{}: {error}", mapping.name)))
}

/// XX000: the mappings that come with the extension are tested, those of others are read when they are set.
pub fn damaged(error: &str) -> Error {
    Error::internal(format!("a built-in usage mapping is damaged: {error}"))
}

/// An object that is being read.
struct Reading<'a> {
    mapping: &'a Mapping,
    root: &'a Object,
    fit: Fit<'a>,
}

/// Meters with their quantities, each once.
#[derive(Default)]
struct Meters(Vec<(String, Decimal)>);

impl Meters {
    /// The place of a meter.
    fn place(&mut self, meter: &str) -> usize {
        match self.0.iter().position(|(name, _)| name == meter) {
            Some(place) => place,
            None => {
                self.0.push((meter.to_owned(), Decimal::ZERO));
                self.0.len() - 1
            }
        }
    }

    fn tokens(&self) -> Decimal {
        self.0
            .iter()
            .filter(|(meter, _)| meter.ends_with("_tokens"))
            .map(|(_, quantity)| quantity)
            .sum()
    }
}

/// What an object says of its model, provider, region or service tier.
#[derive(PartialEq, Eq)]
enum Stated {
    Nothing,
    /// The ordinary case, which has no name here.
    Ordinary,
    Named(String),
}

impl Stated {
    fn name(self) -> Option<String> {
        match self {
            Stated::Named(name) => Some(name),
            Stated::Nothing | Stated::Ordinary => None,
        }
    }
}

/// A number that was found, and where.
struct Found<'a> {
    path: &'a Path,
    value: Decimal,
}

impl<'a> Reading<'a> {
    fn read(&self) -> Result<Usage> {
        if self.fit.shape.at.is_some()
            && let Some(stranger) = self.fit.body.stranger(self.root)
        {
            return Err(self.mixed(stranger));
        }
        let mut meters = Meters::default();
        let mut outside = Decimal::ZERO;
        for node in &self.fit.body.meters {
            let value = self.node(node, &mut meters)?;
            if node.outside_total && node.meter.ends_with("_tokens") {
                outside += value.map_or(Decimal::ZERO, |found| found.value);
            }
        }
        self.check_total(&mut meters, outside)?;
        for (meter, quantity) in &meters.0 {
            check_digits(meter, *quantity)?;
        }
        let service_tier = self.attribute("service_tier", &self.fit.body.service_tier)?;
        Ok(Usage {
            model: self.attribute("model", &self.fit.body.model)?.name(),
            provider: self.attribute("provider", &self.fit.body.provider)?.name(),
            region: self.attribute("region", &self.fit.body.region)?.name(),
            is_standard_tier: service_tier == Stated::Ordinary,
            service_tier: service_tier.name(),
            numbers: meters
                .0
                .into_iter()
                .map(|(meter, quantity)| (meter, Ok(quantity.normalize())))
                .collect(),
            object: Vec::new(),
            is_mapped: true,
            reported_cost: self.cost()?,
            mapping: Some(self.mapping.name.clone()),
            unread: Vec::new(),
        })
    }

    /// Counts a number and its parts, and gives the number.
    fn node(&self, node: &'a Node, meters: &mut Meters) -> Result<Option<Found<'a>>> {
        let mut whole = self.first(&node.path, &node.meter)?;
        if let Some(whole) = &mut whole {
            for less in &node.less {
                if let Some(part) = self.number(less, &node.meter)? {
                    if part > whole.value {
                        return Err(self.exceeded(
                            Some(whole),
                            node,
                            &[Found {
                                path: less,
                                value: part,
                            }],
                        ));
                    }
                    whole.value -= part;
                }
            }
        }
        let place = whole.is_some().then(|| meters.place(&node.meter));
        let mut parts = Vec::new();
        for part in &node.parts {
            parts.extend(self.node(part, meters)?);
        }
        let sum: Decimal = parts.iter().map(|part| part.value).sum();
        match &whole {
            Some(found) if sum <= found.value => {
                if let Some(place) = place {
                    meters.0[place].1 += found.value - sum;
                }
                Ok(whole)
            }
            None if node.implied || sum.is_zero() => Ok(parts.first().map(|part| Found {
                path: part.path,
                value: sum,
            })),
            _ => Err(self.exceeded(whole.as_ref(), node, &parts)),
        }
    }

    /// The first of the alternatives that is there and not zero, or else the first that is there.
    fn first(&self, paths: &'a [Path], meter: &str) -> Result<Option<Found<'a>>> {
        let mut zero = None;
        for path in paths {
            match self.number(path, meter)? {
                Some(value) if !value.is_zero() => return Ok(Some(Found { path, value })),
                Some(value) if zero.is_none() => zero = Some(Found { path, value }),
                _ => {}
            }
        }
        Ok(zero)
    }

    /// The number that a path leads to; the sum, where it leads to several.
    fn number(&self, path: &Path, meter: &str) -> Result<Option<Decimal>> {
        let mut sum = Ok(None);
        path.each(self.fit.usage, |value| {
            let Ok(before) = &sum else { return };
            let before: Decimal = before.unwrap_or_default();
            sum = match value {
                Value::Json(Json::Number(number)) => {
                    quantity(meter, number, || self.name(path)).map(|value| Some(before + value))
                }
                Value::Count(elements) => Ok(Some(before + Decimal::from(elements))),
                Value::Json(_) => Err(invalid(format!(
                    "usage key {} is not a number",
                    quoted(self.name(path))
                ))
                .detail("Meters are JSON numbers.")
                .hint(AS_IT_CAME)),
            };
        });
        sum
    }

    /// The path as seen from the whole object.
    fn name(&self, path: &Path) -> String {
        match &self.fit.shape.at {
            None => path.to_string(),
            Some(at) => format!("{at}.{path}"),
        }
    }

    fn check_total(&self, meters: &mut Meters, outside: Decimal) -> Result<()> {
        let Some(total) = &self.fit.body.total else {
            return Ok(());
        };
        let Some(found) = self.first(&total.path, "input_tokens")? else {
            return Ok(());
        };
        let sum = meters.tokens() - outside;
        match &total.rest {
            _ if found.value == sum => Ok(()),
            Some(rest) if found.value > sum => {
                let place = meters.place(rest);
                meters.0[place].1 += found.value - sum;
                Ok(())
            }
            _ => Err(self.contradiction(&found, sum)),
        }
    }

    fn attribute(&self, key: &str, attribute: &Attribute) -> Result<Stated> {
        if let Some(is) = &attribute.is {
            return Ok(Stated::Named(is.clone()));
        }
        let named = attribute
            .path
            .iter()
            .find_map(|path| path.first(self.root).map(|json| (path.to_string(), json)))
            .or_else(|| match member(self.root, key) {
                None | Some(Json::Null) => None,
                Some(json) => Some((key.to_owned(), json)),
            });
        match named {
            None => Ok(Stated::Nothing),
            Some((_, Json::String(name))) => Ok(match attribute.here(name) {
                None => Stated::Ordinary,
                Some("") => Stated::Nothing,
                Some(here) => Stated::Named(here.to_owned()),
            }),
            Some((path, _)) => Err(
                invalid(format!("usage key {} is not a string", quoted(path)))
                    .detail("model, provider, region and service_tier are JSON strings.")
                    .hint(AS_IT_CAME),
            ),
        }
    }

    fn cost(&self) -> Result<Option<crate::storage::numeric::Number>> {
        let reported = self
            .fit
            .body
            .cost
            .iter()
            .find_map(|path| path.first(self.fit.usage))
            .or_else(|| member(self.root, "cost"));
        Ok(match reported {
            Some(Json::Number(number)) => Some(number.clone()),
            _ => None,
        })
    }

    /// WL007: a part that is greater than its whole.
    fn exceeded(&self, whole: Option<&Found<'_>>, node: &Node, parts: &[Found<'_>]) -> Error {
        let whole_name = self.name(whole.map_or(&node.path[0], |found| found.path));
        let mut names = String::new();
        let mut numbers = String::new();
        for part in parts.iter().filter(|part| !part.value.is_zero()) {
            let name = quoted(self.name(part.path));
            let comma = if names.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(names, "{comma}{name}");
            let _ = write!(numbers, "{comma}{name} is {}", part.value);
        }
        let several = names.contains(", ");
        let whole_number = match whole {
            Some(found) => format!("is {}", found.value),
            None => "is missing".to_owned(),
        };
        invalid(if several {
            format!(
                "usage parts {names} add up to more than {}",
                quoted(&whole_name)
            )
        } else {
            format!(
                "usage part {names} is greater than its whole {}",
                quoted(&whole_name)
            )
        })
        .detail(format!(
            "{numbers}; {} {whole_number}.",
            quoted(&whole_name)
        ))
        .hint(AS_IT_CAME)
    }

    /// WL007: a total that is not the sum of its parts.
    fn contradiction(&self, total: &Found<'_>, sum: Decimal) -> Error {
        let mut numbers = String::new();
        for node in self
            .fit
            .body
            .meters
            .iter()
            .filter(|node| !node.outside_total)
        {
            if let Ok(Some(found)) = self.first(&node.path, &node.meter)
                && !found.value.is_zero()
                && node.meter.ends_with("_tokens")
            {
                let comma = if numbers.is_empty() { "" } else { ", " };
                let name = quoted(self.name(found.path));
                let _ = write!(numbers, "{comma}{name} is {}", found.value);
            }
        }
        let name = quoted(self.name(total.path));
        invalid(format!("usage total {name} is not the sum of its parts"))
            .detail(format!(
                "{name} is {}; its parts add up to {sum}: {}.",
                total.value,
                if numbers.is_empty() {
                    "none is there"
                } else {
                    &numbers
                }
            ))
            .hint(AS_IT_CAME)
    }

    /// WL007: a meter's name beside a usage object would be counted or lost; neither is safe.
    fn mixed(&self, key: &str) -> Error {
        let at = self
            .fit
            .shape
            .at
            .as_ref()
            .map_or(String::new(), Path::to_string);
        invalid(format!("usage has both {} and the meter {}", quoted(at), quoted(key)))
            .detail(format!(
                "The object is read as {}, which says nothing of {}.",
                quoted(&self.mapping.name),
                quoted(key)
            ))
            .hint("Pass the provider's object as it came, or the meters alone; charge what it does not count separately.")
    }
}

/// Several numbers of a meter may add up to more than a quantity may have.
fn check_digits(meter: &str, quantity: Decimal) -> Result<()> {
    let magnitude = quantity.normalize().trunc().mantissa().unsigned_abs();
    if significant_digits(quantity) > QUANTITY_DIGITS || magnitude >= 10_u128.pow(QUANTITY_DIGITS) {
        return Err(crate::pricing::usage::out_of_range(meter));
    }
    Ok(())
}
