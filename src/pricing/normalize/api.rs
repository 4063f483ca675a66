//! SQL functions on usage objects: what is in them, and how to read new ones.

use pgrx::default;
use pgrx::prelude::*;

use crate::access::audit::{Act, Of, enter_audited};
use crate::access::rights::{ALL_WALLETS, Level, enter_any};
use crate::args;
use crate::error::{Error, Result, quoted};
use crate::idempotency::call::IdempotentCall;
use crate::idempotency::fingerprint::{canonical, fingerprint, owned};
use crate::pg::clock;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::Quantity;
use crate::pg::raise::OrRaise;
use crate::pricing::lines::is_known_meter;
use crate::pricing::normalize::explain::explain;
use crate::pricing::normalize::mapping::Mapping;
use crate::pricing::normalize::store;
use crate::pricing::usage::{MAX_USAGE_BYTES, Usage, unknown_shape};
use crate::storage::plan::{Run, Value, statement};

statement!(
    HAS_PRICE,
    [TEXTOID],
    "SELECT FROM wallet.prices WHERE meter = $1 LIMIT 1"
);

statement!(
    SAME_MAPPING,
    [TEXTOID, JSONBOID],
    "SELECT mapping = $2 FROM wallet.usage_mappings WHERE name = $1"
);

statement!(
    SET_MAPPING,
    [TEXTOID, JSONBOID, TIMESTAMPTZOID, TEXTOID, JSONBOID],
    "INSERT INTO wallet.usage_mappings (name, mapping, created_at, actor, metadata)
     VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (name) DO UPDATE
        SET mapping = excluded.mapping, created_at = excluded.created_at,
            actor = excluded.actor, metadata = excluded.metadata"
);

statement!(
    REMOVE_MAPPING,
    [TEXTOID],
    "DELETE FROM wallet.usage_mappings WHERE name = $1 RETURNING name"
);

statement!(
    /// What is still unread is noted again by the next charge that has it.
    FORGET_UNREAD,
    [],
    "DELETE FROM wallet.unread_paths WHERE mapping IS NOT NULL"
);

/// Largest mapping, in bytes of `jsonb`.
const MAX_MAPPING_BYTES: usize = 1 << 16;

/// The disjoint meters of a usage object in any known form, those of zero left out.
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

/// What became of every number of a usage object.
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
    Error::argument("usage is missing")
        .detail("The argument usage is NULL or was not given.")
        .hint("Pass a provider's response or its usage object, or an object of meters.")
}

/// Whether a name is a meter in the flat form: one that is known, or that has a price.
fn is_meter(name: &str) -> Result<bool> {
    Ok(is_known_meter(name) || !HAS_PRICE.run(&[Value::Text(name)])?.is_empty())
}

/// The meters of a usage. In the flat form a name that has a price is a meter too.
fn meters(usage: Usage) -> Result<Vec<(String, Quantity)>> {
    let mut meters = Vec::with_capacity(usage.numbers.len());
    let mut is_any = false;
    for (meter, quantity) in &usage.numbers {
        if !usage.is_meter(meter) && !is_meter(meter)? {
            continue;
        }
        is_any = true;
        let quantity = quantity.clone()?;
        if !quantity.is_zero() {
            meters.push((meter.clone(), Quantity(quantity)));
        }
    }
    if is_any {
        Ok(meters)
    } else {
        Err(unknown_shape(&usage.object, &[]))
    }
}

/// Sets how usage objects of a shape are read, and says whether that was added, changed, removed
/// or unchanged. NULL removes the mapping.
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
        let call = IdempotentCall {
            wallet: "",
            call: "set_usage_mapping",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint(&[
                ("name", owned(Some(name))),
                ("mapping", mapping.and_then(canonical)),
            ]),
        };
        let actor = args::name("actor", actor)?;
        let metadata = args::document("metadata", metadata)?;
        enter_audited(
            Level::Admin,
            &Act {
                wallet: ALL_WALLETS,
                action: "set_usage_mapping",
                actor,
                metadata: metadata.as_ref().map(|metadata| metadata.value),
            },
            Of::Mapping(name),
            |_| {
                call.text(|| {
                    let metadata = metadata.as_ref().map(|document| document.value);
                    set(name, mapping, actor, metadata).map(str::to_owned)
                })
            },
        )
    };
    work().or_raise()
}

/// Sets or removes the mapping, and says what that changed.
fn set(
    name: &str,
    mapping: Option<Jsonb>,
    actor: Option<&str>,
    metadata: Option<Jsonb>,
) -> Result<&'static str> {
    let Some(mapping) = mapping else {
        let removed = REMOVE_MAPPING.run(&[Value::Text(name)])?;
        if removed.is_empty() {
            return Ok("unchanged");
        }
        FORGET_UNREAD.run(&[])?;
        return Ok("removed");
    };
    let before = SAME_MAPPING.run(&[Value::Text(name), Value::Jsonb(mapping)])?;
    let action = match before.is_empty() {
        true => "added",
        false if before.get(0, 0) == Some(true) => return Ok("unchanged"),
        false => "changed",
    };
    FORGET_UNREAD.run(&[])?;
    SET_MAPPING.run(&[
        Value::Text(name),
        Value::Jsonb(mapping),
        Value::Time(clock::now()),
        Value::OptText(actor),
        Value::OptJsonb(metadata),
    ])?;
    Ok(action)
}

fn not_a_mapping(name: &str, what: &str) -> Error {
    Error::argument(format!("usage mapping {} cannot be read", quoted(name)))
        .detail(format!("It says: {what}."))
        .hint("docs/usage.md describes the form, with an example.")
}
