//! Records many exchange rates in one call, once per idempotency key.

use crate::access::audit::{Act, note_down};
use crate::currency::Currency;
use crate::error::Result;
use crate::idempotency::call::{Answer, IdempotentCall, lost};
use crate::pg::jsonb::{Builder, Json, Jsonb};
use crate::pg::jsonb_rows::{Leaf, array_of_sparse_objects};
use crate::pricing::rates::{Quote, Recording};
use crate::storage::rows::uuid_text;
use rust_decimal::Decimal;

/// A rate that the call added or found.
pub struct Recorded {
    /// The currency of the rate's other side.
    pub to: String,
    /// The value of the rate, as recorded.
    pub rate: Decimal,
    /// Id of the row that has the rate.
    pub id: [u8; 16],
    /// True if the call added it.
    pub is_new: bool,
}

/// Records the rates and returns one row per rate. A replay returns the rows of the first call.
pub fn record(
    recording: &Recording<'_>,
    base: Currency,
    quotes: &[Quote],
    act: &Act<'_>,
    call: IdempotentCall<'_>,
) -> Result<Vec<Recorded>> {
    if let Some(first) = call.answered()? {
        return first_answer(&first);
    }
    let mut rows = Vec::with_capacity(quotes.len());
    for quote in quotes {
        let (id, is_new) = recording.add(quote)?;
        rows.push(Recorded {
            to: quote.to.to_string(),
            rate: quote.rate.unwrap_or_default(),
            id,
            is_new,
        });
    }
    let added = rows.iter().filter(|row| row.is_new).count();
    if added > 0 {
        let mut summary = Builder::default();
        summary.begin_object();
        summary.text("source", recording.source);
        summary.decimal("added", Decimal::from(added));
        summary.text("effective_from", Some(&recording.effective_from.to_json()));
        for row in rows.iter().filter(|row| row.is_new) {
            summary.decimal(&row.to, row.rate);
        }
        note_down(act, &base, summary.finish_object())?;
    }
    call.remember(Some(answer(&rows)))?;
    Ok(rows)
}

/// The rows, as they are stored with the idempotency key.
fn answer(rows: &[Recorded]) -> Jsonb {
    let texts: Vec<[String; 2]> = rows
        .iter()
        .map(|row| [uuid_text(row.id), row.rate.to_string()])
        .collect();
    array_of_sparse_objects(
        ["id", "to", "new", "rate"],
        rows.iter().zip(&texts).map(|(row, [id, rate])| {
            let is_new = if row.is_new { Leaf::True } else { Leaf::Absent };
            [
                Leaf::Text(id),
                Leaf::Text(&row.to),
                is_new,
                Leaf::Text(rate),
            ]
        }),
    )
}

fn first_answer(answer: &Answer) -> Result<Vec<Recorded>> {
    match answer.result().ok_or_else(lost)?.reread("result")? {
        Json::Array(rows) => rows
            .iter()
            .map(|row| recorded(row).ok_or_else(lost))
            .collect(),
        _ => Err(lost()),
    }
}

fn recorded(row: &Json) -> Option<Recorded> {
    let entries = row.as_object()?;
    let text = |name: &str| {
        entries.iter().find_map(|(key, value)| match value {
            Json::String(text) if key == name => Some(text.as_str()),
            _ => None,
        })
    };
    Some(Recorded {
        to: text("to")?.to_owned(),
        rate: text("rate")?.parse().ok()?,
        id: uuid::Uuid::parse_str(text("id")?).ok()?.into_bytes(),
        is_new: entries.iter().any(|(key, _)| key == "new"),
    })
}
