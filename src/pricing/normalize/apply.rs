//! Which mapping reads an object. Pure.
//!
//! A mapping reads an object that has one of its shapes, whose numbers do not contradict it, and of which it knows every
//! number. Where several do and they differ, the provider decides. A number that nobody knows is *unread*; one that only
//! another mapping knows in that place contradicts the shape.

use rust_decimal::Decimal;

use crate::error::{Error, Result};
use crate::pg::jsonb::Json;
use crate::pricing::lines::is_known_meter;
use crate::pricing::normalize::mapping::{Fit, Mappings, damaged};
use crate::pricing::normalize::path::{Object, member};
use crate::pricing::normalize::reading::Reading;
use crate::pricing::normalize::refusals;
use crate::pricing::usage::{Unread, Usage};

/// Reads an object that has the shape of a mapping; nothing when it has none.
pub fn read(mappings: &Mappings, root: &Object, provider: Option<&str>) -> Result<Option<Usage>> {
    Ok(choose(mappings, root, provider)?.map(|(_, usage)| usage))
}

/// What a mapping makes of an object.
type Read<'a> = (Fit<'a>, Usage);

/// The mapping that reads an object, and what it reads; nothing when it has no shape of any.
pub fn choose<'a>(
    mappings: &'a Mappings,
    root: &'a Object,
    provider: Option<&str>,
) -> Result<Option<Read<'a>>> {
    let named = match member(root, "provider") {
        Some(Json::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let provider = provider.or(named);
    let fits = mappings
        .fitting(root, provider)
        .map_err(|error| damaged(&error))?;
    if fits.is_empty() {
        return Ok(None);
    }
    let (mut reads, mut strange, mut refused) = (Vec::new(), None, Vec::new());
    for fit in fits {
        match Reading::new(root, fit).read() {
            Ok(usage) => match foreign(mappings, fit, &usage.unread)? {
                None => reads.push((fit, usage)),
                Some(error) => strange = strange.or(Some(error)),
            },
            Err(error) => refused.push((fit, error)),
        }
    }
    if let Some(read) = agreed(reads, provider)? {
        return Ok(Some(read));
    }
    if let Some(read) = otherwise(mappings, root, &refused)? {
        return Ok(Some(read));
    }
    match strange.or_else(|| refused.into_iter().next().map(|(_, error)| error)) {
        Some(error) => Err(error),
        None => Ok(None),
    }
}

/// The one that the provider names, or else one that leaves nothing unread, or else the first, if all of them read the same.
fn agreed<'a>(mut all: Vec<Read<'a>>, provider: Option<&str>) -> Result<Option<Read<'a>>> {
    if all.len() > 1 && all.iter().any(|(fit, _)| fit.mapping.is_of(provider)) {
        all.retain(|(fit, _)| fit.mapping.is_of(provider));
    }
    if let Some(((_, first), rest)) = all.split_first() {
        for (_, other) in rest {
            if !is_same(first, other) {
                return Err(refusals::ambiguous(first, other));
            }
        }
    }
    let whole = all.iter().position(|(_, usage)| usage.unread.is_empty());
    Ok(all.into_iter().nth(whole.unwrap_or(0)))
}

/// Whether two usages have the same meters.
fn is_same(one: &Usage, other: &Usage) -> bool {
    let of = |usage: &Usage, meter: &str| -> Decimal {
        let numbers = usage.numbers.iter();
        numbers
            .filter(|(name, _)| name == meter)
            .filter_map(|(_, quantity)| quantity.as_ref().ok())
            .sum()
    };
    let both = one.numbers.iter().chain(&other.numbers);
    both.into_iter()
        .all(|(meter, _)| of(one, meter) == of(other, meter))
}

/// A mapping that counts otherwise than those that the numbers contradict, and explains them all.
fn otherwise<'a>(
    mappings: &'a Mappings,
    root: &'a Object,
    refused: &[(Fit<'a>, Error)],
) -> Result<Option<Read<'a>>> {
    let names = refused.iter().flat_map(|(fit, _)| &fit.mapping.otherwise);
    for mapping in names.filter_map(|name| mappings.named(name)) {
        if let Some(fit) = mapping.fit(root).map_err(|error| damaged(&error))?
            && let Ok(usage) = Reading::new(root, fit).read()
            && usage.unread.is_empty()
        {
            return Ok(Some((fit, usage)));
        }
    }
    Ok(None)
}

/// Why an object is not this mapping's, where another one knows a number that this one does not. What an administrator has
/// set holds all the same.
fn foreign(mappings: &Mappings, fit: Fit<'_>, unread: &[Unread]) -> Result<Option<Error>> {
    for one in unread {
        let way = match &fit.shape.at {
            None => Some(&*one.path),
            Some(at) => one
                .path
                .strip_prefix(&at.to_string())
                .and_then(|way| way.strip_prefix('.')),
        };
        let Some(way) = way else { continue };
        let name = &fit.mapping.name;
        if is_known_meter(way) {
            return Ok(Some(refusals::foreign(name, one, "a usage of meters")));
        }
        if fit.mapping.is_own {
            continue;
        }
        let other = mappings
            .other_with(way, fit.mapping)
            .map_err(|error| damaged(&error))?;
        if let Some(other) = other {
            let knows = crate::error::quoted(&other.name);
            return Ok(Some(refusals::foreign(name, one, &knows)));
        }
    }
    Ok(None)
}
