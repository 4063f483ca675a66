//! The rows of an import, as they are stored with its idempotency key.

use crate::error::Result;
use crate::idempotency::call::{Answer, lost};
use crate::pg::jsonb::{Json, Jsonb};
use crate::pg::jsonb_rows::{Leaf, array_of_objects};
use crate::pricing::import::apply::Row;

/// The actions of an import on a price.
const ACTIONS: [&str; 5] = ["added", "changed", "ended", "unchanged", "skipped"];

/// Writes the rows. A missing price is an empty text.
pub fn write(rows: &[Row]) -> Jsonb {
    array_of_objects(
        ["new", "old", "note", "meter", "model", "action"],
        rows.iter().map(|row| {
            [
                row.new.as_deref().unwrap_or_default(),
                row.old.as_deref().unwrap_or_default(),
                &row.note,
                &row.meter,
                &row.model,
                row.action,
            ]
            .map(Leaf::Text)
        }),
    )
}

/// The rows of the first import.
pub fn read(answer: &Answer) -> Result<Vec<Row>> {
    match answer.result().ok_or_else(lost)?.reread("result")? {
        Json::Array(rows) => rows.iter().map(|row| one(row).ok_or_else(lost)).collect(),
        _ => Err(lost()),
    }
}

fn one(row: &Json) -> Option<Row> {
    let [new, old, note, meter, model, action] = row.as_object()? else {
        return None;
    };
    let text = |(_, value): &(String, Json)| match value {
        Json::String(text) => Some(text.clone()),
        _ => None,
    };
    let price = |field| text(field).map(|text| (!text.is_empty()).then_some(text));
    let action = text(action)?;
    Some(Row {
        action: ACTIONS.into_iter().find(|known| *known == action)?,
        model: text(model)?,
        meter: text(meter)?,
        old: price(old)?,
        new: price(new)?,
        note: text(note)?,
    })
}
