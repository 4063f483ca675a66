//! SQL functions on usage objects: their contents, and mappings for new formats.

use crate::access::audit::Of;
use crate::access::call::Call;
use crate::access::rights::{ALL_WALLETS, Level, enter_any};
use crate::args;
use crate::error::{Error, quoted};
use crate::idempotency::fingerprint::canonical;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use crate::pg::sql_types::Quantity;
use crate::pricing::normalize::explain::explain;
use crate::pricing::normalize::mapping::Mapping;
use crate::pricing::normalize::set::{is_meter, meters, set};
use crate::pricing::normalize::store;
use crate::pricing::usage::{MAX_USAGE_BYTES, Usage};
use pgrx::default;
use pgrx::prelude::*;

/// Maximum size of a mapping, in bytes of `jsonb`.
const MAX_MAPPING_BYTES: usize = 1 << 16;

/// The disjoint meters of a usage object in any known format, without those that are zero.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn normalize_usage(
    usage: Option<Jsonb>,
    provider: default!(Option<&str>, "NULL"),
) -> TableIterator<'static, (name!(meter, String), name!(quantity, Quantity))> {
    let work = || {
        let object = usage.ok_or_else(missing)?;
        let provider = args::name("provider", provider)?;
        let usage = Usage::read_as(
            object.read("usage", MAX_USAGE_BYTES)?,
            provider,
            store::mappings,
        )?;
        enter_any(|_| meters(usage))
    };
    TableIterator::new(work().or_raise())
}

/// How each number of a usage object was interpreted.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity, reason = "the columns of the result")]
fn explain_usage(
    usage: Option<Jsonb>,
    provider: default!(Option<&str>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(path, String),
        name!(value, String),
        name!(meter, Option<String>),
        name!(quantity, Option<Quantity>),
        name!(role, String),
        name!(note, Option<String>),
    ),
> {
    let work = || {
        let object = usage.ok_or_else(missing)?;
        let provider = args::name("provider", provider)?;
        let object = object.read("usage", MAX_USAGE_BYTES)?;
        enter_any(|_| explain(object, provider, store::mappings, is_meter))
    };
    let rows = work().or_raise().into_iter();
    TableIterator::new(rows.map(|row| {
        (
            row.path,
            row.value,
            row.meter,
            row.quantity.map(Quantity),
            row.role.as_str().to_owned(),
            row.note,
        )
    }))
}

fn missing() -> Error {
    args::missing("usage")
        .hint("Pass a provider's response or its usage object, or an object of meters.")
}

/// Sets how usage objects of a format are read. Returns whether the mapping was added, changed,
/// removed or unchanged. NULL removes the mapping.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn set_usage_mapping(
    name: Option<&str>,
    mapping: Option<Jsonb>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> String {
    let work = || {
        let name = args::required("name", name)?;
        if let Some(mapping) = mapping {
            mapping.read("mapping", MAX_MAPPING_BYTES)?;
            Mapping::parse(name, &mapping.to_text()).map_err(|what| not_a_mapping(name, &what))?;
        }
        let call = Call::new("set_usage_mapping", ALL_WALLETS)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("name", name)
            .with("mapping", mapping.and_then(canonical));
        call.change(Level::Admin, Of::Mapping(name), |call| {
            call.text(|| set(name, mapping, actor, metadata).map(str::to_owned))
        })
    };
    work().or_raise()
}

fn not_a_mapping(name: &str, what: &str) -> Error {
    Error::argument(format!("usage mapping {} cannot be read", quoted(name)))
        .detail(format!("It says: {what}."))
        .hint("docs/usage.md describes the form, with an example.")
}
