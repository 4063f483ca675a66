//! The mappings of this backend: those of `wallet.usage_mappings` before the built-in ones.
//!
//! They are read at the first object that is not in the flat form, and again when the generation of
//! `invalidation` has been incremented, as prices are.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::pg::invalidation;
use crate::pricing::normalize::mapping::{Mapping, Mappings, builtin, damaged};
use crate::storage::session::as_owner;
use crate::storage::store;

thread_local! {
    static KNOWN: RefCell<Option<(u64, Rc<Mappings>)>> = RefCell::default();
    static BUILTIN: OnceCell<Rc<Mappings>> = const { OnceCell::new() };
}

/// The mappings as committed, or as this transaction has changed them.
pub fn mappings() -> Result<Rc<Mappings>> {
    let generation = invalidation::catch_up();
    let known = KNOWN.with_borrow(|known| match known {
        Some((seen, mappings)) if *seen == generation => Some(mappings.clone()),
        _ => None,
    });
    if let Some(mappings) = known {
        return Ok(mappings);
    }
    let own = as_owner(|_| own())?;
    let mappings = if own.is_empty() {
        built_in()?
    } else {
        let built_in = builtin().map_err(|error| damaged(&error))?;
        Rc::new(Mappings::new(own.into_iter().chain(built_in).collect()))
    };
    invalidation::note_caching();
    if invalidation::generation() == generation {
        KNOWN.set(Some((generation, mappings.clone())));
    }
    Ok(mappings)
}

/// The built-in mappings, parsed once in a backend.
fn built_in() -> Result<Rc<Mappings>> {
    if let Some(known) = BUILTIN.with(|built_in| built_in.get().cloned()) {
        return Ok(known);
    }
    let mappings = Rc::new(Mappings::new(builtin().map_err(|error| damaged(&error))?));
    BUILTIN.with(|built_in| {
        let _ = built_in.set(mappings.clone());
    });
    Ok(mappings)
}

fn own() -> Result<Vec<Mapping>> {
    store::read_mappings()?
        .into_iter()
        .map(|(name, json)| {
            Mapping::parse(&name, &json).map_err(|error| {
                Error::internal(format!(
                    "usage mapping {} cannot be read: {error}",
                    crate::error::quoted(&name)
                ))
                .hint("Set it again with set_usage_mapping(), or remove it by setting NULL.")
            })
        })
        .collect()
}
