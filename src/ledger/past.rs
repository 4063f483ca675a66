//! Charges of the past with their usage, to be priced again.

use crate::error::{Error, Result};
use crate::pricing::usage::Usage;
use crate::storage::clock::Timestamp;
use crate::storage::jsonb::Jsonb;
use crate::storage::plan::Rows;

/// From when to when charges are looked at: the time of use, the end not included.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The first moment; none for the beginning.
    pub from: Option<Timestamp>,
    /// The first moment after it; none for the end.
    pub to: Option<Timestamp>,
}

impl Span {
    /// 22023 when it ends before it begins.
    pub fn check(self) -> Result<Span> {
        match (self.from, self.to) {
            (Some(from), Some(to)) if from > to => Err(Error::argument("\"from\" is after \"to\"")
                .detail("The span of time ends before it begins.")
                .hint("Give the earlier time as \"from\"; \"to\" is not included.")),
            _ => Ok(self),
        }
    }
}

/// Columns that [`usage`] reads, by position from the first of them.
#[macro_export]
macro_rules! past_usage_columns {
    () => {
        "l.model, l.region, l.service_tier,
         CASE WHEN l.usage IS NULL THEN wallet.entry_usage(l.model, l.lines) ELSE l.usage END,
         coalesce(l.event_at, l.created_at)"
    };
}

/// The usage of a charge, as it was asked for, and when it was used.
pub fn usage(rows: &Rows, row: usize, first: i32) -> Result<(Usage, String, Timestamp)> {
    let model: String = rows.need(row, first)?;
    let object = rows
        .datum(row, first + 3)
        .ok_or_else(|| Error::internal("a charge by usage has no usage"))?;
    let mut usage = Usage::of_entry(Jsonb(object).reread("usage")?)?;
    // Given as arguments, perhaps.
    usage.model = Some(model.clone());
    usage.region = rows.get(row, first + 1);
    usage.service_tier = rows.get(row, first + 2);
    Ok((usage, model, rows.need(row, first + 4)?))
}
