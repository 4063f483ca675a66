//! Chooses the mapping that reads an object. Pure.
//!
//! A mapping reads an object if the object has one of its shapes, the numbers do not contradict the
//! mapping, and the mapping knows every number. If several such mappings read different quantities,
//! the provider decides. A number that no mapping knows is *unread*. A number that only another
//! mapping knows at that place contradicts the shape.

use rust_decimal::Decimal;

use crate::error::{Error, Result};
use crate::pg::jsonb::Json;
use crate::pricing::lines::is_known_meter;
use crate::pricing::normalize::mapping::{Fit, Mappings, damaged};
use crate::pricing::normalize::path::{Object, member};
use crate::pricing::normalize::reading::Reading;
use crate::pricing::normalize::refusals;
use crate::pricing::usage::{Unread, Usage};

/// Reads an object with the mapping that fits. `None` if no mapping does.
pub fn read(mappings: &Mappings, root: &Object, provider: Option<&str>) -> Result<Option<Usage>> {
    Ok(choose(mappings, root, provider)?.map(|(_, usage)| usage))
}

/// A mapping that fits an object, and the usage that it reads.
type Read<'a> = (Fit<'a>, Usage);

/// The mapping that reads an object, and the usage. `None` if the object has no mapping's shape.
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
    let (mut reads, mut foreign_error, mut refused) = (Vec::new(), None, Vec::new());
    for fit in fits {
        match Reading::new(root, fit).read() {
            Ok(usage) => match foreign(mappings, fit, &usage.unread)? {
                None => reads.push((fit, usage)),
                Some(error) => foreign_error = foreign_error.or(Some(error)),
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
    match foreign_error.or_else(|| refused.into_iter().next().map(|(_, error)| error)) {
        Some(error) => Err(error),
        None => Ok(None),
    }
}

/// If all mappings read the same quantities: the one of the provider, otherwise one that leaves no
/// number unread, otherwise the first.
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

/// An alternative (`otherwise`) of the mappings that refused the object, if it reads every number.
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

/// The error if another mapping, or the flat form, knows a number that this mapping leaves unread:
/// the object is then not this mapping's. Mappings set by an administrator are exempt.
fn foreign(mappings: &Mappings, fit: Fit<'_>, unread: &[Unread]) -> Result<Option<Error>> {
    for one in unread {
        let place = match &fit.shape.at {
            None => Some(&*one.path),
            Some(at) => one
                .path
                .strip_prefix(&at.to_string())
                .and_then(|place| place.strip_prefix('.')),
        };
        let Some(place) = place else { continue };
        let name = &fit.mapping.name;
        if is_known_meter(place) {
            return Ok(Some(refusals::foreign(name, one, "a usage of meters")));
        }
        if fit.mapping.is_own {
            continue;
        }
        let other = mappings
            .other_with(place, fit.mapping)
            .map_err(|error| damaged(&error))?;
        if let Some(other) = other {
            let knows = crate::error::quoted(&other.name);
            return Ok(Some(refusals::foreign(name, one, &knows)));
        }
    }
    Ok(None)
}
