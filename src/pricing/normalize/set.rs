//! Setting a usage mapping, and the meters of a usage.

use crate::error::Result;
use crate::pg::clock;
use crate::pg::jsonb::Jsonb;
use crate::pg::sql_types::Quantity;
use crate::pricing::lines::is_known_meter;
use crate::pricing::normalize::read::unknown_shape;
use crate::pricing::usage::Usage;
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
    /// The next charge with a number that is still unread notes it again.
    FORGET_UNREAD,
    [],
    "DELETE FROM wallet.unread_paths WHERE mapping IS NOT NULL"
);

/// Whether a name is a meter in the flat form: one that is known, or that has a price.
pub fn is_meter(name: &str) -> Result<bool> {
    Ok(is_known_meter(name) || !HAS_PRICE.run(&[Value::Text(name)])?.is_empty())
}

/// The meters of a usage. In the flat form a name that has a price is a meter too.
pub fn meters(usage: Usage) -> Result<Vec<(String, Quantity)>> {
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

/// Sets or removes the mapping, and says what that changed.
pub fn set(
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
